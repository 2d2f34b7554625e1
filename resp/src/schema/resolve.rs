//! From a request to its command, and the errors for those that have none.

use crate::args::Args;

use super::Command;

/// An error quotes at most so many bytes of a name, and so many of all the arguments together.
const QUOTED_BYTES: usize = 128;

/// Why a request names no command, or not so that it can be executed.
#[derive(Clone, Copy, Debug)]
pub enum Unresolved {
    /// There is no command of this name.
    Command,
    /// This container has no such subcommand.
    Subcommand(&'static Command),
    /// This command does not take so many arguments.
    Arity(&'static Command),
}

impl Unresolved {
    /// The text of the error reply to the request `args`.
    #[must_use]
    pub fn reply(self, args: Args<'_>) -> Vec<u8> {
        match self {
            Self::Command => unknown_command(args),
            Self::Subcommand(_) => unknown_subcommand(args.at(0), args.at(1)),
            Self::Arity(command) => arity_error(command.name).into_bytes(),
        }
    }
}

/// The error for a wrong number of arguments; `name` is the full one, `config|get`.
#[must_use]
pub fn arity_error(name: &str) -> String {
    format!("ERR wrong number of arguments for '{name}' command")
}

/// What an error quotes of a client's bytes: up to the first NUL, as redis does.
fn quoted(bytes: &[u8], max: usize) -> &[u8] {
    let bytes = &bytes[..bytes.len().min(max)];
    let end = bytes.iter().position(|b| *b == 0);
    &bytes[..end.unwrap_or(bytes.len())]
}

fn unknown_command(args: Args<'_>) -> Vec<u8> {
    let mut text = b"ERR unknown command '".to_vec();
    text.extend_from_slice(quoted(args.get(0).unwrap_or_default(), QUOTED_BYTES));
    text.extend_from_slice(b"', with args beginning with: ");
    // the quotes and spaces count too.
    let begin = text.len();
    for arg in args.from(1).iter() {
        let used = text.len() - begin;
        if used >= QUOTED_BYTES {
            break;
        }
        text.push(b'\'');
        text.extend_from_slice(quoted(arg, QUOTED_BYTES - used));
        text.extend_from_slice(b"' ");
    }
    text
}

/// `container`: as the client calls it.
fn unknown_subcommand(container: &[u8], name: &[u8]) -> Vec<u8> {
    let mut text = b"ERR unknown subcommand '".to_vec();
    text.extend_from_slice(quoted(name, QUOTED_BYTES));
    text.extend_from_slice(b"'. Try ");
    text.extend_from_slice(&container.to_ascii_uppercase());
    text.extend_from_slice(b" HELP.");
    text
}
