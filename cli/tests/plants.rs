//! Rules of the protocol that are left out on purpose: the table of docs/reliability.md has all of them, each with a test that notices,
//! and those that only a whole server has are noticed here.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use common::{is_ember, number, spec};
use emberkv_log::plant::Plant;
use emberkv_torture::linear::{self, LinearPlan};
use emberkv_torture::partition::partition;
use emberkv_torture::{Client, Server, Value};

/// All that is written in rust in the project.
fn sources(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() && name != "target" && !name.starts_with('.') {
            sources(&path, found);
        } else if name.ends_with(".rs") {
            found.push(path);
        }
    }
}

/// The words in backticks.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

/// Each rule that can be left out is in the table, and nothing else is; the tests that it names are there, and know of that rule. Whether
/// they notice is for them to say: each fails if it does not.
#[test]
fn the_table_has_all_plants_and_their_tests() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let page = fs::read_to_string(root.join("docs/reliability.md")).unwrap();
    let (_, table) = page.split_once("## rules that were taken out on purpose").unwrap();
    let table = table.split("\n## ").next().unwrap();
    let mut files = Vec::new();
    sources(root, &mut files);
    let texts: Vec<String> = files.iter().map(|path| fs::read_to_string(path).unwrap()).collect();
    let mut noticed: BTreeMap<String, BTreeSet<&str>> = BTreeMap::new();
    for row in table.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| plant")) {
        let cells: Vec<&str> = row.trim_matches('|').split('|').collect();
        let [plant, _, tests] = cells[..] else { panic!("not three cells: {row}") };
        assert!(quoted(tests).next().is_some(), "no test is named: {row}");
        noticed.entry(plant.trim().to_owned()).or_default().extend(quoted(tests));
    }
    let all: BTreeSet<String> = Plant::ALL.iter().map(|plant| format!("{plant:?}")).collect();
    assert_eq!(noticed.keys().cloned().collect::<BTreeSet<_>>(), all, "the table and the plants differ");
    for (plant, tests) in noticed {
        let names = [format!("Plant::{plant}"), format!("\"{plant}\"")];
        for test in tests {
            let is_it = |text: &String| text.contains(&format!("fn {test}()"));
            let knows = |text: &String| names.iter().any(|name| text.contains(name));
            assert!(texts.iter().any(|text| is_it(text) && knows(text)), "no test {test} knows of {plant}");
        }
    }
}

/// Two keys of one partition, for each of two.
fn pairs() -> Vec<[String; 2]> {
    let of = |wanted: u16, first: u16| {
        let mut names = (first..).map(|n| format!("key:{n}"));
        names.find(|name| partition(name.as_bytes(), 2) == wanted).unwrap()
    };
    (0..2).map(|p| [of(p, 0), of(p, 1000)]).collect()
}

/// Of each pair the first is written before the second, at the core that owns them, and read after it, in one pipeline, from the other
/// core. That one has writes on their way to the second all the while, so that a read of it goes by message (D6), and a read of
/// the first need not. Whether within so many looks, or so much time, the first was ever behind the second.
fn a_read_overtakes(plant: &str, looks: usize, at_most: Duration) -> bool {
    let dir = common::dir("plant-reads");
    let spec = spec(dir.path(), &["--cores", "2"]).env("EMBERKV_PLANT", plant);
    let server = Server::start(&spec).unwrap();
    // they are dealt to the cores in turn: what writes is at one, what disturbs and reads at the other
    let mut clients: Vec<Client> = (0..4).map(|_| server.connect().unwrap()).collect();
    let (mut reader, _, mut disturber, mut writer) =
        (clients.pop().unwrap(), clients.pop(), clients.pop().unwrap(), clients.pop().unwrap());
    let (pairs, stop) = (pairs(), AtomicBool::new(false));
    let is_over = || stop.load(Ordering::Relaxed);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for n in 1.. {
                if is_over() {
                    break;
                }
                let number = u64::to_string(&n);
                pairs.iter().flatten().for_each(|key| writer.send(&["SET", key, &number]));
                (0..4).for_each(|_| assert!(writer.read().unwrap().is_ok()));
            }
        });
        scope.spawn(|| {
            while !is_over() {
                (0..8).for_each(|n| disturber.send(&["PERSIST", &pairs[n % 2][1]]));
                (0..8).for_each(|_| assert_eq!(disturber.read().unwrap(), Value::Integer(0)));
            }
        });
        let began = Instant::now();
        let number = |value: Value| common::text(&value).parse::<u64>().unwrap_or(0);
        let found = (0..looks).take_while(|_| began.elapsed() < at_most).any(|look| {
            let [first, second] = &pairs[look % 2];
            reader.send(&["GET", second]);
            reader.send(&["GET", first]);
            let (second, first) = (number(reader.read().unwrap()), number(reader.read().unwrap()));
            first < second
        });
        stop.store(true, Ordering::Relaxed);
        found
    })
}

#[test]
fn reads_of_one_partition_keep_their_order_by_d1() {
    if !is_ember() {
        return;
    }
    let patience = Duration::from_secs(60);
    assert!(!a_read_overtakes("none", 20_000, patience), "a read has overtaken another one");
    assert!(a_read_overtakes("D1", usize::MAX, patience), "nothing noticed that D1 is missing");
}

