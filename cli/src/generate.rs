//! `emberkv completions` and `emberkv man`: what shells and `man` know of the command line, made from it.

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Arg, ArgMatches, Command, value_parser};
use clap_complete::Shell;

/// The subcommands.
pub(crate) fn commands() -> [Command; 2] {
    [
        Command::new("completions")
            .about("print what a shell needs to complete emberkv's command line")
            .after_help("bash: source <(emberkv completions bash)\nzsh:  emberkv completions zsh > \"${fpath[1]}/_emberkv\"\nfish: emberkv completions fish > ~/.config/fish/completions/emberkv.fish")
            .arg(Arg::new("shell").required(true).value_parser(value_parser!(Shell))),
        Command::new("man")
            .about("print the manual page, or write one for each subcommand into a directory")
            .arg(Arg::new("directory").value_parser(value_parser!(PathBuf))),
    ]
}

/// Does what the command line says, if it is one of [`commands`]; `all` is the whole command line.
pub(crate) fn run(name: &str, matches: &ArgMatches, mut all: Command) -> Option<ExitCode> {
    let done = match name {
        "completions" => {
            let shell = matches.get_one::<Shell>("shell").copied()?;
            let mut text = Vec::new();
            clap_complete::generate(shell, &mut all, "emberkv", &mut text);
            print(&text)
        }
        "man" => match matches.get_one::<PathBuf>("directory") {
            Some(directory) => {
                std::fs::create_dir_all(directory).and_then(|()| clap_mangen::generate_to(all, directory))
            }
            None => {
                let mut text = Vec::new();
                clap_mangen::Man::new(all).render(&mut text).and_then(|()| print(&text))
            }
        },
        _ => return None,
    };
    Some(match done {
        Ok(()) => ExitCode::SUCCESS,
        // the reader may have gone, as `head` does
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("emberkv: {error}");
            ExitCode::FAILURE
        }
    })
}

fn print(text: &[u8]) -> io::Result<()> {
    io::stdout().write_all(text)
}
