//! Streams, as redis writes them: listpacks of some entries each, then what the stream says of itself, then its groups.
//!
//! ```text
//! how many listpacks | each: a string of 16 bytes, the first id; a string which is the listpack
//! entries | last id | first id | highest id that XDEL has removed | entries ever added                ids are two lengths
//! groups, each: name | last id | entries read
//!               pending, each: id, 16 be | delivered, 8 le | deliveries
//!               consumers, each: name | seen, 8 le | active, 8 le | pending, each: id, 16 be
//!
//! a listpack:  entries | deleted | fields | field ... | 0                          its first entry's fields
//!              flags | ms - first | seq - first | [fields | field] value ... | elements before this
//! ```
//!
//! Type 15 says nothing of the ids and numbers that came with redis 7.0, 19 nothing of when consumers were active.

use emberkv_log::canonical_int;

use super::listpack::{self, Listpack};
use super::{Reader, STREAM, STREAM_1, STREAM_2, sealed_as_of, write_len, write_text};
use crate::collections::{Elements, ImageConsumer, ImageGroup, StreamId, StreamImage, push_element};

/// Redis has read type 21 since 7.2, which wrote this version.
const VERSION: u16 = 11;

/// Redis's limits for a node.
const NODE_ENTRIES: usize = 100;
const NODE_BYTES: usize = 4096;

/// An entry that was deleted.
const DELETED: i64 = 1;
/// One that has the fields of the first one.
const SAME_FIELDS: i64 = 2;

/// The payload of a stream.
pub(crate) fn dump_stream(image: &StreamImage) -> Vec<u8> {
    let mut payload = vec![STREAM];
    let nodes = nodes(&image.entries);
    write_len(nodes.len(), &mut payload);
    for (first, node) in nodes {
        write_text(&first.to_bytes(), &mut payload);
        write_text(&node, &mut payload);
    }
    write_len(image.entries.len(), &mut payload);
    let first = image.entries.first().map_or(StreamId::MIN, |(id, _)| *id);
    for id in [image.last, first, image.deleted] {
        write_id(id, &mut payload);
    }
    write_number(image.added, &mut payload);
    write_len(image.groups.len(), &mut payload);
    for group in &image.groups {
        write_text(&group.name, &mut payload);
        write_id(group.last, &mut payload);
        write_number(group.read.unwrap_or(u64::MAX), &mut payload);
        write_len(group.pending.len(), &mut payload);
        for (id, delivered_ms, deliveries) in &group.pending {
            payload.extend_from_slice(&id.to_bytes());
            payload.extend_from_slice(&delivered_ms.to_le_bytes());
            write_number(*deliveries, &mut payload);
        }
        write_len(group.consumers.len(), &mut payload);
        for consumer in &group.consumers {
            write_text(&consumer.name, &mut payload);
            payload.extend_from_slice(&consumer.seen_ms.to_le_bytes());
            payload.extend_from_slice(&consumer.active_ms.unwrap_or(u64::MAX).to_le_bytes());
            write_len(consumer.owned.len(), &mut payload);
            consumer.owned.iter().for_each(|id| payload.extend_from_slice(&id.to_bytes()));
        }
    }
    sealed_as_of(payload, VERSION)
}

fn write_id(id: StreamId, payload: &mut Vec<u8>) {
    write_number(id.ms, payload);
    write_number(id.seq, payload);
}

fn write_number(number: u64, payload: &mut Vec<u8>) {
    // a length has 64 bits here
    write_len(number as usize, payload);
}

/// The entries in listpacks, each with its first id.
fn nodes(entries: &[(StreamId, Vec<u8>)]) -> Vec<(StreamId, Vec<u8>)> {
    let mut nodes = Vec::new();
    let mut rest = entries;
    while let Some((first, _)) = rest.first() {
        let mut bytes = 0;
        let fits = |(_, fields): &&(StreamId, Vec<u8>)| {
            bytes += fields.len() + 16;
            bytes <= NODE_BYTES
        };
        let count = rest.iter().take(NODE_ENTRIES).take_while(fits).count().max(1);
        let (node, others) = rest.split_at(count);
        nodes.push((*first, node_of(node)));
        rest = others;
    }
    nodes
}

