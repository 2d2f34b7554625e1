//! The loop: wait, handle what happened, end the log's turn, release replies.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use emberkv_engine::OpenError;
use emberkv_index::Fingerprint;
use emberkv_log::disk::real::RealDisk;
#[cfg(feature = "sim")]
use emberkv_log::plant::Plant;
use emberkv_resp::first_key;

use crate::clock::Time;
use crate::core::accept::Door;
use crate::core::connection::{Connection, Fate, Stall};
use crate::core::cron::Cron;
use crate::core::ending::Ending;
use crate::core::message::{CoreId, Message};
use crate::core::pipeline::{OUTPUT_PAUSE_BYTES, Progress, Work};
use crate::core::reopen::Reopening;
use crate::core::route::Place;
use crate::core::shard::{Data, Shard, Shutdown};
use crate::core::subscriptions::Kind;
use crate::driver::{ConnId, Driver, Event, Received, Wait};
use crate::housekeeping::Housekeeping;

/// Waiting a little for more clients' requests shares a turn's cost among them: a prototype had 26% more
/// operations a cpu second at one request a time, for 0.04 ms of latency. With pipelines a turn is large as it
/// is, and waiting only adds to the latency: then it is off.
const GATHER: Duration = Duration::from_micros(50);
/// Ends of sends count too, so this is some 32 requests.
const GATHER_EVENTS: u32 = 64;
/// Requests per received buffer from which on a turn counts as large.
const LARGE_BATCH: u64 = 4;

/// A stalled connection's socket is not read any more when so much of it waits: most stalls are over sooner, and to
/// stop and begin again costs two system calls.
const PAUSE_QUERY_BYTES: usize = 64 << 10;

/// Why a core's loop has ended.
#[derive(Debug)]
pub(crate) enum Ended {
    /// By SHUTDOWN or a signal; all is synced.
    Orderly,
    /// The same, but a log could not be synced.
    Unsynced(io::Error),
    /// The data set can't be loaded.
    NotLoaded(OpenError),
}

/// See the module.
pub(crate) struct Core<D: Driver> {
    pub driver: D,
    pub shard: Shard,
    pub housekeeping: Housekeeping,
    pub doors: Vec<Door>,
    pub terminate: Arc<AtomicBool>,
    pub cron: Cron,
    pub ending: Ending,
    pub reopening: Reopening,
    pub disk: Arc<RealDisk>,
    /// Requests and received buffers lately: whether to gather.
    pub batch: Batch,
    /// [`crate::core::owned::Owned::progress`] when waiting commands were tried last.
    pub seen_progress: u64,
    /// [`Shard::unlocks`] when commands that were locked out were tried last.
    pub seen_unlocks: u64,
    /// [`Shard::cold_arrivals`] when commands that waited for records were tried last.
    pub seen_arrivals: u64,
    /// Fingerprints of a turn's keys, as far as they can be guessed; a vector that is used anew.
    pub guessed: Vec<(Place, Fingerprint)>,
    /// Buffers that go on when this turn's parcels have left.
    pub suspended: Vec<Suspended>,
    /// Connections whose TLS handshake goes on, in the order in which they have said something.
    pub handshakes: VecDeque<ConnId>,
}

/// A buffer whose requests go on this very turn.
#[derive(Debug)]
pub(crate) struct Suspended {
    conn: ConnId,
    source: Source,
    work: Box<Work>,
}

#[derive(Debug)]
enum Source {
    Received(Received),
    Query(Vec<u8>),
}

/// How many requests a received buffer held lately.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    requests: u64,
    receives: u64,
}

impl Batch {
    fn note(&mut self, requests: u64, receives: u64) {
        self.requests += requests;
        self.receives += receives;
        if self.receives > 1024 {
            (self.requests, self.receives) = (self.requests / 2, self.receives / 2);
        }
    }

    fn is_large(&self) -> bool {
        self.requests > self.receives * LARGE_BATCH
    }
}

