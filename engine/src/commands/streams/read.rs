//! XREAD, XREADGROUP: entries that somebody does not know yet.

use emberkv_log::disk::Disk;
use emberkv_log::{DbId, Purpose};
use emberkv_resp::schema::CommandId;
use emberkv_resp::{Args, Output, OwnedArgs, Protocol, Reply, format};

use super::counter::Counter;
use super::ids::parse;
use super::{reply_entry, reply_id};
use crate::collections::{Consumer, Elements, Group, Pending, Source, StreamDraft, StreamId};
use crate::group::Request;
use crate::lookup::Key;
use crate::partition::Partition;
use crate::slots::partition_of;
use crate::stop::Stop;

/// A group, and who reads for it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Reader<'a> {
    pub group: &'a [u8],
    consumer: &'a [u8],
    /// What it gets is done.
    no_ack: bool,
}

/// What XREAD or XREADGROUP asks for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reading<'a> {
    args: Args<'a>,
    /// The streams.
    pub keys: Args<'a>,
    /// From where on, of each.
    pub ids: Args<'a>,
    pub reader: Option<Reader<'a>>,
    /// So many of each at most.
    limit: u64,
    /// If it waits, for how many ms; `None` for ever.
    pub block: Option<Option<u64>>,
}

/// From where on a stream is read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Since {
    /// Entries with higher ids.
    Id(StreamId),
    /// What the group has not been delivered yet.
    New,
    /// What is pending for the consumer, with higher ids.
    Own(StreamId),
}

impl<'a> Reading<'a> {
    /// Reads the arguments, whose number was checked. The ids are read with the streams.
    ///
    /// # Errors
    /// The answer, if they are wrong.
    pub fn parse(id: CommandId, args: Args<'a>, now_ms: u64) -> Result<Self, Stop> {
        let is_group = id == CommandId::Xreadgroup;
        let only_of_group = |option: &str| {
            let text = format!("ERR The {option} option is only supported by XREADGROUP. You called XREAD instead.");
            Stop::Error(text.into())
        };
        let (mut limit, mut block, mut names, mut no_ack, mut streams) = (u64::MAX, None, None, false, None);
        let mut i = 1;
        while i < args.len() {
            let more = args.len() - 1 - i;
            let is = |name: &str| args.at(i).eq_ignore_ascii_case(name.as_bytes());
            if is("BLOCK") && more > 0 {
                i += 1;
                block = Some(timeout_ms(args.at(i), now_ms)?);
            } else if is("COUNT") && more > 0 {
                i += 1;
                let number = format::parse_integer(args.at(i)).ok_or(Stop::NOT_AN_INTEGER)?;
                limit = u64::try_from(number).ok().filter(|number| *number > 0).unwrap_or(u64::MAX);
            } else if is("STREAMS") && more > 0 {
                if !more.is_multiple_of(2) {
                    let (name, ids) = if is_group { ("xreadgroup", "ID or '>'") } else { ("xread", "ID, '+', or '$'") };
                    let text = format!(
                        "ERR Unbalanced '{name}' list of streams: for each stream key an {ids} must be specified."
                    );
                    return Err(Stop::Error(text.into()));
                }
                streams = Some((i + 1, more / 2));
                break;
            } else if is("GROUP") && more > 1 {
                if !is_group {
                    return Err(only_of_group("GROUP"));
                }
                names = Some((args.at(i + 1), args.at(i + 2)));
                i += 2;
            } else if is("NOACK") {
                if !is_group {
                    return Err(only_of_group("NOACK"));
                }
                no_ack = true;
            } else {
                return Err(Stop::SYNTAX);
            }
            i += 1;
        }
        let (from, count) = streams.ok_or(Stop::SYNTAX)?;
        let reader = names.map(|(group, consumer)| Reader { group, consumer, no_ack });
        if is_group && reader.is_none() {
            return Err(Stop::error("ERR Missing GROUP option for XREADGROUP"));
        }
        let (keys, ids) = (args.to(from + count).from(from), args.from(from + count));
        Ok(Self { args, keys, ids, reader, limit, block })
    }

