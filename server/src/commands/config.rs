//! CONFIG GET and SET.

use emberkv_log::SyncPolicy;
use emberkv_resp::Args;

use super::{Outcome, SYNTAX};
use crate::config::{AppendFsync, Field, SetError};
use crate::core::shard::Shard;
use crate::driver::ConnId;

/// The log's word for `appendfsync`.
pub(crate) fn sync_policy(appendfsync: AppendFsync) -> SyncPolicy {
    match appendfsync {
        AppendFsync::Always => SyncPolicy::Always,
        AppendFsync::EverySec => SyncPolicy::EverySec,
        AppendFsync::No => SyncPolicy::No,
    }
}

/// File descriptors that the server needs for itself: log, listeners, rings, standard streams.
const OWN_FILES: u64 = 64;

/// How many clients the limit of open files allows, after an attempt to raise it to what `wanted` takes.
pub(crate) fn allowed_clients(wanted: u32) -> u32 {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let needed = u64::from(wanted) + OWN_FILES;
    let limit = getrlimit(Resource::Nofile);
    let current = limit.current.unwrap_or(u64::MAX);
    if current >= needed {
        return wanted;
    }
    let raised = limit.maximum.map_or(needed, |maximum| maximum.min(needed));
    let can = if setrlimit(Resource::Nofile, Rlimit { current: Some(raised), maximum: limit.maximum }).is_ok() {
        raised
    } else {
        current
    };
    u32::try_from(can.saturating_sub(OWN_FILES)).unwrap_or(wanted).min(wanted)
}

impl Shard {
    pub(super) fn config_get(&mut self, conn: ConnId, args: Args<'_>) -> Outcome {
        let patterns: Vec<&[u8]> = args.from(2).iter().collect();
        let pairs = self.config.get(&patterns);
        self.with_reply(conn, |reply| {
            reply.map(pairs.len());
            for (name, value) in &pairs {
                reply.bulk(name.as_bytes());
                reply.bulk(value);
            }
        });
        Ok(())
    }

    pub(super) fn config_set(&mut self, conn: ConnId, args: Args<'_>) -> Outcome {
        let words: Vec<&[u8]> = args.from(2).iter().collect();
        if !words.len().is_multiple_of(2) {
            return Err(SYNTAX.into());
        }
        let pairs: Vec<(&[u8], &[u8])> = words.chunks_exact(2).map(|pair| (pair[0], pair[1])).collect();
        let before = self.config.clone();
        let changes = self.config.set(&pairs).map_err(|error| error.to_string())?;
        if changes.contains(Field::MaxClients) {
            let can = allowed_clients(self.config.maxclients);
            if can < self.config.maxclients {
                self.config = before;
                let reason = format!(
                    "The operating system is not able to handle the specified number of clients, try with {can}"
                );
                return Err(SetError::failed(b"maxclients", reason).to_string());
            }
        }
        if changes.contains(Field::AppendFsync) {
            let policy = sync_policy(self.config.appendfsync);
            if let Some(partition) = self.partition() {
                partition.log_mut().set_policy(policy);
            }
        }
        if changes.contains(Field::LogLevel) {
            (self.set_log_level)(self.config.loglevel);
        }
        self.apply_limits();
        self.with_reply(conn, |reply| reply.ok());
        Ok(())
    }
}
