//! After a restart: is what is found what the acknowledged commands, plus some first part of the
//! unanswered ones, would have left?

use std::collections::{HashMap, HashSet};

use super::model::{Found, Key, Model, Moment};
use super::op::Op;
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
            for key in batch {
                let expiry = client.read()?;
                let value = client.read()?;
                found.insert(key.clone(), interpret(key, &expiry, value)?);
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
    match expiry.integer() {
        Some(-1) => Ok(Some(Found { value, expiry_ms: None })),
        Some(ms) if ms >= 0 => Ok(Some(Found { value, expiry_ms: Some(ms) })),
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

/// Looks for the first part of `in_flight` that explains every key of the connection at once:
/// one connection's commands are executed in order, and a multi-key command entirely or not at
/// all. `died_ms` is when the server was surely dead. Afterwards `model` is what was found.
#[must_use]
pub fn explain(model: &mut Model, in_flight: &[InFlight], snapshot: &Snapshot, died_ms: i64) -> Findings {
    let mut findings = Findings::default();
    let acked = model.clone();
    // keys that only unanswered commands touch count too: they must be absent at first.
    let mut wrong: HashSet<Key> = model
        .keys()
        .chain(in_flight.iter().flat_map(|f| f.op.keys()))
        .filter(|key| !snapshot.fits(model, key))
        .cloned()
        .collect();
    let mut survived = 0;
    let mut explained = wrong.is_empty();
    // how many commands ahead each wrong key would need, for the report.
    let mut fits_after: HashMap<Key, usize> = HashMap::new();
    for (number, InFlight { op, sent_ms }) in in_flight.iter().enumerate() {
        if explained {
            break;
        }
        model.apply(op, Moment { earliest_ms: *sent_ms, latest_ms: died_ms });
        let changed: Vec<Key> = match op {
            Op::FlushDb => model.keys().cloned().collect(),
            op => op.keys().into_iter().cloned().collect(),
        };
        for key in changed {
            if snapshot.fits(model, &key) {
                wrong.remove(&key);
                fits_after.entry(key).or_insert(number + 1);
            } else {
                wrong.insert(key);
            }
        }
        survived = number + 1;
        explained = wrong.is_empty();
    }
    if explained {
        findings.survived = survived;
    } else {
        findings.violations = describe(&acked, in_flight, snapshot, &fits_after);
    }
    let keys: Vec<Key> = model.keys().cloned().chain(in_flight.iter().flat_map(|f| f.op.keys()).cloned()).collect();
    for key in keys {
        model.adopt(&key, snapshot.get(&key));
    }
    findings
}

fn describe(
    acked: &Model,
    in_flight: &[InFlight],
    snapshot: &Snapshot,
    fits_after: &HashMap<Key, usize>,
) -> Vec<String> {
    let touched: HashSet<&Key> = in_flight.iter().flat_map(|f| f.op.keys()).collect();
    let mut lines = Vec::new();
    let mut bad = 0_usize;
    for key in acked.keys().chain(touched.iter().copied().filter(|key| !acked.knows(key))) {
        if snapshot.fits(acked, key) {
            continue;
        }
        if fits_after.contains_key(key) && bad > 0 {
            // explained by some unanswered command on its own: not what breaks the whole.
            continue;
        }
        bad += 1;
        if lines.len() < MAX_SHOWN {
            let found = snapshot.get(key).map_or("absent".into(), |f| show(&f.value, f.expiry_ms));
            let due = acked.get(key).map_or("absent".into(), |e| show(&e.value, e.expiry.map(|m| m.earliest_ms)));
            let hint = match fits_after.get(key) {
                Some(number) => format!("; unanswered command {number} alone would explain it"),
                None if touched.contains(key) => "; no unanswered command explains it".into(),
                None => "; no unanswered command touched it".into(),
            };
            lines.push(format!("{}: found {found}, acknowledged {due}{hint}", escape(key)));
        }
    }
    lines.push(format!(
        "in all {bad} keys are not what the acknowledged commands plus a first part of the {} \
         unanswered ones leave",
        in_flight.len()
    ));
    lines
}

fn show(value: &[u8], expiry_ms: Option<i64>) -> String {
    let shown =
        if value.len() > 60 { format!("{}... ({} bytes)", escape(&value[..60]), value.len()) } else { escape(value) };
    match expiry_ms {
        Some(ms) => format!("\"{shown}\" until {ms}"),
        None => format!("\"{shown}\""),
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
                let found = value.map(|v| Found { value: v.into(), expiry_ms: None });
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
        let findings = explain(&mut model, &flight, &found, 2);
        assert!(findings.violations.is_empty(), "{findings:?}");
        assert_eq!(findings.survived, 2);
    }

    #[test]
    fn a_lost_acknowledged_write_is_found() {
        let mut model = acked(&[set("a", "1"), set("a", "2")]);
        let findings = explain(&mut model, &[], &snapshot(&[("a", Some("1"))]), 2);
        assert!(!findings.violations.is_empty());
    }

    #[test]
    fn an_invented_value_is_found() {
        let mut model = acked(&[set("a", "1")]);
        let flight = in_flight(vec![set("a", "2")]);
        let findings = explain(&mut model, &flight, &snapshot(&[("a", Some("3"))]), 2);
        assert!(!findings.violations.is_empty());
    }

    #[test]
    fn a_gap_in_the_unanswered_commands_is_found() {
        let mut model = Model::default();
        let flight = in_flight(vec![set("a", "1"), set("b", "1")]);
        let found = snapshot(&[("a", None), ("b", Some("1"))]);
        assert!(!explain(&mut model, &flight, &found, 2).violations.is_empty());
    }

    #[test]
    fn a_flush_whose_reply_never_came_may_or_may_not_have_happened() {
        let flight = in_flight(vec![Op::FlushDb, set("b", "1")]);
        for (a, b) in [(Some("1"), None), (None, None), (None, Some("1"))] {
            let mut model = acked(&[set("a", "1")]);
            let found = snapshot(&[("a", a), ("b", b)]);
            assert!(explain(&mut model, &flight, &found, 2).violations.is_empty());
        }
        let mut model = acked(&[set("a", "1")]);
        let found = snapshot(&[("a", Some("1")), ("b", Some("1"))]);
        assert!(!explain(&mut model, &flight, &found, 2).violations.is_empty());
    }

    #[test]
    fn half_an_mset_is_found() {
        let mut model = Model::default();
        let pairs = vec![(b"a".to_vec(), b"1".to_vec()), (b"b".to_vec(), b"1".to_vec())];
        let found = snapshot(&[("a", Some("1")), ("b", None)]);
        let flight = in_flight(vec![Op::MSet(pairs)]);
        assert!(!explain(&mut model, &flight, &found, 2).violations.is_empty());
    }
}
