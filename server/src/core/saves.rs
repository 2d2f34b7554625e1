//! Checkpoints: when they are taken, and who waits for them.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::config::SavePoint;
use crate::core::gather::{GatherId, SAVES_ALREADY, Told};
use crate::core::message::{CoreId, Message};
use crate::core::shard::{Data, Shard};
use crate::core::turn::Core;
use crate::driver::{Driver, Wait};

/// Pages of the index that a turn copies, of some 50 KiB each: 10 to 20 microseconds for one.
const PAGES_PER_TURN: usize = 2;
/// The same if nothing else is to be done.
const PAGES_WHEN_IDLE: usize = 8;
/// And at the end of the server.
const PAGES_AT_END: usize = 64;

/// How long after one that `save` has begun the next may be, in seconds: as in redis.
const RETRY_S: u64 = 5;

/// How long the end of the server may take for it: the next start does without.
const AT_END: Duration = Duration::from_secs(20);

/// What all cores know of checkpoints together.
#[derive(Debug, Default)]
pub(crate) struct SharedSaves {
    /// Changes that are in no checkpoint, of all partitions.
    changes: AtomicU64,
    /// When the last was taken, in seconds since 1970; 0 if there was none since the start.
    last_s: AtomicU64,
    /// The same by the server's own time, which no setting of the wall clock moves; 0 for its start.
    last_up_s: AtomicU64,
    /// Before this, by the same, `save` begins none.
    not_before_s: AtomicU64,
}

/// What a core knows.
#[derive(Debug, Default)]
pub(crate) struct Saves {
    /// SAVEs that are answered when this core's partitions have one.
    waiting: Vec<GatherId>,
    /// Changes of this core's partitions, as all were told last.
    told_changes: u64,
    was_under_way: bool,
}

impl Shard {
    /// When the last checkpoint was taken, or the server was started: in seconds since 1970.
    pub fn last_save_s(&self) -> u64 {
        match self.peers.saves.last_s.load(Ordering::Relaxed) {
            0 => self.facts.started_ms / 1000,
            last_s => last_s,
        }
    }

    /// Has a checkpoint of each partition here taken; false if one of them is at it.
    pub fn begin_saving(&mut self) -> bool {
        let mut begins = true;
        for own in self.owned().into_iter().flat_map(|owned| &mut owned.list) {
            begins &= own.partition.begin_checkpoint();
        }
        begins
    }

    /// As [`Shard::begin_saving`], for one who waits.
    pub fn save_for(&mut self, gather: GatherId) -> Option<Told> {
        if !self.begin_saving() {
            return Some(Told::Saves(Err(SAVES_ALREADY)));
        }
        self.saves.waiting.push(gather);
        None
    }

    /// Goes on with checkpoints; once a turn. Returns whether more can be done at once.
    pub fn save_some(&mut self, is_idle: bool) -> bool {
        let pages = if is_idle { PAGES_WHEN_IDLE } else { PAGES_PER_TURN };
        let Data::Ready(owned) = &mut self.data else { return false };
        let (mut more, mut under_way) = (false, false);
        for own in &mut owned.list {
            more |= own.partition.save_some(pages);
            under_way |= own.partition.is_saving();
        }
        let ended = std::mem::replace(&mut self.saves.was_under_way, under_way) || !self.saves.waiting.is_empty();
        if ended && !under_way {
            let result = self.note_saved();
            for gather in std::mem::take(&mut self.saves.waiting) {
                let told = Told::Saves(result);
                if gather.core == self.me {
                    self.told(gather, told);
                } else {
                    self.peers.send(gather.core, Message::Told { gather, told });
                }
            }
        }
        more
    }

    /// What has become of the checkpoints here, now that none is under way.
    fn note_saved(&self) -> Result<(), &'static str> {
        let Data::Ready(owned) = &self.data else { return Ok(()) };
        if owned.list.iter().any(|own| own.partition.checkpoint_stats().has_failed) {
            return Err("ERR the checkpoint can't be written, see the log");
        }
        self.peers.saves.last_s.store(self.now_ms / 1000, Ordering::Relaxed);
        self.peers.saves.last_up_s.fetch_max(self.up_ms / 1000, Ordering::Relaxed);
        Ok(())
    }

    /// Once a second: begins what the `save` directives ask for.
    pub fn check_save_points(&mut self) {
        let Data::Ready(owned) = &self.data else { return };
        let changes = owned.list.iter().map(|own| own.partition.checkpoint_stats().changes).sum();
        let before = std::mem::replace(&mut self.saves.told_changes, changes);
        // all cores' counts make one; each adds what its own has become more, or less
        self.peers.saves.changes.fetch_add(changes.wrapping_sub(before), Ordering::Relaxed);
        if self.me != CoreId::FIRST {
            return;
        }
        let (saves, up_s) = (&self.peers.saves, self.up_ms / 1000);
        let last_s = saves.last_up_s.load(Ordering::Relaxed);
        let changes = saves.changes.load(Ordering::Relaxed);
        let is_reached = |point: &SavePoint| up_s.saturating_sub(last_s) >= point.seconds && changes >= point.changes;
        let is_due = self.config.save.iter().any(is_reached) && up_s >= saves.not_before_s.load(Ordering::Relaxed);
        if is_due {
            saves.not_before_s.store(up_s + RETRY_S, Ordering::Relaxed);
            tracing::debug!(changes, "a checkpoint is due, by save");
            for core in self.peers.others(self.me) {
                self.peers.send(core, Message::Save);
            }
            self.begin_saving();
        }
    }
}

impl<D: Driver> Core<D> {
    /// Takes a last checkpoint of what has changed, so that the next start need not replay it.
    pub fn save_at_end(&mut self) -> io::Result<()> {
        let until = Instant::now() + AT_END;
        for own in self.shard.owned().into_iter().flat_map(|owned| &mut owned.list) {
            let log = own.partition.log_mut();
            // a follower's log goes on where its primary's does, and nobody tells it any more what is settled there
            let is_fresh = !log.is_follower() && log.begin_fresh_head();
            if log.is_follower() && log.horizon().horizon() < log.horizon().next() {
                continue;
            }
            if (is_fresh || log.tail() > log.last_checkpoint()) && log.read_only().is_none() {
                own.partition.begin_checkpoint();
            }
        }
        loop {
            let is_woken = !self.shard.peers.sleep(self.shard.me);
            let timeout = if is_woken { Duration::ZERO } else { Duration::from_millis(100) };
            let (mut under_way, mut more) = (false, false);
            for own in self.shard.owned().into_iter().flat_map(|owned| &mut owned.list) {
                while Instant::now() < until && own.partition.sweep(1 << 12) {}
                more |= own.partition.save_some(PAGES_AT_END);
                under_way |= own.partition.is_saving();
                own.partition.log_mut().end_turn();
            }
            if !under_way || Instant::now() > until {
                return Ok(());
            }
            let timeout = if more { Duration::ZERO } else { timeout };
            self.finish_jobs(Wait { timeout, gather_time: Duration::ZERO, gather_events: 0 })?;
        }
    }
}
