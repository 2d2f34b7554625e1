//! Sorted sets: members with scores, in the order of (score, member).
//!
//! Of a split one the members are in hash leaves, each with its score as the value, so that a score is found by its member; and elements of score and member
//! are in a sorted tree under the same id, in which places are found. A change goes to both, in one frame (O1).
//!
//! A whole one has its pairs in that order, each member as a field with its score as the value, in a form in whose bytes scores are in order.

mod draft;
mod read;
mod score;

pub(super) use draft::sorted_tree;
pub(crate) use read::Places;
pub(super) use read::parts;
pub(crate) use score::{mark, order_of, score_in, score_of};
