//! Client-side caching: which connections keep what they read, and what they are told of it (N1).

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use emberkv_engine::transact::{Line, Plan};
use emberkv_engine::{Author, Invalid, Reader, is_tracked, may_wait};
use emberkv_log::TxId;
use emberkv_resp::schema::{Command, Runs};
use emberkv_resp::{Args, Protocol, Reply};

use crate::core::connection::{Connection, Fate, Stall};
use crate::core::message::{CoreId, Message};
use crate::core::pipeline::Next;
use crate::core::shard::{Data, Shard, extent};
use crate::driver::ConnId;

/// The channel of those who can't be told otherwise.
const CHANNEL: &[u8] = b"__redis__:invalidate";

/// So many of its own transactions a connection remembers, to be spared what they change.
const REMEMBERED: usize = 1024;

/// Of what a connection is told.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Mode {
    /// What it reads.
    Reads,
    /// What it reads behind CLIENT CACHING YES.
    OptIn,
    /// What it reads, but for that behind CLIENT CACHING NO.
    OptOut,
    /// Every key that begins with one of these.
    Broadcast(Vec<Bytes>),
}

/// A connection of any core.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Place {
    pub core: CoreId,
    pub conn: ConnId,
    pub client: u64,
}

/// Who is told in place of the connection.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Redirect {
    pub client: u64,
    /// Where that is; until it is known nothing is said.
    pub place: Option<Place>,
}

/// What a connection has asked for.
#[derive(Debug)]
pub(crate) struct Tracking {
    pub mode: Mode,
    /// It is not told of what it changes itself.
    pub no_loop: bool,
    pub redirect: Option<Redirect>,
    /// Who is to be told in its place has gone.
    pub is_broken: bool,
    /// CLIENT CACHING counts for its next command.
    pub caching: bool,
    /// What there was before, until it is known that there is somebody to be told in its place.
    before: Option<Box<Self>>,
    /// What is to be said when it is known to whom; `None`: everything.
    held: Vec<Option<Vec<Bytes>>>,
    transactions: VecDeque<TxId>,
}

impl Tracking {
    pub fn new(mode: Mode, no_loop: bool, redirect: Option<Redirect>) -> Self {
        Self {
            mode,
            no_loop,
            redirect,
            is_broken: false,
            caching: false,
            before: None,
            held: Vec::new(),
            transactions: VecDeque::new(),
        }
    }

    pub fn broadcasts(&self) -> bool {
        matches!(self.mode, Mode::Broadcast(_))
    }

    /// Whether it is going to keep what its next command reads.
    pub fn keeps(&self) -> bool {
        match self.mode {
            Mode::Reads => true,
            Mode::OptIn => self.caching,
            Mode::OptOut => !self.caching,
            Mode::Broadcast(_) => false,
        }
    }

    /// A transaction of its own begins.
    pub fn remember(&mut self, ticket: TxId) {
        if self.no_loop {
            if self.transactions.len() == REMEMBERED {
                self.transactions.pop_front();
            }
            self.transactions.push_back(ticket);
        }
    }

    fn is_spared(&self, client: u64, author: Option<Author>) -> bool {
        self.no_loop
            && match author {
                Some(Author::Client(other)) => other == client,
                Some(Author::Transaction(ticket)) => self.transactions.contains(&ticket),
                Some(Author::Nobody) | None => false,
            }
    }
}

/// What one core tells another of keys.
#[derive(Debug)]
pub(crate) enum Notice {
    /// A key that these have read is another one.
    Key { key: Bytes, author: Option<Author>, readers: Vec<Reader> },
    /// A key is another one, for those who hear of all.
    Changed { key: Bytes, author: Author },
    /// Everything is.
    All,
    /// To be said to one connection in place of another.
    Redirected { to: Place, from: Place, keys: Option<Vec<Bytes>> },
    /// That has gone.
    Broken { from: Place, client: u64 },
}

