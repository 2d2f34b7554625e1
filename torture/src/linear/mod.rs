//! Concurrent histories over real sockets: each register is linearizable (`check`), and pipelines keep redis's order
//! over several keys (`jobs`). Round after round with new keys, on one server, which may be killed at the end of each.
//!
//! The seed decides the commands; how they meet is up to the machine.

mod check;
mod jobs;
mod messages;
mod record;
mod register;
mod subject;
mod visitors;

use std::fmt;
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::rng::Rng;
use crate::{Client, Error, Result, ServerSpec};
use check::Verdict;
use jobs::{Line, Work};
use messages::{LISTENERS, SPEAKERS, Talk};
use record::{Recorder, Register};
pub use subject::{Own, Port, Subject};
use visitors::Visits;

/// How long the connections of a round go on, at most.
const ROUND_MS: u64 = 180;

/// Threads whose connections come and go.
const VISITORS: usize = 2;

/// How to torture.
#[derive(Debug, Clone)]
pub struct LinearPlan {
    /// What to start.
    pub spec: ServerSpec,
    /// For how long.
    pub length: Duration,
    /// How many connections use the registers; as many again produce and consume jobs.
    pub connections: usize,
    /// The numbers of cores to start with in turn, where the server is told.
    pub cores: Vec<u16>,
    /// Whether rounds end with `kill -9`: what was answered before, reads included, must be explained by what is
    /// found after the restart too.
    pub kills: bool,
    /// Whether some of what is done to registers is done in MULTI, and after WATCH.
    pub transactions: bool,
    /// What decides the commands.
    pub seed: u64,
}

impl LinearPlan {
    /// A plan with the usual number of connections.
    #[must_use]
    pub fn new(spec: ServerSpec, length: Duration, seed: u64) -> Self {
        Self { spec, length, connections: 8, cores: Vec::new(), kills: false, transactions: true, seed }
    }
}

/// What came out.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LinearReport {
    /// Rounds.
    pub rounds: u64,
    /// Rounds that ended with a kill.
    pub kills: u64,
    /// Operations on registers.
    pub operations: u64,
    /// Histories of one register in one round that some order explains.
    pub explained: u64,
    /// Histories that took too long to decide.
    pub undecided: u64,
    /// Jobs produced.
    pub jobs: u64,
    /// Times that a consumer looked at a job and its payload.
    pub looks: u64,
    /// Those of them in one pipeline that saw an older payload than the job's, where several cores allow that.
    pub overtaken: u64,
    /// Messages that listeners have got.
    pub messages: u64,
    /// Connections that came and went meanwhile.
    pub visits: u64,
    /// What no order explains.
    pub violations: Vec<String>,
}

impl LinearReport {
    /// True when everything was explained.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.violations.is_empty()
    }
}

impl fmt::Display for LinearReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "rounds           {}, {} of them ended with a kill", self.rounds, self.kills)?;
        writeln!(f, "operations       {}", self.operations)?;
        writeln!(f, "histories        {} explained, {} undecided", self.explained, self.undecided)?;
        writeln!(f, "jobs             {} produced, {} looks, {} overtaken", self.jobs, self.looks, self.overtaken)?;
        writeln!(f, "messages         {} heard", self.messages)?;
        writeln!(f, "visitors         {}", self.visits)?;
        if self.is_clean() {
            return write!(f, "verdict          linearizable, pipelines and messages in order");
        }
        writeln!(f, "verdict          FAILED, {} findings:", self.violations.len())?;
        for violation in self.violations.iter().take(20) {
            writeln!(f, "  {violation}")?;
        }
        Ok(())
    }
}

/// Starts a server and tortures it for as long as the plan says, or to the first round with findings.
///
/// # Errors
/// When the server does not start or ends, or a connection breaks.
pub fn run(plan: &LinearPlan) -> Result<LinearReport> {
    let mut server = Own::start(&plan.spec, &plan.cores, plan.kills)?;
    torture(plan, &mut server).map_err(|error| server.explain(&error))
}

/// Tortures a subject.
///
/// # Errors
/// When a connection breaks that should not.
pub fn torture(plan: &LinearPlan, subject: &mut impl Subject) -> Result<LinearReport> {
    assert!(plan.connections > 0, "a plan without connections proves nothing");
    // a new data set has as many as there are cores at its first start.
    let partitions = subject.connect()?.cores()?;
    let mut report = LinearReport::default();
    let root = Rng::new(plan.seed);
    let deadline = Instant::now() + plan.length;
    while report.rounds == 0 || (Instant::now() < deadline && report.is_clean()) {
        one_round(plan, subject, partitions, &mut root.fork(report.rounds + 1), &mut report)?;
        report.rounds += 1;
    }
    Ok(report)
}

