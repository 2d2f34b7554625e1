//! From received bytes to staged replies: requests are parsed, prefetched and executed in groups.

use std::borrow::Cow;

use crossbeam_epoch::Guard;
use emberkv_engine::{Request, Stop};
use emberkv_index::Fingerprint;
use emberkv_log::{DbId, Whose};
use emberkv_resp::schema::{Command, CommandId, Flags, Names, Runs, Unresolved};
use emberkv_resp::{Args, Limits, Parsed as Found, Parser, ProtocolError, Reply, Span};

use crate::acl::{Context, Denied};
use crate::commands::NOT_ALLOWED;
use crate::config::Config;
use crate::core::away::Routed;
use crate::core::cold::Awaits;
use crate::core::connection::{Access, Connection, Fate, Stall};
use crate::core::owned::{Own, Owned};
use crate::core::route::Place;
use crate::core::shard::{Data, Shard};
use crate::driver::ConnId;
use crate::meter::Slow;

/// Requests that are parsed before the first of them is executed: enough for the cache misses of one to be
/// covered by the others. A prototype used 16; other sizes were not measured.
const GROUP: usize = 32;

/// A client with more unsent output than this is not served until it has read some of it (law 10).
pub(crate) const OUTPUT_PAUSE_BYTES: usize = 32 << 20;

/// Works that are kept to be used again, and the arguments that there is room for in each.
const KEPT_WORKS: usize = 64;
const KEPT_SPANS: usize = 16 << 10;

pub(super) const LOADING: &str = "LOADING Redis is loading the dataset in memory";

/// A request of the group.
#[derive(Debug)]
pub(crate) struct Parsed {
    /// Where it begins in the buffer.
    from: usize,
    /// Where the next one does.
    end: usize,
    spans: (u32, u32),
    /// `None`: it is no command that can be executed, and the answer says why.
    pub command: Option<&'static Command>,
    pub fingerprint: Fingerprint,
    /// Where its first key is, if that was looked up, and the database that the fingerprint is for.
    pub place: Option<(Place, DbId)>,
}

/// What became of a buffer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Processed {
    /// Bytes that need not be looked at again.
    pub consumed: usize,
    /// Bytes that the request that has begun still lacks, at least.
    pub needed: usize,
}

/// What about the request after one that was executed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Next {
    GoesOn,
    /// This one was not executed: what was asked of other cores before has to leave first (D7).
    AfterFlush,
}

enum Step {
    GoOn,
    /// Execution stops before the request at this offset.
    StopAt(usize),
    /// Execution goes on at the same place after a flush.
    Suspend,
}

/// A buffer of requests that are being executed, and how far that has come.
#[derive(Debug, Default)]
pub(crate) struct Work {
    /// Where the bytes begin that are not parsed.
    at: usize,
    spans: Vec<Span>,
    group: Vec<Parsed>,
    /// The first of the group that is not executed.
    next: usize,
    /// What is behind the group, if not just more.
    end: Option<Result<Found, ProtocolError>>,
    limits: Limits,
}

impl Work {
    fn clear(&mut self) {
        (self.at, self.next, self.end) = (0, 0, None);
        self.spans.clear();
        self.group.clear();
    }
}

/// How far a buffer was executed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Progress {
    Done(Processed),
    /// As far as it goes before the requests for other cores are sent; the same buffer and work go on then.
    Suspended,
}

impl Shard {
    /// Room for a buffer's requests.
    pub fn take_work(&mut self) -> Box<Work> {
        self.works.pop().unwrap_or_default()
    }

    /// Keeps it for the next buffer.
    pub fn keep_work(&mut self, mut work: Box<Work>) {
        work.clear();
        if self.works.len() < KEPT_WORKS && work.spans.capacity() <= KEPT_SPANS {
            self.works.push(work);
        }
    }

    /// What was read of other cores is looked at no more (D12).
    fn unpin(&mut self) {
        #[cfg(feature = "sim")]
        if emberkv_log::plant::is(emberkv_log::plant::Plant::D12) {
            return;
        }
        self.guard = None;
    }

