//! The time of a turn.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// The wall clock now, in ms since 1970.
pub(crate) fn wall_clock_ms() -> u64 {
    u64::try_from(wall_clock().as_millis()).unwrap_or(u64::MAX)
}

/// The wall clock now, since 1970.
pub(crate) fn wall_clock() -> Duration {
    injected(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default())
}

#[cfg(not(feature = "failpoints"))]
fn injected(since_1970: Duration) -> Duration {
    since_1970
}

/// What a test says that the wall clock shows: off by as many ms as stand in the file that `EMBERKV_CLOCK` names.
#[cfg(feature = "failpoints")]
fn injected(since_1970: Duration) -> Duration {
    use std::sync::LazyLock;
    use std::sync::atomic::AtomicI64;
    static OFF_BY_MS: LazyLock<Arc<AtomicI64>> = LazyLock::new(|| {
        let off_by_ms = Arc::new(AtomicI64::new(0));
        if let Some(file) = std::env::var_os(emberkv_log::failpoint::CLOCK) {
            let read = move || std::fs::read_to_string(&file).ok()?.trim().parse().ok();
            let ms = Arc::clone(&off_by_ms);
            ms.store(read().unwrap_or(0), Ordering::Relaxed);
            std::thread::spawn(move || {
                loop {
                    std::thread::sleep(Duration::from_millis(5));
                    // half a number is none: the next look finds it whole
                    if let Some(read) = read() {
                        ms.store(read, Ordering::Relaxed);
                    }
                }
            });
        }
        off_by_ms
    });
    let off_by_ms = OFF_BY_MS.load(Ordering::Relaxed);
    let off_by = Duration::from_millis(off_by_ms.unsigned_abs());
    if off_by_ms < 0 { since_1970.saturating_sub(off_by) } else { since_1970.saturating_add(off_by) }
}

/// When a turn is, by two clocks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Time {
    /// In ms since 1970: what is shown, and when keys expire.
    pub wall_ms: u64,
    /// In ms since the server's start: what is due after some time, and how long something has lasted. No setting of the wall clock
    /// moves it.
    pub up_ms: u64,
}

/// Follows the wall clock, but does not go back by less than a second: small corrections must not make a
/// key that has expired exist again. A larger step back is followed, and logged. One for all cores: what one
/// of them has seen expire exists for none (D10), and what all do at one time all do at the same (X7).
#[derive(Clone, Debug)]
pub(crate) struct Clock {
    latest_ms: Arc<AtomicU64>,
    stands_still: Arc<AtomicBool>,
    started: Instant,
}

impl Clock {
    pub fn new() -> Self {
        Self {
            latest_ms: Arc::new(AtomicU64::new(wall_clock_ms())),
            stands_still: Arc::default(),
            started: Instant::now(),
        }
    }

    /// Stops the wall clock, or lets it go on: as long as it stands still nothing expires, on any core (`import-mode`).
    pub fn stand_still(&self, stands_still: bool) {
        self.stands_still.store(stands_still, Ordering::Relaxed);
    }

    /// Reads the clocks, once a turn.
    pub fn read(&self) -> Time {
        // loaded first: what another core stores while this one is not running is no step back of the clock
        let latest_ms = self.latest_ms.load(Ordering::Acquire);
        let up_ms = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        let stands_still = self.stands_still.load(Ordering::Relaxed);
        let wall_ms = if stands_still { latest_ms } else { self.follow(latest_ms, wall_clock_ms()) };
        Time { wall_ms, up_ms }
    }

    fn follow(&self, latest_ms: u64, wall_ms: u64) -> u64 {
        if wall_ms == latest_ms {
            wall_ms
        } else if wall_ms > latest_ms {
            self.latest_ms.fetch_max(wall_ms, Ordering::AcqRel).max(wall_ms)
        } else if latest_ms - wall_ms >= 1000 {
            tracing::warn!(back_ms = latest_ms - wall_ms, "the wall clock has gone back");
            self.latest_ms.store(wall_ms, Ordering::Release);
            wall_ms
        } else {
            latest_ms
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_steps_back_are_not_followed() {
        let clock = Clock { latest_ms: Arc::new(AtomicU64::new(10_000)), ..Clock::new() };
        assert_eq!(clock.follow(10_000, 10_500), 10_500);
        assert_eq!(clock.follow(10_500, 9_600), 10_500);
        assert_eq!(clock.clone().follow(10_500, 9_500), 9_500);
        assert_eq!(clock.follow(9_500, 9_501), 9_501);
    }

    #[test]
    fn it_stands_still_for_all_and_goes_on() {
        let clock = Clock { latest_ms: Arc::new(AtomicU64::new(10_000)), ..Clock::new() };
        clock.stand_still(true);
        assert_eq!((clock.read().wall_ms, clock.clone().read().wall_ms), (10_000, 10_000));
        clock.clone().stand_still(false);
        assert!(clock.read().wall_ms > 1_000_000_000_000);
    }
}
