//! ZUNION, ZINTER, ZDIFF, what puts their results under a key, and ZINTERCARD. Sets are inputs too: their members have the score 1.

use std::collections::HashMap;

use emberkv_log::Value;
use emberkv_log::disk::Disk;
use emberkv_resp::schema::CommandId;
use emberkv_resp::{Args, Reply, format};

use super::numbers::parse_score;
use super::{Image, Shape};
use crate::collections::{Compact, Type, WRONG_TYPE, Whole, score_in};
use crate::group::Request;
use crate::held::Held;
use crate::partition::Partition;
use crate::stop::Stop;

/// What is made of the inputs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Operation {
    Union,
    Inter,
    Diff,
}

/// What becomes of the scores of a member that several inputs have.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Aggregate {
    Sum,
    Min,
    Max,
}

impl Aggregate {
    fn of(self, a: f64, b: f64) -> f64 {
        match self {
            Self::Sum => or_zero(a + b),
            Self::Min => {
                if b < a {
                    b
                } else {
                    a
                }
            }
            Self::Max => {
                if b > a {
                    b
                } else {
                    a
                }
            }
        }
    }
}

/// What would be no number is 0: an infinity and its opposite, or none of an infinity.
fn or_zero(score: f64) -> f64 {
    if score.is_nan() { 0.0 } else { score }
}

/// A command of those, as far as it says which its keys are.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SortedCombination<'a> {
    id: CommandId,
    /// Where the result is put.
    pub to: Option<&'a [u8]>,
    /// The inputs.
    pub keys: Args<'a>,
    /// What follows them.
    options: Args<'a>,
}

/// What follows the keys.
#[derive(Clone, PartialEq, Debug)]
struct Options {
    weights: Option<Vec<f64>>,
    aggregate: Aggregate,
    with_scores: bool,
    /// So many are counted.
    limit: u64,
}

type Members<'a> = Vec<(&'a [u8], f64)>;

/// The members of an input; none if there is none.
fn members(input: Option<&Held>) -> Result<Members<'_>, Stop> {
    let Some(held) = input else { return Ok(Members::new()) };
    let Value::Whole(image) = held.value() else { return Err(WRONG_TYPE) };
    let whole = Whole::read(image);
    match whole.head.kind {
        Type::ZSet => Ok(whole.pairs().map(|pair| (pair.field, score_in(pair.value))).collect()),
        Type::Set => Ok(whole.pairs().map(|pair| (pair.field, 1.0)).collect()),
        _ => Err(WRONG_TYPE),
    }
}

impl<'a> SortedCombination<'a> {
    /// Reads a command up to its last key.
    ///
    /// # Errors
    /// If it does not say which its keys are.
    pub fn parse(id: CommandId, args: Args<'a>) -> Result<Self, Stop> {
        let stores = matches!(id, CommandId::Zunionstore | CommandId::Zinterstore | CommandId::Zdiffstore);
        let (to, rest) = if stores { (Some(args.at(1)), args.from(2)) } else { (None, args.from(1)) };
        let count = format::parse_integer(rest.at(0)).ok_or(Stop::NOT_AN_INTEGER)?;
        if count < 1 {
            let name = id.command().name;
            return Err(Stop::Error(format!("ERR at least 1 input key is needed for '{name}' command").into()));
        }
        let count = usize::try_from(count).ok().filter(|count| *count < rest.len()).ok_or(Stop::SYNTAX)?;
        Ok(Self { id, to, keys: rest.to(count + 1).from(1), options: rest.from(count + 1) })
    }

    fn operation(self) -> Operation {
        match self.id {
            CommandId::Zunion | CommandId::Zunionstore => Operation::Union,
            CommandId::Zdiff | CommandId::Zdiffstore => Operation::Diff,
            _ => Operation::Inter,
        }
    }

    fn counts(self) -> bool {
        self.id == CommandId::Zintercard
    }

    fn options(self) -> Result<Options, Stop> {
        let mut options = Options { weights: None, aggregate: Aggregate::Sum, with_scores: false, limit: 0 };
        let has_weights = self.operation() != Operation::Diff && !self.counts();
        let mut at = 0;
        while let Some(word) = self.options.get(at) {
            let is = |name: &[u8]| word.eq_ignore_ascii_case(name);
            let left = self.options.len() - at - 1;
            at += 1;
            if has_weights && is(b"weights") && left >= self.keys.len() {
                let weight = |text| parse_score(text).ok_or(Stop::error("ERR weight value is not a float"));
                let weights = self.options.from(at).iter().take(self.keys.len()).map(weight);
                options.weights = Some(weights.collect::<Result<_, _>>()?);
                at += self.keys.len();
            } else if has_weights && is(b"aggregate") && left >= 1 {
                let word = self.options.at(at);
                let is = |name: &[u8]| word.eq_ignore_ascii_case(name);
                options.aggregate = match () {
                    () if is(b"sum") => Aggregate::Sum,
                    () if is(b"min") => Aggregate::Min,
                    () if is(b"max") => Aggregate::Max,
                    () => return Err(Stop::SYNTAX),
                };
                at += 1;
            } else if self.to.is_none() && !self.counts() && is(b"withscores") {
                options.with_scores = true;
            } else if self.counts() && is(b"limit") && left >= 1 {
                let limit = format::parse_integer(self.options.at(at)).and_then(|limit| u64::try_from(limit).ok());
                options.limit = limit.ok_or(Stop::error("ERR LIMIT can't be negative"))?;
                at += 1;
            } else {
                return Err(Stop::SYNTAX);
            }
        }
        Ok(options)
    }

