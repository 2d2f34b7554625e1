//! The commands on connections and on the server: one short function each.

mod acl;
mod client;
mod config;
mod connection;
mod debug;
mod info;
mod kill;
mod latency;
mod memory;
mod monitor;
mod pubsub;
mod replication;
mod reply;
mod slowlog;
mod tracking;

pub(crate) use acl::users_at_start;
pub(crate) use client::Clients;
pub(crate) use config::{allowed_clients, sync_policy};
pub(crate) use debug::{NOT_ALLOWED, reply_object};
pub(crate) use info::{Snapshot, metrics_text, shows_times};
pub(crate) use kill::{Killed, reply_killed};
pub(crate) use latency::AboutLatency;
pub(crate) use pubsub::{AboutChannels, reply_channels, reply_published};
pub(crate) use slowlog::AboutSlowLog;
pub(crate) use tracking::NO_CLIENT;

use std::sync::atomic::Ordering;

use emberkv_resp::schema::{self, Command, CommandId};
use emberkv_resp::{Args, Reply};

use crate::clock::wall_clock;
use crate::core::Question;
use crate::core::connection::Fate;
use crate::core::shard::{Shard, Shutdown};
use crate::driver::ConnId;

/// The version of redis whose behaviour clients may expect.
pub(crate) const REDIS_VERSION: &str = "7.2.4";

/// An error reply's whole text, where a command was not executed.
type Outcome = Result<(), String>;

const SYNTAX: &str = "ERR syntax error";

impl Shard {
    /// Executes a command that is not on data.
    pub(crate) fn administer(&mut self, conn: ConnId, command: &'static Command, args: Args<'_>) {
        let outcome = self.administer_inner(conn, command, args);
        if let Err(text) = outcome {
            self.meter.fail(command.id, text.as_bytes());
            self.with_reply(conn, |reply| reply.error(&text));
        }
    }

