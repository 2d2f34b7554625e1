//! Bytes as text that can be read, and typed again.

use std::fmt::Write;

/// `bytes` in double quotes; what is not printable ascii is escaped.
pub(crate) fn quote(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len() + 2);
    out.push('"');
    for &byte in bytes {
        match byte {
            b'\\' | b'"' => out.extend(['\\', char::from(byte)]),
            b'\n' => out.push_str("\\n"),
            b'\r' => out.push_str("\\r"),
            b'\t' => out.push_str("\\t"),
            7 => out.push_str("\\a"),
            8 => out.push_str("\\b"),
            b' '..=b'~' => out.push(char::from(byte)),
            _ => {
                let _ = write!(out, "\\x{byte:02x}");
            }
        }
    }
    out.push('"');
    out
}

/// Why a line is not a list of words.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Unsplit {
    /// A quote is open: there may be more in the next line.
    Open,
    /// Something stands directly behind a closing quote.
    Glued,
}

/// Splits a line at spaces. `"..."` knows `\n \r \t \b \a \xhh` and `\` before anything else, `'...'` only `\'`.
pub(crate) fn split(line: &[u8]) -> Result<Vec<Vec<u8>>, Unsplit> {
    let mut words = Vec::new();
    let mut rest = line.trim_ascii_start();
    while !rest.is_empty() {
        let (word, after) = first_word(rest)?;
        words.push(word);
        rest = after.trim_ascii_start();
    }
    Ok(words)
}

/// `text` if it is one word.
pub(crate) fn unquote(text: &[u8]) -> Option<Vec<u8>> {
    match split(text).ok()?.as_mut_slice() {
        [word] => Some(std::mem::take(word)),
        _ => None,
    }
}

fn first_word(text: &[u8]) -> Result<(Vec<u8>, &[u8]), Unsplit> {
    let mut word = Vec::new();
    let mut at = 0;
    while let Some(&byte) = text.get(at) {
        match byte {
            b' ' | b'\n' | b'\r' | b'\t' | 0 => break,
            b'"' | b'\'' => {
                at += 1 + read_quoted(&text[at + 1..], byte, &mut word)?;
                if text.get(at).is_some_and(|next| !next.is_ascii_whitespace()) {
                    return Err(Unsplit::Glued);
                }
                break;
            }
            _ => word.push(byte),
        }
        at += 1;
    }
    // a zero byte ends a line.
    let rest = if text.get(at) == Some(&0) { &[] } else { &text[at..] };
    Ok((word, rest))
}

/// Reads up to the closing quote; the length with it.
fn read_quoted(text: &[u8], closing: u8, word: &mut Vec<u8>) -> Result<usize, Unsplit> {
    let mut at = 0;
    loop {
        let (byte, used) = match text.get(at..).unwrap_or_default() {
            [] => return Err(Unsplit::Open),
            [byte, ..] if *byte == closing => return Ok(at + 1),
            [b'\\', b'\'', ..] if closing == b'\'' => (b'\'', 2),
            [b'\\', b'x', high, low, ..] if closing == b'"' && high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => {
                (hex(*high) << 4 | hex(*low), 4)
            }
            [b'\\', escaped, ..] if closing == b'"' => (unescape(*escaped), 2),
            [byte, ..] => (*byte, 1),
        };
        word.push(byte);
        at += used;
    }
}

fn hex(digit: u8) -> u8 {
    match digit {
        b'0'..=b'9' => digit - b'0',
        _ => (digit | 0x20) - b'a' + 10,
    }
}

fn unescape(letter: u8) -> u8 {
    match letter {
        b'n' => b'\n',
        b'r' => b'\r',
        b't' => b'\t',
        b'b' => 8,
        b'a' => 7,
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Result<Vec<String>, Unsplit> {
        let words = split(line.as_bytes())?;
        Ok(words.iter().map(|word| String::from_utf8_lossy(word).into_owned()).collect())
    }

    #[test]
    fn lines_are_split_as_everywhere() {
        assert_eq!(words("  set a  1\r\n").unwrap(), ["set", "a", "1"]);
        assert_eq!(words(r#"set "a b" 'c\'d'"#).unwrap(), ["set", "a b", "c'd"]);
        assert_eq!(words(r#"echo "\x41\n\"\q\\""#).unwrap(), ["echo", "A\n\"q\\"]);
        assert_eq!(words(r"echo '\n'").unwrap(), ["echo", r"\n"]);
        assert_eq!(words(r#"get """#).unwrap(), ["get", ""]);
        assert_eq!(words("").unwrap(), Vec::<String>::new());
        assert_eq!(words("a\u{0}b").unwrap(), ["a"]);
    }

    #[test]
    fn open_and_glued_quotes_are_told_apart() {
        assert_eq!(words(r#"set a "b c"#), Err(Unsplit::Open));
        assert_eq!(words(r#"set a "b\"#), Err(Unsplit::Open));
        assert_eq!(words("set a 'b\\'"), Err(Unsplit::Open));
        assert_eq!(words(r#"set a "b"c"#), Err(Unsplit::Glued));
    }

    #[test]
    fn what_was_quoted_can_be_typed_again() {
        let all: Vec<u8> = (0..=255).collect();
        for bytes in [&all[..], b"", b"plain", b"\\x41"] {
            assert_eq!(unquote(quote(bytes).as_bytes()).unwrap(), bytes);
        }
        assert_eq!(quote(b"a\x07\x08\x1b\xff\"\\"), r#""a\a\b\x1b\xff\"\\""#);
    }
}
