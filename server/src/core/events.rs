//! Keyspace notifications: what has become of keys, published when the log has it as safely as a reply would wait for.

use std::collections::VecDeque;

use bytes::Bytes;
use emberkv_engine::{Event, EventClass};
use emberkv_log::LogPosition;

use crate::config::KeyspaceEvents;
use crate::core::message::Message;
use crate::core::shard::{Data, Shard};
use crate::core::subscriptions::Kind;

/// What waits for the log: of which of the core's partitions, up to where, and what.
#[derive(Debug, Default)]
pub(crate) struct Untold(VecDeque<(usize, LogPosition, Vec<Event>)>);

impl KeyspaceEvents {
    /// Whether an event of such a class is asked for.
    fn has(self, class: EventClass) -> bool {
        self.contains(match class {
            EventClass::Generic => b'g',
            EventClass::String => b'$',
            EventClass::Hash => b'h',
            EventClass::List => b'l',
            EventClass::Set => b's',
            EventClass::SortedSet => b'z',
            EventClass::Stream => b't',
            EventClass::Expired => b'x',
            EventClass::Evicted => b'e',
            EventClass::Miss => b'm',
            EventClass::New => b'n',
            EventClass::Overwritten => b'o',
            EventClass::TypeChanged => b'c',
        })
    }
}

impl Shard {
    /// Publishes what has become of keys. After the log's turn, before replies are released.
    pub fn tell_events(&mut self) {
        let Data::Ready(owned) = &mut self.data else { return };
        for (i, own) in owned.list.iter_mut().enumerate() {
            let events = own.partition.take_events();
            if !events.is_empty() {
                self.untold.0.push_back((i, own.partition.log().tail(), events));
            }
        }
        if self.untold.0.is_empty() {
            return;
        }
        let gates: Vec<LogPosition> = owned.list.iter().map(|own| own.partition.log().gate()).collect();
        for (i, position, events) in std::mem::take(&mut self.untold.0) {
            if gates[i] >= position {
                events.iter().for_each(|event| self.tell_event(event));
            } else {
                self.untold.0.push_back((i, position, events));
            }
        }
    }

    fn tell_event(&mut self, event: &Event) {
        let wanted = self.config.notify_keyspace_events;
        if !wanted.has(event.class) {
            return;
        }
        if wanted.contains(b'K') {
            let channel = [format!("__keyspace@{}__:", event.db.0).as_bytes(), &event.key].concat();
            self.publish_to_all(channel, event.name.as_bytes().to_vec());
        }
        if wanted.contains(b'E') {
            let channel = format!("__keyevent@{}__:{}", event.db.0, event.name).into_bytes();
            self.publish_to_all(channel, event.key.to_vec());
        }
    }

    fn publish_to_all(&mut self, channel: Vec<u8>, message: Vec<u8>) {
        let (channel, message) = (Bytes::from(channel), Bytes::from(message));
        for core in self.peers.others(self.me) {
            if self.peers.has_subscriptions(core) {
                self.peers.send(core, Message::Publish { channel: channel.clone(), message: message.clone() });
            }
        }
        self.deliver(Kind::Channel, &channel, &message);
    }
}
