//! What is at which place of a list.

use std::ops::ControlFlow;

use emberkv_log::Value;
use emberkv_log::disk::Disk;

use super::super::elements::{Elements, push_element};
use super::super::root::{Root, Whole};
use super::super::tree::{self, Source, TreeRoot};
use super::draft::{Form, ListDraft};
use super::{Ends, Run};
use crate::lookup::{Found, Key};
use crate::partition::Partition;
use crate::stop::Stop;

/// Shows those elements that are at positions from one up to another.
fn some(
    elements: Elements<'_>,
    from: u64,
    to: u64,
    is_backwards: bool,
    show: &mut impl FnMut(&[u8]) -> ControlFlow<()>,
) -> ControlFlow<()> {
    if from >= to {
        return ControlFlow::Continue(());
    }
    let mut some = elements.skip(from as usize).take((to - from) as usize);
    if is_backwards {
        let all: Vec<_> = some.collect();
        all.into_iter().rev().try_for_each(show)
    } else {
        some.try_for_each(show)
    }
}

/// Shows the elements from a position up to another one, of a tree between two ends, in their order or backwards. The tree's first are brought
/// before anything is shown.
pub(in crate::collections) fn each(
    source: &mut impl Source,
    [front, back]: [&Run; 2],
    (root, is_sorted): (TreeRoot, bool),
    (from, to): (u64, u64),
    is_backwards: bool,
    mut show: impl FnMut(&[u8]) -> ControlFlow<()>,
) -> Result<(), Stop> {
    let before_back = front.count + root.count;
    let in_tree = |at: u64| at.clamp(front.count, before_back) - front.count;
    let in_back = |at: u64| at.max(before_back) - before_back;
    let runs = [(front, from, to.min(front.count)), (back, in_back(from), in_back(to))];
    let [first, last] = if is_backwards { [runs[1], runs[0]] } else { runs };
    let mut flow = ControlFlow::Continue(());
    let mut first = Some(first);
    let (tree_from, tree_to) = (in_tree(from), in_tree(to));
    if tree_from < tree_to {
        let begin = if is_backwards { tree_to - 1 } else { tree_from };
        tree::each(source, root, is_sorted, (begin, tree_to - tree_from), is_backwards, |element| {
            if let Some((run, from, to)) = first.take() {
                flow = some(run.elements(), from, to, is_backwards, &mut show);
            }
            if flow.is_continue() {
                flow = show(element);
            }
            flow
        })?;
    }
    for (run, from, to) in first.into_iter().chain([last]) {
        if flow.is_continue() {
            flow = some(run.elements(), from, to, is_backwards, &mut show);
        }
    }
    Ok(())
}

impl<D: Disk> Partition<D> {
    /// Shows the elements of a list from a position up to another one, in their order or backwards, until it is told to stop.
    ///
    /// # Errors
    /// See [`Stop`]; nothing was shown then.
    pub(crate) fn list_each(
        &mut self,
        key: Key<'_>,
        found: Found,
        (from, to): (u64, u64),
        is_backwards: bool,
        mut show: impl FnMut(&[u8]) -> ControlFlow<()>,
    ) -> Result<(), Stop> {
        let (root, ends) = match self.value(found) {
            Value::Root(bytes) => (Root::read(bytes), Ends::read(bytes)),
            Value::Whole(bytes) => {
                let _ = some(Whole::read(bytes).elements(), from, to, is_backwards, &mut show);
                return Ok(());
            }
            Value::Bytes(_) | Value::Int(_) | Value::Packed(_) | Value::Chunked(_) => return Ok(()),
        };
        let ends = [&ends.front, &ends.back];
        each(&mut self.nodes(key, root.id), ends, (root.tree, false), (from, to), is_backwards, show)
    }

    /// Shows up to so many elements of a list, from a position on.
    ///
    /// # Errors
    /// See [`Stop`]; nothing was shown then.
    pub(crate) fn list_range(
        &mut self,
        key: Key<'_>,
        found: Found,
        position: u64,
        count: u64,
        mut show: impl FnMut(&[u8]),
    ) -> Result<(), Stop> {
        self.list_each(key, found, (position, position.saturating_add(count)), false, |element| {
            show(element);
            ControlFlow::Continue(())
        })
    }

    /// Shows all elements of a list.
    ///
    /// # Errors
    /// See [`Stop`]; nothing was shown then.
    pub(crate) fn each_element(&mut self, key: Key<'_>, found: Found, show: impl FnMut(&[u8])) -> Result<(), Stop> {
        self.list_range(key, found, 0, u64::MAX, show)
    }

    /// The elements of a draft, from a position on.
    ///
    /// # Errors
    /// See [`Stop`].
    pub(super) fn list_elements(
        &mut self,
        key: Key<'_>,
        draft: &mut ListDraft,
        position: u64,
        count: u64,
    ) -> Result<Vec<u8>, Stop> {
        let mut out = Vec::new();
        let mut show = |element: &[u8]| {
            push_element(&mut out, element);
            ControlFlow::Continue(())
        };
        let range = (position, position.saturating_add(count));
        match &mut draft.form {
            Form::Whole(bytes) => {
                let _ = some(Elements::of(bytes), range.0, range.1, false, &mut show);
            }
            Form::Split(split) => {
                let split = &mut **split;
                let (root, mut nodes) = (split.tree.root, self.nodes(key, split.id));
                let ends = [&split.ends.front, &split.ends.back];
                each(&mut split.tree.over(&mut nodes), ends, (root, false), range, false, show)?;
            }
        }
        Ok(out)
    }
}