    /// Parses and executes what `buf` holds of a connection's requests.
    pub fn process(&mut self, conn: ConnId, buf: &[u8], work: &mut Work) -> Progress {
        let mut needed = 0;
        loop {
            if work.next == work.group.len() && work.end.is_none() && !self.parse_group(conn, buf, work) {
                break;
            }
            match self.execute_group(conn, buf, work) {
                Step::GoOn => {}
                Step::StopAt(offset) => {
                    work.at = offset;
                    if let Some(connection) = self.connections.get_mut(conn) {
                        // what was parsed beyond is parsed again
                        connection.parser = Parser::new();
                    }
                    break;
                }
                Step::Suspend => {
                    self.guard = None;
                    return Progress::Suspended;
                }
            }
            match work.end.take() {
                None => {}
                Some(Ok(Found::Inline { consumed, args })) => {
                    let parsed = Parsed::of(self.names, work.at, consumed, args.args());
                    match self.execute(conn, &parsed, args.args()) {
                        Ok(Next::GoesOn) => work.at += consumed,
                        Ok(Next::AfterFlush) => {
                            work.end = Some(Ok(Found::Inline { consumed, args }));
                            self.guard = None;
                            return Progress::Suspended;
                        }
                        Err(()) => break,
                    }
                }
                Some(Ok(Found::Incomplete { needed: lacking })) => {
                    needed = lacking;
                    break;
                }
                Some(Ok(Found::Command { .. } | Found::Empty { .. })) => unreachable!("they go on"),
                Some(Err(error)) => {
                    let Some(connection) = self.connections.get_mut(conn) else { break };
                    if work.limits.unauthenticated && connection.access != Access::None {
                        // an AUTH of this very group has lifted the limits that it was parsed under
                        connection.parser = Parser::new();
                        continue;
                    }
                    if connection.fate == Fate::Open {
                        connection.fate = Fate::CloseAfterReply;
                        let text = error.reply();
                        Reply::new(&mut connection.output, connection.protocol).error_bytes(&text);
                        self.meter.reject(None, &text);
                    }
                    work.at = buf.len();
                    break;
                }
            }
        }
        self.unpin();
        self.meter.settle_if_many();
        self.touch(conn);
        Progress::Done(Processed { consumed: work.at, needed })
    }

    /// Parses the next group and asks for its keys. Returns whether there is anything to be done.
    #[inline]
    fn parse_group(&mut self, conn: ConnId, buf: &[u8], work: &mut Work) -> bool {
        work.spans.clear();
        work.group.clear();
        work.next = 0;
        self.serve_if_all_are_loaded();
        let Some(connection) = self.connections.get_mut(conn) else { return false };
        if connection.fate != Fate::Open {
            work.at = buf.len();
            return false;
        }
        if connection.unsent() > OUTPUT_PAUSE_BYTES {
            connection.stall = Some(Stall::Output);
            return false;
        }
        work.limits = self.limits;
        work.limits.unauthenticated = connection.access == Access::None;
        while work.group.len() < GROUP && work.end.is_none() {
            let first = work.spans.len();
            match connection.parser.parse(buf, work.at, &mut work.spans, &work.limits) {
                Ok(Found::Command { consumed }) => {
                    work.group.push(Parsed::new(self.names, work.at, consumed, first, buf, &work.spans));
                    work.at += consumed;
                }
                Ok(Found::Empty { consumed }) => work.at += consumed,
                other => work.end = Some(other),
            }
        }
        self.prefetch(conn, buf, &work.spans, &mut work.group);
        true
    }

