//! Replies, as they were sent: nothing that a format shows is lost.

use std::io::{BufRead, Read};

use crate::error::{Error, Result, io};

/// One reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// `+text`
    Status(Vec<u8>),
    /// `-text` or `!length`
    Error(Vec<u8>),
    /// `:number`
    Integer(i64),
    /// `$length`
    Text(Vec<u8>),
    /// `=length`: text that is to be shown as it is; its format (`txt`, `mkd`) is not kept.
    Verbatim(Vec<u8>),
    /// `$-1`, `*-1` or `_`
    Nil,
    /// `#t` or `#f`
    Boolean(bool),
    /// `,number`, in the server's spelling.
    Double(Vec<u8>),
    /// `(digits`
    BigNumber(Vec<u8>),
    /// `*count`
    Array(Vec<Value>),
    /// `~count`
    Set(Vec<Value>),
    /// `>count`
    Push(Vec<Value>),
    /// `%count`
    Map(Vec<(Value, Value)>),
}

/// How deep replies may nest before the peer is taken for something else.
const MOST_DEEP: usize = 128;

/// What is reserved before it has come: a length may be a lie.
const MOST_TRUSTED: usize = 64 * 1024;

impl Value {
    /// Reads one reply; attributes before it are skipped.
    ///
    /// # Errors
    /// When the connection ends or fails, or what comes is not RESP.
    pub fn read(from: &mut impl BufRead) -> Result<Self> {
        read(from, 0)
    }

    /// The text of a string, status, error or verbatim reply.
    #[must_use]
    pub fn text(&self) -> Option<&[u8]> {
        match self {
            Self::Status(text) | Self::Error(text) | Self::Text(text) | Self::Verbatim(text) => Some(text),
            _ => None,
        }
    }

    /// The text of an error.
    #[must_use]
    pub fn error(&self) -> Option<String> {
        if let Self::Error(text) = self { Some(String::from_utf8_lossy(text).into_owned()) } else { None }
    }

    /// Whether it is an error.
    #[must_use]
    pub fn is_error(&self) -> bool {
        matches!(self, Self::Error(_))
    }
}

fn read(from: &mut impl BufRead, depth: usize) -> Result<Value> {
    if depth > MOST_DEEP {
        return Err(Error::Protocol("replies nest too deeply".into()));
    }
    loop {
        let line = read_line(from)?;
        let Some((&kind, rest)) = line.split_first() else {
            return Err(Error::Protocol("an empty line".into()));
        };
        return Ok(match kind {
            b'+' => Value::Status(rest.to_vec()),
            b'-' => Value::Error(rest.to_vec()),
            b':' => Value::Integer(number(rest)?),
            b',' => Value::Double(rest.to_vec()),
            b'(' => Value::BigNumber(rest.to_vec()),
            b'_' => Value::Nil,
            b'#' => Value::Boolean(rest == b"t"),
            b'$' | b'=' | b'!' => match length(rest)? {
                None => Value::Nil,
                Some(length) => {
                    let text = read_text(from, length)?;
                    match kind {
                        b'$' => Value::Text(text),
                        b'!' => Value::Error(text),
                        // three letters of format and a colon.
                        _ => Value::Verbatim(text.get(4..).unwrap_or_default().to_vec()),
                    }
                }
            },
            b'*' | b'~' | b'>' => match length(rest)? {
                None => Value::Nil,
                Some(count) => {
                    let mut items = Vec::with_capacity(count.min(MOST_TRUSTED / 32));
                    for _ in 0..count {
                        items.push(read(from, depth + 1)?);
                    }
                    match kind {
                        b'*' => Value::Array(items),
                        b'~' => Value::Set(items),
                        _ => Value::Push(items),
                    }
                }
            },
            b'%' => Value::Map(read_pairs(from, length(rest)?.unwrap_or(0), depth)?),
            b'|' => {
                read_pairs(from, length(rest)?.unwrap_or(0), depth)?;
                continue;
            }
            other => {
                return Err(Error::Protocol(format!("got {:?} as the type of a reply", char::from(other))));
            }
        });
    }
}

