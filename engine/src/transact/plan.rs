//! Where a command belongs: to one partition, or, in shares, to several.

use emberkv_log::PartitionId;
use emberkv_resp::schema::{CommandId, arity_error};
use emberkv_resp::{Args, Protocol, format};

use super::script::{Line, Script};
use super::share::{Action, Share, Strings};
use super::staged::{Staged, is_staged};
use crate::collections::{Compact, CompactSet, ListFill};
use crate::commands::{PopOfMany, Search, Sort, check_flush_mode};
use crate::group::Request;
use crate::slots::partition_of;
use crate::stop::Stop;

/// What has to be known of a data set to take commands apart.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Extent {
    /// How many partitions it has.
    pub partitions: u16,
    /// How many databases.
    pub databases: usize,
    /// The longest value, in bytes (`proto-max-bulk-len`).
    pub max_value_bytes: usize,
    /// Up to which sizes redis would keep a set in the simpler ways.
    pub compact_set: CompactSet,
    /// Up to which size redis would keep a sorted set in the simpler way.
    pub compact_zset: Compact,
    /// Up to which size redis would keep a list as one listpack.
    pub list_fill: ListFill,
    /// Up to how many bytes a HyperLogLog is sparse (`hll-sparse-max-bytes`).
    pub hll_sparse_max_bytes: usize,
}

/// Who executes a command on data.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Route {
    /// The owner of this partition, as an ordinary command.
    One(PartitionId),
    /// A coordinator: see [`Plan`].
    Several,
}

/// The route of a command on data, in a data set of `partitions`.
#[inline]
pub fn route(id: CommandId, args: Args<'_>, partitions: u16) -> Route {
    if partitions == 1 && id != CommandId::Swapdb {
        return Route::One(PartitionId(0));
    }
    match id {
        CommandId::Get | CommandId::Set => Route::One(partition_of(args.at(1), partitions)),
        CommandId::Mset | CommandId::Msetnx => route_of_keys(args.from(1).iter().step_by(2), partitions),
        CommandId::Del
        | CommandId::Exists
        | CommandId::Mget
        | CommandId::Pfcount
        | CommandId::Pfmerge
        | CommandId::Touch
        | CommandId::Unlink => route_of_keys(args.from(1).iter(), partitions),
        CommandId::Blpop | CommandId::Brpop | CommandId::Bzpopmax | CommandId::Bzpopmin => {
            route_of_keys(args.to(args.len() - 1).from(1).iter(), partitions)
        }
        CommandId::Blmpop | CommandId::Bzmpop | CommandId::Xread | CommandId::Xreadgroup => {
            match id.command().keys(args) {
                Ok(keys) => route_of_keys(keys.map(|i| args.at(i)), partitions),
                Err(_) => Route::One(PartitionId(0)), // which says what is wrong
            }
        }
        CommandId::Bitop => route_of_keys(args.from(2).iter(), partitions),
        CommandId::Sdiff
        | CommandId::Sdiffstore
        | CommandId::Sinter
        | CommandId::Sinterstore
        | CommandId::Sunion
        | CommandId::Sunionstore => route_of_keys(args.from(1).iter(), partitions),
        // what names too many keys, or none, is refused by anybody
        CommandId::Sintercard => match id.command().keys(args) {
            Ok(keys) => route_of_keys(keys.map(|i| args.at(i)), partitions),
            Err(_) => Route::One(PartitionId(0)),
        },
        CommandId::Copy
        | CommandId::Blmove
        | CommandId::Brpoplpush
        | CommandId::Lcs
        | CommandId::Lmove
        | CommandId::Rename
        | CommandId::Renamenx
        | CommandId::Rpoplpush
        | CommandId::Smove
        | CommandId::Zrangestore => route_of_keys([args.at(1), args.at(2)].into_iter(), partitions),
        // which keys its patterns name is known when its elements are
        CommandId::Sort | CommandId::SortRo => match Sort::parse(id, args, true) {
            Ok(sort) if sort.has_patterns() => Route::Several,
            Ok(sort) => route_of_keys([args.at(1), sort.to.unwrap_or(args.at(1))].into_iter(), partitions),
            Err(_) => Route::One(partition_of(args.at(1), partitions)),
        },
        // with wrong arguments there is no place for a result
        CommandId::Georadius | CommandId::Georadiusbymember | CommandId::Geosearchstore => match Search::keys(id, args)
        {
            Ok((from, to)) => route_of_keys([from, to.unwrap_or(from)].into_iter(), partitions),
            Err(_) => Route::One(partition_of(args.at(Search::source_at(id)), partitions)),
        },
        // with wrong arguments it has no keys
        CommandId::Lmpop => match PopOfMany::parse(args) {
            Ok(PopOfMany { keys, .. }) => route_of_keys(keys.iter(), partitions),
            Err(_) => Route::One(PartitionId(0)),
        },
        // nor have these
        CommandId::Zmpop
        | CommandId::Zdiff
        | CommandId::Zdiffstore
        | CommandId::Zinter
        | CommandId::Zintercard
        | CommandId::Zinterstore
        | CommandId::Zunion
        | CommandId::Zunionstore => match id.command().keys(args) {
            Ok(keys) => route_of_keys(keys.map(|i| args.at(i)), partitions),
            Err(_) => Route::One(PartitionId(0)),
        },
        CommandId::Dbsize
        | CommandId::Flushall
        | CommandId::Flushdb
        | CommandId::Keys
        | CommandId::Randomkey
        | CommandId::Swapdb => Route::Several,
        CommandId::Scan => {
            Route::One(ScanPlace::parse(args.at(1)).map_or(PartitionId(0), |place| place.owner(partitions)))
        }
        CommandId::MemoryUsage
        | CommandId::XgroupCreate
        | CommandId::XgroupCreateconsumer
        | CommandId::XgroupDelconsumer
        | CommandId::XgroupDestroy
        | CommandId::XgroupSetid
        | CommandId::XinfoConsumers
        | CommandId::XinfoGroups
        | CommandId::XinfoStream
        | CommandId::ObjectEncoding
        | CommandId::ObjectFreq
        | CommandId::ObjectIdletime
        | CommandId::ObjectRefcount
        | CommandId::Pfdebug => Route::One(partition_of(args.at(2), partitions)),
        // all others have one key, their first argument
        _ => Route::One(partition_of(args.at(1), partitions)),
    }
}

