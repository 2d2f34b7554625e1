//! OBJECT and MEMORY USAGE: how a value is kept, in redis's words.

use emberkv_log::disk::Disk;
use emberkv_log::{Address, DbId, Value};
use emberkv_resp::schema::CommandId;
use emberkv_resp::{Reply, format};

use crate::collections::{Root, Whole};
use crate::group::Request;
use crate::lookup::text_len;
use crate::partition::Partition;
use crate::stop::Stop;

/// Redis keeps strings up to this length together with what it says of them.
const EMBEDDED_BYTES: usize = 44;

/// Redis has one object for each of the numbers below, which all keys share, and this is how often it says it is used.
const SHARED_NUMBERS: i64 = 10_000;
const SHARED: i64 = i32::MAX as i64;

impl<D: Disk> Partition<D> {
    /// Where the record of a key lies that a command has just been executed on.
    pub fn address_of(&self, db: DbId, key: &[u8]) -> Option<Address> {
        let key = self.key(self.databases.physical(db), key);
        self.peek(key).live().map(|found| found.address)
    }

    /// `MEMORY USAGE key [SAMPLES count]`: a string is looked at as a whole, however many samples are asked for.
    pub(super) fn memory_usage(&mut self, request: Request<'_>, reply: &mut Reply<'_>) -> Result<(), Stop> {
        let args = request.args;
        let mut at = 3;
        while let Some(option) = args.get(at) {
            let Some(count) = args.get(at + 1).filter(|_| option.eq_ignore_ascii_case(b"samples")) else {
                return Err(Stop::SYNTAX);
            };
            if format::parse_integer(count).ok_or(Stop::NOT_AN_INTEGER)? < 0 {
                return Err(Stop::SYNTAX);
            }
            at += 2;
        }
        let key = self.key(request.db, args.at(2));
        match self.lookup(key)?.live() {
            Some(found) => reply.integer(self.memory_of(found) as i64),
            None => reply.null(),
        }
        Ok(())
    }

    pub(super) fn object(&mut self, request: Request<'_>, reply: &mut Reply<'_>) -> Result<(), Stop> {
        let key = self.key(request.db, request.args.at(2));
        let lookup = self.lookup(key)?;
        self.count_unsaid(lookup);
        let Some(found) = lookup.live() else {
            reply.null();
            return Ok(());
        };
        let value = self.value(found);
        match request.id {
            CommandId::ObjectEncoding => reply.bulk(match value {
                Value::Whole(bytes) => Whole::read(bytes).head.encoding_name().as_bytes(),
                Value::Root(bytes) => Root::read(bytes).head.encoding_name().as_bytes(),
                Value::Int(_) => b"int",
                other if text_len(other) <= EMBEDDED_BYTES => b"embstr",
                _ => b"raw",
            }),
            CommandId::ObjectRefcount => reply.integer(match value {
                Value::Int(0..SHARED_NUMBERS) => SHARED,
                _ => 1,
            }),
            CommandId::ObjectIdletime if self.counts_reads() => {
                return Err(Stop::error(
                    "ERR An LFU maxmemory policy is selected, idle time not tracked. Please note that when switching \
                     between policies at runtime LRU and LFU data will take some time to adjust.",
                ));
            }
            // when a key was asked for is not kept
            CommandId::ObjectIdletime => reply.integer(0),
            _ => {
                if let Some(frequency) = self.frequency(key, found) {
                    reply.integer(frequency.into());
                    return Ok(());
                }
                return Err(Stop::error(
                    "ERR An LFU maxmemory policy is not selected, access frequency not tracked. Please note that when \
                     switching between policies at runtime LRU and LFU data will take some time to adjust.",
                ));
            }
        }
        Ok(())
    }
}
