//! What the index promises, against a plain map.

use std::collections::{BTreeMap, HashMap, HashSet};

use emberkv_log::Address;
use proptest::prelude::*;

use crate::{Fingerprint, Index, Reserve, ScanCursor, SlotRef};

/// Stands for a good hash of the `n`-th key.
pub(crate) fn hash(n: u64) -> u64 {
    let mut mixed = n.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ mixed >> 29).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ mixed >> 32).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ mixed >> 29
}

pub(crate) fn even(n: u64) -> Fingerprint {
    Fingerprint::from_hash(hash(n))
}

/// The address that stands for version `version` of key `n`: whose it is can be told from it, as from a record.
pub(crate) fn address(n: u64, version: u64) -> Address {
    Address::from_raw((n + 1) << 4 | version & 15)
}

pub(crate) fn key_at(address: Address) -> u64 {
    (address.raw() >> 4) - 1
}

fn find(index: &Index, fingerprint: Fingerprint, n: u64) -> Option<(SlotRef, Address)> {
    index.find(fingerprint, |at| key_at(at) == n)
}

pub(crate) fn filled(keys: u64) -> Index {
    let mut index = Index::new().unwrap();
    for n in 0..keys {
        index.insert(even(n), address(n, 0)).unwrap();
    }
    index
}

fn remove(index: &mut Index, n: u64) {
    let (at, _) = find(index, even(n), n).unwrap();
    index.remove(at);
}

/// A whole pass: every address once, in tag order, with `between` called after each step.
fn pass(index: &mut Index, limit: usize, mut between: impl FnMut(&mut Index, ScanCursor)) -> Vec<Address> {
    let (mut seen, mut last) = (Vec::new(), 0);
    let mut cursor = Some(ScanCursor::START);
    while let Some(from) = cursor {
        cursor = index.scan(from, limit, |tag, address| {
            assert!(tag.raw() >= from.raw() && tag.raw() >= last);
            last = tag.raw();
            seen.push(address);
        });
        if let Some(next) = cursor {
            assert!(next > from && last < next.raw());
            between(index, next);
        }
    }
    seen
}

#[test]
fn finds_what_was_put_at_every_size() {
    let mut index = Index::new().unwrap();
    let total = 60_000;
    for n in 0..total {
        index.insert(even(n), address(n, 0)).unwrap();
        if n.is_power_of_two() || n % 9_973 == 0 {
            index.check();
            for n in 0..=n {
                assert_eq!(find(&index, even(n), n).map(|found| found.1), Some(address(n, 0)));
            }
        }
    }
    assert!((total..2 * total).all(|n| find(&index, even(n), n).is_none()));
    assert!(index.side.is_empty(), "an even hash needs no side table");
}

#[test]
fn replaces_in_place() {
    let mut index = filled(5_000);
    for version in 1..4 {
        for n in 0..5_000 {
            let (at, old) = find(&index, even(n), n).unwrap();
            assert_eq!(old, address(n, version - 1));
            index.replace(at, address(n, version));
            assert_eq!(index.get(at), address(n, version));
        }
    }
    index.check();
}

#[test]
fn stays_below_ten_and_a_half_bytes_a_key() {
    let mut index = Index::new().unwrap();
    let (mut worst, mut at) = (0.0f64, 0);
    for n in 0..2_000_000u64 {
        index.insert(even(n), address(n, 0)).unwrap();
        if n >= 100_000 && n % 5_000 == 0 {
            let each = index.memory_bytes() as f64 / index.len() as f64;
            assert!(each <= 10.5, "{each:.2} bytes a key at {n} keys");
            if each > worst {
                (worst, at) = (each, n);
            }
        }
    }
    println!("worst {worst:.2} bytes a key, at {at} keys; {} in the side table", index.side.len());
}

#[test]
fn an_empty_index_is_small() {
    assert!(Index::new().unwrap().memory_bytes() < 100 << 10);
}

