//! Opening the logs of a data set: read, decide, then write.

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

pub use replay::Replay;
pub use start::{Progress, StartError, StartReport, Started, start};
