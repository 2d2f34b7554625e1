//! Keys that all connections write at once: counters, logs of tokens, groups that are always
//! set together, and first-come locks. What may be found after a crash is a set of bounds.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Instant;

use crate::rng::Rng;
use crate::value::escape;
use crate::{Client, Result, Value};

const COUNTERS: u64 = 4;
const LOGS: u64 = 3;
const GROUPS: u64 = 4;
const LOCKS: u64 = 200;
/// Keys in a group that is set by one MSET.
const GROUP_SIZE: usize = 4;
/// What DEL of a group answers where there is one.
const GROUP_SIZE_REPLY: i64 = GROUP_SIZE as i64;

/// One command on shared keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SharedOp {
    /// INCRBY of a counter.
    Count { counter: u64, by: i64 },
    /// GET of a counter: what was seen must not be taken back.
    Look { counter: u64 },
    /// APPEND of a token.
    Log { log: u64, token: String },
    /// A whole group is set to one token: by MSET, or by MULTI and a SET for each.
    SetGroup { group: u64, token: String, by_multi: bool },
    /// DEL of a whole group: all are there, or none.
    DropGroup { group: u64 },
    /// A whole group is read, by MGET or by MULTI and a GET for each: all must be equal.
    GetGroup { group: u64, by_multi: bool },
    /// MSETNX of a pair: at most one wins.
    Lock { lock: u64, token: String },
}

/// The names of a round's shared keys; counters and groups live through all rounds.
#[derive(Debug, Clone, Copy)]
pub struct Names {
    /// The round, counted from 0.
    pub round: u64,
}

impl Names {
    fn counter(counter: u64) -> String {
        format!("shared:counter:{counter}")
    }

    fn log(self, log: u64) -> String {
        format!("shared:log:{}:{log}", self.round)
    }

    fn group(group: u64) -> Vec<String> {
        (0..GROUP_SIZE).map(|part| format!("shared:group:{group}:{part}")).collect()
    }

    fn lock(self, lock: u64) -> [String; 2] {
        ["a", "b"].map(|side| format!("shared:lock:{}:{lock}:{side}", self.round))
    }

    /// The commands, the last of which has the answer that counts: one, but for a transaction.
    pub fn commands(self, op: &SharedOp) -> Vec<Vec<String>> {
        let words = |words: &[&str]| words.iter().map(ToString::to_string).collect::<Vec<_>>();
        let queued: Vec<Vec<String>> = match op {
            SharedOp::SetGroup { group, token, by_multi: true } => {
                Self::group(*group).iter().map(|key| words(&["SET", key, token])).collect()
            }
            SharedOp::GetGroup { group, by_multi: true } => {
                Self::group(*group).iter().map(|key| words(&["GET", key])).collect()
            }
            _ => return vec![self.args(op)],
        };
        std::iter::once(words(&["MULTI"])).chain(queued).chain([words(&["EXEC"])]).collect()
    }

    /// The words of a single command.
    fn args(self, op: &SharedOp) -> Vec<String> {
        let words = |words: &[&str]| words.iter().map(ToString::to_string).collect::<Vec<_>>();
        match op {
            SharedOp::Count { counter, by } => words(&["INCRBY", &Self::counter(*counter), &by.to_string()]),
            SharedOp::Look { counter } => words(&["GET", &Self::counter(*counter)]),
            SharedOp::Log { log, token } => words(&["APPEND", &self.log(*log), token]),
            SharedOp::SetGroup { group, token, .. } => {
                let mut args = words(&["MSET"]);
                for key in Self::group(*group) {
                    args.extend([key, token.clone()]);
                }
                args
            }
            SharedOp::GetGroup { group, .. } | SharedOp::DropGroup { group } => {
                let name = if matches!(op, SharedOp::GetGroup { .. }) { "MGET" } else { "DEL" };
                std::iter::once(name.to_owned()).chain(Self::group(*group)).collect()
            }
            SharedOp::Lock { lock, token } => {
                let [a, b] = self.lock(*lock);
                words(&["MSETNX", &a, token, &b, token])
            }
        }
    }

