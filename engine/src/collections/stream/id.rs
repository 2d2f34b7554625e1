//! Ids of entries.

use std::fmt;

/// When an entry came, in ms, and which one of that time it is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Debug)]
pub(crate) struct StreamId {
    pub ms: u64,
    pub seq: u64,
}

impl StreamId {
    pub const MIN: Self = Self { ms: 0, seq: 0 };
    pub const MAX: Self = Self { ms: u64::MAX, seq: u64::MAX };

    /// The next one, if there is any.
    pub fn next(self) -> Option<Self> {
        let both = self.number().checked_add(1)?;
        Some(Self::of_number(both))
    }

    /// The one before, if there is any.
    pub fn before(self) -> Option<Self> {
        let both = self.number().checked_sub(1)?;
        Some(Self::of_number(both))
    }

    fn number(self) -> u128 {
        u128::from(self.ms) << 64 | u128::from(self.seq)
    }

    fn of_number(number: u128) -> Self {
        Self { ms: (number >> 64) as u64, seq: number as u64 }
    }

    /// In whose order ids are.
    pub fn to_bytes(self) -> [u8; 16] {
        self.number().to_be_bytes()
    }

    pub fn of_bytes(bytes: [u8; 16]) -> Self {
        Self::of_number(u128::from_be_bytes(bytes))
    }

    /// Takes one off the front of `bytes`.
    pub fn take(bytes: &mut &[u8]) -> Option<Self> {
        let (id, rest) = bytes.split_first_chunk::<16>()?;
        *bytes = rest;
        Some(Self::of_bytes(*id))
    }
}

impl fmt::Display for StreamId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.ms, self.seq)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_in_the_order_of_their_bytes() {
        let ids = [(0, 0), (0, 1), (0, u64::MAX), (1, 0), (256, 3), (u64::MAX, 0), (u64::MAX, u64::MAX)];
        let ids = ids.map(|(ms, seq)| StreamId { ms, seq });
        assert!(ids.is_sorted() && ids.map(StreamId::to_bytes).is_sorted());
        for id in ids {
            assert_eq!(StreamId::of_bytes(id.to_bytes()), id);
            assert!(id.next().is_none_or(|next| next > id && next.before() == Some(id)));
        }
        assert_eq!(ids[2].next(), Some(ids[3]));
        assert_eq!((StreamId::MIN.before(), StreamId::MAX.next()), (None, None));
    }
}
