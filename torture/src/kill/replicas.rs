//! The oracle with a replica: both sides are killed, the link between them is cut, slow and breaks, and they change places. After each
//! kill the primary must have what was acknowledged, and once the replica has caught up it must have the same, key by key.

use std::fmt;
use std::time::{Duration, Instant};

use super::{KillPlan, KillReport, State, connect_all, unix_ms};
use crate::link::{Link, Weather};
use crate::process::free_port;
use crate::rng::Rng;
use crate::{Client, Error, Result, Server, ServerSpec, Value};

/// How long a replica may take to have it all, once nothing is in its way.
const CATCHES_UP_IN: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(20);
/// Keys that are written and removed to know that all that was before has arrived: with so many, some are in each partition.
const MARKS: usize = 64;

/// What came out.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ReplicasReport {
    /// Of the primary.
    pub primary: KillReport,
    /// Kills of the replica.
    pub replica_kills: u64,
    /// Times the two changed places.
    pub promotions: u64,
    /// Connections that the link has ended.
    pub breaks: u64,
    /// Times a replica began with a whole copy, and with what it had.
    pub full_syncs: u64,
    /// See `full_syncs`.
    pub resumed: u64,
    /// The longest time until a replica had it all.
    pub longest_wait: Duration,
}

impl ReplicasReport {
    /// True when nothing was lost or invented on either side.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.primary.is_clean()
    }
}

impl fmt::Display for ReplicasReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { primary, replica_kills, promotions, breaks, full_syncs, resumed, longest_wait } = self;
        writeln!(f, "the replica      killed {replica_kills} times, promoted {promotions} times")?;
        writeln!(f, "the link         ended {breaks} connections; {full_syncs} full syncs, {resumed} resumed")?;
        writeln!(f, "in step again    after {} ms at the longest", longest_wait.as_millis())?;
        write!(f, "{primary}")
    }
}

/// One of the two servers.
struct Node {
    spec: ServerSpec,
    server: Server,
    /// The way to it that the other one takes.
    link: Link,
    /// What of its process's syncs is in the report: full ones, and those that went on with what there was.
    noted: [u64; 2],
}

struct Pair {
    /// The primary and its replica.
    nodes: [Node; 2],
    report: ReplicasReport,
}

/// Runs the plan to its end, or to the first round with findings.
///
/// # Errors
/// When the harness can't go on: above all when a server does not start again, or a replica never has it all.
pub fn run_with_replica(plan: &KillPlan) -> Result<ReplicasReport> {
    let mut state = State::new(plan);
    let root = Rng::new(plan.seed);
    let mut pair = Pair::start(plan)?;
    let order = plan.order(&pair.nodes[0].server)?;
    for round in 0..plan.rounds {
        let mut rng = root.fork(round + 1);
        if round > 0 && rng.percent(25) {
            pair.change_places(rng.percent(50))?;
            state.check_at_rest(&mut pair.nodes[0].server.connect()?, round)?;
        }
        let clients = connect_all(plan, &pair.nodes[0].server)?;
        let mut weather = rng.fork(77);
        let journals = state.write_meanwhile(clients, round, &rng, || pair.torment(plan, &mut weather))?;
        let died_ms = unix_ms();
        let began = Instant::now();
        (pair.nodes[0].server, pair.nodes[0].noted) = (Server::start(&pair.nodes[0].spec)?, [0; 2]);
        state.report.longest_restart = state.report.longest_restart.max(began.elapsed());
        state.check(&mut pair.nodes[0].server.connect()?, round, journals, died_ms, order)?;
        pair.catch_up()?;
        let before = state.report.violations.len();
        state.check_at_rest(&mut pair.nodes[1].server.connect()?, round)?;
        for line in &mut state.report.violations[before..] {
            *line = format!("on the replica, {line}");
        }
        state.report.rounds += 1;
        if !state.report.is_clean() {
            break;
        }
    }
    pair.note_syncs()?;
    pair.report.breaks = pair.nodes.iter().map(|node| node.link.broken()).sum();
    Ok(ReplicasReport { primary: state.report, ..pair.report })
}

impl Pair {
    fn start(plan: &KillPlan) -> Result<Self> {
        let node = |name: &str, cores: usize| -> Result<Node> {
            let port = free_port()?;
            let cores = plan.cores.get(cores).or(plan.cores.first()).map(|cores| ["--cores".into(), cores.to_string()]);
            let spec = plan.spec.clone().dir_of(plan.spec.dir().join(name)).port(port);
            let spec = spec.args(cores.into_iter().flatten());
            Ok(Node { server: Server::start(&spec)?, link: Link::to(port)?, spec, noted: [0; 2] })
        };
        let mut pair = Self { nodes: [node("a", 0)?, node("b", 1)?], report: ReplicasReport::default() };
        pair.follow()?;
        Ok(pair)
    }

    /// The replica follows the primary, and does after each start.
    fn follow(&mut self) -> Result<()> {
        let port = self.nodes[0].link.port().to_string();
        let replica = &mut self.nodes[1];
        must(&mut replica.server.connect()?, &["REPLICAOF", "127.0.0.1", &port])?;
        Ok(())
    }

