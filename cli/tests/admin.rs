//! Users, pauses, monitors and the configuration's file, over several cores and restarts.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod common;

use common::{PATIENCE, dir, is_ember, must, refused, spec, text};
use emberkv_torture::{Client, Server, Value};

fn client(server: &Server) -> Client {
    let mut client = server.connect().unwrap();
    client.set_timeout(PATIENCE).unwrap();
    client
}

/// Clients of two cores: connections are dealt in turn.
fn clients(server: &Server) -> [Client; 4] {
    std::array::from_fn(|_| client(server))
}

fn error(value: &Value) -> String {
    match value {
        Value::Error(text) => String::from_utf8_lossy(text).into_owned(),
        other => panic!("not an error: {other:?}"),
    }
}

#[test]
fn what_a_user_may_do_is_the_same_on_all_cores_at_once() {
    if !is_ember() {
        return;
    }
    for io in common::drivers() {
        let dir = dir("admin-users");
        let server = Server::start(&spec(dir.path(), &["--cores", "2", "--io", io])).unwrap();
        let mut admin = client(&server);
        must(&mut admin, "ACL SETUSER alice on >pw ~k* +@string +mset");
        let mut users = clients(&server);
        for user in &mut users {
            must(user, "AUTH alice pw");
        }
        for round in 0..50 {
            let key = format!("k{round}");
            for user in &mut users {
                must(user, &format!("SET {key} x"));
                assert!(error(&user.ask(&format!("SET other{round} x")).unwrap()).starts_with("NOPERM"));
                assert!(error(&user.ask(&format!("MSET {key} x k2 y other z")).unwrap()).starts_with("NOPERM"));
                assert!(error(&user.ask("DEL k1").unwrap()).starts_with("NOPERM"));
            }
            // pipelines too, whatever is in the same group
            let user = &mut users[round % 4];
            for i in 0..20 {
                user.send(&["SET", &format!("k{i}"), "x"]);
                user.send(&["GET", &format!("other{i}")]);
            }
            user.flush().unwrap();
            for _ in 0..20 {
                assert!(user.read().unwrap().is_ok());
                assert!(user.read().unwrap().is_error("NOPERM"));
            }
            must(&mut admin, "ACL SETUSER alice -set");
            for user in &mut users {
                assert!(user.ask(&format!("SET {key} x")).unwrap().is_error("NOPERM"));
            }
            must(&mut admin, "ACL SETUSER alice +set");
        }
        assert_eq!(admin.ask("ACL DELUSER alice").unwrap(), Value::Integer(1));
        for user in &mut users {
            assert!(user.ask("GET k1").is_err(), "its user has gone");
        }
    }
}

#[test]
fn users_are_kept_in_their_file() {
    if !is_ember() {
        return;
    }
    let dir = dir("admin-aclfile");
    let file = dir.path().join("users.acl");
    std::fs::write(&file, "user alice on nopass ~a* +get\n").unwrap();
    let name = file.to_str().unwrap();
    {
        let server = Server::start(&spec(dir.path(), &["--cores", "2", "--aclfile", name])).unwrap();
        let mut admin = client(&server);
        let mut alice = client(&server);
        must(&mut alice, "AUTH alice x");
        assert_eq!(alice.ask("GET a").unwrap(), Value::Null);
        must(&mut admin, "ACL SETUSER bob on >secret allkeys +@read (+set ~b)");
        must(&mut admin, "ACL SAVE");
        // what is sent behind a load comes after it
        std::fs::write(&file, [std::fs::read(&file).unwrap(), b"user carol off\n".to_vec()].concat()).unwrap();
        admin.send(&["ACL", "LOAD"]);
        admin.send(&["ACL", "USERS"]);
        admin.flush().unwrap();
        assert!(admin.read().unwrap().is_ok());
        let names: Vec<String> = admin.read().unwrap().items().unwrap().iter().map(text).collect();
        assert_eq!(names, ["alice", "bob", "carol", "default"]);
        std::fs::write(&file, "user alice on +nosuch\n").unwrap();
        assert!(error(&admin.ask("ACL LOAD").unwrap()).contains("no change to the previously active ACL rules"));
        must(&mut admin, "ACL SAVE");
    }
    let mut server = Server::start(&spec(dir.path(), &["--cores", "2", "--aclfile", name])).unwrap();
    let mut bob = client(&server);
    must(&mut bob, "AUTH bob secret");
    must(&mut bob, "SET b x");
    assert!(bob.ask("SET a x").unwrap().is_error("NOPERM"));
    server.terminate(PATIENCE).unwrap();
    let both = refused(&spec(dir.path(), &["--aclfile", name, "--user", "dave", "on"]));
    assert!(both.contains("aclfile"), "{both}");
    std::fs::write(&file, "user alice on +nosuch\n").unwrap();
    let wrong = refused(&spec(dir.path(), &["--aclfile", name]));
    assert!(wrong.contains("+nosuch"), "{wrong}");
}

