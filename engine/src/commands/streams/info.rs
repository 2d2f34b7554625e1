//! XINFO: what streams, groups and consumers are like.

use emberkv_log::disk::Disk;
use emberkv_resp::{Args, Output, Reply, format};

use super::counter::Counter;
use super::groups::{no_consumer_group, wrong_arguments};
use super::{ALL, reply_entry, reply_id};
use crate::collections::{Group, Source, StreamDraft};
use crate::commands::NO_SUCH_KEY;
use crate::group::Request;
use crate::lookup::Key;
use crate::partition::Partition;
use crate::stop::Stop;

/// So many entries of each kind are shown, if nothing is said.
const SHOWN: u64 = 10;

/// How many entries XINFO STREAM shows of each kind, if it shows all kinds.
fn shown(args: Args<'_>) -> Result<Option<u64>, Stop> {
    let is = |at: usize, name: &str| args.get(at).is_some_and(|arg| arg.eq_ignore_ascii_case(name.as_bytes()));
    match args.len() {
        3 => Ok(None),
        4 if is(3, "FULL") => Ok(Some(SHOWN)),
        6 if is(3, "FULL") && is(4, "COUNT") => {
            let number = format::parse_integer(args.at(5)).ok_or(Stop::NOT_AN_INTEGER)?;
            Ok(Some(match u64::try_from(number) {
                Ok(0) => u64::MAX,
                Ok(number) => number,
                Err(_) => SHOWN,
            }))
        }
        _ => Err(wrong_arguments("XINFO", args)),
    }
}

fn reply_option(number: Option<i64>, reply: &mut Reply<'_>) {
    match number {
        Some(number) => reply.integer(number),
        None => reply.null(),
    }
}

impl<D: Disk> Partition<D> {
    /// The stream under the key of a subcommand of XINFO.
    fn described<'a>(&mut self, request: Request<'a>) -> Result<(Key<'a>, StreamDraft), Stop> {
        let key = self.key(request.db, request.args.at(2));
        let found = self.read_stream(key)?.ok_or(NO_SUCH_KEY)?;
        Ok((key, self.stream_draft(Some(found))))
    }

    pub(in crate::commands) fn xinfo_stream(
        &mut self,
        request: Request<'_>,
        reply: &mut Reply<'_>,
    ) -> Result<(), Stop> {
        let (key, mut draft) = self.described(request)?;
        let shown = shown(request.args)?;
        let nodes = &mut self.nodes(key, draft.id);
        let mut output = Output::new();
        let out = &mut Reply::new(&mut output, reply.protocol());
        out.map(if shown.is_some() { 9 } else { 10 });
        out.bulk(b"length");
        out.integer(draft.count as i64);
        // redis's trees are others: what ours have is said in their place
        let tree = draft.nodes().max(u32::from(draft.count > 0));
        out.bulk(b"radix-tree-keys");
        out.integer(tree.into());
        out.bulk(b"radix-tree-nodes");
        out.integer(i64::from(tree) + 1);
        out.bulk(b"last-generated-id");
        reply_id(draft.meta.last, out);
        out.bulk(b"max-deleted-entry-id");
        reply_id(draft.meta.deleted, out);
        out.bulk(b"entries-added");
        out.integer(draft.meta.added as i64);
        out.bulk(b"recorded-first-entry-id");
        let first = draft.edge(nodes, false)?;
        reply_id(first.unwrap_or_default(), out);
        match shown {
            Some(shown) => {
                let counter = Counter::new(&draft, first);
                full(&mut draft, nodes, counter, shown, out)?;
            }
            None => {
                out.bulk(b"groups");
                out.integer(draft.group_count(nodes)? as i64);
                for (name, is_last) in [("first-entry", false), ("last-entry", true)] {
                    out.bulk(name.as_bytes());
                    let shown = draft.range(nodes, ALL, 1, is_last, |_, id, fields| reply_entry(id, fields, out))?;
                    if shown == 0 {
                        out.null();
                    }
                }
            }
        }
        reply.output().append(&mut output);
        Ok(())
    }

    pub(in crate::commands) fn xinfo_groups(
        &mut self,
        request: Request<'_>,
        reply: &mut Reply<'_>,
    ) -> Result<(), Stop> {
        let (key, mut draft) = self.described(request)?;
        let nodes = &mut self.nodes(key, draft.id);
        let mut output = Output::new();
        let out = &mut Reply::new(&mut output, reply.protocol());
        let first = draft.edge(nodes, false)?;
        let counter = Counter::new(&draft, first);
        let groups = draft.groups(nodes)?;
        out.array(groups.len());
        for group in groups {
            out.map(6);
            out.bulk(b"name");
            out.bulk(&group.name);
            out.bulk(b"consumers");
            out.integer(draft.consumer_count(nodes, group.number)? as i64);
            out.bulk(b"pending");
            out.integer(draft.pending_count(nodes, group.number)? as i64);
            progress(&group, counter, out);
        }
        reply.output().append(&mut output);
        Ok(())
    }

    pub(in crate::commands) fn xinfo_consumers(
        &mut self,
        request: Request<'_>,
        reply: &mut Reply<'_>,
    ) -> Result<(), Stop> {
        let ((key, mut draft), now_ms) = (self.described(request)?, self.now_ms);
        let nodes = &mut self.nodes(key, draft.id);
        let name = request.args.at(3);
        let group = draft.group(nodes, name)?.ok_or_else(|| no_consumer_group(key.bytes, name))?;
        let mut output = Output::new();
        let out = &mut Reply::new(&mut output, reply.protocol());
        let consumers = draft.consumers(nodes, group.number)?;
        out.array(consumers.len());
        for consumer in consumers {
            out.map(4);
            out.bulk(b"name");
            out.bulk(&consumer.name);
            out.bulk(b"pending");
            out.integer(draft.owned_count(nodes, group.number, consumer.number)? as i64);
            out.bulk(b"idle");
            out.integer(now_ms.saturating_sub(consumer.seen_ms) as i64);
            out.bulk(b"inactive");
            out.integer(consumer.active_ms.map_or(-1, |ms| now_ms.saturating_sub(ms) as i64));
        }
        reply.output().append(&mut output);
        Ok(())
    }
}

