//! A log that follows another one: it is that one's log, record for record, at the same positions (protocol, R).
//!
//! It numbers, appends and compacts nothing of its own: segments and frames are taken over as they come. What is its own are the
//! files, their nonces and the frames' headers, which say what is durable here.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::address::{Address, LogPosition, PartitionId, SegmentSequence};
use crate::disk::Disk;
use crate::evict;
use crate::frame::{FRAME_HEADER_BYTES, frame_boundary};
use crate::header::{SEGMENT_HEADER_BYTES, SegmentHeader};
use crate::horizon::{Step, TxId};
use crate::job::JobKind;
use crate::log::{Health, Log};
use crate::record::{Entry, Kind, Record};
use crate::segment::{Generation, Life, Next, Segment};
use crate::ship::{SegmentFacts, Shipped, ShippedFrame};
use crate::table::SegmentTable;
use crate::victim::Cursor;

/// What a client that wants it to write is told.
pub(crate) const READ_ONLY: &str = "READONLY You can't write against a read only replica.";

/// A part of a transaction that has no end in its log yet.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct OpenPart {
    /// Whose.
    pub txid: TxId,
    /// Those who have one, or will.
    pub participants: Vec<PartitionId>,
    /// Where its frame begins.
    pub start: LogPosition,
    /// Its records, in their order.
    pub records: Vec<Address>,
}

/// What has become of a step of following.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Followed {
    /// It is done.
    Done,
    /// Not yet: to be tried again when the log has made progress.
    Waits,
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Following {
    /// Records are taken over and nothing is made of them.
    is_raw: bool,
    /// The head's last record is a seal.
    pub is_sealed: bool,
    /// The manifest edit that says where the head ends, if its last record does not.
    ended: Option<Generation>,
    /// The manifest edit that says where the head begins, if that is not where the one before it ends.
    placed: Option<Generation>,
    /// The segment that comes next, once it is known.
    announced: Option<SegmentFacts>,
    /// Segments that the log says are freed, where it says so, and what has to be settled first.
    freed: BTreeMap<SegmentSequence, (LogPosition, TxId)>,
    /// Those of them whose records are still to be looked at, and how far the first one was.
    visits: VecDeque<SegmentSequence>,
    visited: Option<Cursor>,
    /// Parts that a start has found without their ends.
    pub open: VecDeque<OpenPart>,
    /// And those of transactions that are known to have happened.
    decided: Vec<(TxId, Vec<PartitionId>)>,
    /// How far evictions were followed in a segment.
    evicted: Option<(SegmentSequence, Cursor)>,
}

impl Following {
    /// Whether the log says that this segment is freed, though something of it is still needed here.
    pub fn is_freed(&self, sequence: SegmentSequence) -> bool {
        self.freed.contains_key(&sequence)
    }

    /// The segment that is to be prepared.
    pub fn announced(&self) -> Option<&SegmentFacts> {
        self.announced.as_ref()
    }
}

impl<D: Disk> Log<D> {
    /// Whether it follows another one: then nothing can be appended but by [`Log::follow_frame`].
    #[inline]
    pub fn is_follower(&self) -> bool {
        self.following.is_some()
    }

    /// What a start has found of transactions without their ends here, and how the log ends.
    pub(crate) fn begin_to_follow(
        &mut self,
        open: Vec<OpenPart>,
        ended: Vec<(TxId, Vec<PartitionId>)>,
        is_sealed: bool,
        freed: &BTreeSet<SegmentSequence>,
    ) {
        let tail = self.tail();
        let Some(following) = &mut self.following else { unreachable!("only a follower follows") };
        following.decided = ended;
        following.is_sealed = is_sealed && self.writer.at() > SEGMENT_HEADER_BYTES;
        // all that is here is synced; what was flushed may have to wait for the sweep
        let until = self.horizon.next();
        following.freed = freed.iter().map(|sequence| (*sequence, (tail, until))).collect();
        following.visits = freed.iter().copied().collect();
        let mut steps = Vec::new();
        for part in open {
            self.horizon.follows(part.txid, part.participants.iter().copied());
            steps.push((part.txid, Step::Counts));
            following.open.push_back(part);
        }
        // all that a start leaves is synced, and it has cut what hangs on what is not there
        self.horizon.synced(self.partition, steps);
    }

    /// From now on records are taken over and nothing is made of them: all of it is replayed when it is opened again. Nothing may be
    /// referred to.
    pub fn follow_raw(&mut self) {
        self.horizon.forget_open();
        if let Some(following) = &mut self.following {
            following.is_raw = true;
        }
    }

    /// A transaction of which a part was followed has happened, or not, though nothing here says so.
    pub fn decide_followed(&self, txid: TxId) {
        self.horizon.decided(txid);
    }

