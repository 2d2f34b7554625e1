//! What replicas ask this server's cores for (EMBER HELLO, PULL, ACK), and who waits for replicas (WAIT).
//!
//! Any core reads the log of any partition (see [`emberkv_log::Shipping`]), so a replica's connection is served where it is. One that asks
//! for what is not there yet waits: it is looked at again at the end of each turn of its core, and other cores' turns that have moved a
//! log tell it so ([`Peers::take_awaiting`](crate::core::peers::Peers::take_awaiting)). So nothing is kept for a replica but its position, and it
//! costs nothing while there is nothing to send.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use emberkv_log::{LogPosition, ShipError, ShippedPiece};
use emberkv_resp::schema::{Command, CommandId};
use emberkv_resp::{Args, Output, Reply, format};

use crate::core::connection::{Connection, Fate};
use crate::core::gather::{Question, Told};
use crate::core::message::Message;
use crate::core::shard::{Data, Shard};
use crate::driver::ConnId;
use crate::replicate::Ships;

/// A piece is never asked to be larger: it is in memory until it is sent.
const LARGEST_PIECE: i64 = 16 << 20;

/// Nor does one wait longer for a piece: whoever is asked hears of the replica at least so often.
const LONGEST_PATIENCE_MS: i64 = 60_000;

const NOT_A_NUMBER: &str = "ERR value is not an integer or out of range";
const NO_PARTITION: &str = "ERR there is no such partition";
const NO_HELLO: &str = "ERR say EMBER HELLO on this connection first";
const NOT_READY: &str = "TRYAGAIN the data set is about to be served";
const OF_A_REPLICA: &str = "ERR WAIT cannot be used with replica instances. Please also note that since Redis 4.0 if a replica is configured to be \
    writable (which is not the default) writes to replicas are just local and are not propagated.";

/// What is said to clients that wait when the server becomes something else.
pub(super) const UNBLOCKED: &str =
    "UNBLOCKED force unblock from blocking operation, instance state changed (master -> replica?)";

/// A connection that is a replica's.
#[derive(Debug)]
pub(crate) struct Pulling {
    /// Its number.
    pub replica: u64,
    /// Where what it got last ends, and of which partition that was.
    last: Option<(u16, LogPosition)>,
}

impl Pulling {
    pub fn new(replica: u64) -> Self {
        Self { replica, last: None }
    }
}

/// What is asked for.
#[derive(Clone, Copy, Debug)]
struct Wanted {
    replica: u64,
    partition: u16,
    at: LogPosition,
    most: usize,
}

/// Where a reply goes.
#[derive(Clone, Copy, Debug)]
struct Waiter {
    conn: ConnId,
    client: u64,
    piece: u64,
    /// In ms that the server has been up.
    deadline_ms: Option<u64>,
}

/// A WAIT.
#[derive(Debug)]
struct Wait {
    waiter: Waiter,
    replicas: i64,
    positions: Vec<LogPosition>,
}

/// Those that wait. See the module.
#[derive(Debug, Default)]
pub(crate) struct Pulls {
    pulls: Vec<(Waiter, Wanted)>,
    waits: Vec<Wait>,
}

impl Pulls {
    pub fn is_empty(&self) -> bool {
        self.pulls.is_empty() && self.waits.is_empty()
    }

    /// How many clients WAIT.
    pub fn waits(&self) -> usize {
        self.waits.len()
    }

    /// How long until the time of one is over.
    pub fn due_in(&self, up_ms: u64) -> Option<Duration> {
        let waiters = self.pulls.iter().map(|(waiter, _)| waiter).chain(self.waits.iter().map(|wait| &wait.waiter));
        let deadline_ms = waiters.filter_map(|waiter| waiter.deadline_ms).min()?;
        Some(Duration::from_millis(deadline_ms.saturating_sub(up_ms)))
    }
}

