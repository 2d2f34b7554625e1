//! Checkpoints, step by step.

use emberkv_log::disk::Disk;
use emberkv_log::plant::{self, Plant};
use emberkv_log::{DbId, SyncPolicy, segment_name};

use super::rig::{Rig, bulk};

pub(super) fn filled(keys: usize) -> Rig {
    let mut rig = Rig::new(5, SyncPolicy::EverySec);
    for key in 0..keys {
        rig.ask(0, &format!("set k{key} {key}"));
    }
    rig
}

pub(super) fn names(rig: &Rig) -> Vec<String> {
    let mut names = rig.disk.list().unwrap();
    names.retain(|name| name.starts_with("checkpoint-"));
    names
}

#[test]
fn a_start_goes_on_from_a_checkpoint() {
    let mut rig = filled(3000);
    rig.ask(1, "set k1 other px 1000");
    assert!(rig.checkpoint());
    rig.ask(0, "del k7");
    rig.ask(0, "set late 1");
    rig.run_all();
    let mut again = rig.killed();
    assert!(again.from_checkpoint);
    assert_eq!(again.contents(), rig.contents());
    again.check_counts();
    assert_eq!(again.ask(0, "dbsize"), ":3000\r\n");
    // what expires is found without being asked for
    again.pass(2000);
    for _ in 0..10_000 {
        again.partition.expire(10);
    }
    assert_eq!(again.ask(1, "dbsize"), ":0\r\n");
    assert_eq!(again.ask(0, "get k8"), bulk("8"));
}

#[test]
fn two_are_kept_and_a_damaged_one_is_left_out() {
    let mut rig = filled(100);
    for round in 0..4 {
        rig.ask(0, &format!("set round {round}"));
        assert!(rig.checkpoint());
    }
    assert_eq!(names(&rig), ["checkpoint-0-3", "checkpoint-0-4"]);
    rig.disk.flip_bit("checkpoint-0-4", 5000 * 8);
    let mut again = rig.killed();
    assert!(again.from_checkpoint, "the older one will do");
    assert_eq!(again.contents(), rig.contents());
    assert_eq!(names(&again), ["checkpoint-0-3"]);
    again.disk.flip_bit("checkpoint-0-3", 3);
    let mut last = again.killed();
    assert!(!last.from_checkpoint && names(&last).is_empty());
    assert_eq!(last.contents(), rig.contents());
}

/// Whether a crash while a checkpoint is being written leaves the one before it.
fn the_one_before_survives() -> bool {
    let mut rig = filled(3000);
    assert!(rig.checkpoint());
    rig.ask(0, "set late 1");
    rig.partition.begin_checkpoint();
    rig.run_all();
    rig.partition.save_some(1);
    rig.run_all();
    assert!(rig.partition.is_saving(), "it is not done yet");
    let mut again = rig.killed();
    assert_eq!(again.contents(), rig.contents());
    again.from_checkpoint
}

#[test]
fn a_crash_while_a_checkpoint_is_written_leaves_the_one_before_it() {
    assert!(the_one_before_survives());
    plant::set(Some(Plant::K6));
    let survives = the_one_before_survives();
    plant::set(None);
    assert!(!survives, "nothing noticed that K6 is missing");
}

#[test]
fn a_flush_ends_a_checkpoint_and_another_is_begun() {
    for flush in ["flushall", "flushdb"] {
        let mut rig = filled(3000);
        rig.ask(1, "set other 1");
        rig.partition.begin_checkpoint();
        rig.partition.save_some(1);
        rig.run_all();
        rig.ask(0, flush);
        rig.ask(0, "set k1 1");
        assert!(rig.partition.is_saving());
        assert!(rig.checkpoint());
        let mut again = rig.killed();
        assert!(again.from_checkpoint);
        assert_eq!(again.contents(), rig.contents());
        assert_eq!(again.ask(0, "dbsize"), ":1\r\n");
        again.check_counts();
    }
}

#[test]
fn a_disk_that_takes_none_changes_nothing_else() {
    let mut rig = filled(3000);
    rig.run_all();
    rig.disk.set_capacity(Some(rig.disk.used()));
    assert!(!rig.checkpoint());
    assert!(rig.partition.checkpoint_stats().has_failed);
    assert!(names(&rig).is_empty(), "nothing is left of it");
    rig.disk.set_capacity(None);
    assert!(rig.checkpoint());
    assert!(!rig.partition.checkpoint_stats().has_failed);
    assert_eq!(rig.killed().contents(), rig.contents());
}

fn value(i: usize) -> String {
    format!("{i:0500}")
}

/// Some segments and a checkpoint.
fn with_segments() -> Rig {
    let mut rig = Rig::new(5, SyncPolicy::EverySec);
    for i in 0..600 {
        rig.ask(0, &format!("set key{i:03} {}", value(i)));
        rig.run_all();
    }
    rig.settle();
    assert!(rig.checkpoint());
    rig
}

/// The same, and what came after it: new values for keys of all segments, some that are gone, one that was written twice.
fn with_history() -> Rig {
    let mut rig = with_segments();
    add_history(&mut rig);
    rig
}

fn add_history(rig: &mut Rig) {
    for i in (0..600).step_by(50) {
        rig.ask(0, &format!("set key{i:03} new"));
    }
    rig.ask(0, "set key000 newest");
    rig.ask(0, "del key001 key301");
    rig.ask(0, "set late 1");
    rig.run_all();
}

