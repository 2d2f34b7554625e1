//! MULTI: a connection's commands are kept until EXEC has them executed together. Those on data are a script for this core's
//! coordinator, in whatever partitions their keys are; the others are executed when that has ended, in their places.

use emberkv_engine::Watch;
use emberkv_engine::transact::{Line, Outcome, Plan, Watched};
use emberkv_log::DbId;
use emberkv_resp::schema::{Command, CommandId, Flags, Runs, Unresolved};
use emberkv_resp::{Args, Output, OwnedArgs, Reply, format};

use crate::acl::{Context, Denied};
use crate::core::away::Routed;
use crate::core::connection::{Access, Connection, Fate};
use crate::core::look::Silence;
use crate::core::pipeline::{Parsed, refusal};
use crate::core::shard::{Data, Shard, extent};
use crate::driver::ConnId;

const DENIED_SINCE: &str = "NOPERM ACLs rules changed between the moment the transaction was accumulated and the EXEC call. \
    This command is no longer allowed for the following reason: ";
const ABORTED: &str = "EXECABORT Transaction discarded because of previous errors.";

/// The commands since MULTI.
#[derive(Debug, Default)]
pub(crate) struct Multi {
    lines: Vec<Queued>,
    bytes: u64,
    /// One of them could not be kept: nothing will be executed.
    is_broken: bool,
    /// No reply to EXEC is wanted.
    is_silent: bool,
}

#[derive(Debug)]
struct Queued {
    command: &'static Command,
    args: OwnedArgs,
    /// Why it is not executed after all: what the user may do has become less since it was kept.
    denied: Option<Denied>,
}

impl Queued {
    /// Whether it is a line of the script.
    fn is_on_data(&self) -> bool {
        let is_on_data = matches!(self.command.runs, Runs::Data | Runs::Blocking);
        (is_on_data || self.command.id == CommandId::Swapdb) && self.denied.is_none()
    }
}

impl Multi {
    /// How many commands there are.
    pub fn len(&self) -> usize {
        self.lines.len()
    }

    /// The commands.
    pub fn commands(&self) -> impl Iterator<Item = &'static Command> {
        self.lines.iter().map(|queued| queued.command)
    }

    /// One of its commands was refused: nothing will be executed.
    pub fn break_off(&mut self) {
        self.is_broken = true;
    }

    /// Memory of the commands.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }
}

/// What a connection watches.
#[derive(Debug, Default)]
pub(crate) struct Watching {
    watch: Watch,
    keys: Vec<Watched>,
}

impl Watching {
    /// All that it watches is another's from now on.
    pub fn break_off(&self) {
        self.watch.touch();
    }

    /// How many keys there are.
    pub fn len(&self) -> usize {
        self.keys.len()
    }
}

impl Connection {
    /// Whether its next command is executed, or sent on, at once.
    #[inline]
    pub fn is_plain(&self) -> bool {
        self.multi.is_none() && self.several == 0
    }
}

impl Shard {
    /// A command of a transaction, or one that begins or ends it. `None` if it is neither; an error: it has to be tried again later.
    pub(super) fn transact(&mut self, conn: ConnId, parsed: &Parsed, args: Args<'_>) -> Option<Result<(), ()>> {
        let is_loading = self.lacks_data(parsed.command);
        let connection = self.connections.get_mut(conn)?;
        let Some(command) = parsed.command else {
            // what is wrong with it is said by whoever resolves it again
            let is_exec =
                matches!(self.names.resolve(args), Err(Unresolved::Arity(command)) if command.id == CommandId::Exec);
            if let Some(multi) = &mut connection.multi {
                multi.is_broken = true;
            }
            if is_exec && refusal(connection, command_of(CommandId::Exec), args, &self.config, is_loading).is_none() {
                (connection.multi, connection.watching) = (None, None);
                let text = "EXECABORT Transaction discarded because of: wrong number of arguments for 'exec' command";
                return Some(self.answer(conn, command_of(CommandId::Exec), |reply| reply.error(text)));
            }
            return None;
        };
        if refusal(connection, command, args, &self.config, is_loading).is_some() {
            if let Some(multi) = &mut connection.multi {
                multi.is_broken = true;
            }
            return None;
        }
        let is_multi = connection.multi.is_some();
        let error = |text: &'static str| move |reply: &mut Reply<'_>| reply.error(text);
        match command.id {
            CommandId::Multi if is_multi => {
                Some(self.answer(conn, command, error("ERR MULTI calls can not be nested")))
            }
            CommandId::Multi => {
                connection.multi = Some(Box::default());
                Some(self.answer(conn, command, |reply| reply.ok()))
            }
            CommandId::Watch if is_multi => {
                Some(self.answer(conn, command, error("ERR WATCH inside MULTI is not allowed")))
            }
            CommandId::Watch => Some(self.watch(conn, command, args)),
            CommandId::Discard | CommandId::Exec if !is_multi => {
                let name = command.name.to_ascii_uppercase();
                Some(self.answer(conn, command, |reply| reply.error(&format!("ERR {name} without MULTI"))))
            }
            CommandId::Discard => {
                (connection.multi, connection.watching) = (None, None);
                Some(self.answer(conn, command, |reply| reply.ok()))
            }
            CommandId::Exec => Some(self.exec(conn, command)),
            CommandId::Quit | CommandId::Reset => None,
            _ if is_multi => Some(self.queue(conn, command, args)),
            // it is on data, and always a transaction
            CommandId::Swapdb => match self.spread(conn, parsed, args) {
                Routed::Later => Some(Err(())),
                Routed::Here(_) | Routed::Done | Routed::AfterFlush => Some(Ok(())),
            },
            _ if command.runs == Runs::Blocking => Some(self.block(conn, command, args)),
            CommandId::Migrate => Some(self.migrate(conn, command, args)),
            CommandId::Wait => Some(self.wait_for_replicas(conn, command, args)),
            // it asks other cores: what was asked of them before comes first
            CommandId::Debug => (!self.may_begin(conn)).then_some(Err(())),
            CommandId::Unwatch => {
                connection.watching = None;
                Some(self.answer(conn, command, |reply| reply.ok()))
            }
            _ => None,
        }
    }

