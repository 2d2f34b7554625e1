//! The two changes there are: a key gets a value, or it goes.

use emberkv_log::disk::Disk;
use emberkv_log::failpoint::{self, Point};
#[cfg(any(test, feature = "sim"))]
use emberkv_log::plant::{self, Plant};
use emberkv_log::{Address, Appended, DbId, Entry, Large, Packed, Piece, Purpose, Value, canonical_int};

use crate::collections::{due_ms_of, type_name};
use crate::events::Cause;
use crate::lookup::{Found, Key, Lookup};
use crate::partition::Partition;
use crate::stop::Stop;

/// A value in the form in which it is stored.
#[inline]
pub(crate) fn stored(text: &[u8]) -> Value<'_> {
    // a quick no for most values: canonical integers have at most 20 bytes
    if text.len() <= 20
        && let Some(int) = canonical_int(text)
    {
        return Value::Int(int);
    }
    Value::Bytes(text)
}

impl<D: Disk> Partition<D> {
    /// Makes sure that [`Partition::put_reserved`] of such a value is possible next, before anything is changed. If it depends
    /// on the key's present record, that was `seen`.
    ///
    /// # Errors
    /// See [`Stop`].
    #[inline]
    pub(crate) fn reserve_put(
        &mut self,
        key: Key<'_>,
        value: Value<'_>,
        expires_at_ms: Option<u64>,
        seen: Option<Found>,
    ) -> Result<Option<Appended>, Stop> {
        if let Value::Bytes(bytes) = value
            && self.is_ahead(bytes.len())
        {
            return self.append_ahead(key, &[Piece::Bytes(bytes)], expires_at_ms, seen).map(Some);
        }
        let entry = Entry::Put { db: key.db, key: key.bytes, value, expires_at_ms };
        self.reserve(entry.encoded_len() as u64, Purpose::Grow)?;
        Ok(None)
    }

    /// Makes sure that records of so many bytes can be appended next, all into one frame. Of a transaction all the room is made at
    /// its end.
    #[inline]
    pub(crate) fn reserve(&mut self, bytes: u64, purpose: Purpose) -> Result<(), Stop> {
        if self.overlay.is_some() { Ok(()) } else { Ok(self.log.reserve(bytes, purpose)?) }
    }

    /// Whether a value of so many bytes is written ahead, by [`Partition::append_ahead`].
    #[inline]
    pub(crate) fn is_ahead(&self, bytes: usize) -> bool {
        self.log.is_large(bytes) && self.whose.client != 0
    }

    /// Appends a large value, a slice at a time. If what it is depends on the key's present record, that was `seen`. The index is
    /// to point to it next, by [`Partition::put_ahead`].
    ///
    /// # Errors
    /// [`Stop::Wait`] until it is done, and see [`Stop`].
    #[cold]
    pub(crate) fn append_ahead(
        &mut self,
        key: Key<'_>,
        value: &[Piece<'_>],
        expires_at_ms: Option<u64>,
        seen: Option<Found>,
    ) -> Result<Appended, Stop> {
        let seen = seen.map(|found| self.log.table().position(found.address));
        let large = Large { whose: self.whose, seen, db: key.db, key: key.bytes, expires_at_ms, value };
        Ok(self.log.append_large(&large)?)
    }

    /// The index points to a value that was written ahead.
    #[cold]
    pub(crate) fn put_ahead(&mut self, key: Key<'_>, appended: Appended, old: Lookup) {
        self.wait_for_write();
        // when it was begun a time from now was an earlier one
        let expires_at_ms = self.log.table().record(appended.address).expires_at_ms();
        self.refer(key, appended.address, expires_at_ms, old);
    }

    /// Puts what [`Partition::reserve_put`] has reserved room for, or has appended.
    #[inline]
    pub(crate) fn put_reserved(
        &mut self,
        key: Key<'_>,
        value: Value<'_>,
        expires_at_ms: Option<u64>,
        old: Lookup,
        ahead: Option<Appended>,
    ) {
        match ahead {
            None => self.put(key, value, expires_at_ms, old),
            Some(appended) => self.put_ahead(key, appended, old),
        }
    }

    /// Makes sure that `keys` can be deleted next.
    ///
    /// # Errors
    /// See [`Stop`].
    pub(crate) fn reserve_delete<'a>(&mut self, keys: impl Iterator<Item = &'a [u8]>) -> Result<(), Stop> {
        // a tombstone has at most 12 bytes beside its key
        let bytes = keys.map(|key| key.len() as u64 + 12).sum();
        self.reserve(bytes, Purpose::Shrink)
    }

