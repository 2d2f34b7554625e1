//! SWAPDB on a running server: for all connections, cores and keys at once, and after `kill -9` too.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod common;

use std::sync::atomic::{AtomicBool, Ordering};

use common::{dir, is_ember, must, spec};
use emberkv_torture::{Client, Server, Value};

const KEYS: usize = 40;

fn line(command: &str, value: Option<&str>) -> String {
    let words = (0..KEYS).map(|i| value.map_or(format!(" key:{i}"), |value| format!(" key:{i} {value}")));
    format!("{command}{}", words.collect::<String>())
}

/// What all keys of a reply hold: one and the same.
fn all(reply: &Value) -> Vec<u8> {
    let items = reply.items().unwrap_or_else(|| panic!("{reply:?}"));
    let first = items[0].text().unwrap_or_else(|| panic!("{reply:?}"));
    assert!(items.len() == KEYS && items.iter().all(|item| item.text() == Some(first)), "half of a swap: {reply:?}");
    first.to_vec()
}

fn both(client: &mut Client) -> [Vec<u8>; 2] {
    let get = line("MGET", None);
    for words in ["MULTI", &get, "SELECT 1", &get, "SELECT 0"] {
        must(client, words);
    }
    let reply = must(client, "EXEC");
    let items = reply.items().unwrap();
    [all(&items[0]), all(&items[2])]
}

#[test]
fn databases_are_swapped_for_everybody_at_once() {
    if !is_ember() {
        return;
    }
    for cores in ["1", "3"] {
        let dir = dir("swapdb");
        let mut server = Server::start(&spec(dir.path(), &["--cores", cores])).unwrap();
        let mut client = server.connect().unwrap();
        must(&mut client, &line("MSET", Some("zero")));
        must(&mut client, "SELECT 1");
        must(&mut client, &line("MSET", Some("one")));
        let is_over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let mut swapper = server.connect().unwrap();
            let is_over = &is_over;
            scope.spawn(move || {
                while !is_over.load(Ordering::Relaxed) {
                    must(&mut swapper, "SWAPDB 0 1");
                    must(&mut swapper, "GET key:1");
                }
            });
            let readers: Vec<_> = (0..3)
                .map(|_| {
                    let mut reader = server.connect().unwrap();
                    scope.spawn(move || {
                        for i in 0..100 {
                            let [zero, one] = both(&mut reader);
                            assert_ne!(zero, one);
                            all(&must(&mut reader, &line("MGET", None)));
                            must(&mut reader, &format!("SELECT {}", i % 2));
                            must(&mut reader, "GET key:7");
                            must(&mut reader, "SELECT 0");
                        }
                    })
                })
                .collect();
            let ended: Vec<_> = readers.into_iter().map(std::thread::ScopedJoinHandle::join).collect();
            is_over.store(true, Ordering::Relaxed);
            ended.into_iter().for_each(|ended| ended.unwrap());
        });
        let before = both(&mut server.connect().unwrap());
        server.kill9().unwrap();
        let server = Server::start(&spec(dir.path(), &["--cores", "2"])).unwrap();
        let mut client = server.connect().unwrap();
        assert_eq!(both(&mut client), before, "what was answered is there after kill -9");
        must(&mut client, "SWAPDB 1 0");
        assert_eq!(both(&mut client), [before[1].clone(), before[0].clone()]);
    }
}
