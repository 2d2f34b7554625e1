//! A core: one thread, one driver, one partition. The loop is ours, because the batch of a turn is the unit
//! of durability and no runtime has a hook for it.

mod accept;
pub(crate) mod connection;
pub(crate) mod cron;
pub(crate) mod direct;
mod jobs;
pub(crate) mod pipeline;
mod release;
pub(crate) mod shard;
pub(crate) mod table;
mod turn;

pub(crate) use accept::Door;
pub(crate) use turn::{Batch, Core, Ended};