impl<D: Driver> Core<D> {
    /// Runs until the server is to end.
    ///
    /// # Errors
    /// When the driver is broken or the log can't be ended.
    pub fn run(mut self) -> io::Result<Ended> {
        let mut events = Vec::new();
        let mut busy = false;
        loop {
            let wait = self.wait(busy);
            assert!(self.shard.guard.is_none(), "what is read of others is kept while a core waits (D12)");
            self.driver.poll(wait, &mut events)?;
            let Time { wall_ms: now_ms, up_ms } = self.shard.clock.read();
            #[cfg(feature = "sim")]
            let now_ms =
                if self.shard.me != CoreId::FIRST && emberkv_log::plant::is(Plant::D10) { now_ms - 50 } else { now_ms };
            (self.shard.now_ms, self.shard.up_ms) = (now_ms, up_ms);
            for own in self.shard.owned().into_iter().flat_map(|owned| &mut owned.list) {
                own.partition.begin_turn(now_ms);
            }
            // sockets were harvested before the inbox is, and both before a command is executed here: what led to a
            // request has arrived before it (D8)
            if let Some(ended) = self.take_messages()? {
                return Ok(ended);
            }
            self.shard.meter.skip();
            self.shard.execute_arrived();
            self.shard.check_deadlines();
            self.resume_answered();
            let (commands, mut receives) = (self.shard.stats.commands, 0);
            self.prefetch(&events);
            for event in events.drain(..) {
                receives += u64::from(matches!(event, Event::Received(..)));
                self.handle(event);
            }
            // CONFIG RESETSTAT may have been among them
            self.batch.note(self.shard.stats.commands.saturating_sub(commands), receives);
            self.shake_hands();
            self.shard.stats.turns += 1;
            self.retry();
            self.run_rounds();
            self.shard.calls.wake(&self.shard.peers, &mut self.driver);
            self.shard.meter.settle();
            let visits = self.shard.progress_transactions();
            self.cron.run(&mut self.shard, &mut self.driver);
            self.shard.mind_memory();
            let is_idle = receives == 0 && self.shard.stats.commands == commands && !visits;
            busy = self.shard.clear_away(is_idle) || visits;
            busy |= self.shard.data.is_filling() || !self.handshakes.is_empty();
            self.shard.end_log_turn(&mut self.driver, &self.housekeeping);
            // what comes before this turn's effects goes before they can be seen (D7)
            let has_left = self.shard.away.has_left();
            #[cfg(feature = "sim")]
            let has_left = {
                busy |= !has_left;
                has_left || self.shard.away.held_until.is_some()
            };
            assert!(has_left, "a parcel stays behind");
            self.shard.tell_events();
            self.shard.tell_invalid();
            self.shard.hand_out_served();
            self.shard.tell_horizon();
            self.shard.serve_pulls();
            self.shard.release_replies(&mut self.driver);
            self.shard.answer_visitors(&[]);
            self.shard.answer_coordinators();
            self.shard.calls.wake(&self.shard.peers, &mut self.driver);
            for (conn, client) in std::mem::take(&mut self.shard.condemned) {
                if self.shard.connections.get(conn).is_some_and(|connection| connection.id == client) {
                    self.shard.close_now(conn, &mut self.driver);
                }
            }
            if self.shard.me == CoreId::FIRST && self.terminate.swap(false, Ordering::Relaxed) {
                tracing::info!("asked to terminate");
                self.shard.shutdown = Some(Shutdown { force: false, save: true });
            }
            self.go_on_reopening();
            if let Some(shutdown) = self.go_on_ending() {
                return self.end(shutdown);
            }
        }
    }

