//! The deliberate differences, listed in a file with their reasons.

use std::collections::BTreeSet;
use std::path::Path;

use crate::{Error, Result};

/// One listed difference.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Entry {
    line: usize,
    script: String,
    /// 2, 3, or none for both.
    protocol: Option<u8>,
    step: String,
}

/// The list. Lines are `script :: protocol :: step :: reason`, where protocol is `2`, `3` or
/// `any` and step is the script's line as written; `#` begins a comment.
#[derive(Debug, Clone, Default)]
pub struct Differences {
    entries: Vec<Entry>,
    seen: BTreeSet<usize>,
}

impl Differences {
    /// Reads the list.
    ///
    /// # Errors
    /// When it can't be read, or a line lacks a part; a reason is such a part.
    pub fn load(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| Error::Io { what: format!("reading {}", path.display()), source })?;
        Self::parse(&path.display().to_string(), &text)
    }

    fn parse(file: &str, text: &str) -> Result<Self> {
        let mut list = Self::default();
        for (number, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let parts: Vec<&str> = line.split(" :: ").map(str::trim).collect();
            let bad = |message: &str| Error::Script { file: file.into(), line: number + 1, message: message.into() };
            let [script, protocol, step, reason] = parts[..] else {
                return Err(bad("a difference is `script :: protocol :: step :: reason`"));
            };
            if reason.is_empty() {
                return Err(bad("a difference needs a reason"));
            }
            let protocol = match protocol {
                "any" => None,
                "2" => Some(2),
                "3" => Some(3),
                _ => return Err(bad("the protocol is 2, 3 or any")),
            };
            let (script, step) = (script.to_owned(), step.to_owned());
            list.entries.push(Entry { line: number + 1, script, protocol, step });
        }
        Ok(list)
    }

    /// Whether a difference is listed; it is noted as seen.
    pub fn excuse(&mut self, script: &str, protocol: u8, step: &str) -> bool {
        let found = self.entries.iter().position(|entry| {
            entry.script == script && entry.step == step && entry.protocol.is_none_or(|p| p == protocol)
        });
        if let Some(found) = found {
            self.seen.insert(found);
        }
        found.is_some()
    }

    /// Listed differences that did not show: the list is out of date.
    #[must_use]
    pub fn unseen(&self) -> Vec<String> {
        self.entries
            .iter()
            .enumerate()
            .filter(|(number, _)| !self.seen.contains(number))
            .map(|(_, entry)| {
                format!(
                    "line {}: {} {:?} no longer differs: strike it from the list",
                    entry.line, entry.script, entry.step
                )
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listed_difference_is_excused_and_an_unseen_one_reported() {
        let text = "a.txt :: any :: COMMAND COUNT :: fewer\na.txt :: 3 :: GET a :: because";
        let mut list = Differences::parse("d", text).unwrap();
        assert!(list.excuse("a.txt", 2, "COMMAND COUNT"));
        assert!(!list.excuse("a.txt", 2, "GET a"));
        assert_eq!(list.unseen().len(), 1);
    }

    #[test]
    fn a_difference_without_a_reason_is_refused() {
        assert!(Differences::parse("d", "a.txt :: any :: GET a").is_err());
    }
}