    /// Every shared key that this round can make.
    pub fn all(self) -> BTreeSet<Vec<u8>> {
        let mut all = Vec::new();
        all.extend((0..COUNTERS).map(Self::counter));
        all.extend((0..LOGS).map(|log| self.log(log)));
        all.extend((0..GROUPS).flat_map(Self::group));
        all.extend((0..LOCKS).flat_map(|lock| self.lock(lock)));
        all.into_iter().map(String::into_bytes).collect()
    }
}

/// Draws a shared command; `seq` makes its token unique within connection and round.
pub fn draw(rng: &mut Rng, connection: usize, round: u64, seq: u64) -> SharedOp {
    let token = format!("<{connection}.{round}.{seq}>");
    match rng.below(20) {
        0..7 => SharedOp::Count { counter: rng.below(COUNTERS), by: i64::try_from(rng.between(1, 5)).unwrap_or(1) },
        7..9 => SharedOp::Look { counter: rng.below(COUNTERS) },
        9..11 => SharedOp::Log { log: rng.below(LOGS), token },
        11..14 => SharedOp::SetGroup { group: rng.below(GROUPS), token, by_multi: rng.percent(50) },
        14 => SharedOp::DropGroup { group: rng.below(GROUPS) },
        15..17 => SharedOp::GetGroup { group: rng.below(GROUPS), by_multi: rng.percent(50) },
        _ => SharedOp::Lock { lock: rng.below(LOCKS), token },
    }
}

/// When a command was sent, and when its reply came (if it did).
#[derive(Debug, Clone, Copy)]
struct Span {
    sent: Instant,
    answered: Option<Instant>,
}

/// What one connection did to the shared keys in one round.
#[derive(Debug, Default)]
pub struct Tally {
    counters: BTreeMap<u64, Count>,
    /// Tokens in the order in which they were appended; the answered ones come first.
    logs: BTreeMap<u64, Vec<(String, bool)>>,
    /// What a group was set to, or that it was removed.
    groups: BTreeMap<u64, Vec<(Option<String>, Span)>>,
    locks: BTreeMap<u64, Vec<(String, Option<bool>)>>,
}

#[derive(Debug, Default, Clone, Copy)]
struct Count {
    acked: i64,
    sent: i64,
    /// The greatest value that any reply showed.
    seen: i64,
}

impl Tally {
    /// Notes a command as sent.
    pub fn sent(&mut self, op: &SharedOp, at: Instant) {
        match op {
            SharedOp::Count { counter, by } => {
                self.counters.entry(*counter).or_default().sent += by;
            }
            SharedOp::Log { log, token } => {
                self.logs.entry(*log).or_default().push((token.clone(), false));
            }
            SharedOp::SetGroup { group, token, .. } => {
                let span = Span { sent: at, answered: None };
                self.groups.entry(*group).or_default().push((Some(token.clone()), span));
            }
            SharedOp::DropGroup { group } => {
                let span = Span { sent: at, answered: None };
                self.groups.entry(*group).or_default().push((None, span));
            }
            SharedOp::Lock { lock, token } => {
                self.locks.entry(*lock).or_default().push((token.clone(), None));
            }
            SharedOp::Look { .. } | SharedOp::GetGroup { .. } => {}
        }
    }