    /// Hash, rows, records: the cache misses of the group's keys overlap.
    #[inline]
    fn prefetch(&mut self, conn: ConnId, buf: &[u8], spans: &[Span], group: &mut [Parsed]) {
        if group.len() < 2 {
            return;
        }
        let (Data::Ready(owned), Some(connection)) = (&self.data, self.connections.get_mut(conn)) else {
            return;
        };
        if !self.is_single {
            if !owned.readers.is_empty() {
                self.guard.get_or_insert_with(crossbeam_epoch::pin);
            }
            return prefetch_placed(owned, self.guard.as_ref(), connection.db, buf, spans, group);
        }
        let partition = &owned.list[0].partition;
        for parsed in group.iter_mut().filter(|parsed| parsed.has_key()) {
            let key = spans[parsed.spans.0 as usize + 1].of(buf);
            parsed.fingerprint = partition.prefetch_row(connection.db, key);
        }
        for parsed in group.iter().filter(|parsed| parsed.has_key()) {
            partition.prefetch_record(parsed.fingerprint);
        }
    }

    fn execute_group(&mut self, conn: ConnId, buf: &[u8], work: &mut Work) -> Step {
        while let Some(parsed) = work.group.get(work.next) {
            let args = Args::new(buf, &work.spans[parsed.spans.0 as usize..parsed.spans.1 as usize]);
            match self.execute(conn, parsed, args) {
                Ok(Next::GoesOn) => {}
                Ok(Next::AfterFlush) => return Step::Suspend,
                Err(()) => {
                    let from = parsed.from;
                    self.bring_ahead(conn, buf, &work.spans, &work.group[work.next + 1..]);
                    return Step::StopAt(from);
                }
            }
            work.next += 1;
            if let Some(connection) = self.connections.get_mut(conn)
                && connection.output.len() > OUTPUT_PAUSE_BYTES
                && parsed.end < buf.len()
            {
                connection.stall = Some(Stall::Output);
                return Step::StopAt(parsed.end);
            }
        }
        Step::GoOn
    }

    /// Executes a request and stages its reply, or sends it to where its keys are. An error: it was not executed,
    /// and has to be once more later.
    #[inline]
    fn execute(&mut self, conn: ConnId, parsed: &Parsed, args: Args<'_>) -> Result<Next, ()> {
        if self.connections.get_mut(conn).is_some_and(|connection| connection.access != Access::Full) {
            return self.look_and_execute(conn, parsed, args);
        }
        self.execute_permitted(conn, parsed, args)
    }

    /// The same, of a command that the connection's user may have executed, or that is none.
    #[inline]
    pub(super) fn execute_permitted(&mut self, conn: ConnId, parsed: &Parsed, args: Args<'_>) -> Result<Next, ()> {
        if self.has_role && self.refuse(conn, parsed, args)? {
            return Ok(Next::GoesOn);
        }
        if self.is_single {
            return self.execute_here(conn, parsed, args, 0).map(|()| Next::GoesOn);
        }
        match self.route(conn, parsed, args) {
            Routed::Here(own) => self.execute_here(conn, parsed, args, own).map(|()| Next::GoesOn),
            Routed::Done => Ok(Next::GoesOn),
            Routed::AfterFlush => Ok(Next::AfterFlush),
            Routed::Later => Err(()),
        }
    }

