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

use emberkv_log::{DbId, PartitionId};
use emberkv_resp::schema::CommandId;
use emberkv_resp::{Args, Output, OwnedArgs, Protocol, Reply};

use super::plan::{Merge, Plan, Route, route};
use super::share::{Action, Answer, Run, Share, Step, Vote};
use crate::group::Request;
use crate::stop::Stop;
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
    partitions: u16,
    lines: Vec<Line>,
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
        merge: Option<Merge>,
    },
    /// MSETNX has asked which of its keys there are.
    Counts {
        answers: Vec<Option<Answer>>,
        puts: Vec<(PartitionId, Share)>,
    },
    Done(Vec<u8>),
}

impl Script {
    /// A command for the owner of a partition; its answer is this share of the line's.
    fn ask(&mut self, steps: &mut Steps, partition: PartitionId, line: usize, share: usize, step: Step) {
        steps.entry(partition).or_default().push(step);
        self.asked.entry(partition).or_default().push(Ask { line, share });
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
        while self.next < self.lines.len() && !matches!(self.states[..self.next].last(), Some(State::Counts { .. })) {
            let line = self.next;
            self.next += 1;
            self.begin_line(line, &mut steps);
        }
        steps
    }

    fn begin_line(&mut self, line: usize, steps: &mut Steps) {
        let Line { id, db, args } = self.lines[line].clone();
        let request = Request { id, db, args: args.args(), whose: emberkv_log::Whose::default() };
        match route(id, request.args, self.partitions) {
            Route::One(partition) => {
                self.states[line] = State::Open { answers: vec![None], merge: None };
                self.ask(steps, partition, line, 0, Step::Command { id, db, args });
            }
            Route::Several => match Plan::new(request, self.partitions) {
                Err(Stop::Error(text)) => self.states[line] = self.error(&text),
                Err(Stop::Wait | Stop::Locked | Stop::Cold(_)) => unreachable!("a plan waits for nothing"),
                Ok(Plan { shares, merge: Merge::AllOrNone, .. }) => {
                    self.states[line] = State::Counts { answers: vec![None; shares.len()], puts: shares.clone() };
                    for (share, (partition, Share { db, action })) in shares.into_iter().enumerate() {
                        let Action::Put { pairs, .. } = action else { unreachable!("it puts") };
                        let mut keys = super::Strings::default();
                        pairs.iter().step_by(2).for_each(|key| keys.push(key));
                        let count = Share { db, action: Action::Count(keys) };
                        self.ask(steps, partition, line, share, Step::Share(count));
                    }
                }
                Ok(Plan { shares, merge, .. }) => {
                    self.states[line] = State::Open { answers: vec![None; shares.len()], merge: Some(merge) };
                    for (share, (partition, action)) in shares.into_iter().enumerate() {
                        self.ask(steps, partition, line, share, Step::Share(action));
                    }
                }
            },
        }
    }

    /// Takes what an owner has answered to its steps.
    pub fn take(&mut self, partition: PartitionId, answers: Vec<Answer>) {
        let asked = self.asked.remove(&partition).unwrap_or_default();
        for (Ask { line, share }, answer) in asked.into_iter().zip(answers) {
            if let State::Open { answers, .. } | State::Counts { answers, .. } = &mut self.states[line] {
                answers[share] = Some(answer);
            }
        }
    }

