//! Commands that are looked at before they are executed: because of who asks, because clients are paused, because somebody
//! monitors, or because no reply is wanted. All of that is folded into [`Access`], so other commands pay nothing for it.

use emberkv_resp::Args;
use emberkv_resp::schema::{Command, CommandId, Flags};

use crate::core::connection::{Access, Connection, Fate, Stall};
use crate::core::pieces::Spares;
use crate::core::pipeline::{Next, Parsed};
use crate::core::shard::{Data, Shard};
use crate::driver::ConnId;

/// Which replies a connection gets.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Silence {
    /// All.
    No,
    /// Not that to its next command.
    Next,
    /// Not that to the command which is being executed.
    This,
    /// None.
    Off,
}

impl Silence {
    /// Whether what is written now is thrown away.
    pub fn is_on(self) -> bool {
        matches!(self, Self::This | Self::Off)
    }
}

/// Clients' commands wait.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Pause {
    pub writes_only: bool,
    pub until_ms: u64,
}

impl Pause {
    /// Whether a command has to wait. EXEC does if something of its transaction does.
    fn holds(self, command: &Command, connection: &Connection) -> bool {
        let writes =
            |command: &Command| command.flags.contains(Flags::WRITE) || command.flags.contains(Flags::MAY_REPLICATE);
        let of_multi = || connection.multi.as_ref().is_some_and(|multi| multi.commands().any(writes));
        !self.writes_only || writes(command) || command.id == CommandId::Exec && of_multi()
    }
}

impl Connection {
    /// Puts what was written since the last piece where it waits for what it depends on.
    pub fn stage_output(&mut self, spares: &mut Spares) {
        self.drop_if_silent();
        if !self.output.is_empty() {
            let output = std::mem::replace(&mut self.output, spares.take());
            self.pieces.stage(output, self.depends.take());
        }
    }

    /// Throws away what was written, if no reply is wanted.
    pub fn drop_if_silent(&mut self) {
        if self.silence.is_on() && !self.output.is_empty() {
            self.output.clear();
        }
    }

    /// Writes what is no reply behind the replies to what was asked so far, those that have not come yet too.
    pub fn write_aside(&mut self, spares: &mut Spares, write: impl FnOnce(&mut Self)) {
        if self.executing.is_some() {
            let replies = std::mem::take(&mut self.output);
            write(self);
            let mut written = std::mem::replace(&mut self.output, replies);
            self.aside.append(&mut written);
            return;
        }
        self.drop_if_silent();
        write(self);
        if self.silence.is_on() {
            let output = std::mem::replace(&mut self.output, spares.take());
            self.pieces.stage(output, self.depends.take());
        }
    }

    /// EXEC has ended: what has come meanwhile goes behind its reply.
    pub fn end_executing(&mut self, spares: &mut Spares) {
        if !self.aside.is_empty() {
            let mut aside = std::mem::take(&mut self.aside);
            self.write_aside(spares, |connection| connection.output.append(&mut aside));
        }
    }

    /// To be called between two commands.
    pub fn set_silence(&mut self, silence: Silence, spares: &mut Spares) {
        self.stage_output(spares);
        // what it asks of other cores from now on is answered otherwise
        self.open = None;
        self.silence = silence;
        self.pieces.drops_answers = silence.is_on();
    }
}

impl Shard {
    /// To be called when something has changed that [`Access`] is made of.
    pub fn settle_all(&mut self) {
        self.looks = self.pause.is_some() || self.is_quiet || self.peers.has_monitors();
        for conn in self.connections.ids() {
            if let Some(connection) = self.connections.get_mut(conn) {
                connection.settle_access(&self.users, self.looks);
            }
        }
    }

    /// Executes a command of a connection whose commands are looked at.
    #[cold]
    pub(super) fn look_and_execute(&mut self, conn: ConnId, parsed: &Parsed, args: Args<'_>) -> Result<Next, ()> {
        let Some(connection) = self.connections.get_mut(conn) else { return Err(()) };
        if connection.fate != Fate::Open {
            return Ok(Next::GoesOn);
        }
        let is_held =
            |command: &Command| self.is_quiet || self.pause.is_some_and(|pause| pause.holds(command, connection));
        if connection.access != Access::None && parsed.command.is_some_and(is_held) {
            connection.stall = Some(Stall::Paused);
            return Err(());
        }
        let is_skipped = connection.silence == Silence::Next;
        if is_skipped {
            connection.set_silence(Silence::This, &mut self.spares);
        }
        let is_queued = connection.multi.is_some();
        let command = parsed.command.filter(|command| connection.may(command, args));
        let db = connection.db;
        let result = match command {
            Some(command) if self.keeps(conn, command, args) && !self.is_refused(conn, command) => {
                self.read_to_keep(conn, command, args)
            }
            Some(_) => self.execute_permitted(conn, parsed, args),
            None => self.execute_slowly(conn, parsed, args).map(|()| Next::GoesOn),
        };
        let is_done = matches!(result, Ok(Next::GoesOn));
        if is_skipped && let Some(connection) = self.connections.get_mut(conn) {
            // what was not executed is tried again; the command itself may have said otherwise
            if connection.silence == Silence::This {
                connection.set_silence(if is_done { Silence::No } else { Silence::Next }, &mut self.spares);
            }
        }
        if let Some(connection) = self.connections.get_mut(conn) {
            if let Some(tracking) = &mut connection.tracking
                && connection.multi.is_none()
                && is_done
                && command.is_none_or(|command| !command.name.starts_with("client"))
            {
                tracking.caching = false; // it was of this one
            }
            connection.settle_access(&self.users, self.looks);
        }
        if let Some(command) = command
            && is_done
            && (!is_queued || matches!(command.id, CommandId::Exec | CommandId::Discard))
        {
            self.show_to_monitors(conn, db, command, args);
        }
        result
    }

    fn keeps(&self, conn: ConnId, command: &Command, args: Args<'_>) -> bool {
        matches!(self.data, Data::Ready(_))
            && self.connections.get(conn).is_some_and(|other| other.keeps(command, args))
    }

    /// Clients' commands wait from now on; what is longer or stricter already stays so.
    pub fn pause_clients(&mut self, pause: Pause) {
        let before = self.pause.unwrap_or(pause);
        self.pause = Some(Pause {
            writes_only: before.writes_only && pause.writes_only,
            until_ms: before.until_ms.max(pause.until_ms),
        });
        self.settle_all();
    }

    /// They go on.
    pub fn unpause_clients(&mut self) {
        self.pause = None;
        self.settle_all();
        let is_paused = |conn: &ConnId| {
            self.connections.get(*conn).is_some_and(|connection| connection.stall == Some(Stall::Paused))
        };
        let paused: Vec<ConnId> = self.connections.ids().into_iter().filter(is_paused).collect();
        self.unpaused.extend(paused);
    }

    /// Ends a pause whose time is over.
    pub fn check_pause(&mut self) {
        if self.pause.is_some_and(|pause| pause.until_ms <= self.up_ms) {
            self.unpause_clients();
        }
    }
}