    /// Has what is written synced at the end of the turn.
    pub fn ask_for_sync(&mut self) {
        self.sync_soon = true;
    }

    /// All partitions have all, synced, that there was where the horizon was this one.
    pub fn settle_followed(&mut self, horizon: TxId) {
        self.horizon.follow_from(horizon);
        self.mark_dirty();
        self.after_sync();
    }

    /// Whether it waits until transactions are known to be settled where it comes from: to let go of a segment, or for a checkpoint.
    pub fn waits_for_horizon(&self) -> bool {
        let horizon = self.horizon.horizon();
        let saves = self.checkpoints.waits_until().is_some_and(|until| horizon < until);
        let waits =
            |segment: &Segment<D::File>| matches!(segment.life, Life::FreePendingSafe(_, until) if horizon < until);
        self.is_follower() && (saves || self.segments.iter().any(waits))
    }

    /// Parts that were there when the log was opened, of transactions that are known to have happened, with all that have one; once.
    pub fn take_ended_parts(&mut self) -> Vec<(TxId, Vec<PartitionId>)> {
        self.following.as_mut().map(|following| std::mem::take(&mut following.decided)).unwrap_or_default()
    }

    /// Parts that were there without their ends when the log was opened; once.
    pub fn take_open_parts(&mut self) -> Vec<OpenPart> {
        self.following.as_mut().map(|following| following.open.drain(..).collect()).unwrap_or_default()
    }

    /// Goes on in this segment, unless it does already.
    ///
    /// # Errors
    /// In words: the segment can't come next, or the log is read-only.
    pub fn follow_into(&mut self, facts: &SegmentFacts) -> Result<Followed, String> {
        match &self.health {
            Health::Good => {}
            Health::ReadOnly(reason) => return Err(reason.clone()),
            Health::Refilling { .. } | Health::Reinstalling { .. } => return Ok(Followed::Waits),
        }
        let head = self.head();
        if head.sequence() == facts.sequence {
            let same = (head.size, head.base()) == (facts.size, facts.base);
            if !same {
                return Err(format!("{facts:?} is not the segment that is here"));
            }
            let placed = self.following.as_ref().and_then(|following| following.placed);
            return Ok(if placed.is_none_or(|edit| self.is_listed(edit)) { Followed::Done } else { Followed::Waits });
        }
        let (end, head_base) = (self.followed_end(), head.base());
        if facts.sequence < head.sequence() || facts.base < head.base().plus(end) {
            return Err(format!("{facts:?} does not come behind what is here"));
        }
        let is_sane = facts.size.is_multiple_of(4096) && facts.size >= 1 << 16 && facts.size <= 1 << 38;
        if !is_sane {
            return Err(format!("{facts:?} is no segment"));
        }
        let Some(following) = &mut self.following else { unreachable!("only a follower follows") };
        following.announced = Some(*facts);
        let is_this =
            |next: &crate::segment::Prepared<D::File>| (next.sequence, next.size) == (facts.sequence, facts.size);
        match &self.next {
            Next::Ready(next) if is_this(next) => {
                if !self.head_has_ended() {
                    return Ok(Followed::Waits);
                }
                let follows_on = facts.base == head_base.plus(end);
                self.roll_into(facts);
                if follows_on {
                    return Ok(Followed::Done);
                }
                // a start takes what begins elsewhere for what was left over, unless the manifest says where
                let edit = self.mark_dirty();
                if let Some(following) = &mut self.following {
                    following.placed = Some(edit);
                }
                Ok(Followed::Waits)
            }
            Next::Ready(_) => {
                self.drop_next();
                Ok(Followed::Waits)
            }
            Next::Missing => {
                self.prepare_next();
                Ok(Followed::Waits)
            }
            _ => Ok(Followed::Waits),
        }
    }

    /// Up to where it has followed: padding is nothing that could come.
    pub fn followed(&self) -> LogPosition {
        self.head().base().plus(self.followed_end())
    }

    /// Whether a start would know that the head ends where it does, and go on behind it: by its seal, or, as its writer's own start has
    /// gone on elsewhere and there is none, by the manifest.
    fn head_has_ended(&mut self) -> bool {
        let Some(following) = &self.following else { unreachable!("only a follower follows") };
        #[cfg(any(test, feature = "sim"))]
        if crate::plant::is(crate::plant::Plant::R8) {
            return true;
        }
        if following.is_sealed {
            return true;
        }
        if let Some(edit) = following.ended {
            return self.is_listed(edit);
        }
        if self.synced < self.tail() {
            self.sync_soon = true; // only what is synced is said to be sealed
            return false;
        }
        self.head_mut().life = Life::Sealed { listed: true };
        let edit = self.mark_dirty();
        if let Some(following) = &mut self.following {
            following.ended = Some(edit);
        }
        false
    }

