//! Writing records.

use super::{
    CRC_BYTES, DbId, Entry, FLAG_DB, FLAG_EXPIRY, FLAG_RELOCATED, FLAG_WIDE, Kind, PART_BYTES, Value, expiry_bytes,
};
use crate::address::PartitionId;
use crate::horizon::TxId;

#[inline]
const fn varint_bytes(value: u32) -> usize {
    match value {
        0..=0x7f => 1,
        0x80..=0x3fff => 2,
        0x4000..=0x1f_ffff => 3,
        0x20_0000..=0xfff_ffff => 4,
        _ => 5,
    }
}

#[inline]
fn put_varint(out: &mut [u8], at: usize, mut value: u32) -> usize {
    let mut at = at;
    while value >= 0x80 {
        out[at] = value as u8 | 0x80;
        value >>= 7;
        at += 1;
    }
    out[at] = value as u8;
    at + 1
}

/// How many bytes an integer value takes: its two's complement without needless sign bytes.
const fn int_bytes(value: i64) -> usize {
    let spare = if value < 0 { value.leading_ones() } else { value.leading_zeros() };
    ((64 - spare) as usize + 8) / 8
}

impl<'a> Entry<'a> {
    /// Bytes that the record takes in the log.
    #[inline]
    pub fn encoded_len(&self) -> usize {
        CRC_BYTES
            + 1
            + match *self {
                Entry::Put { db, key, value, expires_at_ms } => {
                    let value_len = match value {
                        Value::Bytes(bytes) | Value::Whole(bytes) | Value::Root(bytes) | Value::Chunked(bytes) => {
                            bytes.len()
                        }
                        Value::Int(int) => int_bytes(int),
                        Value::Packed(packed) => packed.stored().len(),
                    };
                    usize::from(db.0 != 0)
                        + varint_bytes(key.len() as u32)
                        + varint_bytes(value_len as u32)
                        + expires_at_ms.map_or(0, expiry_bytes)
                        + key.len()
                        + value_len
                }
                Entry::Delete { db, key } => usize::from(db.0 != 0) + varint_bytes(key.len() as u32) + 1 + key.len(),
                Entry::Floor { .. } => 2 + 2,
                Entry::Freed { .. } => 2 + 16,
                Entry::Seal { .. } => 2 + 16,
                Entry::Part { participants, .. } => {
                    let len = PART_BYTES + 2 * participants.len();
                    1 + varint_bytes(len as u32) + len
                }
                Entry::Mark { .. } | Entry::Abort { .. } | Entry::Evicted { .. } => 2 + 8,
            }
    }

    /// Writes the record into `out`, which is exactly [`Entry::encoded_len`] bytes long.
    ///
    /// # Panics
    /// If `out` is of another length, a key or value is longer than 4 GiB, or an expiry does not fit.
    #[inline]
    pub fn encode(&self, out: &mut [u8]) {
        match *self {
            Entry::Put { db, key, value: Value::Bytes(value), expires_at_ms } => {
                encode_parts(out, Kind::Put, db, expires_at_ms, key, value);
            }
            Entry::Put { db, key, value: Value::Int(int), expires_at_ms } => {
                let bytes = int.to_le_bytes();
                encode_parts(out, Kind::PutInt, db, expires_at_ms, key, &bytes[..int_bytes(int)]);
            }
            Entry::Put { db, key, value: Value::Packed(packed), expires_at_ms } => {
                encode_parts(out, Kind::PutPacked, db, expires_at_ms, key, packed.stored());
            }
            Entry::Put { db, key, value: Value::Whole(bytes), expires_at_ms } => {
                encode_parts(out, Kind::PutWhole, db, expires_at_ms, key, bytes);
            }
            Entry::Put { db, key, value: Value::Root(bytes), expires_at_ms } => {
                encode_parts(out, Kind::PutRoot, db, expires_at_ms, key, bytes);
            }
            Entry::Put { db, key, value: Value::Chunked(bytes), expires_at_ms } => {
                encode_parts(out, Kind::PutChunked, db, expires_at_ms, key, bytes);
            }
            Entry::Delete { db, key } => encode_parts(out, Kind::Delete, db, None, key, &[]),
            Entry::Floor { db } => {
                let payload = db.map_or([0, 1], |db| [db.0, 0]);
                encode_parts(out, Kind::Floor, DbId(0), None, &[], &payload);
            }
            Entry::Freed { sequence, until } => {
                let payload = pair(sequence.0, until.0);
                encode_parts(out, Kind::Freed, DbId(0), None, &[], &payload);
            }
            Entry::Seal { records, live_bytes } => {
                let payload = pair(records, live_bytes);
                encode_parts(out, Kind::Seal, DbId(0), None, &[], &payload);
            }
            Entry::Part { txid, participants, records } => encode_part(out, txid, participants, records),
            Entry::Mark { txid } => encode_parts(out, Kind::Mark, DbId(0), None, &[], &txid.0.to_le_bytes()),
            Entry::Abort { txid } => encode_parts(out, Kind::Abort, DbId(0), None, &[], &txid.0.to_le_bytes()),
            Entry::Evicted { upto } => encode_parts(out, Kind::Evicted, DbId(0), None, &[], &upto.0.to_le_bytes()),
        }
    }
}

