//! Data directories that earlier builds left: every format that was ever released is still read, key by key, and
//! damage in one is still found.
//!
//! `fixtures/format-N` was written by a build whose manifest has version N, `fixtures/format-1-damaged` has what differs
//! from it in a copy with one bit flipped, format-2 has two partitions, and `fixtures/expected.txt` says what each holds.
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
const FORMATS: [&str; 2] = ["format-1", "format-2"];

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

/// All that a server holds, a line for each key: database, key, expiry in unix ms or -1, value.
fn contents(client: &mut Client) -> BTreeSet<String> {
    let mut lines = BTreeSet::new();
    for database in 0..16 {
        client.select(database).unwrap();
        let keys = must(client, "KEYS *");
        for key in keys.items().unwrap() {
            let key = key.text().unwrap();
            client.send(&[&b"PEXPIRETIME"[..], key]);
            client.send(&[&b"GET"[..], key]);
            let (expiry, value) = (client.read().unwrap(), client.read().unwrap());
            let (expiry, value) = (expiry.integer().unwrap(), escape(value.text().unwrap()));
            lines.insert(format!("{database} {} {expiry} {value}", escape(key)));
        }
    }
    client.select(0).unwrap();
    lines
}

fn expected() -> BTreeSet<String> {
    let text = fs::read_to_string(fixture("expected.txt")).unwrap();
    text.lines().map(str::to_owned).collect()
}

#[test]
fn every_format_is_served_key_by_key_and_goes_on() {
    if !is_ember() {
        return;
    }
    let expected = expected();
    assert!(expected.len() > 300, "the list of keys is too short to mean anything");
    for name in FORMATS {
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

/// Writes the directory that `EMBERKV_FIXTURE` names, and the list of what it holds when there is none yet.
#[test]
#[ignore = "makes a fixture; only for a new format"]
fn make_the_fixture_of_this_format() {
    let target = PathBuf::from(std::env::var_os("EMBERKV_FIXTURE").expect("EMBERKV_FIXTURE names the directory"));
    let target = if target.is_absolute() { target } else { test_file("../..").join(target) };
    let spec = small(&target, "2");
    for part in 0..3 {
        let mut server = Server::start(&spec).unwrap();
        write_fixture(&mut server.connect().unwrap(), part);
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
    let list = fixture("expected.txt");
    if list.exists() {
        assert!(found == expected(), "it holds something else than the list says");
    } else {
        let text: String = found.iter().map(|line| format!("{line}\n")).collect();
        fs::write(list, text).unwrap();
    }
}
