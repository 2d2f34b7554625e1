//! What becomes of keys, for those who have asked: keyspace notifications. When nobody has, it is a flag beside that of WATCH.

use emberkv_log::DbId;
use emberkv_log::disk::Disk;
use emberkv_resp::schema::CommandId;

use crate::databases::RESERVED;
use crate::lookup::{Key, Lookup};
use crate::partition::Partition;

/// What kind of thing has happened.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum EventClass {
    /// To a key of any type.
    Generic,
    /// To a string.
    String,
    /// A key has expired.
    Expired,
    /// A key had to give way to others.
    Evicted,
    /// A key is new.
    New,
    /// A key that was there has another value altogether.
    Overwritten,
    /// A key was read that is not there.
    Miss,
}

/// Something that has become of a key.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Event {
    /// What kind of thing.
    pub class: EventClass,
    /// What, in redis's words.
    pub name: &'static str,
    /// The key's database, as clients name it.
    pub db: DbId,
    /// The key.
    pub key: Box<[u8]>,
}

/// Why keys change.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(crate) enum Cause {
    Command(CommandId),
    /// Their time has come.
    Expiry,
    /// Memory is short.
    Eviction,
    /// What was said already.
    #[default]
    Known,
}

/// See the module.
#[derive(Default, Debug)]
pub(crate) struct Events {
    /// Whether somebody has asked.
    pub is_on: bool,
    pub cause: Cause,
    list: Vec<Event>,
}

/// What a command that puts a key does to it.
fn put_event(id: CommandId, expires: bool) -> (EventClass, &'static str) {
    use EventClass::{Generic, String};
    match id.command().name {
        "append" => (String, "append"),
        "setrange" => (String, "setrange"),
        "incr" | "decr" | "incrby" | "decrby" => (String, "incrby"),
        "incrbyfloat" => (String, "incrbyfloat"),
        "setbit" | "bitfield" => (String, "setbit"),
        "expire" | "pexpire" | "expireat" | "pexpireat" => (Generic, "expire"),
        "persist" => (Generic, "persist"),
        "getex" if expires => (Generic, "expire"),
        "getex" => (Generic, "persist"),
        "rename" | "renamenx" => (Generic, "rename_to"),
        "copy" => (Generic, "copy_to"),
        "move" => (Generic, "move_to"),
        "restore" => (Generic, "restore"),
        _ => (String, "set"),
    }
}

/// Whether a command gives a key another value, whatever it was.
fn overwrites(id: CommandId) -> bool {
    matches!(id.command().name, "set" | "setex" | "psetex" | "getset" | "mset" | "bitop")
}

impl<D: Disk> Partition<D> {
    /// Whether what becomes of keys is kept from now on, for [`Partition::take_events`].
    pub fn set_events(&mut self, is_on: bool) {
        self.events.is_on = is_on;
    }

    /// What has become of keys since the last call, in order. It is true when the log's gate has reached its tail.
    #[inline]
    pub fn take_events(&mut self) -> Vec<Event> {
        if self.events.list.is_empty() { Vec::new() } else { std::mem::take(&mut self.events.list) }
    }

    fn push_event(&mut self, class: EventClass, name: &'static str, key: Key<'_>) {
        let event = Event { class, name, db: self.logical(key.db), key: key.bytes.into() };
        let list = match &mut self.overlay {
            // a transaction may come to nothing yet
            Some(overlay) => &mut overlay.events,
            None => &mut self.events.list,
        };
        // where a key has come from is told before where it has gone
        let after = match name {
            "rename_from" => list.iter().rposition(|event| event.name == "rename_to"),
            "move_from" => list.iter().rposition(|event| event.name == "move_to"),
            _ => None,
        };
        list.insert(after.unwrap_or(list.len()), event);
    }

    /// A key gets a value: whoever has asked what becomes of it is to know.
    #[cold]
    pub(crate) fn note_put(&mut self, key: Key<'_>, expires_at_ms: Option<u64>, old: Lookup) {
        self.watchers.touch(self.databases.logical(key.db), key.bytes);
        self.invalidate(key);
        self.note_event_of_put(key, expires_at_ms, old);
    }

    pub(crate) fn note_event_of_put(&mut self, key: Key<'_>, expires_at_ms: Option<u64>, old: Lookup) {
        let Cause::Command(id) = self.events.cause else { return };
        if !self.events.is_on || key.db == RESERVED {
            return;
        }
        let (class, name) = put_event(id, expires_at_ms.is_some());
        // what comes from another key is new, and takes the place of what was there
        let is_transferred = matches!(name, "rename_to" | "copy_to" | "move_to" | "restore");
        let (mut is_new, mut old_expiry) = (is_transferred, None);
        match old {
            Lookup::Live(found) => {
                old_expiry = found.expires_at_ms;
                if overwrites(id) {
                    self.push_event(EventClass::Overwritten, "overwritten", key);
                }
            }
            Lookup::Stale(found) => {
                if self.log.table().position(found.address) >= self.floors[usize::from(key.db.0)] {
                    self.push_event(EventClass::Expired, "expired", key);
                }
                is_new = true;
            }
            Lookup::Absent => is_new = true,
        }
        if is_new {
            self.push_event(EventClass::New, "new", key);
        }
        self.push_event(class, name, key);
        if is_transferred && old.live().is_some() {
            self.push_event(EventClass::Overwritten, "overwritten", key);
        }
        // SET alone may keep the expiry that there was
        let is_kept = id == CommandId::Set && expires_at_ms == old_expiry;
        if class == EventClass::String && name == "set" && expires_at_ms.is_some() && !is_kept {
            self.push_event(EventClass::Generic, "expire", key);
        }
    }

    /// A key goes: whoever has asked what becomes of it is to know.
    #[cold]
    pub(crate) fn note_gone(&mut self, key: Key<'_>) {
        self.watchers.touch(self.databases.logical(key.db), key.bytes);
        self.invalidate(key);
        self.note_event_of_gone(key);
    }

    pub(crate) fn note_event_of_gone(&mut self, key: Key<'_>) {
        if !self.events.is_on || key.db == RESERVED {
            return;
        }
        match self.events.cause {
            Cause::Command(id) => {
                let name = match id.command().name {
                    "rename" | "renamenx" => "rename_from",
                    "move" => "move_from",
                    _ => "del",
                };
                self.push_event(EventClass::Generic, name, key);
            }
            Cause::Expiry => self.push_event(EventClass::Expired, "expired", key),
            Cause::Eviction => self.push_event(EventClass::Evicted, "evicted", key),
            Cause::Known => {}
        }
    }

    /// A key was read that is not there. A write that looks for one misses nothing.
    #[cold]
    pub(crate) fn note_miss(&mut self, key: Key<'_>) {
        let Cause::Command(_) = self.events.cause else { return };
        if self.events.is_on {
            self.push_event(EventClass::Miss, "keymiss", key);
        }
    }

    /// A transaction counts: so does what has become of keys in it.
    pub(crate) fn add_events(&mut self, events: &[Event]) {
        self.events.list.extend_from_slice(events);
    }
}
