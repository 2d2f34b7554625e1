//! The terminal client, `emberkv cli` (one command, a script or a prompt), and `emberkv bench`; for any server that speaks
//! redis's protocol. What talks to servers besides (`emberkv import` and its like) uses its connections.

#[cfg(target_os = "linux")]
mod bench;
mod connection;
mod console;
mod error;
mod format;
mod modes;
mod options;
mod prompt;
mod quote;
mod script;
mod session;
mod stream;
mod target;
mod tls;
mod value;

use std::io::{ErrorKind, IsTerminal, Read};
use std::process::ExitCode;

use clap::{ArgMatches, Args, Command, FromArgMatches};

pub use connection::{Connection, Interrupt, encode};
pub use error::Error;
pub use target::{Place, Target};
pub use tls::TlsArgs;
pub use value::Value;

use console::Console;
use error::Result;
use options::Options;

/// The subcommands.
#[must_use]
pub fn commands() -> Vec<Command> {
    vec![
        Options::augment_args(Command::new("cli")).override_usage("emberkv cli [OPTIONS] [COMMAND [ARGUMENT]...]"),
        #[cfg(target_os = "linux")]
        bench::command(),
    ]
}

/// Does what the command line says, if it is one of [`commands`].
#[must_use]
pub fn run(name: &str, matches: &ArgMatches) -> Option<ExitCode> {
    match name {
        "cli" => Some(cli(matches)),
        #[cfg(target_os = "linux")]
        "bench" => Some(bench::start(matches)),
        _ => None,
    }
}

fn cli(matches: &ArgMatches) -> ExitCode {
    let options = match Options::from_arg_matches(matches) {
        Ok(options) => options,
        Err(error) => error.exit(),
    };
    match start(&options) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(Error::Output(error)) if error.kind() == ErrorKind::BrokenPipe => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("emberkv cli: {error}");
            ExitCode::FAILURE
        }
    }
}

/// False: something that was said already.
fn start(options: &Options) -> Result<bool> {
    if let Some(seconds) = options.modes.intrinsic_latency {
        return modes::intrinsic_latency(seconds).map(|()| true);
    }
    let target = options.target()?;
    if let Some(outcome) = modes::run(options, &target)? {
        return Ok(outcome);
    }
    let stdin = if options.reads_an_argument() { Some(read_stdin()?) } else { None };
    let words = options.words(stdin)?;
    let mut console = Console::new(options, target);
    if !words.is_empty() {
        return match options.watch {
            Some(pause) => console.watch(&words, pause).map(|never| match never {}),
            None => console.repeat(&words, options.repeat, options.pause()),
        };
    }
    if options.watch.is_some() {
        return Err(Error::Usage("--watch needs a command".into()));
    }
    if std::io::stdin().is_terminal() && std::io::stdout().is_terminal() {
        return prompt::run(&mut console, !options.yes).map(|()| true);
    }
    script::run(&mut console, std::io::stdin().lock())
}

fn read_stdin() -> Result<Vec<u8>> {
    let mut text = Vec::new();
    let read = std::io::stdin().read_to_end(&mut text);
    read.map_err(|source| Error::Io { what: "reading standard input", source })?;
    Ok(text)
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