    /// Takes what other threads have said.
    fn take_messages(&mut self) -> io::Result<Option<Ended>> {
        #[cfg(feature = "sim")]
        if !self.shard.up_ms.is_multiple_of(5) && emberkv_log::plant::is(emberkv_log::plant::Plant::D8) {
            return Ok(None);
        }
        let mut messages = std::mem::take(&mut self.shard.messages);
        self.shard.peers.take(self.shard.me, &mut messages);
        self.shard.serve_if_all_are_loaded();
        self.shard.stats.longest_inbox = self.shard.stats.longest_inbox.max(messages.len());
        let mut ended = None;
        for message in messages.drain(..) {
            match message {
                Message::Parcel(parcel) if parcel.home == self.shard.me => self.shard.take_answers(parcel),
                Message::Parcel(parcel) => self.shard.visitors.arrived.push(parcel),
                Message::ToOwner(partition, message) => self.shard.tell_owner(partition, message),
                Message::ToCoordinator(answer) => self.shard.owner_answered(answer),
                Message::Served(served) => self.shard.served(*served),
                Message::Forget(partition, waiting) => self.shard.forget_waiting(partition, &waiting),
                Message::Adopt(adopt) => self.shard.adopt(*adopt, &mut self.driver),
                Message::Chore(answer) => self.shard.take_chore(answer),
                Message::Asked { gather, question } => self.shard.asked(gather, &question),
                Message::Migrated(delivered) => self.shard.delivered(*delivered),
                Message::Sleep(time) => std::thread::sleep(time),
                Message::Measure(asker) => {
                    // it may not wait any more
                    let _ = asker.try_send(Box::new(self.shard.snapshot(true)));
                }
                Message::Told { gather, told } => self.shard.told(gather, told),
                Message::TakeOver { config, users, version } => self.shard.take_over(&config, &users, version),
                Message::Publish { channel, message } => {
                    self.shard.deliver(Kind::Channel, &channel, &message);
                }
                Message::Notices(notices) => self.shard.noticed(notices),
                Message::Settle => self.shard.settle_all(),
                Message::Show(line) => self.shard.show(&line),
                Message::Errand(done) => self.shard.errand_done(*done),
                Message::Loaded(owned) => self.shard.loaded(owned),
                Message::NotLoaded(error) => ended = Some(Ended::NotLoaded(*error)),
                Message::Save => {
                    self.shard.begin_saving();
                }
                Message::Shutdown(shutdown) => self.shard.shutdown = Some(shutdown),
                Message::Drain => self.drain(),
                Message::Drained => self.ending.drained(),
                Message::Close(shutdown) => self.ending = Ending::Closing(shutdown),
                Message::Broken(error) => return Err(error),
                Message::Reopen(mode) => self.reopening.wish(*mode),
                Message::Quiet(is_quiet) => self.set_quiet(is_quiet),
                Message::IsQuiet | Message::IsShut => self.reopening.note_one(),
                Message::Shut(progress) => self.reopening.shut(progress),
                Message::Piece(piece) => self.shard.take_piece(*piece),
                Message::Origin(now) => self.shard.note_origin(&now),
                Message::Where(question) => self.shard.tell_where(&question),
                // what waits is looked at at the end of the turn
                Message::Moved => {}
            }
        }
        self.shard.messages = messages;
        Ok(ended)
    }

    /// Goes on with connections that waited for answers of other cores.
    fn resume_answered(&mut self) {
        for conn in std::mem::take(&mut self.shard.resumable) {
            self.resume_from(conn, Stall::Several);
        }
        for conn in std::mem::take(&mut self.shard.unpaused) {
            self.resume_from(conn, Stall::Paused);
        }
        for _ in 0..self.shard.for_coordinator.len() {
            if self.shard.coordinator.is_full() {
                break;
            }
            let Some(conn) = self.shard.for_coordinator.pop_front() else { break };
            self.resume_from(conn, Stall::Several);
        }
        // each once: it may be too much again at once
        for _ in 0..self.shard.away.crowded.len() {
            let Some(conn) = self.shard.next_uncrowded() else { break };
            self.resume_from(conn, Stall::Away);
        }
    }

