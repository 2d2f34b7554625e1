//! The same for a cache: the server may let go of any key at any time, but what has gone stays gone. Once a client was told
//! that a key is absent, it is, until it is set again, also after `kill -9`; and a value that is there is the newest one.
//! The server kills itself at the steps of eviction, and of what goes on beside it, in turn.

use std::collections::HashMap;
use std::fmt;
use std::time::{Duration, Instant};

use super::KillPlan;
use super::failpoints::{StepReport, until_dead};
use crate::rng::Rng;
use crate::{Client, Error, Result, Server, ServerSpec, Value};

/// The memory of the caches: debug builds, and what a log needs beside its data, take some of it.
const MAXMEMORY: &str = "48mb";
/// The policies, in turn by data set.
const POLICIES: [&str; 4] = ["allkeys-lru", "allkeys-lfu", "allkeys-random", "volatile-ttl"];
/// Steps that are aimed at beside those that begin with `evict`. Whatever the name of the others begins with is left out.
const BESIDE: [&str; 6] =
    ["compact-copied", "compact-emptied", "freed-appended", "free-listed", "manifest-first-copy", "checkpoint"];
/// How long a round waits for the server to die.
const PATIENCE: Duration = Duration::from_millis(1500);
/// After so many rounds the next data set is begun.
const ROUNDS_OF_A_SET: u64 = 8;
/// How long a data set is filled at most, until something is evicted.
const FILLING: Duration = Duration::from_secs(60);
/// Keys of each connection: more than fit.
const KEYS: u64 = 20_000;
/// Commands that are sent together.
const BATCH: u64 = 64;
/// Enough to see what is wrong.
const MAX_SHOWN: usize = 10;

/// What came out.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CacheReport {
    /// Rounds that ended with a kill and a check.
    pub rounds: u64,
    /// Commands answered before the kill.
    pub acked: u64,
    /// How often a key was found to be gone that nobody had deleted.
    pub gone: u64,
    /// Keys read and compared, over all rounds, and how many of them were there.
    pub checked: u64,
    /// See `checked`.
    pub there: u64,
    /// The steps that the server was to die at.
    pub steps: Vec<StepReport>,
    /// Everything that came back or was not what was written, one line each.
    pub violations: Vec<String>,
}

impl CacheReport {
    /// True when nothing came back.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.violations.is_empty()
    }
}

impl fmt::Display for CacheReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "rounds           {}", self.rounds)?;
        writeln!(f, "acknowledged     {}", self.acked)?;
        writeln!(f, "found evicted    {}", self.gone)?;
        writeln!(f, "keys checked     {} ({} were there)", self.checked, self.there)?;
        writeln!(f, "steps            how often the server died there, and how often it was to")?;
        for step in &self.steps {
            writeln!(f, "  {:<20} {:>4} of {:>4}", step.name, step.died, step.aimed)?;
        }
        if self.is_clean() {
            return write!(f, "verdict          nothing came back");
        }
        writeln!(f, "verdict          FAILED, {} findings:", self.violations.len())?;
        self.violations.iter().take(30).try_for_each(|violation| writeln!(f, "  {violation}"))
    }
}

/// Which SET of a connection wrote a value.
type Version = u64;

/// What is known of a key.
#[derive(Debug, Clone, Default)]
struct Known {
    /// The newest value, unless it is known to be gone.
    value: Option<Version>,
    /// Values that were sent since, and whose reply never came.
    in_flight: Vec<Version>,
}

/// One connection, with keys of its own.
#[derive(Debug)]
struct Writer {
    connection: usize,
    rng: Rng,
    keys: HashMap<u64, Known>,
    last: Version,
    acked: u64,
    gone: u64,
    violations: Vec<String>,
}

#[derive(Debug, Clone, Copy)]
enum Op {
    Set(Version),
    Get,
    Del,
}