    /// The replica's command line, which says whom it follows.
    fn replica_spec(&self) -> ServerSpec {
        let port = self.nodes[0].link.port().to_string();
        self.nodes[1].spec.clone().args(["--replicaof", "127.0.0.1", &port])
    }

    /// What happens while clients write, until the primary is dead.
    fn torment(&mut self, plan: &KillPlan, rng: &mut Rng) -> Result<()> {
        let span = plan.most.saturating_sub(plan.least).as_micros();
        for _ in 0..rng.between(1, 4) {
            match rng.below(6) {
                0 => self.nodes[0].link.set(Weather::Cut),
                1 => self.nodes[0].link.set(Weather::Silent),
                2 => self.nodes[0].link.set(Weather::Slow(1 << rng.between(4, 14))),
                3 => self.nodes[0].link.set(Weather::Breaks(rng.below(1 << 20))),
                4 => self.nodes[0].link.set(Weather::Fair),
                _ => self.kill_replica()?,
            }
            std::thread::sleep((plan.least + Duration::from_micros(rng.below(span as u64))) / 2);
        }
        if let Some(status) = self.nodes[0].server.exited()? {
            return Err(self.nodes[0].server.failure(format!("the primary died by itself: {status}")));
        }
        self.nodes[0].server.kill9()
    }

    fn kill_replica(&mut self) -> Result<()> {
        if let Some(status) = self.nodes[1].server.exited()? {
            return Err(self.nodes[1].server.failure(format!("the replica died by itself: {status}")));
        }
        self.note_syncs()?;
        self.nodes[1].server.kill9()?;
        self.report.replica_kills += 1;
        // it serves what it had, or is loading for as long as the link is cut: nobody waits for that here
        (self.nodes[1].server, self.nodes[1].noted) = (Server::spawn(&self.replica_spec())?, [0; 2]);
        let deadline = Instant::now() + CATCHES_UP_IN;
        while self.nodes[1].server.connect().is_err() {
            if Instant::now() > deadline {
                return Err(self.nodes[1].server.failure("the replica does not listen".into()));
            }
            std::thread::sleep(POLL);
        }
        Ok(())
    }

    /// Waits until the replica has all that the primary has.
    fn catch_up(&mut self) -> Result<()> {
        self.nodes[0].link.set(Weather::Fair);
        let began = Instant::now();
        let names: Vec<String> = (0..MARKS).map(|number| format!("mark:{number}")).collect();
        let set: Vec<&str> =
            std::iter::once("MSET").chain(names.iter().flat_map(|name| [name.as_str(), "1"])).collect();
        let delete: Vec<&str> = std::iter::once("DEL").chain(names.iter().map(String::as_str)).collect();
        let mut client = self.nodes[0].server.connect()?;
        must(&mut client, &set)?;
        must(&mut client, &delete)?;
        while !matches!(must(&mut client, &["WAIT", "1", "500"])?, Value::Integer(1..)) {
            if began.elapsed() > CATCHES_UP_IN {
                let (primary, replica) = (&self.nodes[0].server, &self.nodes[1].server);
                let info = |server: &Server| server.connect().and_then(|mut client| client.ask("INFO replication"));
                let said = format!("{:?}\n{:?}\n{}", info(primary), info(replica), primary.log_text());
                return Err(replica.failure(format!("the replica has not caught up in {CATCHES_UP_IN:?}: {said}")));
            }
        }
        self.report.longest_wait = self.report.longest_wait.max(began.elapsed());
        self.nodes[1].server.wait_ready()
    }

    /// The replica, which has it all, is promoted, and the primary comes back as its replica: after a kill, or as it is.
    fn change_places(&mut self, with_kill: bool) -> Result<()> {
        self.note_syncs()?;
        if with_kill {
            self.nodes[0].server.kill9()?;
        }
        must(&mut self.nodes[1].server.connect()?, &["REPLICAOF", "NO", "ONE"])?;
        self.nodes.swap(0, 1);
        self.nodes[0].server.wait_ready()?;
        self.report.promotions += 1;
        if with_kill {
            (self.nodes[1].server, self.nodes[1].noted) = (Server::start(&self.replica_spec())?, [0; 2]);
            return Ok(());
        }
        self.follow()
    }

    /// Adds up how the replica has begun to follow, before its process ends or it becomes a primary.
    fn note_syncs(&mut self) -> Result<()> {
        let replica = &mut self.nodes[1];
        let info = replica.server.connect()?.ask("INFO replication")?;
        let text = info.text().map(String::from_utf8_lossy).unwrap_or_default();
        let field = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)?.parse::<u64>().ok());
        let now = ["master_full_syncs:", "master_partial_syncs:"].map(|name| field(name).unwrap_or(0));
        self.report.full_syncs += now[0].saturating_sub(replica.noted[0]);
        self.report.resumed += now[1].saturating_sub(replica.noted[1]);
        replica.noted = now;
        Ok(())
    }
}

fn must(client: &mut Client, words: &[&str]) -> Result<Value> {
    match client.command(words)? {
        Value::Error(error) => {
            Err(Error::Protocol(format!("{} was answered {}", words.join(" "), String::from_utf8_lossy(&error))))
        }
        reply => Ok(reply),
    }
}
