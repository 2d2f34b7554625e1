//! Listpacks, in which redis keeps small collections and writes them into its payloads.
//!
//! ```text
//! +-------------+----------+---------------------------+-----+----+
//! | bytes, 4 le | count, 2 | encoding, data, back length | ... | ff |
//! +-------------+----------+---------------------------+-----+----+
//!
//! 0nnnnnnn                  an integer           1110nnnn nnnnnnnn         a string of n bytes
//! 10nnnnnn                  a string             f0 and 4 bytes, le        the same
//! 110nnnnn nnnnnnnn         a signed integer     f1 f2 f3 f4               an integer of 2, 3, 4, 8 bytes, le
//! ```

use emberkv_log::canonical_int;
use emberkv_resp::format;

const HEADER: usize = 6;
const END: u8 = 0xff;

/// What a listpack has beside its elements.
pub(crate) const LISTPACK_ENDS: u64 = HEADER as u64 + 1;

/// What an element takes in one.
pub(crate) fn listpack_len(element: &[u8]) -> u64 {
    let len = match canonical_int(element) {
        Some(0..=127) => 1,
        Some(-4096..=4095) => 2,
        Some(int) if i16::try_from(int).is_ok() => 3,
        Some(-0x80_0000..=0x7f_ffff) => 4,
        Some(int) if i32::try_from(int).is_ok() => 5,
        Some(_) => 9,
        None => match element.len() {
            len @ 0..64 => len + 1,
            len @ 64..4096 => len + 2,
            len => len + 5,
        },
    };
    (len + back_bytes(len)) as u64
}

/// Bytes of the back length behind an element of so many.
fn back_bytes(len: usize) -> usize {
    match len {
        0..=127 => 1,
        128..=16_383 => 2,
        16_384..=2_097_151 => 3,
        2_097_152..=268_435_455 => 4,
        _ => 5,
    }
}

/// A listpack that is written.
#[derive(Default, Debug)]
pub(super) struct Listpack {
    body: Vec<u8>,
    count: usize,
}

impl Listpack {
    /// How many elements it has.
    pub fn count(&self) -> usize {
        self.count
    }

    /// Appends an integer.
    pub fn int(&mut self, int: i64) {
        let bytes = int.to_le_bytes();
        let begins = self.body.len();
        match int {
            0..=127 => self.body.push(int as u8),
            -4096..=4095 => self.body.extend_from_slice(&[0xc0 | (int >> 8) as u8 & 0x1f, int as u8]),
            _ if i16::try_from(int).is_ok() => self.tagged(0xf1, &bytes[..2]),
            -0x80_0000..=0x7f_ffff => self.tagged(0xf2, &bytes[..3]),
            _ if i32::try_from(int).is_ok() => self.tagged(0xf3, &bytes[..4]),
            _ => self.tagged(0xf4, &bytes),
        }
        self.end(begins);
    }

    /// Appends a text, as an integer if it is one.
    pub fn text(&mut self, text: &[u8]) {
        if let Some(int) = canonical_int(text) {
            return self.int(int);
        }
        let begins = self.body.len();
        match text.len() {
            len @ 0..64 => self.body.push(0x80 | len as u8),
            len @ 64..4096 => self.body.extend_from_slice(&[0xe0 | (len >> 8) as u8, len as u8]),
            len => self.tagged(0xf0, &(len as u32).to_le_bytes()),
        }
        self.body.extend_from_slice(text);
        self.end(begins);
    }

    fn tagged(&mut self, tag: u8, bytes: &[u8]) {
        self.body.push(tag);
        self.body.extend_from_slice(bytes);
    }

    /// Appends the back length of the element that begins there.
    fn end(&mut self, begins: usize) {
        let len = self.body.len() - begins;
        let bytes = back_bytes(len);
        for nth in (0..bytes).rev() {
            // the lowest seven bits come last, all but the first say that there are more before them
            let more = if nth + 1 == bytes { 0 } else { 0x80 };
            self.body.push((len >> (7 * nth)) as u8 & 0x7f | more);
        }
        self.count += 1;
    }

    /// Its bytes.
    pub fn finish(self) -> Vec<u8> {
        let total = (HEADER + self.body.len() + 1) as u32;
        let count = u16::try_from(self.count).unwrap_or(u16::MAX);
        let mut bytes = [&total.to_le_bytes()[..], &count.to_le_bytes(), &self.body].concat();
        bytes.push(END);
        bytes
    }
}

