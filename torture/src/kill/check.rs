//! After a restart: is what is found what the acknowledged commands, plus some of the unanswered ones, would have left?

use std::collections::{BTreeSet, HashMap, HashSet};

use super::collection::Content;
use super::model::{Found, Key, Model, Moment};
use super::op::Op;
use super::survivors::{self, Chain, Order};
use super::worker::{InFlight, unix_ms};
use crate::value::escape;
use crate::{Client, Error, Result, Value};

/// Keys asked for at once.
const BATCH: usize = 256;
/// Enough bad keys to see what is wrong.
const MAX_SHOWN: usize = 10;

/// What the server holds, and when it was asked.
#[derive(Debug)]
pub struct Snapshot {
    found: HashMap<Key, Option<Found>>,
    read_at: Moment,
}

impl Snapshot {
    /// Reads values and expiries of `keys`.
    ///
    /// # Errors
    /// When the server does not answer, or answers nonsense.
    pub fn read(client: &mut Client, keys: &[Key]) -> Result<Self> {
        let earliest_ms = unix_ms();
        let mut found = HashMap::with_capacity(keys.len());
        for batch in keys.chunks(BATCH) {
            for key in batch {
                // the expiry first: a key that expires in between is then simply absent.
                client.send(&[&b"PEXPIRETIME"[..], key]);
                client.send(&[&b"GET"[..], key]);
            }
            let mut collections = Vec::new();
            for key in batch {
                let expiry = client.read()?;
                let value = client.read()?;
                if value.is_error("WRONGTYPE") {
                    collections.push((key, expiry));
                } else {
                    found.insert(key.clone(), interpret(key, &expiry, value)?);
                }
            }
            for (key, expiry) in collections {
                let content = Content::read(client, key)?;
                found.insert(key.clone(), content.map(|content| held(key, &expiry, content)).transpose()?);
            }
        }
        Ok(Self { found, read_at: Moment { earliest_ms, latest_ms: unix_ms() } })
    }

    /// What was found under a key.
    #[must_use]
    pub fn get(&self, key: &[u8]) -> Option<&Found> {
        self.found.get(key).and_then(Option::as_ref)
    }

    fn fits(&self, model: &Model, key: &[u8]) -> bool {
        model.explains(key, self.get(key), self.read_at)
    }
}

fn interpret(key: &[u8], expiry: &Value, value: Value) -> Result<Option<Found>> {
    let value = match value {
        Value::Null => return Ok(None),
        Value::Bulk(value) => value,
        other => {
            return Err(Error::Protocol(format!("GET {} was answered {other:?}", escape(key))));
        }
    };
    held(key, expiry, Content::of_string(value)).map(Some)
}

fn held(key: &[u8], expiry: &Value, value: Content) -> Result<Found> {
    match expiry.integer() {
        Some(-1) => Ok(Found { value, expiry_ms: None }),
        Some(ms) if ms >= 0 => Ok(Found { value, expiry_ms: Some(ms) }),
        _ => Err(Error::Protocol(format!("PEXPIRETIME {} was answered {expiry:?}, yet it has a value", escape(key)))),
    }
}

/// What is wrong with one connection's keys.
#[derive(Debug, Default)]
pub struct Findings {
    /// One line per bad key, the first few.
    pub violations: Vec<String>,
    /// How many unanswered commands had taken effect.
    pub survived: usize,
}

/// Looks for the unanswered commands that explain every key of the connection at once: each entirely or not at all,
/// and in the order that `order` says. `died_ms` is when the server was surely dead. Afterwards `model` is what was
/// found.
#[must_use]
pub fn explain(model: &mut Model, in_flight: &[InFlight], snapshot: &Snapshot, died_ms: i64, order: Order) -> Findings {
    let acked = model.clone();
    let ops: Vec<&Op> = in_flight.iter().map(|flight| &flight.op).collect();
    let chains = chains(model, in_flight, snapshot, died_ms);
    let mut findings = Findings::default();
    match survivors::least(&chains, &order.before(&ops)) {
        Ok(survived) => findings.survived = survived.into_iter().filter(|survived| *survived).count(),
        Err(first) => findings.violations = describe(&acked, &ops, snapshot, &chains, first),
    }
    for chain in chains {
        model.adopt(&chain.key, snapshot.get(&chain.key));
    }
    findings
}

