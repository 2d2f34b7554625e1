//! Torn and damaged logs, full disks, and an orderly end.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod common;

use std::fs;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use common::{PATIENCE, driver_args, drivers, eventually, is_ember, must, refused, spec, text};
use emberkv_torture::{Client, Server, ServerSpec, Value};

/// How many keys the damaged logs hold.
const KEYS: usize = 500;

fn value(number: usize) -> String {
    format!("<the value of key {number}>")
}

/// Writes [`KEYS`] keys one by one in `always`, so that each has a frame of its own, and kills.
fn write_and_kill(spec: &ServerSpec) {
    let mut server = Server::start(spec).unwrap();
    let mut client = server.connect().unwrap();
    for number in 0..KEYS {
        let reply = client.command(&["SET", &format!("k{number}"), &value(number)]).unwrap();
        assert!(reply.is_ok());
    }
    server.kill9().unwrap();
}

/// Where `needle` is in the files of a directory: file and offset, every place.
fn places(dir: &Path, needle: &[u8]) -> Vec<(PathBuf, u64)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(places(&path, needle));
        } else if let Ok(bytes) = fs::read(&path) {
            // most of a preallocated file is zeros: look for the first byte, then compare.
            let mut at = 0;
            while let Some(next) = bytes[at..].iter().position(|byte| *byte == needle[0]) {
                at += next;
                if bytes[at..].starts_with(needle) {
                    found.push((path.clone(), at as u64));
                }
                at += 1;
            }
        }
    }
    found
}

/// Flips a few bytes wherever `needle` lies; the file and offset of the last place.
fn garble(dir: &Path, needle: &str) -> (PathBuf, u64) {
    let places = places(dir, needle.as_bytes());
    assert!(!places.is_empty(), "{needle:?} is nowhere in {}", dir.display());
    for (path, offset) in &places {
        let file = fs::OpenOptions::new().write(true).open(path).unwrap();
        file.write_all_at(b"#garble#", *offset + 3).unwrap();
        file.sync_all().unwrap();
    }
    places.last().unwrap().clone()
}

#[test]
fn a_torn_tail_is_cut_reported_and_served() {
    if !is_ember() {
        return;
    }
    for io in drivers() {
        let dir = common::dir("torn");
        let spec = spec(dir.path(), &["--appendfsync", "always"]).args(driver_args(io));
        write_and_kill(&spec);
        garble(dir.path(), &value(KEYS - 1));
        let server = Server::start(&spec).unwrap();
        let mut client = server.connect().unwrap();
        for number in 0..KEYS - 1 {
            let got = client.ask(&format!("GET k{number}")).unwrap();
            assert_eq!(text(&got), value(number), "io {io}, k{number}");
        }
        assert_eq!(client.ask(&format!("GET k{}", KEYS - 1)).unwrap(), Value::Null);
        let log = server.log_text().to_lowercase();
        let reported = ["torn", "cut", "discard", "truncat"].iter().any(|word| log.contains(word));
        assert!(reported, "io {io}: it does not report the cut:\n{log}");
        must(&mut client, "SET after 1");
    }
}

#[test]
fn what_is_written_after_a_cut_is_there_after_the_next_kill() {
    if !is_ember() {
        return;
    }
    let dir = common::dir("torn-twice");
    let spec = spec(dir.path(), &["--appendfsync", "always"]);
    write_and_kill(&spec);
    garble(dir.path(), &value(KEYS - 1));
    let mut server = Server::start(&spec).unwrap();
    must(&mut server.connect().unwrap(), "SET after 1");
    server.kill9().unwrap();
    let server = Server::start(&spec).unwrap();
    let mut client = server.connect().unwrap();
    assert_eq!(text(&must(&mut client, "GET after")), "1");
    assert_eq!(text(&must(&mut client, "GET k0")), value(0));
    assert_eq!(must(&mut client, "DBSIZE"), Value::Integer(KEYS as i64));
}

#[test]
fn damage_in_the_middle_refuses_to_start_and_names_file_and_offset() {
    if !is_ember() {
        return;
    }
    let dir = common::dir("damaged");
    let spec = spec(dir.path(), &["--appendfsync", "always"]);
    write_and_kill(&spec);
    let (path, _) = garble(dir.path(), &value(KEYS / 2));
    let log = refused(&spec);
    let name = path.file_name().unwrap().to_string_lossy();
    assert!(log.contains(&*name), "it does not name the file {name}:\n{log}");
    assert!(log.contains("offset"), "it does not name the offset:\n{log}");
    // a refusal changes nothing: the next start says the same.
    let again = refused(&spec);
    assert!(again.contains(&*name), "the second start says something else:\n{again}");
}

