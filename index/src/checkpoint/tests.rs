use std::collections::BTreeMap;

use emberkv_log::plant::{self, Plant};
use proptest::prelude::*;

use super::*;
use crate::fingerprint::Fingerprint;
use crate::tests::{address, even, key_at};

/// Most keys have a fingerprint of their own; some share one with a hundred others, so that they lie in the side table.
fn fingerprint(n: u64) -> Fingerprint {
    if n.is_multiple_of(50) { even(1_000_000 + n / 50 % 7) } else { even(n) }
}

/// What a log would say.
#[derive(Clone, Copy)]
enum Record {
    Put(u64, u64),
    Delete(u64),
}

fn apply(index: &mut Index, record: Record) {
    let (Record::Put(n, _) | Record::Delete(n)) = record;
    let found = index.find(fingerprint(n), |at| key_at(at) == n);
    match (record, found) {
        (Record::Put(n, version), Some((at, _))) => index.replace(at, address(n, version)),
        (Record::Put(n, version), None) => index.insert(fingerprint(n), address(n, version)).unwrap(),
        (Record::Delete(_), Some((at, _))) => index.remove(at),
        (Record::Delete(_), None) => {}
    }
}

fn contents(index: &Index) -> BTreeMap<u64, Address> {
    let mut all = BTreeMap::new();
    index.scan(crate::ScanCursor::START, usize::MAX, |_, address| {
        assert_eq!(all.insert(key_at(address), address), None, "a key has two entries");
    });
    all
}

fn load(pages: &[u8]) -> Result<Index, Damaged> {
    let mut loader = Loader::default();
    loader.load(pages, |_| true)?;
    loader.finish(|_| true)
}

#[derive(Clone, Debug)]
enum Step {
    Put(u64, u64),
    Delete(u64, u64),
    Copy(usize),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (0..60_000u64, 1..6_000u64).prop_map(|(from, count)| Step::Put(from, count)),
        (0..60_000u64, 1..20_000u64).prop_map(|(from, count)| Step::Delete(from, count)),
        (1..4usize).prop_map(Step::Copy),
        (1..4usize).prop_map(Step::Copy),
    ]
}

/// A checkpoint with changes between its steps.
fn walk(index: &mut Index, steps: &[Step]) -> Vec<u8> {
    let mut pages = Vec::new();
    index.begin_walk();
    for (version, step) in (1..).zip(steps) {
        match *step {
            Step::Put(from, count) => (from..from + count).for_each(|n| apply(index, Record::Put(n, version & 15))),
            Step::Delete(from, count) => (from..from + count).for_each(|n| apply(index, Record::Delete(n))),
            Step::Copy(count) => (0..count).for_each(|_| copy_one(index, &mut pages)),
        }
    }
    while index.copy_page(&mut pages) {}
    while index.kept_bytes() > 0 {
        index.take_changes(10_000, &mut pages);
    }
    index.end_walk();
    pages
}

fn copy_one(index: &mut Index, pages: &mut Vec<u8>) {
    index.copy_page(pages);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn pages_and_what_has_changed_meanwhile_make_the_same_index(
        keys in 0..50_000u64,
        steps in proptest::collection::vec(step(), 0..40),
    ) {
        let mut index = Index::new().unwrap();
        (0..keys).for_each(|n| apply(&mut index, Record::Put(n, 0)));
        let pages = walk(&mut index, &steps);
        index.check();
        let loaded = load(&pages).unwrap();
        loaded.check();
        prop_assert_eq!(contents(&loaded), contents(&index));
    }
}

/// A walk that has come to the middle of two pages when both are nearly empty.
fn merging_walk() -> Result<Index, Damaged> {
    let mut index = Index::new().unwrap();
    (0..40_000).for_each(|n| apply(&mut index, Record::Put(n, 0)));
    let steps = [Step::Copy(1), Step::Delete(0, 39_000), Step::Copy(1), Step::Put(0, 100)];
    let loaded = load(&walk(&mut index, &steps))?;
    assert_eq!(contents(&loaded), contents(&index));
    Ok(loaded)
}

#[test]
fn what_changes_behind_a_walk_is_kept() {
    let changed = || {
        let mut index = Index::new().unwrap();
        (0..40_000).for_each(|n| apply(&mut index, Record::Put(n, 0)));
        let pages = walk(&mut index, &[Step::Copy(3), Step::Put(0, 10_000), Step::Copy(1), Step::Delete(5_000, 2_000)]);
        contents(&load(&pages).unwrap()) == contents(&index)
    };
    assert!(changed());
    plant::set(Some(Plant::K4));
    let noticed = !changed();
    plant::set(None);
    assert!(noticed, "nothing noticed that K4 is missing");
}

#[test]
fn pages_do_not_merge_across_a_walk() {
    merging_walk().unwrap().check();
    plant::set(Some(Plant::K4Merge));
    let noticed = merging_walk().is_err();
    plant::set(None);
    assert!(noticed, "nothing noticed that K4Merge is missing");
}

#[test]
fn visited_bits_stay_out() {
    let mut index = Index::new().unwrap();
    (0..3_000).for_each(|n| apply(&mut index, Record::Put(n, 0)));
    let plain = walk(&mut index, &[]);
    for block in 0..index.arena.len() {
        let row = index.arena.block(BlockId::from_raw(block as u32)).row(block);
        for slot in (0..SLOTS).filter(|slot| !row.load(*slot).is_empty()) {
            row.store(slot, Word::from_raw(row.load(slot).raw() | 0b11 << emberkv_log::ADDRESS_BITS));
        }
    }
    assert_eq!(walk(&mut index, &[]), plain);
    plant::set(Some(Plant::K7));
    let visited = walk(&mut index, &[]);
    plant::set(None);
    assert!(visited != plain && load(&visited).is_err(), "nothing noticed that K7 is missing");
}

#[test]
fn what_is_not_kept_is_left_out() {
    let mut index = Index::new().unwrap();
    (0..30_000).for_each(|n| apply(&mut index, Record::Put(n, 0)));
    let pages =
        walk(&mut index, &[Step::Copy(2), Step::Put(0, 9_000), Step::Delete(3_000, 300), Step::Put(3_000, 300)]);
    let mut loader = Loader::default();
    let keeps = |address| key_at(address).is_multiple_of(3);
    loader.load(&pages, keeps).unwrap();
    let mut loaded = loader.finish(keeps).unwrap();
    loaded.check();
    assert_eq!(loaded.len(), 10_000);
    (0..30_000).for_each(|n| apply(&mut loaded, Record::Put(n, 1)));
    loaded.check();
    assert_eq!(loaded.len(), 30_000);
}

#[test]
fn pages_that_are_not_sound_are_refused() {
    let mut index = Index::new().unwrap();
    (0..9_000).for_each(|n| apply(&mut index, Record::Put(n, 0)));
    let pages = walk(&mut index, &[]);
    assert_eq!(load(&pages).unwrap().len(), 9_000);
    assert!(load(&pages[..pages.len() - 1]).is_err());
    assert!(matches!(load(&[]), Err(Damaged::Short(0))));
    let twice = [&pages[..], &pages].concat();
    assert!(load(&twice).is_err());
    for at in [0, 4, 5, 8, 11] {
        let mut bad = pages.clone();
        bad[at] ^= 1;
        assert!(load(&bad).is_err(), "byte {at}");
    }
    let mut moved = pages.clone();
    let entry = (HEADER_BYTES..moved.len()).step_by(8).find(|at| moved[*at..*at + 8] != [0; 8]).unwrap();
    moved[entry + 7] ^= 0x80;
    assert!(load(&moved).is_err(), "an entry of another page");
}
