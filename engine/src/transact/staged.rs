//! Commands over several partitions whose second stage depends on what the first one has found, perhaps elsewhere. Both run under
//! the same locks, as steps of a script.
//!
//! ```text
//!  RENAME a b, a in A, b in B
//!
//!             A                       B
//!  first      say what a holds        is b there?       with the locks
//!  second     delete a                place it as b     if a holds anything
//! ```

use emberkv_log::{DbId, PartitionId};
use emberkv_resp::schema::CommandId;
use emberkv_resp::{Args, OwnedArgs, Protocol, Reply};

use super::gather::{gather, images};
use super::lists::Lists;
use super::plan::{Extent, Plan, split};
use super::script::Line;
use super::share::{Action, Answer, Change, Member, Share, Step, Strings, Values, Vote};
use super::sorting::Sorted;
use super::streams::Streams;
use crate::collections::{Compact, CompactSet, WRONG_TYPE, WRONG_TYPE_TEXT};
use crate::commands::{
    Combination, CopyOptions, Lcs, MultiPop, NO_SUCH_KEY, NOT_STRINGS, Operation, SETS, Search, SortedCombination,
    Wish, check_range,
};
use crate::databases::parse_swap;
use crate::group::Request;
use crate::held::Held;
use crate::hyperloglog::Merged;
use crate::slots::partition_of;
use crate::stop::Stop;
use crate::waiting::Waiting;

/// A key, in its database and partition.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Placed {
    pub partition: PartitionId,
    pub db: DbId,
    pub key: Box<[u8]>,
}

/// What is done with what a key holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Way {
    /// RENAME.
    Move,
    /// RENAMENX.
    MoveIfNew,
    /// COPY.
    Copy { replace: bool },
}

/// See the module.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Staged {
    /// MSETNX: has asked which of its keys there are.
    PutIfAbsent { puts: Vec<(PartitionId, Share)> },
    /// RENAME, RENAMENX, COPY: has asked what there is under both names.
    Transfer { way: Way, from: Placed, to: Placed },
    /// BITOP: has asked for the strings; `order` says for each in turn whose share has it.
    Combine { operation: Operation, to: Placed, order: Vec<u16> },
    /// BLPOP and its kin: has asked which of the keys there are, in order. Whoever `waits` stands in line if there is none.
    Take { line: Line, keys: Vec<Placed>, waits: Option<Waiting> },
    /// SWAPDB: has swapped everywhere; there is no second stage.
    Swap,
    /// ZRANGESTORE, GEOSEARCHSTORE and the like: has asked for what is to be put there.
    Store { to: Placed },
    /// ZUNION and the like: has asked for what there is under each key.
    Members { id: CommandId, args: OwnedArgs, to: Option<Placed>, limits: Compact },
    /// ZMPOP: has asked how many members there are under each key.
    Pop { db: DbId, keys: Vec<(PartitionId, Box<[u8]>)>, highest: bool, count: u64 },
    /// SINTER and its kin: has asked for the sets.
    CombineSets { combination: Combination, to: Option<Placed>, limits: CompactSet },
    /// SMOVE: has asked both sets for the member.
    MoveMember { member: Box<[u8]>, from: Placed, to: Placed },
    /// LCS: has asked for the strings.
    Common { options: Lcs, order: Vec<u16>, max_bytes: usize },
    /// PFCOUNT: has asked for what there is under each key.
    Estimate,
    /// PFMERGE: has asked for that too; the first is where the result is put.
    MergeEstimates { to: Placed, sparse_max_bytes: usize },
    /// SORT: has asked for what its first key holds, or for what other keys hold.
    Sort(Sorted),
    /// XREAD, XREADGROUP: has asked for the entries, or whether they can be had.
    Streams(Streams),
    /// LMOVE, RPOPLPUSH, LMPOP: has asked what the lists have at their ends.
    Lists(Lists),
}

/// Steps for owners.
pub(super) type Steps = Vec<(PartitionId, Step)>;

