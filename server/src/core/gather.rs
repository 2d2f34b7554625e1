//! Questions to all cores: each answers at its next turn, and the connection gets its reply when all have.

use std::sync::Arc;

use bytes::Bytes;
use emberkv_log::{DbId, TxId};
use emberkv_resp::schema::CommandId;
use emberkv_resp::{Output, OwnedArgs, Protocol, Reply};

use crate::acl::Users;
use crate::commands::{
    AboutChannels, AboutLatency, AboutSlowLog, Clients, Killed, NO_CLIENT, Snapshot, reply_channels, reply_killed,
    reply_object, reply_published, shows_times,
};
use crate::config::Config;
use crate::core::look::Pause;
use crate::core::message::{CoreId, Message};
use crate::core::shard::Shard;
use crate::core::subscriptions::Kind;
use crate::core::tracking::Place;
use crate::driver::ConnId;
use crate::meter::{Event, Latency, Row, Slow};

/// Names a question: the core that asks, and a number of its own.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct GatherId {
    pub core: CoreId,
    pub number: u64,
}

/// As redis says it.
pub(crate) const SAVES_ALREADY: &str = "ERR Background save already in progress";

/// What is asked.
#[derive(Debug)]
pub(crate) enum Question {
    /// INFO, of these sections (empty: the usual ones).
    Info(Vec<String>),
    /// CLIENT LIST.
    Clients(Clients),
    /// The configuration is this one from now on, and these are the users.
    ///
    /// `count`: the reply, instead of OK.
    Config { config: Box<Config>, users: Arc<Users>, version: u64, count: Option<u64> },
    /// CONFIG RESETSTAT.
    ResetStats,
    /// CLIENT KILL.
    Kill(Killed),
    /// CLIENT UNBLOCK.
    Unblock { client: u64, is_error: bool },
    /// PUBLISH, SPUBLISH.
    Publish { kind: Kind, channel: Vec<u8>, message: Vec<u8> },
    /// PUBSUB.
    Channels(AboutChannels),
    /// SLOWLOG.
    SlowLog(AboutSlowLog),
    /// LATENCY: of these events, or of these commands.
    Latency(AboutLatency),
    /// CLIENT PAUSE, and CLIENT UNPAUSE.
    Pause(Option<Pause>),
    /// MONITOR: whether commands are looked at may have changed.
    Settle,
    /// BGREWRITEAOF.
    Compact,
    /// BGSAVE.
    Save,
    /// SAVE: answered when it is done.
    SaveAndWait,
    /// MEMORY STATS.
    MemoryStats,
    /// MEMORY DOCTOR.
    MemoryDoctor,
    /// MEMORY PURGE.
    Purge,
    /// DEBUG OBJECT: OBJECT ENCODING and its key.
    Object { db: DbId, args: OwnedArgs },
    /// DEBUG SET-ACTIVE-EXPIRE.
    ActiveExpire(bool),
    /// EMBER HELLO: up to where transactions are settled, and what says so may be shipped.
    Origin,
    /// CLIENT TRACKING ON; where the connection is that is told in place of the one that asks.
    Track { redirect: Option<u64> },
    /// CLIENT TRACKING OFF with a client who would have been told: it has to be there.
    Untrack { redirect: u64 },
}

