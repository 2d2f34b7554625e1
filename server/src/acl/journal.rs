//! What was denied lately: ACL LOG. One for all cores, which only who is denied something writes to.

use std::collections::VecDeque;

/// What was denied.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Reason {
    Command,
    Key,
    Channel,
    /// To come in.
    Auth,
}

impl Reason {
    pub fn name(self) -> &'static str {
        match self {
            Self::Command => "command",
            Self::Key => "key",
            Self::Channel => "channel",
            Self::Auth => "auth",
        }
    }
}

/// Where it was asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Context {
    TopLevel,
    Multi,
}

impl Context {
    pub fn name(self) -> &'static str {
        match self {
            Self::TopLevel => "toplevel",
            Self::Multi => "multi",
        }
    }
}

/// An entry.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Entry {
    pub id: u64,
    pub count: u64,
    pub reason: Reason,
    pub context: Context,
    pub object: Vec<u8>,
    pub user: Vec<u8>,
    pub client: Vec<u8>,
    pub created_ms: u64,
    pub updated_ms: u64,
}

/// The same denial within this time only counts up.
const SAME_WITHIN_MS: u64 = 60_000;
/// As far as it is looked for.
const LOOKED_AT: usize = 10;

/// See the module. The newest entry is the first.
#[derive(Debug, Default)]
pub(crate) struct Journal {
    entries: VecDeque<Entry>,
    next_id: u64,
}

impl Journal {
    /// Adds a denial; `max_len` entries are kept.
    pub fn add(&mut self, denial: Entry, max_len: usize) {
        let is_same = |entry: &Entry| {
            (entry.reason, entry.context) == (denial.reason, denial.context)
                && denial.updated_ms.saturating_sub(entry.updated_ms) <= SAME_WITHIN_MS
                && entry.object == denial.object
                && entry.user == denial.user
        };
        let same = self.entries.iter().take(LOOKED_AT).position(is_same);
        if let Some(mut entry) = same.and_then(|i| self.entries.remove(i)) {
            entry.count += 1;
            (entry.client, entry.updated_ms) = (denial.client, denial.updated_ms);
            self.entries.push_front(entry);
        } else {
            self.entries.push_front(Entry { id: self.next_id, ..denial });
            self.next_id += 1;
            self.entries.truncate(max_len);
        }
    }

    pub fn entries(&self) -> impl ExactSizeIterator<Item = &Entry> {
        self.entries.iter()
    }

    pub fn clear(&mut self) {
        self.entries.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn denial(object: &str, at_ms: u64) -> Entry {
        Entry {
            id: 0,
            count: 1,
            reason: Reason::Key,
            context: Context::TopLevel,
            object: object.into(),
            user: b"alice".to_vec(),
            client: Vec::new(),
            created_ms: at_ms,
            updated_ms: at_ms,
        }
    }

    #[test]
    fn the_same_denial_counts_up_within_a_minute() {
        let mut journal = Journal::default();
        journal.add(denial("a", 0), 3);
        journal.add(denial("b", 10), 3);
        journal.add(denial("a", 60_000), 3);
        let seen: Vec<_> = journal.entries().map(|e| (e.id, e.count, e.created_ms, e.updated_ms)).collect();
        assert_eq!(seen, [(0, 2, 0, 60_000), (1, 1, 10, 10)]);
        journal.add(denial("a", 120_001), 3);
        journal.add(denial("c", 120_001), 3);
        let ids: Vec<_> = journal.entries().map(|e| e.id).collect();
        assert_eq!(ids, [3, 2, 0], "the oldest has gone");
    }
}