#[test]
fn a_missing_file_refuses_to_start() {
    if !is_ember() {
        return;
    }
    let dir = common::dir("missing");
    let spec = spec(dir.path(), &["--appendfsync", "always"]);
    write_and_kill(&spec);
    let (path, _) = places(dir.path(), value(0).as_bytes()).remove(0);
    fs::remove_file(&path).unwrap();
    let log = refused(&spec);
    let name = path.file_name().unwrap().to_string_lossy();
    assert!(log.contains(&*name), "it does not name the file {name}:\n{log}");
}

/// A small file system of its own, unmounted when dropped.
struct SmallDisk(PathBuf);

impl SmallDisk {
    /// It has so much more from now on.
    fn grow(&self) {
        let mut mount = Command::new("mount");
        assert!(mount.args(["-o", "remount,size=128m"]).arg(&self.0).status().unwrap().success());
    }

    fn mount(path: &Path) -> Option<Self> {
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", "size=16m", "tmpfs"]).arg(path);
        mount.status().is_ok_and(|status| status.success()).then(|| Self(path.to_path_buf()))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(&self.0).status();
    }
}

/// Needs root and mount(2).
#[test]
fn a_full_disk_is_an_error_and_not_the_end() {
    if !is_ember() {
        return;
    }
    for io in drivers() {
        let dir = common::dir("full");
        let Some(_disk) = SmallDisk::mount(dir.path()) else {
            eprintln!("skipped: a small file system needs root");
            return;
        };
        let spec = spec(dir.path(), &["--segment-size", "1mb"]).args(driver_args(io));
        let mut server = Server::start(&spec).unwrap();
        let mut client = server.connect().unwrap();
        let value = vec![b'v'; 10_000];
        let mut stored = 0;
        let refusal = loop {
            let reply = set(&mut client, stored, &value);
            if !reply.is_ok() {
                break reply;
            }
            stored += 1;
            assert!(stored < 5_000, "16 MB hold no {stored} values of 10 kB");
        };
        assert!(refusal.is_error("MISCONF"), "a full disk is answered {refusal:?}");
        assert!(stored > 100, "only {stored} values of 10 kB fit on 16 MB");
        // reads go on, the refused write is not seen, and DEL works.
        assert!(client.ask("GET k0").unwrap().text() == Some(&value[..]), "io {io}");
        assert_eq!(client.ask(&format!("EXISTS k{stored}")).unwrap(), Value::Integer(0));
        assert_eq!(must(&mut client, "DEL k1"), Value::Integer(1));
        // room by FLUSHALL: writes resume on their own.
        must(&mut client, "FLUSHALL");
        eventually("writes resume", || set(&mut client, 0, &value).is_ok());
        for number in 1..100 {
            eventually("writes go on", || set(&mut client, number, &value).is_ok());
        }
        server.kill9().unwrap();
        let server = Server::start(&spec).unwrap();
        let mut client = server.connect().unwrap();
        assert_eq!(must(&mut client, "DBSIZE"), Value::Integer(100), "io {io}");
        drop(server);
    }
}

/// Needs root and mount(2).
#[test]
fn a_replica_whose_disk_is_full_waits_for_room() {
    if !is_ember() {
        return;
    }
    for io in drivers() {
        let (dir, small) = (common::dir("full-primary"), common::dir("full-replica"));
        let Some(disk) = SmallDisk::mount(small.path()) else {
            eprintln!("skipped: a small file system needs root");
            return;
        };
        let args = ["--segment-size", "1mb", "--cores", "1"];
        let primary = Server::start(&spec(dir.path(), &args).args(driver_args(io))).unwrap();
        let port = primary.port().to_string();
        let spec = spec(small.path(), &args).args(driver_args(io)).args(["--replicaof", "127.0.0.1", &port]);
        let mut replica = Server::start(&spec).unwrap();
        let mut client = primary.connect().unwrap();
        assert!(set(&mut client, 0, b"first").is_ok());
        eventually("the replica has it", || must(&mut client, "WAIT 1 100") == Value::Integer(1));
        let value = vec![b'v'; 10_000];
        for number in 1..3_000 {
            assert!(set(&mut client, number, &value).is_ok(), "the primary's disk is not full");
        }
        assert_eq!(must(&mut client, "WAIT 1 1500"), Value::Integer(0), "io {io}: it has no room for that");
        assert!(set(&mut client, 3_000, &value).is_ok(), "the primary does not mind");
        assert!(replica.exited().unwrap().is_none(), "{}", replica.log_text());
        // it reads what it has
        let mut reader = replica.connect().unwrap();
        assert_eq!(text(&must(&mut reader, "GET k0")), "first", "io {io}");
        disk.grow();
        eventually("it goes on by itself", || must(&mut client, "WAIT 1 100") == Value::Integer(1));
        assert_eq!(must(&mut reader, "DBSIZE"), Value::Integer(3_001), "io {io}");
        replica.kill9().unwrap();
        let replica = Server::start(&spec).unwrap();
        assert_eq!(must(&mut replica.connect().unwrap(), "DBSIZE"), Value::Integer(3_001), "io {io}");
        drop(replica);
    }
}

