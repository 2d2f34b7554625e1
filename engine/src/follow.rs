//! A partition that follows another one: its log is that one's, record for record, at the same positions (protocol, R).

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use emberkv_index::ScanCursor;
use emberkv_log::disk::Disk;
#[cfg(any(test, feature = "sim"))]
use emberkv_log::plant::{self, Plant};
use emberkv_log::{
    Address, Entry, Followed, FollowedPart, Kind, LogPosition, OpenPart, Options, Origin, OriginLog, PartitionId,
    Progress, Record, Shape, ShippedFrame, ShippedPiece, StartReport, TxId,
};

use crate::databases::{Databases, MAP_KEY, RESERVED};
use crate::lookup::{Lookup, TextBuf};
use crate::partition::{Limits, OpenError, Partition};
use crate::replay::Replay;

/// What a server says to a client that wants a follower to write.
pub const READ_ONLY: &str = "READONLY You can't write against a read only replica.";

/// Records of freed segments that are looked at in a turn.
const VISITS_PER_TURN: usize = 4096;

const DAMAGED: &str = "a record of a piece is damaged";

/// Which parts of transactions have come, to any of the partitions, and are as durable as the policy says: a mark waits until all are,
/// or a crash would end its log there (R3, X3).
#[derive(Debug, Default)]
pub(crate) struct Arrivals {
    parts: Mutex<BTreeMap<TxId, Arrived>>,
    awaited: Mutex<Option<Awaited>>,
}

/// What the other data set was at a time, until all partitions are as far.
#[derive(Debug)]
struct Awaited {
    horizon: TxId,
    ends: Vec<LogPosition>,
    lacking: BTreeSet<PartitionId>,
}

#[derive(Debug)]
struct Arrived {
    lacking: BTreeSet<PartitionId>,
}

/// So many are kept before those are looked for that nobody will ask for.
const KEPT_ARRIVALS: usize = 1024;

impl Arrivals {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<TxId, Arrived>> {
        // a panic ends the process; no state is left half-changed here in any case
        self.parts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for this state of the other data set, unless it does for an earlier one.
    fn awaits(&self, origin: &Origin) {
        let mut awaited = self.awaited.lock().unwrap_or_else(PoisonError::into_inner);
        if awaited.is_none() {
            let ends: Vec<_> = origin.logs.iter().map(OriginLog::end).collect();
            let lacking = (0..ends.len() as u16).map(PartitionId).collect();
            *awaited = Some(Awaited { horizon: origin.horizon, ends, lacking });
        }
    }

    /// Whether a partition that has followed up to there is waited for only because it is not synced.
    fn waits_for(&self, partition: PartitionId, followed: LogPosition) -> bool {
        let awaited = self.awaited.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(awaited) = &*awaited else { return false };
        let end = awaited.ends.get(usize::from(partition.0));
        awaited.lacking.contains(&partition) && end.is_some_and(|end| *end <= followed)
    }

    /// A partition is synced up to there. Returns the horizon of what was waited for, if that was the last one.
    fn synced(&self, partition: PartitionId, upto: LogPosition) -> Option<TxId> {
        let mut awaited = self.awaited.lock().unwrap_or_else(PoisonError::into_inner);
        let waits = awaited.as_mut()?;
        if upto >= *waits.ends.get(usize::from(partition.0))? {
            waits.lacking.remove(&partition);
        }
        let is_over = waits.lacking.is_empty();
        is_over.then(|| awaited.take()).flatten().map(|awaited| awaited.horizon)
    }

    /// A part has come to a partition. Those below `horizon` are settled.
    fn came(&self, txid: TxId, to: PartitionId, participants: impl Iterator<Item = PartitionId>, horizon: TxId) {
        let mut all = self.lock();
        let arrived = all.entry(txid).or_insert_with(|| Arrived { lacking: participants.collect() });
        arrived.lacking.remove(&to);
        if all.len() > KEPT_ARRIVALS {
            all.retain(|txid, _| *txid >= horizon);
        }
    }

