//! Long strings that are changed in places (SETBIT, SETRANGE, BITFIELD, APPEND): kept in chunks.
//!
//! ```text
//!  key -> [ chunk size | length | chunks | id ]            the root
//!            |-- (id, 0, key) -> bytes 0 to 511            the chunks: records of the reserved database
//!            |-- (id, 1, key) -> bytes 512 to 1023
//!            '-- (id, 7, key) -> bytes 3584 to 4095        in between there are zeros
//! ```
//!
//! A change appends the chunks that it concerns, and the root. They are leaves by all rules that those of collections are (protocol, O): in one frame, locked
//! with their key, swept when the root has gone. A chunk has no zeros at its end, and one that would be nothing but zeros is not there (decision 0057).

mod deal;
mod draft;
mod read;
mod root;
#[cfg(test)]
mod tests;

pub(crate) use deal::Deal;
pub(crate) use draft::ChunkDraft;
pub(crate) use read::Pieces;
pub(crate) use root::ChunkRoot;

/// The binary logarithm of a chunk's size, for strings that are dealt out from now on; each root says its own. Smaller: more records, each with some 50 bytes
/// beside what it holds, and more to be looked up by what reads all of it. Larger: more is appended for each change. Measured (decision 0057).
const CHUNK_SHIFT: u8 = if cfg!(test) { 7 } else { 9 };

/// A string of more bytes than that is dealt out to chunks when a part of it is changed. Less: strings that are read as a whole are gathered, and by their
/// owner alone. More: more is appended for each change of a string that is shorter. Measured too.
const CHUNKED_FROM: usize = if cfg!(test) { 1 << 10 } else { 16 << 10 };
