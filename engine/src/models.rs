//! All interleavings of an owner, a writer elsewhere and a reader: `make loom`. What is published is published by the real
//! [`Published`]; each model is also run with the rule taken out, and has to find that.

use emberkv_index::Fingerprint;
use emberkv_log::plant::{self, Plant};
use emberkv_log::{DbId, LogPosition};
use loom::sync::Arc;
use loom::sync::atomic::{AtomicBool, AtomicU64, Ordering, fence};
use loom::thread;

use crate::published::Published;
use crate::waiting::{Claim, Word};

const DB: DbId = DbId(0);

/// One key's slot and what the owner's log has of it.
struct Partition {
    published: Published,
    /// The version that the slot leads to; 0 is an empty slot.
    slot: AtomicU64,
    /// What survives a crash.
    durable: AtomicU64,
}

impl Partition {
    fn new(slot: u64) -> Arc<Self> {
        let published = Published::new(LogPosition(slot), LogPosition(0), &[LogPosition(0)]);
        Arc::new(Self { published, slot: AtomicU64::new(slot), durable: AtomicU64::new(slot) })
    }

    /// A write call returns.
    fn write(&self, end: u64) {
        self.durable.store(end, Ordering::Relaxed);
    }

    /// What a direct read reads: a record ends at the position that is its version.
    fn read(&self) -> u64 {
        let slot = self.slot.load(Ordering::Relaxed);
        fence(Ordering::Acquire);
        slot
    }

    fn gate(&self) -> u64 {
        self.published.gate.load().0
    }
}

/// D4: a value is read while its owner writes it out.
fn value_is_read(published_after: bool) {
    loom::model(move || {
        let partition = Partition::new(1);
        let reader = Arc::clone(&partition);
        let reader = thread::spawn(move || {
            let version = reader.read();
            if version <= reader.gate() {
                assert!(reader.durable.load(Ordering::Relaxed) >= version, "read, and not durable");
            }
        });
        partition.slot.store(2, Ordering::Release);
        if published_after {
            partition.write(2);
        }
        partition.published.gate.store(LogPosition(2));
        partition.write(2);
        reader.join().unwrap();
    });
}

#[test]
fn loom_what_is_read_is_durable() {
    value_is_read(true);
}

#[test]
#[should_panic(expected = "read, and not durable")]
fn loom_finds_a_gate_that_is_published_too_early() {
    value_is_read(false);
}

/// D5: a key is deleted; that it is absent is told only once the tombstone is durable.
fn key_is_deleted(noted_first: bool) {
    loom::model(move || {
        let partition = Partition::new(1);
        let reader = Arc::clone(&partition);
        let reader = thread::spawn(move || {
            let published = &reader.published;
            if reader.read() == 0 && published.last_delete.load() <= published.gate.load() {
                assert!(reader.durable.load(Ordering::Relaxed) >= 2, "nil, and the tombstone is not durable");
            }
        });
        if noted_first {
            partition.published.last_delete.store(LogPosition(2));
        }
        partition.slot.store(0, Ordering::Release);
        partition.published.last_delete.store(LogPosition(2));
        partition.write(2);
        partition.published.gate.store(LogPosition(2));
        reader.join().unwrap();
    });
}

#[test]
fn loom_a_nil_is_durable() {
    key_is_deleted(true);
}

#[test]
#[should_panic(expected = "nil, and the tombstone is not durable")]
fn loom_finds_a_slot_that_is_cleared_before_its_tombstone_is_noted() {
    key_is_deleted(false);
}

/// D5 for a floor: a database is flushed; its keys stay in the index until they are swept out.
fn database_is_flushed(noted_first: bool) {
    loom::model(move || {
        let partition = Partition::new(1);
        let reader = Arc::clone(&partition);
        let reader = thread::spawn(move || {
            let published = &reader.published;
            let version = reader.read();
            let below = LogPosition(version) < published.floor(DB).load();
            if below && published.last_delete.load() <= published.gate.load() {
                assert!(reader.durable.load(Ordering::Relaxed) >= 2, "nil, and the floor is not durable");
            }
        });
        if noted_first {
            partition.published.last_delete.store(LogPosition(2));
        }
        partition.published.floor(DB).store(LogPosition(2));
        partition.published.last_delete.store(LogPosition(2));
        partition.write(2);
        partition.published.gate.store(LogPosition(2));
        reader.join().unwrap();
    });
}

