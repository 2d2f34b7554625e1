//! Counting replies without parsing them: each must have the same form.

use emberkv_load::LoadError;

use crate::cell::{Op, ValueSize};

/// Splits a stream of replies of one known form.
///
/// All keys exist and all values have one size, so that every reply of a workload has one length
/// and one beginning. The beginning is compared, the rest is skipped.
#[derive(Clone, Debug)]
pub struct Replies {
    head: Vec<u8>,
    reply_len: usize,
    /// Bytes of the current reply that have come.
    at: usize,
}

impl Replies {
    /// The replies of a workload that succeeds.
    pub fn new(op: Op, value: ValueSize) -> Self {
        let (head, reply_len) = match op {
            Op::Set | Op::SetEx | Op::MSet | Op::Churn => (b"+OK\r\n".to_vec(), 5),
            // :0 or :1
            Op::Del => (b":".to_vec(), 4),
            Op::Get => {
                let head = format!("${}\r\n", value.0).into_bytes();
                let len = head.len() + value.0 + 2;
                (head, len)
            }
        };
        Self { head, reply_len, at: 0 }
    }

    /// Takes what the socket gave; returns how many replies are complete with it.
    ///
    /// # Errors
    /// [`LoadError::Reply`] for any other reply: an error, a missing key, another size.
    pub fn feed(&mut self, mut bytes: &[u8]) -> Result<u64, LoadError> {
        let mut complete = 0;
        while !bytes.is_empty() {
            let take = bytes.len().min(self.reply_len - self.at);
            if self.at < self.head.len() {
                let expected = &self.head[self.at..self.head.len().min(self.at + take)];
                if !bytes.starts_with(expected) {
                    return Err(self.unexpected(bytes));
                }
            }
            self.at += take;
            if self.at == self.reply_len {
                self.at = 0;
                complete += 1;
            }
            bytes = &bytes[take..];
        }
        Ok(complete)
    }

    #[cold]
    fn unexpected(&self, bytes: &[u8]) -> LoadError {
        let mut reply = self.head[..self.at].to_vec();
        reply.extend_from_slice(&bytes[..bytes.len().min(120)]);
        LoadError::Reply {
            reply: String::from_utf8_lossy(&reply).into_owned(),
            wanted: String::from_utf8_lossy(&self.head).into_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_the_same_at_every_split() {
        let reply = "$5\r\nabcde\r\n".repeat(3);
        for first in 0..reply.len() {
            for second in first..reply.len() {
                let mut replies = Replies::new(Op::Get, ValueSize(5));
                let mut count = 0;
                for part in [&reply[..first], &reply[first..second], &reply[second..]] {
                    count += replies.feed(part.as_bytes()).unwrap();
                }
                assert_eq!(count, 3);
            }
        }
    }

    #[test]
    fn another_reply_is_an_error_that_quotes_it() {
        let mut replies = Replies::new(Op::Set, ValueSize(64));
        assert_eq!(replies.feed(b"+OK\r\n+O").unwrap(), 1);
        let error = replies.feed(b"OPS\r\n").unwrap_err().to_string();
        assert!(error.contains("+OOPS"), "{error}");
    }

    #[test]
    fn a_missing_key_is_an_error() {
        let mut replies = Replies::new(Op::Get, ValueSize(64));
        assert!(replies.feed(b"$-1\r\n").is_err());
    }
}