fn route_of_keys<'a>(mut keys: impl Iterator<Item = &'a [u8]>, partitions: u16) -> Route {
    let Some(first) = keys.next() else { return Route::One(PartitionId(0)) };
    let owner = partition_of(first, partitions);
    if keys.all(|key| partition_of(key, partitions) == owner) { Route::One(owner) } else { Route::Several }
}

/// SCAN's cursor over all partitions: one after the other, each in its hash order.
///
/// ```text
///  63          48 47        32 31                      0
/// +--------------+------------+-------------------------+
/// |      0       | partition  |  position in hash order |
/// +--------------+------------+-------------------------+
/// ```
///
/// So a cursor of the first partition is what it is when there is only one, and 0 is the beginning, and the end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct ScanPlace {
    partition: u32,
    /// The cursor within the partition.
    pub raw: u32,
}

impl ScanPlace {
    /// The place that a client's cursor means; `None` if it is no number.
    pub fn parse(cursor: &[u8]) -> Option<Self> {
        let cursor = parse_cursor(cursor)?;
        Some(Self { partition: (cursor >> 32) as u32, raw: cursor as u32 })
    }

    fn owner(self, partitions: u16) -> PartitionId {
        // a cursor that nobody was given ends in the last one
        PartitionId(u16::try_from(self.partition).unwrap_or(u16::MAX).min(partitions - 1))
    }

    /// The client's next cursor after a step in `partition` that goes on at `next` there, if at all.
    pub fn following(partition: PartitionId, next: Option<u32>, partitions: u16) -> u64 {
        match next {
            Some(raw) => u64::from(partition.0) << 32 | u64::from(raw),
            None if partition.0 + 1 < partitions => u64::from(partition.0 + 1) << 32,
            None => 0,
        }
    }

    /// Whether the place lies beyond all of `partition`.
    pub fn is_beyond(self, partition: PartitionId) -> bool {
        self.partition > u32::from(partition.0)
    }
}

/// A cursor as redis reads one: an integer that is not negative, else what C's `strtoull` makes of it.
pub(crate) fn parse_cursor(cursor: &[u8]) -> Option<u64> {
    if let Some(value) = format::parse_integer(cursor) {
        return u64::try_from(value).ok();
    }
    let text = std::str::from_utf8(cursor).ok()?.trim_start_matches([' ', '\t', '\n', '\x0b', '\x0c', '\r']);
    let (digits, is_negative) = match text.strip_prefix('-') {
        Some(digits) => (digits, true),
        None => (text.strip_prefix('+').unwrap_or(text), false),
    };
    if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let value = digits.parse::<u64>().ok()?;
    Some(if is_negative { value.wrapping_neg() } else { value })
}

/// How the votes become a reply.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Merge {
    /// `OK`, once all have written (MSET, FLUSHALL, FLUSHDB).
    Ok,
    /// 1 once all have written, 0 if one must not (MSETNX).
    AllOrNone,
    /// The sum of counts.
    Sum,
    /// The values; `order` says for each in turn whose share has it.
    Values { order: Vec<u16> },
    /// All keys.
    Keys,
    /// One key of all.
    Draw,
    /// `OK`, once all watch (WATCH).
    Watched,
    /// The replies of a script's lines.
    Script,
}