    /// Notes a reply; what is wrong with it, if anything.
    pub fn answered(&mut self, op: &SharedOp, reply: &Value, at: Instant) -> Option<String> {
        let wrong = || Some(format!("{op:?} was answered {reply:?}"));
        match op {
            SharedOp::Count { counter, by } => {
                let count = self.counters.entry(*counter).or_default();
                let Some(value) = reply.integer() else {
                    return wrong();
                };
                count.acked += by;
                // replies of one connection come in its order: the counter only grows.
                if value < count.seen + by {
                    return Some(format!("counter {counter} went back to {value}"));
                }
                count.seen = value;
            }
            SharedOp::Look { counter } => {
                let count = self.counters.entry(*counter).or_default();
                let value = match reply {
                    Value::Null => 0,
                    other => match other.text().and_then(parse_integer) {
                        Some(value) => value,
                        None => return wrong(),
                    },
                };
                if value < count.seen {
                    return Some(format!("counter {counter} was read as {value}, then less"));
                }
                count.seen = value;
            }
            SharedOp::Log { log, token } => {
                let tokens = self.logs.entry(*log).or_default();
                mark(tokens, token, true);
                if reply.integer().is_none() {
                    return wrong();
                }
            }
            SharedOp::SetGroup { group, token, by_multi } => {
                let writes = self.groups.entry(*group).or_default();
                if let Some((_, span)) = writes.iter_mut().rev().find(|(t, _)| t.as_ref() == Some(token)) {
                    span.answered = Some(at);
                }
                let is_done = match reply.items() {
                    Some(items) if *by_multi => items.len() == GROUP_SIZE && items.iter().all(Value::is_ok),
                    _ => !by_multi && reply.is_ok(),
                };
                if !is_done {
                    return wrong();
                }
            }
            SharedOp::DropGroup { group } => {
                let writes = self.groups.entry(*group).or_default();
                // they all look alike, but answers come in the order of the requests.
                if let Some((_, span)) = writes.iter_mut().find(|(t, span)| t.is_none() && span.answered.is_none()) {
                    span.answered = Some(at);
                }
                if !matches!(reply.integer(), Some(0 | GROUP_SIZE_REPLY)) {
                    return Some(format!("group {group} was removed half-written: {reply:?}"));
                }
            }
            SharedOp::GetGroup { group, .. } => {
                let equal = reply
                    .items()
                    .is_some_and(|items| items.len() == GROUP_SIZE && items.iter().all(|item| item == &items[0]));
                if !equal {
                    return Some(format!("group {group} was read half-written: {reply:?}"));
                }
            }
            SharedOp::Lock { lock, token } => {
                let won = match reply.integer() {
                    Some(0) => false,
                    Some(1) => true,
                    _ => return wrong(),
                };
                mark(self.locks.entry(*lock).or_default(), token, Some(won));
            }
        }
        None
    }
}

fn mark<T>(entries: &mut [(String, T)], token: &str, state: T) {
    if let Some(entry) = entries.iter_mut().find(|(t, _)| t == token) {
        entry.1 = state;
    }
}

fn parse_integer(text: &[u8]) -> Option<i64> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

/// What the counters and groups were when a round began.
#[derive(Debug, Default)]
pub struct Carried {
    counters: HashMap<u64, i64>,
    groups: HashMap<u64, Option<Vec<u8>>>,
}

/// The outcome of checking the shared keys.
#[derive(Debug, Default)]
pub struct Verdict {
    /// What is wrong, one line each.
    pub violations: Vec<String>,
    /// Logs and locks never change again: key and value, for the checks of later rounds.
    pub frozen: Vec<(Vec<u8>, Option<Vec<u8>>)>,
    /// The number of keys that were read.
    pub keys: u64,
}

/// Checks all shared keys of a round after the restart, and moves `carried` on.
///
/// # Errors
/// When the server does not answer.
pub fn check(client: &mut Client, names: Names, tallies: &[Tally], carried: &mut Carried) -> Result<Verdict> {
    let mut verdict = Verdict::default();
    check_counters(client, tallies, carried, &mut verdict)?;
    check_logs(client, names, tallies, &mut verdict)?;
    check_groups(client, tallies, carried, &mut verdict)?;
    check_locks(client, names, tallies, &mut verdict)?;
    Ok(verdict)
}

/// Checks those shared keys that nobody has changed since, and that a later round goes on with.
///
/// # Errors
/// When the server does not answer.
pub fn check_at_rest(client: &mut Client, carried: &mut Carried) -> Result<Verdict> {
    let mut verdict = Verdict::default();
    check_counters(client, &[], carried, &mut verdict)?;
    check_groups(client, &[], carried, &mut verdict)?;
    Ok(verdict)
}

fn get(client: &mut Client, key: &str, verdict: &mut Verdict) -> Result<Option<Vec<u8>>> {
    verdict.keys += 1;
    Ok(client.command(&["GET", key])?.text().map(<[u8]>::to_vec))
}

