//! Values that are compared slice by slice.

use emberkv_console::Value;

use super::{Pair, Verdict};
use crate::error::Result;
use crate::report::shown;
use crate::servers::words;

/// How many elements a slice has at most.
const MOST: i64 = 512;
const COUNT: &[u8] = b"512";

/// What is compared of a stream and of its groups, if both servers say it: some came with redis 7.0.
const STREAM_FACTS: [&[u8]; 5] =
    [b"length", b"last-generated-id", b"max-deleted-entry-id", b"entries-added", b"groups"];
const GROUP_FACTS: [&[u8]; 5] = [b"name", b"consumers", b"pending", b"last-delivered-id", b"entries-read"];

impl Pair {
    /// Compares a value of which both have the same size, so many elements (of a string: bytes) at a time.
    pub(super) fn large(&mut self, kind: &str, key: &[u8], size: i64, slice: i64) -> Result<Verdict> {
        let few = slice.clamp(1, MOST);
        let what = match kind {
            "list" => self.ranges(key, size, few, |key, from, to| words("LRANGE", &[key, from, to]))?,
            // there is one order only, by score and member
            "zset" => self.ranges(key, size, few, |key, from, to| words("ZRANGE", &[key, from, to, b"WITHSCORES"]))?,
            "set" => self.scanned(key, "SSCAN", few, |_, key, slice| words_of("SMISMEMBER", key, slice))?,
            "hash" => self.scanned(key, "HSCAN", few, |_, key, slice| {
                let fields: Vec<&[u8]> = slice.iter().step_by(2).copied().collect();
                words_of("HMGET", key, &fields)
            })?,
            "stream" => match self.entries(key, few)? {
                None => self.stream_facts(key)?,
                what => what,
            },
            _ => self.ranges(key, size, slice, |key, from, to| words("GETRANGE", &[key, from, to]))?,
        };
        Ok(what.map_or(Verdict::Equal, Verdict::Different))
    }

    /// Slices by position, of both.
    fn ranges(
        &mut self,
        key: &[u8],
        size: i64,
        slice: i64,
        command: impl Fn(&[u8], &[u8], &[u8]) -> Vec<Vec<u8>>,
    ) -> Result<Option<String>> {
        let mut from = 0;
        while from < size {
            let to = (from + slice).min(size) - 1;
            let [a, b] = self.ask_one(command(key, from.to_string().as_bytes(), to.to_string().as_bytes()))?;
            if a != b && !same_scores(&a, &b) {
                return Ok(Some(format!("what is from {from} to {to}")));
            }
            from = to + 1;
        }
        Ok(None)
    }

    /// Slices of the first, that are looked up in the second. As there are as many elements, they are the same.
    fn scanned(
        &mut self,
        key: &[u8],
        scan: &str,
        count: i64,
        look_up: impl Fn(&Self, &[u8], &[&[u8]]) -> Vec<Vec<u8>>,
    ) -> Result<Option<String>> {
        let mut cursor = b"0".to_vec();
        loop {
            let [reply, _] = self.ask_first(words(scan, &[key, &cursor, b"COUNT", count.to_string().as_bytes()]))?;
            let Value::Array(parts) = reply else { return Ok(Some(format!("{scan} failed"))) };
            let [Value::Text(next), Value::Array(slice)] = &parts[..] else {
                return Ok(Some(format!("{scan} failed")));
            };
            let texts: Vec<&[u8]> = slice.iter().filter_map(Value::text).collect();
            if !texts.is_empty() {
                let command = look_up(self, key, &texts);
                let Value::Array(found) = self.ask_second(command)? else { return Ok(Some("its members".into())) };
                let is_hash = scan == "HSCAN";
                let differs = |at: &usize| match &found[*at] {
                    Value::Integer(is_member) => *is_member != 1,
                    value => value.text() != Some(texts[at * 2 + 1]),
                };
                if let Some(at) = (0..found.len()).find(differs) {
                    return Ok(Some(format!("its member {}", shown(texts[if is_hash { at * 2 } else { at }]))));
                }
                if is_hash {
                    let fields: Vec<&[u8]> = texts.iter().step_by(2).copied().collect();
                    if let Some(what) = self.times_of(key, &fields)? {
                        return Ok(Some(what));
                    }
                }
            }
            if next == b"0" {
                return Ok(None);
            }
            cursor = next.clone();
        }
    }

    fn ask_first(&mut self, command: Vec<Vec<u8>>) -> Result<[Value; 2]> {
        let connection = &mut self.connections[0];
        let reply = crate::servers::pipeline(connection, &[command], super::WHO[0])?.pop();
        Ok([reply.unwrap_or(Value::Nil), Value::Nil])
    }

