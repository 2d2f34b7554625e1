//! What a value is, piece by piece, whatever form it has.

use std::io::Read;

use emberkv_engine::payload::{intset_members, listpack_elements};

use super::source::{Length, Source};
use super::stream::{Group, StreamId};
use super::*;
use crate::error::Result;

/// How many bytes of a long string are shown at a time.
const PIECE: u64 = 1 << 20;

/// A piece of a value. They come in their order.
#[derive(PartialEq, Debug)]
pub(crate) enum Element {
    /// What comes next of a string.
    Piece(Vec<u8>),
    /// An element of a list.
    Item(Vec<u8>),
    /// A member of a set.
    Member(Vec<u8>),
    /// A member of a sorted set, and its score.
    Scored(Vec<u8>, f64),
    /// A field of a hash, its value, and when it expires.
    Field(Vec<u8>, Vec<u8>, Option<u64>),
    /// An entry of a stream: its fields and values.
    Entry(StreamId, Vec<Vec<u8>>),
    /// After the entries of a stream: its last id, the highest one that was deleted, and how many there ever were.
    Counters(StreamId, StreamId, u64),
    /// A group of a stream.
    Group(Group),
}

type Show<'a> = &'a mut dyn FnMut(Element) -> Result<()>;

/// Shows a value of a type.
///
/// # Errors
/// When it is damaged, or `show` fails.
pub(crate) fn decode<R: Read>(kind: u8, source: &mut Source<R>, show: Show<'_>) -> Result<()> {
    match kind {
        STRING => text(source, show),
        LIST => times(source, |source| show(Element::Item(source.string()?))),
        SET => times(source, |source| show(Element::Member(source.string()?))),
        HASH => times(source, |source| show(Element::Field(source.string()?, source.string()?, None))),
        ZSET => times(source, |source| {
            let member = source.string()?;
            let score = f64::from_le_bytes(source.array()?);
            show(Element::Scored(member, score))
        }),
        ZSET_TEXT => times(source, |source| {
            let member = source.string()?;
            let score = match source.byte()? {
                253 => f64::NAN,
                254 => f64::INFINITY,
                255 => f64::NEG_INFINITY,
                len => {
                    let text = source.bytes(len.into())?;
                    number(&text).ok_or_else(|| source.wrong("a score is no number"))?
                }
            };
            show(Element::Scored(member, score))
        }),
        LIST_NODES => times(source, |source| match source.count()? {
            1 => show(Element::Item(source.string()?)),
            2 => packed(source, "listpack", listpack_elements)?
                .into_iter()
                .try_for_each(|text| show(Element::Item(text))),
            _ => Err(source.wrong("a node of a list is of no known kind")),
        }),
        LIST_ZIPLISTS => times(source, |source| items(packed(source, "ziplist", ziplist::elements)?, show)),
        LIST_ZIPLIST => items(packed(source, "ziplist", ziplist::elements)?, show),
        SET_INTSET => members(packed(source, "intset", intset_members)?, show),
        SET_LISTPACK => members(packed(source, "listpack", listpack_elements)?, show),
        HASH_ZIPMAP => fields(source, "zipmap", ziplist::map_elements, show),
        HASH_ZIPLIST => fields(source, "ziplist", ziplist::elements, show),
        HASH_LISTPACK => fields(source, "listpack", listpack_elements, show),
        ZSET_ZIPLIST => scored(source, "ziplist", ziplist::elements, show),
        ZSET_LISTPACK => scored(source, "listpack", listpack_elements, show),
        HASH_EXPIRING_EARLY => times(source, |source| {
            let time = source.count()?;
            show(Element::Field(source.string()?, source.string()?, (time > 0).then_some(time)))
        }),
        HASH_EXPIRING => {
            let first = u64::from_le_bytes(source.array()?);
            times(source, |source| {
                let later = source.count()?;
                let time = later.checked_sub(1).map(|later| first.saturating_add(later));
                show(Element::Field(source.string()?, source.string()?, time))
            })
        }
        HASH_TIMED => times(source, |source| {
            let (field, value) = (source.string()?, source.string()?);
            let time = i64::from_le_bytes(source.array()?);
            show(Element::Field(field, value, u64::try_from(time).ok()))
        }),
        HASH_LISTPACK_EXPIRING_EARLY => timed_fields(source, show),
        HASH_LISTPACK_EXPIRING => {
            source.skip(8)?;
            timed_fields(source, show)
        }
        STREAM_1 | STREAM_2 | STREAM_3 => source.stream(kind, show),
        _ => Err(source.wrong(format!("{kind} is no type of a value that is known"))),
    }
}

fn times<R: Read>(source: &mut Source<R>, mut each: impl FnMut(&mut Source<R>) -> Result<()>) -> Result<()> {
    for _ in 0..source.count()? {
        each(source)?;
    }
    Ok(())
}

