//! XADD, XTRIM: entries come, and the first ones go.

use emberkv_log::Purpose;
use emberkv_log::disk::Disk;
use emberkv_resp::schema::{CommandId, arity_error};
use emberkv_resp::{Args, Reply, format};

use super::ids::{NewId, parse, parse_new};
use super::reply_id;
use crate::collections::{StreamId, Trim};
use crate::group::Request;
use crate::partition::Partition;
use crate::stop::Stop;

/// How much an approximate trim takes away at most, if nothing is said: a hundred of redis's nodes.
const LIMIT: u64 = 10_000;

const EXHAUSTED: Stop = Stop::error("ERR The stream has exhausted the last possible ID, unable to add more items");
const TOO_SMALL: Stop = Stop::error("ERR The ID specified in XADD is equal or smaller than the target stream top item");

/// What XADD and XTRIM are asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Options {
    /// No stream is made.
    only_existing: bool,
    trim: Option<Trim>,
    /// It need not be exact, and takes no more than this away.
    approximate: Option<u64>,
    /// Of XADD: the entry's id, and where its fields begin.
    new: Option<(NewId, usize)>,
}

impl Options {
    fn parse(id: CommandId, args: Args<'_>) -> Result<Self, Stop> {
        let is_add = id == CommandId::Xadd;
        let mut options = Self { only_existing: false, trim: None, approximate: None, new: None };
        let (mut is_approximate, mut limit) = (false, None);
        let mut i = 2;
        while i < args.len() {
            let more = args.len() - 1 - i;
            let is = |name: &str| args.at(i).eq_ignore_ascii_case(name.as_bytes());
            let integer = |at: usize| format::parse_integer(args.at(at)).ok_or(Stop::NOT_AN_INTEGER);
            if more > 0 && (is("MAXLEN") || is("MINID")) {
                if options.trim.is_some() {
                    return Err(Stop::error(
                        "ERR syntax error, MAXLEN and MINID options at the same time are not compatible",
                    ));
                }
                let by_id = is("MINID");
                is_approximate = more > 1 && args.at(i + 1) == b"~";
                i += 1 + usize::from(is_approximate || more > 1 && args.at(i + 1) == b"=");
                options.trim = Some(if by_id {
                    Trim::MinId(parse(args.at(i), 0)?)
                } else {
                    let len = format::parse_integer(args.at(i)).ok_or(Stop::NOT_AN_INTEGER)?;
                    Trim::MaxLen(u64::try_from(len).map_err(|_| Stop::error("ERR The MAXLEN argument must be >= 0."))?)
                });
            } else if more > 0 && is("LIMIT") {
                let number = integer(i + 1)?;
                let number = u64::try_from(number).map_err(|_| Stop::error("ERR The LIMIT argument must be >= 0."))?;
                limit = Some(number);
                i += 1;
            } else if is_add && is("NOMKSTREAM") {
                options.only_existing = true;
            } else if is_add {
                options.new = Some((parse_new(args.at(i))?, i + 1));
                break;
            } else {
                return Err(Stop::SYNTAX);
            }
            i += 1;
        }
        if limit.is_some_and(|limit| limit > 0) && options.trim.is_none() {
            return Err(Stop::error("ERR syntax error, LIMIT cannot be used without specifying a trimming strategy"));
        }
        if !is_add && options.trim.is_none() {
            return Err(Stop::error("ERR syntax error, XTRIM must be called with a trimming strategy"));
        }
        if limit.is_some() && !is_approximate {
            return Err(Stop::error("ERR syntax error, LIMIT cannot be used without the special ~ option"));
        }
        // 0: without one
        options.approximate = is_approximate.then(|| match limit.unwrap_or(LIMIT) {
            0 => u64::MAX,
            limit => limit,
        });
        Ok(options)
    }
}

/// The id that a new entry gets behind the last one.
fn new_id(new: NewId, last: StreamId, now_ms: u64) -> Result<StreamId, Stop> {
    if last == StreamId::MAX {
        return Err(EXHAUSTED);
    }
    let id = match new {
        NewId::Auto if now_ms > last.ms => Some(StreamId { ms: now_ms, seq: 0 }),
        NewId::Auto => last.next(),
        NewId::Next(ms) if ms == last.ms => last.next().filter(|next| next.ms == ms),
        NewId::Next(ms) => Some(StreamId { ms, seq: 0 }),
        NewId::Exact(id) => Some(id),
    };
    id.filter(|id| *id > last).ok_or(TOO_SMALL)
}

impl<D: Disk> Partition<D> {
    pub(in crate::commands) fn xadd(&mut self, request: Request<'_>, reply: &mut Reply<'_>) -> Result<(), Stop> {
        let args = request.args;
        let options = Options::parse(request.id, args)?;
        let arity = || Stop::Error(arity_error("xadd").into());
        let (new, from) = options.new.ok_or_else(arity)?;
        let fields = args.from(from.min(args.len()));
        if fields.len() < 2 || !fields.len().is_multiple_of(2) {
            return Err(arity());
        }
        if new == NewId::Exact(StreamId::MIN) {
            return Err(Stop::error("ERR The ID specified in XADD must be greater than 0-0"));
        }
        let key = self.key(request.db, args.at(1));
        let found = self.lookup_stream(key)?;
        if found.is_none() && options.only_existing {
            reply.null();
            return Ok(());
        }
        let mut draft = self.stream_draft(found);
        let id = new_id(new, draft.meta.last, self.now_ms)?;
        let nodes = &mut self.nodes(key, draft.id);
        draft.append(nodes, id, fields.iter())?;
        let mut gone = 0;
        if let Some(trim) = options.trim {
            gone = draft.surplus(nodes, trim, options.approximate)?;
            draft.trim(nodes, gone)?;
        }
        self.name_stream_event("xadd");
        self.stream_commit(key, draft, Purpose::Grow)?;
        if gone > 0 {
            self.name_stream_event("xtrim");
            self.note_same(key);
        }
        reply_id(id, reply);
        Ok(())
    }

    pub(in crate::commands) fn xtrim(&mut self, request: Request<'_>, reply: &mut Reply<'_>) -> Result<(), Stop> {
        let options = Options::parse(request.id, request.args)?;
        let key = self.key(request.db, request.args.at(1));
        let (Some(found), Some(trim)) = (self.lookup_stream(key)?, options.trim) else {
            reply.integer(0);
            return Ok(());
        };
        let mut draft = self.stream_draft(Some(found));
        let nodes = &mut self.nodes(key, draft.id);
        let gone = draft.surplus(nodes, trim, options.approximate)?;
        if gone > 0 {
            draft.trim(nodes, gone)?;
            self.name_stream_event("xtrim");
            self.stream_commit(key, draft, Purpose::Shrink)?;
        }
        reply.integer(gone as i64);
        Ok(())
    }
}
