//! How long ago the oldest record was appended that is not synced. It is looked at a few times a second, not with each record, and is right by
//! that much.

use std::collections::VecDeque;

use emberkv_log::LogPosition;

/// Marks that are kept: a sync that takes longer than so many looks loses later ones, not the oldest.
const MARKS: usize = 1024;

/// Where the log ended at which look, as far as that is not synced.
#[derive(Debug, Default)]
pub(crate) struct Lag {
    marks: VecDeque<(LogPosition, u64)>,
    /// Where it ended at the last look.
    tail: LogPosition,
}

impl Lag {
    /// The log ends at `tail` now, and is synced up to `synced`.
    pub fn look(&mut self, tail: LogPosition, synced: LogPosition, up_ms: u64) {
        if tail > self.tail && self.marks.len() < MARKS {
            self.marks.push_back((tail, up_ms));
        }
        self.tail = tail;
        while self.marks.front().is_some_and(|(end, _)| *end <= synced) {
            self.marks.pop_front();
        }
    }

    /// For how long the oldest record has waited to be synced, in ms; 0 if none waits.
    pub fn ms(&self, synced: LogPosition, up_ms: u64) -> u64 {
        let oldest = self.marks.iter().find(|(end, _)| *end > synced);
        oldest.map_or(0, |(_, since_ms)| up_ms.saturating_sub(*since_ms))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_the_age_of_the_oldest_that_is_not_synced() {
        let (at, mut lag) = (LogPosition, Lag::default());
        lag.look(at(0), at(0), 0);
        assert_eq!(lag.ms(at(0), 50), 0);
        lag.look(at(10), at(0), 100);
        lag.look(at(10), at(0), 200);
        lag.look(at(30), at(0), 300);
        assert_eq!(lag.ms(at(0), 400), 300);
        // a part of what was appended between two looks
        assert_eq!(lag.ms(at(20), 400), 100);
        lag.look(at(30), at(20), 400);
        assert_eq!((lag.ms(at(20), 400), lag.ms(at(30), 400)), (100, 0));
        lag.look(at(30), at(30), 500);
        assert_eq!(lag.ms(at(30), 9000), 0);
    }

    #[test]
    fn a_sync_that_never_ends_takes_no_memory() {
        let mut lag = Lag::default();
        for i in 1..10_000 {
            lag.look(LogPosition(i), LogPosition(0), i * 100);
        }
        assert_eq!(lag.marks.len(), MARKS);
        assert_eq!(lag.ms(LogPosition(0), 1_000_000), 999_900);
    }
}