/// The file and offset of a key's record.
fn place(rig: &Rig, key: &str) -> (String, u64) {
    let partition = &rig.partition;
    let key = partition.key(DbId(0), key.as_bytes());
    let address = partition.index.candidates(key.fingerprint).next().unwrap().1;
    let (file, offset) = partition.log.place_of(address).unwrap();
    (segment_name(file), offset)
}

pub(super) fn load_all(rig: &mut Rig) {
    for _ in 0..1000 {
        rig.partition.spill();
        rig.run_all();
        rig.pass(100);
        rig.partition.log_mut().tick();
    }
}

#[test]
fn a_start_reads_only_what_lies_behind_its_checkpoint() {
    let mut rig = with_history();
    let mut again = rig.killed();
    assert!(again.from_checkpoint && again.unread > 2, "{} segments are unread", again.unread);
    assert_eq!(again.ask(0, "get key000"), bulk("newest"));
    assert_eq!(again.ask(0, "get key050"), bulk("new"));
    assert_eq!(again.ask(0, "get key001"), "$-1\r\n");
    assert_eq!(again.ask(0, "get key002"), bulk(&value(2)));
    assert_eq!(again.ask(0, "dbsize"), ":599\r\n");
    again.check_counts();
    assert_eq!(again.contents(), rig.contents());
    // once more, while much of it is still unread
    again.ask(0, "set key002 other");
    again.run_all();
    let mut third = again.killed();
    assert!(third.unread > 2);
    assert_eq!(third.contents(), again.contents());
    load_all(&mut third);
    assert_eq!((third.partition.log.unread().segments, third.partition.log.table().has_cold()), (0, false));
    assert_eq!(third.contents(), again.contents());
    third.check_counts();
}

#[test]
fn what_expires_is_found_when_all_is_read() {
    let mut rig = with_history();
    rig.ask(1, "set k1 other px 1000");
    assert!(rig.checkpoint());
    let mut again = rig.killed();
    assert!(again.unread > 2);
    load_all(&mut again);
    for _ in 0..10_000 {
        again.partition.expire(10);
        again.run_all();
    }
    assert_eq!(again.ask(1, "dbsize"), ":0\r\n");
}

#[test]
fn a_record_that_is_replayed_over_what_was_not_read_replaces_what_its_key_has_there() {
    plant::set(Some(Plant::K8Replay));
    let is_noticed = std::panic::catch_unwind(|| with_history().killed().check_counts()).is_err();
    plant::set(None);
    assert!(is_noticed, "nothing noticed that it is not looked at");
}

#[test]
fn damage_in_what_was_not_read_ends_writes_when_it_is_found() {
    let rig = with_history();
    let (file, offset) = place(&rig, "key002");
    rig.disk.flip_bit(&file, (offset + 30) * 8);
    let mut again = rig.killed();
    assert!(again.unread > 2);
    let reply = again.ask(0, "get key002");
    assert!(reply.starts_with("-MISCONF") && reply.contains(&file), "{reply}");
    assert_eq!(again.ask(0, "get key003"), bulk(&value(3)), "others are found");
    assert_eq!(again.ask(0, "set key004 1"), "+OK\r\n");
    load_all(&mut again);
    let reason = again.partition.log.read_only().expect("it has been found").to_owned();
    assert!(reason.contains(&file), "{reason}");
    assert!(again.ask(0, "set key005 1").starts_with("-MISCONF"));
    assert_eq!(again.ask(0, "get key003"), bulk(&value(3)));
    // the next start finds it again; one without checkpoints stops
    let mut third = again.killed();
    load_all(&mut third);
    assert!(third.partition.log.read_only().is_some());
    let plain = again.disk.after_kill();
    names(&again).iter().for_each(|name| plain.remove(name).unwrap());
    let refused = Rig::start(plain, 1, SyncPolicy::EverySec).err().unwrap();
    assert!(refused.contains(&file), "{refused}");

    let mut blind = rig.killed();
    plant::set(Some(Plant::K8Damage));
    load_all(&mut blind);
    plant::set(None);
    assert!(blind.partition.log.read_only().is_none(), "without the rule it goes on");
}

#[test]
fn a_segment_that_is_missing_or_another_one_stops_the_start() {
    let rig = with_history();
    let (file, _) = place(&rig, "key002");
    let missing = rig.disk.after_kill();
    missing.remove(&file).unwrap();
    let refused = Rig::start(missing, 1, SyncPolicy::EverySec).err().unwrap();
    assert!(refused.contains(&file) && refused.contains("missing"), "{refused}");
    let (other, _) = place(&rig, "key300");
    assert_ne!(file, other);
    let swapped = rig.disk.after_kill();
    swapped.rename(&file, "elsewhere").unwrap();
    swapped.rename(&other, &file).unwrap();
    swapped.rename("elsewhere", &other).unwrap();
    let refused = Rig::start(swapped, 1, SyncPolicy::EverySec).err().unwrap();
    assert!(refused.contains(&file) && refused.contains("damaged"), "{refused}");
}

#[test]
fn a_start_that_meets_damage_while_it_replays_reads_everything_and_names_it() {
    let mut rig = with_segments();
    let (file, offset) = place(&rig, "key050");
    add_history(&mut rig);
    rig.disk.flip_bit(&file, (offset + 30) * 8);
    let refused = Rig::start(rig.disk.after_kill(), 1, SyncPolicy::EverySec).err().unwrap();
    assert!(refused.contains(&file) && refused.contains("damaged"), "{refused}");
}