fn set(client: &mut Client, number: usize, value: &[u8]) -> Value {
    client.command(&[b"SET", format!("k{number}").as_bytes(), value]).unwrap()
}

#[test]
fn sigterm_under_load_drains_and_keeps_all_that_was_acknowledged() {
    for io in drivers() {
        let dir = common::dir("sigterm");
        let spec = spec(dir.path(), &[]).args(driver_args(io));
        let mut server = Server::start(&spec).unwrap();
        let writing = Arc::new(AtomicBool::new(false));
        let threads: Vec<_> = (0..4)
            .map(|number| {
                let (client, writing) = (server.connect().unwrap(), Arc::clone(&writing));
                std::thread::spawn(move || count_until_closed(client, number, &writing))
            })
            .collect();
        eventually("the writers are under way", || writing.load(Ordering::Relaxed));
        let status = server.terminate(PATIENCE).unwrap();
        assert!(status.success(), "io {io}: {status}\n{}", server.log_text());
        let counts: Vec<(i64, i64)> = threads.into_iter().map(|t| t.join().unwrap()).collect();
        let server = Server::start(&spec).unwrap();
        let mut client = server.connect().unwrap();
        for (number, (acked, sent)) in counts.into_iter().enumerate() {
            let found = text(&must(&mut client, &format!("GET n{number}")));
            let found: i64 = found.parse().unwrap();
            let fits = (acked..=sent).contains(&found);
            assert!(fits, "io {io}: n{number} is {found}, acknowledged {acked}, sent {sent}");
        }
    }
}

/// Pipelines INCR until the server closes: how many were answered, and how many sent.
fn count_until_closed(mut client: Client, number: usize, writing: &AtomicBool) -> (i64, i64) {
    let key = format!("n{number}");
    let (mut acked, mut sent) = (0, 0);
    loop {
        for _ in 0..20 {
            client.send(&["INCR", &key]);
            sent += 1;
        }
        if client.flush().is_err() {
            return (acked, sent);
        }
        for _ in 0..20 {
            match client.read() {
                Ok(Value::Integer(value)) => acked = value,
                Ok(_) | Err(_) => return (acked, sent),
            }
        }
        writing.store(acked > 2_000 || writing.load(Ordering::Relaxed), Ordering::Relaxed);
    }
}

#[test]
fn shutdown_saves_and_exits_0() {
    let dir = common::dir("shutdown");
    let spec = spec(dir.path(), &[]);
    let mut server = Server::start(&spec).unwrap();
    let mut client = server.connect().unwrap();
    must(&mut client, "SET a 1");
    client.send(&["SHUTDOWN"]);
    assert_eq!(client.read_to_close().unwrap(), b"");
    assert!(server.wait_exit(PATIENCE).unwrap().success(), "{}", server.log_text());
    let server = Server::start(&spec).unwrap();
    assert_eq!(text(&must(&mut server.connect().unwrap(), "GET a")), "1");
}

#[test]
fn expiries_are_kept_over_a_restart() {
    let dir = common::dir("expiries");
    let spec = spec(dir.path(), &[]);
    let mut server = Server::start(&spec).unwrap();
    let mut client = server.connect().unwrap();
    must(&mut client, "SET far 1 PXAT 4102444800123");
    must(&mut client, "SET near 1 PX 20");
    must(&mut client, "SET none 1 EX 100");
    must(&mut client, "PERSIST none");
    server.kill9().unwrap();
    let server = Server::start(&spec).unwrap();
    let mut client = server.connect().unwrap();
    assert_eq!(must(&mut client, "PEXPIRETIME far"), Value::Integer(4_102_444_800_123));
    assert_eq!(must(&mut client, "TTL none"), Value::Integer(-1));
    eventually("the near one is gone", || must(&mut client, "EXISTS near") == Value::Integer(0));
    eventually("and not counted", || must(&mut client, "DBSIZE") == Value::Integer(2));
}
