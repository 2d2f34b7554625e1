//! What each command does, in the plainest way: a map, and redis's documentation.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::model_hashes::{self, hash_of, live_text};
use super::model_lists::{self, list_of};
use super::model_sets::{self, set_of};
use super::model_sorted_sets::{self, sorted_of};
use super::model_streams::{self, stream_of};
use super::rig::MAX_VALUE_BYTES;

/// A database and a key.
pub type Name = (u8, Arc<[u8]>);

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Held {
    pub value: Arc<[u8]>,
    pub expires_at_ms: Option<u64>,
}

pub type State = BTreeMap<Name, Held>;

/// What has not expired by now.
pub fn live_at(state: &State, now_ms: u64) -> State {
    let live = state.iter().filter(|(_, held)| held.expires_at_ms.is_none_or(|ms| ms > now_ms));
    let live = live
        .filter_map(|(key, held)| Some((key.clone(), Held { value: live_text(&held.value, now_ms)?, ..held.clone() })));
    live.collect()
}

#[derive(Default)]
pub struct Model {
    pub state: State,
    pub now_ms: u64,
    /// The keys that the last command looked at or changed.
    pub seen: BTreeSet<Name>,
    /// What it has to say of a value of another kind than it wants.
    pub wrong: Option<&'static str>,
}

pub(super) type Answer = Result<Vec<u8>, String>;

pub(super) const NOT_INT: &str = "ERR value is not an integer or out of range";
pub(super) const NOT_FLOAT: &str = "ERR value is not a valid float";
pub(super) const SYNTAX: &str = "ERR syntax error";
const TOO_LONG: &str = "ERR string exceeds maximum allowed size (proto-max-bulk-len)";

pub(super) fn err<T>(text: &str) -> Result<T, String> {
    Err(text.to_owned())
}

pub(super) fn int(number: i64) -> Answer {
    Ok(format!(":{number}\r\n").into_bytes())
}

pub(super) fn ok() -> Answer {
    Ok(b"+OK\r\n".to_vec())
}

pub(super) fn nil() -> Answer {
    Ok(b"$-1\r\n".to_vec())
}

pub(super) fn bulk(text: &[u8]) -> Answer {
    let mut reply = format!("${}\r\n", text.len()).into_bytes();
    reply.extend_from_slice(text);
    reply.extend_from_slice(b"\r\n");
    Ok(reply)
}

pub(super) fn optional(text: Option<&[u8]>) -> Answer {
    text.map_or_else(nil, bulk)
}

/// The integer that a text is, with no second way to write it.
pub(super) fn strict_int(text: &[u8]) -> Option<i64> {
    let text = std::str::from_utf8(text).ok()?;
    text.parse::<i64>().ok().filter(|int| int.to_string() == text)
}

/// What INCRBYFLOAT makes of a text.
pub enum Float {
    /// So many 1024ths.
    Exact(i128),
    Invalid,
    /// A number with which the model does not calculate.
    Unsure,
}

impl Float {
    pub fn of(text: &[u8]) -> Self {
        if text.is_empty() || text.iter().any(|byte| matches!(byte, b'g'..=b'h' | b'j'..=b'm' | b'o' | b'q'..=b's')) {
            return Self::Invalid;
        }
        let Ok(text) = std::str::from_utf8(text) else { return Self::Unsure };
        let unsigned = text.strip_prefix('-').unwrap_or(text);
        let (whole, decimals) = unsigned.split_once('.').unwrap_or((unsigned, ""));
        let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        if whole.is_empty() || whole.len() > 14 || decimals.len() > 10 || !digits(whole) || !digits(decimals) {
            return Self::Unsure;
        }
        let Ok(all) = format!("{whole}{decimals}").parse::<i128>() else { return Self::Unsure };
        let scaled = all * 1024;
        let divisor = 10i128.pow(decimals.len() as u32);
        if scaled % divisor != 0 {
            return Self::Unsure;
        }
        Self::Exact(if unsigned == text { scaled / divisor } else { -scaled / divisor })
    }

    pub(super) fn text(parts: i128) -> String {
        let mut text = format!("{}{}", if parts < 0 { "-" } else { "" }, parts.unsigned_abs() / 1024);
        let decimals = format!("{:010}", parts.unsigned_abs() % 1024 * 10u128.pow(10) / 1024);
        let decimals = decimals.trim_end_matches('0');
        if !decimals.is_empty() {
            text += ".";
            text += decimals;
        }
        text
    }
}

