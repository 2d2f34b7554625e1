//! The segment table as other threads see it: from an address to a record, without its owner (D3, D11).

#![allow(unsafe_code)]

use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};

use bytes::Bytes;
use crossbeam_epoch::{self as epoch, Atomic, Guard, Owned, Shared};

use crate::address::{Address, AddressSplit, LogPosition, SegmentSlot};
use crate::memory::share_closed;
use crate::record::{Record, Value};
use crate::table::SlotView;

/// The slots that there are; a longer copy takes their place when they do not suffice.
#[derive(Debug)]
struct Slots(Box<[Atomic<SlotView>]>);

#[derive(Debug)]
struct PublishedTable {
    slots: Atomic<Slots>,
    split: AddressSplit,
}

/// Reads records of a log that another thread appends to. See [`SegmentTable::reader`](crate::SegmentTable::reader).
#[derive(Clone, Debug)]
pub struct TableReader {
    published: Arc<PublishedTable>,
}

/// A record of another thread's log, for as long as the guard lives under which it was found.
#[derive(Clone, Copy, Debug)]
pub struct Located<'g> {
    record: Record<'g>,
    position: LogPosition,
    view: &'g SlotView,
    /// Of the record in the segment's memory.
    offset: u64,
}

impl<'g> Deref for Located<'g> {
    type Target = Record<'g>;

    fn deref(&self) -> &Record<'g> {
        &self.record
    }
}

impl<'g> Located<'g> {
    /// The record.
    #[inline]
    pub fn record(&self) -> Record<'g> {
        self.record
    }

    /// The position of its first byte.
    #[inline]
    pub fn position(&self) -> LogPosition {
        self.position
    }

    /// The position after it: what a reply that tells of it depends on.
    #[inline]
    pub fn end(&self) -> LogPosition {
        self.position.plus(self.record.encoded_len() as u64)
    }

    /// Its value as shared bytes, to be sent without a copy; they outlive the guard. `None` if it is an integer.
    pub fn share_value(&self) -> Option<Bytes> {
        let Value::Bytes(value) = self.record.value() else { return None };
        let end = self.offset + self.record.encoded_len() as u64;
        Some(share_closed(&self.view.memory, end - value.len() as u64..end))
    }
}

impl TableReader {
    #[inline]
    fn view<'g>(&self, guard: &'g Guard, slot: SegmentSlot) -> Option<&'g SlotView> {
        debug_assert!(crate::grace::protects(guard));
        // SAFETY: null, or stored with Release when it was complete, and destroyed only after a grace period that
        // began when it was unlinked: the guard keeps it.
        let slots = unsafe { self.published.slots.load(Acquire, guard).as_ref() }?;
        let view = slots.0.get(slot.0 as usize)?;
        // SAFETY: as above; slots that were replaced by longer ones lead to what was reachable when that happened, which
        // was after the guard began.
        unsafe { view.load(Acquire, guard).as_ref() }
    }

    /// The record at an address that an index reader has returned under the same guard. `None` if it is in a frame that
    /// is still open, or its segment is gone: both mean that the owner knows better.
    #[inline]
    pub fn find<'g>(&self, guard: &'g Guard, address: Address) -> Option<Located<'g>> {
        let (slot, offset) = self.published.split.parts(address);
        let view = self.view(guard, slot)?;
        let offset = view.origin + offset;
        let record = Record::decode(view.memory.closed_from(offset)?)?;
        Some(Located { record, position: view.base.plus(offset), view, offset })
    }

    /// Hints that the record at `address` will be read.
    #[inline]
    pub fn prefetch(&self, guard: &Guard, address: Address) {
        let (slot, offset) = self.published.split.parts(address);
        if let Some(view) = self.view(guard, slot) {
            view.memory.prefetch(view.origin + offset);
        }
    }
}

/// The owner's end.
#[derive(Debug)]
pub(crate) struct TablePublisher {
    published: Arc<PublishedTable>,
}

impl TablePublisher {
    pub(crate) fn new(split: AddressSplit) -> Self {
        Self { published: Arc::new(PublishedTable { slots: Atomic::null(), split }) }
    }

    pub(crate) fn reader(&self) -> TableReader {
        TableReader { published: Arc::clone(&self.published) }
    }

    /// Shows a slot's segment, or that it is gone.
    pub(crate) fn show(&mut self, slot: SegmentSlot, view: Option<&SlotView>) {
        let guard = &epoch::pin();
        self.reach(slot, guard);
        // SAFETY: only this owner replaces what is published, by `&mut self`: it is there.
        let Some(slots) = (unsafe { self.published.slots.load(Relaxed, guard).as_ref() }) else { return };
        let view = view.map_or_else(Shared::null, |view| Owned::new(view.clone()).into_shared(guard));
        retire(slots.0[slot.0 as usize].swap(view, Release, guard), guard);
    }

