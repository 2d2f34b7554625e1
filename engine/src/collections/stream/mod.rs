//! Streams: entries by their ids, groups of consumers, and what is pending for them.
//!
//! All of that is rows, in one order, of bytes: what a row is about comes first in it, and what is said of it behind that. So a row is found by its beginning, and a
//! group's pending entries, or a consumer's, are counted by two places.
//!
//! ```text
//! 0 | name len | name                      | number | last id | read + 1, or 0           a group
//! 1 | group, 4 be | name len | name        | number | seen | active + 1, or 0            a consumer of it
//! 2 | group, 4 be | id, 16 be              | consumer | delivered | deliveries           an entry that is pending for it
//! 3 | group, 4 be | consumer, 4 be | id, 16 be                                           the same, by consumer
//! 4 | id, 16 be                            | fields and values, each with its length     an entry
//!
//! whole    key -> [ stream | what it says of itself | front | back ]
//!
//! split    key -> [ stream | what it says of itself | front | back ]
//!                                |
//!                            the tree: the rows in between, in nodes of the reserved database
//! ```
//!
//! In front are the lowest rows, behind the last entries. So an entry that comes, and what is pending for a short time, is written with the root alone (decision 0054).

mod draft;
mod entries;
mod groups;
mod id;
mod image;
mod pending;
mod rows;
#[cfg(test)]
mod tests;

pub(crate) use draft::StreamDraft;
pub(crate) use entries::Trim;
pub(crate) use groups::{Consumer, Group};
pub(crate) use id::StreamId;
pub(crate) use image::{ImageConsumer, ImageGroup, StreamImage};
pub(crate) use pending::Pending;
