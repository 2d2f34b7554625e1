//! `replicaof`: another server's address.

use std::fmt;

use super::{Codec, Put, Reason, utf8};

/// The server that is followed.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Primary {
    /// Its name or address.
    pub host: String,
    /// Its port.
    pub port: u16,
}

impl fmt::Display for Primary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

impl Primary {
    /// The address out of a client's or a file's words.
    ///
    /// # Errors
    /// In redis's words.
    pub(crate) fn parse(host: &[u8], port: &[u8]) -> Result<Self, Reason> {
        let number = super::parse_integer(port).ok().and_then(|port| u16::try_from(port).ok());
        let port = number.ok_or_else(|| Reason::new("Invalid master port"))?;
        Ok(Self { host: utf8(host)?.to_owned(), port })
    }
}

/// Whether these are the words for "none".
pub(crate) fn is_no_one(words: [&[u8]; 2]) -> bool {
    words[0].eq_ignore_ascii_case(b"no") && words[1].eq_ignore_ascii_case(b"one")
}

/// Reads and prints a [`Primary`], if there is one.
#[derive(Debug)]
pub(in crate::config) struct PrimaryAddress;

impl Codec<Option<Primary>> for PrimaryAddress {
    fn parse(&self, words: &[&[u8]], _: &Option<Primary>, _: Put) -> Result<Option<Primary>, Reason> {
        match words {
            [] | [b""] => Ok(None),
            [host, port] if is_no_one([host, port]) => Ok(None),
            [host, port] => Primary::parse(host, port).map(Some),
            _ => Err(Reason::new("wrong number of arguments")),
        }
    }

    fn print(&self, value: &Option<Primary>) -> Vec<u8> {
        value.as_ref().map_or_else(Vec::new, |primary| format!("{} {}", primary.host, primary.port).into_bytes())
    }

    fn kind(&self) -> String {
        "host port".to_owned()
    }

    fn takes_list(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{parse, round_trips};
    use super::*;

    #[test]
    fn an_address_or_no_one() {
        let codec = PrimaryAddress;
        let at = |host: &str, port| Some(Primary { host: host.to_owned(), port });
        assert_eq!(parse(&codec, &None, "10.0.0.1 6379"), Ok(at("10.0.0.1", 6379)));
        for none in ["", "NO one"] {
            assert_eq!(parse(&codec, &None, none), Ok(None));
        }
        for bad in ["a 70000", "a b", "a -1"] {
            assert_eq!(parse(&codec, &None, bad).unwrap_err(), "Invalid master port", "{bad}");
        }
        for bad in ["a", "a 1 2"] {
            assert_eq!(parse(&codec, &None, bad).unwrap_err(), "wrong number of arguments", "{bad}");
        }
        round_trips(&codec, &None, &at("primary.example", 1));
        round_trips(&codec, &at("a", 1), &None);
    }
}
