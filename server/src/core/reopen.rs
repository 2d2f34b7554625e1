//! The data are opened otherwise while connections stay: so that they follow a primary's, or so that they are this server's own.
//!
//! ```text
//!   first core:  Settled --a wish--> Quieting --all are quiet--> Shutting --all are shut--> Loading --all have theirs--> Settled
//!                                       | Quiet                     | Shut                     | the loader: Loaded
//!   each core:   serves --------------- clients wait, what is ----- writes down all, closes ---'
//!                                       under way is answered       its partitions, answers
//!                                                                   -LOADING
//! ```
//!
//! If it does not grow quiet in time, clients go on with what they have, and it is tried again after a while.

use std::sync::Arc;
use std::sync::mpsc::SyncSender;
use std::time::{Duration, Instant};

use emberkv_log::{Origin, Progress};

use crate::core::connection::Stall;
use crate::core::ending::Ending;
use crate::core::message::{CoreId, Message};
use crate::core::shard::{Data, Shard};
use crate::core::tracking::Notice;
use crate::core::turn::Core;
use crate::driver::{ConnId, Driver};
use crate::loader::load;
use crate::replicate::Feed;

/// How long what is under way may take: a full disk may keep it for ever.
const QUIET_FOR: Duration = Duration::from_secs(5);

/// When it is tried again after that.
const AGAIN: Duration = Duration::from_secs(2);

/// What the data are opened as.
#[derive(Debug)]
pub(crate) enum Mode {
    /// This server's own.
    Primary,
    /// What another server has, and no more.
    Follower { origin: Box<Origin>, feed: Arc<Feed> },
    /// This server's own, which they are already; who wants that hears of it when they are served again.
    Again(SyncSender<()>),
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Reopening {
    stage: Stage,
    /// Of the first core: what comes next.
    wish: Option<Mode>,
    /// Not before this.
    not_before: Option<Instant>,
    /// Of each core: whether the first one was told that it is quiet.
    told: bool,
    /// Of each core: it is to close its partitions.
    shuts: Option<Arc<Progress>>,
    /// Of the first core: who hears when all have theirs.
    asker: Option<SyncSender<()>>,
}

#[derive(Debug, Default)]
enum Stage {
    /// All have what there is, or none has anything.
    #[default]
    Settled,
    Quieting {
        left: usize,
        until: Instant,
    },
    Shutting {
        left: usize,
        progress: Arc<Progress>,
    },
    Loading,
}

impl Reopening {
    /// The loader is under way.
    pub fn loading() -> Self {
        Self { stage: Stage::Loading, ..Self::default() }
    }

    /// The data are to be opened as this, when that can be done. It takes the place of what was to be done and has not begun.
    pub fn wish(&mut self, mode: Mode) {
        // one that changes nothing takes no other's place: whoever has asked hears that there was another
        if matches!(mode, Mode::Again(_)) && self.wish.is_some() {
            return;
        }
        (self.wish, self.not_before) = (Some(mode), None);
    }

    /// Another core is quiet, or has closed its partitions.
    pub fn note_one(&mut self) {
        if let Stage::Quieting { left, .. } | Stage::Shutting { left, .. } = &mut self.stage {
            *left = left.saturating_sub(1);
        }
    }

    /// This core is to close its partitions.
    pub fn shut(&mut self, progress: Arc<Progress>) {
        self.shuts = Some(progress);
    }
}

impl<D: Driver> Core<D> {
    /// Clients wait from now on, or go on.
    pub fn set_quiet(&mut self, is_quiet: bool) {
        self.reopening.told = false;
        self.shard.set_quiet(is_quiet);
    }

    /// Does the next step, if one is due; at the end of a turn.
    pub fn go_on_reopening(&mut self) {
        if !matches!(self.ending, Ending::Serving) {
            return; // what is closed by now needs no more of it
        }
        if self.shard.is_quiet {
            self.grow_quiet();
        }
        if self.reopening.shuts.is_some() {
            self.shut();
        }
        if self.shard.me == CoreId::FIRST {
            self.go_on_as_first();
        }
    }

    fn grow_quiet(&mut self) {
        self.shard.unblock_all();
        self.shard.end_pulls();
        if self.shard.has_work_under_way() || std::mem::replace(&mut self.reopening.told, true) {
            return;
        }
        if self.shard.me == CoreId::FIRST {
            self.reopening.note_one();
        } else {
            self.shard.peers.send(CoreId::FIRST, Message::IsQuiet);
        }
    }

    /// Closes this core's partitions, when their jobs have ended.
    fn shut(&mut self) {
        let is_busy = |own: &crate::core::Own| own.partition.log().is_busy();
        if self.shard.owned().is_some_and(|owned| owned.list.iter().any(is_busy)) {
            return;
        }
        let Some(progress) = self.reopening.shuts.take() else { return };
        self.shard.shut(progress);
        self.set_quiet(false);
        if self.shard.me == CoreId::FIRST {
            self.reopening.note_one();
        } else {
            self.shard.peers.send(CoreId::FIRST, Message::IsShut);
        }
    }

