//! What is in a node.

use std::ops::Range;

use super::super::elements::{Elements, replace};
use super::super::pairs::{push_varint, take_varint, varint};
use super::{MAX_INNER, MAX_LEAF};

/// A child of an inner node.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Child<'a> {
    pub number: u32,
    /// Elements below it.
    pub count: u64,
    pub separator: &'a [u8],
}

/// A child, and where its parent says how many elements are below it.
#[derive(Clone, Debug)]
pub(super) struct Place {
    pub number: u32,
    pub count: u64,
    /// Its place among the children.
    pub nth: usize,
    /// Bytes of its parent.
    count_at: Range<usize>,
}

impl Place {
    /// Sets the count of this child.
    pub fn set_count(&self, parent: &mut Vec<u8>, count: u64) {
        let (digits, len) = varint(count);
        replace(parent, self.count_at.clone(), &[&digits[..len]]);
    }
}

/// The children in an inner node's bytes; those behind what is none are not seen.
#[derive(Clone, Debug)]
pub(super) struct Children<'a> {
    rest: &'a [u8],
    is_sorted: bool,
}

impl<'a> Children<'a> {
    pub fn of(bytes: &'a [u8], is_sorted: bool) -> Self {
        Self { rest: bytes, is_sorted }
    }

    /// The first child for which `is_it` says so, given the next one; else the last.
    pub fn place(
        bytes: &'a [u8],
        is_sorted: bool,
        mut is_it: impl FnMut(Child<'a>, Option<Child<'a>>) -> bool,
    ) -> Option<Place> {
        let mut children = Self::of(bytes, is_sorted);
        let (mut begins, mut nth) = (0, 0);
        let mut child = children.next()?;
        loop {
            let ends = bytes.len() - children.rest.len();
            let next = children.next();
            if next.is_none() || is_it(child, next) {
                let mut rest = &bytes[begins..];
                take_varint(&mut rest)?;
                let from = bytes.len() - rest.len();
                take_varint(&mut rest)?;
                let count_at = from..bytes.len() - rest.len();
                return Some(Place { number: child.number, count: child.count, nth, count_at });
            }
            (child, begins, nth) = (next?, ends, nth + 1);
        }
    }
}

impl<'a> Iterator for Children<'a> {
    type Item = Child<'a>;

    fn next(&mut self) -> Option<Child<'a>> {
        let mut rest = self.rest;
        let number = u32::try_from(take_varint(&mut rest)?).ok()?;
        let count = take_varint(&mut rest)?;
        let mut separator = &[][..];
        if self.is_sorted {
            let len = usize::try_from(take_varint(&mut rest)?).ok()?;
            (separator, rest) = rest.split_at_checked(len)?;
        }
        self.rest = rest;
        Some(Child { number, count, separator })
    }
}

/// A child while its parent changes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Entry {
    pub number: u32,
    pub count: u64,
    pub separator: Vec<u8>,
}

pub(super) fn read_inner(bytes: &[u8], is_sorted: bool) -> Vec<Entry> {
    let entry =
        |child: Child<'_>| Entry { number: child.number, count: child.count, separator: child.separator.to_vec() };
    Children::of(bytes, is_sorted).map(entry).collect()
}

pub(super) fn write_inner(entries: &[Entry], is_sorted: bool) -> Vec<u8> {
    let mut out = Vec::with_capacity(entries.len() * 8);
    for entry in entries {
        push_varint(&mut out, entry.number.into());
        push_varint(&mut out, entry.count);
        if is_sorted {
            push_varint(&mut out, entry.separator.len() as u64);
            out.extend_from_slice(&entry.separator);
        }
    }
    out
}

/// An element's own separator from the one before it: as short as it can be.
pub(super) fn separator(before: &[u8], first: &[u8]) -> Vec<u8> {
    let same = before.iter().zip(first).take_while(|(a, b)| a == b).count();
    first[..first.len().min(same + 1)].to_vec()
}

/// Elements that are too many for one leaf, in parts that are not: each of about half of what was there, one that is longer by itself.
pub(in crate::collections) fn leaf_parts(bytes: &[u8], out: &mut Vec<Vec<u8>>) {
    let mut ends = Vec::new();
    let mut elements = Elements::of(bytes);
    while elements.next().is_some() {
        ends.push(elements.at());
    }
    if bytes.len() <= MAX_LEAF || ends.len() < 2 {
        out.push(bytes.to_vec());
        return;
    }
    ends.pop();
    let half = ends.into_iter().min_by_key(|end| (bytes.len() / 2).abs_diff(*end)).unwrap_or_default();
    leaf_parts(&bytes[..half], out);
    leaf_parts(&bytes[half..], out);
}

/// The same for the children of an inner node.
pub(super) fn inner_parts(entries: Vec<Entry>, is_sorted: bool, out: &mut Vec<Vec<Entry>>) {
    if entries.len() < 4 || write_inner(&entries, is_sorted).len() <= MAX_INNER {
        out.push(entries);
        return;
    }
    let mut left = entries;
    let right = left.split_off(left.len() / 2);
    inner_parts(left, is_sorted, out);
    inner_parts(right, is_sorted, out);
}

/// The same where the last ones have just come behind all others, and more will: what stays is as full as it can be.
pub(super) fn full_part(entries: Vec<Entry>, is_sorted: bool) -> Vec<Vec<Entry>> {
    if entries.len() < 4 || write_inner(&entries, is_sorted).len() <= MAX_INNER {
        return vec![entries];
    }
    let mut left = entries;
    let right = left.split_off(left.len() - 2);
    vec![left, right]
}
