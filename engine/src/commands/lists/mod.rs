//! Commands on lists.

mod change;
mod moving;
mod pop;
mod push;
mod read;
mod search;

pub(crate) use moving::{Moving, PopOfMany, answer_popped};
pub(super) use read::direct;

use crate::stop::Stop;

/// Of the one number that has no opposite.
const OUT_OF_RANGE: Stop =
    Stop::error("ERR value is out of range, value must between -9223372036854775807 and 9223372036854775807");
