//! A stream's rows, in their order: those in front, a tree, and the last entries.

use std::ops::ControlFlow;

use super::super::elements::{Elements, framed, push_element};
use super::super::list::{End, Run, each_between};
use super::super::tree::{Source, TreeDraft, TreeRoot, leaf_parts, position_of};
use super::super::{LEAF_BYTES, WHOLE_AGAIN_BYTES, WHOLE_BYTES};
use crate::stop::Stop;

/// What a row of an entry begins with; all others begin with less.
pub(super) const ENTRY: u8 = 4;

/// Whether a row is an entry.
pub(super) fn is_entry(row: &[u8]) -> bool {
    row.first() == Some(&ENTRY)
}

/// When the front has too many bytes, so many stay: what comes next finds room, as it is likely to go soon.
const FRONT_AGAIN_BYTES: usize = LEAF_BYTES as usize / 2;

/// With so many nodes made since it was split a stream is made anew, under another id: numbers of nodes end.
const MAX_NODES_MADE: u32 = if cfg!(test) { 200 } else { 1 << 30 };

/// See the module.
#[derive(Debug)]
pub(super) struct Rows {
    /// The lowest rows, of which none is an entry.
    pub front: Run,
    pub tree: TreeDraft,
    /// The last entries.
    pub back: Run,
    /// Bytes of all rows.
    pub bytes: u64,
    /// Whether there is a tree; if not all that are no entries are in front.
    pub is_split: bool,
}

impl Rows {
    /// Those of a stream that is not split, or not yet.
    pub fn whole(front: Run, back: Run) -> Self {
        let bytes = (front.bytes.len() + back.bytes.len()) as u64;
        Self { front, tree: TreeDraft::new(TreeRoot::default(), true), back, bytes, is_split: false }
    }

    /// How many there are.
    pub fn len(&self) -> u64 {
        self.front.count + self.tree.root.count + self.back.count
    }

    /// How many are below a mark.
    ///
    /// # Errors
    /// See [`Stop`].
    pub fn place(&mut self, source: &mut impl Source, mark: &[u8]) -> Result<u64, Stop> {
        let below = |run: &Run| run.elements().take_while(|row| *row < mark).count() as u64;
        let front = below(&self.front);
        if front < self.front.count {
            return Ok(front);
        }
        let root = self.tree.root;
        // a mark among the last entries need not be looked for in the tree
        if root.count > 0 && self.back.elements().next().is_none_or(|first| first >= mark) {
            let (place, _) = position_of(&mut self.tree.over(source), root, mark)?;
            return Ok(front + place);
        }
        Ok(front + root.count + below(&self.back))
    }

    /// Shows rows from one place up to another, in their order or backwards, until it is told to stop.
    ///
    /// # Errors
    /// See [`Stop`]; nothing was shown then.
    pub fn each(
        &mut self,
        source: &mut impl Source,
        range: (u64, u64),
        is_backwards: bool,
        show: impl FnMut(&[u8]) -> ControlFlow<()>,
    ) -> Result<(), Stop> {
        let (root, ends) = (self.tree.root, [&self.front, &self.back]);
        each_between(&mut self.tree.over(source), ends, (root, true), range, is_backwards, show)
    }

    /// Where a row is, or would be, that begins with this; and the row, if it is there.
    ///
    /// # Errors
    /// See [`Stop`].
    pub fn find(&mut self, source: &mut impl Source, key: &[u8]) -> Result<(u64, Option<Vec<u8>>), Stop> {
        let place = self.place(source, key)?;
        let mut found = None;
        self.each(source, (place, place + 1), false, |row| {
            found = row.starts_with(key).then(|| row.to_vec());
            ControlFlow::Break(())
        })?;
        Ok((place, found))
    }

    /// Puts a row that is no entry among the others, in the place of the one that begins as it does up to `key_len`, if there is one. Returns whether
    /// it is new.
    ///
    /// # Errors
    /// See [`Stop`].
    pub fn put(&mut self, source: &mut impl Source, row: &[u8], key_len: usize) -> Result<bool, Stop> {
        let (place, old) = self.find(source, &row[..key_len])?;
        self.bytes += framed(row).len() as u64;
        if let Some(old) = old {
            self.bytes -= framed(&old).len() as u64;
            self.replace(source, place, row)?;
            return Ok(false);
        }
        if place <= self.front.count {
            splice(&mut self.front, place, 0, row);
            self.settle_front(source)?;
        } else {
            self.tree.insert(source, place - self.front.count, row)?;
        }
        Ok(true)
    }

    fn replace(&mut self, source: &mut impl Source, place: u64, row: &[u8]) -> Result<(), Stop> {
        let (front, tree) = (self.front.count, self.tree.root.count);
        if place < front {
            splice(&mut self.front, place, 1, row);
            return self.settle_front(source);
        }
        if place < front + tree {
            return self.tree.replace(source, place - front, row);
        }
        splice(&mut self.back, place - front - tree, 1, row);
        Ok(())
    }

