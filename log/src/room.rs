//! What may be appended next: how far the head may be filled, by what for, and what is held for later.
//!
//! ```text
//!   head   | written | free for all        | for what shrinks | compaction | frees | seal |
//!                    |<----- Grow, Keep -->|                  |            |       |
//!                    |<----- Shrink ------------------------->|            |       |
//!                    |<----- Compact ------------------------------------->|       |
//!                    |<----- Free ------------------------------------------------>|
//! ```
//!
//! That is so while no further segment is ready (E3); else what shrinks has no part of its own. What is held is taken off at the end for all
//! of them (X2).

use crate::admission::Admission;
use crate::disk::Disk;
use crate::header::SEGMENT_HEADER_BYTES;
use crate::log::{FRAME_SPACE, Health, Log, SEAL_SPACE};
use crate::segment::{Life, Next};

/// The part of a segment that only shrinking writes may use while no next segment is ready, so that a full
/// disk can always be shrunk (E3): one eighth is 8 MiB of 64, some 300,000 tombstones. Less, and a mass
/// delete might not fit; more, and writes are refused earlier than they must.
const RESERVE_FRACTION: u64 = 8;

/// The last bytes of that part: only what gives whole segments back may use them, so that tombstones can't
/// keep FLUSHALL out. Room for 60 `freed` records and floors.
const FREE_SPACE: u64 = 4096;

/// And the last bytes of all, that compaction leaves to those: it is what they wait for when there is no more.
const COMPACTION_LEAVES: u64 = 1024;

/// The part of a segment that tombstones leave to compaction: with the segment that is kept for it, it can copy any segment, however
/// little of it is dead, and what that gives back is theirs.
const COMPACTION_FRACTION: u64 = 16;

/// What a record is appended for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Purpose {
    /// It adds data: refused when the disk is full, or there is no memory for it ([`Log::admit`]).
    Grow,
    /// It says again, or otherwise, what is there: refused when the disk is full.
    Keep,
    /// It removes data (DEL, expiry): may use the space that is kept for that.
    Shrink,
    /// Compaction copies it, from a segment that will give back more than that: may use the segment that is kept for it.
    Compact,
    /// It gives whole segments back (FLUSHALL, the log's own `freed`), or ends a transaction (marks, aborts): may
    /// use the very last of it.
    Free,
}

/// Why space can't be had.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Refusal {
    /// Not yet: try the same again after the log has made progress.
    #[error("the log is preparing a segment")]
    Wait,
    /// The disk is full, or no segment can be made for another reason.
    #[error("{0}")]
    NoSpace(String),
    /// More data than there may be memory for: [`Admission::Refused`].
    #[error("there is no memory for more data")]
    NoMemory,
    /// Writes and syncs have failed for good (law 8); until a restart only reads are served.
    #[error("{0}")]
    ReadOnly(String),
}

impl<D: Disk> Log<D> {
    /// Makes sure that records of `bytes` bytes in all can be appended next, all into one frame (so that a
    /// crash keeps all of them or none). Must be asked before anything is appended or changed.
    ///
    /// # Errors
    /// See [`Refusal`].
    #[inline]
    pub fn reserve(&mut self, bytes: u64, purpose: Purpose) -> Result<(), Refusal> {
        let limit = match purpose {
            Purpose::Grow => self.grow_limit,
            Purpose::Keep => self.keep_limit,
            Purpose::Shrink => self.shrink_limit,
            Purpose::Compact => self.compact_limit,
            Purpose::Free => self.free_limit,
        };
        if self.writer.at() + FRAME_SPACE + bytes <= limit { Ok(()) } else { self.reserve_slowly(bytes, purpose) }
    }

    /// Reserves `bytes` bytes, all into one frame, not for what is appended next but for later: others can't use
    /// them until [`Log::reserve_held`] or [`Log::release_held`] has ended that. Before a transaction's part is
    /// appended anywhere, each partition holds room for its part, and, in a second hold, for the mark or the abort (X2).
    ///
    /// # Errors
    /// See [`Refusal`].
    pub fn hold(&mut self, bytes: u64, purpose: Purpose) -> Result<(), Refusal> {
        self.reserve(bytes, purpose)?;
        self.held += FRAME_SPACE + bytes;
        self.update_limits();
        Ok(())
    }

