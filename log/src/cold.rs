//! Records of segments that are not in memory: read one by one, and kept for a while (M1, M2).
//!
//! ```text
//!   not here ---- bring ----> coming ---- the job ends ----> here, until it is forgotten
//!                               |                              (the segment is freed or loaded, or room is needed)
//!                               '------ it can't be read ---> failed, until the second tick after
//! ```
//!
//! Who needs a record that is not here asks for it by [`Log::bring`], does something else, and asks again when it is not
//! coming any more. All who ask meanwhile share the one read.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::address::{Address, FileId, SegmentSequence};
use crate::disk::Disk;
use crate::job::{Done, Job, segment_name};
use crate::log::Log;
use crate::record::Record;

/// What is read at first: most records are shorter, and a disk reads no less.
pub(crate) const GUESS_BYTES: u64 = 4096;

/// Reads that are under way at a time; more wait for those. Enough for a disk to have something to choose from.
const MAX_READS: usize = 64;

/// What was asked for and never fetched, or is held, is let go of after so many ticks: who wanted it has gone.
const UNCLAIMED_TICKS: u64 = 10;

/// What has become of the wish for a record.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Bring {
    /// It is in memory. `is_new`: it was read, and nobody has fetched it before.
    Here {
        /// See above.
        is_new: bool,
    },
    /// It is being read: to be asked for again when [`Log::is_coming`] says no.
    Coming,
    /// It can't be read, for this reason.
    Failed(String),
}

/// What was read.
#[derive(Clone, Debug)]
pub enum Brought {
    /// The record, whole and sound.
    Record(Bytes),
    /// It is longer than what was read: so many bytes.
    Longer(u64),
    /// It is no record, or its crc disagrees.
    Damaged,
}

impl Brought {
    /// Looks at bytes that were read from where a record begins (law 7).
    pub fn of(bytes: Vec<u8>) -> Self {
        let Some(len) = Record::length_of(&bytes) else { return Self::Damaged };
        if len > bytes.len() as u64 {
            return Self::Longer(len);
        }
        let record = &bytes[..len as usize];
        let sound = Record::verify(record).is_some();
        #[cfg(any(test, feature = "sim"))]
        let sound = sound || crate::plant::is(crate::plant::Plant::L7Cold);
        match sound {
            true if record.len() == bytes.len() => Self::Record(Bytes::from(bytes)),
            true => Self::Record(Bytes::copy_from_slice(record)), // not what was read behind it
            false => Self::Damaged,
        }
    }
}

#[derive(Debug)]
struct Entry {
    bytes: Bytes,
    number: u64,
    tick: u64,
    /// Somebody has fetched it.
    is_claimed: bool,
    /// Who has fetched it waits for others, and will want it again.
    is_held: bool,
}

/// The records that were read.
#[derive(Debug, Default)]
pub(crate) struct Kept {
    records: HashMap<Address, Entry>,
    /// In the order of arrival, with the number of it: some are gone, and some have come again.
    order: VecDeque<(Address, u64)>,
    bytes: usize,
    arrivals: u64,
    ticks: u64,
    failed: HashMap<Address, (String, u64)>,
}

impl Kept {
    #[inline]
    pub fn get(&self, address: Address) -> Option<&Bytes> {
        self.records.get(&address).map(|entry| &entry.bytes)
    }

