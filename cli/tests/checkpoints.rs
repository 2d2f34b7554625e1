//! Checkpoints, by the binary: taken on request, by themselves and at an orderly end; and starts that begin with one.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod common;

use std::fs;
use std::path::Path;

use common::{PATIENCE, driver_args, drivers, eventually, is_ember, must, spec, text};
use emberkv_torture::{Client, Server, ServerSpec, Value};

fn field(client: &mut Client, name: &str) -> String {
    let info = text(&must(client, "INFO persistence"));
    let line = info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    line.unwrap_or_else(|| panic!("INFO does not tell {name}")).to_owned()
}

/// The checkpoints in a directory; none may be half written once nothing is under way.
fn checkpoints(dir: &Path) -> Vec<String> {
    let names = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<_> = names.filter(|name| name.starts_with("checkpoint-")).collect();
    names.sort();
    assert!(names.iter().all(|name| !name.ends_with(".new")), "{names:?}");
    names
}

/// Keys `k0` and so on, every third with an expiry; of some it is the second value.
fn fill(client: &mut Client, keys: usize) {
    for round in 0..2 {
        for key in 0..keys {
            if round == 1 && key % 5 > 0 {
                continue;
            }
            let (name, value) = (format!("k{key}"), format!("{round}-{key}"));
            if key % 3 == 0 {
                client.send(&["SET", &name, &value, "EX", "10000"]);
            } else {
                client.send(&["SET", &name, &value]);
            }
            if key % 1000 == 999 || key + 1 == keys {
                client.flush().unwrap();
            }
        }
        let sent = if round == 0 { keys } else { keys.div_ceil(5) };
        for _ in 0..sent {
            assert_eq!(text(&client.read().unwrap()), "OK");
        }
    }
}

fn check(client: &mut Client, keys: usize) {
    for key in (0..keys).step_by(7) {
        let round = usize::from(key % 5 == 0);
        let value = client.command(&["GET", &format!("k{key}")]).unwrap();
        assert_eq!(text(&value), format!("{round}-{key}"));
    }
    let keyspace = text(&must(client, "INFO keyspace"));
    let expected = format!("db0:keys={keys},expires={}", keys.div_ceil(3));
    assert!(keyspace.contains(&expected), "{keyspace} is not {expected}");
}

/// How many records the last start has replayed.
fn replayed(server: &Server) -> u64 {
    let log = server.log_text();
    let line = log.lines().rev().find(|line| line.contains("the log is replayed")).unwrap_or_else(|| panic!("{log}"));
    let number: String = line.split("records=").nth(1).unwrap().chars().take_while(char::is_ascii_digit).collect();
    number.parse().unwrap()
}

fn again(mut server: Server, spec: &ServerSpec) -> Server {
    server.kill9().unwrap();
    Server::start(spec).unwrap()
}

#[test]
fn a_start_after_kill_9_replays_only_what_came_after_the_checkpoint() {
    if !is_ember() {
        return;
    }
    const KEYS: usize = 30_000;
    for io in drivers() {
        let dir = common::dir("checkpoint");
        let spec = spec(dir.path(), &["--save", "", "--cores", "2"]).args(driver_args(io));
        let server = Server::start(&spec).unwrap();
        let mut client = server.connect().unwrap();
        fill(&mut client, KEYS);
        assert_eq!(field(&mut client, "rdb_changes_since_last_save"), (KEYS + KEYS / 5).to_string());
        assert_eq!(text(&must(&mut client, "SAVE")), "OK", "io {io}");
        assert_eq!(field(&mut client, "rdb_changes_since_last_save"), "0");
        assert_eq!(field(&mut client, "rdb_saves"), "1");
        assert_eq!(checkpoints(dir.path()).len(), 2, "one for each partition");
        must(&mut client, "SET late 1");
        must(&mut client, "DEL late");
        let server = again(server, &spec);
        let mut client = server.connect().unwrap();
        check(&mut client, KEYS);
        assert!(replayed(&server) < 100, "io {io}: {} records", replayed(&server));
        // two generations are kept; and the older one will do
        for _ in 0..3 {
            must(&mut client, "SET late 1");
            assert_eq!(text(&must(&mut client, "SAVE")), "OK", "io {io}");
        }
        must(&mut client, "DEL late");
        let names = checkpoints(dir.path());
        assert_eq!(names.len(), 4, "{names:?}");
        for name in [&names[1], &names[3]] {
            let mut bytes = fs::read(dir.path().join(name)).unwrap();
            bytes[5000] ^= 1;
            fs::write(dir.path().join(name), bytes).unwrap();
        }
        let server = again(server, &spec);
        check(&mut server.connect().unwrap(), KEYS);
        assert!(replayed(&server) < 100, "io {io}: {} records", replayed(&server));
        assert!(server.log_text().contains("its index is damaged"), "{}", server.log_text());
        assert_eq!(checkpoints(dir.path()).len(), 2, "damaged ones are removed");
        for name in checkpoints(dir.path()) {
            fs::remove_file(dir.path().join(name)).unwrap();
        }
        let server = again(server, &spec);
        check(&mut server.connect().unwrap(), KEYS);
        assert!(replayed(&server) >= KEYS as u64);
    }
}

