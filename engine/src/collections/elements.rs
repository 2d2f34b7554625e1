//! Elements, one behind the other.
//!
//! ```text
//! +-------------+---------+-------------+---------+
//! | len, varint | element | len, varint | element | ...
//! +-------------+---------+-------------+---------+
//! ```

use std::ops::Range;

use super::pairs::{push_varint, take_varint, varint};

/// The elements in some bytes; those behind what is no element are not seen.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Elements<'a> {
    rest: &'a [u8],
    at: usize,
}

impl<'a> Elements<'a> {
    pub fn of(bytes: &'a [u8]) -> Self {
        Self { rest: bytes, at: 0 }
    }

    /// Where so many of those in `bytes` begin and end.
    pub fn range_of(bytes: &[u8], position: u64, count: u64) -> Range<usize> {
        let from = Elements::of(bytes).place(position as usize);
        from..from + Elements::of(&bytes[from..]).place(count as usize)
    }

    /// Up to where they have been read.
    pub fn at(self) -> usize {
        self.at
    }

    /// Where the one at a position begins and ends, its length included.
    pub fn range(mut self, position: usize) -> Option<Range<usize>> {
        for _ in 0..position {
            self.next()?;
        }
        let from = self.at;
        self.next()?;
        Some(from..self.at)
    }

    /// Where one begins that is inserted at a position.
    pub fn place(mut self, position: usize) -> usize {
        for _ in 0..position {
            if self.next().is_none() {
                break;
            }
        }
        self.at
    }
}

impl<'a> Iterator for Elements<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let mut rest = self.rest;
        let len = usize::try_from(take_varint(&mut rest)?).ok()?;
        let (element, rest) = rest.split_at_checked(len)?;
        self.at += self.rest.len() - rest.len();
        self.rest = rest;
        Some(element)
    }
}

/// Appends an element.
pub(crate) fn push_element(out: &mut Vec<u8>, element: &[u8]) {
    push_varint(out, element.len() as u64);
    out.extend_from_slice(element);
}

/// Puts an element where `range` is.
pub(super) fn put_element(bytes: &mut Vec<u8>, range: Range<usize>, element: &[u8]) {
    let (digits, len) = varint(element.len() as u64);
    replace(bytes, range, &[&digits[..len], element]);
}

/// Puts these where `range` is.
pub(super) fn replace(bytes: &mut Vec<u8>, range: Range<usize>, parts: &[&[u8]]) {
    let len: usize = parts.iter().map(|part| part.len()).sum();
    let (old, new) = (bytes.len(), bytes.len() - range.len() + len);
    if new > old {
        bytes.resize(new, 0);
    }
    bytes.copy_within(range.end..old, range.start + len);
    bytes.truncate(new);
    let mut at = range.start;
    for part in parts {
        bytes[at..at + part.len()].copy_from_slice(part);
        at += part.len();
    }
}

/// An element with its length.
pub(super) fn framed(element: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(element.len() + 3);
    push_element(&mut out, element);
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn elements_are_read_as_they_were_written(list in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..200), 0..20)) {
            let mut bytes = Vec::new();
            list.iter().for_each(|element| push_element(&mut bytes, element));
            prop_assert_eq!(Elements::of(&bytes).map(<[u8]>::to_vec).collect::<Vec<_>>(), list.clone());
            for (nth, element) in list.iter().enumerate() {
                let range = Elements::of(&bytes).range(nth).unwrap();
                prop_assert_eq!(range.start, Elements::of(&bytes).place(nth));
                prop_assert_eq!(&bytes[range], &framed(element)[..]);
            }
            prop_assert_eq!(Elements::of(&bytes).range(list.len()), None);
            prop_assert_eq!(Elements::of(&bytes).place(list.len()), bytes.len());
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
            prop_assert!(Elements::of(&bytes).map(<[u8]>::len).sum::<usize>() <= bytes.len());
        }
    }
}
