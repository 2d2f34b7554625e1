//! What a server of several cores tells of its commands: the sums over all of them.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod common;

use common::{dir, is_ember, must, spec, text};
use emberkv_torture::{Client, Server, Value};

/// The number behind `name=` in the line of a command.
fn count(client: &mut Client, command: &str, name: &str) -> u64 {
    let info = text(&must(client, "INFO commandstats"));
    let line = info.lines().find_map(|line| line.strip_prefix(&format!("cmdstat_{command}:"))).unwrap_or_default();
    line.split(',').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('=')?.parse().ok()).unwrap_or(0)
}

fn elements(value: Value) -> Vec<Value> {
    match value {
        Value::Array(elements) => elements,
        other => panic!("{other:?}"),
    }
}

#[test]
fn every_command_is_counted_once_whichever_core_executes_it() {
    if !is_ember() {
        return;
    }
    for direct_reads in ["yes", "no"] {
        let dir = dir("commandstats");
        let server = Server::start(&spec(dir.path(), &["--cores", "2", "--direct-reads", direct_reads])).unwrap();
        let mut clients: Vec<Client> = (0..4).map(|_| server.connect().unwrap()).collect();
        must(&mut clients[0], "CONFIG RESETSTAT");
        for i in 0..100 {
            let client = &mut clients[i % 4];
            must(client, &format!("SET key:{i} {i}"));
            must(client, &format!("GET key:{i}"));
            must(client, &format!("MGET key:{i} key:{} key:x", i / 2));
            assert!(matches!(client.ask(&format!("SET key:{i}")).unwrap(), Value::Error(_)));
            must(client, "SET text x");
            assert!(matches!(client.ask("INCR text").unwrap(), Value::Error(_)));
        }
        let client = &mut clients[0];
        assert_eq!(count(client, "set", "calls"), 200);
        assert_eq!(count(client, "get", "calls"), 100);
        assert_eq!(count(client, "mget", "calls"), 100);
        assert_eq!(count(client, "set", "rejected_calls"), 100);
        assert_eq!((count(client, "incr", "calls"), count(client, "incr", "failed_calls")), (100, 100));
        assert!(text(&must(client, "INFO errorstats")).contains("errorstat_ERR:count=200"));
    }
}

#[test]
fn the_slow_log_has_the_commands_of_all_cores_with_their_clients() {
    if !is_ember() {
        return;
    }
    let dir = dir("slowlog");
    let server = Server::start(&spec(dir.path(), &["--cores", "2", "--direct-reads", "no"])).unwrap();
    let mut clients: Vec<Client> = (0..4).map(|_| server.connect().unwrap()).collect();
    for (i, client) in clients.iter_mut().enumerate() {
        must(client, &format!("CLIENT SETNAME client-{i}"));
    }
    must(&mut clients[0], "CONFIG SET slowlog-log-slower-than 0");
    for i in 0..20 {
        must(&mut clients[i % 4], &format!("SET key:{i} {i}"));
    }
    must(&mut clients[0], "CONFIG SET slowlog-log-slower-than -1");
    let entries = elements(must(&mut clients[0], "SLOWLOG GET -1"));
    let (mut ids, mut seen) = (Vec::new(), 0);
    for entry in entries.into_iter().map(elements) {
        let Value::Integer(id) = entry[0] else { panic!("{entry:?}") };
        ids.push(id);
        let args: Vec<String> = elements(entry[3].clone()).iter().map(text).collect();
        if let [set, key, i] = &args[..]
            && set == "SET"
        {
            let i: usize = i.parse().unwrap();
            assert_eq!((key, text(&entry[5])), (&format!("key:{i}"), format!("client-{}", i % 4)));
            assert!(text(&entry[4]).starts_with("127.0.0.1:"));
            seen += 1;
        }
    }
    assert_eq!(seen, 20);
    assert!(ids.is_sorted_by(|a, b| a > b), "{ids:?}");
    must(&mut clients[1], "SLOWLOG RESET");
    assert_eq!(must(&mut clients[2], "SLOWLOG LEN"), Value::Integer(0));
}
