//! Data directories that earlier builds left: every format that was ever released is still read, key by key, and
//! damage in one is still found.
//!
//! `fixtures/format-N` was written by a build whose manifest has version N, `fixtures/format-1-damaged` has what differs
//! from it in a copy with one bit flipped, those from format-2 on have two partitions, and `fixtures/expected.txt` says
//! which strings each holds. `fixtures/format-N.txt` says what it holds of other types, which there were none of before version 3; in
//! format-4 no field of a hash expires.
//! A new format gets its directory by
//! `EMBERKV_FIXTURE=cli/tests/fixtures/format-N cargo test -p emberkv --test fixtures -- --ignored`.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod common;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use common::{PATIENCE, driver_args, drivers, is_ember, must, refused, spec, test_file, text};
use emberkv_torture::value::escape;
use emberkv_torture::{Client, Server, ServerSpec, TempDir, Value};

/// The directories that must be served.
const FORMATS: [&str; 4] = ["format-1", "format-2", "format-4", "format-5"];

/// Databases that hold something.
const DATABASES: [u8; 2] = [0, 3];

/// 2100-01-01 in unix ms: nothing in a fixture expires before.
const FAR_MS: u64 = 4_102_444_800_000;

fn fixture(name: &str) -> PathBuf {
    test_file("fixtures").join(name)
}

fn copied(name: &str) -> TempDir {
    let dir = common::dir(name);
    copy_files(&fixture(name), dir.path());
    dir
}

fn copy_files(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}

/// The smallest segments, so that a fixture has several.
fn small(dir: &Path, cores: &str) -> ServerSpec {
    spec(dir, &["--segment-size", "1mb", "--cores", cores])
}

/// All that a server holds, a line for each key: database, key, expiry in unix ms or -1, and the value, or its type and what is in it.
fn contents(client: &mut Client) -> BTreeSet<String> {
    let mut lines = BTreeSet::new();
    for database in 0..16 {
        client.select(database).unwrap();
        let keys = must(client, "KEYS *");
        for key in keys.items().unwrap() {
            let key = key.text().unwrap();
            let mut ask = |words: &[&[u8]]| client.command(words).unwrap();
            let expiry = ask(&[b"PEXPIRETIME", key]).integer().unwrap();
            let value = match ask(&[b"TYPE", key]).text().unwrap() {
                b"string" => escape(ask(&[b"GET", key]).text().unwrap()),
                kind => format!("{} {}", escape(kind), elements(client, key, kind)),
            };
            lines.insert(format!("{database} {} {expiry} {value}", escape(key)));
        }
    }
    client.select(0).unwrap();
    lines
}

/// What is in a value that is no string, in an order that depends on nothing else.
fn elements(client: &mut Client, key: &[u8], kind: &[u8]) -> String {
    let mut ask = |words: &[&[u8]]| client.command(words).unwrap();
    let pairs = |reply: Value| -> Vec<Vec<Value>> { reply.items().unwrap().chunks(2).map(<[Value]>::to_vec).collect() };
    let mut parts: Vec<String> = match kind {
        b"list" => return shown(&ask(&[b"LRANGE", key, b"0", b"-1"])),
        b"zset" => return shown(&ask(&[b"ZRANGE", key, b"0", b"-1", b"WITHSCORES"])),
        b"set" => ask(&[b"SMEMBERS", key]).items().unwrap().iter().map(shown).collect(),
        b"hash" => {
            let time = |field: &[u8], ask: &mut dyn FnMut(&[&[u8]]) -> Value| {
                shown(&ask(&[b"HPEXPIRETIME", key, b"FIELDS", b"1", field]))
            };
            let fields = pairs(ask(&[b"HGETALL", key]));
            let line = |pair: &Vec<Value>| {
                format!("{} {} {}", shown(&pair[0]), shown(&pair[1]), time(pair[0].text().unwrap(), &mut ask))
            };
            fields.iter().map(line).collect()
        }
        b"stream" => {
            let info = pairs(ask(&[b"XINFO", b"STREAM", key]));
            // how many nodes its tree has is no matter of what it holds
            let told = info.iter().filter(|pair| !pair[0].text().unwrap().starts_with(b"radix"));
            let mut parts: Vec<_> = told.map(|pair| format!("{} {}", shown(&pair[0]), shown(&pair[1]))).collect();
            parts.push(shown(&ask(&[b"XRANGE", key, b"-", b"+"])));
            for group in ask(&[b"XINFO", b"GROUPS", key]).items().unwrap() {
                parts.push(shown(group));
                let name = group.items().unwrap()[1].text().unwrap();
                for pending in ask(&[b"XPENDING", key, name, b"-", b"+", b"1000"]).items().unwrap() {
                    let [id, consumer, _, count] = pending.items().unwrap() else { panic!("{pending:?}") };
                    parts.push(format!("{} {} {}", shown(id), shown(consumer), shown(count)));
                }
            }
            return parts.join(" ");
        }
        kind => panic!("there is no type {}", escape(kind)),
    };
    parts.sort();
    parts.join(" ")
}

