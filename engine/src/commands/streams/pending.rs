//! XACK, XPENDING: what has been delivered and is not done yet.

use std::collections::HashMap;

use emberkv_log::Purpose;
use emberkv_log::disk::Disk;
use emberkv_resp::{Args, Reply, format};

use super::ids::{parse, parse_end, parse_start};
use super::{no_group, reply_id};
use crate::collections::{Pending, StreamId};
use crate::group::Request;
use crate::partition::Partition;
use crate::stop::Stop;

/// So many rows are looked at at a time, where some may not be wanted.
const STEP: u64 = 100;

/// Which pending entries are asked for, one by one.
#[derive(Clone, Copy, Debug)]
struct Range<'a> {
    ids: (StreamId, StreamId),
    limit: u64,
    idle_ms: u64,
    consumer: Option<&'a [u8]>,
}

impl<'a> Range<'a> {
    fn parse(args: Args<'a>) -> Result<Option<Self>, Stop> {
        if args.len() == 3 {
            return Ok(None);
        }
        if !(6..=9).contains(&args.len()) {
            return Err(Stop::SYNTAX);
        }
        let integer = |at: usize| format::parse_integer(args.at(at)).ok_or(Stop::NOT_AN_INTEGER);
        let (mut at, mut idle_ms) = (3, 0);
        if args.at(3).eq_ignore_ascii_case(b"IDLE") {
            idle_ms = u64::try_from(integer(4)?).unwrap_or(0);
            if args.len() < 8 {
                return Err(Stop::SYNTAX);
            }
            at = 5;
        }
        let limit = u64::try_from(integer(at + 2)?).unwrap_or(0);
        let ids = (parse_start(args.at(at))?, parse_end(args.at(at + 1))?);
        Ok(Some(Self { ids, limit, idle_ms, consumer: args.get(at + 3) }))
    }
}

impl<D: Disk> Partition<D> {
    pub(in crate::commands) fn xack(&mut self, request: Request<'_>, reply: &mut Reply<'_>) -> Result<(), Stop> {
        let (key, Some((mut draft, group))) = self.with_group(request)? else {
            reply.integer(0);
            return Ok(());
        };
        let ids = request.args.from(3).iter().map(|id| parse(id, 0)).collect::<Result<Vec<_>, _>>()?;
        let nodes = &mut self.nodes(key, draft.id);
        let mut done = 0;
        for id in ids {
            if let Some(pending) = draft.pending(nodes, group.number, id)? {
                draft.remove_pending(nodes, group.number, pending)?;
                done += 1;
            }
        }
        if done > 0 {
            self.name_aside(None);
            self.stream_commit(key, draft, Purpose::Shrink)?;
        }
        reply.integer(done);
        Ok(())
    }

    pub(in crate::commands) fn xpending(&mut self, request: Request<'_>, reply: &mut Reply<'_>) -> Result<(), Stop> {
        let args = request.args;
        let range = Range::parse(args)?;
        let (key, Some((mut draft, group))) = self.with_group(request)? else {
            return Err(no_group(args.at(1), args.at(2)));
        };
        let (number, now_ms) = (group.number, self.now_ms);
        let nodes = &mut self.nodes(key, draft.id);
        let Some(Range { ids, limit, idle_ms, consumer }) = range else {
            let count = draft.pending_count(nodes, number)?;
            let edges = (draft.pending_edge(nodes, number, false)?, draft.pending_edge(nodes, number, true)?);
            let mut owners = Vec::new();
            for consumer in draft.consumers(nodes, number)? {
                let owned = draft.owned_count(nodes, number, consumer.number)?;
                owners.extend((owned > 0).then_some((consumer.name, owned)));
            }
            reply.array(4);
            reply.integer(count as i64);
            let (Some(first), Some(last)) = edges else {
                reply.null();
                reply.null();
                reply.null_array();
                return Ok(());
            };
            reply_id(first, reply);
            reply_id(last, reply);
            reply.array(owners.len());
            for (name, owned) in owners {
                reply.array(2);
                reply.bulk(&name);
                reply.bulk_integer(owned as i64);
            }
            return Ok(());
        };
        let mut names = HashMap::new();
        let mut owner = None;
        match consumer {
            Some(name) => match draft.consumer(nodes, number, name)? {
                Some(consumer) => {
                    owner = Some(consumer.number);
                    names.insert(consumer.number, consumer.name);
                }
                None => {
                    reply.array(0);
                    return Ok(());
                }
            },
            None => {
                let consumers = draft.consumers(nodes, number)?;
                names.extend(consumers.into_iter().map(|consumer| (consumer.number, consumer.name)));
            }
        }
        let idle_of = |pending: &Pending| now_ms.saturating_sub(pending.delivered_ms);
        let mut found = Vec::new();
        let mut next = Some(ids.0);
        while let Some(from) = next
            && (found.len() as u64) < limit
        {
            let (wanted, step) = (limit - found.len() as u64, if idle_ms > 0 { STEP } else { limit });
            let some = match owner {
                Some(owner) => {
                    let mut some = Vec::new();
                    for id in draft.owned(nodes, number, owner, (from, ids.1), step)? {
                        some.extend(draft.pending(nodes, number, id)?);
                    }
                    some
                }
                None => draft.each_pending(nodes, number, (from, ids.1), step)?,
            };
            next = some.last().filter(|_| some.len() as u64 == step).and_then(|last| last.id.next());
            let is_idle = |pending: &Pending| idle_ms == 0 || idle_of(pending) >= idle_ms;
            found.extend(some.into_iter().filter(is_idle).take(usize::try_from(wanted).unwrap_or(usize::MAX)));
        }
        reply.array(found.len());
        for pending in found {
            reply.array(4);
            reply_id(pending.id, reply);
            reply.bulk(names.get(&pending.consumer).map_or(&[], Vec::as_slice));
            reply.integer(idle_of(&pending) as i64);
            reply.integer(pending.deliveries as i64);
        }
        Ok(())
    }
}
