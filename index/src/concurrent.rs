//! Readers on other threads, while the index grows, shrinks and is emptied.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::{
    Fingerprint, Index, Probe, Reader,
    slot::Word,
    tests::{address, even, filled, hash, key_at},
};

/// What the writer has done with a key last: even when it is done.
struct Known(Vec<AtomicU64>);

impl Known {
    /// Whether the key is there; `None` while that is changing.
    fn is_there(&self, n: u64) -> (u64, Option<bool>) {
        let step = self.0[n as usize].load(Ordering::SeqCst);
        (step, step.is_multiple_of(2).then_some(step % 4 == 2))
    }

    fn change(&self, n: u64, change: impl FnOnce()) {
        self.0[n as usize].fetch_add(1, Ordering::SeqCst);
        change();
        self.0[n as usize].fetch_add(1, Ordering::SeqCst);
    }
}

/// Keys below this stay; those up to [`ALL`] come and go, after it none is there.
const STAY: u64 = 4_000;
const ALL: u64 = 60_000;

/// The keys of a reader's test: a few crowd on one fingerprint, so that the side table is used now and then.
fn crowding(n: u64) -> Fingerprint {
    if n % 1_000 == 7 && n > ALL / 2 { Fingerprint::from_raw(77) } else { even(n) }
}

/// Looks keys up until `done`. Returns how often it found, missed, and was unsure.
fn read_along(reader: &Reader, known: &Known, done: &AtomicBool, seed: u64) -> [u64; 3] {
    let (mut counts, mut turn) = ([0; 3], seed << 32);
    while !done.load(Ordering::Relaxed) {
        let guard = crossbeam_epoch::pin();
        for _ in 0..64 {
            turn += 1;
            let n = hash(turn) % (ALL + ALL / 8);
            let before = if n < ALL { known.is_there(n) } else { (0, Some(false)) };
            let probe = reader.find(&guard, crowding(n), |at| key_at(at) == n);
            let after = if n < ALL { known.is_there(n) } else { (0, Some(false)) };
            let there = if before.0 == after.0 { before.1 } else { None };
            match probe {
                Probe::Hit(at) => {
                    assert_eq!(key_at(at), n);
                    assert_ne!(there, Some(false), "key {n} was found, and was not there");
                    counts[0] += 1;
                }
                Probe::Absent => {
                    assert_ne!(there, Some(true), "key {n} was missed");
                    counts[1] += 1;
                }
                Probe::Unsure => counts[2] += 1,
            }
        }
    }
    counts
}

/// Growth and shrinkage in waves, with readers meanwhile; the index is emptied at once in between.
fn waves(waves: u64) -> [u64; 3] {
    let mut index = Index::new().unwrap();
    let reader = index.reader();
    let known = Known((0..ALL).map(|_| AtomicU64::new(0)).collect());
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let readers: Vec<_> = (1..3)
            .map(|seed| {
                let (reader, known, done) = (reader.clone(), &known, &done);
                scope.spawn(move || read_along(&reader, known, done, seed))
            })
            .collect();
        for wave in 0..waves {
            let first = if wave == 0 { 0 } else { STAY };
            for n in first..ALL {
                known.change(n, || index.insert(crowding(n), address(n, 0)).unwrap());
                if n % 3 == 0 {
                    let old = hash(n) % STAY.min(n + 1);
                    let (at, _) = index.find(crowding(old), |at| key_at(at) == old).unwrap();
                    index.replace(at, address(old, n));
                }
            }
            for i in STAY..ALL {
                let n = if wave % 2 == 0 { i } else { ALL + STAY - 1 - i };
                let (at, _) = index.find(crowding(n), |at| key_at(at) == n).unwrap();
                known.change(n, || index.remove(at));
            }
            index.check();
        }
        for n in 0..STAY {
            known.0[n as usize].fetch_add(1, Ordering::SeqCst);
        }
        let old = index.take().unwrap();
        for n in 0..STAY {
            known.0[n as usize].fetch_add(1, Ordering::SeqCst);
        }
        drop(old);
        for n in 0..STAY {
            known.change(n, || index.insert(crowding(n), address(n, 0)).unwrap());
        }
        index.check();
        done.store(true, Ordering::Relaxed);
        readers.into_iter().map(|reader| reader.join().unwrap()).fold([0; 3], |mut sum, counts| {
            sum.iter_mut().zip(counts).for_each(|(to, count)| *to += count);
            sum
        })
    })
}

