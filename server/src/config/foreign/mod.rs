//! Redis's directives that mean nothing here.
//!
//! They are accepted, so that a redis.conf starts unchanged, and kept, so that CONFIG GET
//! returns what was given. Each has a note about what emberkv does instead. The few that would
//! leave a server open, or with data that its operator does not expect, if they were ignored
//! are refused instead.

mod kind;
mod rows;

use std::collections::BTreeMap;
use std::fmt;

pub(super) use kind::Kind;

use super::table::When;
use super::values::Reason;
use rows::BLOCKS;

/// Rows that share a note.
pub(super) struct Block {
    /// What emberkv does instead, or why the start is refused.
    pub note: &'static str,
    /// Whether any value but the default is refused.
    pub is_refused: bool,
    pub rows: &'static [Foreign],
}

/// A directive of redis's.
pub(super) struct Foreign {
    pub name: &'static str,
    pub aliases: &'static [&'static str],
    pub when: When,
    pub kind: Kind,
    /// Redis's default, as CONFIG GET prints it.
    pub default: &'static str,
}

/// Every row.
pub(super) fn rows() -> impl Iterator<Item = &'static Foreign> {
    BLOCKS.iter().flat_map(|block| block.rows)
}

impl Foreign {
    /// Whether the default is what emberkv does, so that giving it needs no note: `appendonly yes`
    /// and the directives that are refused otherwise.
    pub fn is_served(&self) -> bool {
        matches!(self.kind, Kind::AlwaysYes) || self.block().is_refused
    }

    /// The block that the row stands in.
    pub fn block(&self) -> &'static Block {
        let holds = |block: &&Block| block.rows.iter().any(|row| row.name == self.name);
        let found = BLOCKS.iter().find(holds);
        debug_assert!(found.is_some(), "every row stands in a block");
        found.unwrap_or(&BLOCKS[0])
    }
}

/// The values of foreign directives, where they are not redis's defaults.
#[derive(Clone, PartialEq, Eq, Default)]
pub(super) struct Given(BTreeMap<&'static str, Vec<u8>>);

impl Given {
    /// The value as CONFIG GET prints it.
    pub fn get(&self, row: &Foreign) -> Vec<u8> {
        self.0.get(row.name).map_or_else(|| row.default.as_bytes().to_vec(), Clone::clone)
    }

    /// Checks and keeps a value; whether it asks for something else than redis's default.
    ///
    /// # Errors
    /// When the value is none of its kind, or the directive is one that is refused.
    pub fn set(&mut self, row: &'static Foreign, words: &[&[u8]]) -> Result<bool, Reason> {
        let value = row.kind.canonical(words)?;
        let differs = value != row.default.as_bytes();
        let block = row.block();
        if differs && block.is_refused {
            return Err(Reason::new(block.note));
        }
        if !differs || matches!(row.kind, Kind::AlwaysYes) {
            self.0.remove(row.name);
        } else {
            self.0.insert(row.name, value);
        }
        Ok(differs)
    }
}

impl fmt::Debug for Given {
    /// Names only: there are passwords among the values.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::values::split_list;

    #[test]
    fn every_default_is_what_redis_would_print() {
        for row in rows().filter(|row| !row.default.is_empty()) {
            let words =
                if row.kind.takes_list() { split_list(row.default.as_bytes()) } else { vec![row.default.as_bytes()] };
            let printed = row.kind.canonical(&words).unwrap();
            assert_eq!(String::from_utf8_lossy(&printed), row.default, "{}", row.name);
        }
    }

    #[test]
    fn appendonly_stays_yes_whatever_is_asked() {
        let row = rows().find(|row| row.name == "appendonly").unwrap();
        let mut given = Given::default();
        assert_eq!(given.set(row, &[b"no"]), Ok(true));
        assert_eq!(given.get(row), b"yes");
        assert!(given.set(row, &[b"maybe"]).is_err());
    }

    #[test]
    fn what_would_leave_the_server_open_is_refused() {
        let row = rows().find(|row| row.name == "cluster-enabled").unwrap();
        assert!(Given::default().set(row, &[b"yes"]).is_err());
        assert_eq!(Given::default().set(row, &[b"no"]), Ok(false));
    }
}
