//! REPLICAOF, SLAVEOF and ROLE.

use std::sync::{Arc, PoisonError};

use emberkv_resp::Args;

use super::Outcome;
use crate::config::{Primary, is_no_one};
use crate::core::shard::{Data, Shard};
use crate::core::{CoreId, Message, Mode, Question};
use crate::driver::ConnId;
use crate::replicate::{Link, State, follow};

/// What is said to who asks a replica for what its primary does.
pub(super) const OF_THE_PRIMARY: &str =
    "ERR this is a replica: its log is its primary's, which decides when it is compacted and saved";

/// What is here is nothing that a primary could go on from.
const NOT_WHOLE: &str =
    "ERR this replica has not yet got all that its primary has: what is here is no data set that could be served";

impl Shard {
    /// `REPLICAOF host port`, `REPLICAOF NO ONE`
    pub(super) fn replicaof(&mut self, conn: ConnId, args: Args<'_>) -> Outcome {
        let primary = if is_no_one([args.at(1), args.at(2)]) {
            None
        } else {
            Some(Primary::parse(args.at(1), args.at(2)).map_err(|reason| format!("ERR {reason}"))?)
        };
        let peers = Arc::clone(&self.peers);
        // a panic on any thread ends the process, so the lock is never poisoned
        let mut shared = peers.config.lock().unwrap_or_else(PoisonError::into_inner);
        if shared.config.replicaof == primary {
            match primary {
                Some(_) => self.with_reply(conn, |reply| reply.simple("OK Already connected to specified master")),
                None => self.with_reply(conn, |reply| reply.ok()),
            }
            return Ok(());
        }
        if primary.is_none() && self.link.as_ref().and_then(|link| link.feed()).is_some_and(|feed| feed.is_raw()) {
            return Err(NOT_WHOLE.into());
        }
        match &primary {
            Some(primary) => {
                follow(&peers, primary.clone(), self.facts.replica())
                    .map_err(|error| format!("ERR the system has no thread for that: {error}"))?;
                tracing::info!(%primary, "a replica from now on");
            }
            None => {
                peers.replication.set_link(None);
                peers.send(CoreId::FIRST, Message::Reopen(Box::new(Mode::Primary)));
                tracing::info!("a primary from now on");
            }
        }
        shared.config.replicaof = primary;
        shared.version += 1;
        let (config, users, version) = (Box::new(shared.config.clone()), Arc::clone(&shared.users), shared.version);
        self.ask_all(conn, Question::Config { config, users, version, count: None });
        Ok(())
    }

    /// `ROLE`
    pub(super) fn role(&mut self, conn: ConnId) -> Outcome {
        let offset = self.replication_offset() as i64;
        if let Some(link) = self.link.clone() {
            self.with_reply(conn, |reply| {
                reply.array(5);
                reply.bulk(b"slave");
                reply.bulk(link.primary.host.as_bytes());
                reply.integer(link.primary.port.into());
                reply.bulk(state(&link).as_bytes());
                reply.integer(if link.feed().is_some() { offset } else { -1 });
            });
            return Ok(());
        }
        let replicas: Vec<_> = self.peers.replication.replicas().connected().cloned().collect();
        self.with_reply(conn, |reply| {
            reply.array(3);
            reply.bulk(b"master");
            reply.integer(offset);
            reply.array(replicas.len());
            for replica in &replicas {
                reply.array(3);
                reply.bulk(replica.ip.as_bytes());
                reply.bulk(replica.port.to_string().as_bytes());
                reply.bulk(replica.offset().to_string().as_bytes());
            }
        });
        Ok(())
    }

    /// One number for the positions of all partitions: of what may be shipped, or of what was followed.
    pub(crate) fn replication_offset(&self) -> u64 {
        if let Some(feed) = self.link.as_ref().and_then(|link| link.feed()) {
            return feed.followed().iter().map(|position| position.0).sum();
        }
        match &self.data {
            Data::Ready(owned) => owned.ships.gates().map(|gate| gate.0).sum(),
            Data::Loading { .. } => 0,
        }
    }
}

/// As ROLE calls it.
fn state(link: &Link) -> &'static str {
    match link.state() {
        State::Connect => "connect",
        State::Connecting => "connecting",
        State::Sync => "sync",
        State::Connected => "connected",
    }
}
