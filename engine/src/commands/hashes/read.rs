//! What a hash holds.

use emberkv_log::Value;
use emberkv_log::disk::Disk;
use emberkv_resp::schema::CommandId;
use emberkv_resp::{Args, Reply};

use crate::collections::{Type, Whole};
use crate::group::Request;
use crate::lookup::{Found, Key};
use crate::partition::Partition;
use crate::stop::Stop;

fn optional(reply: &mut Reply<'_>, value: Option<&[u8]>) {
    match value {
        Some(value) => reply.bulk(value),
        None => reply.null(),
    }
}

/// What HGET, HSTRLEN, HEXISTS say of a field.
fn answer(id: CommandId, value: Option<&[u8]>, reply: &mut Reply<'_>) {
    match id {
        CommandId::Hget => optional(reply, value),
        CommandId::Hstrlen => reply.integer(value.map_or(0, <[u8]>::len) as i64),
        _ => reply.integer(i64::from(value.is_some())),
    }
}

/// The same commands, and HLEN, out of another core's memory: of what is whole. Returns whether it has replied.
pub(in crate::commands) fn direct(
    id: CommandId,
    args: Args<'_>,
    value: Option<Value<'_>>,
    reply: &mut Reply<'_>,
) -> bool {
    let whole = match value {
        None => None,
        Some(Value::Whole(bytes)) => match Whole::read(bytes) {
            whole if whole.head.kind == Type::Hash => Some(whole),
            _ => return false,
        },
        Some(_) => return false,
    };
    if id == CommandId::Hlen {
        reply.integer(whole.map_or(0, |whole| whole.head.count) as i64);
    } else {
        answer(id, whole.and_then(|whole| whole.pairs().of(args.at(2))).map(|pair| pair.value), reply);
    }
    true
}

impl<D: Disk> Partition<D> {
    /// A hash that a command reads; counted as a hit or a miss.
    pub(super) fn read_hash<'a>(&mut self, request: Request<'a>) -> Result<(Key<'a>, Option<Found>), Stop> {
        let key = self.key(request.db, request.args.at(1));
        let lookup = self.lookup_hash(key)?;
        self.count_read(key, lookup);
        Ok((key, lookup.live()))
    }

    /// HGET, HSTRLEN, HEXISTS.
    pub(in crate::commands) fn hget(&mut self, request: Request<'_>, reply: &mut Reply<'_>) -> Result<(), Stop> {
        let (key, found) = self.read_hash(request)?;
        match found {
            Some(found) => self.element(key, found, request.args.at(2), |value| answer(request.id, value, reply)),
            None => {
                answer(request.id, None, reply);
                Ok(())
            }
        }
    }

    pub(in crate::commands) fn hmget(&mut self, request: Request<'_>, reply: &mut Reply<'_>) -> Result<(), Stop> {
        let (key, found) = self.read_hash(request)?;
        let fields = request.args.from(2);
        if let Some(root) = found.and_then(|found| self.root(found)) {
            // all of them are here before any is replied
            self.bring_elements(key, root, fields.iter())?;
        }
        reply.array(fields.len());
        for field in fields.iter() {
            match found {
                Some(found) => self.element(key, found, field, |value| optional(reply, value))?,
                None => reply.null(),
            }
        }
        Ok(())
    }

    pub(in crate::commands) fn hlen(&mut self, request: Request<'_>, reply: &mut Reply<'_>) -> Result<(), Stop> {
        let (_, found) = self.read_hash(request)?;
        let head = found.and_then(|found| self.head(found));
        reply.integer(head.map_or(0, |head| head.count) as i64);
        Ok(())
    }

    /// HGETALL, HKEYS, HVALS.
    pub(in crate::commands) fn hgetall(&mut self, request: Request<'_>, reply: &mut Reply<'_>) -> Result<(), Stop> {
        let (fields, values) = (request.id != CommandId::Hvals, request.id != CommandId::Hkeys);
        let (key, found) = self.read_hash(request)?;
        let count = found.and_then(|found| self.head(found)).map_or(0, |head| head.count as usize);
        let mut begin =
            Some(|reply: &mut Reply<'_>| if fields && values { reply.map(count) } else { reply.array(count) });
        if let Some(found) = found {
            self.each_pair(key, found, |pair| {
                if let Some(begin) = begin.take() {
                    begin(reply);
                }
                if fields {
                    reply.bulk(pair.field);
                }
                if values {
                    reply.bulk(pair.value);
                }
            })?;
        }
        if let Some(begin) = begin {
            begin(reply); // there is none
        }
        Ok(())
    }
}