    /// Whether all parts of a transaction have come of which one has.
    fn is_complete(&self, txid: TxId) -> bool {
        self.lock().get(&txid).is_some_and(|arrived| arrived.lacking.is_empty())
    }
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Follower {
    /// Pieces that were received, and of the first one how many frames were followed.
    queue: VecDeque<Bytes>,
    frames_done: usize,
    received: LogPosition,
    /// What has no end yet, of transactions.
    parts: BTreeMap<TxId, Held>,
    arrivals: Arc<Arrivals>,
    /// Parts that were followed and are not that durable yet, in the log's order: where they end.
    unwritten: VecDeque<(LogPosition, TxId, Vec<PartitionId>)>,
    /// What is here is not what the other one is, or was at any time: segments that were freed there meanwhile are lacking, and what
    /// made up for them is yet to come. So nothing is made of it until it has come up to here, when all is to be opened again.
    syncs_to: Option<LogPosition>,
    has_all: bool,
    /// Where lives of the other one's log begin that this one has not come to, and where that log ended when this was asked.
    lives: VecDeque<LogPosition>,
    its_end: LogPosition,
}

/// A part that has no end yet: where it begins, and its records, not applied.
#[derive(Debug)]
struct Held {
    start: LogPosition,
    records: Vec<Address>,
}

/// Opens the partitions of a data set that follows `origin`. What is in the directory goes on if all of it is `origin`'s; else it
/// is removed, and it begins with nothing.
///
/// # Errors
/// See [`OpenError`].
pub fn open_follower<D: Disk>(
    disk: Arc<D>,
    options: Options,
    limits: Limits,
    origin: &Origin,
    progress: &Progress,
) -> Result<(Vec<Partition<D>>, StartReport), OpenError> {
    let now_ms = (options.now_ms)();
    let options = Options { follows: Some(Arc::new(origin.clone())), ..options };
    let (logs, report, is_whole) = emberkv_log::start_follower(disk, options, progress, |_, seed| {
        Replay::new(limits, seed, now_ms).map_err(|error| error.to_string())
    })?;
    let count = logs.len() as u16;
    let arrivals = Arc::new(Arrivals::default());
    arrivals.awaits(origin);
    let follow = |((log, replay), its): ((emberkv_log::Log<D>, Replay), &OriginLog)| {
        let mut partition = replay.finish(log, count);
        partition.begin_to_follow(Arc::clone(&arrivals), is_whole, its);
        partition
    };
    Ok((logs.into_iter().zip(&origin.logs).map(follow).collect(), report))
}

impl<D: Disk> Partition<D> {
    fn begin_to_follow(&mut self, arrivals: Arc<Arrivals>, is_whole: bool, its: &OriginLog) {
        let mut parts = BTreeMap::new();
        let (id, horizon) = (self.id(), self.log.horizon().horizon());
        for FollowedPart { txid, participants, start, records } in
            self.log.take_open_parts().into_iter().filter(|_| is_whole)
        {
            arrivals.came(txid, id, participants.into_iter(), horizon);
            parts.insert(txid, Held { start, records });
        }
        // a mark elsewhere may be yet to come
        for (txid, participants) in self.log.take_ended_parts().into_iter().filter(|_| is_whole) {
            arrivals.came(txid, id, participants.into_iter(), horizon);
        }
        if !is_whole {
            self.forget_all();
            self.log.follow_raw();
        }
        // that never ends: what has no root may get one, and what never does goes with its segment
        self.sweeper.orphans = Some(ScanCursor::START);
        self.follower = Some(Box::new(Follower {
            queue: VecDeque::new(),
            frames_done: 0,
            received: self.log.tail(),
            parts,
            arrivals,
            unwritten: VecDeque::new(),
            syncs_to: (!is_whole).then(|| its.end()),
            has_all: false,
            lives: its.incarnations.iter().map(|life| life.start).filter(|start| *start >= self.log.tail()).collect(),
            its_end: its.end(),
        }));
    }

