//! Limits with redis's names and errors, and requests of unusual size.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod common;

use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use common::{PATIENCE, eventually, must, start, text};
use emberkv_torture::{Client, Flavor, Server, ServerSpec, TempDir, Value};

/// Runs a test on a new server for each driver.
fn on_each_driver(name: &str, args: &[&str], test: impl Fn(&Server, &TempDir)) {
    for io in common::drivers() {
        let io = common::driver_args(io);
        let args: Vec<&str> = args.iter().copied().chain(io.iter().map(String::as_str)).collect();
        let (server, dir) = start(name, &args);
        test(&server, &dir);
    }
}

#[test]
fn one_client_too_many_is_told_so() {
    on_each_driver("maxclients", &["--maxclients", "5"], |server, _| {
        // the connection of the start-up probe may not be gone yet.
        let mut served: Vec<Client> = Vec::new();
        let mut refused = 0;
        for _ in 0..12 {
            let mut client = server.connect().unwrap();
            // nothing is sent: a refused connection is told at once.
            client.set_timeout(Duration::from_millis(500)).unwrap();
            match client.read() {
                Ok(reply) => {
                    assert_eq!(text(&reply), "ERR max number of clients reached");
                    assert_eq!(client.read_to_close().unwrap(), b"");
                    refused += 1;
                }
                Err(_) => served.push(client),
            }
        }
        assert!((4..=5).contains(&served.len()), "{} clients were served", served.len());
        assert_eq!(refused + served.len(), 12);
        for client in &mut served {
            client.set_timeout(PATIENCE).unwrap();
            must(client, "PING");
        }
        drop(served.pop());
        eventually("a place becomes free", || {
            server.connect().is_ok_and(|mut c| c.ask("PING").is_ok_and(|r| text(&r) == "PONG"))
        });
    });
}

#[test]
fn a_password_is_asked_for() {
    on_each_driver("password", &["--requirepass", "sekret"], |server, _| {
        let mut client = server.connect().unwrap();
        let ask = |client: &mut Client, words: &str| text(&client.ask(words).unwrap());
        assert_eq!(ask(&mut client, "GET a"), "NOAUTH Authentication required.");
        let wrong = "WRONGPASS invalid username-password pair or user is disabled.";
        assert_eq!(ask(&mut client, "AUTH wrong"), wrong);
        assert_eq!(ask(&mut client, "AUTH sekret"), "OK");
        must(&mut client, "SET a 1");
    });
}

/// Needs an address of the machine that is not the loopback's.
#[test]
fn protected_mode_denies_strangers() {
    let output = std::process::Command::new("hostname").arg("-I").output();
    let addresses = output.map(|o| String::from_utf8_lossy(&o.stdout).into_owned());
    let addresses = addresses.unwrap_or_default();
    let outer = addresses.split_whitespace().find(|address| address.contains('.'));
    let Some(outer) = outer.and_then(|address| address.parse::<std::net::IpAddr>().ok()) else {
        eprintln!("skipped: the machine has no address but the loopback's");
        return;
    };
    let args = ["--bind", "0.0.0.0", "--protected-mode", "yes"];
    on_each_driver("protected", &args, |server, _| {
        let said = hear(SocketAddr::new(outer, server.port()));
        assert!(said.starts_with("-DENIED "), "{said}");
        assert!(said.contains("protected mode"), "{said}");
        let mut local = server.connect().unwrap();
        must(&mut local, "SET a 1");
        // with a password there is no need to protect.
        must(&mut local, "CONFIG SET requirepass sekret");
        eventually("strangers are let in", || !greet(SocketAddr::new(outer, server.port())).starts_with("-DENIED"));
    });
}

fn hear(address: SocketAddr) -> String {
    use std::io::Read as _;
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut said = String::new();
    let _ = stream.read_to_string(&mut said);
    said
}

