//! The oracle of acknowledged writes: connections pipeline commands, the server is killed with
//! `kill -9` at a random moment and started again on the same directory, and every key must be
//! what the acknowledged commands, plus some of the unanswered ones, leave: a first part of them
//! with one log, and with several partitions a first part in each, commands over several
//! partitions entirely or not at all. Round after round on the same, growing data set.
//!
//! The seed decides commands and moments; how far each connection gets by then is up to the
//! machine.

mod cache;
mod change;
mod check;
mod collection;
mod companion;
mod derived;
mod failpoints;
mod model;
mod op;
mod replicas;
mod shared;
mod sketch;
mod survivors;
mod worker;

use std::collections::{BTreeSet, HashSet};
use std::fmt;
use std::time::{Duration, Instant};

use crate::rng::Rng;
use crate::value::escape;
use crate::{Client, Error, Result, Server, ServerSpec};
pub use cache::{CacheReport, run_cache};
use check::Snapshot;
use collection::Content;
pub use failpoints::{StepReport, run_at_failpoints};
use model::{Found, Key, Model, Moment};
pub use replicas::{ReplicasReport, run_with_replica};
use shared::{Carried, Names};
use survivors::Order;
pub use worker::unix_ms;
use worker::{Assignment, Journal};

/// How to torture.
#[derive(Debug, Clone)]
pub struct KillPlan {
    /// What to start, again and again.
    pub spec: ServerSpec,
    /// How many times to kill it.
    pub rounds: u64,
    /// How many connections write at once.
    pub connections: usize,
    /// The partitions of the data set, which say how far the order of unanswered commands is kept; as many as the
    /// server has cores at its first start, if it is not said.
    pub partitions: Option<u16>,
    /// The numbers of cores to start with in turn, where the server is told.
    pub cores: Vec<u16>,
    /// The named steps to die at, in turn, where the server dies by itself; all if there are none.
    pub steps: Vec<String>,
    /// What decides commands and moments.
    pub seed: u64,
    /// A round's writes last between these two.
    pub least: Duration,
    /// See `least`.
    pub most: Duration,
}

impl KillPlan {
    /// A plan with the usual number of connections and length of rounds.
    #[must_use]
    pub fn new(spec: ServerSpec, rounds: u64, seed: u64) -> Self {
        let (least, most) = (Duration::from_millis(50), Duration::from_millis(900));
        Self { spec, rounds, connections: 6, partitions: None, cores: Vec::new(), steps: Vec::new(), seed, least, most }
    }

    /// Starts with these numbers of cores in turn. The first one makes the data set, with as many partitions.
    #[must_use]
    pub fn cores(mut self, cores: &[u16]) -> Self {
        self.partitions = cores.first().copied();
        self.cores = cores.to_vec();
        self
    }

    fn order(&self, server: &Server) -> Result<Order> {
        let partitions = match self.partitions {
            Some(partitions) => partitions,
            None => server.connect()?.cores()?,
        };
        Ok(if partitions == 1 { Order::Whole } else { Order::Partitions(partitions) })
    }
}

/// What came out.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KillReport {
    /// Rounds that ended with a kill and a check.
    pub rounds: u64,
    /// Starts that were killed before the one that was let live.
    pub starts_killed: u64,
    /// Commands sent.
    pub sent: u64,
    /// Commands answered before the kill.
    pub acked: u64,
    /// Unanswered commands on own keys, and those of them that had taken effect.
    pub in_flight: u64,
    /// See `in_flight`.
    pub survived: u64,
    /// Walks over all keys with SCAN that came to their end under the writes.
    pub walks: u64,
    /// Checkpoints that were begun under them.
    pub saves: u64,
    /// Keys read and compared, over all rounds.
    pub keys_checked: u64,
    /// Keys in the data set at the end.
    pub keys_at_end: u64,
    /// The longest restart, from exec to the first reply.
    pub longest_restart: Duration,
    /// The steps that the server was to die at, where it was.
    pub steps: Vec<StepReport>,
    /// Everything that was lost, torn or invented, one line each.
    pub violations: Vec<String>,
}

impl KillReport {
    /// True when nothing was lost and nothing invented.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.violations.is_empty()
    }
}

impl fmt::Display for KillReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "rounds           {}, and {} starts that were killed too", self.rounds, self.starts_killed)?;
        writeln!(f, "commands sent    {}", self.sent)?;
        writeln!(f, "acknowledged     {}", self.acked)?;
        writeln!(f, "unanswered       {} ({} had taken effect)", self.in_flight, self.survived)?;
        writeln!(f, "meanwhile        {} walks with SCAN, {} checkpoints begun", self.walks, self.saves)?;
        writeln!(f, "keys checked     {}", self.keys_checked)?;
        writeln!(f, "keys at the end  {}", self.keys_at_end)?;
        writeln!(f, "longest restart  {} ms", self.longest_restart.as_millis())?;
        if !self.steps.is_empty() {
            writeln!(f, "steps            how often the server died there, and how often it was to")?;
        }
        for step in &self.steps {
            writeln!(f, "  {:<20} {:>4} of {:>4}", step.name, step.died, step.aimed)?;
        }
        if self.is_clean() {
            return write!(f, "verdict          nothing lost, nothing invented");
        }
        writeln!(f, "verdict          FAILED, {} findings:", self.violations.len())?;
        for violation in self.violations.iter().take(30) {
            writeln!(f, "  {violation}")?;
        }
        Ok(())
    }
}

