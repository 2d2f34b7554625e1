//! Walking over keys: SCAN, KEYS, RANDOMKEY.

use emberkv_index::ScanCursor;
use emberkv_log::disk::Disk;
use emberkv_log::{Address, DbId};
use emberkv_resp::{Args, Reply, format, glob};

use crate::group::Request;
use crate::partition::Partition;
use crate::stop::Stop;
use crate::transact::ScanPlace;

/// How often RANDOMKEY draws before it walks: most keys may be another database's, or expired.
const DRAWS: usize = 64;

/// How many entries one SCAN looks at when few of them are of its database, so that a small database beside a large one is not
/// scanned in as many steps as the large one: at a cache miss each this is some 0.2 ms.
const SCAN_LOOKS: usize = 2048;

/// SCAN's options.
#[derive(Debug)]
struct Options<'a> {
    pattern: Option<&'a [u8]>,
    count: usize,
    /// Only keys of this type; all there are are strings.
    strings: bool,
}

impl<'a> Options<'a> {
    fn parse(args: Args<'a>) -> Result<Self, Stop> {
        let mut options = Self { pattern: None, count: 10, strings: true };
        let mut i = 0;
        while let Some(name) = args.get(i) {
            let Some(value) = args.get(i + 1) else { return Err(Stop::SYNTAX) };
            if name.eq_ignore_ascii_case(b"COUNT") {
                let count = format::parse_integer(value).ok_or(Stop::NOT_AN_INTEGER)?;
                options.count = usize::try_from(count).ok().filter(|count| *count > 0).ok_or(Stop::SYNTAX)?;
            } else if name.eq_ignore_ascii_case(b"MATCH") {
                options.pattern = (value != b"*").then_some(value);
            } else if name.eq_ignore_ascii_case(b"TYPE") {
                options.strings = value.eq_ignore_ascii_case(b"string");
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
        (record.db() == db && !expired && !below).then(|| record.key())
    }

    /// SCAN's cursor is a place in hash order: see [`emberkv_index::ScanCursor`].
    pub(super) fn scan(&mut self, request: Request<'_>, reply: &mut Reply<'_>) -> Result<(), Stop> {
        let place = ScanPlace::parse(request.args.at(1)).ok_or(Stop::error("ERR invalid cursor"))?;
        let options = Options::parse(request.args.from(2))?;
        self.note_all()?;
        let mut keys = Vec::new();
        let partition = self.log.partition();
        let from = ScanCursor::from_raw(if place.is_beyond(partition) { u32::MAX } else { place.raw });
        let (mut next, mut looked, mut seen) = (Some(from), 0, 0);
        while let Some(cursor) = next
            && seen < options.count
            && looked < options.count.max(SCAN_LOOKS)
        {
            next = self.index.scan(cursor, options.count - seen, |_, address| {
                looked += 1;
                let Some(key) = self.live_key(request.db, address) else { return };
                seen += 1;
                if options.strings && options.pattern.is_none_or(|pattern| glob::matches(pattern, key)) {
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

    pub(super) fn keys(&mut self, request: Request<'_>, reply: &mut Reply<'_>) -> Result<(), Stop> {
        self.note_all()?;
        let mut keys = Vec::new();
        self.matching_keys(request.db, request.args.at(1), |key| keys.push(key));
        reply.array(keys.len());
        keys.iter().for_each(|key| reply.bulk(key));
        Ok(())
    }

    /// Calls `found` with each key of the database that matches a pattern.
    pub(crate) fn matching_keys<'a>(&'a self, db: DbId, pattern: &[u8], mut found: impl FnMut(&'a [u8])) {
        self.index.scan(ScanCursor::START, usize::MAX, |_, address| {
            if let Some(key) = self.live_key(db, address)
                && (pattern == b"*" || glob::matches(pattern, key))
            {
                found(key);
            }
        });
    }

    /// A key of the database at random; `None` if there is none.
    pub(crate) fn random_key(&mut self, db: DbId) -> Option<Vec<u8>> {
        if self.dbs[usize::from(db.0)].keys == 0 {
            return None;
        }
        for _ in 0..DRAWS {
            let random = self.next_random();
            if let Some(key) = self.index.sample(random).and_then(|address| self.live_key(db, address)) {
                return Some(key.to_vec());
            }
        }
        let start = ScanCursor::from_raw((self.next_random() >> 40) as u32);
        self.first_key(db, start).or_else(|| self.first_key(db, ScanCursor::START))
    }

    fn first_key(&self, db: DbId, start: ScanCursor) -> Option<Vec<u8>> {
        let mut next = Some(start);
        while let Some(cursor) = next {
            let mut found = None;
            next = self.index.scan(cursor, 1024, |_, address| {
                found = found.or_else(|| self.live_key(db, address));
            });
            if let Some(key) = found {
                return Some(key.to_vec());
            }
        }
        None
    }
}