fn shown(value: &Value) -> String {
    match (value.text(), value.integer(), value.items()) {
        (Some(text), ..) => format!("'{}'", escape(text)),
        (_, Some(number), _) => number.to_string(),
        (.., Some(items)) => format!("[{}]", items.iter().map(shown).collect::<Vec<_>>().join(" ")),
        _ => "nil".to_owned(),
    }
}

/// What the directory of a format holds.
fn expected(name: &str) -> BTreeSet<String> {
    let mut text = fs::read_to_string(fixture("expected.txt")).unwrap();
    text.push_str(&fs::read_to_string(fixture(&format!("{name}.txt"))).unwrap_or_default());
    text.lines().map(str::to_owned).collect()
}

#[test]
fn every_format_is_served_key_by_key_and_goes_on() {
    if !is_ember() {
        return;
    }
    for name in FORMATS {
        let expected = expected(name);
        assert!(expected.len() > 300, "the list of keys is too short to mean anything");
        // as many cores as partitions, fewer and more.
        for (io, cores) in drivers().into_iter().zip(["1", "3"]) {
            let dir = copied(name);
            let spec = small(dir.path(), cores).args(driver_args(io));
            let mut server = Server::start(&spec).unwrap();
            let mut client = server.connect().unwrap();
            let found = contents(&mut client);
            let different: Vec<_> = found.symmetric_difference(&expected).take(10).collect();
            assert!(different.is_empty(), "{name}, io {io}: {different:?}");
            for database in DATABASES {
                client.select(database).unwrap();
                let count = expected.iter().filter(|line| line.starts_with(&format!("{database} "))).count();
                assert_eq!(must(&mut client, "DBSIZE"), Value::Integer(count as i64), "{name}, io {io}");
            }
            // what is written from here on, and what was there, are one data set.
            client.select(0).unwrap();
            must(&mut client, "SET later 1");
            server.kill9().unwrap();
            let server = Server::start(&spec).unwrap();
            let mut client = server.connect().unwrap();
            assert_eq!(text(&must(&mut client, "GETDEL later")), "1", "{name}, io {io}");
            assert!(contents(&mut client) == expected, "{name}, io {io}: the second start serves something else");
        }
    }
}

/// Where the files of `a` differ from those of `b`: file and offset of each byte.
fn differences(a: &Path, b: &Path) -> Vec<(String, usize)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(a).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let (a, b) = (fs::read(a.join(&name)).unwrap(), fs::read(b.join(&name)).unwrap());
        assert_eq!(a.len(), b.len(), "{name}");
        found.extend((0..a.len()).filter(|at| a[*at] != b[*at]).map(|at| (name.clone(), at)));
    }
    found
}

#[test]
fn a_flipped_bit_below_the_durable_position_stops_the_start() {
    if !is_ember() {
        return;
    }
    let flipped = differences(&fixture("format-1-damaged"), &fixture("format-1"));
    let [(file, offset)] = &flipped[..] else { panic!("one bit should differ: {flipped:?}") };
    let dir = copied("format-1");
    copy_files(&fixture("format-1-damaged"), dir.path());
    let before = fs::read(dir.path().join(file)).unwrap();
    let log = refused(&small(dir.path(), "1"));
    assert!(log.contains(file), "it does not name the file {file}:\n{log}");
    let mut numbers = log.split(|c: char| !c.is_ascii_digit()).filter_map(|word| word.parse::<usize>().ok());
    // a frame is named by its beginning, which lies less than the longest value before the bit.
    let named = log.contains("offset") && numbers.any(|number| number <= *offset && number + (16 << 10) > *offset);
    assert!(named, "it does not name an offset near {offset}:\n{log}");
    assert!(fs::read(dir.path().join(file)).unwrap() == before, "a refusal has changed {file}");
}

