//! Writes that wait because part of a transaction is not synced elsewhere (X7).
//!
//! A power loss that takes a part in another log ends this one at the mark, however much is synced behind it. So
//! nothing is built on a mark for long whose parts are not synced.

use crate::disk::Disk;
use crate::horizon::Step;
use crate::log::Log;
use crate::options::SyncPolicy;
use crate::room::Refusal;

/// For so many ticks writes go on behind a mark: for two seconds at least, as redis waits for a slow sync. A sync is begun
/// each second, so a disk on which it takes less than one is never waited for.
const TICKS: u32 = 3;

impl<D: Disk> Log<D> {
    /// Whether a mark here has been there for too long while its transaction is not settled.
    fn is_late(&self) -> bool {
        #[cfg(any(test, feature = "sim"))]
        if crate::plant::is(crate::plant::Plant::X7) {
            return false;
        }
        let ticks = match self.options.policy {
            // there is such a mark only after a change of policy: what is acknowledged behind it now is promised to be safe
            SyncPolicy::Always => 0,
            SyncPolicy::EverySec => TICKS,
            SyncPolicy::No => return false,
        };
        let is_old = |tick: u32| self.ticks.wrapping_sub(tick) >= ticks;
        // the first that is synced here, or else one that is not
        if let Some(tick) = self.horizon.oldest_mark(self.partition) {
            return is_old(tick);
        }
        let marks = self.unsynced_steps.iter().filter_map(|(_, ticket, step)| match step {
            Step::Mark { tick } => Some((*ticket, *tick)),
            Step::Counts => None,
        });
        marks.take_while(|(_, tick)| is_old(*tick)).any(|(ticket, _)| !self.horizon.is_settled(ticket))
    }

    /// Looks whether writes have to wait now. At each tick, and while they wait at the end of each turn: other threads sync
    /// the parts.
    pub(crate) fn check_late_parts(&mut self) {
        // a follower writes what was written already
        let waits = !self.is_follower() && self.is_late();
        if waits == self.waits_for_parts {
            return;
        }
        self.waits_for_parts = waits;
        if waits {
            tracing::warn!(
                partition = self.partition.0,
                "a transaction's part in another partition is not synced yet: writes wait"
            );
        }
        self.progress += 1;
        self.update_limits();
    }

    /// What a write is told meanwhile. Marks and aborts, and parts of transactions that have their locks and their room, go on: they are few.
    pub(crate) fn check_parts(&self) -> Result<(), Refusal> {
        if self.waits_for_parts { Err(Refusal::Wait) } else { Ok(()) }
    }
}
