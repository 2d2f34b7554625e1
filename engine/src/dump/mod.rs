//! Redis's payload of a value: what DUMP replies and RESTORE takes, as in an RDB file.
//!
//! ```text
//! +------+---------------------+----------------+---------------+
//! | type | the value           | version, 2 le  | crc64, 8 le   |
//! +------+---------------------+----------------+---------------+
//!   0: a string                                   of all before
//!   5: a sorted set: how many members, then each, a string, and its score, 8 bytes le
//!  17: a sorted set: a string which is a listpack of them
//!   1: a list: how many elements, then each, a string
//!   2: a set: how many members, then each, strings
//!   4: a hash: how many fields, then each and its value, strings
//!  11: a set: a string which is an intset of them
//!  18: a list: how many nodes, then each: 1 and a string which is an element, or 2 and one which is a listpack of some
//!  16: a hash: a string which is a listpack of them
//!  24: a hash of which fields expire: the first time, 8 bytes le; how many fields, then each: 0, or by how much later it expires, and 1; a string, and its value
//!  25: the same: the first time; a string which is a listpack of fields, values and times, 0 for those that do not
//!  20: a set: a string which is a listpack of them
//!  15 19 21: a stream, see `stream`
//! ```
//!
//! A string begins with its length, or with how else it is kept:
//!
//! ```text
//! 00nnnnnn                        n bytes follow
//! 01nnnnnn nnnnnnnn               n bytes follow
//! 10000000 and 4 bytes, be        so many follow
//! 10000001 and 8 bytes, be        so many follow
//! 11000000 11000001 11000010      an integer of 1, 2, 4 bytes, le
//! 11000011                        compressed: two lengths like these, of what follows and of the text; then an LZF stream
//! ```

mod crc64;
mod intset;
mod listpack;
mod lzf;
mod stream;

pub use crc64::crc64_from;
pub use intset::members as intset_members;
pub use listpack::elements as listpack_elements;
pub(crate) use listpack::{LISTPACK_ENDS, listpack_len};
pub use lzf::unpack as lzf_unpack;
pub(crate) use stream::dump_stream;

use std::collections::HashSet;

use emberkv_log::Value;
use emberkv_resp::format;

use self::crc64::crc64;
use crate::collections::{Encoding, StreamImage, Type};
use crate::write::stored;

/// What is written: redis has read it since 7.0, and strings have not changed since.
const VERSION: u16 = 10;
/// The newest that is read: redis 8.2's.
const NEWEST: u16 = 12;

const STRING: u8 = 0;
const LIST: u8 = 1;
const SET: u8 = 2;
const HASH: u8 = 4;
const SORTED_SET: u8 = 5;
const SORTED_SET_LISTPACK: u8 = 17;
const SET_INTSET: u8 = 11;
const HASH_LISTPACK: u8 = 16;
const LIST_NODES: u8 = 18;
/// A node of a list that is one element, and one that is a listpack.
const PLAIN: u64 = 1;
const PACKED: u64 = 2;
const SET_LISTPACK: u8 = 20;
/// Each with more than the one before.
const STREAM_1: u8 = 15;
const STREAM_2: u8 = 19;
const STREAM: u8 = 21;
const HASH_EXPIRING: u8 = 24;
const HASH_LISTPACK_EX: u8 = 25;
const FOOTER_BYTES: usize = 10;

/// A field, its value, and when it expires; 0: never.
pub(crate) type Timed = (Vec<u8>, Vec<u8>, u64);

/// Why a payload is not taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Bad {
    /// Too short, of a newer version, or damaged.
    Footer,
    /// Of a type that is not known, or not to be had from these bytes.
    Content,
}

/// The payload of a value.
pub(crate) fn dump(value: Value<'_>) -> Vec<u8> {
    let mut payload = vec![STRING];
    match value {
        Value::Int(int) => write_int(int, &mut payload),
        Value::Bytes(bytes) => write_text(bytes, &mut payload),
        Value::Packed(packed) => {
            write_len(packed.len(), &mut payload);
            packed.unpack(&mut payload);
        }
        // of a collection it is `dump_elements` that is asked, and what is in chunks comes gathered
        Value::Whole(_) | Value::Root(_) | Value::Chunked(_) => write_text(b"", &mut payload),
    }
    sealed(payload)
}

