//! Eviction, without chance: who goes, what is said of it, and what becomes of writes meanwhile.

use emberkv_log::disk::Disk;
use emberkv_log::disk::sim::Choices;
use emberkv_log::plant::{self, Plant};
use emberkv_log::{DbId, JobKind, SyncPolicy};

use super::checkpoints::load_all;
use super::rig::{NIL, Rig, bulk};
use crate::{EvictionOrder, EvictionPolicy, Shortage, Watch};

const ALL: fn(EvictionOrder) -> EvictionPolicy = |order| EvictionPolicy { volatile_only: false, order };
const VOLATILE: fn(EvictionOrder) -> EvictionPolicy = |order| EvictionPolicy { volatile_only: true, order };

fn rig(policy: Option<EvictionPolicy>) -> Rig {
    let mut rig = Rig::new(5, SyncPolicy::EverySec);
    rig.partition.set_eviction(policy);
    rig
}

fn value(i: usize) -> String {
    format!("{i:0200}")
}

/// Sets some 270 keys a segment.
fn load(rig: &mut Rig, keys: std::ops::Range<usize>, ttl: impl Fn(usize) -> Option<u64>) {
    for i in keys {
        let expiry = ttl(i).map_or(String::new(), |seconds| format!(" EX {seconds}"));
        assert_eq!(rig.ask(0, &format!("SET key{i} v{}{expiry}", value(i))), "+OK\r\n");
        if i % 50 == 0 {
            rig.run_all();
        }
    }
    rig.settle();
}

/// Empties the oldest segment, by reads.
fn evict_a_segment(rig: &mut Rig) {
    let oldest = rig.partition.log.evictable()[0].sequence;
    rig.partition.compaction.victim = rig.partition.log.victim(oldest);
    rig.partition.eviction.judges = true;
    for _ in 0..100 {
        if rig.partition.compaction.victim.as_ref().is_none_or(|victim| victim.sequence() != oldest) {
            break;
        }
        rig.partition.eviction.judges = true;
        rig.partition.compact_slice(64);
        rig.run_all();
    }
    rig.partition.compaction.victim = None;
    rig.settle();
}

fn there(rig: &mut Rig, keys: std::ops::Range<usize>) -> Vec<usize> {
    keys.filter(|i| rig.ask(0, &format!("EXISTS key{i}")) == ":1\r\n").collect()
}

#[test]
fn what_was_read_stays_and_what_has_gone_stays_gone() {
    for order in [EvictionOrder::Lru, EvictionOrder::Lfu] {
        let mut rig = rig(Some(ALL(order)));
        load(&mut rig, 0..1000, |_| None);
        for i in (0..200).step_by(4) {
            assert_eq!(rig.ask(0, &format!("GET key{i}")), bulk(&format!("v{}", value(i))));
        }
        let (segments, _) = rig.partition.log.segments();
        evict_a_segment(&mut rig);
        assert!(rig.partition.log.segments().0 <= segments, "the segment has gone, and copies are in the last one");
        let left = there(&mut rig, 0..1000);
        assert!((0..200).step_by(4).all(|i| left.contains(&i)), "{order:?}: {left:?}");
        // keys that share counters are taken for one another
        let spared = left.iter().filter(|i| **i < 200 && **i % 4 != 0).count();
        assert!(spared <= if order == EvictionOrder::Lfu { 15 } else { 0 }, "{order:?}: {left:?}");
        assert!((400..1000).all(|i| left.contains(&i)), "younger segments are not looked at");
        assert_eq!(rig.partition.stats().evicted, 1000 - left.len() as u64);
        assert_eq!(rig.partition.db_stats(DbId(0)).keys, left.len() as u64);
        let mut rig = rig.killed();
        assert_eq!(there(&mut rig, 0..1000), left);
        rig.check_counts();
    }
}