#[test]
fn gives_memory_back_when_keys_go() {
    let keys = 400_000;
    let mut index = filled(keys);
    let full = index.memory_bytes();
    for n in 0..keys / 2 {
        remove(&mut index, n);
    }
    index.check();
    let each = index.memory_bytes() as f64 / index.len() as f64;
    println!("{each:.2} bytes a key after half were removed, {} in the side table", index.side.len());
    assert!(each <= 13.0, "{each:.2} bytes a key");
    for n in keys / 2..keys {
        assert_eq!(find(&index, even(n), n).map(|found| found.1), Some(address(n, 0)));
        remove(&mut index, n);
    }
    index.check();
    assert!(index.is_empty() && index.arena.len() == 1);
    assert!(index.memory_bytes() < full / 4);
    for n in 0..50_000 {
        index.insert(even(n), address(n, 0)).unwrap();
    }
    index.check();
}

#[test]
fn holds_thousands_of_keys_with_one_fingerprint() {
    for raw in [0, 5, (1 << 31) - 1] {
        let fingerprint = Fingerprint::from_raw(raw);
        let mut index = filled(20_000);
        let blocks = index.arena.len();
        let alike = 100_000..105_000;
        for n in alike.clone() {
            index.insert(fingerprint, address(n, 0)).unwrap();
        }
        index.check();
        assert!(index.arena.len() <= blocks + 3, "growth would not have helped");
        assert!(index.candidates(fingerprint).count() >= 5_000);
        for n in alike.clone().rev().step_by(3) {
            let (at, _) = find(&index, fingerprint, n).unwrap();
            index.replace(at, address(n, 1));
            let (at, found) = find(&index, fingerprint, n).unwrap();
            assert_eq!(found, address(n, 1));
            index.remove(at);
            assert!(find(&index, fingerprint, n).is_none());
        }
        index.check();
        let left = alike.rev().enumerate().filter(|(position, _)| position % 3 != 0);
        for (_, n) in left {
            let (at, _) = find(&index, fingerprint, n).unwrap();
            index.remove(at);
        }
        assert!(index.side.is_empty());
        assert_eq!(index.len(), 20_000);
        index.check();
    }
}

#[test]
fn clustered_tags_cost_neither_blocks_nor_directory() {
    // 20,000 keys on 8 tags: a hash that no one would use.
    let mut index = Index::new().unwrap();
    let clustered = |n: u64| Fingerprint::from_raw(((n % 8) << 7 | (hash(n) & 127)) as u32);
    for n in 0..20_000 {
        index.insert(clustered(n), address(n, 0)).unwrap();
    }
    index.check();
    assert!(index.memory_bytes() < 2 << 20);
    assert!((0..20_000).all(|n| find(&index, clustered(n), n).is_some()));
    let seen = pass(&mut index, 10, |_, _| {});
    assert_eq!(seen.len(), 20_000);
    assert_eq!(seen.into_iter().collect::<HashSet<_>>().len(), 20_000);
}

#[test]
fn candidates_are_those_that_find_tries() {
    let index = filled(30_000);
    for n in (0..60_000).step_by(7) {
        let mut tried = Vec::new();
        let found = index.find(even(n), |at| {
            tried.push(at);
            false
        });
        assert!(found.is_none());
        let candidates: Vec<(SlotRef, Address)> = index.candidates(even(n)).collect();
        assert!(candidates.iter().all(|&(at, address)| index.get(at) == address));
        assert_eq!(candidates.iter().map(|found| found.1).collect::<Vec<_>>(), tried);
    }
}

#[test]
fn a_scan_reports_each_entry_once() {
    for keys in [0, 1, 10, 1_000, 50_000] {
        for limit in [0, 1, 10, 1_000, usize::MAX] {
            if keys / limit.max(1) as u64 > 5_000 {
                continue;
            }
            let seen = pass(&mut filled(keys), limit, |_, _| {});
            assert_eq!(seen.len() as u64, keys);
            assert_eq!(seen.iter().collect::<HashSet<_>>().len() as u64, keys);
        }
    }
}

#[test]
fn a_scan_stops_near_its_limit_and_after_the_end() {
    let index = filled(50_000);
    for limit in [1, 10, 5_000] {
        let mut count = 0;
        assert!(index.scan(ScanCursor::START, limit, |_, _| count += 1).is_some());
        assert!((limit..limit + 10).contains(&count));
    }
    for raw in [1 << 24, u32::MAX] {
        assert_eq!(index.scan(ScanCursor::from_raw(raw), 10, |_, _| panic!("nothing is there")), None);
    }
}

