//! The records that a collection is written as. All of a change are in one frame (O1).

use emberkv_log::disk::Disk;
#[cfg(any(test, feature = "sim"))]
use emberkv_log::plant::{self, Plant};
use emberkv_log::{Entry, Purpose, Value};

use super::fields::tree_of_times;
use super::leaf::LeafName;
use super::pairs::{Pairs, push_copy};
use super::root::{Head, Root, Whole};
use super::sorted::sorted_tree;
use super::tree::{NODE, TreeDraft, TreeRoot};
use super::{LEAF_BYTES, Type, WHOLE_BYTES};
use crate::chunks::ChunkDraft;
use crate::databases::RESERVED;
use crate::held::Held;
use crate::lookup::{Key, Lookup};
use crate::partition::Partition;
use crate::stop::Stop;

/// A value that is about to be put, and the leaves that it has, or has no more.
#[derive(Debug)]
pub(crate) struct Writes {
    /// The key of each leaf's record; one without contents goes.
    pub leaves: Vec<(Vec<u8>, Option<Vec<u8>>)>,
    /// The value; `None` if that stays as it is.
    pub held: Option<Held>,
    /// Whether nothing has the names of the leaves yet (O3), so that there is nothing to be looked up, nor to be brought.
    pub are_new: bool,
}

/// What is put for a collection at once takes less than this: a frame's length has 32 bits.
const MAX_FRAME_BYTES: u64 = 1 << 31;

const TOO_LARGE: Stop = Stop::error("ERR the collection is too large to be written at once");

impl Writes {
    /// What is put under `key` takes so many bytes at most.
    pub fn size(&self, key: Key<'_>) -> u64 {
        let leaf = |(name, bytes): &(Vec<u8>, Option<Vec<u8>>)| match bytes {
            Some(bytes) => put_len(Key { db: RESERVED, bytes: name, ..key }, Value::Bytes(bytes), None),
            None => name.len() as u64 + 12,
        };
        let value = self.held.as_ref().map_or(0, |held| put_len(key, held.value(), held.expires_at_ms()));
        self.leaves.iter().map(leaf).sum::<u64>() + value
    }
}

fn put_len(key: Key<'_>, value: Value<'_>, expires_at_ms: Option<u64>) -> u64 {
    Entry::Put { db: key.db, key: key.bytes, value, expires_at_ms }.encoded_len() as u64
}

