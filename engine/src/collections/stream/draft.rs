//! A stream while a command looks at it or changes it: nothing is written before all is known.

use std::ops::ControlFlow;

use emberkv_log::disk::Disk;
#[cfg(any(test, feature = "sim"))]
use emberkv_log::plant::{self, Plant};
use emberkv_log::{Purpose, Value};

use super::super::elements::push_element;
use super::super::leaf::LeafName;
use super::super::list::Run;
use super::super::pairs::{push_varint, take_varint};
use super::super::place::Writes;
use super::super::root::{Head, Root, Whole};
use super::super::tree::{NODE, Source, TreeDraft};
use super::super::{Encoding, Type};
use super::id::StreamId;
use super::rows::{Rows, is_entry};
use crate::held::Held;
use crate::lookup::{Found, Key};
use crate::partition::Partition;
use crate::stop::Stop;

/// What a stream says of itself, beside how many entries it has.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(crate) struct Meta {
    /// The highest id that it has ever had.
    pub last: StreamId,
    /// How many entries have ever been added.
    pub added: u64,
    /// The highest id of an entry that XDEL has removed.
    pub deleted: StreamId,
    /// What the next group or consumer is numbered.
    pub next: u32,
}

impl Meta {
    fn push(self, out: &mut Vec<u8>) {
        let Self { last, added, deleted, next } = self;
        for number in [last.ms, last.seq, added, deleted.ms, deleted.seq, next.into()] {
            push_varint(out, number);
        }
    }

    fn take(bytes: &mut &[u8]) -> Option<Self> {
        let mut number = || take_varint(bytes);
        let last = StreamId { ms: number()?, seq: number()? };
        let added = number()?;
        let deleted = StreamId { ms: number()?, seq: number()? };
        Some(Self { last, added, deleted, next: u32::try_from(number()?).ok()? })
    }
}

/// See the module.
#[derive(Debug)]
pub(crate) struct StreamDraft {
    /// How many entries there are.
    pub count: u64,
    pub meta: Meta,
    pub(super) rows: Rows,
    /// Of one that is split: its own. The rows are read under that.
    pub id: u64,
    expires_at_ms: Option<u64>,
    pub is_changed: bool,
}

impl StreamDraft {
    /// One without entries.
    pub fn new(expires_at_ms: Option<u64>) -> Self {
        let rows = Rows::whole(Run::default(), Run::default());
        Self { count: 0, meta: Meta::default(), rows, id: 0, expires_at_ms, is_changed: false }
    }

    /// What stands behind the head of an image, or behind a root.
    fn read(head: Head, mut bytes: &[u8], expires_at_ms: Option<u64>) -> Option<Self> {
        let meta = Meta::take(&mut bytes)?;
        let len = usize::try_from(take_varint(&mut bytes)?).ok()?;
        let (front, back) = bytes.split_at_checked(len)?;
        let rows = Rows::whole(Run::of(front), Run::of(back));
        Some(Self { count: head.count, meta, rows, ..Self::new(expires_at_ms) })
    }

    /// That of a stream in one record. What no process of this kind has written is empty.
    pub fn of_whole(image: &[u8], expires_at_ms: Option<u64>) -> Self {
        let Whole { head, pairs } = Whole::read(image);
        Self::read(head, pairs, expires_at_ms).unwrap_or_else(|| Self::new(expires_at_ms))
    }

    /// That of a stream that is split.
    pub(in crate::collections) fn of_root(record: &[u8], expires_at_ms: Option<u64>) -> Self {
        let root = Root::read(record);
        let behind = Root::behind(record).unwrap_or_default();
        let mut draft = Self::read(root.head, behind, expires_at_ms).unwrap_or_else(|| Self::new(expires_at_ms));
        draft.id = root.id;
        draft.rows.tree = TreeDraft::new(root.tree, true);
        (draft.rows.bytes, draft.rows.is_split) = (root.bytes, true);
        draft
    }

    fn head(&self) -> Head {
        Head::new(Type::Stream, Encoding::Listpack, self.count)
    }

    /// What stands behind the head, or the root.
    fn push(&self, out: &mut Vec<u8>) {
        self.meta.push(out);
        push_varint(out, self.rows.front.bytes.len() as u64);
        out.extend_from_slice(&self.rows.front.bytes);
        out.extend_from_slice(&self.rows.back.bytes);
    }

