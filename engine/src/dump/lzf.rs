//! LZF, by which redis compresses strings in its payloads. It is only read here.
//!
//! ```text
//! 000nnnnn                        n + 1 bytes follow as they are
//! lllooooo oooooooo               l + 2 bytes, as o + 1 bytes before; l not 0 and not 7
//! 111ooooo llllllll oooooooo      the same with l + 7 + 2
//! ```

/// What a stream means, if that is `len` bytes exactly.
#[must_use]
pub fn unpack(mut packed: &[u8], len: usize) -> Option<Vec<u8>> {
    // what it may become at most is said by the stream, not by who has written the length
    let mut text = Vec::with_capacity(len.min(packed.len().saturating_mul(132)));
    while let Some((&control, rest)) = packed.split_first() {
        packed = rest;
        let mut count = usize::from(control >> 5);
        if count == 0 {
            let (literal, rest) = packed.split_at_checked(usize::from(control) + 1)?;
            text.extend_from_slice(literal);
            packed = rest;
        } else {
            if count == 7 {
                let (&more, rest) = packed.split_first()?;
                count += usize::from(more);
                packed = rest;
            }
            let (&low, rest) = packed.split_first()?;
            packed = rest;
            let distance = (usize::from(control & 0x1f) << 8 | usize::from(low)) + 1;
            let start = text.len().checked_sub(distance)?;
            // it may run into what it makes itself
            (start..start + count + 2).for_each(|at| text.push(text[at]));
        }
        if text.len() > len {
            return None;
        }
    }
    (text.len() == len).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_are_copied_as_they_are_and_from_before() {
        assert_eq!(unpack(b"\x02abc", 3).as_deref(), Some(&b"abc"[..]));
        assert_eq!(unpack(b"\x02abc\x20\x02", 6).as_deref(), Some(&b"abcabc"[..]));
        assert_eq!(unpack(b"\x00a\xe0\x05\x00", 15).as_deref(), Some(&[b'a'; 15][..]));
        assert_eq!(unpack(b"", 0).as_deref(), Some(&b""[..]));
    }

    #[test]
    fn what_does_not_add_up_is_refused() {
        for (packed, len) in [
            (&b"\x02ab"[..], 3),
            (b"\x02abc", 2),
            (b"\x02abc", 4),
            (b"\x20\x00", 3),
            (b"\x00a\x20", 4),
            (b"\x00a\xe0", 4),
            (b"\x00a\xe0\x05", 4),
            (b"\x00a\x20\x01", 4),
        ] {
            assert_eq!(unpack(packed, len), None, "{}", packed.escape_ascii());
        }
    }
}
