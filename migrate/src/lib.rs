//! How data come to emberkv and how they leave it: `emberkv import` (an RDB file, or a redis or valkey that is followed as
//! one of its replicas), `emberkv dump`, and `emberkv compare`.

mod apply;
mod compare;
mod dump;
mod error;
mod file;
mod follow;
mod link;
mod load;
mod options;
mod rdb;
mod report;
mod rewrite;
mod servers;
mod sink;
mod state;

use std::process::ExitCode;

use clap::ArgMatches;

pub use options::commands;

use error::Result;
use report::{Report, say};

/// `compare`: they are not equal. `import` and `dump`: not all was carried.
const NOT_WHOLE: u8 = 1;
/// It could not be done.
const FAILED: u8 = 2;

/// Does what the command line says, if it is one of [`commands`].
#[must_use]
pub fn run(name: &str, matches: &ArgMatches) -> Option<ExitCode> {
    let done = match name {
        "import" => options::import(matches).and_then(|job| import(&job)),
        "dump" => options::dump(matches).and_then(|(from, path, version)| {
            dump::dump(&from, &path, version, &servers::interrupts()?).map(|report| told(&report))
        }),
        "compare" => options::compare(matches).and_then(|job| compare(&job)),
        _ => return None,
    };
    Some(done.unwrap_or_else(|error| {
        eprintln!("emberkv {name}: {error}");
        ExitCode::from(FAILED)
    }))
}

fn import(job: &options::Import) -> Result<ExitCode> {
    let interrupt = servers::interrupts()?;
    let report = match job {
        options::Import::File { path, to, resume } => file::import(path, to, resume.as_deref(), &interrupt)?,
        options::Import::Server(job) => follow::run(job, &interrupt)?,
    };
    Ok(told(&report))
}

/// Says what was carried.
fn told(report: &Report) -> ExitCode {
    eprintln!("{report}");
    if report.is_whole() { ExitCode::SUCCESS } else { ExitCode::from(NOT_WHOLE) }
}

fn compare(job: &compare::Job) -> Result<ExitCode> {
    let outcome = compare::compare(job, &servers::interrupts()?)?;
    outcome.named.iter().for_each(say);
    let compare::Outcome { compared, missing, extra, different, .. } = outcome;
    say(format_args!("{compared} keys compared: {missing} missing, {extra} extra, {different} different"));
    Ok(if outcome.is_equal() { ExitCode::SUCCESS } else { ExitCode::from(NOT_WHOLE) })
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_command_line_is_well_formed() {
        for command in super::commands() {
            command.debug_assert();
        }
    }
}
