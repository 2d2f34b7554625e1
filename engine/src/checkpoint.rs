//! Checkpoints: the index's pages, copied between commands, some of them each turn, and what changes in them afterwards (K4),
//! handed to the log, which writes them. What a flush takes back is not worth keeping: it ends one that is being taken.

use emberkv_log::disk::Disk;

use crate::flush::Sweep;
use crate::partition::Partition;

/// Bytes of pages that are written together: few calls, and little memory, as one chunk is filled while another is written.
const CHUNK_BYTES: usize = 1 << 20;

/// Changes of copied pages that are kept while a disk takes nothing: some seconds of writes. More, and the checkpoint is given
/// up, as memory is bounded.
const MAX_KEPT_BYTES: usize = 64 << 20;

/// After one that has failed, how long to wait until the next, unless one is asked for.
const RETRY_MS: u64 = 10_000;

/// What is known of the checkpoints of a partition.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct CheckpointStats {
    /// Those taken since the start.
    pub taken: u64,
    /// Whether one is being taken, or asked for.
    pub is_under_way: bool,
    /// Whether the last one has failed.
    pub has_failed: bool,
    /// When the last one counted that was taken since the start, in ms since 1970.
    pub last_ms: Option<u64>,
    /// How long the last one took, and when the one under way was begun.
    pub last_took_ms: Option<u64>,
    /// See there.
    pub began_ms: Option<u64>,
    /// Changes of keys that are not in one.
    pub changes: u64,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Saver {
    stage: Stage,
    /// One is asked for.
    is_wanted: bool,
    /// So many bytes of log make one due; 0 for never.
    interval: u64,
    /// When the last one has failed.
    failed_ms: Option<u64>,
    /// Pages that are not written yet, and their checksum so far.
    pages: Vec<u8>,
    crc: u32,
    /// A floor took effect since it was begun.
    is_stale: bool,
    changes_then: u64,
    stats: CheckpointStats,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Stage {
    Idle,
    /// Pages are being copied.
    Walking,
    /// The log writes what is left, and waits until it is safe.
    Ending,
}

impl Saver {
    pub fn new() -> Self {
        Self {
            stage: Stage::Idle,
            is_wanted: false,
            interval: 0,
            failed_ms: None,
            pages: Vec::new(),
            crc: 0,
            is_stale: false,
            changes_then: 0,
            stats: CheckpointStats::default(),
        }
    }

    /// A key was given a value, or taken one.
    #[inline]
    pub fn changed(&mut self) {
        self.stats.changes += 1;
    }

    /// A floor has taken effect.
    pub fn flushed(&mut self) {
        self.is_stale = true;
        self.stats.changes += 1;
    }
}

impl<D: Disk> Partition<D> {
    /// After so many bytes of log a checkpoint is taken; 0: only when one is asked for.
    pub fn set_checkpoint_interval(&mut self, bytes: u64) {
        self.saver.interval = bytes;
    }

    /// Asks for a checkpoint. False if one is being taken.
    pub fn begin_checkpoint(&mut self) -> bool {
        !self.is_syncing() && !std::mem::replace(&mut self.saver.is_wanted, true) && self.saver.stage == Stage::Idle
    }

    /// Whether a checkpoint is being taken, or asked for.
    pub fn is_saving(&self) -> bool {
        self.saver.is_wanted || self.saver.stage != Stage::Idle
    }

    /// What is known of the checkpoints.
    pub fn checkpoint_stats(&self) -> CheckpointStats {
        CheckpointStats { is_under_way: self.is_saving(), ..self.saver.stats }
    }

    /// Goes on with a checkpoint, by up to so many pages; once a turn. Returns whether more can be done at once.
    pub fn save_some(&mut self, pages: usize) -> bool {
        match self.saver.stage {
            Stage::Idle => {
                if !self.saver.is_wanted && !self.is_checkpoint_due() {
                    return false;
                }
                self.start_checkpoint()
            }
            Stage::Walking if self.saver.is_stale => {
                self.log.abandon_checkpoint("the data were flushed meanwhile");
                self.log.take_checkpoint();
                self.end_checkpoint();
                self.saver.is_wanted = true; // begun anew
                true
            }
            Stage::Walking if self.log.is_saving() => self.walk(pages),
            Stage::Walking | Stage::Ending => {
                if let Some(outcome) = self.log.take_checkpoint() {
                    self.checkpoint_ended(&outcome);
                }
                false
            }
        }
    }

    fn is_checkpoint_due(&self) -> bool {
        if self.is_syncing() {
            return false;
        }
        let since = self.log.tail().0.saturating_sub(self.log.last_checkpoint().0);
        // the clock may have gone back since
        let rests = |failed_ms: u64| self.now_ms.wrapping_sub(failed_ms) < RETRY_MS;
        self.saver.interval > 0 && since >= self.saver.interval && !self.saver.failed_ms.is_some_and(rests)
    }

    fn start_checkpoint(&mut self) -> bool {
        // entries that a floor hides are not counted, so there must be none; and what is read-only has no end
        if self.sweep != Sweep::Done {
            return false;
        }
        let bytes = self.index.pages_bytes();
        if !self.log.begin_checkpoint(bytes + bytes / 16) {
            if self.log.read_only().is_some() {
                self.checkpoint_ended(&Err("the log is read-only".to_owned()));
            }
            return false;
        }
        self.index.begin_walk();
        let saver = &mut self.saver;
        (saver.stage, saver.is_stale, saver.changes_then) = (Stage::Walking, false, saver.stats.changes);
        saver.stats.began_ms = Some(self.now_ms);
        true
    }

    /// Copies some pages; a chunk that is full waits until the one before is written.
    fn walk(&mut self, pages: usize) -> bool {
        if self.index.kept_bytes() > MAX_KEPT_BYTES {
            self.log.abandon_checkpoint("the disk is too slow for what changes");
            return true;
        }
        let saver = &mut self.saver;
        for _ in 0..pages.max(1) {
            let before = saver.pages.len();
            if before < CHUNK_BYTES && self.index.copy_page(&mut saver.pages) {
                saver.crc = crc32c::crc32c_append(saver.crc, &saver.pages[before..]);
                continue;
            }
            if !self.log.takes_pages() {
                return false;
            }
            if before > 0 {
                let fresh = Vec::with_capacity(CHUNK_BYTES + (64 << 10));
                let chunk = std::mem::replace(&mut saver.pages, fresh);
                self.log.write_pages(chunk, std::mem::take(&mut saver.crc));
                continue;
            }
            // all pages are written: with what has changed in them since they were copied, that is the index
            let mut changes = Vec::new();
            self.index.take_changes(CHUNK_BYTES, &mut changes);
            if !changes.is_empty() {
                let crc = crc32c::crc32c(&changes);
                self.log.write_pages(changes, crc);
            }
            if self.index.kept_bytes() == 0 {
                self.end_walk();
                return false;
            }
        }
        true
    }

    fn end_walk(&mut self) {
        let open = if self.is_follower() { self.held_parts() } else { self.undecided() };
        self.log.end_pages(&self.floors, &open);
        self.index.end_walk();
        self.saver.stage = Stage::Ending;
    }

    fn checkpoint_ended(&mut self, outcome: &Result<(), String>) {
        let partition = self.log.partition().0;
        self.end_checkpoint();
        let stats = &mut self.saver.stats;
        stats.last_took_ms = stats.began_ms.take().map(|began| self.now_ms.saturating_sub(began));
        stats.has_failed = outcome.is_err();
        match outcome {
            Ok(()) => {
                stats.taken += 1;
                stats.last_ms = Some(self.now_ms);
                stats.changes -= self.saver.changes_then;
            }
            Err(reason) => {
                tracing::warn!(partition, reason, "no checkpoint could be taken");
                self.saver.failed_ms = Some(self.now_ms);
            }
        }
    }

    fn end_checkpoint(&mut self) {
        self.index.end_walk();
        let saver = &mut self.saver;
        (saver.stage, saver.is_wanted, saver.crc) = (Stage::Idle, false, 0);
        saver.pages = Vec::new();
    }
}
