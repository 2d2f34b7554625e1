//! Ordinary commands beside transactions: whether their keys are locked.

use emberkv_log::DbId;
use emberkv_log::disk::Disk;
#[cfg(any(test, feature = "sim"))]
use emberkv_log::plant::{self, Plant};
use emberkv_resp::schema::CommandId;

use super::{Step, misconf};
use crate::collections::LeafName;
use crate::group::Request;
use crate::locks::{KeyHash, Wants};
use crate::names::names;
use crate::partition::Partition;
use crate::stop::Stop;

impl<D: Disk> Partition<D> {
    /// By the name that clients have for it: between the lock and its grant databases may be swapped.
    pub(super) fn key_hash(&self, db: DbId, key: &[u8]) -> KeyHash {
        #[cfg(any(test, feature = "sim"))]
        let db = if plant::is(Plant::X8Names) { self.databases.physical(db) } else { db };
        KeyHash(self.hasher.hash(db, key))
    }

    /// Whether a transaction has the key of a record, so that nothing may be changed about it.
    pub(crate) fn is_locked(&self, db: DbId, key: &[u8]) -> bool {
        if self.locks.is_empty() {
            return false;
        }
        #[cfg(any(test, feature = "sim"))]
        let is_plain = plant::is(Plant::O6);
        #[cfg(not(any(test, feature = "sim")))]
        let is_plain = false;
        // a leaf is its collection's (O6)
        let (db, key) = match LeafName::of(db, key) {
            Some(name) if !is_plain => (name.db, name.key),
            _ => (db, key),
        };
        self.locks.is_held(self.key_hash(self.databases.logical(db), key))
    }

    /// The same by the name that clients have for a key, of a transaction that has looked at it already. One that has just got its locks has
    /// not: what is done now comes before it.
    pub(crate) fn is_in_use(&self, db: DbId, key: &[u8]) -> bool {
        if self.locks.is_empty() {
            return false;
        }
        let holder = self.locks.holder(self.key_hash(db, key));
        holder.is_some_and(|ticket| self.transactions.open.get(&ticket).is_none_or(|open| open.step != Step::Queued))
    }

    /// An ordinary command that touches what a transaction has must wait.
    ///
    /// # Errors
    /// [`Stop::Locked`], or an error if the transaction may never end.
    #[cold]
    pub(crate) fn check_locks(&mut self, request: Request<'_>) -> Result<(), Stop> {
        let wants = match request.id {
            CommandId::Dbsize
            | CommandId::Flushall
            | CommandId::Flushdb
            | CommandId::Keys
            | CommandId::Randomkey
            | CommandId::Scan => Wants::All,
            _ => match names(request) {
                Ok(names) => Wants::keys(names.map(|(db, key)| self.key_hash(db, key))),
                Err(_) => return Ok(()), // its arguments are wrong, and it will say so
            },
        };
        if !self.locks.turns_away(wants) {
            return Ok(());
        }
        match self.log.read_only() {
            Some(reason) => Err(Stop::Error(misconf(reason))),
            None => Err(Stop::Locked),
        }
    }
}
