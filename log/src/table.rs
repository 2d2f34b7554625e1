//! The segment table: from an address to a record's bytes, and how much of each segment is still needed.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;

use crate::address::{Address, AddressSplit, LogPosition, SegmentSlot};
use crate::cold::Kept;
use crate::grace::Grace;
use crate::memory::{SegmentMemory, share_record};
use crate::record::{Record, Value};
use crate::table_reader::{TablePublisher, TableReader};
use crate::tally::{Shape, Tallies, Tally};

/// A slot of the table. A segment of an oversized record fills several in a row; its counts are in the
/// first of them.
#[derive(Clone, Debug)]
pub(crate) struct SlotView {
    pub memory: Arc<SegmentMemory>,
    /// Where this slot begins in `memory`.
    pub origin: u64,
    /// Position of the first byte of `memory`.
    pub base: LogPosition,
    first: SegmentSlot,
}

/// A segment that was taken out of the table, and that readers may still be in.
#[derive(Debug)]
struct Leaving {
    slots: Range<u32>,
    memory: Arc<SegmentMemory>,
    /// `None` if there are no readers.
    grace: Option<Grace>,
}

impl Leaving {
    fn is_read(&self) -> bool {
        self.grace.as_ref().is_some_and(|grace| !grace.is_over())
    }
}

/// What keeps a segment from being freed.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Needed {
    /// Bytes of records that the index refers to.
    pub live_bytes: u64,
    /// Bytes of tombstones in it, needed while an older segment exists (T1).
    pub tombstone_bytes: u64,
    /// How many floors and aborts are in it, needed as long, and never moved (T4, X6).
    pub floors: u64,
}

impl Needed {
    /// Whether something in it hides what older segments hold (T1).
    pub fn hides(&self) -> bool {
        self.tombstone_bytes > 0 || self.floors > 0
    }

    /// What is copied at most when the segment is emptied.
    pub fn bytes(&self) -> u64 {
        self.live_bytes + self.tombstone_bytes
    }
}

/// See the module.
#[derive(Debug)]
pub struct SegmentTable {
    split: AddressSplit,
    slots: Vec<Option<SlotView>>,
    needed: Vec<Needed>,
    /// The keys whose newest record is in a segment, by its first slot.
    tallies: Vec<Tallies>,
    /// By first slot: how many bytes the segment has, and how often its records were asked for lately.
    sizes: Vec<u64>,
    uses: Vec<u32>,
    /// Stands for the memory of segments that are not resident, of which there are so many.
    nothing: Arc<SegmentMemory>,
    cold_segments: usize,
    /// Records of those.
    kept: Kept,
    /// First slots of segments whose last live record died since somebody asked.
    emptied: Vec<SegmentSlot>,
    /// What other threads see of it, once there is a reader.
    publisher: Option<TablePublisher>,
    leaving: Vec<Leaving>,
}

impl SegmentTable {
    pub(crate) fn new(split: AddressSplit) -> Self {
        Self {
            split,
            slots: Vec::new(),
            needed: Vec::new(),
            tallies: Vec::new(),
            sizes: Vec::new(),
            uses: Vec::new(),
            nothing: SegmentMemory::nothing(),
            cold_segments: 0,
            kept: Kept::default(),
            emptied: Vec::new(),
            publisher: None,
            leaving: Vec::new(),
        }
    }

    /// A handle by which other threads read records. It may be cloned, and may outlive the table.
    pub fn reader(&mut self) -> TableReader {
        let publisher = self.publisher.get_or_insert_with(|| {
            let mut publisher = TablePublisher::new(self.split);
            for (slot, view) in self.slots.iter().enumerate().filter(|(_, view)| view.is_some()) {
                publisher.show(SegmentSlot(slot as u32), view.as_ref());
            }
            publisher
        });
        publisher.reader()
    }

    /// How addresses are divided.
    pub fn split(&self) -> AddressSplit {
        self.split
    }

    /// How many slots a segment of `size` bytes takes.
    pub(crate) fn slots_for(&self, size: u64) -> u32 {
        size.div_ceil(self.split.segment_size()) as u32
    }