    /// The same, in this core's partition `own` if it is a command on data.
    #[inline]
    fn execute_here(&mut self, conn: ConnId, parsed: &Parsed, args: Args<'_>, own: usize) -> Result<(), ()> {
        let Some(connection) = self.connections.get_mut(conn) else { return Err(()) };
        if connection.fate != Fate::Open {
            return Ok(()); // sent after QUIT: not looked at
        }
        if let Some(command) = parsed.command
            && command.runs == Runs::Data
            && connection.is_plain()
            && !connection.only_listens
            && let Data::Ready(owned) = &mut self.data
            && let Some(Own { partition, .. }) = owned.list.get_mut(own)
        {
            // the way of nearly every request
            let is_alone = self.meter.begin(command.id, args, parsed.end - parsed.from);
            let whose = Whose { client: connection.id, request: connection.commands };
            let request = Request { id: command.id, db: connection.db, args, whose };
            let mut reply = Reply::new(&mut connection.output, connection.protocol);
            partition.set_untouched(connection.no_touch);
            match partition.execute(request, &mut reply) {
                Ok(()) => {}
                Err(stop @ (Stop::Wait | Stop::Locked)) => {
                    // what it has looked at is nobody else's concern
                    let _ = partition.take_dependency();
                    let (stall, line) = if stop == Stop::Wait {
                        (Stall::Log, &mut self.waiting)
                    } else {
                        (Stall::Locked, &mut self.locked_out)
                    };
                    connection.stall = Some(stall);
                    line.push_back(conn);
                    return Err(());
                }
                Err(Stop::Cold(address)) => {
                    let _ = partition.take_dependency();
                    connection.stall = Some(Stall::Cold);
                    self.awaiting.push(Awaits { conn, own, address });
                    return Err(());
                }
                Err(Stop::Error(text)) => {
                    reply.error(&text);
                    self.meter.fail(command.id, text.as_bytes());
                }
            }
            connection.depends.add(own as u16, partition.take_dependency());
            connection.commands += 1;
            connection.last_command = Some(command.id);
            self.stats.commands += 1;
            if is_alone {
                self.end_alone(conn, command.id, args);
            } else {
                self.meter.count(command.id);
            }
            return Ok(());
        }
        self.execute_slowly(conn, parsed, args)
    }

    #[cold]
    pub(super) fn execute_slowly(&mut self, conn: ConnId, parsed: &Parsed, args: Args<'_>) -> Result<(), ()> {
        let is_held_up = self.connections.get_mut(conn).is_some_and(|connection| connection.several > 0);
        if is_held_up && self.comes_after_several(conn, parsed, args) {
            return Err(());
        }
        match self.transact(conn, parsed, args) {
            Some(done) => done,
            None => {
                self.execute_elsewhere(conn, parsed, args);
                Ok(())
            }
        }
    }

    #[cold]
    fn execute_elsewhere(&mut self, conn: ConnId, parsed: &Parsed, args: Args<'_>) {
        let lacks_data = self.lacks_data(parsed.command);
        let Some(connection) = self.connections.get_mut(conn) else { return };
        connection.commands += 1;
        self.stats.commands += 1;
        let refusal = match parsed.command.map_or_else(|| self.names.resolve(args), Ok) {
            Err(_) if is_a_browser(args) => {
                tracing::warn!(
                    client = connection.address,
                    "client closed: it speaks http. somebody may try to make a browser send commands to this server"
                );
                connection.fate = Fate::CloseAfterReply;
                self.condemned.push((conn, connection.id));
                return;
            }
            Err(unresolved) => unresolved.reply(args),
            Ok(command) => {
                connection.last_command = Some(command.id);
                match refusal(connection, command, args, &self.config, lacks_data) {
                    Some(Refusal::Text(text)) => text.as_bytes().to_vec(),
                    Some(Refusal::Denied(denied)) => {
                        let context = if connection.multi.is_some() { Context::Multi } else { Context::TopLevel };
                        self.deny(conn, command, args, denied, context)
                    }
                    None => return self.administer_timed(conn, command, parsed, args),
                }
            }
        };
        let is_exec = parsed.command.is_some_and(|command| command.id == CommandId::Exec);
        let refusal = if is_exec { self.abort_exec(conn, &refusal) } else { refusal };
        self.with_reply(conn, |reply| reply.error_bytes(&refusal));
        let known = match self.names.resolve(args) {
            Ok(command) | Err(Unresolved::Arity(command)) => Some(command.id),
            Err(Unresolved::Command | Unresolved::Subcommand(_)) => None,
        };
        self.meter.reject(known, &refusal);
    }

    fn administer_timed(&mut self, conn: ConnId, command: &'static Command, parsed: &Parsed, args: Args<'_>) {
        let is_alone = self.meter.begin(command.id, args, parsed.end - parsed.from);
        self.administer(conn, command, args);
        if is_alone {
            self.end_alone(conn, command.id, args);
        } else {
            self.meter.count(command.id);
        }
    }