    /// Whether this edit of the manifest is durable.
    fn is_listed(&self, edit: Generation) -> bool {
        self.edits > edit || self.edits == edit && !self.under_way.contains(&JobKind::Manifest)
    }

    /// Where the head ends if nothing more comes.
    fn followed_end(&self) -> u64 {
        let is_sealed = self.following.as_ref().is_some_and(|following| following.is_sealed);
        // the padding belongs to what was sealed; what ended otherwise has none
        if is_sealed { frame_boundary(self.writer.at()) } else { self.writer.at() }
    }

    fn roll_into(&mut self, facts: &SegmentFacts) {
        let Next::Ready(next) = std::mem::replace(&mut self.next, Next::Missing) else {
            unreachable!("the caller has looked")
        };
        let end = self.followed_end();
        self.writer.skip((end - self.writer.at()) as usize);
        self.writer.close_loaded();
        if let Some(last) = self.unwritten.back_mut() {
            (last.to, last.reaches) = (end, end);
        }
        let head = self.head_mut();
        head.end = end;
        if head.life == Life::Head {
            head.life = Life::Sealed { listed: false };
        }
        let (base, created_ms) = (facts.base, facts.created_ms);
        let header =
            SegmentHeader { partition: self.partition, sequence: next.sequence, base, nonce: next.nonce, created_ms };
        self.install(next, header, SEGMENT_HEADER_BYTES, 0, |mut writer| {
            writer.append(SEGMENT_HEADER_BYTES as usize, |space| space.copy_from_slice(&header.encode()));
            writer.close_loaded();
            writer
        });
        if let Some(following) = &mut self.following {
            (following.is_sealed, following.announced) = (false, None);
            (following.ended, following.placed) = (None, None);
        }
        self.rolled();
    }

    /// Appends a frame as it is; where its first record is. What is in it is the caller's to follow: each record is to be noted by
    /// [`Log::note_followed`].
    ///
    /// # Errors
    /// In words: the frame does not come next.
    pub fn follow_frame(&mut self, frame: &ShippedFrame<'_>) -> Result<Address, String> {
        let at = frame_boundary(self.writer.at());
        let end = frame.offset + (FRAME_HEADER_BYTES + frame.body.len()) as u64;
        if frame.offset != at || end > self.head().size || self.open_frame.is_some() {
            return Err(format!("a frame at offset {} does not come next, at {at}", frame.offset));
        }
        self.begin_frame();
        let address = self.table.split().address(self.head().slot, self.writer.at());
        self.writer.append(frame.body.len(), |space| space.copy_from_slice(frame.body));
        if let Some(open) = &mut self.open_frame {
            open.records = frame.records;
        }
        self.close_frame();
        Ok(address)
    }

    /// What the log itself has to know of a record of the frame that was appended last.
    pub fn note_followed(&mut self, address: Address, record: &Record<'_>) {
        let Some(following) = &mut self.following else { unreachable!("only a follower follows") };
        following.is_sealed = record.kind() == Kind::Seal;
        if following.is_raw {
            if let Some(Entry::Freed { sequence, .. }) = record.entry() {
                let position = self.head().base().plus(self.writer.at());
                self.sync_soon = true;
                if let Some(following) = &mut self.following {
                    following.freed.insert(sequence, (position, TxId(0)));
                }
            }
            return;
        }
        let step = match record.kind() {
            Kind::Delete => return self.table.add_tombstone(address, record.encoded_len()),
            Kind::Floor => return self.table.add_floor(address),
            Kind::Part => {
                let Some(part) = record.part() else { return };
                self.horizon.follows(part.txid, part.participants());
                (part.txid, Step::Counts)
            }
            Kind::Mark | Kind::Abort | Kind::Freed => match record.entry() {
                Some(Entry::Mark { txid }) => {
                    self.horizon.decided(txid);
                    (txid, Step::Mark { tick: self.ticks })
                }
                Some(Entry::Abort { txid }) => {
                    self.table.add_floor(address); // it hides a part (T1)
                    self.horizon.decided(txid);
                    (txid, Step::Counts)
                }
                Some(Entry::Freed { sequence, until }) => {
                    self.horizon.has_drawn(until);
                    let position = self.tail();
                    if let Some(following) = &mut self.following {
                        following.freed.insert(sequence, (position, until));
                        following.visits.push_back(sequence);
                    }
                    self.sync_soon = true;
                    return;
                }
                _ => return,
            },
            _ => return,
        };
        self.unsynced_steps.push_back((self.tail(), step.0, step.1));
    }