/// Fewest and most words of a command.
fn arity(name: &str) -> (usize, usize) {
    match name {
        "append" | "decrby" | "delifeq" | "getbit" | "getset" | "incrby" | "incrbyfloat" | "setnx" => (3, 3),
        "bitop" => (4, usize::MAX),
        "copy" | "lcs" => (3, usize::MAX),
        "dbsize" => (1, 1),
        "move" | "rename" | "renamenx" | "swapdb" => (3, 3),
        "decr" | "expiretime" | "get" | "getdel" | "incr" | "persist" | "pexpiretime" | "pttl" | "strlen" | "ttl"
        | "type" => (2, 2),
        "del" | "exists" | "getex" | "mget" | "touch" | "unlink" => (2, usize::MAX),
        "expire" | "expireat" | "pexpire" | "pexpireat" | "mset" | "msetnx" | "set" => (3, usize::MAX),
        "flushall" | "flushdb" => (1, usize::MAX),
        "hgetall" | "hkeys" | "hlen" | "hvals" => (2, 2),
        "hexists" | "hget" | "hstrlen" => (3, 3),
        "hdel" | "hmget" => (3, usize::MAX),
        "hincrby" | "hincrbyfloat" | "hsetnx" => (4, 4),
        "hset" | "hmset" => (4, usize::MAX),
        "getrange" | "psetex" | "setbit" | "setex" | "setrange" | "substr" => (4, 4),
        other => {
            let others = model_lists::arity(other).or(model_sets::arity(other)).or(model_sorted_sets::arity(other));
            let others = others.or(model_streams::arity(other)).or(model_hashes::arity(other));
            others.unwrap_or_else(|| panic!("the model does not know {other}"))
        }
    }
}

/// What TYPE says of a value.
pub fn kind_of(text: &[u8]) -> &'static str {
    match (hash_of(text), list_of(text), set_of(text)) {
        _ if sorted_of(text).is_some() => "zset",
        _ if stream_of(text).is_some() => "stream",
        (Some(_), ..) => "hash",
        (_, Some(_), _) => "list",
        (.., Some(_)) => "set",
        _ => "string",
    }
}

impl Model {
    /// Executes a command and returns its reply.
    pub fn execute(&mut self, db: u8, words: &[Vec<u8>]) -> Vec<u8> {
        self.seen.clear();
        self.state = live_at(&self.state, self.now_ms);
        let before = self.state.clone();
        let mut answer = self.answer(db, words);
        if let Some(text) = self.wrong.take() {
            self.state = before;
            answer = err(text);
        }
        answer.unwrap_or_else(|text| format!("-{text}\r\n").into_bytes())
    }

    /// LCS has words of its own for that.
    pub(super) fn lcs_is_wrong(&mut self) {
        if self.wrong.is_some() {
            self.wrong = Some("ERR The specified keys must contain string values");
        }
    }

    /// The command has found a value of another kind than it wants.
    pub(super) fn is_wrong(&mut self) {
        self.wrong = Some("WRONGTYPE Operation against a key holding the wrong kind of value");
    }

