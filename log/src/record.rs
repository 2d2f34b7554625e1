//! Records: what the log is made of.
//!
//! ```text
//! +---------+-----------+------+---------+-----------+----------+-----+-------+
//! | crc32c  | kind+flags| [db] | key len | value len | [expiry] | key | value |
//! | 4       | 1         | 1    | varint  | varint    | 6 or 8   |     |       |
//! +---------+-----------+------+---------+-----------+----------+-----+-------+
//!   the crc covers every byte after it, as stored; a string of 16+64 bytes has 7 bytes of header
//! ```
//!
//! A record holds an effect, never a command (law 5): an absolute expiry, INCR's result.

mod encode;

pub(crate) use encode::{copy_relocated, put_front};

use crate::address::{LogPosition, PartitionId, SegmentSequence};
use crate::horizon::TxId;
use crate::packed::Packed;

const FLAG_DB: u8 = 0x10;
const FLAG_EXPIRY: u8 = 0x20;
const KIND_MASK: u8 = 0x0f;
/// With [`FLAG_EXPIRY`]: it has 8 bytes, as it is later than the year 10889.
const FLAG_WIDE: u8 = 0x40;
/// It is a copy that compaction has made: what it says was safe before it was appended (C2).
const FLAG_RELOCATED: u8 = 0x80;
const KNOWN_FLAGS: u8 = FLAG_DB | FLAG_EXPIRY | FLAG_WIDE | FLAG_RELOCATED;
pub(crate) const CRC_BYTES: usize = 4;

/// Bytes that an expiry takes.
#[inline]
const fn expiry_bytes(ms: u64) -> usize {
    if ms >> 48 == 0 { 6 } else { 8 }
}

/// A logical database, 0 to 255.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct DbId(pub u8);

/// What a record says. The number is its place in the format.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Kind {
    /// The key has this value from now on.
    Put = 1,
    /// The same; the value is a decimal integer, stored as its least bytes.
    PutInt = 2,
    /// The key is gone (DEL, expiry): a tombstone.
    Delete = 3,
    /// All keys of one database, or of all, whose records lie before this one are gone (T4).
    Floor = 4,
    /// The segment named here is dead and its removal may be finished once this is safe (S4).
    Freed = 5,
    /// The last record of a sealed segment: its footer.
    Seal = 6,
    /// One partition's part of a transaction over several: the records that follow it in its frame (X2).
    Part = 7,
    /// The transaction is committed (X3).
    Mark = 8,
    /// The transaction never happened (X6).
    Abort = 9,
    /// As [`Kind::Put`]; the value is kept compressed.
    PutPacked = 10,
    /// What the oldest segment holds of live records before the position named here is gone: evicted (T5).
    Evicted = 11,
    /// As [`Kind::Put`]; the value is a collection, all of it.
    PutWhole = 12,
    /// As [`Kind::Put`]; the value is a collection whose elements are in records of their own: what is said of it here.
    PutRoot = 13,
    /// As [`Kind::Put`]; the value is a string whose bytes are in records of their own: what is said of it here.
    PutChunked = 14,
}

impl Kind {
    const fn from_bits(bits: u8) -> Option<Self> {
        Some(match bits {
            1 => Self::Put,
            2 => Self::PutInt,
            3 => Self::Delete,
            4 => Self::Floor,
            5 => Self::Freed,
            6 => Self::Seal,
            7 => Self::Part,
            8 => Self::Mark,
            9 => Self::Abort,
            10 => Self::PutPacked,
            11 => Self::Evicted,
            12 => Self::PutWhole,
            13 => Self::PutRoot,
            14 => Self::PutChunked,
            _ => return None,
        })
    }

    /// Whether it gives a key a value.
    #[inline]
    pub const fn is_put(self) -> bool {
        matches!(self, Self::Put | Self::PutInt | Self::PutPacked | Self::PutWhole | Self::PutRoot | Self::PutChunked)
    }
}

