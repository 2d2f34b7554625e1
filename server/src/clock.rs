//! The time of a turn.

use std::time::{SystemTime, UNIX_EPOCH};

/// The wall clock now, in ms since 1970.
pub(crate) fn wall_clock_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// Follows the wall clock, but does not go back by less than a second: small corrections must not make a
/// key that has expired exist again. A larger step back is followed, and logged (D10).
#[derive(Debug)]
pub(crate) struct Clock {
    now_ms: u64,
}

impl Clock {
    pub fn new() -> Self {
        Self { now_ms: wall_clock_ms() }
    }

    /// Reads the wall clock, once a turn.
    pub fn read(&mut self) -> u64 {
        self.follow(wall_clock_ms())
    }

    fn follow(&mut self, wall_ms: u64) -> u64 {
        if wall_ms >= self.now_ms {
            self.now_ms = wall_ms;
        } else if self.now_ms - wall_ms >= 1000 {
            tracing::warn!(back_ms = self.now_ms - wall_ms, "the wall clock has gone back");
            self.now_ms = wall_ms;
        }
        self.now_ms
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_steps_back_are_not_followed() {
        let mut clock = Clock { now_ms: 10_000 };
        assert_eq!(clock.follow(10_500), 10_500);
        assert_eq!(clock.follow(9_600), 10_500);
        assert_eq!(clock.follow(9_500), 9_500);
        assert_eq!(clock.follow(9_501), 9_501);
    }
}
