//! Walking over keys: SCAN, KEYS, RANDOMKEY.

use emberkv_index::ScanCursor;
use emberkv_log::disk::Disk;
use emberkv_log::{Address, DbId, Whose};
use emberkv_resp::{Args, Reply, format, glob};

use crate::cold::COLD_STEP;
use crate::collections::type_name;
use crate::group::Request;
use crate::partition::Partition;
use crate::stop::Stop;
use crate::transact::{ScanPlace, Strings};

/// How often RANDOMKEY draws before it walks: most keys may be another database's, or expired.
const DRAWS: usize = 64;

/// How many entries one SCAN looks at when few of them are of its database, so that a small database beside a large one is not
/// scanned in as many steps as the large one: at a cache miss each this is some 0.2 ms.
const SCAN_LOOKS: usize = 2048;

/// A walk that nobody has asked about for so long is given up: its client has gone.
const FORGOTTEN_MS: u64 = 60_000;

/// How far a search for keys has come, and what it has found.
#[derive(Debug)]
pub(crate) struct Walk {
    next: Option<ScanCursor>,
    pub keys: Strings,
}

impl Default for Walk {
    fn default() -> Self {
        Self { next: Some(ScanCursor::START), keys: Strings::default() }
    }
}

/// A KEYS that waits for records which are not in memory.
#[derive(Debug)]
pub(crate) struct BegunWalk {
    whose: Whose,
    db: DbId,
    walk: Walk,
    seen_ms: u64,
}

/// SCAN's options.
#[derive(Debug)]
struct Options<'a> {
    pattern: Option<&'a [u8]>,
    count: usize,
    /// Only keys of this type.
    kind: Option<&'a [u8]>,
}

impl<'a> Options<'a> {
    fn parse(args: Args<'a>) -> Result<Self, Stop> {
        let mut options = Self { pattern: None, count: 10, kind: None };
        let mut i = 0;
        while let Some(name) = args.get(i) {
            let Some(value) = args.get(i + 1) else { return Err(Stop::SYNTAX) };
            if name.eq_ignore_ascii_case(b"COUNT") {
                let count = format::parse_integer(value).ok_or(Stop::NOT_AN_INTEGER)?;
                options.count = usize::try_from(count).ok().filter(|count| *count > 0).ok_or(Stop::SYNTAX)?;
            } else if name.eq_ignore_ascii_case(b"MATCH") {
                options.pattern = (value != b"*").then_some(value);
            } else if name.eq_ignore_ascii_case(b"TYPE") {
                options.kind = Some(value);
            } else {
                return Err(Stop::SYNTAX);
            }
            i += 2;
        }
        Ok(options)
    }
}

impl<D: Disk> Partition<D> {
    /// The key at an address, if it exists in this database.
    fn live_key(&self, db: DbId, address: Address) -> Option<&[u8]> {
        let record = self.log.table().record(address);
        let expired = record.expires_at_ms().is_some_and(|ms| ms <= self.now_ms);
        let below = self.log.table().position(address) < self.floors[usize::from(db.0)];
        let is_hidden = || self.overlay.as_ref().is_some_and(|overlay| !overlay.shows(db, record.key()));
        (record.db() == db && !expired && !below && !is_hidden()).then(|| record.key())
    }

    /// SCAN's cursor is a place in hash order: see [`emberkv_index::ScanCursor`].
    pub(super) fn scan(&mut self, request: Request<'_>, reply: &mut Reply<'_>) -> Result<(), Stop> {
        let place = ScanPlace::parse(request.args.at(1)).ok_or(Stop::error("ERR invalid cursor"))?;
        let options = Options::parse(request.args.from(2))?;
        self.note_all()?;
        let mut keys = Strings::default();
        let partition = self.log.partition();
        let from = ScanCursor::from_raw(if place.is_beyond(partition) { u32::MAX } else { place.raw });
        let (mut next, mut looked, mut seen) = (Some(from), 0, 0);
        while let Some(cursor) = next
            && seen < options.count
            && looked < options.count.max(SCAN_LOOKS)
        {
            let step = self.walk_step(options.count - seen);
            if let Some(missing) = self.bring_walk(cursor, step)? {
                // what it has found so far is an answer
                if looked > 0 {
                    break;
                }
                return Err(Stop::Cold(missing));
            }
            next = self.index.scan(cursor, step, |_, address| {
                looked += 1;
                let Some(key) = self.live_key(request.db, address) else { return };
                seen += 1;
                let name = || type_name(self.log.table().record(address).value()).as_bytes();
                let is_kind = options.kind.is_none_or(|kind| kind.eq_ignore_ascii_case(name()));
                if is_kind && options.pattern.is_none_or(|pattern| glob::matches(pattern, key)) {
                    keys.push(key);
                }
            });
        }
        reply.array(2);
        let next = ScanPlace::following(partition, next.map(ScanCursor::raw), self.partitions);
        reply.bulk_integer(next as i64);
        reply.array(keys.len());
        keys.iter().for_each(|key| reply.bulk(key));
        Ok(())
    }

