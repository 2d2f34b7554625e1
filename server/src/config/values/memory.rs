//! Sizes in bytes: `512`, `64mb`, `1g`.

use super::{Codec, Put, Reason, only};

/// Bytes in a mebibyte, redis's `mb`.
pub(in crate::config) const MIB: u64 = 1024 * 1024;
/// Bytes in a gibibyte, redis's `gb`.
pub(in crate::config) const GIB: u64 = 1024 * MIB;

/// Units by name: the short ones are decimal, those with a `b` binary, as in redis.
const UNITS: [(&str, u64); 8] =
    [("", 1), ("b", 1), ("k", 1000), ("kb", 1024), ("m", 1_000_000), ("mb", MIB), ("g", 1_000_000_000), ("gb", GIB)];

/// A size in bytes within `min..=max`.
#[derive(Debug)]
pub(in crate::config) struct Memory {
    min: u64,
    max: u64,
    is_power_of_two: bool,
    may_be_zero: bool,
}

impl Memory {
    /// `min..=max` bytes.
    pub const fn new(min: u64, max: u64) -> Self {
        Self { min, max, is_power_of_two: false, may_be_zero: false }
    }

    /// The same, powers of two only.
    pub const fn power_of_two(self) -> Self {
        Self { is_power_of_two: true, ..self }
    }

    /// The same, or 0, which leaves the choice to the server.
    pub const fn or_zero(self) -> Self {
        Self { may_be_zero: true, ..self }
    }
}

impl Codec<u64> for Memory {
    fn parse(&self, words: &[&[u8]], _: &u64, _: Put) -> Result<u64, Reason> {
        let size_bytes = parse_memory(only(words)).ok_or_else(|| Reason::new("argument must be a memory value"))?;
        if self.may_be_zero && size_bytes == 0 {
            return Ok(0);
        }
        if self.is_power_of_two && !size_bytes.is_power_of_two() {
            return Err(Reason::new("argument must be a power of two, such as 64mb"));
        }
        if !(self.min..=self.max).contains(&size_bytes) {
            let (min, max) = (self.min, self.max);
            return Err(Reason::new(format!("argument must be between {min} and {max} inclusive")));
        }
        Ok(size_bytes)
    }

    fn print(&self, value: &u64) -> Vec<u8> {
        value.to_string().into_bytes()
    }

    fn show(&self, value: &u64) -> String {
        show_memory(*value)
    }

    fn kind(&self) -> String {
        if self.is_power_of_two {
            format!("{}..{}", show_memory(self.min), show_memory(self.max))
        } else {
            "size".to_owned()
        }
    }
}

/// The bytes that a size stands for. No digits are 0, as in redis; `None` if it is no size or
/// overflows.
pub(in crate::config) fn parse_memory(word: &[u8]) -> Option<u64> {
    let digits = word.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let (number, unit) = word.split_at(digits);
    let unit = std::str::from_utf8(unit).ok()?;
    let (_, factor) = UNITS.iter().find(|(name, _)| name.eq_ignore_ascii_case(unit))?;
    if number.is_empty() {
        return Some(0);
    }
    let number: u64 = std::str::from_utf8(number).ok()?.parse().ok()?;
    number.checked_mul(*factor)
}

/// The shortest way to write a size exactly.
pub(in crate::config) fn show_memory(size_bytes: u64) -> String {
    if size_bytes != 0 {
        for unit in ["gb", "mb", "kb"] {
            let factor = UNITS.iter().find(|(name, _)| *name == unit).map_or(1, |(_, factor)| *factor);
            if size_bytes.is_multiple_of(factor) {
                return format!("{}{unit}", size_bytes / factor);
            }
        }
    }
    size_bytes.to_string()
}

#[cfg(test)]
mod tests {
    use super::super::testing::{parse, round_trips};
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn short_units_are_decimal_and_long_ones_binary() {
        for (text, size_bytes) in [
            ("512", 512),
            ("1b", 1),
            ("1k", 1000),
            ("1KB", 1024),
            ("10Mb", 10 * MIB),
            ("2m", 2_000_000),
            ("10G", 10_000_000_000),
            ("1gb", GIB),
            ("", 0),
        ] {
            assert_eq!(parse_memory(text.as_bytes()), Some(size_bytes), "{text:?}");
        }
        for bad in ["1x", "-1", "1.5gb", "100tb", " 1gb", "1gb ", "18446744073709551616", "99999999999999gb"] {
            assert_eq!(parse_memory(bad.as_bytes()), None, "{bad:?}");
        }
    }

    #[test]
    fn a_segment_size_is_a_power_of_two_within_its_bounds() {
        let codec = Memory::new(MIB, GIB).power_of_two();
        assert_eq!(parse(&codec, &MIB, "64mb"), Ok(64 * MIB));
        let reason = parse(&codec, &MIB, "65mb").unwrap_err();
        assert_eq!(reason, "argument must be a power of two, such as 64mb");
        let reason = parse(&codec, &MIB, "2gb").unwrap_err();
        assert_eq!(reason, "argument must be between 1048576 and 1073741824 inclusive");
        assert!(parse(&codec, &MIB, "0").is_err());
        assert_eq!(parse(&codec.or_zero(), &MIB, "0"), Ok(0));
    }

    proptest! {
        #[test]
        fn sizes_round_trip(value: u64, mebibytes in 0u64..1 << 40) {
            round_trips(&Memory::new(0, u64::MAX), &0, &value);
            prop_assert_eq!(parse_memory(show_memory(value).as_bytes()), Some(value));
            let whole = mebibytes * MIB;
            prop_assert_eq!(parse_memory(show_memory(whole).as_bytes()), Some(whole));
        }

        #[test]
        fn any_bytes_are_fine(text: Vec<u8>) {
            let _ = parse_memory(&text);
        }
    }
}
