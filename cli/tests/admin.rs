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
