//! Ranges: of places, of scores, of bytes.

use emberkv_log::disk::Disk;
use emberkv_resp::format;

use super::numbers::parse_limit;
use crate::collections::{Places, mark, order_of};
use crate::lookup::{Found, Key};
use crate::partition::Partition;
use crate::stop::Stop;

/// By what a range is given.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::commands) enum By {
    Place,
    Score,
    Bytes,
}

/// A range of members.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::commands) enum Span<'a> {
    /// Places, counted from either end.
    Places { first: i64, last: i64 },
    /// From the scores that have the first number in the order of all on, up to those that have the second one, which are not in it.
    Scores { from: u64, to: u64 },
    /// From an edge to another, among members that have the same score.
    Bytes { from: Edge<'a>, to: Edge<'a> },
}

/// Where a range of bytes begins, or ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::commands) enum Edge<'a> {
    /// Before all.
    Lowest,
    Before(&'a [u8]),
    Behind(&'a [u8]),
    /// Behind all.
    Highest,
}

impl<'a> Span<'a> {
    /// Reads one; the lower end comes first.
    ///
    /// # Errors
    /// If it is none.
    pub fn parse(by: By, min: &'a [u8], max: &'a [u8]) -> Result<Self, Stop> {
        match by {
            By::Place => {
                let place = |text| format::parse_integer(text).ok_or(Stop::NOT_AN_INTEGER);
                Ok(Self::Places { first: place(min)?, last: place(max)? })
            }
            By::Score => {
                let (from, leaves_out_min) = parse_end(min)?;
                let (to, leaves_out_max) = parse_end(max)?;
                // the number behind a score's is behind all that have it
                Ok(Self::Scores {
                    from: order_of(from) + u64::from(leaves_out_min),
                    to: order_of(to) + u64::from(!leaves_out_max),
                })
            }
            By::Bytes => {
                let (from, leaves_out_min) = parse_edge(min)?;
                let (to, leaves_out_max) = parse_edge(max)?;
                let edge = |edge, is_behind| match edge {
                    Edge::Before(member) if is_behind => Edge::Behind(member),
                    edge => edge,
                };
                Ok(Self::Bytes { from: edge(from, leaves_out_min), to: edge(to, !leaves_out_max) })
            }
        }
    }
}

/// The end of a range of scores, and whether that score is left out.
fn parse_end(text: &[u8]) -> Result<(f64, bool), Stop> {
    let (text, is_left_out) = match text {
        [b'(', rest @ ..] => (rest, true),
        all => (all, false),
    };
    let score = parse_limit(text).ok_or(Stop::error("ERR min or max is not a float"))?;
    Ok((score, is_left_out))
}

/// The end of a range of bytes, and whether that member is left out.
fn parse_edge(text: &[u8]) -> Result<(Edge<'_>, bool), Stop> {
    match text {
        b"-" => Ok((Edge::Lowest, false)),
        b"+" => Ok((Edge::Highest, false)),
        [b'(', member @ ..] => Ok((Edge::Before(member), true)),
        [b'[', member @ ..] => Ok((Edge::Before(member), false)),
        _ => Err(Stop::error("ERR min or max not valid string range item")),
    }
}

/// Places from the other end.
pub(super) fn turned(places: Places, count: u64) -> Places {
    count - places.end..count - places.start
}

impl<D: Disk> Partition<D> {
    /// Where in a sorted set a range is.
    ///
    /// # Errors
    /// See [`Stop`].
    pub(in crate::commands) fn places(&mut self, key: Key<'_>, found: Found, span: Span<'_>) -> Result<Places, Stop> {
        let count = self.member_count(Some(found));
        let (from, to) = match span {
            Span::Places { first, last } => {
                let from_start = |place: i64| if place < 0 { place.saturating_add_unsigned(count) } else { place };
                let place = |place: i64| u64::try_from(place).map_or(0, |place| place.min(count));
                (place(from_start(first)), place(from_start(last).saturating_add(1)))
            }
            Span::Scores { from, to } => {
                let from = self.place_of(key, found, &mark(from, b""))?;
                (from, self.place_of(key, found, &mark(to, b""))?)
            }
            Span::Bytes { from, to } => {
                let mut order = 0;
                self.each_placed(key, found, 0..1, false, |_, score| order = order_of(score))?;
                (self.place_of_edge(key, found, order, from)?, self.place_of_edge(key, found, order, to)?)
            }
        };
        Ok(from..to.max(from))
    }

    fn place_of_edge(&mut self, key: Key<'_>, found: Found, order: u64, edge: Edge<'_>) -> Result<u64, Stop> {
        match edge {
            Edge::Lowest => Ok(0),
            Edge::Highest => Ok(self.member_count(Some(found))),
            Edge::Before(member) => self.place_of(key, found, &mark(order, member)),
            // the next one in the order of bytes
            Edge::Behind(member) => self.place_of(key, found, &mark(order, &[member, &[0]].concat())),
        }
    }
}
