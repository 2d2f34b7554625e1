//! Disk reads on the ring.

use std::io;
use std::os::fd::AsFd;

use rustix::io::Errno;

use super::ring::{Completion, Ring};
use super::tag::{Generation, Kind, Tag};
use crate::driver::{DiskRead, DiskToken};

/// A read under way.
struct Operation {
    token: DiskToken,
    read: DiskRead,
    buffer: Vec<u8>,
    /// Bytes read.
    done: usize,
}

/// The reads under way, each in a place of its own that its operations are tagged with.
#[derive(Default)]
pub(super) struct ReadTable {
    places: Vec<Option<Operation>>,
    free: Vec<u32>,
}

impl ReadTable {
    /// Begins a read of at least one byte.
    pub(super) fn begin(&mut self, ring: &mut Ring, token: DiskToken, read: DiskRead) {
        let index = self.free.pop().unwrap_or_else(|| {
            self.places.push(None);
            (self.places.len() - 1) as u32
        });
        let place = &mut self.places[index as usize];
        assert!(place.is_none());
        let buffer = vec![0; read.len];
        place.insert(Operation { token, read, buffer, done: 0 }).step(ring, index);
    }

    /// Takes a completion; the token and what was read once the whole read has come to its end.
    pub(super) fn complete(
        &mut self,
        ring: &mut Ring,
        completion: &Completion,
    ) -> Option<(DiskToken, io::Result<Vec<u8>>)> {
        let index = completion.tag.index;
        let place = &mut self.places[index as usize];
        let Some(mut operation) = place.take() else {
            panic!("a completion of a disk read that has ended");
        };
        let result = match completion.value() {
            Ok(read) if read > 0 && operation.done + (read as usize) < operation.buffer.len() => {
                operation.done += read as usize;
                place.insert(operation).step(ring, index);
                return None;
            }
            Ok(read) => {
                operation.buffer.truncate(operation.done + read as usize);
                Ok(operation.buffer)
            }
            Err(Errno::INTR | Errno::AGAIN) => {
                place.insert(operation).step(ring, index);
                return None;
            }
            Err(error) => Err(error.into()),
        };
        self.free.push(index);
        Some((operation.token, result))
    }
}

impl Operation {
    /// Queues what is left.
    fn step(&mut self, ring: &mut Ring, index: u32) {
        let tag = Tag { kind: Kind::DiskRead, generation: Generation::default(), index };
        let offset = self.read.offset + self.done as u64;
        let rest = &mut self.buffer[self.done..];
        // SAFETY: the buffer's memory stays where it is while the operation is moved, nobody looks at it before the
        // completion, and it is dropped after that, or by the driver once the ring is done.
        unsafe { ring.read(self.read.file.as_fd(), rest, offset, tag) };
    }
}
