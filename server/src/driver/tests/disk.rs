//! Claims about disk writes.

use std::fs::{self, File};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use bytes::Bytes;

use super::super::{DiskRead, DiskToken, DiskWrite, Driver, Settings};
use super::Make;
use super::harness::{Server, pattern};

/// A file that is removed at the end.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("emberkv-driver-{}-{count}", std::process::id());
        Self(std::env::temp_dir().join(name))
    }

    fn create(&self) -> Arc<File> {
        Arc::new(File::create(&self.0).unwrap())
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

fn write(file: &Arc<File>, offset: u64, data: impl Into<Bytes>, sync: bool) -> DiskWrite {
    DiskWrite { file: Arc::clone(file), offset, data: data.into(), sync }
}

pub(super) fn writes_with_and_without_sync<D: Driver>(make: Make<D>) {
    let mut server = Server::new(make(Settings::default()).unwrap());
    let scratch = Scratch::new();
    let file = scratch.create();
    let model = pattern(3_000_000, 5);
    for (token, chunk) in model.chunks(100_000).enumerate() {
        let data = Bytes::copy_from_slice(chunk);
        let token = token as u64;
        server.driver.write(DiskToken(token), write(&file, token * 100_000, data, token.is_multiple_of(2)));
    }
    for (token, sync) in [(100, false), (101, true)] {
        let nothing = write(&file, 0, Bytes::new(), sync);
        server.driver.write(DiskToken(token), nothing);
    }
    server.run_until(|s| s.disk.len() == 32);
    let mut tokens: Vec<u64> = Vec::new();
    for (token, result) in server.disk.drain(..) {
        result.unwrap();
        tokens.push(token);
    }
    tokens.sort_unstable();
    assert_eq!(tokens, (0..30).chain([100, 101]).collect::<Vec<_>>());
    assert!(fs::read(&scratch.0).unwrap() == model);
    server.run_until_quiet();
    assert!(server.disk.is_empty());
    assert_eq!(Arc::strong_count(&file), 1);
}

pub(super) fn writes_more_than_a_ring_has_entries<D: Driver>(make: Make<D>) {
    let mut server = Server::new(make(Settings::default()).unwrap());
    let scratch = Scratch::new();
    let file = scratch.create();
    // an odd one first, so that a linked pair meets the end of the queue.
    for token in 0..2501u64 {
        let data = Bytes::copy_from_slice(&token.to_be_bytes());
        let request = write(&file, token * 8, data, token % 8 == 3 || token > 2000);
        server.driver.write(DiskToken(token), request);
    }
    server.run_until(|s| s.disk.len() == 2501);
    assert!(server.disk.iter().all(|(_, result)| result.is_ok()));
    let model: Vec<u8> = (0..2501u64).flat_map(u64::to_be_bytes).collect();
    assert!(fs::read(&scratch.0).unwrap() == model);
}

pub(super) fn reports_a_failed_write_once<D: Driver>(make: Make<D>) {
    let mut server = Server::new(make(Settings::default()).unwrap());
    let scratch = Scratch::new();
    let good = scratch.create();
    let read_only = Arc::new(File::open(&scratch.0).unwrap());
    for (token, file, sync) in [(0, &read_only, false), (1, &good, true), (2, &read_only, true), (3, &good, false)] {
        let request = write(file, token * 4, Bytes::from_static(b"data"), sync);
        server.driver.write(DiskToken(token), request);
    }
    server.run_until(|s| s.disk.len() == 4);
    server.run_until_quiet();
    assert_eq!(server.disk.len(), 4);
    for (token, result) in &server.disk {
        assert_eq!(result.is_ok(), token % 2 == 1, "{token}: {result:?}");
    }
}

pub(super) fn finishes_writes_before_it_is_gone<D: Driver>(make: Make<D>) {
    let mut driver = make(Settings::default()).unwrap();
    let scratch = Scratch::new();
    let file = scratch.create();
    let model = pattern(8_000_000, 9);
    for (token, chunk) in model.chunks(1_000_000).enumerate() {
        let data = Bytes::copy_from_slice(chunk);
        let token = token as u64;
        driver.write(DiskToken(token), write(&file, token * 1_000_000, data, token == 4));
    }
    drop(driver);
    assert!(fs::read(&scratch.0).unwrap() == model);
}

pub(super) fn reads_what_there_is<D: Driver>(make: Make<D>) {
    let mut server = Server::new(make(Settings::default()).unwrap());
    let scratch = Scratch::new();
    let write_only = scratch.create();
    let model = pattern(3_000_000, 5);
    fs::write(&scratch.0, &model).unwrap();
    let file = Arc::new(File::open(&scratch.0).unwrap());
    let mut read = |token: u64, file: &Arc<File>, offset: u64, len: usize| {
        server.driver.read(DiskToken(token), DiskRead { file: Arc::clone(file), offset, len });
    };
    for token in 0..1000 {
        read(token, &file, token * 2999, 4096);
    }
    read(1000, &file, 0, 3_000_000);
    read(1001, &file, 2_999_999, 100);
    read(1002, &file, 5_000_000, 100);
    read(1003, &file, 0, 0);
    read(1004, &write_only, 0, 100);
    server.run_until(|s| s.reads.len() == 1005);
    server.run_until_quiet();
    server.reads.sort_by_key(|(token, _)| *token);
    for (token, result) in server.reads.drain(..) {
        let (from, to) = match token {
            1000 => (0, 3_000_000),
            1001 => (2_999_999, 3_000_000),
            1002 | 1003 => (0, 0),
            1004 => {
                assert!(result.is_err());
                continue;
            }
            token => (token as usize * 2999, (token as usize * 2999 + 4096).min(3_000_000)),
        };
        assert!(result.unwrap() == model[from..to], "{token}");
    }
    assert_eq!(Arc::strong_count(&file), 1);
}
