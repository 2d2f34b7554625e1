//! MIGRATE, step by step: see [`crate::migrate`]. It goes on when its client has gone, so that no key is left in two places without
//! need.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Instant;

use emberkv_engine::Watch;
use emberkv_engine::transact::{Line, Outcome, Plan, Watched};
use emberkv_log::DbId;
use emberkv_resp::schema::{Command, CommandId};
use emberkv_resp::{Args, Output, OwnedArgs, Protocol, Reply};

use crate::core::message::Message;
use crate::core::several::Asks;
use crate::core::shard::{Data, Shard, extent};
use crate::driver::ConnId;
use crate::migrate::{Order, Parcelled, Sent, send};

/// How often it is tried, if a key is changed each time while it is sent.
const ROUNDS: u32 = 16;

/// How many a core has under way: each has a thread, and what it sends.
const MOST: usize = 64;

const TOO_MANY: &str = "ERR too many MIGRATEs are under way: try again";
const CHANGED: &str =
    "ERR a key was changed each time while it was sent: it is still here, and an older value of it is there";

/// How a MIGRATE goes on when its present step has ended.
#[derive(Debug)]
enum Step {
    Watching,
    Reading,
    Deleting,
}

/// One that is under way.
#[derive(Debug)]
pub(crate) struct Migration {
    order: Arc<Order>,
    db: DbId,
    step: Step,
    rounds: u32,
    watch: Watch,
    /// The keys that the other server has taken in some round.
    there: HashSet<Box<[u8]>>,
    /// None of the keys is here any more.
    are_gone: bool,
    /// The first error of this round.
    error: Option<String>,
}

/// What a thread brings back.
#[derive(Debug)]
pub(crate) struct Delivered {
    asks: Asks,
    migration: Box<Migration>,
    keys: Vec<Box<[u8]>>,
    sent: Sent,
}

/// A reply as redis writes it, status or error.
enum End {
    Ok,
    NoKey,
    Error(String),
}

fn line(id: CommandId, db: DbId, words: &[&[u8]]) -> Line {
    Line { id, db, args: OwnedArgs::from_words(words) }
}

impl Shard {
    /// MIGRATE of a connection. An error: it has to be tried again later.
    pub(super) fn migrate(&mut self, conn: ConnId, command: &'static Command, args: Args<'_>) -> Result<(), ()> {
        if !self.may_begin(conn) {
            return Err(());
        }
        let order = match Order::parse(args) {
            Ok(_) if self.migrations >= MOST => Err(TOO_MANY.to_owned()),
            other => other,
        };
        let Some(connection) = self.connections.get_mut(conn) else { return Ok(()) };
        let db = connection.db;
        connection.commands += 1;
        connection.last_command = Some(command.id);
        self.stats.commands += 1;
        let order = match order {
            Err(text) => {
                self.meter.count(command.id);
                self.meter.fail(command.id, text.as_bytes());
                self.with_reply(conn, |reply| reply.error(&text));
                return Ok(());
            }
            Ok(order) if order.keys.is_empty() => {
                self.meter.count(command.id);
                self.with_reply(conn, |reply| reply.simple("NOKEY"));
                return Ok(());
            }
            Ok(order) => Arc::new(order),
        };
        self.migrations += 1;
        let migration = Box::new(Migration {
            order,
            db,
            step: Step::Watching,
            rounds: 0,
            watch: Watch::default(),
            there: HashSet::new(),
            are_gone: false,
            error: None,
        });
        let timed = self.timed(command.id, args);
        let Some(asks) = self.asks(conn, timed) else { return Ok(()) };
        self.migrate_from_the_beginning(asks, migration);
        Ok(())
    }

    fn migrate_from_the_beginning(&mut self, asks: Asks, mut migration: Box<Migration>) {
        migration.rounds += 1;
        if migration.order.copy {
            return self.read_to_migrate(asks, migration);
        }
        let Data::Ready(owned) = &self.data else { return };
        let keys: Vec<&[u8]> = migration.order.keys.iter().map(|key| &**key).collect();
        let keys = OwnedArgs::from_words(&keys);
        migration.watch = Watch::default();
        migration.step = Step::Watching;
        let plan = Plan::watch(migration.db, keys.args(), &migration.watch, owned.map.partitions());
        self.draw(asks.of_migration(migration), plan);
    }

    fn read_to_migrate(&mut self, asks: Asks, mut migration: Box<Migration>) {
        let db = migration.db;
        migration.step = Step::Reading;
        let both =
            |key: &[u8]| [line(CommandId::Dump, db, &[b"DUMP", key]), line(CommandId::Pttl, db, &[b"PTTL", key])];
        let lines = migration.order.keys.iter().flat_map(|key| both(key)).collect();
        self.script_to_migrate(asks, migration, lines, None);
    }

    fn script_to_migrate(
        &mut self,
        asks: Asks,
        migration: Box<Migration>,
        lines: Vec<Line>,
        watched: Option<&[Watched]>,
    ) {
        let Data::Ready(owned) = &self.data else { return };
        let extent = extent(&self.config, owned.map.partitions());
        let watch = watched.map(|watched| (&migration.watch, watched));
        let plan = Plan::script(lines, watch, Protocol::Resp2, extent);
        self.draw(asks.of_migration(migration), plan);
    }