fn number(word: &[u8], most: i64) -> Result<i64, String> {
    format::parse_integer(word).filter(|number| (0..=most).contains(number)).ok_or_else(|| NOT_A_NUMBER.to_owned())
}

fn position(word: &[u8]) -> Result<LogPosition, String> {
    Ok(LogPosition(number(word, i64::MAX)? as u64))
}

/// A replica says its number in hexadecimal digits.
fn replica_id(word: &[u8]) -> Result<u64, String> {
    let text = std::str::from_utf8(word).ok().filter(|text| text.len() == 16);
    text.and_then(|text| u64::from_str_radix(text, 16).ok())
        .ok_or_else(|| "ERR a replica's id is 16 hexadecimal digits".into())
}

impl Shard {
    fn ships(&self) -> Result<Arc<Ships>, String> {
        match &self.data {
            Data::Ready(owned) => Ok(Arc::clone(&owned.ships)),
            Data::Loading { .. } => Err(NOT_READY.into()),
        }
    }

    /// `EMBER HELLO [replica-id port [ip]]`
    pub(crate) fn ember_hello(&mut self, conn: ConnId, args: Args<'_>) -> Result<(), String> {
        let ships = self.ships()?;
        if let Some(id) = args.get(2) {
            let id = replica_id(id)?;
            let port = u16::try_from(number(args.get(3).ok_or(NOT_A_NUMBER)?, 65_535)?).unwrap_or(0);
            let Some(connection) = self.connections.get_mut(conn) else { return Ok(()) };
            let seen = connection.address.rsplit_once(':').map_or("?", |(ip, _)| ip);
            let ip = args.get(4).map_or_else(|| seen.to_owned(), |ip| String::from_utf8_lossy(ip).into_owned());
            let mut replicas = self.peers.replication.replicas();
            let before = connection.pulling.as_ref().map(|pulling| pulling.replica);
            replicas.hello(id, ip, port, before, &ships, self.up_ms);
            if before != Some(id) {
                connection.pulling = Some(Box::new(Pulling::new(id)));
            }
        }
        self.ask_all(conn, Question::Origin);
        Ok(())
    }

    /// Once a turn, after the log's end of it: what is settled by now, whoever has said so, was said of this core's partitions before their
    /// gates were.
    pub fn tell_horizon(&mut self) {
        for gather in std::mem::take(&mut self.horizon_asked) {
            let told = match &self.data {
                Data::Ready(owned) => Told::Horizon(owned.horizon.horizon()),
                Data::Loading { .. } => Told::Done,
            };
            if gather.core == self.me {
                self.told(gather, told);
            } else {
                self.peers.send(gather.core, Message::Told { gather, told });
            }
        }
    }

    /// All cores have said what is settled: the least of it is below the gates of all.
    pub(super) fn reply_origin(&self, told: &[Told], reply: &mut Reply<'_>) {
        let horizons = told.iter().map(|told| if let Told::Horizon(horizon) = told { Some(*horizon) } else { None });
        let horizon = horizons.collect::<Option<Vec<_>>>().and_then(|all| all.into_iter().min());
        let origin = horizon.and_then(|horizon| self.ships().ok()?.origin(horizon));
        match origin {
            Some(origin) => reply.bulk(&origin.encode()),
            None => reply.error(NOT_READY),
        }
    }

    /// `EMBER ACK replica-id position...`
    pub(crate) fn ember_ack(&mut self, conn: ConnId, args: Args<'_>) -> Result<(), String> {
        let ships = self.ships()?;
        let id = replica_id(args.at(2))?;
        let positions = args.from(3).iter().map(position).collect::<Result<Vec<_>, _>>()?;
        let mut replicas = self.peers.replication.replicas();
        for (partition, position) in positions.into_iter().enumerate() {
            if !replicas.acked(id, partition, position, true, &ships, self.up_ms) {
                return Err(NO_HELLO.into());
            }
        }
        drop(replicas);
        self.tell_moved();
        self.with_reply(conn, |reply| reply.ok());
        Ok(())
    }