#[test]
fn a_look_at_a_key_does_not_spare_it_and_nor_does_a_client_that_does_not_touch() {
    let mut rig = rig(Some(ALL(EvictionOrder::Lru)));
    load(&mut rig, 0..1000, |_| None);
    for (i, line) in ["EXISTS", "TYPE", "TTL", "PEXPIRETIME", "OBJECT ENCODING", "MEMORY USAGE"].iter().enumerate() {
        rig.ask(0, &format!("{line} key{i}"));
    }
    rig.partition.set_untouched(true);
    for (i, line) in ["GET", "MGET", "STRLEN", "TOUCH"].iter().enumerate() {
        rig.ask(0, &format!("{line} key{}", 10 + i));
    }
    rig.partition.set_untouched(false);
    rig.ask(0, "GET key20");
    evict_a_segment(&mut rig);
    assert_eq!(there(&mut rig, 0..200), [13, 20]);
}

#[test]
fn what_goes_before_its_segment_has_gone_stays_gone_too() {
    let mut rig = rig(Some(ALL(EvictionOrder::Random)));
    load(&mut rig, 0..1000, |_| None);
    let oldest = rig.partition.log.evictable()[0].sequence;
    rig.partition.compaction.victim = rig.partition.log.victim(oldest);
    rig.partition.eviction.judges = true;
    rig.partition.compact_slice(100);
    assert_eq!(rig.ask(0, "GET key7"), NIL);
    rig.run_all();
    let left = there(&mut rig, 0..1000);
    assert_eq!(left, (100..1000).collect::<Vec<_>>());
    let mut rig = rig.killed();
    assert_eq!(there(&mut rig, 0..1000), left);
    rig.check_counts();
    // it is finished after a restart as before
    rig.partition.set_eviction(Some(ALL(EvictionOrder::Random)));
    evict_a_segment(&mut rig);
    let left = there(&mut rig, 0..1000);
    assert!(left.len() < 800);
    assert_eq!(there(&mut rig.killed(), 0..1000), left);
}

/// Evicts part of the oldest segment, then has what says so compacted, and looks what a kill leaves.
fn evicted_keys_that_come_back() -> usize {
    let mut rig = rig(Some(ALL(EvictionOrder::Random)));
    load(&mut rig, 0..600, |_| None);
    let oldest = rig.partition.log.evictable()[0].sequence;
    rig.partition.compaction.victim = rig.partition.log.victim(oldest);
    rig.partition.eviction.judges = true;
    rig.partition.compact_slice(100);
    rig.partition.compaction.victim = None;
    rig.partition.eviction.judges = false;
    load(&mut rig, 600..2000, |_| None);
    // all but the oldest are compacted, as far as they may be
    for _ in 0..30 {
        let candidates = rig.partition.log.candidates();
        let Some(next) = candidates.iter().find(|candidate| candidate.sequence != oldest) else { break };
        rig.partition.compaction.victim = rig.partition.log.victim(next.sequence);
        rig.partition.compact_slice(1 << 20);
        rig.partition.compaction.victim = None;
        rig.settle();
    }
    there(&mut rig.killed(), 0..100).len()
}

#[test]
fn what_says_that_keys_were_evicted_stays_while_they_are_in_the_log() {
    assert_eq!(evicted_keys_that_come_back(), 0);
    plant::set(Some(Plant::T5Keep));
    let back = evicted_keys_that_come_back();
    plant::set(None);
    assert!(back > 0, "nothing notices that T5Keep is missing");
}

/// Empties the oldest segment that is not on its way out by copying what lives in it. No edit of the manifest is carried out.
fn empty_the_oldest(rig: &mut Rig) {
    let oldest = rig.partition.log.evictable()[0];
    assert!(oldest.is_oldest);
    rig.partition.compaction.victim = rig.partition.log.victim(oldest.sequence);
    rig.partition.compact_slice(10_000);
    assert!(rig.partition.compaction.victim.is_none());
    rig.run_all_but(JobKind::Manifest);
}