    /// EXEC is refused: there is no transaction any more. Returns what the client is told.
    pub(super) fn abort_exec(&mut self, conn: ConnId, refusal: &[u8]) -> Vec<u8> {
        if let Some(connection) = self.connections.get_mut(conn) {
            (connection.multi, connection.watching) = (None, None);
        }
        [b"EXECABORT Transaction discarded because of: ", refusal].concat()
    }

    fn answer(
        &mut self,
        conn: ConnId,
        command: &'static Command,
        write: impl FnOnce(&mut Reply<'_>),
    ) -> Result<(), ()> {
        if let Some(connection) = self.connections.get_mut(conn) {
            connection.commands += 1;
            connection.last_command = Some(command.id);
            self.stats.commands += 1;
        }
        self.meter.count(command.id);
        self.with_reply(conn, write);
        Ok(())
    }

    fn queue(&mut self, conn: ConnId, command: &'static Command, args: Args<'_>) -> Result<(), ()> {
        let limit = self.config.client_query_buffer_limit;
        let Some(connection) = self.connections.get_mut(conn) else { return Err(()) };
        let id = connection.id;
        let Some(multi) = &mut connection.multi else { return Ok(()) };
        // its reply comes when other servers have answered, and nothing of a transaction waits for that
        if command.flags.contains(Flags::NO_MULTI) || command.id == CommandId::Migrate {
            multi.is_broken = true;
            return self.answer(conn, command, |reply| reply.error("ERR Command not allowed inside a transaction"));
        }
        // what is kept counts as if it had not been executed out of the query buffer (law 10)
        multi.bytes += args.iter().map(|arg| arg.len() as u64 + 16).sum::<u64>() + 64;
        if multi.bytes > limit {
            tracing::warn!(client = id, "client closed: a transaction over client-query-buffer-limit");
            self.stats.query_buffer_disconnections += 1;
            connection.fate = Fate::CloseAfterReply;
            self.condemned.push((conn, id));
            return Ok(());
        }
        multi.lines.push(Queued { command, args: args.into(), denied: None });
        self.answer(conn, command, |reply| reply.simple("QUEUED"))
    }

    fn watch(&mut self, conn: ConnId, command: &'static Command, args: Args<'_>) -> Result<(), ()> {
        if !self.may_begin(conn) {
            return Err(());
        }
        let (Data::Ready(owned), Some(connection)) = (&self.data, self.connections.get_mut(conn)) else {
            return Ok(());
        };
        let (db, partitions) = (connection.db, owned.map.partitions());
        let watching = connection.watching.get_or_insert_default();
        watching.keys.extend(args.from(1).iter().map(|key| (db, key.into())));
        let plan = Plan::watch(db, args.from(1), &watching.watch, partitions);
        connection.commands += 1;
        connection.last_command = Some(command.id);
        self.stats.commands += 1;
        self.meter.count(command.id);
        self.begin(conn, plan, None);
        Ok(())
    }

    fn exec(&mut self, conn: ConnId, command: &'static Command) -> Result<(), ()> {
        let databases = self.config.databases;
        let Some(connection) = self.connections.get_mut(conn) else { return Err(()) };
        if connection.multi.as_ref().is_some_and(|multi| multi.is_broken) {
            (connection.multi, connection.watching) = (None, None);
            self.meter.fail(command.id, ABORTED.as_bytes());
            return self.answer(conn, command, |reply| reply.error(ABORTED));
        }
        if !self.may_begin(conn) {
            return Err(());
        }
        let (Data::Ready(owned), Some(connection)) = (&self.data, self.connections.get_mut(conn)) else {
            return Ok(());
        };
        let (mut multi, watching) = (connection.multi.take().unwrap_or_default(), connection.watching.take());
        if connection.access != Access::Full {
            for queued in &mut multi.lines {
                queued.denied = connection.user.check(queued.command, queued.args.args()).err();
            }
        }
        multi.is_silent = connection.silence.is_on();
        let mut db = connection.db;
        let mut lines = Vec::with_capacity(multi.lines.len());
        for queued in &multi.lines {
            let Queued { command, args, denied } = queued;
            if queued.is_on_data() {
                self.meter.count(command.id);
                lines.push(Line { id: command.id, db, args: args.clone() });
            } else if command.id == CommandId::Select && denied.is_none() {
                db = selected(args.args(), databases).unwrap_or(db);
            }
        }
        connection.commands += 1 + lines.len() as u64;
        connection.last_command = Some(command.id);
        self.stats.commands += 1 + lines.len() as u64;
        let (protocol, mut db) = (connection.protocol, connection.db);
        let extent = extent(&self.config, owned.map.partitions());
        if self.looks {
            for Queued { command, args, .. } in multi.lines.iter().filter(|queued| queued.denied.is_none()) {
                self.show_to_monitors(conn, db, command, args.args());
                if command.id == CommandId::Select {
                    db = selected(args.args(), databases).unwrap_or(db);
                }
            }
        }
        if lines.is_empty() && watching.is_none() {
            self.with_reply(conn, |reply| reply.array(multi.lines.len()));
            self.finish_lines(conn, &multi, 0, Vec::new().into_iter());
            return Ok(());
        }
        let watch = watching.as_ref().map(|watching| (&watching.watch, &watching.keys[..]));
        let mut plan = Plan::script(lines, watch, protocol, extent);
        let me = self.me;
        // what comes into force on the way is taken to be in force from the beginning: one that hears too much loses nothing
        let begins =
            |queued: &Queued| matches!(queued.command.id, CommandId::ClientCaching | CommandId::ClientTracking);
        let begins = multi.lines.iter().any(begins);
        if let Some(connection) = self.connections.get_mut(conn) {
            if begins || connection.tracking.as_ref().is_some_and(|tracking| tracking.keeps()) {
                plan = plan.for_reader(connection.reader(me, conn));
            }
            connection.executing = Some(multi);
        }
        self.meter.count(command.id);
        self.begin(conn, plan, None);
        Ok(())
    }

    /// EXEC's transaction has ended; its reply has its place.
    pub(super) fn executed(&mut self, conn: ConnId, piece: u64, multi: &Multi, outcome: Outcome) {
        let Some(connection) = self.connections.get_mut(conn) else { return };
        let mut output = Output::new();
        let mut reply = Reply::new(&mut output, connection.protocol);
        let Outcome::Replies(replies) = outcome else {
            outcome.write(&mut reply);
            connection.pieces.answer(piece, output);
            return;
        };
        reply.array(multi.lines.len());
        let silence = connection.silence;
        if multi.is_silent {
            connection.set_silence(Silence::This, &mut self.spares);
        }
        let mut replies = replies.into_iter();
        let first = multi.lines.iter().take_while(|line| line.is_on_data()).count();
        replies.by_ref().take(first).for_each(|bytes| output.push(&bytes));
        connection.pieces.answer(piece, output);
        self.finish_lines(conn, multi, first, replies);
        if multi.is_silent
            && let Some(connection) = self.connections.get_mut(conn)
        {
            connection.set_silence(silence, &mut self.spares);
        }
    }

    /// Replies to what is left, and executes what is not on data. Nothing of this connection came in between.
    fn finish_lines(&mut self, conn: ConnId, multi: &Multi, from: usize, mut replies: impl Iterator<Item = Vec<u8>>) {
        for queued in &multi.lines[from..] {
            let Queued { command, args, denied } = queued;
            if let Some(denied) = denied {
                self.deny(conn, command, args.args(), *denied, Context::Multi);
                let reason = match denied {
                    Denied::Command => "no permission to execute the command or subcommand",
                    Denied::Key(_) => "no permission to touch the specified keys",
                    Denied::Channel(_) => "no permission to access one of the channels used as argument to the command",
                };
                let text = format!("{DENIED_SINCE}{reason}");
                self.with_reply(conn, |reply| reply.error(&text));
                self.meter.fail(command.id, text.as_bytes());
            } else if command.id == CommandId::Monitor {
                self.with_reply(conn, |reply| reply.error("ERR MONITOR isn't allowed for DENY BLOCKING client"));
            } else if !queued.is_on_data() {
                self.stats.commands += 1;
                self.administer(conn, command, args.args());
            } else if let (Some(connection), Some(bytes)) = (self.connections.get_mut(conn), replies.next()) {
                connection.output.push(&bytes);
            }
        }
    }
}

fn command_of(id: CommandId) -> &'static Command {
    id.command()
}

/// The database that SELECT will select, if its argument is right.
fn selected(args: Args<'_>, databases: u32) -> Option<DbId> {
    let index = format::parse_integer(args.at(1))?;
    (0..i64::from(databases)).contains(&index).then_some(DbId(index as u8))
}
