//! Records that are not in memory: brought when they are asked for, and looked at before they are believed.

use emberkv_log::disk::Disk;
use emberkv_log::disk::sim::Choices;
use emberkv_log::plant::{self, Plant};
use emberkv_log::{Address, DbId, SyncPolicy, Whose, segment_name};
use emberkv_resp::schema::CommandId;
use emberkv_resp::{Output, Protocol, Reply};

use super::rig::{NIL, Rig, bulk, with_args, words};
use crate::{Partition, Request, Stop};

const KEYS: usize = 300;

fn value(i: usize) -> String {
    format!("{i:0500}")
}

/// A partition of several segments of which only the newest are in memory.
fn cold() -> Rig {
    let mut rig = Rig::new(1, SyncPolicy::EverySec);
    for i in 0..KEYS {
        rig.ask(0, &format!("set key{i:03} {}", value(i)));
        rig.run_all();
    }
    rig.settle();
    unload(&mut rig);
    rig
}

fn unload(rig: &mut Rig) {
    for unloadable in rig.partition.log.unloadable() {
        rig.partition.log.unload(unloadable.sequence);
    }
    rig.partition.log.shrink_kept(0);
    assert!(rig.partition.log.table().cold_segments() > 1);
}

fn address(partition: &Partition<emberkv_log::disk::sim::SimDisk>, key: &str) -> Address {
    let key = partition.key(emberkv_log::DbId(0), key.as_bytes());
    let candidates: Vec<_> = partition.index.candidates(key.fingerprint).collect();
    assert_eq!(candidates.len(), 1);
    candidates[0].1
}

#[test]
fn every_key_is_found_whatever_is_in_memory() {
    let mut rig = cold();
    for i in 0..KEYS {
        assert_eq!(rig.ask(0, &format!("get key{i:03}")), bulk(&value(i)));
    }
    let stats = rig.partition.log.cold_stats();
    assert!(stats.reads > 100 && stats.failed == 0, "{stats:?}");
    unload(&mut rig);
    let all: String = (0..KEYS).map(|i| format!(" key{i:03}")).collect();
    assert_eq!(rig.ask(0, &format!("exists{all} nokey")), format!(":{KEYS}\r\n"));
    assert_eq!(rig.ask(0, "get nokey"), NIL);
    unload(&mut rig);
    assert_eq!(rig.ask(0, "keys key*").matches("key").count(), KEYS);
    unload(&mut rig);
    assert!(rig.ask(0, "randomkey").contains("key"));
    unload(&mut rig);
    // what is written takes the old record's place, and what is deleted is gone
    assert_eq!(rig.ask(0, "append key000 !"), ":501\r\n");
    assert_eq!(rig.ask(0, "del key001 key002 nokey"), ":2\r\n");
    assert_eq!(rig.ask(0, "set key003 new"), "+OK\r\n");
    assert_eq!(rig.ask(0, "dbsize"), format!(":{}\r\n", KEYS - 2));
    rig.settle();
    rig.check_counts();
    let contents = rig.contents();
    assert!(rig.killed().contents() == contents);
}

#[test]
fn what_one_command_needs_stays_until_it_has_all_of_it() {
    let mut rig = cold();
    let line: String = (0..100).map(|i| format!(" key{i:03}")).collect();
    let words = words(&format!("mget{line}"));
    // each record that comes is followed by a look at the others, and by a cut to what two of them take
    let limit = 1200;
    let mut choices = Choices::new(3);
    for _ in 0..5000 {
        let done = with_args(&words, |args| {
            let request = Request { id: CommandId::Mget, db: DbId(0), args, whose: Whose::default() };
            let mut output = Output::new();
            rig.partition.execute(request, &mut Reply::new(&mut output, Protocol::Resp2))
        });
        rig.partition.log.shrink_kept(limit);
        match done {
            Ok(()) => return assert!(rig.partition.log.kept_bytes() <= limit, "nothing is held any more"),
            Err(Stop::Cold(_)) => drop(rig.run_job(&mut choices)),
            Err(other) => panic!("{other:?}"),
        }
    }
    panic!("it never has all of it")
}

