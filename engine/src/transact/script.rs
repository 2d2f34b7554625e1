//! Commands that are executed together, over any keys (EXEC): the coordinator's side.
//!
//! ```text
//!  MULTI  INCR a  MSETNX b 1 c 2  INCR b  EXEC       a, b in A, c in B
//!
//!             A                                    B
//!  round 1    INCR a, count b                      count c          with the locks
//!  round 2    put b, INCR b                        put c            only if neither is there
//! ```
//!
//! Each owner executes its steps in order, against what is in its partition and an overlay of what the transaction has changed there.
//! A round ends where what to do next depends on what another partition has answered; nearly every transaction has one.

use std::collections::BTreeMap;

#[cfg(any(test, feature = "sim"))]
use emberkv_log::plant::{self, Plant};
use emberkv_log::{DbId, PartitionId};
use emberkv_resp::schema::CommandId;
use emberkv_resp::{Args, Output, OwnedArgs, Protocol, Reply};

use super::plan::{Extent, Merge, Plan, Route, route};
use super::reply::Outcome;
use super::share::{Action, Answer, Run, Share, Step, Task};
use super::staged::Staged;
use super::streams::Next;
use crate::commands::{Sort, Wish};
use crate::databases::{MAP_KEY, RESERVED, parse_swap};
use crate::group::Request;
use crate::names::names;
use crate::stop::Stop;
use crate::tracking::Reader;
use crate::waiting::Waiting;
use crate::watch::Watch;

/// A command of a script; its number of arguments was checked.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Line {
    /// Which command.
    pub id: CommandId,
    /// The database that is selected when its turn comes.
    pub db: DbId,
    /// Its arguments, the name first.
    pub args: OwnedArgs,
}

/// A key that was watched, and in which database.
pub type Watched = (DbId, Box<[u8]>);

/// See the module.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Script {
    protocol: Protocol,
    extent: Extent,
    lines: Vec<Line>,
    /// It is one command, and no transaction of a client.
    is_single: bool,
    /// Who waits if that command finds nothing.
    waiting: Option<Waiting>,
    /// What each line has come to so far.
    states: Vec<State>,
    /// The first line that has not begun.
    next: usize,
    /// The lines that the answers of each owner are for, in order.
    asked: BTreeMap<PartitionId, Vec<Ask>>,
}

/// An answer that is to come.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Ask {
    line: usize,
    share: usize,
}

#[derive(Clone, PartialEq, Eq, Debug)]
enum State {
    /// Not begun, or answers are to come: one for each share.
    Open {
        answers: Vec<Option<Answer>>,
        end: End,
    },
    Done(Vec<u8>),
}

/// What is made of a line's answers.
#[derive(Clone, PartialEq, Eq, Debug)]
enum End {
    /// The only one is the reply.
    Only,
    /// They become a reply.
    Merge(Merge),
    /// There is a second stage.
    Stage(Box<Staged>),
    /// This reply, if none is an error.
    Reply(Vec<u8>),
}

impl Script {
    /// A step for the owner of a partition; its answer is this share of the line's.
    fn ask(&mut self, steps: &mut Steps, partition: PartitionId, line: usize, share: usize, step: Step) {
        steps.entry(partition).or_default().push(Task { id: self.lines[line].id, step });
        self.asked.entry(partition).or_default().push(Ask { line, share });
    }

    /// A line's next steps, and what is made of their answers.
    fn ask_all(&mut self, steps: &mut Steps, line: usize, asks: Vec<(PartitionId, Step)>, end: End) {
        self.states[line] = State::Open { answers: vec![None; asks.len()], end };
        for (share, (partition, step)) in asks.into_iter().enumerate() {
            self.ask(steps, partition, line, share, step);
        }
    }

    fn error(&self, text: &str) -> State {
        let mut output = Output::new();
        Reply::new(&mut output, self.protocol).error(text);
        State::Done(output.to_vec())
    }

