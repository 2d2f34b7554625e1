//! `maxmemory`: what is used stays below it, keys go by the policy or writes are refused, and what has gone stays gone.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod common;

use common::{eventually, is_ember, must, spec, start, text};
use emberkv_torture::{Client, Server, Value};

const MIB: u64 = 1 << 20;

/// A field of INFO.
fn info(client: &mut Client, field: &str) -> u64 {
    let all = text(&must(client, "INFO"));
    let line = all.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':').map(str::to_owned));
    line.and_then(|value| value.parse().ok()).unwrap_or_else(|| panic!("INFO has no number {field}:\n{all}"))
}

/// Sets keys of a kilobyte; how many were refused for want of memory.
fn load(client: &mut Client, keys: std::ops::Range<u32>) -> u32 {
    let value = vec![b'x'; 1000];
    let mut refused = 0;
    for from in keys.clone().step_by(200) {
        let to = (from + 200).min(keys.end);
        for i in from..to {
            client.send(&[b"SET".as_slice(), format!("key:{i}").as_bytes(), &value]);
        }
        client.flush().unwrap();
        for _ in from..to {
            match client.read().unwrap() {
                Value::Error(error) => {
                    assert!(error.starts_with(b"OOM command not allowed when used memory > 'maxmemory'."));
                    refused += 1;
                }
                other => assert_eq!(text(&other), "OK"),
            }
        }
    }
    refused
}

fn there(client: &mut Client, keys: std::ops::Range<u32>) -> Vec<u32> {
    let mut found = Vec::new();
    for from in keys.clone().step_by(500) {
        let to = (from + 500).min(keys.end);
        (from..to).for_each(|i| client.send(&["EXISTS".to_owned(), format!("key:{i}")]));
        client.flush().unwrap();
        found.extend((from..to).filter(|_| client.read().unwrap() == Value::Integer(1)));
    }
    found
}

/// The same between two evictions, and how many keys went by them. All that is there is among these.
fn left_in(client: &mut Client, keys: std::ops::Range<u32>) -> (Vec<u32>, u64) {
    loop {
        let before = info(client, "evicted_keys");
        let found = there(client, keys.clone());
        let size = must(client, "DBSIZE");
        if info(client, "evicted_keys") == before {
            assert_eq!(size, Value::Integer(found.len() as i64));
            return (found, before);
        }
    }
}

/// Used memory is below the limit, and what is resident is what is accounted for, and little more.
fn check_memory(client: &mut Client, max: u64) {
    let counted = info(client, "used_memory") - info(client, "mem_not_counted_for_evict");
    let parts = ["mem_clients_normal", "used_memory_index", "log_segment_bytes", "log_leaving_bytes"];
    let parts = parts.map(|part| (part, info(client, part)));
    assert!(counted <= max, "{counted} bytes are used of {max}: {parts:?}");
    let (used, rss) = (info(client, "used_memory"), info(client, "used_memory_rss"));
    assert!(rss <= used + used / 20 + 24 * MIB, "{rss} bytes are resident, {used} accounted for");
}

fn fill_three_times(cores: &str) {
    let max = 48 * MIB;
    let args = ["--maxmemory", "48mb", "--maxmemory-policy", "allkeys-lru", "--cores", cores];
    let (mut server, dir) = start("allkeys-lru", &args);
    let mut client = server.connect().unwrap();
    const KEYS: u32 = 150_000;
    for from in (0..KEYS).step_by(15_000) {
        assert_eq!(load(&mut client, from..from + 15_000), 0, "nothing is refused");
        // some are read all the time
        (0..1000).for_each(|i| client.send(&["GET".to_owned(), format!("key:{i}")]));
        client.flush().unwrap();
        (0..1000).for_each(|_| drop(client.read().unwrap()));
        check_memory(&mut client, max);
    }
    let (left, evicted) = left_in(&mut client, 0..KEYS);
    assert!(evicted >= u64::from(KEYS) - left.len() as u64);
    assert!(left.len() > 30_000, "{} keys fit into {max} bytes", left.len());
    let hot = left.iter().filter(|i| **i < 1000).count();
    assert!(hot >= 950, "{hot} of 1000 keys that are read are left");
    server.kill9().unwrap();
    let server = Server::start(&spec(dir.path(), &args)).unwrap();
    let mut client = server.connect().unwrap();
    let (after, evicted) = left_in(&mut client, 0..KEYS);
    // the start's new head may take the place of the oldest segment: what that has evicted is counted, and nothing else has gone
    let gone = left.iter().filter(|key| after.binary_search(key).is_err()).count() as u64;
    let back = after.iter().filter(|key| left.binary_search(key).is_err()).count();
    assert_eq!((back, gone), (0, evicted), "evicted keys that are there again, and keys that have gone");
    assert!(after.len() > 30_000, "{} keys are left", after.len());
    check_memory(&mut client, max);
    assert_eq!(load(&mut client, 0..20_000), 0);
    check_memory(&mut client, max);
}