#[test]
fn readers_neither_miss_a_key_that_is_there_nor_find_one_that_is_not() {
    let [hits, absent, unsure] = waves(4);
    println!("{hits} found, {absent} absent, {unsure} unsure");
    assert!(hits > 10_000 && absent > 10_000);
}

#[test]
fn a_reader_that_outlives_its_index_is_unsure() {
    let mut index = filled(1_000);
    let reader = index.reader();
    let guard = crossbeam_epoch::pin();
    assert_eq!(reader.find(&guard, even(5), |_| true), Probe::Hit(address(5, 0)));
    assert_eq!(reader.find(&guard, even(1_005), |_| true), Probe::Absent);
    assert!(!index.is_unread());
    let old = index.take().unwrap();
    assert!(!old.is_unread(), "this thread's guard is older");
    assert_eq!(reader.find(&guard, even(5), |_| true), Probe::Absent);
    index.insert(even(6), address(6, 0)).unwrap();
    assert_eq!(reader.find(&guard, even(6), |_| true), Probe::Hit(address(6, 0)));
    drop((old, index));
    assert_eq!(reader.find(&guard, even(6), |_| true), Probe::Unsure);
}

/// The words of a fingerprint's block.
fn words(index: &Index, fingerprint: Fingerprint) -> Vec<Word> {
    let tag = fingerprint.tag();
    index.arena.block(index.pages[index.directory.page_of(tag) as usize].block_of(tag)).words().collect()
}

#[test]
fn the_version_changes_when_an_entry_moves_and_only_then() {
    let mut index = Index::new().unwrap();
    let reader = index.reader();
    let guard = crossbeam_epoch::pin();
    let (mut moves, mut quiet) = (0, 0);
    for n in 0..30_000 {
        let tag = even(n).tag();
        let view = reader.published.view(&guard, tag).unwrap();
        let (version, before) = (view.version.read().unwrap(), words(&index, even(n)));
        let pages = index.arena.len();
        index.insert(even(n), address(n, 0)).unwrap();
        let after = words(&index, even(n));
        let moved = before.iter().zip(&after).any(|(before, after)| !before.is_empty() && before != after);
        let is_still = view.version.is_still(version);
        if moved || index.arena.len() != pages {
            assert!(!is_still, "an entry has moved at key {n}");
            moves += 1;
        } else {
            assert!(is_still, "nothing has moved at key {n}");
            quiet += 1;
        }
    }
    assert!(moves > 1_000 && quiet > 20_000, "{moves} moves, {quiet} not");
    // more keys than two rows hold: one comes out of the side table for each that goes
    let crowd = Fingerprint::from_raw(77);
    (0..20).for_each(|n| index.insert(crowd, address(100_000 + n, 0)).unwrap());
    assert!(reader.published.has_side_entries());
    assert_eq!(reader.find(&guard, even(40_000), |_| false), Probe::Unsure);
    let mut n = 0;
    while reader.published.has_side_entries() {
        let view = reader.published.view(&guard, crowd.tag()).unwrap();
        let version = view.version.read().unwrap();
        let (at, _) = index.find(crowd, |at| key_at(at) == 100_000 + n).unwrap();
        index.remove(at);
        assert!(!view.version.is_still(version), "an entry came from the side table");
        n += 1;
    }
    index.check();
    for n in 0..30_000 {
        let view = reader.published.view(&guard, even(n).tag()).unwrap();
        let (version, blocks) = (view.version.read().unwrap(), index.arena.len());
        let (at, _) = index.find(even(n), |at| key_at(at) == n).unwrap();
        index.remove(at);
        assert_eq!(view.version.is_still(version), index.arena.len() == blocks, "removal of key {n}");
    }
    assert_eq!(reader.find(&guard, even(5), |_| true), Probe::Absent);
}
