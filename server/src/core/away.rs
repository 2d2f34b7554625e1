//! The way of a request whose keys are another core's: it joins a parcel, and its answer comes home.

use std::collections::VecDeque;

use emberkv_engine::Request;
use emberkv_log::Whose;
#[cfg(feature = "sim")]
use emberkv_log::plant::{Plant, is as is_planted};
use emberkv_resp::Args;
use emberkv_resp::schema::{Flags, Runs};

use crate::core::connection::{Connection, Fate, Stall};
use crate::core::depends::Depends;
use crate::core::message::{CoreId, Message};
use crate::core::parcel::{Parcel, Run};
use crate::core::pipeline::{OUTPUT_PAUSE_BYTES, Parsed};
use crate::core::route::Place;
use crate::core::shard::{Data, Shard};
use crate::driver::ConnId;

/// Requests of a connection that may be at other cores: beyond, its socket is not read (D13). Twice what
/// goes to one of two cores of a pipeline of 256. Answers of less than 256 KiB are copied, so this is 64 MiB if all are as large as
/// that, and no answer before has said so.
const PER_CONNECTION: usize = 256;
/// Their bytes.
const PER_CONNECTION_BYTES: usize = 1 << 20;
/// Requests of all connections of a core.
const PER_CORE: usize = 32 * 1024;
/// Their bytes.
const PER_CORE_BYTES: usize = 64 << 20;

/// Parcels that are kept to be used again.
const SPARES: usize = 64;

/// A count of requests and of their bytes.
#[derive(Clone, Copy, Default, Debug)]
pub(crate) struct Load {
    pub requests: usize,
    pub bytes: usize,
}

impl Load {
    fn add(&mut self, bytes: usize) {
        self.requests += 1;
        self.bytes += bytes;
    }

    fn remove(&mut self, run: &Run) {
        self.requests -= run.count as usize;
        self.bytes -= run.size;
    }

    /// Whether there is room for more. `part`: in such a part of what is allowed.
    fn fits(self, requests: usize, bytes: usize, part: usize) -> bool {
        self.requests < requests / part && self.bytes < bytes / part
    }
}

/// The run that a connection's next request may join.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Open {
    core: CoreId,
    /// The number of its parcel.
    parcel: u64,
    run: usize,
}

/// What a core has at others, and will send them.
#[derive(Debug)]
pub(crate) struct Away {
    me: CoreId,
    /// For each core what goes to it next, and the number of that.
    next: Vec<(Option<Box<Parcel>>, u64)>,
    #[allow(clippy::vec_box, reason = "they come and go as boxes")]
    spare: Vec<Box<Parcel>>,
    /// What is not answered yet.
    pub load: Load,
    /// Connections that have to wait for answers before they send more, first come first served.
    pub crowded: VecDeque<ConnId>,
    /// Until when a planted bug holds parcels back.
    #[cfg(feature = "sim")]
    pub held_until: Option<std::time::Instant>,
}

impl Away {
    pub fn new(me: CoreId, cores: u16) -> Self {
        Self {
            me,
            next: (0..cores).map(|_| (None, 0)).collect(),
            spare: Vec::new(),
            load: Load::default(),
            crowded: VecDeque::new(),
            #[cfg(feature = "sim")]
            held_until: None,
        }
    }

    fn parcel(&mut self, to: CoreId) -> (&mut Parcel, u64) {
        let (parcel, number) = &mut self.next[to.index()];
        let me = self.me;
        let parcel = parcel.get_or_insert_with(|| self.spare.pop().unwrap_or_else(|| Box::new(Parcel::new(me))));
        (parcel, *number)
    }

    fn take(&mut self, to: CoreId) -> Option<Box<Parcel>> {
        let (parcel, number) = &mut self.next[to.index()];
        let parcel = parcel.take()?;
        *number += 1;
        Some(parcel)
    }

    /// Whether all that leaves goes to one other core.
    fn goes_one_way(&self) -> bool {
        self.next.len() <= 2
    }

    /// Whether nothing waits to be sent.
    pub fn has_left(&self) -> bool {
        self.next.iter().all(|(parcel, _)| parcel.is_none())
    }

    /// Whether a run's parcel is still here.
    fn has_not_left(&self, open: Open) -> bool {
        self.next[open.core.index()].1 == open.parcel
    }

