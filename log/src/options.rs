//! What a log is told when it is opened.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::ship::Origin;

/// When a write counts as done: redis's `appendfsync`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SyncPolicy {
    /// When fdatasync has returned: it survives a power loss.
    Always,
    /// When it is in the file: it survives `kill -9`; synced every second.
    EverySec,
    /// The same, synced when the log itself needs it or the system likes.
    No,
}

/// See the module.
pub struct Options {
    /// The sync policy.
    pub policy: SyncPolicy,
    /// Bytes of a segment, for a data set that is created: a power of two.
    pub segment_size: u64,
    /// Of a segment where little lives: a power of two; no more than the data set's counts.
    pub least_segment_size: u64,
    /// Start in spite of damage, without what is lost by it.
    pub salvage: bool,
    /// An inline write that takes longer than this makes the log write by jobs until they are fast again
    /// (law 4). `None`: never.
    pub slow_write: Option<Duration>,
    /// How many threads read segments at a start.
    pub load_threads: usize,
    /// Serve before the segments are read that a checkpoint stands for (K8).
    pub opens_cold: bool,
    /// Whose logs these follow, if they do: then nothing is appended to them but what those have.
    pub follows: Option<Arc<Origin>>,
    /// The wall clock, in ms since 1970.
    pub now_ms: fn() -> u64,
    /// Random numbers, for nonces and names.
    pub random: Box<dyn FnMut() -> u64 + Send>,
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options")
            .field("policy", &self.policy)
            .field("segment_size", &self.segment_size)
            .field("salvage", &self.salvage)
            .finish_non_exhaustive()
    }
}

impl Options {
    /// The same for each of several logs; they share the source of random numbers.
    pub(crate) fn share(self) -> impl Fn() -> Self {
        let Self {
            policy,
            segment_size,
            least_segment_size,
            salvage,
            slow_write,
            load_threads,
            opens_cold,
            follows,
            now_ms,
            random,
        } = self;
        let random = Arc::new(Mutex::new(random));
        move || {
            let random = Arc::clone(&random);
            let random = Box::new(move || random.lock().unwrap_or_else(PoisonError::into_inner)());
            let follows = follows.clone();
            Self {
                policy,
                segment_size,
                least_segment_size,
                salvage,
                slow_write,
                load_threads,
                opens_cold,
                follows,
                now_ms,
                random,
            }
        }
    }
}