fn greet(address: SocketAddr) -> String {
    use std::io::{Read as _, Write as _};
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let _ = stream.write_all(b"PING\r\n");
    let mut buffer = [0; 512];
    let length = stream.read(&mut buffer).unwrap_or(0);
    String::from_utf8_lossy(&buffer[..length]).into_owned()
}

#[test]
fn an_idle_client_is_closed_after_the_timeout() {
    on_each_driver("timeout", &["--timeout", "1"], |server, _| {
        let mut client = server.connect().unwrap();
        must(&mut client, "PING");
        assert_eq!(client.read_to_close().unwrap(), b"");
    });
}

/// A client that asks for more than `limit` allows, and then neither reads nor asks again, is closed.
fn closes_who_does_not_read(limit: &str) {
    on_each_driver("output-limit", &[], |server, _| {
        let mut other = server.connect().unwrap();
        let limit = ["CONFIG", "SET", "client-output-buffer-limit", limit];
        assert!(other.command(&limit).unwrap().is_ok());
        let megabyte = vec![b'x'; 1 << 20];
        other.command(&[&b"SET"[..], b"big", &megabyte]).unwrap();
        let mut greedy = server.connect().unwrap();
        must(&mut greedy, "CLIENT SETNAME greedy");
        for _ in 0..400 {
            greedy.send(&["GET", "big"]);
        }
        greedy.flush().unwrap();
        eventually("the client is closed", || !text(&must(&mut other, "CLIENT LIST")).contains("name=greedy"));
        let got = greedy.read_to_close().unwrap();
        assert!(got.len() < 400 << 20, "it got all {} bytes", got.len());
        must(&mut other, "PING");
    });
}

#[test]
fn a_client_that_does_not_read_is_closed_at_its_output_limit() {
    closes_who_does_not_read("normal 8mb 0 0");
}

#[test]
fn a_client_that_does_not_read_is_closed_when_it_is_over_the_soft_limit_for_too_long() {
    closes_who_does_not_read("normal 0 8mb 1");
}

#[test]
fn a_value_of_100_mb_survives_the_way_there_and_back() {
    on_each_driver("huge-value", &[], |server, _| {
        let mut client = server.connect().unwrap();
        let value: Vec<u8> = (0..100_u32 << 20).map(|i| (i ^ (i >> 9)) as u8).collect();
        assert!(client.command(&[&b"SET"[..], b"huge", &value]).unwrap().is_ok());
        let got = client.ask("GET huge").unwrap();
        assert!(got.text() == Some(&value[..]), "it came back different");
        assert_eq!(must(&mut client, "APPEND huge tail"), Value::Integer((100 << 20) + 4));
        must(&mut client, "SET small 1");
    });
}

#[test]
fn a_huge_value_is_there_after_kill9() {
    // redis holds back the writes of `everysec` while a sync is under way, and may lose them.
    let is_ember = ServerSpec::new(common::binary(), "").flavor() == Flavor::Ember;
    let modes = if is_ember { &["everysec", "always"][..] } else { &["always"] };
    for mode in modes {
        let dir = common::dir("huge-restart");
        let spec = common::spec(dir.path(), &["--appendfsync", mode]);
        let mut server = Server::start(&spec).unwrap();
        let mut client = server.connect().unwrap();
        let value = vec![b'h'; 80 << 20];
        assert!(client.command(&[&b"SET"[..], b"huge", &value]).unwrap().is_ok());
        must(&mut client, "SET after 1");
        server.kill9().unwrap();
        let server = Server::start(&spec).unwrap();
        let mut client = server.connect().unwrap();
        assert_eq!(must(&mut client, "STRLEN huge"), Value::Integer(80 << 20), "{mode}");
        assert!(client.ask("GET huge").unwrap().text() == Some(&value[..]), "{mode}");
        assert_eq!(text(&must(&mut client, "GET after")), "1", "{mode}");
    }
}