    /// Whether a planted bug holds back what is to be sent: for some ms, as long as a wake-up may take on a busy machine.
    #[cfg(feature = "sim")]
    pub fn is_held(&mut self) -> bool {
        use std::time::{Duration, Instant};
        if self.held_until.is_none() && !self.has_left() && is_planted(Plant::D7) {
            self.held_until = Some(Instant::now() + Duration::from_millis(5));
        }
        let is_held = self.held_until.is_some_and(|until| Instant::now() < until);
        if !is_held {
            self.held_until = None;
        }
        is_held
    }

    fn keep(&mut self, parcel: Box<Parcel>) {
        if self.spare.len() < SPARES
            && let Some(parcel) = parcel.reuse()
        {
            self.spare.push(parcel);
        }
    }
}

/// What [`Shard::route`] has found.
pub(crate) enum Routed {
    /// It is to be executed here, in this partition.
    Here(usize),
    /// It is on its way, or answered.
    Done,
    /// It has to be tried again later; the connection is stalled.
    Later,
    /// It has to be tried again when all parcels have left.
    AfterFlush,
}

impl Connection {
    /// Whether one more of its requests may leave; `part`: in such a part of what is allowed. Answers that are here, or expected, count
    /// as output that is not sent: beyond its pause nothing more is asked for.
    fn may_send_away(&self, part: usize) -> bool {
        let room = OUTPUT_PAUSE_BYTES.saturating_sub(self.unsent());
        self.away.fits(PER_CONNECTION, PER_CONNECTION_BYTES, part)
            && self.expected.fits(self.away.requests, room / part)
    }
}

impl Shard {
    /// The way of a request when there are several partitions, or none here.
    pub fn route(&mut self, conn: ConnId, parsed: &Parsed, args: Args<'_>) -> Routed {
        let is_held_up = self.connections.get_mut(conn).is_some_and(|connection| connection.several > 0);
        if is_held_up && self.comes_after_several(conn, parsed, args) {
            return Routed::Later;
        }
        let (Data::Ready(owned), Some(connection)) = (&self.data, self.connections.get_mut(conn)) else {
            return Routed::Here(0);
        };
        let Some(command) = parsed.command.filter(|command| command.runs == Runs::Data) else {
            return Routed::Here(0);
        };
        if connection.multi.is_some() || connection.only_listens || connection.fate != Fate::Open {
            return Routed::Here(0);
        }
        match owned.map.place(command, args, parsed.place.map(|(place, _)| place)) {
            Place::Own(own) => {
                let (open, db) = (connection.open, connection.db);
                let partition = &owned.list[usize::from(own)].partition;
                if self.has_stalled_visitors()
                    && self.is_blocked(partition, Request { id: command.id, db, args, whose: Whose::default() })
                {
                    return self.wait_for_visitors(conn);
                }
                self.has_written |= command.flags.contains(Flags::WRITE);
                // what was asked for before comes before this to whoever sees this (D7). With two cores all goes the same
                // way, in order, and before the end of the turn, when effects can be seen elsewhere. With more, what
                // leaves for a third core could come first: then it is not executed before the parcels have left; not at
                // once, so that they take other connections' requests too
                if !self.away.goes_one_way() && open.is_some_and(|open| self.away.has_not_left(open)) {
                    return Routed::AfterFlush;
                }
                Routed::Here(usize::from(own))
            }
            Place::Away(core, own) => {
                if self.read_directly(conn, core, own, parsed, args) {
                    return Routed::Done;
                }
                self.send_away(conn, core, own, parsed, args)
            }
            Place::Several => self.spread(conn, parsed, args),
        }
    }

    /// The connection's next command comes after another core's that waits here.
    pub(super) fn wait_for_visitors(&mut self, conn: ConnId) -> Routed {
        if let Some(connection) = self.connections.get_mut(conn) {
            connection.stall = Some(Stall::Locked);
            self.locked_out.push_back(conn);
        }
        Routed::Later
    }

