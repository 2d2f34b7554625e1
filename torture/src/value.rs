//! RESP2 and RESP3 replies as values.

use std::fmt::Write as _;

use crate::{Error, Result};

/// One reply. The three spellings of null (`$-1`, `*-1`, `_`) are one value here; who needs to
/// tell them apart compares the raw bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// `+text`
    Simple(Vec<u8>),
    /// `-text`, or a RESP3 blob error.
    Error(Vec<u8>),
    /// `:number`
    Integer(i64),
    /// `$length`
    Bulk(Vec<u8>),
    /// `$-1`, `*-1` or `_`
    Null,
    /// `*count`
    Array(Vec<Value>),
    /// `#t` or `#f`
    Boolean(bool),
    /// `,text`: kept as text, for its format is part of the reply.
    Double(Vec<u8>),
    /// `(digits`
    BigNumber(Vec<u8>),
    /// `=length`: the format and the text, as sent.
    Verbatim(Vec<u8>),
    /// `%count`
    Map(Vec<(Value, Value)>),
    /// `~count`
    Set(Vec<Value>),
    /// `>count`
    Push(Vec<Value>),
}

/// How deep replies may nest before the parser gives up on the peer.
const MAX_DEPTH: usize = 64;

impl Value {
    /// Parses one reply from the start of `bytes`: the value and its length, or `None` when
    /// more bytes are needed.
    ///
    /// # Errors
    /// [`Error::Protocol`] when `bytes` can't be the start of a reply.
    pub fn parse(bytes: &[u8]) -> Result<Option<(Self, usize)>> {
        parse_at(bytes, 0, 0)
    }

    /// The text of a simple string, bulk string, error or verbatim reply.
    #[must_use]
    pub fn text(&self) -> Option<&[u8]> {
        match self {
            Self::Simple(text) | Self::Bulk(text) | Self::Error(text) => Some(text),
            Self::Verbatim(text) => Some(text.get(4..).unwrap_or(&[])),
            _ => None,
        }
    }

    /// The number of an integer reply.
    #[must_use]
    pub fn integer(&self) -> Option<i64> {
        if let Self::Integer(number) = self { Some(*number) } else { None }
    }

    /// The elements of an array, set or push.
    #[must_use]
    pub fn items(&self) -> Option<&[Self]> {
        match self {
            Self::Array(items) | Self::Set(items) | Self::Push(items) => Some(items),
            _ => None,
        }
    }

    /// True for an error whose text begins with `prefix`.
    #[must_use]
    pub fn is_error(&self, prefix: &str) -> bool {
        matches!(self, Self::Error(text) if text.starts_with(prefix.as_bytes()))
    }

    /// True for the simple string `OK`.
    #[must_use]
    pub fn is_ok(&self) -> bool {
        matches!(self, Self::Simple(text) if text == b"OK")
    }
}

fn parse_at(bytes: &[u8], at: usize, depth: usize) -> Result<Option<(Value, usize)>> {
    if depth > MAX_DEPTH {
        return Err(Error::Protocol("replies nest too deeply".into()));
    }
    let Some((line, mut next)) = line_at(bytes, at) else {
        return Ok(None);
    };
    let Some((&kind, rest)) = line.split_first() else {
        return Err(Error::Protocol("an empty line".into()));
    };
    let value = match kind {
        b'+' => Value::Simple(rest.to_vec()),
        b'-' => Value::Error(rest.to_vec()),
        b':' => Value::Integer(number(rest)?),
        b',' => Value::Double(rest.to_vec()),
        b'(' => Value::BigNumber(rest.to_vec()),
        b'_' => Value::Null,
        b'#' => Value::Boolean(rest == b"t"),
        b'$' | b'=' | b'!' => {
            let length = number(rest)?;
            if length < 0 {
                return Ok(Some((Value::Null, next)));
            }
            let length = usize::try_from(length).unwrap_or(usize::MAX);
            let Some(end) = next.checked_add(length).filter(|end| end + 2 <= bytes.len()) else {
                return Ok(None);
            };
            if &bytes[end..end + 2] != b"\r\n" {
                return Err(Error::Protocol("a bulk string without its line end".into()));
            }
            let text = bytes[next..end].to_vec();
            next = end + 2;
            match kind {
                b'$' => Value::Bulk(text),
                b'=' => Value::Verbatim(text),
                _ => Value::Error(text),
            }
        }
        b'*' | b'~' | b'>' | b'%' => {
            let count = number(rest)?;
            if count < 0 {
                return Ok(Some((Value::Null, next)));
            }
            let count = count.checked_mul(if kind == b'%' { 2 } else { 1 }).unwrap_or(i64::MAX);
            let mut items = Vec::new();
            for _ in 0..count {
                let Some((item, after)) = parse_at(bytes, next, depth + 1)? else {
                    return Ok(None);
                };
                items.push(item);
                next = after;
            }
            match kind {
                b'*' => Value::Array(items),
                b'~' => Value::Set(items),
                b'>' => Value::Push(items),
                _ => Value::Map(pairs(items)),
            }
        }
        other => {
            return Err(Error::Protocol(format!("unknown type byte {}", escape(&[other]))));
        }
    };
    Ok(Some((value, next)))
}

