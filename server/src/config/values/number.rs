//! Integers in a range, and octal permissions.

use std::marker::PhantomData;

use super::{Codec, Put, Reason, only, utf8};

/// An integer within `min..=max`.
#[derive(Debug)]
pub(in crate::config) struct Number<T> {
    min: i64,
    max: i64,
    /// Values in the range but outside of this are moved to its nearer end (hz).
    clamp: Option<(i64, i64)>,
    /// Whether redis keeps it unsigned, which has a message of its own for what is negative.
    is_unsigned: bool,
    of: PhantomData<T>,
}

impl<T> Number<T> {
    /// `min..=max`, which must be within `T`.
    pub const fn new(min: i64, max: i64) -> Self {
        Self { min, max, clamp: None, is_unsigned: false, of: PhantomData }
    }

    /// The same, moved into `low..=high` instead of refused when it is a little outside.
    pub const fn clamped(self, low: i64, high: i64) -> Self {
        Self { clamp: Some((low, high)), ..self }
    }

    /// The same, with redis's message for its unsigned numbers.
    pub const fn unsigned(self) -> Self {
        Self { is_unsigned: true, ..self }
    }

    fn out_of_range(&self) -> Reason {
        Reason::new(format!("argument must be between {} and {} inclusive", self.min, self.max))
    }
}

impl<T: TryFrom<i64> + Into<i64> + Copy> Codec<T> for Number<T> {
    fn parse(&self, words: &[&[u8]], _: &T, _: Put) -> Result<T, Reason> {
        let mut value = parse_integer(only(words))?;
        if self.is_unsigned && value < 0 {
            return Err(Reason::new("argument must be greater or equal to 0"));
        }
        if !(self.min..=self.max).contains(&value) {
            return Err(self.out_of_range());
        }
        if let Some((low, high)) = self.clamp {
            value = value.clamp(low, high);
        }
        T::try_from(value).map_err(|_| self.out_of_range())
    }

    fn print(&self, value: &T) -> Vec<u8> {
        let value: i64 = (*value).into();
        value.to_string().into_bytes()
    }

    fn kind(&self) -> String {
        let (low, high) = self.clamp.unwrap_or((self.min, self.max));
        match high {
            high if high >= i64::from(i32::MAX) => "number".to_owned(),
            high => format!("{low}..{high}"),
        }
    }
}

/// A decimal integer as redis reads one: no spaces, no `+`, no leading zeros.
pub(in crate::config) fn parse_integer(word: &[u8]) -> Result<i64, Reason> {
    let digits = word.strip_prefix(b"-").unwrap_or(word);
    let is_plain = match digits {
        [b'0'] => digits.len() == word.len(),
        [b'1'..=b'9', rest @ ..] => rest.iter().all(u8::is_ascii_digit),
        _ => false,
    };
    let text = if is_plain { std::str::from_utf8(word).ok() } else { None };
    text.and_then(|text| text.parse().ok()).ok_or_else(|| Reason::new("argument couldn't be parsed into an integer"))
}

/// Permissions of a file in octal; 0 leaves what the umask gives.
#[derive(Debug)]
pub(in crate::config) struct Octal;

impl Codec<u32> for Octal {
    fn parse(&self, words: &[&[u8]], _: &u32, _: Put) -> Result<u32, Reason> {
        let word = only(words);
        let value = match word.first() {
            Some(b'0'..=b'7') => u32::from_str_radix(utf8(word)?, 8).ok(),
            _ => None,
        };
        match value {
            Some(value @ 0..=0o777) => Ok(value),
            Some(_) => Err(Reason::new("argument must be between 0 and 777 inclusive")),
            None => Err(Reason::new("argument couldn't be parsed as an octal number")),
        }
    }

    fn print(&self, value: &u32) -> Vec<u8> {
        format!("{value:o}").into_bytes()
    }

    fn kind(&self) -> String {
        "octal".to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{parse, round_trips};
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn integers_are_read_as_strictly_as_redis_reads_them() {
        let codec = Number::<u32>::new(0, 100);
        assert_eq!(parse(&codec, &0, "0"), Ok(0));
        assert_eq!(parse(&codec, &0, "100"), Ok(100));
        for bad in ["", " 1", "1 ", "+1", "01", "-0", "1x", "0x1", "99999999999999999999"] {
            let reason = parse(&codec, &0, bad).unwrap_err();
            assert_eq!(reason, "argument couldn't be parsed into an integer", "{bad:?}");
        }
        for outside in ["-1", "101"] {
            let reason = parse(&codec, &0, outside).unwrap_err();
            assert_eq!(reason, "argument must be between 0 and 100 inclusive");
        }
    }

    #[test]
    fn unsigned_numbers_have_a_message_of_their_own_for_negative_values() {
        let codec = Number::<u32>::new(1, 4_294_967_295).unsigned();
        assert_eq!(parse(&codec, &1, "-1").unwrap_err(), "argument must be greater or equal to 0");
        let reason = parse(&codec, &1, "0").unwrap_err();
        assert_eq!(reason, "argument must be between 1 and 4294967295 inclusive");
    }

    #[test]
    fn clamped_numbers_are_moved_to_the_nearer_end() {
        let codec = Number::<u32>::new(0, 10_000).clamped(1, 500);
        assert_eq!(parse(&codec, &1, "0"), Ok(1));
        assert_eq!(parse(&codec, &1, "501"), Ok(500));
        assert!(parse(&codec, &1, "10001").is_err());
    }

    #[test]
    fn permissions_are_octal() {
        assert_eq!(parse(&Octal, &0, "700"), Ok(0o700));
        let not_octal = "argument couldn't be parsed as an octal number";
        for bad in ["999", "", "-1", "+7", "rwx"] {
            assert_eq!(parse(&Octal, &0, bad).unwrap_err(), not_octal, "{bad:?}");
        }
        let reason = parse(&Octal, &0, "1777").unwrap_err();
        assert_eq!(reason, "argument must be between 0 and 777 inclusive");
    }

    proptest! {
        #[test]
        fn numbers_round_trip(value: u16, wide in i64::MIN..=i64::MAX, mode in 0u32..=0o777) {
            round_trips(&Number::<u16>::new(0, 65_535), &0, &value);
            round_trips(&Number::<i64>::new(i64::MIN, i64::MAX), &0, &wide);
            round_trips(&Octal, &0, &mode);
        }
    }
}