/// A value as a record keeps it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Value<'a> {
    /// Any bytes.
    Bytes(&'a [u8]),
    /// The text of this integer in canonical decimal.
    Int(i64),
    /// What this unpacks to.
    Packed(Packed<'a>),
    /// A collection, all of it, in a form that is its reader's.
    Whole(&'a [u8]),
    /// What is said of a collection whose elements are in records of their own.
    Root(&'a [u8]),
    /// What is said of a string whose bytes are in records of their own.
    Chunked(&'a [u8]),
}

/// What may be appended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Entry<'a> {
    /// See [`Kind::Put`] and the other kinds that begin with its name.
    Put {
        /// The logical database.
        db: DbId,
        /// The key.
        key: &'a [u8],
        /// The value.
        value: Value<'a>,
        /// When the key expires, in ms since 1970.
        expires_at_ms: Option<u64>,
    },
    /// See [`Kind::Delete`].
    Delete {
        /// The logical database.
        db: DbId,
        /// The key.
        key: &'a [u8],
    },
    /// See [`Kind::Floor`].
    Floor {
        /// The database that is emptied; `None` for all of them.
        db: Option<DbId>,
    },
    /// See [`Kind::Freed`].
    Freed {
        /// The dead segment.
        sequence: SegmentSequence,
        /// Transactions below are to be settled first (F5), those in it among them (X4).
        until: TxId,
    },
    /// See [`Kind::Seal`].
    Seal {
        /// Records in the segment, this one not counted.
        records: u64,
        /// Bytes of live records when it was sealed: a hint.
        live_bytes: u64,
    },
    /// See [`Kind::Part`]. The records of the part are appended right after it, and room for all of them is reserved
    /// together, so that they are in one frame.
    Part {
        /// The transaction.
        txid: TxId,
        /// All partitions that have a part of it, this one too.
        participants: &'a [PartitionId],
        /// How many records follow that belong to it; none from a partition that was only read.
        records: u32,
    },
    /// See [`Kind::Mark`].
    Mark {
        /// The transaction.
        txid: TxId,
    },
    /// See [`Kind::Abort`].
    Abort {
        /// The transaction.
        txid: TxId,
    },
    /// See [`Kind::Evicted`].
    Evicted {
        /// What lies before this position is not needed any more.
        upto: LogPosition,
    },
}

/// What a record of [`Kind::Part`] says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Part<'a> {
    /// The transaction.
    pub txid: TxId,
    /// How many records follow that belong to it.
    pub records: u32,
    participants: &'a [u8],
}

impl<'a> Part<'a> {
    /// The partitions that have a part of the transaction.
    pub fn participants(self) -> impl Iterator<Item = PartitionId> + 'a {
        self.participants.chunks_exact(2).map(|pair| PartitionId(u16::from_le_bytes([pair[0], pair[1]])))
    }
}

/// Bytes of a part's payload before its participants.
const PART_BYTES: usize = 12;

/// Bytes that a mark or an abort takes.
pub const MARK_BYTES: usize = CRC_BYTES + 1 + 1 + 1 + 8;

/// Bytes that a seal record takes: kept free at the end of every segment.
pub const SEAL_BYTES: usize = CRC_BYTES + 1 + 1 + 1 + 16;

/// The varint at `at` and the offset after it.
#[inline]
fn get_varint(bytes: &[u8], at: usize) -> Option<(usize, usize)> {
    let first = *bytes.get(at)?;
    if first < 0x80 {
        return Some((first as usize, at + 1));
    }
    let mut value = u64::from(first & 0x7f);
    for i in 1..5 {
        let byte = *bytes.get(at + i)?;
        value |= u64::from(byte & 0x7f) << (7 * i);
        if byte < 0x80 {
            // one encoding per number: a longer one than needed is damage
            return (value <= u64::from(u32::MAX) && byte != 0).then_some((value as usize, at + i + 1));
        }
    }
    None
}

/// The integer whose canonical decimal text `text` is, if it is one: what may be stored as [`Value::Int`].
#[inline]
pub fn canonical_int(text: &[u8]) -> Option<i64> {
    let (negative, digits) = match text {
        [b'-', rest @ ..] => (true, rest),
        _ => (false, text),
    };
    match digits {
        [b'0'] if !negative => return Some(0),
        [b'1'..=b'9', ..] if digits.len() <= 19 => {}
        _ => return None,
    }
    let mut magnitude: u64 = 0;
    for &digit in digits {
        if !digit.is_ascii_digit() {
            return None;
        }
        magnitude = magnitude * 10 + u64::from(digit - b'0');
    }
    if negative { 0i64.checked_sub_unsigned(magnitude) } else { i64::try_from(magnitude).ok() }
}

/// A record in the log. Its bytes were checked when they were read from disk, or written by this process.
#[derive(Clone, Copy, Debug)]
pub struct Record<'a> {
    kind: Kind,
    is_relocated: bool,
    db: DbId,
    expires_at_ms: Option<u64>,
    key: &'a [u8],
    value: &'a [u8],
    len: usize,
}

