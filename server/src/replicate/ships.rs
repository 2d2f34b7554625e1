//! The logs of all partitions, for whichever core is asked for them.

use std::sync::Arc;

use emberkv_engine::Partition;
use emberkv_log::disk::real::RealDisk;
use emberkv_log::{AddressSplit, LogPosition, Origin, Shipping, TxId};

/// See the module.
#[derive(Debug)]
pub(crate) struct Ships {
    dataset: u64,
    hash_seed: u64,
    split: AddressSplit,
    logs: Vec<Arc<Shipping>>,
    replid: String,
}

impl Ships {
    /// Those of a data set that was opened.
    pub fn of(partitions: &[Partition<RealDisk>]) -> Self {
        let first = partitions[0].log(); // there is no data set without partitions
        Self {
            dataset: first.dataset(),
            hash_seed: first.hash_seed(),
            split: first.table().split(),
            logs: partitions.iter().map(|partition| Arc::clone(partition.log().shipping())).collect(),
            replid: replid(first.dataset(), first.life()),
        }
    }

    /// What a replica has to know; `None` while a partition's first turn has not ended. `horizon`: what says of lower transactions that they
    /// are settled lies before the gates.
    pub fn origin(&self, horizon: TxId) -> Option<Origin> {
        let logs = self.logs.iter().map(|shipping| shipping.log()).collect::<Option<_>>()?;
        Some(Origin { dataset: self.dataset, hash_seed: self.hash_seed, split: self.split, horizon, logs })
    }

    /// A partition's log.
    pub fn log(&self, partition: usize) -> Option<&Arc<Shipping>> {
        self.logs.get(partition)
    }

    /// All of them.
    pub fn logs(&self) -> &[Arc<Shipping>] {
        &self.logs
    }

    /// Up to where each may be read.
    pub fn gates(&self) -> impl Iterator<Item = LogPosition> {
        self.logs.iter().map(|shipping| shipping.gate())
    }

    /// What redis calls the replication id: another one after each start, the same here and at those who follow.
    pub fn replid(&self) -> &str {
        &self.replid
    }
}

/// Forty digits that name a life of a data set.
pub(crate) fn replid(dataset: u64, life: u64) -> String {
    format!("{dataset:016x}{life:016x}{:08x}", mixed(dataset, life))
}

/// So that all forty differ.
fn mixed(dataset: u64, life: u64) -> u32 {
    (dataset.rotate_left(17) ^ life).wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_shr(32) as u32
}
