//! WATCH: a mark that the owner of a key makes when the key is changed. It is looked at when EXEC has its locks.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};

use emberkv_log::DbId;
use emberkv_log::disk::Disk;

use crate::partition::Partition;

/// What a connection watches for. Whoever has it dropped, the owners forget it in time.
#[derive(Clone, Default, Debug)]
pub struct Watch(Arc<AtomicBool>);

impl Watch {
    /// Whether one of its keys was changed. To be asked by their owners, each for its own keys.
    pub fn is_dirty(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

impl Watch {
    /// The data are others: all of its keys are taken for changed.
    pub fn touch(&self) {
        self.0.store(true, Ordering::Release);
    }
}

impl PartialEq for Watch {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for Watch {}

/// Below so many keys nobody looks whether somebody still watches them.
const FEW: usize = 64;

/// A key in a database.
type Name = (DbId, Box<[u8]>);

/// Who watches which keys of a partition, by the names that clients have for them.
#[derive(Default, Debug)]
pub(crate) struct Watchers {
    keys: HashMap<Name, Vec<Weak<AtomicBool>>>,
    /// From so many entries on, those that nobody waits for any more are looked for.
    purge_at: usize,
    entries: usize,
}

impl Watchers {
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// How many entries there are, of those who have gone too.
    #[cfg(test)]
    pub fn len(&self) -> usize {
        self.entries
    }

    pub fn add(&mut self, db: DbId, key: &[u8], watch: &Watch) {
        if self.entries >= self.purge_at.max(FEW) {
            for watchers in self.keys.values_mut() {
                watchers.retain(|watch| watch.strong_count() > 0);
            }
            self.keys.retain(|_, watchers| !watchers.is_empty());
            self.entries = self.keys.values().map(Vec::len).sum();
            self.purge_at = 2 * self.entries;
        }
        self.entries += 1;
        self.keys.entry((db, key.into())).or_default().push(Arc::downgrade(&watch.0));
    }

    /// Those of the watched names that are `wanted`.
    pub fn names(&self, wanted: impl Fn(&Name) -> bool) -> Vec<Name> {
        self.keys.keys().filter(|name| wanted(name)).cloned().collect()
    }

    /// A key is changed: whoever watches it has seen enough.
    #[cold]
    pub fn touch(&mut self, db: DbId, key: &[u8]) {
        let watchers = self.keys.remove(&(db, key.into())).unwrap_or_default();
        self.entries -= watchers.len();
        for watch in watchers.iter().filter_map(Weak::upgrade) {
            watch.store(true, Ordering::Release);
        }
    }
}

impl<D: Disk> Partition<D> {
    /// One database is emptied, or all: keys that exist are changed by that, others are not.
    pub(crate) fn touch_watched(&mut self, db: Option<DbId>) {
        if self.watchers.is_empty() {
            return;
        }
        // one whose record is not in memory is taken for changed: a transaction is tried again for nothing
        let hit = self.watchers.names(|(other, key)| {
            let other = self.databases.physical(*other);
            db.is_none_or(|db| db == other) && self.may_exist(self.key(other, key))
        });
        hit.iter().for_each(|(db, key)| self.watchers.touch(*db, key));
    }
}
