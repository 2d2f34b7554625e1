//! Everything in turn, for as long as it is given: each way to torture a server, in each mode, in short runs with seeds that go on; and
//! what was injected, done and checked, added up.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::kill::{self, KillPlan};
use crate::linear::{self, LinearPlan};
use crate::power::{self, PowerPlan};
use crate::queues::{self, QueuesPlan};
use crate::{Result, ServerSpec, TempDir};

/// Rounds of one run.
const ROUNDS: u64 = 10;
/// The same, where each round begins with a new process at a named step.
const STEPS: u64 = 40;
/// Length of one run of histories.
const HISTORIES: Duration = Duration::from_secs(10);

/// How to torture.
#[derive(Debug, Clone)]
pub struct AllPlan {
    /// The server.
    pub server: PathBuf,
    /// A build of it with failpoints, if there is one.
    pub with_failpoints: Option<PathBuf>,
    /// For how long: no run is begun after that, and each kind runs once whatever it says.
    pub length: Duration,
    /// What the first run's seed is.
    pub seed: u64,
}

/// A way to torture.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Kill,
    AtSteps,
    Linear,
    Power,
    Queues,
    Replicas,
}

/// A kind of run.
#[derive(Debug, Clone, Copy)]
struct Kind {
    way: Way,
    appendfsync: &'static str,
    io: &'static str,
    cores: &'static [u16],
    /// What else is on the command line.
    more: &'static [&'static str],
}

/// Little memory, so that most is read from the files, and values compressed.
const SMALL: &[&str] =
    &["--maxmemory", "16mb", "--maxmemory-policy", "spill", "--segment-size", "1mb", "--compress-values-from", "64"];
/// Each round comes by all steps of a segment's life.
const SEGMENTS: &[&str] = &["--segment-size", "1mb"];

const KINDS: &[Kind] = &[
    Kind { way: Way::Kill, appendfsync: "everysec", io: "uring", cores: &[1], more: &[] },
    Kind { way: Way::Kill, appendfsync: "always", io: "epoll", cores: &[2], more: &[] },
    Kind { way: Way::Kill, appendfsync: "everysec", io: "epoll", cores: &[2, 1, 3], more: SMALL },
    Kind { way: Way::AtSteps, appendfsync: "everysec", io: "uring", cores: &[2, 1], more: SEGMENTS },
    Kind { way: Way::AtSteps, appendfsync: "always", io: "epoll", cores: &[1], more: SEGMENTS },
    Kind { way: Way::Linear, appendfsync: "everysec", io: "uring", cores: &[2], more: &[] },
    Kind { way: Way::Linear, appendfsync: "always", io: "epoll", cores: &[2], more: &["--direct-reads", "no"] },
    Kind { way: Way::Linear, appendfsync: "everysec", io: "epoll", cores: &[2, 1], more: SMALL },
    Kind { way: Way::Power, appendfsync: "everysec", io: "uring", cores: &[3], more: SEGMENTS },
    Kind { way: Way::Queues, appendfsync: "everysec", io: "uring", cores: &[2, 1], more: &[] },
    Kind { way: Way::Queues, appendfsync: "always", io: "epoll", cores: &[2, 3], more: SMALL },
    Kind { way: Way::Replicas, appendfsync: "everysec", io: "uring", cores: &[2, 3], more: &[] },
    Kind { way: Way::Replicas, appendfsync: "always", io: "epoll", cores: &[1, 2], more: SEGMENTS },
];

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let way = match self.way {
            Way::Kill => "kill",
            Way::AtSteps => "kill at named steps",
            Way::Linear => "histories over kills",
            Way::Power => "power loss",
            Way::Queues => "clients that wait, and that keep what they read",
            Way::Replicas => "a primary and its replica",
        };
        let cores: Vec<String> = self.cores.iter().map(u16::to_string).collect();
        write!(f, "{way}, {}, {}, cores {}", self.appendfsync, self.io, cores.join(" then "))?;
        match self.more {
            more if more == SMALL => write!(f, ", spill and compression"),
            more if more == SEGMENTS || more.is_empty() => Ok(()),
            more => write!(f, ", {}", more.join(" ")),
        }
    }
}

/// What one kind of run has come to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sum {
    /// What it was.
    pub kind: String,
    /// How often it ran.
    pub runs: u64,
    /// Kills, and power losses.
    pub crashes: u64,
    /// Those that came at the named step where they were to.
    pub at_steps: u64,
    /// Starts that were killed too.
    pub starts_killed: u64,
    /// Operations that were answered.
    pub operations: u64,
    /// Keys read and compared, histories explained, and transactions looked for.
    pub checks: u64,
    /// What is wrong.
    pub violations: Vec<String>,
}

/// All of them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AllReport {
    /// One for each kind.
    pub sums: Vec<Sum>,
    /// How long it took.
    pub took: Duration,
}

impl AllReport {
    /// True when nothing is wrong.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.sums.iter().all(|sum| sum.violations.is_empty())
    }
}

