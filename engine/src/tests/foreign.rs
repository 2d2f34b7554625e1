//! Other threads read a partition while its owner writes, frees segments and flushes.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use emberkv_log::{DbId, SyncPolicy, Value, Whose};
use emberkv_resp::schema::resolve;
use emberkv_resp::{Output, Protocol, Reply};

use super::rig::{NIL, Rig, with_args, words};
use crate::{Direct, Foreign, PartitionReader, Request};

const STAY: usize = 40;
const KEYS: usize = 80;

/// What another core answers to a command.
fn ask_directly(rig: &Rig, reader: &PartitionReader, db: u8, line: &str) -> Option<String> {
    with_args(&words(line), |args| {
        let request = Request { id: resolve(args).ok()?.id, db: DbId(db), args, whose: Whose::default() };
        if !PartitionReader::answers(request) {
            return None;
        }
        let (mut output, guard) = (Output::new(), crossbeam_epoch::pin());
        let mut reply = Reply::new(&mut output, Protocol::Resp2);
        let fingerprint = reader.prefetch_row(&guard, DbId(db), args.at(1));
        reader.prefetch_record(&guard, fingerprint);
        let direct = reader.answer(&guard, request, fingerprint, rig.now_ms(), &mut reply);
        (direct != Direct::Ask).then(|| String::from_utf8(output.to_vec()).unwrap())
    })
}

#[test]
fn another_core_answers_as_the_owner_does() {
    let mut rig = Rig::new(3, SyncPolicy::EverySec);
    let reader = rig.partition.reader();
    let long = "v".repeat(140_000);
    for line in ["SET text hello", "SET int -123", "SET ttl soon PX 5500", &format!("SET long {long}")] {
        rig.ask(1, line);
    }
    rig.ask(2, "SET gone 1");
    rig.ask(2, "FLUSHDB");
    let lines: Vec<String> = ["text", "int", "ttl", "long", "none", "gone"]
        .iter()
        .flat_map(|key| {
            ["GET", "STRLEN", "EXISTS", "TOUCH", "TYPE", "TTL", "PTTL", "EXPIRETIME", "PEXPIRETIME"]
                .map(|command| format!("{command} {key}"))
                .into_iter()
                .chain(
                    ["0 -1", "1 2", "-3 -2", "3 1", "-1 -3", "100 200"].map(|range| format!("GETRANGE {key} {range}")),
                )
        })
        .collect();
    for line in &lines {
        assert_eq!(ask_directly(&rig, &reader, 1, line), None, "{line}: nothing has been written yet");
    }
    rig.run_all();
    rig.partition.publish();
    for (line, db) in lines.iter().flat_map(|line| [(line, 1), (line, 2)]) {
        assert_eq!(ask_directly(&rig, &reader, db, line), Some(rig.ask(db, line)), "{line} in {db}");
    }
    assert_eq!(ask_directly(&rig, &reader, 1, "GETRANGE text a b"), None, "the owner has the words for it");
    assert_eq!(ask_directly(&rig, &reader, 1, "EXISTS text int"), None);
    assert_eq!(ask_directly(&rig, &reader, 1, "SET text 1"), None);
}

#[test]
fn a_key_that_is_being_written_is_read_by_message() {
    let mut rig = Rig::new(3, SyncPolicy::EverySec);
    let reader = rig.partition.reader();
    rig.ask(0, "SET k 1");
    rig.run_all();
    rig.partition.publish();
    let read = |rig: &Rig| ask_directly(rig, &reader, 0, "GET k").is_some();
    assert!(read(&rig));
    for write in [Some(reader.fingerprint(DbId(0), b"k")), None] {
        reader.begin_write(write);
        reader.begin_write(write);
        reader.end_write(write);
        assert!(!read(&rig), "one of two is under way");
        reader.end_write(write);
        assert!(read(&rig));
    }
    rig.pass(0);
    rig.ask(0, "SET k 2 PX 10");
    assert!(!read(&rig), "it is beyond the gate");
    rig.run_all();
    rig.partition.publish();
    assert!(read(&rig));
    rig.pass(10);
    assert!(!read(&rig), "its expiry is the owner's to write down");
    assert_eq!(rig.ask(0, "GET k"), NIL);
    assert!(!read(&rig), "the tombstone is beyond the gate");
    rig.run_all();
    rig.partition.publish();
    assert_eq!(ask_directly(&rig, &reader, 0, "GET k"), Some(NIL.to_owned()));
}

