//! Elements that come into a list, and leave it.

use std::ops::ControlFlow;

use emberkv_log::disk::Disk;

use super::super::LEAF_BYTES;
use super::super::elements::{Elements, framed, push_element};
use super::super::tree::{Source, each, edge_leaf, leaf_parts};
use super::draft::{Form, ListDraft, Split};
use super::{End, Run};
use crate::lookup::Key;
use crate::partition::Partition;
use crate::stop::Stop;

/// Where in a split list a position is.
enum Place {
    Front(u64),
    Tree(u64),
    Back(u64),
}

impl Split {
    /// Where the element at a position is.
    fn place(&self, position: u64) -> Place {
        let (front, tree) = (self.ends.front.count, self.tree.root.count);
        if position < front {
            Place::Front(position)
        } else if position - front < tree {
            Place::Tree(position - front)
        } else {
            Place::Back(position - front - tree)
        }
    }

    fn run(&mut self, end: End) -> &mut Run {
        match end {
            End::Front => &mut self.ends.front,
            End::Back => &mut self.ends.back,
        }
    }

    /// The elements at an end become leaves of the tree.
    fn spill(&mut self, source: &mut impl Source, end: End) -> Result<(), Stop> {
        let run = std::mem::take(self.run(end));
        let mut parts = Vec::new();
        leaf_parts(&run.bytes, &mut parts);
        if end == End::Front {
            parts.reverse();
        }
        parts.iter().try_for_each(|part| self.tree.insert_leaf(source, end, part))
    }

    fn push(&mut self, source: &mut impl Source, end: End, element: &[u8]) -> Result<(), Stop> {
        let element = framed(element);
        self.bytes += element.len() as u64;
        let run = self.run(end);
        if run.count > 0 && (run.bytes.len() + element.len()) as u64 > LEAF_BYTES {
            self.spill(source, end)?;
        }
        let run = self.run(end);
        let at = if end == End::Front { 0 } else { run.bytes.len() };
        run.bytes.splice(at..at, element);
        run.count += 1;
        self.spill_too_many(source, end)
    }

    fn spill_too_many(&mut self, source: &mut impl Source, end: End) -> Result<(), Stop> {
        if self.run(end).bytes.len() as u64 > LEAF_BYTES { self.spill(source, end) } else { Ok(()) }
    }

    /// Inserts an element before the one at a position, which is there.
    fn insert(&mut self, source: &mut impl Source, position: u64, element: &[u8]) -> Result<(), Stop> {
        let (end, at) = match self.place(position) {
            Place::Front(at) => (End::Front, at),
            Place::Back(at) => (End::Back, at),
            Place::Tree(at) => {
                self.bytes += framed(element).len() as u64;
                return self.tree.insert(source, at, element);
            }
        };
        self.put(source, end, at, 0, element)
    }

    /// Puts an element in the place of the one at a position. Returns that one.
    fn replace(&mut self, source: &mut impl Source, position: u64, element: &[u8]) -> Result<Vec<u8>, Stop> {
        let (end, at) = match self.place(position) {
            Place::Front(at) => (End::Front, at),
            Place::Back(at) => (End::Back, at),
            Place::Tree(at) => {
                let mut old = Vec::new();
                let root = self.tree.root;
                each(&mut self.tree.over(source), root, false, (at, 1), false, |element| {
                    push_element(&mut old, element);
                    ControlFlow::Continue(())
                })?;
                self.bytes = self.bytes + framed(element).len() as u64 - old.len() as u64;
                self.tree.replace(source, at, element)?;
                return Ok(old);
            }
        };
        let range = Elements::range_of(&self.run(end).bytes, at, 1);
        let old = self.run(end).bytes[range].to_vec();
        self.put(source, end, at, 1, element)?;
        Ok(old)
    }

    /// Puts an element into an end, for so many of those that are there.
    fn put(
        &mut self,
        source: &mut impl Source,
        end: End,
        at: u64,
        instead_of: u64,
        element: &[u8],
    ) -> Result<(), Stop> {
        let run = self.run(end);
        let range = Elements::range_of(&run.bytes, at, instead_of);
        let (old, element) = (range.len() as u64, framed(element));
        let new = element.len() as u64;
        run.bytes.splice(range, element);
        run.count = run.count + 1 - instead_of;
        self.bytes = self.bytes + new - old;
        self.spill_too_many(source, end)
    }

    /// Takes so many away from a position on; they are appended to `taken`.
    fn take(&mut self, source: &mut impl Source, position: u64, count: u64, taken: &mut Vec<u8>) -> Result<(), Stop> {
        let begins = taken.len();
        let end = position + count;
        let all = self.ends.front.count + self.tree.root.count + self.ends.back.count;
        // where it is popped, there is something to pop next time too
        let popped = [(position == 0, End::Front), (end == all, End::Back)];
        for (_, end) in popped.into_iter().filter(|(is_there, _)| *is_there) {
            self.refill(source, end, count)?;
        }
        let (front, tree) = (self.ends.front.count, self.tree.root.count);
        self.ends.front.take(position, end.min(front), taken);
        let (from, to) = (position.max(front) - front, end.clamp(front, front + tree) - front);
        if from < to {
            self.tree.remove(source, from, to - from, Some(taken))?;
        }
        let before = front + tree;
        self.ends.back.take(position.max(before) - before, end.max(before) - before, taken);
        self.bytes -= (taken.len() - begins) as u64;
        Ok(())
    }