/// Two segments are on their way out, the second one without the tombstones that hide what is in the first, and a checkpoint is taken
/// between their `freed` records. What comes back of what was deleted if the start with it is the end of the second one?
fn deleted_keys_that_come_back() -> usize {
    let mut rig = rig(None);
    load(&mut rig, 0..300, |_| None);
    for i in 0..100 {
        assert_eq!(rig.ask(0, &format!("DEL key{i}")), ":1\r\n");
    }
    load(&mut rig, 300..700, |_| None);
    // so that little is to be copied: a new head would have to be in the manifest
    for i in (100..280).chain(300..540) {
        assert_eq!(rig.ask(0, &format!("DEL key{i}")), ":1\r\n");
    }
    rig.settle();
    empty_the_oldest(&mut rig);
    rig.partition.begin_checkpoint();
    while rig.partition.checkpoint_stats().taken == 0 {
        rig.partition.save_some(100);
        rig.run_all_but(JobKind::Manifest);
    }
    empty_the_oldest(&mut rig);
    let first = rig.killed();
    assert!(first.from_checkpoint);
    let disk = first.disk.after_kill();
    for name in disk.list().unwrap().iter().filter(|name| name.starts_with("checkpoint-")) {
        disk.remove(name).unwrap();
    }
    let mut second = Rig::start(disk, 3, SyncPolicy::EverySec).unwrap();
    assert_eq!(there(&mut second, 100..700), (280..300).chain(540..700).collect::<Vec<_>>());
    there(&mut second, 0..100).len()
}

#[test]
fn segments_go_in_their_order_after_a_start_from_a_checkpoint_too() {
    assert_eq!(deleted_keys_that_come_back(), 0);
    plant::set(Some(Plant::T5Freed));
    let back = deleted_keys_that_come_back();
    plant::set(None);
    assert!(back > 0, "nothing notices that T5Freed is missing");
}

#[test]
fn what_was_evicted_before_and_behind_a_checkpoint_stays_gone() {
    for taken_after in [0, 1, 2, 3] {
        let mut rig = rig(Some(ALL(EvictionOrder::Random)));
        load(&mut rig, 0..1000, |_| None);
        let oldest = rig.partition.log.evictable()[0].sequence;
        for slice in 0..4 {
            rig.partition.compaction.victim = rig.partition.log.victim(oldest);
            rig.partition.eviction.judges = true;
            rig.partition.compact_slice(40 * (slice + 1));
            rig.partition.compaction.victim = None;
            rig.partition.eviction.judges = false;
            rig.run_all();
            if slice == taken_after {
                assert!(rig.checkpoint());
            }
        }
        let left = there(&mut rig, 0..1000);
        assert_eq!(left, (160..1000).collect::<Vec<_>>());
        let mut again = rig.killed();
        assert!(again.from_checkpoint);
        assert_eq!(there(&mut again, 0..1000), left);
        rig.check_starts(&mut Choices::new(taken_after.into()));
        // what says so is needed no more when the segment has gone
        load_all(&mut again);
        load(&mut again, 1000..1400, |_| None);
        again.partition.set_eviction(Some(ALL(EvictionOrder::Random)));
        evict_a_segment(&mut again);
        assert!(!again.partition.log.any_hides(), "something is left to be said of a segment that is no more");
        again.check_starts(&mut Choices::new(5));
    }
}

#[test]
fn who_watches_a_key_hears_of_its_eviction() {
    let mut rig = rig(Some(ALL(EvictionOrder::Random)));
    load(&mut rig, 0..1000, |_| None);
    let watches: Vec<_> = ["key3", "key900", "missing"]
        .map(|key| {
            let watch = Watch::default();
            rig.partition.watchers.add(DbId(0), key.as_bytes(), &watch);
            watch
        })
        .into();
    evict_a_segment(&mut rig);
    assert_eq!(watches.iter().map(Watch::is_dirty).collect::<Vec<_>>(), [true, false, false]);
}

#[test]
fn keys_that_do_not_expire_are_spared_by_volatile_policies() {
    let mut rig = rig(Some(VOLATILE(EvictionOrder::Lru)));
    load(&mut rig, 0..1000, |i| (i % 2 == 0).then_some(1000));
    evict_a_segment(&mut rig);
    let left = there(&mut rig, 0..1000);
    assert!((0..200).all(|i| left.contains(&i) == (i % 2 == 1)), "{left:?}");
    assert_eq!(rig.ask(0, "TTL key999"), ":-1\r\n");
}

