//! Failpoints: named steps on the way of data at which a build with the feature `failpoints` dies, waits or fails, when
//! `EMBERKV_FAILPOINTS` says so. In any other build [`pass`] and its sisters are nothing.
//!
//! ```text
//! EMBERKV_FAILPOINTS="manifest-first-copy=abort@3;disk-sync=sleep:2000"
//! ```
//!
//! | what | means |
//! |---|---|
//! | `abort` | the process kills itself, as `kill -9` does |
//! | `fail` | the disk says that it could not: where a step can fail |
//! | `sleep:2000` | the step takes so many ms longer |
//! | `wait:/a/file` | it takes until there is such a file |
//!
//! `abort@3` and `fail@3` mean the third time that the process comes there, and that one alone. The word `list` instead prints all names.

macro_rules! points {
    ($($point:ident $name:literal $what:literal)*) => {
        /// A named step.
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        pub enum Point {
            $(#[doc = $what] $point,)*
        }

        impl Point {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$point,)*];

            /// The name, as it is given in the environment.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$point => $name,)*
                }
            }
        }
    };
}

points! {
    WriteBegin "write-begin" "A write of the tail is about to begin."
    WriteTorn "write-torn" "Half of a write of the tail is in the file."
    WriteDone "write-done" "The tail is written, and no reply that waits for it is sent."
    SyncBegin "sync-begin" "A sync of the tail is about to begin."
    SyncNext "sync-next" "One of several files is synced (S3)."
    SyncDone "sync-done" "A sync has ended, and nothing that waits for it has gone on."
    SealAppended "seal-appended" "The head has its seal, in memory."
    HeadInstalled "head-installed" "The next segment is the head."
    PrepareCreated "prepare-created" "A segment file has its blocks, and is not durable (S2)."
    PrepareDone "prepare-done" "A segment file is durable, and in no manifest."
    ManifestBegin "manifest-begin" "An edit of the manifest is about to begin."
    ManifestFirstCopy "manifest-first-copy" "The first copy is durable, the second as it was (S1)."
    ManifestDone "manifest-done" "Both copies are durable."
    ManifestAnew "manifest-anew" "A new manifest copy is durable, and not yet in its place."
    FreedAppended "freed-appended" "`freed` is appended (S4)."
    FreeListed "free-listed" "The manifest without a dead segment is durable, its file not yet let go."
    Recycled "recycled" "A file is spare."
    DiscardBegin "discard-begin" "A file that no manifest names is about to be removed."
    DiscardDone "discard-done" "It is removed."
    RefillBegin "refill-begin" "A segment's bytes are about to be written into a fresh file (F3)."
    RefillDone "refill-done" "They are durable there, and the manifest names the old file."
    LargeBegun "large-begun" "A record that is written ahead has begun."
    LargeInstalled "large-installed" "It is part of the log."
    CompactChosen "compact-chosen" "A victim is chosen."
    CompactCopied "compact-copied" "A record is copied, and the index refers to its copy."
    CompactTombstone "compact-tombstone" "A tombstone is copied (T2)."
    CompactEmptied "compact-emptied" "Nothing in the victim is needed any more."
    EvictSaid "evict-said" "That keys are gone is appended, and the index still refers to them (T5)."
    EvictDone "evict-done" "The index has let go of them."
    EvictTombstone "evict-tombstone" "A key that is evicted has its tombstone."
    ExpireAppended "expire-appended" "A key that has expired has its tombstone (T3)."
    FloorAppended "floor-appended" "FLUSHALL or FLUSHDB has its floor (T4)."
    PartAppended "part-appended" "A part of a transaction is appended (X2)."
    MarkAppended "mark-appended" "A mark or an abort is appended (X3)."
    CheckpointCreated "checkpoint-created" "The file of a checkpoint is made (K1)."
    CheckpointChunk "checkpoint-chunk" "Some of its pages are written."
    CheckpointDescribed "checkpoint-described" "All of it is written and synced, under the name for now."
    CheckpointNamed "checkpoint-named" "It has its name, durably, and the one that it replaces is still there."
    CheckpointDone "checkpoint-done" "That one is removed."
    SegmentUnloaded "segment-unloaded" "A segment's memory is let go of (M1)."
    LoadBegin "load-begin" "A segment is about to be read into memory."
    LoadDone "load-done" "It is read, checked and resident."
    StartDecided "start-decided" "A start has decided everything, and written nothing (F4)."
    StartRefilled "start-refilled" "A start has refilled what one partition has beyond the durable position."
    StartMarked "start-marked" "A start has appended the marks and aborts that one partition lacks."
    StartFirstCopy "start-first-copy" "The first manifest copy of a start is durable."
    StartInstalled "start-installed" "The manifest of a start is durable, and what it leaves out is still there."
    CloseFresh "close-fresh" "Before an orderly end the log goes on in a fresh segment."
    CloseWritten "close-written" "At an orderly end all is written and synced, and the manifest does not say so."
    CloseDone "close-done" "An orderly end of one partition's log is complete."
    DiskSync "disk-sync" "The disk is about to sync anything: for disks that are slow or fail."
}

