//! A chunked string while a command changes it: nothing is written before all is known.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use emberkv_log::Purpose;
use emberkv_log::disk::Disk;
#[cfg(any(test, feature = "sim"))]
use emberkv_log::plant::{self, Plant};

use super::{CHUNKED_FROM, ChunkRoot};
use crate::collections::{LeafName, Writes};
use crate::held::Held;
use crate::lookup::{Key, Lookup, TextBuf};
use crate::partition::Partition;
use crate::stop::Stop;

/// A chunk that a draft has.
#[derive(Debug)]
struct Drafted {
    bytes: Vec<u8>,
    was_there: bool,
    is_changed: bool,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct ChunkDraft {
    root: ChunkRoot,
    /// Whether none of its records is there yet.
    is_new: bool,
    chunks: BTreeMap<u32, Drafted>,
    expires_at_ms: Option<u64>,
}

impl ChunkDraft {
    /// One of a text that is not in chunks yet.
    pub fn of_text(id: u64, text: &[u8], expires_at_ms: Option<u64>) -> Self {
        let root = ChunkRoot::new(id, text.len() as u64);
        let chunk = |(number, bytes): (usize, &[u8])| {
            (number as u32, Drafted { bytes: bytes.to_vec(), was_there: false, is_changed: true })
        };
        let chunks = text.chunks(root.size()).enumerate().filter(|(_, bytes)| bytes.iter().any(|byte| *byte != 0));
        Self { root, is_new: true, chunks: chunks.map(chunk).collect(), expires_at_ms }
    }

    /// One whose chunks are there.
    pub fn of_root(root: ChunkRoot, expires_at_ms: Option<u64>) -> Self {
        Self { root, is_new: false, chunks: BTreeMap::new(), expires_at_ms }
    }

    /// Its bytes.
    pub fn len(&self) -> usize {
        self.root.len as usize
    }

    /// What is to be written so that `key` holds it.
    pub fn writes(self, key: Key<'_>) -> Writes {
        let Self { mut root, is_new, chunks, expires_at_ms } = self;
        let mut leaves = Vec::with_capacity(chunks.len());
        for (number, Drafted { mut bytes, was_there, .. }) in chunks.into_iter().filter(|(_, chunk)| chunk.is_changed) {
            let end = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
            bytes.truncate(end);
            let is_there = end > 0;
            root.chunks = (root.chunks + u32::from(is_there)).saturating_sub(u32::from(was_there));
            if is_there || was_there {
                let name = LeafName { db: key.db, id: root.id, number, key: key.bytes }.write();
                leaves.push((name, is_there.then_some(bytes)));
            }
        }
        Writes { leaves, held: Some(Held::chunked(root.write(), expires_at_ms)), are_new: is_new }
    }
}

impl<D: Disk> Partition<D> {
    /// Whether what a key holds is, or becomes, a chunked string, as a command changes a part of it and it has `len` bytes then.
    pub(crate) fn is_for_chunks(&self, old: Lookup, len: usize) -> bool {
        len > CHUNKED_FROM || old.live().is_some_and(|found| self.chunked(found).is_some())
    }

    /// Begins to change a string: what a key holds, or an empty one. What is not in chunks yet is dealt out to them.
    ///
    /// # Errors
    /// [`Stop::Wait`] while it is dealt out, and see [`Stop`].
    pub(crate) fn chunk_draft(&mut self, key: Key<'_>, old: Lookup) -> Result<ChunkDraft, Stop> {
        let Some(found) = old.live() else {
            return Ok(ChunkDraft::of_text(self.new_id(), b"", None));
        };
        if let Some(root) = self.chunked(found) {
            return Ok(ChunkDraft::of_root(root, found.expires_at_ms));
        }
        if let Some(root) = self.deal_out(key, found)? {
            return Ok(ChunkDraft::of_root(root, found.expires_at_ms));
        }
        let id = self.new_id();
        Ok(ChunkDraft::of_text(id, self.text(found, &mut TextBuf::default()), found.expires_at_ms))
    }

    /// Writes some bytes over, with zeros in between if it ends before.
    ///
    /// # Errors
    /// See [`Stop`].
    pub(crate) fn draft_bytes(
        &mut self,
        key: Key<'_>,
        draft: &mut ChunkDraft,
        at: usize,
        mut bytes: &[u8],
    ) -> Result<(), Stop> {
        let range = at..at + bytes.len();
        if !draft.is_new {
            self.bring_bytes(key, draft.root, &range)?;
        }
        let root = draft.root;
        for number in root.span(&range) {
            let chunk = match draft.chunks.entry(number) {
                Entry::Occupied(entry) => entry.into_mut(),
                Entry::Vacant(entry) => entry.insert(self.drafted(key, root, number, draft.is_new)?),
            };
            let from = if number == root.place(at).0 { root.place(at).1 } else { 0 };
            let (now, rest) = bytes.split_at(bytes.len().min(root.size() - from));
            bytes = rest;
            if chunk.bytes.len() < from + now.len() {
                chunk.bytes.resize(from + now.len(), 0);
            }
            chunk.bytes[from..from + now.len()].copy_from_slice(now);
            chunk.is_changed = true;
        }
        draft.root.len = root.len.max(range.end as u64);
        Ok(())
    }

    /// A chunk as it is.
    fn drafted(&mut self, key: Key<'_>, root: ChunkRoot, number: u32, is_new: bool) -> Result<Drafted, Stop> {
        let found = if is_new || number >= root.numbers() {
            None // nothing has that name
        } else {
            self.leaf(key.db, key.bytes, root.id, number)?
        };
        let bytes = found.map(|found| self.text(found, &mut TextBuf::default()).to_vec());
        Ok(Drafted { was_there: bytes.is_some(), bytes: bytes.unwrap_or_default(), is_changed: false })
    }

    /// Writes what the draft has become. Returns the string's length.
    ///
    /// # Errors
    /// See [`Stop`].
    pub(crate) fn commit_chunks(&mut self, key: Key<'_>, draft: ChunkDraft) -> Result<usize, Stop> {
        let len = draft.len();
        #[cfg(any(test, feature = "sim"))]
        let (was_new, before) = (draft.is_new, draft.root);
        #[allow(unused_mut)]
        let mut writes = draft.writes(key);
        #[cfg(any(test, feature = "sim"))]
        if plant::is(Plant::O2) && !was_new && before.len == len as u64 && !writes.leaves.is_empty() {
            writes.held = None;
        }
        self.reserve_writes(key, &writes, 0, Purpose::Grow)?;
        self.write_all(key, &writes);
        self.end_deal();
        Ok(len)
    }
}
