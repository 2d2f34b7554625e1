//! Fields and their values, one behind the other; a set's members are fields without values.
//!
//! ```text
//! +----------+----------+-----------+-------------+-------+---------+
//! | [expiry] | [number] | field len | [value len] | field | [value] |     numbers are varints; the second is in leaves only,
//! +----------+----------+-----------+-------------+-------+---------+     what concerns values not in sets
//! ```
//!
//! In a whole image the order is the one in which fields have come. In a leaf each says its own place in that order.
//!
//! The expiry, in ms since 1970, is in a whole image of a hash of which some fields may expire, and 0 for those that do not. In a leaf, whatever it is of, it
//! stands behind a 0, which is no number of a place; and nothing does if the field does not expire.

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
    /// Whether it says when it expires: it is in no leaf.
    pub has_expiries: bool,
}

/// A field, its value, and where they are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Pair<'a> {
    pub number: u64,
    pub field: &'a [u8],
    pub value: &'a [u8],
    /// When it expires; 0: never.
    pub expires_at_ms: u64,
    /// Where it begins, and how many bytes it takes.
    pub at: usize,
    pub len: usize,
}

impl Pair<'_> {
    /// Its place in the order of a split collection: by when they expire, of equals the last one first, then those that do not, as they came.
    pub fn place(&self) -> (u64, u64) {
        if self.expires_at_ms > 0 { (self.expires_at_ms, !self.number) } else { (u64::MAX, self.number) }
    }
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
        let (mut number, mut expires_at_ms) = (0, 0);
        if self.layout.is_numbered {
            number = take_varint(&mut rest)?;
            if number == 0 {
                expires_at_ms = take_varint(&mut rest)?;
                number = take_varint(&mut rest)?;
            }
        } else if self.layout.has_expiries {
            expires_at_ms = take_varint(&mut rest)?;
        }
        let field = usize::try_from(take_varint(&mut rest)?).ok()?;
        let value = if self.layout.has_values { usize::try_from(take_varint(&mut rest)?).ok()? } else { 0 };
        let (field, rest) = rest.split_at_checked(field)?;
        let (value, rest) = rest.split_at_checked(value)?;
        let (at, len) = (self.at, self.rest.len() - rest.len());
        (self.rest, self.at) = (rest, at + len);
        Some(Pair { number, field, value, expires_at_ms, at, len })
    }
}

/// Appends a pair that does not expire, with what the layout has of it.
pub(crate) fn push_pair(out: &mut Vec<u8>, layout: Layout, number: u64, field: &[u8], value: &[u8]) {
    push_field(out, layout, number, field, value, 0);
}

/// The same for one that was read elsewhere, which gets another number.
pub(super) fn push_copy(out: &mut Vec<u8>, layout: Layout, number: u64, pair: &Pair<'_>) {
    push_field(out, layout, number, pair.field, pair.value, pair.expires_at_ms);
}

/// The same for one that may expire.
pub(crate) fn push_field(
    out: &mut Vec<u8>,
    layout: Layout,
    number: u64,
    field: &[u8],
    value: &[u8],
    expires_at_ms: u64,
) {
    if layout.is_numbered {
        if expires_at_ms > 0 {
            push_varint(out, 0);
            push_varint(out, expires_at_ms);
        }
        push_varint(out, number);
    } else if layout.has_expiries {
        push_varint(out, expires_at_ms);
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

/// Sets a field among such pairs; one that was there stays in its place, and expires when it did, a new one comes last, under `number`. Returns
/// whether it is new.
pub(crate) fn set_pair(bytes: &mut Vec<u8>, layout: Layout, number: u64, field: &[u8], value: &[u8]) -> bool {
    let Some(old) = Pairs::new(layout, bytes).of(field) else {
        push_pair(bytes, layout, number, field, value);
        return true;
    };
    let (at, len, old_number, expires_at_ms) = (old.at, old.len, old.number, old.expires_at_ms);
    if old.value.len() == value.len() {
        let end = at + len;
        bytes[end - value.len()..end].copy_from_slice(value);
        return false;
    }
    let mut new = Vec::with_capacity(len + value.len());
    push_field(&mut new, layout, old_number, field, value, expires_at_ms);
    bytes.splice(at..at + len, new);
    false
}

/// Sets a field that expires from now on at another time, or never again; it comes where redis would have it: before those that do not
/// expire before it, or last, under `number`. Returns whether it is new.
pub(super) fn move_pair(
    bytes: &mut Vec<u8>,
    layout: Layout,
    number: u64,
    field: &[u8],
    value: &[u8],
    expires_at_ms: u64,
) -> bool {
    let old = Pairs::new(layout, bytes).of(field).map(|old| old.at..old.at + old.len);
    let is_new = old.is_none();
    if let Some(range) = old {
        bytes.drain(range);
    }
    let is_later = |pair: &Pair<'_>| pair.expires_at_ms == 0 || pair.expires_at_ms >= expires_at_ms;
    let next = if expires_at_ms > 0 { Pairs::new(layout, bytes).find(is_later) } else { None };
    let at = next.map_or(bytes.len(), |next| next.at);
    let mut new = Vec::with_capacity(field.len() + value.len() + 16);
    push_field(&mut new, layout, number, field, value, expires_at_ms);
    bytes.splice(at..at, new);
    is_new
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
            let layout = Layout { is_numbered, has_values, has_expiries: false };
            let (mut bytes, mut list) = (Vec::new(), Vec::<(u64, Vec<u8>, Vec<u8>)>::new());
            for (nth, (field, len, removes)) in changes.into_iter().enumerate() {
                let (number, field, value) = (nth as u64 * 100 + 1, vec![field; usize::from(field) * 17], vec![7; if has_values { len } else { 0 }]);
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
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..80), is_numbered: bool, has_values: bool, has_expiries: bool) {
            let pairs = Pairs::new(Layout { is_numbered, has_values, has_expiries }, &bytes);
            prop_assert!(pairs.map(|pair| pair.len).sum::<usize>() <= bytes.len());
        }
    }
}
