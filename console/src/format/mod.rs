//! How replies are shown: byte by byte what redis-cli shows, so that scripts need no change.

mod json;
mod people;
mod raw;
mod table;

use crate::value::Value;

/// Who reads.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Format {
    /// People: quoted, numbered, indented.
    People,
    /// Scripts: the bytes.
    Raw,
    /// One line of comma-separated values.
    Csv,
    /// One line of json; bytes that are no text are written as they are.
    Json,
    /// The same in ascii only.
    QuotedJson,
}

/// What stands between and behind things.
#[derive(Clone, Debug)]
pub(crate) struct Style {
    /// Who reads.
    pub format: Format,
    /// Between the members of a reply (raw).
    pub between: Vec<u8>,
    /// Behind each reply (raw).
    pub behind: Vec<u8>,
}

impl Style {
    /// A reply as it is printed. Some replies are lines of text for people, which are never quoted (`as_is`).
    pub(crate) fn show(&self, reply: &Value, as_is: bool) -> Vec<u8> {
        let mut out = Vec::new();
        match self.format {
            _ if as_is => raw::write(reply, &self.between, &mut out),
            Format::People => people::write(reply, "", &mut out),
            Format::Raw => {
                raw::write(reply, &self.between, &mut out);
                out.extend_from_slice(&self.behind);
            }
            Format::Csv => {
                table::write(reply, &mut out);
                out.push(b'\n');
            }
            Format::Json | Format::QuotedJson => {
                json::write(reply, self.format == Format::QuotedJson, &mut out);
                out.push(b'\n');
            }
        }
        out
    }
}

/// Whether the reply to this command is lines of text for people.
pub(crate) fn is_text(words: &[Vec<u8>]) -> bool {
    let word = |index: usize| words.get(index).map(|word| word.to_ascii_lowercase()).unwrap_or_default();
    let first = word(0);
    match first.as_slice() {
        b"info" | b"lolwut" => true,
        b"debug" => matches!(word(1).as_slice(), b"htstats" | b"htstats-key"),
        b"memory" => matches!(word(1).as_slice(), b"malloc-stats" | b"doctor"),
        b"cluster" => words.len() == 2 && matches!(word(1).as_slice(), b"nodes" | b"info"),
        b"client" => matches!(word(1).as_slice(), b"list" | b"info"),
        b"latency" => matches!(word(1).as_slice(), b"graph" | b"doctor"),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn show(format: Format, wire: &str) -> String {
        let reply = Value::read(&mut wire.as_bytes()).unwrap();
        let style = Style { format, between: b"\n".to_vec(), behind: b"\n".to_vec() };
        String::from_utf8(style.show(&reply, false)).unwrap()
    }

    #[test]
    fn people_see_nesting() {
        let wire = "*2\r\n%2\r\n$1\r\na\r\n*2\r\n:1\r\n_\r\n+b\r\n~1\r\n#t\r\n*0\r\n";
        assert_eq!(
            show(Format::People, wire),
            "1) 1# \"a\" => \n      1) (integer) 1\n      2) (nil)\n   2# b => 1~ (true)\n2) (empty array)\n"
        );
    }

    #[test]
    fn json_needs_texts_as_names() {
        assert_eq!(show(Format::Json, "%2\r\n:1\r\n,2.5\r\n$1\r\n\"\r\n_\r\n"), "{\"1\":2.5,\"\\\"\":null}\n");
        assert_eq!(show(Format::QuotedJson, "$2\r\né\r\n"), "\"\\\\xc3\\\\xa9\"\n");
        assert_eq!(show(Format::Json, "$4\r\né\u{1}/\r\n"), "\"é\\u0001/\"\n");
    }

    #[test]
    fn some_replies_are_text() {
        let words = |line: &str| crate::quote::split(line.as_bytes()).unwrap();
        assert!(is_text(&words("INFO server")) && is_text(&words("client list")));
        assert!(!is_text(&words("get info")) && !is_text(&words("client id")) && !is_text(&[]));
    }
}
