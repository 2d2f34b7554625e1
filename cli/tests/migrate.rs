//! MIGRATE to redis and to emberkv, while others write, and to servers that do not answer.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod common;

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use common::{PATIENCE, dir, drivers, is_ember, must, text};
use emberkv_torture::{Client, Server, ServerSpec, TempDir, Value, peers};

fn client(server: &Server) -> Client {
    let mut client = server.connect().unwrap();
    client.set_timeout(PATIENCE).unwrap();
    client
}

fn redis(more: &[&str]) -> (Server, TempDir) {
    let dir = dir("migrate-redis");
    let program = peers::redis82().unwrap_or_else(|error| panic!("no referee: {error}"));
    let server = Server::start(&ServerSpec::new(program, dir.path()).args(more.iter().copied())).unwrap();
    (server, dir)
}

fn source(io: &str) -> (Server, TempDir) {
    common::start("migrate", &["--cores", "2", "--io", io])
}

fn number(value: &Value) -> i64 {
    text(value).parse().unwrap_or(0)
}

#[test]
fn keys_go_to_redis_and_to_emberkv_and_come_back() {
    if !is_ember() {
        return;
    }
    for io in drivers() {
        let (from, _from_dir) = source(io);
        let targets = [redis(&[]), common::start("migrate-to", &["--cores", "2", "--io", io])];
        for (to, _dir) in &targets {
            let (mut here, mut there) = (client(&from), client(to));
            let port = to.port();
            let large = vec![b'x'; 3 << 20];
            for i in 0..30 {
                must(&mut here, &format!("SET k{i} v{i}"));
            }
            must(&mut here, "SET number 12345");
            must(&mut here, "SET brief x PX 100000");
            assert!(here.command(&[&b"SET"[..], b"large", &large]).unwrap().is_ok());
            // one
            assert!(here.ask(&format!("MIGRATE 127.0.0.1 {port} number 0 5000")).unwrap().is_ok());
            assert_eq!(
                (text(&there.ask("GET number").unwrap()), here.ask("GET number").unwrap()),
                ("12345".into(), Value::Null)
            );
            assert!(here.ask(&format!("MIGRATE 127.0.0.1 {port} brief 3 5000")).unwrap().is_ok());
            must(&mut there, "SELECT 3");
            let ttl = there.ask("PTTL brief").unwrap();
            assert!(matches!(ttl, Value::Integer(50_000..=100_000)), "{ttl:?}");
            must(&mut there, "SELECT 0");
            // it is there already
            must(&mut here, "SET number 1");
            let busy = here.ask(&format!("MIGRATE 127.0.0.1 {port} number 0 5000")).unwrap();
            assert_eq!(text(&busy), "ERR Target instance replied with error: BUSYKEY Target key name already exists.");
            assert_eq!(text(&here.ask("GET number").unwrap()), "1");
            assert!(here.ask(&format!("MIGRATE 127.0.0.1 {port} number 0 5000 COPY REPLACE")).unwrap().is_ok());
            assert_eq!(
                (text(&there.ask("GET number").unwrap()), text(&here.ask("GET number").unwrap())),
                ("1".into(), "1".into())
            );
            // many, in all partitions, some of which are refused
            must(&mut there, "SET k7 other");
            let mut words: Vec<Vec<u8>> = format!("MIGRATE 127.0.0.1 {port}").split(' ').map(Into::into).collect();
            words.extend([&b""[..], b"0", b"5000", b"KEYS", b"large", b"nosuch"].map(Vec::from));
            words.extend((0..30).map(|i| format!("k{i}").into_bytes()));
            assert!(text(&here.command(&words).unwrap()).contains("BUSYKEY"));
            assert_eq!(text(&here.ask("GET k7").unwrap()), "v7");
            assert_eq!(here.ask("EXISTS k0 k1 k2 k3 k4 k5 k6 k8 k29 large").unwrap(), Value::Integer(0));
            assert!(there.ask("GET large").unwrap() == Value::Bulk(large.clone()));
            words.insert(6, b"REPLACE".to_vec());
            assert!(here.command(&words).unwrap().is_ok());
            assert_eq!(text(&there.ask("GET k7").unwrap()), "v7");
            assert_eq!(text(&here.command(&words).unwrap()), "NOKEY");
            // and back, if the other one is no stranger
            let back = format!("MIGRATE 127.0.0.1 {} k7 0 5000", from.port());
            assert!(there.ask(&back).unwrap().is_ok());
            assert_eq!(text(&here.ask("GET k7").unwrap()), "v7");
            must(&mut here, "FLUSHALL");
        }
    }
}