    /// All of it in one image, if it is not split.
    pub(super) fn image(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.rows.bytes as usize + 40);
        self.head().push(&mut out);
        self.push(&mut out);
        out
    }

    /// The same of any.
    ///
    /// # Errors
    /// See [`Stop`].
    pub fn whole_image(&mut self, source: &mut impl Source) -> Result<Vec<u8>, Stop> {
        if !self.rows.is_split {
            return Ok(self.image());
        }
        let (mut front, mut back) = (Run::default(), Run::default());
        let len = self.rows.len();
        self.rows.each(source, (0, len), false, |row| {
            let run = if is_entry(row) { &mut back } else { &mut front };
            push_element(&mut run.bytes, row);
            run.count += 1;
            ControlFlow::Continue(())
        })?;
        let rows = Rows::whole(front, back);
        Ok(Self { rows, ..Self::new(None).with(self.count, self.meta) }.image())
    }

    /// What is in front of its tree, and behind it.
    pub fn ends(&self) -> [&[u8]; 2] {
        [&self.rows.front.bytes, &self.rows.back.bytes]
    }

    fn with(self, count: u64, meta: Meta) -> Self {
        Self { count, meta, ..self }
    }

    /// What is to be written of it, under an id of its own if it is split only now.
    pub(super) fn writes(mut self, key: Key<'_>, new_id: impl FnOnce() -> u64) -> Writes {
        let are_new = self.rows.is_too_large();
        if are_new {
            self.rows.split();
            self.id = new_id();
        }
        if !self.rows.is_split {
            let held = Some(Held::whole(self.image(), self.expires_at_ms));
            return Writes { leaves: Vec::new(), held, are_new: false };
        }
        let (id, tree) = (self.id, self.rows.tree.root);
        let root = Root { head: self.head(), bytes: self.rows.bytes, leaves: 0, next: 0, id, tree };
        let mut record = root.write();
        self.push(&mut record);
        let name = |number| LeafName { db: key.db, id, number: NODE | number, key: key.bytes }.write();
        let mut leaves: Vec<_> = self.rows.tree.changed().map(|(number, bytes)| (name(number), bytes)).collect();
        // those that go come last
        leaves.sort_by_key(|(_, bytes)| bytes.is_none());
        Writes { leaves, held: Some(Held::root(record, self.expires_at_ms)), are_new }
    }
}

impl<D: Disk> Partition<D> {
    /// The stream that a key holds, or an empty one, to be looked at or changed.
    pub(crate) fn stream_draft(&self, found: Option<Found>) -> StreamDraft {
        let expires_at_ms = found.and_then(|found| found.expires_at_ms);
        match found.map(|found| self.value(found)) {
            Some(Value::Whole(bytes)) => StreamDraft::of_whole(bytes, expires_at_ms),
            Some(Value::Root(bytes)) => StreamDraft::of_root(bytes, expires_at_ms),
            _ => StreamDraft::new(None),
        }
    }

    /// Writes what the draft has become, also if it has no entries.
    ///
    /// # Errors
    /// See [`Stop`].
    pub(crate) fn stream_commit(&mut self, key: Key<'_>, draft: StreamDraft, purpose: Purpose) -> Result<(), Stop> {
        let writes = self.stream_writes_of(key, draft)?;
        self.reserve_writes(key, &writes, 0, purpose)?;
        self.write_all(key, &writes);
        Ok(())
    }

    /// What is to be written of what the draft has become.
    ///
    /// # Errors
    /// See [`Stop`].
    pub(crate) fn stream_writes_of(&mut self, key: Key<'_>, mut draft: StreamDraft) -> Result<Writes, Stop> {
        draft.rows.shrink(&mut self.nodes(key, draft.id))?;
        let writes = draft.writes(key, || self.new_id());
        #[cfg(any(test, feature = "sim"))]
        if plant::is(Plant::O2) && !writes.are_new && !writes.leaves.is_empty() {
            return Ok(Writes { held: None, ..writes });
        }
        Ok(writes)
    }

    /// What is to be written so that a key holds the stream of an image.
    pub(in crate::collections) fn stream_writes(
        &mut self,
        key: Key<'_>,
        image: &[u8],
        expires_at_ms: Option<u64>,
    ) -> Writes {
        StreamDraft::of_whole(image, expires_at_ms).writes(key, || self.new_id())
    }
}