/// Whether a command over several partitions is of that kind outside of a transaction too. (MSETNX is not: its owners' votes are enough.)
pub(super) fn is_staged(id: CommandId) -> bool {
    matches!(
        id,
        CommandId::Bitop
            | CommandId::Copy
            | CommandId::Georadius
            | CommandId::Georadiusbymember
            | CommandId::Geosearchstore
            | CommandId::Lcs
            | CommandId::Lmove
            | CommandId::Lmpop
            | CommandId::Pfcount
            | CommandId::Pfmerge
            | CommandId::Rename
            | CommandId::Renamenx
            | CommandId::Rpoplpush
            | CommandId::Sdiff
            | CommandId::Sdiffstore
            | CommandId::Sinter
            | CommandId::Sintercard
            | CommandId::Sinterstore
            | CommandId::Smove
            | CommandId::Sort
            | CommandId::SortRo
            | CommandId::Sunion
            | CommandId::Sunionstore
            | CommandId::Swapdb
            | CommandId::Xread
            | CommandId::Xreadgroup
            | CommandId::Zdiff
            | CommandId::Zdiffstore
            | CommandId::Zinter
            | CommandId::Zintercard
            | CommandId::Zinterstore
            | CommandId::Zmpop
            | CommandId::Zrangestore
            | CommandId::Zunion
            | CommandId::Zunionstore
    )
}

impl Placed {
    pub fn new(db: DbId, key: &[u8], partitions: u16) -> Self {
        Self { partition: partition_of(key, partitions), db, key: key.into() }
    }

    fn member(&self, member: &[u8], change: Change) -> (PartitionId, Step) {
        (self.partition, Step::Member { db: self.db, key: self.key.clone(), member: member.into(), change })
    }
}

impl Staged {
    /// Begins a command: what it is, and its first steps. `None` if it is none of those.
    ///
    /// # Errors
    /// The answer, if its arguments are wrong.
    pub fn new(request: Request<'_>, extent: Extent) -> Result<Option<(Self, Steps)>, Stop> {
        let Request { id, db, args, .. } = request;
        let partitions = extent.partitions;
        let transfer = |way, to_db| {
            let from = Placed::new(db, args.at(1), partitions);
            let to = Placed::new(to_db, args.at(2), partitions);
            let mut key = Strings::default();
            key.push(&to.key);
            let fetch = Step::Fetch { db, key: from.key.clone() };
            let count = Step::Share(Share { db: to_db, action: Action::Count(key) });
            let steps = vec![(from.partition, fetch), (to.partition, count)];
            (Self::Transfer { way, from, to }, steps)
        };
        let select = |from: &[u8], to: &[u8]| {
            let select = Step::Select { id, db, args: args.into() };
            (Self::Store { to: Placed::new(db, to, partitions) }, vec![(partition_of(from, partitions), select)])
        };
        Ok(Some(match id {
            CommandId::Msetnx => {
                let puts = Plan::new(request, Protocol::Resp2, extent)?.shares;
                let steps = puts.iter().map(|(partition, Share { db, action })| {
                    let Action::Put { pairs, .. } = action else { unreachable!("it puts") };
                    let mut keys = Strings::default();
                    pairs.iter().step_by(2).for_each(|key| keys.push(key));
                    (*partition, Step::Share(Share { db: *db, action: Action::Count(keys) }))
                });
                let steps = steps.collect();
                (Self::PutIfAbsent { puts }, steps)
            }
            CommandId::Rename => transfer(Way::Move, db),
            CommandId::Renamenx => transfer(Way::MoveIfNew, db),
            CommandId::Copy => {
                let CopyOptions { db: to_db, replace } = CopyOptions::parse(args, db, extent.databases)?;
                transfer(Way::Copy { replace }, to_db)
            }
            CommandId::Bitop => {
                let operation = Operation::parse(args)?;
                let to = Placed::new(db, args.at(2), partitions);
                let (steps, order) = read(db, args.from(3), partitions, WRONG_TYPE_TEXT);
                (Self::Combine { operation, to, order }, steps)
            }
            CommandId::Sdiff
            | CommandId::Sdiffstore
            | CommandId::Sinter
            | CommandId::Sintercard
            | CommandId::Sinterstore
            | CommandId::Sunion
            | CommandId::Sunionstore => {
                let combination = Combination::parse(id, args)?;
                let to = combination.destination(args).map(|to| Placed::new(db, to, partitions));
                let steps = gather(db, combination.sources(args).iter(), SETS, partitions);
                (Self::CombineSets { combination, to, limits: extent.compact_set }, steps)
            }
            CommandId::Smove => {
                let (from, to) = (Placed::new(db, args.at(1), partitions), Placed::new(db, args.at(2), partitions));
                let member: Box<[u8]> = args.at(3).into();
                let steps = [&from, &to].map(|set| set.member(&member, Change::Look)).to_vec();
                (Self::MoveMember { member, from, to }, steps)
            }
            CommandId::Lcs => {
                let options = Lcs::parse(args)?;
                let (steps, order) = read(db, args.to(3).from(1), partitions, NOT_STRINGS);
                (Self::Common { options, order, max_bytes: extent.max_value_bytes }, steps)
            }
            CommandId::Zrangestore => {
                check_range(id, args)?;
                select(args.at(2), args.at(1))
            }
            CommandId::Georadius | CommandId::Georadiusbymember | CommandId::Geosearchstore => {
                let (from, Some(to)) = Search::keys(id, args)? else { return Ok(None) };
                select(from, to)
            }
            CommandId::Zdiff
            | CommandId::Zdiffstore
            | CommandId::Zinter
            | CommandId::Zintercard
            | CommandId::Zinterstore
            | CommandId::Zunion
            | CommandId::Zunionstore => {
                let combination = SortedCombination::parse(id, args)?;
                let to = combination.to.map(|to| Placed::new(db, to, partitions));
                let steps = fetch(db, combination.keys, partitions);
                (Self::Members { id, args: args.into(), to, limits: extent.compact_zset }, steps)
            }
            CommandId::Sort | CommandId::SortRo => {
                let (sorted, steps) = Sorted::new(request, extent)?;
                (Self::Sort(sorted), steps)
            }
            CommandId::Pfcount => (Self::Estimate, fetch(db, args.from(1), partitions)),
            CommandId::Pfmerge => {
                let to = Placed::new(db, args.at(1), partitions);
                let sparse_max_bytes = extent.hll_sparse_max_bytes;
                (Self::MergeEstimates { to, sparse_max_bytes }, fetch(db, args.from(1), partitions))
            }
            CommandId::Zmpop => {
                let MultiPop { keys, highest, count } = MultiPop::parse(args.from(1))?;
                let keys: Vec<_> = keys.iter().map(|key| (partition_of(key, partitions), Box::from(key))).collect();
                let size = |(partition, key): &(PartitionId, Box<[u8]>)| {
                    let args = OwnedArgs::from_words(&[b"zcard", key]);
                    (*partition, Step::Command { id: CommandId::Zcard, db, args })
                };
                let steps = keys.iter().map(size).collect();
                (Self::Pop { db, keys, highest, count }, steps)
            }
            CommandId::Blmove | CommandId::Brpoplpush => {
                Wish::parse(id, args, 0)?;
                let (lists, steps) = Lists::new(request, partitions)?;
                (Self::Lists(lists), steps)
            }
            CommandId::Lmove | CommandId::Lmpop | CommandId::Rpoplpush => {
                let (lists, steps) = Lists::new(request, partitions)?;
                (Self::Lists(lists), steps)
            }
            CommandId::Xread | CommandId::Xreadgroup => {
                let (streams, steps) = Streams::new(request, partitions)?;
                (Self::Streams(streams), steps)
            }
            id if Wish::is_one(id) => {
                let wish = Wish::parse(id, args, 0)?;
                let keys: Vec<_> = wish.keys.iter().map(|key| Placed::new(db, key, partitions)).collect();
                let count = |placed: &Placed| {
                    let mut key = Strings::default();
                    key.push(&placed.key);
                    (placed.partition, Step::Share(Share { db, action: Action::Count(key) }))
                };
                let steps = keys.iter().map(count).collect();
                (Self::Take { line: Line { id, db, args: args.into() }, keys, waits: None }, steps)
            }
            CommandId::Swapdb => {
                let (a, b) = parse_swap(args, extent.databases)?;
                let steps = (0..partitions).map(|partition| (PartitionId(partition), Step::Swap { a, b }));
                (Self::Swap, steps.collect())
            }
            _ => return Ok(None),
        }))
    }