#[test]
fn a_cache_takes_three_times_what_fits_into_it() {
    if is_ember() {
        fill_three_times("1");
    }
}

#[test]
fn a_cache_on_two_cores_takes_three_times_what_fits_into_it() {
    if is_ember() {
        fill_three_times("2");
    }
}

#[test]
fn without_eviction_writes_are_refused_and_deletes_bring_them_back() {
    let (server, _dir) = start("noeviction", &["--maxmemory", "32mb", "--maxmemory-policy", "noeviction"]);
    let mut client = server.connect().unwrap();
    let refused = load(&mut client, 0..60_000);
    assert!((20_000..45_000).contains(&refused), "{refused} of 60,000 writes of a kilobyte were refused");
    for words in
        ["APPEND key:1 x", "INCR n", "MSET a 1 b 2", "SETNX n 1", "SET key:1 x NX", "SET n x XX", "SETRANGE key:1 0 x"]
    {
        assert!(text(&client.ask(words).unwrap()).starts_with("OOM"), "{words}");
    }
    for words in
        ["GET key:1", "EXPIRE key:1 1000", "PERSIST key:1", "STRLEN key:2", "MEMORY USAGE key:1", "MEMORY STATS"]
    {
        must(&mut client, words);
    }
    for i in 0..10_000 {
        must(&mut client, &format!("DEL key:{i}"));
    }
    eventually("there is room again", || text(&client.ask("SET key:1 x").unwrap()) == "OK");
    assert_eq!(load(&mut client, 0..3_000), 0);
    // a limit that is lowered is below what is used; without one all is well
    must(&mut client, "CONFIG SET maxmemory 8mb");
    eventually("the limit is kept", || text(&client.ask("SET key:1 x").unwrap()).starts_with("OOM"));
    must(&mut client, "CONFIG SET maxmemory 0");
    eventually("there is no limit", || text(&client.ask("SET key:1 x").unwrap()) == "OK");
}

/// How often a key was asked for, about.
fn frequency(client: &mut Client, key: &str) -> i64 {
    match must(client, &format!("OBJECT FREQ {key}")) {
        Value::Integer(frequency) => frequency,
        other => panic!("{other:?} is no number"),
    }
}

fn touches(args: &[&str]) {
    let (server, _dir) = start("no-touch", args);
    let (mut client, mut quiet) = (server.connect().unwrap(), server.connect().unwrap());
    must(&mut client, "CONFIG SET maxmemory-policy allkeys-lfu");
    must(&mut quiet, "CLIENT NO-TOUCH ON");
    // some of them are in each partition, and on each core
    let keys: Vec<_> = (0..8).map(|i| format!("key:{i}")).collect();
    for key in &keys {
        must(&mut client, &format!("SET {key} value"));
        let before = frequency(&mut client, key);
        for _ in 0..40 {
            for words in ["GET", "MGET key:0 key:1 key:2 key:3", "STRLEN", "EXISTS"] {
                must(&mut quiet, &format!("{words} {key}"));
            }
            for words in ["MULTI", &format!("GET {key}"), "GET key:5", "EXEC"] {
                must(&mut quiet, words);
            }
            for words in ["EXISTS", "EXISTS key:0 key:1 key:2", "TTL", "TYPE"] {
                must(&mut client, &format!("{words} {key}"));
            }
        }
        assert_eq!(frequency(&mut client, key), before, "{key}");
        for words in ["TOUCH key:0 key:1 key:2 key:3", "TOUCH"] {
            let before = frequency(&mut client, key);
            for _ in 0..400 {
                must(&mut quiet, &format!("{words} {key}"));
            }
            assert!(frequency(&mut client, key) > before || before > 5, "{words} {key}");
        }
        must(&mut client, &format!("DEL {key}"));
        // what a transaction has written itself has nothing beside it that could be noted
        for words in ["MULTI", "SET mine 1", "GET mine", "TOUCH mine", "OBJECT FREQ mine", "EXEC"] {
            must(&mut client, words);
        }
    }
}

#[test]
fn who_says_no_touch_keeps_no_key_from_being_evicted() {
    touches(&[]);
    if is_ember() {
        touches(&["--cores", "2"]);
        touches(&["--cores", "1"]);
    }
}

#[test]
fn a_lower_limit_evicts_at_once() {
    if !is_ember() {
        return;
    }
    let (server, _dir) = start("lowered", &["--segment-size", "1mb", "--maxmemory-policy", "allkeys-lfu"]);
    let mut client = server.connect().unwrap();
    assert_eq!(load(&mut client, 0..50_000), 0);
    must(&mut client, "CONFIG SET maxmemory 32mb");
    eventually("keys are evicted", || {
        info(&mut client, "used_memory") - info(&mut client, "mem_not_counted_for_evict") <= 32 * MIB
    });
    assert!(info(&mut client, "evicted_keys") > 15_000);
    must(&mut client, "SET a 1");
}