fn text<R: Read>(source: &mut Source<R>, show: Show<'_>) -> Result<()> {
    match source.length()? {
        Length::Bytes(0) => show(Element::Piece(Vec::new())),
        Length::Bytes(mut left) => {
            while left > 0 {
                let step = left.min(PIECE);
                show(Element::Piece(source.bytes(step)?))?;
                left -= step;
            }
            Ok(())
        }
        Length::Encoded(how) => {
            let text = source.encoded(how)?;
            text.chunks(PIECE as usize).try_for_each(|piece| show(Element::Piece(piece.to_vec())))
        }
    }
}

type Unpack = fn(&[u8]) -> Option<Vec<Vec<u8>>>;

fn packed<R: Read>(source: &mut Source<R>, what: &str, unpack: Unpack) -> Result<Vec<Vec<u8>>> {
    let bytes = source.string()?;
    unpack(&bytes).ok_or_else(|| source.wrong(format!("a {what} is damaged")))
}

fn items(texts: Vec<Vec<u8>>, show: Show<'_>) -> Result<()> {
    texts.into_iter().try_for_each(|text| show(Element::Item(text)))
}

fn members(texts: Vec<Vec<u8>>, show: Show<'_>) -> Result<()> {
    texts.into_iter().try_for_each(|text| show(Element::Member(text)))
}

fn fields<R: Read>(source: &mut Source<R>, what: &str, unpack: Unpack, show: Show<'_>) -> Result<()> {
    let mut texts = packed(source, what, unpack)?.into_iter();
    while let Some(field) = texts.next() {
        let value = texts.next().ok_or_else(|| source.wrong("a field has no value"))?;
        show(Element::Field(field, value, None))?;
    }
    Ok(())
}

fn scored<R: Read>(source: &mut Source<R>, what: &str, unpack: Unpack, show: Show<'_>) -> Result<()> {
    let mut texts = packed(source, what, unpack)?.into_iter();
    while let Some(member) = texts.next() {
        let score = texts.next().and_then(|text| number(&text));
        show(Element::Scored(member, score.ok_or_else(|| source.wrong("a score is no number"))?))?;
    }
    Ok(())
}

fn timed_fields<R: Read>(source: &mut Source<R>, show: Show<'_>) -> Result<()> {
    let mut texts = packed(source, "listpack", listpack_elements)?.into_iter();
    while let Some(field) = texts.next() {
        let (Some(value), Some(time)) = (texts.next(), texts.next().and_then(|text| number::<u64>(&text))) else {
            return Err(source.wrong("a field has no value, or no time"));
        };
        show(Element::Field(field, value, (time > 0).then_some(time)))?;
    }
    Ok(())
}

fn number<T: std::str::FromStr>(text: &[u8]) -> Option<T> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Error;

    fn shown(kind: u8, bytes: &[u8]) -> Result<Vec<Element>> {
        let mut all = Vec::new();
        let mut source = Source::new(bytes);
        decode(kind, &mut source, &mut |element| {
            all.push(element);
            Ok(())
        })?;
        assert_eq!(source.position(), bytes.len() as u64, "all of it is the value");
        let mut source = Source::new(bytes);
        source.skip_value(kind)?;
        assert_eq!(source.position(), bytes.len() as u64, "and is skipped as such");
        Ok(all)
    }

    fn bytes(text: &str) -> Vec<u8> {
        text.as_bytes().to_vec()
    }

    #[test]
    fn hashes_of_all_servers_have_their_times() {
        let field = |name: &str, time| Element::Field(bytes(name), bytes("v"), time);
        let early = b"\x02\x00\x01a\x01v\x40\xff\x01b\x01v";
        assert_eq!(shown(HASH_EXPIRING_EARLY, early).unwrap(), [field("a", None), field("b", Some(255))]);
        let later = b"\x09\0\0\0\0\0\0\0\x02\x00\x01a\x01v\x03\x01b\x01v";
        assert_eq!(shown(HASH_EXPIRING, later).unwrap(), [field("a", None), field("b", Some(11))]);
        let timed = b"\x02\x01a\x01v\xff\xff\xff\xff\xff\xff\xff\xff\x01b\x01v\x07\0\0\0\0\0\0\0";
        assert_eq!(shown(HASH_TIMED, timed).unwrap(), [field("a", None), field("b", Some(7))]);
    }

    #[test]
    fn scores_are_read_as_text_and_as_bytes() {
        let text = b"\x03\x01a\x031.5\x01b\xfe\x01c\xff";
        let scored = |name: &str, score| Element::Scored(bytes(name), score);
        let all = [scored("a", 1.5), scored("b", f64::INFINITY), scored("c", f64::NEG_INFINITY)];
        assert_eq!(shown(ZSET_TEXT, text).unwrap(), all);
        let binary = [&b"\x01\x01a"[..], &1.5f64.to_le_bytes()].concat();
        assert_eq!(shown(ZSET, &binary).unwrap(), [scored("a", 1.5)]);
    }

    #[test]
    fn what_is_damaged_is_named() {
        for (kind, bytes) in [(HASH_LISTPACK, &b"\x03abc"[..]), (SET_INTSET, b"\x01a"), (LIST_NODES, b"\x01\x03\x00")] {
            assert!(matches!(shown(kind, bytes), Err(Error::Rdb { .. })));
        }
    }
}
