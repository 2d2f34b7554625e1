//! Client-side caching: who has read which keys, and hears when they change (N1).
//!
//! A key's owner keeps the list of its readers. A read is noted while the key's lock is held, so a change of the key is either before
//! the read, which has seen it, or after it, and finds its reader in the list. What is said of a change names the reader's connection;
//! there it comes behind the reply to the read, whose place was reserved before.

use std::collections::HashMap;

use emberkv_log::disk::Disk;
#[cfg(any(test, feature = "sim"))]
use emberkv_log::plant::{self, Plant};
use emberkv_log::{PartitionId, TxId};
use emberkv_resp::schema::{CommandId, Flags};

use crate::databases::RESERVED;
use crate::events::Cause;
use crate::group::Request;
use crate::lookup::Key;
use crate::names::names;
use crate::partition::Partition;
use crate::transact::Action;
#[cfg(any(test, feature = "sim"))]
use crate::transact::Run;

/// A connection that keeps what it has read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Reader {
    /// Its core.
    pub core: u16,
    /// Its place there.
    pub conn: u32,
    /// Its number, which no other connection ever has.
    pub client: u64,
}

/// Who has changed a key.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Author {
    /// It has expired, or had to give way.
    Nobody,
    /// This client.
    Client(u64),
    /// This transaction.
    Transaction(TxId),
}

/// What is not to be kept any longer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Invalid {
    /// A key, in any database.
    Key {
        /// The key.
        key: Box<[u8]>,
        /// Those who have read it since it was said of it last.
        readers: Vec<Reader>,
        /// Who has changed it; `None`: nobody, its readers are only forgotten.
        author: Option<Author>,
    },
    /// Everything.
    All,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Tracking {
    /// Whether any client keeps what it has read.
    pub is_on: bool,
    /// Whether some hear of keys that they have not read.
    broadcasts: bool,
    keys: HashMap<Box<[u8]>, Vec<Reader>>,
    items: usize,
    max_keys: usize,
    list: Vec<Invalid>,
}

impl Default for Tracking {
    fn default() -> Self {
        Self { is_on: false, broadcasts: false, keys: HashMap::new(), items: 0, max_keys: usize::MAX, list: Vec::new() }
    }
}

/// What a transaction does to that, in order.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Tracked {
    /// Reads a key.
    Read(Box<[u8]>, Reader),
    /// Changes one.
    Change(Box<[u8]>, Author),
    /// Empties databases; whether it is to be said here.
    All(bool),
}

impl Tracking {
    pub fn apply(&mut self, tracked: &Tracked) {
        match tracked {
            Tracked::Read(key, reader) => self.add(key, *reader),
            Tracked::Change(key, author) => self.forget(key, Some(*author)),
            Tracked::All(says) => {
                (self.keys, self.items) = (HashMap::new(), 0);
                if *says {
                    self.list.push(Invalid::All);
                }
            }
        }
    }

    fn add(&mut self, key: &[u8], reader: Reader) {
        self.is_on = true;
        let readers = match self.keys.get_mut(key) {
            Some(readers) => readers,
            None => self.keys.entry(key.into()).or_default(),
        };
        if !readers.contains(&reader) {
            readers.push(reader);
            self.items += 1;
        }
        self.bound();
    }

    fn bound(&mut self) {
        while self.keys.len() > self.max_keys {
            let Some(key) = self.keys.keys().next().cloned() else { return };
            self.forget(&key, None);
        }
    }

    /// Nobody is known to have read a key; those who have are to hear of it.
    fn forget(&mut self, key: &[u8], author: Option<Author>) {
        let readers = self.keys.remove(key).unwrap_or_default();
        self.items -= readers.len();
        if !readers.is_empty() || self.broadcasts && author.is_some() {
            self.list.push(Invalid::Key { key: key.into(), readers, author });
        }
    }
}

