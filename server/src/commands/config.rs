//! CONFIG GET, SET and REWRITE.

use std::io;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError};

use emberkv_log::SyncPolicy;
use emberkv_resp::Args;

use super::acl::system_text;
use super::{Outcome, SYNTAX};
use crate::acl::{Users, save_file};
use crate::config::{AppendFsync, Config, Field, SetError, rewrite};
use crate::core::Question;
use crate::core::shard::Shard;
use crate::driver::ConnId;
use crate::stats::ServerStats;
use crate::tls::server_config;

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
        let peers = Arc::clone(&self.peers);
        // a panic on any thread ends the process, so the lock is never poisoned
        let mut shared = peers.config.lock().unwrap_or_else(PoisonError::into_inner);
        let mut config = shared.config.clone();
        let changes = config.set(&pairs).map_err(|error| error.to_string())?;
        if changes.contains(Field::MaxClients) {
            let can = allowed_clients(config.maxclients);
            if can < config.maxclients {
                let reason = format!(
                    "The operating system is not able to handle the specified number of clients, try with {can}"
                );
                return Err(SetError::failed(b"maxclients", reason).to_string());
            }
        }
        // a name may stand for another content than before
        let is_tls = |(name, _): &(&[u8], &[u8])| name.to_ascii_lowercase().starts_with(b"tls-");
        if let Some((name, _)) = pairs.iter().find(|pair| is_tls(pair))
            && config.tls_port != 0
        {
            let settings = server_config(&config).map_err(|error| {
                tracing::warn!(%error, "the tls configuration is not changed");
                SetError::failed(name, "Unable to update TLS configuration. Check server logs.".to_owned()).to_string()
            })?;
            *peers.tls.lock().unwrap_or_else(PoisonError::into_inner) = Some(settings);
        }
        if changes.contains(Field::LogLevel) {
            (self.set_log_level)(config.loglevel);
        }
        if changes.contains(Field::RequirePass) {
            Arc::make_mut(&mut shared.users).set_default_password(config.requirepass.bytes());
        }
        shared.config.clone_from(&config);
        shared.version += 1;
        let (users, version) = (Arc::clone(&shared.users), shared.version);
        self.ask_all(conn, Question::Config { config: Box::new(config), users, version, count: None });
        Ok(())
    }

    /// CONFIG REWRITE: another thread reads the file and writes it.
    pub(super) fn config_rewrite(&mut self, conn: ConnId) -> Outcome {
        if self.facts.config_file.is_empty() {
            return Err("ERR The server is running without a config file".into());
        }
        let path = PathBuf::from(&self.facts.config_file);
        let peers = Arc::clone(&self.peers);
        self.run_errand(conn, "config-rewrite", move || {
            let (config, users) = {
                let shared = peers.config.lock().unwrap_or_else(PoisonError::into_inner);
                (shared.config.clone(), Arc::clone(&shared.users))
            };
            // with an acl file they are there
            let users: Vec<Vec<u8>> =
                if config.aclfile.is_none() { users.iter().map(|user| user.describe()).collect() } else { Vec::new() };
            let text = match std::fs::read(&path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
                other => other.map_err(|error| format!("ERR Rewriting config file: {}", system_text(&error)))?,
            };
            save_file(&path, &rewrite(&text, &config, &users)).map_err(|error| {
                tracing::warn!(%error, "the configuration can't be written to {}", path.display());
                format!("ERR Rewriting config file: {}", system_text(&error))
            })?;
            tracing::info!("the configuration was written to {}", path.display());
            Ok(())
        })
    }

    /// Does from now on as the configuration says, unless this core has heard of a later one already.
    pub(crate) fn take_over(&mut self, config: &Config, users: &Arc<Users>, version: u64) {
        if version <= self.config_version {
            return;
        }
        self.config_version = version;
        if config.appendfsync != self.config.appendfsync {
            let policy = sync_policy(config.appendfsync);
            for own in self.owned().into_iter().flat_map(|owned| &mut owned.list) {
                own.partition.log_mut().set_policy(policy);
            }
        }
        self.config.clone_from(config);
        self.meter.configure(config);
        if !Arc::ptr_eq(users, &self.users) {
            self.take_over_users(users);
        }
        self.apply_limits();
        self.settle_role();
    }

    /// What CONFIG RESETSTAT resets of this core.
    pub(crate) fn reset_stats(&mut self) {
        self.stats = ServerStats::default();
        self.meter.reset();
        for own in self.owned().into_iter().flat_map(|owned| &mut owned.list) {
            own.partition.reset_stats();
        }
    }
}