/// Runs the plan to its end, or to the first round with findings.
///
/// # Errors
/// When the harness can't go on: above all when the server does not start again.
pub fn run(plan: &KillPlan) -> Result<KillReport> {
    let mut state = State::new(plan);
    let root = Rng::new(plan.seed);
    let mut server = Server::start(&plan.spec.cores_in_turn(&plan.cores, 0))?;
    let order = plan.order(&server)?;
    for round in 0..plan.rounds {
        let mut rng = root.fork(round + 1);
        let clients = connect_all(plan, &server)?;
        let span = plan.most.saturating_sub(plan.least).as_micros();
        let extra = rng.below(u64::try_from(span).unwrap_or(0));
        let journals = state.write_meanwhile(clients, round, &rng, || {
            std::thread::sleep(plan.least + Duration::from_micros(extra));
            if let Some(status) = server.exited()? {
                return Err(server.failure(format!("the server died by itself: {status}")));
            }
            server.kill9()
        })?;
        let died_ms = unix_ms();
        let began = Instant::now();
        let spec = plan.spec.cores_in_turn(&plan.cores, round + 1);
        if rng.percent(30) {
            // a start that is killed must leave what the next one needs.
            let mut killed = Server::spawn(&spec)?;
            std::thread::sleep(Duration::from_millis(rng.below(60)));
            killed.kill9()?;
            state.report.starts_killed += 1;
        }
        server = Server::start(&spec)?;
        state.report.longest_restart = state.report.longest_restart.max(began.elapsed());
        state.check(&mut server.connect()?, round, journals, died_ms, order)?;
        state.report.rounds += 1;
        if !state.report.is_clean() {
            break;
        }
    }
    Ok(state.report)
}

struct State {
    models: Vec<Model>,
    carried: Carried,
    /// Shared keys of earlier rounds, which nobody writes any more.
    frozen: Model,
    shared_keys: BTreeSet<Key>,
    report: KillReport,
}

fn connect_all(plan: &KillPlan, server: &Server) -> Result<Vec<Client>> {
    // and one for the companion
    (0..=plan.connections).map(|_| server.connect()).collect()
}

impl State {
    fn new(plan: &KillPlan) -> Self {
        assert!(plan.connections > 0, "a plan without connections proves nothing");
        Self {
            models: vec![Model::default(); plan.connections],
            carried: Carried::default(),
            frozen: Model::default(),
            shared_keys: BTreeSet::new(),
            report: KillReport::default(),
        }
    }

    /// Writes through these clients until the server is dead, which `until_dead` sees to.
    fn write_meanwhile(
        &mut self,
        mut clients: Vec<Client>,
        round: u64,
        rng: &Rng,
        until_dead: impl FnOnce() -> Result<()>,
    ) -> Result<Vec<Journal>> {
        let companion = clients.pop().map(|client| {
            let lasting = self.frozen.keys().filter(|key| self.frozen.get(key).is_some()).cloned().collect();
            let rng = rng.fork(999);
            std::thread::spawn(move || companion::accompany(client, rng, &lasting))
        });
        let threads: Vec<_> = clients
            .into_iter()
            .zip(std::mem::take(&mut self.models))
            .enumerate()
            .map(|(connection, (client, model))| {
                let rng = rng.fork(connection as u64 + 1000);
                let database = database_of(connection);
                let assignment = Assignment { connection, round, database, rng };
                std::thread::spawn(move || worker::run(assignment, model, client))
            })
            .collect();
        until_dead()?;
        let panicked = || Error::Missing("a connection's thread panicked".into());
        if let Some(companion) = companion {
            let seen = companion.join().map_err(|_| panicked())?;
            self.report.walks += seen.walks;
            self.report.saves += seen.saves;
            self.report.violations.extend(seen.complaints.into_iter().map(|line| format!("round {round}: {line}")));
        }
        threads.into_iter().map(|thread| thread.join().map_err(|_| panicked())).collect()
    }