    fn resume_from(&mut self, conn: ConnId, stall: Stall) {
        if let Some(connection) = self.shard.connections.get_mut(conn)
            && connection.stall == Some(stall)
            && !self.shard.is_draining
        {
            connection.stall = None;
            self.resume(conn);
        }
    }

    fn wait(&self, busy: bool) -> Wait {
        let goes_on = !self.shard.unpaused.is_empty() || !self.shard.resumable.is_empty();
        let busy = busy || goes_on || !self.shard.peers.sleep(self.shard.me);
        let due_in = self.cron.due_in(self.shard.up_ms);
        let due_in = self.shard.blocks.due_in(self.shard.up_ms).map_or(due_in, |other| due_in.min(other));
        let due_in = self.shard.pulls.due_in(self.shard.up_ms).map_or(due_in, |other| due_in.min(other));
        let timeout = if busy { Duration::ZERO } else { due_in };
        let gather = !busy && !self.batch.is_large() && self.shard.connections.len() > 1;
        let gather_time = if gather { GATHER } else { Duration::ZERO };
        Wait { timeout, gather_time, gather_events: GATHER_EVENTS.min(2 * self.shard.connections.len() as u32) }
    }

    /// Without pipelines each connection brings one request: then it is the turn that is the group whose cache
    /// misses overlap, by a guess at the keys.
    fn prefetch(&mut self, events: &[Event]) {
        let Data::Ready(owned) = &self.shard.data else { return };
        if self.batch.is_large() {
            return; // each pipeline is a group of its own
        }
        self.guessed.clear();
        let guard = (!owned.readers.is_empty()).then(crossbeam_epoch::pin);
        for event in events {
            if let Event::Received(conn, received) = event
                && let Some(connection) = self.shard.connections.get_mut(*conn)
                && let Some(key) = first_key(self.driver.bytes(received))
            {
                let place = owned.map.place_of_key(key);
                let fingerprint = owned.prefetch_row(guard.as_ref(), place, connection.db, key);
                self.guessed.push((place, fingerprint));
            }
        }
        for (place, fingerprint) in &self.guessed {
            owned.prefetch_record(guard.as_ref(), *place, *fingerprint);
        }
    }

    pub(super) fn handle(&mut self, event: Event) {
        match event {
            Event::Received(conn, received) => self.received(conn, received),
            Event::Sent(conn, output) => self.sent(conn, output),
            Event::Accepted(listener, socket) => {
                self.shard.accept(&self.doors, listener, socket, &mut self.driver);
            }
            Event::Eof(conn) => {
                if let Some(connection) = self.shard.connections.get_mut(conn) {
                    connection.eof = true;
                }
                self.shard.block_at_eof(conn);
                self.shard.touch(conn);
            }
            Event::Failed(conn, error) => {
                tracing::debug!(%error, "a connection has failed");
                self.shard.close_now(conn, &mut self.driver);
            }
            Event::Closed(conn) => {
                self.shard.forget(conn);
                self.shard.holding.retain(|other| *other != conn);
                self.shard.waiting.retain(|other| *other != conn);
                self.shard.away.crowded.retain(|other| *other != conn);
                self.shard.for_coordinator.retain(|other| *other != conn);
                self.shard.locked_out.retain(|other| *other != conn);
                self.shard.awaiting.retain(|other| other.conn != conn);
                self.handshakes.retain(|other| *other != conn);
            }
            Event::DiskDone(token, result) => self.shard.tail_written(token, result),
            Event::DiskRead(token, result) => self.shard.record_read(token, result),
            Event::Woken => {}
        }
    }