#[test]
fn a_scan_misses_nothing_and_repeats_nothing_while_the_index_grows_and_shrinks() {
    let stay = 20_000;
    let mut index = filled(stay);
    let mut extra = stay..stay;
    let mut turn = 0;
    let seen = pass(&mut index, 50, |index, _| {
        turn += 1;
        // three waves of +60,000 keys and back.
        for _ in 0..2_000 {
            if turn / 30 % 2 == 0 {
                index.insert(even(extra.end), address(extra.end, 0)).unwrap();
                extra.end += 1;
            } else if let Some(n) = extra.next() {
                remove(index, n);
            }
        }
    });
    assert!(turn > 120);
    index.check();
    assert_eq!(seen.iter().collect::<HashSet<_>>().len(), seen.len(), "nothing twice");
    assert_eq!(seen.iter().filter(|&&at| key_at(at) < stay).count() as u64, stay, "nothing missing");
}

#[test]
fn sampling_is_about_even() {
    let keys = 3_000;
    let index = filled(keys);
    let mut drawn: HashMap<Address, u32> = HashMap::new();
    for random in 0..keys * 100 {
        *drawn.entry(index.sample(hash(random)).unwrap()).or_default() += 1;
    }
    assert_eq!(drawn.len() as u64, keys);
    // a hundred each on average, ten the deviation.
    assert!(drawn.values().all(|times| (40..180).contains(times)));
}

#[test]
fn sampling_finds_the_last_key_and_the_side_table() {
    let mut index = Index::new().unwrap();
    assert_eq!(index.sample(1), None);
    index.insert(even(7), address(7, 0)).unwrap();
    assert!((0..50).all(|random| index.sample(random) == Some(address(7, 0))));
    for n in 100..400 {
        index.insert(Fingerprint::from_raw(99), address(n, 0)).unwrap();
    }
    let drawn: HashSet<Address> = (0..20_000).filter_map(|random| index.sample(hash(random))).collect();
    assert_eq!(drawn.len(), 301);
}

#[test]
fn grows_into_memory_that_another_thread_made_ready() {
    let (mut index, mut reserves) = (Index::new().unwrap(), 0);
    for n in 0..2_500_000 {
        if index.wants_reserve() {
            let reserve = std::thread::spawn(|| Reserve::new().unwrap()).join().unwrap();
            index.put_reserve(reserve);
            assert!(!index.wants_reserve());
            reserves += 1;
        }
        index.insert(even(n), address(n, 0)).unwrap();
    }
    // 2,500,000 keys take 22 MiB, of which 16 are small pages.
    assert!((3..=5).contains(&reserves));
    index.check();
}

#[test]
fn can_be_dropped_on_another_thread() {
    let index = filled(10_000);
    std::thread::spawn(move || drop(index)).join().unwrap();
}

#[test]
#[cfg(debug_assertions)]
#[should_panic(expected = "after an insert or remove")]
fn a_stale_reference_is_caught() {
    let mut index = filled(10);
    let (at, _) = find(&index, even(3), 3).unwrap();
    index.insert(even(11), address(11, 0)).unwrap();
    index.get(at);
}

/// One thing that is done to both the index and the model.
#[derive(Clone, Debug)]
enum Step {
    /// Inserts the key, or replaces its address.
    Put(u64),
    Remove(u64),
    /// Inserts so many keys in a row, from one on.
    PutMany(u64, u64),
    RemoveMany(u64, u64),
    /// One step of the scan that is under way.
    Scan(usize),
    Sample(u64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let key = 0..20_000u64;
    let step = prop_oneof![
        4 => key.clone().prop_map(Step::Put),
        4 => key.clone().prop_map(Step::Remove),
        3 => (key.clone(), 1..4_000u64).prop_map(|(n, count)| Step::PutMany(n, count)),
        2 => (key.clone(), 1..5_000u64).prop_map(|(n, count)| Step::RemoveMany(n, count)),
        6 => prop_oneof![1..20usize, 500..5_000usize].prop_map(Step::Scan),
        1 => any::<u64>().prop_map(Step::Sample),
    ];
    prop::collection::vec(step, 1..80)
}

/// How keys get their fingerprints.
#[derive(Clone, Copy, Debug)]
enum Hashing {
    Even,
    /// A few hundred fingerprints with few tags and few rows.
    Colliding,
    /// Half of the keys crowd on one of four fingerprints.
    Crowded,
}

impl Hashing {
    fn fingerprint(self, n: u64) -> Fingerprint {
        match self {
            Self::Even => even(n),
            Self::Colliding => {
                let mixed = hash(n);
                let tag = (mixed >> 32) % 40 * 419_431;
                Fingerprint::from_raw((tag << 7 | (mixed & 7)) as u32)
            }
            Self::Crowded if n.is_multiple_of(2) => even(n / 2 % 4),
            Self::Crowded => even(n),
        }
    }
}

/// The index beside the map that it should equal, with a scan under way.
struct Pair {
    index: Index,
    hashing: Hashing,
    model: BTreeMap<u64, Address>,
    cursor: Option<ScanCursor>,
    seen: HashSet<u64>,
    /// Keys that were there all through the current pass; those that came or went meanwhile.
    steady: HashSet<u64>,
    touched: HashSet<u64>,
    version: u64,
}

impl Pair {
    fn new(hashing: Hashing) -> Self {
        Self {
            index: Index::new().unwrap(),
            hashing,
            model: BTreeMap::new(),
            cursor: Some(ScanCursor::START),
            seen: HashSet::new(),
            steady: HashSet::new(),
            touched: HashSet::new(),
            version: 0,
        }
    }

