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