    fn ask_second(&mut self, command: Vec<Vec<u8>>) -> Result<Value> {
        let connection = &mut self.connections[1];
        Ok(crate::servers::pipeline(connection, &[command], super::WHO[1])?.pop().unwrap_or(Value::Nil))
    }

    /// The entries of a stream.
    fn entries(&mut self, key: &[u8], count: i64) -> Result<Option<String>> {
        let mut from = b"-".to_vec();
        loop {
            let [a, b] = self.ask_one(words("XRANGE", &[key, &from, b"+", b"COUNT", count.to_string().as_bytes()]))?;
            if a != b {
                return Ok(Some(format!("its entries from {} on", shown(&from))));
            }
            let Value::Array(entries) = a else { return Ok(None) };
            let Some(Value::Array(last)) = entries.last() else { return Ok(None) };
            let Some(id) = last.first().and_then(Value::text) else { return Ok(None) };
            from = [b"(", id].concat();
        }
    }

    /// What a stream says of itself, and its groups with what is pending in them. Since when consumers are idle is left out.
    pub(super) fn stream_facts(&mut self, key: &[u8]) -> Result<Option<String>> {
        let [a, b] = self.ask_one(words("XINFO STREAM", &[key]))?;
        let differs = |name: &&&[u8]| matches!((fact(&a, name), fact(&b, name)), (Some(a), Some(b)) if a != b);
        if let Some(name) = STREAM_FACTS.iter().find(differs) {
            return Ok(Some(format!("its {}", shown(name))));
        }
        let [a, b] = self.ask_one(words("XINFO GROUPS", &[key]))?;
        let (Value::Array(groups), Value::Array(others)) = (&a, &b) else { return Ok(None) };
        let sorted = |groups: &[Value]| {
            let mut all = groups.to_vec();
            all.sort_by_key(|group| fact(group, b"name").and_then(|name| name.text().map(<[u8]>::to_vec)));
            all
        };
        let (groups, others) = (sorted(groups), sorted(others));
        let differ = |(a, b): (&Value, &Value)| {
            GROUP_FACTS.iter().any(|name| matches!((fact(a, name), fact(b, name)), (Some(a), Some(b)) if a != b))
        };
        if groups.len() != others.len() || groups.iter().zip(&others).any(differ) {
            return Ok(Some("its groups".into()));
        }
        for group in &groups {
            let Some(name) = fact(group, b"name").and_then(Value::text) else { continue };
            let mut from = b"-".to_vec();
            loop {
                let [a, b] = self.ask_one(words("XPENDING", &[key, name, &from, b"+", COUNT]))?;
                let (a, b) = (pending(&a), pending(&b));
                if a != b {
                    return Ok(Some(format!("what is pending in its group {}", shown(name))));
                }
                let Some(id) = a.last().and_then(|entry| entry.first()?.text().map(<[u8]>::to_vec)) else { break };
                from = [&b"("[..], &id].concat();
            }
        }
        Ok(None)
    }
}

/// What XINFO says by a name.
fn fact<'a>(reply: &'a Value, name: &[u8]) -> Option<&'a Value> {
    let Value::Array(flat) = reply else { return None };
    flat.chunks(2).find(|pair| pair[0].text() == Some(name))?.get(1)
}

/// Ids, consumers and deliveries, without since when.
fn pending(reply: &Value) -> Vec<Vec<Value>> {
    let Value::Array(entries) = reply else { return Vec::new() };
    let of = |entry: &Value| match entry {
        Value::Array(parts) => [0, 1, 3].iter().filter_map(|at| parts.get(*at).cloned()).collect(),
        _ => Vec::new(),
    };
    entries.iter().map(of).collect()
}

fn words_of(name: &str, key: &[u8], rest: &[&[u8]]) -> Vec<Vec<u8>> {
    let mut all = vec![key];
    all.extend(rest);
    words(name, &all)
}

/// Scores may be spelled in more than one way.
fn same_scores(a: &Value, b: &Value) -> bool {
    let (Value::Array(a), Value::Array(b)) = (a, b) else { return false };
    let number = |value: &Value| std::str::from_utf8(value.text()?).ok()?.parse::<f64>().ok();
    let is_same = |(at, (a, b)): (usize, (&Value, &Value))| {
        a == b || at % 2 == 1 && number(a).is_some() && number(a) == number(b)
    };
    a.len() == b.len() && a.iter().zip(b).enumerate().all(is_same)
}