impl Connection {
    /// Whether its core is to be noted as a reader by the owner of what a command reads.
    pub fn keeps(&self, command: &Command, args: Args<'_>) -> bool {
        self.tracking.as_ref().is_some_and(|tracking| tracking.keeps())
            // what waits for something is not kept
            && (command.runs == Runs::Data || command.runs == Runs::Blocking && !may_wait(command.id, args))
            && is_tracked(command.id)
            && self.multi.is_none()
            && !self.only_listens
            && self.fate == Fate::Open
    }

    fn place(&self, core: CoreId, conn: ConnId) -> Place {
        Place { core, conn, client: self.id }
    }

    /// As owners know it.
    pub fn reader(&self, core: CoreId, conn: ConnId) -> Reader {
        Reader { core: core.0, conn: conn.0, client: self.id }
    }
}

impl Shard {
    /// Whether anybody tracks anything may have changed.
    pub fn settle_tracking(&mut self) {
        let (is_on, broadcasts) = (self.peers.has_trackers(), self.peers.has_broadcasts());
        let max_keys = usize::try_from(self.config.tracking_table_max_keys).unwrap_or(usize::MAX);
        for own in self.owned().into_iter().flat_map(|owned| &mut owned.list) {
            own.partition.set_tracking(is_on, broadcasts);
            let share = max_keys.div_ceil(usize::from(own.partition.partitions()));
            own.partition.set_max_tracked(if max_keys == 0 { usize::MAX } else { share });
        }
    }

    /// A connection tracks from now on, or in another way.
    pub fn set_tracking(&mut self, conn: ConnId, tracking: Option<Tracking>) {
        let (users, looks) = (&self.users, self.looks);
        let Some(connection) = self.connections.get_mut(conn) else { return };
        let before = std::mem::replace(&mut connection.tracking, tracking.map(Box::new));
        connection.settle_access(users, looks);
        let of = |tracking: Option<&Tracking>| (tracking.is_some(), tracking.is_some_and(Tracking::broadcasts));
        let (was, is) = (of(before.as_deref()), of(connection.tracking.as_deref()));
        self.peers.count_tracker(self.me, is.0, was.0, is.1, was.1);
        if was.0 != is.0 {
            self.trackers.retain(|other| *other != conn);
            if is.0 {
                self.trackers.push(conn);
            }
        }
    }

    /// Executes a command of a connection that is going to keep what it reads: with the keys' locks, under which their owners note it.
    pub(super) fn read_to_keep(&mut self, conn: ConnId, command: &'static Command, args: Args<'_>) -> Result<Next, ()> {
        if let Some(connection) = self.connections.get_mut(conn)
            && connection.executing.is_some()
        {
            connection.stall = Some(Stall::Several);
            return Err(());
        }
        if !self.may_begin(conn) {
            return Err(());
        }
        let (Data::Ready(owned), Some(connection)) = (&self.data, self.connections.get_mut(conn)) else {
            return Err(());
        };
        let line = Line { id: command.id, db: connection.db, args: args.into() };
        let extent = extent(&self.config, owned.map.partitions());
        let plan = Plan::single(line, connection.protocol, extent).for_reader(connection.reader(self.me, conn));
        connection.commands += 1;
        connection.last_command = Some(command.id);
        self.stats.commands += 1;
        let timed = self.timed(command.id, args);
        self.begin(conn, plan, timed);
        Ok(Next::GoesOn)
    }

    /// Says what is not to be kept any longer. Every turn, when the index has it: whoever reads it again reads what there is now.
    pub fn tell_invalid(&mut self) {
        let Data::Ready(owned) = &mut self.data else { return };
        let invalid: Vec<Invalid> = owned.list.iter_mut().flat_map(|own| own.partition.take_invalid()).collect();
        if invalid.is_empty() {
            return;
        }
        for core in self.peers.all() {
            let hears_all = self.peers.broadcasts(core);
            let mut notices = Vec::new();
            for invalid in &invalid {
                let Invalid::Key { key, readers, author } = invalid else {
                    notices.push(Notice::All);
                    continue;
                };
                let key = Bytes::copy_from_slice(key);
                let readers: Vec<Reader> = readers.iter().copied().filter(|reader| reader.core == core.0).collect();
                if !readers.is_empty() {
                    notices.push(Notice::Key { key: key.clone(), author: *author, readers });
                }
                if let Some(author) = author.filter(|_| hears_all) {
                    notices.push(Notice::Changed { key, author });
                }
            }
            self.notify(core, notices);
        }
    }