impl fmt::Display for AllReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "| what | runs | crashes | at named steps | starts killed | operations answered | checks | verdict |"
        )?;
        writeln!(f, "|---|---|---|---|---|---|---|---|")?;
        for sum in &self.sums {
            let Sum { kind, runs, crashes, at_steps, starts_killed, operations, checks, violations } = sum;
            let verdict = if violations.is_empty() { "clean".into() } else { format!("{} findings", violations.len()) };
            writeln!(
                f,
                "| {kind} | {runs} | {crashes} | {at_steps} | {starts_killed} | {operations} | {checks} | {verdict} |"
            )?;
        }
        for violation in self.sums.iter().flat_map(|sum| sum.violations.iter().take(20)) {
            writeln!(f, "  {violation}")?;
        }
        let crashes: u64 = self.sums.iter().map(|sum| sum.crashes).sum();
        let operations: u64 = self.sums.iter().map(|sum| sum.operations).sum();
        let verdict = if self.is_clean() { "nothing lost, nothing invented, nothing out of order" } else { "FAILED" };
        write!(f, "{crashes} crashes, {operations} operations in {} s: {verdict}", self.took.as_secs())
    }
}

/// Runs all kinds in turn until the time is over, or to the first finding; `say` is told of each run.
///
/// # Errors
/// When the harness can't go on: above all when the server does not start again.
pub fn run(plan: &AllPlan, mut say: impl FnMut(&str)) -> Result<AllReport> {
    let began = Instant::now();
    let kinds: Vec<Kind> =
        KINDS.iter().filter(|kind| kind.way != Way::AtSteps || plan.with_failpoints.is_some()).copied().collect();
    let named = |kind: &Kind| Sum { kind: kind.to_string(), ..Sum::default() };
    let mut report = AllReport { sums: kinds.iter().map(named).collect(), took: Duration::ZERO };
    let mut seed = plan.seed;
    'all: for pass in 0.. {
        for (kind, at) in kinds.iter().zip(0..) {
            if pass > 0 && began.elapsed() >= plan.length {
                break 'all;
            }
            let said = plan.one(kind, seed, &mut report.sums[at])?;
            say(&format!("{kind}, seed {seed}\n{said}\n"));
            seed += 1;
            if !report.is_clean() {
                break 'all;
            }
        }
    }
    report.took = began.elapsed();
    Ok(report)
}

impl AllPlan {
    fn one(&self, kind: &Kind, seed: u64, sum: &mut Sum) -> Result<String> {
        let dir = TempDir::new("all")?;
        sum.runs += 1;
        let spec = |server: &Path| {
            let spec = ServerSpec::new(server, dir.path());
            spec.args(["--appendfsync", kind.appendfsync, "--io", kind.io]).args(kind.more.iter().copied())
        };
        match kind.way {
            Way::Kill | Way::AtSteps => {
                let report = match (kind.way, &self.with_failpoints) {
                    (Way::AtSteps, Some(server)) => {
                        kill::run_at_failpoints(&KillPlan::new(spec(server), STEPS, seed).cores(kind.cores))?
                    }
                    _ => kill::run(&KillPlan::new(spec(&self.server), ROUNDS, seed).cores(kind.cores))?,
                };
                sum.crashes += report.rounds;
                sum.at_steps += report.steps.iter().map(|step| step.died).sum::<u64>();
                sum.starts_killed += report.starts_killed;
                sum.operations += report.acked;
                sum.checks += report.keys_checked;
                sum.violations.extend(report.violations.iter().cloned());
                Ok(report.to_string())
            }
            Way::Linear => {
                let mut plan = LinearPlan::new(spec(&self.server), HISTORIES, seed);
                (plan.kills, plan.cores) = (true, kind.cores.to_vec());
                let report = linear::run(&plan)?;
                sum.crashes += report.kills;
                sum.operations += report.operations;
                sum.checks += report.explained;
                sum.violations.extend(report.violations.iter().cloned());
                Ok(report.to_string())
            }
            Way::Power => {
                let cores = kind.cores.first().map_or(1, |cores| *cores).to_string();
                let spec = spec(&self.server).args(["--cores", &cores]);
                let report = power::run(&PowerPlan { spec, rounds: ROUNDS, connections: 6, seed })?;
                sum.crashes += report.rounds;
                sum.operations += report.acked;
                sum.checks += report.acked;
                sum.violations.extend(report.violations.iter().cloned());
                Ok(report.to_string())
            }
            Way::Replicas => {
                let report =
                    kill::run_with_replica(&KillPlan::new(spec(&self.server), ROUNDS, seed).cores(kind.cores))?;
                sum.crashes += report.primary.rounds + report.replica_kills;
                sum.operations += report.primary.acked;
                sum.checks += report.primary.keys_checked;
                sum.violations.extend(report.primary.violations.iter().cloned());
                Ok(report.to_string())
            }
            Way::Queues => {
                let mut plan = QueuesPlan::new(spec(&self.server), ROUNDS, seed);
                plan.cores = kind.cores.to_vec();
                let report = queues::run(&plan)?;
                sum.crashes += report.rounds;
                sum.operations += report.pushed + report.popped + report.moved;
                sum.checks += report.pushed + report.kept;
                sum.violations.extend(report.violations.iter().cloned());
                Ok(report.to_string())
            }
        }
    }
}
