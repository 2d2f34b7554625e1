//! How redis would keep a list.

use super::super::Encoding;

/// Up to which size redis keeps a list as one listpack (`list-max-listpack-size`): so many elements, or, below zero, one of five sizes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ListFill(pub i32);

/// With a bound on elements redis has this one on bytes too.
const SAFETY_BYTES: u64 = 8192;

impl ListFill {
    fn bytes(self) -> u64 {
        4096 << (i64::from(self.0) + 1).unsigned_abs().min(4)
    }

    fn elements(self) -> u64 {
        self.0.max(1).unsigned_abs().into()
    }

    /// Whether that is more than one listpack takes.
    pub(super) fn is_exceeded(self, bytes: u64, count: u64) -> bool {
        if self.0 < 0 { bytes > self.bytes() } else { bytes > SAFETY_BYTES || count > self.elements() }
    }

    /// Whether what is there is so little that redis goes back to one listpack when elements are removed. Redis looks whether all are in one of its
    /// nodes; here it is their size alone.
    pub(super) fn is_half_empty(self, bytes: u64, count: u64) -> bool {
        if self.0 < 0 { bytes <= self.bytes() / 2 } else { count <= self.elements() / 2 }
    }

    /// How redis keeps a list that it is given as a whole.
    pub(crate) fn encoding(self, bytes: u64, count: u64) -> Encoding {
        if self.is_exceeded(bytes, count) { Encoding::Quicklist } else { Encoding::Listpack }
    }
}