    fn answer(&mut self, db: u8, words: &[Vec<u8>]) -> Answer {
        let name = String::from_utf8(words[0].to_ascii_lowercase()).unwrap();
        let (least, most) = arity(&name);
        let pairs = name.starts_with("mset") && words.len().is_multiple_of(2)
            || (name == "hset" || name == "hmset") && !words.len().is_multiple_of(2);
        if words.len() < least || words.len() > most || pairs {
            return Err(format!("ERR wrong number of arguments for '{name}' command"));
        }
        let args = &words[1..];
        let key = |i: usize| -> Name { (db, args[i].as_slice().into()) };
        match name.as_str() {
            "get" => optional(self.value(&key(0)).as_deref()),
            "strlen" => int(self.value(&key(0)).map_or(0, |value| value.len()) as i64),
            "exists" | "touch" => int((0..args.len()).filter(|i| self.held(&key(*i)).is_some()).count() as i64),
            "type" => {
                let kind = self.held(&key(0)).map(|held| kind_of(&held.value));
                Ok(format!("+{}\r\n", kind.unwrap_or("none")).into_bytes())
            }
            "mget" => {
                let values = (0..args.len()).map(|i| {
                    let held = self.held(&key(i)).filter(|held| kind_of(&held.value) == "string");
                    optional(held.map(|held| held.value).as_deref())
                });
                let values: Result<Vec<_>, _> = values.collect();
                Ok([format!("*{}\r\n", args.len()).into_bytes(), values?.concat()].concat())
            }
            "getrange" | "substr" => {
                let (Some(start), Some(end)) = (strict_int(&args[1]), strict_int(&args[2])) else {
                    return err(NOT_INT);
                };
                let value = self.value(&key(0)).unwrap_or_else(|| [].into());
                bulk(&part(&value, start, end))
            }
            "set" => self.set(key(0), &args[1], &args[2..]),
            "setnx" => {
                let absent = self.held(&key(0)).is_none();
                if absent {
                    self.put(key(0), &args[1], None);
                }
                int(absent.into())
            }
            "setex" | "psetex" => {
                let at = self.future(&args[1], name == "setex", false, &name)?;
                self.put(key(0), &args[2], Some(at));
                ok()
            }
            "getset" => {
                let old = self.value(&key(0));
                self.put(key(0), &args[1], None);
                optional(old.as_deref())
            }
            "getdel" => {
                let old = self.value(&key(0));
                self.state.remove(&key(0));
                optional(old.as_deref())
            }
            "getex" => self.getex(key(0), &args[1..]),
            "mset" | "msetnx" => {
                let keys = || (0..args.len()).step_by(2);
                let nx = name == "msetnx";
                if nx && keys().any(|i| self.held(&key(i)).is_some()) {
                    return int(0);
                }
                keys().for_each(|i| self.put(key(i), &args[i + 1], None));
                if nx { int(1) } else { ok() }
            }
            "append" => {
                let old = self.value(&key(0)).unwrap_or_else(|| [].into());
                self.change(key(0), [&old, args[1].as_slice()].concat())
            }
            "getbit" | "setbit" => {
                let Some(offset) =
                    strict_int(&args[1]).filter(|offset| (0..MAX_VALUE_BYTES as i64 * 8).contains(offset))
                else {
                    return err("ERR bit offset is not an integer or out of range");
                };
                let on = name == "setbit" && args[2] == b"1";
                if name == "setbit" && !on && args[2] != b"0" {
                    return err("ERR bit is not an integer or out of range");
                }
                let (at, mask) = (offset as usize / 8, 0x80 >> (offset % 8));
                let mut value = self.value(&key(0)).map_or_else(Vec::new, |value| value.to_vec());
                let old = value.get(at).is_some_and(|byte| byte & mask != 0);
                if name == "setbit" && (at >= value.len() || old != on) {
                    value.resize(value.len().max(at + 1), 0);
                    value[at] = value[at] & !mask | if on { mask } else { 0 };
                    self.change(key(0), value)?;
                }
                int(i64::from(old))
            }
            "delifeq" => {
                let is_equal = self.value(&key(0)).is_some_and(|value| *value == *args[1]);
                if is_equal {
                    self.state.remove(&key(0));
                }
                int(i64::from(is_equal))
            }
            "setrange" => {
                let Some(offset) = strict_int(&args[1]) else { return err(NOT_INT) };
                if offset < 0 {
                    return err("ERR offset is out of range");
                }
                let mut value = self.value(&key(0)).map_or_else(Vec::new, |value| value.to_vec());
                if args[2].is_empty() {
                    return int(value.len() as i64);
                }
                let end = (offset as usize).saturating_add(args[2].len());
                if end > MAX_VALUE_BYTES {
                    return err(TOO_LONG);
                }
                value.resize(value.len().max(end), 0);
                value[offset as usize..end].copy_from_slice(&args[2]);
                self.change(key(0), value)
            }
            "incr" => self.add(key(0), 1),
            "decr" => self.add(key(0), -1),
            "incrby" | "decrby" => {
                let Some(by) = strict_int(&args[1]) else { return err(NOT_INT) };
                if name == "incrby" {
                    return self.add(key(0), by);
                }
                let Some(by) = by.checked_neg() else { return err("ERR decrement would overflow") };
                self.add(key(0), by)
            }
            "incrbyfloat" => {
                let old = self.value(&key(0)).map_or(Float::Exact(0), |value| Float::of(&value));
                let (Float::Exact(a), Float::Exact(b)) = (old, Float::of(&args[1])) else { return err(NOT_FLOAT) };
                let sum = Float::text(a + b);
                self.change(key(0), sum.clone().into_bytes())?;
                bulk(sum.as_bytes())
            }
            "del" | "unlink" => {
                let mut deleted = 0;
                for i in 0..args.len() {
                    deleted += i64::from(self.held(&key(i)).is_some());
                    self.state.remove(&key(i));
                }
                int(deleted)
            }
            "ttl" | "pttl" | "expiretime" | "pexpiretime" => {
                let Some(held) = self.held(&key(0)) else { return int(-2) };
                let Some(at) = held.expires_at_ms else { return int(-1) };
                let left = (at - self.now_ms) as i64;
                let seconds = |ms: i64| ((i128::from(ms) + 500) / 1000) as i64;
                int(match name.as_str() {
                    "ttl" => seconds(left),
                    "pttl" => left,
                    "expiretime" => seconds(at as i64),
                    _ => at as i64,
                })
            }
            "persist" => {
                let held = self.held(&key(0)).filter(|held| held.expires_at_ms.is_some());
                let Some(held) = held else { return int(0) };
                self.put(key(0), &held.value, None);
                int(1)
            }
            "expire" | "pexpire" | "expireat" | "pexpireat" => self.expire(&name, key(0), &args[1], &args[2..]),
            "flushall" | "flushdb" => {
                let modes: [&[u8]; 2] = [b"sync", b"async"];
                if args.len() > 1 || args.len() == 1 && !modes.contains(&args[0].to_ascii_lowercase().as_slice()) {
                    return err(SYNTAX);
                }
                self.seen.extend(self.state.keys().filter(|key| name == "flushall" || key.0 == db).cloned());
                self.state.retain(|key, _| name == "flushdb" && key.0 != db);
                ok()
            }
            "rename" | "renamenx" => self.rename(name == "renamenx", &key(0), key(1)),
            "move" | "copy" => self.carry(&name, db, args),
            "swapdb" => self.swapdb(args),
            "bitop" => self.bitop(db, args),
            "lcs" => self.lcs(db, args),
            name if model_sorted_sets::arity(name).is_some() => self.sorted_sets(name, db, args),
            "lmpop" => self.lmpop(db, args),
            name if model_lists::arity(name).is_some() => self.lists(name, key(0), &args[1..]),
            "xgroup" => self.streams(&name, key(1), args),
            "xreadgroup" => self.streams(&name, key(6), args),
            name if model_streams::arity(name).is_some() => self.streams(name, key(0), args),
            name if model_sets::arity(name).is_some() => self.sets(name, db, args),
            name if name.starts_with('h') => self.hashes(name, key(0), &args[1..]),
            "dbsize" => int(self.state.keys().filter(|key| key.0 == db).count() as i64),
            other => panic!("the model does not know {other}"),
        }
    }

