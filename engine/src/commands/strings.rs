//! Strings: reading, and changing a part.

use emberkv_log::disk::Disk;
use emberkv_log::{Appended, Kind, Piece, Value};
use emberkv_resp::{Args, Reply, format};

use super::SHARED_VALUE_BYTES;
use crate::chunks::ChunkRoot;
use crate::collections::WRONG_TYPE;
use crate::group::Request;
use crate::lookup::{Found, Key, Lookup, TextBuf};
use crate::partition::Partition;
use crate::stop::Stop;
use crate::write::stored;

/// GETRANGE's first and last byte; negative numbers count from the end.
#[derive(Clone, Copy, Debug)]
pub(super) struct Range {
    start: i64,
    end: i64,
}

impl Range {
    pub(super) fn parse(args: Args<'_>) -> Result<Self, Stop> {
        let number = |i| format::parse_integer(args.at(i)).ok_or(Stop::NOT_AN_INTEGER);
        Ok(Self { start: number(2)?, end: number(3)? })
    }
}

/// The part of a value of so many bytes that GETRANGE answers.
fn part_of(len: usize, Range { start, end }: Range) -> std::ops::Range<usize> {
    let len = len as i64;
    if start < 0 && end < 0 && start > end {
        return 0..0;
    }
    let place = |i: i64| if i < 0 { (len + i.max(-len)).max(0) } else { i };
    let (start, end) = (place(start), place(end).min(len - 1));
    if start > end || len == 0 { 0..0 } else { start as usize..end as usize + 1 }
}

/// The same of a text.
pub(super) fn range_of(text: &[u8], range: Range) -> &[u8] {
    &text[part_of(text.len(), range)]
}

const TOO_LONG: Stop = Stop::error("ERR string exceeds maximum allowed size (proto-max-bulk-len)");

/// What the length of a value takes in a record, at most.
const LENGTH_BYTES: u64 = 5;

impl<D: Disk> Partition<D> {
    /// Writes a found record's value. What is in chunks has been brought.
    ///
    /// # Errors
    /// If it is no string: nothing is written.
    #[inline]
    pub(super) fn reply_value(&self, found: Found, reply: &mut Reply<'_>) -> Result<(), Stop> {
        match self.value(found) {
            Value::Bytes(bytes) if bytes.len() < SHARED_VALUE_BYTES => reply.bulk(bytes),
            // a value of the transaction's own is in no segment
            Value::Bytes(bytes) if self.overlay.is_some() => reply.bulk(bytes),
            Value::Bytes(_) => reply.bulk_shared(self.log.table().share_value(found.address)),
            Value::Int(int) => reply.bulk_integer(int),
            Value::Packed(packed) => reply.bulk_with(packed.len(), |out| packed.unpack(out)),
            Value::Chunked(bytes) => {
                let root = ChunkRoot::read(bytes);
                reply.bulk_with(root.len as usize, |out| self.gather(self.pieces(found, root), root.all(), out));
            }
            Value::Whole(_) | Value::Root(_) => return Err(WRONG_TYPE),
        }
        Ok(())
    }

    /// Writes the value of a key that was read, or nil.
    ///
    /// # Errors
    /// If it is no string: nothing is written.
    #[inline]
    pub(super) fn reply_optional(&mut self, key: Key<'_>, lookup: Lookup, reply: &mut Reply<'_>) -> Result<(), Stop> {
        if lookup.live().is_some_and(Found::is_root) {
            self.bring_texts(&[key])?;
        }
        self.count_read(key, lookup);
        match lookup.live() {
            Some(found) => self.reply_value(found, reply)?,
            None => reply.null(),
        }
        Ok(())
    }

    #[inline]
    pub(crate) fn count_read(&mut self, key: Key<'_>, lookup: Lookup) {
        self.count_look(key, lookup);
        if let Some(found) = lookup.live() {
            self.visit(found.slot);
        }
    }

    /// The same for commands that ask about a key and not for its value: no policy is to spare it for that.
    #[inline]
    pub(crate) fn count_look(&mut self, key: Key<'_>, lookup: Lookup) {
        self.count_unsaid(lookup);
        if lookup.live().is_none() && self.events.is_on {
            self.note_miss(key);
        }
    }

    /// The same for those of whose misses nobody is told.
    #[inline]
    pub(crate) fn count_unsaid(&mut self, lookup: Lookup) {
        if lookup.live().is_some() {
            self.stats.hits += 1;
        } else {
            self.stats.misses += 1;
        }
    }

    #[inline]
    pub(super) fn get(&mut self, request: Request<'_>, reply: &mut Reply<'_>) -> Result<(), Stop> {
        let key = self.key(request.db, request.args.at(1));
        let lookup = self.lookup(key)?;
        self.reply_optional(key, lookup, reply)
    }

