//! A collection while a command changes it: nothing is written before all is known.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use emberkv_log::disk::Disk;
#[cfg(any(test, feature = "sim"))]
use emberkv_log::plant::{self, Plant};
use emberkv_log::{Purpose, Value};

use super::leaf::LeafName;
use super::pairs::{Pair, Pairs, move_pair, push_copy, push_pair, set_pair};
use super::place::Writes;
use super::root::{Head, Root, Whole, partner_of_last};
use super::sets::int_of;
use super::tree::{NODE, TreeDraft};
use super::{Compact, Encoding, LEAF_BYTES, Type, WHOLE_AGAIN_BYTES, WHOLE_BYTES};
use crate::events::{Cause, EventClass};
use crate::held::Held;
use crate::lookup::{Found, Key, TextBuf};
use crate::partition::Partition;
use crate::stop::Stop;

/// See the module.
#[derive(Debug)]
pub(crate) struct Draft {
    pub head: Head,
    pub(super) form: Form,
    expires_at_ms: Option<u64>,
    /// Whether the key holds one now.
    exists: bool,
    /// How many elements were set or removed.
    pub(super) changes: u64,
}

/// Leaves that come or go with one changed element at most: a long value makes a command no longer than its elements do, and the next
/// ones catch up.
const LEAVES_A_CHANGE: u64 = 2;

/// With so many nodes made since it was split a collection is made anew.
const MAX_NODES_MADE: u32 = 1 << 30;

#[derive(Debug)]
pub(super) enum Form {
    /// The pairs.
    Whole(Vec<u8>),
    /// The root as it will be, but for its tree, and as it is, if it is one yet; the leaves that were looked at: whether each has changed; and the tree, of a kind
    /// that has one.
    Split { root: Root, old: Option<Root>, leaves: BTreeMap<u32, (Vec<u8>, bool)>, tree: Box<TreeDraft> },
}

impl Draft {
    /// Has it kept in another way from now on.
    pub fn convert(&mut self, encoding: Encoding) {
        self.changes += u64::from(self.head.encoding != encoding);
        self.head.encoding = encoding;
    }

    /// What redis would keep in the simpler way no longer, as something longer comes into it.
    pub fn fit(&mut self, len: usize, limits: Compact) {
        if len as u64 > limits.value {
            self.head.encoding = self.head.encoding.by_hash();
        }
    }

    /// The same, as there are too many elements.
    pub fn fit_count(&mut self, limits: Compact) {
        self.fit_so_many(self.head.count, limits);
    }

    /// The same, for so many elements.
    pub fn fit_so_many(&mut self, count: u64, limits: Compact) {
        if count > limits.entries && !self.head.encoding.is_by_hash() {
            self.changes += 1; // also if nothing else is changed
            self.head.encoding = self.head.encoding.by_hash();
        }
    }
}

impl<D: Disk> Partition<D> {
    /// Begins to change what a key holds, if it holds anything.
    pub(crate) fn draft(&self, kind: Type, found: Option<Found>) -> Draft {
        let empty = Head::new(kind, Encoding::Listpack, 0);
        let Some(found) = found else {
            let form = Form::Whole(Vec::new());
            return Draft { head: empty, form, expires_at_ms: None, exists: false, changes: 0 };
        };
        let (head, form) = match self.value(found) {
            Value::Whole(bytes) => {
                let whole = Whole::read(bytes);
                (whole.head, Form::Whole(whole.pairs.to_vec()))
            }
            Value::Root(bytes) => {
                let root = Root::read(bytes);
                let tree = Box::new(TreeDraft::new(root.tree, root.head.has_sorted_tree()));
                (root.head, Form::Split { root, old: Some(root), leaves: BTreeMap::new(), tree })
            }
            Value::Bytes(_) | Value::Int(_) | Value::Packed(_) | Value::Chunked(_) => (empty, Form::Whole(Vec::new())),
        };
        Draft { head, form, expires_at_ms: found.expires_at_ms, exists: true, changes: 0 }
    }