/// Every key with the commands on it, and after how many of them it would be what was found.
fn chains(model: &mut Model, in_flight: &[InFlight], snapshot: &Snapshot, died_ms: i64) -> Vec<Chain> {
    // keys that only unanswered commands touch count too: they must be absent at first.
    let keys = model.keys().chain(in_flight.iter().flat_map(|flight| flight.op.keys()));
    let mut chains: HashMap<Key, Chain> = HashMap::new();
    for key in keys {
        let fits = || vec![snapshot.fits(model, key)];
        chains.entry(key.clone()).or_insert_with(|| Chain { key: key.clone(), commands: Vec::new(), fits: fits() });
    }
    for (number, InFlight { op, sent_ms }) in in_flight.iter().enumerate() {
        model.apply(op, Moment { earliest_ms: *sent_ms, latest_ms: died_ms });
        let changed: BTreeSet<Key> = match op {
            Op::FlushDb => model.keys().cloned().collect(),
            op => op.keys().into_iter().cloned().collect(),
        };
        for key in changed {
            if let Some(chain) = chains.get_mut(&key) {
                chain.commands.push(number);
                chain.fits.push(snapshot.fits(model, &key));
            }
        }
    }
    chains.into_values().collect()
}

/// Keys that no number of the commands on them explains; if each is explained on its own, the one where the search
/// ended.
fn describe(acked: &Model, ops: &[&Op], snapshot: &Snapshot, chains: &[Chain], first: usize) -> Vec<String> {
    let mut bad: Vec<&Chain> = chains.iter().filter(|chain| !chain.fits.contains(&true)).collect();
    let alone = bad.len();
    if bad.is_empty() {
        bad.push(&chains[first]);
    }
    let mut lines = Vec::new();
    for Chain { key, commands, fits } in bad.iter().take(MAX_SHOWN) {
        let found = snapshot.get(key).map_or("absent".into(), |f| show(&f.value, f.expiry_ms));
        let due = acked.get(key).map_or("absent".into(), |e| show(&e.value, e.expiry.map(|m| m.earliest_ms)));
        let after: Vec<usize> = (0..fits.len()).filter(|count| fits[*count]).collect();
        let hint = match (commands.len(), &after[..]) {
            (0, _) => "no unanswered command touched it".into(),
            (count, []) => format!("none of the {count} unanswered commands on it explains it"),
            (count, after) => format!(
                "after {after:?} of the {count} unanswered commands on it ({}) it would be so, but other keys deny that",
                commands.iter().map(|number| told(ops[*number], *number)).collect::<Vec<_>>().join("; ")
            ),
        };
        lines.push(format!("{}: found {found}, acknowledged {due}; {hint}", escape(key)));
    }
    lines.push(format!(
        "in all {alone} keys are not what the acknowledged commands and some of the {} unanswered ones leave{}",
        ops.len(),
        if alone == 0 { ", but together the keys are not: a command is half there, or out of order" } else { "" }
    ));
    lines
}

fn told(op: &Op, number: usize) -> String {
    let words = op.args();
    let words: Vec<String> = words.iter().take(12).map(|word| escape(&word[..word.len().min(24)])).collect();
    format!("{number}: {}", words.join(" "))
}

fn show(value: &Content, expiry_ms: Option<i64>) -> String {
    let shown = value.show();
    match expiry_ms {
        Some(ms) => format!("{shown} until {ms}"),
        None => shown,
    }
}

