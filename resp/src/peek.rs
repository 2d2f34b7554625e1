//! A guess at the key that a request is about, before it is parsed: for prefetching.

/// The first argument after the command's name, if `buf` begins with a request that has one and as much of it
/// is here. A hint and no more: nothing is checked that a wrong guess would not survive.
#[inline]
#[must_use]
pub fn first_key(buf: &[u8]) -> Option<&[u8]> {
    let rest = buf.strip_prefix(b"*")?;
    let at = rest.iter().take(4).position(|byte| *byte == b'\n')? + 1;
    let (_, rest) = bulk(&rest[at..])?;
    bulk(rest).map(|(key, _)| key)
}

/// A bulk string with a length of one to three digits, and what follows it.
#[inline]
fn bulk(buf: &[u8]) -> Option<(&[u8], &[u8])> {
    let digits = buf.strip_prefix(b"$")?;
    let mut len = 0;
    for (i, byte) in digits.iter().take(4).enumerate() {
        match byte {
            b'0'..=b'9' => len = len * 10 + usize::from(byte - b'0'),
            _ => {
                let start = i + 2;
                let content = digits.get(start..start + len)?;
                return Some((content, digits.get(start + len + 2..).unwrap_or_default()));
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::first_key;
    use proptest::prelude::*;

    #[test]
    fn the_key_of_a_request_is_found() {
        assert_eq!(first_key(b"*2\r\n$3\r\nGET\r\n$3\r\nkey\r\n"), Some(&b"key"[..]));
        assert_eq!(
            first_key(b"*3\r\n$3\r\nSET\r\n$16\r\n0123456789abcdef\r\n$1\r\nx\r\n"),
            Some(&b"0123456789abcdef"[..])
        );
        assert_eq!(first_key(b"*1\r\n$4\r\nPING\r\n"), None);
        assert_eq!(first_key(b"*2\r\n$3\r\nGET\r\n$3\r\nke"), None);
        assert_eq!(first_key(b"PING\r\n"), None);
        assert_eq!(first_key(b""), None);
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(buf: Vec<u8>, digits in "\\*[0-9]{1,2}\r\n\\$[0-9]{1,4}\r\n[A-Z]{0,4}") {
            let _ = first_key(&buf);
            let mut mixed = digits.into_bytes();
            mixed.extend(buf);
            let _ = first_key(&mixed);
        }
    }
}