    /// Whether it is getting what it lacks, and serves nothing until it has been opened again.
    pub fn is_syncing(&self) -> bool {
        self.follower.as_ref().is_some_and(|follower| follower.syncs_to.is_some())
    }

    /// What the other data set is now: where it is known to be settled, it is here once all partitions are as far. To be told now and then,
    /// by one of them.
    pub fn note_origin(&mut self, origin: &Origin) {
        if let Some(follower) = &self.follower {
            follower.arrivals.awaits(origin);
        }
    }

    /// Whether it can't let go of a segment before it is told how far the other data set is.
    pub fn wants_origin(&self) -> bool {
        self.log.waits_for_horizon()
    }

    /// Whether it has got that: all partitions are to be opened again when all have.
    pub fn has_synced(&self) -> bool {
        self.follower.as_ref().is_some_and(|follower| follower.has_all)
    }

    /// Whether it follows another one: then it takes no writes but by [`Partition::receive_piece`].
    #[inline]
    pub fn is_follower(&self) -> bool {
        self.follower.is_some()
    }

    /// Takes a [`ShippedPiece`] that is to be followed; they come in order, the first one at [`Partition::received`].
    ///
    /// # Errors
    /// In words: what keeps it from being followed. Nothing of it was.
    ///
    /// # Panics
    /// If it follows nobody.
    pub fn receive_piece(&mut self, piece: Bytes) -> Result<(), String> {
        let Some(follower) = &mut self.follower else { panic!("it follows nobody") };
        let end = ShippedPiece::decode(&piece).ok_or("what came is no piece of a log")?.end();
        if end <= follower.received {
            return Err(format!("a piece that ends at {} was received before", end.0));
        }
        follower.received = end;
        follower.queue.push_back(piece);
        Ok(())
    }

    /// Up to where pieces were received: where the next one begins.
    pub fn received(&self) -> LogPosition {
        self.follower.as_ref().map_or(self.log.tail(), |follower| follower.received)
    }

    /// How many pieces were received and are not followed yet.
    pub fn pieces_left(&self) -> usize {
        self.follower.as_ref().map_or(0, |follower| follower.queue.len())
    }

    /// The parts that have no end yet: neither the index nor any count knows of them.
    pub(crate) fn held_parts(&self) -> Vec<OpenPart> {
        #[cfg(any(test, feature = "sim"))]
        if plant::is(Plant::R10) {
            return Vec::new();
        }
        let parts = self.follower.iter().flat_map(|follower| &follower.parts);
        parts.map(|(txid, held)| OpenPart { txid: *txid, start: held.start, records: Vec::new() }).collect()
    }

    /// What waits of transactions, for a message.
    #[cfg(test)]
    pub(crate) fn followed_parts(&self) -> String {
        let follower = self.follower.as_ref();
        let parts = follower.map(|f| (&f.parts, &f.unwritten, &f.arrivals, f.frames_done));
        format!(
            "{parts:?} horizon {:?} gate {:?} tail {:?}",
            self.log.horizon().horizon(),
            self.log.gate(),
            self.log.tail()
        )
    }