impl<'a> Record<'a> {
    /// Reads the record at the beginning of `bytes`; more may follow it. `None` if no record can look
    /// like this. The crc is not checked here: see [`Record::verify`].
    #[inline]
    pub fn decode(bytes: &'a [u8]) -> Option<Self> {
        let kind_flags = *bytes.get(CRC_BYTES)?;
        let kind = Kind::from_bits(kind_flags & KIND_MASK)?;
        let mut at = CRC_BYTES + 1;
        let mut db = DbId(0);
        let mut expires_at_ms = None;
        let has_flags = kind_flags & !KIND_MASK;
        if has_flags & !KNOWN_FLAGS != 0 {
            return None;
        }
        if has_flags & FLAG_DB != 0 {
            db = DbId(*bytes.get(at)?);
            at += 1;
        }
        let (key_len, after_key_len) = get_varint(bytes, at)?;
        let (value_len, after_value_len) = get_varint(bytes, after_key_len)?;
        at = after_value_len;
        if has_flags & FLAG_EXPIRY != 0 {
            let len = if has_flags & FLAG_WIDE == 0 { 6 } else { 8 };
            let mut ms = [0; 8];
            ms[..len].copy_from_slice(bytes.get(at..at + len)?);
            expires_at_ms = Some(u64::from_le_bytes(ms));
            at += len;
        }
        let len = at + key_len + value_len;
        if len > bytes.len() {
            return None;
        }
        let is_relocated = has_flags & FLAG_RELOCATED != 0;
        let (key, value) = (&bytes[at..at + key_len], &bytes[at + key_len..len]);
        Some(Self { kind, is_relocated, db, expires_at_ms, key, value, len })
    }

    /// How long the record is that begins with `bytes`, as far as these tell; `None` if no record begins so.
    pub(crate) fn length_of(bytes: &[u8]) -> Option<u64> {
        let kind_flags = *bytes.get(CRC_BYTES)?;
        Kind::from_bits(kind_flags & KIND_MASK)?;
        let at = CRC_BYTES + 1 + usize::from(kind_flags & FLAG_DB != 0);
        let (key_len, at) = get_varint(bytes, at)?;
        let (value_len, at) = get_varint(bytes, at)?;
        let expiry = match kind_flags & (FLAG_EXPIRY | FLAG_WIDE) {
            0 | FLAG_WIDE => 0,
            FLAG_EXPIRY => 6,
            _ => 8,
        };
        Some((at + expiry + key_len) as u64 + value_len as u64)
    }

    /// Whether the record at the beginning of `bytes` is whole and its crc agrees; the record if so.
    pub fn verify(bytes: &'a [u8]) -> Option<Self> {
        let record = Self::decode(bytes)?;
        let stored = u32::from_le_bytes(bytes[..CRC_BYTES].try_into().ok()?);
        (crc32c::crc32c(&bytes[CRC_BYTES..record.len]) == stored && record.is_sound()).then_some(record)
    }

    /// Bytes that the record takes in the log.
    #[inline]
    pub fn encoded_len(&self) -> usize {
        self.len
    }

    /// What the record says.
    #[inline]
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Whether it is a copy that compaction has made: what it says was safe before (C2).
    #[inline]
    pub fn is_relocated(&self) -> bool {
        self.is_relocated
    }

