//! Hashes: fields, each with a value.

mod random;
mod read;
mod scan;
mod write;

pub(super) use random::Drawing;
pub(super) use read::direct;