    fn send_away(&mut self, conn: ConnId, core: CoreId, own: u16, parsed: &Parsed, args: Args<'_>) -> Routed {
        let (Some(connection), Some(command)) = (self.connections.get_mut(conn), parsed.command) else {
            return Routed::Done;
        };
        if !connection.may_send_away(1) || !self.away.load.fits(PER_CORE, PER_CORE_BYTES, 1) {
            connection.stall = Some(Stall::Away);
            self.away.crowded.push_back(conn);
            return Routed::Later;
        }
        let open = connection.open.take();
        if let Some(open) = open.filter(|open| open.core != core) {
            self.flush_open(open);
        }
        let Some(connection) = self.connections.get_mut(conn) else { return Routed::Done };
        let (parcel, number) = self.away.parcel(core);
        let last = parcel.runs.len().wrapping_sub(1);
        connection.drop_if_silent();
        let joins = connection.output.is_empty()
            && open == Some(Open { core, parcel: number, run: last })
            && parcel.runs.last().is_some_and(|run| run.no_touch == connection.no_touch);
        if !joins {
            connection.stage_output(&mut self.spares);
            let first = parcel.requests.len() as u32;
            parcel.runs.push(Run {
                conn,
                client: connection.id,
                piece: connection.pieces.reserve(),
                db: connection.db,
                protocol: connection.protocol,
                no_touch: connection.no_touch,
                left: first..first,
                count: 0,
                size: 0,
                output: self.spares.take(),
                depends: Depends::default(),
                slow: Vec::new(),
                is_lost: false,
            });
        }
        connection.open = Some(Open { core, parcel: number, run: parcel.runs.len() - 1 });
        let request = Request { id: command.id, db: connection.db, args, whose: Whose::default() };
        let written = match &self.data {
            Data::Ready(owned) => owned.begin_write(core, own, request),
            Data::Loading { .. } => None,
        };
        let bytes = parcel.push(command.id, own, args, written);
        let is_full = parcel.is_full();
        connection.away.add(bytes);
        self.away.load.add(bytes);
        connection.commands += 1;
        connection.last_command = Some(command.id);
        self.stats.commands += 1;
        self.stats.hops += 1;
        if is_full {
            self.flush(core);
        }
        Routed::Done
    }

    /// Sends a run's parcel, unless that has been done.
    pub(super) fn flush_open(&mut self, open: Open) {
        #[cfg(feature = "sim")]
        if is_planted(Plant::P1) {
            let until = std::time::Instant::now() + std::time::Duration::from_millis(5);
            self.away.held_until.get_or_insert(until);
            return;
        }
        if self.away.has_not_left(open) {
            self.flush(open.core);
        }
    }

    fn flush(&mut self, to: CoreId) {
        if let Some(parcel) = self.away.take(to) {
            self.guard = None; // waking is a system call (D12)
            self.stats.parcels += 1;
            self.stats.wakes += u64::from(self.calls.send(&self.peers, to, Message::Parcel(parcel)));
        }
    }

    /// Sends all that is to be sent: the end of the turn's requests.
    pub fn flush_all(&mut self) {
        #[cfg(feature = "sim")]
        if self.away.is_held() {
            return;
        }
        for core in 0..self.away.next.len() as u16 {
            self.flush(CoreId(core));
        }
    }

    /// Puts the answers of a parcel that has come home into their places.
    pub fn take_answers(&mut self, mut parcel: Box<Parcel>) {
        for mut run in parcel.runs.drain(..) {
            self.away.load.remove(&run);
            for slow in run.slow.drain(..) {
                self.note_slow(run.conn, slow);
            }
            let Some(connection) = self.connections.get_mut(run.conn) else { continue };
            if connection.id != run.client {
                continue; // its client has gone, and another one has its place
            }
            connection.away.remove(&run);
            connection.expected.note(run.count as usize, run.output.len());
            connection.pieces.answer(run.piece, run.output);
            if connection.away.requests == 0 && connection.stall == Some(Stall::Several) {
                self.resumable.push(run.conn);
            }
            if run.is_lost {
                self.condemned.push((run.conn, run.client));
            }
            self.touch(run.conn);
        }
        self.away.keep(parcel);
    }

    /// The next of the connections that may go on after answers have come.
    pub fn next_uncrowded(&mut self) -> Option<ConnId> {
        if !self.away.load.fits(PER_CORE, PER_CORE_BYTES, 2) {
            return None;
        }
        let may_go_on = |conn: &ConnId| {
            let connection = self.connections.get(*conn);
            connection.is_none_or(|connection| connection.may_send_away(2))
        };
        let i = self.away.crowded.iter().position(may_go_on)?;
        self.away.crowded.remove(i)
    }
}