    /// Begins lines, up to one whose end has to be known first. Returns what the owners have to do.
    pub fn go_on(&mut self, random: u64) -> Steps {
        let mut steps = Steps::new();
        for line in 0..self.next {
            self.finish_line(line, &mut steps, random);
        }
        let is_staged = |state: &State| matches!(state, State::Open { end: End::Stage(_), .. });
        while self.next < self.lines.len() && !self.states[..self.next].last().is_some_and(is_staged) {
            let line = self.next;
            self.next += 1;
            self.begin_line(line, &mut steps);
        }
        steps
    }

    fn begin_line(&mut self, line: usize, steps: &mut Steps) {
        let Line { id, db, args } = self.lines[line].clone();
        let request = Request { id, db, args: args.args(), whose: emberkv_log::Whose::default() };
        if let Route::One(partition) = route(id, request.args, self.extent.partitions) {
            let step = match &self.waiting {
                Some(waiting) => Step::TakeOrWait(waiting.clone()),
                None => Step::Command { id, db, args },
            };
            return self.ask_all(steps, line, vec![(partition, step)], End::Only);
        }
        match self.take_apart(request) {
            Ok((asks, end)) => self.ask_all(steps, line, asks, end),
            Err(Stop::Error(text)) => self.states[line] = self.error(&text),
            Err(Stop::Wait | Stop::Locked | Stop::Cold(_)) => unreachable!("a plan waits for nothing"),
        }
    }

    /// The first steps of a command over several partitions.
    fn take_apart(&self, request: Request<'_>) -> Result<(Vec<(PartitionId, Step)>, End), Stop> {
        if let Some((mut staged, asks)) = Staged::new(request, self.extent)? {
            staged.may_wait(self.waiting.as_ref());
            return Ok((asks, End::Stage(Box::new(staged))));
        }
        let Plan { shares, merge, .. } = Plan::new(request, self.protocol, self.extent)?;
        let asks = shares.into_iter().map(|(partition, share)| (partition, Step::Share(share)));
        Ok((asks.collect(), End::Merge(merge)))
    }

    /// Takes what an owner has answered to its steps.
    pub fn take(&mut self, partition: PartitionId, answers: Vec<Answer>) {
        let asked = self.asked.remove(&partition).unwrap_or_default();
        for (Ask { line, share }, answer) in asked.into_iter().zip(answers) {
            if let State::Open { answers, .. } = &mut self.states[line] {
                answers[share] = Some(answer);
            }
        }
    }

    /// Makes a line's reply, or goes on with it, if all its answers are there.
    fn finish_line(&mut self, line: usize, steps: &mut Steps, random: u64) {
        match &self.states[line] {
            State::Open { answers, .. } if answers.iter().all(Option::is_some) => {}
            _ => return,
        }
        let State::Open { answers, end } = std::mem::replace(&mut self.states[line], State::Done(Vec::new())) else {
            return;
        };
        let mut answers: Vec<_> = answers.into_iter().flatten().collect();
        if let Some(Answer::Error(text)) = answers.iter().find(|answer| matches!(answer, Answer::Error(_))) {
            self.states[line] = self.error(text);
            return;
        }
        let mut output = Output::new();
        let mut reply = Reply::new(&mut output, self.protocol);
        let bytes = match end {
            End::Only => match answers.pop() {
                Some(Answer::Reply(bytes)) => bytes,
                other => unreachable!("{other:?} is no reply"),
            },
            End::Reply(bytes) => bytes,
            End::Merge(merge) => {
                let vote = |answer| if let Answer::Vote(vote) = answer { Some(vote) } else { None };
                merge.outcome(answers.into_iter().filter_map(vote).collect(), random).write(&mut reply);
                output.to_vec()
            }
            End::Stage(staged) => match *staged {
                Staged::Streams(streams) => match streams.go_on(answers, self.protocol) {
                    Next::Done(bytes) => bytes,
                    Next::Wait(asks) => return self.ask_all(steps, line, asks, End::Only),
                    Next::Ask(asks, streams) => {
                        let next = End::Stage(Box::new(Staged::Streams(streams)));
                        return self.ask_all(steps, line, asks, next);
                    }
                },
                staged => match staged.go_on(answers, &mut reply) {
                    Ok((Some(next), asks)) => {
                        return self.ask_all(steps, line, asks, End::Stage(Box::new(next)));
                    }
                    Ok((None, asks)) if asks.is_empty() => output.to_vec(),
                    Ok((None, asks)) => {
                        let reply = output.to_vec();
                        let end = if reply.is_empty() { End::Only } else { End::Reply(reply) };
                        return self.ask_all(steps, line, asks, end);
                    }
                    Err(Stop::Error(text)) => {
                        self.states[line] = self.error(&text);
                        return;
                    }
                    Err(Stop::Wait | Stop::Locked | Stop::Cold(_)) => unreachable!("a stage waits for nothing"),
                },
            },
        };
        self.states[line] = State::Done(bytes);
    }

