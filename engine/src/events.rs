//! What becomes of keys, for those who have asked: keyspace notifications. When nobody has, it is a flag beside that of WATCH.

use emberkv_log::disk::Disk;
use emberkv_log::{Address, DbId};
use emberkv_resp::schema::CommandId;

use crate::collections::type_name;
use crate::databases::RESERVED;
use crate::lookup::{Key, Lookup};
use crate::partition::Partition;
use crate::tracking::Tracked;

/// What kind of thing has happened.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum EventClass {
    /// To a key of any type.
    Generic,
    /// To a string.
    String,
    /// To a hash.
    Hash,
    /// To a list.
    List,
    /// To a set.
    Set,
    /// To a sorted set.
    SortedSet,
    /// To a stream.
    Stream,
    /// A key has expired.
    Expired,
    /// A key had to give way to others.
    Evicted,
    /// A key is new.
    New,
    /// A key that was there has another value altogether.
    Overwritten,
    /// And one of another type.
    TypeChanged,
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

/// What a transaction has to tell of keys when it counts.
#[derive(Default, Debug)]
pub(crate) struct Told {
    pub events: Vec<Event>,
    /// For those who keep what they have read.
    pub tracked: Vec<Tracked>,
}

/// Why keys change.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(crate) enum Cause {
    Command(CommandId),
    /// A command that does different things to its keys, see [`Partition::name_event`].
    Named(EventClass, &'static str),
    /// Their time has come.
    Expiry,
    /// Memory is short.
    Eviction,
    /// The time of some of their fields has come.
    Fields,
    /// Nothing is to be said, but for whoever keeps what it has read: another form of the same.
    Silent,
    /// What was said already.
    #[default]
    Known,
    /// Something about a group of a stream, which redis takes for no change of the key; what it is told as, if it is.
    Aside(Option<&'static str>),
}

/// See the module.
#[derive(Default, Debug)]
pub(crate) struct Events {
    /// Whether somebody has asked.
    pub is_on: bool,
    pub cause: Cause,
    /// Of a SET: KEEPTTL.
    pub keeps_expiry: bool,
    list: Vec<Event>,
}

/// What a command does to a key that it changes. This is where a new command's event is named; nothing else has to be done for it, be it
/// in a transaction or over several partitions: whatever puts a key or deletes it ([`Partition::refer`], [`Partition::commit`],
/// [`Partition::write_all`], [`Partition::delete`]) tells that, with what comes with it (`new`, `overwritten`, `del` when a collection's last
/// element has gone). Only a command that does different things to its keys says which before it changes each, by
/// [`Partition::name_event`].
fn event_of(id: CommandId, expires: bool) -> (EventClass, &'static str) {
    use EventClass::{Generic, Hash, List, Set, SortedSet, String};
    match id.command().name {
        "append" => (String, "append"),
        "setrange" => (String, "setrange"),
        "incr" | "decr" | "incrby" | "decrby" => (String, "incrby"),
        "incrbyfloat" => (String, "incrbyfloat"),
        "setbit" | "bitfield" => (String, "setbit"),
        "pfadd" | "pfmerge" => (String, "pfadd"),
        "expire" | "pexpire" | "expireat" | "pexpireat" => (Generic, "expire"),
        "persist" => (Generic, "persist"),
        "getex" if expires => (Generic, "expire"),
        "getex" => (Generic, "persist"),
        "rename" | "renamenx" => (Generic, "rename_to"),
        "copy" => (Generic, "copy_to"),
        "move" => (Generic, "move_to"),
        "restore" => (Generic, "restore"),
        "hset" | "hmset" | "hsetnx" => (Hash, "hset"),
        "hincrby" => (Hash, "hincrby"),
        "hincrbyfloat" => (Hash, "hincrbyfloat"),
        "hdel" | "hgetdel" => (Hash, "hdel"),
        "hpersist" => (Hash, "hpersist"),
        "lpush" | "lpushx" => (List, "lpush"),
        "rpush" | "rpushx" => (List, "rpush"),
        "lpop" | "blpop" => (List, "lpop"),
        "rpop" | "brpop" => (List, "rpop"),
        "linsert" => (List, "linsert"),
        "lset" => (List, "lset"),
        "lrem" => (List, "lrem"),
        "ltrim" => (List, "ltrim"),
        "sort" => (List, "sortstore"),
        "sadd" => (Set, "sadd"),
        "srem" => (Set, "srem"),
        "spop" => (Set, "spop"),
        "sinterstore" => (Set, "sinterstore"),
        "sunionstore" => (Set, "sunionstore"),
        "sdiffstore" => (Set, "sdiffstore"),
        "zadd" | "geoadd" => (SortedSet, "zadd"),
        "zincrby" => (SortedSet, "zincr"),
        "zrem" => (SortedSet, "zrem"),
        "zpopmin" | "bzpopmin" => (SortedSet, "zpopmin"),
        "zpopmax" | "bzpopmax" => (SortedSet, "zpopmax"),
        "zremrangebyrank" => (SortedSet, "zremrangebyrank"),
        "zremrangebyscore" => (SortedSet, "zremrangebyscore"),
        "zremrangebylex" => (SortedSet, "zremrangebylex"),
        "zrangestore" => (SortedSet, "zrangestore"),
        "zinterstore" => (SortedSet, "zinterstore"),
        "zunionstore" => (SortedSet, "zunionstore"),
        "zdiffstore" => (SortedSet, "zdiffstore"),
        "geosearchstore" => (SortedSet, "geosearchstore"),
        "georadius" | "georadiusbymember" => (SortedSet, "georadiusstore"),
        _ => (String, "set"),
    }
}

/// Whether that gives a key another value, whatever it was.
fn overwrites(class: EventClass, name: &str) -> bool {
    name == "set" || stores(class, name)
}

/// Whether that gives a key a collection that was made of others.
fn stores(class: EventClass, name: &str) -> bool {
    is_of_collection(class) && name.ends_with("store")
}

fn is_of_collection(class: EventClass) -> bool {
    matches!(class, EventClass::Hash | EventClass::List | EventClass::Set | EventClass::SortedSet | EventClass::Stream)
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

    /// Says what the command does to the key that it changes next, if it does different things to its keys: LMOVE pushes to one and pops
    /// from another.
    pub(crate) fn name_event(&mut self, class: EventClass, name: &'static str) {
        self.events.cause = Cause::Named(class, name);
    }

    /// Says something more of what the command does to a key.
    pub(crate) fn tell_also(&mut self, class: EventClass, name: &'static str, key: Key<'_>) {
        if self.events.is_on {
            self.push_event(class, name, key);
        }
    }

    fn push_event(&mut self, class: EventClass, name: &'static str, key: Key<'_>) {
        let event = Event { class, name, db: self.logical(key.db), key: key.bytes.into() };
        let list = match &mut self.overlay {
            // a transaction may come to nothing yet
            Some(overlay) => &mut overlay.told.events,
            None => &mut self.events.list,
        };
        // where a key has come from is told before where it has gone, if that is the same command's
        let other = match name {
            "rename_from" => "rename_to",
            "move_from" => "move_to",
            _ => return list.push(event),
        };
        let last = list.iter().rposition(|event| !matches!(event.name, "overwritten" | "type_changed"));
        let before = last.filter(|last| {
            let to = &list[*last];
            to.name == other && (to.db, &to.key) != (event.db, &event.key)
        });
        list.insert(before.unwrap_or(list.len()), event);
    }

    /// A key is what it was, as redis sees it, and somebody may hear of it all the same.
    fn note_aside(&mut self, key: Key<'_>, name: Option<&'static str>) {
        if let Some(name) = name.filter(|_| self.events.is_on && key.db != RESERVED) {
            self.push_event(EventClass::Stream, name, key);
        }
    }

    /// A key gets a value: whoever has asked what becomes of it is to know.
    #[cold]
    pub(crate) fn note_put(&mut self, key: Key<'_>, address: Address, expires_at_ms: Option<u64>, old: Lookup) {
        if let Cause::Aside(name) = self.events.cause {
            return self.note_aside(key, name);
        }
        self.watchers.touch(self.databases.logical(key.db), key.bytes);
        let kind = type_name(self.log.table().record(address).value());
        self.note_event_of_put(key, kind, expires_at_ms, old);
    }

    /// The same for a collection whose root stays where it is.
    #[cold]
    pub(crate) fn note_changed(&mut self, key: Key<'_>) {
        self.watchers.touch(self.databases.logical(key.db), key.bytes);
        if let Some(found) = self.peek(key).live() {
            self.note_event_of_put(key, type_name(self.value(found)), found.expires_at_ms, Lookup::Live(found));
        }
    }

    /// A key is as it was, and redis tells of it as of a change.
    pub(crate) fn note_same(&mut self, key: Key<'_>) {
        if self.events.is_on | self.tracking.is_on
            && let Some(found) = self.peek(key).live()
        {
            self.note_event_of_put(key, type_name(self.value(found)), found.expires_at_ms, Lookup::Live(found));
        }
    }

    /// `kind` is the new value's type.
    pub(crate) fn note_event_of_put(
        &mut self,
        key: Key<'_>,
        kind: &'static str,
        expires_at_ms: Option<u64>,
        old: Lookup,
    ) {
        if let Cause::Aside(name) = self.events.cause {
            return self.note_aside(key, name);
        }
        self.invalidate(key);
        let (class, name) = match self.events.cause {
            Cause::Command(id) => event_of(id, expires_at_ms.is_some()),
            Cause::Named(class, name) => (class, name),
            Cause::Fields => (EventClass::Hash, "hexpired"),
            Cause::Expiry | Cause::Eviction | Cause::Silent | Cause::Aside(_) | Cause::Known => return,
        };
        if !self.events.is_on || key.db == RESERVED {
            return;
        }
        // what comes from another key is new, and takes the place of what was there
        let is_transferred = matches!(name, "rename_to" | "copy_to" | "move_to" | "restore");
        let mut is_new = is_transferred;
        let changes_type = old.live().is_some_and(|found| type_name(self.value(found)) != kind);
        match old {
            Lookup::Live(_) if overwrites(class, name) => self.push_overwritten(key, changes_type),
            Lookup::Live(_) => {}
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
            self.push_overwritten(key, changes_type);
        }
        // SET alone may keep the expiry that there was
        let is_kept = self.events.cause == Cause::Command(CommandId::Set) && self.events.keeps_expiry;
        if name == "set" && expires_at_ms.is_some() && !is_kept {
            self.push_event(EventClass::Generic, "expire", key);
        }
    }

    fn push_overwritten(&mut self, key: Key<'_>, changes_type: bool) {
        self.push_event(EventClass::Overwritten, "overwritten", key);
        if changes_type {
            self.push_event(EventClass::TypeChanged, "type_changed", key);
        }
    }

    /// SET gives a key a value whose time is over. Redis has the value, and then finds that out; whether that is said.
    #[cold]
    pub(crate) fn note_set_expired(&mut self, key: Key<'_>, expires_at_ms: Option<u64>, old: Lookup) -> bool {
        if self.events.cause != Cause::Command(CommandId::Set) {
            return false;
        }
        self.note_event_of_put(key, "string", expires_at_ms, old);
        self.push_event(EventClass::Expired, "expired", key);
        true
    }

    /// A key goes: whoever has asked what becomes of it is to know.
    #[cold]
    pub(crate) fn note_gone(&mut self, key: Key<'_>) {
        self.watchers.touch(self.databases.logical(key.db), key.bytes);
        self.note_event_of_gone(key);
    }

    pub(crate) fn note_event_of_gone(&mut self, key: Key<'_>) {
        self.invalidate(key);
        if !self.events.is_on || key.db == RESERVED {
            return;
        }
        let (class, name) = match self.events.cause {
            Cause::Command(id) => event_of(id, false),
            Cause::Named(class, name) => (class, name),
            Cause::Fields => (EventClass::Hash, "hexpired"),
            Cause::Expiry => return self.push_event(EventClass::Expired, "expired", key),
            Cause::Eviction => return self.push_event(EventClass::Evicted, "evicted", key),
            Cause::Silent | Cause::Aside(_) | Cause::Known => return,
        };
        match name {
            "rename_to" => return self.push_event(EventClass::Generic, "rename_from", key),
            "move_to" => return self.push_event(EventClass::Generic, "move_from", key),
            // its last element has gone, and it with that
            _ if is_of_collection(class) && !stores(class, name) => self.push_event(class, name, key),
            _ => {}
        }
        self.push_event(EventClass::Generic, "del", key);
    }

    /// A key was read that is not there. A write that looks for one misses nothing.
    #[cold]
    pub(crate) fn note_miss(&mut self, key: Key<'_>) {
        if self.events.is_on && matches!(self.events.cause, Cause::Command(_) | Cause::Named(..)) {
            self.push_event(EventClass::Miss, "keymiss", key);
        }
    }

    /// A transaction counts: so does what has become of keys in it.
    pub(crate) fn tell(&mut self, told: &Told) {
        self.events.list.extend_from_slice(&told.events);
        told.tracked.iter().for_each(|tracked| self.tracking.apply(tracked));
    }
}
