//! Opening a log: read, decide, then write.

mod decide;
mod opening;
mod salvage;
mod scan;
mod start;

pub use start::{Progress, StartError, StartReport, start};
