//! The index: one table per partition, from a key's fingerprint to the log address of its newest record.
//!
//! It is grown a block (8 KiB) at a time and never rehashed, stays at about nine bytes a key at every size,
//! and holds no keys: two keys may share a fingerprint, and only the record at the address tells which is
//! which. So a lookup is given a closure that compares keys, and an insert trusts its caller that the key
//! is absent.
//!
//! ```text
//!             top bits of the tag        4 to 7 blocks of 8 KiB           128 rows of 8 slots
//!  fingerprint ------------------> page ------------------------> block ----------------------> slot
//!   (24-bit tag,   [`directory`]        tag within page * n >> bits     either of two rows
//!    7 row bits)
//! ```
//!
//! * A **page** covers a power-of-two range of tags. Growing from n to n + 1 blocks moves entries only to
//!   the next block, to the same row; at eight blocks it becomes two pages of four, which moves nothing.
//! * An entry may sit in either of **two rows** of its block. The one follows from the other and the tag, so
//!   an entry can be moved to its other row without its key being read.
//! * Everything but the row comes out of the tag, which is a slice of the hash in hash order: growth never
//!   reads the log, and [`Index::scan`] has a cursor that growth and shrinkage do not disturb.
//! * Entries that growth cannot make room for (more than sixteen keys with one fingerprint) go to a small
//!   ordered side table.

mod arena;
mod block;
#[cfg(test)]
mod check;
mod checkpoint;
#[cfg(test)]
mod concurrent;
mod directory;
mod error;
mod fingerprint;
mod grow;
mod index;
#[cfg(test)]
#[cfg(loom)]
mod models;
mod page;
mod place;
mod prefetch;
mod published;
mod reader;
mod readers;
mod scan;
mod shrink;
mod side;
mod slot;
mod sync;
#[cfg(test)]
mod tests;
mod version;

pub use arena::Reserve;
pub use checkpoint::{Damaged, Loader};
pub use error::IndexError;
pub use fingerprint::{Fingerprint, TAG_BITS, Tag};
pub use index::{Candidates, Index, SlotRef};
pub use reader::{Probe, Reader};
pub use scan::ScanCursor;
pub use slot::MAX_VISITED;