    fn go_on_as_first(&mut self) {
        match &self.reopening.stage {
            Stage::Settled => self.begin_reopening(),
            Stage::Quieting { left: 0, .. } => {
                let progress = Arc::new(Progress::default());
                for core in self.shard.peers.others(CoreId::FIRST) {
                    self.shard.peers.send(core, Message::Shut(Arc::clone(&progress)));
                }
                self.reopening.shut(Arc::clone(&progress));
                let left = usize::from(self.shard.peers.len());
                self.reopening.stage = Stage::Shutting { left, progress };
            }
            Stage::Quieting { until, .. } if Instant::now() > *until => {
                tracing::error!("what clients have asked for takes too long: the data are not opened otherwise yet");
                self.tell_quiet(false);
                self.reopening.not_before = Some(Instant::now() + AGAIN);
                self.reopening.stage = Stage::Settled;
            }
            Stage::Shutting { left: 0, progress } => {
                let progress = Arc::clone(progress);
                self.reload(progress);
            }
            Stage::Loading if matches!(self.shard.data, Data::Ready(_)) => {
                self.reopening.stage = Stage::Settled;
                if let Some(asker) = self.reopening.asker.take() {
                    let _ = asker.try_send(()); // it waits for one word, or not any more
                }
            }
            Stage::Quieting { .. } | Stage::Shutting { .. } | Stage::Loading => {}
        }
    }

    fn begin_reopening(&mut self) {
        if self.reopening.not_before.is_some_and(|time| Instant::now() < time) {
            return;
        }
        let is_open = matches!(self.shard.data, Data::Ready(_));
        match &self.reopening.wish {
            None => {}
            // nobody follows that one any more
            Some(Mode::Follower { feed, .. }) if feed.link.is_stopped() => self.reopening.wish = None,
            // it follows another one by now
            Some(Mode::Again(_)) if self.shard.link.is_some() => self.reopening.wish = None,
            // nothing has come of the wish to follow
            Some(Mode::Primary) if self.shard.owned().is_some_and(|owned| owned.feed.is_none()) => {
                self.reopening.wish = None;
            }
            Some(_) if is_open => {
                let left = usize::from(self.shard.peers.len());
                self.reopening.stage = Stage::Quieting { left, until: Instant::now() + QUIET_FOR };
                self.tell_quiet(true);
            }
            Some(_) => {
                let Data::Loading { progress, .. } = &self.shard.data else { return };
                let progress = Arc::clone(progress);
                self.reload(progress);
            }
        }
    }

    fn tell_quiet(&mut self, is_quiet: bool) {
        for core in self.shard.peers.others(CoreId::FIRST) {
            self.shard.peers.send(core, Message::Quiet(is_quiet));
        }
        self.set_quiet(is_quiet);
    }

    /// No core has anything open.
    fn reload(&mut self, progress: Arc<Progress>) {
        let Some(mode) = self.reopening.wish.take() else {
            // what was wished for was taken back by something that came later, and that comes
            self.reopening.stage = Stage::Settled;
            return;
        };
        self.shard.peers.loaded.store(0, std::sync::atomic::Ordering::Release);
        self.shard.peers.replication.replicas().clear();
        self.reopening.stage = Stage::Loading;
        self.reopening.asker = if let Mode::Again(asker) = &mode { Some(asker.clone()) } else { None };
        if let Err(error) = load(Arc::clone(&self.disk), mode, progress, Arc::clone(&self.shard.peers)) {
            self.shard.peers.send(CoreId::FIRST, Message::Broken(error));
        }
    }
}

impl Shard {
    fn set_quiet(&mut self, is_quiet: bool) {
        self.is_quiet = is_quiet;
        self.settle_all();
        if !is_quiet {
            self.unpaused.extend(self.stalled(|stall| stall == Stall::Paused));
        }
    }

    fn stalled(&self, is: impl Fn(Stall) -> bool) -> Vec<ConnId> {
        let is = |conn: &ConnId| self.connections.get(*conn).and_then(|connection| connection.stall).is_some_and(&is);
        self.connections.ids().into_iter().filter(is).collect()
    }

    /// Whether something was asked for that needs the partitions as they are.
    fn has_work_under_way(&self) -> bool {
        self.away.load.requests > 0
            || self.coordinator.open() > 0
            || !self.gathers.is_empty()
            || !self.blocks.is_empty()
            || !self.pulls.is_empty()
            || self.migrations > 0
    }

    /// Writes everything down, closes the partitions, and lets go what depends on them.
    fn shut(&mut self, progress: Arc<Progress>) {
        let gone = Data::Loading { progress, since_ms: self.now_ms };
        let Data::Ready(owned) = std::mem::replace(&mut self.data, gone) else { return };
        let (partitions, began) = (owned.list.len(), Instant::now());
        for own in owned.list {
            if let Err(error) = own.partition.close() {
                // it is what a crash would leave: what was answered is written
                tracing::error!(%error, partition = own.number, "the log could not be synced before it is opened otherwise");
            }
        }
        tracing::debug!(partitions, took = ?began.elapsed(), "closed");
        self.is_single = false;
        self.gates.clear();
        self.holding.clear();
        self.waiting.clear();
        self.locked_out.clear();
        self.awaiting.clear();
        for conn in self.connections.ids() {
            let Some(connection) = self.connections.get_mut(conn) else { continue };
            connection.holding = false;
            connection.release_all();
            connection.depends.take();
            if let Some(watching) = &connection.watching {
                watching.break_off();
            }
            // what it has sent is tried when it is let go on, and so is what was found to wait for a log
            if matches!(connection.stall, Some(Stall::Log | Stall::Cold | Stall::Locked)) {
                connection.stall = Some(Stall::Paused);
            }
            self.touch(conn);
        }
        self.noticed(vec![Notice::All]);
        self.settle_role();
    }
}
