//! Hashes: fields, each with a value.

mod random;
mod read;
mod write;
