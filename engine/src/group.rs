//! Requests, executed in groups: the cache misses of a pipeline overlap when all keys are hashed, all index
//! rows asked for, then all records, and only then the requests executed. The largest gain of all that was
//! measured.

use emberkv_index::Fingerprint;
use emberkv_log::disk::Disk;
use emberkv_log::{DbId, Whose};
use emberkv_resp::Args;
use emberkv_resp::schema::CommandId;

use crate::partition::Partition;

/// A command on data.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// Which command.
    pub id: CommandId,
    /// The connection's database.
    pub db: DbId,
    /// The arguments, the command's name first; their number was checked.
    pub args: Args<'a>,
    /// Whose it is: what is too large for a turn goes on where it was when the same request is tried again.
    pub whose: Whose,
}

impl<D: Disk> Partition<D> {
    /// The fingerprint of a key's name, which stays when databases are swapped: by which it is told from other keys that are
    /// being written.
    #[inline]
    pub fn name(&self, db: DbId, key: &[u8]) -> Fingerprint {
        self.hasher.fingerprint(db, key)
    }

    /// Asks for the index rows of a key that will be looked up soon.
    #[inline]
    pub fn prefetch_row(&self, db: DbId, key: &[u8]) -> Fingerprint {
        self.prefetch_physical(self.databases.physical(db), key)
    }

    /// The same with the number that records have of the database.
    #[inline]
    pub(crate) fn prefetch_physical(&self, db: DbId, key: &[u8]) -> Fingerprint {
        let fingerprint = self.hasher.fingerprint(db, key);
        self.index.prefetch(fingerprint);
        fingerprint
    }

    /// Asks for the records that the key may have, once its rows are there.
    #[inline]
    pub fn prefetch_record(&self, fingerprint: Fingerprint) {
        for (_, address) in self.index.candidates(fingerprint) {
            self.log.table().prefetch(address);
        }
    }
}