    /// The prefixes of this core's connections.
    pub fn tracked_prefixes(&self) -> Vec<Bytes> {
        let of = |conn: &ConnId| match self.connections.get(*conn)?.tracking.as_deref()?.mode {
            Mode::Broadcast(ref prefixes) => Some(prefixes.clone()),
            _ => None,
        };
        self.trackers.iter().filter_map(of).flatten().collect()
    }

    /// Of how many keys this core's partitions know readers, and how many.
    pub fn tracked(&self) -> (usize, usize) {
        let Data::Ready(owned) = &self.data else { return (0, 0) };
        let each = owned.list.iter().map(|own| own.partition.tracked());
        each.fold((0, 0), |all, one| (all.0 + one.0, all.1 + one.1))
    }

    fn notify(&mut self, core: CoreId, notices: Vec<Notice>) {
        if notices.is_empty() {
        } else if core == self.me {
            self.noticed(notices);
        } else {
            self.guard = None; // waking is a system call (D12)
            self.peers.send(core, Message::Notices(notices));
        }
    }

    /// What another core says, or this one to itself.
    pub fn noticed(&mut self, notices: Vec<Notice>) {
        let mut changed: BTreeMap<Bytes, Vec<Author>> = BTreeMap::new();
        for notice in notices {
            match notice {
                Notice::Key { key, author, readers } => {
                    for Reader { conn, client, .. } in readers {
                        let tells = self.connections.get(ConnId(conn)).is_some_and(|connection| {
                            connection.id == client
                                && connection.tracking.as_ref().is_some_and(|tracking| {
                                    !tracking.broadcasts() && !tracking.is_spared(client, author)
                                })
                        });
                        if tells {
                            self.say_invalid(ConnId(conn), Some(vec![key.clone()]));
                        }
                    }
                }
                Notice::Changed { key, author } => changed.entry(key).or_default().push(author),
                Notice::All => {
                    for conn in self.trackers.clone() {
                        self.say_invalid(conn, None);
                    }
                }
                Notice::Redirected { to, from, keys } => {
                    let is_there = self.connections.get(to.conn).is_some_and(|other| other.id == to.client);
                    if is_there {
                        self.write_invalid(to.conn, keys.as_deref(), true);
                    } else {
                        self.notify(from.core, vec![Notice::Broken { from, client: to.client }]);
                    }
                }
                Notice::Broken { from, client } => self.note_broken(from, client),
            }
        }
        if !changed.is_empty() {
            self.broadcast(&changed);
        }
    }

    fn broadcast(&mut self, changed: &BTreeMap<Bytes, Vec<Author>>) {
        for conn in self.trackers.clone() {
            let Some(connection) = self.connections.get(conn) else { continue };
            let Some(tracking) = &connection.tracking else { continue };
            let Mode::Broadcast(prefixes) = &tracking.mode else { continue };
            let is_told =
                |authors: &[Author]| authors.iter().any(|author| !tracking.is_spared(connection.id, Some(*author)));
            let of_prefix = |prefix: &Bytes| {
                let keys = changed.iter().filter(|(key, authors)| key.starts_with(prefix) && is_told(authors));
                keys.map(|(key, _)| key.clone()).collect::<Vec<_>>()
            };
            let told: Vec<_> = prefixes.iter().map(of_prefix).filter(|keys| !keys.is_empty()).collect();
            for keys in told {
                self.say_invalid(conn, Some(keys));
            }
        }
    }

