//! Checkpoints (K): the index as it was at one position of the log, from which a start goes on instead of from the log's
//! beginning.
//!
//! ```text
//!   log      --------------[P0]--------[P1]--------------> tail
//!   pages           p p  p p  p p p p                         copied between commands, one after the other
//!   changes             c  cc c  ccc cc                       of pages that were copied already
//!   a start   loads the pages, makes the changes: the index at P1. replays from P1 on, and what lay before it of
//!             transactions that were not decided then (P0)
//! ```
//!
//! What is in the pages is the index's, and comes as bytes. Here is the file around them, when it counts, and what a start
//! believes of it. The log is the truth: a checkpoint that disagrees with it is left out.

mod file;
mod found;
mod saving;

pub use file::Publication;
pub use found::SavedPages;
pub use saving::{OpenPart, PartHolds};

pub(crate) use file::remove_files;
pub(crate) use found::{Candidate, Refused, candidates, is_checkpoint, is_temporary, last_generation};
pub(crate) use saving::Checkpoints;

use crate::address::{LogPosition, PartitionId};
use crate::manifest::Incarnation;

/// The name of a published checkpoint.
pub(crate) fn checkpoint_name(partition: PartitionId, generation: u64) -> String {
    format!("checkpoint-{}-{generation}", partition.0)
}

/// The name of the one that is being written.
pub(crate) fn temporary_name(partition: PartitionId) -> String {
    format!("checkpoint-{}.new", partition.0)
}

/// The life of the log that wrote the byte before `position`.
pub(crate) fn life_of(incarnations: &[Incarnation], position: LogPosition) -> Option<Incarnation> {
    incarnations.iter().rev().find(|life| life.start < position).or(incarnations.first()).copied()
}