/// The payload of a sorted set: `write` shows its members and their scores.
pub(crate) fn dump_sorted_set<E>(
    count: u64,
    write: impl FnOnce(&mut dyn FnMut(&[u8], f64)) -> Result<(), E>,
) -> Result<Vec<u8>, E> {
    let mut payload = vec![SORTED_SET];
    write_len(count as usize, &mut payload);
    write(&mut |member, score| {
        write_string(member, &mut payload);
        payload.extend_from_slice(&score.to_le_bytes());
    })?;
    Ok(sealed(payload))
}

/// The payload of a hash of which fields expire, the first one at `due_ms`: `write` shows fields, values and times.
pub(crate) fn dump_expiring<E>(
    count: u64,
    due_ms: u64,
    write: impl FnOnce(&mut dyn FnMut(&[u8], &[u8], u64)) -> Result<(), E>,
) -> Result<Vec<u8>, E> {
    let mut payload = vec![HASH_EXPIRING];
    payload.extend_from_slice(&due_ms.to_le_bytes());
    write_len(count as usize, &mut payload);
    write(&mut |field, value, expires_at_ms| {
        let later = if expires_at_ms == 0 { 0 } else { expires_at_ms.saturating_sub(due_ms) + 1 };
        write_len(later as usize, &mut payload);
        write_string(field, &mut payload);
        write_string(value, &mut payload);
    })?;
    Ok(sealed(payload))
}

/// The payload of a collection: `write` shows its fields and values, or its elements, in turn.
pub(crate) fn dump_elements<E>(
    kind: Type,
    count: u64,
    write: impl FnOnce(&mut dyn FnMut(&[u8])) -> Result<(), E>,
) -> Result<Vec<u8>, E> {
    let mut payload = vec![match kind {
        Type::List => LIST,
        Type::Set => SET,
        // its scores are no strings: see `dump_sorted_set`
        Type::ZSet => SORTED_SET,
        Type::Hash => HASH,
        // it is no list of strings: see `stream`
        Type::Stream => STREAM,
    }];
    write_len(count as usize, &mut payload);
    write(&mut |text| write_string(text, &mut payload))?;
    Ok(sealed(payload))
}

/// A string, as an integer if it is one.
fn write_string(text: &[u8], payload: &mut Vec<u8>) {
    match stored(text) {
        Value::Int(int) => write_int(int, payload),
        _ => write_text(text, payload),
    }
}

/// A payload with its version and its checksum.
fn sealed(payload: Vec<u8>) -> Vec<u8> {
    sealed_as_of(payload, VERSION)
}

/// The same of a type that came with a later version.
fn sealed_as_of(mut payload: Vec<u8>, version: u16) -> Vec<u8> {
    payload.extend_from_slice(&version.to_le_bytes());
    let crc = crc64(&payload);
    payload.extend_from_slice(&crc.to_le_bytes());
    payload
}

fn write_int(int: i64, payload: &mut Vec<u8>) {
    if let Ok(int) = i8::try_from(int) {
        payload.push(0xc0);
        payload.extend_from_slice(&int.to_le_bytes());
    } else if let Ok(int) = i16::try_from(int) {
        payload.push(0xc1);
        payload.extend_from_slice(&int.to_le_bytes());
    } else if let Ok(int) = i32::try_from(int) {
        payload.push(0xc2);
        payload.extend_from_slice(&int.to_le_bytes());
    } else {
        write_text(format::integer(int, &mut [0; 20]), payload);
    }
}

fn write_text(text: &[u8], payload: &mut Vec<u8>) {
    write_len(text.len(), payload);
    payload.extend_from_slice(text);
}

