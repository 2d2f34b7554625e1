//! Disk writes on the ring.

use std::io;
use std::os::fd::AsFd;

use rustix::io::Errno;

use super::ring::{Completion, Ring};
use super::tag::{Generation, Kind, Tag};
use crate::driver::{DiskToken, DiskWrite};

/// A write under way.
struct Operation {
    token: DiskToken,
    write: DiskWrite,
    /// Bytes written.
    done: usize,
}

/// The writes under way, each in a place of its own that its operations are tagged with.
#[derive(Default)]
pub(super) struct DiskTable {
    places: Vec<Option<Operation>>,
    free: Vec<u32>,
}

impl DiskTable {
    /// Begins a write. Nothing to write and nothing to sync is done at once: true.
    pub(super) fn begin(&mut self, ring: &mut Ring, token: DiskToken, write: DiskWrite) -> bool {
        if write.data.is_empty() && !write.sync {
            return true;
        }
        let index = self.free.pop().unwrap_or_else(|| {
            self.places.push(None);
            (self.places.len() - 1) as u32
        });
        let place = &mut self.places[index as usize];
        assert!(place.is_none());
        let operation = place.insert(Operation { token, write, done: 0 });
        operation.step(ring, index);
        false
    }

    /// Takes a completion; the token and result once the whole write has come to its end.
    pub(super) fn complete(&mut self, ring: &mut Ring, completion: &Completion) -> Option<(DiskToken, io::Result<()>)> {
        let index = completion.tag.index;
        let place = &mut self.places[index as usize];
        let Some(operation) = place else {
            panic!("a completion of a disk write that has ended");
        };
        let Some(result) = operation.outcome(completion.value()) else {
            operation.step(ring, index);
            return None;
        };
        let token = operation.token;
        *place = None;
        self.free.push(index);
        Some((token, result))
    }
}

impl Operation {
    /// Queues what is next: the rest of the data, or with none at all the sync alone. A synced write carries its
    /// sync with it (RWF_DSYNC): one trip to a worker thread instead of the two of a linked fdatasync.
    fn step(&mut self, ring: &mut Ring, index: u32) {
        let tag = Tag { kind: Kind::DiskWrite, generation: Generation::default(), index };
        let file = self.write.file.as_fd();
        if self.write.data.is_empty() {
            return ring.sync(file, tag);
        }
        let rest = &self.write.data[self.done..];
        let offset = self.write.offset + self.done as u64;
        // SAFETY: the data are `Bytes`, which keep their memory in place and unchanged while a handle exists;
        // this one is dropped with the operation, after its last completion, or by the driver once the ring
        // is done.
        unsafe { ring.write(file, rest, offset, self.write.sync, tag) };
    }

    /// What the end of a step means: the end of all, or nothing yet.
    fn outcome(&mut self, step: Result<u32, Errno>) -> Option<io::Result<()>> {
        match step {
            Ok(0) if !self.write.data.is_empty() => Some(Err(io::ErrorKind::WriteZero.into())),
            Ok(written) => {
                self.done += written as usize;
                (self.done >= self.write.data.len()).then_some(Ok(()))
            }
            // the kernel has not begun it, so that no failure can hide in beginning it again
            Err(Errno::INTR | Errno::AGAIN) => None,
            Err(error) => Some(Err(error.into())),
        }
    }
}