    /// Writes to a connection.
    pub(crate) fn with_reply(&mut self, conn: ConnId, write: impl FnOnce(&mut Reply<'_>)) {
        if let Some(connection) = self.connections.get_mut(conn) {
            write(&mut Reply::new(&mut connection.output, connection.protocol));
        }
    }

    fn administer_inner(&mut self, conn: ConnId, command: &'static Command, args: Args<'_>) -> Outcome {
        match command.id {
            CommandId::AclCat
            | CommandId::AclDeluser
            | CommandId::AclDryrun
            | CommandId::AclGenpass
            | CommandId::AclGetuser
            | CommandId::AclList
            | CommandId::AclLoad
            | CommandId::AclLog
            | CommandId::AclSave
            | CommandId::AclSetuser
            | CommandId::AclUsers
            | CommandId::AclWhoami => self.acl(conn, command.id, args),
            CommandId::Auth => self.auth(conn, args),
            CommandId::Bgrewriteaof | CommandId::Bgsave | CommandId::Save if self.link.is_some() => {
                Err(replication::OF_THE_PRIMARY.into())
            }
            CommandId::Bgrewriteaof => {
                self.ask_all(conn, Question::Compact);
                Ok(())
            }
            CommandId::Bgsave => self.bgsave(conn, args),
            CommandId::ClientGetname => self.client_getname(conn),
            CommandId::ClientCaching => self.client_caching(conn, args),
            CommandId::ClientGetredir => self.client_getredir(conn),
            CommandId::ClientTracking => self.client_tracking(conn, args),
            CommandId::ClientKill => self.client_kill(conn, args),
            CommandId::ClientNoEvict => self.client_no_evict(conn, args),
            CommandId::ClientNoTouch => self.client_no_touch(conn, args),
            CommandId::ClientPause => self.client_pause(conn, args),
            CommandId::ClientReply => self.client_reply(conn, args),
            CommandId::ClientTrackinginfo => self.client_trackinginfo(conn),
            CommandId::ClientUnblock => self.client_unblock(conn, args),
            CommandId::ClientUnpause => {
                self.ask_all(conn, Question::Pause(None));
                Ok(())
            }
            CommandId::ClientId => self.client_id(conn),
            CommandId::ClientInfo => self.client_info(conn),
            CommandId::ClientList => self.client_list(conn, args),
            CommandId::ClientSetinfo => self.client_setinfo(conn, args),
            CommandId::ClientSetname => self.client_setname(conn, args),
            CommandId::ConfigGet => self.config_get(conn, args),
            CommandId::ConfigResetstat => {
                self.ask_all(conn, Question::ResetStats);
                Ok(())
            }
            CommandId::ConfigRewrite => self.config_rewrite(conn),
            CommandId::ConfigSet => self.config_set(conn, args),
            CommandId::MemoryDoctor
            | CommandId::MemoryMallocStats
            | CommandId::MemoryPurge
            | CommandId::MemoryStats => self.memory(conn, command.id),
            CommandId::AclHelp
            | CommandId::ClientHelp
            | CommandId::ConfigHelp
            | CommandId::LatencyHelp
            | CommandId::MemoryHelp
            | CommandId::ObjectHelp
            | CommandId::PubsubHelp
            | CommandId::SlowlogHelp
            | CommandId::XgroupHelp
            | CommandId::XinfoHelp => {
                if let Some(container) = command.container() {
                    self.with_reply(conn, |reply| schema::help(container, args.at(0), reply));
                }
                Ok(())
            }
            CommandId::Debug => self.debug(conn, args),
            CommandId::EmberAck => self.ember_ack(conn, args),
            CommandId::EmberHello => self.ember_hello(conn, args),
            CommandId::EmberPull => self.ember_pull(conn, args),
            CommandId::Echo => {
                self.with_reply(conn, |reply| reply.bulk(args.at(1)));
                Ok(())
            }
            CommandId::Hello => self.hello(conn, args),
            CommandId::Info => self.info(conn, args),
            CommandId::Pfselftest => {
                self.with_reply(conn, |reply| match emberkv_engine::test_estimates() {
                    Ok(()) => reply.ok(),
                    Err(failure) => reply.error(&failure),
                });
                Ok(())
            }
            CommandId::Lastsave => self.lastsave(conn),
            CommandId::LatencyDoctor
            | CommandId::LatencyGraph
            | CommandId::LatencyHistogram
            | CommandId::LatencyHistory
            | CommandId::LatencyLatest
            | CommandId::LatencyReset => self.latency(conn, command.id, args),
            CommandId::Monitor => self.monitor(conn),
            CommandId::Ping => self.ping(conn, args),
            CommandId::Psubscribe
            | CommandId::Punsubscribe
            | CommandId::Ssubscribe
            | CommandId::Subscribe
            | CommandId::Sunsubscribe
            | CommandId::Unsubscribe => self.listen(conn, command.id, args),
            CommandId::Publish | CommandId::Spublish => self.publish(conn, command.id, args),
            CommandId::PubsubChannels
            | CommandId::PubsubNumpat
            | CommandId::PubsubNumsub
            | CommandId::PubsubShardchannels
            | CommandId::PubsubShardnumsub => self.pubsub(conn, command.id, args),
            CommandId::Quit => self.quit(conn),
            CommandId::Replicaof | CommandId::Slaveof => self.replicaof(conn, args),
            CommandId::Reset => self.reset(conn),
            CommandId::Role => self.role(conn),
            CommandId::Save => {
                self.ask_all(conn, Question::SaveAndWait);
                Ok(())
            }
            CommandId::Select => self.select(conn, args),
            CommandId::Shutdown => self.shutdown(conn, args),
            CommandId::SlowlogGet | CommandId::SlowlogLen | CommandId::SlowlogReset => {
                self.slowlog(conn, command.id, args)
            }
            CommandId::Time => self.time(conn),
            // within a transaction
            CommandId::Wait => self.count_replicas(conn, args),
            // within a transaction, which has ended the watching
            CommandId::Unwatch => {
                self.with_reply(conn, |reply| reply.ok());
                Ok(())
            }
            CommandId::Command
            | CommandId::CommandCount
            | CommandId::CommandDocs
            | CommandId::CommandGetkeys
            | CommandId::CommandGetkeysandflags
            | CommandId::CommandHelp
            | CommandId::CommandInfo
            | CommandId::CommandList => {
                let names = self.names;
                self.with_reply(conn, |reply| schema::command(names, command.id, args, reply));
                Ok(())
            }
            _ => Err(format!("ERR '{}' can't be executed here", command.name)),
        }
    }

    fn time(&mut self, conn: ConnId) -> Outcome {
        let since = wall_clock();
        self.with_reply(conn, |reply| {
            reply.array(2);
            reply.bulk(since.as_secs().to_string().as_bytes());
            reply.bulk(since.subsec_micros().to_string().as_bytes());
        });
        Ok(())
    }

    /// `BGSAVE [SCHEDULE]`: nothing else would be in the way, so it is never put off.
    fn bgsave(&mut self, conn: ConnId, args: Args<'_>) -> Outcome {
        if args.len() > 2 || args.len() == 2 && !args.at(1).eq_ignore_ascii_case(b"schedule") {
            return Err(SYNTAX.into());
        }
        self.ask_all(conn, Question::Save);
        Ok(())
    }

    fn lastsave(&mut self, conn: ConnId) -> Outcome {
        let last_s = self.last_save_s();
        self.with_reply(conn, |reply| reply.integer(last_s as i64));
        Ok(())
    }

    /// `SHUTDOWN [NOSAVE | SAVE] [NOW] [FORCE] [ABORT]`: the log is saved in any case, NOSAVE leaves out the checkpoint.
    fn shutdown(&mut self, conn: ConnId, args: Args<'_>) -> Outcome {
        let (mut save, mut nosave, mut now, mut force, mut abort) = (false, false, false, false, false);
        for option in args.from(1).iter() {
            match option.to_ascii_uppercase().as_slice() {
                b"SAVE" => save = true,
                b"NOSAVE" => nosave = true,
                b"NOW" => now = true,
                b"FORCE" => force = true,
                b"ABORT" => abort = true,
                _ => return Err(SYNTAX.into()),
            }
        }
        if save && nosave || abort && (save || nosave || now || force) {
            return Err(SYNTAX.into());
        }
        if abort {
            return Err("ERR No shutdown in progress.".into());
        }
        let read_only = self.owned().is_some_and(|owned| owned.is_read_only());
        if (read_only || self.peers.read_only.load(Ordering::Relaxed)) && !force {
            return Err("ERR Errors trying to SHUTDOWN. Check logs.".into());
        }
        self.shutdown = Some(Shutdown { force, save: !nosave });
        if let Some(connection) = self.connections.get_mut(conn) {
            connection.fate = Fate::CloseAfterReply; // what it has sent behind is not executed
        }
        Ok(())
    }
}
