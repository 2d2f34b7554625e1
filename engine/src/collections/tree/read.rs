//! What is in a tree.

use std::ops::ControlFlow;

use super::super::elements::Elements;
use super::super::list::End;
use super::node::Children;
use super::{Source, TreeDraft, TreeRoot};
use crate::stop::Stop;

/// A part of a node: of the elements below it so many, from one on.
#[derive(Clone, Copy, Debug)]
struct Span {
    number: u32,
    from: u64,
    count: u64,
}

/// Shows up to `count` elements from a position on, or, backwards, from there towards the front, until it is told to stop.
///
/// # Errors
/// See [`Stop`]; nothing was shown then.
pub(crate) fn each(
    source: &mut impl Source,
    root: TreeRoot,
    is_sorted: bool,
    (position, count): (u64, u64),
    is_backwards: bool,
    mut show: impl FnMut(&[u8]) -> ControlFlow<()>,
) -> Result<(), Stop> {
    let from = if is_backwards { (position + 1).saturating_sub(count) } else { position };
    let end = if is_backwards { position + 1 } else { position.saturating_add(count) }.min(root.count);
    if from >= end {
        return Ok(());
    }
    let mut level = vec![Span { number: root.top, from, count: end - from }];
    for _ in 0..root.height {
        source.bring(level.iter().map(|span| span.number))?;
        let mut below = Vec::new();
        for span in level {
            source.look(span.number, |bytes| {
                let (mut begins, end) = (0u64, span.from + span.count);
                for child in Children::of(bytes, is_sorted) {
                    let ends = begins.saturating_add(child.count);
                    let (from, to) = (span.from.max(begins), end.min(ends));
                    if from < to {
                        below.push(Span { number: child.number, from: from - begins, count: to - from });
                    }
                    begins = ends;
                }
            })?;
        }
        level = below;
    }
    source.bring(level.iter().map(|span| span.number))?;
    if is_backwards {
        level.reverse();
    }
    for span in level {
        let flow = source.look(span.number, |bytes| {
            let mut elements = Elements::of(bytes).skip(span.from as usize).take(span.count as usize);
            if is_backwards {
                let elements: Vec<_> = elements.collect();
                elements.into_iter().rev().try_for_each(&mut show)
            } else {
                elements.try_for_each(&mut show)
            }
        })?;
        if flow.is_break() {
            break;
        }
    }
    Ok(())
}

/// The child of an inner node in which an element is, or would be, and how many elements are before that child.
fn child_with(bytes: &[u8], element: &[u8]) -> Option<(u32, u64)> {
    let (mut found, mut sum) = (None, 0);
    for (nth, child) in Children::of(bytes, true).enumerate() {
        if nth > 0 && child.separator > element {
            break;
        }
        found = Some((child.number, sum));
        sum += child.count;
    }
    found
}

/// How many elements of a leaf are below one, and whether that is there.
fn place_in_leaf(bytes: &[u8], element: &[u8]) -> (u64, bool) {
    let mut below = 0;
    for other in Elements::of(bytes) {
        if other >= element {
            return (below, other == element);
        }
        below += 1;
    }
    (below, false)
}

impl TreeDraft {
    /// The same as [`position_of`] of an element that is to be changed: what is on the way to it is drawn.
    ///
    /// # Errors
    /// See [`Stop`].
    pub fn position_of(&mut self, source: &mut impl Source, element: &[u8]) -> Result<(u64, bool), Stop> {
        if self.root.count == 0 {
            return Ok((0, false));
        }
        let (mut number, mut before) = (self.root.top, 0);
        for _ in 0..self.root.height {
            if let Some((child, sum)) = child_with(self.draw(source, number)?, element) {
                (number, before) = (child, before + sum);
            }
        }
        let (below, is_there) = place_in_leaf(self.draw(source, number)?, element);
        Ok((before + below, is_there))
    }
}

/// Where an element is in a sorted tree, or would be: how many are below it; and whether it is there.
///
/// # Errors
/// See [`Stop`].
pub(crate) fn position_of(source: &mut impl Source, root: TreeRoot, element: &[u8]) -> Result<(u64, bool), Stop> {
    if root.count == 0 {
        return Ok((0, false));
    }
    let (mut number, mut before) = (root.top, 0);
    for _ in 0..root.height {
        if let Some((child, sum)) = source.look(number, |bytes| child_with(bytes, element))? {
            (number, before) = (child, before + sum);
        }
    }
    let (below, is_there) = source.look(number, |bytes| place_in_leaf(bytes, element))?;
    Ok((before + below, is_there))
}

/// The numbers of an inner node's children.
pub(crate) fn children(bytes: &[u8], is_sorted: bool) -> Vec<u32> {
    Children::of(bytes, is_sorted).map(|child| child.number).collect()
}

/// How many elements the leaf at an end has.
///
/// # Errors
/// See [`Stop`].
pub(crate) fn edge_leaf(source: &mut impl Source, root: TreeRoot, is_sorted: bool, end: End) -> Result<u64, Stop> {
    if root.count == 0 {
        return Ok(0);
    }
    let (mut number, mut count) = (root.top, root.count);
    for _ in 0..root.height {
        (number, count) = source.look(number, |bytes| {
            let mut children = Children::of(bytes, is_sorted);
            let child = if end == End::Front { children.next() } else { children.last() };
            child.map_or((number, 0), |child| (child.number, child.count))
        })?;
    }
    Ok(count)
}