#[test]
fn the_first_to_expire_go_first() {
    let mut rig = rig(Some(VOLATILE(EvictionOrder::Ttl)));
    load(&mut rig, 0..1000, |i| (i >= 500).then_some(100 + (i as u64 * 7919) % 100_000));
    for _ in 0..3 {
        rig.partition.evict_nearest(40);
        rig.run_all();
    }
    let left = there(&mut rig, 0..1000);
    assert!((0..500).all(|i| left.contains(&i)));
    let ttl = |i: &usize| (*i as u64 * 7919) % 100_000;
    let gone: Vec<_> = (500..1000).filter(|i| !left.contains(i)).collect();
    let (last, first) =
        (gone.iter().map(ttl).max().unwrap(), left.iter().filter(|i| **i >= 500).map(ttl).min().unwrap());
    assert!(gone.len() >= 100 && last < first + 20_000, "{} keys up to {last}, kept from {first}", gone.len());
}

#[test]
fn while_there_is_no_memory_only_writes_that_add_data_are_refused() {
    let mut rig = rig(None);
    load(&mut rig, 0..1000, |_| None);
    rig.partition.set_shortage(Shortage::Hopeless);
    for line in [
        "SET key1 2",
        "SET new 1",
        "SET key1 2 NX",
        "SET none 2 XX GET",
        "SET key1 2 nonsense",
        "SETNX key1 2",
        "APPEND key1 x",
        "INCR n",
        "MSET a 1 b 2",
        "SETRANGE key1 1 x",
        "GETSET key1 2",
    ] {
        assert!(rig.ask(0, line).starts_with("-OOM command not allowed when used memory > 'maxmemory'."), "{line}");
    }
    for line in ["GET key1", "EXPIRE key2 100", "PERSIST key2", "DEL key1", "GETDEL key3", "FLUSHALL"] {
        assert!(!rig.ask(0, line).starts_with('-'), "{line}");
    }
    rig.partition.set_shortage(Shortage::None);
    assert_eq!(rig.ask(0, "SET key1 2"), "+OK\r\n");
}

#[test]
fn data_several_times_the_budget_go_through_it() {
    const SEGMENT: u64 = 1 << 16;
    for order in [EvictionOrder::Lru, EvictionOrder::Lfu, EvictionOrder::Random, EvictionOrder::Ttl] {
        let is_ttl = order == EvictionOrder::Ttl;
        let policy = EvictionPolicy { volatile_only: is_ttl, order };
        let mut rig = rig(Some(policy));
        rig.compacts = true;
        let (max, mut most) = (16 * SEGMENT, 0);
        rig.budget = Some(max);
        for i in 0..20_000 {
            let expiry = if is_ttl { format!(" EX {}", 1000 + i) } else { String::new() };
            assert_eq!(rig.ask(0, &format!("SET key{i} v{}{expiry}", value(i))), "+OK\r\n", "{order:?} {i}");
            // some are read all the time
            if i > 100 {
                rig.ask(0, &format!("GET key{}", i % 100));
            }
            if i % 20 == 0 {
                rig.run_all();
                most = most.max(rig.partition.memory().segments);
                if i % 200 == 0 {
                    rig.partition.log_mut().tick();
                }
            }
        }
        assert!(most <= max + 3 * SEGMENT, "{order:?}: {most} of {max}");
        let stats = rig.partition.stats();
        assert!(stats.evicted > 10_000, "{order:?}: {stats:?}");
        let hot = there(&mut rig, 0..100).len();
        match order {
            EvictionOrder::Lru | EvictionOrder::Lfu => {
                assert!(hot >= 98, "{order:?}: {hot} of the 100 hot keys are left")
            }
            EvictionOrder::Random | EvictionOrder::Ttl => {}
        }
        rig.run_all();
        rig.check_counts();
        let left = there(&mut rig, 0..20_000);
        assert_eq!(there(&mut rig.killed(), 0..20_000), left);
    }
}