    /// A step of it in the partitions has ended.
    pub(super) fn migrate_on(&mut self, asks: Asks, migration: Box<Migration>, outcome: Outcome) {
        let failed = match &outcome {
            Outcome::Error(text) => Some(text.to_string()),
            _ => None,
        };
        if let Some(text) = failed {
            return self.end_migration(asks, End::Error(text));
        }
        match (&migration.step, outcome) {
            (Step::Watching, _) => self.read_to_migrate(asks, migration),
            (Step::Reading, Outcome::Replies(replies)) => self.send_to_migrate(asks, migration, &replies),
            (Step::Deleting, Outcome::Changed) if migration.rounds < ROUNDS => {
                self.migrate_from_the_beginning(asks, migration);
            }
            (Step::Deleting, Outcome::Changed) => self.end_migration(asks, End::Error(CHANGED.into())),
            _ => {
                let done = if migration.are_gone { End::NoKey } else { End::Ok };
                self.end_migration(asks, migration.error.map_or(done, End::Error));
            }
        }
    }

    fn send_to_migrate(&mut self, asks: Asks, mut migration: Box<Migration>, replies: &[Vec<u8>]) {
        let (mut parcelled, mut named) = (Vec::new(), HashSet::new());
        for (key, pair) in migration.order.keys.iter().zip(replies.chunks_exact(2)) {
            if pair[0].starts_with(b"-") {
                let text = String::from_utf8_lossy(&pair[0][1..]).trim_end().to_owned();
                return self.end_migration(asks, End::Error(text));
            }
            let was_sent = migration.there.contains(key);
            match (bulk(&pair[0]), integer(&pair[1])) {
                _ if !named.insert(key) => {}
                (Some(payload), Some(ttl)) => parcelled.push(Parcelled::Value {
                    key: key.clone(),
                    payload: payload.to_vec(),
                    ttl_ms: u64::try_from(ttl).map_or(0, |ttl| ttl.max(1)),
                    again: was_sent,
                }),
                _ if was_sent => parcelled.push(Parcelled::Gone(key.clone())),
                _ => {}
            }
        }
        if parcelled.is_empty() {
            return self.end_migration(asks, End::NoKey);
        }
        let read = Instant::now();
        let (me, peers, order) = (self.me, Arc::clone(&self.peers), Arc::clone(&migration.order));
        migration.are_gone = parcelled.iter().all(|one| matches!(one, Parcelled::Gone(_)));
        self.guard = None; // a thread takes system calls (D12)
        let (run, started) = std::sync::mpsc::sync_channel::<(Asks, Box<Migration>)>(1);
        let thread = std::thread::Builder::new().name("migrate".into()).spawn(move || {
            let Ok((asks, migration)) = started.recv() else { return };
            let sent = send(&order, &parcelled, read);
            let keys = parcelled.iter().map(|one| one.key().into()).collect();
            peers.send(me, Message::Migrated(Box::new(Delivered { asks, migration, keys, sent })));
        });
        match thread {
            Ok(_) => {
                // the thread waits for it, and there is room for one
                let _ = run.send((asks, migration));
            }
            Err(error) => {
                let text = format!("ERR the system has no thread for that: {error}");
                self.end_migration(asks, End::Error(text));
            }
        }
    }

    /// The other server has answered, or not.
    pub fn delivered(&mut self, delivered: Delivered) {
        let Delivered { asks, mut migration, keys, sent } = delivered;
        let taken: Vec<Box<[u8]>> =
            keys.into_iter().zip(sent.taken).filter_map(|(key, taken)| taken.then_some(key)).collect();
        migration.error = sent.error;
        migration.there.extend(taken.iter().cloned());
        if migration.order.copy || taken.is_empty() {
            let end = migration.error.map_or(End::Ok, End::Error);
            return self.end_migration(asks, end);
        }
        let words: Vec<&[u8]> = [&b"DEL"[..]].into_iter().chain(taken.iter().map(|key| &**key)).collect();
        let lines = vec![line(CommandId::Del, migration.db, &words)];
        let watched: Vec<Watched> = migration.order.keys.iter().map(|key| (migration.db, key.clone())).collect();
        migration.step = Step::Deleting;
        self.script_to_migrate(asks, migration, lines, Some(&watched));
    }

    fn end_migration(&mut self, asks: Asks, end: End) {
        self.migrations -= 1;
        if let End::Error(text) = &end {
            self.meter.fail(CommandId::Migrate, text.as_bytes());
        }
        self.finish(asks, |connection, output: &mut Output| {
            let mut reply = Reply::new(output, connection.protocol);
            match end {
                End::Ok => reply.ok(),
                End::NoKey => reply.simple("NOKEY"),
                End::Error(text) => reply.error(&text),
            }
        });
    }
}

/// The text of a bulk reply; `None` if it is null.
fn bulk(reply: &[u8]) -> Option<&[u8]> {
    let end = reply.iter().position(|byte| *byte == b'\n')?;
    if !reply.starts_with(b"$") || reply.starts_with(b"$-") {
        return None;
    }
    reply[end + 1..].strip_suffix(b"\r\n")
}

fn integer(reply: &[u8]) -> Option<i64> {
    std::str::from_utf8(reply.strip_prefix(b":")?).ok()?.trim_end().parse().ok()
}
