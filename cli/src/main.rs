//! The `emberkv` command. `emberkv server` starts a node, `emberkv doctor` looks at what one has left; a link named `emberkv-server` does the same.

mod doctor;
mod log;
mod server;

use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;

use clap::Command;

/// What the binary is called as.
const SERVER_LINK: &str = "emberkv-server";

fn command() -> Command {
    Command::new("emberkv")
        .version(env!("CARGO_PKG_VERSION"))
        .about("a durable, memory-efficient cache that redis clients use unchanged")
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommand(server::command())
        .subcommand(doctor::command())
}

fn main() -> ExitCode {
    let mut arguments: Vec<OsString> = std::env::args_os().collect();
    let called_as = arguments.first().and_then(|name| Path::new(name).file_name().map(OsString::from));
    if called_as.is_some_and(|name| name == SERVER_LINK) {
        arguments.insert(1, "server".into());
    }
    let matches = command().get_matches_from(arguments);
    match matches.subcommand() {
        Some(("server", matches)) => server::run(matches),
        Some(("doctor", matches)) => doctor::run(matches),
        _ => unreachable!("clap knows the subcommands"),
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_command_line_is_well_formed() {
        super::command().debug_assert();
    }
}