    /// An end without elements, from which fewer are taken than the leaf has that comes next, gets those of that.
    fn refill(&mut self, source: &mut impl Source, end: End, count: u64) -> Result<(), Stop> {
        if self.run(end).count > 0 || self.tree.root.count == 0 {
            return Ok(());
        }
        let root = self.tree.root;
        let leaf = edge_leaf(&mut self.tree.over(source), root, false, end)?;
        if count >= leaf {
            return Ok(());
        }
        let mut bytes = Vec::new();
        let position = if end == End::Front { 0 } else { root.count - leaf };
        self.tree.remove(source, position, leaf, Some(&mut bytes))?;
        *self.run(end) = Run { bytes, count: leaf };
        Ok(())
    }
}

impl<D: Disk> Partition<D> {
    /// Pushes an element to an end.
    ///
    /// # Errors
    /// See [`Stop`].
    pub(crate) fn list_push(
        &mut self,
        key: Key<'_>,
        draft: &mut ListDraft,
        end: End,
        element: &[u8],
    ) -> Result<(), Stop> {
        match &mut draft.form {
            Form::Whole(bytes) if end == End::Back => push_element(bytes, element),
            Form::Whole(bytes) => drop(bytes.splice(0..0, framed(element))),
            Form::Split(split) => split.push(&mut self.nodes(key, split.id), end, element)?,
        }
        draft.count_in(element);
        self.grow_list(draft);
        Ok(())
    }

    /// Inserts an element before the one at a position, or behind all.
    ///
    /// # Errors
    /// See [`Stop`].
    pub(crate) fn list_insert(
        &mut self,
        key: Key<'_>,
        draft: &mut ListDraft,
        position: u64,
        element: &[u8],
    ) -> Result<(), Stop> {
        if position == 0 || position >= draft.head.count {
            let end = if position == 0 { End::Front } else { End::Back };
            return self.list_push(key, draft, end, element);
        }
        match &mut draft.form {
            Form::Whole(bytes) => {
                let at = Elements::of(bytes).place(position as usize);
                bytes.splice(at..at, framed(element));
            }
            Form::Split(split) => split.insert(&mut self.nodes(key, split.id), position, element)?,
        }
        draft.count_in(element);
        self.grow_list(draft);
        Ok(())
    }

    /// Puts an element in the place of the one at a position, which is there.
    ///
    /// # Errors
    /// See [`Stop`].
    pub(crate) fn list_replace(
        &mut self,
        key: Key<'_>,
        draft: &mut ListDraft,
        position: u64,
        element: &[u8],
    ) -> Result<(), Stop> {
        let old = match &mut draft.form {
            Form::Whole(bytes) => {
                let Some(range) = Elements::of(bytes).range(position as usize) else { return Ok(()) };
                let old = bytes[range.clone()].to_vec();
                bytes.splice(range, framed(element));
                old
            }
            Form::Split(split) => split.replace(&mut self.nodes(key, split.id), position, element)?,
        };
        draft.count_out(&old);
        draft.count_in(element);
        self.grow_list(draft);
        Ok(())
    }

    /// Takes so many elements away from a position on. Returns them, one behind the other.
    ///
    /// # Errors
    /// See [`Stop`].
    pub(crate) fn list_take(
        &mut self,
        key: Key<'_>,
        draft: &mut ListDraft,
        position: u64,
        count: u64,
    ) -> Result<Vec<u8>, Stop> {
        let count = count.min(draft.head.count.saturating_sub(position));
        let mut taken = Vec::new();
        match &mut draft.form {
            Form::Whole(bytes) => {
                let range = Elements::range_of(bytes, position, count);
                taken.extend(bytes.drain(range));
            }
            Form::Split(split) if count > 0 => {
                split.take(&mut self.nodes(key, split.id), position, count, &mut taken)?;
            }
            Form::Split(_) => {}
        }
        draft.count_out(&taken);
        Ok(taken)
    }

    /// The same at an end.
    ///
    /// # Errors
    /// See [`Stop`].
    pub(crate) fn list_take_end(
        &mut self,
        key: Key<'_>,
        draft: &mut ListDraft,
        end: End,
        count: u64,
    ) -> Result<Vec<u8>, Stop> {
        let position = match end {
            End::Front => 0,
            End::Back => draft.head.count.saturating_sub(count),
        };
        self.list_take(key, draft, position, count)
    }

    /// Keeps so many elements from a position on, and no others.
    ///
    /// # Errors
    /// See [`Stop`].
    pub(crate) fn list_keep(
        &mut self,
        key: Key<'_>,
        draft: &mut ListDraft,
        position: u64,
        count: u64,
    ) -> Result<(), Stop> {
        let all = draft.head.count;
        let count = count.min(all.saturating_sub(position));
        if count < all / 2 && matches!(draft.form, Form::Split(_)) {
            // what stays is less than what goes: it is made anew, and the sweep has the rest
            let kept = self.list_elements(key, draft, position, count)?;
            draft.set_all(kept);
            self.grow_list(draft);
            return Ok(());
        }
        self.list_take(key, draft, position + count, all)?;
        self.list_take(key, draft, 0, position)?;
        Ok(())
    }
}
