//! `emberkv bench`: load on a server, and what it makes of it.

mod compare;
mod options;
mod recipe;
mod report;
mod run;

use std::process::ExitCode;

use clap::{ArgMatches, Args, Command, FromArgMatches};
use emberkv_load::interrupt;

use crate::error::Error;
use options::Options;

/// The subcommand.
pub(crate) fn command() -> Command {
    Options::augment_args(Command::new("bench"))
}

/// Does what the command line says.
pub(crate) fn start(matches: &ArgMatches) -> ExitCode {
    let options = match Options::from_arg_matches(matches) {
        Ok(options) => options,
        Err(error) => error.exit(),
    };
    interrupt::install();
    match measure(&options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("emberkv bench: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Why there is no result.
#[derive(Debug, thiserror::Error)]
enum BenchError {
    /// The load generator, or the server under it.
    #[error(transparent)]
    Load(#[from] emberkv_load::LoadError),
    /// What was asked for, or where.
    #[error(transparent)]
    Console(#[from] Error),
    /// The results can't be written.
    #[error("writing {path}: {source}")]
    Write {
        /// The file.
        path: String,
        /// What the system says.
        source: std::io::Error,
    },
    /// The server refuses what the workload consists of.
    #[error("{errors} of {requests} requests were answered with errors: {first}")]
    Refused {
        /// How many.
        errors: u64,
        /// Of how many.
        requests: u64,
        /// The first one.
        first: String,
    },
}

fn measure(options: &Options) -> Result<(), BenchError> {
    let plan = options.plan()?;
    let (text, json) = match &options.compare {
        None => {
            let target = options.target()?;
            run::load(&plan, &target)?;
            let outcome = run::run(&plan, &target, !options.quiet)?;
            outcome.check()?;
            (report::one(&plan, &target, &outcome), report::one_json(&plan, &target, &outcome))
        }
        Some(places) => compare::run(options, &plan, places)?,
    };
    crate::console::print(text.as_bytes())?;
    if let Some(path) = &options.json {
        std::fs::write(path, json + "\n")
            .map_err(|source| BenchError::Write { path: path.display().to_string(), source })?;
    }
    Ok(())
}