    /// The database of the key.
    #[inline]
    pub fn db(&self) -> DbId {
        self.db
    }

    /// The key; empty for records of the log itself.
    #[inline]
    pub fn key(&self) -> &'a [u8] {
        self.key
    }

    /// When the key expires, in ms since 1970.
    #[inline]
    pub fn expires_at_ms(&self) -> Option<u64> {
        self.expires_at_ms
    }

    /// The value of a put; of any other record its payload.
    #[inline]
    pub fn value(&self) -> Value<'a> {
        match self.kind {
            Kind::PutInt => Value::Int(self.stored_int()),
            Kind::PutPacked => Value::Packed(Packed::trusted(self.value)),
            Kind::PutWhole => Value::Whole(self.value),
            Kind::PutRoot => Value::Root(self.value),
            Kind::PutChunked => Value::Chunked(self.value),
            _ => Value::Bytes(self.value),
        }
    }

    #[inline]
    fn stored_int(&self) -> i64 {
        let negative = self.value.last().is_some_and(|byte| byte & 0x80 != 0);
        let mut bytes = if negative { [0xff; 8] } else { [0; 8] };
        let len = self.value.len().min(8);
        bytes[..len].copy_from_slice(&self.value[..len]);
        i64::from_le_bytes(bytes)
    }

    /// What a part says; `None` if this is no part, or not a sound one.
    pub fn part(&self) -> Option<Part<'a>> {
        if self.kind != Kind::Part {
            return None;
        }
        let (head, participants) = self.value.split_first_chunk::<PART_BYTES>()?;
        let (txid, records) = head.split_first_chunk::<8>()?;
        let sound = !participants.is_empty() && participants.len().is_multiple_of(2);
        sound.then_some(Part {
            txid: TxId(u64::from_le_bytes(*txid)),
            records: u32::from_le_bytes(records.try_into().ok()?),
            participants,
        })
    }

    /// Whether the payload is what the kind wants.
    pub(crate) fn is_sound(&self) -> bool {
        self.part().is_some() || self.entry().is_some()
    }

    /// The record as what was appended; `None` if its payload is not what its kind wants, and for a part, which
    /// [`Record::part`] reads.
    pub fn entry(&self) -> Option<Entry<'a>> {
        let number = |at: usize| Some(u64::from_le_bytes(self.value.get(at..at + 8)?.try_into().ok()?));
        Some(match self.kind {
            Kind::Put | Kind::PutInt | Kind::PutPacked | Kind::PutWhole | Kind::PutRoot | Kind::PutChunked => {
                let sound = match self.kind {
                    Kind::PutInt => (1..=8).contains(&self.value.len()),
                    Kind::PutPacked => Packed::from_stored(self.value).is_some(),
                    _ => true,
                };
                if !sound {
                    return None;
                }
                Entry::Put { db: self.db, key: self.key, value: self.value(), expires_at_ms: self.expires_at_ms }
            }
            Kind::Delete => Entry::Delete { db: self.db, key: self.key },
            Kind::Floor => match *self.value {
                [db, 0] => Entry::Floor { db: Some(DbId(db)) },
                [0, 1] => Entry::Floor { db: None },
                _ => return None,
            },
            Kind::Freed if self.value.len() == 16 => {
                Entry::Freed { sequence: SegmentSequence(number(0)?), until: TxId(number(8)?) }
            }
            Kind::Seal if self.value.len() == 16 => Entry::Seal { records: number(0)?, live_bytes: number(8)? },
            Kind::Mark if self.value.len() == 8 => Entry::Mark { txid: TxId(number(0)?) },
            Kind::Abort if self.value.len() == 8 => Entry::Abort { txid: TxId(number(0)?) },
            Kind::Evicted if self.value.len() == 8 => Entry::Evicted { upto: LogPosition(number(0)?) },
            Kind::Freed | Kind::Seal | Kind::Part | Kind::Mark | Kind::Abort | Kind::Evicted => return None,
        })
    }
}

#[cfg(test)]
mod tests;