/// The elements of a listpack, as text; `None` if it is none.
#[must_use]
pub fn elements(bytes: &[u8]) -> Option<Vec<Vec<u8>>> {
    let total = u32::from_le_bytes(bytes.get(..4)?.try_into().ok()?);
    let count = u16::from_le_bytes(bytes.get(4..HEADER)?.try_into().ok()?);
    if usize::try_from(total).ok()? != bytes.len() {
        return None;
    }
    let mut rest = bytes.get(HEADER..)?;
    let mut elements = Vec::new();
    while *rest.first()? != END {
        let (element, len) = element(rest)?;
        elements.push(element);
        rest = rest.get(len + back_bytes(len)..)?;
    }
    let is_whole = rest.len() == 1 && (count == u16::MAX || usize::from(count) == elements.len());
    is_whole.then_some(elements)
}

/// The element that `bytes` begin with, and how many bytes it takes, its back length not counted.
fn element(bytes: &[u8]) -> Option<(Vec<u8>, usize)> {
    let (first, second) = (*bytes.first()?, bytes.get(1).copied());
    let text = |at: usize, len: usize| Some((bytes.get(at..at.checked_add(len)?)?.to_vec(), at + len));
    let int = |number: i64, len: usize| Some((format::integer(number, &mut [0; 20]).to_vec(), len));
    let signed = |len: usize| {
        let mut number = [0; 8];
        number[8 - len..].copy_from_slice(bytes.get(1..=len)?);
        int(i64::from_le_bytes(number) >> (64 - 8 * len), len + 1)
    };
    match first {
        0x00..=0x7f => int(first.into(), 1),
        0x80..=0xbf => text(1, usize::from(first & 0x3f)),
        0xc0..=0xdf => {
            let bits = i64::from(first & 0x1f) << 8 | i64::from(second?);
            int(if bits >= 1 << 12 { bits - (1 << 13) } else { bits }, 2)
        }
        0xe0..=0xef => text(2, usize::from(first & 0x0f) << 8 | usize::from(second?)),
        0xf0 => text(5, usize::try_from(u32::from_le_bytes(bytes.get(1..5)?.try_into().ok()?)).ok()?),
        0xf1 => signed(2),
        0xf2 => signed(3),
        0xf3 => signed(4),
        0xf4 => signed(8),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn elements_of_every_kind_are_read() {
        let mut body: Vec<u8> = vec![0x05, 1, 0x82, b'a', b'b', 3, 0xdf, 0xff, 2, 0xc1, 0x00, 2];
        body.extend([0xf1, 0x18, 0xfc, 3, 0xf2, 0xff, 0xff, 0x7f, 4, 0xf3, 0, 0, 0, 0x80, 5]);
        body.extend([0xf4, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f, 9]);
        body.extend([0xe0, 70]);
        body.extend([b'x'; 70]);
        body.push(72);
        body.push(END);
        let mut bytes = (body.len() as u32 + 6).to_le_bytes().to_vec();
        bytes.extend(9u16.to_le_bytes());
        bytes.extend(body);
        let long = "x".repeat(70);
        let expected = ["5", "ab", "-1", "256", "-1000", "8388607", "-2147483648", "9223372036854775807", &long];
        assert_eq!(elements(&bytes), Some(expected.iter().map(|text| text.as_bytes().to_vec()).collect()));
        for end in 0..bytes.len() {
            assert_eq!(elements(&bytes[..end]), None);
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(
            ints in proptest::collection::vec((any::<i64>(), 0..64), 0..40),
            texts in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..5000), 0..4),
        ) {
            let (mut pack, mut expected) = (Listpack::default(), Vec::<Vec<u8>>::new());
            for (int, shift) in ints {

                let int: i64 = int >> shift;
                pack.int(int);
                expected.push(int.to_string().into_bytes());
            }
            for text in texts {
                pack.text(&text);
                expected.push(text);
            }
            let len = LISTPACK_ENDS + expected.iter().map(|text| listpack_len(text)).sum::<u64>();
            let bytes = pack.finish();
            prop_assert_eq!(bytes.len() as u64, len);
            prop_assert_eq!(elements(&bytes), Some(expected));
        }

        #[test]
        fn no_bytes_make_it_panic(mut bytes in proptest::collection::vec(any::<u8>(), 0..60)) {
            let len = bytes.len() as u32;
            if let Some(front) = bytes.first_chunk_mut::<4>() {
                *front = len.to_le_bytes();
            }
            let _ = elements(&bytes);
        }
    }
}
