//! The commands of the workload that make one key of what another one holds.

use super::collection::{Bytes, Content};
use super::model::Expected;
use super::sketch;
use crate::Value;

/// How it is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Derived {
    /// SORT ALPHA STORE.
    Sorted,
    /// GEOSEARCHSTORE of all that there is on earth.
    Found,
    /// PFMERGE.
    Merged,
}

impl Derived {
    /// The words of the command.
    #[must_use]
    pub fn args(self, from: &[u8], to: &[u8]) -> Vec<Bytes> {
        let words: &[&[u8]] = match self {
            Self::Sorted => &[b"SORT", from, b"ALPHA", b"STORE", to],
            Self::Found => &[b"GEOSEARCHSTORE", to, from, b"FROMLONLAT", b"0", b"0", b"BYRADIUS", b"30000", b"km"],
            Self::Merged => &[b"PFMERGE", to, from],
        };
        words.iter().map(|word| word.to_vec()).collect()
    }

    /// Whether it becomes a part of what was there before, which keeps its expiry.
    #[must_use]
    pub fn adds(self) -> bool {
        self == Self::Merged
    }

    /// Does the same: what `to` has then, and the reply that is due. After an error all is as it was.
    #[must_use]
    pub fn apply(self, from: Option<&Content>, to: Option<&Content>) -> (Option<Content>, Expected) {
        let count = |count: usize| Expected::Exactly(Value::Integer(count as i64));
        let made = match (self, from) {
            (Self::Sorted | Self::Found, None) => return (None, count(0)),
            (Self::Sorted, Some(Content::List(elements))) => Content::List(in_order(elements.iter())),
            (Self::Sorted, Some(Content::Set(members))) => Content::List(in_order(members.iter())),
            (Self::Sorted, Some(Content::Sorted(members))) => Content::List(in_order(members.iter().map(|m| &m.1))),
            (Self::Found, Some(Content::Sorted(members))) => Content::Sorted(members.clone()),
            (Self::Merged, None | Some(Content::Sketch(_))) => {
                let mut registers = match to {
                    None => sketch::Registers::new(),
                    Some(Content::Sketch(registers)) => registers.clone(),
                    Some(_) => return (to.cloned(), Expected::Error),
                };
                if let Some(Content::Sketch(other)) = from {
                    sketch::merge(&mut registers, other);
                }
                return (Some(Content::Sketch(registers)), Expected::Exactly(Value::Simple(b"OK".to_vec())));
            }
            _ => return (to.cloned(), Expected::Error),
        };
        let len = match &made {
            Content::List(elements) => elements.len(),
            Content::Sorted(members) => members.len(),
            _ => 0,
        };
        (Some(made), count(len))
    }
}

fn in_order<'a>(elements: impl Iterator<Item = &'a Bytes>) -> Vec<Bytes> {
    let mut all: Vec<_> = elements.cloned().collect();
    all.sort();
    all
}

/// The score of a place, as redis has it: 26 bits of each coordinate, in turn. Both are given in parts of 64, which are exact.
#[must_use]
pub fn geo_score(longitude: i32, latitude: i32) -> i64 {
    const MOST_LATITUDE: f64 = 85.051_128_78;
    let part = |degrees: f64, most: f64| ((degrees + most) / (2.0 * most) * f64::from(1 << 26)) as u32;
    let (longitude, latitude) =
        (part(f64::from(longitude) / 64.0, 180.0), part(f64::from(latitude) / 64.0, MOST_LATITUDE));
    (0..26)
        .map(|bit| i64::from(latitude >> bit & 1) << (2 * bit) | i64::from(longitude >> bit & 1) << (2 * bit + 1))
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_score_of_a_place_is_redis_s() {
        assert_eq!(geo_score(801, -2128), 2_547_705_135_416_006);
    }

    #[test]
    fn what_is_sorted_takes_the_place_of_what_was_there() {
        let word = |text: &str| text.as_bytes().to_vec();
        let set = Content::Set([word("b"), word("a")].into());
        let list = Content::List(vec![word("a"), word("b")]);
        let old = Content::Text(word("x"));
        let count = |count| Expected::Exactly(Value::Integer(count));
        assert_eq!(Derived::Sorted.apply(Some(&set), Some(&old)), (Some(list), count(2)));
        assert_eq!(Derived::Sorted.apply(None, Some(&old)), (None, count(0)));
        assert_eq!(Derived::Sorted.apply(Some(&old), Some(&set)), (Some(set), Expected::Error));
    }
}