#[test]
fn every_command_brings_what_it_looks_at() {
    let mut rig = cold();
    let lines = [
        "get K",
        "getdel K",
        "getex K persist",
        "getset K x",
        "set K x",
        "set K x nx",
        "set K x xx get",
        "set K x ifeq y",
        "delifeq K y",
        "setex K 100 x",
        "psetex K 100 x",
        "setnx K x",
        "mget K nokey",
        "mset K x",
        "msetnx K x a b",
        "append K x",
        "strlen K",
        "getrange K 0 3",
        "substr K 0 3",
        "setrange K 3 abc",
        "incr K",
        "incrby K 3",
        "decr K",
        "decrby K 3",
        "incrbyfloat K 1.5",
        "setbit K 3 1",
        "getbit K 3",
        "bitcount K",
        "bitpos K 1",
        "bitfield K set u8 0 3 get u8 0",
        "bitfield_ro K get u8 0",
        "del K",
        "unlink K",
        "exists K",
        "touch K",
        "type K",
        "object encoding K",
        "object idletime K",
        "object freq K",
        "object refcount K",
        "expire K 100",
        "pexpire K 100",
        "expireat K 99",
        "pexpireat K 99",
        "ttl K",
        "pttl K",
        "expiretime K",
        "pexpiretime K",
        "persist K",
    ];
    for (i, line) in lines.iter().enumerate() {
        let key = format!("key{:03}", i * 2);
        assert!(!rig.partition.log.table().is_here(address(&rig.partition, &key)), "{line}");
        let reads = rig.partition.log.cold_stats().reads;
        let reply = rig.ask(0, &line.replace('K', &key));
        assert!(!reply.contains("unknown") && !reply.contains("wrong number"), "{line}: {reply}");
        assert!(
            rig.partition.log.cold_stats().reads > reads || reply.starts_with('-'),
            "{line} has read nothing: {reply}"
        );
    }
    rig.settle();
    rig.check_counts();
}

#[test]
fn a_scan_goes_through_all_and_answers_what_it_has() {
    let mut rig = cold();
    let (mut cursor, mut found) = ("0".to_owned(), Vec::new());
    loop {
        let reply = rig.ask(0, &format!("scan {cursor} count 1000"));
        let lines: Vec<_> = reply.split("\r\n").map(str::to_owned).collect();
        cursor.clone_from(&lines[2]);
        found.extend(lines.into_iter().filter(|line| line.starts_with("key")));
        if cursor == "0" {
            break;
        }
    }
    found.sort();
    found.dedup();
    assert_eq!(found.len(), KEYS);
}

#[test]
fn keys_that_expire_are_removed_though_their_records_are_not_in_memory() {
    let mut rig = cold();
    for i in 0..KEYS {
        rig.ask(0, &format!("pexpire key{i:03} {}", 1000 + i));
        rig.run_all();
    }
    rig.settle();
    unload(&mut rig);
    rig.pass(100_000);
    assert!(rig.clean());
    assert_eq!(rig.ask(0, "dbsize"), ":0\r\n");
}

#[test]
fn a_flushed_database_is_swept_though_its_records_are_not_in_memory() {
    let mut rig = cold();
    rig.ask(1, "set other x");
    rig.ask(0, "flushdb");
    rig.settle();
    assert!(rig.clean());
    assert_eq!(rig.partition.index.len(), 1);
}

#[test]
fn segments_that_are_not_in_memory_are_compacted_all_the_same() {
    let mut rig = cold();
    for i in (0..KEYS).filter(|i| i % 3 > 0) {
        rig.ask(0, &format!("del key{i:03}"));
    }
    rig.settle();
    unload(&mut rig);
    let before = rig.partition.log.segments().1;
    rig.partition.begin_full_compaction();
    rig.compacts = true;
    for _ in 0..100 {
        rig.pass(1000);
        rig.settle();
    }
    assert!(rig.partition.log.segments().1 < before, "{before}");
    rig.check_counts();
    for i in 0..KEYS {
        let expected = if i % 3 > 0 { NIL.to_owned() } else { bulk(&value(i)) };
        assert_eq!(rig.ask(0, &format!("get key{i:03}")), expected);
    }
}

/// What GET says after the disk has put another record in a key's place.
fn get_of_another() -> String {
    let mut rig = cold();
    let split = rig.partition.log.table().split();
    let place = |key| split.parts(address(&rig.partition, key));
    let ((slot, mine), (other_slot, other)) = (place("key010"), place("key011"));
    assert_eq!(slot, other_slot);
    // the first file of all is the first segment's
    let name = segment_name(emberkv_log::FileId(0));
    let names = rig.disk.list().unwrap();
    let name = if names.contains(&name) { name } else { segment_name(emberkv_log::FileId(1)) };
    let file = rig.disk.open(&name).unwrap();
    let len = rig.partition.log.table().split().segment_size().min(515);
    let mut record = vec![0; len as usize];
    rig.disk.read_at(&file, other, &mut record).unwrap();
    rig.disk.write_at(&file, mine, &record).unwrap();
    rig.ask(0, "get key010")
}

#[test]
fn another_keys_record_is_not_taken_for_it() {
    let reply = get_of_another();
    assert!(reply.starts_with("-MISCONF Errors reading the AOF file"), "{reply}");
    plant::set(Some(Plant::M2));
    let reply = get_of_another();
    plant::set(None);
    assert_eq!(reply, NIL, "without M2 the key is gone");
}

