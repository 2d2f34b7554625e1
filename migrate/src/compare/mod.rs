//! `emberkv compare`: whether two servers have the same keys, with the same content and the same time to live.
//!
//! What is compared is content, not how it is kept: types, elements, fields, scores, entries, groups. Small values are
//! fetched whole, many at a time; of larger ones slices of the one are looked up in the other, so that neither is ever in
//! memory. The order of the members of sets and hashes is none.

mod large;
mod small;

use std::collections::HashMap;
use std::sync::atomic::Ordering;
use std::time::Duration;

use emberkv_console::{Connection, Interrupt, Target, Value};

use crate::dump::scan;
use crate::error::{Error, Result};
use crate::report::shown;
use crate::servers::{Progress, connect, databases, pipeline, read_all, send_all, words};

/// A value with more elements, or with more bytes, is compared in slices.
const SMALL_ELEMENTS: i64 = 512;
const SMALL_BYTES: i64 = 256 * 1024;
/// So many bytes a slice has, more or less.
const SLICE_BYTES: i64 = 1 << 20;

const WHO: [&str; 2] = ["the first", "the second"];

/// What is asked for.
#[derive(Clone, Debug)]
pub(crate) struct Job {
    pub servers: [Target; 2],
    /// By how much times to live may differ.
    pub tolerance_ms: u64,
    /// So many keys are named.
    pub names: usize,
    /// How often keys that differ are looked at once more, for servers of which one follows the other.
    pub again: u32,
}

/// What was found.
#[derive(Default, Debug)]
pub(crate) struct Outcome {
    pub compared: u64,
    pub missing: u64,
    pub extra: u64,
    pub different: u64,
    pub named: Vec<String>,
}

impl Outcome {
    /// Whether they are equal.
    pub fn is_equal(&self) -> bool {
        self.missing + self.extra + self.different == 0
    }
}

/// What one server says of a key.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Facts {
    kind: String,
    /// When it expires.
    expires_at_ms: Option<i64>,
}

/// How two keys differ.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Verdict {
    Equal,
    /// Only the first has it.
    Missing,
    /// Only the second has it.
    Extra,
    /// In this.
    Different(String),
}

/// Both, with the same database selected.
struct Pair {
    connections: [Connection; 2],
    tolerance_ms: u64,
    /// Whether both say when keys, and fields, expire.
    knows_times: bool,
    knows_field_times: bool,
}

/// Compares all keys of all databases.
///
/// # Errors
/// When one of them has gone.
pub(crate) fn compare(job: &Job, interrupt: &Interrupt) -> Result<Outcome> {
    let connections = [connect(&job.servers[0], WHO[0])?, connect(&job.servers[1], WHO[1])?];
    let (tolerance_ms, knows_times, knows_field_times) = (job.tolerance_ms, true, true);
    let mut pair = Pair { connections, tolerance_ms, knows_times, knows_field_times };
    pair.knows_times = pair.know(&words("PEXPIRETIME", &[b"emberkv:no:such:key"]))?;
    pair.knows_field_times = pair.know(&words("HPEXPIRETIME", &[b"emberkv:no:such:key", b"FIELDS", b"1", b"f"]))?;
    let mut all = databases(&mut pair.connections[0], WHO[0])?;
    all.extend(databases(&mut pair.connections[1], WHO[1])?);
    all.sort_unstable();
    all.dedup();
    let (mut outcome, mut progress) = (Outcome::default(), Progress::new());
    for db in all {
        pair.select(db)?;
        // from the first's keys, then from those of the second that the first does not have
        for side in [0, 1] {
            let mut cursor = b"0".to_vec();
            loop {
                let (next, mut keys) = scan(&mut pair.connections[side], &cursor, WHO[side])?;
                if db == 0 {
                    keys.retain(|key| key != crate::state::KEY);
                }
                if side == 1 {
                    keys = pair.absent(keys)?;
                } else {
                    outcome.compared += keys.len() as u64;
                }
                job.step(&mut pair, db, keys, &mut outcome)?;
                if interrupt.load(Ordering::Relaxed) {
                    return Err(Error::Interrupted);
                }
                progress.say(|| format!("{} keys compared", outcome.compared));
                if next == b"0" {
                    break;
                }
                cursor = next;
            }
        }
    }
    Ok(outcome)
}

