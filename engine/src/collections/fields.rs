//! Fields of hashes that expire (decision 0055).
//!
//! ```text
//!  whole    key -> [ hash | count | due | 1700 a 1 | 0 b 2 ]
//!
//!  split    key -> [ hash | count | due | ... | tree ]
//!                           |               '--> (1700 a) (1800 c) ...      in the order in which they expire
//!                     leaves: [ 0 1700 . a 1 | . b 2 ] ...
//! ```
//!
//! *due* is when the first one expires. Who looks a hash up at that time or later has what is due removed first, as an effect in the log like any other: nobody
//! ever sees a field that has expired, and no replay brings one back. For a hash that nobody asks about the wheel does.

use std::ops::ControlFlow;

use emberkv_log::disk::Disk;
use emberkv_log::{Purpose, Value};

use super::Type;
use super::draft::{Draft, Form};
use super::pairs::{Pair, Pairs, push_copy};
use super::root::{Head, Whole};
use super::tree::{Source, TreeDraft, TreeRoot, each};
use crate::events::Cause;
use crate::lookup::{Found, Key, Lookup};
use crate::partition::Partition;
use crate::stop::Stop;

/// When a field expires that is set.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Expiry {
    /// When it did till now.
    Stays,
    Never,
    At(u64),
}

/// When the first field of a value expires; 0 if none does.
pub(crate) fn due_ms_of(value: Value<'_>) -> u64 {
    match value {
        Value::Whole(bytes) => Whole::read(bytes).head.due_ms,
        Value::Root(bytes) => Head::take(&mut &*bytes).map_or(0, |head| head.due_ms),
        Value::Bytes(_) | Value::Int(_) | Value::Packed(_) | Value::Chunked(_) => 0,
    }
}

/// What the tree has of a field: when it expires, in the order of bytes, and which it is.
fn element(expires_at_ms: u64, field: &[u8]) -> Vec<u8> {
    [&expires_at_ms.to_be_bytes(), field].concat()
}

fn expires(pair: &Pair<'_>) -> bool {
    pair.expires_at_ms > 0
}

/// The tree of those of these pairs that expire.
pub(super) fn tree_of_times(pairs: Pairs<'_>) -> TreeDraft {
    let mut elements: Vec<_> = pairs.filter(expires).map(|pair| element(pair.expires_at_ms, pair.field)).collect();
    elements.sort();
    TreeDraft::build(elements.iter().map(Vec::as_slice), true)
}

impl<D: Disk> Partition<D> {
    /// What was looked up, without what has expired of it.
    ///
    /// # Errors
    /// See [`Stop`].
    pub(crate) fn without_due(&mut self, key: Key<'_>, lookup: Lookup) -> Result<Lookup, Stop> {
        match lookup.live() {
            Some(found) if self.head(found).is_some_and(|head| head.is_due(self.now_ms)) => {
                self.remove_due(key, found).map(|()| self.peek(key))
            }
            _ => Ok(lookup),
        }
    }

    /// Removes the fields of a hash that have expired, and it with the last one.
    ///
    /// # Errors
    /// See [`Stop`].
    #[cold]
    pub(crate) fn remove_due(&mut self, key: Key<'_>, found: Found) -> Result<(), Stop> {
        if self.is_follower() {
            return Ok(()); // they go by its primary's word (R4)
        }
        let mut draft = self.draft(Type::Hash, Some(found));
        let due = self.due_fields(key, &mut draft)?;
        if let Some(root) = self.root(found) {
            self.bring_elements(key, root, due.iter().map(Vec::as_slice))?;
        }
        // at once, and also what no leaf has: of whatever is on the disk, nothing stays due
        if let Form::Split { root, tree, .. } = &mut draft.form {
            tree.remove(&mut self.nodes(key, root.id), 0, due.len() as u64, None)?;
        }
        for field in &due {
            self.draft_remove(key, &mut draft, field)?;
        }
        draft.changes += 1; // its head says something else then
        let cause = std::mem::replace(&mut self.events.cause, Cause::Fields);
        // it removes data: a full disk has room for that, and reads go on
        let done = self.commit(key, draft, Purpose::Shrink);
        self.events.cause = cause;
        done?;
        self.stats.expired_fields += due.len() as u64;
        Ok(())
    }

    fn due_fields(&mut self, key: Key<'_>, draft: &mut Draft) -> Result<Vec<Vec<u8>>, Stop> {
        let now_ms = self.now_ms;
        let plain = draft.head.plain();
        match &mut draft.form {
            Form::Whole(pairs) => {
                let due = Pairs::new(plain, pairs).filter(|pair| expires(pair) && pair.expires_at_ms <= now_ms);
                Ok(due.map(|pair| pair.field.to_vec()).collect())
            }
            Form::Split { root, tree, .. } => {
                let (id, tree_root, mut due) = (root.id, tree.root, Vec::new());
                // as many as there are at most, of which each has the others before it
                each_time(&mut tree.over(&mut self.nodes(key, id)), tree_root, tree_root.count, |ms, field| {
                    if ms > now_ms {
                        return ControlFlow::Break(());
                    }
                    due.push(field.to_vec());
                    ControlFlow::Continue(())
                })?;
                Ok(due)
            }
        }
    }

