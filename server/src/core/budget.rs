//! What `maxmemory` allows, and what follows from that: what is used, once a turn, against what may be.

use emberkv_engine::{EvictionOrder, EvictionPolicy as Policy, Memory, Shortage};

use crate::config::EvictionPolicy;
use crate::core::connection::Connection;
use crate::core::shard::{Data, Shard};

/// What a new data set's segments have, if nobody says otherwise.
const SEGMENT_BYTES: u64 = 64 << 20;

/// And the least that they have while little lives in a log.
pub(crate) const LEAST_SEGMENT_BYTES: u64 = 4 << 20;

/// Smaller ones are not chosen: each has its file, and its entry in the manifest.
const MIN_SEGMENT_BYTES: u64 = 1 << 20;

/// So many segments of each partition fit into `maxmemory`, at least: memory is given back a segment at a time, and a log needs some
/// beside those that hold its data (its head, the next one, one that is being emptied).
const SEGMENTS_IN_MEMORY: u64 = 64;

/// And of all partitions: the manifest, which may list some 4,600, is written anew whenever one comes or goes. But always some of each.
const ALL_SEGMENTS_IN_MEMORY: u64 = 512;
const FEW_SEGMENTS: u64 = 8;

/// Memory is given back ahead of need: so many segments of each partition before the limit. A segment that is emptied is there only when its
/// removal is durable; until then the log goes on in these. Fewer, and clients wait for the disk; more, and fewer keys fit.
const SEGMENTS_AHEAD: u64 = 3;

/// Who adds data waits from here on: what is under way may still begin a segment.
const SEGMENTS_LEFT: u64 = 1;

/// But no more than one part in so many of what there is.
const MAX_AHEAD: u64 = 8;

/// What a core's memory is besides its partitions.
#[derive(Debug, Default)]
pub(crate) struct Budget {
    /// What clients' requests and replies take; looked at now and then.
    clients: u64,
    /// Whether partitions were told of a limit.
    is_bounded: bool,
}

/// How a policy looks to a partition; `None`: nothing gives way.
pub(crate) fn eviction_policy(policy: EvictionPolicy) -> Option<Policy> {
    let (volatile_only, order) = match policy {
        EvictionPolicy::VolatileLru => (true, EvictionOrder::Lru),
        EvictionPolicy::VolatileLfu => (true, EvictionOrder::Lfu),
        EvictionPolicy::VolatileRandom => (true, EvictionOrder::Random),
        EvictionPolicy::VolatileTtl => (true, EvictionOrder::Ttl),
        EvictionPolicy::AllKeysLru => (false, EvictionOrder::Lru),
        EvictionPolicy::AllKeysLfu => (false, EvictionOrder::Lfu),
        EvictionPolicy::AllKeysRandom => (false, EvictionOrder::Random),
        EvictionPolicy::NoEviction | EvictionPolicy::Spill => return None,
    };
    Some(Policy { volatile_only, order })
}

/// How short memory is: `used` of `max` bytes, of which `leaving` are on their way out; `segment`: the bytes of one of each partition.
fn shortage(used: u64, leaving: u64, max: u64, segment: u64, is_stuck: bool) -> Shortage {
    let ahead = (SEGMENTS_AHEAD * segment).min(max / MAX_AHEAD);
    if used > max - ahead / SEGMENTS_AHEAD * SEGMENTS_LEFT {
        return if is_stuck { Shortage::Hopeless } else { Shortage::Now };
    }
    if used.saturating_sub(leaving) > max - ahead { Shortage::Soon } else { Shortage::None }
}