#[test]
fn the_other_server_may_ask_for_a_password() {
    if !is_ember() {
        return;
    }
    let (from, _from_dir) = common::start("migrate", &["--cores", "2"]);
    let (to, _dir) = redis(&["--requirepass", "secret", "--user", "me", "on", ">pw", "~*", "+@all"]);
    let (mut here, port) = (client(&from), to.port());
    must(&mut here, "SET k v");
    let migrate =
        |here: &mut Client, more: &str| text(&here.ask(&format!("MIGRATE 127.0.0.1 {port} k 0 5000 {more}")).unwrap());
    assert!(migrate(&mut here, "").starts_with("ERR Target instance replied with error: NOAUTH"));
    assert!(migrate(&mut here, "AUTH wrong").starts_with("ERR Target instance replied with error: WRONGPASS"));
    assert_eq!(migrate(&mut here, "COPY AUTH secret"), "OK");
    assert_eq!(migrate(&mut here, "REPLACE AUTH2 me pw"), "OK");
    assert_eq!(here.ask("EXISTS k").unwrap(), Value::Integer(0));
    must(&mut here, "CONFIG SET slowlog-log-slower-than 0");
    must(&mut here, "SET k v");
    assert_eq!(migrate(&mut here, "REPLACE AUTH2 me pw"), "OK");
    let slow = format!("{:?}", here.ask("SLOWLOG GET").unwrap());
    let has = |word: &str| slow.contains(&format!("{:?}", word.as_bytes())) || slow.contains(word);
    assert!(has("MIGRATE") && has("(redacted)") && !has("pw"), "{slow}");
}

#[test]
fn a_server_that_does_not_answer_holds_nobody_up() {
    if !is_ember() {
        return;
    }
    for io in drivers() {
        let (from, _from_dir) = source(io);
        let silent = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let port = silent.local_addr().unwrap().port();
        let (mut here, mut others) = (client(&from), [client(&from), client(&from)]);
        must(&mut here, "SET k v");
        let began = Instant::now();
        here.send(&format!("MIGRATE 127.0.0.1 {port} k 0 3000").split(' ').collect::<Vec<_>>());
        here.send(&["GET", "k"]);
        here.flush().unwrap();
        let (mut socket, _) = silent.accept().unwrap();
        for i in 0..200 {
            let other = &mut others[i % 2];
            must(other, "SET other x");
            assert_eq!(text(&other.ask("GET k").unwrap()), "v");
            must(other, "DBSIZE");
        }
        let served = began.elapsed();
        assert_eq!(text(&here.read().unwrap()), "IOERR error or timeout reading to target instance");
        let waited = began.elapsed();
        assert!(served < waited && waited >= Duration::from_millis(2900), "{served:?} {waited:?}");
        assert_eq!(text(&here.read().unwrap()), "v");
        assert!(socket.read(&mut [0; 1000]).unwrap() > 0);
        // one that goes in the middle
        here.send(&format!("MIGRATE 127.0.0.1 {port} k 0 5000").split(' ').collect::<Vec<_>>());
        here.flush().unwrap();
        drop(silent.accept().unwrap());
        assert!(text(&here.read().unwrap()).starts_with("IOERR error or timeout"));
        assert_eq!(text(&here.ask("GET k").unwrap()), "v");
    }
}

