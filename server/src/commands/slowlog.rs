//! SLOWLOG: each core keeps its connections' slow commands; who asks gets those of all.

use emberkv_resp::schema::CommandId;
use emberkv_resp::{Args, Reply, format};

use super::Outcome;
use crate::core::shard::Shard;
use crate::core::{Question, Told};
use crate::driver::ConnId;
use crate::meter::Slow;

/// Entries that SLOWLOG GET replies if no other number is given.
const USUAL: u64 = 10;

/// What is asked of the slow log.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum AboutSlowLog {
    /// So many of the newest entries.
    Newest(u64),
    Len,
    Reset,
}

impl Shard {
    pub(super) fn slowlog(&mut self, conn: ConnId, id: CommandId, args: Args<'_>) -> Outcome {
        let about = match id {
            CommandId::SlowlogLen => AboutSlowLog::Len,
            CommandId::SlowlogReset => AboutSlowLog::Reset,
            _ if args.len() > 3 => {
                let name = String::from_utf8_lossy(args.at(1));
                let reason = "unknown subcommand or wrong number of arguments for";
                return Err(format!("ERR {reason} '{name}'. Try SLOWLOG HELP."));
            }
            _ => AboutSlowLog::Newest(match args.get(2).map(format::parse_integer) {
                None => USUAL,
                Some(Some(-1)) => u64::MAX,
                Some(count) => count
                    .and_then(|count| u64::try_from(count).ok())
                    .ok_or("ERR count should be greater than or equal to -1")?,
            }),
        };
        self.ask_all(conn, Question::SlowLog(about));
        Ok(())
    }

    /// Keeps a slow command of a connection of this core.
    pub(crate) fn note_slow(&mut self, conn: ConnId, slow: Slow) {
        let id = self.peers.next_slow();
        let connection = self.connections.get(conn);
        let address = connection.map(|connection| connection.address.clone()).unwrap_or_default();
        let name = connection.map(|connection| connection.name.clone()).unwrap_or_default();
        self.meter.slow.add(Slow { id, address, name, ..slow });
    }

    /// What this core has of it.
    pub(crate) fn tell_slow_log(&mut self, about: &AboutSlowLog) -> Told {
        match about {
            AboutSlowLog::Newest(count) => {
                let count = usize::try_from(*count).unwrap_or(usize::MAX);
                Told::Slow(self.meter.slow.entries().take(count).cloned().collect())
            }
            AboutSlowLog::Len => Told::Slow(self.meter.slow.entries().cloned().collect()),
            AboutSlowLog::Reset => {
                self.meter.slow.clear();
                Told::Done
            }
        }
    }

    /// The reply, out of what all cores have told.
    pub(crate) fn reply_slow_log(&self, about: &AboutSlowLog, told: Vec<Told>, reply: &mut Reply<'_>) {
        let mut entries: Vec<Slow> = told
            .into_iter()
            .flat_map(|told| if let Told::Slow(entries) = told { entries } else { Vec::new() })
            .collect();
        entries.sort_by_key(|slow| std::cmp::Reverse(slow.id));
        // each core keeps as many as all may
        entries.truncate(usize::try_from(self.config.slowlog_max_len.unsigned_abs()).unwrap_or(usize::MAX));
        match about {
            AboutSlowLog::Newest(count) => {
                entries.truncate(usize::try_from(*count).unwrap_or(usize::MAX));
                reply.array(entries.len());
                for slow in &entries {
                    reply.array(6);
                    reply.integer(slow.id as i64);
                    reply.integer(slow.at_s as i64);
                    reply.integer(slow.micros as i64);
                    reply.array(slow.args.len());
                    slow.args.iter().for_each(|arg| reply.bulk(arg));
                    reply.bulk(slow.address.as_bytes());
                    reply.bulk(&slow.name);
                }
            }
            AboutSlowLog::Len => reply.integer(entries.len() as i64),
            AboutSlowLog::Reset => reply.ok(),
        }
    }
}
