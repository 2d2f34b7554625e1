//! Arriving from redis and valkey, and leaving: RDB files in, replication streams followed, RDB files out, and what
//! compares.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod arriving;
mod common;

use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use arriving::{Running, assert_same, client, ends_with, fill, source, sources, target, tool, uri};
use common::{eventually, is_ember, must, number, text};
use emberkv_torture::{Client, Server, Value};

fn size(server: &Server) -> i64 {
    must(&mut client(server), "DBSIZE").integer().unwrap()
}

/// A number of INFO.
fn info(client: &mut Client, name: &str) -> i64 {
    let all = text(&must(client, "INFO"));
    all.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')?.trim().parse().ok()).unwrap_or(-1)
}

fn load_functions(client: &mut Client) {
    let code = "#!lua name=mylib\nredis.register_function('f', function() return 1 end)";
    assert!(!client.command(&["FUNCTION", "LOAD", "REPLACE", code]).unwrap().is_error("ERR"));
}

#[test]
fn an_rdb_file_of_each_server_is_imported() {
    if !is_ember() {
        return;
    }
    for (name, program) in sources() {
        let (from, dir) = source(&program, &[]);
        let mut writer = client(&from);
        fill(&mut writer, number("EMBERKV_RANDOM_SEED", 1));
        must(&mut writer, "SET brief x PX 700");
        must(&mut writer, "SAVE");
        let file = dir.path().join("dump.rdb");
        let (to, _dir) = target();
        eventually("it expires", || writer.ask("EXISTS brief").unwrap() == Value::Integer(0));
        let said = ends_with(0, &["import", file.to_str().unwrap(), "--to", &uri(&to)]);
        assert!(said.contains("1 left out that had expired"), "{name}: {said}");
        assert_same(&from, &to);
        // once more: the same again
        ends_with(0, &["import", file.to_str().unwrap(), "--to", &uri(&to)]);
        // functions are none of ours, and not passed over
        load_functions(&mut writer);
        must(&mut writer, "SAVE");
        let said = ends_with(1, &["import", file.to_str().unwrap(), "--to", &uri(&to)]);
        assert!(said.contains("the functions mylib"), "{said}");
        assert_same(&from, &to);
    }
}

#[test]
fn a_damaged_file_is_refused_before_anything_is_sent() {
    if !is_ember() {
        return;
    }
    let (from, dir) = source(&sources()[1].1, &[]);
    let mut writer = client(&from);
    for nth in 0..200 {
        must(&mut writer, &format!("RPUSH list:{nth} a b {nth}"));
    }
    must(&mut writer, "SAVE");
    let whole = fs::read(dir.path().join("dump.rdb")).unwrap();
    let file = dir.path().join("damaged.rdb");
    let (to, _dir) = target();
    for nth in 0..12 {
        let at = nth * whole.len() / 12;
        let mut damaged = whole.clone();
        damaged[at] ^= 0x10;
        for bytes in [&damaged[..], &whole[..at]] {
            fs::write(&file, bytes).unwrap();
            let said = ends_with(2, &["import", file.to_str().unwrap(), "--to", &uri(&to)]);
            assert!(said.contains("at byte "), "{said}");
        }
    }
    assert_eq!(size(&to), 0);
}

#[test]
fn an_import_of_a_file_goes_on_where_it_stopped() {
    if !is_ember() {
        return;
    }
    let (from, dir) = source(&sources()[0].1, &[]);
    let mut writer = client(&from);
    fill(&mut writer, 2);
    must(&mut writer, "SAVE");
    let (file, state) = (dir.path().join("dump.rdb"), dir.path().join("state"));
    let (to, _dir) = target();
    let args = ["import", file.to_str().unwrap(), "--to", &uri(&to), "--resume", state.to_str().unwrap()];
    ends_with(0, &args);
    assert!(!state.exists(), "nothing is left to go on with");
    // an earlier run has sent the first half
    let bytes = fs::read(&file).unwrap();
    let end: String = bytes[bytes.len() - 8..].iter().map(|byte| format!("{byte:02x}")).collect();
    fs::write(&state, format!("rdb of {} bytes that ends with {end}\n{}\n", bytes.len(), bytes.len() / 2)).unwrap();
    let before = contents_size(&to);
    must(&mut client(&to), "FLUSHALL");
    ends_with(0, &args);
    let after = contents_size(&to);
    assert!(after > 0 && after < before, "{after} of {before}");
    fs::write(&state, "rdb of 7 bytes that ends with 00\n1\n").unwrap();
    let said = ends_with(2, &args);
    assert!(said.contains("of another file"), "{said}");
}