/// What reads from a connection until so many of these have come.
fn read_until(socket: &mut TcpStream, word: &[u8], many: usize) {
    let (mut all, mut piece) = (Vec::new(), [0; 4096]);
    while all.windows(word.len()).filter(|at| *at == word).count() < many {
        let got = socket.read(&mut piece).unwrap();
        assert!(got > 0, "it has gone");
        all.extend_from_slice(&piece[..got]);
    }
}

#[test]
fn keys_are_sent_without_waiting_for_each_answer() {
    if !is_ember() {
        return;
    }
    for io in drivers() {
        let (from, _from_dir) = source(io);
        let other = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let port = other.local_addr().unwrap().port();
        let mut here = client(&from);
        let keys: Vec<String> = (0..100).map(|i| format!("key{i}")).collect();
        keys.iter().for_each(|key| drop(must(&mut here, &format!("SET {key} v"))));
        let line = format!("MIGRATE 127.0.0.1 {port} '' 0 5000 AUTH pw KEYS {}", keys.join(" "));
        here.send(&line.split(' ').map(|word| if word == "''" { "" } else { word }).collect::<Vec<_>>());
        here.flush().unwrap();
        let (mut socket, _) = other.accept().unwrap();
        read_until(&mut socket, b"SELECT", 1);
        socket.write_all(b"+OK\r\n+OK\r\n").unwrap();
        // all of them come before any is answered
        read_until(&mut socket, b"RESTORE", 100);
        let answers = [b"-BUSYKEY it is there\r\n".to_vec(), b"+OK\r\n".repeat(99)].concat();
        socket.write_all(&answers).unwrap();
        let said = text(&here.read().unwrap());
        assert_eq!(said, "ERR Target instance replied with error: BUSYKEY it is there");
        assert_eq!(here.ask("DBSIZE").unwrap(), Value::Integer(1), "what was taken has gone");
        assert_eq!(here.ask("EXISTS key0").unwrap(), Value::Integer(1));
        // where it is not known which database it is nothing is sent
        here.send(&format!("MIGRATE 127.0.0.1 {port} key0 99 5000").split(' ').collect::<Vec<_>>());
        here.flush().unwrap();
        let (mut socket, _) = other.accept().unwrap();
        read_until(&mut socket, b"SELECT", 1);
        socket.write_all(b"-ERR DB index is out of range\r\n").unwrap();
        assert_eq!(text(&here.read().unwrap()), "ERR Target instance replied with error: ERR DB index is out of range");
        let mut rest = Vec::new();
        socket.read_to_end(&mut rest).unwrap();
        assert!(!rest.windows(7).any(|word| word == b"RESTORE"));
    }
}

/// Thousands go, more than are on their way at a time.
#[test]
fn many_keys_go_in_one_command() {
    if !is_ember() {
        return;
    }
    let (from, _from_dir) = common::start("migrate", &["--cores", "2"]);
    let (to, _dir) = redis(&[]);
    let (mut here, mut there) = (client(&from), client(&to));
    let keys: Vec<String> = (0..5000).map(|i| format!("key{i}")).collect();
    for key in &keys {
        here.send(&["SET", key, "v"]);
    }
    here.flush().unwrap();
    keys.iter().for_each(|_| drop(here.read().unwrap()));
    // a long string that was changed in a place is one like any other
    must(&mut here, "APPEND key7 tail");
    assert_eq!(here.ask("SETBIT key7 800000 1").unwrap(), Value::Integer(0));
    let port = to.port().to_string();
    let words = ["MIGRATE", "127.0.0.1", &port, "", "0", "60000", "KEYS"];
    here.send(&words.into_iter().chain(keys.iter().map(String::as_str)).collect::<Vec<_>>());
    here.flush().unwrap();
    assert_eq!(text(&here.read().unwrap()), "OK");
    assert_eq!(here.ask("DBSIZE").unwrap(), Value::Integer(0));
    assert_eq!(there.ask("DBSIZE").unwrap(), Value::Integer(5000));
    assert_eq!(there.ask("STRLEN key7").unwrap(), Value::Integer(100_001));
    assert_eq!(there.ask("GETBIT key7 800000").unwrap(), Value::Integer(1));
}