fn pairs(items: Vec<Value>) -> Vec<(Value, Value)> {
    let mut pairs = Vec::with_capacity(items.len() / 2);
    let mut items = items.into_iter();
    while let (Some(key), Some(value)) = (items.next(), items.next()) {
        pairs.push((key, value));
    }
    pairs
}

/// The line that starts at `at`, without its end, and where the next one starts.
fn line_at(bytes: &[u8], at: usize) -> Option<(&[u8], usize)> {
    let rest = bytes.get(at..)?;
    let end = rest.windows(2).position(|pair| pair == b"\r\n")?;
    Some((&rest[..end], at + end + 2))
}

fn number(text: &[u8]) -> Result<i64> {
    std::str::from_utf8(text)
        .ok()
        .and_then(|text| text.parse().ok())
        .ok_or_else(|| Error::Protocol(format!("a bad number: {}", escape(text))))
}

/// Bytes as readable text: printable ascii as it is, the rest escaped as redis-cli does; long
/// texts are shortened in the middle.
#[must_use]
pub fn escape(bytes: &[u8]) -> String {
    const SHOWN: usize = 600;
    if bytes.len() > 2 * SHOWN {
        let (head, tail) = (&bytes[..SHOWN], &bytes[bytes.len() - SHOWN..]);
        let hidden = bytes.len() - 2 * SHOWN;
        return format!("{} ...{hidden} bytes... {}", escape(head), escape(tail));
    }
    let mut out = String::with_capacity(bytes.len());
    for &byte in bytes {
        match byte {
            b'\r' => out.push_str("\\r"),
            b'\n' => out.push_str("\\n"),
            b'\t' => out.push_str("\\t"),
            b'\\' => out.push_str("\\\\"),
            b'"' => out.push_str("\\\""),
            0x20..=0x7e => out.push(char::from(byte)),
            _ => {
                // writing to a String can't fail.
                let _ = write!(out, "\\x{byte:02x}");
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_type_parses_and_every_prefix_of_it_waits_for_more() {
        let replies: &[&[u8]] = &[
            b"+OK\r\n",
            b"-ERR no\r\n",
            b":-12\r\n",
            b"$3\r\na\r\n\r\n",
            b"$-1\r\n",
            b"*-1\r\n",
            b"_\r\n",
            b"#t\r\n",
            b",3.25\r\n",
            b"(123456789012345678901234567890\r\n",
            b"=7\r\ntxt:abc\r\n",
            b"%1\r\n+a\r\n*2\r\n:1\r\n:2\r\n",
            b"~2\r\n:1\r\n:2\r\n",
            b">1\r\n+x\r\n",
            b"*0\r\n",
        ];
        for reply in replies {
            for cut in 0..reply.len() {
                assert!(Value::parse(&reply[..cut]).unwrap().is_none(), "{}", escape(reply));
            }
            let (_, length) = Value::parse(reply).unwrap().unwrap();
            assert_eq!(length, reply.len());
        }
    }

    #[test]
    fn rubbish_is_refused() {
        assert!(Value::parse(b"hello\r\n").is_err());
        assert!(Value::parse(b":x\r\n").is_err());
        assert!(Value::parse(b"$1\r\nabc").is_err());
    }
}
