use std::collections::BTreeMap;

use emberkv_index::Fingerprint;
use emberkv_log::{DbId, Value};
use proptest::prelude::*;

use super::super::elements::{Elements, framed};
use super::super::leaf::LeafName;
use super::super::tree::{NODE, Source};
use super::*;
use crate::lookup::Key;
use crate::stop::Stop;

/// Nodes as records would have them, and the value of the key.
#[derive(Default)]
struct Records {
    nodes: BTreeMap<u32, Vec<u8>>,
    value: Option<(bool, Vec<u8>)>,
    ids: u64,
}

impl Source for Records {
    fn look<T>(&mut self, number: u32, show: impl FnOnce(&[u8]) -> T) -> Result<T, Stop> {
        Ok(show(&self.nodes[&number]))
    }

    fn bring(&mut self, mut numbers: impl Iterator<Item = u32>) -> Result<(), Stop> {
        assert!(numbers.all(|number| self.nodes.contains_key(&number)));
        Ok(())
    }
}

const KEY: Key<'static> = Key { db: DbId(0), bytes: b"k", fingerprint: Fingerprint::from_raw(0) };

impl Records {
    fn draft(&self) -> StreamDraft {
        match &self.value {
            Some((true, record)) => StreamDraft::of_root(record, None),
            Some((false, image)) => StreamDraft::of_whole(image, None),
            None => StreamDraft::new(None),
        }
    }

    fn commit(&mut self, mut draft: StreamDraft) {
        draft.rows.shrink(self).unwrap();
        let (old, next) = (draft.id, self.ids + 1);
        let writes = draft.writes(KEY, || next);
        let held = writes.held.unwrap();
        let is_root = matches!(held.value(), Value::Root(_));
        if writes.are_new || !is_root {
            self.nodes.clear();
            self.ids = next;
        }
        for (name, bytes) in writes.leaves {
            let name = LeafName::of(crate::databases::RESERVED, &name).unwrap();
            assert_eq!((name.id, name.number & NODE), (if writes.are_new { next } else { old }, NODE));
            match bytes {
                Some(bytes) => drop(self.nodes.insert(name.number ^ NODE, bytes)),
                None => assert!(self.nodes.remove(&(name.number ^ NODE)).is_some(), "what goes was there"),
            }
        }
        let (Value::Root(bytes) | Value::Whole(bytes)) = held.value() else { panic!("it is a stream") };
        self.value = Some((is_root, bytes.to_vec()));
    }
}

/// A group of the model: its pending entries by their ids, each with its owner, time and deliveries.
#[derive(Clone, Default, Debug)]
struct Plain {
    last: StreamId,
    read: Option<u64>,
    consumers: BTreeMap<Vec<u8>, (u64, Option<u64>)>,
    pending: BTreeMap<StreamId, (Vec<u8>, u64, u64)>,
}

#[derive(Clone, Default, Debug)]
struct Model {
    entries: BTreeMap<StreamId, Vec<Vec<u8>>>,
    groups: BTreeMap<Vec<u8>, Plain>,
    last: StreamId,
    added: u64,
    deleted: StreamId,
}

#[derive(Clone, Debug)]
enum Step {
    Append(u64, usize, usize),
    Delete(u64),
    Trim(u64),
    Group(u8, u64),
    Destroy(u8),
    Consumer(u8, u8, u64),
    RemoveConsumer(u8, u8),
    Deliver(u8, u8, u64, u64),
    Done(u8, u64, u64),
    Commit,
}

fn step() -> impl Strategy<Value = Step> {
    let len = prop_oneof![9 => 0usize..40, 1 => 200usize..600];
    prop_oneof![
        12 => (0u64..4, len, 1usize..3).prop_map(|(by, len, count)| Step::Append(by, len, count)),
        2 => (0u64..400).prop_map(Step::Delete),
        1 => (0u64..60).prop_map(Step::Trim),
        2 => (0u8..4, 0u64..100).prop_map(|(group, last)| Step::Group(group, last)),
        1 => (0u8..40).prop_map(Step::Destroy),
        3 => (0u8..4, 0u8..12, any::<u64>()).prop_map(|(group, consumer, ms)| Step::Consumer(group, consumer, ms >> 1)),
        1 => (0u8..4, 0u8..30).prop_map(|(group, consumer)| Step::RemoveConsumer(group, consumer)),
        6 => (0u8..4, 0u8..12, 0u64..400, 1u64..20).prop_map(|(group, consumer, from, count)| Step::Deliver(group, consumer, from, count)),
        4 => (0u8..4, 0u64..400, 1u64..12).prop_map(|(group, from, count)| Step::Done(group, from, count)),
        5 => Just(Step::Commit),
    ]
}

