//! Ziplists and zipmaps, in which redis kept small collections before 7.0.
//!
//! ```text
//! bytes, 4 le | tail, 4 le | count, 2 le | elements | ff
//!
//! an element: the length of the one before, 1 byte, or fe and 4 bytes; then
//! 00nnnnnn                     a string        c0 d0 e0       an integer of 2, 4, 8 bytes, le
//! 01nnnnnn nnnnnnnn            a string        f0 fe          of 3 bytes, of 1
//! 80 and 4 bytes, be           a string        1111nnnn       n - 1, for n from 1 to 13
//!
//! a zipmap: count | each: key length | key | value length | free | value | free bytes | ff
//!           a length is 1 byte, or fe and 4 bytes, le
//! ```

use emberkv_resp::format;

const HEADER: usize = 10;
const END: u8 = 0xff;

/// What is left.
struct Bytes<'a>(&'a [u8]);

impl<'a> Bytes<'a> {
    fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let (bytes, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(bytes)
    }

    fn byte(&mut self) -> Option<u8> {
        self.take(1).map(|bytes| bytes[0])
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.try_into().ok()
    }

    /// A signed integer of so many bytes.
    fn int(&mut self, len: usize) -> Option<Vec<u8>> {
        let mut number = [0; 8];
        number[8 - len..].copy_from_slice(self.take(len)?);
        Some(text(i64::from_le_bytes(number) >> (64 - 8 * len)))
    }

    fn element(&mut self) -> Option<Vec<u8>> {
        if self.byte()? == 0xfe {
            self.take(4)?;
        }
        let first = self.byte()?;
        let len = match first {
            0xc0 => return self.int(2),
            0xd0 => return self.int(4),
            0xe0 => return self.int(8),
            0xf0 => return self.int(3),
            0xfe => return self.int(1),
            0xf1..=0xfd => return Some(text(i64::from(first & 15) - 1)),
            0x80 => u32::from_be_bytes(self.array()?) as usize,
            _ if first >> 6 == 0 => first.into(),
            _ if first >> 6 == 1 => usize::from(first & 0x3f) << 8 | usize::from(self.byte()?),
            _ => return None,
        };
        self.take(len).map(<[u8]>::to_vec)
    }

    fn map_length(&mut self) -> Option<usize> {
        match self.byte()? {
            0xfe => Some(u32::from_le_bytes(self.array()?) as usize),
            len => Some(len.into()),
        }
    }
}

fn text(int: i64) -> Vec<u8> {
    format::integer(int, &mut [0; 20]).to_vec()
}

/// The elements of a ziplist, as text; `None` if it is none.
pub(super) fn elements(bytes: &[u8]) -> Option<Vec<Vec<u8>>> {
    let count = u16::from_le_bytes(bytes.get(8..HEADER)?.try_into().ok()?);
    if u32::from_le_bytes(bytes.get(..4)?.try_into().ok()?) as usize != bytes.len() {
        return None;
    }
    let mut rest = Bytes(&bytes[HEADER..]);
    let mut elements = Vec::new();
    while *rest.0.first()? != END {
        elements.push(rest.element()?);
    }
    let is_whole = rest.0.len() == 1 && (count == u16::MAX || usize::from(count) == elements.len());
    is_whole.then_some(elements)
}

/// The keys and values of a zipmap, in turn; `None` if it is none.
pub(super) fn map_elements(bytes: &[u8]) -> Option<Vec<Vec<u8>>> {
    let mut rest = Bytes(bytes.get(1..)?);
    let mut elements = Vec::new();
    while *rest.0.first()? != END {
        let len = rest.map_length()?;
        elements.push(rest.take(len)?.to_vec());
        let (len, free) = (rest.map_length()?, rest.byte()?);
        elements.push(rest.take(len)?.to_vec());
        rest.take(free.into())?;
    }
    (rest.0.len() == 1).then_some(elements)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A ziplist of elements that are written already, without the lengths before them.
    fn ziplist(elements: &[&[u8]]) -> Vec<u8> {
        let mut body = Vec::new();
        for element in elements {
            body.push(0);
            body.extend_from_slice(element);
        }
        let total = (HEADER + body.len() + 1) as u32;
        let count = elements.len() as u16;
        [&total.to_le_bytes()[..], &[0; 4], &count.to_le_bytes(), &body, &[END]].concat()
    }

    #[test]
    fn elements_are_read_in_each_form() {
        let long = [&[0x41, 0x00][..], &[b'x'; 256]].concat();
        let longer = [&[0x80, 0, 0, 1, 0][..], &[b'y'; 256]].concat();
        let forms: [(&[u8], &[u8]); 10] = [
            (b"\x02ab", b"ab"),
            (&long, &[b'x'; 256]),
            (&longer, &[b'y'; 256]),
            (b"\xc0\xff\xff", b"-1"),
            (b"\xd0\0\0\0\x80", b"-2147483648"),
            (b"\xe0\0\0\0\0\0\0\0\x80", b"-9223372036854775808"),
            (b"\xf0\0\0\x80", b"-8388608"),
            (b"\xfe\x80", b"-128"),
            (b"\xf1", b"0"),
            (b"\xfd", b"12"),
        ];
        let (written, texts): (Vec<_>, Vec<_>) = forms.iter().map(|(form, text)| (*form, text.to_vec())).unzip();
        let bytes = ziplist(&written);
        assert_eq!(elements(&bytes), Some(texts));
        for end in 0..bytes.len() {
            assert_eq!(elements(&bytes[..end]), None);
        }
    }

    #[test]
    fn maps_are_read() {
        let bytes = b"\x02\x03foo\x03\x01bar?\x05hello\x05\x00world\xff";
        let expected = ["foo", "bar", "hello", "world"].map(|text| text.as_bytes().to_vec());
        assert_eq!(map_elements(bytes), Some(expected.to_vec()));
        assert_eq!(map_elements(&bytes[..bytes.len() - 1]), None);
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..60)) {
            let _ = (elements(&bytes), map_elements(&bytes));
            let _ = elements(&[&(bytes.len() as u32 + 4).to_le_bytes()[..], &bytes].concat());
        }
    }
}
