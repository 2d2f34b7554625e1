//! A counted B+ tree: elements in an order, each found by its position, or, in a sorted one, by what it is.
//!
//! ```text
//!                    [ 3: 14 | 5: 9 | 9: 20 ]                   an inner node: its children, and how many elements are below each
//!                   /            |           \
//!        [ a b c ... ]      [ o p ... ]      [ x y z ... ]      leaves: elements, one behind the other
//!
//! inner    | number | count | separator len | separator | ...   numbers are varints; without separators if it is not sorted
//! leaf     | len | element | len | element | ...
//! ```
//!
//! The root of the collection says which node is at the top and how many levels of inner nodes there are, so that a node need not say what it is. Nodes are
//! numbered by a counter and never change their number; one that goes is deleted, and its number never comes again.
//!
//! A sorted tree compares elements byte by byte. The separator of a child is not above its lowest element and above all elements of the child before it, and as
//! short as that can be; the first child of a node has an empty one.
//!
//! Reading goes by a [`Source`]: the records, or a [`TreeDraft`] with the records behind it.

mod build;
mod change;
mod node;
mod read;
mod records;
mod remove;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

pub(super) use node::leaf_parts;
pub(crate) use read::{children, each, edge_leaf, position_of};

use super::LEAF_BYTES;
use super::pairs::{push_varint, take_varint};
use crate::stop::Stop;

/// A leaf of more than that is split, if it has more than one element.
const MAX_LEAF: usize = LEAF_BYTES as usize;
/// An inner node of more than that is split. Less: more levels. More: more is appended for each change, a node of each level. Chosen, not measured.
const MAX_INNER: usize = 512;

/// What the number of a node has in its name: the other numbers are those of hash leaves.
pub(crate) const NODE: u32 = 1 << 31;

/// What the root of a collection says of its tree.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(crate) struct TreeRoot {
    /// How many elements are in it; without any there is no node.
    pub count: u64,
    /// The node at the top.
    pub top: u32,
    /// Levels of inner nodes; without any the top is a leaf.
    pub height: u8,
    /// How many nodes there are.
    pub nodes: u32,
    /// What the next new node is numbered.
    pub next: u32,
}

/// More levels than a tree of nodes with two children would ever have.
const MAX_HEIGHT: u8 = 40;

impl TreeRoot {
    pub fn push(self, out: &mut Vec<u8>) {
        for number in [self.count, self.top.into(), self.height.into(), self.nodes.into(), self.next.into()] {
            push_varint(out, number);
        }
    }

    pub fn take(bytes: &mut &[u8]) -> Option<Self> {
        let count = take_varint(bytes)?;
        let mut number = || u32::try_from(take_varint(bytes)?).ok();
        let (top, height, nodes, next) = (number()?, number()?, number()?, number()?);
        let height = u8::try_from(height).ok().filter(|height| *height <= MAX_HEIGHT)?;
        Some(Self { count, top, height, nodes, next })
    }
}

/// Where nodes come from.
pub(crate) trait Source {
    /// Shows the contents of a node; nothing if it is not there.
    ///
    /// # Errors
    /// See [`Stop`].
    fn look<T>(&mut self, number: u32, show: impl FnOnce(&[u8]) -> T) -> Result<T, Stop>;

    /// Has these brought, that will be looked at.
    ///
    /// # Errors
    /// See [`Stop`].
    fn bring(&mut self, numbers: impl Iterator<Item = u32>) -> Result<(), Stop>;
}

/// A node that a draft has.
#[derive(Clone, Debug)]
struct Drafted {
    /// `None`: it is gone.
    bytes: Option<Vec<u8>>,
    is_changed: bool,
    /// No record has its number.
    is_new: bool,
}

/// A tree while a command changes it: the nodes that were looked at, as they will be.
#[derive(Debug)]
pub(crate) struct TreeDraft {
    pub root: TreeRoot,
    is_sorted: bool,
    nodes: BTreeMap<u32, Drafted>,
}

impl TreeDraft {
    pub fn new(root: TreeRoot, is_sorted: bool) -> Self {
        Self { root, is_sorted, nodes: BTreeMap::new() }
    }

    /// The draft and what is behind it, to be read.
    pub fn over<'a, S: Source>(&'a mut self, source: &'a mut S) -> impl Source + 'a {
        Over { draft: self, source }
    }

    /// The nodes that were changed, with what is in them; `None` if one is gone.
    pub fn changed(self) -> impl Iterator<Item = (u32, Option<Vec<u8>>)> {
        let is_written = |node: &Drafted| node.is_changed && !(node.is_new && node.bytes.is_none());
        self.nodes.into_iter().filter(move |(_, node)| is_written(node)).map(|(number, node)| (number, node.bytes))
    }

    /// The contents of a node, copied: they are changed, or taken apart.
    fn node(&mut self, source: &mut impl Source, number: u32) -> Result<Vec<u8>, Stop> {
        self.over(source).look(number, <[u8]>::to_vec)
    }

    /// The contents of a node that is going to be changed where it is, by [`TreeDraft::edit`].
    fn draw(&mut self, source: &mut impl Source, number: u32) -> Result<&[u8], Stop> {
        let node = match self.nodes.entry(number) {
            Entry::Occupied(node) => node.into_mut(),
            Entry::Vacant(vacant) => {
                let copy = |bytes: &[u8]| {
                    // it will often be more
                    let mut copy = Vec::with_capacity(bytes.len() + 32);
                    copy.extend_from_slice(bytes);
                    copy
                };
                let bytes = Some(source.look(number, copy)?);
                vacant.insert(Drafted { bytes, is_changed: false, is_new: false })
            }
        };
        Ok(node.bytes.as_deref().unwrap_or_default())
    }

    /// What was drawn, to be changed.
    ///
    /// # Panics
    /// If it was not.
    fn edit(&mut self, number: u32) -> &mut Vec<u8> {
        let Some(node) = self.nodes.get_mut(&number) else { unreachable!("node {number} was not drawn") };
        node.is_changed = true;
        node.bytes.get_or_insert_default()
    }

    fn set(&mut self, number: u32, bytes: Vec<u8>) {
        let is_new = self.nodes.get(&number).is_some_and(|node| node.is_new);
        self.nodes.insert(number, Drafted { bytes: Some(bytes), is_changed: true, is_new });
    }

    fn add(&mut self, bytes: Vec<u8>) -> u32 {
        let number = self.root.next;
        self.root.next += 1;
        self.root.nodes += 1;
        self.nodes.insert(number, Drafted { bytes: Some(bytes), is_changed: true, is_new: true });
        number
    }

    fn drop(&mut self, number: u32) {
        let is_new = self.nodes.get(&number).is_some_and(|node| node.is_new);
        self.root.nodes = self.root.nodes.saturating_sub(1);
        self.nodes.insert(number, Drafted { bytes: None, is_changed: true, is_new });
    }
}

struct Over<'a, S> {
    draft: &'a mut TreeDraft,
    source: &'a mut S,
}

impl<S: Source> Source for Over<'_, S> {
    fn look<T>(&mut self, number: u32, show: impl FnOnce(&[u8]) -> T) -> Result<T, Stop> {
        match self.draft.nodes.get(&number) {
            Some(node) => Ok(show(node.bytes.as_deref().unwrap_or_default())),
            None => self.source.look(number, show),
        }
    }

    fn bring(&mut self, numbers: impl Iterator<Item = u32>) -> Result<(), Stop> {
        self.source.bring(numbers.filter(|number| !self.draft.nodes.contains_key(number)))
    }
}
