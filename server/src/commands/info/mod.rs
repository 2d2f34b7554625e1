//! INFO: a section is a file.

/// Appends lines of `name:value` to a string.
macro_rules! lines {
    ($text:expr, $($name:literal: $value:expr),* $(,)?) => {
        // writing to a string does not fail
        $( let _ = write!($text, concat!($name, ":{}\r\n"), $value); )*
    };
}

mod clients;
mod cluster;
mod commands;
mod cores;
mod cpu;
mod errors;
mod keyspace;
mod memory;
mod persistence;
mod prometheus;
mod replication;
mod residency;
mod server;
mod snapshot;
mod stats;

use std::fmt::Write;

use emberkv_resp::Args;

pub(crate) use keyspace::dbs;
pub(crate) use memory::Used;
pub(crate) use prometheus::metrics_text;
pub(crate) use snapshot::Snapshot;

use super::Outcome;
use crate::core::Question;
use crate::core::shard::Shard;
use crate::driver::ConnId;

/// When a section is shown without being asked for by its name.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Shown {
    /// By INFO alone, and `default`.
    Usually,
    /// By `all` and `everything`.
    WithAll,
}

struct Section {
    heading: &'static str,
    shown: Shown,
    write: fn(&mut String, &Shard, &[Snapshot]),
}

/// In their order.
const SECTIONS: [Section; 14] = [
    Section { heading: "Server", shown: Shown::Usually, write: server::write },
    Section { heading: "Clients", shown: Shown::Usually, write: clients::write },
    Section { heading: "Memory", shown: Shown::Usually, write: memory::write },
    Section { heading: "Persistence", shown: Shown::Usually, write: persistence::write },
    Section { heading: "Stats", shown: Shown::Usually, write: stats::write },
    Section { heading: "Replication", shown: Shown::Usually, write: replication::write },
    Section { heading: "CPU", shown: Shown::Usually, write: cpu::write },
    Section { heading: "Modules", shown: Shown::Usually, write: |_, _, _| {} },
    Section { heading: "Commandstats", shown: Shown::WithAll, write: commands::write_counts },
    Section { heading: "Errorstats", shown: Shown::Usually, write: errors::write },
    Section { heading: "Latencystats", shown: Shown::WithAll, write: commands::write_percentiles },
    Section { heading: "Cluster", shown: Shown::Usually, write: cluster::write },
    Section { heading: "Keyspace", shown: Shown::Usually, write: keyspace::write },
    Section { heading: "Cores", shown: Shown::WithAll, write: cores::write },
];

/// Whether these sections of INFO show how long commands take.
pub(crate) fn shows_times(sections: &[String]) -> bool {
    sections.iter().any(|name| ["latencystats", "all", "everything"].contains(&&**name))
}

impl Shard {
    pub(super) fn info(&mut self, conn: ConnId, args: Args<'_>) -> Outcome {
        let sections = args.from(1).iter().map(|name| String::from_utf8_lossy(name).to_ascii_lowercase()).collect();
        self.ask_all(conn, Question::Info(sections));
        Ok(())
    }

    /// The text of INFO, out of what all cores have told.
    pub(crate) fn info_text(&self, wanted: &[String], cores: &[Snapshot]) -> String {
        let asked = |names: &[&str]| wanted.iter().any(|name| names.contains(&&**name));
        let usual = wanted.is_empty() || asked(&["default"]);
        let everything = asked(&["all", "everything"]);
        let mut text = String::new();
        for Section { heading, shown, write } in SECTIONS {
            let by_name = wanted.iter().any(|name| heading.eq_ignore_ascii_case(name));
            if !(everything || usual && shown == Shown::Usually || by_name) {
                continue;
            }
            if !text.is_empty() {
                text.push_str("\r\n");
            }
            let _ = write!(text, "# {heading}\r\n");
            write(&mut text, self, cores);
        }
        text
    }
}