    /// Bytes of all records.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    pub(crate) fn keep(&mut self, address: Address, bytes: Bytes) {
        self.forget(address);
        self.arrivals += 1;
        self.bytes += bytes.len();
        let entry = Entry { bytes, number: self.arrivals, tick: self.ticks, is_claimed: false, is_held: false };
        self.records.insert(address, entry);
        self.order.push_back((address, self.arrivals));
    }

    fn forget(&mut self, address: Address) {
        if let Some(entry) = self.records.remove(&address) {
            self.bytes -= entry.bytes.len();
        }
    }

    /// Forgets all records of these addresses.
    pub fn forget_all(&mut self, which: impl Fn(Address) -> bool) {
        let gone = self.records.extract_if(|address, _| which(*address));
        self.bytes -= gone.map(|(_, entry)| entry.bytes.len()).sum::<usize>();
        self.failed.retain(|address, _| !which(*address));
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        if !self.records.is_empty() {
            (self.records, self.order, self.bytes) = (HashMap::new(), VecDeque::new(), 0);
        }
    }

    /// Whether a record is here; `Some(true)` if nobody has asked since it came.
    fn claim(&mut self, address: Address) -> Option<bool> {
        let entry = self.records.get_mut(&address)?;
        entry.is_held = false;
        Some(!std::mem::replace(&mut entry.is_claimed, true))
    }

    /// Who has fetched a record will ask for it again, as others that are wanted with it have not come.
    fn hold(&mut self, address: Address) {
        if let Some(entry) = self.records.get_mut(&address) {
            (entry.is_held, entry.tick) = (true, self.ticks);
        }
    }

    /// Forgets the oldest of those that were fetched and are not held, until all take no more than `limit` bytes.
    fn shrink(&mut self, limit: usize) {
        for _ in 0..self.order.len() {
            if self.bytes <= limit {
                return;
            }
            let Some((address, number)) = self.order.pop_front() else { return };
            match self.records.get(&address) {
                Some(entry) if entry.number == number && (entry.is_held || !entry.is_claimed) => {
                    self.order.push_back((address, number));
                }
                Some(entry) if entry.number == number => self.forget(address),
                _ => {}
            }
        }
    }

    /// Drops what `order` says of records that are gone, when that is most of it.
    fn tidy(&mut self) {
        if self.order.len() > 2 * self.records.len() + 64 {
            let records = &self.records;
            self.order.retain(|(address, number)| records.get(address).is_some_and(|entry| entry.number == *number));
        }
    }

    fn tick(&mut self) {
        self.tidy();
        self.ticks += 1;
        let ticks = self.ticks;
        self.failed.retain(|_, (_, tick)| *tick + 1 >= ticks);
        for entry in self.records.values_mut().filter(|entry| entry.tick + UNCLAIMED_TICKS < ticks) {
            (entry.is_claimed, entry.is_held) = (true, false);
        }
    }
}

/// What was read so far, since the start or since somebody reset it.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct ColdStats {
    /// Records that were read.
    pub reads: u64,
    /// Times that somebody asked for what was being read already.
    pub shared: u64,
    /// Records that could not be read, or were damaged.
    pub failed: u64,
    /// What the reads took in all, in us, from the wish to the record.
    pub total_us: u64,
    /// How many took less than 2, 4, 8, ... us, and not less than half of that.
    pub by_us: [u64; 32],
}

impl ColdStats {
    fn note(&mut self, took: Duration) {
        let us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        self.reads += 1;
        self.total_us += us;
        self.by_us[((us | 1).ilog2() as usize).min(31)] += 1;
    }

    /// What 99 of 100 reads took at most, in us, to the next power of two.
    pub fn p99_us(&self) -> u64 {
        let all: u64 = self.by_us.iter().sum();
        let mut left = all - all / 100;
        for (i, count) in self.by_us.iter().enumerate() {
            left = left.saturating_sub(*count);
            if left == 0 && all > 0 {
                return 2 << i;
            }
        }
        0
    }

    /// Adds another's.
    pub fn add(&mut self, other: &Self) {
        self.reads += other.reads;
        self.shared += other.shared;
        self.failed += other.failed;
        self.total_us += other.total_us;
        self.by_us.iter_mut().zip(other.by_us).for_each(|(mine, theirs)| *mine += theirs);
    }
}

#[derive(Debug)]
struct Read {
    sequence: SegmentSequence,
    since: Instant,
    /// Whether the length is known.
    is_exact: bool,
}

/// The reads that are under way, or wait to be.
#[derive(Debug, Default)]
pub(crate) struct ColdReads {
    reads: HashMap<Address, Read>,
    waiting: VecDeque<Address>,
    under_way: usize,
    /// Counts those that have ended.
    arrivals: u64,
    stats: ColdStats,
}

impl<D: Disk> Log<D> {
    /// Has the record at `address` in memory, now or later. What is here stays at least until the end of the turn.
    pub fn bring(&mut self, address: Address) -> Bring {
        if self.table.is_resident(address) {
            return Bring::Here { is_new: false };
        }
        if let Some(is_new) = self.table.kept_mut().claim(address) {
            return Bring::Here { is_new };
        }
        if let Some((reason, _)) = self.table.kept().failed.get(&address) {
            return Bring::Failed(reason.clone());
        }
        if self.cold.reads.contains_key(&address) {
            self.cold.stats.shared += 1;
        } else if let Some((sequence, ..)) = self.cold_place(address) {
            self.cold.reads.insert(address, Read { sequence, since: Instant::now(), is_exact: false });
            self.cold.waiting.push_back(address);
            self.start_cold_reads();
        }
        Bring::Coming
    }

    /// Keeps a record that was fetched, if it was read, for who waits for others too: for as long as one that nobody has fetched.
    pub fn hold_kept(&mut self, address: Address) {
        self.table.kept_mut().hold(address);
    }

    /// Whether a record was read, and fetched by somebody already.
    pub fn is_claimed(&self, address: Address) -> bool {
        self.table.kept().records.get(&address).is_some_and(|entry| entry.is_claimed)
    }