fn contents_size(server: &Server) -> usize {
    arriving::contents(&mut client(server)).len()
}

#[test]
fn values_that_are_too_large_for_one_command_come_in_slices() {
    if !is_ember() {
        return;
    }
    let (from, dir) = source(&sources()[0].1, &["--rdbcompression", "no"]);
    let mut writer = client(&from);
    let piece = vec![b'x'; 1 << 20];
    for nth in 0..36 {
        let name = format!("{nth}");
        assert!(writer.command(&[&b"APPEND"[..], b"string", &piece]).unwrap().integer().is_some());
        assert!(writer.command(&[&b"HSET"[..], b"hash", name.as_bytes(), &piece]).unwrap().integer().is_some());
    }
    must(&mut writer, "PEXPIREAT hash 4102444800000");
    must(&mut writer, "SET small x");
    must(&mut writer, "SAVE");
    let (to, _dir) = target();
    let file = dir.path().join("dump.rdb");
    let said = ends_with(0, &["import", file.to_str().unwrap(), "--to", &uri(&to)]);
    assert!(said.contains("3 carried (2 of them as commands)"), "{said}");
    ends_with(0, &["compare", &uri(&from), &uri(&to)]);
}

/// Writes as long as it is told to, and returns how often each of ten counters was raised.
fn write(server: &Server, until: &AtomicBool) -> i64 {
    let mut client = client(server);
    let mut rounds = 0;
    while !until.load(Ordering::Relaxed) {
        let (nth, db) = (rounds % 50, if rounds % 20 < 10 { 0 } else { 3 });
        if rounds % 10 == 0 {
            client.select(db).unwrap();
        }
        for words in [
            format!("INCR counter:{}", rounds % 10),
            format!("LPUSH list:{nth} {rounds}"),
            format!("LTRIM list:{nth} 0 30"),
            format!("SADD set:{nth} {rounds} {}", rounds + 1),
            format!("SPOP set:{nth}"),
            "MULTI".into(),
            "DECRBY account:a 3".into(),
            "INCRBY account:b 3".into(),
            "EXEC".into(),
            format!("XADD stream:{nth} MAXLEN ~ 100 * f {rounds}"),
            format!("SET brief:{nth} {rounds} PX {}", 1 + rounds % 40),
            format!("INCRBYFLOAT float:{nth} 0.1"),
            format!("DEL text:{nth}"),
        ] {
            must(&mut client, &words);
        }
        rounds += 1;
    }
    rounds
}

/// Ends the writing, also when the test fails: its end waits for all threads.
struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// What all counters have together.
fn counters(client: &mut Client) -> i64 {
    let mut sum = 0;
    for db in [0, 3] {
        client.select(db).unwrap();
        let mut count = |nth: i64| text(&client.ask(&format!("GET counter:{nth}")).unwrap()).parse().unwrap_or(0);
        sum += (0..10).map(&mut count).sum::<i64>();
    }
    client.select(0).unwrap();
    sum
}