    /// Goes on with what was received, by about so many bytes; once a turn, before its end. What was followed is in
    /// [`Log::tail`](emberkv_log::Log::tail), what is as durable as the policy says in [`Log::gate`](emberkv_log::Log::gate).
    /// Returns whether more can be done at once.
    ///
    /// # Errors
    /// In words: the stream is not what it should be, and nothing more can be followed.
    pub fn follow(&mut self, bytes: usize) -> Result<bool, String> {
        let mut left = bytes;
        self.tell_arrivals();
        let drops = self.drop_freed()?;
        loop {
            if self.look_whether_all_is_here() {
                return Ok(drops);
            }
            self.look_whether_a_life_has_begun()?;
            let Some(follower) = &self.follower else { return Ok(drops) };
            let Some(piece) = follower.queue.front() else { return Ok(drops) };
            if left == 0 {
                return Ok(true);
            }
            let (piece, done) = (piece.clone(), follower.frames_done);
            let decoded = ShippedPiece::decode(&piece).ok_or("what came is no piece of a log")?;
            if self.log.follow_into(&decoded.segment)? == Followed::Waits {
                return Ok(drops); // its segment is being made: the end of that is a turn
            }
            for frame in decoded.frames().skip(done) {
                let frame = frame.ok_or("a frame of a piece is not whole")?;
                if !self.may_follow(&frame)? {
                    return Ok(true); // another partition gets the part that this waits for
                }
                let begins_life = self.begins_life(decoded.segment.base.plus(frame.offset()));
                // the first frame of a life may be what its start has appended: ends of what was open, and nothing else
                let is_ends = frame.records().flatten().all(|r| matches!(r.kind(), Kind::Mark | Kind::Abort));
                if begins_life && !is_ends {
                    self.end_open_parts()?;
                }
                let first = self.log.follow_frame(&frame)?;
                self.apply_frame(first, &frame)?;
                if begins_life && is_ends {
                    self.end_open_parts()?;
                }
                if let Some(follower) = &mut self.follower {
                    follower.frames_done += 1;
                }
            }
            if let Some(follower) = &mut self.follower {
                follower.queue.pop_front();
                follower.frames_done = 0;
            }
            left = left.saturating_sub(piece.len());
        }
    }

    /// Tells the other partitions of the parts that are durable by now. At the end of each turn.
    pub(crate) fn tell_arrivals(&mut self) {
        let Some(follower) = &mut self.follower else { return };
        let (gate, id) = (self.log.gate(), self.log.partition());
        // what is synced up to its tail is synced up to the padding behind it
        let synced = if self.log.synced() == self.log.tail() { self.log.followed() } else { self.log.synced() };
        if let Some(horizon) = follower.arrivals.synced(id, synced) {
            self.log.settle_followed(horizon);
        } else if follower.arrivals.waits_for(id, self.log.followed()) {
            self.log.ask_for_sync(); // under every policy
        }
        while let Some((_, txid, participants)) = follower.unwritten.pop_front_if(|(end, ..)| *end <= gate) {
            follower.arrivals.came(txid, id, participants.into_iter(), self.log.horizon().horizon());
        }
    }

    /// Takes note of it when all is here that it lacked.
    fn look_whether_all_is_here(&mut self) -> bool {
        let followed = self.log.followed();
        let Some(follower) = &mut self.follower else { return false };
        let Some(upto) = follower.syncs_to else { return false };
        follower.has_all |= followed >= upto;
        follower.has_all
    }

