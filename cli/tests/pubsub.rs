//! Messages over several cores: each listener has all of them once, a speaker's in their order.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod common;

use common::{PATIENCE, dir, eventually, is_ember, must, spec, text};
use emberkv_torture::{Client, Server, TempDir, Value, peers};

/// Runs a test on a new server of two cores, for each driver.
fn on_two_cores(name: &str, args: &[&str], test: impl Fn(&Server)) {
    if !is_ember() {
        return;
    }
    for io in common::drivers() {
        let dir: TempDir = dir(name);
        let mut words = vec!["--cores", "2", "--io", io];
        words.extend(args);
        test(&Server::start(&spec(dir.path(), &words)).unwrap());
    }
}

fn words(value: Value) -> Vec<String> {
    match value {
        Value::Array(elements) | Value::Push(elements) => elements.iter().map(text).collect(),
        other => panic!("{other:?}"),
    }
}

fn listener(server: &Server, subscribe: &str) -> Client {
    let mut client = server.connect().unwrap();
    client.set_timeout(PATIENCE).unwrap();
    must(&mut client, subscribe);
    client
}

#[test]
fn every_listener_has_all_messages_and_a_speakers_in_order() {
    on_two_cores("pubsub-order", &[], |server| {
        // connections are dealt to the cores in turn, so both have some of each
        let mut listeners: Vec<Client> = (0..6).map(|_| listener(server, "SUBSCRIBE c")).collect();
        let mut watchers: Vec<Client> = (0..4).map(|_| listener(server, "PSUBSCRIBE c*")).collect();
        let mut speakers: Vec<Client> = (0..4).map(|_| server.connect().unwrap()).collect();
        const EACH: usize = 500;
        for i in 0..EACH {
            for (number, speaker) in speakers.iter_mut().enumerate() {
                speaker.send(&["SET", &format!("key:{number}:{i}"), "x"]);
                speaker.send(&["PUBLISH", "c", &format!("{number} {i}")]);
            }
        }
        speakers.iter_mut().for_each(|speaker| speaker.flush().unwrap());
        for speaker in &mut speakers {
            for _ in 0..EACH {
                assert_eq!(text(&speaker.read().unwrap()), "OK");
                assert_eq!(speaker.read().unwrap(), Value::Integer(10));
            }
        }
        for client in listeners.iter_mut().chain(&mut watchers) {
            let mut next = [0; 4];
            for _ in 0..4 * EACH {
                let message = words(client.read().unwrap());
                let (speaker, i) = message[message.len() - 1].split_once(' ').unwrap();
                let next = &mut next[speaker.parse::<usize>().unwrap()];
                assert_eq!(i, next.to_string());
                *next += 1;
            }
        }
    });
}

#[test]
fn what_was_written_before_a_message_is_there_for_whoever_gets_it() {
    on_two_cores("pubsub-after", &[], |server| {
        let mut listeners: Vec<Client> = (0..2).map(|_| listener(server, "SUBSCRIBE jobs")).collect();
        let mut readers: Vec<Client> = (0..2).map(|_| server.connect().unwrap()).collect();
        let mut speaker = server.connect().unwrap();
        for i in 0..500 {
            speaker.send(&["SET", &format!("job:{i}"), "there"]);
            speaker.send(&["PUBLISH", "jobs", &format!("job:{i}")]);
            speaker.flush().unwrap();
            for (listener, reader) in listeners.iter_mut().zip(&mut readers) {
                let key = words(listener.read().unwrap()).pop().unwrap();
                assert_eq!(text(&must(reader, &format!("GET {key}"))), "there", "{key}");
            }
            speaker.read().unwrap();
            speaker.read().unwrap();
        }
    });
}

#[test]
fn a_listener_that_does_not_read_is_cut_off_and_forgotten() {
    on_two_cores("pubsub-slow", &["--client-output-buffer-limit", "pubsub 1mb 0 0"], |server| {
        let slow: Vec<Client> = (0..2).map(|_| listener(server, "SUBSCRIBE c")).collect();
        let mut speaker = server.connect().unwrap();
        let message = "x".repeat(100_000);
        eventually("both are cut off", || speaker.command(&["PUBLISH", "c", &message]).unwrap() == Value::Integer(0));
        let info = text(&must(&mut speaker, "INFO stats"));
        assert!(info.contains("client_output_buffer_limit_disconnections:2"), "{info}");
        assert!(info.contains("pubsub_channels:0"), "{info}");
        drop(slow);
    });
}

#[test]
fn redis_pys_listeners_on_two_cores() {
    let python = peers::python().unwrap_or_else(|error| panic!("{error}"));
    let script = common::test_file("clients/redis_py_pubsub.py");
    on_two_cores("pubsub-python", &[], |server| {
        let said = common::run(&python, &[script.to_str().unwrap(), &server.port().to_string()], &[]);
        assert!(said.ends_with("done\n"), "{said}");
    });
}

/// Also with synced writes, where what is told waits for the disk.
#[test]
fn what_becomes_of_keys_is_told_on_all_cores_in_order() {
    for policy in ["everysec", "always"] {
        on_two_cores("pubsub-events", &["--notify-keyspace-events", "EA", "--appendfsync", policy], |server| {
            let mut listeners: Vec<Client> = (0..4).map(|_| listener(server, "PSUBSCRIBE __keyevent@*")).collect();
            let mut writers: Vec<Client> = (0..4).map(|_| server.connect().unwrap()).collect();
            for i in 0..20 {
                for (number, writer) in writers.iter_mut().enumerate() {
                    let key = |what: &str| format!("{number}:{what}:{i}");
                    must(writer, &format!("SET {} 1", key("a")));
                    must(writer, &format!("MSET {} 1 {} 2 {} 3", key("b"), key("c"), key("d")));
                    must(writer, "MULTI");
                    must(writer, &format!("INCR {}", key("a")));
                    must(writer, &format!("APPEND {} x", key("b")));
                    must(writer, "EXEC");
                    must(writer, &format!("RENAME {} {}", key("c"), key("e")));
                    must(writer, &format!("DEL {} {} {}", key("a"), key("b"), key("d")));
                    must(writer, &format!("PEXPIRE {} 1", key("e")));
                }
            }
            for client in &mut listeners {
                let mut seen: std::collections::BTreeMap<String, Vec<String>> = std::collections::BTreeMap::new();
                let mut ended = 0;
                while ended < 80 {
                    let message = words(client.read().unwrap());
                    let (event, key) = (message[2].trim_start_matches("__keyevent@0__:"), &message[3]);
                    ended += usize::from(event == "expired");
                    seen.entry(key.clone()).or_default().push(event.to_owned());
                }
                assert_eq!(seen.len(), 4 * 20 * 5);
                for (key, events) in seen {
                    let wanted: &[&str] = match key.split(':').nth(1).unwrap() {
                        "a" => &["set", "incrby", "del"],
                        "b" => &["set", "append", "del"],
                        "c" => &["set", "rename_from"],
                        "d" => &["set", "del"],
                        _ => &["rename_to", "expire", "expired"],
                    };
                    assert_eq!(events, wanted, "{key}");
                }
            }
        });
    }
}