fn name(kind: &str, nth: u8) -> Vec<u8> {
    format!("{kind}{}", "-long".repeat(usize::from(nth))).into_bytes()
}

fn id(number: u64) -> StreamId {
    StreamId { ms: number / 3, seq: number % 3 }
}

/// Does the same to both.
fn take(step: Step, draft: &mut StreamDraft, records: &mut Records, model: &mut Model) {
    match step {
        Step::Append(by, len, count) => {
            let number = model.last.ms * 3 + model.last.seq + 1 + by;
            let fields = vec![vec![b'f'; len]; 2 * count];
            draft.append(records, id(number), fields.iter().map(Vec::as_slice)).unwrap();
            model.last = id(number);
            model.added += 1;
            model.entries.insert(id(number), fields);
        }
        Step::Delete(number) => {
            let was_there = model.entries.remove(&id(number)).is_some();
            assert_eq!(draft.delete(records, id(number)).unwrap(), was_there);
            if was_there {
                model.deleted = model.deleted.max(id(number));
            }
        }
        Step::Trim(len) => {
            let gone = draft.surplus(records, Trim::MaxLen(len), None).unwrap();
            assert_eq!(gone, (model.entries.len() as u64).saturating_sub(len));
            draft.trim(records, gone).unwrap();
            (0..gone).for_each(|_| drop(model.entries.pop_first()));
        }
        Step::Group(nth, number) => {
            let name = name("group", nth);
            let (last, read) = (id(number), number.checked_sub(50));
            match draft.group(records, &name).unwrap() {
                Some(group) => draft.set_group(records, &Group { last, read, ..group }).unwrap(),
                None => drop(draft.add_group(records, &name, last, read).unwrap()),
            }
            let group = model.groups.entry(name).or_default();
            (group.last, group.read) = (last, read);
        }
        Step::Destroy(nth) => {
            let name = name("group", nth);
            let group = draft.group(records, &name).unwrap();
            assert_eq!(group.is_some(), model.groups.remove(&name).is_some());
            if let Some(group) = group {
                draft.remove_group(records, &group).unwrap();
            }
        }
        Step::Consumer(group, nth, ms) => {
            let Some(plain) = model.groups.get_mut(&name("group", group)) else { return };
            let number = draft.group(records, &name("group", group)).unwrap().unwrap().number;
            let name = name("c", nth);
            let old = draft.consumer(records, number, &name).unwrap();
            let consumer = old.map_or_else(|| draft.new_consumer(&name, ms), Ok).unwrap();
            let active_ms = ms.is_multiple_of(2).then_some(ms);
            draft.set_consumer(records, number, &Consumer { seen_ms: ms, active_ms, ..consumer }).unwrap();
            plain.consumers.insert(name, (ms, active_ms));
        }
        Step::RemoveConsumer(group, nth) => {
            let Some(plain) = model.groups.get_mut(&name("group", group)) else { return };
            let number = draft.group(records, &name("group", group)).unwrap().unwrap().number;
            let name = name("c", nth);
            let consumer = draft.consumer(records, number, &name).unwrap();
            assert_eq!(consumer.is_some(), plain.consumers.remove(&name).is_some());
            let Some(consumer) = consumer else { return };
            let before = plain.pending.len();
            plain.pending.retain(|_, (owner, ..)| *owner != name);
            let gone = draft.remove_consumer(records, number, &consumer).unwrap();
            assert_eq!(gone, (before - plain.pending.len()) as u64);
        }
        Step::Deliver(group, nth, from, count) => {
            let Some(plain) = model.groups.get_mut(&name("group", group)) else { return };
            let number = draft.group(records, &name("group", group)).unwrap().unwrap().number;
            let Some(consumer) = draft.consumer(records, number, &name("c", nth)).unwrap() else { return };
            for at in from..from + count {
                let old = draft.pending(records, number, id(at)).unwrap();
                assert_eq!(old.map(|old| old.delivered_ms), plain.pending.get(&id(at)).map(|old| old.1));
                let pending = Pending { id: id(at), consumer: consumer.number, delivered_ms: from, deliveries: count };
                draft.set_pending(records, number, pending, old.map(|old| old.consumer)).unwrap();
                plain.pending.insert(id(at), (name("c", nth), from, count));
            }
        }
        Step::Done(group, from, count) => {
            let Some(plain) = model.groups.get_mut(&name("group", group)) else { return };
            let number = draft.group(records, &name("group", group)).unwrap().unwrap().number;
            for at in from..from + count {
                let pending = draft.pending(records, number, id(at)).unwrap();
                assert_eq!(pending.is_some(), plain.pending.remove(&id(at)).is_some());
                if let Some(pending) = pending {
                    draft.remove_pending(records, number, pending).unwrap();
                }
            }
        }
        Step::Commit => {}
    }
}

