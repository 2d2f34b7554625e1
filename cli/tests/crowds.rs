//! Crowds and exhaustion: thousands of connections, clients that stay half open or flood, requests of the largest kind, no file
//! descriptors left. The server stays up, honest clients are served, nothing acknowledged is lost.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod common;

use std::process::Command;

use common::{driver_args, drivers, eventually, is_ember, must, number, spec, start, text};
use emberkv_torture::{Client, Server, Value};

fn started(name: &str, io: &str, more: &[&str]) -> (Server, emberkv_torture::TempDir) {
    let io = driver_args(io);
    let args: Vec<&str> = io.iter().map(String::as_str).chain(more.iter().copied()).collect();
    start(name, &args)
}

/// As many files as this process may have open.
fn file_limit() -> usize {
    let output = Command::new("sh").args(["-c", "ulimit -n"]).output().unwrap();
    String::from_utf8_lossy(&output.stdout).trim().parse().unwrap_or(1024)
}

/// Ten thousand, or what the limit of open files allows this test.
#[test]
fn ten_thousand_connections_are_served() {
    let wanted = number("EMBERKV_CROWD", 10_000) as usize;
    let count = wanted.min(file_limit().saturating_sub(200));
    if count < wanted {
        eprintln!("only {count} connections: the limit of open files is too low (ulimit -n)");
    }
    for io in drivers() {
        let (server, _dir) = started("crowd", io, &["--maxclients", "20000"]);
        let mut crowd: Vec<Client> = (0..count).map(|_| server.connect().unwrap()).collect();
        for (nth, client) in crowd.iter_mut().enumerate() {
            client.send(&["SET", &format!("key:{nth}"), &nth.to_string()]);
            client.send(&["GET", &format!("key:{nth}")]);
            client.flush().unwrap();
        }
        for (nth, client) in crowd.iter_mut().enumerate() {
            assert!(client.read().unwrap().is_ok());
            assert_eq!(client.read().unwrap(), Value::Bulk(nth.to_string().into_bytes()));
        }
        drop(crowd);
        let mut honest = server.connect().unwrap();
        assert_eq!(must(&mut honest, "DBSIZE"), Value::Integer(count as i64));
        eventually("the crowd is forgotten", || text(&must(&mut honest, "CLIENT LIST")).lines().count() == 1);
    }
}

/// Some say nothing, some stop in the middle of a request, some hang up, some send and never read.
#[test]
fn those_who_stay_half_open_or_flood_disturb_nobody() {
    const EACH: usize = 200;
    for io in drivers() {
        let (server, _dir) = started("half-open", io, &[]);
        let mut honest = server.connect().unwrap();
        let silent: Vec<Client> = (0..EACH).map(|_| server.connect().unwrap()).collect();
        let mut begun: Vec<Client> = (0..EACH).map(|_| server.connect().unwrap()).collect();
        for (nth, client) in begun.iter_mut().enumerate() {
            let request = b"*3\r\n$3\r\nSET\r\n$5\r\nhalf!\r\n$100000\r\nxxxxxxxxxxxxxxxx";
            client.send_raw(&request[..1 + nth % request.len()]);
            client.flush().unwrap();
        }
        let mut floods: Vec<Client> = (0..20).map(|_| server.connect().unwrap()).collect();
        let flood: Vec<u8> = b"*2\r\n$4\r\nECHO\r\n$9\r\nnobody...\r\n".repeat(2_000);
        for client in &mut floods {
            client.send_raw(&flood);
            // nobody reads: what does not fit any more is the client's own trouble
            client.set_timeout(std::time::Duration::from_millis(200)).unwrap();
            let _ = client.flush();
        }
        for nth in 0..2_000_i64 {
            drop(server.connect().unwrap());
            assert_eq!(must(&mut honest, "INCR honest"), Value::Integer(nth + 1));
        }
        drop((silent, begun, floods));
        assert_eq!(must(&mut honest, "EXISTS half!"), Value::Integer(0));
        eventually("they are forgotten", || text(&must(&mut honest, "CLIENT LIST")).lines().count() == 1);
    }
}

#[test]
fn a_pipeline_of_a_million_and_keys_of_a_megabyte_survive_a_kill() {
    const WRITES: usize = 1_000_000;
    const AT_ONCE: usize = 10_000;
    for io in drivers() {
        let dir = common::dir("giants");
        let spec = spec(dir.path(), &[]).args(driver_args(io));
        let mut server = Server::start(&spec).unwrap();
        let mut client = server.connect().unwrap();
        let big = vec![b'k'; 1 << 20];
        assert!(client.command(&[&b"SET"[..], &big, b"found"]).unwrap().is_ok());
        assert!(client.command(&[&b"SET"[..], b"empty", b""]).unwrap().is_ok());
        assert!(client.command(&[&b"SET"[..], b"", b"nameless"]).unwrap().is_ok());
        // all of it is on the way before the last answers are read
        let reader = std::thread::spawn(move || {
            for sent in 0..WRITES + AT_ONCE {
                if sent < WRITES {
                    client.send(&["INCR", &format!("n:{}", sent % 1_000)]);
                }
                if sent % AT_ONCE == AT_ONCE - 1 {
                    client.flush().unwrap();
                    let answers = if sent >= AT_ONCE { AT_ONCE } else { 0 };
                    (0..answers).for_each(|_| assert!(matches!(client.read().unwrap(), Value::Integer(_))));
                }
            }
        });
        reader.join().unwrap();
        server.kill9().unwrap();
        let server = Server::start(&spec).unwrap();
        let mut client = server.connect().unwrap();
        assert_eq!(client.command(&[&b"GET"[..], &big]).unwrap(), Value::Bulk(b"found".to_vec()));
        assert_eq!(client.command(&["GET", "empty"]).unwrap(), Value::Bulk(Vec::new()));
        assert_eq!(client.command(&["GET", ""]).unwrap(), Value::Bulk(b"nameless".to_vec()));
        for key in [0, 499, 999] {
            let value = (WRITES / 1_000).to_string().into_bytes();
            assert_eq!(must(&mut client, &format!("GET n:{key}")), Value::Bulk(value));
        }
    }
}

/// The limit of open files is lowered under a running server: new connections wait, those that are there are served, and when
/// there are descriptors again all are.
#[test]
fn without_file_descriptors_the_server_waits_for_some() {
    if !is_ember() {
        return;
    }
    let limit = |server: &Server, files: usize| {
        let (pid, files) = (server.pid().to_string(), format!("--nofile={files}:{}", file_limit()));
        Command::new("prlimit").args(["--pid", &pid, &files]).status().is_ok_and(|status| status.success())
    };
    for io in drivers() {
        let (server, _dir) = started("no-files", io, &[]);
        let mut honest = server.connect().unwrap();
        must(&mut honest, "SET before 1");
        let open = std::fs::read_dir(format!("/proc/{}/fd", server.pid())).unwrap().count();
        if !limit(&server, open + 3) {
            eprintln!("skipped: prlimit does not work here");
            return;
        }
        let mut others: Vec<Client> = (0..50).map(|_| server.connect().unwrap()).collect();
        for nth in 0..1_000_i64 {
            assert_eq!(must(&mut honest, "INCR n"), Value::Integer(nth + 1));
        }
        assert!(limit(&server, file_limit()));
        for client in &mut others {
            assert_eq!(must(client, "GET before"), Value::Bulk(b"1".to_vec()));
        }
    }
}