    pub(super) fn held(&mut self, key: &Name) -> Option<Held> {
        // what comes behind a value of the wrong kind is not looked at
        if self.wrong.is_none() {
            self.seen.insert(key.clone());
        }
        self.state.get(key).cloned()
    }

    pub(super) fn value(&mut self, key: &Name) -> Option<Arc<[u8]>> {
        let held = self.held(key)?;
        if kind_of(&held.value) != "string" {
            self.is_wrong();
            return None;
        }
        Some(held.value)
    }

    /// Gives a key a value; one that has expired by now is gone.
    pub(super) fn put(&mut self, key: Name, value: &[u8], expires_at_ms: Option<u64>) {
        self.seen.insert(key.clone());
        if expires_at_ms.is_some_and(|ms| ms <= self.now_ms) {
            self.state.remove(&key);
        } else {
            self.state.insert(key, Held { value: value.into(), expires_at_ms });
        }
    }

    /// Changes a value and keeps its expiry.
    fn change(&mut self, key: Name, value: Vec<u8>) -> Answer {
        if value.len() > MAX_VALUE_BYTES {
            return err(TOO_LONG);
        }
        let expires_at_ms = self.held(&key).and_then(|held| held.expires_at_ms);
        self.put(key, &value, expires_at_ms);
        int(value.len() as i64)
    }

    fn add(&mut self, key: Name, by: i64) -> Answer {
        let old = self.value(&key).map_or(Some(0), |value| strict_int(&value));
        let Some(old) = old else { return err(NOT_INT) };
        let Some(sum) = old.checked_add(by) else { return err("ERR increment or decrement would overflow") };
        self.change(key, sum.to_string().into_bytes())?;
        int(sum)
    }

    fn time(&self, number: i64, seconds: bool, absolute: bool) -> Option<i64> {
        let ms = if seconds { number.checked_mul(1000)? } else { number };
        ms.checked_add(if absolute { 0 } else { self.now_ms as i64 })
    }

    fn future(&self, number: &[u8], seconds: bool, absolute: bool, command: &str) -> Result<u64, String> {
        let Some(number) = strict_int(number) else { return err(NOT_INT) };
        let at = self.time(number, seconds, absolute).filter(|_| number > 0);
        at.map(|ms| ms as u64).ok_or_else(|| format!("ERR invalid expire time in '{command}' command"))
    }