impl Job {
    /// Compares some keys, and notes those that differ.
    fn step(&self, pair: &mut Pair, db: u64, mut keys: Vec<Vec<u8>>, outcome: &mut Outcome) -> Result<()> {
        let mut verdicts = pair.verdicts(&keys)?;
        for _ in 0..self.again {
            if verdicts.iter().all(|verdict| *verdict == Verdict::Equal) {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(200));
            let mut rest = verdicts.iter();
            keys.retain(|_| rest.next().is_some_and(|verdict| *verdict != Verdict::Equal));
            verdicts = pair.verdicts(&keys)?;
        }
        for (key, verdict) in keys.iter().zip(verdicts) {
            let what = match verdict {
                Verdict::Equal => continue,
                Verdict::Missing => {
                    outcome.missing += 1;
                    "missing from the second".to_owned()
                }
                Verdict::Extra => {
                    outcome.extra += 1;
                    "only in the second".to_owned()
                }
                Verdict::Different(what) => {
                    outcome.different += 1;
                    format!("different: {what}")
                }
            };
            if outcome.named.len() < self.names {
                outcome.named.push(format!("key {} of database {db}: {what}", shown(key)));
            }
        }
        Ok(())
    }
}

impl Pair {
    /// The replies of both to the same commands. They are asked at the same time.
    fn ask(&mut self, commands: &[Vec<Vec<u8>>]) -> Result<[Vec<Value>; 2]> {
        let [a, b] = &mut self.connections;
        send_all(a, commands, WHO[0])?;
        send_all(b, commands, WHO[1])?;
        Ok([read_all(a, commands.len(), WHO[0])?, read_all(b, commands.len(), WHO[1])?])
    }

    /// The reply of both to one command.
    fn ask_one(&mut self, command: Vec<Vec<u8>>) -> Result<[Value; 2]> {
        let [mut a, mut b] = self.ask(&[command])?;
        let one = |replies: &mut Vec<Value>| replies.pop().unwrap_or(Value::Nil);
        Ok([one(&mut a), one(&mut b)])
    }

    /// Whether both know a command.
    fn know(&mut self, command: &[Vec<u8>]) -> Result<bool> {
        Ok(self.ask_one(command.to_vec())?.iter().all(|reply| !reply.is_error()))
    }

    fn select(&mut self, db: u64) -> Result<()> {
        let replies = self.ask_one(words("SELECT", &[db.to_string().as_bytes()]))?;
        match replies.iter().find_map(Value::error) {
            None => Ok(()),
            Some(error) => Err(Error::Usage(format!("one of them has no database {db}: {error}"))),
        }
    }

    /// Those that the first does not have.
    fn absent(&mut self, mut keys: Vec<Vec<u8>>) -> Result<Vec<Vec<u8>>> {
        let commands: Vec<_> = keys.iter().map(|key| words("EXISTS", &[key])).collect();
        send_all(&mut self.connections[0], &commands, WHO[0])?;
        let mut there = read_all(&mut self.connections[0], commands.len(), WHO[0])?.into_iter();
        keys.retain(|_| there.next() == Some(Value::Integer(0)));
        Ok(keys)
    }

    /// What each key is on both.
    fn facts(&mut self, keys: &[Vec<u8>]) -> Result<[Vec<Facts>; 2]> {
        let time = if self.knows_times { "PEXPIRETIME" } else { "PTTL" };
        let commands: Vec<_> = keys.iter().flat_map(|key| [words("TYPE", &[key]), words(time, &[key])]).collect();
        let facts = |pair: &[Value]| Facts {
            kind: String::from_utf8_lossy(pair[0].text().unwrap_or_default()).into_owned(),
            expires_at_ms: if let Value::Integer(ms @ 0..) = pair[1] { Some(ms) } else { None },
        };
        Ok(self.ask(&commands)?.map(|replies| replies.chunks_exact(2).map(facts).collect()))
    }

