//! How far a group has come in a stream: how many of the entries that were ever added it has read, and how many it has not.

use crate::collections::{Group, StreamDraft, StreamId};

/// What a stream says for that.
#[derive(Clone, Copy, Debug)]
pub(super) struct Counter {
    count: u64,
    added: u64,
    /// The first entry's, if there is one.
    first: StreamId,
    last: StreamId,
    /// The highest id that XDEL has removed.
    deleted: StreamId,
}

impl Counter {
    /// That of a stream whose first entry has this id.
    pub fn new(draft: &StreamDraft, first: Option<StreamId>) -> Self {
        let meta = draft.meta;
        let first = first.unwrap_or_default();
        Self { count: draft.count, added: meta.added, first, last: meta.last, deleted: meta.deleted }
    }

    /// Whether entries are missing in the middle, from an id on.
    fn has_gaps(&self, from: StreamId) -> bool {
        self.count > 0 && self.deleted > StreamId::MIN && from <= self.deleted
    }

    /// How many entries had been added when the one with this id had, if that can be known.
    fn added_up_to(&self, id: StreamId) -> Option<u64> {
        if self.added == 0 {
            return Some(0);
        }
        if self.count == 0 && id <= self.last {
            return Some(self.added);
        }
        if id > StreamId::MIN && id < self.deleted {
            return None;
        }
        if id == self.last {
            return Some(self.added);
        }
        if id > self.last || self.deleted > StreamId::MIN && self.deleted >= self.first {
            return None;
        }
        let before = self.added.saturating_sub(self.count);
        match id.cmp(&self.first) {
            std::cmp::Ordering::Less => Some(before),
            std::cmp::Ordering::Equal => Some(before + 1),
            std::cmp::Ordering::Greater => None,
        }
    }

    /// A group is delivered the next entry.
    pub fn deliver(&self, group: &mut Group, id: StreamId) {
        if id <= group.last {
            return;
        }
        group.read = match group.read {
            Some(read) if group.last >= self.first && !self.has_gaps(group.last) => Some(read + 1),
            read if self.added == 0 => read,
            _ => self.added_up_to(id),
        };
        group.last = id;
    }

    /// How many entries a group has not been delivered yet, if that can be known.
    pub fn lag(&self, group: &Group) -> Option<i64> {
        if self.added == 0 || self.count == 0 {
            return Some(0);
        }
        if group.last < self.first && self.deleted < self.first {
            return Some(self.count as i64);
        }
        let read = match group.read {
            Some(read) if !self.has_gaps(group.last) => read,
            _ => self.added_up_to(group.last)?,
        };
        Some((self.added as i64).wrapping_sub(read as i64))
    }
}
