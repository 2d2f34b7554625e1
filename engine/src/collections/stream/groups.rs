//! A stream's groups and their consumers.

use std::ops::ControlFlow;

use super::super::elements::push_element;
use super::super::pairs::{push_varint, take_varint};
use super::super::tree::Source;
use super::draft::StreamDraft;
use super::id::StreamId;
use super::pending::{owned_key, pending_key};
use crate::stop::Stop;

const GROUP: u8 = 0;
const CONSUMER: u8 = 1;
/// What rows of a group's pending entries begin with, and the same by consumer.
pub(super) const PENDING: u8 = 2;
pub(super) const OWNED: u8 = 3;

const TOO_MANY: Stop = Stop::error("ERR a stream can't have more groups and consumers than it has had");

/// A group of consumers.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Group {
    pub name: Vec<u8>,
    /// By which rows refer to it.
    pub number: u32,
    /// The highest id that it has been delivered.
    pub last: StreamId,
    /// How many entries it has read of all that were ever added, if that is known.
    pub read: Option<u64>,
}

/// A consumer of a group.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Consumer {
    pub name: Vec<u8>,
    /// By which rows refer to it.
    pub number: u32,
    /// When it has last asked for something.
    pub seen_ms: u64,
    /// When it has last got something, if ever.
    pub active_ms: Option<u64>,
}

/// What a row begins with that is about something of a group.
pub(super) fn prefix(kind: u8, group: u32) -> Vec<u8> {
    [&[kind][..], &group.to_be_bytes()].concat()
}

fn named(mut prefix: Vec<u8>, name: &[u8]) -> Vec<u8> {
    push_element(&mut prefix, name);
    prefix
}

fn group_key(name: &[u8]) -> Vec<u8> {
    named(vec![GROUP], name)
}

fn consumer_key(group: u32, name: &[u8]) -> Vec<u8> {
    named(prefix(CONSUMER, group), name)
}

/// Takes a name off the front.
fn take_name(bytes: &mut &[u8]) -> Option<Vec<u8>> {
    let len = usize::try_from(take_varint(bytes)?).ok()?;
    let (name, rest) = bytes.split_at_checked(len)?;
    *bytes = rest;
    Some(name.to_vec())
}

/// A number that there may not be.
fn push_option(out: &mut Vec<u8>, number: Option<u64>) {
    push_varint(out, number.map_or(0, |number| number.saturating_add(1)));
}

fn take_option(bytes: &mut &[u8]) -> Option<Option<u64>> {
    Some(take_varint(bytes)?.checked_sub(1))
}

impl Group {
    /// Its row, and how many bytes of that it is found by.
    pub(super) fn row(&self) -> (Vec<u8>, usize) {
        let mut row = group_key(&self.name);
        let key_len = row.len();
        push_varint(&mut row, self.number.into());
        row.extend_from_slice(&self.last.to_bytes());
        push_option(&mut row, self.read);
        (row, key_len)
    }

    fn read_row(mut row: &[u8]) -> Option<Self> {
        row = row.strip_prefix(&[GROUP])?;
        let name = take_name(&mut row)?;
        let number = u32::try_from(take_varint(&mut row)?).ok()?;
        let last = StreamId::take(&mut row)?;
        Some(Self { name, number, last, read: take_option(&mut row)? })
    }
}

impl Consumer {
    /// Its row in a group, and how many bytes of that it is found by.
    pub(super) fn row(&self, group: u32) -> (Vec<u8>, usize) {
        let mut row = consumer_key(group, &self.name);
        let key_len = row.len();
        push_varint(&mut row, self.number.into());
        push_varint(&mut row, self.seen_ms);
        push_option(&mut row, self.active_ms);
        (row, key_len)
    }

    fn read_row(row: &[u8]) -> Option<Self> {
        let mut row = row.get(5..)?;
        let name = take_name(&mut row)?;
        let number = u32::try_from(take_varint(&mut row)?).ok()?;
        let seen_ms = take_varint(&mut row)?;
        Some(Self { name, number, seen_ms, active_ms: take_option(&mut row)? })
    }
}

impl StreamDraft {
    fn new_number(&mut self) -> Result<u32, Stop> {
        let number = self.meta.next;
        self.meta.next = number.checked_add(1).ok_or(TOO_MANY)?;
        Ok(number)
    }

    /// A group.
    ///
    /// # Errors
    /// See [`Stop`].
    pub fn group(&mut self, source: &mut impl Source, name: &[u8]) -> Result<Option<Group>, Stop> {
        let (_, row) = self.rows.find(source, &group_key(name))?;
        Ok(row.and_then(|row| Group::read_row(&row)))
    }

    /// A group becomes this.
    ///
    /// # Errors
    /// See [`Stop`].
    pub fn set_group(&mut self, source: &mut impl Source, group: &Group) -> Result<(), Stop> {
        let (row, key_len) = group.row();
        self.rows.put(source, &row, key_len)?;
        self.is_changed = true;
        Ok(())
    }

    /// A new group of a name that no group has.
    ///
    /// # Errors
    /// See [`Stop`].
    pub fn add_group(
        &mut self,
        source: &mut impl Source,
        name: &[u8],
        last: StreamId,
        read: Option<u64>,
    ) -> Result<Group, Stop> {
        let group = Group { name: name.to_vec(), number: self.new_number()?, last, read };
        self.set_group(source, &group)?;
        Ok(group)
    }

