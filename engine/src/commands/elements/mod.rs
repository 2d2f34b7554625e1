//! What commands on collections of several types have in common: each names its own, and what an element says is a matter of the command.

mod scan;

use emberkv_log::disk::Disk;
use emberkv_log::{Purpose, Value};
use emberkv_resp::Reply;
use emberkv_resp::schema::CommandId;

use crate::collections::{Type, Wanted, Whole};
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

/// What a command says of what there is under an element.
fn answer(id: CommandId, value: Option<&[u8]>, reply: &mut Reply<'_>) {
    match id {
        CommandId::Hget | CommandId::Hmget => optional(reply, value),
        CommandId::Hstrlen => reply.integer(value.map_or(0, <[u8]>::len) as i64),
        _ => reply.integer(i64::from(value.is_some())),
    }
}

/// Commands on one element, or on how many there are, out of another core's memory: of what is whole. Returns whether it has replied.
pub(super) fn direct(request: Request<'_>, value: Option<Value<'_>>, now_ms: u64, reply: &mut Reply<'_>) -> bool {
    let Request { id, args, .. } = request;
    let kind = if matches!(id, CommandId::Scard | CommandId::Sismember) { Type::Set } else { Type::Hash };
    let whole = match value {
        None => None,
        Some(Value::Whole(bytes)) => match Whole::read(bytes) {
            // what has expired of it the owner removes first
            whole if whole.head.kind == kind && !whole.head.is_due(now_ms) => Some(whole),
            _ => return false,
        },
        Some(_) => return false,
    };
    if matches!(id, CommandId::Hlen | CommandId::Scard) {
        reply.integer(whole.map_or(0, |whole| whole.head.count) as i64);
    } else {
        answer(id, whole.and_then(|whole| whole.pairs().of(args.at(2))).map(|pair| pair.value), reply);
    }
    true
}

impl<D: Disk> Partition<D> {
    /// A collection that a command reads; counted as a hit or a miss.
    pub(super) fn read_collection<'a>(
        &mut self,
        request: Request<'a>,
        kind: Type,
    ) -> Result<(Key<'a>, Option<Found>), Stop> {
        let key = self.key(request.db, request.args.at(1));
        let lookup = self.lookup_of(kind, key)?;
        self.count_read(key, lookup);
        Ok((key, lookup.live()))
    }

    /// HGET, HSTRLEN, HEXISTS, SISMEMBER.
    pub(super) fn ask_element(&mut self, request: Request<'_>, kind: Type, reply: &mut Reply<'_>) -> Result<(), Stop> {
        let (key, found) = self.read_collection(request, kind)?;
        match found {
            Some(found) => self.element(key, found, request.args.at(2), |value| answer(request.id, value, reply)),
            None => {
                answer(request.id, None, reply);
                Ok(())
            }
        }
    }

    /// HMGET, SMISMEMBER.
    pub(super) fn ask_elements(&mut self, request: Request<'_>, kind: Type, reply: &mut Reply<'_>) -> Result<(), Stop> {
        let (key, found) = self.read_collection(request, kind)?;
        let elements = request.args.from(2);
        if let Some(root) = found.and_then(|found| self.root(found)) {
            // all of them are here before any is replied
            self.bring_elements(key, root, elements.iter())?;
        }
        reply.array(elements.len());
        for element in elements.iter() {
            match found {
                Some(found) => self.element(key, found, element, |value| answer(request.id, value, reply))?,
                None => answer(request.id, None, reply),
            }
        }
        Ok(())
    }

    /// HLEN, SCARD.
    pub(super) fn count_elements(
        &mut self,
        request: Request<'_>,
        kind: Type,
        reply: &mut Reply<'_>,
    ) -> Result<(), Stop> {
        let (_, found) = self.read_collection(request, kind)?;
        let head = found.and_then(|found| self.head(found));
        reply.integer(head.map_or(0, |head| head.count) as i64);
        Ok(())
    }

    /// HRANDFIELD, SRANDMEMBER without a count.
    pub(super) fn random_element(
        &mut self,
        request: Request<'_>,
        kind: Type,
        reply: &mut Reply<'_>,
    ) -> Result<(), Stop> {
        let (key, found) = self.read_collection(request, kind)?;
        match found {
            Some(found) => {
                let drawn = self.random_elements(key, found, Wanted { count: 1, repeats: true, values: false })?;
                optional(reply, drawn.iter().next());
            }
            None => reply.null(),
        }
        Ok(())
    }

    /// HDEL, SREM.
    pub(super) fn remove_elements(
        &mut self,
        request: Request<'_>,
        kind: Type,
        reply: &mut Reply<'_>,
    ) -> Result<(), Stop> {
        let key = self.key(request.db, request.args.at(1));
        let Some(found) = self.lookup_of(kind, key)?.live() else {
            reply.integer(0);
            return Ok(());
        };
        if let Some(root) = self.root(found) {
            self.bring_elements(key, root, request.args.from(2).iter())?;
        }
        let mut draft = self.draft(kind, Some(found));
        let mut removed = 0;
        for element in request.args.from(2).iter() {
            removed += i64::from(self.draft_remove(key, &mut draft, element)?);
        }
        // what stays is written anew: also while memory is short
        self.commit(key, draft, Purpose::Keep)?;
        reply.integer(removed);
        Ok(())
    }
}
