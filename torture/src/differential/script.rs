//! Scripts of commands, as text files.
//!
//! One command per line, quoted as in redis-cli (`"a\x00b"`, `'it\'s'`); `#` begins a comment
//! line. A word `~x*1000` stands for `x` repeated a thousand times. A line may begin with a
//! directive:
//!
//! | directive | meaning |
//! |---|---|
//! | `@protocol 2`, `3` or `both` | for the whole file: the protocols to run it in (both) |
//! | `@args ...` | for the whole file: more words for both servers' command lines |
//! | `@conn NAME` | the lines that follow use this connection (opened when first used) |
//! | `@close` | closes the current connection; it is opened anew when used again |
//! | `@fresh` | FLUSHALL, and closes all connections |
//! | `@shape CMD` | types and lengths of the replies must agree, not their content |
//! | `@set CMD` | elements of the replies may come in any order |
//! | `@near N CMD` | integers may differ by N |
//! | `@fields CMD` | a text of `name=value` or `name:value`, or a map: the same names in order |
//! | `@values a,b CMD` | such a reply: these fields must be there and equal |
//! | `@has a,b CMD` | such a reply: both must have these fields |
//! | `@code CMD` | two errors with the same first word |
//! | `@ignore CMD` | the reply must come, and is not compared |
//! | `@to-close CMD` | all bytes until the server closes the connection |
//! | `@raw N "bytes"` | sends bytes as they are and reads N replies |
//! | `@raw-to-close "bytes"` | sends bytes as they are and reads until the server closes |
//! | `@until "bytes" CMD` | repeats the command until this is the reply |
//! | `@scan ARGS` | a whole SCAN with these arguments after the cursor, as a set |

use std::path::Path;

use crate::{Error, Result};

/// How two replies are compared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Compare {
    /// Byte by byte.
    Exact,
    /// Types and lengths.
    Shape,
    /// Elements in any order.
    Set,
    /// Integers within a distance.
    Near(i64),
    /// The names of the fields of a text.
    Fields,
    /// Some fields of a text and their values.
    Values(Vec<String>),
    /// Some fields of a text.
    Has(Vec<String>),
    /// Errors by their first word.
    Code,
    /// Not at all.
    Ignore,
}

/// What a line does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Sends a command and compares the replies.
    Command(Vec<Vec<u8>>, Compare),
    /// Sends bytes and compares so many replies byte by byte.
    Send(Vec<u8>, usize),
    /// Sends bytes and compares all that comes until the server closes.
    SendToClose(Vec<u8>),
    /// Repeats a command until its reply is this.
    Until(Vec<Vec<u8>>, Vec<u8>),
    /// Scans to the end with these arguments.
    Scan(Vec<Vec<u8>>),
    /// Closes the connection from the client's side.
    Close,
    /// Empties the servers and closes all connections.
    Fresh,
}

/// One line of a script.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// Its number, from 1.
    pub line: usize,
    /// The line as written.
    pub text: String,
    /// The connection that it uses.
    pub connection: String,
    /// What it does.
    pub action: Action,
}

/// A parsed script.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Script {
    /// Its file name.
    pub name: String,
    /// The protocols to run it in, 2 and 3.
    pub protocols: Vec<u8>,
    /// More words for the servers' command lines.
    pub args: Vec<String>,
    /// Its lines.
    pub steps: Vec<Step>,
}

impl Script {
    /// Reads and parses a file.
    ///
    /// # Errors
    /// When it can't be read, or a line can't be understood.
    pub fn load(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| Error::Io { what: format!("reading {}", path.display()), source })?;
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned());
        Self::parse(&name.unwrap_or_default(), &text)
    }

    /// Parses a script's text.
    ///
    /// # Errors
    /// When a line can't be understood.
    pub fn parse(name: &str, text: &str) -> Result<Self> {
        let mut script = Self { name: name.into(), protocols: vec![2, 3], args: Vec::new(), steps: Vec::new() };
        let mut connection = String::from("main");
        for (number, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let number = number + 1;
            let action = script.line(line, &mut connection).map_err(|message| Error::Script {
                file: name.into(),
                line: number,
                message,
            })?;
            if let Some(action) = action {
                script.steps.push(Step { line: number, text: line.into(), connection: connection.clone(), action });
            }
        }
        Ok(script)
    }

    /// What one line does; `None` when it only sets something up.
    fn line(&mut self, line: &str, connection: &mut String) -> std::result::Result<Option<Action>, String> {
        let Some(directive) = line.strip_prefix('@') else {
            return Ok(Some(Action::Command(words(line)?, Compare::Exact)));
        };
        let (name, rest) = split_word(directive);
        let command = |compare| Ok(Some(Action::Command(non_empty(rest)?, compare)));
        match name {
            "protocol" => {
                self.protocols = match rest {
                    "2" => vec![2],
                    "3" => vec![3],
                    "both" => vec![2, 3],
                    other => return Err(format!("there is no protocol {other:?}")),
                };
                Ok(None)
            }
            "args" => {
                for word in words(rest)? {
                    let word = String::from_utf8(word).map_err(|error| error.to_string())?;
                    self.args.push(word);
                }
                Ok(None)
            }
            "conn" => {
                *connection = rest.to_owned();
                Ok(None)
            }
            "close" => Ok(Some(Action::Close)),
            "fresh" => Ok(Some(Action::Fresh)),
            "shape" => command(Compare::Shape),
            "set" => command(Compare::Set),
            "fields" => command(Compare::Fields),
            "code" => command(Compare::Code),
            "ignore" => command(Compare::Ignore),
            "near" => {
                let (distance, rest) = split_word(rest);
                let distance = distance.parse().map_err(|_| "@near needs a number".to_owned())?;
                Ok(Some(Action::Command(non_empty(rest)?, Compare::Near(distance))))
            }
            "values" | "has" => {
                let (names, rest) = split_word(rest);
                let names = names.split(',').map(str::to_owned).collect();
                let compare = if name == "has" { Compare::Has(names) } else { Compare::Values(names) };
                Ok(Some(Action::Command(non_empty(rest)?, compare)))
            }
            "to-close" => {
                let mut bytes = Vec::new();
                crate::client::encode(&non_empty(rest)?, &mut bytes);
                Ok(Some(Action::SendToClose(bytes)))
            }
            "raw" => {
                let (replies, rest) = split_word(rest);
                let replies = replies.parse().map_err(|_| "@raw needs a number".to_owned())?;
                Ok(Some(Action::Send(words(rest)?.concat(), replies)))
            }
            "raw-to-close" => Ok(Some(Action::SendToClose(words(rest)?.concat()))),
            "until" => {
                let mut words = non_empty(rest)?;
                let wanted = words.remove(0);
                if words.is_empty() {
                    return Err("@until needs a command".into());
                }
                Ok(Some(Action::Until(words, wanted)))
            }
            "scan" => Ok(Some(Action::Scan(words(rest)?))),
            other => Err(format!("there is no directive @{other}")),
        }
    }
}

