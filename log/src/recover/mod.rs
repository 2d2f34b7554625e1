//! Opening the logs of a data set: read, decide, then write.

mod aside;
mod begin;
mod cold;
mod cut;
mod decide;
mod ends;
mod load;
mod meet;
mod opened;
mod opening;
mod replay;
mod salvage;
pub(crate) mod scan;
mod start;
mod transactions;

pub(crate) use aside::NEW_CUT_OFF;
pub use aside::{CutOff, read_cut_off};
pub use begin::start_follower;
pub use replay::Replay;
pub(crate) use scan::{Records, Scanned};
pub use start::{Progress, StartError, StartReport, Started, start};