fn read_pairs(from: &mut impl BufRead, count: usize, depth: usize) -> Result<Vec<(Value, Value)>> {
    let mut pairs = Vec::with_capacity(count.min(MOST_TRUSTED / 64));
    for _ in 0..count {
        pairs.push((read(from, depth + 1)?, read(from, depth + 1)?));
    }
    Ok(pairs)
}

fn read_line(from: &mut impl BufRead) -> Result<Vec<u8>> {
    let mut line = Vec::new();
    from.read_until(b'\n', &mut line).map_err(io("receiving"))?;
    if line.pop() != Some(b'\n') {
        return Err(Error::Closed);
    }
    if line.pop() != Some(b'\r') {
        return Err(Error::Protocol("a line without its end".into()));
    }
    Ok(line)
}

fn read_text(from: &mut impl BufRead, length: usize) -> Result<Vec<u8>> {
    let mut text = Vec::with_capacity(length.min(MOST_TRUSTED));
    let wanted = length as u64 + 2;
    let got = from.take(wanted).read_to_end(&mut text).map_err(io("receiving"))?;
    if (got as u64) < wanted {
        return Err(Error::Closed);
    }
    if !text.ends_with(b"\r\n") {
        return Err(Error::Protocol("a string without its end".into()));
    }
    text.truncate(length);
    Ok(text)
}

fn number(text: &[u8]) -> Result<i64> {
    let number = std::str::from_utf8(text).ok().and_then(|text| text.parse().ok());
    number.ok_or_else(|| Error::Protocol(format!("{:?} is no number", String::from_utf8_lossy(text))))
}

/// `None` for -1.
fn length(text: &[u8]) -> Result<Option<usize>> {
    Ok(usize::try_from(number(text)?).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Value> {
        Value::read(&mut text.as_bytes())
    }

    #[test]
    fn every_kind_is_read() {
        let text = |text: &str| Value::Text(text.into());
        let cases = [
            ("+OK\r\n", Value::Status("OK".into())),
            ("-ERR no\r\n", Value::Error("ERR no".into())),
            ("!3\r\nno!\r\n", Value::Error("no!".into())),
            (":-7\r\n", Value::Integer(-7)),
            ("$4\r\na\r\nb\r\n", text("a\r\nb")),
            ("$-1\r\n", Value::Nil),
            ("*-1\r\n", Value::Nil),
            ("_\r\n", Value::Nil),
            ("=7\r\ntxt:abc\r\n", Value::Verbatim("abc".into())),
            (",1.50\r\n", Value::Double("1.50".into())),
            ("(12\r\n", Value::BigNumber("12".into())),
            ("#t\r\n", Value::Boolean(true)),
            ("*2\r\n:1\r\n*0\r\n", Value::Array(vec![Value::Integer(1), Value::Array(vec![])])),
            ("~1\r\n:1\r\n", Value::Set(vec![Value::Integer(1)])),
            (">1\r\n:1\r\n", Value::Push(vec![Value::Integer(1)])),
            ("%1\r\n$1\r\na\r\n#f\r\n", Value::Map(vec![(text("a"), Value::Boolean(false))])),
            ("|1\r\n+ttl\r\n:9\r\n:1\r\n", Value::Integer(1)),
        ];
        for (bytes, value) in cases {
            assert_eq!(parse(bytes).unwrap(), value, "{bytes:?}");
        }
    }

    #[test]
    fn what_is_cut_off_is_the_end_of_the_connection() {
        let whole = "*2\r\n$3\r\nabc\r\n%1\r\n+a\r\n:1\r\n";
        for end in 0..whole.len() {
            assert!(matches!(parse(&whole[..end]), Err(Error::Closed)), "{:?}", &whole[..end]);
        }
        assert!(parse(whole).is_ok());
    }

    #[test]
    fn other_protocols_are_refused() {
        for text in ["HTTP/1.1 400\r\n", "\r\n", ":x\r\n", "$1\r\nabc\r\n", "+OK\n"] {
            assert!(matches!(parse(text), Err(Error::Protocol(_))), "{text:?}");
        }
        assert!(matches!(parse(&"*1\r\n".repeat(1000)), Err(Error::Protocol(_))));
        assert!(matches!(parse("$9999999999\r\n"), Err(Error::Closed)), "a lie about the length reserves nothing");
    }
}