    /// Makes the slots so many that this one is among them.
    fn reach(&mut self, slot: SegmentSlot, guard: &Guard) {
        let old = self.published.slots.load(Relaxed, guard);
        // SAFETY: as in `show`.
        let known = unsafe { old.as_ref() }.map_or(&[][..], |slots| &slots.0);
        let wanted = slot.0 as usize + 1;
        if wanted <= known.len() {
            return;
        }
        let copies = known.iter().map(|view| Atomic::from(view.load(Relaxed, guard)));
        let len = wanted.next_power_of_two().max(16);
        let slots = copies.chain(std::iter::repeat_with(Atomic::null)).take(len).collect();
        retire(self.published.slots.swap(Owned::new(Slots(slots)), Release, guard), guard);
    }
}

/// Destroys what was unlinked just now when nobody can be in it any more.
fn retire<T>(unlinked: Shared<'_, T>, guard: &Guard) {
    if !unlinked.is_null() {
        // SAFETY: all that is published here comes from `Owned::new`; each caller has just unlinked it, once.
        unsafe { guard.defer_destroy(unlinked) };
    }
}

impl Drop for TablePublisher {
    fn drop(&mut self) {
        let guard = &epoch::pin();
        let slots = self.published.slots.swap(Shared::null(), Release, guard);
        // SAFETY: as in `show`; unlinked, but not destroyed yet.
        for view in unsafe { slots.as_ref() }.map_or(&[][..], |slots| &slots.0) {
            retire(view.load(Relaxed, guard), guard);
        }
        retire(slots, guard);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::SegmentWriter;
    use crate::record::{DbId, Entry};
    use crate::table::SegmentTable;

    const SIZE: u64 = 1 << 16;

    fn put(writer: &mut SegmentWriter, value: &[u8]) -> u64 {
        let entry = Entry::Put { db: DbId(0), key: b"k", value: Value::Bytes(value), expires_at_ms: None };
        let at = writer.at();
        writer.append(entry.encoded_len(), |space| entry.encode(space));
        at
    }

    #[test]
    fn a_record_is_found_once_its_frame_is_closed_and_while_the_guard_lives() {
        let split = AddressSplit::for_segment_size(SIZE).unwrap();
        let mut table = SegmentTable::new(split);
        let mut writer = SegmentWriter::new(SIZE).unwrap();
        writer.skip(8);
        let slot = SegmentSlot(3);
        table.install(slot, writer.memory(), LogPosition(1000));
        let reader = table.reader();
        let at = put(&mut writer, b"value");
        let address = split.address(slot, at);
        let guard = epoch::pin();
        assert!(reader.find(&guard, address).is_none(), "its frame is open");
        writer.close_loaded();
        let found = reader.find(&guard, address).unwrap();
        assert_eq!((found.position(), found.end()), (LogPosition(1008), LogPosition(1000 + writer.at())));
        let shared = found.share_value().unwrap();

        drop(writer);
        table.uninstall(slot);
        assert!(reader.find(&guard, address).is_none());
        assert_eq!(found.value(), Value::Bytes(b"value"), "the guard keeps the memory");
        assert!(table.take_left().is_empty());
        assert_ne!(table.free_slots(1, |slot| slot < 3), Some(slot), "nor is its slot used again");
        drop(guard);
        let left = (0..10_000).map(|_| table.take_left()).find(|left| !left.is_empty()).unwrap();
        assert_eq!(table.free_slots(1, |slot| slot < 3), Some(slot));
        drop((left, table));
        assert_eq!(&shared[..], b"value");
        assert!(reader.find(&epoch::pin(), address).is_none(), "the table is gone");
    }

    #[test]
    fn slots_become_more_under_a_reader() {
        let split = AddressSplit::for_segment_size(SIZE).unwrap();
        let mut table = SegmentTable::new(split);
        let reader = table.reader();
        for slot in [0, 1, 100, 5_000, 2].map(SegmentSlot) {
            let mut writer = SegmentWriter::new(SIZE).unwrap();
            let at = put(&mut writer, &slot.0.to_le_bytes());
            writer.skip(1);
            writer.close_loaded();
            table.install(slot, writer.memory(), LogPosition(u64::from(slot.0)));
            // offset 0 is no address: a record of a frame never lies there
            assert_eq!(at, 0);
        }
        let guard = epoch::pin();
        for slot in [0, 1, 2, 100, 5_000].map(SegmentSlot) {
            let view = reader.view(&guard, slot).unwrap();
            let record = Record::decode(view.memory.closed_from(0).unwrap()).unwrap();
            assert_eq!(record.value(), Value::Bytes(&slot.0.to_le_bytes()));
        }
        assert!(reader.view(&guard, SegmentSlot(4)).is_none());
        assert!(reader.view(&guard, SegmentSlot(1 << 20)).is_none());
    }
}
