//! A list while a command changes it: nothing is written before all is known.

use emberkv_log::disk::Disk;
#[cfg(any(test, feature = "sim"))]
use emberkv_log::plant::{self, Plant};
use emberkv_log::{Purpose, Value};

use super::super::elements::Elements;
use super::super::leaf::LeafName;
use super::super::place::Writes;
use super::super::root::{Head, Root, Whole};
use super::super::tree::{NODE, TreeDraft, TreeRoot};
use super::super::{Encoding, Type, WHOLE_AGAIN_BYTES, WHOLE_BYTES};
use super::{Ends, ListFill};
use crate::dump::{LISTPACK_ENDS, listpack_len};
use crate::held::Held;
use crate::lookup::{Found, Key};
use crate::partition::Partition;
use crate::stop::Stop;

/// See the module.
#[derive(Debug)]
pub(crate) struct ListDraft {
    pub head: Head,
    pub(super) form: Form,
    /// Bytes of the listpack that redis would have of it.
    pub(super) listpack: u64,
    expires_at_ms: Option<u64>,
    /// Whether the key holds one now.
    exists: bool,
    pub(super) is_changed: bool,
}

#[derive(Debug)]
pub(super) enum Form {
    /// The elements.
    Whole(Vec<u8>),
    Split(Box<Split>),
}

/// A list that is split.
#[derive(Debug)]
pub(super) struct Split {
    pub id: u64,
    /// Bytes of all elements.
    pub bytes: u64,
    pub ends: Ends,
    pub tree: TreeDraft,
    /// Whether none of its records is there yet.
    is_new: bool,
}

/// With so many nodes made since it was split a list is made anew, under another id: numbers of nodes end.
const MAX_NODES_MADE: u32 = if cfg!(test) { 200 } else { 1 << 30 };

impl Split {
    /// A list of these elements, none of whose records is there yet.
    pub fn build(id: u64, elements: &[u8]) -> Self {
        let tree = TreeDraft::build(Elements::of(elements), false);
        Self { id, bytes: elements.len() as u64, ends: Ends::default(), tree, is_new: true }
    }

    /// Whether it is written as a new one: whole, or with nodes that are numbered from the first on.
    fn is_made_anew(&self) -> bool {
        let TreeRoot { nodes, next, .. } = self.tree.root;
        self.bytes <= WHOLE_AGAIN_BYTES || next > MAX_NODES_MADE && next / 2 > nodes
    }

    /// The record of its root.
    fn root(&self, head: Head, listpack: u64) -> Vec<u8> {
        let root = Root { head, bytes: self.bytes, leaves: 0, next: 0, id: self.id, tree: self.tree.root };
        Ends { listpack, ..self.ends.clone() }.write(root)
    }

    /// What is to be written of it. The root always is: who is told of any of its elements has seen that, so all that the reply tells of is durable with
    /// it.
    pub fn writes(self, key: Key<'_>, head: Head, listpack: u64, expires_at_ms: Option<u64>) -> Writes {
        let held = Some(Held::root(self.root(head, listpack), expires_at_ms));
        let (id, are_new) = (self.id, self.is_new);
        let name = |number| LeafName { db: key.db, id, number: NODE | number, key: key.bytes }.write();
        let mut leaves: Vec<_> = self.tree.changed().map(|(number, bytes)| (name(number), bytes)).collect();
        // those that go come last
        leaves.sort_by_key(|(_, bytes)| bytes.is_none());
        Writes { leaves, held, are_new }
    }
}

impl ListDraft {
    /// What redis would keep as one listpack no longer, as elements of so many bytes in all come into it.
    pub fn fit(&mut self, bytes: u64, count: u64, fill: ListFill) {
        if fill.is_exceeded(self.listpack + bytes, self.head.count + count) {
            self.head.encoding = Encoding::Quicklist;
        }
    }

    /// What it would keep as one again, as elements were removed.
    pub fn fit_less(&mut self, fill: ListFill) {
        if fill.is_half_empty(self.listpack, self.head.count) {
            self.head.encoding = Encoding::Listpack;
        }
    }

    /// It has these elements, and no others.
    pub(super) fn set_all(&mut self, elements: Vec<u8>) {
        self.head.count = Elements::of(&elements).count() as u64;
        self.listpack = LISTPACK_ENDS + Elements::of(&elements).map(listpack_len).sum::<u64>();
        self.form = Form::Whole(elements);
        self.is_changed = true;
    }

    /// An element has come.
    pub(super) fn count_in(&mut self, element: &[u8]) {
        self.head.count += 1;
        self.listpack += listpack_len(element);
        self.is_changed = true;
    }

    /// These have gone.
    pub(super) fn count_out(&mut self, elements: &[u8]) {
        for element in Elements::of(elements) {
            self.head.count -= 1;
            self.listpack -= listpack_len(element);
            self.is_changed = true;
        }
    }
}

/// What is to be written of a list that was changed.
#[derive(Debug)]
pub(crate) enum ListWrites {
    /// It is as it was.
    Nothing,
    /// It has no elements any more.
    Gone,
    Put(Writes),
}