/// A few hundred keys over several segments: strings, integers, appended ones, expiries, deletes, overwrites, a
/// flushed database and one that was not.
fn write_fixture(client: &mut Client, part: usize) {
    let range = part * 100..(part + 1) * 100;
    // long values that are overwritten fill segments and compress well; what lives is short.
    let filler = |number: usize, times: usize| format!("{number}-of-the-fixture;").repeat(times);
    for number in range.clone() {
        must(client, &format!("SET str:{number} {}", filler(number, 400)));
        must(client, &format!("SET str:{number} <{number}>{}", filler(number, number % 23)));
        must(client, &format!("INCRBY num:{number} {}", number * 1_000_003));
        must(client, &format!("MSET pair:{number}:a {number} pair:{number}:b {number}"));
        match number % 5 {
            0 => must(client, &format!("PEXPIREAT str:{number} {}", FAR_MS + number as u64)),
            1 => must(client, &format!("APPEND str:{number} [appended]")),
            2 => must(client, &format!("DEL str:{number}")),
            3 => must(client, &format!("SET ttl:{number} v PXAT {}", FAR_MS + 1)),
            _ => must(client, &format!("DECRBY num:{number} {number}")),
        };
    }
    // binary keys and values, empty ones too.
    let binary = [&b"SET"[..], &[0, 255, 10, 13, u8::try_from(part).unwrap()], &[0, 1, 2, 254]];
    assert!(client.command(&binary).unwrap().is_ok());
    assert!(client.command(&["SET", &format!("empty:{part}"), ""]).unwrap().is_ok());
    // database 1 is emptied, database 3 is emptied and written again.
    for database in [1, 3] {
        client.select(database).unwrap();
        range.clone().for_each(|number| drop(must(client, &format!("SET gone:{number} x"))));
        must(client, "FLUSHDB");
    }
    range.for_each(|number| drop(must(client, &format!("SET kept:{number} {number}"))));
    client.select(0).unwrap();
}