/// What to do about `EMBERKV_FAILPOINTS`, once, before anything else.
///
/// # Errors
/// If it can't be understood, or if this build has no failpoints.
pub fn init() -> Result<Init, String> {
    let is_set = |variable: &str| std::env::var_os(variable).is_some();
    if is_set(CLOCK) && !cfg!(feature = "failpoints") {
        return Err(format!("{CLOCK} is set, and this build has no failpoints"));
    }
    if is_set(PLANT) && !cfg!(feature = "sim") {
        return Err(format!("{PLANT} is set, and this build has no planted bugs"));
    }
    match std::env::var(VARIABLE) {
        Err(_) => Ok(Init::Run),
        Ok(_) if !cfg!(feature = "failpoints") => Err(format!("{VARIABLE} is set, and this build has no failpoints")),
        Ok(text) if text == "list" => Ok(Init::List),
        #[cfg(feature = "failpoints")]
        Ok(text) => active::check_text(&text).map(|()| Init::Run),
        #[cfg(not(feature = "failpoints"))]
        Ok(_) => Ok(Init::Run),
    }
}

/// What the process is to do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Init {
    /// What it does always.
    Run,
    /// Print the names.
    List,
}

const VARIABLE: &str = "EMBERKV_FAILPOINTS";
/// In a build with failpoints: names a file with the ms by which the wall clock is off.
pub const CLOCK: &str = "EMBERKV_CLOCK";
/// In a build with the feature `sim`: names a rule of the protocol that is left out (`plant.rs`).
pub const PLANT: &str = "EMBERKV_PLANT";

/// The process comes to this step: it may die or sleep here.
#[cfg(not(feature = "failpoints"))]
#[inline(always)]
pub fn pass(_: Point) {}

/// Like [`pass`], where a disk can fail.
///
/// # Errors
/// If it is to fail.
#[cfg(not(feature = "failpoints"))]
#[inline(always)]
pub fn check(_: Point) -> std::io::Result<()> {
    Ok(())
}

/// Whether the process is to die in the middle of this step; the caller brings it there and then calls [`die`].
#[cfg(not(feature = "failpoints"))]
#[inline(always)]
pub fn strikes(_: Point) -> bool {
    false
}

/// Whether anything is said of this step.
#[cfg(not(feature = "failpoints"))]
#[inline(always)]
pub fn is_set(_: Point) -> bool {
    false
}

#[cfg(feature = "failpoints")]
pub use active::{check, is_set, pass, strikes};

/// Ends the process as `kill -9` does: nothing is flushed, nobody is told.
pub fn die(point: Point) -> ! {
    eprintln!("failpoint {}: dying", point.name());
    let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
    std::process::abort()
}

#[cfg(feature = "failpoints")]
mod active {
    use std::io;
    use std::path::PathBuf;
    use std::sync::LazyLock;
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::time::Duration;

    use super::{Point, VARIABLE, die};

    /// Between two looks for the file of `wait`.
    const POLL: Duration = Duration::from_millis(2);

    #[derive(Clone, PartialEq, Eq, Debug)]
    enum Action {
        /// At this pass, from 1; at every one if `None`.
        Abort(Option<u64>),
        Fail(Option<u64>),
        Sleep(Duration),
        Wait(PathBuf),
    }

    #[derive(Debug, Default)]
    struct Armed {
        actions: Vec<Action>,
        passes: AtomicU64,
    }

