//! Passwords: kept apart from other text so that no debug output shows them.

use std::fmt;

use super::{Codec, Put, Reason, only};

/// The longest password that redis takes, in bytes.
const MAX_LEN: usize = 512;

/// A password; empty means none.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Secret(Vec<u8>);

impl Secret {
    /// Whether no password is asked for.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The password.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// Whether `given` is the password, in a time that depends on the length of `given` only.
    #[must_use]
    pub fn is_equal_to(&self, given: &[u8]) -> bool {
        let mut difference = self.0.len() ^ given.len();
        for (at, byte) in given.iter().enumerate() {
            let own = self.0.get(at).copied().unwrap_or(!byte);
            difference |= usize::from(own ^ byte);
        }
        difference == 0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_empty() { "Secret(none)" } else { "Secret(hidden)" })
    }
}

/// Reads and prints a [`Secret`].
#[derive(Debug)]
pub(in crate::config) struct Password;

impl Codec<Secret> for Password {
    fn parse(&self, words: &[&[u8]], _: &Secret, _: Put) -> Result<Secret, Reason> {
        let word = only(words);
        if word.len() > MAX_LEN {
            return Err(Reason::new("Password is longer than CONFIG_AUTHPASS_MAX_LEN"));
        }
        Ok(Secret(word.to_vec()))
    }

    fn print(&self, value: &Secret) -> Vec<u8> {
        value.0.clone()
    }

    fn kind(&self) -> String {
        "password".to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::round_trips;
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn debug_output_hides_it() {
        assert_eq!(format!("{:?}", Secret(b"hunter2".to_vec())), "Secret(hidden)");
    }

    proptest! {
        #[test]
        fn only_the_same_bytes_are_equal(own: Vec<u8>, other: Vec<u8>) {
            let secret = Secret(own.clone());
            prop_assert!(secret.is_equal_to(&own));
            prop_assert_eq!(secret.is_equal_to(&other), own == other);
            let longer = [own.as_slice(), b"x"].concat();
            prop_assert!(!secret.is_equal_to(&longer));
            prop_assert!(!Secret(longer).is_equal_to(&own));
        }

        #[test]
        fn passwords_round_trip(bytes in prop::collection::vec(any::<u8>(), 0..=512)) {
            round_trips(&Password, &Secret::default(), &Secret(bytes));
        }
    }
}
