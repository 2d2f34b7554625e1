//! The wire protocol of emberkv: parsing requests in place, writing replies, and the command schema.

mod args;
pub mod format;
pub mod glob;
mod inline;
mod output;
mod parser;
mod peek;
mod reply;
pub mod schema;

pub use args::{Args, OwnedArgs, Span};
pub use output::{MAX_IO_SLICES, Output};
pub use parser::{Limits, MAX_LINE_LEN, Parsed, Parser, ProtocolError};
pub use peek::first_key;
pub use reply::{Protocol, Reply};
