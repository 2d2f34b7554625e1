//! The partitions that a core owns: it alone writes them.

use std::sync::Arc;
use std::sync::PoisonError;
use std::sync::atomic::Ordering;

use emberkv_engine::{Partition, PartitionReader};
use emberkv_log::disk::real::RealDisk;
use emberkv_log::{Horizon, LogPosition};

use crate::commands::sync_policy;
use crate::core::direct::DirectTail;
use crate::core::lag::Lag;
use crate::core::message::CoreId;
use crate::core::route::Map;
use crate::core::shard::{Data, Shard};
use crate::replicate::{Feed, Ships};

/// See the module.
#[derive(Debug)]
pub(crate) struct Owned {
    pub list: Vec<Own>,
    /// The data set's.
    pub horizon: Arc<Horizon>,
    /// For each partition of the data set, how to read it without its owner; none, if that is not to be done.
    pub readers: Vec<PartitionReader>,
    pub map: Map,
    /// All partitions' logs, for replicas.
    pub ships: Arc<Ships>,
    /// What feeds the partitions, if they follow a primary's.
    pub feed: Option<Arc<Feed>>,
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
    /// Bytes that the start has not read.
    pub unread_at_start: u64,
    /// For how long records wait to be synced.
    pub lag: Lag,
}

impl Own {
    pub fn new(number: u16, partition: Partition<RealDisk>) -> Self {
        let unread_at_start = partition.log().unread().bytes;
        Self {
            number,
            partition,
            direct: DirectTail::default(),
            reserve_asked: false,
            unread_at_start,
            lag: Lag::default(),
        }
    }
}

impl Shard {
    /// The loader has brought this core's partitions. They are served when all cores have theirs: a client that
    /// one core has answered is not told by another one that the data are being loaded.
    pub fn loaded(&mut self, owned: Box<Owned>) {
        self.to_serve = Some(owned);
        self.peers.loaded.fetch_add(1, Ordering::AcqRel);
        self.serve_if_all_are_loaded();
    }

    /// To be called before a request or message of another core is looked at: who has sent it may know that all are.
    #[inline]
    pub fn serve_if_all_are_loaded(&mut self) {
        if self.to_serve.is_some() && self.peers.loaded.load(Ordering::Acquire) == self.peers.len() {
            self.serve();
        }
    }

    /// A data set keeps the segment size that it was created with.
    fn take_segment_size(&mut self) {
        let Some(first) = self.owned().and_then(|owned| owned.list.first()) else { return };
        let size = first.partition.log().table().split().segment_size();
        let asked = std::mem::replace(&mut self.config.segment_size, size);
        if self.me == CoreId::FIRST {
            if asked != 0 && asked != size {
                tracing::warn!(asked, size, "the data set keeps the segment size that it was created with");
            }
            let mut shared = self.peers.config.lock().unwrap_or_else(PoisonError::into_inner);
            shared.config.segment_size = size;
        }
    }

    #[cold]
    fn serve(&mut self) {
        let Some(owned) = self.to_serve.take() else { return };
        let map = owned.map;
        self.is_single = map.is_single();
        self.data = Data::Ready(owned);
        let (now_ms, policy) = (self.now_ms, sync_policy(self.config.appendfsync));
        for own in self.owned().into_iter().flat_map(|owned| &mut owned.list) {
            own.partition.begin_turn(now_ms);
            // CONFIG SET may have changed it meanwhile
            own.partition.log_mut().set_policy(policy);
        }
        self.take_segment_size();
        self.apply_limits();
        self.settle_role();
        if self.me == CoreId::FIRST {
            let (cores, partitions, port) = (self.peers.len(), map.partitions(), self.facts.port);
            tracing::info!(driver = self.facts.driver, cores, partitions, port, "ready to accept connections");
            if let Some(feed) = self.owned().and_then(|owned| owned.feed.as_ref()) {
                feed.set_open();
            }
        }
    }
}

impl Data {
    /// Whether a large value goes on as soon as it is its turn again.
    pub fn is_filling(&self) -> bool {
        let Self::Ready(owned) = self else { return false };
        owned.list.iter().any(|own| own.partition.log().is_filling())
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