const ALL: (StreamId, StreamId) = (StreamId::MIN, StreamId::MAX);

/// All that there is, and that it is counted.
fn check(records: &mut Records, model: &Model) {
    let mut draft = records.draft();
    assert_eq!((draft.count, draft.meta.last, draft.meta.added), (model.entries.len() as u64, model.last, model.added));
    assert_eq!(draft.meta.deleted, model.deleted);
    let mut rows = Vec::new();
    let len = draft.rows.len();
    draft
        .rows
        .each(records, (0, len), false, |row| {
            rows.push(row.to_vec());
            std::ops::ControlFlow::Continue(())
        })
        .unwrap();
    assert!(rows.is_sorted() && rows.len() as u64 == len);
    assert_eq!(draft.rows.bytes, rows.iter().map(|row| framed(row).len() as u64).sum::<u64>());
    assert_eq!(draft.rows.tree.root.nodes as usize, records.nodes.len());
    let is_whole = matches!(&records.value, Some((false, _)) | None);
    assert!(if is_whole { draft.rows.bytes <= 1024 || len < 2 } else { draft.rows.bytes > 256 });

    for is_backwards in [false, true] {
        let mut found = Vec::new();
        let count = draft.range(records, ALL, u64::MAX, is_backwards, |_, id, fields| {
            found.push((id, fields.map(<[u8]>::to_vec).collect::<Vec<_>>()));
        });
        assert_eq!(count, Ok(found.len() as u64));
        if is_backwards {
            found.reverse();
        }
        assert_eq!(found, model.entries.clone().into_iter().collect::<Vec<_>>());
    }
    for number in [0, 7, 30, 100] {
        let range = (id(number), id(number + 40));
        let mut found = Vec::new();
        draft.range(records, range, 5, number % 2 == 0, |_, id, _| found.push(id)).unwrap();
        let mut expected: Vec<_> = model.entries.range(range.0..=range.1).map(|(id, _)| *id).collect();
        if number % 2 == 0 {
            expected.reverse();
        }
        expected.truncate(5);
        assert_eq!(found, expected);
        let fields = draft.entry(records, id(number)).unwrap();
        let fields = fields.map(|fields| Elements::of(&fields).map(<[u8]>::to_vec).collect::<Vec<_>>());
        assert_eq!(fields.as_ref(), model.entries.get(&id(number)));
    }

    let groups = draft.groups(records).unwrap();
    assert_eq!(groups.len() as u64, draft.group_count(records).unwrap());
    assert!(groups.iter().map(|group| &group.name).eq(model.groups.keys()));
    for (group, plain) in groups.iter().zip(model.groups.values()) {
        assert_eq!((group.last, group.read), (plain.last, plain.read));
        let consumers = draft.consumers(records, group.number).unwrap();
        assert_eq!(consumers.len() as u64, draft.consumer_count(records, group.number).unwrap());
        let shown: Vec<_> = consumers.iter().map(|one| (one.name.clone(), (one.seen_ms, one.active_ms))).collect();
        assert_eq!(shown, plain.consumers.clone().into_iter().collect::<Vec<_>>());
        let pending = draft.each_pending(records, group.number, ALL, u64::MAX).unwrap();
        assert_eq!(pending.len() as u64, draft.pending_count(records, group.number).unwrap());
        let owner = |number| consumers.iter().find(|one| one.number == number).unwrap().name.clone();
        let shown: Vec<_> =
            pending.iter().map(|one| (one.id, (owner(one.consumer), one.delivered_ms, one.deliveries))).collect();
        assert_eq!(shown, plain.pending.clone().into_iter().collect::<Vec<_>>());
        let edges = [false, true].map(|is_last| draft.pending_edge(records, group.number, is_last).unwrap());
        assert_eq!(edges, [plain.pending.keys().next(), plain.pending.keys().last()].map(Option::<&_>::copied));
        for consumer in &consumers {
            let owned = draft.owned(records, group.number, consumer.number, ALL, u64::MAX).unwrap();
            assert_eq!(owned.len() as u64, draft.owned_count(records, group.number, consumer.number).unwrap());
            let own = plain.pending.iter().filter(|(_, (owner, ..))| *owner == consumer.name).map(|(id, _)| *id);
            assert_eq!(owned, own.collect::<Vec<_>>());
        }
    }
    let image = draft.whole(records).unwrap().write().unwrap();
    let mut again = StreamDraft::of_whole(&image, None);
    assert_eq!(again.whole(records), draft.whole(records));
    let image = draft.whole_image(records).unwrap();
    assert_eq!(StreamDraft::of_whole(&image, None).whole(records), draft.whole(records));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn a_stream_is_what_maps_are(begin in 0usize..300, steps in proptest::collection::vec(step(), 0..200)) {
        let (mut records, mut model) = (Records::default(), Model::default());
        let mut draft = records.draft();
        let first = std::iter::repeat_n(Step::Append(1, 20, 1), begin);
        for step in first.chain([Step::Commit]).chain(steps).chain([Step::Commit]) {
            if matches!(step, Step::Commit) {
                records.commit(draft);
                check(&mut records, &model);
                draft = records.draft();
            } else {
                take(step, &mut draft, &mut records, &mut model);
            }
        }
    }

    #[test]
    fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
        let (mut records, mut draft) = (Records::default(), StreamDraft::of_whole(&[&[6, 3][..], &bytes].concat(), None));
        let _ = draft.whole(&mut records);
        let _ = draft.edge(&mut records, true);
        let _ = draft.entry(&mut records, id(3));
    }
}