#[test]
fn loom_a_flushed_key_is_absent_once_the_floor_is_durable() {
    database_is_flushed(true);
}

#[test]
#[should_panic(expected = "nil, and the floor is not durable")]
fn loom_finds_a_floor_that_is_seen_before_it_is_noted() {
    database_is_flushed(false);
}

/// D14: databases 0 and 1 are swapped, and then a key of 1 is written, while one of 0 is read.
fn databases_are_swapped(asked_again: bool) {
    loom::model(move || {
        let partition = Partition::new(1);
        let reader = Arc::clone(&partition);
        let reader = thread::spawn(move || {
            let swaps = &reader.published.swaps;
            let (physical, version) = swaps.physical(DB);
            // physical 1 has nothing
            let found = if physical == DB { reader.read() } else { 0 };
            let counts = !asked_again || swaps.is_still(version);
            assert!(!counts || found != 2, "what database 1 was given is found in database 0");
        });
        partition.published.swaps.publish(|db| DbId(1 - db.0.min(1)));
        partition.slot.store(2, Ordering::Release);
        reader.join().unwrap();
    });
}

#[test]
fn loom_a_key_is_found_in_its_own_database() {
    databases_are_swapped(true);
}

#[test]
#[should_panic(expected = "what database 1 was given is found in database 0")]
fn loom_finds_a_map_that_is_not_looked_at_again() {
    databases_are_swapped(false);
}

#[derive(Clone, Copy, PartialEq)]
enum Counting {
    Right,
    RaisedLate,
    LoweredEarly,
    AskedLate,
}

/// D6: a connection writes a key by message and then tells another, which reads it directly: it must see the write.
fn message_is_sent(counting: Counting) {
    loom::model(move || {
        let key = Fingerprint::from_raw(5);
        let partition = Partition::new(1);
        let (message, told) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
        let owner = {
            let (partition, message) = (Arc::clone(&partition), Arc::clone(&message));
            thread::spawn(move || {
                if message.load(Ordering::Acquire) {
                    if counting == Counting::LoweredEarly {
                        partition.published.writes.lower(Some(key));
                    }
                    partition.slot.store(2, Ordering::Release);
                    if counting != Counting::LoweredEarly {
                        partition.published.writes.lower(Some(key));
                    }
                }
            })
        };
        let reader = {
            let (partition, told) = (Arc::clone(&partition), Arc::clone(&told));
            thread::spawn(move || {
                if !told.load(Ordering::Acquire) {
                    return;
                }
                let early = (counting == Counting::AskedLate).then(|| partition.read());
                if !partition.published.writes.is_written(key) {
                    assert_eq!(early.unwrap_or_else(|| partition.read()), 2, "what was written before is not seen");
                }
            })
        };
        if counting == Counting::RaisedLate {
            // the message is there, the counter is not
            told.store(true, Ordering::Release);
        }
        partition.published.writes.raise(Some(key));
        message.store(true, Ordering::Release);
        told.store(true, Ordering::Release);
        owner.join().unwrap();
        reader.join().unwrap();
    });
}

#[test]
fn loom_a_write_on_its_way_is_not_overtaken() {
    message_is_sent(Counting::Right);
}

#[test]
#[should_panic(expected = "what was written before is not seen")]
fn loom_finds_a_counter_that_is_raised_late() {
    message_is_sent(Counting::RaisedLate);
}

#[test]
#[should_panic(expected = "what was written before is not seen")]
fn loom_finds_a_counter_that_is_lowered_early() {
    message_is_sent(Counting::LoweredEarly);
}

#[test]
#[should_panic(expected = "what was written before is not seen")]
fn loom_finds_a_counter_that_is_asked_after_the_index() {
    message_is_sent(Counting::AskedLate);
}

