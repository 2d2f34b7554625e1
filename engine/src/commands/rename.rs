//! A key's value under another name, or in another database: RENAME, RENAMENX, COPY, MOVE. What is put is the whole value,
//! never a reference to the record that there was (C6).

use emberkv_log::disk::Disk;
#[cfg(any(test, feature = "sim"))]
use emberkv_log::plant::{self, Plant};
use emberkv_log::{DbId, Piece, Purpose, Value};
use emberkv_resp::schema::CommandId;
use emberkv_resp::{Args, Reply, format};

use crate::group::Request;
use crate::lookup::Key;
use crate::partition::Partition;
use crate::stop::Stop;

pub(crate) const NO_SUCH_KEY: Stop = Stop::error("ERR no such key");
const SAME: Stop = Stop::error("ERR source and destination objects are the same");

/// The database that an argument names, of so many.
pub(crate) fn parse_db(text: &[u8], databases: usize) -> Result<DbId, Stop> {
    let index = format::parse_integer(text).ok_or(Stop::NOT_AN_INTEGER)?;
    let Ok(index) = i32::try_from(index) else {
        let text = format!("ERR value is out of range, value must between {} and {}", i32::MIN, i32::MAX);
        return Err(Stop::Error(text.into()));
    };
    let index = u8::try_from(index).ok().filter(|index| usize::from(*index) < databases);
    index.map(DbId).ok_or(Stop::error("ERR DB index is out of range"))
}

/// COPY's options.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct CopyOptions {
    /// Where to.
    pub db: DbId,
    pub replace: bool,
}

impl CopyOptions {
    /// Reads a COPY of a connection in database `db`, of so many.
    pub fn parse(args: Args<'_>, db: DbId, databases: usize) -> Result<Self, Stop> {
        let mut options = Self { db, replace: false };
        let mut rest = args.from(3).iter();
        while let Some(option) = rest.next() {
            if option.eq_ignore_ascii_case(b"REPLACE") {
                options.replace = true;
            } else if option.eq_ignore_ascii_case(b"DB")
                && let Some(index) = rest.next()
            {
                options.db = parse_db(index, databases)?;
            } else {
                return Err(Stop::SYNTAX);
            }
        }
        if options.db == db && args.at(1) == args.at(2) { Err(SAME) } else { Ok(options) }
    }
}

impl<D: Disk> Partition<D> {
    pub(super) fn rename(&mut self, request: Request<'_>, reply: &mut Reply<'_>) -> Result<(), Stop> {
        let only_new = request.id == CommandId::Renamenx;
        let (from, to) = (self.key(request.db, request.args.at(1)), self.key(request.db, request.args.at(2)));
        if self.lookup(from)?.live().is_none() {
            return Err(NO_SUCH_KEY);
        }
        // to its own name it is there already
        let is_there = self.lookup(to)?.live().is_some();
        if from.bytes != to.bytes && !(only_new && is_there) {
            self.transfer(from, to)?;
        }
        if only_new {
            reply.integer(i64::from(!is_there))
        } else {
            reply.ok()
        }
        Ok(())
    }

    pub(super) fn move_command(&mut self, request: Request<'_>, reply: &mut Reply<'_>) -> Result<(), Stop> {
        let db = self.physical(parse_db(request.args.at(2), self.limits.databases)?);
        if db == request.db {
            return Err(SAME);
        }
        let (from, to) = (self.key(request.db, request.args.at(1)), self.key(db, request.args.at(1)));
        let moves = self.lookup(from)?.live().is_some() && self.lookup(to)?.live().is_none();
        if moves {
            self.transfer(from, to)?;
        }
        reply.integer(i64::from(moves));
        Ok(())
    }

    /// Puts what a key holds under another name and takes the key away: both records are in one frame, so that a crash keeps
    /// both or none (law 6).
    fn transfer(&mut self, from: Key<'_>, to: Key<'_>) -> Result<(), Stop> {
        // looked up once more, as a lookup that removes an expired key moves others in the index
        let Some(found) = self.peek(from).live() else { unreachable!("it was there just now") };
        let held = self.held(from, found)?;
        let writes = self.writes(to, held);
        // a tombstone has at most 12 bytes beside its key
        let tombstone = from.bytes.len() as u64 + 12;
        #[allow(unused_mut)]
        let mut more = tombstone;
        #[cfg(any(test, feature = "sim"))]
        if plant::is(Plant::C6) {
            more = 0;
        }
        self.reserve_writes(to, &writes, more, Purpose::Grow)?;
        self.write_all(to, &writes);
        #[cfg(any(test, feature = "sim"))]
        if plant::is(Plant::C6) {
            self.log.end_turn(); // and with it the frame
            self.reserve(tombstone, Purpose::Shrink)?;
        }
        // and so does a put
        if let Some(found) = self.peek(from).live() {
            self.delete(from, found);
        }
        Ok(())
    }

    pub(super) fn copy(&mut self, request: Request<'_>, reply: &mut Reply<'_>) -> Result<(), Stop> {
        let options = CopyOptions::parse(request.args, self.logical(request.db), self.limits.databases)?;
        let to_db = self.physical(options.db);
        let (from, to) = (self.key(request.db, request.args.at(1)), self.key(to_db, request.args.at(2)));
        let is_there = self.lookup(from)?.live().is_some();
        if !is_there {
            self.note_miss(from);
        }
        let copies = is_there && (self.lookup(to)?.live().is_none() || options.replace);
        if copies {
            self.duplicate(from, to)?;
        }
        reply.integer(i64::from(copies));
        Ok(())
    }

    /// Puts what a key holds under another name too.
    fn duplicate(&mut self, from: Key<'_>, to: Key<'_>) -> Result<(), Stop> {
        let Some(found) = self.peek(from).live() else { unreachable!("it was there just now") };
        if let Value::Bytes(bytes) = self.value(found)
            && self.is_ahead(bytes.len())
        {
            let value = [Piece::Stored(found.address, 0..bytes.len())];
            let appended = self.append_ahead(to, &value, found.expires_at_ms, Some(found))?;
            let old = self.peek(to);
            self.put_ahead(to, appended, old);
            return Ok(());
        }
        let held = self.held(from, found)?;
        let writes = self.writes(to, held);
        self.reserve_writes(to, &writes, 0, Purpose::Grow)?;
        self.write_all(to, &writes);
        Ok(())
    }
}