fn split_word(text: &str) -> (&str, &str) {
    let text = text.trim();
    text.split_once(char::is_whitespace).map_or((text, ""), |(word, rest)| (word, rest.trim()))
}

fn non_empty(text: &str) -> std::result::Result<Vec<Vec<u8>>, String> {
    let words = words(text)?;
    if words.is_empty() { Err("a command is missing".into()) } else { Ok(words) }
}

/// Splits a line into words, by redis-cli's rules of quoting.
///
/// # Errors
/// When a quotation does not end, or something sticks to its end.
pub fn words(line: &str) -> std::result::Result<Vec<Vec<u8>>, String> {
    let bytes = line.as_bytes();
    let mut words = Vec::new();
    let mut at = 0;
    loop {
        while bytes.get(at).is_some_and(u8::is_ascii_whitespace) {
            at += 1;
        }
        let Some(&first) = bytes.get(at) else {
            return Ok(words);
        };
        let word = match first {
            b'"' => double_quoted(bytes, &mut at)?,
            b'\'' => single_quoted(bytes, &mut at)?,
            _ => {
                let start = at;
                while bytes.get(at).is_some_and(|byte| !byte.is_ascii_whitespace()) {
                    at += 1;
                }
                expand(&line[start..at])
            }
        };
        if bytes.get(at).is_some_and(|byte| !byte.is_ascii_whitespace()) {
            return Err("a closing quote must end the word".into());
        }
        words.push(word);
    }
}

/// `~x*1000` is a thousand times `x`; anything else is itself.
fn expand(word: &str) -> Vec<u8> {
    word.strip_prefix('~')
        .and_then(|rest| rest.rsplit_once('*'))
        .and_then(|(text, count)| Some(text.repeat(count.parse().ok()?).into_bytes()))
        .unwrap_or_else(|| word.as_bytes().to_vec())
}

fn double_quoted(bytes: &[u8], at: &mut usize) -> std::result::Result<Vec<u8>, String> {
    let mut word = Vec::new();
    *at += 1;
    loop {
        let Some(&byte) = bytes.get(*at) else {
            return Err("a quote is not closed".into());
        };
        *at += 1;
        match byte {
            b'"' => return Ok(word),
            b'\\' => {
                let Some(&escaped) = bytes.get(*at) else {
                    return Err("a quote is not closed".into());
                };
                *at += 1;
                let hex = bytes.get(*at..*at + 2).and_then(|pair| std::str::from_utf8(pair).ok());
                let hex = hex.and_then(|pair| u8::from_str_radix(pair, 16).ok());
                word.push(match (escaped, hex) {
                    (b'x', Some(value)) => {
                        *at += 2;
                        value
                    }
                    (b'n', _) => b'\n',
                    (b'r', _) => b'\r',
                    (b't', _) => b'\t',
                    (b'b', _) => 8,
                    (b'a', _) => 7,
                    (other, _) => other,
                });
            }
            other => word.push(other),
        }
    }
}

fn single_quoted(bytes: &[u8], at: &mut usize) -> std::result::Result<Vec<u8>, String> {
    let mut word = Vec::new();
    *at += 1;
    loop {
        match bytes.get(*at..) {
            None | Some([]) => return Err("a quote is not closed".into()),
            Some([b'\\', b'\'', ..]) => {
                word.push(b'\'');
                *at += 2;
            }
            Some([b'\'', ..]) => {
                *at += 1;
                return Ok(word);
            }
            Some([byte, ..]) => {
                word.push(*byte);
                *at += 1;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_follow_redis_cli() {
        let split = words(r#"SET "a\x00\n" 'it\'s' ~ab*2 "" x"y"#).unwrap();
        let expected: [&[u8]; 6] = [b"SET", b"a\0\n", b"it's", b"abab", b"", b"x\"y"];
        assert_eq!(split, expected);
        assert!(words("\"open").is_err());
        assert!(words("\"a\"b").is_err());
    }

    #[test]
    fn directives_are_understood_and_others_refused() {
        let script = Script::parse("x", "@protocol 3\n# c\n@conn b\n@near 2 TTL k\nPING").unwrap();
        assert_eq!(script.protocols, [3]);
        assert_eq!(script.steps.len(), 2);
        assert_eq!(script.steps[0].connection, "b");
        assert!(matches!(&script.steps[0].action, Action::Command(_, Compare::Near(2))));
        let error = Script::parse("x", "PING\n@nonsense").unwrap_err();
        assert!(error.to_string().starts_with("x:2:"), "{error}");
    }
}