/// A server with two cores that leaves a rule out.
fn two_cores(dir: &Path, plant: &str) -> Server {
    Server::start(&spec(dir, &["--cores", "2"]).env("EMBERKV_PLANT", plant)).unwrap()
}

fn ask(client: &mut Client, words: &[&str]) -> Value {
    client.send(words);
    client.read().unwrap()
}

fn get(client: &mut Client, key: &str) -> u64 {
    common::text(&ask(client, &["GET", key])).parse().unwrap_or(0)
}

/// Two keys, of two cores, expire at the same time. Whether one is there still when the other is seen to be gone.
fn a_core_lags(plant: &str, looks: usize) -> bool {
    let dir = common::dir("plant-clocks");
    let server = two_cores(dir.path(), plant);
    let mut clients: Vec<Client> = (0..2).map(|_| server.connect().unwrap()).collect();
    let [first, second] = &mut clients[..] else { unreachable!() };
    let ([one, _], [other, _]) = (&pairs()[0], &pairs()[1]);
    (0..looks).any(|_| {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
        let at = (now + Duration::from_millis(120)).as_millis().to_string();
        [one, other].iter().for_each(|key| assert!(ask(first, &["SET", key, "1", "PXAT", &at]).is_ok()));
        while get(first, one) == 1 {}
        get(second, other) == 1
    })
}

#[test]
fn what_has_expired_on_one_core_has_on_all_by_d10() {
    if !is_ember() {
        return;
    }
    assert!(!a_core_lags("none", 10), "two cores have two clocks");
    assert!(a_core_lags("D10", 10), "nothing noticed that D10 is missing");
}

/// A payload goes to one core and the word that it is there to the other, in one pipeline. Whether somebody has the word, asks the payload's core, and does not find it.
fn a_word_overtakes(plant: &str, looks: u64) -> bool {
    let dir = common::dir("plant-turns");
    let server = two_cores(dir.path(), plant);
    let mut clients: Vec<Client> = (0..3).map(|_| server.connect().unwrap()).collect();
    // they are dealt to the cores in turn: the writer is where the first reader is
    let [writer, at_the_other, at_the_same] = &mut clients[..] else { unreachable!() };
    let pairs = pairs();
    (1..=looks).any(|n| {
        let number = n.to_string();
        // one way round the word is the writer's core's, and the payload the other's
        let (payload, word) = (&pairs[n as usize % 2][0], &pairs[(n + 1) as usize % 2][1]);
        writer.send(&["SET", payload, &number]);
        writer.send(&["SET", word, &number]);
        writer.flush().unwrap();
        while get(at_the_same, word) < n {}
        let found = get(at_the_other, payload);
        (0..2).for_each(|_| assert!(writer.read().unwrap().is_ok()));
        found < n
    })
}

#[test]
fn what_led_to_a_request_comes_before_it_by_d8() {
    if !is_ember() {
        return;
    }
    assert!(!a_word_overtakes("none", 500), "a word has overtaken what it told of");
    assert!(a_word_overtakes("D8", 500), "nothing noticed that D8 is missing");
}

/// Whether a server lives that reads keys of either core from both.
fn reads_on(plant: &str) -> bool {
    let dir = common::dir("plant-pins");
    let server = two_cores(dir.path(), plant);
    let mut clients: Vec<Client> = (0..2).map(|_| server.connect().unwrap()).collect();
    let [one, other] = &mut clients[..] else { unreachable!() };
    pairs().iter().for_each(|[key, _]| assert!(ask(one, &["SET", key, "1"]).is_ok()));
    (0..100).all(|_| {
        [&mut *one, &mut *other].into_iter().all(|client| {
            pairs().iter().all(|[key, _]| {
                client.send(&["GET", key]);
                client.read().is_ok()
            })
        })
    })
}

#[test]
fn a_core_that_waits_keeps_nothing_of_others_by_d12() {
    if !is_ember() {
        return;
    }
    assert!(reads_on("none"), "the server has ended");
    assert!(!reads_on("D12"), "nothing noticed that D12 is missing");
}

/// Whether histories of a server that leaves a rule out show that.
fn histories_notice(plant: &str, io: &str) -> bool {
    let dir = common::dir("plant");
    let spec = spec(dir.path(), &["--cores", "2", "--io", io]).env("EMBERKV_PLANT", plant);
    let length = Duration::from_secs(number("EMBERKV_PLANT_SECONDS", 30));
    match linear::run(&LinearPlan::new(spec, length, 1)) {
        Ok(report) => {
            println!("{plant}, io {io}\n{report}\n");
            !report.is_clean()
        }
        // it may also contradict itself and end
        Err(error) => {
            println!("{plant}, io {io}: {error}");
            true
        }
    }
}

#[test]
fn histories_notice_rules_that_a_server_leaves_out() {
    if !is_ember() {
        return;
    }
    for (plant, io) in [("D7", "uring"), ("P1", "epoll")] {
        assert!(histories_notice(plant, io), "nothing noticed that {plant} is missing");
    }
}