/// X3: a transaction's keys are locked together and unlocked when all of them lead to what it wrote; a reader who sees the
/// one sees the other.
fn transaction_commits(together: bool) {
    loom::model(move || {
        let keys = [Fingerprint::from_raw(0), Fingerprint::from_raw(1)];
        let partition = Partition::new(1);
        let other = Arc::new(AtomicU64::new(1));
        for key in keys {
            partition.published.writes.raise(Some(key));
        }
        let reader = {
            let (partition, other) = (Arc::clone(&partition), Arc::clone(&other));
            thread::spawn(move || {
                let writes = &partition.published.writes;
                let first = if writes.is_written(keys[0]) { None } else { Some(partition.read()) };
                let second = if writes.is_written(keys[1]) { None } else { Some(other.load(Ordering::Acquire)) };
                if let (Some(2), Some(second)) = (first, second) {
                    assert_eq!(second, 2, "half of a transaction is seen");
                }
            })
        };
        partition.slot.store(2, Ordering::Release);
        if together {
            other.store(2, Ordering::Release);
        }
        for key in keys {
            partition.published.writes.lower(Some(key));
        }
        other.store(2, Ordering::Release);
        reader.join().unwrap();
    });
}

#[test]
fn loom_a_transaction_is_seen_whole() {
    transaction_commits(true);
}

#[test]
#[should_panic(expected = "half of a transaction is seen")]
fn loom_finds_a_key_that_is_unlocked_before_another_is_published() {
    transaction_commits(false);
}

/// D9: each of two cores writes a key of its own and then reads the other's directly. That neither sees the other's write
/// has no order that explains it.
fn two_cores_write_and_read(fenced: bool) {
    loom::model(move || {
        let partitions = [Partition::new(1), Partition::new(1)];
        let core = |own: usize| {
            let partitions = partitions.clone();
            move || {
                partitions[own].slot.store(2, Ordering::Release);
                if fenced {
                    fence(Ordering::SeqCst);
                }
                partitions[1 - own].read()
            }
        };
        let other = thread::spawn(core(1));
        let seen = core(0)();
        assert!(seen == 2 || other.join().unwrap() == 2, "both read before both wrote");
    });
}

#[test]
fn loom_two_cores_see_each_others_writes_in_some_order() {
    two_cores_write_and_read(true);
}

#[test]
#[should_panic(expected = "both read before both wrote")]
fn loom_finds_a_missing_fence_between_local_writes_and_direct_reads() {
    two_cores_write_and_read(false);
}

/// B1: two owners have something for one client, whose time is over meanwhile.
fn client_is_served() {
    loom::model(|| {
        let (word, taken) = (Arc::new(Word::new()), Arc::new(AtomicU64::new(0)));
        let owners = [(); 2].map(|()| {
            let (word, taken) = (Arc::clone(&word), Arc::clone(&taken));
            thread::spawn(move || {
                if word.claim() == Claim::Ours {
                    taken.fetch_add(1, Ordering::Relaxed);
                    word.close();
                }
            })
        });
        let is_told = word.end();
        for owner in owners {
            owner.join().unwrap();
        }
        let taken = taken.load(Ordering::Relaxed);
        assert_eq!(taken + u64::from(is_told), 1, "told {is_told}, taken {taken} times");
        assert_eq!((word.claim(), word.end()), (Claim::Ended, false));
    });
}

#[test]
fn loom_one_owner_serves_a_client_that_waits() {
    client_is_served();
}

#[test]
#[should_panic(expected = "told true, taken")]
fn loom_finds_a_client_that_is_served_though_it_does_not_wait() {
    plant::set(Some(Plant::B1));
    client_is_served();
}

/// B1: an owner can't do what it has claimed, and another one tries too, while the client goes.
fn claim_is_given_back(give_back: fn(&Word)) {
    loom::model(move || {
        let (word, served) = (Arc::new(Word::new()), Arc::new(AtomicBool::new(false)));
        let first = {
            let word = Arc::clone(&word);
            thread::spawn(move || {
                if word.claim() == Claim::Ours {
                    give_back(&word);
                }
            })
        };
        let second = {
            let (word, served) = (Arc::clone(&word), Arc::clone(&served));
            thread::spawn(move || {
                if word.claim() == Claim::Ours {
                    served.store(true, Ordering::Relaxed);
                    word.close();
                }
            })
        };
        word.close();
        first.join().unwrap();
        second.join().unwrap();
        assert_ne!(word.claim(), Claim::Ours, "who has gone is claimed");
    });
}

#[test]
fn loom_who_has_gone_is_not_claimed_again() {
    claim_is_given_back(Word::give_back);
}

#[test]
#[should_panic(expected = "who has gone is claimed")]
fn loom_finds_a_claim_that_is_given_back_as_if_nobody_had_gone() {
    claim_is_given_back(Word::forget);
}