    /// Gives a key a value: appends the record, and the index points to it. Space was reserved.
    ///
    /// # Panics
    /// If the index needs memory and there is none: the log is ahead of it then, and the truth.
    #[inline]
    pub(crate) fn put(&mut self, key: Key<'_>, value: Value<'_>, expires_at_ms: Option<u64>, old: Lookup) {
        if self.overlay.is_some() {
            return self.put_over(key, value, expires_at_ms, old);
        }
        let new = self.append_put(key.db, key.bytes, value, expires_at_ms);
        self.wait_for_write();
        if let Value::Whole(_) | Value::Root(_) = value {
            self.enter_due(key, value, old);
        }
        self.refer(key, new.address, expires_at_ms, old);
    }

    /// Fields of what a key gets may expire: they are looked at then.
    pub(crate) fn enter_due(&mut self, key: Key<'_>, value: Value<'_>, old: Lookup) {
        let due_ms = due_ms_of(value);
        // an entry for an earlier time is still in the wheel, and will look again then
        let is_entered = || old.live().is_some_and(|old| (1..=due_ms).contains(&due_ms_of(self.value(old))));
        if due_ms > 0 && !is_entered() {
            self.wheel.insert(key.fingerprint, due_ms);
        }
    }

    /// The same, while a transaction is executed.
    fn put_over(&mut self, key: Key<'_>, value: Value<'_>, expires_at_ms: Option<u64>, old: Lookup) {
        if self.events.is_on | self.tracking.is_on {
            self.note_event_of_put(key, type_name(value), expires_at_ms, old);
        }
        if let Some(overlay) = &mut self.overlay {
            overlay.put(key, value, expires_at_ms);
        }
    }

    /// Appends a put, packed if its value is long enough for that. Space was reserved, as if it were not.
    #[inline]
    pub(crate) fn append_put(
        &mut self,
        db: DbId,
        key: &[u8],
        value: Value<'_>,
        expires_at_ms: Option<u64>,
    ) -> Appended {
        if let Value::Bytes(bytes) = value
            && bytes.len() >= self.limits.pack_from_bytes
        {
            return self.append_packed(db, key, bytes, expires_at_ms);
        }
        self.log.append(&Entry::Put { db, key, value, expires_at_ms })
    }

    #[cold]
    fn append_packed(&mut self, db: DbId, key: &[u8], bytes: &[u8], expires_at_ms: Option<u64>) -> Appended {
        self.stats.packing_values += 1;
        self.stats.packing_bytes_in += bytes.len() as u64;
        let value = Packed::pack(bytes, &mut self.packing).map_or(Value::Bytes(bytes), Value::Packed);
        let stored = if let Value::Packed(packed) = value { packed.stored().len() } else { bytes.len() };
        self.stats.packing_bytes_out += stored as u64;
        self.log.append(&Entry::Put { db, key, value, expires_at_ms })
    }