/// A command over several partitions, taken apart.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Plan {
    pub(crate) shares: Vec<(PartitionId, Share)>,
    pub(crate) merge: Merge,
    /// Of a script: how it goes on.
    pub(crate) script: Option<Script>,
    /// Whether what is read is not to be noted.
    pub(crate) untouched: bool,
}

impl Plan {
    /// Takes a command apart that [`route`] calls one of several partitions.
    ///
    /// # Errors
    /// The answer, if its arguments are wrong.
    ///
    /// # Panics
    /// If it is no such command.
    pub fn new(request: Request<'_>, protocol: Protocol, extent: Extent) -> Result<Self, Stop> {
        let (args, partitions) = (request.args, extent.partitions);
        if is_staged(request.id) {
            // what is wrong with its arguments is said before anything is locked
            Staged::new(request, extent)?;
            let line = Line { id: request.id, db: request.db, args: args.into() };
            return Ok(Self::single(line, protocol, extent));
        }
        let name = request.id.command().name;
        let (merge, shares) = match request.id {
            CommandId::Mset | CommandId::Msetnx => {
                if args.len().is_multiple_of(2) {
                    return Err(Stop::Error(arity_error(name).into()));
                }
                let if_absent = request.id == CommandId::Msetnx;
                let merge = if if_absent { Merge::AllOrNone } else { Merge::Ok };
                let shares = split(args.from(1), 2, partitions).0;
                (merge, actions(shares, |pairs| Action::Put { pairs, if_absent }))
            }
            CommandId::Del | CommandId::Unlink => {
                (Merge::Sum, actions(split(args.from(1), 1, partitions).0, Action::Delete))
            }
            CommandId::Exists => (Merge::Sum, actions(split(args.from(1), 1, partitions).0, Action::Count)),
            CommandId::Touch => (Merge::Sum, actions(split(args.from(1), 1, partitions).0, Action::Touch)),
            CommandId::Mget => {
                let (shares, order) = split(args.from(1), 1, partitions);
                (Merge::Values { order }, actions(shares, |keys| Action::Get { keys, else_error: None }))
            }
            CommandId::Dbsize => (Merge::Sum, everywhere(partitions, &Action::Size)),
            CommandId::Keys => (Merge::Keys, everywhere(partitions, &Action::Find { pattern: args.at(1).into() })),
            CommandId::Randomkey => (Merge::Draw, everywhere(partitions, &Action::Draw)),
            CommandId::Flushall | CommandId::Flushdb => {
                check_flush_mode(args)?;
                let all = request.id == CommandId::Flushall;
                (Merge::Ok, everywhere(partitions, &Action::Flush { all }))
            }
            other => unreachable!("{other:?} is executed by one partition"),
        };
        let shares = shares.into_iter().map(|(partition, action)| (partition, Share { db: request.db, action }));
        Ok(Self { shares: shares.collect(), merge, script: None, untouched: false })
    }

    /// The same for a client whose reads are not to be noted, if it `is_untouched`.
    #[must_use]
    pub fn untouched(mut self, is_untouched: bool) -> Self {
        self.untouched = is_untouched;
        self
    }

    /// The partitions that it locks.
    pub fn partitions(&self) -> impl Iterator<Item = PartitionId> + '_ {
        self.shares.iter().map(|(partition, _)| *partition)
    }
}

/// Deals arguments out by the first of each `step`: the strings of each partition that gets any, and whose turn it is for
/// each.
pub(super) fn split(args: Args<'_>, step: usize, partitions: u16) -> (Vec<(PartitionId, Strings)>, Vec<u16>) {
    // first who gets how much, so that each share is one piece of memory of the right size
    let mut sizes: Vec<(PartitionId, usize, usize)> = Vec::new();
    let mut order = Vec::with_capacity(args.len() / step);
    for i in (0..args.len()).step_by(step) {
        let partition = partition_of(args.at(i), partitions);
        let at = sizes.iter().position(|(known, ..)| *known == partition).unwrap_or_else(|| {
            sizes.push((partition, 0, 0));
            sizes.len() - 1
        });
        sizes[at].1 += step;
        sizes[at].2 += (i..i + step).map(|i| args.at(i).len()).sum::<usize>();
        order.push(at as u16);
    }
    let empty = |(partition, count, bytes)| (partition, Strings::with_capacity(count, bytes));
    let mut shares: Vec<_> = sizes.into_iter().map(empty).collect();
    for (at, first) in order.iter().zip((0..args.len()).step_by(step)) {
        (first..first + step).for_each(|i| shares[usize::from(*at)].1.push(args.at(i)));
    }
    (shares, order)
}

fn actions(shares: Vec<(PartitionId, Strings)>, action: impl Fn(Strings) -> Action) -> Vec<(PartitionId, Action)> {
    shares.into_iter().map(|(partition, strings)| (partition, action(strings))).collect()
}

fn everywhere(partitions: u16, action: &Action) -> Vec<(PartitionId, Action)> {
    (0..partitions).map(|partition| (PartitionId(partition), action.clone())).collect()
}