fn write_len(len: usize, payload: &mut Vec<u8>) {
    if len < 1 << 6 {
        payload.push(len as u8);
    } else if len < 1 << 14 {
        payload.extend_from_slice(&(len as u16 | 1 << 14).to_be_bytes());
    } else if let Ok(len) = u32::try_from(len) {
        payload.push(0x80);
        payload.extend_from_slice(&len.to_be_bytes());
    } else {
        payload.push(0x81);
        payload.extend_from_slice(&(len as u64).to_be_bytes());
    }
}

/// What a payload holds.
#[derive(Clone, PartialEq, Debug)]
pub(crate) enum Content {
    /// A string.
    Text(Vec<u8>),
    /// A list: its elements.
    List(Vec<Vec<u8>>),
    /// A hash: its fields with their values.
    Hash(Vec<(Vec<u8>, Vec<u8>)>),
    /// The same, with when each expires; 0: never.
    ExpiringHash(Vec<Timed>),
    /// A sorted set: its members with their scores, in any order; whether it was in a listpack.
    SortedSet {
        /// Each is there once.
        members: Vec<(Vec<u8>, f64)>,
        /// Its members may be longer than those that redis puts into one.
        is_listpack: bool,
    },
    /// A stream.
    Stream(StreamImage),
    /// A set: its members, and how they were kept; nothing is said if each was written by itself.
    Set(Vec<Vec<u8>>, Option<Encoding>),
}

/// What is in a payload, if no string of it has more than `max_bytes`.
///
/// # Errors
/// See [`Bad`].
pub(crate) fn read(payload: &[u8], max_bytes: usize) -> Result<Content, Bad> {
    let body = payload.len().checked_sub(FOOTER_BYTES).ok_or(Bad::Footer)?;
    let (body, footer) = payload.split_at(body);
    let (Some((version, crc)), true) = (footer.split_first_chunk::<2>(), payload.len() > FOOTER_BYTES) else {
        return Err(Bad::Footer);
    };
    let is_sound = crc64(&payload[..body.len() + 2]).to_le_bytes() == *crc;
    if u16::from_le_bytes(*version) > NEWEST || !is_sound {
        return Err(Bad::Footer);
    }
    let mut reader = Reader { rest: body, max_bytes };
    let content = match reader.byte() {
        Some(STRING) => reader.string().map(Content::Text),
        Some(LIST) => reader.list().map(Content::List),
        Some(LIST_NODES) => reader.nodes().map(Content::List),
        Some(SET) => reader.set().and_then(|members| set(members, None)),
        Some(SET_INTSET) => reader.string().and_then(|bytes| set(intset::members(&bytes)?, Some(Encoding::Intset))),
        Some(SET_LISTPACK) => {
            reader.string().and_then(|bytes| set(listpack::elements(&bytes)?, Some(Encoding::Listpack)))
        }
        Some(HASH) => reader.hash().map(Content::Hash),
        Some(HASH_LISTPACK) => reader.string().and_then(|bytes| listpack_hash(&bytes)).map(Content::Hash),
        Some(HASH_EXPIRING) => reader.expiring_hash().map(Content::ExpiringHash),
        Some(HASH_LISTPACK_EX) => {
            let due_ms = reader.array::<8>();
            due_ms.and_then(|_| listpack_expiring_hash(&reader.string()?)).map(Content::ExpiringHash)
        }
        Some(SORTED_SET) => reader.sorted_set().map(|members| Content::SortedSet { members, is_listpack: false }),
        Some(SORTED_SET_LISTPACK) => reader
            .string()
            .and_then(|bytes| listpack_sorted_set(&bytes))
            .map(|members| Content::SortedSet { members, is_listpack: true }),
        Some(kind @ (STREAM_1 | STREAM_2 | STREAM)) => reader.stream(kind).map(Content::Stream),
        _ => None,
    };
    content.ok_or(Bad::Content)
}

/// The fields and values in a listpack.
fn listpack_hash(bytes: &[u8]) -> Option<Vec<(Vec<u8>, Vec<u8>)>> {
    let mut elements = listpack::elements(bytes)?.into_iter();
    let mut pairs = Vec::with_capacity(elements.len() / 2);
    while let Some(field) = elements.next() {
        pairs.push((field, elements.next()?));
    }
    are_fields(&pairs).then_some(pairs)
}