    /// Says it to a connection, or to whom it has named.
    fn say_invalid(&mut self, conn: ConnId, keys: Option<Vec<Bytes>>) {
        let me = self.me;
        let Some(connection) = self.connections.get_mut(conn) else { return };
        let from = connection.place(me, conn);
        let Some(tracking) = &mut connection.tracking else { return };
        match &tracking.redirect {
            None => self.write_invalid(conn, keys.as_deref(), false),
            Some(Redirect { place: None, .. }) => tracking.held.push(keys),
            Some(Redirect { place: Some(to), .. }) => {
                let to = *to;
                self.notify(to.core, vec![Notice::Redirected { to, from, keys }]);
            }
        }
    }

    /// The same, if there is somebody to be told in its place.
    pub fn try_tracking(&mut self, conn: ConnId, tracking: Tracking) {
        let before = self.connections.get_mut(conn).and_then(|connection| connection.tracking.take());
        let (was, heard) = (before.is_some(), before.as_ref().is_some_and(|before| before.broadcasts()));
        self.peers.count_tracker(self.me, false, was, false, heard);
        self.trackers.retain(|other| *other != conn);
        self.set_tracking(conn, Some(Tracking { before, ..tracking }));
    }

    /// There is nobody: it is as it was before.
    pub fn untry_tracking(&mut self, conn: ConnId) {
        let connection = self.connections.get_mut(conn);
        let tracking = connection.and_then(|connection| connection.tracking.as_mut());
        let Some(before) = tracking.map(|tracking| tracking.before.take()) else { return };
        self.set_tracking(conn, before.map(|before| *before));
    }

    /// It is known who is to be told in place of a connection. What was held back is said.
    pub fn redirect(&mut self, conn: ConnId, to: Place) {
        let Some(connection) = self.connections.get_mut(conn) else { return };
        let Some(tracking) = &mut connection.tracking else { return };
        match &mut tracking.redirect {
            Some(redirect) if redirect.client == to.client => redirect.place = Some(to),
            _ => return, // it has been said otherwise since
        }
        tracking.before = None;
        for keys in std::mem::take(&mut tracking.held) {
            self.say_invalid(conn, keys);
        }
    }

    fn note_broken(&mut self, from: Place, client: u64) {
        let Some(connection) = self.connections.get_mut(from.conn).filter(|other| other.id == from.client) else {
            return;
        };
        let Some(tracking) = &mut connection.tracking else { return };
        if tracking.redirect.as_ref().is_none_or(|redirect| redirect.client != client) {
            return;
        }
        tracking.is_broken = true;
        if connection.protocol == Protocol::Resp3 {
            self.write_aside(from.conn, |reply| {
                reply.push(2);
                reply.bulk(b"tracking-redir-broken");
                reply.integer(client as i64);
            });
        }
    }

    fn write_invalid(&mut self, conn: ConnId, keys: Option<&[Bytes]>, is_redirected: bool) {
        let Some(connection) = self.connections.get(conn) else { return };
        let listens = connection.listening.is_some();
        let is_resp3 = connection.protocol == Protocol::Resp3;
        if !(is_resp3 || is_redirected && listens) {
            return; // its protocol has no place for that
        }
        self.write_aside(conn, |reply| {
            if is_resp3 {
                reply.push(2);
                reply.bulk(b"invalidate");
            } else {
                reply.array(3);
                reply.bulk(b"message");
                reply.bulk(CHANNEL);
            }
            match keys {
                Some(keys) => {
                    reply.array(keys.len());
                    keys.iter().for_each(|key| reply.bulk(key));
                }
                None => reply.null(),
            }
        });
    }

    /// Writes what is no reply behind the replies to what the connection has asked so far, those that have not come yet too.
    fn write_aside(&mut self, conn: ConnId, write: impl FnOnce(&mut Reply<'_>)) {
        let Some(connection) = self.connections.get_mut(conn).filter(|other| other.fate == Fate::Open) else { return };
        connection.write_aside(&mut self.spares, |connection| {
            write(&mut Reply::new(&mut connection.output, connection.protocol));
        });
        self.touch(conn);
    }
}
