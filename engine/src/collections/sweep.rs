//! Leaves whose root is gone: taken out of the index, in slices (O5).
//!
//! No log needs to say so: what belongs to nobody is never looked at, and its id never comes again. So they are only memory and live bytes, which are
//! given back soon after their root has gone; and a start looks for those that a replay has brought back.

use std::collections::VecDeque;

use emberkv_index::ScanCursor;
use emberkv_log::disk::Disk;
#[cfg(any(test, feature = "sim"))]
use emberkv_log::plant::{self, Plant};
use emberkv_log::{Address, DbId, Value};

use super::leaf::LeafName;
use super::root::Root;
use super::tree::{self, NODE, TreeRoot};
use crate::chunks::ChunkRoot;
use crate::cold::COLD_STEP;
use crate::databases::RESERVED;
use crate::lookup::{Found, Lookup, TextBuf};
use crate::partition::Partition;

/// Which leaves and nodes belong to a root.
#[derive(Clone, Copy, Debug)]
struct Parts {
    id: u64,
    /// Leaves, or chunks, have numbers below this.
    leaves: u32,
    tree: TreeRoot,
    is_sorted: bool,
}

impl Parts {
    fn of(value: Value<'_>) -> Option<Self> {
        match value {
            Value::Root(bytes) => {
                let Root { head, id, leaves, tree, .. } = Root::read(bytes);
                Some(Self { id, leaves, tree, is_sorted: head.has_sorted_tree() })
            }
            Value::Chunked(bytes) => {
                let root = ChunkRoot::read(bytes);
                Some(Self { id: root.id, leaves: root.numbers(), tree: TreeRoot::default(), is_sorted: false })
            }
            Value::Bytes(_) | Value::Int(_) | Value::Packed(_) | Value::Whole(_) => None,
        }
    }
}

/// The leaves of one root that are still to go.
#[derive(Debug)]
pub(crate) struct Dying {
    db: DbId,
    key: Box<[u8]>,
    id: u64,
    /// Those below this number.
    left: u32,
    /// Nodes of its tree, with their levels: the way to what is below one is known when it goes.
    nodes: Vec<(u32, u8)>,
    is_sorted: bool,
}

impl Dying {
    /// The number of the leaf or node that is to go next.
    fn next(&self) -> Option<u32> {
        self.left.checked_sub(1).or(self.nodes.last().map(|(number, _)| NODE | number))
    }

    /// The children of the node that is next, if it has any, by what is in it.
    fn children(&self, bytes: &[u8]) -> Vec<u32> {
        let is_inner = self.left == 0 && self.nodes.last().is_some_and(|(_, height)| *height > 0);
        if is_inner { tree::children(bytes, self.is_sorted) } else { Vec::new() }
    }

    /// What was next has gone.
    fn goes(&mut self, children: Vec<u32>) {
        if self.left > 0 {
            self.left -= 1;
        } else if let Some((_, height)) = self.nodes.pop() {
            self.nodes.extend(children.into_iter().map(|number| (number, height.saturating_sub(1))));
        }
    }
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Sweeper {
    pub dying: VecDeque<Dying>,
    /// Where the walk has come to that looks for leaves without a root.
    pub orphans: Option<ScanCursor>,
}

impl Sweeper {
    #[cfg(test)]
    pub fn is_done(&self) -> bool {
        self.dying.is_empty() && self.orphans.is_none()
    }
}

impl<D: Disk> Partition<D> {
    /// The root at an address is its key's value no more: its leaves are to go, unless `new` is the same collection.
    #[cold]
    #[inline(never)]
    pub(crate) fn root_goes(&mut self, address: Address, new: Option<Address>) {
        let table = self.log.table();
        if !table.is_here(address) {
            // compaction has it out of memory of its own: its leaves are looked for
            self.sweeper.orphans = Some(ScanCursor::START);
            return;
        }
        let record = table.record(address);
        let Some(Parts { id, leaves, tree, is_sorted }) = Parts::of(record.value()) else { return };
        let same = |new: Address| Parts::of(table.record(new).value()).is_some_and(|parts| parts.id == id);
        if new.is_some_and(same) {
            return;
        }
        #[cfg(any(test, feature = "sim"))]
        if plant::is(Plant::O5) {
            return;
        }
        let (db, key) = (record.db(), record.key().into());
        let nodes = if tree.count > 0 { vec![(tree.top, tree.height)] } else { Vec::new() };
        self.sweeper.dying.push_back(Dying { db, key, id, left: leaves, nodes, is_sorted });
    }

