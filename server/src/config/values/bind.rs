//! The addresses to listen on.

use std::net::IpAddr;

use super::{Codec, Put, Reason, utf8};

/// The most addresses that may be named.
const MAX_ADDRESSES: usize = 16;

/// One address of `bind`, as it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BindAddress(String);

/// Where a [`BindAddress`] listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BindHost {
    /// `*`: every IPv4 address of the machine.
    EveryV4,
    /// `::*`: every IPv6 address of the machine.
    EveryV6,
    /// This address.
    Ip(IpAddr),
    /// What this name resolves to.
    Name(String),
}

impl BindAddress {
    /// Whether the server starts all the same when the machine does not have the address
    /// (written with a `-` before it).
    #[must_use]
    pub fn is_optional(&self) -> bool {
        self.0.starts_with('-')
    }

    /// Where to listen.
    #[must_use]
    pub fn host(&self) -> BindHost {
        let host = self.0.strip_prefix('-').unwrap_or(&self.0);
        match host {
            "*" => BindHost::EveryV4,
            "::*" => BindHost::EveryV6,
            _ => host.parse().map_or_else(|_| BindHost::Name(host.to_owned()), BindHost::Ip),
        }
    }

    /// As it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Redis's default: every address, without IPv6 where there is none.
pub(in crate::config) fn every_address() -> Vec<BindAddress> {
    vec![BindAddress("*".to_owned()), BindAddress("-::*".to_owned())]
}

/// Reads and prints a list of addresses.
#[derive(Debug)]
pub(in crate::config) struct Addresses;

impl Codec<Vec<BindAddress>> for Addresses {
    fn parse(&self, words: &[&[u8]], _: &Vec<BindAddress>, _: Put) -> Result<Vec<BindAddress>, Reason> {
        if words.len() > MAX_ADDRESSES {
            return Err(Reason::new("Too many bind addresses specified."));
        }
        let address = |word: &&[u8]| {
            let text = utf8(word)?;
            if text.trim_start_matches('-').is_empty() || text.contains(char::is_whitespace) {
                return Err(Reason::new("a bind address must not be empty or have spaces in it"));
            }
            Ok(BindAddress(text.to_owned()))
        };
        words.iter().map(address).collect()
    }

    fn print(&self, value: &Vec<BindAddress>) -> Vec<u8> {
        let words: Vec<&str> = value.iter().map(BindAddress::as_str).collect();
        words.join(" ").into_bytes()
    }

    fn kind(&self) -> String {
        "address...".to_owned()
    }

    fn takes_list(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{parse, round_trips};
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn addresses_say_where_and_whether_they_may_be_missing() {
        let bound = parse(&Addresses, &Vec::new(), "127.0.0.1 -::1 * -::* localhost").unwrap();
        let hosts: Vec<_> = bound.iter().map(|address| (address.is_optional(), address.host())).collect();
        assert_eq!(
            hosts,
            [
                (false, BindHost::Ip("127.0.0.1".parse().unwrap())),
                (true, BindHost::Ip("::1".parse().unwrap())),
                (false, BindHost::EveryV4),
                (true, BindHost::EveryV6),
                (false, BindHost::Name("localhost".to_owned())),
            ]
        );
        assert_eq!(parse(&Addresses, &bound, ""), Ok(Vec::new()));
        assert!(parse(&Addresses, &bound, "127.0.0.1  ::1").is_err());
        assert!(parse(&Addresses, &bound, &["1"; 17].join(" ")).is_err());
    }

    proptest! {
        #[test]
        fn addresses_round_trip(words in prop::collection::vec("-?[a-z0-9:.*]{1,9}", 0..16)) {
            let addresses: Vec<_> = words.into_iter().map(BindAddress).collect();
            round_trips(&Addresses, &Vec::new(), &addresses);
        }
    }
}