    /// The same command for some of its streams, each from its id on, which does not wait.
    pub fn of_some<'b>(self, streams: impl Iterator<Item = (&'b [u8], &'b [u8])> + Clone) -> OwnedArgs {
        let limit = self.limit.to_string();
        let mut words = vec![self.args.at(0)];
        if let Some(Reader { group, consumer, no_ack }) = self.reader {
            words.extend([b"GROUP", group, consumer]);
            words.extend(no_ack.then_some(&b"NOACK"[..]));
        }
        if self.limit != u64::MAX {
            words.extend([b"COUNT", limit.as_bytes()]);
        }
        words.push(b"STREAMS");
        let mut all: Vec<&[u8]> = words;
        all.extend(streams.clone().map(|(key, _)| key));
        all.extend(streams.map(|(_, id)| id));
        OwnedArgs::from_words(&all)
    }

    /// From where on a stream is read, of which the last entry has an id like this, if there is one.
    fn since(&self, text: &[u8], last: StreamId, last_entry: Option<StreamId>) -> Result<Since, Stop> {
        let meaningless = |id: &str| {
            Stop::Error(
                format!(
                    "ERR The {id} ID is meaningless in the context of XREADGROUP: you want to read the history of this \
                     consumer by specifying a proper ID, or use the > ID to get new messages. The {id} ID would just \
                     return an empty result set."
                )
                .into(),
            )
        };
        let is_group = self.reader.is_some();
        match text {
            b"$" | b"+" if is_group => Err(meaningless(&String::from_utf8_lossy(text))),
            b"$" => Ok(Since::Id(last)),
            b"+" => Ok(Since::Id(last_entry.and_then(StreamId::before).unwrap_or_default())),
            b">" if is_group => Ok(Since::New),
            b">" => Err(Stop::error(
                "ERR The > ID can be specified only when calling XREADGROUP using the GROUP <group> <consumer> option.",
            )),
            text => match parse(text, 0)? {
                // as redis has it, which knows the other one by that
                StreamId::MAX if is_group => Ok(Since::New),
                id if is_group => Ok(Since::Own(id)),
                id => Ok(Since::Id(id)),
            },
        }
    }
}

/// How long a command waits; `None` for ever.
fn timeout_ms(text: &[u8], now_ms: u64) -> Result<Option<u64>, Stop> {
    let ms = format::parse_integer(text).ok_or(Stop::error("ERR timeout is not an integer or out of range"))?;
    let ms = u64::try_from(ms).map_err(|_| Stop::error("ERR timeout is negative"))?;
    if ms > (i64::MAX as u64).saturating_sub(now_ms) {
        return Err(Stop::error("ERR timeout is out of range"));
    }
    Ok((ms > 0).then_some(ms))
}

/// A stream that is read, and from where on.
struct Asked<'a> {
    key: Key<'a>,
    group: Option<Group>,
    since: Since,
}

/// What was read of a stream, and is written when all is known.
#[derive(Default)]
struct Read {
    output: Output,
    /// How many streams there are in it.
    streams: usize,
}

/// A group of a stream, as it will be.
struct Delivery<'a> {
    key: Key<'a>,
    draft: StreamDraft,
    group: Group,
    makes_consumer: bool,
}

impl Read {
    fn begin(&mut self, key: &[u8], protocol: Protocol) {
        self.streams += 1;
        let mut reply = Reply::new(&mut self.output, protocol);
        if protocol == Protocol::Resp2 {
            reply.array(2);
        }
        reply.bulk(key);
    }

    /// Writes the reply, if there is anything.
    fn reply(mut self, reply: &mut Reply<'_>) -> bool {
        if self.streams == 0 {
            return false;
        }
        match reply.protocol() {
            Protocol::Resp2 => reply.array(self.streams),
            Protocol::Resp3 => reply.map(self.streams),
        }
        reply.output().append(&mut self.output);
        true
    }
}

