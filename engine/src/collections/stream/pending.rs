//! Entries that have been delivered to a group's consumers, who have not said yet that they are done.

use std::ops::ControlFlow;

use super::super::pairs::{push_varint, take_varint};
use super::super::tree::Source;
use super::draft::StreamDraft;
use super::groups::{OWNED, PENDING, prefix};
use super::id::StreamId;
use crate::stop::Stop;

/// See the module.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Pending {
    pub id: StreamId,
    /// The consumer's number.
    pub consumer: u32,
    /// When it was delivered.
    pub delivered_ms: u64,
    /// How often.
    pub deliveries: u64,
}

pub(super) fn pending_key(group: u32, id: StreamId) -> Vec<u8> {
    let mut key = prefix(PENDING, group);
    key.extend_from_slice(&id.to_bytes());
    key
}

/// What the row of a pending entry of a consumer begins with, or all of them.
pub(super) fn owned_key(group: u32, consumer: u32, id: Option<StreamId>) -> Vec<u8> {
    let mut key = prefix(OWNED, group);
    key.extend_from_slice(&consumer.to_be_bytes());
    key.extend(id.iter().flat_map(|id| id.to_bytes()));
    key
}

impl Pending {
    /// Its row in a group, and how many bytes of that it is found by.
    pub(super) fn row(self, group: u32) -> (Vec<u8>, usize) {
        let mut row = pending_key(group, self.id);
        let key_len = row.len();
        for number in [self.consumer.into(), self.delivered_ms, self.deliveries] {
            push_varint(&mut row, number);
        }
        (row, key_len)
    }

    fn read_row(row: &[u8]) -> Option<Self> {
        let mut row = row.get(5..)?;
        let id = StreamId::take(&mut row)?;
        let consumer = u32::try_from(take_varint(&mut row)?).ok()?;
        Some(Self { id, consumer, delivered_ms: take_varint(&mut row)?, deliveries: take_varint(&mut row)? })
    }
}

impl StreamDraft {
    /// How many entries are pending for a group.
    ///
    /// # Errors
    /// See [`Stop`].
    pub fn pending_count(&mut self, source: &mut impl Source, group: u32) -> Result<u64, Stop> {
        self.count_with(source, &prefix(PENDING, group))
    }

    /// How many are a consumer's.
    ///
    /// # Errors
    /// See [`Stop`].
    pub fn owned_count(&mut self, source: &mut impl Source, group: u32, consumer: u32) -> Result<u64, Stop> {
        self.count_with(source, &owned_key(group, consumer, None))
    }

    /// What is pending of one entry.
    ///
    /// # Errors
    /// See [`Stop`].
    pub fn pending(&mut self, source: &mut impl Source, group: u32, id: StreamId) -> Result<Option<Pending>, Stop> {
        let (_, row) = self.rows.find(source, &pending_key(group, id))?;
        Ok(row.and_then(|row| Pending::read_row(&row)))
    }

    /// What is pending for a group with ids from one up to another, both of them included.
    ///
    /// # Errors
    /// See [`Stop`].
    pub fn each_pending(
        &mut self,
        source: &mut impl Source,
        group: u32,
        (from, to): (StreamId, StreamId),
        limit: u64,
    ) -> Result<Vec<Pending>, Stop> {
        let mut found = Vec::new();
        if from > to {
            return Ok(found);
        }
        let begin = self.rows.place(source, &pending_key(group, from))?;
        let (_, end) = self.places(source, &pending_key(group, to))?;
        let end = end.min(begin.saturating_add(limit));
        self.rows.each(source, (begin, end), false, |row| {
            found.extend(Pending::read_row(row));
            ControlFlow::Continue(())
        })?;
        Ok(found)
    }

    /// The first id that is pending for a group, or the last one.
    ///
    /// # Errors
    /// See [`Stop`].
    pub fn pending_edge(
        &mut self,
        source: &mut impl Source,
        group: u32,
        is_last: bool,
    ) -> Result<Option<StreamId>, Stop> {
        let (from, to) = self.places(source, &prefix(PENDING, group))?;
        let range = if is_last { (from.max(to.saturating_sub(1)), to) } else { (from, to.min(from + 1)) };
        let mut found = None;
        self.rows.each(source, range, false, |row| {
            found = Pending::read_row(row).map(|pending| pending.id);
            ControlFlow::Continue(())
        })?;
        Ok(found)
    }

    /// The ids that are pending for a consumer, from one up to another, both of them included.
    ///
    /// # Errors
    /// See [`Stop`].
    pub fn owned(
        &mut self,
        source: &mut impl Source,
        group: u32,
        consumer: u32,
        (from, to): (StreamId, StreamId),
        limit: u64,
    ) -> Result<Vec<StreamId>, Stop> {
        let mut found = Vec::new();
        if from > to {
            return Ok(found);
        }
        let begin = self.rows.place(source, &owned_key(group, consumer, Some(from)))?;
        let (_, end) = self.places(source, &owned_key(group, consumer, Some(to)))?;
        let end = end.min(begin.saturating_add(limit));
        let front = owned_key(group, consumer, None).len();
        self.rows.each(source, (begin, end), false, |row| {
            found.extend(StreamId::take(&mut row.get(front..).unwrap_or_default()));
            ControlFlow::Continue(())
        })?;
        Ok(found)
    }

    /// An entry is pending like this; `before`: whose it was, if it was somebody's.
    ///
    /// # Errors
    /// See [`Stop`].
    pub fn set_pending(
        &mut self,
        source: &mut impl Source,
        group: u32,
        pending: Pending,
        before: Option<u32>,
    ) -> Result<(), Stop> {
        let Pending { id, consumer, .. } = pending;
        let (row, key_len) = pending.row(group);
        self.rows.put(source, &row, key_len)?;
        self.is_changed = true;
        if before == Some(consumer) {
            return Ok(());
        }
        if let Some(before) = before {
            self.remove_with(source, &owned_key(group, before, Some(id)))?;
        }
        let row = owned_key(group, consumer, Some(id));
        self.rows.put(source, &row, row.len())?;
        Ok(())
    }

    /// An entry is pending no more.
    ///
    /// # Errors
    /// See [`Stop`].
    pub fn remove_pending(&mut self, source: &mut impl Source, group: u32, pending: Pending) -> Result<(), Stop> {
        self.remove_with(source, &pending_key(group, pending.id))?;
        self.remove_with(source, &owned_key(group, pending.consumer, Some(pending.id)))?;
        self.is_changed = true;
        Ok(())
    }
}