    /// `EMBER PULL partition position max-bytes timeout-ms acked-position replica-id`
    pub(crate) fn ember_pull(&mut self, conn: ConnId, args: Args<'_>) -> Result<(), String> {
        let ships = self.ships()?;
        let partition = number(args.at(2), u16::MAX.into())? as u16;
        let most = number(args.at(4), LARGEST_PIECE)? as usize;
        let patience_ms = number(args.at(5), LONGEST_PATIENCE_MS)? as u64;
        let (acked, replica) = (position(args.at(6))?, replica_id(args.at(7))?);
        let Some(connection) = self.connections.get_mut(conn) else { return Ok(()) };
        let pulling = connection.pulling.as_ref().filter(|pulling| pulling.replica == replica).ok_or(NO_HELLO)?;
        let at = match (args.at(3), pulling.last) {
            (b"next", Some((last, end))) if last == partition => end,
            (b"next", _) => return Err(NO_HELLO.into()),
            (word, _) => position(word)?,
        };
        if ships.log(usize::from(partition)).is_none() {
            return Err(NO_PARTITION.into());
        }
        let mut replicas = self.peers.replication.replicas();
        replicas.acked(replica, usize::from(partition), acked, false, &ships, self.up_ms);
        drop(replicas);
        let wanted = Wanted { replica, partition, at, most };
        self.note_pulled(conn, partition, at);
        match self.read_piece(&ships, wanted) {
            Ok(Some((bytes, end))) => {
                self.note_pulled(conn, partition, end);
                self.with_reply(conn, |reply| reply.bulk_shared(bytes));
            }
            Ok(None) if patience_ms == 0 => self.with_reply(conn, |reply| reply.null()),
            Ok(None) => {
                let deadline_ms = Some(self.up_ms + patience_ms);
                if let Some(waiter) = self.begin_waiting(conn, deadline_ms) {
                    self.pulls.pulls.push((waiter, wanted));
                }
            }
            Err(error) => return Err(refused(error)),
        }
        Ok(())
    }

    fn note_pulled(&mut self, conn: ConnId, partition: u16, end: LogPosition) {
        if let Some(pulling) = self.connections.get_mut(conn).and_then(|connection| connection.pulling.as_mut()) {
            pulling.last = Some((partition, end));
        }
    }

    /// What comes at a position, and where it ends; `None` if there is nothing yet.
    fn read_piece(&self, ships: &Ships, wanted: Wanted) -> Result<Option<(Bytes, LogPosition)>, ShipError> {
        let log = ships.log(usize::from(wanted.partition)).ok_or(ShipError::Gone)?;
        // before it is read: what is below this is not there if nothing is found
        let gate = log.gate();
        let mut bytes = Vec::new();
        if !log.read(wanted.at, wanted.most, &mut bytes)? {
            let partition = usize::from(wanted.partition);
            self.peers.replication.replicas().caught_up(wanted.replica, partition, wanted.at, gate);
            return Ok(None);
        }
        let bytes = Bytes::from(bytes);
        let end = ShippedPiece::decode(&bytes).map(|piece| piece.end()).ok_or(ShipError::Gone)?;
        Ok(Some((bytes, end)))
    }

    /// The place of a reply that comes later; what the client has sent behind waits.
    fn begin_waiting(&mut self, conn: ConnId, deadline_ms: Option<u64>) -> Option<Waiter> {
        let connection = self.connections.get_mut(conn)?;
        connection.stage_output(&mut self.spares);
        connection.several += 1;
        Some(Waiter { conn, client: connection.id, piece: connection.pieces.reserve(), deadline_ms })
    }