/// Every key of the server, by SCAN.
///
/// # Errors
/// When the server does not answer, or answers nonsense.
pub fn scan_all(client: &mut Client) -> Result<HashSet<Key>> {
    let mut keys = HashSet::new();
    let mut cursor = b"0".to_vec();
    loop {
        let reply = client.command(&[&b"SCAN"[..], &cursor, b"COUNT", b"1000"])?;
        let Some([next, batch]) = reply.items() else {
            return Err(Error::Protocol(format!("SCAN was answered {reply:?}")));
        };
        for key in batch.items().unwrap_or_default() {
            keys.extend(key.text().map(<[u8]>::to_vec));
        }
        cursor = next.text().unwrap_or(b"0").to_vec();
        if cursor == b"0" {
            return Ok(keys);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::op::{Spelling, Ttl};
    use super::*;

    fn set(key: &str, value: &str) -> Op {
        Op::Set { key: key.into(), value: value.into(), ttl: Ttl::None, spelled: Spelling::Set }
    }

    fn snapshot(found: &[(&str, Option<&str>)]) -> Snapshot {
        let found = found
            .iter()
            .map(|(key, value)| {
                let found = value.map(|v| Found { value: Content::Text(v.into()), expiry_ms: None });
                (key.as_bytes().to_vec(), found)
            })
            .collect();
        Snapshot { found, read_at: Moment::exact(1000) }
    }

    fn in_flight(ops: Vec<Op>) -> Vec<InFlight> {
        ops.into_iter().map(|op| InFlight { op, sent_ms: 1 }).collect()
    }

    fn acked(ops: &[Op]) -> Model {
        let mut model = Model::default();
        for op in ops {
            model.apply(op, Moment::exact(1));
        }
        model
    }

    #[test]
    fn a_first_part_of_the_unanswered_commands_explains() {
        let mut model = acked(&[set("a", "1")]);
        let flight = in_flight(vec![set("a", "2"), set("b", "1"), set("c", "1")]);
        let found = snapshot(&[("a", Some("2")), ("b", Some("1")), ("c", None)]);
        let findings = explain(&mut model, &flight, &found, 2, Order::Whole);
        assert!(findings.violations.is_empty(), "{findings:?}");
        assert_eq!(findings.survived, 2);
    }

    #[test]
    fn a_lost_acknowledged_write_is_found() {
        let mut model = acked(&[set("a", "1"), set("a", "2")]);
        let findings = explain(&mut model, &[], &snapshot(&[("a", Some("1"))]), 2, Order::Whole);
        assert!(!findings.violations.is_empty());
    }

    #[test]
    fn an_invented_value_is_found() {
        let mut model = acked(&[set("a", "1")]);
        let flight = in_flight(vec![set("a", "2")]);
        let findings = explain(&mut model, &flight, &snapshot(&[("a", Some("3"))]), 2, Order::Whole);
        assert!(!findings.violations.is_empty());
    }

    #[test]
    fn a_gap_in_the_unanswered_commands_is_found() {
        let mut model = Model::default();
        let flight = in_flight(vec![set("a", "1"), set("b", "1")]);
        let found = snapshot(&[("a", None), ("b", Some("1"))]);
        assert!(!explain(&mut model, &flight, &found, 2, Order::Whole).violations.is_empty());
    }

    #[test]
    fn a_flush_whose_reply_never_came_may_or_may_not_have_happened() {
        let flight = in_flight(vec![Op::FlushDb, set("b", "1")]);
        for (a, b) in [(Some("1"), None), (None, None), (None, Some("1"))] {
            let mut model = acked(&[set("a", "1")]);
            let found = snapshot(&[("a", a), ("b", b)]);
            assert!(explain(&mut model, &flight, &found, 2, Order::Whole).violations.is_empty());
        }
        let mut model = acked(&[set("a", "1")]);
        let found = snapshot(&[("a", Some("1")), ("b", Some("1"))]);
        assert!(!explain(&mut model, &flight, &found, 2, Order::Whole).violations.is_empty());
    }

    #[test]
    fn half_an_mset_is_found_however_many_partitions() {
        let pairs = vec![(b"foo".to_vec(), b"1".to_vec()), (b"bar".to_vec(), b"1".to_vec())];
        let flight = in_flight(vec![Op::MSet(pairs)]);
        for order in [Order::Whole, Order::Partitions(2)] {
            for (foo, bar) in [(Some("1"), None), (None, Some("1"))] {
                let found = snapshot(&[("foo", foo), ("bar", bar)]);
                assert!(!explain(&mut Model::default(), &flight, &found, 2, order).violations.is_empty());
            }
            let found = snapshot(&[("foo", Some("1")), ("bar", Some("1"))]);
            assert_eq!(explain(&mut Model::default(), &flight, &found, 2, order).survived, 1);
        }
    }

    #[test]
    fn half_a_delete_is_found_however_many_partitions() {
        let flight = in_flight(vec![Op::Del(vec![b"foo".to_vec(), b"bar".to_vec()])]);
        let found = snapshot(&[("foo", None), ("bar", Some("1"))]);
        let mut model = acked(&[set("foo", "1"), set("bar", "1")]);
        assert!(!explain(&mut model, &flight, &found, 2, Order::Partitions(2)).violations.is_empty());
    }

    #[test]
    fn a_gap_between_partitions_is_no_gap() {
        let flight = in_flight(vec![set("foo", "1"), set("bar", "1")]);
        let found = snapshot(&[("foo", None), ("bar", Some("1"))]);
        let explain = |order| explain(&mut Model::default(), &flight, &found, 2, order).violations;
        assert_eq!(explain(Order::Partitions(2)), Vec::<String>::new());
        assert!(!explain(Order::Whole).is_empty());
    }
}
