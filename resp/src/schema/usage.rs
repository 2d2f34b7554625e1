//! Help for people, out of the table.

use std::fmt::Write;

use crate::reply::Reply;

use super::lookup::by_id;
use super::{Argument, ArgumentFlags, ArgumentKind, Command};

/// Replies to `<container> HELP`: each subcommand with its arguments, and what it does. `called`: the container's name, as the
/// client calls it.
pub fn help(container: &Command, called: &[u8], reply: &mut Reply<'_>) {
    reply.array(1 + container.subcommands.len() * 2);
    let name = container.name;
    let called = String::from_utf8_lossy(called).to_ascii_uppercase().replace(['\r', '\n'], " ");
    reply.simple(&format!("{called} <subcommand> [<arg> [value] [opt] ...]. Subcommands are:"));
    for subcommand in container.subcommands.iter().map(|id| by_id(*id)) {
        let usage = subcommand.usage();
        // the container's name is in the first line.
        reply.simple(usage.get(name.len() + 1..).unwrap_or(&usage));
        reply.simple(&format!("    {}", subcommand.summary));
    }
}

impl Command {
    /// How it is written: `GETEX key [EX seconds | PX milliseconds | PERSIST]`.
    #[must_use]
    pub fn usage(&self) -> String {
        let mut text = self.name.to_ascii_uppercase().replace('|', " ");
        for argument in self.arguments {
            text.push(' ');
            write_argument(argument, &mut text);
        }
        text
    }
}

impl Argument {
    /// How it is written: `[EX seconds]`.
    #[must_use]
    pub fn usage(&self) -> String {
        let mut text = String::new();
        write_argument(self, &mut text);
        text
    }

    /// How what follows its token is written: `seconds`.
    #[must_use]
    pub fn value_usage(&self) -> String {
        let mut text = String::new();
        write_value(self, false, &mut text);
        text
    }
}

fn write_argument(argument: &Argument, out: &mut String) {
    let optional = argument.flags.contains(ArgumentFlags::OPTIONAL);
    if optional {
        out.push('[');
    }
    if let Some(token) = argument.token {
        out.push_str(token);
    }
    if argument.token.is_some() && argument.kind != ArgumentKind::PureToken {
        out.push(' ');
    }
    let mut value = String::new();
    write_value(argument, optional, &mut value);
    out.push_str(&value);
    if argument.flags.contains(ArgumentFlags::MULTIPLE) {
        let token = if argument.flags.contains(ArgumentFlags::MULTIPLE_TOKEN) {
            argument.token.map(|token| format!("{token} ")).unwrap_or_default()
        } else {
            String::new()
        };
        let _ = write!(out, " [{token}{value} ...]");
    }
    if optional {
        out.push(']');
    }
}

/// The argument without its token; the choices of a oneof need no brackets of their own where they have some already.
fn write_value(argument: &Argument, bracketed: bool, out: &mut String) {
    let separator = match argument.kind {
        ArgumentKind::PureToken => return,
        ArgumentKind::Oneof => " | ",
        ArgumentKind::Block => " ",
        _ => return out.push_str(argument.name),
    };
    let angled = argument.kind == ArgumentKind::Oneof && (!bracketed || argument.token.is_some());
    if angled {
        out.push('<');
    }
    for (i, nested) in argument.arguments.iter().enumerate() {
        if i > 0 {
            out.push_str(separator);
        }
        write_argument(nested, out);
    }
    if angled {
        out.push('>');
    }
}