    /// Who waits if there is nothing to be taken.
    pub fn may_wait(&mut self, waiting: Option<&Waiting>) {
        if let Self::Take { waits, .. }
        | Self::Lists(Lists::Move { waits, .. })
        | Self::Streams(Streams { waits, .. }) = self
        {
            *waits = waiting.cloned();
        }
    }

    /// Goes on with what the owners have answered: writes the reply, which is true when the steps that are returned have been done. If it
    /// writes none, the reply is that of a step; or it is still to go on with what they answer to those.
    ///
    /// # Errors
    /// The answer, if it ends with one.
    pub fn go_on(self, answers: Vec<Answer>, reply: &mut Reply<'_>) -> Result<(Option<Self>, Steps), Stop> {
        match self {
            Self::Sort(sorted) => {
                let (sorted, steps) = sorted.go_on(answers, reply)?;
                Ok((sorted.map(Self::Sort), steps))
            }
            staged => staged.end(answers, reply).map(|steps| (None, steps)),
        }
    }

    /// The second stage is the last one.
    fn end(self, answers: Vec<Answer>, reply: &mut Reply<'_>) -> Result<Steps, Stop> {
        match self {
            Self::PutIfAbsent { puts } => {
                let is_there = answers.iter().any(|answer| counted(answer) > 0);
                reply.integer(i64::from(!is_there));
                let steps = puts.into_iter().map(|(partition, share)| (partition, Step::Share(share)));
                Ok(if is_there { Steps::new() } else { steps.collect() })
            }
            Self::Sort(_) => unreachable!("it may have more stages"),
            Self::Swap => {
                reply.ok();
                Ok(Steps::new())
            }
            Self::Lists(lists) => lists.go_on(answers, reply),
            Self::Streams(_) => unreachable!("it goes on by itself: its stages are not always two"),
            Self::Take { line, keys, waits } => take(&line, &keys, waits.as_ref(), &answers, reply),
            Self::Transfer { way, from, to } => transfer(way, from, to, answers, reply),
            Self::Combine { operation, to, order } => {
                let shares = values(answers);
                let result = operation.combine(&texts(&order, &shares));
                reply.integer(result.len() as i64);
                let step = if result.is_empty() {
                    delete(to.db, &to.key)
                } else {
                    Step::Place { db: to.db, key: to.key, held: Held::text(result, None), grows: true }
                };
                Ok(vec![(to.partition, step)])
            }
            Self::Members { id, args, to, limits } => {
                let inputs: Vec<_> = answers.into_iter().map(held).collect();
                let result = SortedCombination::parse(id, args.args())?.answer(&inputs, limits, reply)?;
                Ok(to.map_or_else(Steps::new, |to| store(to, result, reply)))
            }
            Self::Estimate => {
                let values: Vec<_> = answers.into_iter().map(held).collect();
                let merged = Merged::of(values.iter().map(|held| held.as_ref().map(Held::value)))?;
                reply.integer(merged.estimate() as i64);
                Ok(Steps::new())
            }
            Self::MergeEstimates { to, sparse_max_bytes } => {
                let values: Vec<_> = answers.into_iter().map(held).collect();
                let merged = Merged::of(values.iter().map(|held| held.as_ref().map(Held::value)))?;
                let old = values[0].as_ref();
                let text = merged.onto(old.map(Held::value), sparse_max_bytes)?;
                reply.ok();
                let held = Held::text(text, old.and_then(Held::expires_at_ms));
                Ok(vec![(to.partition, Step::Place { db: to.db, key: to.key, held, grows: true })])
            }
            Self::Store { to } => {
                let result = answers.into_iter().next().and_then(held);
                Ok(store(to, result, reply))
            }
            Self::Pop { db, keys, highest, count } => pop(db, keys, highest, count, &answers, reply),
            Self::CombineSets { combination, to, limits } => {
                let images = images(answers);
                let combined = combination.of(&images, limits);
                let Some(to) = to else {
                    combined.answer(reply);
                    return Ok(Steps::new());
                };
                let stored = combined.image();
                reply.integer(stored.as_ref().map_or(0, |(_, count)| *count) as i64);
                let step = match stored {
                    Some((image, _)) => {
                        Step::Place { db: to.db, key: to.key, held: Held::whole(image, None), grows: true }
                    }
                    None => delete(to.db, &to.key),
                };
                Ok(vec![(to.partition, step)])
            }
            Self::MoveMember { member, from, to } => {
                let [Answer::Member(there), Answer::Member(other)] = answers[..] else {
                    unreachable!("it has asked two sets")
                };
                let moves = Member::moves(there, other)?;
                reply.integer(i64::from(moves));
                let steps = [from.member(&member, Change::Leave), to.member(&member, Change::Join)];
                Ok(if moves { steps.to_vec() } else { Steps::new() })
            }
            Self::Common { options, order, max_bytes } => {
                let shares = values(answers);
                let texts = texts(&order, &shares);
                options.answer(texts[0], texts[1], max_bytes, reply)?;
                Ok(Steps::new())
            }
        }
    }
}

