//! The partitions that a core owns: it alone writes them.

use std::sync::Arc;

use emberkv_engine::{Partition, PartitionReader};
use emberkv_log::disk::real::RealDisk;
use emberkv_log::{Horizon, LogPosition};

use crate::core::direct::DirectTail;
use crate::core::route::Map;

/// See the module.
#[derive(Debug)]
pub(crate) struct Owned {
    pub list: Vec<Own>,
    /// The data set's.
    pub horizon: Arc<Horizon>,
    /// For each partition of the data set, how to read it without its owner; none, if that is not to be done.
    pub readers: Vec<PartitionReader>,
    pub map: Map,
}

/// One of them.
#[derive(Debug)]
pub(crate) struct Own {
    /// Its number in the data set.
    pub number: u16,
    pub partition: Partition<RealDisk>,
    /// Past the page cache, for `appendfsync always`.
    pub direct: DirectTail,
    /// Whether memory for the index's growth was asked for.
    pub reserve_asked: bool,
}

impl Own {
    pub fn new(number: u16, partition: Partition<RealDisk>) -> Self {
        Self { number, partition, direct: DirectTail::default(), reserve_asked: false }
    }
}

impl Owned {
    /// Writes down up to where the promise of the sync policy is kept, for this core and for others; returns whether
    /// that has changed.
    pub fn gates(&mut self, gates: &mut Vec<LogPosition>) -> bool {
        gates.resize(self.list.len(), LogPosition(0));
        let mut moved = false;
        for (gate, own) in gates.iter_mut().zip(&mut self.list) {
            let now = own.partition.log().gate();
            if std::mem::replace(gate, now) != now {
                moved = true;
                own.partition.publish();
            }
        }
        moved
    }

    /// Counts what may let a waiting command go on: changes when the log of any of them has moved.
    pub fn progress(&self) -> u64 {
        self.list.iter().map(|own| own.partition.log().progress()).sum()
    }

    /// Whether a log takes no writes any more.
    pub fn is_read_only(&self) -> bool {
        self.list.iter().any(|own| own.partition.log().read_only().is_some())
    }
}
