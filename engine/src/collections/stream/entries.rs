//! A stream's entries.

use std::ops::ControlFlow;

use super::super::elements::{Elements, push_element};
use super::super::tree::Source;
use super::draft::StreamDraft;
use super::id::StreamId;
use super::rows::ENTRY;
use crate::stop::Stop;

/// So many entries are in a node of redis's at most, of which an approximate trim removes whole ones.
const NODE_ENTRIES: u64 = 100;

/// Up to where entries are removed from the front.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Trim {
    /// So many stay.
    MaxLen(u64),
    /// Those with lower ids go.
    MinId(StreamId),
}

/// What a row of an entry begins with.
pub(super) fn entry_key(id: StreamId) -> Vec<u8> {
    [&[ENTRY][..], &id.to_bytes()].concat()
}

/// The row of an entry.
pub(super) fn entry_row<'a>(id: StreamId, fields: impl Iterator<Item = &'a [u8]>) -> Vec<u8> {
    let mut row = entry_key(id);
    fields.for_each(|field| push_element(&mut row, field));
    row
}

/// The id of an entry's row, and its fields and values.
fn entry(mut row: &[u8]) -> Option<(StreamId, Elements<'_>)> {
    row = row.strip_prefix(&[ENTRY])?;
    let id = StreamId::take(&mut row)?;
    Some((id, Elements::of(row)))
}

impl StreamDraft {
    /// Appends an entry, whose id is above the last one.
    ///
    /// # Errors
    /// See [`Stop`].
    pub fn append<'a>(
        &mut self,
        source: &mut impl Source,
        id: StreamId,
        fields: impl Iterator<Item = &'a [u8]>,
    ) -> Result<(), Stop> {
        self.rows.push(source, &entry_row(id, fields))?;
        self.count += 1;
        self.meta.added += 1;
        self.meta.last = id;
        self.is_changed = true;
        Ok(())
    }

    /// How many nodes its tree has.
    pub fn nodes(&self) -> u32 {
        self.rows.tree.root.nodes
    }

    /// The place of the first entry among all rows.
    fn first_place(&self) -> u64 {
        self.rows.len().saturating_sub(self.count)
    }

    /// How many entries have ids below this one.
    ///
    /// # Errors
    /// See [`Stop`].
    pub fn below(&mut self, source: &mut impl Source, id: StreamId) -> Result<u64, Stop> {
        Ok(self.rows.place(source, &entry_key(id))?.saturating_sub(self.first_place()))
    }

    /// Shows up to `limit` entries with ids from one up to another, both of them included, in their order or backwards: how many there will be, and each with
    /// its fields and values.
    ///
    /// # Errors
    /// See [`Stop`]; nothing was shown then.
    pub fn range(
        &mut self,
        source: &mut impl Source,
        (from, to): (StreamId, StreamId),
        limit: u64,
        is_backwards: bool,
        mut show: impl FnMut(u64, StreamId, Elements<'_>),
    ) -> Result<u64, Stop> {
        if from > to || self.count == 0 {
            return Ok(0);
        }
        let first = self.first_place();
        let mut begin = self.rows.place(source, &entry_key(from))?;
        let mut end = match to.next() {
            Some(next) if next <= self.meta.last => self.rows.place(source, &entry_key(next))?,
            _ => first + self.count,
        };
        if is_backwards {
            begin = begin.max(end.saturating_sub(limit));
        } else {
            end = end.min(begin.saturating_add(limit));
        }
        let count = end.saturating_sub(begin);
        self.rows.each(source, (begin, end), is_backwards, |row| {
            if let Some((id, fields)) = entry(row) {
                show(count, id, fields);
            }
            ControlFlow::Continue(())
        })?;
        Ok(count)
    }

    /// The fields and values of an entry, one behind the other, if it is there.
    ///
    /// # Errors
    /// See [`Stop`].
    pub fn entry(&mut self, source: &mut impl Source, id: StreamId) -> Result<Option<Vec<u8>>, Stop> {
        let (_, row) = self.rows.find(source, &entry_key(id))?;
        Ok(row.map(|row| row[entry_key(id).len()..].to_vec()))
    }

    /// The id of the first entry, or of the last one.
    ///
    /// # Errors
    /// See [`Stop`].
    pub fn edge(&mut self, source: &mut impl Source, is_last: bool) -> Result<Option<StreamId>, Stop> {
        let mut found = None;
        self.range(source, (StreamId::MIN, StreamId::MAX), 1, is_last, |_, id, _| found = Some(id))?;
        Ok(found)
    }

    /// Removes an entry. Returns whether it was there.
    ///
    /// # Errors
    /// See [`Stop`].
    pub fn delete(&mut self, source: &mut impl Source, id: StreamId) -> Result<bool, Stop> {
        let (place, row) = self.rows.find(source, &entry_key(id))?;
        if row.is_none() {
            return Ok(false);
        }
        self.rows.remove(source, place, 1)?;
        self.count -= 1;
        self.meta.deleted = self.meta.deleted.max(id);
        self.is_changed = true;
        Ok(true)
    }

    /// How many entries a trim takes away; if it is approximate, no more than `limit`, and as redis takes whole nodes, whole hundreds of them.
    ///
    /// # Errors
    /// See [`Stop`].
    pub fn surplus(&mut self, source: &mut impl Source, trim: Trim, approximate: Option<u64>) -> Result<u64, Stop> {
        let surplus = match trim {
            Trim::MaxLen(len) => self.count.saturating_sub(len),
            Trim::MinId(id) => self.below(source, id)?,
        };
        Ok(match approximate {
            None => surplus,
            // all of them: redis's last node goes, whatever is in it
            Some(limit) if surplus == self.count && surplus <= limit => surplus,
            Some(limit) => surplus.min(limit) / NODE_ENTRIES * NODE_ENTRIES,
        })
    }

    /// Removes so many entries from the front.
    ///
    /// # Errors
    /// See [`Stop`].
    pub fn trim(&mut self, source: &mut impl Source, count: u64) -> Result<(), Stop> {
        if count > 0 {
            self.rows.remove(source, self.first_place(), count)?;
            self.count -= count;
            self.is_changed = true;
        }
        Ok(())
    }
}
