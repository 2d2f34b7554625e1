//! XCLAIM, XAUTOCLAIM: pending entries become another consumer's.

use emberkv_log::Purpose;
use emberkv_log::disk::Disk;
use emberkv_resp::{Args, Output, Reply, format};

use super::ids::{parse, parse_start};
use super::{no_group, reply_entry, reply_id};
use crate::collections::{Consumer, Elements, Group, Pending, Source, StreamDraft, StreamId};
use crate::group::Request;
use crate::lookup::Key;
use crate::partition::Partition;
use crate::stop::Stop;

/// XAUTOCLAIM looks at so many times as many entries as it is to claim.
const ATTEMPTS: u64 = 10;
/// So many are looked at at a time.
const STEP: u64 = 100;
/// More than that is refused: redis has no memory for it. (Up to what is refused as too many it would take some petabytes.)
const MAX_COUNT: i64 = 1 << 40;

/// How entries are claimed.
#[derive(Clone, Copy, Debug)]
struct Terms {
    min_idle_ms: u64,
    delivered_ms: u64,
    /// How often it has been delivered, from now on.
    deliveries: Option<u64>,
    /// Also what is not pending.
    force: bool,
    /// Only the ids are replied, and it counts as no delivery.
    just_id: bool,
}

/// What has become of an entry.
enum Claimed {
    /// It stays as it is.
    Not,
    /// It is there no more, and not pending any more.
    Gone,
    Now,
}

/// XCLAIM's arguments.
struct Options {
    ids: Vec<StreamId>,
    terms: Terms,
    last: StreamId,
}

impl Options {
    fn parse(args: Args<'_>, now_ms: u64) -> Result<Self, Stop> {
        let integer = |at: usize, what: &str| {
            let text = || Stop::Error(format!("ERR Invalid {what} argument for XCLAIM").into());
            format::parse_integer(args.at(at)).ok_or_else(text)
        };
        let min_idle_ms = u64::try_from(integer(4, "min-idle-time")?).unwrap_or(0);
        let ids: Vec<_> = args.from(5).iter().map_while(|id| parse(id, 0).ok()).collect();
        let mut delivered = now_ms as i64;
        let (mut deliveries, mut force, mut just_id, mut last) = (None, false, false, StreamId::MIN);
        let mut i = 5 + ids.len();
        while i < args.len() {
            let more = i + 1 < args.len();
            let is = |name: &str| args.at(i).eq_ignore_ascii_case(name.as_bytes());
            if is("FORCE") {
                force = true;
            } else if is("JUSTID") {
                just_id = true;
            } else if is("IDLE") && more {
                i += 1;
                delivered = (now_ms as i64).wrapping_sub(integer(i, "IDLE option")?);
            } else if is("TIME") && more {
                i += 1;
                delivered = integer(i, "TIME option")?;
            } else if is("RETRYCOUNT") && more {
                i += 1;
                deliveries = u64::try_from(integer(i, "RETRYCOUNT option")?).ok();
            } else if is("LASTID") && more {
                i += 1;
                last = parse(args.at(i), 0)?;
            } else {
                let option = String::from_utf8_lossy(args.at(i));
                return Err(Stop::Error(format!("ERR Unrecognized XCLAIM option '{option}'").into()));
            }
            i += 1;
        }
        // a time that can't be is now
        let delivered_ms = u64::try_from(delivered).ok().filter(|ms| *ms <= now_ms).unwrap_or(now_ms);
        Ok(Self { ids, terms: Terms { min_idle_ms, delivered_ms, deliveries, force, just_id }, last })
    }
}

/// A stream with what is claimed in it.
struct Claims<'a> {
    draft: StreamDraft,
    group: Group,
    consumer: Consumer,
    is_new_consumer: bool,
    terms: Terms,
    now_ms: u64,
    key: Key<'a>,
}

impl Claims<'_> {
    fn begin<'a>(
        nodes: &mut impl Source,
        (mut draft, group): (StreamDraft, Group),
        (key, name): (Key<'a>, &[u8]),
        terms: Terms,
        now_ms: u64,
    ) -> Result<Claims<'a>, Stop> {
        let consumer = draft.consumer(nodes, group.number, name)?;
        let is_new_consumer = consumer.is_none();
        let mut consumer = match consumer {
            Some(consumer) => consumer,
            None => draft.new_consumer(name, now_ms)?,
        };
        consumer.seen_ms = now_ms;
        Ok(Claims { draft, group, consumer, is_new_consumer, terms, now_ms, key })
    }

    /// Claims one entry, and writes what is replied of it.
    fn claim(
        &mut self,
        nodes: &mut impl Source,
        id: StreamId,
        pending: Option<Pending>,
        reply: &mut Reply<'_>,
    ) -> Result<Claimed, Stop> {
        let (group, Terms { min_idle_ms, delivered_ms, deliveries, force, just_id }) = (self.group.number, self.terms);
        let Some(fields) = self.draft.entry(nodes, id)? else {
            if let Some(pending) = pending {
                self.draft.remove_pending(nodes, group, pending)?;
            }
            return Ok(Claimed::Gone);
        };
        let is_idle = |pending: &Pending| self.now_ms.saturating_sub(pending.delivered_ms) >= min_idle_ms;
        if pending.as_ref().map_or(!force, |pending| min_idle_ms > 0 && !is_idle(pending)) {
            return Ok(Claimed::Not);
        }
        let before = pending.as_ref().map_or(1, |pending| pending.deliveries);
        let deliveries = deliveries.unwrap_or(before.saturating_add(u64::from(!just_id)));
        let claimed = Pending { id, consumer: self.consumer.number, delivered_ms, deliveries };
        self.draft.set_pending(nodes, group, claimed, pending.map(|pending| pending.consumer))?;
        self.consumer.active_ms = Some(self.now_ms);
        if just_id {
            reply_id(id, reply);
        } else {
            reply_entry(id, Elements::of(&fields), reply);
        }
        Ok(Claimed::Now)
    }
}