fn transfer(way: Way, from: Placed, to: Placed, answers: Vec<Answer>, reply: &mut Reply<'_>) -> Result<Steps, Stop> {
    let mut answers = answers.into_iter();
    let (Some(Answer::Held(held)), Some(count)) = (answers.next(), answers.next()) else {
        unreachable!("it has asked for what there is under both names")
    };
    let is_there = counted(&count) > 0;
    let Some(held) = held else {
        return match way {
            Way::Copy { .. } => {
                reply.integer(0);
                Ok(Steps::new())
            }
            Way::Move | Way::MoveIfNew => Err(NO_SUCH_KEY),
        };
    };
    if is_there && matches!(way, Way::MoveIfNew | Way::Copy { replace: false }) {
        reply.integer(0);
        return Ok(Steps::new());
    }
    let is_copy = matches!(way, Way::Copy { .. });
    if way == Way::Move {
        reply.ok()
    } else {
        reply.integer(1)
    }
    let mut steps = vec![(to.partition, Step::Place { db: to.db, key: to.key, held, grows: is_copy })];
    if !is_copy {
        steps.push((from.partition, delete(from.db, &from.key)));
    }
    Ok(steps)
}

/// Asks what there is under each key.
fn fetch(db: DbId, keys: Args<'_>, partitions: u16) -> Steps {
    keys.iter().map(|key| (partition_of(key, partitions), Step::Fetch { db, key: key.into() })).collect()
}

