//! What a server refuses because it is a replica, because it opens its data anew, or because it has too few replicas.

use emberkv_engine::READ_ONLY;
use emberkv_resp::Args;
use emberkv_resp::schema::{Command, CommandId, Flags};

use crate::core::connection::{Connection, Fate};
use crate::core::pipeline::{LOADING, Parsed};
use crate::core::shard::{Data, Shard};
use crate::driver::ConnId;

const MASTER_DOWN: &str = "MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.";
const NO_REPLICAS: &str = "NOREPLICAS Not enough good replicas to write.";

/// Whether a command, or one of those that EXEC executes, is of a kind.
fn any_is(command: &Command, connection: &Connection, is: impl Fn(&Command) -> bool) -> bool {
    let of_multi = || connection.multi.as_ref().is_some_and(|multi| multi.commands().any(&is));
    is(command) || command.id == CommandId::Exec && of_multi()
}

impl Shard {
    /// To be called when the configuration is another one, or the data are.
    pub fn settle_role(&mut self) {
        self.link = self.peers.replication.link();
        let is_loading = matches!(self.data, Data::Loading { .. });
        self.has_role = self.link.is_some() || is_loading || self.config.min_replicas_to_write > 0;
    }

    /// Whether what the partitions have is only a part of what the primary had when they were opened.
    pub fn is_syncing(&self) -> bool {
        matches!(&self.data, Data::Ready(owned) if owned.feed.as_ref().is_some_and(|feed| !feed.has_synced()))
    }

    /// Whether what needs data is refused because there are none. A replica that has not reached its primary since it began can be told
    /// to be something else.
    pub(super) fn lacks_data(&self, command: Option<&Command>) -> bool {
        let is_about_role =
            |command: &Command| matches!(command.id, CommandId::Replicaof | CommandId::Slaveof) && self.link.is_some();
        matches!(self.data, Data::Loading { .. }) && !command.is_some_and(is_about_role)
    }

    /// Why a command is refused, whoever asks, in redis's order.
    fn role_refusal(&self, command: &Command, connection: &Connection) -> Option<&'static str> {
        let writes = any_is(command, connection, |command| command.flags.contains(Flags::WRITE));
        if writes && self.link.is_some() {
            return Some(READ_ONLY);
        }
        let needed = self.config.min_replicas_to_write as usize;
        if writes && needed > 0 && self.config.min_replicas_max_lag > 0 && self.peers.replication.good() < needed {
            return Some(NO_REPLICAS);
        }
        if let Some(link) = &self.link
            && !self.config.replica_serve_stale_data
            && !link.is_up()
            && any_is(command, connection, |command| !command.flags.contains(Flags::STALE))
        {
            return Some(MASTER_DOWN);
        }
        let is_loading = self.lacks_data(Some(command));
        let needs_data = any_is(command, connection, |command| !command.flags.contains(Flags::LOADING))
            || is_loading && command.id == CommandId::Exec && connection.multi.is_some();
        (needs_data && (is_loading || self.is_syncing())).then_some(LOADING)
    }

    /// Whether a command is refused.
    pub(super) fn is_refused(&self, conn: ConnId, command: &Command) -> bool {
        self.has_role
            && self.connections.get(conn).is_some_and(|connection| self.role_refusal(command, connection).is_some())
    }

    /// Refuses a command if it is to be refused, and returns whether it was. An error: that has to be looked at once more later.
    #[cold]
    pub(super) fn refuse(&mut self, conn: ConnId, parsed: &Parsed, args: Args<'_>) -> Result<bool, ()> {
        let (Some(command), Some(connection)) = (parsed.command, self.connections.get(conn)) else { return Ok(false) };
        // who may not is told so
        if connection.fate != Fate::Open || !connection.may(command, args) {
            return Ok(false);
        }
        let Some(text) = self.role_refusal(command, connection) else { return Ok(false) };
        if connection.several > 0 && self.comes_after_several(conn, parsed, args) {
            return Err(());
        }
        let Some(connection) = self.connections.get_mut(conn) else { return Ok(true) };
        connection.commands += 1;
        connection.last_command = Some(command.id);
        self.stats.commands += 1;
        if let Some(multi) = &mut connection.multi {
            multi.break_off();
        }
        let refusal = text.as_bytes().to_vec();
        let refusal = if command.id == CommandId::Exec { self.abort_exec(conn, &refusal) } else { refusal };
        self.with_reply(conn, |reply| reply.error_bytes(&refusal));
        self.meter.reject(Some(command.id), &refusal);
        Ok(true)
    }
}
