//! What one operation on the index costs: insert, hit (alone, and in groups of sixteen with prefetch), miss.
//!
//! No records: a hit compares the address instead of a key. The keys are mixed numbers, looked up in an order
//! unrelated to that of insertion. `TABLE_KEYS=100000,1000000` chooses the sizes.

#![allow(clippy::expect_used)]

use std::{hint::black_box, time::Instant};

use criterion::{BatchSize, Criterion, Throughput};
use emberkv_index::{Fingerprint, Index, Probe};
use emberkv_log::Address;

const GROUP: usize = 16;

/// The finaliser of splitmix64: stands for the hash of the `n`-th key.
fn hash(n: u64) -> u64 {
    let mut mixed = n.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ mixed >> 31
}

fn key(n: u64) -> (Fingerprint, Address) {
    (Fingerprint::from_hash(hash(n)), Address::from_raw(n + 1))
}

fn filled(keys: u64) -> Index {
    let mut index = Index::new().expect("memory");
    for n in 0..keys {
        let (fingerprint, address) = key(n);
        index.insert(fingerprint, address).expect("memory");
    }
    index
}

/// The sixteen numbers of a group: below `keys`, spread by a hash.
fn group(turn: &mut u64, keys: u64) -> [u64; GROUP] {
    std::array::from_fn(|_| {
        *turn += 1;
        ((u128::from(hash(*turn ^ 0x5555_0000_0000_0000)) * u128::from(keys)) >> 64) as u64
    })
}

fn lookups(criterion: &mut Criterion, keys: u64) {
    let index = filled(keys);
    eprintln!("{keys} keys: {:.2} bytes a key", index.memory_bytes() as f64 / keys as f64);
    let mut bench = criterion.benchmark_group(format!("{keys} keys"));
    bench.throughput(Throughput::Elements(GROUP as u64));
    let mut turn = 0;
    for (name, offset, prefetched) in
        [("hit", 0, false), ("hit prefetched", 0, true), ("miss", keys, false), ("miss prefetched", keys, true)]
    {
        bench.bench_function(name, |bencher| {
            bencher.iter_batched(
                || group(&mut turn, keys).map(|n| key(n + offset)),
                |group| {
                    if prefetched {
                        for (fingerprint, _) in &group {
                            index.prefetch(*fingerprint);
                        }
                    }
                    let mut found = 0;
                    for (fingerprint, address) in group {
                        found += u32::from(index.find(fingerprint, |at| at == address).is_some());
                    }
                    assert_eq!(found, if offset == 0 { GROUP as u32 } else { 0 });
                },
                BatchSize::NumIterations(4096),
            );
        });
    }
    bench.finish();
}

/// The same lookups as another core does them, under a guard per group.
fn foreign(criterion: &mut Criterion, keys: u64) {
    let mut index = filled(keys);
    let reader = index.reader();
    eprintln!("{keys} keys and readers: {:.2} bytes a key", index.memory_bytes() as f64 / keys as f64);
    let mut bench = criterion.benchmark_group(format!("{keys} keys, foreign"));
    bench.throughput(Throughput::Elements(GROUP as u64));
    let mut turn = 0;
    for (name, offset) in [("hit prefetched", 0), ("miss prefetched", keys)] {
        bench.bench_function(name, |bencher| {
            bencher.iter_batched(
                || group(&mut turn, keys).map(|n| key(n + offset)),
                |group| {
                    let guard = crossbeam_epoch::pin();
                    for (fingerprint, _) in &group {
                        reader.prefetch(&guard, *fingerprint);
                    }
                    let mut found = 0;
                    for (fingerprint, address) in group {
                        found += u32::from(reader.find(&guard, fingerprint, |at| at == address) != Probe::Absent);
                    }
                    assert_eq!(found, if offset == 0 { GROUP as u32 } else { 0 });
                },
                BatchSize::NumIterations(4096),
            );
        });
    }
    bench.finish();
}

/// Inserting is measured over a whole filling, growth included, and its slowest steps besides.
fn inserts(keys: u64) {
    let mut index = Index::new().expect("memory");
    let start = Instant::now();
    for n in 0..keys {
        let (fingerprint, address) = key(n);
        index.insert(fingerprint, address).expect("memory");
    }
    let each = start.elapsed().as_nanos() as f64 / keys as f64;
    drop(index);

    let mut index = Index::new().expect("memory");
    let mut slow = Vec::new();
    for n in 0..keys {
        let (fingerprint, address) = key(n);
        let bytes = index.memory_bytes();
        let start = Instant::now();
        index.insert(fingerprint, address).expect("memory");
        let nanos = start.elapsed().as_nanos() as u64;
        // an insert of 3 µs and more has grown a page.
        if nanos > 3000 {
            slow.push((nanos, index.memory_bytes() - bytes));
        }
    }
    slow.sort_unstable();
    let at = |q: f64| slow[((slow.len() - 1) as f64 * q) as usize].0 as f64 / 1000.0;
    eprintln!(
        "{keys} keys: insert {each:.0} ns; {} slow ones: median {:.1} µs, p99 {:.1} µs, slowest {:?}",
        slow.len(),
        at(0.5),
        at(0.99),
        &slow[slow.len().saturating_sub(6)..]
    );
    let start = Instant::now();
    drop(black_box(index));
    eprintln!("{keys} keys: dropped in {:.1} ms", start.elapsed().as_secs_f64() * 1e3);
}

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    let sizes = std::env::var("TABLE_KEYS").unwrap_or_else(|_| "1000000,10000000".into());
    for keys in sizes.split(',').filter_map(|keys| keys.trim().parse().ok()) {
        inserts(keys);
        lookups(&mut criterion, keys);
        foreign(&mut criterion, keys);
    }
    criterion.final_summary();
}
