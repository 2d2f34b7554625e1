//! A tree of elements that are all there at once.

use super::super::elements::{Elements, push_element};
use super::node::{Entry, separator, write_inner};
use super::{MAX_INNER, MAX_LEAF, TreeDraft, TreeRoot};

impl TreeDraft {
    /// A tree of these elements, in their order. The leaves of a sorted one are filled to three quarters: more will come in between.
    pub fn build<'a>(elements: impl Iterator<Item = &'a [u8]>, is_sorted: bool) -> Self {
        let mut draft = Self::new(TreeRoot::default(), is_sorted);
        let max = if is_sorted { MAX_LEAF / 4 * 3 } else { MAX_LEAF };
        let (mut level, mut leaf, mut before) = (Vec::new(), Vec::new(), None::<&[u8]>);
        let mut last = None;
        for element in elements {
            draft.root.count += 1;
            let begins = leaf.len();
            push_element(&mut leaf, element);
            if begins > 0 && leaf.len() > max {
                let next = leaf.split_off(begins);
                level.push(draft.add_leaf(std::mem::replace(&mut leaf, next), before));
                before = last;
            }
            last = Some(element);
        }
        if !leaf.is_empty() {
            level.push(draft.add_leaf(leaf, before));
        }
        while level.len() > 1 {
            level = draft.add_level(level);
            draft.root.height += 1;
        }
        draft.root.top = level.first().map_or(0, |top| top.number);
        draft
    }

    /// A new leaf, behind one that ends with `before`.
    fn add_leaf(&mut self, bytes: Vec<u8>, before: Option<&[u8]>) -> Entry {
        let mut elements = Elements::of(&bytes);
        let separator = match (before, elements.next()) {
            (Some(before), Some(first)) if self.is_sorted => separator(before, first),
            _ => Vec::new(),
        };
        let count = 1 + elements.count() as u64;
        Entry { number: self.add(bytes), count, separator }
    }

    /// The parents of these.
    fn add_level(&mut self, entries: Vec<Entry>) -> Vec<Entry> {
        let (mut parents, mut own, mut bytes) = (Vec::new(), Vec::new(), 0);
        for entry in entries {
            let len = write_inner(std::slice::from_ref(&entry), self.is_sorted).len();
            if own.len() >= 2 && bytes + len > MAX_INNER / 4 * 3 {
                parents.push(self.add_inner(std::mem::take(&mut own)));
                bytes = 0;
            }
            own.push(entry);
            bytes += len;
        }
        if !own.is_empty() {
            parents.push(self.add_inner(own));
        }
        parents
    }
}