    /// When the first field of a draft expires; 0 if none does.
    pub(super) fn draft_due(&mut self, key: Key<'_>, draft: &mut Draft) -> Result<u64, Stop> {
        let plain = draft.head.plain();
        match &mut draft.form {
            Form::Whole(pairs) => {
                Ok(Pairs::new(plain, pairs).filter(expires).map(|pair| pair.expires_at_ms).min().unwrap_or(0))
            }
            Form::Split { root, tree, .. } => {
                let (id, tree_root, mut due_ms) = (root.id, tree.root, 0);
                each_time(&mut tree.over(&mut self.nodes(key, id)), tree_root, 1, |ms, _| {
                    due_ms = ms;
                    ControlFlow::Break(())
                })?;
                Ok(due_ms)
            }
        }
    }

    /// When a field of a draft expires (0: never); `None` if it is not there.
    ///
    /// # Errors
    /// See [`Stop`].
    pub(crate) fn draft_expiry(&mut self, key: Key<'_>, draft: &mut Draft, field: &[u8]) -> Result<Option<u64>, Stop> {
        self.draft_pair(key, draft, field, |pair| pair.map(|pair| pair.expires_at_ms))
    }

    /// What a draft has of a field.
    ///
    /// # Errors
    /// See [`Stop`].
    pub(crate) fn draft_pair<T>(
        &mut self,
        key: Key<'_>,
        draft: &mut Draft,
        field: &[u8],
        read: impl FnOnce(Option<Pair<'_>>) -> T,
    ) -> Result<T, Stop> {
        let plain = draft.head.plain();
        Ok(match &mut draft.form {
            Form::Whole(pairs) => read(Pairs::new(plain, pairs).of(field)),
            Form::Split { root, leaves, .. } => {
                let number = root.leaf_of(self.element_hash(field));
                read(Pairs::new(Type::Hash.numbered(), &self.draft_leaf(key, root.id, leaves, number)?.0).of(field))
            }
        })
    }

    /// A field expires at another time than it did (0: never): the tree knows.
    pub(super) fn draft_time(
        &mut self,
        key: Key<'_>,
        draft: &mut Draft,
        field: &[u8],
        old_ms: u64,
        new_ms: u64,
    ) -> Result<(), Stop> {
        if old_ms > 0 {
            self.draft_element(key, draft, &element(old_ms, field), false)?;
        }
        if new_ms > 0 {
            self.draft_element(key, draft, &element(new_ms, field), true)?;
        }
        Ok(())
    }

    /// Sets a field, and when it expires. Returns whether it is new.
    ///
    /// # Errors
    /// See [`Stop`].
    pub(crate) fn draft_set_field(
        &mut self,
        key: Key<'_>,
        draft: &mut Draft,
        field: &[u8],
        value: &[u8],
        expiry: Expiry,
    ) -> Result<bool, Stop> {
        if !draft.head.encoding.has_expiries() && !matches!(expiry, Expiry::At(_)) {
            return self.draft_set(key, draft, field, value);
        }
        let old = self.draft_expiry(key, draft, field)?.unwrap_or(0);
        let new = match expiry {
            Expiry::Stays => None,
            Expiry::Never => (old > 0).then_some(0),
            Expiry::At(ms) => Some(ms),
        };
        if let Some(ms) = new {
            draft.admit_expiries();
            self.draft_time(key, draft, field, old, ms)?;
        }
        self.draft_put(key, draft, field, value, new)
    }

    /// Has a field expire at another time (0: never), which is there.
    ///
    /// # Errors
    /// See [`Stop`].
    pub(crate) fn draft_expire_field(
        &mut self,
        key: Key<'_>,
        draft: &mut Draft,
        field: &[u8],
        expires_at_ms: u64,
    ) -> Result<(), Stop> {
        let value = self.draft_pair(key, draft, field, |pair| pair.map(|pair| pair.value.to_vec()))?;
        let Some(value) = value else { return Ok(()) };
        let expiry = if expires_at_ms > 0 { Expiry::At(expires_at_ms) } else { Expiry::Never };
        self.draft_set_field(key, draft, field, &value, expiry).map(drop)
    }
}

impl Draft {
    /// Its fields may expire from now on.
    pub(crate) fn admit_expiries(&mut self) {
        if self.head.encoding.has_expiries() {
            return;
        }
        let plain = self.head.plain();
        self.changes += 1;
        self.head.encoding = self.head.encoding.expiring();
        match &mut self.form {
            Form::Whole(pairs) => {
                let mut all = Vec::with_capacity(pairs.len() + self.head.count as usize);
                let layout = self.head.plain();
                Pairs::new(plain, pairs).for_each(|pair| push_copy(&mut all, layout, 0, &pair));
                *pairs = all;
            }
            Form::Split { tree, .. } => **tree = TreeDraft::new(TreeRoot::default(), true),
        }
    }
}

/// Shows some fields of a tree with when they expire, the first ones first.
fn each_time(
    source: &mut impl Source,
    root: TreeRoot,
    count: u64,
    mut show: impl FnMut(u64, &[u8]) -> ControlFlow<()>,
) -> Result<(), Stop> {
    // step by step: what is behind the last one that is due is not looked at
    const STEP: u64 = 64;
    let mut at = 0;
    let mut goes_on = true;
    while goes_on && at < count {
        each(source, root, true, (at, STEP.min(count - at)), false, |bytes| {
            let (ms, field) =
                bytes.split_first_chunk::<8>().map_or((0, bytes), |(ms, field)| (u64::from_be_bytes(*ms), field));
            let flow = show(ms, field);
            goes_on &= flow.is_continue();
            flow
        })?;
        at += STEP;
    }
    Ok(())
}