#[test]
fn a_server_is_followed_through_breaks_and_kills() {
    if !is_ember() {
        return;
    }
    for (name, program) in sources() {
        // one that sends its rdb from a file, and two that send it as they make it
        let diskless = if name == "redis 7.0" { "no" } else { "yes" };
        let (from, _from_dir) = source(&program, &["--repl-backlog-size", "64mb", "--repl-diskless-sync", diskless]);
        let mut asker = client(&from);
        fill(&mut asker, 3);
        let (to, _to_dir) = target();
        let (a, b) = (uri(&from), uri(&to));
        let args = ["import", &a, "--to", &b, "--follow"];
        let until = AtomicBool::new(false);
        let (rounds, ended) = std::thread::scope(|scope| {
            let writer = scope.spawn(|| write(&from, &until));
            let stop = Stop(&until);
            let follows = |count: i64| {
                let mut target = client(&to);
                let mut counted = || {
                    target
                        .ask("GET counter:1")
                        .unwrap()
                        .text()
                        .map_or(0, |_| text(&target.ask("GET counter:1").unwrap()).parse().unwrap_or(0))
                };
                let begin: i64 = counted();
                eventually("it follows", || counted() >= begin + count);
            };
            let first = Running::start(&args);
            let mut target = client(&to);
            // counters come with the copy too
            eventually("it is copied", || text(&target.ask("GET emberkv:import").unwrap()).starts_with("following"));
            follows(5);
            // the link breaks
            must(&mut asker, "CLIENT KILL TYPE replica");
            follows(5);
            must(&mut asker, "CLIENT KILL TYPE replica");
            follows(2);
            first.kill9();
            std::thread::sleep(Duration::from_millis(300));
            for _ in 0..5 {
                let next = Running::start(&args);
                follows(3);
                next.kill9();
            }
            let last = Running::start(&args);
            follows(5);
            drop(stop);
            let rounds = writer.join().unwrap();
            (rounds, last.interrupt())
        });
        assert_eq!(ended.0, 0, "{name}: {}", ended.1);
        assert!(ended.1.contains("cut over at offset "), "{}", ended.1);
        assert_eq!(info(&mut asker, "sync_full"), 1, "{name}: it went on each time");
        let mut there = client(&to);
        assert_eq!(text(&must(&mut there, "CONFIG GET import-mode").items().unwrap()[1]), "no");
        assert_eq!(must(&mut there, "EXISTS emberkv:import"), Value::Integer(0));
        // keys that expire do so on both
        eventually("all that is brief has gone", || {
            (0..50).all(|nth| must(&mut there, &format!("EXISTS brief:{nth}")) == Value::Integer(0))
        });
        assert_eq!((counters(&mut asker), counters(&mut there)), (rounds, rounds), "{name}");
        assert_same(&from, &to);
    }
}

#[test]
fn it_begins_anew_when_the_source_has_forgotten() {
    if !is_ember() {
        return;
    }
    let (from, _from_dir) = source(&sources()[1].1, &["--repl-backlog-size", "16kb", "--requirepass", "secret"]);
    let mut writer = client(&from);
    must(&mut writer, "AUTH secret");
    must(&mut writer, "SET old 1");
    let (to, _to_dir) = target();
    let a = format!("redis://:secret@127.0.0.1:{}", from.port());
    let b = uri(&to);
    let args = ["import", &a, "--to", &b, "--follow"];
    let first = Running::start(&args);
    let mut there = client(&to);
    eventually("it is there", || text(&there.ask("GET old").unwrap()) == "1");
    eventually("it follows", || text(&there.ask("GET emberkv:import").unwrap()).starts_with("following"));
    first.kill9();
    must(&mut writer, "DEL old");
    for nth in 0..3000 {
        must(&mut writer, &format!("SET key:{nth} {nth}"));
    }
    let said = ends_with(0, &["import", &a, "--to", &b, "--follow", "--until-caught-up"]);
    assert!(said.contains("copied: keys: 3000 carried"), "{said}");
    assert_eq!((size(&to), must(&mut there, "EXISTS old")), (3000, Value::Integer(0)));
    assert_eq!(info(&mut writer, "sync_full"), 2);
    // what has other data is left alone
    let said = ends_with(2, &args);
    assert!(said.contains("the target is not empty"), "{said}");
    assert_eq!(size(&to), 3000);
    let (code, said) = tool(&["import", &uri(&from), "--to", &b, "--follow", "--flush"]);
    assert!(code == 2 && said.contains("NOAUTH"), "{said}");
}

#[test]
fn keys_live_as_long_as_the_source_says() {
    if !is_ember() {
        return;
    }
    let (from, _from_dir) = source(&sources()[0].1, &[]);
    let mut writer = client(&from);
    must(&mut writer, "SET session x PX 3000");
    must(&mut writer, "SET other x PX 3000");
    let (to, _to_dir) = target();
    let (a, b) = (uri(&from), uri(&to));
    let args = ["import", &a, "--to", &b, "--follow"];
    let first = Running::start(&args);
    let mut there = client(&to);
    eventually("it follows", || text(&there.ask("GET emberkv:import").unwrap()).starts_with("following"));
    first.kill9();
    // nobody tells the target
    let is_longer = writer.ask("PEXPIRE session 10000000").unwrap() == Value::Integer(1);
    std::thread::sleep(Duration::from_millis(3500));
    let last = Running::start(&args);
    must(&mut writer, "SET end 1");
    eventually("it follows", || text(&there.ask("GET end").unwrap()) == "1");
    assert_eq!(must(&mut there, "EXISTS session"), Value::Integer(i64::from(is_longer)));
    let (code, said) = last.interrupt();
    assert_eq!(code, 0, "{said}");
    assert_eq!(must(&mut there, "EXISTS session other"), Value::Integer(i64::from(is_longer)));
}