pub(super) fn held(answer: Answer) -> Option<Held> {
    if let Answer::Held(held) = answer { held } else { None }
}

/// Puts what a command has made under a key, or deletes that if there is nothing. Replies how much it is.
pub(super) fn store(to: Placed, held: Option<Held>, reply: &mut Reply<'_>) -> Steps {
    reply.integer(held.as_ref().map_or(0, Held::count) as i64);
    let step = match held {
        Some(held) => Step::Place { db: to.db, key: to.key, held, grows: true },
        None => delete(to.db, &to.key),
    };
    vec![(to.partition, step)]
}

/// Takes members out of the first of the keys that has any. What that replies is the reply.
fn pop(
    db: DbId,
    keys: Vec<(PartitionId, Box<[u8]>)>,
    highest: bool,
    count: u64,
    answers: &[Answer],
    reply: &mut Reply<'_>,
) -> Result<Steps, Stop> {
    for ((partition, key), answer) in keys.into_iter().zip(answers) {
        let Answer::Reply(size) = answer else { unreachable!("it has asked for a reply") };
        match size.as_slice() {
            b":0\r\n" => {}
            // what comes before it has nothing
            [b'-', ..] => return Err(WRONG_TYPE),
            _ => {
                let end = if highest { b"MAX" } else { b"MIN" };
                let count = count.to_string();
                let args = OwnedArgs::from_words(&[b"zmpop", b"1", &key, end, b"count", count.as_bytes()]);
                return Ok(vec![(partition, Step::Command { id: CommandId::Zmpop, db, args })]);
            }
        }
    }
    reply.null_array();
    Ok(Steps::new())
}

/// From the first key that exists, whatever it holds; or the client waits at all of them.
fn take(
    line: &Line,
    keys: &[Placed],
    waits: Option<&Waiting>,
    answers: &[Answer],
    reply: &mut Reply<'_>,
) -> Result<Steps, Stop> {
    let wish = Wish::parse(line.id, line.args.args(), 0)?;
    let first = keys.iter().zip(answers).find(|(_, answer)| counted(answer) > 0);
    if let Some((Placed { partition, db, key }, _)) = first {
        return Ok(vec![(*partition, Step::Command { id: line.id, db: *db, args: wish.of_one(key) })]);
    }
    let Some(waiting) = waits else {
        Wish::reply_nothing(line.id, reply);
        return Ok(Steps::new());
    };
    let mut partitions: Vec<_> = keys.iter().map(|placed| placed.partition).collect();
    partitions.sort_unstable();
    partitions.dedup();
    Ok(partitions.into_iter().map(|partition| (partition, Step::Wait(waiting.clone()))).collect())
}

fn delete(db: DbId, key: &[u8]) -> Step {
    let mut keys = Strings::default();
    keys.push(key);
    Step::Share(Share { db, action: Action::Delete(keys) })
}

/// Reads keys, wherever they are.
fn read(db: DbId, keys: Args<'_>, partitions: u16, else_error: &'static str) -> (Steps, Vec<u16>) {
    let (shares, order) = split(keys, 1, partitions);
    let steps = shares.into_iter().map(|(partition, keys)| {
        (partition, Step::Share(Share { db, action: Action::Get { keys, else_error: Some(else_error) } }))
    });
    (steps.collect(), order)
}

fn counted(answer: &Answer) -> u64 {
    if let Answer::Vote(Vote::Count(count)) = answer { *count } else { 0 }
}

pub(super) fn values(answers: Vec<Answer>) -> Vec<Values> {
    let values = |answer| if let Answer::Vote(Vote::Values(values)) = answer { values } else { Values::default() };
    answers.into_iter().map(values).collect()
}

/// The strings, in their order; those that are not there are empty.
fn texts<'a>(order: &[u16], shares: &'a [Values]) -> Vec<&'a [u8]> {
    let mut iters: Vec<_> = shares.iter().map(Values::iter).collect();
    let next = |share: &u16| iters[usize::from(*share)].next().flatten().unwrap_or_default();
    order.iter().map(next).collect()
}