/// What a core answers.
#[derive(Debug)]
pub(crate) enum Told {
    Info(Box<Snapshot>),
    /// A line for each connection, with its number.
    Clients(Vec<(u64, Vec<u8>)>),
    /// How many connections were closed.
    Killed(u64),
    /// Whether the client waited, and was one of the core's.
    Unblocked(bool),
    /// How many have got a message.
    Received(u64),
    Names(Vec<Bytes>),
    Counts(Vec<usize>),
    Slow(Vec<Slow>),
    Latency(Box<Latency>),
    Times(Vec<(CommandId, Row)>),
    /// How many events were forgotten.
    Forgot(Vec<Event>),
    /// Whether a full compaction has begun.
    Compacts(bool),
    /// What has become of a checkpoint, or why none was begun.
    Saves(Result<(), &'static str>),
    /// What there is to say of a key, if there is one, or why that can't be said.
    Object(Result<Option<String>, &'static str>),
    /// All transactions with lower tickets are settled, as far as this core's logs say so.
    Horizon(TxId),
    /// Where a connection is, if it is here.
    Found(Option<Place>),
    Done,
}

/// The questions of a core that are not answered yet.
#[derive(Debug, Default)]
pub(crate) struct Gathers {
    open: Vec<Gather>,
    last: u64,
}

#[derive(Debug)]
struct Gather {
    number: u64,
    question: Arc<Question>,
    conn: ConnId,
    client: u64,
    /// When it asked: a HELLO may come behind.
    protocol: Protocol,
    piece: u64,
    missing: usize,
    told: Vec<Told>,
}

impl Question {
    /// Whether it takes time, or the end of a turn, until it can be answered, by the core that asks too.
    fn is_answered_later(&self) -> bool {
        matches!(self, Self::SaveAndWait | Self::Origin)
    }
}

impl Gathers {
    pub fn is_empty(&self) -> bool {
        self.open.is_empty()
    }
}

impl Shard {
    /// Asks all cores for a connection, this one too.
    pub fn ask_all(&mut self, conn: ConnId, question: Question) {
        self.ask(conn, question, |_| true);
    }

    /// Asks this core, and those others that `is_asked` says, for a connection. What the answer brings to the connection
    /// besides comes behind the reply.
    pub fn ask(&mut self, conn: ConnId, question: Question, is_asked: impl Fn(CoreId) -> bool) {
        let others: Vec<CoreId> = self.peers.others(self.me).filter(|core| is_asked(*core)).collect();
        if others.is_empty() && !question.is_answered_later() {
            let Some(connection) = self.connections.get_mut(conn) else { return };
            let (protocol, mut output) = (connection.protocol, std::mem::take(&mut connection.output));
            let own = self.tell(&question);
            self.tracks(conn, &question, std::slice::from_ref(&own));
            self.reply_gathered(protocol, &question, vec![own], &mut output);
            if let Some(connection) = self.connections.get_mut(conn) {
                output.append(&mut connection.output);
                connection.output = output;
            }
            return;
        }
        // what it asks of others from now on is answered behind this
        if let Some(open) = self.connections.get_mut(conn).and_then(|connection| connection.open.take()) {
            self.flush_open(open);
        }
        self.guard = None; // waking is a system call (D12)
        let Some(connection) = self.connections.get_mut(conn) else { return };
        connection.stage_output(&mut self.spares);
        self.gathers.last += 1;
        let question = Arc::new(question);
        let id = GatherId { core: self.me, number: self.gathers.last };
        let (client, protocol, piece) = (connection.id, connection.protocol, connection.pieces.reserve());
        // one that takes time is answered later, by this core too
        let (told, missing) = if question.is_answered_later() {
            (Vec::new(), others.len() + 1)
        } else {
            (vec![self.tell(&question)], others.len())
        };
        self.gathers.open.push(Gather {
            number: id.number,
            question: Arc::clone(&question),
            conn,
            client,
            protocol,
            piece,
            missing,
            told,
        });
        for core in others {
            self.peers.send(core, Message::Asked { gather: id, question: Arc::clone(&question) });
        }
        if question.is_answered_later()
            && let Some(told) = self.tell_when_done(id, &question)
        {
            self.told(id, told);
        }
    }

    /// Another core's question.
    pub fn asked(&mut self, gather: GatherId, question: &Question) {
        if let Some(told) = self.tell_when_done(gather, question) {
            self.peers.send(gather.core, Message::Told { gather, told });
        }
    }

    /// The answer, unless that is given later.
    fn tell_when_done(&mut self, gather: GatherId, question: &Question) -> Option<Told> {
        match question {
            Question::SaveAndWait => self.save_for(gather),
            Question::Origin => {
                self.horizon_asked.push(gather);
                None
            }
            other => Some(self.tell(other)),
        }
    }

    fn tell(&mut self, question: &Question) -> Told {
        match question {
            Question::MemoryStats | Question::MemoryDoctor => Told::Info(Box::new(self.snapshot(false))),
            Question::Info(sections) => Told::Info(Box::new(self.snapshot(shows_times(sections)))),
            Question::Clients(clients) => Told::Clients(self.describe_clients(clients)),
            Question::Config { config, users, version, .. } => {
                self.take_over(config, users, *version);
                Told::Done
            }
            Question::Kill(killed) => self.kill_clients(killed),
            Question::Unblock { client, is_error } => Told::Unblocked(self.unblock_client(*client, *is_error)),
            Question::Publish { kind, channel, message } => Told::Received(self.deliver(*kind, channel, message)),
            Question::Channels(about) => self.tell_channels(about),
            Question::SlowLog(about) => self.tell_slow_log(about),
            Question::Latency(about) => self.tell_latency(about),
            Question::Pause(pause) => {
                match pause {
                    Some(pause) => self.pause_clients(*pause),
                    None => self.unpause_clients(),
                }
                Told::Done
            }
            Question::Settle => {
                self.settle_all();
                Told::Done
            }
            Question::Compact => Told::Compacts(self.begin_compaction()),
            Question::Save | Question::SaveAndWait => {
                Told::Saves(self.begin_saving().then_some(()).ok_or(SAVES_ALREADY))
            }
            Question::Object { db, args } => self.tell_object(*db, args),
            Question::Origin => Told::Done, // answered later
            Question::ActiveExpire(is_on) => {
                self.expires_actively = *is_on;
                Told::Done
            }
            Question::Track { redirect } => {
                self.settle_tracking();
                Told::Found(redirect.and_then(|client| self.find_client(client)))
            }
            Question::Untrack { redirect } => Told::Found(self.find_client(*redirect)),
            Question::Purge => {
                self.purge();
                Told::Done
            }
            Question::ResetStats => {
                self.reset_stats();
                Told::Done
            }
        }
    }

    /// A core's answer: the last one makes the reply.
    pub fn told(&mut self, gather: GatherId, told: Told) {
        let Some(i) = self.gathers.open.iter().position(|open| open.number == gather.number) else { return };
        let open = &mut self.gathers.open[i];
        open.told.push(told);
        open.missing -= 1;
        if open.missing > 0 {
            return;
        }
        let open = self.gathers.open.swap_remove(i);
        let asks = self.connections.get(open.conn).is_some_and(|connection| connection.id == open.client);
        if !asks {
            return;
        }
        self.tracks(open.conn, &open.question, &open.told);
        let mut output = Output::new();
        self.reply_gathered(open.protocol, &open.question, open.told, &mut output);
        if let Some(connection) = self.connections.get_mut(open.conn) {
            connection.pieces.answer(open.piece, output);
        }
        self.touch(open.conn);
    }

    fn find_client(&self, client: u64) -> Option<Place> {
        let is = |conn: &ConnId| self.connections.get(*conn).is_some_and(|other| other.id == client);
        self.connections.ids().into_iter().find(is).map(|conn| Place { core: self.me, conn, client })
    }

    /// All cores know that a connection tracks, or that it has named somebody.
    fn tracks(&mut self, conn: ConnId, question: &Question, told: &[Told]) {
        match (question, found(told)) {
            (Question::Track { redirect: Some(_) }, Some(place)) => self.redirect(conn, place),
            (Question::Track { redirect: Some(_) }, None) => self.untry_tracking(conn),
            (Question::Untrack { .. }, Some(_)) => self.set_tracking(conn, None),
            _ => {}
        }
    }

    fn reply_gathered(&self, protocol: Protocol, question: &Question, told: Vec<Told>, output: &mut Output) {
        let mut reply = Reply::new(output, protocol);
        match question {
            Question::Info(sections) => {
                let cores = snapshots(told);
                reply.verbatim(*b"txt", self.info_text(sections, &cores).as_bytes());
            }
            Question::Clients(_) => {
                let mut lines: Vec<(u64, Vec<u8>)> = told
                    .into_iter()
                    .flat_map(|told| if let Told::Clients(lines) = told { lines } else { Vec::new() })
                    .collect();
                lines.sort_by_key(|(id, _)| *id);
                let list: Vec<u8> = lines.into_iter().flat_map(|(_, line)| line).collect();
                reply.verbatim(*b"txt", &list);
            }
            Question::Compact => {
                if told.iter().any(|told| matches!(told, Told::Compacts(true))) {
                    reply.simple("Background append only file rewriting started");
                } else {
                    reply.error("ERR Background append only file rewriting already in progress");
                }
            }
            Question::Save if told.iter().any(|told| matches!(told, Told::Saves(Ok(())))) => {
                reply.simple("Background saving started");
            }
            Question::Save => reply.error(SAVES_ALREADY),
            Question::SaveAndWait => {
                let failed =
                    told.iter().find_map(|told| if let Told::Saves(Err(error)) = told { Some(error) } else { None });
                match failed {
                    Some(error) => reply.error(error),
                    None => reply.ok(),
                }
            }
            Question::MemoryStats => self.reply_memory_stats(&snapshots(told), &mut reply),
            Question::MemoryDoctor => reply.verbatim(*b"txt", self.doctor(&snapshots(told)).as_bytes()),
            Question::Object { .. } => reply_object(&told, &mut reply),
            Question::Origin => self.reply_origin(&told, &mut reply),
            Question::Track { redirect } => match found(&told) {
                None if redirect.is_some() => reply.error(NO_CLIENT),
                _ => reply.ok(),
            },
            Question::Untrack { .. } => match found(&told) {
                None => reply.error(NO_CLIENT),
                Some(_) => reply.ok(),
            },
            Question::Unblock { .. } => {
                let is_unblocked = told.iter().any(|told| matches!(told, Told::Unblocked(true)));
                reply.integer(i64::from(is_unblocked));
            }
            Question::Kill(killed) => reply_killed(killed, &told, &mut reply),
            Question::Publish { .. } => reply_published(&told, &mut reply),
            Question::Channels(about) => reply_channels(about, &told, &mut reply),
            Question::SlowLog(about) => self.reply_slow_log(about, told, &mut reply),
            Question::Latency(about) => self.reply_latency(about, &told, &mut reply),
            Question::Config { count: Some(count), .. } => reply.integer(*count as i64),
            Question::Config { .. }
            | Question::ActiveExpire(_)
            | Question::Purge
            | Question::ResetStats
            | Question::Pause(_)
            | Question::Settle => reply.ok(),
        }
    }
}

fn found(told: &[Told]) -> Option<Place> {
    told.iter().find_map(|told| if let Told::Found(place) = told { *place } else { None })
}

/// What all cores have told of themselves, by their numbers.
fn snapshots(told: Vec<Told>) -> Vec<Snapshot> {
    let mut cores: Vec<Snapshot> = told
        .into_iter()
        .filter_map(|told| if let Told::Info(snapshot) = told { Some(*snapshot) } else { None })
        .collect();
    cores.sort_by_key(|snapshot| snapshot.core);
    cores
}
