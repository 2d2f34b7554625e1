//! How many bytes another core's answer will have, by those that have come: so that a pipeline's answers are bounded before they are
//! asked for.

/// What is expected of a connection's first answers: 32 of them are as much as a client's output is allowed to be.
const FIRST_BYTES: usize = 1 << 20;

/// See the module.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Expected {
    bytes: usize,
}

impl Default for Expected {
    fn default() -> Self {
        Self { bytes: FIRST_BYTES }
    }
}

impl Expected {
    /// So many answers have come, in so many bytes. Larger ones count at once, smaller ones bit by bit.
    pub fn note(&mut self, answers: usize, bytes: usize) {
        self.bytes = (self.bytes - self.bytes / 4).max(bytes.div_ceil(answers.max(1)));
    }

    /// Whether one more answer fits into `room` bytes beside those that are to come. One always may be asked for.
    pub fn fits(self, to_come: usize, room: usize) -> bool {
        to_come == 0 || (to_come + 1).saturating_mul(self.bytes) <= room
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many answers may be asked for at once.
    fn at_once(expected: Expected, room: usize) -> usize {
        (0..).find(|to_come| !expected.fits(*to_come, room)).unwrap()
    }

    #[test]
    fn as_many_answers_are_asked_for_as_have_room() {
        let mut expected = Expected::default();
        assert_eq!(at_once(expected, 32 << 20), 32, "not knowing any");
        expected.note(2, 16 << 20);
        assert_eq!(at_once(expected, 32 << 20), 4);
        assert_eq!((at_once(expected, 8 << 20), at_once(expected, 0)), (1, 1), "one may always be");
        (0..60).for_each(|_| expected.note(16, 80));
        assert!(at_once(expected, 32 << 20) > 1 << 20);
    }
}