    /// All groups, in the order of their names.
    ///
    /// # Errors
    /// See [`Stop`].
    pub fn groups(&mut self, source: &mut impl Source) -> Result<Vec<Group>, Stop> {
        let mut groups = Vec::new();
        self.each_with(source, &[GROUP], |row| groups.extend(Group::read_row(row)))?;
        groups.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(groups)
    }

    /// How many groups there are.
    ///
    /// # Errors
    /// See [`Stop`].
    pub fn group_count(&mut self, source: &mut impl Source) -> Result<u64, Stop> {
        self.rows.place(source, &[CONSUMER])
    }

    /// Removes a group, and all that it has.
    ///
    /// # Errors
    /// See [`Stop`].
    pub fn remove_group(&mut self, source: &mut impl Source, group: &Group) -> Result<(), Stop> {
        for kind in [CONSUMER, PENDING, OWNED] {
            self.remove_with(source, &prefix(kind, group.number))?;
        }
        self.remove_with(source, &group_key(&group.name))?;
        self.is_changed = true;
        Ok(())
    }

    /// A consumer of a group.
    ///
    /// # Errors
    /// See [`Stop`].
    pub fn consumer(&mut self, source: &mut impl Source, group: u32, name: &[u8]) -> Result<Option<Consumer>, Stop> {
        let (_, row) = self.rows.find(source, &consumer_key(group, name))?;
        Ok(row.and_then(|row| Consumer::read_row(&row)))
    }

    /// A consumer becomes this.
    ///
    /// # Errors
    /// See [`Stop`].
    pub fn set_consumer(&mut self, source: &mut impl Source, group: u32, consumer: &Consumer) -> Result<(), Stop> {
        let (row, key_len) = consumer.row(group);
        self.rows.put(source, &row, key_len)?;
        self.is_changed = true;
        Ok(())
    }

    /// A new consumer of a name that none of the group has. It is not kept yet: see [`StreamDraft::set_consumer`].
    ///
    /// # Errors
    /// If there have been too many.
    pub fn new_consumer(&mut self, name: &[u8], seen_ms: u64) -> Result<Consumer, Stop> {
        Ok(Consumer { name: name.to_vec(), number: self.new_number()?, seen_ms, active_ms: None })
    }

    /// All consumers of a group, in the order of their names.
    ///
    /// # Errors
    /// See [`Stop`].
    pub fn consumers(&mut self, source: &mut impl Source, group: u32) -> Result<Vec<Consumer>, Stop> {
        let mut consumers = Vec::new();
        self.each_with(source, &prefix(CONSUMER, group), |row| consumers.extend(Consumer::read_row(row)))?;
        consumers.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(consumers)
    }

    /// How many consumers a group has.
    ///
    /// # Errors
    /// See [`Stop`].
    pub fn consumer_count(&mut self, source: &mut impl Source, group: u32) -> Result<u64, Stop> {
        self.count_with(source, &prefix(CONSUMER, group))
    }

    /// Removes a consumer, and what is pending for it. Returns how much that was.
    ///
    /// # Errors
    /// See [`Stop`].
    pub fn remove_consumer(&mut self, source: &mut impl Source, group: u32, consumer: &Consumer) -> Result<u64, Stop> {
        let owned = self.owned(source, group, consumer.number, (StreamId::MIN, StreamId::MAX), u64::MAX)?;
        for id in &owned {
            self.remove_with(source, &pending_key(group, *id))?;
        }
        self.remove_with(source, &owned_key(group, consumer.number, None))?;
        self.remove_with(source, &consumer_key(group, &consumer.name))?;
        self.is_changed = true;
        Ok(owned.len() as u64)
    }

    /// The places of all rows that begin with this.
    pub(super) fn places(&mut self, source: &mut impl Source, prefix: &[u8]) -> Result<(u64, u64), Stop> {
        let from = self.rows.place(source, prefix)?;
        let to = match behind(prefix) {
            Some(mark) => self.rows.place(source, &mark)?,
            None => self.rows.len(),
        };
        Ok((from, to))
    }

    pub(super) fn count_with(&mut self, source: &mut impl Source, prefix: &[u8]) -> Result<u64, Stop> {
        let (from, to) = self.places(source, prefix)?;
        Ok(to.saturating_sub(from))
    }

    fn each_with(&mut self, source: &mut impl Source, prefix: &[u8], mut show: impl FnMut(&[u8])) -> Result<(), Stop> {
        let places = self.places(source, prefix)?;
        self.rows.each(source, places, false, |row| {
            show(row);
            ControlFlow::Continue(())
        })
    }

    pub(super) fn remove_with(&mut self, source: &mut impl Source, prefix: &[u8]) -> Result<(), Stop> {
        let (from, to) = self.places(source, prefix)?;
        self.rows.remove(source, from, to.saturating_sub(from))
    }
}

/// What is above all that begins with this, and not above anything else that is above it.
fn behind(prefix: &[u8]) -> Option<Vec<u8>> {
    let mut mark = prefix.to_vec();
    while let Some(last) = mark.pop() {
        if let Some(next) = last.checked_add(1) {
            mark.push(next);
            return Some(mark);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_behind_a_prefix() {
        assert_eq!(behind(&[1, 2]), Some(vec![1, 3]));
        assert_eq!(behind(&[1, 255, 255]), Some(vec![2]));
        assert_eq!(behind(&[255]), None);
    }
}
