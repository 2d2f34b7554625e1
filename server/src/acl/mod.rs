//! Who may do what: users with their passwords, and the commands, keys and channels that are theirs, by redis's rules.
//!
//! What a user may do is a value that is never changed: a change makes another one, which all cores take over, each for its own
//! connections. So a connection knows whether its user may do everything, and then nothing is looked up for its commands.

mod file;
mod journal;
mod password;
mod rule;
mod selector;
mod user;
mod users;

pub(crate) use file::{lines_of, load_file, save_file};
pub(crate) use journal::{Context, Entry, Journal, Reason};
pub(crate) use rule::RuleError;
pub(crate) use selector::{Denied, Selector};
pub(crate) use user::{User, merge_selectors};
pub(crate) use users::{DEFAULT, Users};

/// Whether there is something in a name that may not be.
pub(crate) fn has_space(text: &[u8]) -> bool {
    text.iter().any(|byte| matches!(byte, 0 | b'\t'..=b'\r' | b' '))
}

#[cfg(test)]
mod tests;