/// Values of each type that has elements, small ones and large ones, which grow and shrink from part to part.
fn write_collections(client: &mut Client, part: usize) {
    let range = part * 120..(part + 1) * 120;
    let all = |word: &dyn Fn(usize) -> String| range.clone().map(word).collect::<Vec<_>>().join(" ");
    let few = |word: &dyn Fn(usize) -> String| range.clone().step_by(6).map(word).collect::<Vec<_>>().join(" ");
    let far = |ms: usize| FAR_MS + ms as u64;
    let kinds = [
        format!("RPUSH list:{part} a b c {part}"),
        format!("SADD set:{part} a b c {part}"),
        format!("SADD ints:{part} 5 -3 {part}00"),
        format!("ZADD zset:{part} 1 a 2.5 b -inf c {part} d"),
        format!("HSET hash:{part} a 1 b 2 c 3"),
        format!("HPEXPIREAT hash:{part} {} FIELDS 2 c a", far(7)),
        format!("HSET untimed:{part} a 1 b 2"),
        format!("PEXPIREAT untimed:{part} {}", far(9)),
        format!("XADD stream:{part} 1-1 f v g {part}"),
        format!("XGROUP CREATE stream:{part} group $"),
        format!("RPUSH large:list {}", all(&|i| format!("element-{i}"))),
        format!("LPUSH large:list front-{part} {}", "long".repeat(200)),
        "LPOP large:list 1".to_owned(),
        format!("LSET large:list 50 changed-{part}"),
        "LREM large:list 1 element-30".to_owned(),
        format!("SADD large:set {}", all(&|i| format!("member-{i}"))),
        format!("SREM large:set {}", few(&|i| format!("member-{i}"))),
        format!("SADD large:ints {}", all(&|i| format!("{}", i * 1_000_003))),
        format!("ZADD large:zset {}", all(&|i| format!("{} member-{i}", i % 37))),
        format!("ZREM large:zset {}", few(&|i| format!("member-{i}"))),
        format!("ZINCRBY large:zset 0.5 member-{}", part * 120 + 1),
        format!("HSET large:hash {}", all(&|i| format!("field-{i} value-{i}"))),
        format!("HDEL large:hash {}", few(&|i| format!("field-{i}"))),
        format!("HSET large:times {}", all(&|i| format!("field-{i} value-{i}"))),
        format!("HPEXPIREAT large:times {} FIELDS 20 {}", far(part), few(&|i| format!("field-{i}"))),
        format!("HPEXPIREAT large:times {} FIELDS 20 {}", far(5), few(&|i| format!("field-{}", i + 1))),
        format!("HPERSIST large:times FIELDS 1 field-{}", part * 120),
        format!("HPEXPIREAT large:times 1 FIELDS 1 field-{}", part * 120 + 6),
        // large in one part, whole again in the next one
        format!("HSET shrunk {}", all(&|i| format!("field-{i} value-{i}"))),
        format!("HSETEX shrunk PXAT {} FIELDS 1 stays {part}", far(1)),
        format!("HDEL shrunk {}", (0..part * 120).map(|i| format!("field-{i}")).collect::<Vec<_>>().join(" ") + " no"),
        // what is gone leaves its leaves behind for a while
        format!("HSET lost {}", all(&|i| format!("field-{i} value-{i}"))),
        "DEL lost".to_owned(),
        "COPY large:times copied REPLACE".to_owned(),
        format!("RPUSH before {}", all(&|i| format!("element-{i}"))),
        "RENAME before after".to_owned(),
    ];
    kinds.iter().for_each(|line| drop(must(client, line)));
    for i in range.clone() {
        must(client, &format!("XADD large:stream 7-{} field value-{i} other {part}", i + 1));
    }
    if part == 0 {
        must(client, "XGROUP CREATE large:stream readers 0");
    }
    must(client, "XREADGROUP GROUP readers one COUNT 9 STREAMS large:stream >");
    must(client, "XREADGROUP GROUP readers two COUNT 9 STREAMS large:stream >");
    must(client, &format!("XACK large:stream readers 7-{} 7-{}", part * 18 + 2, part * 18 + 11));
    must(client, &format!("XDEL large:stream 7-{} 7-{}", part * 120 + 50, part * 120 + 51));
    // in one transaction, over both partitions
    for line in
        ["MULTI", "LPUSH queue:a x", "LPUSH queue:b x", "SADD queue:c x y", "LMOVE queue:a queue:b LEFT RIGHT", "EXEC"]
    {
        must(client, line);
    }
    // that database is emptied in each part
    client.select(3).unwrap();
    must(client, &format!("HSET kept:hash {}", all(&|i| format!("field-{i} value-{i}"))));
    client.select(0).unwrap();
}

/// Writes the directory that `EMBERKV_FIXTURE` names, and the list of what it holds when there is none yet.
#[test]
#[ignore = "makes a fixture; only for a new format"]
fn make_the_fixture_of_this_format() {
    let target = PathBuf::from(std::env::var_os("EMBERKV_FIXTURE").expect("EMBERKV_FIXTURE names the directory"));
    let target = if target.is_absolute() { target } else { test_file("../..").join(target) };
    let spec = small(&target, "2");
    for part in 0..3 {
        let mut server = Server::start(&spec).unwrap();
        let mut client = server.connect().unwrap();
        write_fixture(&mut client, part);
        write_collections(&mut client, part);
        if part == 1 {
            server.kill9().unwrap();
        } else {
            assert!(server.terminate(PATIENCE).unwrap().success());
        }
    }
    // read from a copy, so that the fixture is as the last writer left it.
    let copy = common::dir("fixture-copy");
    copy_files(&target, copy.path());
    let server = Server::start(&small(copy.path(), "2")).unwrap();
    let found = contents(&mut server.connect().unwrap());
    let strings = expected("strings alone");
    assert!(found.is_superset(&strings), "it holds other strings than the list says");
    let text: String = found.difference(&strings).map(|line| format!("{line}\n")).collect();
    fs::write(target.with_extension("txt"), text).unwrap();
}
