//! From a key to its newest record.

use emberkv_index::{Fingerprint, SlotRef};
use emberkv_log::disk::Disk;
#[cfg(any(test, feature = "sim"))]
use emberkv_log::plant::{self, Plant};
use emberkv_log::{Address, DbId, Kind, LogPosition, Record, Shape, Value};

use crate::chunks::ChunkRoot;
use crate::partition::Partition;
use crate::stop::Stop;

/// An entry of the index whose record has the wanted key.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Found {
    pub slot: SlotRef,
    pub address: Address,
    /// Bytes of the record.
    pub len: usize,
    pub expires_at_ms: Option<u64>,
    pub kind: Kind,
}

impl Found {
    /// The entry of a record that an index refers to.
    #[inline]
    pub fn of(slot: SlotRef, address: Address, record: &Record<'_>) -> Self {
        let (len, kind) = (record.encoded_len(), record.kind());
        Self { slot, address, len, expires_at_ms: record.expires_at_ms(), kind }
    }

    /// Whether the value is a collection.
    #[inline]
    pub fn is_collection(self) -> bool {
        matches!(self.kind, Kind::PutWhole | Kind::PutRoot)
    }

    /// Whether the value is a collection, or a string, that has leaves.
    #[inline]
    pub fn is_root(self) -> bool {
        matches!(self.kind, Kind::PutRoot | Kind::PutChunked)
    }

    /// What the entry counts for, as a key of `db`.
    #[inline]
    pub fn shape(&self, db: DbId) -> Shape {
        Shape { len: self.len, db, expires_at_ms: self.expires_at_ms }
    }
}

/// What the index says of a key.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Lookup {
    /// The key exists.
    Live(Found),
    /// It does not: its record has expired, or lies below its database's floor. The entry is still there.
    Stale(Found),
    /// It does not.
    Absent,
}

impl Lookup {
    /// The entry of a key that exists.
    #[inline]
    pub fn live(self) -> Option<Found> {
        match self {
            Self::Live(found) => Some(found),
            Self::Stale(_) | Self::Absent => None,
        }
    }
}

/// Where a value becomes text that is kept in another form.
#[derive(Default, Debug)]
pub(crate) struct TextBuf {
    digits: [u8; 20],
    unpacked: Vec<u8>,
}

impl TextBuf {
    /// A value as text.
    pub fn text<'a>(&'a mut self, value: Value<'a>) -> &'a [u8] {
        match value {
            Value::Bytes(bytes) => bytes,
            Value::Int(int) => emberkv_resp::format::integer(int, &mut self.digits),
            Value::Packed(packed) => {
                self.unpacked.clear();
                packed.unpack(&mut self.unpacked);
                &self.unpacked
            }
            // no command on strings comes here with a collection: `lookup_string`; and what is in chunks is gathered: `Partition::text`
            Value::Whole(_) | Value::Root(_) | Value::Chunked(_) => &[],
        }
    }

    /// What `gather` appends to an empty buffer.
    fn fill(&mut self, gather: impl FnOnce(&mut Vec<u8>)) -> &[u8] {
        self.unpacked.clear();
        gather(&mut self.unpacked);
        &self.unpacked
    }
}

/// How many bytes a value has as text.
pub(crate) fn text_len(value: Value<'_>) -> usize {
    match value {
        Value::Bytes(bytes) => bytes.len(),
        Value::Int(_) => TextBuf::default().text(value).len(),
        Value::Packed(packed) => packed.len(),
        Value::Chunked(bytes) => ChunkRoot::read(bytes).len as usize,
        Value::Whole(_) | Value::Root(_) => 0,
    }
}

/// A key, with the work of hashing it done.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Key<'a> {
    pub db: DbId,
    pub bytes: &'a [u8],
    pub fingerprint: Fingerprint,
}