fn check_counters(client: &mut Client, tallies: &[Tally], carried: &mut Carried, verdict: &mut Verdict) -> Result<()> {
    for counter in 0..COUNTERS {
        let found = get(client, &Names::counter(counter), verdict)?;
        let value = found.as_deref().map_or(Some(0), parse_integer);
        let base = carried.counters.get(&counter).copied().unwrap_or(0);
        let mut total = Count::default();
        for count in tallies.iter().filter_map(|tally| tally.counters.get(&counter)) {
            total.acked += count.acked;
            total.sent += count.sent;
            total.seen = total.seen.max(count.seen);
        }
        let (least, most) = ((base + total.acked).max(total.seen), base + total.sent);
        match value {
            Some(value) if (least..=most).contains(&value) => {}
            _ => verdict.violations.push(format!(
                "shared counter {counter}: {found:?} is not within {least}..={most} \
                 (acknowledged or seen, and sent)"
            )),
        }
        carried.counters.insert(counter, value.unwrap_or(base));
    }
    Ok(())
}

fn check_logs(client: &mut Client, names: Names, tallies: &[Tally], verdict: &mut Verdict) -> Result<()> {
    for log in 0..LOGS {
        let key = names.log(log);
        let found = get(client, &key, verdict)?;
        let text = String::from_utf8_lossy(found.as_deref().unwrap_or_default()).into_owned();
        let mut present: Vec<&str> = text.split_inclusive('>').collect();
        for (connection, tally) in tallies.iter().enumerate() {
            let tokens = tally.logs.get(&log).map_or(&[][..], Vec::as_slice);
            let mine: Vec<&str> =
                present.iter().copied().filter(|token| tokens.iter().any(|(sent, _)| sent == token)).collect();
            present.retain(|token| !tokens.iter().any(|(sent, _)| sent == token));
            let acked = tokens.iter().filter(|(_, acked)| *acked).count();
            let in_order = mine.iter().zip(tokens).all(|(found, (sent, _))| found == sent);
            if mine.len() < acked || mine.len() > tokens.len() || !in_order {
                verdict.violations.push(format!(
                    "{key}: of connection {connection}'s {} appended tokens, {acked} of them \
                     acknowledged, {} are there{}",
                    tokens.len(),
                    mine.len(),
                    if in_order { "" } else { ", with a gap or out of order" }
                ));
            }
        }
        if !present.is_empty() {
            verdict.violations.push(format!("{key}: nobody appended {present:?}"));
        }
        verdict.frozen.push((key.into_bytes(), found));
    }
    Ok(())
}

fn check_groups(client: &mut Client, tallies: &[Tally], carried: &mut Carried, verdict: &mut Verdict) -> Result<()> {
    for group in 0..GROUPS {
        let mut values = Vec::new();
        for key in Names::group(group) {
            values.push(get(client, &key, verdict)?);
        }
        let value = values[0].clone();
        if values.iter().any(|other| *other != value) {
            verdict.violations.push(format!(
                "shared group {group} is half-written: {:?}",
                values.iter().map(|v| escape(v.as_deref().unwrap_or(b"(nil)"))).collect::<Vec<_>>()
            ));
        } else if let Some(wrong) = wrong_group_value(group, value.as_deref(), tallies, carried) {
            verdict.violations.push(wrong);
        }
        carried.groups.insert(group, value);
    }
    Ok(())
}

/// A group is a register: what is found must be what some write left after which no acknowledged one began.
fn wrong_group_value(group: u64, value: Option<&[u8]>, tallies: &[Tally], carried: &Carried) -> Option<String> {
    let writes = || tallies.iter().filter_map(|tally| tally.groups.get(&group));
    let last_sent = writes().flatten().filter(|(_, span)| span.answered.is_some()).map(|(_, span)| span.sent).max();
    let mut is_written = false;
    for writes in writes() {
        let own_last = writes.iter().rposition(|(_, span)| span.answered.is_some());
        for (number, (token, span)) in writes.iter().enumerate() {
            if token.as_ref().map(String::as_bytes) != value {
                continue;
            }
            is_written = true;
            // an unanswered one may have been the last of all.
            let done = span.answered?;
            if own_last <= Some(number) && last_sent <= Some(done) {
                return None;
            }
        }
    }
    let shown = escape(value.unwrap_or(b"(nil)"));
    let is_as_before = value == carried.groups.get(&group).and_then(Option::as_deref);
    match (is_written, is_as_before, last_sent) {
        (_, true, None) => None,
        (false, false, _) => Some(format!("shared group {group}: nobody wrote {shown}")),
        _ => Some(format!("shared group {group}: it is {shown}, acknowledged writes after that are lost")),
    }
}

