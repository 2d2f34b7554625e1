//! Leaving: RDB files that redis and valkey load, values that others can't restore; and what compares two servers.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod arriving;
mod common;

use arriving::{assert_same, client, ends_with, fill, source, sources, target, uri};
use common::{is_ember, must};
use emberkv_torture::{Server, ServerSpec};

#[test]
fn what_leaves_is_loaded_by_redis() {
    if !is_ember() {
        return;
    }
    for (name, program) in sources() {
        let (from, _from_dir) = source(&program, &[]);
        fill(&mut client(&from), 4);
        let (ember, _dir) = target();
        ends_with(0, &["import", &uri(&from), "--to", &uri(&ember)]);
        for (server, way) in [(&ember, "from emberkv"), (&from, "from itself")] {
            let dir = common::dir("arrive-leave");
            let file = dir.path().join("dump.rdb");
            let said = ends_with(0, &["dump", file.to_str().unwrap(), "--from", &uri(server)]);
            eprintln!("{name}, {way}: {said}");
            // what 7.0 has is read by all; valkey reads fields that expire only of its own
            let loader =
                if name == "valkey 9.1" && way == "from emberkv" { sources()[1].1.clone() } else { program.clone() };
            let back = Server::start(&ServerSpec::new(loader, dir.path()).args(["--dbfilename", "dump.rdb"])).unwrap();
            assert_same(server, &back);
        }
    }
}

#[test]
fn every_difference_is_found() {
    if !is_ember() {
        return;
    }
    let (from, _from_dir) = source(&sources()[1].1, &[]);
    fill(&mut client(&from), 5);
    let (to, _dir) = target();
    ends_with(0, &["import", &uri(&from), "--to", &uri(&to)]);
    let mut there = client(&to);
    for (change, back, named) in [
        ("SET extra 1", "DEL extra", "key extra of database 0: only in the second"),
        ("RENAME hll gone", "RENAME gone hll", "key hll of database 0: missing from the second"),
        ("APPEND large y", "SETRANGE large 0 x", "key large"),
        ("LSET list:3:700 699 other", "", "key list:3:700"),
        ("LSET list:1:5 0 other", "", "key list:1:5"),
        ("SADD set:2:60 other", "SREM set:2:60 other", "key set:2:60"),
        ("ZADD zset:3:700 77.5 other", "ZREM zset:3:700 other", "key zset:3:700"),
        ("HSET hash:3:700 other 1", "HDEL hash:3:700 other", "key hash:3:700"),
        ("PERSIST hash:1:5", "", "key hash:1:5 of database 0: different: only on the first it expires"),
        ("PEXPIREAT list:0:1 4102444900000", "PERSIST list:0:1", "only on the second it expires"),
        ("XACK stream:3:650 g 1000-0", "", "key stream:3:650"),
        ("XGROUP SETID stream:2:40 other 5", "", "key stream:2:40 of database 0: different: its groups"),
        ("XADD stream:1:3 * a b", "", "key stream:1:3"),
    ] {
        must(&mut there, change);
        let said = ends_with(1, &["compare", &uri(&from), &uri(&to), "--names", "50"]);
        assert!(said.contains(named), "{change}\n{said}");
        if !back.is_empty() {
            must(&mut there, back);
        }
    }
    // the same size, and another member
    must(&mut there, "FLUSHALL");
    ends_with(0, &["import", &uri(&from), "--to", &uri(&to)]);
    for (key, remove, add) in [
        ("set:3:700", "SPOP set:3:700", "SADD set:3:700 other"),
        ("ints:2:60", "SREM ints:2:60 97", "SADD ints:2:60 98"),
        ("zset:2:60", "ZREMRANGEBYRANK zset:2:60 30 30", "ZADD zset:2:60 77.5 other"),
    ] {
        must(&mut there, remove);
        must(&mut there, add);
        let said = ends_with(1, &["compare", &uri(&from), &uri(&to)]);
        assert!(said.contains(&format!("key {key} of database 0: different")), "{key}\n{said}");
    }
    for key in ["timed:3:700", "timed:2:60"] {
        let fields = must(&mut there, &format!("HKEYS {key}"));
        let field = fields.items().unwrap()[0].text().unwrap().to_vec();
        let words = [&b"HPEXPIREAT"[..], key.as_bytes(), b"4102444899999", b"FIELDS", b"1", &field];
        there.command(&words).unwrap();
        let said = ends_with(1, &["compare", &uri(&from), &uri(&to)]);
        assert!(said.contains(&format!("key {key} of database 0: different: when the field")), "{said}");
    }
}

#[test]
fn what_another_server_can_not_restore_goes_as_commands() {
    if !is_ember() {
        return;
    }
    let [seven, eight, valkey] = sources().map(|(_, program)| program);
    let (from, dir) = source(&eight, &[]);
    let mut writer = client(&from);
    fill(&mut writer, 7);
    // by the way of emberkv to valkey, which reads no fields that expire but its own
    let (ember, _dir) = target();
    ends_with(0, &["import", &uri(&from), "--to", &uri(&ember)]);
    let file = dir.path().join("ember.rdb");
    let file = file.to_str().unwrap();
    let said = ends_with(0, &["dump", file, "--from", &uri(&ember)]);
    assert!(said.contains("REDIS0012"), "{said}");
    let (to, _to_dir) = source(&valkey, &[]);
    let said = ends_with(0, &["import", file, "--to", &uri(&to)]);
    assert!(said.contains("of them as commands"), "{said}");
    assert_same(&ember, &to);
    // redis 7.0 has no fields that expire, and no sets in listpacks
    let (old, _old_dir) = source(&seven, &[]);
    let said = ends_with(1, &["import", &uri(&from), "--to", &uri(&old)]);
    assert!(said.contains("not carried: 12"), "{said}");
    assert!(said.lines().filter(|line| line.starts_with("  key ")).all(|line| line.contains("timed:")), "{said}");
    for server in [&from, &old] {
        let mut client = client(server);
        for db in [0, 3, 15] {
            client.select(db).unwrap();
            for count in ["0:1", "1:5", "2:60", "3:700"] {
                must(&mut client, &format!("DEL timed:{count}"));
            }
        }
    }
    assert_same(&from, &old);
}
