//! Commands on values that have elements: all servers after one another, each with the same commands in the same order, so many of
//! each that what one of them adds another one finds. And what such values take of memory.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::time::Duration;

use emberkv_load::{ClosedLoop, Endpoint, LoadError, Random, Scanner, Workload};

use crate::cell::SyncMode;
use crate::error::BenchError;
use crate::meter::CpuMeter;
use crate::metric::{Metric, Sample};
use crate::run::Bench;
use crate::server::Server;
use crate::stats::{Summary, ratio_to_better};

/// So many keys of each type; a command goes to one of them, by chance.
const KEYS: u64 = 1000;
/// Elements that a set, a hash or a sorted set of these may have.
const ELEMENTS: u64 = 1000;
/// Members of the leaderboard.
const PLAYERS: u64 = 1_000_000;

/// A word of a command.
#[derive(Clone, Copy, Debug)]
enum Word {
    /// Always the same.
    Text(&'static str),
    /// Text and the number of a key.
    Key(&'static str),
    /// An element's number, of twelve digits.
    Element,
    /// The same, of a player.
    Player,
    /// A score.
    Score,
    /// Bytes, all of them different from others'.
    Value(usize),
}

use Word::{Element, Key, Player, Score, Text, Value};

/// The commands, in the order in which they are sent.
const COMMANDS: [(&str, &[Word]); 14] = [
    ("LPUSH", &[Text("LPUSH"), Key("list"), Value(32)]),
    ("RPUSH", &[Text("RPUSH"), Key("list"), Value(32)]),
    ("LRANGE 0 99", &[Text("LRANGE"), Key("list"), Text("0"), Text("99")]),
    ("RPOP", &[Text("RPOP"), Key("list")]),
    ("SADD", &[Text("SADD"), Key("set"), Element]),
    ("SISMEMBER", &[Text("SISMEMBER"), Key("set"), Element]),
    ("SPOP", &[Text("SPOP"), Key("set")]),
    ("HSET", &[Text("HSET"), Key("hash"), Element, Value(32)]),
    ("HGET", &[Text("HGET"), Key("hash"), Element]),
    ("ZADD", &[Text("ZADD"), Key("zset"), Score, Element]),
    ("ZRANGE 0 99", &[Text("ZRANGE"), Key("zset"), Text("0"), Text("99")]),
    ("board: ZADD", &[Text("ZADD"), Text("board"), Score, Player]),
    ("board: ZREVRANK", &[Text("ZREVRANK"), Text("board"), Player]),
    ("board: ZREVRANGE 0 9", &[Text("ZREVRANGE"), Text("board"), Text("0"), Text("9"), Text("WITHSCORES")]),
];

/// One command, so many times.
struct Calls {
    words: Vec<Word>,
    random: Random,
    left: u64,
    out: Vec<u8>,
    error: Option<String>,
}

impl Calls {
    fn new(words: &[Word], seed: u64, times: u64) -> Self {
        Self { words: words.to_vec(), random: Random::new(seed), left: times, out: Vec::new(), error: None }
    }

    fn write(&mut self) {
        self.out.extend_from_slice(format!("*{}\r\n", self.words.len()).as_bytes());
        for word in &self.words {
            let random = &mut self.random;
            let text = match word {
                Text(text) => (*text).to_owned(),
                Key(text) => format!("{text}:{}", random.below(KEYS)),
                Element => format!("{:012}", random.below(ELEMENTS)),
                Player => format!("{:012}", random.below(PLAYERS)),
                Score => random.below(1_000_000).to_string(),
                Value(len) => (0..*len).map(|_| char::from(b'a' + random.below(26) as u8)).collect(),
            };
            self.out.extend_from_slice(format!("${}\r\n{text}\r\n", text.len()).as_bytes());
        }
    }
}

impl Workload for Calls {
    type Lane = Scanner;

    fn lane(&mut self, _: usize) -> Scanner {
        Scanner::default()
    }

    fn fill<'a>(&'a mut self, _: &'a mut Scanner, _: usize, limit: usize) -> (usize, &'a [u8]) {
        self.out.clear();
        let count = self.left.min(limit as u64);
        self.left -= count;
        (0..count).for_each(|_| self.write());
        (count as usize, &self.out)
    }

    fn feed(&mut self, lane: &mut Scanner, bytes: &[u8]) -> Result<u64, LoadError> {
        let complete = lane.feed(bytes)?;
        if let Some(error) = lane.first_error.take() {
            self.error.get_or_insert(error);
        }
        Ok(complete)
    }
}

/// Sends them all; the server's operations a cpu second.
fn send(bench: &Bench<'_>, server: &Server, words: &[Word], times: u64, pipeline: usize) -> Result<f64, BenchError> {
    let endpoint = Endpoint::new((Ipv4Addr::LOCALHOST, server.port()).into());
    let calls = Calls::new(words, 7, times);
    let mut client = ClosedLoop::connect(&endpoint, bench.args.clients.max(1), pipeline, calls)?;
    let meter = CpuMeter::start(server.pid(), bench.args)?;
    let stretch = client.run(Duration::from_secs(3600))?;
    let mut sample = Sample::default();
    meter.stop(&mut sample, stretch.requests, stretch.elapsed)?;
    match client.workload().error.take() {
        Some(error) => Err(BenchError::Lost(error)),
        None => Ok(sample.get(Metric::OpsPerCpuSecond).unwrap_or(f64::NAN)),
    }
}

/// All commands on all servers; a table.
///
/// # Errors
/// When a server or the client fails.
pub fn run(bench: &Bench<'_>) -> Result<String, BenchError> {
    let mut found: BTreeMap<(usize, usize, usize), Vec<f64>> = BTreeMap::new();
    let pipelines = [1, 16];
    for _ in 0..bench.args.rounds() {
        for (depth, pipeline) in pipelines.into_iter().enumerate() {
            let times = (bench.args.seconds() * if pipeline == 1 { 100_000.0 } else { 400_000.0 }) as u64;
            for index in 0..bench.binaries.len() {
                let server = bench.start(index, SyncMode::Everysec)?;
                for (nth, (name, words)) in COMMANDS.iter().enumerate() {
                    bench.settle()?;
                    let rate = send(bench, &server, words, times, pipeline)?;
                    eprintln!("{name} P={pipeline} {}: {:.1}k", bench.binaries[index].kind.name(), rate / 1000.0);
                    found.entry((nth, depth, index)).or_default().push(rate);
                }
            }
        }
    }
    let mut table = format!(
        "{KEYS} keys of each type with up to {ELEMENTS} elements (12 bytes; values of 32), a leaderboard of up to {PLAYERS}; \
         `everysec`; thousands of operations a server-cpu-second, medians of {} rounds\n\n| command | P |",
        bench.args.rounds()
    );
    bench.binaries.iter().for_each(|binary| table.push_str(&format!(" {} |", binary.kind.name())));
    table.push_str(" spread | vs better |\n|---|---|");
    (0..bench.binaries.len() + 2).for_each(|_| table.push_str("---:|"));
    table.push('\n');
    for (nth, (name, _)) in COMMANDS.iter().enumerate() {
        for (depth, pipeline) in pipelines.into_iter().enumerate() {
            let of = |index| found.get(&(nth, depth, index)).cloned().and_then(Summary::of);
            let all: Vec<Summary> = (0..bench.binaries.len()).filter_map(of).collect();
            table.push_str(&format!("| {name} | {pipeline} |"));
            all.iter().for_each(|summary| table.push_str(&format!(" {:.1} |", summary.median / 1000.0)));
            let spread = all.iter().map(Summary::spread_percent).fold(0.0, f64::max);
            let [subject, peers @ ..] = &all[..] else { continue };
            let peers: Vec<f64> = peers.iter().map(|peer| peer.median).collect();
            let ratio = ratio_to_better(Metric::OpsPerCpuSecond, subject.median, &peers).unwrap_or(f64::NAN);
            table.push_str(&format!(" {spread:.0}% | {ratio:.2}x |\n"));
        }
    }
    table.push('\n');
    table.push_str(&memory(bench)?);
    Ok(table)
}

/// What is weighed: its name, the words of what makes one, how many there are, and what they are counted as.
type Weighed = (&'static str, fn(u64) -> Vec<String>, u64, &'static str);

fn ten(command: &str, key: String, with: impl Fn(u64) -> [String; 2]) -> Vec<String> {
    [command.to_owned(), key].into_iter().chain((0..10).flat_map(with)).collect()
}

/// Values of ten bytes, as the figures that are compared with have them.
const WEIGHED: [Weighed; 4] = [
    (
        "hashes of 10 fields of 10 + 10 bytes",
        |n| ten("HSET", format!("hash:{n:08}"), |i| [format!("field:{i:04}"), format!("value:{i:04}")]),
        200_000,
        "bytes a hash",
    ),
    (
        "sorted sets of 10 members of 10 bytes",
        |n| ten("ZADD", format!("zset:{n:08}"), |i| [i.to_string(), format!("membr:{i:04}")]),
        200_000,
        "bytes a sorted set",
    ),
    (
        "a hash of 1M fields of 10 + 10 bytes",
        |n| vec!["HSET".into(), "hash".into(), format!("f:{n:08}"), format!("v:{n:08}")],
        1_000_000,
        "bytes a field",
    ),
    (
        "a sorted set of 1M members of 10 bytes",
        |n| vec!["ZADD".into(), "zset".into(), (n * 7919 % 1_000_003).to_string(), format!("m:{n:08}")],
        1_000_000,
        "bytes a member",
    ),
];

/// What they take, all that a process has in memory counted, data included.
fn memory(bench: &Bench<'_>) -> Result<String, BenchError> {
    let mut table = "resident memory, data included, loaded at P=16\n\n| | |".to_owned();
    bench.binaries.iter().for_each(|binary| table.push_str(&format!(" {} |", binary.kind.name())));
    table.push_str("\n|---|---|");
    bench.binaries.iter().for_each(|_| table.push_str("---:|"));
    table.push('\n');
    for (name, words, count, unit) in WEIGHED {
        table.push_str(&format!("| {name} | {unit} |"));
        for index in 0..bench.binaries.len() {
            let server = bench.start(index, SyncMode::Everysec)?;
            let empty = server.resident_bytes()?;
            let endpoint = Endpoint::new((Ipv4Addr::LOCALHOST, server.port()).into());
            let made = Made { words, numbers: 0..count, out: Vec::new(), error: None };
            let mut client = ClosedLoop::connect(&endpoint, bench.args.clients.max(1), 16, made)?;
            client.run(Duration::from_secs(3600))?;
            if let Some(error) = client.workload().error.take() {
                return Err(BenchError::Lost(error));
            }
            drop(client);
            // what clients took is given back, and what is dead compacted
            std::thread::sleep(Duration::from_secs(3));
            let taken = server.resident_bytes()?.saturating_sub(empty) as f64 / count as f64;
            eprintln!("{name}, {}: {taken:.1} {unit}", bench.binaries[index].kind.name());
            table.push_str(&format!(" {taken:.1} |"));
        }
        table.push('\n');
    }
    Ok(table)
}

/// Requests made from numbers.
struct Made {
    words: fn(u64) -> Vec<String>,
    numbers: std::ops::Range<u64>,
    out: Vec<u8>,
    error: Option<String>,
}

impl Workload for Made {
    type Lane = Scanner;