#[test]
fn a_value_over_the_bulk_limit_is_refused() {
    on_each_driver("bulk-limit", &["--proto-max-bulk-len", "1mb"], |server, _| {
        let mut client = server.connect().unwrap();
        client.send_raw(b"*3\r\n$3\r\nSET\r\n$1\r\na\r\n$1048577\r\n");
        let said = client.read_to_close().unwrap();
        assert_eq!(said, b"-ERR Protocol error: invalid bulk length\r\n");
        let mut client = server.connect().unwrap();
        let value = vec![b'x'; 1 << 20];
        assert!(client.command(&[&b"SET"[..], b"a", &value]).unwrap().is_ok());
        let reply = must_fail(&mut client, "APPEND a x");
        assert!(reply.contains("string exceeds maximum allowed size"), "{reply}");
    });
}

fn must_fail(client: &mut Client, words: &str) -> String {
    let reply = client.ask(words).unwrap();
    assert!(matches!(reply, Value::Error(_)), "{words} was answered {reply:?}");
    text(&reply)
}

#[test]
fn a_del_of_a_million_keys_works() {
    on_each_driver("million", &[], |server, _| {
        const KEYS: usize = 1_000_000;
        let keys: Vec<String> = (0..KEYS).map(|number| format!("key:{number}")).collect();
        let mut client = server.connect().unwrap();
        let mut set: Vec<&str> = vec!["MSET"];
        for key in keys.iter().step_by(10) {
            set.extend([key.as_str(), "v"]);
        }
        assert!(client.command(&set).unwrap().is_ok());
        let mut del: Vec<&str> = vec!["DEL"];
        del.extend(keys.iter().map(String::as_str));
        assert_eq!(client.command(&del).unwrap(), Value::Integer(100_000));
        assert_eq!(must(&mut client, "DBSIZE"), Value::Integer(0));
    });
}

#[test]
fn a_deep_pipeline_is_answered_in_order() {
    on_each_driver("pipeline", &[], |server, _| {
        const DEPTH: i64 = 100_000;
        let mut client = server.connect().unwrap();
        let mut writer = Vec::new();
        for _ in 0..DEPTH {
            emberkv_torture::client::encode(&["INCR", "n"], &mut writer);
        }
        client.send_raw(&writer);
        for number in 1..=DEPTH {
            assert_eq!(client.read().unwrap(), Value::Integer(number));
        }
    });
}

#[test]
fn a_request_that_comes_byte_by_byte_is_understood() {
    on_each_driver("slow", &[], |server, _| {
        let mut client = server.connect().unwrap();
        let request = b"*3\r\n$3\r\nSET\r\n$1\r\na\r\n$2\r\n\r\n\r\nGET a\r\n*2\r\n$3\r\nGET\r\n$1\r\na\r\n";
        for byte in request {
            client.send_raw(&[*byte]);
            client.flush().unwrap();
        }
        assert!(client.read().unwrap().is_ok());
        assert_eq!(client.read().unwrap(), Value::Bulk(b"\r\n".to_vec()));
        assert_eq!(client.read().unwrap(), Value::Bulk(b"\r\n".to_vec()));
    });
}

#[test]
fn a_client_that_goes_away_in_the_middle_disturbs_nobody() {
    on_each_driver("gone", &[], |server, _| {
        let mut other = server.connect().unwrap();
        for _ in 0..50 {
            let mut client = server.connect().unwrap();
            client.send_raw(b"*3\r\n$3\r\nSET\r\n$1\r\na\r\n$100000\r\nxxx");
            client.flush().unwrap();
            drop(client);
            let mut client = server.connect().unwrap();
            client.send_raw(b"*1\r\n$4\r\nPING\r\n");
            client.flush().unwrap();
            drop(client);
        }
        assert_eq!(must(&mut other, "EXISTS a"), Value::Integer(0));
        eventually("the closed connections are forgotten", || {
            text(&must(&mut other, "CLIENT LIST")).lines().count() == 1
        });
    });
}