/// What stands between a put's crc and its value, which has `value_len` bytes.
pub(crate) fn put_front(db: DbId, key: &[u8], value_len: u32, expires_at_ms: Option<u64>) -> Vec<u8> {
    let mut out = vec![0; CRC_BYTES + 1 + 1 + 5 + 5 + 8 + key.len()];
    let end = encode_front(&mut out, Kind::Put, db, expires_at_ms, key, value_len);
    out.truncate(end);
    out.drain(..CRC_BYTES);
    out
}

fn pair(a: u64, b: u64) -> [u8; 16] {
    let mut out = [0; 16];
    out[..8].copy_from_slice(&a.to_le_bytes());
    out[8..].copy_from_slice(&b.to_le_bytes());
    out
}

#[cold]
fn encode_part(out: &mut [u8], txid: TxId, participants: &[PartitionId], records: u32) {
    let mut payload = Vec::with_capacity(PART_BYTES + 2 * participants.len());
    payload.extend_from_slice(&txid.0.to_le_bytes());
    payload.extend_from_slice(&records.to_le_bytes());
    payload.extend(participants.iter().flat_map(|partition| partition.0.to_le_bytes()));
    encode_parts(out, Kind::Part, DbId(0), None, &[], &payload);
}

#[inline(always)]
fn encode_parts(out: &mut [u8], kind: Kind, db: DbId, expires_at_ms: Option<u64>, key: &[u8], value: &[u8]) {
    let at = encode_front(out, kind, db, expires_at_ms, key, value.len() as u32);
    out[at..at + value.len()].copy_from_slice(value);
    assert!(at + value.len() == out.len(), "a record fills its space exactly");
    let crc = crc32c::crc32c(&out[CRC_BYTES..]);
    out[..CRC_BYTES].copy_from_slice(&crc.to_le_bytes());
}

/// Writes what stands between the crc and the value; returns where the value begins.
#[inline(always)]
fn encode_front(out: &mut [u8], kind: Kind, db: DbId, expires_at_ms: Option<u64>, key: &[u8], value_len: u32) -> usize {
    let mut flags = kind as u8;
    let mut at = CRC_BYTES + 1;
    if db.0 != 0 {
        flags |= FLAG_DB;
        out[at] = db.0;
        at += 1;
    }
    at = put_varint(out, at, key.len() as u32);
    at = put_varint(out, at, value_len);
    if let Some(ms) = expires_at_ms {
        let len = expiry_bytes(ms);
        flags |= if len == 8 { FLAG_EXPIRY | FLAG_WIDE } else { FLAG_EXPIRY };
        out[at..at + len].copy_from_slice(&ms.to_le_bytes()[..len]);
        at += len;
    }
    out[CRC_BYTES] = flags;
    out[at..at + key.len()].copy_from_slice(key);
    at += key.len();
    at
}

/// Writes a copy of the record whose bytes are `raw` into `out`, which is as long, and flags it as one (C2).
///
/// # Panics
/// If the lengths differ.
pub(crate) fn copy_relocated(raw: &[u8], out: &mut [u8]) {
    out.copy_from_slice(raw);
    out[CRC_BYTES] |= FLAG_RELOCATED;
    let crc = crc32c::crc32c(&out[CRC_BYTES..]);
    out[..CRC_BYTES].copy_from_slice(&crc.to_le_bytes());
}
