//! Reads of other cores' partitions out of memory (D1 to D12). What can't be read so is asked for by message.

use std::sync::atomic::{Ordering, fence};

use crossbeam_epoch::Guard;
use emberkv_engine::{Direct, PartitionReader, Request};
use emberkv_index::Fingerprint;
use emberkv_log::{DbId, Whose};
use emberkv_resp::schema::{CommandId, Flags};
use emberkv_resp::{Args, Reply};

use crate::core::message::CoreId;
use crate::core::owned::Owned;
use crate::core::pipeline::Parsed;
use crate::core::route::{Place, has_one_key};
use crate::core::shard::{Data, Shard};
use crate::driver::ConnId;

/// A write that is counted: its key, if it has one.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Written(Option<Fingerprint>);

impl Owned {
    /// How to read another core's partition.
    #[inline]
    pub fn reader(&self, core: CoreId, own: u16) -> Option<&PartitionReader> {
        self.readers.get(usize::from(self.map.number(core, own)))
    }

    /// Asks for the index rows of a key, wherever it is; returns its fingerprint.
    #[inline]
    pub fn prefetch_row(&self, guard: Option<&Guard>, place: Place, db: DbId, key: &[u8]) -> Fingerprint {
        match place {
            Place::Own(own) => self.list[usize::from(own)].partition.prefetch_row(db, key),
            Place::Away(core, own) => match (self.reader(core, own), guard) {
                (Some(reader), Some(guard)) => reader.prefetch_row(guard, db, key),
                _ => Fingerprint::from_raw(0),
            },
            Place::Several => Fingerprint::from_raw(0),
        }
    }

    /// And then for its record.
    #[inline]
    pub fn prefetch_record(&self, guard: Option<&Guard>, place: Place, fingerprint: Fingerprint) {
        match place {
            Place::Own(own) => self.list[usize::from(own)].partition.prefetch_record(fingerprint),
            Place::Away(core, own) => {
                if let (Some(reader), Some(guard)) = (self.reader(core, own), guard) {
                    reader.prefetch_record(guard, fingerprint);
                }
            }
            Place::Several => {}
        }
    }

    /// A write is about to leave for another core: until it has been executed there its key is not read without that
    /// core (D6). Returns what is to be given to [`Owned::end_write`] then.
    #[inline]
    pub fn begin_write(&self, core: CoreId, own: u16, request: Request<'_>) -> Option<Written> {
        let command = request.id.command();
        if !command.flags.contains(Flags::WRITE) {
            return None;
        }
        let reader = self.reader(core, own)?;
        // MOVE's key is of two databases
        let is_one = has_one_key(command) && command.id != CommandId::Move;
        let key = is_one.then(|| reader.fingerprint(request.db, request.args.at(1)));
        reader.begin_write(key);
        Some(Written(key))
    }

    /// It has been executed, in this core's partition `number`.
    #[inline]
    pub fn end_write(&self, number: u16, written: Written) {
        if let Some(reader) = self.readers.get(usize::from(number)) {
            reader.end_write(written.0);
        }
    }
}

impl Shard {
    /// Answers a command out of another core's partition. Returns whether it could.
    #[inline]
    pub fn read_directly(&mut self, conn: ConnId, core: CoreId, own: u16, parsed: &Parsed, args: Args<'_>) -> bool {
        let (Data::Ready(owned), Some(connection)) = (&self.data, self.connections.get_mut(conn)) else { return false };
        let (Some(reader), Some(command)) = (owned.reader(core, own), parsed.command) else { return false };
        let request = Request { id: command.id, db: connection.db, args, whose: Whose::default() };
        // D1: while a request of this connection is away its next one may not be read past it. (That one is at
        // this very owner is not asked: with two cores there is no other.)
        let is_away = connection.away.requests > 0;
        #[cfg(feature = "sim")]
        let is_away = is_away && !emberkv_log::plant::is(emberkv_log::plant::Plant::D1);
        // (what its client reads is not noted: the owner knows how; of a miss the owner tells; and what is kept is read under its lock, N1)
        let owner_knows = connection.no_touch || self.tells_misses || connection.tracking.is_some();
        if is_away || owner_knows || !PartitionReader::answers(request) {
            return false;
        }
        if std::mem::take(&mut self.has_written) {
            // D9: two connections that each write here and then read what the other has written must not both miss it
            fence(Ordering::SeqCst);
        }
        let guard = self.guard.get_or_insert_with(crossbeam_epoch::pin);
        let fingerprint = match parsed.place {
            // a SELECT of the same group may have come between
            Some((_, db)) if db == request.db => parsed.fingerprint,
            _ => reader.fingerprint(request.db, args.at(1)),
        };
        let is_alone = self.meter.begin(command.id, args, 0);
        let mut reply = Reply::new(&mut connection.output, connection.protocol);
        match reader.answer(guard, request, fingerprint, self.now_ms, &mut reply) {
            Direct::Ask => return false,
            Direct::Hit => self.stats.direct_hits += 1,
            Direct::Miss => self.stats.direct_misses += 1,
            Direct::Uncounted => {}
        }
        connection.commands += 1;
        connection.last_command = Some(command.id);
        self.stats.commands += 1;
        self.stats.direct_reads += 1;
        if is_alone {
            self.end_alone(conn, command.id, args);
        } else {
            self.meter.count(command.id);
        }
        true
    }
}
