//! Which database is which: SWAPDB swaps two numbers and moves nothing.
//!
//! ```text
//!  SWAPDB 0 2      clients name    0   1   2   3 ...        *logical*
//!                                    \\  |  /    |
//!                  records have    0   1   2   3 ...        *physical*
//! ```
//!
//! A physical number is what records, entries of the index, floors and counts have. A logical one is what clients give, and so what keys are
//! locked, counted as being written (D6) and watched by: all of that stays as it is when two are swapped. The map is a
//! record like any other, of a database that no client can name: what keeps a record safe keeps it. Each partition has its own.

use emberkv_log::disk::Disk;
#[cfg(any(test, feature = "sim"))]
use emberkv_log::plant::{self, Plant};
use emberkv_log::{DbId, Entry, Purpose, Value};
use emberkv_resp::{Args, format};

use crate::lookup::{Key, Lookup};
use crate::partition::Partition;
use crate::stop::Stop;

/// The database of what a partition keeps for itself. Clients have those before it.
pub const RESERVED: DbId = DbId(255);
/// The key of the map.
pub(crate) const MAP_KEY: &[u8] = b"databases";

/// See the module.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Databases {
    physical: [u8; 256],
    logical: [u8; 256],
}

impl Databases {
    /// None was ever swapped.
    pub fn new() -> Self {
        let same = std::array::from_fn(|db| db as u8);
        Self { physical: same, logical: same }
    }

    /// The number that records have of a database that a client names.
    #[inline]
    pub fn physical(&self, db: DbId) -> DbId {
        DbId(self.physical[usize::from(db.0)])
    }

    /// The number that clients give a database which records name.
    #[inline]
    pub fn logical(&self, db: DbId) -> DbId {
        DbId(self.logical[usize::from(db.0)])
    }

    pub fn swap(&mut self, a: DbId, b: DbId) {
        self.physical.swap(a.0.into(), b.0.into());
        for db in [a, b] {
            self.logical[usize::from(self.physical[usize::from(db.0)])] = db.0;
        }
    }

    /// The map's record: the physical numbers of logical 0, 1, ...; those that are left out are the same.
    fn to_bytes(&self) -> Vec<u8> {
        let len = (0..256).rev().find(|db| usize::from(self.physical[*db]) != *db).map_or(0, |last| last + 1);
        self.physical[..len].to_vec()
    }

    /// Reads the map's record; `None` if it is none.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let mut databases = Self::new();
        databases.physical.get_mut(..bytes.len())?.copy_from_slice(bytes);
        let mut seen = [false; 256];
        for (logical, physical) in databases.physical.iter().enumerate() {
            if std::mem::replace(&mut seen[usize::from(*physical)], true) {
                return None;
            }
            databases.logical[usize::from(*physical)] = logical as u8;
        }
        (databases.physical(RESERVED) == RESERVED).then_some(databases)
    }
}

/// SWAPDB's databases, of so many.
pub(crate) fn parse_swap(args: Args<'_>, databases: usize) -> Result<(DbId, DbId), Stop> {
    let number = |text: &[u8], error| {
        let index = format::parse_integer(text).and_then(|index| i32::try_from(index).ok());
        index.ok_or(Stop::error(error))
    };
    let a = number(args.at(1), "ERR invalid first DB index")?;
    let b = number(args.at(2), "ERR invalid second DB index")?;
    let db = |index| u8::try_from(index).ok().filter(|index| usize::from(*index) < databases).map(DbId);
    db(a).zip(db(b)).ok_or(Stop::error("ERR DB index is out of range"))
}

impl<D: Disk> Partition<D> {
    /// As the transaction that is executed has it.
    fn databases(&self) -> &Databases {
        self.overlay.as_ref().and_then(|overlay| overlay.databases.as_ref()).unwrap_or(&self.databases)
    }

    /// The number that records have of a database that a client names.
    pub(crate) fn physical(&self, db: DbId) -> DbId {
        self.databases().physical(db)
    }

    /// The number that clients give a database which records name.
    pub(crate) fn logical(&self, db: DbId) -> DbId {
        self.databases().logical(db)
    }

    /// Swaps two databases, within a transaction: nobody may find the one in place of the other before no crash takes that back (X8).
    pub(crate) fn swap(&mut self, a: DbId, b: DbId) -> Result<(), Stop> {
        if a == b {
            return Ok(());
        }
        let mut databases = self.databases().clone();
        databases.swap(a, b);
        let bytes = databases.to_bytes();
        let key = self.key(RESERVED, MAP_KEY);
        let value = Value::Bytes(&bytes);
        let put = Entry::Put { db: key.db, key: key.bytes, value, expires_at_ms: None };
        self.reserve(put.encoded_len() as u64, Purpose::Grow)?;
        let old = self.peek(key);
        self.put(key, value, None, old);
        let Some(overlay) = &mut self.overlay else { unreachable!("databases are swapped by transactions alone") };
        overlay.databases = Some(databases);
        Ok(())
    }

    /// The map is another one from now on. Whoever watches a key that may exist, before or after, has seen enough.
    pub(crate) fn set_databases(&mut self, databases: Databases) {
        if databases == self.databases {
            return;
        }
        if !self.watchers.is_empty() {
            let moves = |db: DbId| self.databases.physical(db) != databases.physical(db);
            let hit = self.watchers.names(|(db, key)| {
                let exists = |db| self.may_exist(self.key(db, key));
                moves(*db) && (exists(self.databases.physical(*db)) || exists(databases.physical(*db)))
            });
            #[cfg(any(test, feature = "sim"))]
            let hit = if plant::is(Plant::X8Watch) { Vec::new() } else { hit };
            hit.iter().for_each(|(db, key)| self.watchers.touch(*db, key));
        }
        if let Some(published) = &self.published {
            published.swaps.publish(|db| databases.physical(db));
        }
        if !self.waiters.is_empty() {
            let moves = |db: DbId| self.databases.physical(db) != databases.physical(db);
            self.waiters.note_all(moves);
        }
        self.databases = databases;
    }

    /// Whether a key is there, or one whose record is not in memory and can't be asked.
    pub(crate) fn may_exist(&self, key: Key<'_>) -> bool {
        let table = self.log.table();
        self.index.candidates(key.fingerprint).any(|(_, address)| !table.is_resident(address))
            || matches!(self.peek(key), Lookup::Live(_))
    }
}

#[cfg(test)]
mod tests {
    use emberkv_log::disk::sim::Choices;

    use super::*;

    #[test]
    fn a_map_is_read_as_it_was_written() {
        let mut choices = Choices::new(1);
        let mut databases = Databases::new();
        assert!(databases.to_bytes().is_empty());
        for _ in 0..500 {
            let [a, b] = [0, 0].map(|_: i32| DbId(choices.below(255) as u8));
            databases.swap(a, b);
            assert_eq!(Databases::from_bytes(&databases.to_bytes()), Some(databases.clone()));
            assert_eq!(databases.logical(databases.physical(a)), a);
        }
    }

    #[test]
    fn what_is_no_map_is_refused() {
        for bytes in [&[1][..], &[0, 1, 1], &[255], &[0; 300]] {
            assert_eq!(Databases::from_bytes(bytes), None, "{bytes:?}");
        }
        let last: Vec<u8> = (0..255).chain([0]).collect();
        assert_eq!(Databases::from_bytes(&last), None);
    }
}