    /// As [`Log::reserve`] does, for bytes that were held: they are held no more, and there is room for them. It is refused
    /// only while failed writes are being made good, or for good after that (law 8); then they are still held.
    ///
    /// # Errors
    /// See [`Refusal`].
    pub fn reserve_held(&mut self, bytes: u64) -> Result<(), Refusal> {
        self.check_health()?;
        self.release_held(bytes);
        assert!(self.writer.at() + FRAME_SPACE + bytes <= self.head().size - SEAL_SPACE, "what is held is there");
        Ok(())
    }

    /// Gives bytes back that were held.
    pub fn release_held(&mut self, bytes: u64) {
        assert!(self.held >= FRAME_SPACE + bytes, "what was held is given back once");
        self.held -= FRAME_SPACE + bytes;
        self.update_limits();
    }

    pub(crate) fn check_health(&self) -> Result<(), Refusal> {
        match &self.health {
            Health::Good if self.is_follower() => Err(Refusal::ReadOnly(crate::follow::READ_ONLY.to_owned())),
            Health::Good => Ok(()),
            Health::Refilling { .. } | Health::Reinstalling { .. } => Err(Refusal::Wait),
            Health::ReadOnly(reason) => Err(Refusal::ReadOnly(reason.clone())),
        }
    }

    #[cold]
    fn reserve_slowly(&mut self, bytes: u64, purpose: Purpose) -> Result<(), Refusal> {
        self.check_health()?; // read-only is for good
        self.check_parts()?;
        self.next_fits(bytes, purpose)?;
        self.roll();
        Ok(())
    }

    /// Makes sure that the next segment is ready, and has room for `bytes`.
    pub(crate) fn next_fits(&mut self, bytes: u64, purpose: Purpose) -> Result<(), Refusal> {
        self.check_health()?;
        if purpose == Purpose::Grow {
            self.check_admission()?;
        }
        let needed = SEGMENT_HEADER_BYTES + FRAME_SPACE + bytes + self.held + SEAL_SPACE;
        if purpose == Purpose::Shrink && self.is_full() && self.gives_back() {
            return Err(Refusal::Wait);
        }
        match &self.next {
            Next::Ready(_) if !matches!(purpose, Purpose::Compact | Purpose::Free) && !self.keeps_one() => {
                self.prepare_spare();
                match &self.no_spare {
                    Some(reason) => Err(Refusal::NoSpace(reason.clone())),
                    None => Err(Refusal::Wait),
                }
            }
            // without one more segment behind it, a fresh head has to keep its reserve too
            Next::Ready(next) if needed + self.reserve_bytes(purpose, needed, next.size) <= next.size => Ok(()),
            Next::Ready(_) => {
                // a record larger than it: the next one has to be made to measure
                let size = self.size_for(purpose, needed);
                if let Some((refused, reason)) = &self.refused_size
                    && *refused <= size
                {
                    return Err(Refusal::NoSpace(reason.clone()));
                }
                self.wanted_size = size;
                self.drop_next();
                self.prepare_next();
                Err(Refusal::Wait)
            }
            Next::Preparing { .. } | Next::Installing(..) | Next::Filling(_) => Err(Refusal::Wait),
            Next::Missing => {
                self.prepare_next();
                match &self.next {
                    Next::Failed(reason) => Err(Refusal::NoSpace(reason.clone())),
                    _ => Err(Refusal::Wait),
                }
            }
            Next::Failed(reason) => Err(Refusal::NoSpace(reason.clone())),
        }
    }

    /// Whether there is still one segment when the next one has been rolled into: without it compaction has no room
    /// to make any (E3). A log of one segment has nothing to compact.
    pub(crate) fn keeps_one(&self) -> bool {
        #[cfg(any(test, feature = "sim"))]
        if crate::plant::is(crate::plant::Plant::E3) {
            return true;
        }
        self.segments.len() < 2 || self.has_spare(self.holding_head())
    }

    /// Whether a spare file holds the copies of any segment, the head's if that is of this size.
    fn has_spare(&self, head: u64) -> bool {
        #[cfg(any(test, feature = "sim"))]
        if crate::plant::is(crate::plant::Plant::E3Size) {
            return !self.spare_files.is_empty();
        }
        self.spare_files.iter().any(|(_, size)| *size >= self.most_sealed.max(head))
    }