    fn received(&mut self, conn: ConnId, received: Received) {
        let up_ms = self.shard.up_ms;
        let Some(connection) = self.shard.connections.get_mut(conn).filter(|_| !self.shard.is_draining) else {
            self.driver.recycle(received);
            return;
        };
        connection.last_seen_ms = up_ms;
        let bytes = self.driver.bytes(&received);
        connection.bytes_in += bytes.len() as u64;
        self.shard.stats.bytes_in += bytes.len() as u64;
        self.shard.stats.reads += 1;
        if connection.tls.is_some() {
            return self.received_tls(conn, received);
        }
        if connection.query.is_empty() && connection.stall.is_none() {
            // parsed in place, out of the driver's buffer
            let work = self.shard.take_work();
            self.go_on(Suspended { conn, source: Source::Received(received), work });
        } else {
            connection.query.extend_from_slice(bytes);
            self.driver.recycle(received);
            self.process_query(conn);
        }
        self.check_input(conn);
    }

    /// Goes on with what a connection has sent before.
    pub(super) fn process_query(&mut self, conn: ConnId) {
        let Some(connection) = self.shard.connections.get_mut(conn) else { return };
        if connection.stall.is_some() || connection.query.is_empty() {
            return;
        }
        let query = std::mem::take(&mut connection.query);
        let work = self.shard.take_work();
        self.go_on(Suspended { conn, source: Source::Query(query), work });
    }

    /// Executes a buffer's requests, as far as it goes now.
    fn go_on(&mut self, mut suspended: Suspended) {
        let conn = suspended.conn;
        let bytes = match &suspended.source {
            Source::Received(received) => self.driver.bytes(received),
            Source::Query(query) => query,
        };
        let Progress::Done(processed) = self.shard.process(conn, bytes, &mut suspended.work) else {
            if let Some(connection) = self.shard.connections.get_mut(conn) {
                connection.stall = Some(Stall::Flush);
            }
            return self.suspended.push(suspended);
        };
        let has_rest = processed.consumed < bytes.len();
        let newer = |connection: &Connection| !connection.query.is_empty();
        let more = self.shard.connections.get(conn).is_some_and(newer);
        if let Some(connection) = self.shard.connections.get_mut(conn)
            && (has_rest || matches!(suspended.source, Source::Query(_)))
        {
            // what has come meanwhile comes after it
            let newer = std::mem::take(&mut connection.query);
            match &mut suspended.source {
                Source::Received(received) => {
                    let rest = &self.driver.bytes(received)[processed.consumed..];
                    connection.query.reserve(rest.len() + processed.needed.min(1 << 24));
                    connection.query.extend_from_slice(rest);
                }
                Source::Query(query) => {
                    query.drain(..processed.consumed);
                    query.reserve(processed.needed.min(1 << 24));
                    connection.query = std::mem::take(query);
                }
            }
            connection.query.extend_from_slice(&newer);
        }
        self.shard.keep_work(suspended.work);
        if let Source::Received(received) = suspended.source {
            self.driver.recycle(received);
        }
        if more {
            self.process_query(conn);
        }
    }

    /// Sends what is for other cores, goes on with the connections that have waited for that, and so on until all of this
    /// turn's requests are executed or sent. The parcels take a round's requests of all connections.
    fn run_rounds(&mut self) {
        self.shard.flush_all();
        while !self.suspended.is_empty() {
            for suspended in std::mem::take(&mut self.suspended) {
                if let Some(connection) = self.shard.connections.get_mut(suspended.conn) {
                    connection.stall = None;
                }
                let conn = suspended.conn;
                self.go_on(suspended);
                self.check_input(conn);
                self.read_on(conn);
            }
            self.shard.flush_all();
        }
    }

    /// Makes a client wait that sends faster than it is served, and ends one that sends too much.
    pub(super) fn check_input(&mut self, conn: ConnId) {
        // the offsets of a request's arguments have 32 bits
        let limit = self.shard.config.client_query_buffer_limit.min(3 << 30);
        let Some(connection) = self.shard.connections.get_mut(conn) else { return };
        let waiting = connection.query.len();
        if waiting as u64 > limit {
            tracing::warn!(client = connection.id, "client closed: over client-query-buffer-limit");
            self.shard.stats.query_buffer_disconnections += 1;
            self.shard.condemned.push((conn, connection.id));
        } else if connection.stall.is_some_and(|stall| stall == Stall::Output || waiting > PAUSE_QUERY_BYTES)
            && !connection.paused
            && !connection.eof
            // whether it is still there is known by reading
            && connection.blocked.is_none()
        {
            connection.paused = true;
            self.driver.pause(conn);
        }
    }