    pub(super) fn mget(&mut self, request: Request<'_>, reply: &mut Reply<'_>) -> Result<(), Stop> {
        let keys = request.args.from(1);
        let fingerprints: Vec<_> = keys.iter().map(|key| self.prefetch_physical(request.db, key)).collect();
        fingerprints.iter().for_each(|fingerprint| self.prefetch_record(*fingerprint));
        let mut lookups = Vec::with_capacity(keys.len());
        for (bytes, fingerprint) in keys.iter().zip(fingerprints) {
            lookups.push((Key { db: request.db, bytes, fingerprint }, Lookup::Absent));
        }
        // a lookup that removes an expired key moves others in the index: removals first, then the reads
        for (key, _) in &lookups {
            self.lookup(*key)?;
        }
        if self.log.table().has_cold() {
            self.bring_texts(&lookups.iter().map(|(key, _)| *key).collect::<Vec<_>>())?;
        }
        reply.array(lookups.len());
        for (key, _) in lookups {
            let lookup = self.peek(key);
            if self.reply_optional(key, lookup, reply).is_err() {
                reply.null(); // it is no string
            }
        }
        Ok(())
    }

    pub(super) fn mset(&mut self, request: Request<'_>, reply: &mut Reply<'_>) -> Result<(), Stop> {
        if request.args.len().is_multiple_of(2) {
            return Err(Stop::Error(emberkv_resp::schema::arity_error("mset").into()));
        }
        self.put_pairs(request)?;
        reply.ok();
        Ok(())
    }

    pub(super) fn msetnx(&mut self, request: Request<'_>, reply: &mut Reply<'_>) -> Result<(), Stop> {
        if request.args.len().is_multiple_of(2) {
            return Err(Stop::Error(emberkv_resp::schema::arity_error("msetnx").into()));
        }
        for i in (1..request.args.len()).step_by(2) {
            let key = self.key(request.db, request.args.at(i));
            if self.lookup(key)?.live().is_some() {
                reply.integer(0);
                return Ok(());
            }
        }
        self.put_pairs(request)?;
        reply.integer(1);
        Ok(())
    }

    /// Puts all pairs into one frame: a crash keeps all of them or none (law 6).
    fn put_pairs(&mut self, request: Request<'_>) -> Result<(), Stop> {
        let args = request.args;
        let mut bytes = 0;
        for i in (1..args.len()).step_by(2) {
            let (key, value) = (args.at(i), stored(args.at(i + 1)));
            let entry = emberkv_log::Entry::Put { db: request.db, key, value, expires_at_ms: None };
            bytes += entry.encoded_len() as u64;
            self.prefetch_physical(request.db, key);
        }
        self.reserve(bytes, emberkv_log::Purpose::Grow)?;
        for i in (1..args.len()).step_by(2) {
            let key = self.key(request.db, args.at(i));
            let old = self.lookup_to_replace(key);
            self.put(key, stored(args.at(i + 1)), None, old);
        }
        Ok(())
    }

    pub(super) fn strlen(&mut self, request: Request<'_>, reply: &mut Reply<'_>) -> Result<(), Stop> {
        let key = self.key(request.db, request.args.at(1));
        let lookup = self.lookup_part(key)?;
        self.count_read(key, lookup);
        let len = lookup.live().map_or(0, |found| self.text_len(found));
        reply.integer(len as i64);
        Ok(())
    }

    pub(super) fn append(&mut self, request: Request<'_>, reply: &mut Reply<'_>) -> Result<(), Stop> {
        let key = self.key(request.db, request.args.at(1));
        let old = self.lookup_part(key)?;
        let end = old.live().map_or(0, |found| self.text_len(found));
        let len = self.overwrite(key, old, end, request.args.at(2))?;
        reply.integer(len as i64);
        Ok(())
    }

    pub(super) fn setrange(&mut self, request: Request<'_>, reply: &mut Reply<'_>) -> Result<(), Stop> {
        let offset = format::parse_integer(request.args.at(2)).ok_or(Stop::NOT_AN_INTEGER)?;
        let offset = usize::try_from(offset).map_err(|_| Stop::error("ERR offset is out of range"))?;
        let key = self.key(request.db, request.args.at(1));
        let part = request.args.at(3);
        let old = self.lookup_part(key)?;
        if part.is_empty() {
            let len = old.live().map_or(0, |found| self.text_len(found));
            reply.integer(len as i64);
            return Ok(());
        }
        let len = self.overwrite(key, old, offset, part)?;
        reply.integer(len as i64);
        Ok(())
    }

    /// Writes a part of a value over, with zeros in between if it ends before; the expiry stays. Returns the new length.
    pub(super) fn overwrite(&mut self, key: Key<'_>, old: Lookup, offset: usize, part: &[u8]) -> Result<usize, Stop> {
        let end = offset.checked_add(part.len()).filter(|end| *end <= self.limits.max_value_bytes);
        end.ok_or(TOO_LONG)?;
        self.overwrite_all(key, old, &[(offset, part)])
    }