#[test]
fn what_comes_to_a_large_stream_is_written_with_its_root_alone() {
    let mut records = Records::default();
    let mut draft = records.draft();
    let group = draft.add_group(&mut records, b"group", StreamId::MIN, None).unwrap();
    for number in 1..20_000 {
        draft.append(&mut records, id(number), [&b"field"[..], b"value"].into_iter()).unwrap();
    }
    records.commit(draft);
    let (mut nodes, mut records_of_nodes) = (0, 0);
    for number in 20_000..20_400 {
        let mut draft = records.draft();
        draft.append(&mut records, id(number), [&b"field"[..], b"value"].into_iter()).unwrap();
        let pending = Pending { id: id(number), consumer: 1, delivered_ms: 5, deliveries: 1 };
        draft.set_pending(&mut records, group.number, pending, None).unwrap();
        draft.remove_pending(&mut records, group.number, pending).unwrap();
        let writes = draft.writes(KEY, || unreachable!("it is split"));
        nodes += usize::from(!writes.leaves.is_empty());
        records_of_nodes += writes.leaves.len();
        let mut draft = records.draft();
        draft.append(&mut records, id(number), [&b"field"[..], b"value"].into_iter()).unwrap();
        records.commit(draft);
    }
    assert!((20..70).contains(&nodes), "{nodes} of 400 have written nodes");
    assert!(records_of_nodes < nodes * 8, "{records_of_nodes} nodes");
}