    /// Whether a record is being read.
    pub fn is_coming(&self, address: Address) -> bool {
        self.cold.reads.contains_key(&address)
    }

    /// Moves whenever a record has come, or will not.
    pub fn cold_arrivals(&self) -> u64 {
        self.cold.arrivals
    }

    /// What was read.
    pub fn cold_stats(&self) -> ColdStats {
        self.cold.stats
    }

    /// Begins to count anew.
    pub fn reset_cold_stats(&mut self) {
        self.cold.stats = ColdStats::default();
    }

    /// Bytes of records that are kept.
    pub fn kept_bytes(&self) -> u64 {
        self.table.kept().bytes() as u64
    }

    /// Lets go of records that were read and fetched, the oldest first, until those that are left take so many bytes.
    pub fn shrink_kept(&mut self, limit: u64) {
        self.table.kept_mut().shrink(usize::try_from(limit).unwrap_or(usize::MAX));
    }

    /// What was read for this address is not what should be there (M2): it is kept no more, and whoever asks is told.
    pub fn refuse_kept(&mut self, address: Address) {
        self.fail_cold(address, "the record there is another one's");
    }

    pub(crate) fn tick_cold(&mut self) {
        self.table.kept_mut().tick();
    }

    /// What could not be read may be asked for again at once.
    #[cfg(any(test, feature = "sim"))]
    pub fn forget_failed_reads(&mut self) {
        self.table.kept_mut().failed.clear();
    }

    /// The segment of an address if it is not resident: its number, its file, the record's offset there and what follows it.
    fn cold_place(&self, address: Address) -> Option<(SegmentSequence, &D::File, u64, u64)> {
        let (first, offset) = self.table.place(address)?;
        let segment = self.segments.iter().find(|segment| segment.slot == first)?;
        let is_cold = !segment.residence.is_resident();
        is_cold.then(|| (segment.sequence(), &segment.file, offset, segment.end.saturating_sub(offset)))
    }

    fn start_cold_reads(&mut self) {
        while self.cold.under_way < MAX_READS
            && let Some(address) = self.cold.waiting.pop_front()
        {
            self.start_cold_read(address, GUESS_BYTES);
        }
    }

    fn start_cold_read(&mut self, address: Address, len: u64) {
        match self.cold_place(address) {
            Some((_, file, offset, left)) => {
                let job = Job::Read { address, file: file.clone(), offset, len: len.min(left) };
                self.cold.under_way += 1;
                self.start(job);
            }
            None => self.cold_read_ended(address),
        }
    }

    fn cold_read_ended(&mut self, address: Address) {
        self.cold.reads.remove(&address);
        self.cold.arrivals += 1;
    }

    /// A read has come to its end.
    pub(crate) fn cold_read_done(&mut self, address: Address, result: io::Result<Done<D::File>>) {
        self.cold.under_way -= 1;
        let Some(read) = self.cold.reads.get_mut(&address) else { unreachable!("it was under way") };
        let (sequence, since, is_exact) = (read.sequence, read.since, read.is_exact);
        let place = self.cold_place(address).filter(|(now, ..)| *now == sequence).map(|(_, _, _, left)| left);
        match (place, result) {
            (None, _) => {} // it was freed, or has been loaded
            (Some(left), Ok(Done::Brought(Brought::Longer(len)))) if !is_exact && len <= left => {
                if let Some(read) = self.cold.reads.get_mut(&address) {
                    read.is_exact = true;
                }
                return self.start_cold_read(address, len);
            }
            (Some(_), Ok(Done::Brought(Brought::Record(bytes)))) => {
                self.cold.stats.note(since.elapsed());
                self.table.kept_mut().keep(address, bytes);
            }
            (Some(_), Ok(_)) => self.fail_cold(address, "the record there is damaged"),
            (Some(_), Err(error)) => self.fail_cold(address, &error.to_string()),
        }
        self.cold_read_ended(address);
        self.start_cold_reads();
    }

    /// The file that holds what is at an address, and where in it.
    pub fn place_of(&self, address: Address) -> Option<(FileId, u64)> {
        let (slot, offset) = self.table.place(address)?;
        let segment = self.segments.iter().find(|segment| segment.slot == slot)?;
        Some((segment.file_id, offset))
    }

    fn fail_cold(&mut self, address: Address, reason: &str) {
        let (file, offset) = self.place_of(address).unwrap_or_else(|| unreachable!("its segment is there"));
        let file = segment_name(file);
        tracing::error!(file, offset, reason, "a record of a segment that is not in memory can't be read");
        self.cold.stats.failed += 1;
        let kept = self.table.kept_mut();
        kept.forget(address);
        let tick = kept.ticks;
        kept.failed.insert(address, (format!("{file}, offset {offset}: {reason}"), tick));
    }
}
