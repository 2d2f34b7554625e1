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
    /// Completions to come for the current step.
    pending: u8,
    /// What the current step's write came to.
    written: Result<u32, Errno>,
    /// What the current step's sync came to.
    synced: Result<u32, Errno>,
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
        let operation = place.insert(Operation { token, write, done: 0, pending: 0, written: Ok(0), synced: Ok(0) });
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
        match completion.tag.kind {
            Kind::DiskWrite => operation.written = completion.value(),
            Kind::DiskSync => operation.synced = completion.value(),
            kind => panic!("{kind:?} is no disk operation"),
        }
        operation.pending -= 1;
        if operation.pending > 0 {
            return None;
        }
        let Some(result) = operation.outcome() else {
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
    /// Queues what is next: the rest of the data and the sync, or the sync alone.
    fn step(&mut self, ring: &mut Ring, index: u32) {
        let tag = |kind| Tag { kind, generation: Generation::default(), index };
        let file = self.write.file.as_fd();
        let rest = &self.write.data[self.done..];
        let offset = self.write.offset + self.done as u64;
        self.written = Ok(0);
        self.synced = Ok(0);
        self.pending = 1;
        match (rest.is_empty(), self.write.sync) {
            (true, _) => ring.sync(file, tag(Kind::DiskSync)),
            // SAFETY: the data are `Bytes`, which keep their memory in place and unchanged while a handle exists;
            // this one is dropped with the operation, after its last completion, or by the driver once the ring
            // is done.
            (false, false) => unsafe { ring.write(file, rest, offset, tag(Kind::DiskWrite)) },
            (false, true) => {
                self.pending = 2;
                // SAFETY: as above.
                unsafe {
                    ring.write_and_sync(file, rest, offset, tag(Kind::DiskWrite), tag(Kind::DiskSync));
                }
            }
        }
    }

    /// What a step whose completions are all in means: the end, or nothing yet.
    fn outcome(&mut self) -> Option<io::Result<()>> {
        let had_data = self.done < self.write.data.len();
        match self.written {
            Ok(0) if had_data => return Some(Err(io::ErrorKind::WriteZero.into())),
            Ok(written) => self.done += written as usize,
            Err(Errno::INTR | Errno::AGAIN) => return None,
            Err(e) => return Some(Err(e.into())),
        }
        if self.done < self.write.data.len() {
            return None;
        }
        match self.synced {
            Ok(_) => Some(Ok(())),
            // the kernel has not begun it, so that no failure can hide in beginning it again.
            Err(Errno::CANCELED) if had_data => None,
            Err(e) => Some(Err(e.into())),
        }
    }
}
