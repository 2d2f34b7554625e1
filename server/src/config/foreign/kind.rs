//! The types of values that redis's other directives take.

use crate::config::values::{Codec, Memory, Number, Put, Reason, YesNo, one_of, parse_memory};

/// What a value may be; it is checked and printed as redis does it.
#[derive(Debug, Clone, Copy)]
pub(in crate::config) enum Kind {
    /// `yes` or `no`.
    YesNo,
    /// `yes` or `no`, and it is `yes` here whatever was asked for.
    AlwaysYes,
    /// An integer within these bounds.
    Int(i64, i64),
    /// An integer from 0 on, with redis's message for unsigned ones.
    Unsigned,
    /// A size in bytes within these bounds.
    Size(u64, u64),
    /// A size in bytes, or a share of `maxmemory` such as `5%`.
    SizeOrPercent,
    /// One of these names.
    OneOf(&'static [&'static str]),
    /// Any number of these names.
    AnyOf(&'static [&'static str]),
    /// Anything.
    Text,
    /// So many words, or none.
    Words(usize),
    /// Any number of words.
    List,
}

impl Kind {
    /// Whether it takes any number of words rather than one.
    pub fn takes_list(self) -> bool {
        matches!(self, Self::AnyOf(_) | Self::Words(_) | Self::List)
    }

    /// The value as CONFIG GET prints it, or why it is none.
    pub fn canonical(self, words: &[&[u8]]) -> Result<Vec<u8>, Reason> {
        match self {
            Self::YesNo | Self::AlwaysYes => printed(&YesNo, words, false),
            Self::Int(min, max) => printed(&Number::<i64>::new(min, max), words, 0),
            Self::Unsigned => printed(&Number::<i64>::new(0, i64::MAX).unsigned(), words, 0),
            Self::Size(min, max) => printed(&Memory::new(min, max), words, 0),
            Self::SizeOrPercent => size_or_percent(words),
            Self::OneOf(names) => named(names, words),
            Self::AnyOf(names) => {
                let each = words.iter().map(|word| named(names, &[word]));
                Ok(each.collect::<Result<Vec<_>, _>>()?.join(&b' '))
            }
            Self::Text => Ok(words.concat()),
            Self::Words(count) if ![0, count].contains(&words.len()) => Err(Reason::new("wrong number of arguments")),
            Self::Words(_) | Self::List => Ok(words.join(&b' ')),
        }
    }
}

fn printed<T>(codec: &impl Codec<T>, words: &[&[u8]], current: T) -> Result<Vec<u8>, Reason> {
    Ok(codec.print(&codec.parse(words, &current, Put::Replace)?))
}

fn named(names: &[&str], words: &[&[u8]]) -> Result<Vec<u8>, Reason> {
    let word = words.concat();
    match names.iter().find(|name| name.as_bytes().eq_ignore_ascii_case(&word)) {
        Some(name) => Ok(name.as_bytes().to_vec()),
        None => Err(one_of(names)),
    }
}

fn size_or_percent(words: &[&[u8]]) -> Result<Vec<u8>, Reason> {
    let word = words.concat();
    let invalid = || Reason::new("argument must be a memory or percent value");
    if let Some(percent) = word.strip_suffix(b"%") {
        let percent: u64 = std::str::from_utf8(percent).ok().and_then(|text| text.parse().ok()).ok_or_else(invalid)?;
        if percent > 100 {
            return Err(Reason::new("percentage argument must be less or equal to 100"));
        }
        return Ok(format!("{percent}%").into_bytes());
    }
    let size_bytes = parse_memory(&word).ok_or_else(invalid)?;
    Ok(size_bytes.to_string().into_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn values_are_printed_as_redis_prints_them() {
        for (kind, words, printed) in [
            (Kind::Size(0, u64::MAX), &["64mb"][..], "67108864"),
            (Kind::SizeOrPercent, &["5%"], "5%"),
            (Kind::SizeOrPercent, &["1k"], "1000"),
            (Kind::YesNo, &["YES"], "yes"),
            (Kind::OneOf(&["no", "yes"]), &["No"], "no"),
            (Kind::AnyOf(&["nosave", "force"]), &["nosave", "FORCE"], "nosave force"),
            (Kind::Words(3), &["0", "200", "800"], "0 200 800"),
        ] {
            let words: Vec<&[u8]> = words.iter().map(|word| word.as_bytes()).collect();
            assert_eq!(kind.canonical(&words), Ok(printed.as_bytes().to_vec()), "{kind:?}");
        }
    }

    #[test]
    fn errors_are_redis_errors() {
        for (kind, words, reason) in [
            (Kind::SizeOrPercent, &["101%"][..], "percentage argument must be less or equal to 100"),
            (Kind::SizeOrPercent, &["%"], "argument must be a memory or percent value"),
            (Kind::Words(3), &["1", "2"], "wrong number of arguments"),
            (Kind::Unsigned, &["-1"], "argument must be greater or equal to 0"),
            (Kind::Int(-1, 5), &["-2"], "argument must be between -1 and 5 inclusive"),
        ] {
            let words: Vec<&[u8]> = words.iter().map(|word| word.as_bytes()).collect();
            assert_eq!(kind.canonical(&words).unwrap_err().to_string(), reason, "{kind:?}");
        }
    }

    proptest! {
        #[test]
        fn what_is_printed_prints_as_itself(text: Vec<u8>, number: i64, size: u64, percent in 0u64..=100) {
            let same = |kind: Kind, value: &[u8]| {
                let printed = kind.canonical(&[value]).unwrap();
                kind.canonical(&[&printed]).unwrap() == printed && printed == value
            };
            prop_assert!(same(Kind::Text, &text));
            prop_assert!(same(Kind::Int(i64::MIN, i64::MAX), number.to_string().as_bytes()));
            prop_assert!(same(Kind::Size(0, u64::MAX), size.to_string().as_bytes()));
            let percent = format!("{percent}%");
            prop_assert!(same(Kind::SizeOrPercent, percent.as_bytes()));
        }
    }
}
