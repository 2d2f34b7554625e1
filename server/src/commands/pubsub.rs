//! SUBSCRIBE and its like, PUBLISH, PUBSUB.

use std::collections::BTreeSet;

use bytes::Bytes;
use emberkv_resp::schema::CommandId;
use emberkv_resp::{Args, Reply, glob};

use super::Outcome;
use crate::core::shard::Shard;
use crate::core::{Kind, Question, Told};
use crate::driver::ConnId;

/// What is asked of all cores' subscriptions.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum AboutChannels {
    /// The names that match.
    Names(Kind, Option<Vec<u8>>),
    /// How many listen to each of these.
    Listeners(Kind, Vec<Vec<u8>>),
    /// How many patterns there are.
    Patterns,
}

/// The kind of name that a command is about, and whether that is to be listened to.
fn kind_of(id: CommandId) -> (Kind, bool) {
    match id {
        CommandId::Subscribe => (Kind::Channel, true),
        CommandId::Unsubscribe => (Kind::Channel, false),
        CommandId::Psubscribe => (Kind::Pattern, true),
        CommandId::Punsubscribe => (Kind::Pattern, false),
        CommandId::Ssubscribe => (Kind::Shard, true),
        _ => (Kind::Shard, false),
    }
}

impl Shard {
    /// (P|S)SUBSCRIBE and (P|S)UNSUBSCRIBE: a message for each name, and no reply besides.
    pub(super) fn listen(&mut self, conn: ConnId, id: CommandId, args: Args<'_>) -> Outcome {
        let (kind, begins) = kind_of(id);
        let (began, ended) = kind.verbs();
        let verb = if begins { began } else { ended };
        let confirm = |shard: &mut Self, name: Option<&[u8]>, count: usize| {
            shard.with_reply(conn, |reply| {
                reply.push(3);
                reply.bulk(verb);
                match name {
                    Some(name) => reply.bulk(name),
                    None => reply.null(),
                }
                reply.integer(count as i64);
            });
        };
        if begins {
            for name in args.from(1).iter() {
                let count = self.subscribe(conn, kind, name);
                confirm(self, Some(name), count);
            }
            return Ok(());
        }
        if args.len() > 1 {
            for name in args.from(1).iter() {
                let count = self.unsubscribe(conn, kind, name);
                confirm(self, Some(name), count);
            }
            return Ok(());
        }
        let listening = self.connections.get(conn).and_then(|connection| connection.listening.as_deref());
        let names: BTreeSet<Bytes> = listening.map(|listening| listening.names(kind).clone()).unwrap_or_default();
        if names.is_empty() {
            let count = listening.map_or(0, |listening| listening.count(kind));
            confirm(self, None, count);
        }
        for name in &names {
            let count = self.unsubscribe(conn, kind, name);
            confirm(self, Some(name), count);
        }
        Ok(())
    }

    /// PUBLISH and SPUBLISH: only the cores are asked that have subscriptions.
    pub(super) fn publish(&mut self, conn: ConnId, id: CommandId, args: Args<'_>) -> Outcome {
        let kind = if id == CommandId::Spublish { Kind::Shard } else { Kind::Channel };
        let question = Question::Publish { kind, channel: args.at(1).to_vec(), message: args.at(2).to_vec() };
        let peers = std::sync::Arc::clone(&self.peers);
        self.ask(conn, question, |core| peers.has_subscriptions(core));
        Ok(())
    }

    pub(super) fn pubsub(&mut self, conn: ConnId, id: CommandId, args: Args<'_>) -> Outcome {
        let names = || args.from(2).iter().map(<[u8]>::to_vec).collect();
        let about = match id {
            CommandId::PubsubNumpat => AboutChannels::Patterns,
            CommandId::PubsubNumsub => AboutChannels::Listeners(Kind::Channel, names()),
            CommandId::PubsubShardnumsub => AboutChannels::Listeners(Kind::Shard, names()),
            _ if args.len() > 3 => {
                let name = String::from_utf8_lossy(args.at(1));
                let reason = "unknown subcommand or wrong number of arguments for";
                return Err(format!("ERR {reason} '{name}'. Try PUBSUB HELP."));
            }
            CommandId::PubsubShardchannels => AboutChannels::Names(Kind::Shard, args.get(2).map(<[u8]>::to_vec)),
            _ => AboutChannels::Names(Kind::Channel, args.get(2).map(<[u8]>::to_vec)),
        };
        self.ask_all(conn, Question::Channels(about));
        Ok(())
    }

    /// What this core has to say.
    pub(crate) fn tell_channels(&self, about: &AboutChannels) -> Told {
        match about {
            AboutChannels::Names(kind, pattern) => {
                let mut names = self.subscriptions.names(*kind);
                names.retain(|name| pattern.as_ref().is_none_or(|pattern| glob::matches(pattern, name)));
                Told::Names(names)
            }
            AboutChannels::Listeners(kind, names) => {
                Told::Counts(names.iter().map(|name| self.subscriptions.listeners(*kind, name)).collect())
            }
            AboutChannels::Patterns => Told::Names(self.subscriptions.names(Kind::Pattern)),
        }
    }
}

/// The reply, out of what all cores have told.
pub(crate) fn reply_channels(about: &AboutChannels, told: &[Told], reply: &mut Reply<'_>) {
    let names: BTreeSet<&Bytes> = told
        .iter()
        .filter_map(|told| if let Told::Names(names) = told { Some(names) } else { None })
        .flatten()
        .collect();
    match about {
        AboutChannels::Names(..) => {
            reply.array(names.len());
            names.into_iter().for_each(|name| reply.bulk(name));
        }
        AboutChannels::Patterns => reply.integer(names.len() as i64),
        AboutChannels::Listeners(_, asked) => {
            reply.array(asked.len() * 2);
            for (i, name) in asked.iter().enumerate() {
                let of = |told: &Told| if let Told::Counts(counts) = told { counts[i] } else { 0 };
                reply.bulk(name);
                reply.integer(told.iter().map(of).sum::<usize>() as i64);
            }
        }
    }
}

/// The reply to PUBLISH.
pub(crate) fn reply_published(told: &[Told], reply: &mut Reply<'_>) {
    let of = |told: &Told| if let Told::Received(receivers) = told { *receivers } else { 0 };
    reply.integer(told.iter().map(of).sum::<u64>() as i64);
}
