//! Counting replies of any kind without keeping them.

use crate::error::LoadError;

/// A line of a reply is not longer: errors and numbers.
const LONGEST_LINE: usize = 64 * 1024;

/// Splits a stream into replies, and counts what they say.
#[derive(Clone, Debug)]
pub struct Scanner {
    /// Elements of the current reply that have not begun.
    elements: u64,
    /// Bytes of a string that have not come, with its end.
    skip: u64,
    /// The beginning of a line whose end has not come.
    line: Vec<u8>,
    /// Replies that were errors.
    pub errors: u64,
    /// Nulls, also those in arrays.
    pub nulls: u64,
    /// The first error.
    pub first_error: Option<String>,
}

impl Default for Scanner {
    fn default() -> Self {
        Self { elements: 1, skip: 0, line: Vec::new(), errors: 0, nulls: 0, first_error: None }
    }
}

impl Scanner {
    /// Takes what the socket gave; returns how many replies are complete with it.
    ///
    /// # Errors
    /// When it is no reply.
    pub fn feed(&mut self, mut bytes: &[u8]) -> Result<u64, LoadError> {
        let mut complete = 0;
        while !bytes.is_empty() {
            if self.skip > 0 {
                let taken = self.skip.min(bytes.len() as u64);
                self.skip -= taken;
                bytes = &bytes[taken as usize..];
                if self.skip > 0 {
                    break;
                }
            } else {
                let Some(end) = bytes.iter().position(|byte| *byte == b'\n') else {
                    self.line.extend_from_slice(bytes);
                    if self.line.len() > LONGEST_LINE {
                        return Err(strange(&self.line));
                    }
                    break;
                };
                let (line, rest) = bytes.split_at(end + 1);
                bytes = rest;
                if self.line.is_empty() {
                    self.take_line(line)?;
                } else {
                    let mut whole = std::mem::take(&mut self.line);
                    whole.extend_from_slice(line);
                    self.take_line(&whole)?;
                }
            }
            if self.skip == 0 && self.elements == 0 {
                complete += 1;
                self.elements = 1;
            }
        }
        Ok(complete)
    }

    /// One element, or the head of one.
    fn take_line(&mut self, line: &[u8]) -> Result<(), LoadError> {
        let [kind, rest @ .., b'\r', b'\n'] = line else { return Err(strange(line)) };
        let number = || {
            let text = std::str::from_utf8(rest).ok();
            text.and_then(|text| text.parse::<i64>().ok()).ok_or_else(|| strange(line))
        };
        // attributes stand before what they are about.
        if *kind != b'|' {
            self.elements -= 1;
        }
        match kind {
            b'-' => self.note_error(rest),
            b'+' | b':' | b'#' | b',' | b'(' => {}
            b'_' => self.nulls += 1,
            b'$' | b'=' | b'!' => match u64::try_from(number()?) {
                Ok(length) => {
                    self.skip = length + 2;
                    if *kind == b'!' {
                        self.note_error(b"a long error");
                    }
                }
                Err(_) => self.nulls += 1,
            },
            b'*' | b'~' | b'>' => match u64::try_from(number()?) {
                Ok(count) => self.elements += count,
                Err(_) => self.nulls += 1,
            },
            b'%' | b'|' => self.elements += 2 * u64::try_from(number()?).unwrap_or(0),
            _ => return Err(strange(line)),
        }
        Ok(())
    }

    fn note_error(&mut self, text: &[u8]) {
        self.errors += 1;
        if self.first_error.is_none() {
            self.first_error = Some(String::from_utf8_lossy(text).into_owned());
        }
    }
}

fn strange(line: &[u8]) -> LoadError {
    let reply = String::from_utf8_lossy(&line[..line.len().min(120)]).into_owned();
    LoadError::Reply { reply, wanted: "a reply in the protocol's form".into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_the_same_at_every_split() {
        let replies = "+OK\r\n$5\r\na\r\nbc\r\n$-1\r\n:7\r\n*2\r\n$0\r\n\r\n*1\r\n_\r\n*0\r\n-ERR no\r\n\
                       %1\r\n+a\r\n,1.5\r\n|1\r\n+x\r\n:1\r\n#t\r\n";
        for first in 0..replies.len() {
            for second in first..replies.len() {
                let (mut scanner, mut count) = (Scanner::default(), 0);
                for part in [&replies[..first], &replies[first..second], &replies[second..]] {
                    count += scanner.feed(part.as_bytes()).unwrap();
                }
                assert_eq!((count, scanner.errors, scanner.nulls), (9, 1, 2), "at {first} and {second}");
                assert_eq!(scanner.first_error.as_deref(), Some("ERR no"));
            }
        }
    }

    #[test]
    fn other_protocols_are_refused() {
        for text in ["HTTP/1.1\r\n", "$x\r\n", "+OK\n", "\r\n"] {
            assert!(Scanner::default().feed(text.as_bytes()).is_err(), "{text:?}");
        }
        assert!(Scanner::default().feed(&vec![b'+'; LONGEST_LINE + 1]).is_err());
    }
}
