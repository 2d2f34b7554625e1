//! Power loss over several partitions: transactions are whole, and what follows from one has it before it.
//!
//! Each connection goes round after round: MSET of a group with a key in every partition; when that is answered, SET of a
//! key in every partition. Then the server is killed, each partition loses some of what was not durable (`cut`), and
//! after the start
//!
//! * a group is there with one value, or not at all;
//! * a SET that is there has the MSET that was answered before it (docs/protocol.md, X5: a mark whose part is missing
//!   elsewhere cuts its log);
//! * nothing is older than what an earlier start has served, or newer than what was sent.

mod cut;

use std::fmt;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::partition::partition;
use crate::rng::Rng;
use crate::{Client, Error, Result, Server, ServerSpec, TempDir, Value};

/// How to torture.
#[derive(Debug, Clone)]
pub struct PowerPlan {
    /// What to start; its data must be in a directory that may be copied.
    pub spec: ServerSpec,
    /// How many times the power is lost.
    pub rounds: u64,
    /// How many connections write at once.
    pub connections: usize,
    /// What decides commands, moments and cuts.
    pub seed: u64,
}

/// What came out.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PowerReport {
    /// Power losses.
    pub rounds: u64,
    /// Logs that lost their end.
    pub cuts: u64,
    /// Starts that were refused, as a cut lay below what the manifest knows to be durable; the data was put back.
    pub refused: u64,
    /// MSETs that were answered, and those of them that were lost: they may be, they were not synced.
    pub acked: u64,
    /// See `acked`.
    pub lost: u64,
    /// What must not be.
    pub violations: Vec<String>,
}

impl PowerReport {
    /// True when nothing was half there or out of order.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.violations.is_empty()
    }
}

impl fmt::Display for PowerReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "power losses     {}, {} logs lost their end", self.rounds, self.cuts)?;
        writeln!(f, "starts refused   {}, as durable bytes were cut", self.refused)?;
        writeln!(f, "transactions     {} answered, {} lost", self.acked, self.lost)?;
        if self.is_clean() {
            return write!(f, "verdict          nothing half there, nothing out of order");
        }
        writeln!(f, "verdict          FAILED, {} findings:", self.violations.len())?;
        self.violations.iter().take(20).try_for_each(|violation| writeln!(f, "  {violation}"))
    }
}

/// The keys of one connection.
#[derive(Debug, Clone)]
struct Keys {
    /// One in each partition, set by one MSET.
    group: Vec<String>,
    /// One in each partition, set and removed as a whole.
    flicker: Vec<String>,
    /// One in each partition, set after the group.
    after: Vec<String>,
}

impl Keys {
    fn new(connection: usize, partitions: u16) -> Self {
        let spread = |kind: &str| {
            (0..partitions)
                .map(|wanted| {
                    // some small number leads into every partition.
                    let mut names = (0..).map(|number: u64| format!("{kind}:{connection}:{number}"));
                    names.find(|name| partition(name.as_bytes(), partitions) == wanted).unwrap_or_default()
                })
                .collect()
        };
        Self { group: spread("group"), flicker: spread("flicker"), after: spread("after") }
    }
}

/// What a connection has sent, and what is known to be there for good.
#[derive(Debug, Clone, Default)]
struct Progress {
    sent: u64,
    acked: u64,
    /// The group's value, and those of the keys after it, at the last start.
    group: u64,
    after: Vec<u64>,
}

/// Runs the plan to its end, or to the first round with findings.
///
/// # Errors
/// When the server does not start for another reason than that durable bytes are gone.
pub fn run(plan: &PowerPlan) -> Result<PowerReport> {
    let mut server = Server::start(&plan.spec)?;
    let partitions = server.connect()?.cores()?;
    let keys: Vec<Keys> = (0..plan.connections).map(|connection| Keys::new(connection, partitions)).collect();
    let fresh = Progress { after: vec![0; usize::from(partitions)], ..Progress::default() };
    let mut progress = vec![fresh; plan.connections];
    let mut report = PowerReport::default();
    let root = Rng::new(plan.seed);
    for round in 0..plan.rounds {
        let mut rng = root.fork(round + 1);
        write_until_killed(&mut server, &keys, &mut progress, &mut rng)?;
        server = lose_power(plan, &mut rng, &mut report)?;
        let mut client = server.connect()?;
        for (connection, (keys, progress)) in keys.iter().zip(&mut progress).enumerate() {
            let wrong = check(&mut client, keys, progress, &mut report)?;
            report.violations.extend(wrong.into_iter().map(|w| format!("round {round}, connection {connection}: {w}")));
        }
        report.rounds += 1;
        if !report.is_clean() {
            break;
        }
    }
    Ok(report)
}