    /// Appends an entry, which is above all rows.
    ///
    /// # Errors
    /// See [`Stop`].
    pub fn push(&mut self, source: &mut impl Source, row: &[u8]) -> Result<(), Stop> {
        let row = framed(row);
        self.bytes += row.len() as u64;
        if self.is_split && (self.back.bytes.len() + row.len()) as u64 > LEAF_BYTES {
            self.spill_back(source)?;
        }
        self.back.bytes.extend_from_slice(&row);
        self.back.count += 1;
        if self.is_split && self.back.bytes.len() as u64 > LEAF_BYTES {
            self.spill_back(source)?;
        }
        Ok(())
    }

    /// The last entries become leaves of the tree.
    fn spill_back(&mut self, source: &mut impl Source) -> Result<(), Stop> {
        let back = std::mem::take(&mut self.back);
        let mut parts = Vec::new();
        leaf_parts(&back.bytes, &mut parts);
        parts.iter().try_for_each(|part| self.tree.insert_leaf(source, End::Back, part))
    }

    /// Too many rows in front: the highest of them go to the tree.
    fn settle_front(&mut self, source: &mut impl Source) -> Result<(), Stop> {
        if !self.is_split || self.front.bytes.len() as u64 <= LEAF_BYTES {
            return Ok(());
        }
        while self.front.bytes.len() > FRONT_AGAIN_BYTES {
            let mut last = Vec::new();
            self.front.take(self.front.count - 1, self.front.count, &mut last);
            if let Some(row) = Elements::of(&last).next() {
                self.tree.insert(source, 0, row)?;
            }
        }
        Ok(())
    }

    /// Removes so many rows from a place on.
    ///
    /// # Errors
    /// See [`Stop`].
    pub fn remove(&mut self, source: &mut impl Source, place: u64, count: u64) -> Result<(), Stop> {
        let end = place.saturating_add(count).min(self.len());
        let (front, tree) = (self.front.count, self.tree.root.count);
        let (from, to) = (place.clamp(front, front + tree) - front, end.clamp(front, front + tree) - front);
        if to.saturating_sub(from) > tree / 4 * 3 {
            // little stays: it is made anew, and the sweep has the rest. (An entry that is written costs more than twice what one does that goes.)
            return self.keep_others(source, place, end);
        }
        let mut gone = Vec::new();
        self.front.take(place, end.min(front), &mut gone);
        self.back.take(place.max(front + tree) - front - tree, end.max(front + tree) - front - tree, &mut gone);
        if from < to {
            self.tree.remove(source, from, to - from, Some(&mut gone))?;
        }
        self.bytes -= gone.len() as u64;
        Ok(())
    }

    /// All rows but those from one place up to another, as those of a stream that is not split.
    fn keep_others(&mut self, source: &mut impl Source, place: u64, end: u64) -> Result<(), Stop> {
        let (mut front, mut back) = (Run::default(), Run::default());
        let len = self.len();
        for range in [(0, place), (end, len)] {
            self.each(source, range, false, |row| {
                let run = if is_entry(row) { &mut back } else { &mut front };
                push_element(&mut run.bytes, row);
                run.count += 1;
                ControlFlow::Continue(())
            })?;
        }
        *self = Self::whole(front, back);
        Ok(())
    }

    /// Makes it whole if it is small, or has used up its numbers.
    ///
    /// # Errors
    /// See [`Stop`].
    pub fn shrink(&mut self, source: &mut impl Source) -> Result<(), Stop> {
        let TreeRoot { nodes, next, .. } = self.tree.root;
        let is_small = self.bytes <= WHOLE_AGAIN_BYTES;
        if self.is_split && (is_small || next > MAX_NODES_MADE && next / 2 > nodes) {
            let len = self.len();
            self.keep_others(source, len, len)?;
        }
        Ok(())
    }

    /// Whether it is too large for one record.
    pub fn is_too_large(&self) -> bool {
        !self.is_split && self.bytes > WHOLE_BYTES as u64 && self.len() > 1
    }

    /// Makes a tree of what is too large: some rows stay in front.
    pub fn split(&mut self) {
        let mut front = Run::default();
        let mut rows = self.front.elements();
        let rest = loop {
            let at = rows.at();
            let is_full = rows.next().is_none() || rows.at() > FRONT_AGAIN_BYTES;
            if is_full {
                break at;
            }
            front.count += 1;
        };
        front.bytes = self.front.bytes[..rest].to_vec();
        let others = Elements::of(&self.front.bytes[rest..]).chain(self.back.elements());
        self.tree = TreeDraft::build(others, true);
        (self.front, self.back, self.is_split) = (front, Run::default(), true);
    }
}

/// Puts a row into a run, for so many of those that are there.
fn splice(run: &mut Run, place: u64, instead_of: u64, row: &[u8]) {
    let range = Elements::range_of(&run.bytes, place, instead_of);
    run.bytes.splice(range, framed(row));
    run.count = run.count + 1 - instead_of;
}