    /// Combines what the keys hold: writes the reply, or, if there is a destination, returns what is to be put there, and what there is of it is
    /// the reply.
    ///
    /// # Errors
    /// If one holds another kind of value, or the options are wrong.
    pub fn answer(self, inputs: &[Option<Held>], limits: Compact, reply: &mut Reply<'_>) -> Result<Option<Held>, Stop> {
        let inputs = inputs.iter().map(|input| members(input.as_ref())).collect::<Result<Vec<_>, _>>()?;
        let options = self.options()?;
        let mut result = self.combine(&inputs, &options);
        if self.counts() {
            let count = result.len() as u64;
            reply.integer(if options.limit > 0 { count.min(options.limit) } else { count } as i64);
            return Ok(None);
        }
        // none of them is no number
        result.sort_by(|a, b| a.1.partial_cmp(&b.1).unwrap_or(std::cmp::Ordering::Equal).then_with(|| a.0.cmp(b.0)));
        if self.to.is_some() {
            let mut image = Image::new(limits);
            result.iter().for_each(|(member, score)| image.push(member, *score));
            return Ok(image.held());
        }
        let shape = Shape::of(options.with_scores, reply);
        shape.begin(result.len(), reply);
        result.iter().for_each(|(member, score)| shape.show(member, *score, reply));
        Ok(None)
    }

    fn combine<'m>(self, inputs: &[Members<'m>], options: &Options) -> Members<'m> {
        let weight = |i: usize| options.weights.as_ref().map_or(1.0, |weights| weights[i]);
        if self.operation() == Operation::Diff {
            let others: std::collections::HashSet<_> =
                inputs[1..].iter().flatten().map(|(member, _)| *member).collect();
            return inputs[0].iter().filter(|(member, _)| !others.contains(member)).copied().collect();
        }
        // sums depend on the order: redis goes from the smallest to the largest
        let mut order: Vec<_> = (0..inputs.len()).collect();
        order.sort_by_key(|i| inputs[*i].len());
        if self.operation() == Operation::Union {
            let mut union: HashMap<&[u8], f64> = HashMap::new();
            for i in order {
                for (member, score) in &inputs[i] {
                    let score = or_zero(weight(i) * score);
                    let own = union.entry(member);
                    own.and_modify(|sum| *sum = options.aggregate.of(*sum, score)).or_insert(score);
                }
            }
            return union.into_iter().collect();
        }
        let others: Vec<(usize, HashMap<&[u8], f64>)> =
            order[1..].iter().map(|i| (*i, inputs[*i].iter().copied().collect())).collect();
        let mut inter = Members::new();
        for (member, score) in &inputs[order[0]] {
            let first = or_zero(weight(order[0]) * score);
            let all = others.iter().try_fold(first, |sum, (i, other)| {
                other.get(member).map(|score| options.aggregate.of(sum, weight(*i) * score))
            });
            inter.extend(all.map(|score| (*member, score)));
        }
        inter
    }
}

impl<D: Disk> Partition<D> {
    /// ZUNION, ZINTER, ZDIFF, ZUNIONSTORE, ZINTERSTORE, ZDIFFSTORE, ZINTERCARD.
    pub(in crate::commands) fn zcombine(&mut self, request: Request<'_>, reply: &mut Reply<'_>) -> Result<(), Stop> {
        let combination = SortedCombination::parse(request.id, request.args)?;
        let to = combination.to.map(|to| self.key(request.db, to));
        let keys: Vec<_> = combination.keys.iter().map(|key| self.key(request.db, key)).collect();
        // a lookup that removes an expired key moves others in the index: removals first, then the reads
        if let Some(to) = to {
            self.lookup(to)?;
        }
        for key in &keys {
            let lookup = self.lookup(*key)?;
            self.count_read(*key, lookup);
        }
        let mut inputs = Vec::with_capacity(keys.len());
        for key in &keys {
            let found = self.peek(*key).live();
            inputs.push(found.map(|found| self.held(*key, found)).transpose()?);
        }
        let held = combination.answer(&inputs, self.limits.compact_zset, reply)?;
        match to {
            Some(to) => self.store(to, held, reply),
            None => Ok(()),
        }
    }
}
