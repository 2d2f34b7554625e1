//! More data than `maxmemory` allows: nothing is lost, and all of it is found.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod common;

use std::collections::BTreeMap;

use common::{dir, driver_args, drivers, eventually, is_ember, must, spec, text};
use emberkv_torture::rng::Rng;
use emberkv_torture::{Client, Server, Value};

const KEYS: u64 = 60_000;
const MAXMEMORY: u64 = 12 << 20;

/// Unlike for each key and change; some are short, some long.
fn value(key: u64, change: u64) -> Vec<u8> {
    let len = match key % 100 {
        0 => 20_000,
        1..10 => 10,
        _ => 800,
    };
    let mut value = format!("{key}:{change}:").into_bytes();
    value.resize(len.max(value.len()), b'.');
    value
}

fn name(key: u64) -> Vec<u8> {
    format!("key:{key:08}").into_bytes()
}

/// Sends commands in pipelines; their replies, in order.
fn pipeline(client: &mut Client, commands: &[Vec<Vec<u8>>]) -> Vec<Value> {
    let mut replies = Vec::with_capacity(commands.len());
    for part in commands.chunks(200) {
        part.iter().for_each(|command| client.send(command));
        replies.extend(part.iter().map(|_| client.read().unwrap()));
    }
    replies
}

fn field(client: &mut Client, name: &str) -> u64 {
    let info = text(&must(client, "INFO memory"));
    let line = info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    line.and_then(|value| value.parse().ok()).unwrap_or_else(|| panic!("{name} is no field of {info}"))
}

/// What there should be: the last change of each key.
type Model = BTreeMap<u64, u64>;

fn bulk(value: &Value) -> Option<Vec<u8>> {
    assert!(!matches!(value, Value::Error(_)), "{}", text(value));
    value.text().map(<[u8]>::to_vec)
}

fn read_all(client: &mut Client, model: &Model) {
    let commands: Vec<_> = (0..KEYS).map(|key| vec![b"GET".to_vec(), name(key)]).collect();
    for (key, reply) in (0..KEYS).zip(pipeline(client, &commands)) {
        let wanted = model.get(&key).map(|change| value(key, *change));
        assert!(bulk(&reply) == wanted, "key {key} is not what it should be");
    }
}

fn load(client: &mut Client, model: &mut Model) {
    let set = |key| vec![b"SET".to_vec(), name(key), value(key, 0)];
    let commands: Vec<_> = (0..KEYS).map(set).collect();
    for reply in pipeline(client, &commands) {
        assert_eq!(text(&reply), "OK");
    }
    model.extend((0..KEYS).map(|key| (key, 0)));
}

/// Commands of all kinds on keys anywhere, in pipelines: the replies come in order, and are those of the model.
fn change_some(client: &mut Client, model: &mut Model, rng: &mut Rng) {
    for change in 1..120 {
        let (mut commands, mut wanted) = (Vec::new(), Vec::new());
        for _ in 0..40 {
            let key = if rng.below(2) == 0 { rng.below(50) } else { rng.below(KEYS) };
            let held = model.get(&key).map(|change| value(key, *change));
            match rng.below(6) {
                0 => {
                    commands.push(vec![b"SET".to_vec(), name(key), value(key, change)]);
                    model.insert(key, change);
                    wanted.push(Some(b"OK".to_vec()));
                }
                1 => {
                    commands.push(vec![b"GETDEL".to_vec(), name(key)]);
                    model.remove(&key);
                    wanted.push(held);
                }
                2 => {
                    commands.push(vec![b"GETRANGE".to_vec(), name(key), b"0".to_vec(), b"11".to_vec()]);
                    let part = held.unwrap_or_default();
                    wanted.push(Some(part[..part.len().min(12)].to_vec()));
                }
                _ => {
                    commands.push(vec![b"GET".to_vec(), name(key)]);
                    wanted.push(held);
                }
            }
        }
        let replies = pipeline(client, &commands);
        for ((reply, wanted), command) in replies.iter().zip(wanted).zip(&commands) {
            let command = command[..2].join(&b' ');
            assert!(bulk(reply) == wanted, "{} was answered {reply:?}", command.escape_ascii());
        }
    }
}

fn count_by_scan(client: &mut Client) -> usize {
    let (mut cursor, mut found) = ("0".to_owned(), Vec::new());
    loop {
        let Value::Array(reply) = must(client, &format!("SCAN {cursor} COUNT 1000")) else { panic!("no array") };
        let Value::Array(keys) = &reply[1] else { panic!("no array") };
        found.extend(keys.iter().map(text));
        cursor = text(&reply[0]);
        if cursor == "0" {
            found.sort();
            found.dedup();
            return found.len();
        }
    }
}

fn spills(io: &str, cores: &str) {
    let dir = dir(&format!("spill-{io}-{cores}"));
    let maxmemory = MAXMEMORY.to_string();
    let driver = driver_args(io);
    let mut args = vec!["--maxmemory", &maxmemory, "--cores", cores];
    args.extend(driver.iter().map(String::as_str));
    let spec = spec(dir.path(), &args);
    let server = Server::start(&spec).unwrap();
    let mut client = server.connect().unwrap();
    let (mut model, mut rng) = (Model::new(), Rng::new(7));
    load(&mut client, &mut model);
    // what is not synced yet stays in memory
    eventually("most of it is not in memory", || {
        field(&mut client, "log_segment_bytes") <= MAXMEMORY
            && field(&mut client, "cold_segments") > 3 * field(&mut client, "resident_segments")
    });
    read_all(&mut client, &model);
    assert!(field(&mut client, "cold_reads") > KEYS / 2);
    change_some(&mut client, &mut model, &mut rng);
    let keys: Vec<_> = std::iter::once(b"MGET".to_vec()).chain((0..1000).map(|key| name(key * 50))).collect();
    client.send(&keys);
    let Value::Array(values) = client.read().unwrap() else { panic!("no array") };
    for (key, reply) in (0..1000).map(|key| key * 50).zip(&values) {
        assert!(bulk(reply) == model.get(&key).map(|change| value(key, *change)), "key {key} of MGET");
    }
    assert_eq!(must(&mut client, "DBSIZE"), Value::Integer(model.len() as i64));
    assert_eq!(count_by_scan(&mut client), model.len());
    let Value::Array(found) = must(&mut client, "KEYS key:000123*") else { panic!("no array") };
    assert_eq!(found.len(), model.range(12_300..12_400).count());
    assert_eq!(field(&mut client, "cold_reads_failed"), 0);

    let mut server = server;
    server.kill9().unwrap();
    let mut server = Server::start(&spec).unwrap();
    let mut client = server.connect().unwrap();
    read_all(&mut client, &model);
    change_some(&mut client, &mut model, &mut rng);
    // more memory, and all of it comes back
    must(&mut client, "CONFIG SET maxmemory 0");
    eventually("all of it is in memory", || field(&mut client, "cold_segments") == 0);
    read_all(&mut client, &model);
    server.kill9().unwrap();
}

#[test]
fn five_times_as_much_as_maxmemory_is_kept_and_found() {
    if !is_ember() {
        return;
    }
    for io in drivers() {
        spills(io, "1");
    }
}

#[test]
fn cores_read_for_one_another_what_is_not_in_memory() {
    if is_ember() {
        spills("uring", "2");
    }
}
