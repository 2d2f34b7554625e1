//! Several cores: whatever core a client is given to and whatever core has its keys, it is served as by one.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod common;

use std::collections::HashMap;

use common::{PATIENCE, dir, eventually, must, spec, text};
use emberkv_torture::partition::partition as partition_of;
use emberkv_torture::{Client, Server, TempDir, Value};

/// Runs a test on a new server of two cores, for each driver.
fn on_two_cores(name: &str, args: &[&str], test: impl Fn(&mut Server, &TempDir)) {
    if !common::is_ember() {
        return;
    }
    for io in common::drivers() {
        let dir = dir(name);
        let mut words = vec!["--cores", "2", "--io", io];
        words.extend(args);
        let mut server = Server::start(&spec(dir.path(), &words)).unwrap();
        test(&mut server, &dir);
    }
}

/// A key of each of two partitions.
fn key_of(partition: u16, number: usize) -> String {
    (0..).map(|i| format!("key:{number}:{i}")).find(|key| partition_of(key.as_bytes(), 2) == partition).unwrap()
}

fn field(info: &str, name: &str) -> Vec<u64> {
    let of_line =
        |line: &str| line.split([':', ',']).find_map(|pair| pair.strip_prefix(name)?.strip_prefix('=')?.parse().ok());
    info.lines().filter(|line| line.starts_with("core")).filter_map(of_line).collect()
}

fn pipelines_keep_their_order(direct_reads: &str) {
    on_two_cores("cores-order", &["--direct-reads", direct_reads], |server, _| {
        let mut client = server.connect().unwrap();
        let mut model = HashMap::new();
        let mut expected: Vec<Option<String>> = Vec::new();
        for i in 0..20_000 {
            let key = key_of((i * 7 % 5 / 2 % 2) as u16, i % 11);
            if i % 3 == 0 {
                let value = format!("value {i}");
                client.send(&["SET", &key, &value]);
                model.insert(key, value);
                expected.push(Some("OK".into()));
            } else if i % 3 == 1 {
                client.send(&["GET", &key]);
                expected.push(model.get(&key).cloned());
            } else {
                client.send(&["ECHO", &key]);
                expected.push(Some(key));
            }
        }
        client.flush().unwrap();
        for (i, expected) in expected.iter().enumerate() {
            let reply = client.read().unwrap();
            assert_eq!(reply.text().map(String::from_utf8_lossy).as_deref(), expected.as_deref(), "reply {i}");
        }
    });
}

#[test]
fn pipelines_over_two_partitions_keep_their_order() {
    pipelines_keep_their_order("yes");
}

#[test]
fn what_all_cores_answer_keeps_its_place_in_a_pipeline() {
    on_two_cores("cores-gather", &[], |server, _| {
        // one of them is at the other core, whichever core the client is at
        for partition in [0, 1] {
            let mut client = server.connect().unwrap();
            let key = key_of(partition, 1);
            for words in [&["SET", &key, "1"][..], &["CONFIG", "RESETSTAT"], &["APPEND", &key, "2"], &["INFO", "cores"]]
            {
                client.send(words);
            }
            client.send(&["GET", &key]);
            client.flush().unwrap();
            let replies: Vec<String> = (0..5).map(|_| text(&client.read().unwrap())).collect();
            assert_eq!((&replies[0][..], &replies[1][..], &replies[4][..]), ("OK", "OK", "12"), "{replies:?}");
            assert!(replies[3].contains("core1:"), "{replies:?}");
        }
    });
}

#[test]
fn what_all_cores_answer_speaks_the_protocol_that_it_was_asked_in() {
    on_two_cores("cores-hello", &[], |server, _| {
        let mut client = server.connect().unwrap();
        client.send(&["CLIENT", "LIST"]);
        client.send(&["HELLO", "3"]);
        client.send(&["CLIENT", "LIST"]);
        client.flush().unwrap();
        let replies: Vec<Value> = (0..3).map(|_| client.read().unwrap()).collect();
        assert!(matches!(replies[0], Value::Bulk(_)) && !matches!(replies[2], Value::Bulk(_)), "{replies:?}");
    });
}

#[test]
fn pipelines_keep_their_order_by_messages_alone() {
    pipelines_keep_their_order("no");
}