    fn end_waiting(&mut self, waiter: Waiter, write: impl FnOnce(&mut Reply<'_>)) {
        let Waiter { conn, client, piece, .. } = waiter;
        let Some(connection) = self.connections.get_mut(conn).filter(|connection| connection.id == client) else {
            return;
        };
        let mut output = Output::new();
        write(&mut Reply::new(&mut output, connection.protocol));
        connection.pieces.answer(piece, output);
        connection.several -= 1;
        if connection.several == 0 {
            self.resumable.push(conn);
        }
        self.touch(conn);
    }

    /// `WAIT numreplicas timeout`. An error: it was not executed, and has to be once more later.
    pub(super) fn wait_for_replicas(
        &mut self,
        conn: ConnId,
        command: &'static Command,
        args: Args<'_>,
    ) -> Result<(), ()> {
        // what it has asked other cores for before is answered, and lies below their gates
        if !self.may_begin(conn) {
            return Err(());
        }
        let Some(connection) = self.connections.get_mut(conn) else { return Ok(()) };
        connection.commands += 1;
        connection.last_command = Some(command.id);
        self.stats.commands += 1;
        self.meter.count(command.id);
        match self.wanted_replicas(args) {
            Err(text) => {
                self.meter.fail(command.id, text.as_bytes());
                self.with_reply(conn, |reply| reply.error(&text));
            }
            Ok((replicas, timeout_ms)) => {
                let positions = self.positions_to_reach();
                let count = self.peers.replication.replicas().count_reached(&positions);
                if count as i64 >= replicas {
                    self.with_reply(conn, |reply| reply.integer(count as i64));
                } else {
                    let deadline_ms = (timeout_ms > 0).then(|| self.up_ms.saturating_add(timeout_ms));
                    if let Some(waiter) = self.begin_waiting(conn, deadline_ms) {
                        self.pulls.waits.push(Wait { waiter, replicas, positions });
                    }
                }
            }
        }
        Ok(())
    }

    /// WAIT within a transaction waits for nobody.
    pub(crate) fn count_replicas(&mut self, conn: ConnId, args: Args<'_>) -> Result<(), String> {
        self.wanted_replicas(args)?;
        let count = self.peers.replication.replicas().count_reached(&self.positions_to_reach());
        self.with_reply(conn, |reply| reply.integer(count as i64));
        Ok(())
    }

    fn wanted_replicas(&self, args: Args<'_>) -> Result<(i64, u64), String> {
        if self.link.is_some() {
            return Err(OF_A_REPLICA.into());
        }
        let replicas = format::parse_integer(args.at(1)).ok_or(NOT_A_NUMBER)?;
        let timeout_ms = format::parse_integer(args.at(2)).ok_or("ERR timeout is not an integer or out of range")?;
        let timeout_ms = u64::try_from(timeout_ms).map_err(|_| "ERR timeout is negative")?;
        Ok((replicas, timeout_ms))
    }

    /// What was written up to now, by whoever: in partitions of this core all of it, in others what was answered.
    fn positions_to_reach(&self) -> Vec<LogPosition> {
        let Data::Ready(owned) = &self.data else { return Vec::new() };
        let mut positions: Vec<LogPosition> = owned.ships.gates().collect();
        for own in &owned.list {
            positions[usize::from(own.number)] = own.partition.log().tail();
        }
        positions
    }

    /// Once a turn, after the log's end of it: answers those for whom there is something now, or whose time is over.
    pub fn serve_pulls(&mut self) {
        if self.pulls.is_empty() {
            return;
        }
        let Ok(ships) = self.ships() else { return };
        // first: what moves from now on is told
        self.peers.set_awaits(self.me, true);
        for (waiter, wanted) in std::mem::take(&mut self.pulls.pulls) {
            let is_over = waiter.deadline_ms.is_some_and(|deadline_ms| deadline_ms <= self.up_ms);
            match self.read_piece(&ships, wanted) {
                Ok(None) if !is_over && self.is_there(waiter) => self.pulls.pulls.push((waiter, wanted)),
                Ok(None) => self.end_waiting(waiter, |reply| reply.null()),
                Ok(Some((bytes, end))) => {
                    if self.is_there(waiter) {
                        self.note_pulled(waiter.conn, wanted.partition, end);
                    }
                    self.end_waiting(waiter, |reply| reply.bulk_shared(bytes));
                }
                Err(error) => self.end_waiting(waiter, |reply| reply.error(&refused(error))),
            }
        }
        for wait in std::mem::take(&mut self.pulls.waits) {
            let count = self.peers.replication.replicas().count_reached(&wait.positions);
            let is_over = wait.waiter.deadline_ms.is_some_and(|deadline_ms| deadline_ms <= self.up_ms);
            if count as i64 >= wait.replicas || is_over || !self.is_there(wait.waiter) {
                self.end_waiting(wait.waiter, |reply| reply.integer(count as i64));
            } else {
                self.pulls.waits.push(wait);
            }
        }
        if self.pulls.is_empty() {
            self.peers.set_awaits(self.me, false);
        }
    }

    fn is_there(&self, waiter: Waiter) -> bool {
        let is_there = |connection: &Connection| {
            connection.id == waiter.client && connection.fate == Fate::Open && !connection.eof
        };
        self.connections.get(waiter.conn).is_some_and(is_there)
    }

    /// A log of this core has moved, or a replica has more of one: other cores that wait for that look.
    pub fn tell_moved(&mut self) {
        if let Some(awaiting) = self.peers.take_awaiting(self.me) {
            for core in awaiting {
                self.stats.wakes += u64::from(self.calls.send(&self.peers, core, Message::Moved));
            }
        }
    }

    /// CLIENT UNBLOCK: whether that client is one of this core's, and waited for replicas.
    pub fn unblock_wait(&mut self, client: u64, is_error: bool) -> bool {
        let Some(i) = self.pulls.waits.iter().position(|wait| wait.waiter.client == client) else { return false };
        let wait = self.pulls.waits.swap_remove(i);
        if is_error {
            let text = "UNBLOCKED client unblocked via CLIENT UNBLOCK";
            self.meter.fail(CommandId::Wait, text.as_bytes());
            self.end_waiting(wait.waiter, |reply| reply.error(text));
        } else {
            let count = self.peers.replication.replicas().count_reached(&wait.positions);
            self.end_waiting(wait.waiter, |reply| reply.integer(count as i64));
        }
        true
    }

    /// The data are others from now on: who waits is told, and whoever has followed them is to say hello again.
    pub(super) fn end_pulls(&mut self) {
        for (waiter, _) in std::mem::take(&mut self.pulls.pulls) {
            self.end_waiting(waiter, |reply| reply.null());
        }
        for wait in std::mem::take(&mut self.pulls.waits) {
            self.end_waiting(wait.waiter, |reply| reply.error(UNBLOCKED));
        }
        for conn in self.connections.ids() {
            if let Some(connection) = self.connections.get(conn).filter(|connection| connection.pulling.is_some()) {
                self.condemned.push((conn, connection.id));
            }
        }
        self.peers.set_awaits(self.me, false);
    }

    /// A connection is closed.
    pub fn leave_pulls(&mut self, conn: ConnId) {
        if let Some(pulling) = self.connections.get_mut(conn).and_then(|connection| connection.pulling.take()) {
            self.peers.replication.replicas().left(pulling.replica);
            self.pulls.pulls.retain(|(waiter, _)| waiter.conn != conn);
        }
    }

    /// Once a second, on the first core: who has gone, and who counts.
    pub fn look_at_replicas(&mut self) {
        let Ok(ships) = self.ships() else { return };
        let mut replicas = self.peers.replication.replicas();
        replicas.forget_silent(&ships, self.up_ms, u64::from(self.config.repl_timeout) * 1000);
        let lag_ms = u64::from(self.config.min_replicas_max_lag) * 1000;
        self.peers.replication.set_good(replicas.good(self.up_ms, lag_ms));
    }
}

fn refused(error: ShipError) -> String {
    match error {
        ShipError::Gone => format!("GONE {error}"),
        ShipError::NotResident => format!("ERR {error}"),
    }
}