#[test]
fn a_command_that_waits_has_done_nothing_and_says_for_what() {
    let mut rig = cold();
    let (entries, tail) = (rig.partition.index.len(), rig.partition.log.tail());
    let words: Vec<_> = ["mset", "key000", "a", "key299", "b"].map(|word| word.as_bytes().to_vec()).into();
    super::rig::with_args(&words, |args| {
        let id = emberkv_resp::schema::resolve(args).unwrap().id;
        let request = Request { id, db: emberkv_log::DbId(0), args, whose: emberkv_log::Whose::default() };
        let mut output = emberkv_resp::Output::new();
        let mut reply = emberkv_resp::Reply::new(&mut output, emberkv_resp::Protocol::Resp2);
        let Err(Stop::Cold(address)) = rig.partition.execute(request, &mut reply) else { panic!("key000 is not here") };
        assert!(rig.partition.is_coming(address) && output.is_empty());
    });
    assert_eq!((rig.partition.index.len(), rig.partition.log.tail()), (entries, tail));
}

/// A partition of which a part is in memory, and the keys that are asked for all the time.
fn spilling() -> (Rig, Vec<String>) {
    let mut rig = cold();
    let fixed = rig.partition.resident_bytes() - rig.partition.log.resident_bytes();
    // the head, the next one and one more
    rig.partition.set_memory_budget(Some(fixed + (4 << 16)));
    let hot = (0..40).map(|i| format!("get key{:03}", i * 7)).collect();
    (rig, hot)
}

fn turn(rig: &mut Rig) {
    rig.pass(1000);
    rig.partition.spill();
    rig.run_all();
    rig.partition.log_mut().tick();
}

fn reads(rig: &Rig) -> u64 {
    rig.partition.log.cold_stats().reads
}

#[test]
fn what_is_read_again_and_again_comes_into_memory_and_a_scan_does_not_drive_it_out() {
    let (mut rig, hot) = spilling();
    let budget = rig.partition.resident_bytes() + (2 << 16);
    rig.partition.set_memory_budget(Some(budget));
    for _ in 0..20 {
        for line in &hot {
            rig.ask(0, line);
        }
        turn(&mut rig);
        rig.partition.log.shrink_kept(0);
    }
    let before = reads(&rig);
    hot.iter().for_each(|line| drop(rig.ask(0, line)));
    assert!(reads(&rig) - before < 4, "{} of 40 are not in memory", reads(&rig) - before);
    let promoted = rig.partition.spill_stats().promoted;
    assert!(promoted > 15, "{promoted}");
    assert!(rig.partition.resident_bytes() <= budget, "{} of {budget}", rig.partition.resident_bytes());
    for round in 0..3 {
        for i in 0..KEYS {
            assert_eq!(rig.ask(0, &format!("get key{i:03}")), bulk(&value(i)));
            if i % 20 == 0 {
                hot.iter().for_each(|line| drop(rig.ask(0, line)));
            }
        }
        turn(&mut rig);
        rig.partition.log.shrink_kept(0);
        let before = reads(&rig);
        hot.iter().for_each(|line| drop(rig.ask(0, line)));
        assert!(reads(&rig) - before < 8, "round {round}: {} of 40 are not in memory", reads(&rig) - before);
    }
    rig.settle();
    rig.check_counts();
    let contents = rig.contents();
    assert!(contents.len() == KEYS && rig.killed().contents() == contents);
}

#[test]
fn segments_come_back_when_there_is_room() {
    let (mut rig, _) = spilling();
    for _ in 0..10 {
        turn(&mut rig);
    }
    assert!(rig.partition.log.table().has_cold());
    rig.partition.set_memory_budget(None);
    for _ in 0..10 {
        turn(&mut rig);
    }
    assert!(!rig.partition.log.table().has_cold());
    rig.check_counts();
}

#[test]
fn an_index_that_is_too_large_by_itself_refuses_what_adds_data() {
    let mut rig = cold();
    rig.partition.set_memory_budget(Some(1000));
    turn(&mut rig);
    let oom = "-OOM command not allowed when used memory > 'maxmemory'.\r\n";
    assert_eq!(rig.ask(0, "set a b"), oom);
    assert_eq!(rig.ask(0, "append key000 x"), oom);
    assert_eq!(rig.ask(0, "get key000"), bulk(&value(0)));
    assert_eq!(rig.ask(0, "del key000"), ":1\r\n");
    rig.partition.set_memory_budget(Some(1 << 30));
    turn(&mut rig);
    assert_eq!(rig.ask(0, "set a b"), "+OK\r\n");
}
