//! What was carried and what was not, for whoever called.

use std::collections::HashSet;
use std::fmt;
use std::io::Write as _;

/// So many are named; the others are counted.
const MOST_NAMED: usize = 20;

/// Text that may be of any bytes, for people, and not all of it if it is long.
pub(crate) fn shown(text: &[u8]) -> String {
    const MOST: usize = 120;
    let end = if text.len() > MOST { "..." } else { "" };
    format!("{}{end}", text[..text.len().min(MOST)].escape_ascii())
}

/// Says something on standard output; whoever reads that may have gone.
pub(crate) fn say(text: impl fmt::Display) {
    let _ = writeln!(std::io::stdout(), "{text}");
}

/// See the module.
#[derive(Default, Debug)]
pub(crate) struct Report {
    /// Keys.
    pub carried: u64,
    /// Of these, those that were sent as commands.
    pub in_pieces: u64,
    /// Keys whose time was over.
    pub expired: u64,
    /// Commands of the source's, after the copy.
    pub followed: u64,
    /// What was not carried, named and then counted.
    named: Vec<String>,
    failed: u64,
    /// A key that is sent in pieces may fail more than once.
    last: Option<(u64, Vec<u8>)>,
    /// Modules that have something beside their keys.
    modules: HashSet<String>,
}

impl Report {
    /// A key was not carried, or not all of it. False if that was said of it just before.
    pub fn fail(&mut self, db: u64, key: &[u8], why: &str) -> bool {
        if self.last.as_ref().is_some_and(|(old_db, old)| (*old_db, &old[..]) == (db, key)) {
            return false;
        }
        self.last = Some((db, key.to_vec()));
        self.fail_other(format!("key {} of database {db}: {why}", shown(key)));
        true
    }

    /// Something else was not.
    pub fn fail_other(&mut self, what: String) {
        self.failed += 1;
        if self.named.len() < MOST_NAMED {
            self.named.push(what);
        }
    }

    /// What a module has beside its keys was skipped.
    pub fn module(&mut self, name: String) {
        if !self.modules.contains(&name) {
            eprintln!("warning: what the module {name} keeps beside its keys is skipped");
            self.modules.insert(name);
        }
    }

    /// Whether all was carried.
    pub fn is_whole(&self) -> bool {
        self.failed == 0
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "keys: {} carried", self.carried)?;
        if self.in_pieces > 0 {
            write!(f, " ({} of them as commands)", self.in_pieces)?;
        }
        if self.expired > 0 {
            write!(f, ", {} left out that had expired", self.expired)?;
        }
        if self.followed > 0 {
            write!(f, "; commands followed: {}", self.followed)?;
        }
        if self.failed > 0 {
            write!(f, "\nnot carried: {}", self.failed)?;
            self.named.iter().try_for_each(|what| write!(f, "\n  {what}"))?;
            if self.failed > self.named.len() as u64 {
                write!(f, "\n  and {} more", self.failed - self.named.len() as u64)?;
            }
        }
        Ok(())
    }
}