    /// Shows up to `limit` records of segments that the log says are freed: what is still referred to here of them is what its writer
    /// has let go of without a word, as it belongs to nobody. Returns whether there are more.
    pub fn visit_freed(&mut self, limit: usize, mut visit: impl FnMut(&SegmentTable, Address, &Record<'_>)) -> bool {
        let Some(following) = &mut self.following else { return false };
        let mut left = limit;
        while let Some(&sequence) = following.visits.front() {
            let segment = self.segments.iter().find(|segment| segment.sequence() == sequence);
            // nothing else is looked for once nothing is left
            let segment = segment.filter(|segment| self.table.needed(segment.slot).live_bytes > 0);
            if let Some(segment) = segment {
                let mut cursor = following.visited.unwrap_or(Cursor { at: SEGMENT_HEADER_BYTES, left: 0 });
                let bytes = segment.memory.closed_bytes(0..segment.end);
                while cursor.seek(bytes) {
                    if left == 0 {
                        following.visited = Some(cursor);
                        return true;
                    }
                    let record = cursor.record(bytes);
                    visit(&self.table, self.table.split().address(segment.slot, cursor.at), &record);
                    cursor.advance(record);
                    left -= 1;
                }
            }
            following.visits.pop_front();
            following.visited = None;
        }
        false
    }

    /// Begins to free the segments that the log says are freed, as far as nothing here refers to them any more: what was flushed
    /// may until the sweep has come by. At each end of a turn.
    pub(crate) fn free_followed(&mut self) {
        self.table.take_emptied();
        let Some(following) = &mut self.following else { return };
        if following.freed.is_empty() || self.health != Health::Good {
            return;
        }
        // in their order, as a start does it: a later one may have said what of an earlier one was evicted (T5)
        let mut freed = std::mem::take(&mut following.freed);
        while let Some(first) = freed.first_entry() {
            let (position, until) = *first.get();
            if let Some(segment) = self.segments.iter_mut().find(|segment| segment.sequence() == *first.key()) {
                if segment.life != (Life::Sealed { listed: true }) || self.table.needed(segment.slot).live_bytes > 0 {
                    break;
                }
                segment.life = Life::FreePendingSafe(position, until);
                self.horizon.wait_for(until);
                self.sync_soon = true;
            } // else it was gone before this log began to follow
            first.remove();
        }
        if let Some(following) = &mut self.following {
            following.freed = freed;
        }
    }

    /// Shows `evict` the records that an `evicted` record, which was noted, speaks of and that none before it did (T5).
    pub fn follow_evicted(
        &mut self,
        address: Address,
        upto: LogPosition,
        mut evict: impl FnMut(&mut SegmentTable, Address, &Record<'_>),
    ) {
        let is_of = |segment: &&Segment<D::File>| segment.base() < upto && upto <= segment.end_position();
        let Some(segment) = self.segments.iter().find(is_of) else { return }; // it may be gone
        let (of, base, slot) = (segment.sequence(), segment.base(), segment.slot);
        let (memory, end) = (std::sync::Arc::clone(&segment.memory), segment.end);
        let Some(following) = &mut self.following else { unreachable!("only a follower follows") };
        let mut cursor = match following.evicted {
            Some((sequence, cursor)) if sequence == of => cursor,
            _ => Cursor { at: SEGMENT_HEADER_BYTES, left: 0 },
        };
        let bytes = memory.closed_bytes(0..end);
        while cursor.seek(bytes) && base.plus(cursor.at) < upto {
            let record = cursor.record(bytes);
            let at = self.table.split().address(slot, cursor.at);
            evict(&mut self.table, at, &record);
            cursor.advance(record);
        }
        following.evicted = Some((of, cursor));
        self.table.add_floor(address);
        let in_ = self.head().sequence();
        evict::note(&mut self.evictions, of, in_);
    }

    // ---- readers -----------------------------------------------------------------------------------

    /// Tells readers on other threads what there is now.
    #[inline]
    pub(crate) fn tell_readers(&mut self) {
        if self.is_shipping_stale {
            self.tell_segments();
        }
        // last: what is below it is among the segments by now
        self.shipping.set_gate(self.gate());
    }

    #[cold]
    fn tell_segments(&mut self) {
        self.is_shipping_stale = false;
        // one that is about to go is not there for who comes now
        let stays = |segment: &&Segment<D::File>| !matches!(segment.life, Life::FreePendingManifest(_));
        let segments = self.segments.iter().filter(stays).map(|segment| Shipped {
            facts: segment.facts(),
            end: (segment.life != Life::Head).then(|| segment.end_position()),
            memory: segment.residence.is_resident().then(|| std::sync::Arc::clone(&segment.memory)),
        });
        self.shipping.set(segments.collect(), self.incarnations.clone());
    }
}