    static ARMED: LazyLock<Vec<Armed>> = LazyLock::new(|| {
        let text = std::env::var(VARIABLE).unwrap_or_default();
        // `init` has looked at it
        arm(&text).unwrap_or_default()
    });

    fn arm(text: &str) -> Result<Vec<Armed>, String> {
        let mut armed: Vec<Armed> = Point::ALL.iter().map(|_| Armed::default()).collect();
        for words in text.split(';').map(str::trim).filter(|words| !words.is_empty()) {
            let understood = words.split_once('=').and_then(|(name, action)| {
                let point = Point::ALL.iter().position(|point| point.name() == name)?;
                Some((point, parse(action)?))
            });
            let (point, action) = understood.ok_or_else(|| format!("{VARIABLE}: {words:?} is no step and action"))?;
            armed[point].actions.push(action);
        }
        Ok(armed)
    }

    fn parse(action: &str) -> Option<Action> {
        if let Some(ms) = action.strip_prefix("sleep:") {
            return Some(Action::Sleep(Duration::from_millis(ms.parse().ok()?)));
        }
        if let Some(path) = action.strip_prefix("wait:") {
            return Some(Action::Wait(path.into()));
        }
        let (action, at) = match action.split_once('@') {
            Some((action, at)) => (action, Some(at.parse().ok().filter(|at| *at > 0)?)),
            None => (action, None),
        };
        match action {
            "abort" => Some(Action::Abort(at)),
            "fail" => Some(Action::Fail(at)),
            _ => None,
        }
    }

    pub(super) fn check_text(text: &str) -> Result<(), String> {
        arm(text).map(|_| ())
    }

    /// The process comes to this step: it may die or sleep here.
    pub fn pass(point: Point) {
        // where a step can't fail, `fail` has no meaning
        let _ = check(point);
    }

    /// Like [`pass`], where a disk can fail.
    ///
    /// # Errors
    /// If it is to fail.
    pub fn check(point: Point) -> io::Result<()> {
        let Some(armed) = ARMED.get(point as usize).filter(|armed| !armed.actions.is_empty()) else { return Ok(()) };
        let now = armed.passes.fetch_add(1, Ordering::Relaxed) + 1;
        let is_now = |at: &Option<u64>| at.is_none_or(|at| at == now);
        for action in &armed.actions {
            match action {
                Action::Abort(at) if is_now(at) => die(point),
                Action::Fail(at) if is_now(at) => {
                    return Err(io::Error::other(format!("failpoint {}", point.name())));
                }
                Action::Sleep(time) => std::thread::sleep(*time),
                Action::Wait(path) => {
                    if !path.exists() {
                        eprintln!("failpoint {}: waiting", point.name());
                    }
                    while !path.exists() {
                        std::thread::sleep(POLL);
                    }
                }
                Action::Abort(_) | Action::Fail(_) => {}
            }
        }
        Ok(())
    }

    /// Whether the process is to die in the middle of this step; the caller brings it there and then calls [`die`].
    pub fn strikes(point: Point) -> bool {
        let Some(armed) = ARMED.get(point as usize).filter(|armed| !armed.actions.is_empty()) else { return false };
        let now = armed.passes.fetch_add(1, Ordering::Relaxed) + 1;
        armed.actions.iter().any(|action| matches!(action, Action::Abort(at) if at.is_none_or(|at| at == now)))
    }

    /// Whether anything is said of this step.
    pub fn is_set(point: Point) -> bool {
        ARMED.get(point as usize).is_some_and(|armed| !armed.actions.is_empty())
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn what_is_set_is_understood_or_refused() {
            let armed = arm("write-done=abort@3; disk-sync=sleep:20;disk-sync=fail").unwrap();
            assert_eq!(armed[Point::WriteDone as usize].actions, [Action::Abort(Some(3))]);
            let sync = &armed[Point::DiskSync as usize].actions;
            assert_eq!(*sync, [Action::Sleep(Duration::from_millis(20)), Action::Fail(None)]);
            for wrong in ["write-done", "write-done=", "write-done=abort@0", "nowhere=abort", "disk-sync=sleep:x"] {
                assert!(arm(wrong).is_err(), "{wrong}");
            }
        }
    }
}