    /// The first of `count` free slots in a row that are not in `taken` either.
    pub(crate) fn free_slots(&self, count: u32, taken: impl Fn(u32) -> bool) -> Option<SegmentSlot> {
        // an address that a reader has found names the segment that was there then (D11)
        let read: Vec<_> = self.leaving.iter().filter(|leaving| leaving.is_read()).map(|l| l.slots.clone()).collect();
        let taken = |slot| taken(slot) || read.iter().any(|slots| slots.contains(&slot));
        let mut run = 0;
        for slot in 0..self.split.slots() {
            let free = self.slots.get(slot as usize).is_none_or(Option::is_none) && !taken(slot);
            run = if free { run + 1 } else { 0 };
            if run == count {
                return Some(SegmentSlot(slot + 1 - count));
            }
        }
        None
    }

    /// Puts a segment into the table.
    ///
    /// # Panics
    /// If one of its slots is taken.
    pub(crate) fn install(&mut self, first: SegmentSlot, memory: &Arc<SegmentMemory>, base: LogPosition) {
        self.install_sized(first, memory, memory.size(), base);
    }

    /// Puts a segment of `size` bytes into the table that is not resident.
    ///
    /// # Panics
    /// As above.
    pub(crate) fn install_cold(&mut self, first: SegmentSlot, size: u64, base: LogPosition) {
        let nothing = Arc::clone(&self.nothing);
        self.install_sized(first, &nothing, size, base);
        self.cold_segments += 1;
    }

    fn install_sized(&mut self, first: SegmentSlot, memory: &Arc<SegmentMemory>, size: u64, base: LogPosition) {
        let count = self.slots_for(size);
        let end = (first.0 + count) as usize;
        if self.slots.len() < end {
            self.slots.resize_with(end, || None);
            self.needed.resize(end, Needed::default());
            self.tallies.resize(end, Tallies::default());
            self.sizes.resize(end, 0);
            self.uses.resize(end, 0);
        }
        for i in 0..count {
            let slot = &mut self.slots[(first.0 + i) as usize];
            assert!(slot.is_none(), "slot {} is taken", first.0 + i);
            let origin = u64::from(i) * self.split.segment_size();
            let view = SlotView { memory: Arc::clone(memory), origin, base, first };
            if let Some(publisher) = &mut self.publisher {
                publisher.show(SegmentSlot(first.0 + i), Some(&view));
            }
            *slot = Some(view);
        }
        self.needed[first.0 as usize] = Needed::default();
        self.tallies[first.0 as usize].0.clear();
        (self.sizes[first.0 as usize], self.uses[first.0 as usize]) = (size, 0);
    }

    /// Puts other memory in place of a segment's, with the same records at the same offsets.
    ///
    /// # Panics
    /// If there are readers: a start does this.
    pub(crate) fn replace_memory(&mut self, first: SegmentSlot, memory: &Arc<SegmentMemory>) {
        assert!(self.publisher.is_none(), "memory is replaced before anybody reads");
        for slot in self.slots[first.0 as usize..].iter_mut().flatten().take_while(|view| view.first == first) {
            slot.memory = Arc::clone(memory);
        }
    }

    /// Takes a segment out of the table. Its memory and its slots are free when readers have left: see
    /// [`SegmentTable::take_left`].
    ///
    /// # Panics
    /// If the index still refers to it.
    pub(crate) fn uninstall(&mut self, first: SegmentSlot) {
        assert_eq!(self.needed[first.0 as usize].live_bytes, 0, "a live segment is not freed");
        self.needed[first.0 as usize] = Needed::default();
        let mut end = first.0;
        let mut memory = None;
        for slot in &mut self.slots[first.0 as usize..] {
            let Some(view) = slot.take_if(|view| view.first == first) else { break };
            if let Some(publisher) = &mut self.publisher {
                publisher.show(SegmentSlot(end), None);
            }
            end += 1;
            memory = Some(view.memory);
        }
        if let Some(memory) = memory {
            if Arc::ptr_eq(&memory, &self.nothing) {
                self.cold_segments -= 1;
                let split = self.split;
                self.kept.forget_all(|address| (first.0..end).contains(&split.parts(address).0.0));
            }
            let grace = self.publisher.is_some().then(Grace::begin);
            self.leaving.push(Leaving { slots: first.0..end, memory, grace });
        }
    }

    /// Bytes of segments that were taken out and are still read.
    pub(crate) fn leaving_bytes(&self) -> u64 {
        self.leaving.iter().map(|leaving| leaving.memory.size()).sum()
    }

    /// The memory of segments that were taken out, or are resident no more, and that nobody reads any more: to be unmapped
    /// by another thread.
    pub(crate) fn take_left(&mut self) -> Vec<Arc<SegmentMemory>> {
        let left = self.leaving.extract_if(.., |leaving| !leaving.is_read()).map(|leaving| leaving.memory);
        left.filter(|memory| !Arc::ptr_eq(memory, &self.nothing)).collect()
    }

