//! What the editor asks while a line is typed.

use std::borrow::Cow;

use rustyline::completion::Completer;
use rustyline::highlight::{CmdKind, Highlighter};
use rustyline::hint::{Hint, Hinter};
use rustyline::validate::{ValidationContext, ValidationResult, Validator};
use rustyline::{Context, Helper};

use super::hint::{Left, command};
use super::keys::SeenKeys;
use super::{complete, paint};
use crate::quote::{Unsplit, split};

/// Completes, hints, paints.
pub(super) struct Assistant {
    /// Keys that were seen.
    pub(super) keys: SeenKeys,
    /// Whether arguments are shown while typing.
    pub(super) hints: bool,
}

impl Default for Assistant {
    fn default() -> Self {
        Self { keys: SeenKeys::default(), hints: true }
    }
}

/// Arguments to come: to be read, not to be taken over.
pub(super) struct ToCome(String);

impl Hint for ToCome {
    fn display(&self) -> &str {
        &self.0
    }

    fn completion(&self) -> Option<&str> {
        None
    }
}

impl Completer for Assistant {
    type Candidate = String;

    fn complete(&self, line: &str, pos: usize, _: &Context<'_>) -> rustyline::Result<(usize, Vec<String>)> {
        Ok(complete::complete(&line[..pos], &self.keys))
    }
}

impl Hinter for Assistant {
    type Hint = ToCome;

    fn hint(&self, line: &str, pos: usize, _: &Context<'_>) -> Option<ToCome> {
        if !self.hints || pos < line.len() {
            return None;
        }
        let words = split(line.as_bytes()).ok()?;
        let (command, used) = command(&words)?;
        let to_come = if used == 1 && words.len() == 1 && !command.subcommands.is_empty() {
            "subcommand ...".to_owned()
        } else {
            Left::after(command, &words[used..]).show()
        };
        let space = if line.ends_with(' ') { "" } else { " " };
        (!to_come.is_empty()).then(|| ToCome(format!("{space}{to_come}")))
    }
}

impl Highlighter for Assistant {
    fn highlight<'l>(&self, line: &'l str, _: usize) -> Cow<'l, str> {
        paint::line(line).into()
    }

    fn highlight_hint<'h>(&self, hint: &'h str) -> Cow<'h, str> {
        format!("{}{hint}{}", paint::DIM, paint::PLAIN).into()
    }

    fn highlight_char(&self, _: &str, _: usize, kind: CmdKind) -> bool {
        // a letter more can change the colour of the whole word.
        kind != CmdKind::MoveCursor
    }
}

impl Validator for Assistant {
    fn validate(&self, context: &mut ValidationContext<'_>) -> rustyline::Result<ValidationResult> {
        Ok(match split(context.input().as_bytes()) {
            Err(Unsplit::Open) => ValidationResult::Incomplete,
            _ => ValidationResult::Valid(None),
        })
    }
}

impl Helper for Assistant {}