fn one_round(
    plan: &LinearPlan,
    subject: &mut impl Subject,
    partitions: u16,
    rng: &mut Rng,
    report: &mut LinearReport,
) -> Result<()> {
    let round = report.rounds;
    let (registers, lines) = (Register::of_round(round, partitions), Line::of_round(round));
    let mut clients: Vec<Client> = (0..2 * plan.connections).map(|_| subject.connect()).collect::<Result<_>>()?;
    let (recording, working) = clients.split_at_mut(plan.connections);
    let mut talking: Vec<Client> = (0..SPEAKERS + 2 * LISTENERS).map(|_| subject.connect()).collect::<Result<_>>()?;
    let (speaking, listening) = talking.split_at_mut(SPEAKERS);
    let threads = 2 * plan.connections + VISITORS + SPEAKERS + LISTENERS;
    let (start, stop) = (Barrier::new(threads + 1), AtomicBool::new(false));
    let epoch = Instant::now();
    let work = Work { lines: &lines, start: &start, stop: &stop, may_be_cut_off: plan.kills, partitions };
    let talk = Talk { round, start: &start, stop: &stop, may_be_cut_off: plan.kills };
    let producers = plan.connections.div_ceil(2);
    let mut killed = Ok(false);
    let target = subject.target();
    let (records, jobs, looks, visits, spoken, heard) = std::thread::scope(|scope| {
        let records: Vec<_> = recording
            .iter_mut()
            .enumerate()
            .map(|(connection, client)| {
                let rng = rng.fork(connection as u64 + 1);
                let (registers, start, stop) = (&registers[..], &start, &stop);
                let transactions = plan.transactions;
                let recorder = Recorder { connection, rng, registers, transactions, epoch, start, stop };
                scope.spawn(move || recorder.run(client))
            })
            .collect();
        let (mut jobs, mut looks) = (Vec::new(), Vec::new());
        for (number, client) in working.iter_mut().enumerate() {
            let rng = rng.fork(number as u64 + 1_000);
            let work = &work;
            if number < producers {
                jobs.push(scope.spawn(move || work.produce(client, rng, |line| line % producers == number)));
            } else {
                looks.push(scope.spawn(move || work.consume(client, rng)));
            }
        }
        let visits = (0..VISITORS).map(|visitor| {
            let rng = rng.fork(visitor as u64 + 2_000);
            let visits = Visits { visitor, start: &start, stop: &stop, may_be_cut_off: plan.kills };
            scope.spawn(move || visits.run(target, rng))
        });
        let visits: Vec<_> = visits.collect();
        let talk = &talk;
        let spoken = speaking.iter_mut().enumerate().map(|(speaker, client)| {
            let rng = rng.fork(speaker as u64 + 3_000);
            scope.spawn(move || talk.speak(client, rng, speaker))
        });
        let spoken: Vec<_> = spoken.collect();
        let pairs = listening.chunks_exact_mut(2).filter_map(|pair| pair.split_first_mut());
        let heard = pairs.map(|(client, reader)| scope.spawn(move || talk.listen(client, &mut reader[0])));
        let heard: Vec<_> = heard.collect();
        start.wait();
        let length = rng.between(ROUND_MS / 5, ROUND_MS);
        std::thread::sleep(Duration::from_millis(length));
        killed = subject.kill();
        stop.store(true, Ordering::Relaxed);
        (joined(records), joined(jobs), joined(looks), joined(visits), joined(spoken), joined(heard))
    });
    let is_killed = killed?;
    let mut records = records?;
    if !is_killed && records.iter().any(|record| record.is_cut_off) {
        return Err(Error::Closed);
    }
    if is_killed {
        subject.revive()?;
    }
    records.push(record::read_all(&mut subject.connect()?, &registers, epoch)?);
    if is_killed {
        report.kills += 1;
    }
    report.jobs += jobs?.iter().sum::<u64>();
    let (looks, visits, heard) = (looks?, visits?, heard?);
    spoken?;
    report.messages += heard.iter().map(|heard| heard.messages).sum::<u64>();
    report.looks += looks.iter().map(|seen| seen.looks).sum::<u64>();
    report.overtaken += looks.iter().map(|seen| seen.overtaken).sum::<u64>();
    report.visits += visits.iter().map(|(visits, _)| visits).sum::<u64>();
    let complaints = looks.into_iter().map(|seen| seen.complaints);
    let complaints = complaints.chain(heard.into_iter().map(|heard| heard.complaints));
    let complaints = complaints.chain(visits.into_iter().map(|(_, complaints)| complaints)).flatten();
    report.violations.extend(complaints.map(|line| format!("round {round}: {line}")));
    for (number, register) in registers.iter().enumerate() {
        let history: Vec<_> = records.iter_mut().map(|record| std::mem::take(&mut record.events[number])).collect();
        report.operations += history.iter().map(|events| events.len() as u64).sum::<u64>();
        match check::check(&history, None) {
            Verdict::Linearizable => report.explained += 1,
            Verdict::TooHard => report.undecided += 1,
            Verdict::Illegal(why) => report.violations.push(format!("round {round}, {}: {why}", register.name())),
        }
    }
    Ok(())
}

fn joined<T>(threads: Vec<std::thread::ScopedJoinHandle<'_, Result<T>>>) -> Result<Vec<T>> {
    let panicked = || Error::Missing("a connection's thread panicked".into());
    threads.into_iter().map(|thread| thread.join().map_err(|_| panicked())?).collect()
}