#[test]
fn the_source_may_be_gone_at_the_cut_over() {
    if !is_ember() {
        return;
    }
    let (mut from, _from_dir) = source(&sources()[2].1, &[]);
    let mut writer = client(&from);
    let (to, _to_dir) = target();
    let (a, b) = (uri(&from), uri(&to));
    let running = Running::start(&["import", &a, "--to", &b, "--follow"]);
    let mut there = client(&to);
    eventually("it follows", || text(&there.ask("GET emberkv:import").unwrap()).starts_with("following"));
    must(&mut writer, "SET last 1");
    eventually("it has come", || text(&there.ask("GET last").unwrap()) == "1");
    from.kill9().unwrap();
    let (code, said) = running.interrupt();
    assert!(code == 0 && said.contains("cut over at offset "), "{said}");
    assert_eq!(text(&must(&mut there, "CONFIG GET import-mode").items().unwrap()[1]), "no");
    assert_eq!(must(&mut there, "DBSIZE"), Value::Integer(1));
}

#[test]
fn what_the_target_does_not_take_is_named() {
    if !is_ember() {
        return;
    }
    let (from, _from_dir) = source(&sources()[1].1, &[]);
    let mut writer = client(&from);
    let (to, _to_dir) = target();
    let (a, b) = (uri(&from), uri(&to));
    let args = ["import", &a, "--to", &b, "--follow"];
    let first = Running::start(&args);
    let mut there = client(&to);
    eventually("it follows", || text(&there.ask("GET emberkv:import").unwrap()).starts_with("following"));
    must(&mut writer, "SET before 1");
    load_functions(&mut writer);
    must(&mut writer, "SWAPDB 0 1");
    must(&mut writer, "SET after 1");
    let (code, said) = first.wait();
    assert!(code == 2 && said.contains("the target refused the command FUNCTION LOAD"), "{said}");
    assert_eq!(must(&mut there, "EXISTS after"), Value::Integer(0));
    let said = ends_with(1, &[&args[..], &["--skip-errors", "--until-caught-up"]].concat());
    assert!(said.contains("not carried: 1"), "{said}");
    assert_same(&from, &to);
}

#[test]
fn the_target_may_die_while_it_is_filled() {
    if !is_ember() {
        return;
    }
    let (from, _from_dir) = source(&sources()[1].1, &["--repl-backlog-size", "64mb"]);
    fill(&mut client(&from), 6);
    let dir = common::dir("arrive");
    let spec = common::spec(dir.path(), &["--cores", "2"]);
    let mut to = Server::start(&spec).unwrap();
    let (spec, b) = (spec.port(to.port()), uri(&to));
    let a = uri(&from);
    let args = ["import", &a, "--to", &b, "--follow"];
    let until = AtomicBool::new(false);
    let (rounds, ended) = std::thread::scope(|scope| {
        let writer = scope.spawn(|| write(&from, &until));
        let stop = Stop(&until);
        let mut running = Running::start(&args);
        let mut target = client(&to);
        eventually("it is copied", || text(&target.ask("GET emberkv:import").unwrap()).starts_with("following"));
        let mut last = 0;
        for _ in 0..4 {
            let mut there = client(&to);
            let counted = |there: &mut Client| text(&there.ask("GET counter:1").unwrap()).parse().unwrap_or(0);
            eventually("it follows", || {
                running.must_run();
                counted(&mut there) > last + 3
            });
            last = counted(&mut there);
            to.kill9().unwrap();
            to = Server::start(&spec).unwrap();
        }
        drop(stop);
        let rounds = writer.join().unwrap();
        let mut there = client(&to);
        eventually("it follows again", || {
            text(&must(&mut there, "CONFIG GET import-mode").items().unwrap()[1]) == "yes"
        });
        (rounds, running.interrupt())
    });
    assert_eq!(ended.0, 0, "{}", ended.1);
    let (mut here, mut there) = (client(&from), client(&to));
    assert_eq!(info(&mut here, "sync_full"), 1);
    assert_eq!((counters(&mut here), counters(&mut there)), (rounds, rounds));
    eventually("all that is brief has gone", || {
        (0..50).all(|nth| must(&mut there, &format!("EXISTS brief:{nth}")) == Value::Integer(0))
    });
    assert_same(&from, &to);
}

