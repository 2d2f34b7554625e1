//! The time of a turn.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

/// The wall clock now, in ms since 1970.
pub(crate) fn wall_clock_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// Follows the wall clock, but does not go back by less than a second: small corrections must not make a
/// key that has expired exist again. A larger step back is followed, and logged. One for all cores: what one
/// of them has seen expire exists for none (D10).
#[derive(Clone, Debug)]
pub(crate) struct Clock {
    latest_ms: Arc<AtomicU64>,
}

impl Clock {
    pub fn new() -> Self {
        Self { latest_ms: Arc::new(AtomicU64::new(wall_clock_ms())) }
    }

    /// Reads the wall clock, once a turn.
    pub fn read(&self) -> u64 {
        // loaded first: what another core stores while this one is not running is no step back of the clock
        let latest_ms = self.latest_ms.load(Ordering::Acquire);
        self.follow(latest_ms, wall_clock_ms())
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
        let clock = Clock { latest_ms: Arc::new(AtomicU64::new(10_000)) };
        assert_eq!(clock.follow(10_000, 10_500), 10_500);
        assert_eq!(clock.follow(10_500, 9_600), 10_500);
        assert_eq!(clock.clone().follow(10_500, 9_500), 9_500);
        assert_eq!(clock.follow(9_500, 9_501), 9_501);
    }
}