#[test]
fn an_orderly_end_takes_a_checkpoint_unless_it_is_told_not_to() {
    if !is_ember() {
        return;
    }
    for io in drivers() {
        let dir = common::dir("checkpoint-end");
        let spec = spec(dir.path(), &["--save", "", "--cores", "2"]).args(driver_args(io));
        let mut server = Server::start(&spec).unwrap();
        fill(&mut server.connect().unwrap(), 5_000);
        server.terminate(PATIENCE).unwrap();
        let mut server = Server::start(&spec).unwrap();
        check(&mut server.connect().unwrap(), 5_000);
        assert!(replayed(&server) < 10, "io {io}: {} records", replayed(&server));
        let names = checkpoints(dir.path());
        server.terminate(PATIENCE).unwrap();
        assert_eq!(checkpoints(dir.path()), names, "nothing has changed");
        let mut server = Server::start(&spec).unwrap();
        let mut client = server.connect().unwrap();
        must(&mut client, "MSET x 1 y 2 z 3");
        client.send(&["SHUTDOWN", "NOSAVE"]);
        client.flush().unwrap();
        server.wait_exit(PATIENCE).unwrap();
        assert_eq!(checkpoints(dir.path()), names);
        let server = Server::start(&spec).unwrap();
        assert_eq!(text(&must(&mut server.connect().unwrap(), "GET z")), "3");
    }
}

#[test]
fn checkpoints_are_taken_by_themselves() {
    if !is_ember() {
        return;
    }
    let dir = common::dir("checkpoint-auto");
    let server = Server::start(&spec(dir.path(), &["--save", "", "--cores", "1"])).unwrap();
    let mut client = server.connect().unwrap();
    let before = must(&mut client, "LASTSAVE");
    fill(&mut client, 2_000);
    assert_eq!(field(&mut client, "rdb_saves"), "0");
    must(&mut client, "CONFIG SET checkpoint-interval 10000");
    eventually("a checkpoint by bytes", || field(&mut client, "rdb_saves") == "1");
    must(&mut client, "CONFIG SET checkpoint-interval 0");
    assert_eq!(text(&client.command(&["CONFIG", "SET", "save", "1 3"]).unwrap()), "OK");
    must(&mut client, "SET a 1");
    must(&mut client, "MSET a 2 b 3");
    eventually("a checkpoint by changes", || field(&mut client, "rdb_saves") == "2");
    assert_eq!(text(&must(&mut client, "BGSAVE")), "Background saving started");
    eventually("a checkpoint on request", || field(&mut client, "rdb_saves") == "3");
    assert_eq!(field(&mut client, "rdb_last_bgsave_status"), "ok");
    let (Value::Integer(before), Value::Integer(after)) = (before, must(&mut client, "LASTSAVE")) else {
        panic!("LASTSAVE is no number")
    };
    assert!(after >= before);
    assert_eq!(text(&client.ask("BGSAVE now").unwrap()), "ERR syntax error");
}

/// No segment is read while this goes on: what is served comes from the disk, record by record.
#[test]
fn what_lies_before_a_checkpoint_is_served_before_it_is_read() {
    if !is_ember() {
        return;
    }
    const KEYS: usize = 4_000;
    let value = |round: usize, key: usize| format!("{round}-{key:0900}");
    for io in drivers() {
        let (dir, signs) = (common::dir("unread"), common::dir("unread-signs"));
        let go = signs.path().join("go");
        let spec = spec(dir.path(), &["--segment-size", "1mb"]).args(driver_args(io));
        let held = spec.clone().failpoints(format!("load-begin=wait:{}", go.display()));
        let mut server = Server::start(&spec).unwrap();
        let mut client = server.connect().unwrap();
        for key in 0..KEYS {
            assert!(client.command(&["SET", &format!("k{key}"), &value(0, key)]).unwrap().is_ok());
        }
        assert!(server.terminate(PATIENCE).unwrap().success(), "{}", server.log_text());
        // the second time after a kill, with something behind the checkpoint
        for round in 0..2 {
            let mut server = Server::start(&held).unwrap();
            let mut client = server.connect().unwrap();
            assert_ne!(field(&mut client, "unread_segments"), "0", "{}", server.log_text());
            for key in (0..KEYS).step_by(7) {
                let expected = value(if key % 70 == 0 { round } else { 0 }, key);
                assert_eq!(text(&client.command(&["GET", &format!("k{key}")]).unwrap()), expected);
            }
            assert_eq!(must(&mut client, "DBSIZE"), Value::Integer(KEYS as i64));
            for key in (0..KEYS).step_by(70) {
                assert!(client.command(&["SET", &format!("k{key}"), &value(round + 1, key)]).unwrap().is_ok());
            }
            assert_ne!(field(&mut client, "unread_segments"), "0");
            server.kill9().unwrap();
        }
        fs::write(&go, "").unwrap();
        let mut server = Server::start(&held).unwrap();
        let mut client = server.connect().unwrap();
        eventually("all is read", || field(&mut client, "unread_segments") == "0");
        assert_eq!(
            (field(&mut client, "unread_bytes"), field(&mut client, "unread_eta_seconds")),
            ("0".into(), "0".into())
        );
        for key in 0..KEYS {
            let expected = value(if key % 70 == 0 { 2 } else { 0 }, key);
            assert_eq!(text(&client.command(&["GET", &format!("k{key}")]).unwrap()), expected);
        }
        assert!(server.terminate(PATIENCE).unwrap().success(), "{}", server.log_text());
    }
}