#[test]
fn files_of_older_servers_are_imported() {
    if !is_ember() {
        return;
    }
    // element after element, without the lengths of those before, which only matter to who reads backwards
    let ziplist = |elements: &[&[u8]]| {
        let body: Vec<u8> = elements.iter().flat_map(|element| [&[0], *element].concat()).collect();
        let (total, count) = ((body.len() + 11) as u32, elements.len() as u16);
        let bytes = [&total.to_le_bytes()[..], &[0; 4], &count.to_le_bytes(), &body, &[0xff]].concat();
        [&[bytes.len() as u8][..], &bytes].concat()
    };
    let words = ziplist(&[b"\x01a", b"\xf8", b"\x01b", b"\xfe\xff"]);
    let key = |kind: u8, key: &[u8], value: &[u8]| [&[kind, key.len() as u8], key, value].concat();
    let file = [
        &b"REDIS0009\xfe\x00"[..],
        &key(10, b"list", &words),
        &key(13, b"hash", &words),
        &key(12, b"zset", &words),
        &key(14, b"quick", &[&[2][..], &words, &words].concat()),
        &key(3, b"text", b"\x02\x01m\x031.5\x01n\xfe"),
        &key(
            9,
            b"map",
            b"\x0c\x01\x01f\x01\x00v\xff"
                .get(1..)
                .map(|map| [&[map.len() as u8][..], map].concat())
                .unwrap()
                .as_slice(),
        ),
        &[0xff, 0, 0, 0, 0, 0, 0, 0, 0],
    ]
    .concat();
    let dir = common::dir("arrive-old");
    let path = dir.path().join("old.rdb");
    fs::write(&path, file).unwrap();
    let (to, _dir) = target();
    let said = ends_with(0, &["import", path.to_str().unwrap(), "--to", &uri(&to)]);
    assert!(said.contains("6 carried (6 of them as commands)"), "{said}");
    let mut there = client(&to);
    let mut ask = |words: &str| {
        let reply = must(&mut there, words);
        reply.items().unwrap().iter().map(text).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(ask("LRANGE list 0 -1"), "a 7 b -1");
    assert_eq!(ask("LRANGE quick 0 -1"), "a 7 b -1 a 7 b -1");
    assert_eq!(ask("HMGET hash a b"), "7 -1");
    assert_eq!(ask("ZRANGE zset 0 -1 WITHSCORES"), "b -1 a 7");
    assert_eq!(ask("ZRANGE text 0 -1 WITHSCORES"), "m 1.5 n inf");
    assert_eq!(ask("HGETALL map"), "f v");
}

#[test]
fn what_is_too_long_for_the_target_is_sliced_or_named() {
    if !is_ember() {
        return;
    }
    let (from, _from_dir) = source(&sources()[1].1, &["--repl-backlog-size", "64mb"]);
    let mut writer = client(&from);
    let long = vec![b'x'; 3 << 20];
    assert!(writer.command(&[&b"SET"[..], b"string", &long[..900_000]]).unwrap().is_ok());
    for nth in 0..4 {
        writer.command(&[&b"RPUSH"[..], b"list", &long[..900_000], nth.to_string().as_bytes()]).unwrap();
    }
    writer.command(&[&b"RPUSH"[..], b"longer", b"a", &long]).unwrap();
    let (to, _to_dir) = common::start("arrive", &["--cores", "2", "--proto-max-bulk-len", "1mb"]);
    let (a, b) = (uri(&from), uri(&to));
    let said = ends_with(1, &["import", &a, "--to", &b]);
    assert!(said.contains("key longer of database 0: 3145728 bytes in one piece are more"), "{said}");
    must(&mut writer, "DEL longer");
    must(&mut client(&to), "FLUSHALL");
    let running = Running::start(&["import", &a, "--to", &b, "--follow"]);
    let mut there = client(&to);
    eventually("it follows", || text(&there.ask("GET emberkv:import").unwrap()).starts_with("following"));
    writer.command(&[&b"RPUSH"[..], b"longer", b"a", &long]).unwrap();
    let (code, said) = running.wait();
    assert!(code == 2 && said.contains("RPUSH longer of database 0"), "{said}");
    must(&mut writer, "DEL longer");
    let said = ends_with(1, &["import", &a, "--to", &b, "--follow", "--until-caught-up", "--skip-errors"]);
    assert!(said.contains("not carried: 1"), "{said}");
    assert_same(&from, &to);
}