    fn lane(&mut self, _: usize) -> Scanner {
        Scanner::default()
    }

    fn fill<'a>(&'a mut self, _: &'a mut Scanner, _: usize, limit: usize) -> (usize, &'a [u8]) {
        self.out.clear();
        let mut count = 0;
        for number in self.numbers.by_ref().take(limit) {
            let words = (self.words)(number);
            self.out.extend_from_slice(format!("*{}\r\n", words.len()).as_bytes());
            words.iter().for_each(|word| {
                self.out.extend_from_slice(format!("${}\r\n{word}\r\n", word.len()).as_bytes());
            });
            count += 1;
        }
        (count, &self.out)
    }

    fn feed(&mut self, lane: &mut Scanner, bytes: &[u8]) -> Result<u64, LoadError> {
        let complete = lane.feed(bytes)?;
        if let Some(error) = lane.first_error.take() {
            self.error.get_or_insert(error);
        }
        Ok(complete)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_well_formed_and_end() {
        for (name, words) in COMMANDS {
            let mut calls = Calls::new(words, 1, 3);
            let mut lane = calls.lane(0);
            let (count, bytes) = calls.fill(&mut lane, 0, 16);
            let text = String::from_utf8(bytes.to_vec()).unwrap();
            assert_eq!((count, text.matches(&format!("*{}\r\n$", words.len())).count()), (3, 3), "{name}: {text}");
            assert_eq!(calls.fill(&mut lane, 0, 16).0, 0);
        }
    }
}
