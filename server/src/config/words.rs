//! A line of a configuration file, cut into words as redis cuts it.

/// A quote that is not closed, or that has something right behind it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct UnbalancedQuotes;

/// The words of `line`. `"..."` knows `\n \r \t \b \a \xHH` and takes any other byte after a
/// backslash as it is, `'...'` knows `\'` only. A NUL ends the line.
pub(crate) fn split_words(line: &[u8]) -> Result<Vec<Vec<u8>>, UnbalancedQuotes> {
    let end = line.iter().position(|&byte| byte == 0).unwrap_or(line.len());
    let mut rest = &line[..end];
    let mut words = Vec::new();
    loop {
        while let [byte, tail @ ..] = rest
            && is_space(*byte)
        {
            rest = tail;
        }
        if rest.is_empty() {
            return Ok(words);
        }
        let (word, tail) = next_word(rest)?;
        words.push(word);
        rest = tail;
    }
}

/// The word that `rest` starts with, and what follows it.
fn next_word(mut rest: &[u8]) -> Result<(Vec<u8>, &[u8]), UnbalancedQuotes> {
    let mut word = Vec::new();
    loop {
        rest = match rest {
            [] => return Ok((word, rest)),
            [b' ' | b'\n' | b'\r' | b'\t', tail @ ..] => return Ok((word, tail)),
            [b'"', tail @ ..] => {
                let rest = double_quoted(tail, &mut word)?;
                return Ok((word, after_quote(rest)?));
            }
            [b'\'', tail @ ..] => {
                let rest = single_quoted(tail, &mut word)?;
                return Ok((word, after_quote(rest)?));
            }
            [byte, tail @ ..] => {
                word.push(*byte);
                tail
            }
        }
    }
}

fn double_quoted<'a>(mut rest: &'a [u8], word: &mut Vec<u8>) -> Result<&'a [u8], UnbalancedQuotes> {
    loop {
        let (byte, tail) = match rest {
            [] => return Err(UnbalancedQuotes),
            [b'"', tail @ ..] => return Ok(tail),
            [b'\\', b'x', high, low, tail @ ..] if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => {
                (hex_digit(*high) << 4 | hex_digit(*low), tail)
            }
            [b'\\', escaped, tail @ ..] => (unescape(*escaped), tail),
            [byte, tail @ ..] => (*byte, tail),
        };
        word.push(byte);
        rest = tail;
    }
}

fn single_quoted<'a>(mut rest: &'a [u8], word: &mut Vec<u8>) -> Result<&'a [u8], UnbalancedQuotes> {
    loop {
        let (byte, tail) = match rest {
            [] => return Err(UnbalancedQuotes),
            [b'\\', b'\'', tail @ ..] => (b'\'', tail),
            [b'\'', tail @ ..] => return Ok(tail),
            [byte, tail @ ..] => (*byte, tail),
        };
        word.push(byte);
        rest = tail;
    }
}

/// A closing quote ends its word: only a space or the end may follow.
fn after_quote(rest: &[u8]) -> Result<&[u8], UnbalancedQuotes> {
    match rest.first() {
        Some(&byte) if !is_space(byte) => Err(UnbalancedQuotes),
        _ => Ok(rest),
    }
}

fn unescape(byte: u8) -> u8 {
    match byte {
        b'n' => b'\n',
        b'r' => b'\r',
        b't' => b'\t',
        b'b' => 8,
        b'a' => 7,
        other => other,
    }
}

fn hex_digit(byte: u8) -> u8 {
    match byte {
        b'0'..=b'9' => byte - b'0',
        _ => byte.to_ascii_lowercase() - b'a' + 10,
    }
}

/// C's `isspace`, which counts the vertical tab too.
fn is_space(byte: u8) -> bool {
    byte.is_ascii_whitespace() || byte == 0x0b
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn words(line: &str) -> Vec<String> {
        let words = split_words(line.as_bytes()).unwrap();
        words.into_iter().map(|word| String::from_utf8(word).unwrap()).collect()
    }

    #[test]
    fn spaces_separate_and_quotes_keep_together() {
        assert_eq!(words("  a  b\tc "), ["a", "b", "c"]);
        assert_eq!(words(r#"save """#), ["save", ""]);
        assert_eq!(words(r#"a "b c" 'd e'"#), ["a", "b c", "d e"]);
        assert_eq!(words(r#"pre"quoted x""#), ["prequoted x"]);
        assert_eq!(words("\"\\x41\\n\\\"\\q\" 'it\\'s' '\\n'"), ["A\n\"q", "it's", "\\n"]);
        assert_eq!(words(r#""\xZZ""#), ["xZZ"]);
        assert_eq!(words("a\0b"), ["a"]);
        assert_eq!(words(""), Vec::<String>::new());
    }

    #[test]
    fn quotes_have_to_be_closed_before_a_space() {
        for line in ["\"abc", "'abc", "\"a\"b", "'a'b", "\"a\\\"", "\"\\"] {
            assert_eq!(split_words(line.as_bytes()), Err(UnbalancedQuotes), "{line:?}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_fine(line: Vec<u8>) {
            let _ = split_words(&line);
        }

        #[test]
        fn quoted_words_round_trip(words in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..20), 0..5)) {
            let mut line = Vec::new();
            for word in &words {
                line.extend(b" \"");
                for byte in word {
                    line.extend(format!("\\x{byte:02x}").bytes());
                }
                line.push(b'"');
            }
            prop_assert_eq!(split_words(&line), Ok(words));
        }
    }
}