    /// The replies, when all is done.
    pub fn outcome(self) -> Outcome {
        let reply = |state| if let State::Done(bytes) = state { bytes } else { Vec::new() };
        let mut replies: Vec<_> = self.states.into_iter().map(reply).collect();
        if self.is_single { Outcome::Reply(replies.pop().unwrap_or_default()) } else { Outcome::Replies(replies) }
    }
}

/// Whether it may read keys that only its elements name: the patterns of a SORT.
fn has_unnamed_keys(id: CommandId, args: Args<'_>) -> bool {
    matches!(id, CommandId::Sort | CommandId::SortRo)
        && Sort::parse(id, args, true).is_ok_and(|sort| sort.has_patterns())
}

/// What each owner has to do next.
pub(crate) type Steps = BTreeMap<PartitionId, Vec<Task>>;

impl Plan {
    /// A plan for commands that are executed together, if none of the watched keys has changed.
    pub fn script(lines: Vec<Line>, watch: Option<(&Watch, &[Watched])>, protocol: Protocol, extent: Extent) -> Self {
        Self::of_lines(lines, watch, protocol, extent, None, false)
    }

    /// A plan for one command, whose second stage depends on its first.
    pub fn single(line: Line, protocol: Protocol, extent: Extent) -> Self {
        Self::of_lines(vec![line], None, protocol, extent, None, true)
    }

    /// A plan for a command that waits if it finds nothing: [`Outcome::Reply`] is empty then.
    ///
    /// # Errors
    /// The answer, if its arguments are wrong.
    pub fn waiting(waiting: &Waiting, extent: Extent) -> Result<Self, Stop> {
        let waiter = waiting.waiter();
        let waits = Wish::parse(waiter.id, waiter.args.args(), 0)?.waits;
        let line = Line { id: waiter.id, db: waiter.db, args: waiter.args.clone() };
        Ok(Self::of_lines(vec![line], None, waiter.protocol, extent, Some(waiting).filter(|_| waits), true))
    }

    /// A plan for what somebody has waited for, whose destination is in another partition.
    ///
    /// # Panics
    /// If his command has none.
    pub fn transfer(waiting: &Waiting, extent: Extent) -> Self {
        let waiter = waiting.waiter();
        let Ok(wish) = Wish::parse(waiter.id, waiter.args.args(), 0) else { unreachable!("it was looked at") };
        let (id, args) = wish.taking(wish.keys.at(0));
        Self::single(Line { id, db: waiter.db, args }, waiter.protocol, extent)
    }