    /// Puts `memory` in place of a segment's, and shows it to readers; returns what was there.
    fn swap_memory(
        &mut self,
        first: SegmentSlot,
        memory: &Arc<SegmentMemory>,
    ) -> Option<(Range<u32>, Arc<SegmentMemory>)> {
        let (mut end, mut old) = (first.0, None);
        for slot in self.slots[first.0 as usize..].iter_mut().flatten().take_while(|view| view.first == first) {
            old = Some(std::mem::replace(&mut slot.memory, Arc::clone(memory)));
            if let Some(publisher) = &mut self.publisher {
                publisher.show(SegmentSlot(end), Some(slot));
            }
            end += 1;
        }
        old.map(|old| (first.0..end, old))
    }

    /// Lets go of a segment's memory; its records are where they were, and not here.
    pub(crate) fn make_cold(&mut self, first: SegmentSlot) -> Arc<SegmentMemory> {
        let nothing = Arc::clone(&self.nothing);
        if let Some((_, memory)) = self.swap_memory(first, &nothing)
            && !Arc::ptr_eq(&memory, &nothing)
        {
            self.cold_segments += 1;
            // its slots are its own still: only the memory has to wait for readers
            let grace = self.publisher.is_some().then(Grace::begin);
            self.leaving.push(Leaving { slots: 0..0, memory, grace });
        }
        nothing
    }

    /// A segment that was not resident is so again.
    pub(crate) fn make_resident(&mut self, first: SegmentSlot, memory: &Arc<SegmentMemory>) {
        if let Some((slots, old)) = self.swap_memory(first, memory)
            && Arc::ptr_eq(&old, &self.nothing)
        {
            self.cold_segments -= 1;
            let split = self.split;
            self.kept.forget_all(|address| slots.contains(&split.parts(address).0.0));
        }
    }

    /// What stands for the memory of a segment that is not resident.
    pub(crate) fn nothing(&self) -> &Arc<SegmentMemory> {
        &self.nothing
    }

    /// Whether there is a segment that is not resident: if not, every record is here.
    #[inline]
    pub fn has_cold(&self) -> bool {
        self.cold_segments > 0
    }

    /// How many segments are not resident.
    pub fn cold_segments(&self) -> usize {
        self.cold_segments
    }

    /// Whether [`SegmentTable::record`] may be asked for this address: its segment is resident, or the record was read.
    #[inline]
    pub fn is_here(&self, address: Address) -> bool {
        self.is_resident(address) || self.kept.get(address).is_some()
    }

    /// Whether the segment of this address is resident.
    #[inline]
    pub fn is_resident(&self, address: Address) -> bool {
        let (slot, offset) = self.split.parts(address);
        let view = self.view(slot);
        view.memory.has(view.origin + offset)
    }

    /// The same, and notes that the record was asked for.
    #[inline]
    pub fn note_use(&mut self, address: Address) -> bool {
        let (slot, offset) = self.split.parts(address);
        let view = self.view(slot);
        let (first, is_resident) = (view.first, view.memory.has(view.origin + offset));
        let uses = &mut self.uses[first.0 as usize];
        *uses = uses.saturating_add(u32::from(is_resident));
        is_resident
    }

    /// The first slot of the segment that an address is in, and the record's offset there.
    pub(crate) fn place(&self, address: Address) -> Option<(SegmentSlot, u64)> {
        let (slot, offset) = self.split.parts(address);
        let view = self.slots.get(slot.0 as usize)?.as_ref()?;
        Some((view.first, view.origin + offset))
    }

    pub(crate) fn uses(&self, first: SegmentSlot) -> u32 {
        self.uses[first.0 as usize]
    }

    /// Takes an eighth off what was noted of all segments: what was asked for long ago counts less.
    pub fn age_uses(&mut self) {
        self.uses.iter_mut().for_each(|uses| *uses -= uses.div_ceil(8));
    }

    /// Records that were read from segments that are not resident.
    pub(crate) fn kept(&self) -> &Kept {
        &self.kept
    }

    pub(crate) fn kept_mut(&mut self) -> &mut Kept {
        &mut self.kept
    }

    /// The bytes of a record that was read from a segment that is not resident.
    #[cold]
    #[inline(never)]
    fn kept_bytes(&self, address: Address) -> &Bytes {
        match self.kept.get(address) {
            Some(bytes) => bytes,
            None => panic!("the record at address {:#x} is not in memory", address.raw()),
        }
    }