/// How far a group has come.
fn progress(group: &Group, counter: Counter, out: &mut Reply<'_>) {
    out.bulk(b"last-delivered-id");
    reply_id(group.last, out);
    out.bulk(b"entries-read");
    reply_option(group.read.map(|read| read as i64), out);
    out.bulk(b"lag");
    reply_option(counter.lag(group), out);
}

/// Entries, groups and consumers, so many of each kind of entry.
fn full(
    draft: &mut StreamDraft,
    nodes: &mut impl Source,
    counter: Counter,
    shown: u64,
    out: &mut Reply<'_>,
) -> Result<(), Stop> {
    out.bulk(b"entries");
    let mut is_begun = false;
    let count = draft.range(nodes, ALL, shown, false, |count, id, fields| {
        if !std::mem::replace(&mut is_begun, true) {
            out.array(count as usize);
        }
        reply_entry(id, fields, out);
    })?;
    if count == 0 {
        out.array(0);
    }
    out.bulk(b"groups");
    let groups = draft.groups(nodes)?;
    out.array(groups.len());
    for group in groups {
        let consumers = draft.consumers(nodes, group.number)?;
        out.map(7);
        out.bulk(b"name");
        out.bulk(&group.name);
        progress(&group, counter, out);
        out.bulk(b"pel-count");
        out.integer(draft.pending_count(nodes, group.number)? as i64);
        out.bulk(b"pending");
        let pending = draft.each_pending(nodes, group.number, ALL, shown)?;
        out.array(pending.len());
        for pending in pending {
            let owner = consumers.iter().find(|consumer| consumer.number == pending.consumer);
            out.array(4);
            reply_id(pending.id, out);
            out.bulk(owner.map_or(&[], |owner| owner.name.as_slice()));
            out.integer(pending.delivered_ms as i64);
            out.integer(pending.deliveries as i64);
        }
        out.bulk(b"consumers");
        out.array(consumers.len());
        for consumer in consumers {
            out.map(5);
            out.bulk(b"name");
            out.bulk(&consumer.name);
            out.bulk(b"seen-time");
            out.integer(consumer.seen_ms as i64);
            out.bulk(b"active-time");
            out.integer(consumer.active_ms.map_or(-1, |ms| ms as i64));
            out.bulk(b"pel-count");
            out.integer(draft.owned_count(nodes, group.number, consumer.number)? as i64);
            out.bulk(b"pending");
            let owned = draft.owned(nodes, group.number, consumer.number, ALL, shown)?;
            out.array(owned.len());
            for id in owned {
                let pending = draft.pending(nodes, group.number, id)?;
                out.array(3);
                reply_id(id, out);
                out.integer(pending.map_or(0, |pending| pending.delivered_ms as i64));
                out.integer(pending.map_or(0, |pending| pending.deliveries as i64));
            }
        }
    }
    Ok(())
}