    fn of_lines(
        lines: Vec<Line>,
        watch: Option<(&Watch, &[Watched])>,
        protocol: Protocol,
        extent: Extent,
        waiting: Option<&Waiting>,
        is_single: bool,
    ) -> Self {
        let partitions = extent.partitions;
        let mut runs: BTreeMap<PartitionId, Run> = BTreeMap::new();
        let blank = || Run {
            steps: Vec::new(),
            protocol,
            keys: Vec::new(),
            all: false,
            watched: Vec::new(),
            watch: None,
            alone: false,
            reader: None,
        };
        // behind a SWAPDB a key may be of any database that it names
        let swaps = lines.iter().filter(|line| line.id == CommandId::Swapdb);
        let swaps = swaps.filter_map(|line| parse_swap(line.args.args(), extent.databases).ok());
        let mut swapped: Vec<DbId> = swaps.flat_map(|(a, b)| [a, b]).collect();
        swapped.sort_unstable();
        swapped.dedup();
        let owner = |key: &[u8]| crate::slots::partition_of(key, partitions);
        for Line { id, db, args } in &lines {
            let args: Args<'_> = args.args();
            // a command with wrong arguments has no keys, but somebody has to say so
            if let Route::One(partition) = route(*id, args, partitions) {
                runs.entry(partition).or_insert_with(blank);
            }
            let request = Request { id: *id, db: *db, args, whose: emberkv_log::Whose::default() };
            for (db, key) in names(request).into_iter().flatten() {
                let run = runs.entry(owner(key)).or_insert_with(blank);
                #[cfg(any(test, feature = "sim"))]
                if waiting.is_some() && plant::is(Plant::B3) {
                    continue;
                }
                run.keys.push((db, key.into()));
                if swapped.contains(&db) {
                    run.keys.extend(swapped.iter().filter(|other| **other != db).map(|other| (*other, key.into())));
                }
            }
            if id.command().keys.is_empty()
                || has_unnamed_keys(*id, args) && route(*id, args, partitions) == Route::Several
            {
                for partition in 0..partitions {
                    runs.entry(PartitionId(partition)).or_insert_with(blank).all = true;
                }
            }
        }
        if !swapped.is_empty() {
            runs.values_mut().for_each(|run| run.keys.push((RESERVED, MAP_KEY.into())));
        }
        if let Some((watch, keys)) = watch {
            for (db, key) in keys {
                let run = runs.entry(owner(key)).or_insert_with(blank);
                run.watched.push((*db, key.clone()));
                run.watch = Some(watch.clone());
            }
        }
        let states = lines.iter().map(|_| State::Open { answers: vec![None], end: End::Only }).collect();
        let waiting = waiting.cloned();
        let mut script =
            Script { protocol, extent, lines, is_single, waiting, states, next: 0, asked: BTreeMap::new() };
        for (partition, steps) in script.go_on(0) {
            runs.entry(partition).or_insert_with(blank).steps = steps;
        }
        if let [run] = &mut runs.values_mut().collect::<Vec<_>>()[..] {
            // a swap is to be durable before anybody sees it, also if there is one partition
            run.alone = swapped.is_empty();
        }
        let db = DbId(0);
        let shares =
            runs.into_iter().map(|(partition, run)| (partition, Share { db, action: Action::Run(Box::new(run)) }));
        Self { shares: shares.collect(), merge: Merge::Script, script: Some(script), untouched: false }
    }

    /// The same; somebody is going to keep what it reads.
    #[must_use]
    pub fn for_reader(mut self, reader: Reader) -> Self {
        for (_, share) in &mut self.shares {
            if let Action::Run(run) = &mut share.action {
                run.reader = Some(reader);
            }
        }
        self
    }

    /// A plan for watching keys from now on.
    pub fn watch(db: DbId, keys: Args<'_>, watch: &Watch, partitions: u16) -> Self {
        let shares = super::plan::split(keys, 1, partitions).0.into_iter();
        let action = |keys| Action::Watch { keys, watch: watch.clone() };
        let shares = shares.map(|(partition, keys)| (partition, Share { db, action: action(keys) })).collect();
        Self { shares, merge: Merge::Watched, script: None, untouched: false }
    }
}