    /// Makes a line's reply, or goes on with it, if all its answers are there.
    fn finish_line(&mut self, line: usize, steps: &mut Steps, random: u64) {
        let is_complete = |answers: &[Option<Answer>]| answers.iter().all(Option::is_some);
        match &self.states[line] {
            State::Open { answers, .. } | State::Counts { answers, .. } if is_complete(answers) => {}
            _ => return,
        }
        let (answers, merge, puts) = match std::mem::replace(&mut self.states[line], State::Done(Vec::new())) {
            State::Open { answers, merge } => (answers, merge, Vec::new()),
            State::Counts { answers, puts } => (answers, Some(Merge::AllOrNone), puts),
            State::Done(_) => return,
        };
        let mut votes = Vec::with_capacity(answers.len());
        for answer in answers.into_iter().flatten() {
            match answer {
                Answer::Reply(bytes) => {
                    self.states[line] = State::Done(bytes);
                    return;
                }
                Answer::Error(text) => {
                    self.states[line] = self.error(&text);
                    return;
                }
                Answer::Vote(vote) => votes.push(vote),
            }
        }
        if !puts.is_empty() {
            let found = votes.iter().any(|vote| matches!(vote, Vote::Count(count) if *count > 0));
            if !found {
                self.states[line] = State::Open { answers: vec![None; puts.len()], merge: Some(Merge::AllOrNone) };
                for (share, (partition, action)) in puts.into_iter().enumerate() {
                    self.ask(steps, partition, line, share, Step::Share(action));
                }
                return;
            }
            votes = vec![Vote::Exists];
        }
        let mut output = Output::new();
        let outcome = merge.unwrap_or(Merge::Ok).outcome(votes, random);
        outcome.write(&mut Reply::new(&mut output, self.protocol));
        self.states[line] = State::Done(output.to_vec());
    }

    /// The replies, when all is done.
    pub fn replies(self) -> Vec<Vec<u8>> {
        let reply = |state| if let State::Done(bytes) = state { bytes } else { Vec::new() };
        self.states.into_iter().map(reply).collect()
    }
}

/// What each owner has to do next.
pub(crate) type Steps = BTreeMap<PartitionId, Vec<Step>>;

impl Plan {
    /// A plan for commands that are executed together, if none of the watched keys has changed.
    pub fn script(lines: Vec<Line>, watch: Option<(&Watch, &[Watched])>, protocol: Protocol, partitions: u16) -> Self {
        let mut runs: BTreeMap<PartitionId, Run> = BTreeMap::new();
        let blank = || Run {
            steps: Vec::new(),
            protocol,
            keys: Vec::new(),
            all: false,
            watched: Vec::new(),
            watch: None,
            alone: false,
        };
        let owner = |key: &[u8]| crate::slots::partition_of(key, partitions);
        for Line { id, db, args } in &lines {
            let args: Args<'_> = args.args();
            let mut wants = |partition, key: Option<&[u8]>| {
                let run = runs.entry(partition).or_insert_with(blank);
                run.keys.extend(key.map(|key| (*db, key.into())));
            };
            // a command with wrong arguments has no keys, but somebody has to say so
            if let Route::One(partition) = route(*id, args, partitions) {
                wants(partition, None);
            }
            for at in id.command().keys(args).into_iter().flatten() {
                wants(owner(args.at(at)), Some(args.at(at)));
            }
            if id.command().keys.is_empty() {
                for partition in 0..partitions {
                    runs.entry(PartitionId(partition)).or_insert_with(blank).all = true;
                }
            }
        }
        if let Some((watch, keys)) = watch {
            for (db, key) in keys {
                let run = runs.entry(owner(key)).or_insert_with(blank);
                run.watched.push((*db, key.clone()));
                run.watch = Some(watch.clone());
            }
        }
        let states = lines.iter().map(|_| State::Open { answers: vec![None], merge: None }).collect();
        let mut script = Script { protocol, partitions, lines, states, next: 0, asked: BTreeMap::new() };
        for (partition, steps) in script.go_on(0) {
            runs.entry(partition).or_insert_with(blank).steps = steps;
        }
        if let [run] = &mut runs.values_mut().collect::<Vec<_>>()[..] {
            run.alone = true;
        }
        let db = DbId(0);
        let shares =
            runs.into_iter().map(|(partition, run)| (partition, Share { db, action: Action::Run(Box::new(run)) }));
        Self { shares: shares.collect(), merge: Merge::Script, script: Some(script) }
    }

    /// A plan for watching keys from now on.
    pub fn watch(db: DbId, keys: Args<'_>, watch: &Watch, partitions: u16) -> Self {
        let shares = super::plan::split(keys, 1, partitions).0.into_iter();
        let action = |keys| Action::Watch { keys, watch: watch.clone() };
        let shares = shares.map(|(partition, keys)| (partition, Share { db, action: action(keys) })).collect();
        Self { shares, merge: Merge::Watched, script: None }
    }
}
