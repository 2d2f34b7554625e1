//! The same commands against two servers: replies must be equal, byte by byte where the reply
//! is determined, by shape where it is not.

mod bitmaps;
mod compare;
mod contest;
mod differences;
mod estimates;
mod fields;
mod geo;
mod hashes;
mod lists;
mod random;
mod rounds;
mod script;
mod sets;
mod sorted_sets;
mod sorting;
mod streams;

pub use compare::agree;
pub use contest::{Contest, Mismatch};
pub use differences::Differences;
pub use script::{Action, Compare, Script, Step, words};
