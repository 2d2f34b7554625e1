//! The `emberkv` command. `emberkv server` starts a node, `emberkv cli` talks to one, `emberkv doctor` looks at what one has left;
//! links named `emberkv-server` and `emberkv-cli` do the same as the first two.

mod doctor;
mod generate;
mod log;
mod server;

use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;

use clap::Command;

/// What the binary may be called as, and the subcommand that it then is.
const LINKS: [(&str, &str); 2] = [("emberkv-server", "server"), ("emberkv-cli", "cli")];

fn command() -> Command {
    Command::new("emberkv")
        .version(env!("CARGO_PKG_VERSION"))
        .about("a durable, memory-efficient cache that redis clients use unchanged")
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommand(server::command())
        .subcommands(emberkv_console::commands())
        .subcommands(emberkv_migrate::commands())
        .subcommand(doctor::command())
        .subcommands(generate::commands())
}

fn main() -> ExitCode {
    let mut arguments: Vec<OsString> = std::env::args_os().collect();
    let called_as = arguments.first().and_then(|name| Path::new(name).file_name().map(OsString::from));
    if let Some((_, subcommand)) = LINKS.iter().find(|(link, _)| called_as.as_ref().is_some_and(|name| name == link)) {
        arguments.insert(1, subcommand.into());
    }
    let matches = command().get_matches_from(arguments);
    match matches.subcommand() {
        Some(("server", matches)) => server::run(matches),
        Some(("doctor", matches)) => doctor::run(matches),
        Some((name, matches)) => emberkv_console::run(name, matches)
            .or_else(|| emberkv_migrate::run(name, matches))
            .or_else(|| generate::run(name, matches, command()))
            .unwrap_or_else(|| unreachable!("clap knows the subcommands")),
        None => unreachable!("a subcommand is required"),
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_command_line_is_well_formed() {
        super::command().debug_assert();
    }
}