impl Shard {
    /// Looks at what memory is used, and tells this core's partitions how short it is. All cores' counts, against the one limit: a core gives
    /// back out of its own partitions while all together use too much.
    pub fn mind_memory(&mut self) {
        let max = self.config.maxmemory;
        if max == 0 && !self.budget.is_bounded {
            return;
        }
        self.budget.is_bounded = max > 0;
        self.count_memory();
        let Data::Ready(owned) = &mut self.data else { return };
        let Some(first) = owned.list.first() else { return };
        let segment = first.partition.log().segment_size() * u64::from(owned.map.partitions());
        let (used, leaving, is_stuck) = self.peers.used_memory();
        let used = used + self.facts.startup_bytes;
        // spill has the budget of each partition, and its own way to keep it
        let is_unbounded = max == 0 || self.config.maxmemory_policy == EvictionPolicy::Spill;
        let shortage = if is_unbounded { Shortage::None } else { shortage(used, leaving, max, segment, is_stuck) };
        for own in &mut owned.list {
            own.partition.set_shortage(shortage);
        }
    }

    /// Tells the other cores what this one uses.
    pub fn count_memory(&mut self) {
        let Data::Ready(owned) = &self.data else { return };
        let (mut used, mut leaving, mut is_stuck) = (self.budget.clients, 0, true);
        for own in &owned.list {
            let memory: Memory = own.partition.memory();
            used += memory.total();
            leaving += memory.leaving;
            is_stuck &= own.partition.is_stuck();
        }
        self.peers.tell_memory(self.me, used, leaving, is_stuck);
    }

    /// Looks at what clients take: now and then, as there may be many.
    pub fn count_clients(&mut self) {
        self.budget.clients = self.connections.iter().map(Connection::memory_bytes).sum::<usize>() as u64;
    }

    /// What clients of this core took when that was looked at last.
    pub fn client_bytes(&self) -> u64 {
        self.budget.clients
    }
}

/// The segment size of a data set that is created now, with so many partitions; `asked` is what the configuration says.
pub(crate) fn new_segment_size(asked: u64, maxmemory: u64, partitions: u16) -> u64 {
    if asked != 0 {
        return asked;
    }
    if maxmemory == 0 {
        return SEGMENT_BYTES;
    }
    let partitions = u64::from(partitions.max(1));
    let segments = (ALL_SEGMENTS_IN_MEMORY / partitions).clamp(FEW_SEGMENTS, SEGMENTS_IN_MEMORY);
    let fits = maxmemory / partitions / segments;
    let power_of_two = fits.checked_ilog2().map_or(0, |bits| 1 << bits);
    power_of_two.clamp(MIN_SEGMENT_BYTES, SEGMENT_BYTES)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_given_back_before_it_is_short() {
        let of = |used, leaving, is_stuck| shortage(used, leaving, 1000, 10, is_stuck);
        assert_eq!(of(970, 0, false), Shortage::None);
        assert_eq!(of(971, 0, false), Shortage::Soon);
        assert_eq!(of(990, 0, true), Shortage::Soon);
        assert_eq!(of(990, 30, false), Shortage::None, "that is coming");
        assert_eq!(of(991, 900, false), Shortage::Now);
        assert_eq!(of(991, 0, true), Shortage::Hopeless);
        assert_eq!(shortage(880, 0, 1000, 5000, false), Shortage::Soon, "no more than an eighth");
        assert_eq!(shortage(870, 0, 1000, 5000, false), Shortage::None);
    }

    #[test]
    fn segments_are_small_where_maxmemory_is() {
        let size = new_segment_size;
        const MIB: u64 = 1 << 20;
        assert_eq!(size(0, 0, 8), 64 * MIB);
        assert_eq!(size(0, 64 << 30, 8), 64 * MIB);
        assert_eq!(size(0, 4 << 30, 8), 8 * MIB);
        assert_eq!(size(0, 4 << 30, 64), 8 * MIB, "a large number of partitions has fewer of each");
        assert_eq!(size(0, 200 << 20, 1), 2 * MIB);
        assert_eq!(size(0, 100 << 20, 2), MIB);
        assert_eq!(size(0, 1, 1), MIB);
        assert_eq!(size(4 * MIB, 100 << 20, 1), 4 * MIB, "what was asked for counts");
    }
}
