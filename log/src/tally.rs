//! What the index's reference to a record counts for: bytes, and a key of its database.

use crate::record::{DbId, Record};

/// A record, as far as it is counted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Shape {
    /// Its bytes.
    pub len: usize,
    /// Whose key it is.
    pub db: DbId,
    /// When that expires.
    pub expires_at_ms: Option<u64>,
}

impl Shape {
    /// That of a value.
    #[inline]
    pub fn of(record: &Record<'_>) -> Self {
        Self { len: record.encoded_len(), db: record.db(), expires_at_ms: record.expires_at_ms() }
    }
}

/// The keys of one database whose newest record lies in one segment. Kept for each segment because a checkpoint's counts
/// are those of its time: what a segment counted for goes with it when it is gone at the next start (K3).
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Tally {
    /// Keys, those included that have expired or lie below a floor and were not removed yet.
    pub keys: u64,
    /// Keys that will expire.
    pub expires: u64,
    /// The sum of their expiry times, in ms since 1970.
    pub expiry_sum_ms: u128,
}

impl Tally {
    #[inline]
    fn add(&mut self, expires_at_ms: Option<u64>) {
        self.keys += 1;
        if let Some(ms) = expires_at_ms {
            self.expires += 1;
            self.expiry_sum_ms += u128::from(ms);
        }
    }

    #[inline]
    fn remove(&mut self, expires_at_ms: Option<u64>) {
        self.keys -= 1;
        if let Some(ms) = expires_at_ms {
            self.expires -= 1;
            self.expiry_sum_ms -= u128::from(ms);
        }
    }
}

/// The tallies of one segment, by database; those at the end that are zero may be missing.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub(crate) struct Tallies(pub Vec<Tally>);

impl Tallies {
    #[inline]
    pub fn add(&mut self, shape: Shape) {
        let db = usize::from(shape.db.0);
        if db >= self.0.len() {
            self.grow(db);
        }
        self.0[db].add(shape.expires_at_ms);
    }

    /// # Panics
    /// If it was never added.
    #[inline]
    pub fn remove(&mut self, shape: Shape) {
        self.0[usize::from(shape.db.0)].remove(shape.expires_at_ms);
    }

    #[cold]
    fn grow(&mut self, db: usize) {
        self.0.resize(db + 1, Tally::default());
    }
}