impl<D: Disk> Partition<D> {
    /// Says whether any client keeps what it has read, and whether some hear of all keys with their prefixes.
    pub fn set_tracking(&mut self, is_on: bool, broadcasts: bool) {
        (self.tracking.is_on, self.tracking.broadcasts) = (is_on, broadcasts);
        if !is_on {
            (self.tracking.keys, self.tracking.items) = (HashMap::new(), 0);
        }
    }

    /// The readers of so many keys are remembered.
    pub fn set_max_tracked(&mut self, max_keys: usize) {
        self.tracking.max_keys = max_keys;
        self.tracking.bound();
    }

    /// How many keys' readers are remembered, and how many those are.
    pub fn tracked(&self) -> (usize, usize) {
        (self.tracking.keys.len(), self.tracking.items)
    }

    /// What is not to be kept any longer, since the last call.
    #[inline]
    pub fn take_invalid(&mut self) -> Vec<Invalid> {
        if self.tracking.list.is_empty() { Vec::new() } else { std::mem::take(&mut self.tracking.list) }
    }

    /// A client is going to keep what it reads by this command, whose keys are locked.
    pub(crate) fn note_reader(&mut self, request: Request<'_>, reader: Reader) {
        #[cfg(any(test, feature = "sim"))]
        if plant::is(Plant::N1Reader) {
            return;
        }
        if !request.id.command().flags.contains(Flags::READONLY) {
            return;
        }
        for (_, key) in names(request).into_iter().flatten() {
            self.track(Tracked::Read(key.into(), reader));
        }
    }

    /// The same, of one key.
    pub(crate) fn note_key(&mut self, key: &[u8], reader: Reader) {
        self.track(Tracked::Read(key.into(), reader));
    }

    /// The same, by a share of a command.
    pub(crate) fn note_reader_of(&mut self, action: &Action, reader: Reader) {
        #[cfg(any(test, feature = "sim"))]
        if plant::is(Plant::N1Reader) {
            return;
        }
        if let Action::Get { keys, .. } | Action::Count(keys) | Action::Touch(keys) = action {
            keys.iter().for_each(|key| self.track(Tracked::Read(key.into(), reader)));
        }
    }

    fn track(&mut self, tracked: Tracked) {
        match &mut self.overlay {
            // a transaction may come to nothing yet
            Some(overlay) => overlay.told.tracked.push(tracked),
            None => self.tracking.apply(&tracked),
        }
    }

    /// The planted bug: see [`Plant::N1Reader`].
    #[cfg(any(test, feature = "sim"))]
    pub(crate) fn note_reader_early(&mut self, run: &Run) {
        if let Some(reader) = run.reader.filter(|_| plant::is(Plant::N1Reader)) {
            run.keys.iter().for_each(|(_, key)| self.tracking.add(key, reader));
        }
    }

    /// A key is another one now.
    pub(crate) fn invalidate(&mut self, key: Key<'_>) {
        if !self.tracking.is_on || key.db == RESERVED || self.events.cause == Cause::Known {
            return;
        }
        let author = match self.events.cause {
            Cause::Expiry | Cause::Fields | Cause::Eviction => Author::Nobody,
            _ if self.whose.client != 0 => Author::Client(self.whose.client),
            _ => Author::Transaction(TxId(self.whose.request)),
        };
        self.track(Tracked::Change(key.bytes.into(), author));
    }

    /// Databases were emptied. One partition of all says so: who reads in another one waits for its lock.
    pub(crate) fn invalidate_all(&mut self) {
        if self.tracking.is_on && self.events.cause != Cause::Known {
            self.track(Tracked::All(self.log.partition() == PartitionId(0)));
        }
    }
}

/// Whether a client that keeps what it reads is remembered as a reader of what this command names.
pub fn is_tracked(id: CommandId) -> bool {
    let command = id.command();
    command.flags.contains(Flags::READONLY) && !command.keys.is_empty()
}