    /// A command of one of this core's connections was timed by itself.
    #[cold]
    pub(super) fn end_alone(&mut self, conn: ConnId, id: CommandId, args: Args<'_>) {
        if let Some(micros) = self.meter.end_alone(id, self.now_ms) {
            self.note_slow(conn, Slow::new(id, args, micros, self.now_ms));
        }
    }
}

/// A web page can make a browser post to a local server: the first lines are refused, and the body is not executed.
fn is_a_browser(args: Args<'_>) -> bool {
    args.at(0).eq_ignore_ascii_case(b"post") || args.at(0).eq_ignore_ascii_case(b"host:")
}

/// Hash, rows, records of the keys that can be looked up here.
fn prefetch_placed(owned: &Owned, guard: Option<&Guard>, db: DbId, buf: &[u8], spans: &[Span], group: &mut [Parsed]) {
    for parsed in group.iter_mut().filter(|parsed| parsed.has_key()) {
        let key = spans[parsed.spans.0 as usize + 1].of(buf);
        let place = owned.map.place_of_key(key);
        parsed.place = Some((place, db));
        parsed.fingerprint = owned.prefetch_row(guard, place, db, key);
    }
    for parsed in group.iter() {
        if let Some((place, _)) = parsed.place {
            owned.prefetch_record(guard, place, parsed.fingerprint);
        }
    }
}

/// Why a command is not executed.
pub(super) enum Refusal {
    Text(Cow<'static, str>),
    /// The connection's user may not.
    Denied(Denied),
}

pub(super) fn refusal(
    connection: &Connection,
    command: &'static Command,
    args: Args<'_>,
    config: &Config,
    loading: bool,
) -> Option<Refusal> {
    if command.id == CommandId::Debug && !connection.may_pass(config.enable_debug_command) {
        return Some(Refusal::Text(NOT_ALLOWED.into()));
    }
    if connection.access == Access::None && !command.flags.contains(Flags::NO_AUTH) {
        return Some(Refusal::Text("NOAUTH Authentication required.".into()));
    }
    if connection.access == Access::Checked
        && let Err(denied) = connection.user.check(command, args)
    {
        return Some(Refusal::Denied(denied));
    }
    if let Some(text) = connection.sort_refusal(command, args) {
        return Some(Refusal::Text(text));
    }
    let is_about_listening = matches!(
        command.id,
        CommandId::Subscribe
            | CommandId::Unsubscribe
            | CommandId::Psubscribe
            | CommandId::Punsubscribe
            | CommandId::Ssubscribe
            | CommandId::Sunsubscribe
            | CommandId::Ping
            | CommandId::Quit
            | CommandId::Reset
    );
    if connection.only_listens && !is_about_listening {
        let allowed = "only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / RESET are allowed in this context";
        return Some(Refusal::Text(format!("ERR Can't execute '{}': {allowed}", command.name).into()));
    }
    (loading && !command.flags.contains(Flags::LOADING)).then_some(Refusal::Text(LOADING.into()))
}

impl Parsed {
    #[inline]
    fn new(names: &Names, from: usize, len: usize, first: usize, buf: &[u8], spans: &[Span]) -> Self {
        let mut parsed = Self::of(names, from, len, Args::new(buf, &spans[first..]));
        parsed.spans = (first as u32, spans.len() as u32);
        parsed
    }

    #[inline]
    fn of(names: &Names, from: usize, len: usize, args: Args<'_>) -> Self {
        Self {
            from,
            end: from + len,
            spans: (0, 0),
            command: names.resolve(args).ok(),
            fingerprint: Fingerprint::from_raw(0),
            place: None,
        }
    }

    /// Whether its first argument is a key, as nearly every command on data has it.
    #[inline]
    pub fn has_key(&self) -> bool {
        self.command.is_some_and(|command| command.runs == Runs::Data && !command.keys.is_empty())
    }

    /// That argument.
    pub fn first_key<'a>(&self, buf: &'a [u8], spans: &[Span]) -> &'a [u8] {
        spans[self.spans.0 as usize + 1].of(buf)
    }
}
