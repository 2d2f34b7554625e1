//! Requests typed by hand: one line of words, with quotes.

use crate::args::{OwnedArgs, Span};

/// A quote was opened and not closed, or a closing quote is not followed by a space.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct UnbalancedQuotes;

/// What C calls a space.
fn is_space(b: u8) -> bool {
    matches!(b, b' ' | b'\t' | b'\n' | 0x0b | 0x0c | b'\r')
}

/// Ends an unquoted word (a vertical tab or a form feed does not).
fn ends_word(b: u8) -> bool {
    matches!(b, b' ' | b'\t' | b'\n' | b'\r')
}

/// Whether `line` can be split in place: it has no quotes.
pub(crate) fn is_plain(line: &[u8]) -> bool {
    !line.iter().any(|b| matches!(b, b'"' | b'\''))
}

/// Appends the words of a line without quotes to `spans`; `base` is the line's offset in the buffer.
pub(crate) fn split_plain(line: &[u8], base: u32, spans: &mut Vec<Span>) {
    let mut at = 0;
    loop {
        at += line[at..].iter().take_while(|b| is_space(**b)).count();
        if at == line.len() {
            return;
        }
        let len = line[at..].iter().take_while(|b| !ends_word(**b)).count();
        spans.push(Span { start: base + at as u32, len: len as u32 });
        at += len;
    }
}

/// Splits a line by redis's rules: words are separated by spaces; "..." may contain spaces and the escapes \n \r \t
/// \b \a \xHH, '...' only the escape \'.
pub(crate) fn split_quoted(line: &[u8]) -> Result<OwnedArgs, UnbalancedQuotes> {
    let mut words = OwnedArgs::default();
    let mut rest = line;
    loop {
        rest = &rest[rest.iter().take_while(|b| is_space(**b)).count()..];
        if rest.is_empty() {
            return Ok(words);
        }
        words.push_with(|bytes| {
            rest = word(rest, bytes)?;
            Ok(())
        })?;
    }
}

/// Appends the word at the start of `rest` to `out`, and returns what follows it.
fn word<'a>(mut rest: &'a [u8], out: &mut Vec<u8>) -> Result<&'a [u8], UnbalancedQuotes> {
    loop {
        match rest {
            [] => return Ok(rest),
            [b, ..] if ends_word(*b) => return Ok(rest),
            [b'"', tail @ ..] => return after_quote(double_quoted(tail, out)?),
            [b'\'', tail @ ..] => return after_quote(single_quoted(tail, out)?),
            [b, tail @ ..] => {
                out.push(*b);
                rest = tail;
            }
        }
    }
}

/// A closing quote ends its word.
fn after_quote(rest: &[u8]) -> Result<&[u8], UnbalancedQuotes> {
    match rest.first() {
        Some(b) if !is_space(*b) => Err(UnbalancedQuotes),
        _ => Ok(rest),
    }
}

fn double_quoted<'a>(mut rest: &'a [u8], out: &mut Vec<u8>) -> Result<&'a [u8], UnbalancedQuotes> {
    loop {
        match rest {
            [b'\\', b'x', high, low, tail @ ..] if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => {
                out.push(hex_digit(*high) << 4 | hex_digit(*low));
                rest = tail;
            }
            [b'\\', escaped, tail @ ..] => {
                out.push(match escaped {
                    b'n' => b'\n',
                    b'r' => b'\r',
                    b't' => b'\t',
                    b'b' => 0x08,
                    b'a' => 0x07,
                    other => *other,
                });
                rest = tail;
            }
            [b'"', tail @ ..] => return Ok(tail),
            [b, tail @ ..] => {
                out.push(*b);
                rest = tail;
            }
            [] => return Err(UnbalancedQuotes),
        }
    }
}

fn single_quoted<'a>(mut rest: &'a [u8], out: &mut Vec<u8>) -> Result<&'a [u8], UnbalancedQuotes> {
    loop {
        match rest {
            [b'\\', b'\'', tail @ ..] => {
                out.push(b'\'');
                rest = tail;
            }
            [b'\'', tail @ ..] => return Ok(tail),
            [b, tail @ ..] => {
                out.push(*b);
                rest = tail;
            }
            [] => return Err(UnbalancedQuotes),
        }
    }
}

fn hex_digit(b: u8) -> u8 {
    match b {
        b'0'..=b'9' => b - b'0',
        b'a'..=b'f' => b - b'a' + 10,
        _ => b - b'A' + 10,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::Args;

    fn words(line: &[u8]) -> Option<Vec<Vec<u8>>> {
        let words = split_quoted(line).ok()?;
        Some(words.args().iter().map(<[u8]>::to_vec).collect())
    }

    /// As redis 8.2 answers them to ECHO.
    #[test]
    fn takes_quotes_and_escapes_as_redis_does() {
        type Case = (&'static [u8], Option<&'static [&'static [u8]]>);
        let cases: &[Case] = &[
            (b"", Some(&[])),
            (b" \t\r", Some(&[])),
            (b"  PING  ", Some(&[b"PING"])),
            (b"e \t a \x0b\x0c b", Some(&[b"e", b"a", b"b"])),
            (b"e\x0ba", Some(&[b"e\x0ba"])),
            (b"a\rb", Some(&[b"a", b"b"])),
            (b"\"a\\x41\\n\\q\"", Some(&[b"aA\nq"])),
            (b"\"\\t\\b\\a\\r\\\\\\\"\"", Some(&[b"\t\x08\x07\r\\\""])),
            (b"\"a\\x4\"", Some(&[b"ax4"])),
            (b"\"a\\xZZ\"", Some(&[b"axZZ"])),
            (b"\"a\rb\"", Some(&[b"a\rb"])),
            (b"'a\\'b\\n'", Some(&[b"a'b\\n"])),
            (b"a\"b\" a'b'", Some(&[b"ab", b"ab"])),
            (b"\"\" ''", Some(&[b"", b""])),
            (b"\"abc", None),
            (b"'abc", None),
            (b"\"a\\", None),
            (b"\"abc\"d", None),
            (b"'abc'd", None),
        ];
        for (line, expected) in cases {
            let expected = expected.map(|words| words.iter().map(|w| w.to_vec()).collect());
            assert_eq!(words(line), expected, "{:?}", line.escape_ascii().to_string());
        }
    }

    #[test]
    fn splits_plain_lines_alike_in_place() {
        for line in [&b""[..], b" a  bc\td\r", b"x", b"\x0ba\x0bb \x0c c"] {
            assert!(is_plain(line));
            let mut spans = Vec::new();
            split_plain(line, 0, &mut spans);
            let found: Vec<_> = Args::new(line, &spans).iter().map(<[u8]>::to_vec).collect();
            assert_eq!(Some(found), words(line));
        }
    }
}