fn check_locks(client: &mut Client, names: Names, tallies: &[Tally], verdict: &mut Verdict) -> Result<()> {
    for lock in 0..LOCKS {
        let keys = names.lock(lock);
        let a = get(client, &keys[0], verdict)?;
        let b = get(client, &keys[1], verdict)?;
        let attempts = || tallies.iter().filter_map(|tally| tally.locks.get(&lock)).flatten();
        let winner = attempts().find(|(_, won)| *won == Some(true));
        let shown = || [&a, &b].map(|side| escape(side.as_deref().unwrap_or(b"(nil)")));
        if a != b {
            verdict.violations.push(format!("lock {lock} is half-taken: {:?}", shown()));
        } else if let Some((token, _)) = winner {
            if a.as_deref() != Some(token.as_bytes()) {
                verdict.violations.push(format!("lock {lock}: {token} was told that it has it, found {:?}", shown()));
            }
        } else if let Some(a) = &a {
            let possible = attempts().any(|(token, won)| won.is_none() && token.as_bytes() == a.as_slice());
            if !possible {
                verdict.violations.push(format!("lock {lock}: nobody can hold {:?}", shown()));
            }
        } else if attempts().any(|(_, won)| *won == Some(false)) {
            verdict.violations.push(format!("lock {lock}: it was taken, and is free"));
        }
        let [key_a, key_b] = keys.map(String::into_bytes);
        verdict.frozen.extend([(key_a, a), (key_b, b)]);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    /// Writes of one connection to group 0: token or removal, sent at, answered at.
    fn tally(epoch: Instant, writes: &[(Option<&str>, u64, Option<u64>)]) -> Tally {
        let at = |ms: u64| epoch + Duration::from_millis(ms);
        let writes = writes.iter().map(|(token, sent, answered)| {
            (token.map(str::to_owned), Span { sent: at(*sent), answered: answered.map(at) })
        });
        Tally { groups: [(0, writes.collect())].into(), ..Tally::default() }
    }

    fn is_fine(value: Option<&str>, tallies: &[Tally]) -> bool {
        let carried = Carried { groups: [(0, Some(b"base".to_vec()))].into(), ..Carried::default() };
        wrong_group_value(0, value.map(str::as_bytes), tallies, &carried).is_none()
    }

    #[test]
    fn a_group_is_what_its_last_writes_may_have_left() {
        let epoch = Instant::now();
        assert!(is_fine(Some("base"), &[tally(epoch, &[])]));
        assert!(!is_fine(None, &[tally(epoch, &[])]));
        let tallies = [
            tally(epoch, &[(Some("a"), 0, Some(5)), (Some("b"), 0, Some(6)), (None, 50, None)]),
            tally(epoch, &[(Some("c"), 4, Some(20))]),
        ];
        // b and c were on their way at once; a came before b on one connection; the removal may have happened.
        for (value, fine) in [(Some("a"), false), (Some("b"), true), (Some("c"), true), (None, true)] {
            assert_eq!(is_fine(value, &tallies), fine, "{value:?}");
        }
        assert!(!is_fine(Some("base"), &tallies) && !is_fine(Some("d"), &tallies));
    }

    #[test]
    fn an_acknowledged_removal_is_not_undone() {
        let epoch = Instant::now();
        let tallies = [tally(epoch, &[(Some("a"), 0, Some(5)), (None, 10, Some(12))])];
        assert!(is_fine(None, &tallies) && !is_fine(Some("a"), &tallies) && !is_fine(Some("base"), &tallies));
    }
}