    /// The record, as it was kept, of a segment that is not resident, if it is.
    pub fn kept_record(&self, address: Address) -> Option<Record<'_>> {
        Record::decode(self.kept.get(address)?)
    }

    #[inline]
    fn view(&self, slot: SegmentSlot) -> &SlotView {
        match self.slots.get(slot.0 as usize) {
            Some(Some(view)) => view,
            _ => no_segment(slot),
        }
    }

    /// The record at `address`.
    ///
    /// # Panics
    /// If no record was ever appended there: the index is wrong, and the log is the truth. Or if it is not in memory: who
    /// may meet that asks [`SegmentTable::is_here`] first.
    #[inline]
    pub fn record(&self, address: Address) -> Record<'_> {
        let (slot, offset) = self.split.parts(address);
        let view = self.view(slot);
        let bytes = match view.memory.from(view.origin + offset) {
            Some(bytes) => bytes,
            None => self.kept_bytes(address),
        };
        match Record::decode(bytes) {
            Some(record) => record,
            None => no_record(address),
        }
    }

    /// A copy of the record at an address that an index has returned.
    pub fn copy_record(&self, address: Address) -> Vec<u8> {
        let len = self.record(address).encoded_len();
        let (slot, offset) = self.split.parts(address);
        let view = self.view(slot);
        let bytes = view.memory.from(view.origin + offset).unwrap_or_else(|| self.kept_bytes(address));
        bytes[..len].to_vec()
    }

    /// Hints that the record at `address` will be read.
    #[inline]
    pub fn prefetch(&self, address: Address) {
        let (slot, offset) = self.split.parts(address);
        if let Some(Some(view)) = self.slots.get(slot.0 as usize) {
            view.memory.prefetch(view.origin + offset);
        }
    }

    /// The position of the record's first byte.
    #[inline]
    pub fn position(&self, address: Address) -> LogPosition {
        let (slot, offset) = self.split.parts(address);
        let view = self.view(slot);
        view.base.plus(view.origin + offset)
    }

    /// The value of the record at `address` as shared bytes, to be sent without a copy.
    ///
    /// # Panics
    /// If it is not a value of bytes.
    pub fn share_value(&self, address: Address) -> Bytes {
        let (slot, offset) = self.split.parts(address);
        let view = self.view(slot);
        let record = self.record(address);
        match record.value() {
            Value::Bytes(value) if !view.memory.has(view.origin + offset) => {
                let len = record.encoded_len();
                self.kept_bytes(address).slice(len - value.len()..len)
            }
            Value::Bytes(value) => {
                let end = view.origin + offset + record.encoded_len() as u64;
                share_record(&view.memory, end - value.len() as u64..end)
            }
            Value::Int(_) | Value::Packed(_) | Value::Whole(_) | Value::Root(_) | Value::Chunked(_) => {
                unreachable!("it is not kept as it is sent")
            }
        }
    }

    /// Notes that the index refers to this record at `address` from now on.
    #[inline]
    pub fn retain(&mut self, address: Address, shape: Shape) {
        let first = self.view(self.split.parts(address).0).first;
        self.needed[first.0 as usize].live_bytes += shape.len as u64;
        self.tallies[first.0 as usize].add(shape);
    }

    /// Notes that the index no longer refers to this record at `address`.
    ///
    /// # Panics
    /// If it never did.
    #[inline]
    pub fn release(&mut self, address: Address, shape: Shape) {
        let first = self.view(self.split.parts(address).0).first;
        let needed = &mut self.needed[first.0 as usize];
        assert!(needed.live_bytes >= shape.len as u64, "more died in a segment than lived there");
        needed.live_bytes -= shape.len as u64;
        if needed.live_bytes == 0 {
            self.emptied.push(first);
        }
        self.tallies[first.0 as usize].remove(shape);
    }

    /// Notes a tombstone of `len` bytes at `address`.
    pub(crate) fn add_tombstone(&mut self, address: Address, len: usize) {
        let first = self.view(self.split.parts(address).0).first;
        self.needed[first.0 as usize].tombstone_bytes += len as u64;
    }

    /// Notes a floor or an abort at `address`.
    pub(crate) fn add_floor(&mut self, address: Address) {
        let first = self.view(self.split.parts(address).0).first;
        self.needed[first.0 as usize].floors += 1;
    }

    /// Takes floors out of the count again: what they hide is gone. A flush may have done that before.
    pub(crate) fn remove_floors(&mut self, first: SegmentSlot, count: u64) {
        let needed = &mut self.needed[first.0 as usize];
        needed.floors = needed.floors.saturating_sub(count);
    }

    /// What the segment with this first slot hides is not in any older one, or is hidden by copies (T1, T2).
    pub(crate) fn forget_tombstones(&mut self, first: SegmentSlot) {
        let needed = &mut self.needed[first.0 as usize];
        (needed.tombstone_bytes, needed.floors) = (0, 0);
    }

    /// All that lies wholly before `floor` is needed no more: neither its records, which the index has
    /// dropped, nor its tombstones (T4). Elsewhere the records are dropped, the tombstones stay.
    pub fn drop_below_floor(&mut self, floor: LogPosition) {
        for slot in 0..self.slots.len() {
            let Some(view) = &self.slots[slot] else { continue };
            if view.first.0 as usize != slot {
                continue;
            }
            let needed = &mut self.needed[slot];
            needed.live_bytes = 0;
            self.tallies[slot].0.clear();
            if view.base.plus(self.sizes[slot]) <= floor {
                (needed.tombstone_bytes, needed.floors) = (0, 0);
            }
            self.emptied.push(view.first);
        }
    }

    /// What keeps the segment with this first slot.
    pub(crate) fn needed(&self, first: SegmentSlot) -> Needed {
        self.needed[first.0 as usize]
    }

    /// The memory of the segment with this first slot.
    pub(crate) fn memory(&self, first: SegmentSlot) -> &Arc<SegmentMemory> {
        &self.view(first).memory
    }

    /// The first slot of the segment that an address is of.
    pub(crate) fn first_slot(&self, address: Address) -> SegmentSlot {
        self.view(self.split.parts(address).0).first
    }

    /// The keys whose newest record is in the segment with this first slot, by database.
    pub(crate) fn tallies(&self, first: SegmentSlot) -> &Tallies {
        &self.tallies[first.0 as usize]
    }

    /// What a checkpoint says of the segment with this first slot.
    pub(crate) fn restore(&mut self, first: SegmentSlot, needed: Needed, tallies: Tallies) {
        self.needed[first.0 as usize] = needed;
        self.tallies[first.0 as usize] = tallies;
    }

    /// The keys of all segments, by database.
    pub fn keys(&self) -> Vec<Tally> {
        let mut all: Vec<Tally> = Vec::new();
        for tallies in &self.tallies {
            all.resize(all.len().max(tallies.0.len()), Tally::default());
            for (sum, tally) in all.iter_mut().zip(&tallies.0) {
                sum.keys += tally.keys;
                sum.expires += tally.expires;
                sum.expiry_sum_ms += tally.expiry_sum_ms;
            }
        }
        all
    }

    /// Whether a key may expire whose newest record is in the segment that this address is of.
    pub fn may_expire(&self, address: Address) -> bool {
        let first = self.view(self.split.parts(address).0).first;
        self.tallies[first.0 as usize].0.iter().any(|tally| tally.expires > 0)
    }

    /// Whether the key of an entry at this address may be one of a database, as far as its segment tells.
    pub fn may_be_of(&self, address: Address, db: crate::record::DbId) -> bool {
        let first = self.view(self.split.parts(address).0).first;
        self.tallies[first.0 as usize].0.get(usize::from(db.0)).is_some_and(|tally| tally.keys > 0)
    }

    /// The segments that were emptied since the last call, by first slot.
    pub(crate) fn take_emptied(&mut self) -> Vec<SegmentSlot> {
        std::mem::take(&mut self.emptied)
    }

    pub(crate) fn any_emptied(&self) -> bool {
        !self.emptied.is_empty()
    }

    /// Bytes that the index refers to, over all segments.
    pub fn live_bytes(&self) -> u64 {
        self.needed.iter().map(|needed| needed.live_bytes).sum()
    }

    /// The bytes that each segment has, and those that would be copied of it.
    pub(crate) fn sizes(&self) -> impl Iterator<Item = (u64, u64)> {
        self.sizes.iter().copied().zip(self.needed.iter().map(Needed::bytes))
    }
}

#[cold]
#[inline(never)]
fn no_segment(slot: SegmentSlot) -> ! {
    panic!("an address names segment slot {}, which is empty", slot.0)
}

#[cold]
#[inline(never)]
fn no_record(address: Address) -> ! {
    panic!("there is no record at address {:#x}", address.raw())
}