/// The fields, values and times in a listpack.
fn listpack_expiring_hash(bytes: &[u8]) -> Option<Vec<Timed>> {
    let mut elements = listpack::elements(bytes)?.into_iter();
    let mut fields = Vec::with_capacity(elements.len() / 3);
    while let Some(field) = elements.next() {
        let (value, time) = (elements.next()?, elements.next()?);
        let time = format::parse_integer(&time).and_then(|ms| u64::try_from(ms).ok())?;
        fields.push((field, value, time));
    }
    are_different(fields.iter().map(|(field, ..)| field)).then_some(fields)
}

/// The members and scores in a listpack.
fn listpack_sorted_set(bytes: &[u8]) -> Option<Vec<(Vec<u8>, f64)>> {
    let mut elements = listpack::elements(bytes)?.into_iter();
    let mut members = Vec::with_capacity(elements.len() / 2);
    while let Some(member) = elements.next() {
        let score: f64 = std::str::from_utf8(&elements.next()?).ok()?.parse().ok()?;
        members.push((member, score));
    }
    are_members(&members).then_some(members)
}

/// Whether there are any, none twice, and each has a score.
fn are_members(members: &[(Vec<u8>, f64)]) -> bool {
    let mut seen = HashSet::with_capacity(members.len());
    !members.is_empty() && members.iter().all(|(member, score)| !score.is_nan() && seen.insert(member))
}

/// Whether there are any, and none twice.
fn are_fields(pairs: &[(Vec<u8>, Vec<u8>)]) -> bool {
    are_different(pairs.iter().map(|(field, _)| field))
}

fn set(members: Vec<Vec<u8>>, encoding: Option<Encoding>) -> Option<Content> {
    are_different(members.iter()).then_some(Content::Set(members, encoding))
}

/// Whether there are any, and none twice.
fn are_different<'a>(mut elements: impl ExactSizeIterator<Item = &'a Vec<u8>>) -> bool {
    let mut seen = HashSet::with_capacity(elements.len());
    elements.len() > 0 && elements.all(|element| seen.insert(element))
}

/// What is left of the value's bytes.
struct Reader<'a> {
    rest: &'a [u8],
    max_bytes: usize,
}

/// What stands before a string's bytes.
enum Length {
    /// So many follow.
    Bytes(u64),
    /// They are encoded in this way.
    Encoded(u8),
}

impl<'a> Reader<'a> {
    fn byte(&mut self) -> Option<u8> {
        self.array::<1>().map(|[byte]| byte)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (array, rest) = self.rest.split_first_chunk::<N>()?;
        self.rest = rest;
        Some(*array)
    }