    /// Whether all records of a frame are sound, and no mark among them waits for a part that has not come (R3).
    fn may_follow(&self, frame: &ShippedFrame<'_>) -> Result<bool, String> {
        let Some(follower) = &self.follower else { return Ok(false) };
        if follower.syncs_to.is_some() {
            let mut records = frame.records();
            return if records.all(|record| record.is_some()) { Ok(true) } else { Err(DAMAGED.to_owned()) };
        }
        #[cfg(any(test, feature = "sim"))]
        if plant::is(Plant::R3) {
            return Ok(true);
        }
        for record in frame.records() {
            let record = record.ok_or(DAMAGED)?;
            if record.kind() == Kind::Mark
                && let Some(Entry::Mark { txid }) = record.entry()
                && follower.parts.contains_key(&txid)
                && !follower.arrivals.is_complete(txid)
                && !self.log.horizon().is_settled(txid)
            {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn apply_frame(&mut self, first: Address, frame: &ShippedFrame<'_>) -> Result<(), String> {
        let mut offset = 0;
        let mut of_part = (0, TxId(0));
        let is_raw = self.is_syncing();
        for record in frame.records().flatten() {
            let address = Address::from_raw(first.raw() + offset);
            offset += record.encoded_len() as u64;
            if is_raw {
                self.log.note_followed(address, &record);
                continue;
            }
            if of_part.0 > 0 {
                // it counts once that is marked
                of_part.0 -= 1;
                let held = self.follower.as_mut().and_then(|follower| follower.parts.get_mut(&of_part.1));
                let Some(held) = held else { unreachable!("its part was noted before") };
                held.records.push(address);
                continue;
            }
            self.log.note_followed(address, &record);
            if let Some(part) = record.part() {
                of_part = (part.records, part.txid);
                let (end, start) = (self.log.tail(), self.log.table().position(first));
                if let Some(follower) = &mut self.follower {
                    follower.unwritten.push_back((end, part.txid, part.participants().collect()));
                    follower.parts.insert(part.txid, Held { start, records: Vec::new() });
                }
                continue;
            }
            self.apply_followed(address, &record)?;
        }
        Ok(())
    }

    fn apply_followed(&mut self, address: Address, record: &Record<'_>) -> Result<(), String> {
        match record.kind() {
            kind if kind.is_put() => self.follow_put(address, record),
            Kind::Delete => self.follow_delete(record),
            Kind::Floor => {
                if let Some(Entry::Floor { db }) = record.entry() {
                    self.note_delete();
                    self.apply_floor(db, address);
                }
                Ok(())
            }
            Kind::Mark | Kind::Abort | Kind::Evicted => match record.entry() {
                Some(Entry::Mark { txid }) => self.follow_mark(txid),
                Some(Entry::Abort { txid }) => {
                    if let Some(follower) = &mut self.follower {
                        follower.parts.remove(&txid);
                    }
                    Ok(())
                }
                Some(Entry::Evicted { upto }) => {
                    self.follow_evicted(address, upto);
                    Ok(())
                }
                _ => Ok(()),
            },
            // the log's own
            _ => Ok(()),
        }
    }

    /// The transaction has happened: its records are what was said at its part, and nobody has changed their keys since (C5).
    fn follow_mark(&mut self, txid: TxId) -> Result<(), String> {
        let held = self.follower.as_mut().and_then(|follower| follower.parts.remove(&txid));
        for address in held.map(|held| held.records).unwrap_or_default() {
            // what is applied changes the log's table
            let bytes = self.log.table().copy_record(address);
            let record = Record::decode(&bytes).ok_or("a part holds what is no record")?;
            if record.kind() == Kind::Delete || record.kind() == Kind::Floor {
                self.log.note_followed(address, &record);
            }
            self.apply_followed(address, &record)?;
        }
        Ok(())
    }

    /// Whether a frame at this position is the first one of a life of the other log.
    fn begins_life(&mut self, position: LogPosition) -> bool {
        let Some(follower) = &mut self.follower else { return false };
        std::iter::from_fn(|| follower.lives.pop_front_if(|start| *start <= position)).count() > 0
    }

    /// A life that had written nothing when it was asked for has ended nothing at its start.
    fn look_whether_a_life_has_begun(&mut self) -> Result<(), String> {
        let followed = self.log.followed();
        let Some(follower) = &mut self.follower else { return Ok(()) };
        let its_end = follower.its_end;
        if follower.lives.pop_front_if(|start| *start <= followed && *start >= its_end).is_some() {
            self.end_open_parts()?;
        }
        Ok(())
    }

    /// What has no end though its writer has gone on after a start was settled, and has happened (X5).
    fn end_open_parts(&mut self) -> Result<(), String> {
        #[cfg(any(test, feature = "sim"))]
        if plant::is(Plant::R7) {
            return Ok(());
        }
        let Some(follower) = &self.follower else { return Ok(()) };
        let mut open: Vec<TxId> = follower.parts.keys().copied().collect();
        open.sort_by_key(|txid| follower.parts[txid].start);
        for txid in open {
            self.log.decide_followed(txid);
            self.follow_mark(txid)?;
        }
        Ok(())
    }

    fn follow_put(&mut self, address: Address, record: &Record<'_>) -> Result<(), String> {
        let key = self.key(record.db(), record.key());
        let expires_at_ms = record.expires_at_ms();
        let old = self.peek(key);
        self.log.table_mut().retain(address, Shape::of(record));
        match old {
            // a copy says what was said before
            Lookup::Live(found) | Lookup::Stale(found) if record.is_relocated() => {
                self.index.replace(found.slot, address);
                self.log.table_mut().release(found.address, found.shape(key.db));
            }
            old => self.refer(key, address, expires_at_ms, old),
        }
        if record.db() == RESERVED && record.key() == MAP_KEY {
            let mut text = TextBuf::default();
            let databases = Databases::from_bytes(text.text(record.value()));
            self.set_databases(databases.ok_or("the record of which database is which makes no sense")?);
        }
        Ok(())
    }

    /// Takes what is left of freed segments out of the index: leaves that belong to nobody, and what was flushed. Returns whether there
    /// is more.
    fn drop_freed(&mut self) -> Result<bool, String> {
        let (index, hasher, floors) = (&self.index, &self.hasher, &self.floors);
        let (mut gone, mut wrong) = (Vec::new(), None);
        let more = self.log.visit_freed(VISITS_PER_TURN, |table, address, record| {
            if !record.kind().is_put() {
                return;
            }
            let fingerprint = hasher.fingerprint(record.db(), record.key());
            if index.find(fingerprint, |other| other == address).is_none() {
                return;
            }
            let is_flushed = table.position(address) < floors[usize::from(record.db().0)];
            if record.db() != RESERVED && !is_flushed {
                wrong = Some(String::from_utf8_lossy(record.key()).into_owned());
            }
            gone.push((fingerprint, address, Shape::of(record), is_flushed));
        });
        if let Some(key) = wrong {
            return Err(format!("a segment that is freed has what {key} is"));
        }
        for (fingerprint, address, shape, is_flushed) in gone {
            let Some((slot, _)) = self.index.find(fingerprint, |other| other == address) else { continue };
            self.index.remove(slot);
            self.log.table_mut().release(address, shape);
            if !is_flushed {
                self.dbs[usize::from(shape.db.0)].remove(shape.expires_at_ms);
            }
        }
        Ok(more)
    }

    fn follow_delete(&mut self, record: &Record<'_>) -> Result<(), String> {
        let key = self.key(record.db(), record.key());
        self.note_delete();
        match self.peek(key) {
            Lookup::Live(found) => self.unlink(key, found),
            Lookup::Stale(found) => {
                if self.log.table().position(found.address) < self.floors[usize::from(key.db.0)] {
                    self.index.remove(found.slot);
                    self.log.table_mut().release(found.address, found.shape(key.db));
                } else {
                    self.unlink(key, found);
                }
            }
            Lookup::Absent => {}
        }
        Ok(())
    }

    fn follow_evicted(&mut self, address: Address, upto: LogPosition) {
        self.note_delete();
        let mut gone = Vec::new();
        self.log.follow_evicted(address, upto, |_, at, record| {
            if record.kind().is_put() {
                gone.push((at, record.db(), record.key().to_vec()));
            }
        });
        for (at, db, bytes) in gone {
            let key = self.key(db, &bytes);
            match self.peek(key) {
                Lookup::Live(found) | Lookup::Stale(found) if found.address == at => {
                    if self.log.table().position(at) >= self.floors[usize::from(db.0)] {
                        self.unlink(key, found);
                    } else {
                        self.index.remove(found.slot);
                        self.log.table_mut().release(at, found.shape(db));
                    }
                }
                _ => {}
            }
        }
    }
}
