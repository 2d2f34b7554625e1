//! `tls-protocols`: which versions are spoken.

use super::{Codec, Put, Reason, only};

/// The versions of TLS that are spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Protocols {
    /// All that there are here: 1.2 and 1.3.
    #[default]
    Stock,
    /// The same, by their names.
    Both,
    /// 1.2.
    Only12,
    /// 1.3.
    Only13,
}

/// Reads them as redis writes them: `TLSv1.2 TLSv1.3`. Older ones may be named beside these, and are not spoken.
#[derive(Debug)]
pub(in crate::config) struct ProtocolNames;

impl Codec<Protocols> for ProtocolNames {
    fn parse(&self, words: &[&[u8]], _: &Protocols, _: Put) -> Result<Protocols, Reason> {
        let words = only(words).split(|byte| *byte == b' ').filter(|word| !word.is_empty());
        let (mut has_any, mut has_12, mut has_13) = (false, false, false);
        for word in words {
            has_any = true;
            match word.to_ascii_lowercase().as_slice() {
                b"tlsv1.3" => has_13 = true,
                b"tlsv1.2" => has_12 = true,
                b"tlsv1" | b"tlsv1.1" => {}
                _ => {
                    return Err(Reason::new(
                        "Invalid tls-protocols specified. Use a combination of {\"TLSv1\",\"TLSv1.1\",\"TLSv1.2\",\"TLSv1.3\"}",
                    ));
                }
            }
        }
        match (has_any, has_12, has_13) {
            (false, ..) => Ok(Protocols::Stock),
            (_, true, true) => Ok(Protocols::Both),
            (_, true, false) => Ok(Protocols::Only12),
            (_, false, true) => Ok(Protocols::Only13),
            (_, false, false) => Err(Reason::new("TLSv1 and TLSv1.1 are not spoken here: name TLSv1.2 or TLSv1.3")),
        }
    }

    fn print(&self, value: &Protocols) -> Vec<u8> {
        let text: &[u8] = match value {
            Protocols::Stock => b"",
            Protocols::Both => b"TLSv1.2 TLSv1.3",
            Protocols::Only12 => b"TLSv1.2",
            Protocols::Only13 => b"TLSv1.3",
        };
        text.to_vec()
    }

    fn kind(&self) -> String {
        "versions".to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{parse, round_trips};
    use super::*;

    #[test]
    fn versions_are_read_as_redis_writes_them() {
        for value in [Protocols::Stock, Protocols::Both, Protocols::Only12, Protocols::Only13] {
            round_trips(&ProtocolNames, &Protocols::Stock, &value);
        }
        let read = |text| parse(&ProtocolNames, &Protocols::Stock, text);
        assert_eq!(read("tlsv1.3 TLSv1.1"), Ok(Protocols::Only13));
        assert!(read("TLSv1").unwrap_err().contains("not spoken"));
        assert!(read("SSLv3").unwrap_err().starts_with("Invalid tls-protocols"));
    }
}