    /// The index points to a record that was appended, and no longer to the one before.
    ///
    /// # Panics
    /// If the index needs memory and there is none: the log is ahead of it then, and the truth.
    #[inline]
    pub(crate) fn refer(&mut self, key: Key<'_>, address: Address, expires_at_ms: Option<u64>, old: Lookup) {
        if !self.watchers.is_empty() | self.events.is_on | self.tracking.is_on {
            self.note_put(key, address, expires_at_ms, old);
        }
        self.note_for_waiters(key.db, key.bytes);
        self.saver.changed();
        if let Lookup::Live(found) | Lookup::Stale(found) = old
            && found.is_root()
        {
            self.root_goes(found.address, Some(address));
        }
        let stats = &mut self.dbs[usize::from(key.db.0)];
        let mut old_expiry = None;
        match old {
            Lookup::Live(found) => {
                old_expiry = found.expires_at_ms;
                self.index.replace(found.slot, address);
                self.log.table_mut().release(found.address, found.shape(key.db));
                if old_expiry != expires_at_ms {
                    stats.set_expiry(old_expiry, expires_at_ms);
                }
            }
            Lookup::Stale(found) => {
                let below_floor = self.log.table().position(found.address) < self.floors[usize::from(key.db.0)];
                self.index.replace(found.slot, address);
                self.log.table_mut().release(found.address, found.shape(key.db));
                if below_floor {
                    stats.add(expires_at_ms);
                } else {
                    old_expiry = found.expires_at_ms;
                    stats.set_expiry(old_expiry, expires_at_ms);
                }
            }
            Lookup::Absent => {
                if let Err(error) = self.index.insert(key.fingerprint, address) {
                    panic!("{error}");
                }
                stats.add(expires_at_ms);
                if let Some(history) = &mut self.eviction.history {
                    history.comes(key.fingerprint, self.index.len());
                }
            }
        }
        if let Some(ms) = expires_at_ms
            // an entry for an earlier time is still in the wheel, and will look again then
            && old_expiry.is_none_or(|old| old > ms)
            && self.follower.is_none()
        {
            self.wheel.insert(key.fingerprint, ms);
        }
    }

    /// Puts with the space reserved on the way.
    ///
    /// # Errors
    /// See [`Stop`].
    #[inline]
    pub(crate) fn set(
        &mut self,
        key: Key<'_>,
        value: Value<'_>,
        expires_at_ms: Option<u64>,
        old: Lookup,
    ) -> Result<(), Stop> {
        let ahead = self.reserve_put(key, value, expires_at_ms, None)?;
        self.put_reserved(key, value, expires_at_ms, old, ahead);
        Ok(())
    }

    /// Deletes a key: a tombstone, and no entry any more. Space was reserved.
    pub(crate) fn delete(&mut self, key: Key<'_>, found: Found) {
        if self.overlay.is_some() {
            self.note_event_of_gone(key);
        }
        if let Some(overlay) = &mut self.overlay {
            return overlay.delete(key);
        }
        self.log.append(&Entry::Delete { db: key.db, key: key.bytes });
        self.wait_for_write();
        self.note_delete();
        self.unlink(key, found);
    }

    /// The reply waits for what was appended just now (law 2).
    #[inline]
    pub(crate) fn wait_for_write(&mut self) {
        #[cfg(any(test, feature = "sim"))]
        if plant::is(Plant::L2Write) {
            return;
        }
        self.depends = self.log.tail();
    }

    /// Takes a key's entry out of the index. Its record lies above the floor.
    pub(crate) fn unlink(&mut self, key: Key<'_>, found: Found) {
        if !self.watchers.is_empty() | self.events.is_on | self.tracking.is_on {
            self.note_gone(key);
        }
        self.note_for_waiters(key.db, key.bytes);
        self.drop_entry(key.db, found);
    }

    /// The same, when whoever asks what becomes of the key knows.
    pub(crate) fn drop_entry(&mut self, db: DbId, found: Found) {
        if found.is_root() {
            self.root_goes(found.address, None);
        }
        self.index.remove(found.slot);
        self.log.table_mut().release(found.address, found.shape(db));
        self.dbs[usize::from(db.0)].remove(found.expires_at_ms);
        self.saver.changed();
    }

    /// Removes the entry of a key that [`Partition::peek`] calls stale, if there is room for the tombstone;
    /// an expiry is an effect like any other (T3). Returns whether it is gone.
    pub(crate) fn remove_expired(&mut self, key: Key<'_>, found: Found) -> bool {
        if self.log.table().position(found.address) < self.floors[usize::from(key.db.0)] {
            // the floor is its tombstone
            self.index.remove(found.slot);
            self.log.table_mut().release(found.address, found.shape(key.db));
            return true;
        }
        #[cfg(any(test, feature = "sim"))]
        if plant::is(Plant::T3) {
            self.unlink(key, found);
            return true;
        }
        if self.reserve_delete(std::iter::once(key.bytes)).is_err() {
            return false;
        }
        let cause = std::mem::replace(&mut self.events.cause, Cause::Expiry);
        self.delete(key, found);
        self.events.cause = cause;
        failpoint::pass(Point::ExpireAppended);
        self.stats.expired += 1;
        true
    }
}
