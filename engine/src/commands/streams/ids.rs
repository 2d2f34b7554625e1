//! Ids as clients write them.

use crate::collections::StreamId;
use crate::stop::Stop;
use crate::transact::parse_cursor;

const INVALID: Stop = Stop::error("ERR Invalid stream ID specified as stream command argument");
const INVALID_START: Stop = Stop::error("ERR invalid start ID for the interval");
const INVALID_END: Stop = Stop::error("ERR invalid end ID for the interval");

/// Longer ones are none.
const MAX_BYTES: usize = 127;

/// What stands for an id where one is given to a new entry.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum NewId {
    /// `*`: the next one at this time.
    Auto,
    /// `<ms>-*`: the next one of that ms.
    Next(u64),
    /// This one.
    Exact(StreamId),
}

/// An id of which the second number may be missing.
pub(super) fn parse(text: &[u8], missing: u64) -> Result<StreamId, Stop> {
    if text.len() > MAX_BYTES {
        return Err(INVALID);
    }
    let mut parts = text.splitn(2, |byte| *byte == b'-');
    let ms = parts.next().and_then(parse_cursor).ok_or(INVALID)?;
    let seq = parts.next().map_or(Some(missing), parse_cursor).ok_or(INVALID)?;
    Ok(StreamId { ms, seq })
}

/// The id of a new entry.
pub(super) fn parse_new(text: &[u8]) -> Result<NewId, Stop> {
    if text == b"*" {
        return Ok(NewId::Auto);
    }
    if let Some(ms) = text.strip_suffix(b"-*")
        && text.len() <= MAX_BYTES
    {
        return Ok(NewId::Next(parse_cursor(ms).ok_or(INVALID)?));
    }
    parse(text, 0).map(NewId::Exact)
}

/// The same, or one of the two that have names.
pub(super) fn parse_named(text: &[u8], missing: u64) -> Result<StreamId, Stop> {
    match text {
        b"-" => Ok(StreamId::MIN),
        b"+" => Ok(StreamId::MAX),
        text => parse(text, missing),
    }
}

/// Where a range begins, itself included.
pub(super) fn parse_start(text: &[u8]) -> Result<StreamId, Stop> {
    match text.strip_prefix(b"(") {
        Some(text) if text.len() < MAX_BYTES => parse(text, 0)?.next().ok_or(INVALID_START),
        _ => parse_named(text, 0),
    }
}

/// Where one ends.
pub(super) fn parse_end(text: &[u8]) -> Result<StreamId, Stop> {
    match text.strip_prefix(b"(") {
        Some(text) if text.len() < MAX_BYTES => parse(text, u64::MAX)?.before().ok_or(INVALID_END),
        _ => parse_named(text, u64::MAX),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(ms: u64, seq: u64) -> StreamId {
        StreamId { ms, seq }
    }

    #[test]
    fn ids_are_read_as_redis_reads_them() {
        assert_eq!(parse(b"5", 7), Ok(id(5, 7)));
        assert_eq!(parse(b"5-2", 7), Ok(id(5, 2)));
        assert_eq!(parse(b"18446744073709551615-18446744073709551615", 0), Ok(StreamId::MAX));
        assert_eq!(parse(b"007-01", 0), Ok(id(7, 1)));
        for text in ["", "-", "+", "5-", "-5", "5--1", "x", "5-x", "18446744073709551616", "1-2-3", "*", "1-*", "1.0"] {
            assert_eq!(parse(text.as_bytes(), 0), Err(INVALID), "{text}");
        }
        assert_eq!(parse_new(b"*"), Ok(NewId::Auto));
        assert_eq!(parse_new(b"77-*"), Ok(NewId::Next(77)));
        assert_eq!(parse_new(b"77"), Ok(NewId::Exact(id(77, 0))));
        assert_eq!((parse_new(b"-*"), parse_new(b"x-*")), (Err(INVALID), Err(INVALID)));
    }

    #[test]
    fn ranges_may_leave_their_ends_out() {
        assert_eq!((parse_start(b"-"), parse_end(b"+")), (Ok(StreamId::MIN), Ok(StreamId::MAX)));
        assert_eq!((parse_start(b"5"), parse_end(b"5")), (Ok(id(5, 0)), Ok(id(5, u64::MAX))));
        assert_eq!((parse_start(b"(5"), parse_end(b"(5")), (Ok(id(5, 1)), Ok(id(5, u64::MAX - 1))));
        assert_eq!((parse_start(b"(5-3"), parse_end(b"(5-0")), (Ok(id(5, 4)), Ok(id(4, u64::MAX))));
        assert_eq!((parse_start(b"(+"), parse_end(b"(-")), (Err(INVALID), Err(INVALID)));
        assert_eq!(parse_start(b"(18446744073709551615-18446744073709551615"), Err(INVALID_START));
        assert_eq!(parse_end(b"(0-0"), Err(INVALID_END));
    }
}