/// The version in a value that [`write`] has made.
fn version(value: Value<'_>, key: usize) -> u64 {
    let Value::Bytes(bytes) = value else { panic!("an integer") };
    let text = std::str::from_utf8(bytes).unwrap();
    let mut parts = text.split(':');
    assert_eq!(parts.next(), Some(format!("k{key}").as_str()), "another key's value");
    let version = parts.next().unwrap();
    assert_eq!(parts.next().unwrap(), version.repeat(parts.next().unwrap().parse().unwrap()), "a torn value");
    version.parse().unwrap()
}

fn value(key: usize, version: u64, repeat: usize) -> String {
    format!("k{key}:{version}:{}:{repeat}", version.to_string().repeat(repeat))
}

/// What the owner tells the readers that check it.
struct Told {
    /// The newest version of each key that has been published.
    promised: Vec<AtomicU64>,
    /// Flushes begun and ended: odd while one is under way.
    flushes: AtomicU64,
    done: AtomicBool,
}

/// Reads until it is done; returns how many reads were answered.
fn read_along(reader: &PartitionReader, told: &Told, now_ms: u64) -> u64 {
    let (mut answered, mut turn) = (0, 0);
    while !told.done.load(Ordering::Relaxed) {
        let guard = crossbeam_epoch::pin();
        for _ in 0..32 {
            turn += 1;
            let key = turn * 7 % KEYS;
            let name = format!("k{key}");
            let flushes = told.flushes.load(Ordering::SeqCst);
            let before = told.promised[key].load(Ordering::SeqCst);
            let found = reader.get(&guard, DbId(0), name.as_bytes(), now_ms);
            let flushed = flushes % 2 == 1 || flushes != told.flushes.load(Ordering::SeqCst);
            let stays = key < STAY && !flushed;
            match found {
                Foreign::Ask => continue,
                Foreign::Nil => assert!(!stays || before == 0, "key {key} was missed"),
                Foreign::Value(record) => {
                    let found = version(record.value(), key);
                    assert!(!stays || found >= before, "key {key}: {found} after {before}");
                    if let Some(shared) = record.share_value() {
                        assert_eq!(Value::Bytes(&shared), record.value());
                    }
                }
            }
            answered += 1;
        }
    }
    answered
}

#[test]
fn readers_see_whole_values_and_never_go_back() {
    let mut rig = Rig::new(7, SyncPolicy::EverySec);
    let reader = rig.partition.reader();
    let promised = (0..KEYS).map(|_| AtomicU64::new(0)).collect();
    let told = Told { promised, flushes: AtomicU64::new(0), done: AtomicBool::new(false) };
    let (mut left, now_ms) = (0, rig.now_ms());
    let answered: u64 = std::thread::scope(|scope| {
        let readers: Vec<_> = (0..2)
            .map(|_| {
                let (reader, told) = (reader.clone(), &told);
                scope.spawn(move || read_along(&reader, told, now_ms))
            })
            .collect();
        for turn in 0..4_000u64 {
            let mut written = Vec::new();
            for i in 0..4 {
                let (version, key) = (turn * 4 + i, (turn * 31 + i * 17) as usize % KEYS);
                if key >= STAY && turn % 3 == 0 {
                    rig.ask(0, &format!("DEL k{key}"));
                } else {
                    let value = value(key, version, 1 + (version % 300) as usize);
                    rig.run(0, &words(&format!("SET k{key} {value}")));
                    written.push((key, version));
                }
            }
            let flushes = turn % 500 == 250;
            if flushes {
                // an index that readers are in is left behind
                told.flushes.fetch_add(1, Ordering::SeqCst);
                told.promised.iter().for_each(|promised| promised.store(0, Ordering::SeqCst));
                rig.ask(0, "FLUSHALL");
                left += rig.partition.take_dropped().len();
                written.clear();
            }
            rig.run_all();
            rig.partition.publish();
            if flushes {
                told.flushes.fetch_add(1, Ordering::SeqCst);
            }
            if turn % 16 == 0 {
                rig.partition.log_mut().tick();
            }
            for (key, version) in written {
                told.promised[key].store(version, Ordering::SeqCst);
            }
        }
        told.done.store(true, Ordering::Relaxed);
        readers.into_iter().map(|reader| reader.join().unwrap()).sum()
    });
    rig.settle();
    assert!(answered > 10_000, "{answered}");
    assert!(rig.partition.log().segments().0 < 20, "segments were freed under the readers");
    assert!((0..1_000).any(|_| {
        left += rig.partition.take_dropped().len();
        left == 8
    }));
}