/// Whatever is added to a counter is counted here or there, once: it is moved as a whole, between two additions.
#[test]
fn nothing_that_is_written_meanwhile_is_lost_or_doubled() {
    if !is_ember() {
        return;
    }
    for io in drivers() {
        let (from, _from_dir) = source(io);
        let (to, _dir) = redis(&[]);
        let keys = 8;
        let over = AtomicBool::new(false);
        let added: Vec<i64> = std::thread::scope(|scope| {
            let writers: Vec<_> = (0..keys)
                .map(|key| {
                    let (from, over) = (&from, &over);
                    scope.spawn(move || {
                        let (mut client, mut added) = (client(from), 0);
                        while !over.load(Ordering::Relaxed) {
                            must(&mut client, &format!("INCR key{key}"));
                            added += 1;
                            std::thread::sleep(Duration::from_micros(500 * key));
                        }
                        added
                    })
                })
                .collect();
            let (mut here, mut there) = (client(&from), client(&to));
            let port = to.port();
            let mut moved = 0;
            for round in 0..60 {
                let key = round % keys;
                // what is there already is taken into account before it is written over
                let before = number(&there.ask(&format!("GETDEL key{key}")).unwrap());
                if before > 0 {
                    must(&mut there, &format!("INCRBY sum{key} {before}"));
                }
                let reply = text(&here.ask(&format!("MIGRATE 127.0.0.1 {port} key{key} 0 5000")).unwrap());
                moved += i64::from(reply == "OK");
                if reply.starts_with("ERR") {
                    // it is here, and an older value of it there
                    assert!(reply.contains("changed each time"), "{reply}");
                    must(&mut there, &format!("DEL key{key}"));
                }
            }
            assert!(moved > 5, "{moved} were moved");
            over.store(true, Ordering::Relaxed);
            writers.into_iter().map(|writer| writer.join().unwrap()).collect()
        });
        let (mut here, mut there) = (client(&from), client(&to));
        for (key, added) in added.into_iter().enumerate() {
            let get = |client: &mut Client, name: &str| number(&client.ask(&format!("GET {name}{key}")).unwrap());
            let found = get(&mut here, "key") + get(&mut there, "key") + get(&mut there, "sum");
            assert_eq!(found, added, "key{key}");
        }
    }
}

/// A key that is deleted while it is sent is deleted there too.
#[test]
fn a_key_that_goes_meanwhile_is_not_left_there() {
    if !is_ember() {
        return;
    }
    let (from, _from_dir) = common::start("migrate", &["--cores", "2"]);
    let (to, _dir) = common::start("migrate-to", &["--cores", "2"]);
    let (mut here, mut there, mut other) = (client(&from), client(&to), client(&from));
    for i in 0..300 {
        must(&mut here, &format!("SET k{i} v"));
        here.send(&format!("MIGRATE 127.0.0.1 {} k{i} 0 5000", to.port()).split(' ').collect::<Vec<_>>());
        here.flush().unwrap();
        let deleted = other.ask(&format!("DEL k{i}")).unwrap();
        let reply = text(&here.read().unwrap());
        let is_there = there.ask(&format!("EXISTS k{i}")).unwrap();
        // whoever was first has it
        match (&deleted, reply.as_str()) {
            (Value::Integer(1), "NOKEY") => assert_eq!(is_there, Value::Integer(0)),
            (Value::Integer(0), "OK") => assert_eq!(is_there, Value::Integer(1)),
            other => panic!("{other:?}"),
        }
    }
}
