//! ZADD, ZINCRBY. What a score becomes is written, not by how much it changes (law 5).

use emberkv_log::Purpose;
use emberkv_log::disk::Disk;
use emberkv_resp::schema::CommandId;
use emberkv_resp::{Args, Reply};

use super::NOT_A_FLOAT;
use super::numbers::parse_score;
use crate::collections::Type;
use crate::events::EventClass;
use crate::group::Request;
use crate::partition::Partition;
use crate::stop::Stop;

/// Which members are given a score.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Which {
    All,
    /// Those that are not there.
    New,
    /// Those that are.
    Old,
}

/// Which scores replace one that is there.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Replaces {
    Any,
    Greater,
    Less,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Options {
    which: Which,
    replaces: Replaces,
    /// Those that have got another score are counted too.
    counts_changes: bool,
    /// The score is added to the one that is there.
    adds: bool,
}

impl Options {
    /// Reads ZADD's or ZINCRBY's options; also where the scores and members begin.
    fn parse(id: CommandId, args: Args<'_>) -> Result<(Self, usize), Stop> {
        let (mut new, mut old, mut greater, mut less) = (false, false, false, false);
        let (mut counts_changes, mut adds) = (false, id == CommandId::Zincrby);
        let mut at = 2;
        while let Some(word) = args.get(at) {
            let option = [
                (&b"nx"[..], &mut new),
                (b"xx", &mut old),
                (b"gt", &mut greater),
                (b"lt", &mut less),
                (b"ch", &mut counts_changes),
                (b"incr", &mut adds),
            ];
            let Some((_, option)) = option.into_iter().find(|(name, _)| word.eq_ignore_ascii_case(name)) else { break };
            *option = true;
            at += 1;
        }
        let words = args.len() - at;
        if words == 0 || !words.is_multiple_of(2) {
            return Err(Stop::SYNTAX);
        }
        if new && old {
            return Err(Stop::error("ERR XX and NX options at the same time are not compatible"));
        }
        if (greater || less) && new || greater && less {
            return Err(Stop::error("ERR GT, LT, and/or NX options at the same time are not compatible"));
        }
        if adds && words > 2 {
            return Err(Stop::error("ERR INCR option supports a single increment-element pair"));
        }
        let which = match (new, old) {
            (true, _) => Which::New,
            (_, true) => Which::Old,
            _ => Which::All,
        };
        let replaces = match (greater, less) {
            (true, _) => Replaces::Greater,
            (_, true) => Replaces::Less,
            _ => Replaces::Any,
        };
        Ok((Self { which, replaces, counts_changes, adds }, at))
    }

    /// The score that a member is to have, which has `old` if it is there; `None` if nothing is to be done.
    fn score(self, given: f64, old: Option<f64>) -> Result<Option<f64>, Stop> {
        let Some(old) = old else { return Ok((self.which != Which::Old).then_some(given)) };
        if self.which == Which::New {
            return Ok(None);
        }
        let score = if self.adds { old + given } else { given };
        if score.is_nan() {
            return Err(Stop::error("ERR resulting score is not a number (NaN)"));
        }
        let is_taken = match self.replaces {
            Replaces::Any => true,
            Replaces::Greater => score > old,
            Replaces::Less => score < old,
        };
        Ok(is_taken.then_some(score))
    }
}

impl<D: Disk> Partition<D> {
    /// ZADD, ZINCRBY.
    pub(in crate::commands) fn zadd(&mut self, request: Request<'_>, reply: &mut Reply<'_>) -> Result<(), Stop> {
        let (options, at) = Options::parse(request.id, request.args)?;
        let words = request.args.from(at);
        let scores = words.iter().step_by(2).map(|text| parse_score(text).ok_or(NOT_A_FLOAT));
        let scores = scores.collect::<Result<Vec<_>, _>>()?;
        let members = words.iter().skip(1).step_by(2);
        let key = self.key(request.db, request.args.at(1));
        let found = self.lookup_sorted(key)?.live();
        let limits = self.limits.compact_zset;
        if let Some(root) = found.and_then(|found| self.root(found)) {
            self.bring_elements(key, root, members.clone())?;
        }
        if options.adds {
            self.name_event(EventClass::SortedSet, "zincr");
        }
        let mut draft = self.draft(Type::ZSet, found);
        // as redis guesses, before it has looked which of them are new
        draft.fit_so_many(scores.len() as u64, limits);
        let (mut added, mut changed, mut last) = (0, 0, None);
        for (member, given) in members.zip(scores) {
            let old = self.draft_score(key, &mut draft, member)?;
            last = options.score(given, old)?;
            let Some(score) = last else { continue };
            if old.is_none() {
                draft.fit(member.len(), limits);
                added += 1;
            } else if old == Some(score) {
                continue;
            } else {
                changed += 1;
            }
            self.draft_place(key, &mut draft, member, score, old)?;
            draft.fit_count(limits);
        }
        self.commit(key, draft, Purpose::Grow)?;
        match last {
            Some(score) if options.adds => reply.double(score),
            None if options.adds => reply.null(),
            _ => reply.integer(added + if options.counts_changes { changed } else { 0 }),
        }
        Ok(())
    }
}
