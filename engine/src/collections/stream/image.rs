//! All of a stream at once, on its way to a payload or out of one.

use super::super::elements::{Elements, push_element};
use super::super::list::Run;
use super::super::tree::Source;
use super::draft::{Meta, StreamDraft};
use super::entries::entry_row;
use super::groups::{Consumer, Group};
use super::id::StreamId;
use super::pending::{Pending, owned_key};
use super::rows::Rows;
use crate::stop::Stop;

/// See the module.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub(crate) struct StreamImage {
    /// In the order of their ids, each with its fields and values, one behind the other.
    pub entries: Vec<(StreamId, Vec<u8>)>,
    /// The highest id that it has ever had.
    pub last: StreamId,
    /// The highest that XDEL has removed.
    pub deleted: StreamId,
    /// How many entries have ever been added.
    pub added: u64,
    /// In the order of their names.
    pub groups: Vec<ImageGroup>,
}

/// A group of one.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct ImageGroup {
    pub name: Vec<u8>,
    /// The highest id that it has been delivered.
    pub last: StreamId,
    /// How many entries it has read, if that is known.
    pub read: Option<u64>,
    /// When each pending entry was delivered, and how often; in the order of ids.
    pub pending: Vec<(StreamId, u64, u64)>,
    /// In the order of their names.
    pub consumers: Vec<ImageConsumer>,
}

/// A consumer of one.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct ImageConsumer {
    pub name: Vec<u8>,
    pub seen_ms: u64,
    pub active_ms: Option<u64>,
    /// What is pending for it.
    pub owned: Vec<StreamId>,
}

const ALL: (StreamId, StreamId) = (StreamId::MIN, StreamId::MAX);

impl StreamDraft {
    /// All that the stream has.
    ///
    /// # Errors
    /// See [`Stop`].
    pub fn whole(&mut self, source: &mut impl Source) -> Result<StreamImage, Stop> {
        let Meta { last, added, deleted, .. } = self.meta;
        let mut image = StreamImage { last, deleted, added, ..StreamImage::default() };
        self.range(source, ALL, u64::MAX, false, |_, id, fields| {
            let mut bytes = Vec::new();
            fields.for_each(|field| push_element(&mut bytes, field));
            image.entries.push((id, bytes));
        })?;
        for Group { name, number, last, read } in self.groups(source)? {
            let pending = self.each_pending(source, number, ALL, u64::MAX)?.into_iter();
            let pending = pending.map(|pending| (pending.id, pending.delivered_ms, pending.deliveries)).collect();
            let mut consumers = Vec::new();
            for consumer in self.consumers(source, number)? {
                let owned = self.owned(source, number, consumer.number, ALL, u64::MAX)?;
                let Consumer { name, seen_ms, active_ms, .. } = consumer;
                consumers.push(ImageConsumer { name, seen_ms, active_ms, owned });
            }
            image.groups.push(ImageGroup { name, last, read, pending, consumers });
        }
        Ok(image)
    }
}

impl StreamImage {
    /// The stream as an image, however large; `None` if what is pending is nobody's, or somebody's who does not have it pending.
    pub fn write(&self) -> Option<Vec<u8>> {
        let mut rows = Vec::new();
        let mut next = 0..;
        for group in &self.groups {
            let number = next.next()?;
            rows.push(Group { name: group.name.clone(), number, last: group.last, read: group.read }.row().0);
            let mut pending = group.pending.iter().map(|(id, ..)| (*id, None)).collect::<Vec<_>>();
            for consumer in &group.consumers {
                let ImageConsumer { name, seen_ms, active_ms, owned } = consumer.clone();
                let consumer = Consumer { name, number: next.next()?, seen_ms, active_ms };
                rows.push(consumer.row(number).0);
                for id in owned {
                    let place = pending.binary_search_by_key(&id, |(id, _)| *id).ok()?;
                    if pending[place].1.replace(consumer.number).is_some() {
                        return None;
                    }
                    rows.push(owned_key(number, consumer.number, Some(id)));
                }
            }
            for ((id, owner), (_, delivered_ms, deliveries)) in pending.into_iter().zip(&group.pending) {
                let pending = Pending { id, consumer: owner?, delivered_ms: *delivered_ms, deliveries: *deliveries };
                rows.push(pending.row(number).0);
            }
        }
        rows.sort_unstable();
        let (mut front, mut back) = (Run::default(), Run::default());
        front.count = rows.len() as u64;
        rows.iter().for_each(|row| push_element(&mut front.bytes, row));
        for (id, fields) in &self.entries {
            push_element(&mut back.bytes, &entry_row(*id, Elements::of(fields)));
            back.count += 1;
        }
        let mut draft = StreamDraft::new(None);
        draft.meta = Meta { last: self.last, added: self.added, deleted: self.deleted, next: next.next()? };
        draft.count = back.count;
        draft.rows = Rows::whole(front, back);
        Some(draft.image())
    }
}
