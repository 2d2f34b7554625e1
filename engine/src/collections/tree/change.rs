//! Elements that come into a tree.

use super::super::elements::{Elements, framed, put_element};
use super::super::list::End;
use super::node::{Children, Entry, Place, full_part, inner_parts, leaf_parts, read_inner, separator, write_inner};
use super::{MAX_INNER, MAX_LEAF, Source, TreeDraft};
use crate::stop::Stop;

/// What comes, and where to.
#[derive(Clone, Copy, Debug)]
enum Change<'a> {
    /// Before the element that is there.
    Insert(&'a [u8]),
    /// In its place.
    Replace(&'a [u8]),
    /// A leaf of so many elements, at an end; of a sorted tree at the back.
    Leaf { bytes: &'a [u8], count: u64, end: End },
}

impl Change<'_> {
    /// How many elements more there are then.
    fn added(self) -> u64 {
        match self {
            Self::Insert(_) => 1,
            Self::Replace(_) => 0,
            Self::Leaf { count, .. } => count,
        }
    }
}

impl TreeDraft {
    /// Inserts an element before the one at a position. In a sorted tree that is the position that `position_of` says.
    ///
    /// # Errors
    /// See [`Stop`].
    pub fn insert(&mut self, source: &mut impl Source, position: u64, element: &[u8]) -> Result<(), Stop> {
        self.change(source, position, Change::Insert(element))
    }

    /// Puts an element in the place of the one at a position; in a sorted tree one that has the same place in the order.
    ///
    /// # Errors
    /// See [`Stop`].
    pub fn replace(&mut self, source: &mut impl Source, position: u64, element: &[u8]) -> Result<(), Stop> {
        self.change(source, position, Change::Replace(element))
    }

    /// Inserts elements at an end, which become a leaf; in a sorted tree they are above all others, and come to the back.
    ///
    /// # Errors
    /// See [`Stop`].
    pub fn insert_leaf(&mut self, source: &mut impl Source, end: End, bytes: &[u8]) -> Result<(), Stop> {
        let count = Elements::of(bytes).count() as u64;
        if count == 0 {
            return Ok(());
        }
        let position = if end == End::Front { 0 } else { self.root.count };
        self.change(source, position, Change::Leaf { bytes, count, end })
    }

    fn change(&mut self, source: &mut impl Source, position: u64, change: Change<'_>) -> Result<(), Stop> {
        if self.root.count == 0 {
            let (bytes, count) = match change {
                Change::Insert(element) | Change::Replace(element) => (framed(element), 1),
                Change::Leaf { bytes, count, .. } => (bytes.to_vec(), count),
            };
            self.root.top = self.add(bytes);
            self.root.height = 0;
            self.root.count = count;
            return Ok(());
        }
        let (top, height) = (self.root.top, self.root.height);
        let entries = self.change_below(source, top, height, position, change)?;
        self.root.count += change.added();
        let Some(mut entries) = entries else { return Ok(()) };
        // one level more while there are several nodes at the top
        while entries.len() > 1 {
            let mut parts = Vec::new();
            inner_parts(entries, self.is_sorted, &mut parts);
            entries = parts.into_iter().map(|part| self.add_inner(part)).collect();
            self.root.height += 1;
        }
        if let Some(top) = entries.first() {
            self.root.top = top.number;
        }
        Ok(())
    }

    /// A new inner node; its own separator is that of its first child.
    pub(super) fn add_inner(&mut self, mut entries: Vec<Entry>) -> Entry {
        let separator = std::mem::take(&mut entries[0].separator);
        let count = entries.iter().map(|entry| entry.count).sum();
        Entry { number: self.add(write_inner(&entries, self.is_sorted)), count, separator }
    }

    /// Returns what stands in a node's place then, if there are nodes that are new: it, and they.
    fn change_below(
        &mut self,
        source: &mut impl Source,
        number: u32,
        height: u8,
        position: u64,
        change: Change<'_>,
    ) -> Result<Option<Vec<Entry>>, Stop> {
        if height == 0 {
            return self.change_leaf(source, number, position, change);
        }
        let is_sorted = self.is_sorted;
        // what nobody has written has no children
        let Some((place, position)) = place(self.draw(source, number)?, is_sorted, position, change) else {
            return Ok(None);
        };
        let new = self.change_below(source, place.number, height - 1, position, change)?;
        if new.is_none() && change.added() == 0 {
            return Ok(None);
        }
        let bytes = self.edit(number);
        let Some(mut new) = new else {
            place.set_count(bytes, place.count + change.added());
            if bytes.len() <= MAX_INNER {
                return Ok(None);
            }
            let entries = read_inner(bytes, is_sorted);
            return Ok(self.share_out(number, entries, change));
        };
        let mut entries = read_inner(bytes, is_sorted);
        if let Some(first) = new.first_mut() {
            first.separator = std::mem::take(&mut entries[place.nth].separator);
        }
        entries.splice(place.nth..=place.nth, new);
        Ok(self.share_out(number, entries, change))
    }

    /// Gives a node these children, and others of them to new ones if they are too many.
    fn share_out(&mut self, number: u32, entries: Vec<Entry>, change: Change<'_>) -> Option<Vec<Entry>> {
        let mut parts = Vec::new();
        if matches!(change, Change::Leaf { end: End::Back, .. }) {
            parts = full_part(entries, self.is_sorted);
        } else {
            inner_parts(entries, self.is_sorted, &mut parts);
        }
        let mut parts = parts.into_iter();
        let own = parts.next().unwrap_or_default();
        let count = own.iter().map(|entry| entry.count).sum();
        self.set(number, write_inner(&own, self.is_sorted));
        if parts.len() == 0 {
            return None;
        }
        let mut all = vec![Entry { number, count, separator: Vec::new() }];
        all.extend(parts.map(|part| self.add_inner(part)));
        Some(all)
    }

    fn change_leaf(
        &mut self,
        source: &mut impl Source,
        number: u32,
        position: u64,
        change: Change<'_>,
    ) -> Result<Option<Vec<Entry>>, Stop> {
        if let Change::Leaf { bytes: new, count, end } = change {
            let is_sorted = self.is_sorted;
            let (own, separator) = self.over(source).look(number, |bytes| {
                let separator = match (Elements::of(bytes).last(), Elements::of(new).next()) {
                    (Some(before), Some(first)) if is_sorted => separator(before, first),
                    _ => Vec::new(),
                };
                (Elements::of(bytes).count() as u64, separator)
            })?;
            let own = Entry { number, count: own, separator: Vec::new() };
            let new = Entry { number: self.add(new.to_vec()), count, separator };
            return Ok(Some(if end == End::Front { vec![new, own] } else { vec![own, new] }));
        }
        self.draw(source, number)?;
        let bytes = self.edit(number);
        let place = Elements::of(bytes).place(position as usize);
        match change {
            Change::Insert(element) => put_element(bytes, place..place, element),
            Change::Replace(element) => {
                let end = Elements::of(bytes).range(position as usize).map_or(place, |range| range.end);
                put_element(bytes, place..end, element);
            }
            Change::Leaf { .. } => {}
        }
        if bytes.len() <= MAX_LEAF {
            return Ok(None);
        }
        let mut parts = Vec::new();
        leaf_parts(bytes, &mut parts);
        if parts.len() == 1 {
            return Ok(None);
        }
        let mut all = Vec::with_capacity(parts.len());
        let mut before: &[u8] = &[];
        for (nth, part) in parts.iter().enumerate() {
            let separator = if self.is_sorted && nth > 0 {
                separator(before, Elements::of(part).next().unwrap_or_default())
            } else {
                Vec::new()
            };
            before = Elements::of(part).last().unwrap_or_default();
            let number = if nth == 0 { number } else { self.add(part.clone()) };
            all.push(Entry { number, count: Elements::of(part).count() as u64, separator });
        }
        self.set(number, parts.swap_remove(0));
        Ok(Some(all))
    }
}

/// The child in which a position is, and which one it is there.
fn place(bytes: &[u8], is_sorted: bool, mut position: u64, change: Change<'_>) -> Option<(Place, u64)> {
    let place = Children::place(bytes, is_sorted, |child, next| {
        let is_here = match change {
            Change::Leaf { .. } => position == 0,
            Change::Replace(_) => position < child.count,
            Change::Insert(_) if position != child.count => position < child.count,
            // behind all of this child, or before all of the next
            Change::Insert(element) => !is_sorted || next.is_none_or(|next| element < next.separator),
        };
        if !is_here {
            position = position.saturating_sub(child.count);
        }
        is_here
    })?;
    Some((place, position))
}
