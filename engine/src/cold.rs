//! Records that are not in memory: what a command looks at is brought first (M1).
//!
//! A command whose keys may be of such records stops with [`Stop::Cold`] and nothing done; it is tried again when those
//! have come. Entries that only share a tag with a key count too: which key they have is in the record.

use emberkv_index::{Fingerprint, ScanCursor};
use emberkv_log::disk::Disk;
#[cfg(any(test, feature = "sim"))]
use emberkv_log::plant::{self, Plant};
use emberkv_log::{Address, Bring, DbId};
use emberkv_resp::schema::CommandId;

use crate::group::Request;
use crate::names::names;
use crate::partition::Partition;
use crate::stop::Stop;

/// Entries of a walk whose records are wanted at the same time, when some are not in memory.
pub(crate) const COLD_STEP: usize = 256;

impl<D: Disk> Partition<D> {
    /// Has all records brought that a request will look at. Those that walk see to that on their way.
    ///
    /// # Errors
    /// [`Stop::Cold`] if not all of them are here; an error if one can't be read.
    #[inline(never)]
    pub(crate) fn bring_for(&mut self, request: Request<'_>) -> Result<(), Stop> {
        let args = request.args;
        if self.is_refused(request.id) {
            return Err(Stop::OUT_OF_MEMORY);
        }
        match request.id {
            CommandId::Get | CommandId::Set => {
                self.bring_keys(self.databases.physical(request.db), std::iter::once(args.at(1)))
            }
            CommandId::Dbsize
            | CommandId::Flushall
            | CommandId::Flushdb
            | CommandId::Keys
            | CommandId::Randomkey
            | CommandId::Scan => Ok(()),
            _ => match names(request) {
                Ok(names) => {
                    let names: Vec<_> = names.map(|(db, key)| (self.databases.physical(db), key)).collect();
                    self.bring_names(names.into_iter())
                }
                Err(_) => Ok(()), // its arguments are wrong, and it will say so
            },
        }
    }

    /// Has the records of these keys brought.
    ///
    /// # Errors
    /// As above.
    pub(crate) fn bring_keys<'a>(&mut self, db: DbId, keys: impl Iterator<Item = &'a [u8]>) -> Result<(), Stop> {
        self.bring_names(keys.map(|key| (db, key)))
    }

    /// Has the records of these keys brought. Those that are here stay while it is waited for the others: what a command needs may be more
    /// than is kept otherwise.
    ///
    /// # Errors
    /// As above.
    pub(crate) fn bring_names<K: AsRef<[u8]>>(&mut self, names: impl Iterator<Item = (DbId, K)>) -> Result<(), Stop> {
        let mut missing = None;
        let mut here = Vec::new();
        for (db, key) in names {
            let fingerprint = self.hasher.fingerprint(db, key.as_ref());
            missing = self.bring_fingerprint(fingerprint, &mut here)?.or(missing);
        }
        #[cfg(any(test, feature = "sim"))]
        if plant::is(Plant::M3) {
            return Ok(());
        }
        let Some(missing) = missing else { return Ok(()) };
        here.into_iter().for_each(|address| self.log.hold_kept(address));
        Err(Stop::Cold(missing))
    }

    /// Has the records brought that a key with this fingerprint may have; one of those that are not here yet. Those that are come to `here`.
    fn bring_fingerprint(
        &mut self,
        fingerprint: Fingerprint,
        here: &mut Vec<Address>,
    ) -> Result<Option<Address>, Stop> {
        let mut missing = None;
        let mut cold = None;
        for (_, address) in self.index.candidates(fingerprint) {
            if !self.log.table_mut().note_use(address) {
                cold.get_or_insert_with(Vec::new).push(address);
            }
        }
        for address in cold.into_iter().flatten() {
            if self.bring_and_count(address)? {
                here.push(address);
            } else {
                missing = Some(address);
            }
        }
        Ok(missing)
    }

    /// Begins to bring what a command will want that comes later.
    pub fn bring_ahead(&mut self, db: DbId, key: &[u8]) {
        if self.log.table().has_cold() {
            // if it fails the command will say so
            let _ = self.bring_keys(self.databases.physical(db), std::iter::once(key));
        }
    }

    /// Whether a command that stopped with [`Stop::Cold`] is still to wait.
    pub fn is_coming(&self, address: Address) -> bool {
        self.log.is_coming(address)
    }

    /// As [`Partition::bring`], for a key that somebody has named.
    fn bring_and_count(&mut self, address: Address) -> Result<bool, Stop> {
        let was_here = self.log.is_claimed(address);
        let is_here = self.bring(address)?;
        if is_here && !was_here {
            self.note_cold_read(address);
        }
        Ok(is_here)
    }

    /// Whether a record is here; if not, it will be.
    ///
    /// # Errors
    /// If it can't be read.
    pub(crate) fn bring(&mut self, address: Address) -> Result<bool, Stop> {
        let unreadable = |reason| Stop::Error(format!("MISCONF Errors reading the AOF file: {reason}").into());
        match self.log.bring(address) {
            Bring::Here { is_new: false } => Ok(true),
            Bring::Here { is_new: true } if self.is_its_own(address) => Ok(true),
            Bring::Here { is_new: true } => {
                self.log.refuse_kept(address);
                Err(unreadable("a record is not where it should be".to_owned()))
            }
            Bring::Coming => Ok(false),
            Bring::Failed(reason) => Err(unreadable(reason)),
        }
    }

    /// M2: a disk may have read, or written, elsewhere. The record that an entry refers to is a value whose key leads to
    /// that entry.
    fn is_its_own(&self, address: Address) -> bool {
        #[cfg(any(test, feature = "sim"))]
        if plant::is(Plant::M2) {
            return true;
        }
        let record = self.log.table().record(address);
        let fingerprint = self.hasher.fingerprint(record.db(), record.key());
        record.kind().is_put() && self.index.find(fingerprint, |other| other == address).is_some()
    }

    /// Has the records brought of the next `limit` entries of a walk, as far as they are `wanted`: one of those that are not
    /// here yet.
    ///
    /// # Errors
    /// If one can't be read.
    pub(crate) fn bring_step(
        &mut self,
        cursor: ScanCursor,
        limit: usize,
        wanted: impl Fn(&Self, Address) -> bool,
    ) -> Result<Option<Address>, Stop> {
        let mut cold = Vec::new();
        self.index.scan(cursor, limit, |_, address| {
            if !self.log.table().is_resident(address) && wanted(self, address) {
                cold.push(address);
            }
        });
        let mut missing = None;
        for address in cold {
            if !self.bring(address)? {
                missing = Some(address);
            }
        }
        Ok(missing)
    }

    /// Has the records brought that an expiry or a tombstone is to be judged by. `None` if one can't be read.
    pub(crate) fn bring_to_judge(&mut self, fingerprint: Fingerprint) -> Option<bool> {
        if !self.log.table().has_cold() {
            return Some(true);
        }
        let addresses: Vec<_> = self.index.candidates(fingerprint).map(|(_, address)| address).collect();
        let mut all = true;
        for address in addresses {
            all &= self.bring(address).ok()?;
        }
        Some(all)
    }
}
