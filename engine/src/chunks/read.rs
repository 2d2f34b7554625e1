//! Reading a chunked string, all of it or a part.

use std::ops::{ControlFlow, Range};

use emberkv_index::Fingerprint;
use emberkv_log::disk::Disk;
use emberkv_log::{DbId, Value};

use super::ChunkRoot;
use crate::collections::LeafName;
use crate::databases::RESERVED;
use crate::lookup::{Found, Key, TextBuf};
use crate::partition::Partition;
use crate::stop::Stop;

/// How many chunks are asked for at a time.
const AHEAD: usize = 16;

/// Bytes of a string in one place: some that are kept, and zeros behind them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stretch<'a> {
    /// Where it begins.
    pub at: usize,
    pub bytes: &'a [u8],
    pub zeros: usize,
}

/// Which key a chunked string is under, and what its root says.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pieces<'a> {
    pub db: DbId,
    pub key: &'a [u8],
    pub root: ChunkRoot,
}

impl<D: Disk> Partition<D> {
    /// What a key holds, if that is a chunked string.
    pub(crate) fn chunked(&self, found: Found) -> Option<ChunkRoot> {
        match self.value(found) {
            Value::Chunked(bytes) => Some(ChunkRoot::read(bytes)),
            _ => None,
        }
    }

    /// Has the chunks brought that these bytes are in.
    ///
    /// # Errors
    /// [`Stop::Cold`] if not all of them are here yet, and see [`Stop`].
    pub(crate) fn bring_bytes(&mut self, key: Key<'_>, root: ChunkRoot, bytes: &Range<usize>) -> Result<(), Stop> {
        self.bring_chunks(key, root, root.span(bytes))
    }

    /// Has these chunks brought.
    ///
    /// # Errors
    /// As above.
    pub(crate) fn bring_chunks(
        &mut self,
        key: Key<'_>,
        root: ChunkRoot,
        numbers: impl IntoIterator<Item = u32>,
    ) -> Result<(), Stop> {
        if !self.log.table().has_cold() {
            return Ok(());
        }
        let name = |number| LeafName { db: key.db, id: root.id, number, key: key.bytes }.write();
        self.bring_named(numbers.into_iter().map(name))
    }

    /// Has all of these keys' values brought that are chunked strings, so that [`Partition::text`] can gather them. Nothing of them is waited for but the root,
    /// which is written with each change.
    ///
    /// # Errors
    /// As above.
    pub(crate) fn bring_texts(&mut self, keys: &[Key<'_>]) -> Result<(), Stop> {
        if !self.log.table().has_cold() {
            return Ok(());
        }
        let mut names = Vec::new();
        for key in keys {
            let Some(root) = self.peek(*key).live().and_then(|found| self.chunked(found)) else { continue };
            let name = |number| LeafName { db: key.db, id: root.id, number, key: key.bytes }.write();
            names.extend((0..root.numbers()).map(name));
        }
        self.bring_named(names.into_iter())
    }

    /// Whose the bytes of a found chunked string are.
    pub(crate) fn pieces(&self, found: Found, root: ChunkRoot) -> Pieces<'_> {
        let own = self.overlay.as_ref().and_then(|overlay| overlay.name(found));
        let (db, key) = own.unwrap_or_else(|| {
            let record = self.log.table().record(found.address);
            (record.db(), record.key())
        });
        Pieces { db, key, root }
    }

    /// Shows some bytes, chunk by chunk; they have been brought.
    pub(crate) fn each_stretch(
        &self,
        pieces: Pieces<'_>,
        bytes: Range<usize>,
        mut show: impl FnMut(Stretch<'_>) -> ControlFlow<()>,
    ) {
        let mut buf = TextBuf::default();
        let Pieces { db, key, root } = pieces;
        let span = root.span(&bytes);
        let mut ahead: [Option<Fingerprint>; AHEAD];
        for begin in span.clone().step_by(AHEAD) {
            let numbers = begin..span.end.min(begin + AHEAD as u32);
            // several are asked for at a time: first their rows of the index, then their records
            ahead = std::array::from_fn(|i| {
                let number = numbers.clone().nth(i)?;
                let row = |name: &[u8]| self.prefetch_physical(RESERVED, name);
                Some(LeafName { db, id: root.id, number, key }.with(row))
            });
            ahead.iter().flatten().for_each(|fingerprint| self.prefetch_record(*fingerprint));
            for (number, fingerprint) in numbers.zip(ahead.into_iter().flatten()) {
                let all = root.bytes_of(number);
                let part = all.start.max(bytes.start)..all.end.min(bytes.end);
                let chunk = LeafName { db, id: root.id, number, key }
                    .with(|name| self.peek(Key { db: RESERVED, bytes: name, fingerprint }));
                let text = chunk.live().map_or(&[][..], |found| buf.text(self.value(found)));
                let within = |at: usize| (at - all.start).min(text.len());
                let kept = &text[within(part.start)..within(part.end)];
                if show(Stretch { at: part.start, bytes: kept, zeros: part.len() - kept.len() }).is_break() {
                    return;
                }
            }
        }
    }

    /// Appends some bytes to `out`; they have been brought.
    pub(crate) fn gather(&self, pieces: Pieces<'_>, bytes: Range<usize>, out: &mut Vec<u8>) {
        out.reserve(bytes.len());
        self.each_stretch(pieces, bytes, |stretch| {
            out.extend_from_slice(stretch.bytes);
            out.resize(out.len() + stretch.zeros, 0);
            ControlFlow::Continue(())
        });
    }
}