fn write_until_killed(server: &mut Server, keys: &[Keys], progress: &mut [Progress], rng: &mut Rng) -> Result<()> {
    let clients: Vec<Client> = keys.iter().map(|_| server.connect()).collect::<Result<_>>()?;
    let length = Duration::from_millis(rng.between(100, 1_800));
    std::thread::scope(|scope| {
        for ((client, keys), progress) in clients.into_iter().zip(keys).zip(progress) {
            scope.spawn(move || write(client, keys, progress));
        }
        let end = Instant::now() + length;
        while Instant::now() < end {
            std::thread::sleep(Duration::from_millis(5));
        }
        server.kill9()
    })
}

/// Writes until the connection breaks; what is wrong shows in what is found.
fn write(mut client: Client, keys: &Keys, progress: &mut Progress) {
    loop {
        progress.sent += 1;
        let text = progress.sent.to_string();
        let mset = |keys: &[String]| {
            std::iter::once("MSET".to_owned())
                .chain(keys.iter().flat_map(|key| [key.clone(), text.clone()]))
                .collect::<Vec<_>>()
        };
        client.send(&mset(&keys.group));
        if !client.read().is_ok_and(|reply| reply.is_ok()) {
            return;
        }
        progress.acked = progress.sent;
        keys.after.iter().for_each(|key| client.send(&["SET", key, &text]));
        if progress.sent.is_multiple_of(2) {
            client.send(&mset(&keys.flicker));
        } else {
            let del = std::iter::once("DEL").chain(keys.flicker.iter().map(String::as_str));
            client.send(&del.collect::<Vec<_>>());
        }
        if (0..=keys.after.len()).any(|_| client.read().is_err()) {
            return;
        }
    }
}

/// Cuts and starts. What is refused is put back and cut elsewhere.
fn lose_power(plan: &PowerPlan, rng: &mut Rng, report: &mut PowerReport) -> Result<Server> {
    let backup = TempDir::new("power")?;
    copy(plan.spec.dir(), backup.path())?;
    loop {
        let cuts = cut::cut_some(plan.spec.dir(), rng)?;
        match Server::start(&plan.spec) {
            Ok(server) => {
                report.cuts += cuts.len() as u64;
                return Ok(server);
            }
            Err(Error::Server { log, .. }) if log.contains("damaged") && report.refused < 1_000 => {
                report.refused += 1;
                copy(backup.path(), plan.spec.dir())?;
            }
            Err(error) => return Err(Error::Missing(format!("after {cuts:?}: {error}"))),
        }
    }
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    let io = |source| Error::Io { what: format!("copying {} to {}", from.display(), to.display()), source };
    for entry in std::fs::read_dir(from).map_err(io)? {
        let entry = entry.map_err(io)?;
        std::fs::copy(entry.path(), to.join(entry.file_name())).map_err(io)?;
    }
    Ok(())
}

/// The numbers under some keys, 0 where there is none.
fn numbers(client: &mut Client, keys: &[String]) -> Result<Vec<u64>> {
    keys.iter()
        .map(|key| {
            let reply = client.command(&["GET", key])?;
            let number = reply.text().and_then(|text| std::str::from_utf8(text).ok()?.parse().ok());
            match (&reply, number) {
                (Value::Null, _) => Ok(0),
                (_, Some(number)) => Ok(number),
                _ => Err(Error::Protocol(format!("GET {key} was answered {reply:?}"))),
            }
        })
        .collect()
}

fn check(client: &mut Client, keys: &Keys, progress: &mut Progress, report: &mut PowerReport) -> Result<Vec<String>> {
    let mut wrong = Vec::new();
    let [group, flicker, after] = [&keys.group, &keys.flicker, &keys.after].map(|keys| numbers(client, keys));
    let (group, flicker, after) = (group?, flicker?, after?);
    for (name, values) in [("group", &group), ("flicker", &flicker)] {
        if values.iter().any(|value| *value != values[0]) {
            wrong.push(format!("the {name} is half there: {values:?}"));
        }
    }
    let found = group.iter().copied().min().unwrap_or(0);
    if !(progress.group..=progress.sent).contains(&found) {
        wrong.push(format!("the group is {found}; {} was served before, {} was sent", progress.group, progress.sent));
    }
    for (partition, (value, before)) in after.iter().zip(&progress.after).enumerate() {
        if *value > found {
            wrong.push(format!(
                "partition {partition} has the SET after MSET {value}, but the MSET that is there is {found}"
            ));
        }
        if value < before {
            wrong.push(format!("partition {partition} has SET {value}; {before} was served before"));
        }
    }
    report.acked += progress.acked.saturating_sub(progress.group);
    report.lost += progress.acked.saturating_sub(found);
    // numbers are never used again, so that each tells when it was written.
    (progress.group, progress.after, progress.acked) = (found, after, found);
    Ok(wrong)
}