impl ListWrites {
    /// They take so many bytes at most.
    pub fn size(&self, key: Key<'_>) -> u64 {
        match self {
            Self::Nothing => 0,
            // a tombstone has at most 12 bytes beside its key
            Self::Gone => key.bytes.len() as u64 + 12,
            Self::Put(writes) => writes.size(key),
        }
    }
}

impl<D: Disk> Partition<D> {
    /// Begins to change the list that a key holds, if it holds any.
    pub(crate) fn list_draft(&self, found: Option<Found>) -> ListDraft {
        let mut draft = ListDraft {
            head: Head::new(Type::List, Encoding::Listpack, 0),
            form: Form::Whole(Vec::new()),
            listpack: LISTPACK_ENDS,
            expires_at_ms: found.and_then(|found| found.expires_at_ms),
            exists: found.is_some(),
            is_changed: false,
        };
        match found.map(|found| self.value(found)) {
            Some(Value::Whole(bytes)) => {
                let whole = Whole::read(bytes);
                draft.head = whole.head;
                draft.listpack += whole.elements().map(listpack_len).sum::<u64>();
                draft.form = Form::Whole(whole.pairs.to_vec());
            }
            Some(Value::Root(bytes)) => {
                let (root, ends) = (Root::read(bytes), Ends::read(bytes));
                draft.head = root.head;
                draft.listpack = ends.listpack;
                let tree = TreeDraft::new(root.tree, false);
                draft.form = Form::Split(Box::new(Split { id: root.id, bytes: root.bytes, ends, tree, is_new: false }));
            }
            _ => {}
        }
        draft
    }

    /// What has become too long to be searched from its beginning is split while a command goes on.
    pub(super) fn grow_list(&mut self, draft: &mut ListDraft) {
        if let Form::Whole(elements) = &draft.form
            && elements.len() > WHOLE_BYTES
            && draft.head.count > 1
        {
            draft.form = Form::Split(Box::new(Split::build(self.new_id(), elements)));
        }
    }

    /// Writes what the draft has become; a list without elements is gone.
    ///
    /// # Errors
    /// See [`Stop`].
    pub(crate) fn list_commit(&mut self, key: Key<'_>, draft: ListDraft, purpose: Purpose) -> Result<(), Stop> {
        let writes = self.list_writes(key, draft)?;
        self.reserve_list(key, &writes, 0, purpose)?;
        self.write_list(key, &writes);
        Ok(())
    }

    /// What is to be written of what the draft has become.
    ///
    /// # Errors
    /// See [`Stop`].
    pub(crate) fn list_writes(&mut self, key: Key<'_>, mut draft: ListDraft) -> Result<ListWrites, Stop> {
        if !draft.is_changed || draft.head.count == 0 && !draft.exists {
            return Ok(ListWrites::Nothing);
        }
        if draft.head.count == 0 {
            return Ok(ListWrites::Gone);
        }
        if matches!(&draft.form, Form::Split(split) if split.is_made_anew()) {
            let elements = self.list_elements(key, &mut draft, 0, u64::MAX)?;
            draft.form = Form::Whole(elements);
            self.grow_list(&mut draft);
        }
        let ListDraft { head, form, listpack, expires_at_ms, .. } = draft;
        let writes = match form {
            Form::Whole(elements) => {
                let held = Held::whole(Whole::write(head, &elements), expires_at_ms);
                Writes { leaves: Vec::new(), held: Some(held), are_new: false }
            }
            Form::Split(split) => {
                #[allow(unused_mut)]
                let mut writes = split.writes(key, head, listpack, expires_at_ms);
                #[cfg(any(test, feature = "sim"))]
                if plant::is(Plant::O2) && !writes.are_new && !writes.leaves.is_empty() {
                    writes.held = None;
                }
                writes
            }
        };
        Ok(ListWrites::Put(writes))
    }

    /// Makes sure that they can be written, and `more` bytes of other records, all into one frame.
    ///
    /// # Errors
    /// See [`Stop`].
    pub(crate) fn reserve_list(
        &mut self,
        key: Key<'_>,
        writes: &ListWrites,
        more: u64,
        purpose: Purpose,
    ) -> Result<(), Stop> {
        match writes {
            ListWrites::Nothing => Ok(()),
            ListWrites::Gone if more == 0 => self.reserve(writes.size(key), Purpose::Shrink),
            ListWrites::Gone => self.reserve(writes.size(key) + more, purpose),
            ListWrites::Put(writes) => self.reserve_writes(key, writes, more, purpose),
        }
    }

    /// Writes what room was made for.
    pub(crate) fn write_list(&mut self, key: Key<'_>, writes: &ListWrites) {
        match writes {
            ListWrites::Nothing => {}
            ListWrites::Gone => {
                if let Some(found) = self.peek(key).live() {
                    self.delete(key, found);
                }
            }
            ListWrites::Put(writes) => self.write_all(key, writes),
        }
    }

    /// What is to be written so that a key holds a list of these elements, which are too many for one record.
    pub(in crate::collections) fn split_list(
        &mut self,
        key: Key<'_>,
        head: Head,
        elements: &[u8],
        expires_at_ms: Option<u64>,
    ) -> Writes {
        let listpack = LISTPACK_ENDS + Elements::of(elements).map(listpack_len).sum::<u64>();
        Split::build(self.new_id(), elements).writes(key, head, listpack, expires_at_ms)
    }
}
