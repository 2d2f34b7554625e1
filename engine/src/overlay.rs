//! What a transaction has changed so far, before any of it is appended (X2): its later commands see it, and nobody else.
//!
//! While a partition has an overlay, lookups ask it first, and puts, deletions and flushes go into it instead of into the log
//! and the index. At the end it holds one change for each key, whatever the commands were: that is what is appended.

use std::collections::HashMap;

use emberkv_index::SlotRef;
use emberkv_log::disk::Disk;
use emberkv_log::{Address, DbId, Entry, Purpose, Value};
use emberkv_resp::glob;

use crate::chunks::ChunkRoot;
use crate::collections::{LeafName, Root};
use crate::databases::{Databases, RESERVED};
use crate::events::{Cause, Told};
use crate::held::Held;
use crate::lookup::{Found, Key, Lookup};
use crate::partition::Partition;

/// The id of what has leaves.
fn root_id(held: &Held) -> Option<u64> {
    match held.value() {
        Value::Root(bytes) => Some(Root::read(bytes).id),
        Value::Chunked(bytes) => Some(ChunkRoot::read(bytes).id),
        Value::Bytes(_) | Value::Int(_) | Value::Packed(_) | Value::Whole(_) => None,
    }
}

/// One key's change; without a value it is gone.
#[derive(Debug)]
struct Change {
    db: DbId,
    key: Box<[u8]>,
    held: Option<Held>,
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Overlay {
    changes: Vec<Change>,
    places: HashMap<DbId, HashMap<Box<[u8]>, usize>>,
    /// Databases that are empty but for what was put after that, and whether all are.
    flushed: Vec<DbId>,
    flushed_all: bool,
    /// Which database is which, if that has changed.
    pub databases: Option<Databases>,
    /// What is told of keys when it counts.
    pub told: Told,
}

impl Overlay {
    /// What it knows of a key, if anything.
    pub fn peek(&self, key: Key<'_>, now_ms: u64) -> Option<Lookup> {
        let place = self.places.get(&key.db).and_then(|places| places.get(key.bytes));
        let Some(place) = place else {
            return self.is_flushed(key.db).then_some(Lookup::Absent);
        };
        let live = self.changes[*place].held.as_ref().filter(|held| held.expires_at_ms().is_none_or(|ms| ms > now_ms));
        Some(live.map_or(Lookup::Absent, |held| {
            // never an address of the log's: it is only looked at together with the slot
            let address = Address::from_raw(*place as u64 + 1);
            let (expires_at_ms, kind) = (held.expires_at_ms(), held.kind());
            Lookup::Live(Found { slot: SlotRef::NOWHERE, address, len: 0, expires_at_ms, kind })
        }))
    }

    /// The value of what [`Overlay::peek`] has found.
    pub fn value(&self, found: Found) -> Option<Value<'_>> {
        if found.slot != SlotRef::NOWHERE {
            return None;
        }
        let change = self.changes.get(found.address.raw() as usize - 1)?;
        change.held.as_ref().map(Held::value)
    }

    /// The key of what [`Overlay::peek`] has found.
    pub fn name(&self, found: Found) -> Option<(DbId, &[u8])> {
        if found.slot != SlotRef::NOWHERE {
            return None;
        }
        let change = self.changes.get(found.address.raw() as usize - 1)?;
        Some((change.db, &change.key))
    }

    pub fn put(&mut self, key: Key<'_>, value: Value<'_>, expires_at_ms: Option<u64>) {
        self.change(key, Some(Held::new(value, expires_at_ms)));
    }

    pub fn delete(&mut self, key: Key<'_>) {
        self.change(key, None);
    }

    fn change(&mut self, key: Key<'_>, held: Option<Held>) {
        let places = self.places.entry(key.db).or_default();
        if let Some(place) = places.get(key.bytes) {
            let old = std::mem::replace(&mut self.changes[*place].held, held);
            if let Some(id) = old.as_ref().and_then(root_id)
                && self.changes[*place].held.as_ref().and_then(root_id) != Some(id)
            {
                self.drop_leaves(|name| name.id == id);
            }
        } else {
            places.insert(key.bytes.into(), self.changes.len());
            self.changes.push(Change { db: key.db, key: key.bytes.into(), held });
        }
    }

    /// The keys of a database that were changed.
    pub fn keys_of(&self, db: DbId) -> impl Iterator<Item = &[u8]> {
        self.changes.iter().filter(move |change| change.db == db).map(|change| &*change.key)
    }

    /// Leaves of a collection that the transaction itself has made, or changed, and that is gone again: nobody is to have them (O5).
    fn drop_leaves(&mut self, is_gone: impl Fn(LeafName<'_>) -> bool) {
        for change in self.changes.iter_mut().filter(|change| change.db == RESERVED) {
            if LeafName::of(RESERVED, &change.key).is_some_and(&is_gone) {
                change.held = None;
            }
        }
    }

    /// Empties one database, or all.
    pub fn flush(&mut self, db: Option<DbId>) {
        let is_hit = |other: DbId| db.is_none_or(|db| db == other);
        for change in self.changes.iter_mut().filter(|change| is_hit(change.db)) {
            change.held = None;
        }
        self.drop_leaves(|name| is_hit(name.db));
        match db {
            Some(db) if !self.is_flushed(db) => self.flushed.push(db),
            Some(_) => {}
            None => {
                self.flushed_all = true;
                self.databases = Some(Databases::new());
            }
        }
    }

    fn is_flushed(&self, db: DbId) -> bool {
        self.flushed_all || self.flushed.contains(&db)
    }

    /// Whether a key that is in the index is to be seen there.
    pub fn shows(&self, db: DbId, key: &[u8]) -> bool {
        match self.places.get(&db).and_then(|places| places.get(key)) {
            Some(place) => self.changes[*place].held.is_some(),
            None => !self.is_flushed(db),
        }
    }
}

/// What an overlay comes to: first the floors, then a change for each key.
#[derive(Debug, Default)]
pub(crate) struct Effects {
    floors: Vec<Option<DbId>>,
    /// By their places in the overlay.
    changes: Vec<usize>,
}

impl Effects {
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub fn len(&self) -> usize {
        self.floors.len() + self.changes.len()
    }

