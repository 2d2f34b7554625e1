//! Fields and their values, one behind the other; a set's members are fields without values.
//!
//! ```text
//! +----------+-----------+-------------+-------+---------+
//! | [number] | field len | [value len] | field | [value] |     numbers are varints; the first is in leaves only,
//! +----------+-----------+-------------+-------+---------+     what concerns values not in sets
//! ```
//!
//! In a whole image the order is the one in which fields have come. In a leaf each says its own place in that order.

/// Appends a number, seven bits a byte, the lowest first.
pub(crate) fn push_varint(out: &mut Vec<u8>, number: u64) {
    let (digits, len) = varint(number);
    out.extend_from_slice(&digits[..len]);
}

/// The same bytes, and how many of them there are.
pub(crate) fn varint(mut number: u64) -> ([u8; 10], usize) {
    let (mut digits, mut len) = ([0; 10], 0);
    while number >= 0x80 {
        digits[len] = number as u8 | 0x80;
        (number, len) = (number >> 7, len + 1);
    }
    digits[len] = number as u8;
    (digits, len + 1)
}

/// Takes a number off the front of `bytes`.
pub(crate) fn take_varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut number = 0;
    for i in 0..10 {
        let (&byte, rest) = bytes.split_first()?;
        *bytes = rest;
        number |= u64::from(byte & 0x7f) << (7 * i);
        if byte < 0x80 {
            return Some(number);
        }
    }
    None
}

/// What there is of each pair.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Layout {
    /// Whether it says its place in their order: it is in a leaf.
    pub is_numbered: bool,
    /// Whether a value belongs to it.
    pub has_values: bool,
}

/// A field, its value, and where they are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Pair<'a> {
    pub number: u64,
    pub field: &'a [u8],
    pub value: &'a [u8],
    /// Where it begins, and how many bytes it takes.
    pub at: usize,
    pub len: usize,
}

/// The pairs in some bytes; those behind what is no pair are not seen.
#[derive(Clone, Debug)]
pub(crate) struct Pairs<'a> {
    rest: &'a [u8],
    at: usize,
    layout: Layout,
}

impl<'a> Pairs<'a> {
    /// Those that lie there so.
    pub fn new(layout: Layout, bytes: &'a [u8]) -> Self {
        Self { rest: bytes, at: 0, layout }
    }

    /// The pair with a field.
    pub fn of(mut self, field: &[u8]) -> Option<Pair<'a>> {
        self.find(|pair| pair.field == field)
    }
}

impl<'a> Iterator for Pairs<'a> {
    type Item = Pair<'a>;

    fn next(&mut self) -> Option<Pair<'a>> {
        let mut rest = self.rest;
        let number = if self.layout.is_numbered { take_varint(&mut rest)? } else { 0 };
        let field = usize::try_from(take_varint(&mut rest)?).ok()?;
        let value = if self.layout.has_values { usize::try_from(take_varint(&mut rest)?).ok()? } else { 0 };
        let (field, rest) = rest.split_at_checked(field)?;
        let (value, rest) = rest.split_at_checked(value)?;
        let (at, len) = (self.at, self.rest.len() - rest.len());
        (self.rest, self.at) = (rest, at + len);
        Some(Pair { number, field, value, at, len })
    }
}

/// Appends a pair, with what the layout has of it.
pub(crate) fn push_pair(out: &mut Vec<u8>, layout: Layout, number: u64, field: &[u8], value: &[u8]) {
    if layout.is_numbered {
        push_varint(out, number);
    }
    push_varint(out, field.len() as u64);
    if layout.has_values {
        push_varint(out, value.len() as u64);
    }
    out.extend_from_slice(field);
    if layout.has_values {
        out.extend_from_slice(value);
    }
}

/// Sets a field among such pairs; one that was there stays in its place, a new one comes last, under `number`. Returns whether it is new.
pub(crate) fn set_pair(bytes: &mut Vec<u8>, layout: Layout, number: u64, field: &[u8], value: &[u8]) -> bool {
    let Some(old) = Pairs::new(layout, bytes).of(field) else {
        push_pair(bytes, layout, number, field, value);
        return true;
    };
    let (at, len, old_number) = (old.at, old.len, old.number);
    if old.value.len() == value.len() {
        let end = at + len;
        bytes[end - value.len()..end].copy_from_slice(value);
        return false;
    }
    let mut new = Vec::with_capacity(len + value.len());
    push_pair(&mut new, layout, old_number, field, value);
    bytes.splice(at..at + len, new);
    false
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn pairs_are_what_a_list_of_them_is(
            changes in proptest::collection::vec((0u8..12, 0usize..300, any::<bool>()), 0..60),
            is_numbered: bool, has_values: bool,
        ) {
            let layout = Layout { is_numbered, has_values };
            let (mut bytes, mut list) = (Vec::new(), Vec::<(u64, Vec<u8>, Vec<u8>)>::new());
            for (nth, (field, len, removes)) in changes.into_iter().enumerate() {
                let (number, field, value) = (nth as u64 * 100, vec![field; usize::from(field) * 17], vec![7; if has_values { len } else { 0 }]);
                let place = list.iter().position(|pair| pair.1 == field);
                if removes {
                    let found = Pairs::new(layout, &bytes).of(&field).map(|pair| pair.at..pair.at + pair.len);
                    prop_assert_eq!(found.is_some(), place.is_some());
                    if let Some(range) = found {
                        bytes.drain(range);
                    }
                    list.retain(|pair| pair.1 != field);
                } else {
                    prop_assert_eq!(set_pair(&mut bytes, layout, number, &field, &value), place.is_none());
                    match place {
                        Some(place) => list[place].2 = value,
                        None => list.push((if is_numbered { number } else { 0 }, field, value)),
                    }
                }
                let pairs = Pairs::new(layout, &bytes);
                let found: Vec<_> = pairs.map(|pair| (pair.number, pair.field.to_vec(), pair.value.to_vec())).collect();
                prop_assert_eq!(&found, &list);
            }
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..80), is_numbered: bool, has_values: bool) {
            let pairs = Pairs::new(Layout { is_numbered, has_values }, &bytes);
            prop_assert!(pairs.map(|pair| pair.len).sum::<usize>() <= bytes.len());
        }
    }
}