    fn check(
        &mut self,
        client: &mut Client,
        round: u64,
        journals: Vec<Journal>,
        died_ms: i64,
        order: Order,
    ) -> Result<()> {
        let names = Names { round };
        let mut tallies = Vec::new();
        self.shared_keys.extend(names.all());
        self.check_frozen(client, round)?;
        let mut findings = Vec::new();
        for (connection, mut journal) in journals.into_iter().enumerate() {
            let mut keys: HashSet<Key> = journal.model.keys().cloned().collect();
            keys.extend(journal.in_flight.iter().flat_map(|f| f.op.keys()).cloned());
            let keys: Vec<Key> = keys.into_iter().collect();
            client.select(database_of(connection))?;
            let snapshot = Snapshot::read(client, &keys)?;
            let found = check::explain(&mut journal.model, &journal.in_flight, &snapshot, died_ms, order);
            self.report.sent += journal.sent;
            self.report.acked += journal.acked;
            self.report.in_flight += journal.in_flight.len() as u64;
            self.report.survived += found.survived as u64;
            self.report.keys_checked += keys.len() as u64;
            findings.extend(journal.complaints.into_iter().map(|line| (connection, line)));
            findings.extend(found.violations.into_iter().map(|line| (connection, line)));
            self.models.push(journal.model);
            tallies.push(journal.tally);
        }
        self.report.violations.extend(
            findings.into_iter().map(|(connection, line)| format!("round {round}, connection {connection}: {line}")),
        );
        client.select(0)?;
        let verdict = shared::check(client, names, &tallies, &mut self.carried)?;
        self.report.keys_checked += verdict.keys;
        let lines = verdict.violations.into_iter();
        self.report.violations.extend(lines.map(|line| format!("round {round}: {line}")));
        for (key, value) in verdict.frozen {
            let found = value.map(|value| Found { value: Content::Text(value), expiry_ms: None });
            self.frozen.adopt(&key, found.as_ref());
        }
        self.check_nothing_invented(client, round)
    }

    /// Nobody has written since the last check: all is as it was then.
    fn check_at_rest(&mut self, client: &mut Client, round: u64) -> Result<()> {
        self.check_frozen(client, round)?;
        let mut models = std::mem::take(&mut self.models);
        for (connection, model) in models.iter_mut().enumerate() {
            client.select(database_of(connection))?;
            let keys: Vec<Key> = model.keys().cloned().collect();
            let snapshot = Snapshot::read(client, &keys)?;
            let found = check::explain(model, &[], &snapshot, unix_ms(), Order::Whole);
            self.report.keys_checked += keys.len() as u64;
            let lines = found.violations.into_iter();
            self.report
                .violations
                .extend(lines.map(|line| format!("round {round}, keys of connection {connection}: {line}")));
        }
        self.models = models;
        client.select(0)?;
        let verdict = shared::check_at_rest(client, &mut self.carried)?;
        self.report.keys_checked += verdict.keys;
        self.report.violations.extend(verdict.violations.into_iter().map(|line| format!("round {round}: {line}")));
        self.check_nothing_invented(client, round)
    }

    /// The shared keys of earlier rounds are as they were.
    fn check_frozen(&mut self, client: &mut Client, round: u64) -> Result<()> {
        let keys: Vec<Key> = self.frozen.keys().cloned().collect();
        let snapshot = Snapshot::read(client, &keys)?;
        let findings = check::explain(&mut self.frozen, &[], &snapshot, unix_ms(), Order::Whole);
        self.report.keys_checked += keys.len() as u64;
        let lines = findings.violations.into_iter();
        self.report.violations.extend(lines.map(|line| format!("round {round}, keys of earlier rounds: {line}")));
        Ok(())
    }

    /// No key is there that nobody wrote, and SCAN lists what GET has shown.
    fn check_nothing_invented(&mut self, client: &mut Client, round: u64) -> Result<()> {
        self.report.keys_at_end = 0;
        for database in 0..16 {
            client.select(database)?;
            let all = check::scan_all(client)?;
            self.report.keys_at_end += all.len() as u64;
            let models = || {
                let numbered = self.models.iter().enumerate();
                numbered.filter(|(connection, _)| database_of(*connection) == database)
            };
            let known = |key: &Key| {
                models().any(|(_, model)| model.knows(key)) || (database == 0 && self.shared_keys.contains(key))
            };
            let unknown = all
                .iter()
                .filter(|key| !known(key))
                .map(|key| format!("round {round}: the key {} of {database} was never written", escape(key)));
            let mut lines: Vec<String> = unknown.take(10).collect();
            let lasting = models().flat_map(|(_, model)| {
                let now = Moment::exact(unix_ms());
                let lasts = move |key: &&Key| {
                    model.get(key).is_some_and(|e| e.expiry.is_none() && !e.value.may_have_expired(now))
                };
                model.keys().filter(lasts)
            });
            let unlisted = lasting.filter(|key| !all.contains(*key));
            lines.extend(unlisted.take(10).map(|key| format!("round {round}: SCAN does not list {}", escape(key))));
            self.report.violations.extend(lines);
        }
        client.select(0)?;
        Ok(())
    }
}

/// Every sixth connection has a database of its own, which it empties now and then.
fn database_of(connection: usize) -> u8 {
    if connection % 6 == 5 { u8::try_from(1 + connection / 6 % 15).unwrap_or(1) } else { 0 }
}