impl<D: Disk> Partition<D> {
    /// An id that no collection of this partition ever had (O3): of this life of the log, which has a random number, and counted in it.
    pub(crate) fn new_id(&mut self) -> u64 {
        self.ids += 1;
        let life = self.log.life();
        #[cfg(any(test, feature = "sim"))]
        let life = if plant::is(Plant::O3) { 0 } else { life };
        // splitmix64, which is a permutation
        let mut id = life.wrapping_add(self.ids.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        id = (id ^ id >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        id = (id ^ id >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        id ^ id >> 31
    }

    /// What is to be written so that `key` holds this; a large collection is split, and what was in chunks is again.
    pub(crate) fn writes(&mut self, key: Key<'_>, held: Held) -> Writes {
        let expires_at_ms = held.expires_at_ms();
        if let Some(text) = held.long_text() {
            return ChunkDraft::of_text(self.new_id(), text, expires_at_ms).writes(key);
        }
        if let Value::Whole(image) = held.value() {
            let Whole { head, pairs } = Whole::read(image);
            if head.kind == Type::Stream && pairs.len() > WHOLE_BYTES {
                return self.stream_writes(key, image, expires_at_ms);
            }
            if pairs.len() > WHOLE_BYTES && head.count > 1 {
                return match head.kind {
                    Type::List => self.split_list(key, head, pairs, expires_at_ms),
                    Type::Hash | Type::Set | Type::ZSet | Type::Stream => self.split(key, head, pairs, expires_at_ms),
                };
            }
        }
        Writes { leaves: Vec::new(), held: Some(held), are_new: false }
    }

    /// A root and its leaves, out of an image's pairs.
    fn split(&mut self, key: Key<'_>, head: Head, pairs: &[u8], expires_at_ms: Option<u64>) -> Writes {
        let (root, contents, tree) = self.deal(head, pairs);
        let name = |number| LeafName { db: key.db, id: root.id, number, key: key.bytes }.write();
        let root = Root { tree: tree.root, ..root };
        let leaves = contents.into_iter().enumerate().map(|(i, bytes)| (name(i as u32), Some(bytes)));
        let leaves = leaves.chain(tree.changed().map(|(number, bytes)| (name(NODE | number), bytes))).collect();
        Writes { leaves, held: Some(Held::root(root.write(), expires_at_ms)), are_new: true }
    }

    /// Deals an image's pairs out to leaves, and to a tree if the kind has one, for a collection that was whole till now.
    pub(super) fn deal(&mut self, head: Head, pairs: &[u8]) -> (Root, Vec<Vec<u8>>, TreeDraft) {
        let most = u32::try_from(head.count).unwrap_or(u32::MAX);
        let leaves = u32::try_from(pairs.len() as u64 / LEAF_BYTES).unwrap_or(u32::MAX).clamp(2, most.max(2));
        let mut root = Root { head, bytes: 0, leaves, next: 1, id: self.new_id(), tree: TreeRoot::default() };
        let mut contents = vec![Vec::new(); leaves as usize];
        let layout = head.kind.numbered();
        // of those that expire the first one has the highest number: see `Pair::place`
        let last = root.next + head.count;
        for pair in Pairs::new(head.plain(), pairs) {
            let leaf = root.leaf_of(self.element_hash(pair.field));
            let number = if pair.expires_at_ms > 0 { last - root.next } else { root.next };
            push_copy(&mut contents[leaf as usize], layout, number, &pair);
            root.next += 1;
        }
        root.bytes = contents.iter().map(|leaf| leaf.len() as u64).sum();
        let tree = if head.kind.is_sorted() {
            sorted_tree(Pairs::new(head.plain(), pairs))
        } else if head.encoding.has_expiries() {
            tree_of_times(Pairs::new(head.plain(), pairs))
        } else {
            TreeDraft::new(TreeRoot::default(), false)
        };
        (root, contents, tree)
    }

    /// Makes sure that what is to be written under `key` can be, and `more` bytes of other records, all into one frame.
    ///
    /// # Errors
    /// See [`Stop`].
    pub(crate) fn reserve_writes(
        &mut self,
        key: Key<'_>,
        writes: &Writes,
        more: u64,
        purpose: Purpose,
    ) -> Result<(), Stop> {
        if writes.size(key) + more > MAX_FRAME_BYTES {
            return Err(TOO_LARGE);
        }
        if !writes.are_new {
            self.bring_named(writes.leaves.iter().map(|(name, _)| name))?;
        }
        #[cfg(any(test, feature = "sim"))]
        if plant::is(Plant::O1) {
            return self.reserve(writes.held.as_ref().map_or(0, |_| 64) + more, purpose);
        }
        self.reserve(writes.size(key) + more, purpose)
    }

    /// Puts what room was made for. Who watches the key knows.
    pub(crate) fn write_all(&mut self, key: Key<'_>, writes: &Writes) {
        for (name, bytes) in &writes.leaves {
            let name = self.key(RESERVED, name);
            #[cfg(any(test, feature = "sim"))]
            if plant::is(Plant::O1) {
                self.log.end_turn(); // and with it the frame
                if self
                    .log
                    .reserve(name.bytes.len() as u64 + bytes.as_ref().map_or(0, Vec::len) as u64 + 40, Purpose::Grow)
                    .is_err()
                {
                    continue;
                }
            }
            #[allow(unused_mut)]
            let mut is_new = writes.are_new;
            #[cfg(any(test, feature = "sim"))]
            if plant::is(Plant::O3) {
                is_new = false;
            }
            // looked up right before: each put may move others in the index
            let old = if is_new { Lookup::Absent } else { self.peek(name) };
            match bytes {
                Some(bytes) => self.put(name, Value::Bytes(bytes), None, old),
                None => {
                    if let Some(found) = old.live() {
                        self.delete(name, found);
                    }
                }
            }
        }
        match &writes.held {
            Some(held) => {
                let old = self.peek(key);
                self.put(key, held.value(), held.expires_at_ms(), old);
            }
            // a write is a use, also of a root that stays where it is
            None => {
                if let Some(found) = self.peek(key).live() {
                    self.visit(found.slot);
                }
                if !self.watchers.is_empty() | self.events.is_on | self.tracking.is_on {
                    self.note_changed(key);
                }
            }
        }
    }
}