#[test]
fn a_client_that_sends_without_reading_is_bounded_and_others_are_served() {
    on_two_cores("cores-bounded", &[], |server, _| {
        let mut client = server.connect().unwrap();
        let (here, there) = (key_of(0, 1), key_of(1, 1));
        let value = "x".repeat(10_000);
        must(&mut client, &format!("SET {here} {value}"));
        must(&mut client, &format!("SET {there} {value}"));
        let sender = std::thread::spawn(move || {
            for i in 0..20_000 {
                client.send(&["GETRANGE", if i % 2 == 0 { &here } else { &there }, "0", "-1"]);
                // a write makes the next read of that core a message
                client.send(&["PERSIST", if i % 2 == 0 { &there } else { &here }]);
            }
            client.flush().map(|()| client)
        });
        let mut other = server.connect().unwrap();
        for _ in 0..20 {
            must(&mut other, "PING");
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        let away = field(&text(&must(&mut other, "INFO cores")), "away");
        assert!(away.iter().all(|requests| *requests <= 256), "{away:?}");
        // nobody reads, so the sender may be stopped by its own full socket: it is given up then
        drop(sender);
    });
}

/// How many bytes the server has for the client of this name, as soon as that grows no more.
fn output_of(other: &mut Client, name: &str) -> usize {
    let mut last = (0, 0);
    eventually("its output grows no more", || {
        let list = text(&must(other, "CLIENT LIST"));
        let line = list.lines().find(|line| line.contains(&format!(" name={name} "))).unwrap_or_default();
        let bytes = line.split_once(" obl=").map_or(0, |(_, rest)| rest.split(' ').next().unwrap().parse().unwrap());
        last = if bytes == last.0 && bytes > 0 { (bytes, last.1 + 1) } else { (bytes, 0) };
        last.1 >= 5
    });
    last.0
}

#[test]
fn answers_of_other_cores_are_bounded_and_all_come_in_the_end() {
    on_two_cores("cores-brought-home", &["--direct-reads", "no"], |server, _| {
        let mut other = server.connect().unwrap();
        // one of them is at the other core, whichever core the client is at. the smaller value is copied, the larger one not
        for (number, size, count) in [(1, 200_000, 400), (2, 1 << 20, 128)] {
            let keys = [key_of(0, number), key_of(1, number)];
            let value = "x".repeat(size - 4);
            for (partition, key) in keys.iter().enumerate() {
                must(&mut other, &format!("SET {key} {partition}{value}"));
                let mut client = server.connect().unwrap();
                let name = format!("reader-{number}-{partition}");
                must(&mut client, &format!("CLIENT SETNAME {name}"));
                for i in 0..count {
                    client.send(&["SETRANGE", key, "2", &format!("{i:04}")[2..]]);
                    client.send(&["GET", key]);
                }
                client.flush().unwrap();
                let waits = output_of(&mut other, &name);
                assert!(waits <= (32 << 20) + 2 * size, "{waits} bytes of {size} each are here for who does not read");
                for i in 0..count {
                    assert!(matches!(client.read().unwrap(), Value::Integer(_)));
                    let reply = text(&client.read().unwrap());
                    assert!(reply.len() == size - 3 && reply[2..4] == format!("{i:04}")[2..], "reply {i}");
                }
            }
        }
    });
}

#[test]
fn clients_are_dealt_evenly_and_all_are_served() {
    on_two_cores("cores-deal", &[], |server, _| {
        let mut clients: Vec<Client> = (0..200).map(|_| server.connect().unwrap()).collect();
        for (i, client) in clients.iter_mut().enumerate() {
            must(client, &format!("SET {} {i}", key_of((i % 2) as u16, i)));
        }
        for (i, client) in clients.iter_mut().rev().enumerate() {
            assert_eq!(text(&must(client, &format!("GET {}", key_of((i % 2) as u16, i)))), i.to_string());
        }
        let dealt = field(&text(&must(&mut clients[0], "INFO cores")), "clients");
        assert!(dealt.len() == 2 && dealt[0].abs_diff(dealt[1]) <= 2, "{dealt:?}");
        let list = text(&must(&mut clients[1], "CLIENT LIST"));
        assert!(list.lines().count() >= 200);
        let ids: Vec<u64> = list.lines().map(|line| line[3..].split(' ').next().unwrap().parse().unwrap()).collect();
        assert!(ids.is_sorted_by(|a, b| a < b));
        // the places of those who leave are known to be free on all cores
        clients.truncate(2);
        eventually("clients that have left are not counted", || {
            field(&text(&must(&mut clients[0], "INFO cores")), "clients").iter().sum::<u64>() <= 3
        });
        let total = text(&must(&mut clients[0], "INFO clients"));
        assert!(total.contains("connected_clients:2"), "{total}");
    });
}

#[test]
fn a_setting_holds_on_all_cores_once_it_is_acknowledged() {
    on_two_cores("cores-config", &[], |server, _| {
        let mut clients: Vec<Client> = (0..4).map(|_| server.connect().unwrap()).collect();
        for round in 0..20 {
            for setter in 0..4 {
                let value = (round * 4 + setter + 1).to_string();
                must(&mut clients[setter], &format!("CONFIG SET tcp-keepalive {value}"));
                for client in &mut clients {
                    let reply = must(client, "CONFIG GET tcp-keepalive");
                    let Value::Array(pair) = &reply else { panic!("{reply:?}") };
                    assert_eq!(text(&pair[1]), value);
                }
            }
        }
        must(&mut clients[0], "CONFIG SET requirepass sekret");
        for _ in 0..4 {
            let reply = server.connect().unwrap().ask("GET a").unwrap();
            assert!(reply.is_error("NOAUTH"), "{reply:?}");
        }
        must(&mut clients[0], "CONFIG RESETSTAT");
        let info = text(&must(&mut clients[1], "INFO stats"));
        let line = info.lines().find(|line| line.starts_with("total_commands_processed:")).unwrap();
        assert!(line["total_commands_processed:".len()..].trim().parse::<u64>().unwrap() < 10, "{line}");
    });
}

#[test]
fn commands_over_both_partitions_answer_as_over_one() {
    on_two_cores("cores-several", &[], |server, _| {
        let mut client = server.connect().unwrap();
        let (a, b, c) = (key_of(0, 1), key_of(1, 2), key_of(1, 3));
        assert_eq!(text(&must(&mut client, &format!("MSET {a} 1 {b} 2 {a} 3"))), "OK");
        let Value::Array(values) = must(&mut client, &format!("MGET {b} {c} {a} {b}")) else { panic!() };
        assert_eq!(values.iter().map(text).collect::<Vec<_>>(), ["2", "", "3", "2"]);
        assert_eq!(must(&mut client, &format!("MSETNX {c} 1 {a} 1")), Value::Integer(0));
        assert_eq!(must(&mut client, &format!("EXISTS {a} {b} {c} {a}")), Value::Integer(3));
        assert_eq!(must(&mut client, "DBSIZE"), Value::Integer(2));
        let Value::Array(keys) = must(&mut client, "KEYS *") else { panic!() };
        assert_eq!(keys.len(), 2);
        assert_eq!(must(&mut client, &format!("DEL {a} {b} {c} {a}")), Value::Integer(2));
        for i in 0..1000 {
            client.send(&["SET".to_owned(), format!("scan:{i}"), "x".to_owned()]);
        }
        (0..1000).for_each(|_| assert_eq!(text(&client.read().unwrap()), "OK"));
        let (mut cursor, mut seen) = ("0".to_owned(), std::collections::HashSet::new());
        loop {
            let Value::Array(reply) = must(&mut client, &format!("SCAN {cursor} COUNT 30")) else { panic!() };
            let Value::Array(keys) = &reply[1] else { panic!() };
            seen.extend(keys.iter().map(text));
            cursor = text(&reply[0]);
            if cursor == "0" {
                break;
            }
        }
        assert_eq!(seen.len(), 1000);
        assert!(text(&must(&mut client, "RANDOMKEY")).starts_with("scan:"));
        assert_eq!(text(&must(&mut client, "FLUSHALL")), "OK");
        assert_eq!(must(&mut client, "DBSIZE"), Value::Integer(0));
    });
}

/// Two accounts in two partitions: whoever looks at both sees the same sum.
#[test]
fn a_transaction_of_both_partitions_is_seen_whole_or_not_at_all() {
    on_two_cores("cores-multi", &[], |server, _| {
        let server = &*server;
        let (a, b) = (key_of(0, 1), key_of(1, 2));
        let mut client = server.connect().unwrap();
        assert_eq!(text(&must(&mut client, &format!("MSET {a} 500 {b} 500"))), "OK");
        let pay = |client: &mut Client, from: &str, to: &str| {
            for command in ["MULTI".to_owned(), format!("DECR {from}"), format!("INCR {to}"), "EXEC".to_owned()] {
                client.send(&command.split(' ').collect::<Vec<_>>());
            }
        };
        std::thread::scope(|scope| {
            for i in 0..4 {
                let (a, b, pay) = (&a, &b, &pay);
                scope.spawn(move || {
                    let mut client = server.connect().unwrap();
                    for round in 0..100 {
                        let (from, to) = if (i + round) % 2 == 0 { (a, b) } else { (b, a) };
                        pay(&mut client, from, to);
                        client.send(&["MULTI"]);
                        client.send(&["GET", a]);
                        client.send(&["GET", b]);
                        client.send(&["EXEC"]);
                        client.send(&["MGET", a, b]);
                        let replies: Vec<_> = (0..9).map(|_| client.read().unwrap()).collect();
                        for seen in &replies[7..] {
                            let Value::Array(values) = seen else { panic!("{seen:?}") };
                            let sum: i64 = values.iter().map(|value| text(value).parse::<i64>().unwrap()).sum();
                            assert_eq!(sum, 1000);
                        }
                    }
                });
            }
        });
        // a watched key of the other core
        let mut other = server.connect().unwrap();
        for key in [&a, &b] {
            assert_eq!(text(&must(&mut client, &format!("WATCH {a} {b}"))), "OK");
            must(&mut other, &format!("INCR {key}"));
            must(&mut client, "MULTI");
            must(&mut client, &format!("SET {a} lost"));
            assert_eq!(must(&mut client, "EXEC"), Value::Null);
        }
        must(&mut client, "MULTI");
        must(&mut client, &format!("MSETNX {a} lost {b} lost"));
        must(&mut client, &format!("DEL {a} {b}"));
        must(&mut client, &format!("MSETNX {a} 1 {b} 2"));
        must(&mut client, "PING");
        must(&mut client, &format!("MGET {b} {a}"));
        let Value::Array(replies) = must(&mut client, "EXEC") else { panic!() };
        assert_eq!(replies[..3], [Value::Integer(0), Value::Integer(2), Value::Integer(1)]);
        let Value::Array(values) = &replies[4] else { panic!() };
        assert_eq!(values.iter().map(text).collect::<Vec<_>>(), ["2", "1"]);
    });
}

#[test]
fn shutdown_answers_what_it_has_taken_and_keeps_it() {
    on_two_cores("cores-shutdown", &["--appendfsync", "always"], |server, dir| {
        let mut writers: Vec<Client> = (0..4).map(|_| server.connect().unwrap()).collect();
        for (i, writer) in writers.iter_mut().enumerate() {
            for n in 0..200 {
                writer.send(&["SET".to_owned(), format!("w{i}:{n}"), "x".to_owned()]);
            }
            writer.flush().unwrap();
        }
        let mut last = server.connect().unwrap();
        last.send(&["SHUTDOWN"]);
        last.flush().unwrap();
        // a client gets answers up to some point, and then the end of the connection
        let acked: Vec<usize> = writers
            .iter_mut()
            .map(|writer| (0..200).take_while(|_| writer.read().is_ok_and(|reply| text(&reply) == "OK")).count())
            .collect();
        assert!(server.wait_exit(PATIENCE).unwrap().success(), "{}", server.log_text());
        let again = Server::start(&spec(dir.path(), &["--cores", "1"])).unwrap();
        let mut client = again.connect().unwrap();
        for (i, acked) in acked.iter().enumerate() {
            for n in 0..*acked {
                assert_eq!(text(&must(&mut client, &format!("GET w{i}:{n}"))), "x", "w{i}:{n} was acknowledged");
            }
        }
    });
}

#[test]
fn a_data_set_is_served_by_more_and_by_fewer_cores_than_it_has_partitions() {
    on_two_cores("cores-dealt-anew", &[], |server, dir| {
        let mut client = server.connect().unwrap();
        for i in 0..1000 {
            client.send(&["SET".to_owned(), format!("k{i}"), i.to_string()]);
        }
        (0..1000).for_each(|_| assert_eq!(text(&client.read().unwrap()), "OK"));
        server.kill9().unwrap();
        for cores in ["1", "3", "2"] {
            let mut server = Server::start(&spec(dir.path(), &["--cores", cores])).unwrap();
            // one connection on each core
            for mut client in (0..3).map(|_| server.connect().unwrap()) {
                assert_eq!(must(&mut client, "DBSIZE"), Value::Integer(1000));
                for i in 0..1000 {
                    client.send(&["GET".to_owned(), format!("k{i}")]);
                }
                (0..1000).for_each(|i| assert_eq!(text(&client.read().unwrap()), i.to_string()));
            }
            assert!(
                text(&must(&mut server.connect().unwrap(), "INFO server")).contains(&format!("\r\ncores:{cores}\r\n"))
            );
            server.kill9().unwrap();
        }
    });
}