    /// How many entries a walk takes at a time: few, if their records are to be here all at once.
    fn walk_step(&self, wanted: usize) -> usize {
        if self.log.table().has_cold() { wanted.min(COLD_STEP) } else { wanted }
    }

    /// Brings what a walk looks at next; one of the records that are not here yet.
    fn bring_walk(&mut self, cursor: ScanCursor, step: usize) -> Result<Option<Address>, Stop> {
        if !self.log.table().has_cold() {
            return Ok(None);
        }
        self.bring_step(cursor, step, |_, _| true)
    }

    pub(super) fn keys(&mut self, request: Request<'_>, reply: &mut Reply<'_>) -> Result<(), Stop> {
        self.note_all()?;
        // only if it has to wait on its way is there one that was begun
        let begun = self.walks.iter().position(|begun| begun.whose == request.whose && begun.db == request.db);
        let mut walk = begun.map_or_else(Walk::default, |i| self.walks.swap_remove(i).walk);
        match self.walk_on(request.db, request.args.at(1), &mut walk) {
            Ok(()) => {}
            Err(stop) => {
                let (now_ms, whose) = (self.now_ms, request.whose);
                self.walks.retain(|begun| now_ms.saturating_sub(begun.seen_ms) < FORGOTTEN_MS);
                if let Stop::Cold(_) = stop {
                    self.walks.push(BegunWalk { whose, db: request.db, walk, seen_ms: now_ms });
                }
                return Err(stop);
            }
        }
        reply.array(walk.keys.len());
        walk.keys.iter().for_each(|key| reply.bulk(key));
        Ok(())
    }

    /// Finds keys of the database that match a pattern, from where the walk has come to: all of them, or until it has to
    /// wait.
    pub(crate) fn walk_on(&mut self, db: DbId, pattern: &[u8], walk: &mut Walk) -> Result<(), Stop> {
        while let Some(cursor) = walk.next {
            let step = self.walk_step(usize::MAX);
            if let Some(missing) = self.bring_walk(cursor, step)? {
                return Err(Stop::Cold(missing));
            }
            walk.next = self.index.scan(cursor, step, |_, address| {
                if let Some(key) = self.live_key(db, address)
                    && (pattern == b"*" || glob::matches(pattern, key))
                {
                    walk.keys.push(key);
                }
            });
        }
        let mut keys = std::mem::take(&mut walk.keys);
        self.new_keys(db, pattern).into_iter().for_each(|key| keys.push(key));
        walk.keys = keys;
        Ok(())
    }

    /// A key of the database at random; `None` if there is none.
    pub(crate) fn random_key(&mut self, db: DbId) -> Result<Option<Vec<u8>>, Stop> {
        let before = self.random;
        let drawn = self.draw_key(db);
        if let Err(Stop::Cold(_)) = drawn {
            self.random = before; // it draws the same when that has come
        }
        drawn
    }

    fn draw_key(&mut self, db: DbId) -> Result<Option<Vec<u8>>, Stop> {
        let count = self.key_count(db);
        if count == 0 {
            return Ok(None);
        }
        if self.overlay.is_some() {
            let at = self.next_random() % count;
            let new = self.new_keys(db, b"*").get(usize::try_from(at).unwrap_or(usize::MAX)).map(|key| key.to_vec());
            if new.is_some() {
                return Ok(new);
            }
        }
        for _ in 0..DRAWS {
            let random = self.next_random();
            let Some(address) = self.index.sample(random) else { continue };
            if !self.bring(address)? {
                return Err(Stop::Cold(address));
            }
            if let Some(key) = self.live_key(db, address) {
                return Ok(Some(key.to_vec()));
            }
        }
        let start = ScanCursor::from_raw((self.next_random() >> 40) as u32);
        match self.first_key(db, start)? {
            Some(key) => Ok(Some(key)),
            None => self.first_key(db, ScanCursor::START),
        }
    }

    fn first_key(&mut self, db: DbId, start: ScanCursor) -> Result<Option<Vec<u8>>, Stop> {
        let mut next = Some(start);
        while let Some(cursor) = next {
            let step = self.walk_step(1024);
            if let Some(missing) = self.bring_walk(cursor, step)? {
                return Err(Stop::Cold(missing));
            }
            let mut found = None;
            next = self.index.scan(cursor, step, |_, address| {
                found = found.or_else(|| self.live_key(db, address));
            });
            if let Some(key) = found {
                return Ok(Some(key.to_vec()));
            }
        }
        Ok(None)
    }
}