    /// The same of several parts, wherever they end.
    pub(super) fn overwrite_all(
        &mut self,
        key: Key<'_>,
        old: Lookup,
        parts: &[(usize, impl AsRef<[u8]>)],
    ) -> Result<usize, Stop> {
        let ends = parts.iter().map(|(offset, part)| offset + part.as_ref().len());
        let len = ends.fold(old.live().map_or(0, |found| self.text_len(found)), usize::max);
        if self.is_for_chunks(old, len) {
            let mut draft = self.chunk_draft(key, old)?;
            for (offset, part) in parts {
                self.draft_bytes(key, &mut draft, *offset, part.as_ref())?;
            }
            return self.commit_chunks(key, draft);
        }
        let mut value = std::mem::take(&mut self.scratch);
        value.clear();
        let expires_at_ms = old.live().and_then(|found| found.expires_at_ms);
        if let Some(found) = old.live() {
            value.extend_from_slice(self.text(found, &mut TextBuf::default()));
        }
        value.resize(len, 0);
        for (offset, part) in parts {
            value[*offset..][..part.as_ref().len()].copy_from_slice(part.as_ref());
        }
        let result = self.set(key, stored(&value), expires_at_ms, old);
        self.keep_scratch(value);
        result.map(|()| len)
    }

    pub(super) fn getrange(&mut self, request: Request<'_>, reply: &mut Reply<'_>) -> Result<(), Stop> {
        let range = Range::parse(request.args)?;
        let key = self.key(request.db, request.args.at(1));
        let lookup = self.lookup_part(key)?;
        let root = lookup.live().and_then(|found| self.chunked(found));
        let part = root.map(|root| (root, part_of(root.len as usize, range)));
        if let Some((root, part)) = &part {
            self.bring_bytes(key, *root, part)?;
        }
        self.count_read(key, lookup);
        let Some(found) = lookup.live() else {
            reply.bulk(b"");
            return Ok(());
        };
        if let Some((root, part)) = part {
            reply.bulk_with(part.len(), |out| self.gather(self.pieces(found, root), part, out));
            return Ok(());
        }
        reply.bulk(range_of(self.text(found, &mut TextBuf::default()), range));
        Ok(())
    }

    /// Whether a found record can be appended once more with another expiry.
    pub(super) fn reserve_again(
        &mut self,
        key: Key<'_>,
        found: Found,
        expires_at_ms: Option<u64>,
    ) -> Result<Option<Appended>, Stop> {
        if self.is_ahead(found.len)
            && let Value::Bytes(bytes) = self.value(found)
            && self.is_ahead(bytes.len())
        {
            let value = [Piece::Stored(found.address, 0..bytes.len())];
            return self.append_ahead(key, &value, expires_at_ms, Some(found)).map(Some);
        }
        // it is packed anew, which since then may have been told to be done from another length on
        let unpacked_more = match self.value(found) {
            Value::Packed(packed) => packed.len().saturating_sub(packed.stored().len()) as u64 + LENGTH_BYTES,
            Value::Bytes(_) | Value::Int(_) | Value::Whole(_) | Value::Root(_) | Value::Chunked(_) => 0,
        };
        // the record that there is, and at most eight bytes of expiry more: also while memory is short, as in redis
        self.reserve(found.len as u64 + 8 + unpacked_more, emberkv_log::Purpose::Keep)?;
        Ok(None)
    }

    /// Appends a found record once more with another expiry; one that has passed removes the key.
    pub(super) fn put_again(
        &mut self,
        key: Key<'_>,
        found: Found,
        expires_at_ms: Option<u64>,
        ahead: Option<Appended>,
    ) {
        if let Some(appended) = ahead {
            return self.put_ahead(key, appended, Lookup::Live(found));
        }
        if expires_at_ms.is_some_and(|ms| ms <= self.now_ms) {
            self.delete(key, found);
            return;
        }
        let mut copy = std::mem::take(&mut self.scratch);
        copy.clear();
        let int = match self.value(found) {
            Value::Int(int) => Some(int),
            Value::Bytes(bytes) | Value::Whole(bytes) | Value::Root(bytes) | Value::Chunked(bytes) => {
                copy.extend_from_slice(bytes);
                None
            }
            Value::Packed(packed) => {
                packed.unpack(&mut copy);
                None
            }
        };
        let value = match found.kind {
            Kind::PutWhole => Value::Whole(&copy),
            Kind::PutRoot => Value::Root(&copy),
            Kind::PutChunked => Value::Chunked(&copy),
            _ => int.map_or(Value::Bytes(&copy), Value::Int),
        };
        self.put(key, value, expires_at_ms, Lookup::Live(found));
        self.keep_scratch(copy);
    }

    /// Keeps a buffer for the next time, unless it has become large.
    fn keep_scratch(&mut self, buffer: Vec<u8>) {
        if buffer.capacity() <= 1 << 20 {
            self.scratch = buffer;
        }
    }
}
