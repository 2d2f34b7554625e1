//! Who of a core's connections listens to what.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use bytes::Bytes;
use emberkv_resp::{Output, Protocol, Reply, glob};

use crate::acl::User;
use crate::core::connection::{Connection, Fate};
use crate::core::shard::Shard;
use crate::driver::ConnId;

/// Longer messages are shared by their receivers' outputs instead of copied.
const SHARED_FROM: usize = 1024;

/// What a name that is listened to stands for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    /// A channel.
    Channel,
    /// All channels whose names match.
    Pattern,
    /// A channel of a cluster's shard; there is one.
    Shard,
}

impl Kind {
    pub const ALL: [Self; 3] = [Self::Channel, Self::Pattern, Self::Shard];

    /// What replies to a subscription, and to its end, begin with.
    pub fn verbs(self) -> (&'static [u8], &'static [u8]) {
        match self {
            Self::Channel => (b"subscribe", b"unsubscribe"),
            Self::Pattern => (b"psubscribe", b"punsubscribe"),
            Self::Shard => (b"ssubscribe", b"sunsubscribe"),
        }
    }
}

/// What one connection listens to.
#[derive(Clone, Debug, Default)]
pub(crate) struct Listening {
    names: [BTreeSet<Bytes>; Kind::ALL.len()],
}

impl Listening {
    pub fn names(&self, kind: Kind) -> &BTreeSet<Bytes> {
        &self.names[kind as usize]
    }

    /// What replies count: channels and patterns together, shard channels for themselves.
    pub fn count(&self, kind: Kind) -> usize {
        match kind {
            Kind::Shard => self.names(kind).len(),
            Kind::Channel | Kind::Pattern => self.names(Kind::Channel).len() + self.names(Kind::Pattern).len(),
        }
    }

    /// Whether a user may listen to all of it.
    pub fn is_permitted_to(&self, user: &User) -> bool {
        let permits =
            |kind: Kind| self.names(kind).iter().all(|name| user.permits_channel(name, kind == Kind::Pattern));
        Kind::ALL.into_iter().all(permits)
    }

    pub fn is_empty(&self) -> bool {
        self.names.iter().all(BTreeSet::is_empty)
    }
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Subscriptions {
    channels: HashMap<Bytes, BTreeSet<u32>>,
    /// Messages are matched with each.
    patterns: BTreeMap<Bytes, BTreeSet<u32>>,
    shard: HashMap<Bytes, BTreeSet<u32>>,
}

impl Subscriptions {
    fn add(&mut self, kind: Kind, name: Bytes, conn: ConnId) {
        match kind {
            Kind::Channel => self.channels.entry(name).or_default().insert(conn.0),
            Kind::Pattern => self.patterns.entry(name).or_default().insert(conn.0),
            Kind::Shard => self.shard.entry(name).or_default().insert(conn.0),
        };
    }

    fn remove(&mut self, kind: Kind, name: &[u8], conn: ConnId) {
        let listeners = match kind {
            Kind::Channel => self.channels.get_mut(name),
            Kind::Pattern => self.patterns.get_mut(name),
            Kind::Shard => self.shard.get_mut(name),
        };
        let Some(listeners) = listeners else { return };
        listeners.remove(&conn.0);
        if listeners.is_empty() {
            match kind {
                Kind::Channel => self.channels.remove(name),
                Kind::Pattern => self.patterns.remove(name),
                Kind::Shard => self.shard.remove(name),
            };
        }
    }

    /// How many names are listened to.
    fn len(&self) -> usize {
        self.channels.len() + self.patterns.len() + self.shard.len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The names of a kind that somebody here listens to.
    pub fn names(&self, kind: Kind) -> Vec<Bytes> {
        match kind {
            Kind::Channel => self.channels.keys().cloned().collect(),
            Kind::Pattern => self.patterns.keys().cloned().collect(),
            Kind::Shard => self.shard.keys().cloned().collect(),
        }
    }

    /// How many listen to a channel by its name.
    pub fn listeners(&self, kind: Kind, name: &[u8]) -> usize {
        let listeners = match kind {
            Kind::Channel => self.channels.get(name),
            Kind::Pattern => self.patterns.get(name),
            Kind::Shard => self.shard.get(name),
        };
        listeners.map_or(0, BTreeSet::len)
    }
}

/// A message as its receivers get it, written once for each protocol that one of them speaks.
struct Letter<'a> {
    parts: &'a [&'a [u8]],
    written: [Option<Bytes>; 2],
}

impl<'a> Letter<'a> {
    fn new(parts: &'a [&'a [u8]]) -> Self {
        Self { parts, written: [None, None] }
    }

    fn write(&mut self, connection: &mut Connection) {
        let protocol = connection.protocol;
        let written = self.written[usize::from(protocol == Protocol::Resp3)].get_or_insert_with(|| {
            let mut output = Output::new();
            let mut reply = Reply::new(&mut output, protocol);
            reply.push(self.parts.len());
            self.parts.iter().for_each(|part| reply.bulk(part));
            Bytes::from(output.to_vec())
        });
        if written.len() < SHARED_FROM {
            connection.output.push(written);
        } else {
            connection.output.push_shared(written.clone());
        }
    }
}