/// The listpack of these entries, of which there is one at least.
fn node_of(entries: &[(StreamId, Vec<u8>)]) -> Vec<u8> {
    let (first, fields) = &entries[0];
    let same: Vec<_> = Elements::of(fields).step_by(2).collect();
    let mut pack = Listpack::default();
    pack.int(entries.len() as i64);
    pack.int(0);
    pack.int(same.len() as i64);
    same.iter().for_each(|field| pack.text(field));
    pack.int(0);
    for (id, fields) in entries {
        let is_same = Elements::of(fields).step_by(2).eq(same.iter().copied());
        let (count, before) = (Elements::of(fields).count() as i64, pack.count());
        pack.int(if is_same { SAME_FIELDS } else { 0 });
        pack.int(id.ms.wrapping_sub(first.ms) as i64);
        pack.int(id.seq.wrapping_sub(first.seq) as i64);
        if is_same {
            Elements::of(fields).skip(1).step_by(2).for_each(|value| pack.text(value));
        } else {
            pack.int(count / 2);
            Elements::of(fields).for_each(|text| pack.text(text));
        }
        pack.int((pack.count() - before) as i64);
    }
    pack.finish()
}

/// The entries of a listpack.
fn entries_of(first: StreamId, bytes: &[u8], entries: &mut Vec<(StreamId, Vec<u8>)>) -> Option<()> {
    let elements = listpack::elements(bytes)?;
    let mut rest = elements.iter();
    let int = |text: Option<&Vec<u8>>| canonical_int(text?);
    let (count, deleted) = (int(rest.next())?, int(rest.next())?);
    let fields = usize::try_from(int(rest.next())?).ok()?;
    let (same, others) = rest.as_slice().split_at_checked(fields)?;
    rest = others.iter();
    rest.next()?;
    let all = count.checked_add(deleted)?;
    for _ in 0..all {
        let flags = int(rest.next())?;
        let ms = first.ms.wrapping_add(int(rest.next())? as u64);
        let seq = first.seq.wrapping_add(int(rest.next())? as u64);
        let mut entry = Vec::new();
        if flags & SAME_FIELDS != 0 {
            for field in same {
                push_element(&mut entry, field);
                push_element(&mut entry, rest.next()?);
            }
        } else {
            for _ in 0..int(rest.next())?.checked_mul(2)? {
                push_element(&mut entry, rest.next()?);
            }
        }
        rest.next()?;
        if flags & DELETED == 0 {
            entries.push((StreamId { ms, seq }, entry));
        }
    }
    rest.next().is_none().then_some(())
}