    /// How each key differs.
    fn verdicts(&mut self, keys: &[Vec<u8>]) -> Result<Vec<Verdict>> {
        let [a, b] = self.facts(keys)?;
        let mut verdicts: Vec<Verdict> = a.iter().zip(&b).map(|(a, b)| self.verdict_of_facts(a, b)).collect();
        // of those that may be equal: how large they are, on both
        let open: Vec<usize> =
            (0..keys.len()).filter(|at| verdicts[*at] == Verdict::Equal && a[*at].kind != "none").collect();
        let sizes: Vec<_> = open.iter().map(|at| words(size_command(&a[*at].kind), &[&keys[*at]])).collect();
        let [left, right] = self.ask(&sizes)?;
        let bytes = self.bytes(open.iter().map(|at| &keys[*at]))?;
        let mut small: HashMap<usize, i64> = HashMap::new();
        for (((at, left), right), bytes) in open.into_iter().zip(left).zip(right).zip(bytes) {
            let (kind, key) = (a[at].kind.as_str(), &keys[at]);
            match (left, right) {
                (Value::Integer(left), Value::Integer(right)) if left != right => {
                    verdicts[at] = Verdict::Different(format!("a {kind} of {left} and {right}"));
                }
                (Value::Integer(size), Value::Integer(_)) => {
                    let (elements, bytes) = if kind == "string" { (1, size) } else { (size, bytes) };
                    if elements <= SMALL_ELEMENTS && bytes <= SMALL_BYTES {
                        small.insert(at, elements + bytes / 1024);
                    } else {
                        // those of a string are its bytes
                        let slice = SLICE_BYTES / (bytes / size.max(1)).max(1);
                        verdicts[at] = self.large(kind, key, size, slice)?;
                    }
                }
                (left, right) => {
                    let error = left.error().or(right.error()).unwrap_or_default();
                    verdicts[at] = Verdict::Different(format!("a {kind} that can't be compared: {error}"));
                }
            }
        }
        self.small(keys, &a, small, &mut verdicts)?;
        Ok(verdicts)
    }

    /// What each key takes on the first, as it says; 0 if it does not.
    fn bytes<'a>(&mut self, keys: impl Iterator<Item = &'a Vec<u8>>) -> Result<Vec<i64>> {
        let commands: Vec<_> = keys.map(|key| words("MEMORY USAGE", &[key])).collect();
        let replies = pipeline(&mut self.connections[0], &commands, WHO[0])?;
        let of = |reply: &Value| if let Value::Integer(bytes) = reply { *bytes } else { 0 };
        Ok(replies.iter().map(of).collect())
    }

    fn verdict_of_facts(&self, a: &Facts, b: &Facts) -> Verdict {
        match (a.kind.as_str(), b.kind.as_str()) {
            ("none", "none") => return Verdict::Equal,
            (_, "none") => return Verdict::Missing,
            ("none", _) => return Verdict::Extra,
            (a, b) if a != b => return Verdict::Different(format!("a {a} and a {b}")),
            _ => {}
        }
        match (a.expires_at_ms, b.expires_at_ms) {
            (None, None) => Verdict::Equal,
            (Some(a), Some(b)) if a.abs_diff(b) <= self.tolerance_ms => Verdict::Equal,
            (Some(a), Some(b)) => Verdict::Different(format!("the times to live differ by {} ms", a.abs_diff(b))),
            (Some(_), None) => Verdict::Different("only on the first it expires".into()),
            (None, Some(_)) => Verdict::Different("only on the second it expires".into()),
        }
    }
}

fn size_command(kind: &str) -> &'static str {
    match kind {
        "string" => "STRLEN",
        "list" => "LLEN",
        "set" => "SCARD",
        "hash" => "HLEN",
        "zset" => "ZCARD",
        "stream" => "XLEN",
        // a module's: TYPE is refused as a size, and the key is named
        _ => "STRLEN",
    }
}