/// Runs rounds, at each step in turn, to the plan's end or to the first one with findings.
///
/// # Errors
/// When the harness can't go on: above all when the server does not start again.
pub fn run_cache(plan: &KillPlan) -> Result<CacheReport> {
    let is_meant = |name: &String| name.starts_with("evict") || BESIDE.iter().any(|beside| name.starts_with(beside));
    let names = plan.spec.failpoint_names()?.into_iter().filter(is_meant);
    let mut report = CacheReport { steps: names.map(StepReport::new).collect(), ..CacheReport::default() };
    if report.steps.is_empty() {
        return Err(Error::Missing("the server knows no steps of eviction".into()));
    }
    let root = Rng::new(plan.seed);
    let mut writers = Vec::new();
    let mut spec = plan.spec.clone();
    for round in 0..plan.rounds {
        let mut rng = root.fork(round + 1);
        let (set, of_set) = (round / ROUNDS_OF_A_SET, round % ROUNDS_OF_A_SET);
        if of_set == 0 {
            let policy = POLICIES[usize::try_from(set).unwrap_or(0) % POLICIES.len()];
            spec = plan.spec.clone().dir_of(plan.spec.dir().join(format!("set-{set}"))).args([
                "--maxmemory",
                MAXMEMORY,
                "--maxmemory-policy",
                policy,
                "--segment-size",
                "1mb",
                "--checkpoint-interval",
                "16mb",
            ]);
            writers = (0..plan.connections).map(|connection| Writer::new(connection, &rng)).collect();
            // full, however slow the machine is, so that keys are evicted from the first round on
            let mut server = Server::start(&spec.cores_in_turn(&plan.cores, round))?;
            let until = |server: &mut Server| {
                let began = Instant::now();
                while !has_evicted(server)? && began.elapsed() < FILLING {
                    std::thread::sleep(Duration::from_millis(50));
                }
                server.kill9()
            };
            writers = write_until(writers, &mut server, until)?;
            read_again(plan, &spec, round, &mut writers, &mut report)?;
        }
        let at = usize::try_from(round).unwrap_or(0) % report.steps.len();
        let step = &mut report.steps[at];
        let mut server = Server::spawn(&step.arm(&spec.cores_in_turn(&plan.cores, round), &mut rng))?;
        match server.wait_ready() {
            Ok(()) => writers = write_until(writers, &mut server, |server| until_dead(server, PATIENCE, false))?,
            Err(error) => {
                server.kill9()?;
                if !step.has_struck(&server) {
                    return Err(error);
                }
            }
        }
        let step = &mut report.steps[at];
        step.learn(step.has_struck(&server));
        read_again(plan, &spec, round + 1, &mut writers, &mut report)?;
        report.rounds += 1;
        for writer in &mut writers {
            report.acked += std::mem::take(&mut writer.acked);
            report.gone += std::mem::take(&mut writer.gone);
            let lines = writer.violations.drain(..).map(|line| format!("connection {}: {line}", writer.connection));
            report.violations.extend(lines);
        }
        if !report.is_clean() {
            report.violations.push(format!("round {round}: it was to die at {}", report.steps[at].name));
            break;
        }
        if of_set + 1 == ROUNDS_OF_A_SET {
            let io = |source| Error::Io { what: format!("removing {}", spec.dir().display()), source };
            std::fs::remove_dir_all(spec.dir()).map_err(io)?;
        }
    }
    Ok(report)
}

/// Writes through all connections until the server is dead, which `until` sees to.
fn write_until(
    writers: Vec<Writer>,
    server: &mut Server,
    until: impl FnOnce(&mut Server) -> Result<()>,
) -> Result<Vec<Writer>> {
    let port = server.port();
    let spawn = |writer: Writer| {
        // it may be dead already
        std::thread::spawn(move || match Client::connect(port) {
            Ok(client) => writer.run(client),
            Err(_) => writer,
        })
    };
    let threads: Vec<_> = writers.into_iter().map(spawn).collect();
    until(server)?;
    let join = |thread: std::thread::JoinHandle<Writer>| {
        thread.join().map_err(|_| Error::Missing("a connection's thread panicked".into()))
    };
    threads.into_iter().map(join).collect()
}

/// Whether the server has let go of some thousand keys.
fn has_evicted(server: &Server) -> Result<bool> {
    let info = server.connect()?.command(&["INFO", "stats"])?;
    let Value::Bulk(text) = info else { return Ok(false) };
    let text = String::from_utf8_lossy(&text);
    let count = text.lines().find_map(|line| line.strip_prefix("evicted_keys:"));
    Ok(count.and_then(|count| count.trim().parse::<u64>().ok()).is_some_and(|count| count > 2000))
}

/// Starts the server, checks all keys, and kills it.
fn read_again(
    plan: &KillPlan,
    spec: &ServerSpec,
    start: u64,
    writers: &mut [Writer],
    report: &mut CacheReport,
) -> Result<()> {
    let mut server = Server::start(&spec.cores_in_turn(&plan.cores, start))?;
    check(writers, &mut server.connect()?, report)?;
    server.kill9()
}

