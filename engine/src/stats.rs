//! What a partition counts.

/// Of one database.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct DbStats {
    /// Keys, those that have expired and were not removed yet included.
    pub keys: u64,
    /// Keys that will expire.
    pub expires: u64,
    /// The sum of their expiry times, in ms since 1970.
    pub expiry_sum_ms: u128,
}

impl DbStats {
    /// How long the keys that will expire have on average, in ms.
    pub fn average_ttl_ms(&self, now_ms: u64) -> u64 {
        if self.expires == 0 {
            return 0;
        }
        let average = self.expiry_sum_ms / u128::from(self.expires);
        u64::try_from(average).unwrap_or(u64::MAX).saturating_sub(now_ms)
    }

    pub(crate) fn add(&mut self, expires_at_ms: Option<u64>) {
        self.keys += 1;
        self.set_expiry(None, expires_at_ms);
    }

    pub(crate) fn remove(&mut self, expires_at_ms: Option<u64>) {
        self.keys -= 1;
        self.set_expiry(expires_at_ms, None);
    }

    #[inline]
    pub(crate) fn set_expiry(&mut self, old: Option<u64>, new: Option<u64>) {
        if let Some(ms) = old {
            self.expires -= 1;
            self.expiry_sum_ms -= u128::from(ms);
        }
        if let Some(ms) = new {
            self.expires += 1;
            self.expiry_sum_ms += u128::from(ms);
        }
    }
}

/// Of the whole partition, since the start.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Stats {
    /// Reads that found their key.
    pub hits: u64,
    /// Reads that did not.
    pub misses: u64,
    /// Keys that expired.
    pub expired: u64,
    /// Fields of hashes that expired.
    pub expired_fields: u64,
    /// Keys that were evicted.
    pub evicted: u64,
    /// Values that were long enough to be compressed.
    pub packing_values: u64,
    /// Their bytes.
    pub packing_bytes_in: u64,
    /// What was kept of them.
    pub packing_bytes_out: u64,
}