    /// The expiry option among the others: its name in capitals, and its number.
    fn option<'a>(options: &'a [Vec<u8>], others: &[&str]) -> Result<(Vec<String>, Option<&'a [u8]>), String> {
        let mut names: Vec<String> = Vec::new();
        let mut number = None;
        let mut rest = options.iter();
        while let Some(word) = rest.next() {
            let name = String::from_utf8_lossy(word).to_ascii_uppercase();
            if ["EX", "PX", "EXAT", "PXAT"].contains(&name.as_str()) {
                number = Some(rest.next().ok_or(SYNTAX)?.as_slice());
            } else if !others.contains(&name.as_str()) {
                return err(SYNTAX);
            }
            names.push(name);
        }
        names.sort();
        names.dedup();
        let timings = ["EX", "PX", "EXAT", "PXAT", "KEEPTTL", "PERSIST"];
        let both = |a: &str, b: &str| names.iter().any(|n| n == a) && names.iter().any(|n| n == b);
        if names.iter().filter(|name| timings.contains(&name.as_str())).count() > 1 || both("NX", "XX") {
            return err(SYNTAX);
        }
        Ok((names, number))
    }

    fn set(&mut self, key: Name, value: &[u8], options: &[Vec<u8>]) -> Answer {
        let (names, number) = Self::option(options, &["NX", "XX", "GET", "KEEPTTL"])?;
        let has = |name: &str| names.iter().any(|other| other == name);
        let timing = match number {
            Some(number) => Some(self.future(number, has("EX") || has("EXAT"), has("EXAT") || has("PXAT"), "set")?),
            None => None,
        };
        if has("GET") {
            self.value(&key);
        }
        let old = self.held(&key);
        let old_value = old.as_ref().map(|held| Arc::clone(&held.value));
        if has("NX") && old.is_some() || has("XX") && old.is_none() {
            return if has("GET") { optional(old_value.as_deref()) } else { nil() };
        }
        let kept = old.and_then(|held| held.expires_at_ms).filter(|_| has("KEEPTTL"));
        self.put(key, value, timing.or(kept));
        if has("GET") { optional(old_value.as_deref()) } else { ok() }
    }

    fn getex(&mut self, key: Name, options: &[Vec<u8>]) -> Answer {
        let (names, number) = Self::option(options, &["PERSIST"])?;
        let has = |name: &str| names.iter().any(|other| other == name);
        if self.value(&key).is_none() {
            return nil();
        }
        let Some(held) = self.held(&key) else { return nil() };
        if let Some(number) = number {
            let at = self.future(number, has("EX") || has("EXAT"), has("EXAT") || has("PXAT"), "getex")?;
            self.put(key, &held.value, Some(at));
        } else if has("PERSIST") {
            self.put(key, &held.value, None);
        }
        bulk(&held.value)
    }

    fn expire(&mut self, name: &str, key: Name, number: &[u8], options: &[Vec<u8>]) -> Answer {
        let mut names = BTreeSet::new();
        for option in options {
            let text = String::from_utf8_lossy(option);
            let option = text.to_ascii_uppercase();
            if !["NX", "XX", "GT", "LT"].contains(&option.as_str()) {
                return Err(format!("ERR Unsupported option {text}"));
            }
            names.insert(option);
        }
        let has = |option: &str| names.contains(option);
        if has("NX") && names.len() > 1 {
            return err("ERR NX and XX, GT or LT options at the same time are not compatible");
        }
        if has("GT") && has("LT") {
            return err("ERR GT and LT options at the same time are not compatible");
        }
        let Some(number) = strict_int(number) else { return err(NOT_INT) };
        let at = self.time(number, !name.starts_with('p'), name.ends_with("at"));
        let Some(at) = at else { return Err(format!("ERR invalid expire time in '{name}' command")) };
        let Some(held) = self.held(&key) else { return int(0) };
        let refused = match held.expires_at_ms.map(|ms| ms as i64) {
            Some(old) => has("NX") || has("GT") && at <= old || has("LT") && at >= old,
            None => has("XX") || has("GT"),
        };
        if refused {
            return int(0);
        }
        self.put(key, &held.value, Some(at.max(0) as u64));
        int(1)
    }
}

fn part(value: &[u8], start: i64, end: i64) -> Vec<u8> {
    let len = value.len() as i64;
    if start < 0 && end < 0 && start > end {
        return Vec::new();
    }
    let from_front = |place: i64| if place < 0 { place.saturating_add(len).max(0) } else { place };
    let (start, end) = (from_front(start), from_front(end));
    value.iter().enumerate().filter(|(i, _)| (start..=end).contains(&(*i as i64))).map(|(_, byte)| *byte).collect()
}