    /// Whether no more segments can be made, so that only compaction or a flush makes room.
    pub fn is_full(&self) -> bool {
        matches!(self.next, Next::Failed(_)) || self.no_spare.is_some() && !self.keeps_one()
    }

    /// Whether a segment is about to be given back.
    fn gives_back(&self) -> bool {
        let leaves = |life| matches!(life, Life::FreePendingSafe(..) | Life::FreePendingManifest(_));
        self.claim > 0 || self.segments.iter().any(|segment| leaves(segment.life))
    }

    /// How many bytes compaction can copy at most.
    pub fn compaction_room(&self) -> u64 {
        let here = self.compact_limit.saturating_sub(self.writer.at() + FRAME_SPACE);
        let next = match &self.next {
            Next::Ready(next) => next
                .size
                .saturating_sub(SEGMENT_HEADER_BYTES + FRAME_SPACE + self.held + SEAL_SPACE + COMPACTION_LEAVES),
            _ => 0,
        };
        // when that is full too, the next one is the one that is kept
        let kept = self.spare_files.iter().map(|(_, size)| *size).max();
        let kept =
            kept.map_or(0, |size| size.saturating_sub(SEGMENT_HEADER_BYTES + FRAME_SPACE + self.held + SEAL_SPACE));
        here + next + kept
    }

    /// What [`Log::claim`] keeps.
    pub fn claimed(&self) -> u64 {
        self.claim
    }

    /// Keeps so many bytes of the head, as far as there are, for compaction, until it says otherwise; tombstones wait for
    /// what is given back then.
    pub fn claim(&mut self, bytes: u64) {
        if self.claim != bytes {
            self.claim = bytes;
            self.progress += u64::from(bytes == 0);
            self.update_limits();
        }
    }

    fn reserve_bytes(&self, purpose: Purpose, needed: u64, size: u64) -> u64 {
        let most = self.segment_size();
        // a record that fills a segment of its own is followed by a roll: there it needs no reserve
        let is_kept = matches!(purpose, Purpose::Grow | Purpose::Keep);
        if !is_kept || needed + most / RESERVE_FRACTION > most { 0 } else { size.min(most) / RESERVE_FRACTION }
    }

    /// The size of a segment that `needed` bytes fit into as the first ones.
    fn size_for(&self, purpose: Purpose, needed: u64) -> u64 {
        let size = needed.next_power_of_two();
        let reserve = self.reserve_bytes(purpose, needed, size);
        match (needed + reserve).next_power_of_two() {
            size if size <= self.segment_size() => size,
            _ => needed + reserve,
        }
    }

    /// Works out how far the head may be filled, after anything that this depends on has changed.
    pub(crate) fn update_limits(&mut self) {
        if self.health != Health::Good || self.waits_for_parts || self.is_follower() {
            (self.grow_limit, self.keep_limit) = (0, 0);
            (self.shrink_limit, self.compact_limit, self.free_limit) = (0, 0, 0);
            return;
        }
        let usual = self.head().size.min(self.segment_size());
        let limit = self.head().size - SEAL_SPACE;
        debug_assert!(self.writer.at() + self.held <= limit, "what is held is there");
        let held = self.held.min(limit);
        #[cfg(any(test, feature = "sim"))]
        let held = if crate::plant::is(crate::plant::Plant::X2) { 0 } else { held };
        let limit = limit - held;
        let reserve = match self.next {
            // also when all of the head is needed; if the spare holds what is needed as it is, that is seen at the reserve
            Next::Ready(_) if self.keeps_one() && (self.segments.len() < 2 || self.has_spare(usual)) => 0,
            _ => (usual / RESERVE_FRACTION).min(limit),
        };
        let last = match reserve {
            0 => 0,
            _ if self.segments.len() < 2 => FREE_SPACE,
            _ => FREE_SPACE.max(usual / COMPACTION_FRACTION),
        };
        self.keep_limit = limit.saturating_sub(reserve.max(last + self.claim));
        // the slow way asks again
        self.grow_limit = if self.admission == Admission::Open { self.keep_limit } else { 0 };
        self.shrink_limit = limit.saturating_sub(last + self.claim);
        self.compact_limit = limit.saturating_sub(COMPACTION_LEAVES);
        self.free_limit = limit;
    }
}