/// Reads all keys of all connections: what is there is what may be, and is what is known from now on.
fn check(writers: &mut [Writer], client: &mut Client, report: &mut CacheReport) -> Result<()> {
    for writer in writers {
        let keys: Vec<u64> = writer.keys.keys().copied().collect();
        for batch in keys.chunks(256) {
            batch.iter().for_each(|key| client.send(&[b"GET".to_vec(), writer.name(*key)]));
            for key in batch {
                let found = writer.version_of(*key, &client.read()?);
                let known = writer.keys.remove(key).unwrap_or_default();
                let may_be = |version: &Version| known.value == Some(*version) || known.in_flight.contains(version);
                if found.is_some_and(|version| !may_be(&version)) {
                    writer.complain(format!("key {key} after a restart: found {found:?}, known was {known:?}"));
                }
                report.checked += 1;
                report.there += u64::from(found.is_some());
                writer.keys.insert(*key, Known { value: found, in_flight: Vec::new() });
            }
        }
    }
    Ok(())
}

impl Writer {
    fn new(connection: usize, rng: &Rng) -> Self {
        Self {
            connection,
            rng: rng.fork(1 + connection as u64),
            keys: HashMap::new(),
            last: 0,
            acked: 0,
            gone: 0,
            violations: Vec::new(),
        }
    }

    fn name(&self, key: u64) -> Vec<u8> {
        format!("cache:{}:{key}", self.connection).into_bytes()
    }

    /// A value says whose it is, and then has some length.
    fn value(&self, key: u64, version: Version) -> Vec<u8> {
        let mut value = format!("{}:{key}:{version}:", self.connection).into_bytes();
        let len = value.len() + 200 + usize::try_from(version % 1500).unwrap_or(0);
        value.resize(len, b'.');
        value
    }

    /// The version of the value that a GET was answered.
    fn version_of(&mut self, key: u64, reply: &Value) -> Option<Version> {
        if *reply == Value::Null {
            return None;
        }
        let version = reply.text().and_then(|text| {
            let version = std::str::from_utf8(text).ok()?.split(':').nth(2)?.parse().ok()?;
            (self.value(key, version) == text).then_some(version)
        });
        if version.is_none() {
            self.complain(format!("GET of key {key} was answered {reply:?}"));
        }
        version
    }

    fn complain(&mut self, complaint: String) {
        if self.violations.len() < MAX_SHOWN {
            self.violations.push(complaint);
        }
    }

    /// Sends batches until the connection breaks.
    fn run(mut self, mut client: Client) -> Self {
        loop {
            let batch: Vec<(u64, Op)> = (0..BATCH).map(|_| self.draw()).collect();
            for (key, op) in &batch {
                let name = self.name(*key);
                match op {
                    // all expire, long after this: volatile policies may take them too
                    Op::Set(version) => client.send(&[
                        b"SET".to_vec(),
                        name,
                        self.value(*key, *version),
                        b"EX".to_vec(),
                        (100_000 + version % 100_000).to_string().into_bytes(),
                    ]),
                    Op::Get => client.send(&[b"GET".to_vec(), name]),
                    Op::Del => client.send(&[b"DEL".to_vec(), name]),
                }
            }
            let mut broken = client.flush().is_err();
            for (key, op) in batch {
                match client.read() {
                    Ok(reply) => self.answered(key, op, &reply),
                    Err(_) => {
                        broken = true;
                        if let Op::Set(version) = op {
                            self.keys.entry(key).or_default().in_flight.push(version);
                        }
                    }
                }
            }
            if broken {
                return self;
            }
        }
    }

    fn draw(&mut self) -> (u64, Op) {
        // half of it is about few keys, which are worth keeping
        let key = if self.rng.percent(50) { self.rng.below(KEYS / 50) } else { self.rng.below(KEYS) };
        let op = match self.rng.below(100) {
            0..45 => {
                self.last += 1;
                Op::Set(self.last)
            }
            45..98 => Op::Get,
            _ => Op::Del,
        };
        (key, op)
    }

    fn answered(&mut self, key: u64, op: Op, reply: &Value) {
        self.acked += 1;
        match op {
            Op::Set(version) if reply.is_ok() => self.keys.entry(key).or_default().value = Some(version),
            Op::Set(_) => self.complain(format!("SET of key {key} was answered {reply:?}")),
            Op::Del if reply.integer().is_some() => self.keys.entry(key).or_default().value = None,
            Op::Del => self.complain(format!("DEL of key {key} was answered {reply:?}")),
            Op::Get => {
                let found = self.version_of(key, reply);
                let known = self.keys.entry(key).or_default();
                match (found, known.value) {
                    (None, Some(_)) => {
                        known.value = None;
                        self.gone += 1;
                    }
                    (found, value) if found != value => {
                        self.complain(format!("GET of key {key} found version {found:?}, and {value:?} was known"));
                    }
                    _ => {}
                }
            }
        }
    }
}
