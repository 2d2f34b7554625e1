//! `help`, `help SET`, `help @string`.

use std::fmt::Write;

use emberkv_resp::schema::{COMMANDS, Command};

use super::complete::groups;
use super::hint::command;
use super::paint::{BOLD, DIM, PLAIN};

const GENERAL: &str = "\
help COMMAND     what a command does
help @GROUP      the commands of a group: GROUPS
<tab>            completes commands, options and keys already seen
N COMMAND        runs it N times
connect HOST PORT
:set nohints     no hints while typing; :set hints
clear, quit      ctrl-c ends SUBSCRIBE, MONITOR and what takes too long

";

/// What there is to say about these words; `coloured` for a terminal.
pub(super) fn about(words: &[Vec<u8>], coloured: bool) -> String {
    let Some(first) = words.first() else {
        return GENERAL.replace("GROUPS", &groups().join(" "));
    };
    if let Some(group) = first.strip_prefix(b"@") {
        let wanted = |command: &&Command| command.group.name().as_bytes().eq_ignore_ascii_case(group);
        let found: Vec<&Command> = COMMANDS.iter().filter(wanted).collect();
        return if found.is_empty() {
            "there is no such group\n".into()
        } else {
            found.into_iter().map(|command| short(command, coloured)).collect()
        };
    }
    match command(words) {
        Some((command, _)) => long(command, coloured),
        None => format!("{} is not in the table of commands\n", String::from_utf8_lossy(first)),
    }
}

/// The name, and what follows it.
fn title(command: &Command, coloured: bool) -> String {
    let usage = command.usage();
    let (name, arguments) = usage.split_at(command.name.len());
    if coloured { format!("{BOLD}{name}{PLAIN}{DIM}{arguments}{PLAIN}") } else { usage }
}

fn short(command: &Command, coloured: bool) -> String {
    format!("{}\n    {}\n", title(command, coloured), command.summary)
}

fn long(command: &Command, coloured: bool) -> String {
    let mut text = format!("\n  {}\n\n  {}\n\n", title(command, coloured), command.summary);
    // writing into a string does not fail.
    let _ = writeln!(text, "  since       {}", command.since);
    let _ = writeln!(text, "  group       {}", command.group.name());
    if !command.complexity.is_empty() {
        let _ = writeln!(text, "  complexity  {}", command.complexity);
    }
    if let Some(deprecated) = command.deprecated {
        let _ = writeln!(text, "  deprecated  since {}: use {}", deprecated.since, deprecated.instead);
    }
    for (version, change) in command.history {
        let _ = writeln!(text, "  {version:<11} {change}");
    }
    for subcommand in command.subcommands {
        let _ = writeln!(text, "\n  {}\n      {}", title(subcommand.command(), coloured), subcommand.command().summary);
    }
    text.push('\n');
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn help(line: &str) -> String {
        about(&crate::quote::split(line.as_bytes()).unwrap(), false)
    }

    #[test]
    fn commands_and_groups_are_explained() {
        assert!(help("set").contains("SET key value [NX | XX") && help("SET").contains("group       string"));
        assert!(help("config get").contains("CONFIG GET parameter"));
        assert!(help("config").contains("CONFIG RESETSTAT"));
        assert!(help("@string").contains("GETDEL key\n    ") && !help("@string").contains("EXPIRE key"));
        assert!(help("").contains("@generic"));
        assert!(help("nosuch").contains("not in the table") && help("@nosuch").contains("no such group"));
        assert!(about(&[b"get".to_vec()], true).contains("\x1b[1mGET\x1b[0m"));
    }
}