impl<D: Disk> Partition<D> {
    /// Reads those of the streams that are here. Returns whether there was anything, and a reply is written. A reader who is served once more, as he has
    /// waited (`again`), leaves nothing behind if there is nothing.
    pub(crate) fn read_streams(
        &mut self,
        request: Request<'_>,
        reply: &mut Reply<'_>,
        again: bool,
    ) -> Result<bool, Stop> {
        let reading = Reading::parse(request.id, request.args, self.now_ms)?;
        let asked = self.asked_streams(request.db, &reading)?;
        match reading.reader {
            None => self.read_plainly(&reading, asked, reply),
            Some(reader) => self.read_for_group(&reading, reader, asked, reply, again),
        }
    }

    /// Whether what is asked of those streams that are here can be asked.
    ///
    /// # Errors
    /// What is wrong with it, and see [`Stop`].
    pub(crate) fn check_streams(&mut self, request: Request<'_>) -> Result<(), Stop> {
        let reading = Reading::parse(request.id, request.args, self.now_ms)?;
        self.asked_streams(request.db, &reading).map(|_| ())
    }

    /// What is asked of those streams that are here.
    fn asked_streams<'a>(&mut self, db: DbId, reading: &Reading<'a>) -> Result<Vec<Asked<'a>>, Stop> {
        let mut asked = Vec::new();
        for (bytes, id) in reading.keys.iter().zip(reading.ids.iter()) {
            if partition_of(bytes, self.partitions) != self.id() {
                continue; // its owner looks at it
            }
            let key = self.key(db, bytes);
            let found = self.read_stream(key)?;
            let (mut draft, mut group) = (self.stream_draft(found), None);
            if let Some(reader) = reading.reader {
                group = draft.group(&mut self.nodes(key, draft.id), reader.group)?;
                if group.is_none() {
                    return Err(no_such_group(bytes, reader.group));
                }
            }
            let last_entry = if id == b"+" { draft.edge(&mut self.nodes(key, draft.id), true)? } else { None };
            asked.push(Asked { key, group, since: reading.since(id, draft.meta.last, last_entry)? });
        }
        Ok(asked)
    }

    fn read_plainly(
        &mut self,
        reading: &Reading<'_>,
        asked: Vec<Asked<'_>>,
        reply: &mut Reply<'_>,
    ) -> Result<bool, Stop> {
        let (mut read, protocol) = (Read::default(), reply.protocol());
        for Asked { key, since, .. } in asked {
            let Since::Id(since) = since else { continue };
            // it counts as read twice, as in redis
            let (Some(found), Some(from)) = (self.read_stream(key)?, since.next()) else { continue };
            let mut draft = self.stream_draft(Some(found));
            let (nodes, mut is_begun) = (&mut self.nodes(key, draft.id), false);
            draft.range(nodes, (from, StreamId::MAX), reading.limit, false, |count, id, fields| {
                if !std::mem::replace(&mut is_begun, true) {
                    read.begin(key.bytes, protocol);
                    Reply::new(&mut read.output, protocol).array(count as usize);
                }
                reply_entry(id, fields, &mut Reply::new(&mut read.output, protocol));
            })?;
        }
        Ok(read.reply(reply))
    }

    fn read_for_group(
        &mut self,
        reading: &Reading<'_>,
        reader: Reader<'_>,
        asked: Vec<Asked<'_>>,
        reply: &mut Reply<'_>,
        again: bool,
    ) -> Result<bool, Stop> {
        let (mut read, protocol, now_ms) = (Read::default(), reply.protocol(), self.now_ms);
        let mut deliveries: Vec<Delivery<'_>> = Vec::new();
        for Asked { key, group, since } in asked {
            let (found, Some(group)) = (self.read_stream(key)?, group) else { continue };
            // a stream may be named twice
            let place = deliveries.iter().position(|other| other.key.bytes == key.bytes).unwrap_or_else(|| {
                let draft = self.stream_draft(found);
                deliveries.push(Delivery { key, draft, group, makes_consumer: false });
                deliveries.len() - 1
            });
            let Delivery { draft, group, makes_consumer, .. } = &mut deliveries[place];
            let nodes = &mut self.nodes(key, draft.id);
            let consumer = draft.consumer(nodes, group.number, reader.consumer)?;
            *makes_consumer |= consumer.is_none();
            let mut consumer = match consumer {
                Some(consumer) => consumer,
                None => draft.new_consumer(reader.consumer, now_ms)?,
            };
            consumer.seen_ms = now_ms;
            if let Since::Own(since) = since {
                read.begin(key.bytes, protocol);
                let range = (since.next().unwrap_or_default(), StreamId::MAX);
                let owned = draft.owned(nodes, group.number, consumer.number, range, reading.limit)?;
                Reply::new(&mut read.output, protocol).array(owned.len());
                for id in owned {
                    let mut reply = Reply::new(&mut read.output, protocol);
                    let Some(fields) = draft.entry(nodes, id)? else {
                        reply.array(2);
                        reply_id(id, &mut reply);
                        reply.null_array();
                        continue;
                    };
                    reply_entry(id, Elements::of(&fields), &mut reply);
                    if let Some(pending) = draft.pending(nodes, group.number, id)? {
                        let deliveries = pending.deliveries.saturating_add(1);
                        let pending = Pending { delivered_ms: now_ms, deliveries, ..pending };
                        draft.set_pending(nodes, group.number, pending, Some(consumer.number))?;
                    }
                }
            } else {
                let (from, mut ids) = (group.last.next(), Vec::new());
                let range = from.map_or((StreamId::MAX, StreamId::MIN), |from| (from, StreamId::MAX));
                draft.range(nodes, range, reading.limit, false, |count, id, fields| {
                    if ids.is_empty() {
                        read.begin(key.bytes, protocol);
                        Reply::new(&mut read.output, protocol).array(count as usize);
                    }
                    reply_entry(id, fields, &mut Reply::new(&mut read.output, protocol));
                    ids.push(id);
                })?;
                deliver(draft, nodes, group, &mut consumer, &ids, (now_ms, reader.no_ack))?;
            }
            draft.set_consumer(nodes, group.number, &consumer)?;
        }
        if read.streams > 0 || !again {
            self.commit_deliveries(deliveries)?;
        }
        Ok(read.reply(reply))
    }

    /// All of them in one frame.
    fn commit_deliveries(&mut self, deliveries: Vec<Delivery<'_>>) -> Result<(), Stop> {
        let mut all = Vec::with_capacity(deliveries.len());
        for Delivery { key, draft, makes_consumer, .. } in deliveries {
            all.push((key, self.stream_writes_of(key, draft)?, makes_consumer));
        }
        let total: u64 = all.iter().map(|(key, writes, _)| writes.size(*key)).sum();
        for (key, writes, _) in &all {
            self.reserve_writes(*key, writes, total - writes.size(*key), Purpose::Grow)?;
        }
        for (key, writes, makes_consumer) in &all {
            self.name_aside(makes_consumer.then_some("xgroup-createconsumer"));
            self.write_all(*key, writes);
        }
        Ok(())
    }
}