    /// Chunks below a number are to go, whose root has never come.
    pub(crate) fn sweep_chunks(&mut self, db: DbId, key: Box<[u8]>, id: u64, left: u32) {
        self.sweeper.dying.push_back(Dying { db, key, id, left, nodes: Vec::new(), is_sorted: false });
    }

    /// Takes some leaves out of the index that belong to nobody. Returns whether more can be done at once.
    pub(crate) fn sweep_leaves(&mut self, limit: usize) -> bool {
        self.mind_deal();
        let mut left = limit;
        while left > 0
            && let Some(mut dying) = self.sweeper.dying.pop_front()
        {
            while left > 0
                && let Some(number) = dying.next()
            {
                let name = LeafName { db: dying.db, id: dying.id, number, key: &dying.key }.write();
                let key = self.key(RESERVED, &name);
                if self.bring_to_judge(key.fingerprint) != Some(true) {
                    self.sweeper.dying.push_back(dying); // others meanwhile, in a later turn
                    return false;
                }
                let found = match self.peek(key) {
                    Lookup::Live(found) | Lookup::Stale(found) => Some(found),
                    Lookup::Absent => None,
                };
                let children = found.map(|found| dying.children(self.text(found, &mut TextBuf::default())));
                if children.is_none() && number & NODE != 0 {
                    // compaction has had it, with the way to what is below
                    self.sweeper.orphans = Some(ScanCursor::START);
                }
                if let Some(found) = found {
                    self.drop_entry(RESERVED, found);
                }
                dying.goes(children.unwrap_or_default());
                left -= 1;
            }
            if dying.next().is_some() {
                self.sweeper.dying.push_front(dying);
            }
        }
        let more = left > 0 && self.sweep_orphans(left);
        more || !self.sweeper.dying.is_empty()
    }

    /// Looks at some entries after a start. Returns whether there are more.
    fn sweep_orphans(&mut self, limit: usize) -> bool {
        let Some(cursor) = self.sweeper.orphans else { return false };
        if self.is_follower() {
            return false; // their root may be yet to come
        }
        let mut limit = limit;
        if self.comes_back() {
            return false; // one by one they would take longer
        }
        if self.log.table().has_cold() {
            limit = limit.min(COLD_STEP);
            let wanted = |partition: &Self, address| partition.log.table().may_be_of(address, RESERVED);
            // what can't be read now is asked for again in a later turn
            if !matches!(self.bring_step(cursor, limit, wanted), Ok(None)) {
                return false;
            }
        }
        let table = self.log.table();
        let mut leaves = Vec::new();
        let next = self.index.scan(cursor, limit, |_, address| {
            if !table.may_be_of(address, RESERVED) {
                return;
            }
            let record = table.record(address);
            if LeafName::of(record.db(), record.key()).is_some() {
                leaves.push((address, record.key().to_vec()));
            }
        });
        for (address, bytes) in leaves {
            let Some(name) = LeafName::of(RESERVED, &bytes) else { continue };
            let root = self.key(name.db, name.key);
            if self.bring_to_judge(root.fingerprint) != Some(true) {
                return false;
            }
            if !self.is_orphan(name) {
                continue;
            }
            let leaf = self.key(RESERVED, &bytes);
            let Some((slot, _)) = self.index.find(leaf.fingerprint, |other| other == address) else { continue };
            let found = Found::of(slot, address, &self.log.table().record(address));
            self.drop_entry(RESERVED, found);
        }
        self.sweeper.orphans = next;
        next.is_some()
    }

    /// Whether a leaf's root is not there, or another one.
    pub(crate) fn is_orphan(&self, name: LeafName<'_>) -> bool {
        if self.is_dealt(name) {
            return false;
        }
        let parts = match self.peek_below(self.key(name.db, name.key)) {
            // one that has expired is there until somebody says so
            Lookup::Live(found) | Lookup::Stale(found) => Parts::of(self.log.table().record(found.address).value()),
            Lookup::Absent => None,
        };
        parts.is_none_or(|parts| {
            let is_one = match name.number & NODE {
                0 => name.number < parts.leaves,
                _ => name.number ^ NODE < parts.tree.next,
            };
            parts.id != name.id || !is_one
        })
    }
}