#[test]
fn the_configuration_is_written_to_its_file_and_read_back() {
    if !is_ember() {
        return;
    }
    let dir = dir("admin-rewrite");
    let file = dir.path().join("my.conf");
    std::fs::write(&file, "# mine\ntimeout 7\n\nuser alice on nopass ~a* +get\n").unwrap();
    let name = file.to_str().unwrap().to_owned();
    {
        let server = Server::start(&spec(dir.path(), &[&name, "--cores", "2"])).unwrap();
        let mut admin = client(&server);
        must(&mut admin, "CONFIG SET timeout 0 slowlog-max-len 7");
        must(&mut admin, "ACL SETUSER bob on >pw +@all ~*");
        must(&mut admin, "CONFIG REWRITE");
        must(&mut admin, "CONFIG REWRITE");
    }
    let written = std::fs::read_to_string(&file).unwrap();
    assert!(written.starts_with("# mine\ntimeout 0\n\nuser alice on nopass"), "{written}");
    assert_eq!(written.matches("Generated by CONFIG REWRITE").count(), 1, "{written}");
    let server = Server::start(&spec(dir.path(), &[&name])).unwrap();
    let mut bob = client(&server);
    must(&mut bob, "AUTH bob pw");
    assert_eq!(text(&bob.ask("CONFIG GET slowlog-max-len").unwrap().items().unwrap()[1]), "7");
    let (without, _dir) = common::start("admin-no-file", &[]);
    let answer = client(&without).ask("CONFIG REWRITE").unwrap();
    assert_eq!(error(&answer), "ERR The server is running without a config file");
}

#[test]
fn writes_wait_while_clients_are_paused_on_all_cores() {
    for io in common::drivers() {
        let dir = dir("admin-pause");
        let words: Vec<&str> = if io.is_empty() { Vec::new() } else { vec!["--cores", "2", "--io", io] };
        let server = Server::start(&spec(dir.path(), &words)).unwrap();
        let mut admin = client(&server);
        let mut others = clients(&server);
        must(&mut admin, "CLIENT PAUSE 1000000 WRITE");
        for (i, other) in others.iter_mut().enumerate() {
            assert_eq!(other.ask("GET k").unwrap(), Value::Null);
            other.send(&["SET", &format!("k{i}"), "x"]);
            other.send(&["GET", &format!("k{i}")]);
            other.flush().unwrap();
        }
        let mut newcomer = client(&server);
        newcomer.send(&["MSET", "a", "1", "b", "2", "c", "3"]);
        newcomer.flush().unwrap();
        assert_eq!(admin.ask("EXISTS k0 k1 k2 k3 a b c").unwrap(), Value::Integer(0));
        must(&mut admin, "CLIENT UNPAUSE");
        for other in &mut others {
            assert!(other.read().unwrap().is_ok());
            assert_eq!(text(&other.read().unwrap()), "x");
        }
        assert!(newcomer.read().unwrap().is_ok());
        assert_eq!(admin.ask("EXISTS k0 k1 k2 k3 a b c").unwrap(), Value::Integer(7));
        // a pause of all ends by itself
        must(&mut admin, "CLIENT PAUSE 50");
        must(&mut admin, "SET k x");
    }
}

#[test]
fn a_monitor_is_shown_what_all_cores_clients_ask_for() {
    for io in common::drivers() {
        let dir = dir("admin-monitor");
        let words: Vec<&str> = if io.is_empty() { Vec::new() } else { vec!["--cores", "2", "--io", io] };
        let server = Server::start(&spec(dir.path(), &words)).unwrap();
        let mut monitors = clients(&server);
        for monitor in &mut monitors {
            must(monitor, "MONITOR");
        }
        let mut others = clients(&server);
        for (i, other) in others.iter_mut().enumerate() {
            must(other, "SELECT 3");
            must(other, &format!("SET k{i} x"));
            other.ask("GET \"a b\"").unwrap();
            must(other, "MULTI");
            other.ask(&format!("APPEND k{i} y")).unwrap();
            other.ask("EXEC").unwrap();
            other.ask("AUTH alice secret").unwrap();
            other.ask("NOSUCH x").unwrap();
            other.ask("CONFIG GET port").unwrap();
        }
        let mut last = client(&server);
        must(&mut last, "ECHO end");
        for monitor in &mut monitors {
            let mut seen = vec![Vec::new(); 4];
            loop {
                let line = text(&monitor.read().unwrap());
                let (_, rest) = line.split_once(' ').unwrap();
                let (whose, what) = rest.split_once("] ").unwrap();
                if what == "\"ECHO\" \"end\"" {
                    break;
                }
                if let Some(i) = (0..4).find(|i| what.contains(&format!("k{i}"))) {
                    seen[i].push(format!("{whose} {what}").split_once(' ').unwrap().0.to_owned() + " " + what);
                }
                assert!(!what.contains("secret") && !what.contains("NOSUCH") && !what.contains("CONFIG"), "{what}");
            }
            for (i, lines) in seen.iter().enumerate() {
                let wanted = [format!("[3 \"SET\" \"k{i}\" \"x\""), format!("[3 \"APPEND\" \"k{i}\" \"y\"")];
                assert_eq!(lines, &wanted);
            }
        }
        // who has ended pays no more, and is shown no more
        let [mut first, ..] = monitors;
        assert_eq!(text(&first.ask("RESET").unwrap()), "RESET");
        must(&mut last, "SET k x");
        assert_eq!(text(&first.ask("PING").unwrap()), "PONG");
    }
}