impl Reader<'_> {
    fn id(&mut self) -> Option<StreamId> {
        Some(StreamId { ms: self.plain_length()?, seq: self.plain_length()? })
    }

    fn raw_id(&mut self) -> Option<StreamId> {
        self.array().map(StreamId::of_bytes)
    }

    fn number(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }

    /// A stream, as one of the three types has it.
    pub(super) fn stream(&mut self, kind: u8) -> Option<StreamImage> {
        let mut image = StreamImage::default();
        for _ in 0..self.plain_length()? {
            let first = StreamId::of_bytes(self.string()?.try_into().ok()?);
            let node = self.string()?;
            entries_of(first, &node, &mut image.entries)?;
        }
        let count = self.plain_length()?;
        image.last = self.id()?;
        image.added = count;
        if kind != STREAM_1 {
            self.id()?;
            image.deleted = self.id()?;
            image.added = self.plain_length()?;
        }
        let is_sound = count == image.entries.len() as u64
            && image.entries.is_sorted_by(|(a, _), (b, _)| a < b)
            && image.entries.last().is_none_or(|(id, _)| *id <= image.last);
        for _ in 0..self.plain_length()? {
            let (name, last) = (self.string()?, self.id()?);
            let read = if kind == STREAM_1 { None } else { Some(self.plain_length()?) };
            // what is not known is below zero
            let read = read.filter(|read| i64::try_from(*read).is_ok());
            let mut pending = Vec::new();
            for _ in 0..self.plain_length()? {
                pending.push((self.raw_id()?, self.number()?, self.plain_length()?));
            }
            let mut consumers = Vec::new();
            for _ in 0..self.plain_length()? {
                let (name, seen_ms) = (self.string()?, self.number()?);
                let active = if matches!(kind, STREAM_1 | STREAM_2) { seen_ms } else { self.number()? };
                let mut owned = Vec::new();
                for _ in 0..self.plain_length()? {
                    owned.push(self.raw_id()?);
                }
                let active_ms = Some(active).filter(|ms| i64::try_from(*ms).is_ok());
                consumers.push(ImageConsumer { name, seen_ms, active_ms, owned });
            }
            if !pending.is_sorted_by(|(a, ..), (b, ..)| a < b) || !are_named(consumers.iter().map(|one| &one.name)) {
                return None;
            }
            image.groups.push(ImageGroup { name, last, read, pending, consumers });
        }
        (is_sound && are_named(image.groups.iter().map(|one| &one.name))).then_some(image)
    }
}

/// Whether no name is there twice.
fn are_named<'a>(names: impl Iterator<Item = &'a Vec<u8>>) -> bool {
    let mut seen = std::collections::HashSet::new();
    names.into_iter().all(|name| seen.insert(name))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::{Content, read};
    use super::*;

    fn id(ms: u64, seq: u64) -> StreamId {
        StreamId { ms, seq }
    }

    fn fields(words: &[&str]) -> Vec<u8> {
        let mut out = Vec::new();
        words.iter().for_each(|word| push_element(&mut out, word.as_bytes()));
        out
    }

    proptest! {
        #[test]
        fn what_is_dumped_is_read(
            ids in proptest::collection::btree_set((0u64..50, 0u64..4), 0..300),
            texts in proptest::collection::vec(("[a-c]", "[0-9]{0,20}|[x-z]{0,200}"), 1..4),
            owners in proptest::collection::vec(0usize..3, 300),
        ) {
            let entries: Vec<_> = ids.iter().enumerate().map(|(nth, (ms, seq))| {
                let (field, value) = &texts[nth / 3 % texts.len()];
                (id(ms + 1, *seq), fields(&[field, value, "n", "-7"][..if nth % 7 == 0 { 4 } else { 2 }]))
            }).collect();
            let pending: Vec<_> = entries.iter().step_by(2).map(|(id, _)| (*id, 1_700_000_000_000, 3)).collect();
            let consumer = |nth: usize| ImageConsumer {
                name: vec![b'a' + nth as u8],
                seen_ms: 5,
                active_ms: (nth > 0).then_some(7),
                owned: pending.iter().zip(&owners).filter(|(_, owner)| **owner == nth).map(|(one, _)| one.0).collect(),
            };
            let consumers = (0..3).map(consumer).collect();
            let group = ImageGroup { name: b"g".to_vec(), last: id(9, 9), read: None, pending, consumers };
            let other = ImageGroup { name: b"h".to_vec(), read: Some(12), pending: Vec::new(), consumers: Vec::new(), ..group.clone() };
            let image = StreamImage { last: id(1 << 40, 77), deleted: id(3, 4), added: 1000, entries, groups: vec![group, other] };
            let payload = dump_stream(&image);
            prop_assert_eq!(read(&payload, 1 << 20), Ok(Content::Stream(image)));
        }

        #[test]
        fn no_bytes_make_it_panic(body in proptest::collection::vec(any::<u8>(), 0..60)) {
            let _ = Reader { rest: &body, max_bytes: 1000 }.stream(STREAM);
        }
    }
}
