//! Elements that leave a tree.

use super::super::elements::Elements;
use super::node::{Children, Entry, read_inner, write_inner};
use super::{MAX_INNER, MAX_LEAF, Source, TreeDraft};
use crate::stop::Stop;

/// Of a node that has less than this part of what it may have, it is tried to make one with a neighbour.
const SMALL: usize = 4;

impl TreeDraft {
    /// Removes so many elements from a position on. Those that go are appended to `taken`, if they are wanted.
    ///
    /// # Errors
    /// See [`Stop`].
    pub fn remove(
        &mut self,
        source: &mut impl Source,
        position: u64,
        count: u64,
        mut taken: Option<&mut Vec<u8>>,
    ) -> Result<(), Stop> {
        let count = count.min(self.root.count.saturating_sub(position));
        if count == 0 {
            return Ok(());
        }
        let (top, height) = (self.root.top, self.root.height);
        if count == self.root.count {
            self.drop_below(source, top, height, &mut taken)?;
        } else {
            self.remove_below(source, top, height, position, count, &mut taken)?;
        }
        self.root.count -= count;
        self.lower(source)
    }

    /// One level less while there is one child at the top.
    fn lower(&mut self, source: &mut impl Source) -> Result<(), Stop> {
        if self.root.count == 0 {
            (self.root.top, self.root.height) = (0, 0);
        }
        while self.root.height > 0 {
            let bytes = self.node(source, self.root.top)?;
            let mut children = Children::of(&bytes, self.is_sorted);
            let (Some(only), None) = (children.next(), children.next()) else { break };
            self.drop(self.root.top);
            self.root.top = only.number;
            self.root.height -= 1;
        }
        Ok(())
    }

    fn remove_below(
        &mut self,
        source: &mut impl Source,
        number: u32,
        height: u8,
        position: u64,
        count: u64,
        taken: &mut Option<&mut Vec<u8>>,
    ) -> Result<(), Stop> {
        if height == 0 {
            self.draw(source, number)?;
            let bytes = self.edit(number);
            let range = Elements::range_of(bytes, position, count);
            if let Some(taken) = taken {
                taken.extend_from_slice(&bytes[range.clone()]);
            }
            bytes.drain(range);
            return Ok(());
        }
        if self.remove_within(source, number, height, position, count, taken)? {
            return Ok(());
        }
        let bytes = self.node(source, number)?;
        let mut stay = Vec::new();
        // where those are that have lost some, but not all
        let mut lessened = Vec::new();
        let (mut begins, end) = (0u64, position + count);
        for mut entry in read_inner(&bytes, self.is_sorted) {
            let ends = begins + entry.count;
            let (from, to) = (position.max(begins), end.min(ends));
            if from < to && to - from == entry.count {
                self.drop_below(source, entry.number, height - 1, taken)?;
            } else {
                if from < to {
                    self.remove_below(source, entry.number, height - 1, from - begins, to - from, taken)?;
                    entry.count -= to - from;
                    lessened.push(stay.len());
                }
                stay.push(entry);
            }
            begins = ends;
        }
        // from behind, so that places before stay what they are
        for place in lessened.into_iter().rev() {
            self.settle(source, &mut stay, place, height - 1)?;
        }
        if let Some(first) = stay.first_mut() {
            first.separator.clear();
        }
        self.set(number, write_inner(&stay, self.is_sorted));
        Ok(())
    }

    /// The same if it is all below one child, and not all of that, which is nearly always so. Returns whether it is.
    fn remove_within(
        &mut self,
        source: &mut impl Source,
        number: u32,
        height: u8,
        position: u64,
        count: u64,
        taken: &mut Option<&mut Vec<u8>>,
    ) -> Result<bool, Stop> {
        let (is_sorted, mut from) = (self.is_sorted, position);
        let bytes = self.draw(source, number)?;
        let place = Children::place(bytes, is_sorted, |child, _| {
            let is_here = from < child.count;
            from -= if is_here { 0 } else { child.count };
            is_here
        });
        let Some(place) = place.filter(|place| count < place.count && from + count <= place.count) else {
            return Ok(false);
        };
        self.remove_below(source, place.number, height - 1, from, count, taken)?;
        let left = place.count - count;
        place.set_count(self.edit(number), left);
        let max = if height == 1 { MAX_LEAF } else { MAX_INNER };
        if self.draw(source, place.number)?.len() < max / SMALL {
            let mut entries = read_inner(self.edit(number), is_sorted);
            self.settle(source, &mut entries, place.nth, height - 1)?;
            self.set(number, write_inner(&entries, is_sorted));
        }
        Ok(true)
    }

    /// Takes a node and all below it away.
    fn drop_below(
        &mut self,
        source: &mut impl Source,
        number: u32,
        height: u8,
        taken: &mut Option<&mut Vec<u8>>,
    ) -> Result<(), Stop> {
        if height > 0 {
            let bytes = self.node(source, number)?;
            let children = read_inner(&bytes, self.is_sorted);
            // one after the other each would be waited for
            if height > 1 || taken.is_some() {
                self.over(source).bring(children.iter().map(|child| child.number))?;
            }
            for child in children {
                self.drop_below(source, child.number, height - 1, taken)?;
            }
        } else if let Some(taken) = taken {
            self.over(source).look(number, |bytes| taken.extend_from_slice(bytes))?;
        }
        self.drop(number);
        Ok(())
    }

    /// A child that has become small is made one with a neighbour, if both have room in one.
    fn settle(
        &mut self,
        source: &mut impl Source,
        entries: &mut Vec<Entry>,
        place: usize,
        height: u8,
    ) -> Result<(), Stop> {
        let max = if height == 0 { MAX_LEAF } else { MAX_INNER };
        let own = self.over(source).look(entries[place].number, <[u8]>::len)?;
        if own >= max / SMALL {
            return Ok(());
        }
        let neighbours = [place.checked_sub(1), Some(place + 1).filter(|next| *next < entries.len())];
        for neighbour in neighbours.into_iter().flatten() {
            let other = self.over(source).look(entries[neighbour].number, <[u8]>::len)?;
            let (left, right) = (place.min(neighbour), place.max(neighbour));
            if own + other + entries[right].separator.len() <= max / SMALL * 3 {
                let gone = entries.remove(right);
                self.merge(source, &mut entries[left], &gone, height)?;
                break;
            }
        }
        Ok(())
    }

    fn merge(&mut self, source: &mut impl Source, into: &mut Entry, gone: &Entry, height: u8) -> Result<(), Stop> {
        let mut bytes = self.node(source, into.number)?;
        let more = self.node(source, gone.number)?;
        if height > 0 && self.is_sorted {
            // its first child is no longer the first
            let mut children = read_inner(&more, true);
            if let Some(first) = children.first_mut() {
                first.separator.clone_from(&gone.separator);
            }
            bytes.extend_from_slice(&write_inner(&children, true));
        } else {
            bytes.extend_from_slice(&more);
        }
        into.count += gone.count;
        self.set(into.number, bytes);
        self.drop(gone.number);
        Ok(())
    }
}