    /// The records, in their order.
    pub fn entries<'a>(&'a self, overlay: &'a Overlay) -> impl Iterator<Item = Entry<'a>> + 'a {
        let floors = self.floors.iter().map(|db| Entry::Floor { db: *db });
        floors.chain(self.changes.iter().map(|place| overlay.changes[*place].entry()))
    }

    /// How many bytes the records take at most, and what for.
    pub fn size(&self, overlay: &Overlay) -> (u64, Purpose) {
        let bytes = self.entries(overlay).map(|entry| entry.encoded_len() as u64).sum();
        let purpose = if self.entries(overlay).any(|entry| matches!(entry, Entry::Put { .. })) {
            Purpose::Grow
        } else if self.changes.is_empty() {
            Purpose::Free
        } else {
            Purpose::Shrink
        };
        (bytes, purpose)
    }
}

impl Change {
    fn entry(&self) -> Entry<'_> {
        let (db, key) = (self.db, &*self.key);
        match &self.held {
            Some(held) => Entry::Put { db, key, value: held.value(), expires_at_ms: held.expires_at_ms() },
            None => Entry::Delete { db, key },
        }
    }
}

impl<D: Disk> Partition<D> {
    /// What an overlay comes to here; what it deletes and nobody has is left out.
    pub(crate) fn effects(&self, overlay: &Overlay) -> Effects {
        let floors =
            if overlay.flushed_all { vec![None] } else { overlay.flushed.iter().map(|db| Some(*db)).collect() };
        let counts = |change: &Change| change.held.is_some() || self.counts(overlay, change);
        let changes = overlay.changes.iter().enumerate().filter(|(_, change)| counts(change)).map(|(place, _)| place);
        Effects { floors, changes: changes.collect() }
    }

    /// How many keys a database has, as the transaction that is executed sees it.
    pub(crate) fn key_count(&self, db: DbId) -> u64 {
        let keys = self.dbs[usize::from(db.0)].keys;
        let Some(overlay) = &self.overlay else { return keys };
        let base = if overlay.is_flushed(db) { 0 } else { keys };
        let changes = overlay.changes.iter().filter(|change| change.db == db);
        changes.fold(base, |count, change| match (self.counts(overlay, change), &change.held) {
            (false, Some(_)) => count + 1,
            (true, None) => count - 1,
            _ => count,
        })
    }

    /// Whether a changed key is among those that the database counts without the change.
    fn counts(&self, overlay: &Overlay, change: &Change) -> bool {
        !overlay.is_flushed(change.db) && self.counted(self.key(change.db, &change.key)).is_some()
    }

    /// The entry of a key that its database counts: it lives, or has expired and nobody has removed it yet.
    pub(crate) fn counted(&self, key: Key<'_>) -> Option<Found> {
        match self.peek_below(key) {
            Lookup::Live(found) => Some(found),
            Lookup::Stale(found) => {
                let floor = self.floors[usize::from(key.db.0)];
                (self.log.table().position(found.address) >= floor).then_some(found)
            }
            Lookup::Absent => None,
        }
    }

    /// The keys of a database that only the overlay has.
    pub(crate) fn new_keys(&self, db: DbId, pattern: &[u8]) -> Vec<&[u8]> {
        let Some(overlay) = &self.overlay else { return Vec::new() };
        let is_live = |held: &Held| held.expires_at_ms().is_none_or(|ms| ms > self.now_ms);
        let is_new = |change: &&Change| {
            change.db == db
                && change.held.as_ref().is_some_and(is_live)
                && (overlay.is_flushed(db) || self.peek_below(self.key(db, &change.key)).live().is_none())
                && (pattern == b"*" || glob::matches(pattern, &change.key))
        };
        overlay.changes.iter().filter(is_new).map(|change| &*change.key).collect()
    }

    /// Carries effects out as ordinary changes, all into one frame. Room for them was reserved.
    pub(crate) fn apply(&mut self, overlay: &Overlay, effects: &Effects) {
        self.events.cause = Cause::Known;
        self.tell(&overlay.told);
        for entry in effects.entries(overlay) {
            match entry {
                Entry::Floor { db } => {
                    let address = self.log.append(&entry).address;
                    self.wait_for_write();
                    self.note_delete();
                    self.apply_floor(db, address);
                }
                Entry::Put { db, key, value, expires_at_ms } => {
                    let key = self.key(db, key);
                    let old = self.lookup_to_replace(key);
                    self.put(key, value, expires_at_ms, old);
                }
                Entry::Delete { db, key } => {
                    let key = self.key(db, key);
                    if let Some(found) = self.counted(key) {
                        self.delete(key, found);
                    }
                }
                _ => unreachable!("a transaction has no other effects"),
            }
        }
        if let Some(databases) = &overlay.databases {
            self.set_databases(databases.clone());
        }
    }
}
