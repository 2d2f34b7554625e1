//! Hashes: fields, each with a value.

mod expiry;
mod random;
mod read;
mod together;
mod write;
