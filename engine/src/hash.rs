//! From a key to its fingerprint.

use emberkv_index::Fingerprint;
use emberkv_log::DbId;
use xxhash_rust::xxh3::xxh3_64_with_seed;

/// The data set's key hash: secret, so that nobody can send keys that collide on purpose.
#[derive(Clone, Copy, Debug)]
pub(crate) struct KeyHasher {
    seed: u64,
}

impl KeyHasher {
    pub fn new(seed: u64) -> Self {
        Self { seed }
    }

    /// The hash of a key of a database.
    #[inline]
    pub fn hash(self, db: DbId, key: &[u8]) -> u64 {
        // the same key in two databases is two keys
        let seed = self.seed ^ u64::from(db.0).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        xxh3_64_with_seed(key, seed)
    }

    /// The fingerprint of a key of a database.
    #[inline]
    pub fn fingerprint(self, db: DbId, key: &[u8]) -> Fingerprint {
        Fingerprint::from_hash(self.hash(db, key))
    }
}
