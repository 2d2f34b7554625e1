//! What is noted of reads, in two bits of a key's index entry, for the eviction policy to judge by.

use std::cell::Cell;

use emberkv_index::MAX_VISITED;

/// How reads are noted.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[repr(u8)]
pub(crate) enum Visits {
    /// Not at all: nobody asks.
    #[default]
    Off = 0,
    /// That there was one.
    Lately = 1,
    /// How many there were, about: the more are noted, the seldomer is one more.
    Often = 2,
}

thread_local! {
    static DICE: Cell<u32> = const { Cell::new(0x9e37_79b9) };
}

/// One time in `1 << bits`.
fn is_lucky(bits: u32) -> bool {
    // xorshift32: nobody's secret
    let mut x = DICE.get();
    x ^= x << 13;
    x ^= x >> 17;
    x ^= x << 5;
    DICE.set(x);
    x >> (u32::BITS - bits) == 0
}

impl Visits {
    pub fn from_bits(bits: u8) -> Self {
        match bits {
            1 => Self::Lately,
            2 => Self::Often,
            _ => Self::Off,
        }
    }

    /// What is noted after a read, if that is something else.
    pub fn after_read(self, visited: u8) -> Option<u8> {
        match self {
            Self::Off => None,
            Self::Lately => (visited == 0).then_some(1),
            Self::Often if visited == 0 => Some(1),
            Self::Often => (visited < MAX_VISITED && is_lucky(u32::from(visited))).then_some(visited + 1),
        }
    }

    /// Whether a key goes of whose reads nothing is known: it may be the hottest.
    pub fn is_unknown_to_go() -> bool {
        is_lucky(3)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_are_noted_once_or_about_by_their_logarithm() {
        assert_eq!(Visits::Off.after_read(0), None);
        assert_eq!((Visits::Lately.after_read(0), Visits::Lately.after_read(1)), (Some(1), None));
        let reads_until = |from: u8| (1..).find(|_| Visits::Often.after_read(from) == Some(from + 1)).unwrap_or(0);
        let average = |from| (0..4000).map(|_| reads_until(from)).sum::<u32>() / 4;
        assert_eq!(average(0), 1000);
        let reads = [average(1) as f64 / 1000.0, average(2) as f64 / 1000.0];
        assert!((1.8..2.2).contains(&reads[0]) && (3.6..4.4).contains(&reads[1]), "{reads:?}");
        assert_eq!(Visits::Often.after_read(MAX_VISITED), None);
    }
}