impl Shard {
    /// A connection listens to one name more. Returns how many that are now.
    pub fn subscribe(&mut self, conn: ConnId, kind: Kind, name: &[u8]) -> usize {
        let Some(connection) = self.connections.get_mut(conn) else { return 0 };
        let listening = connection.listening.get_or_insert_default();
        if !listening.names(kind).contains(name) {
            let name = Bytes::copy_from_slice(name);
            listening.names[kind as usize].insert(name.clone());
            self.subscriptions.add(kind, name, conn);
            self.peers.set_subscriptions(self.me, self.subscriptions.len());
        }
        let count = listening.count(kind);
        connection.note_listening();
        count
    }

    /// A connection listens to a name no more. Returns how many are left.
    pub fn unsubscribe(&mut self, conn: ConnId, kind: Kind, name: &[u8]) -> usize {
        let Some(connection) = self.connections.get_mut(conn) else { return 0 };
        let Some(listening) = &mut connection.listening else { return 0 };
        if listening.names[kind as usize].remove(name) {
            self.subscriptions.remove(kind, name, conn);
            self.peers.set_subscriptions(self.me, self.subscriptions.len());
        }
        let count = listening.count(kind);
        connection.note_listening();
        count
    }

    /// A connection listens to nothing any more.
    pub fn unsubscribe_all(&mut self, conn: ConnId) {
        let Some(connection) = self.connections.get_mut(conn) else { return };
        let Some(listening) = connection.listening.take() else { return };
        connection.note_listening();
        for kind in Kind::ALL {
            for name in listening.names(kind) {
                self.subscriptions.remove(kind, name, conn);
            }
        }
        self.peers.set_subscriptions(self.me, self.subscriptions.len());
    }

    /// Gives a message to those here who listen. Returns how many times.
    pub fn deliver(&mut self, kind: Kind, channel: &[u8], message: &[u8]) -> u64 {
        let mut receivers = 0;
        let subscriptions = std::mem::take(&mut self.subscriptions);
        let (named, verb): (_, &[u8]) = match kind {
            Kind::Shard => (subscriptions.shard.get(channel), b"smessage"),
            Kind::Channel | Kind::Pattern => (subscriptions.channels.get(channel), b"message"),
        };
        if let Some(listeners) = named {
            receivers += self.hand_out(listeners, Letter::new(&[verb, channel, message]));
        }
        if kind == Kind::Channel {
            for (pattern, listeners) in &subscriptions.patterns {
                if glob::matches(pattern, channel) {
                    receivers += self.hand_out(listeners, Letter::new(&[b"pmessage", pattern, channel, message]));
                }
            }
        }
        self.subscriptions = subscriptions;
        receivers
    }

    fn hand_out(&mut self, listeners: &BTreeSet<u32>, mut letter: Letter<'_>) -> u64 {
        let mut receivers = 0;
        for conn in listeners.iter().copied().map(ConnId) {
            let Some(connection) = self.connections.get_mut(conn).filter(|other| other.fate == Fate::Open) else {
                continue;
            };
            connection.write_aside(&mut self.spares, |connection| letter.write(connection));
            receivers += 1;
            self.touch(conn);
        }
        receivers
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::acl::Users;

    fn name(text: &'static str) -> Bytes {
        Bytes::from_static(text.as_bytes())
    }

    #[test]
    fn a_name_that_nobody_listens_to_is_forgotten() {
        let mut all = Subscriptions::default();
        for kind in Kind::ALL {
            all.add(kind, name("a"), ConnId(1));
            all.add(kind, name("a"), ConnId(2));
            assert_eq!(all.listeners(kind, b"a"), 2);
            all.remove(kind, b"a", ConnId(1));
            all.remove(kind, b"b", ConnId(2));
            assert_eq!((all.listeners(kind, b"a"), all.names(kind)), (1, vec![name("a")]));
            all.remove(kind, b"a", ConnId(2));
            assert_eq!((all.len(), all.listeners(kind, b"a")), (0, 0));
        }
    }

    #[test]
    fn a_message_is_written_in_each_receivers_protocol() {
        let mut letter = Letter::new(&[b"message", b"c", b"hi"]);
        let mut connection = Connection::new(1, String::new(), String::new(), false, 0, &Users::new());
        letter.write(&mut connection);
        connection.protocol = Protocol::Resp3;
        letter.write(&mut connection);
        let body = "3\r\n$7\r\nmessage\r\n$1\r\nc\r\n$2\r\nhi\r\n";
        assert_eq!(String::from_utf8_lossy(&connection.output.to_vec()), format!("*{body}>{body}"));
    }
}
