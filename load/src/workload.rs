//! What is sent, and what is expected back.

use crate::error::LoadError;

/// Makes requests and counts replies. What one connection has of it is its lane.
pub trait Workload {
    /// The state of one connection.
    type Lane;

    /// That of the connection of this number.
    fn lane(&mut self, index: usize) -> Self::Lane;

    /// Prepares up to `limit` requests for a connection: their number (fewer, or none, when there are no more) and their
    /// bytes.
    fn fill<'a>(&'a mut self, lane: &'a mut Self::Lane, index: usize, limit: usize) -> (usize, &'a [u8]);

    /// Takes what a connection received; returns how many replies are complete with it.
    ///
    /// # Errors
    /// When it is not what the workload expects.
    fn feed(&mut self, lane: &mut Self::Lane, bytes: &[u8]) -> Result<u64, LoadError>;
}