    fn bytes(&mut self, len: u64) -> Option<&'a [u8]> {
        let (bytes, rest) = self.rest.split_at_checked(usize::try_from(len).ok()?)?;
        self.rest = rest;
        Some(bytes)
    }

    fn length(&mut self) -> Option<Length> {
        let first = self.byte()?;
        let low = first & 0x3f;
        Some(match first >> 6 {
            0 => Length::Bytes(low.into()),
            1 => Length::Bytes(u64::from(low) << 8 | u64::from(self.byte()?)),
            2 if first == 0x80 => Length::Bytes(u32::from_be_bytes(self.array()?).into()),
            2 if first == 0x81 => Length::Bytes(u64::from_be_bytes(self.array()?)),
            2 => return None,
            _ => Length::Encoded(low),
        })
    }

    fn plain_length(&mut self) -> Option<u64> {
        if let Length::Bytes(len) = self.length()? { Some(len) } else { None }
    }

    fn list(&mut self) -> Option<Vec<Vec<u8>>> {
        let count = self.plain_length()?;
        let mut elements = Vec::with_capacity(usize::try_from(count).ok()?.min(self.rest.len()));
        for _ in 0..count {
            elements.push(self.string()?);
        }
        Some(elements).filter(|elements| !elements.is_empty())
    }

    fn nodes(&mut self) -> Option<Vec<Vec<u8>>> {
        let mut elements = Vec::new();
        for _ in 0..self.plain_length()? {
            match self.plain_length()? {
                PLAIN => elements.push(self.string()?),
                PACKED => elements.extend(listpack::elements(&self.string()?)?),
                _ => return None,
            }
        }
        Some(elements).filter(|elements| !elements.is_empty())
    }

    fn hash(&mut self) -> Option<Vec<(Vec<u8>, Vec<u8>)>> {
        let count = self.plain_length()?;
        // each takes two bytes at least, whatever who has written the number says
        let mut pairs = Vec::with_capacity(usize::try_from(count).ok()?.min(self.rest.len() / 2));
        for _ in 0..count {
            pairs.push((self.string()?, self.string()?));
        }
        are_fields(&pairs).then_some(pairs)
    }

    fn expiring_hash(&mut self) -> Option<Vec<Timed>> {
        let due_ms = u64::from_le_bytes(self.array()?);
        let count = self.plain_length()?;
        // each takes three bytes at least
        let mut fields = Vec::with_capacity(usize::try_from(count).ok()?.min(self.rest.len() / 3));
        for _ in 0..count {
            let later = self.plain_length()?;
            let time = if later == 0 { 0 } else { due_ms.checked_add(later - 1)? };
            fields.push((self.string()?, self.string()?, time));
        }
        are_different(fields.iter().map(|(field, ..)| field)).then_some(fields)
    }

    fn sorted_set(&mut self) -> Option<Vec<(Vec<u8>, f64)>> {
        let count = self.plain_length()?;
        // each takes nine bytes at least
        let mut members = Vec::with_capacity(usize::try_from(count).ok()?.min(self.rest.len() / 9));
        for _ in 0..count {
            members.push((self.string()?, f64::from_le_bytes(self.array()?)));
        }
        are_members(&members).then_some(members)
    }

    fn set(&mut self) -> Option<Vec<Vec<u8>>> {
        let count = self.plain_length()?;
        // each takes a byte at least
        let mut members = Vec::with_capacity(usize::try_from(count).ok()?.min(self.rest.len()));
        for _ in 0..count {
            members.push(self.string()?);
        }
        Some(members)
    }

    fn string(&mut self) -> Option<Vec<u8>> {
        let int = match self.length()? {
            Length::Bytes(len) => {
                return self.bytes(len).filter(|bytes| bytes.len() <= self.max_bytes).map(<[u8]>::to_vec);
            }
            Length::Encoded(0) => i8::from_le_bytes(self.array()?).into(),
            Length::Encoded(1) => i16::from_le_bytes(self.array()?).into(),
            Length::Encoded(2) => i32::from_le_bytes(self.array()?).into(),
            Length::Encoded(3) => {
                let (packed, len) = (self.plain_length()?, self.plain_length()?);
                let len = usize::try_from(len).ok().filter(|len| *len <= self.max_bytes)?;
                return lzf::unpack(self.bytes(packed)?, len);
            }
            Length::Encoded(_) => return None,
        };
        Some(format::integer(int, &mut [0; 20]).to_vec())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(payload: &[u8], max_bytes: usize) -> Result<Vec<u8>, Bad> {
        super::read(payload, max_bytes).map(|content| match content {
            Content::Text(text) => text,
            other => panic!("{other:?} is no string"),
        })
    }

    const MAX: usize = 1 << 20;

    #[test]
    fn what_redis_8_2_has_dumped_is_read() {
        let cases: [(&[u8], &[u8]); 7] = [
            (b"\x00\xc0\x05\x0c\x00\xa8Yk\xa6y\x05-\x18", b"5"),
            (b"\x00\xc0\x7f\x0c\x00\xc6\xc3\xdf\xf1\xa8~[]", b"127"),
            (b"\x00\xc1H\xf4\x0c\x00\xa5\xb6\x80\xe3\xee\xe7\xf7\xbe", b"-3000"),
            (b"\x00\xc2\x00\x945w\x0c\x00\x89d\x1c\x18\x1aY^\xce", b"2000000000"),
            (b"\x00\x0b20000000000\x0c\x00b\x85\x1d\x1c>b\xd3\x19", b"20000000000"),
            (b"\x00\x05hello\x0c\x00\xa8\x04\xeb\xb6\x9f\x1e\xbeC", b"hello"),
            (b"\x00\xc3\t@F\x01aa\xe09\x00\x01aa\x0c\x00O\xa8lI\x11\xbc$\xea", &[b'a'; 70]),
        ];
        for (payload, text) in cases {
            assert_eq!(read(payload, MAX).as_deref(), Ok(text));
            for at in 0..payload.len() {
                let mut damaged = payload.to_vec();
                damaged[at] ^= 1;
                assert_eq!(read(&damaged, MAX), Err(Bad::Footer), "byte {at}");
                assert_eq!(read(&payload[..at], MAX), Err(Bad::Footer), "{at} bytes of it");
            }
        }
    }

    #[test]
    fn a_list_that_redis_8_2_has_dumped_is_read() {
        let payload = b"\x12\x01\x02\x12\x12\x00\x00\x00\x04\x00\x01\x01\x02\x01\x03\x01\x83abc\x04\xff\x0c\x00\xecN\x06,\x95/\x9c\xcc";
        let list = || ["1", "2", "3", "abc"].map(|text| text.as_bytes().to_vec()).to_vec();
        assert_eq!(super::read(payload, MAX), Ok(Content::List(list())));
        let own = dump_elements(Type::List, 4, |show| {
            list().iter().for_each(|element| show(element));
            Ok::<_, ()>(())
        });
        assert_eq!(super::read(&own.unwrap(), MAX), Ok(Content::List(list())));
        let plain = sealed_as(b"\x12\x02\x01\x03abc\x02\x09\x09\x00\x00\x00\x01\x00\x05\x01\xff", 12);
        assert_eq!(super::read(&plain, MAX), Ok(Content::List(vec![b"abc".to_vec(), b"5".to_vec()])));
    }

    #[test]
    fn what_is_no_list_is_refused() {
        for body in
            [&b"\x01\x00"[..], b"\x01\x02\x01a", b"\x12\x00", b"\x12\x01\x03\x01a", b"\x12\x01\x02\x01a", b"\x12"]
        {
            assert_eq!(super::read(&sealed_as(body, 12), MAX), Err(Bad::Content), "{}", body.escape_ascii());
        }
    }

    /// A payload of these bytes, right but for them.
    fn sealed_as(body: &[u8], version: u16) -> Vec<u8> {
        let mut payload = [body, &version.to_le_bytes()].concat();
        let crc = crc64(&payload);
        payload.extend_from_slice(&crc.to_le_bytes());
        payload
    }

    #[test]
    fn what_is_no_string_is_refused() {
        assert_eq!(read(&sealed_as(b"\x00\x01x", 12), MAX).as_deref(), Ok(&b"x"[..]));
        assert_eq!(read(&sealed_as(b"\x00\x01x", 13), MAX), Err(Bad::Footer), "a newer version");
        for body in [
            &b"\x04\x01\x01a"[..],
            b"\x04\x00",
            b"\x04\x02\x01a\x01b\x01a\x01c",
            b"\x10\x01a",
            b"\x02\x00",
            b"\x02\x02\x01a\x01a",
            b"\x02\x02\x01a",
            b"\x0b\x08\x02\x00\x00\x00\x00\x00\x00\x00",
            b"\x14\x01a",
            b"\x00",
            b"\x00\x02x",
            b"\x00\x80\x00\x00",
            b"\x00\x81\xff\xff\xff\xff\xff\xff\xff\xff",
            b"\x00\x82\x01x",
            b"\x00\xc1\x01",
            b"\x00\xc4\x01",
            b"\x00\xc3\x02\x05\x00a",
            b"\x00\xc3\xc0\x05\x00a",
            b"\x00\xc3\x02\x81\xff\xff\xff\xff\xff\xff\xff\xff\x00a",
        ] {
            assert_eq!(read(&sealed_as(body, 10), MAX), Err(Bad::Content), "{}", body.escape_ascii());
        }
        assert_eq!(read(&sealed_as(b"\x00\x03abc", 10), 2), Err(Bad::Content), "too long");
    }

    #[test]
    fn sorted_sets_that_redis_8_2_has_dumped_are_read() {
        let skiplist = b"\x05\t\x01x\x00\x00\x00\x00\x00\x00\xf0\x7f\x01l@\x8c\xb5x\x1d\xaf\x15D\x01m\x00\x00\x00\x00\x00\x17\xf1@\x01b\x00\x00\x00\x00\x00\x00\"@\xc0\x0c\x00\x00\x00\x00\x00\x00\x14@\xc0\xf9\x00\x00\x00\x00\x00\x00\x08@\x01a\x00\x00\x00\x00\x00\x00\xf0?\x01q\x9a\x99\x99\x99\x99\x99\xb9\xbf\x01w\x00\x00\x00\x00\x00\x00\xf0\xff\x0c\x00\xee\x83\xaf\x91\x93\xc3h>";
        let listpack = b"\x11@@@\x00\x00\x00\x10\x00\x81q\x02\x84-0.1\x05\x81a\x02\x01\x01\x81b\x02\x832.5\x04\xdf\xf9\x02\x03\x01\x0c\x01\x05\x01\x81m\x02\xf2p\x11\x01\x04\x81l\x02\x851e+20\x06\x81x\x02\x83inf\x04\xff\x0c\x00?S\xde\x96\x992C\x8a";
        for (payload, is_from_listpack, first, last) in [
            (&skiplist[..], false, (&b"x"[..], f64::INFINITY), (&b"w"[..], f64::NEG_INFINITY)),
            (listpack, true, (b"q", -0.1), (b"x", f64::INFINITY)),
        ] {
            let Ok(Content::SortedSet { members, is_listpack }) = super::read(payload, MAX) else {
                panic!("it is one")
            };
            assert_eq!(is_listpack, is_from_listpack);
            let is =
                |member: Option<&(Vec<u8>, f64)>, (name, score): (&[u8], f64)| member == Some(&(name.to_vec(), score));
            assert!(is(members.first(), first) && is(members.last(), last), "{members:?}");
            let dumped = dump_sorted_set::<()>(members.len() as u64, |show| {
                members.iter().for_each(|(member, score)| show(member, *score));
                Ok(())
            });
            let again = super::read(&dumped.unwrap(), MAX);
            assert_eq!(again, Ok(Content::SortedSet { members, is_listpack: false }));
        }
        for body in [&b"\x05\x00"[..], b"\x05\x01\x01a\x00", b"\x05\x01\x01a\x00\x00\x00\x00\x00\x00\xf8\x7f"] {
            assert_eq!(super::read(&sealed_as(body, 10), MAX), Err(Bad::Content), "{}", body.escape_ascii());
        }
    }

    proptest! {
        #[test]
        fn what_is_dumped_is_read(text in proptest::collection::vec(any::<u8>(), 0..20_000)) {
            prop_assert_eq!(read(&dump(stored(&text)), MAX), Ok(text));
        }

        #[test]
        fn integers_too(int in any::<i64>(), shift in 0..64) {
            let int = int >> shift;
            prop_assert_eq!(read(&dump(Value::Int(int)), MAX), Ok(int.to_string().into_bytes()));
        }

        #[test]
        fn no_bytes_make_it_panic(body in proptest::collection::vec(any::<u8>(), 0..40)) {
            let _ = read(&sealed_as(&[&[STRING], &body[..]].concat(), 10), 1000);
            let _ = read(&sealed_as(&[&b"\x00\xc3\x14\x40\x64"[..], &body[..]].concat(), 10), 1000);
        }
    }
}