    /// The contents of a leaf, as the draft has them.
    pub(super) fn draft_leaf<'a>(
        &mut self,
        key: Key<'_>,
        id: u64,
        leaves: &'a mut BTreeMap<u32, (Vec<u8>, bool)>,
        number: u32,
    ) -> Result<&'a mut (Vec<u8>, bool), Stop> {
        Ok(match leaves.entry(number) {
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(entry) => {
                let found = self.leaf(key.db, key.bytes, id, number)?;
                let bytes = found.map(|found| self.text(found, &mut TextBuf::default()).to_vec());
                entry.insert((bytes.unwrap_or_default(), false))
            }
        })
    }

    /// Sets an element. Returns whether it is new.
    ///
    /// # Errors
    /// See [`Stop`].
    pub(crate) fn draft_set(
        &mut self,
        key: Key<'_>,
        draft: &mut Draft,
        element: &[u8],
        value: &[u8],
    ) -> Result<bool, Stop> {
        self.draft_put(key, draft, element, value, None)
    }

    /// The same; `expires_at_ms` is when it expires from now on, or 0 for never, if that is another time.
    pub(super) fn draft_put(
        &mut self,
        key: Key<'_>,
        draft: &mut Draft,
        element: &[u8],
        value: &[u8],
        expires_at_ms: Option<u64>,
    ) -> Result<bool, Stop> {
        let (kind, plain) = (draft.head.kind, draft.head.plain());
        let set = |bytes: &mut Vec<u8>, layout, number| match expires_at_ms {
            None => set_pair(bytes, layout, number, element, value),
            Some(ms) => move_pair(bytes, layout, number, element, value, ms),
        };
        let is_new = match &mut draft.form {
            Form::Whole(pairs) => set(pairs, plain, 0),
            Form::Split { root, leaves, .. } => {
                let number = root.leaf_of(self.element_hash(element));
                let (bytes, is_changed) = self.draft_leaf(key, root.id, leaves, number)?;
                let before = bytes.len() as u64;
                let is_new = set(bytes, kind.numbered(), root.next);
                *is_changed = true;
                root.next += u64::from(is_new || expires_at_ms.is_some());
                root.bytes = root.bytes + bytes.len() as u64 - before;
                is_new
            }
        };
        draft.changes += 1;
        draft.head.count += u64::from(is_new);
        self.grow(key, draft)?;
        Ok(is_new)
    }

    /// What has become too long to be searched from its beginning is split while a command goes on, and gets leaves for what comes into it.
    pub(super) fn grow(&mut self, key: Key<'_>, draft: &mut Draft) -> Result<(), Stop> {
        let count = draft.head.count;
        if let Form::Whole(pairs) = &draft.form
            && pairs.len() > WHOLE_BYTES
            && count > 1
        {
            let (root, contents, tree) = self.deal(draft.head, pairs);
            let leaves = contents.into_iter().enumerate().map(|(i, bytes)| (i as u32, (bytes, true))).collect();
            draft.form = Form::Split { root, old: None, leaves, tree: Box::new(tree) };
        }
        let Form::Split { root, leaves, .. } = &mut draft.form else { return Ok(()) };
        for _ in 0..LEAVES_A_CHANGE {
            if root.bytes <= u64::from(root.leaves) * LEAF_BYTES
                || u64::from(root.leaves) >= count
                || root.leaves >= u32::MAX / 2
            {
                break;
            }
            self.add_leaf(key, root, leaves)?;
        }
        Ok(())
    }

    /// Whether an element is there.
    ///
    /// # Errors
    /// See [`Stop`].
    pub(super) fn draft_has(&mut self, key: Key<'_>, draft: &mut Draft, element: &[u8]) -> Result<bool, Stop> {
        let (kind, plain) = (draft.head.kind, draft.head.plain());
        let pairs = match &mut draft.form {
            Form::Whole(pairs) => Pairs::new(plain, pairs),
            Form::Split { root, leaves, .. } => {
                let number = root.leaf_of(self.element_hash(element));
                Pairs::new(kind.numbered(), &self.draft_leaf(key, root.id, leaves, number)?.0)
            }
        };
        Ok(pairs.of(element).is_some())
    }

    /// Puts integers into their order, in which they are the first of those that are kept as they come. Returns how long the longest is.
    ///
    /// # Errors
    /// See [`Stop`].
    pub(super) fn draft_sort(&mut self, key: Key<'_>, draft: &mut Draft) -> Result<usize, Stop> {
        let (all, layout) = match &mut draft.form {
            Form::Whole(pairs) => (std::mem::take(pairs), draft.head.kind.plain()),
            Form::Split { root, old, leaves, .. } => {
                if old.is_some() {
                    self.bring_leaves(key, *root)?;
                }
                let mut all = Vec::new();
                for number in 0..root.leaves {
                    all.extend_from_slice(&self.draft_leaf(key, root.id, leaves, number)?.0);
                }
                (all, draft.head.kind.numbered())
            }
        };
        let mut members: Vec<_> = Pairs::new(layout, &all).map(|pair| pair.field).collect();
        members.sort_by_key(|member| int_of(member));
        let mut sorted = Vec::with_capacity(all.len());
        members.iter().for_each(|member| push_pair(&mut sorted, draft.head.kind.plain(), 0, member, b""));
        // the leaves that there were belong to nobody then (O5)
        draft.form = Form::Whole(sorted);
        Ok(members.iter().map(|member| member.len()).max().unwrap_or(0))
    }

    /// Removes an element. Returns whether it was there.
    ///
    /// # Errors
    /// See [`Stop`].
    pub(crate) fn draft_remove(&mut self, key: Key<'_>, draft: &mut Draft, element: &[u8]) -> Result<bool, Stop> {
        let range = |pairs: Pairs<'_>| pairs.of(element).map(|pair| pair.at..pair.at + pair.len);
        let (kind, plain) = (draft.head.kind, draft.head.plain());
        if draft.head.encoding.has_expiries() {
            let old = self.draft_expiry(key, draft, element)?;
            self.draft_time(key, draft, element, old.unwrap_or(0), 0)?;
        }
        let was_there = match &mut draft.form {
            Form::Whole(pairs) => range(Pairs::new(plain, pairs)).map(|range| drop(pairs.drain(range))).is_some(),
            Form::Split { root, leaves, .. } => {
                let number = root.leaf_of(self.element_hash(element));
                let (bytes, is_changed) = self.draft_leaf(key, root.id, leaves, number)?;
                let range = range(Pairs::new(kind.numbered(), bytes));
                if let Some(range) = &range {
                    *is_changed = true;
                    root.bytes = root.bytes.saturating_sub(range.len() as u64);
                    bytes.drain(range.clone());
                }
                range.is_some()
            }
        };
        draft.changes += u64::from(was_there);
        draft.head.count = draft.head.count.saturating_sub(u64::from(was_there));
        Ok(was_there)
    }

    /// Writes what the draft has become; a collection without elements is gone.
    ///
    /// # Errors
    /// See [`Stop`].
    pub(crate) fn commit(&mut self, key: Key<'_>, draft: Draft, purpose: Purpose) -> Result<(), Stop> {
        if draft.changes == 0 {
            return Ok(());
        }
        if draft.head.count == 0 {
            if draft.exists {
                self.reserve_delete(std::iter::once(key.bytes))?;
                if let Some(found) = self.peek(key).live() {
                    self.delete(key, found);
                }
            }
            return Ok(());
        }
        let writes = self.draft_writes(key, draft)?;
        self.reserve_writes(key, &writes, 0, purpose)?;
        self.write_all(key, &writes);
        Ok(())
    }

    /// Writes two drafts, both or none (law 6).
    ///
    /// # Errors
    /// See [`Stop`].
    pub(crate) fn commit_both(
        &mut self,
        (first, shrunk): (Key<'_>, Draft),
        (second, grown): (Key<'_>, Draft),
        purpose: Purpose,
    ) -> Result<(), Stop> {
        let rest = if shrunk.head.count > 0 { Some(self.draft_writes(first, shrunk)?) } else { None };
        if let Some(rest) = rest.as_ref().filter(|rest| !rest.are_new) {
            self.bring_named(rest.leaves.iter().map(|(name, _)| name))?;
        }
        // a tombstone has at most 12 bytes beside its key
        let more = rest.as_ref().map_or(first.bytes.len() as u64 + 12, |rest| rest.size(first));
        let comes = if grown.changes > 0 { Cause::Named(EventClass::Set, "sadd") } else { Cause::Known };
        let writes = self.draft_writes(second, grown)?;
        self.reserve_writes(second, &writes, more, purpose)?;
        self.name_event(EventClass::Set, "srem");
        match rest {
            Some(rest) => self.write_all(first, &rest),
            None => {
                if let Some(found) = self.peek(first).live() {
                    self.delete(first, found);
                }
            }
        }
        self.events.cause = comes;
        self.write_all(second, &writes);
        Ok(())
    }

    fn draft_writes(&mut self, key: Key<'_>, mut draft: Draft) -> Result<Writes, Stop> {
        if draft.head.encoding.has_expiries() {
            draft.head.due_ms = self.draft_due(key, &mut draft)?;
        }
        let Draft { head, form, expires_at_ms, changes, .. } = draft;
        let (mut root, old, mut leaves, tree) = match form {
            Form::Whole(pairs) => {
                let image = Whole::write(head, &pairs);
                return Ok(self.writes(key, Held::whole(image, expires_at_ms)));
            }
            Form::Split { root, old, leaves, tree } => (Root { head, tree: tree.root, ..root }, old, leaves, tree),
        };
        // numbers of nodes end: made anew it has another id, and begins with the first one
        if root.bytes <= WHOLE_AGAIN_BYTES || root.tree.next > MAX_NODES_MADE {
            return self.unsplit(key, root, old.is_none(), leaves, expires_at_ms);
        }
        for _ in 0..changes.saturating_mul(LEAVES_A_CHANGE) {
            if root.leaves <= 2 || root.bytes >= u64::from(root.leaves) * (LEAF_BYTES / 4) {
                break;
            }
            self.drop_leaf(key, &mut root, &mut leaves)?;
        }
        let name = |number| LeafName { db: key.db, id: root.id, number, key: key.bytes }.write();
        let node = |number| name(NODE | number);
        let nodes = tree.changed().map(|(number, bytes)| (node(number), bytes));
        let changed = leaves.into_iter().filter(|(_, (_, is_changed))| *is_changed);
        let mut writes: Vec<_> =
            changed.map(|(number, (bytes, _))| (name(number), (number < root.leaves).then_some(bytes))).collect();
        writes.extend(nodes);
        // in the order of numbers, so that the last ones go last
        writes.sort_by_key(|(_, bytes)| bytes.is_none());
        // a transaction has the root with its leaves, so that who removes it finds them (O5)
        let stays = old == Some(root) && self.overlay.is_none();
        #[cfg(any(test, feature = "sim"))]
        let stays = stays || plant::is(Plant::O2) && old.is_some_and(|old| old.leaves == root.leaves);
        let held = (!stays).then(|| Held::root(root.write(), expires_at_ms));
        Ok(Writes { leaves: writes, held, are_new: old.is_none() })
    }

    /// One leaf more, which takes elements from one other.
    fn add_leaf(
        &mut self,
        key: Key<'_>,
        root: &mut Root,
        leaves: &mut BTreeMap<u32, (Vec<u8>, bool)>,
    ) -> Result<(), Stop> {
        let number = root.leaves;
        let from = partner_of_last(number + 1);
        let all = std::mem::take(&mut self.draft_leaf(key, root.id, leaves, from)?.0);
        root.leaves += 1;
        let (mut stay, mut go) = (Vec::new(), Vec::new());
        let layout = root.head.kind.numbered();
        for pair in Pairs::new(layout, &all) {
            let goes = root.leaf_of(self.element_hash(pair.field)) == number;
            push_copy(if goes { &mut go } else { &mut stay }, layout, pair.number, &pair);
        }
        leaves.insert(from, (stay, true));
        leaves.insert(number, (go, true));
        Ok(())
    }

    /// One leaf less, whose elements go to one other.
    fn drop_leaf(
        &mut self,
        key: Key<'_>,
        root: &mut Root,
        leaves: &mut BTreeMap<u32, (Vec<u8>, bool)>,
    ) -> Result<(), Stop> {
        let number = root.leaves - 1;
        let (bytes, is_changed) = self.draft_leaf(key, root.id, leaves, number)?;
        let bytes = std::mem::take(bytes);
        *is_changed = true;
        let (other, is_changed) = self.draft_leaf(key, root.id, leaves, partner_of_last(root.leaves))?;
        other.extend_from_slice(&bytes);
        *is_changed = true;
        root.leaves = number;
        Ok(())
    }

    /// A split collection that has shrunk becomes whole. Its leaves belong to nobody then (O5).
    fn unsplit(
        &mut self,
        key: Key<'_>,
        root: Root,
        is_new: bool,
        mut leaves: BTreeMap<u32, (Vec<u8>, bool)>,
        expires_at_ms: Option<u64>,
    ) -> Result<Writes, Stop> {
        if !is_new {
            self.bring_leaves(key, root)?;
        }
        let mut all = Vec::new();
        for number in 0..root.leaves {
            all.extend_from_slice(&self.draft_leaf(key, root.id, &mut leaves, number)?.0);
        }
        let mut pairs: Vec<_> = Pairs::new(root.head.kind.numbered(), &all).collect();
        if root.head.kind.is_sorted() {
            pairs.sort_by_key(|pair| (pair.value, pair.field));
        } else {
            pairs.sort_by_key(Pair::place);
        }
        let mut plain = Vec::new();
        let layout = root.head.plain();
        pairs.iter().for_each(|pair| push_copy(&mut plain, layout, 0, pair));
        Ok(self.writes(key, Held::whole(Whole::write(root.head, &plain), expires_at_ms)))
    }
}
