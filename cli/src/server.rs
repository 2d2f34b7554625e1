//! `emberkv server`.

use std::ffi::OsString;
use std::io::Write;
use std::process::ExitCode;

use clap::{Arg, ArgMatches, Command};
use emberkv_server::config;
use emberkv_server::failpoint::{self, Init, Point};

/// The subcommand. Its words are redis's (`[file] --directive value ...`), so clap hands them on as they are.
pub(crate) fn command() -> Command {
    Command::new("server")
        .about("start a node")
        .override_usage("emberkv server [/path/to/redis.conf | -] [--directive value ...]")
        .disable_help_flag(true)
        .arg(
            Arg::new("words")
                .value_parser(clap::value_parser!(OsString))
                .num_args(0..)
                .trailing_var_arg(true)
                .allow_hyphen_values(true),
        )
}

/// Serves until it is told to end.
pub(crate) fn run(matches: &ArgMatches) -> ExitCode {
    let words: Vec<OsString> = matches.get_many("words").into_iter().flatten().cloned().collect();
    if words.iter().any(|word| word == "--help" || word == "-h") {
        // the reader may have gone, as `head` does
        let _ = write!(
            std::io::stdout(),
            "usage: emberkv server [/path/to/redis.conf | -] [--directive value ...]\n\n{}",
            config::help()
        );
        return ExitCode::SUCCESS;
    }
    if words.iter().any(|word| word == "--version" || word == "-v") {
        let _ = writeln!(std::io::stdout(), "emberkv server v={}", env!("CARGO_PKG_VERSION"));
        return ExitCode::SUCCESS;
    }
    match failpoint::init() {
        Ok(Init::Run) => {}
        Ok(Init::List) => {
            for point in Point::ALL {
                let _ = writeln!(std::io::stdout(), "{}", point.name());
            }
            return ExitCode::SUCCESS;
        }
        Err(error) => {
            eprintln!("emberkv: {error}");
            return ExitCode::FAILURE;
        }
    }
    let loaded = match config::load(words) {
        Ok(loaded) => loaded,
        Err(error) => {
            eprintln!("emberkv: {error}");
            return ExitCode::FAILURE;
        }
    };
    if let Err(error) = crate::log::start(&loaded.config) {
        eprintln!("emberkv: {error}");
        return ExitCode::FAILURE;
    }
    match emberkv_server::serve(loaded, crate::log::set_level) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error}");
            ExitCode::FAILURE
        }
    }
}