#[test]
fn debug_object_says_what_is_true_of_a_key_on_any_core() {
    if !is_ember() {
        return;
    }
    for io in common::drivers() {
        let dir = dir("admin-debug");
        let words = ["--cores", "2", "--io", io, "--enable-debug-command", "local"];
        let server = Server::start(&spec(dir.path(), &words)).unwrap();
        let mut client = client(&server);
        for i in 0..20 {
            // in one piece: what it says is of the value before it
            client.send(&["SET", &format!("k{i}"), "123456789"]);
            client.send(&["DEBUG", "OBJECT", &format!("k{i}")]);
            client.send(&["SET", &format!("k{i}"), "abc"]);
            client.send(&["DEBUG", "OBJECT", &format!("k{i}")]);
            client.flush().unwrap();
            for end in ["encoding:int serializedlength:5", "encoding:embstr serializedlength:4"] {
                assert!(client.read().unwrap().is_ok());
                let line = text(&client.read().unwrap());
                assert!(line.starts_with("Value at:0x") && line.contains(&format!("refcount:1 {end} lru:0")), "{line}");
            }
        }
        // while it sleeps nobody is served, and what is asked behind it comes after it
        let mut other = server.connect().unwrap();
        client.send(&["SET", "brief", "x", "PX", "200"]);
        client.send(&["DEBUG", "SLEEP", "0.6"]);
        client.send(&["GET", "brief"]);
        let began = std::time::Instant::now();
        client.flush().unwrap();
        assert!(client.read().unwrap().is_ok());
        must(&mut other, "PING");
        must(&mut other, "GET k1");
        assert!(client.read().unwrap().is_ok());
        assert_eq!(client.read().unwrap(), Value::Null);
        assert!(began.elapsed().as_millis() >= 600);
        // what has expired stays where it is, unseen
        must(&mut client, "DEBUG SET-ACTIVE-EXPIRE 0");
        must(&mut client, "SET brief x PX 1");
        std::thread::sleep(std::time::Duration::from_millis(300));
        assert_eq!(client.ask("DBSIZE").unwrap(), Value::Integer(21));
        must(&mut client, "DEBUG SET-ACTIVE-EXPIRE 1");
        common::eventually("it is removed", || client.ask("DBSIZE").unwrap() == Value::Integer(20));
    }
}

#[test]
fn renamed_commands_stay_renamed_when_the_configuration_is_written() {
    if !is_ember() {
        return;
    }
    let dir = dir("admin-rename");
    let file = dir.path().join("my.conf");
    std::fs::write(&file, "rename-command get HOLE\nrename-command flushall \"\"\nrename-command set get\n").unwrap();
    let name = file.to_str().unwrap().to_owned();
    for _ in 0..2 {
        let server =
            Server::start(&spec(dir.path(), &[&name, "--cores", "2", "--rename-command", "keys", "alle"])).unwrap();
        let mut admin = client(&server);
        must(&mut admin, "GET k v");
        assert_eq!(text(&admin.ask("hole k").unwrap()), "v");
        assert!(error(&admin.ask("FLUSHALL").unwrap()).starts_with("ERR unknown command 'FLUSHALL'"));
        assert_eq!(admin.ask("ALLE *").unwrap().items().unwrap().len(), 1);
        must(&mut admin, "CONFIG SET timeout 9");
        must(&mut admin, "CONFIG REWRITE");
    }
    let written = std::fs::read_to_string(&file).unwrap();
    assert_eq!(written.matches("rename-command").count(), 3, "{written}");
    let wrong = refused(&spec(dir.path(), &["--rename-command", "nosuch", "x"]));
    assert!(wrong.contains("No such command in rename-command"), "{wrong}");
}

#[test]
fn a_json_log_has_an_object_a_line() {
    if !is_ember() {
        return;
    }
    let dir = dir("admin-json");
    let file = dir.path().join("log.json");
    let words = ["--log-format", "json", "--logfile", file.to_str().unwrap()];
    let mut server = Server::start(&spec(dir.path(), &words)).unwrap();
    must(&mut client(&server), "SET k v");
    server.terminate(PATIENCE).unwrap();
    let log = std::fs::read_to_string(&file).unwrap();
    let lines: Vec<serde_json::Value> = log.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let ready = lines.iter().find(|line| line["message"] == "ready to accept connections").unwrap();
    assert!(ready["cores"].is_number() && ready["level"] == "INFO" && ready["timestamp"].is_string(), "{ready}");
}
