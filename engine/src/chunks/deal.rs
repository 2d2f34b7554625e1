//! Dealing a very long string out to chunks, a slice each time its command is tried again (law 4).
//!
//! The chunks are written before the root, under an id that nobody knows yet: until the root is there they are not looked at, and if it never comes they are
//! leaves of nobody (O5). The root is written by the command itself, with its change, when all chunks are there.

use emberkv_log::disk::Disk;
#[cfg(any(test, feature = "sim"))]
use emberkv_log::plant::{self, Plant};
use emberkv_log::{DbId, Entry, LogPosition, Purpose, Value, Whose};

use super::ChunkRoot;
use crate::collections::LeafName;
use crate::databases::RESERVED;
use crate::lookup::{Found, Key, Lookup};
use crate::partition::Partition;
use crate::stop::Stop;

/// What is dealt out at a time: as much as is copied of a value that is written ahead (decision 0017).
const SLICE_BYTES: usize = if cfg!(test) { 4 << 10 } else { 1 << 20 };

/// Whoever has not asked for so long has gone away.
const PATIENCE_MS: u64 = 2000;

/// See the module.
#[derive(Debug)]
pub(crate) struct Deal {
    whose: Whose,
    db: DbId,
    key: Box<[u8]>,
    /// The string that is dealt out.
    source: LogPosition,
    root: ChunkRoot,
    /// The chunk that is next.
    next: u32,
    touched_ms: u64,
}

impl<D: Disk> Partition<D> {
    /// Deals out a string that is too long to be written at once; `None` of one that is not.
    ///
    /// # Errors
    /// [`Stop::Wait`] until its chunks are there, and see [`Stop`].
    pub(crate) fn deal_out(&mut self, key: Key<'_>, found: Found) -> Result<Option<ChunkRoot>, Stop> {
        let Value::Bytes(text) = self.value(found) else { return Ok(None) };
        let len = text.len();
        if !self.is_ahead(len) || self.overlay.is_some() {
            return Ok(None);
        }
        let source = self.log.table().position(found.address);
        match &self.deal {
            Some(deal) if deal.whose == self.whose => {
                let is_it = deal.source == source && deal.db == key.db && *deal.key == *key.bytes;
                if !is_it {
                    self.drop_deal(); // the string has changed meanwhile, or has been moved
                }
            }
            Some(_) => return Err(Stop::Wait), // one at a time
            None => {}
        }
        let mut deal = match self.deal.take() {
            Some(deal) => deal,
            None => {
                let root = ChunkRoot::new(self.new_id(), len as u64);
                let (db, key) = (key.db, key.bytes.into());
                Deal { whose: self.whose, db, key, source, root, next: 0, touched_ms: 0 }
            }
        };
        deal.touched_ms = self.now_ms;
        let done = self.deal_slice(&mut deal, found);
        let is_all = deal.next == deal.root.numbers();
        let root = deal.root;
        // it stays until the root is there: what comes in between may still stop the command
        self.deal = Some(deal);
        done?;
        if is_all { Ok(Some(root)) } else { Err(Stop::Wait) }
    }

    fn deal_slice(&mut self, deal: &mut Deal, found: Found) -> Result<(), Stop> {
        let root = deal.root;
        let mut left = SLICE_BYTES;
        while left > 0 && deal.next < root.numbers() {
            let mut chunk = match self.value(found) {
                Value::Bytes(text) => text[root.bytes_of(deal.next)].to_vec(),
                _ => unreachable!("it is the record that was looked at just now"),
            };
            left = left.saturating_sub(chunk.len());
            let end = chunk.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
            chunk.truncate(end);
            if end > 0 {
                let name = LeafName { db: deal.db, id: root.id, number: deal.next, key: &deal.key }.write();
                let value = Value::Bytes(&chunk);
                let entry = Entry::Put { db: RESERVED, key: &name, value, expires_at_ms: None };
                self.reserve(entry.encoded_len() as u64, Purpose::Grow)?;
                let name = self.key(RESERVED, &name);
                self.put(name, value, None, Lookup::Absent);
                deal.root.chunks += 1;
            }
            deal.next += 1;
        }
        Ok(())
    }

    /// The root of what was dealt out for this command is there.
    pub(crate) fn end_deal(&mut self) {
        if self.deal.as_ref().is_some_and(|deal| deal.whose == self.whose) {
            self.deal = None;
        }
    }

    /// Whether a chunk is one of those whose root is still to come.
    pub(crate) fn is_dealt(&self, name: LeafName<'_>) -> bool {
        #[cfg(any(test, feature = "sim"))]
        if plant::is(Plant::O9) {
            return false;
        }
        self.deal.as_ref().is_some_and(|deal| deal.root.id == name.id)
    }

    /// Gives up what nobody asks for any more. Once a turn.
    pub(crate) fn mind_deal(&mut self) {
        let is_left = |deal: &Deal| deal.touched_ms + PATIENCE_MS < self.now_ms;
        if self.deal.as_ref().is_some_and(is_left) {
            self.drop_deal();
        }
    }

    fn drop_deal(&mut self) {
        if let Some(Deal { db, key, root, next, .. }) = self.deal.take() {
            self.sweep_chunks(db, key, root.id, next);
        }
    }
}
