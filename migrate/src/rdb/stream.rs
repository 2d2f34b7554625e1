//! Streams: see `engine/src/dump/stream.rs` for how they are written.

use std::collections::HashMap;
use std::fmt;
use std::io::Read;

use emberkv_engine::payload::listpack_elements;

use super::decode::Element;
use super::source::Source;
use super::{STREAM_1, STREAM_3};
use crate::error::Result;

/// An entry that was deleted.
const DELETED: i64 = 1;
/// One that has the fields of the first one.
const SAME_FIELDS: i64 = 2;

/// The id of an entry.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug)]
pub(crate) struct StreamId {
    pub ms: u64,
    pub seq: u64,
}

impl fmt::Display for StreamId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.ms, self.seq)
    }
}

impl StreamId {
    fn of_bytes(bytes: [u8; 16]) -> Self {
        let number = u128::from_be_bytes(bytes);
        Self { ms: (number >> 64) as u64, seq: number as u64 }
    }
}

/// A group of consumers.
#[derive(PartialEq, Debug)]
pub(crate) struct Group {
    pub name: Vec<u8>,
    pub last: StreamId,
    /// How many entries it has read, if that is known.
    pub read: Option<u64>,
    pub consumers: Vec<Vec<u8>>,
    pub claims: Vec<Claim>,
}

/// An entry that a consumer was sent and has not acknowledged.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Claim {
    pub id: StreamId,
    /// Which of the group's.
    pub consumer: usize,
    pub delivered_ms: u64,
    pub deliveries: u64,
}

impl<R: Read> Source<R> {
    fn id(&mut self) -> Result<StreamId> {
        Ok(StreamId { ms: self.count()?, seq: self.count()? })
    }

    fn raw_id(&mut self) -> Result<StreamId> {
        self.array().map(StreamId::of_bytes)
    }

    fn le(&mut self) -> Result<u64> {
        self.array().map(u64::from_le_bytes)
    }

    /// Shows a stream, as one of the three types has it.
    pub(super) fn stream(&mut self, kind: u8, show: &mut dyn FnMut(Element) -> Result<()>) -> Result<()> {
        for _ in 0..self.count()? {
            let first = self.string()?;
            let Ok(first) = first.try_into().map(StreamId::of_bytes) else {
                return Err(self.wrong("the first id of a stream's node is none"));
            };
            let elements = listpack_elements(&self.string()?);
            let entries = elements.and_then(|elements| entries_of(first, &elements));
            let entries = entries.ok_or_else(|| self.wrong("a node of a stream is damaged"))?;
            entries.into_iter().try_for_each(|(id, fields)| show(Element::Entry(id, fields)))?;
        }
        let mut added = self.count()?;
        let last = self.id()?;
        let mut deleted = StreamId::default();
        if kind != STREAM_1 {
            self.id()?;
            deleted = self.id()?;
            added = self.count()?;
        }
        show(Element::Counters(last, deleted, added))?;
        for _ in 0..self.count()? {
            let group = self.group(kind)?;
            show(Element::Group(group))?;
        }
        Ok(())
    }

    fn group(&mut self, kind: u8) -> Result<Group> {
        let (name, last) = (self.string()?, self.id()?);
        let read = if kind == STREAM_1 { None } else { Some(self.count()?) };
        // what is not known is below zero
        let read = read.filter(|read| i64::try_from(*read).is_ok());
        let mut pending = HashMap::new();
        for _ in 0..self.count()? {
            let id = self.raw_id()?;
            pending.insert(id, (self.le()?, self.count()?));
        }
        let (mut consumers, mut claims) = (Vec::new(), Vec::new());
        for consumer in 0..self.count()? {
            consumers.push(self.string()?);
            self.skip(if kind == STREAM_3 { 16 } else { 8 })?;
            for _ in 0..self.count()? {
                let id = self.raw_id()?;
                let (delivered_ms, deliveries) =
                    pending.get(&id).copied().ok_or_else(|| self.wrong("a consumer has what its group has not"))?;
                claims.push(Claim { id, consumer: consumer as usize, delivered_ms, deliveries });
            }
        }
        Ok(Group { name, last, read, consumers, claims })
    }
}

type Entries = Vec<(StreamId, Vec<Vec<u8>>)>;

/// The entries in the elements of a listpack.
fn entries_of(first: StreamId, elements: &[Vec<u8>]) -> Option<Entries> {
    let int = |text: &[u8]| std::str::from_utf8(text).ok()?.parse::<i64>().ok();
    let mut rest = elements.iter();
    let count = int(rest.next()?)?.checked_add(int(rest.next()?)?)?;
    let fields = usize::try_from(int(rest.next()?)?).ok()?;
    let (same, others) = rest.as_slice().split_at_checked(fields)?;
    rest = others.iter();
    rest.next()?;
    let mut entries = Vec::new();
    for _ in 0..count {
        let flags = int(rest.next()?)?;
        let ms = first.ms.wrapping_add(int(rest.next()?)? as u64);
        let seq = first.seq.wrapping_add(int(rest.next()?)? as u64);
        let mut entry = Vec::new();
        if flags & SAME_FIELDS != 0 {
            for field in same {
                entry.push(field.clone());
                entry.push(rest.next()?.clone());
            }
        } else {
            for _ in 0..int(rest.next()?)?.checked_mul(2)? {
                entry.push(rest.next()?.clone());
            }
        }
        rest.next()?;
        if flags & DELETED == 0 {
            entries.push((StreamId { ms, seq }, entry));
        }
    }
    rest.next().is_none().then_some(entries)
}
