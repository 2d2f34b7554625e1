//! What is looked at now and then, not every turn.

use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::core::connection::{Fate, Stall};
use crate::core::message::CoreId;
use crate::core::owned::Own;
use crate::core::shard::{Data, Shard};
use crate::driver::{ConnId, Driver};

/// How often, in ms.
const PERIOD_MS: u64 = 100;

/// Keys that one turn removes because they have expired, so that a turn stays short.
pub(crate) const EXPIRE_PER_TURN: usize = 256;

/// Entries of a flushed database that one turn looks at.
const SWEEP_PER_TURN: usize = 1024;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Cron {
    next_ms: u64,
    second: u64,
}

impl Cron {
    /// How long until something is due. All times are the server's own, which no setting of the wall clock moves.
    pub fn due_in(&self, up_ms: u64) -> Duration {
        Duration::from_millis(if up_ms < self.next_ms { self.next_ms - up_ms } else { PERIOD_MS })
    }

    fn next_after(up_ms: u64) -> u64 {
        (up_ms / PERIOD_MS + 1) * PERIOD_MS
    }

    /// Does what is due.
    pub fn run<D: Driver>(&mut self, shard: &mut Shard, driver: &mut D) {
        if shard.up_ms < self.next_ms {
            return;
        }
        self.next_ms = Self::next_after(shard.up_ms);
        shard.stats.sample(shard.up_ms);
        shard.count_clients();
        shard.count_memory();
        let up_ms = shard.up_ms;
        for own in shard.owned().into_iter().flat_map(|owned| &mut owned.list) {
            let log = own.partition.log();
            own.lag.look(log.tail(), log.synced(), up_ms);
        }
        shard.drop_hopeless();
        shard.look_for_wants();
        shard.check_pause();
        shard.send_withheld(driver);
        // by the clock, which is one for all cores: all partitions sync in the same tick (X7)
        let second = shard.up_ms / 1000;
        if std::mem::replace(&mut self.second, second) != second {
            for own in shard.owned().into_iter().flat_map(|owned| &mut owned.list) {
                own.partition.log_mut().tick();
            }
            shard.settle_tracking();
            shard.check_save_points();
            if shard.me == CoreId::FIRST {
                shard.look_at_replicas();
            }
            shard.close_idle(driver);
            shard.check_output_limits();
        }
    }
}

impl Shard {
    /// Removes what has expired or was flushed, a slice of it, compacts what the turn has earned, more if it is idle, and goes
    /// on with checkpoints.
    /// Returns whether there is more to do at once.
    pub fn clear_away(&mut self, is_idle: bool) -> bool {
        let mut more = false;
        let may_expire = self.pause.is_none() && self.expires_actively;
        if self.link.is_some() {
            more |= self.follow_some(is_idle);
        }
        let is_quiet = self.is_quiet;
        // a follower's log has what its primary's has, and a log that is about to be closed begins nothing new
        let writes = |own: &&mut Own| !is_quiet && !own.partition.is_follower();
        for own in self.owned().into_iter().flat_map(|owned| &mut owned.list).filter(writes) {
            // what has expired is not there, but nothing is written while clients are paused
            more |= may_expire && own.partition.expire(EXPIRE_PER_TURN);
            more |= own.partition.sweep(SWEEP_PER_TURN);
            more |= own.partition.compact(is_idle);
            more |= own.partition.spill();
        }
        more |= self.save_some(is_idle);
        more
    }

    /// Has all partitions here compacted; false if all of them are at it.
    pub fn begin_compaction(&mut self) -> bool {
        let mut begins = false;
        let is_own = |own: &&mut Own| !own.partition.is_follower();
        for own in self.owned().into_iter().flat_map(|owned| &mut owned.list).filter(is_own) {
            begins |= own.partition.begin_full_compaction();
        }
        begins
    }

    /// Once the log is read-only, replies that wait for it never leave: their clients must not wait for ever.
    /// Whether what they asked for was done is not known, which is what a closed connection says.
    fn drop_hopeless(&mut self) {
        let Data::Ready(owned) = &self.data else { return };
        if !owned.is_read_only() {
            return;
        }
        let hopeless: Vec<bool> = owned.list.iter().map(|own| own.partition.log().read_only().is_some()).collect();
        self.peers.read_only.store(true, Ordering::Relaxed);
        for conn in &self.holding {
            if let Some(connection) = self.connections.get(*conn)
                && connection.pieces.is_hopeless(&self.gates, &hopeless)
            {
                self.condemned.push((*conn, connection.id));
            }
        }
        self.answer_visitors(&hopeless);
    }

    fn close_idle<D: Driver>(&mut self, driver: &mut D) {
        let limit_ms = u64::from(self.config.timeout) * 1000;
        let up_ms = self.up_ms;
        let replica_limit_ms = u64::from(self.config.repl_timeout) * 1000;
        let mut idle: Vec<ConnId> = Vec::new();
        for conn in self.connections.ids() {
            if let Some(connection) = self.connections.get_mut(conn) {
                let quiet = up_ms.saturating_sub(connection.last_seen_ms);
                if limit_ms > 0
                    && quiet > limit_ms
                    && connection.fate != Fate::Closing
                    && !matches!(
                        connection.stall,
                        Some(Stall::Log | Stall::Cold | Stall::Locked | Stall::Several | Stall::Paused)
                    )
                    && !connection.pieces.is_awaiting()
                    && connection.listening.is_none()
                    && !connection.monitors
                    && connection.pulling.is_none()
                {
                    idle.push(conn);
                } else if connection.pulling.is_some() && quiet > replica_limit_ms {
                    tracing::warn!(replica = connection.address, "a replica's connection is closed: it is silent");
                    idle.push(conn);
                } else if connection.query.is_empty() && connection.query.capacity() > 1 << 16 {
                    connection.query = Vec::new();
                }
            }
        }
        idle.extend(self.overdue_handshakes());
        for conn in idle {
            self.close_now(conn, driver);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cores_that_have_begun_at_different_times_are_due_at_the_same_ones() {
        let due_after = |began_ms: u64| {
            let cron = Cron { next_ms: Cron::next_after(began_ms), second: began_ms / 1000 };
            began_ms + cron.due_in(began_ms).as_millis() as u64
        };
        assert_eq!((due_after(12_345), due_after(12_399), due_after(12_400)), (12_400, 12_400, 12_500));
    }
}
