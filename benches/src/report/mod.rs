//! The results as tables and as data.

pub mod json;
pub mod table;

use crate::args::Args;
use crate::machine::Machine;
use crate::results::Results;
use crate::server::Binary;

/// All that a report tells.
pub struct Report<'a> {
    /// The machine.
    pub machine: &'a Machine,
    /// The servers, the subject first.
    pub binaries: &'a [Binary],
    /// The command line.
    pub args: &'a Args,
    /// The samples.
    pub results: &'a Results,
}
