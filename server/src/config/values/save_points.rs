//! `save`: after how many seconds with how many changes a checkpoint is wanted.

use super::{Codec, Put, Reason, parse_integer};

/// One pair of `save`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SavePoint {
    /// Seconds since the last checkpoint, at least 1.
    pub seconds: u64,
    /// Changes since the last checkpoint.
    pub changes: u64,
}

/// What redis has when nothing is configured.
pub(in crate::config) fn stock_save_points() -> Vec<SavePoint> {
    let point = |(seconds, changes)| SavePoint { seconds, changes };
    [(3600, 1), (300, 100), (60, 10_000)].map(point).to_vec()
}

/// Reads and prints save points; an empty list means never.
#[derive(Debug)]
pub(in crate::config) struct SaveLine;

impl Codec<Vec<SavePoint>> for SaveLine {
    fn parse(&self, words: &[&[u8]], current: &Vec<SavePoint>, put: Put) -> Result<Vec<SavePoint>, Reason> {
        let invalid = || Reason::new("Invalid save parameters");
        let (pairs, rest) = words.as_chunks::<2>();
        if !rest.is_empty() {
            return Err(invalid());
        }
        // `save ""` forgets the lines before it
        let keeps = put == Put::Add && !words.is_empty();
        let mut points = if keeps { current.clone() } else { Vec::new() };
        for [seconds, changes] in pairs {
            let number = |word| parse_integer(word).ok().and_then(|number| u64::try_from(number).ok());
            let (Some(seconds @ 1..), Some(changes)) = (number(seconds), number(changes)) else {
                return Err(invalid());
            };
            points.push(SavePoint { seconds, changes });
        }
        Ok(points)
    }

    fn print(&self, value: &Vec<SavePoint>) -> Vec<u8> {
        let points: Vec<String> = value.iter().map(|point| format!("{} {}", point.seconds, point.changes)).collect();
        points.join(" ").into_bytes()
    }

    fn kind(&self) -> String {
        "seconds changes...".to_owned()
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
    fn lines_add_up_until_an_empty_one() {
        let parse = |words: &[&[u8]], current: &Vec<SavePoint>| SaveLine.parse(words, current, Put::Add).unwrap();
        let one = parse(&[b"60", b"5"], &Vec::new());
        let three = parse(&[b"70", b"6", b"80", b"7"], &one);
        assert_eq!(SaveLine.print(&three), b"60 5 70 6 80 7");
        assert_eq!(parse(&[], &three), []);
    }

    #[test]
    fn errors_are_redis_errors() {
        for bad in ["3600", "3600 x", "0 1", "3600 -1", "60   5"] {
            let reason = parse(&SaveLine, &Vec::new(), bad).unwrap_err();
            assert_eq!(reason, "Invalid save parameters", "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn save_points_round_trip(pairs in prop::collection::vec((1u64..1 << 40, 0u64..1 << 40), 0..5)) {
            let points: Vec<_> =
                pairs.into_iter().map(|(seconds, changes)| SavePoint { seconds, changes }).collect();
            round_trips(&SaveLine, &stock_save_points(), &points);
        }
    }
}