/// A group is delivered these entries, which are its consumer's from now on, unless they are done with that.
fn deliver(
    draft: &mut StreamDraft,
    nodes: &mut impl Source,
    group: &mut Group,
    consumer: &mut Consumer,
    ids: &[StreamId],
    (now_ms, no_ack): (u64, bool),
) -> Result<(), Stop> {
    if ids.is_empty() {
        return Ok(());
    }
    let first = draft.edge(nodes, false)?;
    let counter = Counter::new(draft, first);
    for id in ids {
        counter.deliver(group, *id);
        if no_ack {
            continue;
        }
        consumer.active_ms = Some(now_ms);
        // somebody may have it already, if the group was set back
        let before = draft.pending(nodes, group.number, *id)?.map(|pending| pending.consumer);
        let pending = Pending { id: *id, consumer: consumer.number, delivered_ms: now_ms, deliveries: 1 };
        draft.set_pending(nodes, group.number, pending, before)?;
    }
    draft.set_group(nodes, group)
}

/// The error of a reader without a group.
pub(super) fn no_such_group(key: &[u8], group: &[u8]) -> Stop {
    let (key, group) = (String::from_utf8_lossy(key), String::from_utf8_lossy(group));
    let text = format!("NOGROUP No such key '{key}' or consumer group '{group}' in XREADGROUP with GROUP option");
    Stop::Error(text.into())
}