    fn sent(&mut self, conn: ConnId, output: emberkv_resp::Output) {
        let Some(connection) = self.shard.connections.get_mut(conn) else { return };
        let output = match &mut connection.tls {
            None => output,
            Some(tls) => match tls.sent() {
                Some(output) => output,
                None => {
                    connection.pump(conn, &mut self.driver);
                    return self.shard.close_if_done(conn, &mut self.driver);
                }
            },
        };
        connection.sending = 0;
        connection.spare = output;
        let before = connection.bytes_out;
        connection.send(conn, &mut self.driver);
        connection.pump(conn, &mut self.driver);
        self.shard.stats.bytes_out += connection.bytes_out - before;
        self.shard.stats.writes += u64::from(connection.bytes_out > before);
        if connection.stall == Some(Stall::Output)
            && connection.unsent() < OUTPUT_PAUSE_BYTES / 2
            && !self.shard.is_draining
        {
            connection.stall = None;
            self.resume(conn);
        }
        self.shard.close_if_done(conn, &mut self.driver);
    }

    fn resume(&mut self, conn: ConnId) {
        self.process_query(conn);
        self.read_on(conn);
        self.shard.touch(conn);
    }

    /// Receives again from a connection that was paused, once nothing keeps its requests from being executed.
    pub(super) fn read_on(&mut self, conn: ConnId) {
        if let Some(connection) = self.shard.connections.get_mut(conn)
            && connection.stall.is_none()
            && connection.paused
            && !connection.eof
            && connection.fate == Fate::Open
        {
            connection.paused = false;
            self.driver.resume(conn);
        }
    }

    /// Tries the commands again that waited for the log, for a record, or for a transaction, if there is news for them.
    fn retry(&mut self) {
        let progress = self.shard.owned().map_or(0, |owned| owned.progress());
        let log_moved = std::mem::replace(&mut self.seen_progress, progress) != progress;
        let unlocks = self.shard.unlocks();
        let unlocked = std::mem::replace(&mut self.seen_unlocks, unlocks) != unlocks;
        let arrivals = self.shard.cold_arrivals();
        let arrived = std::mem::replace(&mut self.seen_arrivals, arrivals) != arrivals;
        if !log_moved && !unlocked && !arrived {
            return;
        }
        self.shard.retry_visitors();
        if self.shard.is_draining {
            return;
        }
        if arrived {
            for conn in self.shard.take_arrived() {
                self.resume_from(conn, Stall::Cold);
            }
        }
        for _ in 0..self.shard.locked_out.len() {
            let Some(conn) = self.shard.locked_out.pop_front() else { break };
            if let Some(connection) = self.shard.connections.get_mut(conn) {
                connection.stall = None;
                self.resume(conn);
            }
        }
        if log_moved {
            self.retry_waiting();
        }
    }

    /// First come first served.
    fn retry_waiting(&mut self) {
        for _ in 0..self.shard.waiting.len() {
            let Some(conn) = self.shard.waiting.pop_front() else { return };
            if let Some(connection) = self.shard.connections.get_mut(conn) {
                connection.stall = None;
                self.resume(conn);
                let stalled = self.shard.connections.get_mut(conn).is_some_and(|c| c.stall == Some(Stall::Log));
                if stalled {
                    // it is at the end of the line now and belongs to its front, before those not yet tried
                    if let Some(conn) = self.shard.waiting.pop_back() {
                        self.shard.waiting.push_front(conn);
                    }
                    return;
                }
            }
        }
    }
}