    fn put(&mut self, n: u64) {
        self.version += 1;
        let (fingerprint, new) = (self.hashing.fingerprint(n), address(n, self.version));
        match find(&self.index, fingerprint, n) {
            Some((at, old)) => {
                assert_eq!(self.model.get(&n), Some(&old));
                self.index.replace(at, new);
            }
            None => {
                assert!(!self.model.contains_key(&n));
                self.index.insert(fingerprint, new).unwrap();
                self.touched.insert(n);
            }
        }
        self.model.insert(n, new);
    }

    fn remove(&mut self, n: u64) {
        let found = find(&self.index, self.hashing.fingerprint(n), n);
        assert_eq!(found.map(|found| found.1), self.model.remove(&n));
        if let Some((at, _)) = found {
            self.index.remove(at);
            self.steady.remove(&n);
            self.touched.insert(n);
        }
    }

    fn scan(&mut self, limit: usize) {
        let Some(from) = self.cursor else { return };
        let mut reported = Vec::new();
        self.cursor = self.index.scan(from, limit, |_, address| reported.push(address));
        for address in reported {
            let n = key_at(address);
            assert_eq!(self.model.get(&n), Some(&address));
            assert!(self.seen.insert(n) || self.touched.contains(&n), "key {n} twice");
        }
        if self.cursor.is_none() {
            assert!(self.steady.is_subset(&self.seen), "keys missing");
            self.cursor = Some(ScanCursor::START);
            self.seen.clear();
            self.touched.clear();
            self.steady = self.model.keys().copied().collect();
        }
    }

    fn apply(&mut self, step: &Step) {
        match *step {
            Step::Put(n) => self.put(n),
            Step::Remove(n) => self.remove(n),
            Step::PutMany(n, count) => (n..n + count).for_each(|n| self.put(n)),
            Step::RemoveMany(n, count) => (n..n + count).for_each(|n| self.remove(n)),
            Step::Scan(limit) => self.scan(limit),
            Step::Sample(random) => match self.index.sample(random) {
                Some(address) => assert_eq!(self.model.get(&key_at(address)), Some(&address)),
                None => assert!(self.model.is_empty()),
            },
        }
        assert_eq!(self.index.len(), self.model.len());
    }

    fn compare(&self) {
        self.index.check();
        for (&n, &address) in &self.model {
            let found = find(&self.index, self.hashing.fingerprint(n), n);
            assert_eq!(found.map(|found| found.1), Some(address));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, max_shrink_iters: 2_000, ..ProptestConfig::default() })]

    #[test]
    fn equals_a_plain_map(
        hashing in prop_oneof![Just(Hashing::Even), Just(Hashing::Colliding), Just(Hashing::Crowded)],
        steps in steps(),
    ) {
        let mut pair = Pair::new(hashing);
        for step in &steps {
            pair.apply(step);
        }
        pair.compare();
        while pair.cursor != Some(ScanCursor::START) {
            pair.scan(100);
        }
        for n in 0..25_000 {
            pair.remove(n);
        }
        pair.compare();
        prop_assert!(pair.index.is_empty());
    }
}