impl<D: Disk> Partition<D> {
    #[inline]
    pub(crate) fn key<'a>(&self, db: DbId, bytes: &'a [u8]) -> Key<'a> {
        Key { db, bytes, fingerprint: self.hasher.fingerprint(db, bytes) }
    }

    /// The entry of a key, without a look at whether the reply will have to wait.
    #[inline]
    pub(crate) fn peek(&self, key: Key<'_>) -> Lookup {
        if let Some(overlay) = &self.overlay
            && let Some(lookup) = overlay.peek(key, self.now_ms)
        {
            return lookup;
        }
        self.peek_below(key)
    }

    /// The same without what a transaction has changed so far.
    #[inline]
    pub(crate) fn peek_below(&self, key: Key<'_>) -> Lookup {
        let table = self.log.table();
        let mut hit: Option<Record<'_>> = None;
        let found = self.index.find(key.fingerprint, |address| {
            let record = table.record(address);
            let same = record.key() == key.bytes && record.db() == key.db;
            if same {
                hit = Some(record);
            }
            same
        });
        let (Some((slot, address)), Some(record)) = (found, hit) else { return Lookup::Absent };
        let found = Found::of(slot, address, &record);
        let floor = self.floors[usize::from(key.db.0)];
        let expired = found.expires_at_ms.is_some_and(|ms| ms <= self.now_ms);
        if expired || (floor.0 > 0 && table.position(address) < floor) {
            Lookup::Stale(found)
        } else {
            Lookup::Live(found)
        }
    }

    /// Looks a key up for a command. The reply waits for what it has seen: the record, or for "no such key"
    /// the newest tombstone. A key that has expired is removed on the way.
    ///
    /// # Errors
    /// If the newest record never became durable and never will: the log is read-only (E1).
    #[inline]
    pub(crate) fn lookup(&mut self, key: Key<'_>) -> Result<Lookup, Stop> {
        let lookup = self.peek(key);
        if self.overlay.is_some() {
            return self.note_below(key).map(|()| lookup);
        }
        match lookup {
            Lookup::Live(found) => self.note_seen(found)?,
            Lookup::Absent => self.note_absent()?,
            Lookup::Stale(found) => {
                if !self.remove_expired(key, found) {
                    // without a tombstone it is this record that hides an older value
                    self.note_seen(found)?;
                    self.note_absent()?;
                    return Ok(lookup);
                }
                self.note_absent()?;
                return Ok(Lookup::Absent);
            }
        }
        Ok(lookup)
    }

    /// The replies of a transaction wait for what it was built upon.
    #[cold]
    fn note_below(&mut self, key: Key<'_>) -> Result<(), Stop> {
        match self.peek_below(key) {
            Lookup::Live(found) => self.note_seen(found),
            Lookup::Absent => self.note_absent(),
            Lookup::Stale(found) => self.note_seen(found).and_then(|()| self.note_absent()),
        }
    }

    /// Looks a key up that a write will replace, whatever its value: the write's own record is the newest.
    #[inline]
    pub(crate) fn lookup_to_replace(&self, key: Key<'_>) -> Lookup {
        self.peek(key)
    }

    /// The position after a found record.
    #[inline]
    pub(crate) fn end(&self, found: Found) -> LogPosition {
        self.log.table().position(found.address).plus(found.len as u64)
    }

    #[inline]
    fn note_seen(&mut self, found: Found) -> Result<(), Stop> {
        let end = self.end(found);
        if end > self.log.gate() { self.wait_for_record(found, end) } else { Ok(()) }
    }

    /// What a copy says was safe before compaction made it (C2).
    #[cold]
    fn wait_for_record(&mut self, found: Found, end: LogPosition) -> Result<(), Stop> {
        if self.log.table().record(found.address).is_relocated() { Ok(()) } else { self.wait_for(end) }
    }

    #[inline]
    fn note_absent(&mut self) -> Result<(), Stop> {
        #[cfg(any(test, feature = "sim"))]
        if plant::is(Plant::L2Nil) {
            return Ok(());
        }
        let last_delete = self.last_delete;
        if last_delete > self.log.gate() { self.wait_for(last_delete) } else { Ok(()) }
    }

    /// The reply tells of any key: it waits for all that was written.
    pub(crate) fn note_all(&mut self) -> Result<(), Stop> {
        let tail = self.log.tail();
        if tail > self.log.gate() { self.wait_for(tail) } else { Ok(()) }
    }

    #[cold]
    fn wait_for(&mut self, end: LogPosition) -> Result<(), Stop> {
        #[cfg(any(test, feature = "sim"))]
        if plant::is(Plant::L2Read) || plant::is(Plant::E1Read) && self.log.read_only().is_some() {
            return Ok(());
        }
        if let Some(reason) = self.log.read_only() {
            return Err(Stop::Error(format!("MISCONF Errors writing to the AOF file: {reason}").into()));
        }
        self.depends = self.depends.max(end);
        Ok(())
    }

    /// The value of a found record.
    #[inline]
    pub(crate) fn value(&self, found: Found) -> Value<'_> {
        if let Some(overlay) = &self.overlay
            && let Some(value) = overlay.value(found)
        {
            return value;
        }
        self.log.table().record(found.address).value()
    }

    /// The value of a found record as text, by way of `buf` if it is not kept as such. What is in chunks has been brought: `lookup_string`, `bring_texts`.
    pub(crate) fn text<'a>(&'a self, found: Found, buf: &'a mut TextBuf) -> &'a [u8] {
        match self.value(found) {
            Value::Chunked(bytes) => {
                let root = ChunkRoot::read(bytes);
                buf.fill(|out| self.gather(self.pieces(found, root), root.all(), out))
            }
            value => buf.text(value),
        }
    }

    /// How many bytes the value of a found record has.
    pub(crate) fn text_len(&self, found: Found) -> usize {
        text_len(self.value(found))
    }
}