impl<D: Disk> Partition<D> {
    fn commit_claims(&mut self, mut claims: Claims<'_>) -> Result<(), Stop> {
        let (key, id, group) = (claims.key, claims.draft.id, claims.group.number);
        claims.draft.set_consumer(&mut self.nodes(key, id), group, &claims.consumer)?;
        self.name_aside(claims.is_new_consumer.then_some("xgroup-createconsumer"));
        self.stream_commit(key, claims.draft, Purpose::Grow)
    }

    pub(in crate::commands) fn xclaim(&mut self, request: Request<'_>, reply: &mut Reply<'_>) -> Result<(), Stop> {
        let (args, now_ms) = (request.args, self.now_ms);
        let (key, Some(found)) = self.with_group(request)? else {
            return Err(no_group(args.at(1), args.at(2)));
        };
        let Options { ids, terms, last } = Options::parse(args, now_ms)?;
        let nodes = &mut self.nodes(key, found.0.id);
        let mut claims = Claims::begin(nodes, found, (key, args.at(3)), terms, now_ms)?;
        if last > claims.group.last {
            claims.group.last = last;
            claims.draft.set_group(nodes, &claims.group)?;
        }
        let (mut output, protocol, mut count) = (Output::new(), reply.protocol(), 0);
        for id in ids {
            let pending = claims.draft.pending(nodes, claims.group.number, id)?;
            let mut reply = Reply::new(&mut output, protocol);
            count += usize::from(matches!(claims.claim(nodes, id, pending, &mut reply)?, Claimed::Now));
        }
        self.commit_claims(claims)?;
        reply.array(count);
        reply.output().append(&mut output);
        Ok(())
    }

    pub(in crate::commands) fn xautoclaim(&mut self, request: Request<'_>, reply: &mut Reply<'_>) -> Result<(), Stop> {
        let (args, now_ms) = (request.args, self.now_ms);
        let min_idle = format::parse_integer(args.at(4))
            .ok_or(Stop::error("ERR Invalid min-idle-time argument for XAUTOCLAIM"))?;
        let min_idle_ms = u64::try_from(min_idle).unwrap_or(0);
        let start = parse_start(args.at(5))?;
        let (mut limit, mut just_id) = (100, false);
        let mut i = 6;
        while i < args.len() {
            if args.at(i).eq_ignore_ascii_case(b"COUNT") && i + 1 < args.len() {
                i += 1;
                let max = i64::MAX / 16;
                let number = format::parse_integer(args.at(i)).filter(|number| (1..=max).contains(number));
                limit = number.ok_or(Stop::error("ERR COUNT must be > 0"))?;
            } else if args.at(i).eq_ignore_ascii_case(b"JUSTID") {
                just_id = true;
            } else {
                return Err(Stop::SYNTAX);
            }
            i += 1;
        }
        let (key, Some(found)) = self.with_group(request)? else {
            return Err(no_group(args.at(1), args.at(2)));
        };
        if limit > MAX_COUNT {
            return Err(Stop::error("ERR Insufficient memory, failed allocating transient memory, COUNT too high."));
        }
        let terms = Terms { min_idle_ms, delivered_ms: now_ms, deliveries: None, force: false, just_id };
        let nodes = &mut self.nodes(key, found.0.id);
        let mut claims = Claims::begin(nodes, found, (key, args.at(3)), terms, now_ms)?;
        let (mut output, protocol, mut count) = (Output::new(), reply.protocol(), 0);
        let (mut left, mut attempts) = (limit as u64, limit as u64 * ATTEMPTS);
        let (mut gone, mut next) = (Vec::new(), Some(start));
        'all: while let Some(from) = next.take() {
            let some = claims.draft.each_pending(nodes, claims.group.number, (from, StreamId::MAX), STEP)?;
            let is_last = (some.len() as u64) < STEP;
            for pending in some {
                if left == 0 || attempts == 0 {
                    next = Some(pending.id);
                    break 'all;
                }
                attempts -= 1;
                next = pending.id.next().filter(|_| !is_last);
                let mut reply = Reply::new(&mut output, protocol);
                match claims.claim(nodes, pending.id, Some(pending), &mut reply)? {
                    Claimed::Not => continue,
                    Claimed::Gone => gone.push(pending.id),
                    Claimed::Now => count += 1,
                }
                left -= 1;
            }
        }
        // where it went on would be said by the entry that is there
        self.commit_claims(claims)?;
        reply.array(3);
        reply_id(next.unwrap_or_default(), reply);
        reply.array(count);
        reply.output().append(&mut output);
        reply.array(gone.len());
        gone.into_iter().for_each(|id| reply_id(id, reply));
        Ok(())
    }
}
