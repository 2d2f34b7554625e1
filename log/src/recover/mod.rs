//! Opening the logs of a data set: read, decide, then write.

mod begin;
mod cold;
mod cut;
mod decide;
mod load;
mod opened;
mod opening;
mod replay;
mod salvage;
pub(crate) mod scan;
mod start;
mod transactions;

pub use begin::start_follower;
pub use replay::Replay;
pub(crate) use scan::{Records, Scanned};
pub use start::{Progress, StartError, StartReport, Started, start};
