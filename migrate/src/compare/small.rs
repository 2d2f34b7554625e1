//! Values that are fetched whole, many at a time.

use std::collections::HashMap;

use emberkv_console::Value;

use super::{Facts, Pair, Verdict};
use crate::error::Result;
use crate::servers::words;

/// So many elements and kilobytes, added up, are fetched at a time.
const MOST: i64 = 8192;

impl Pair {
    /// Compares those of the keys that are small; each with its elements and kilobytes, added up.
    pub(super) fn small(
        &mut self,
        keys: &[Vec<u8>],
        facts: &[Facts],
        sizes: HashMap<usize, i64>,
        verdicts: &mut [Verdict],
    ) -> Result<()> {
        let mut sizes: Vec<(usize, i64)> = sizes.into_iter().collect();
        sizes.sort_unstable();
        let mut rest = &sizes[..];
        while !rest.is_empty() {
            let mut sum = 0;
            let fits = |(_, size): &&(usize, i64)| {
                sum += size + 1;
                sum <= MOST
            };
            let count = rest.iter().take_while(fits).count().max(1);
            let (some, others) = rest.split_at(count);
            rest = others;
            let some: Vec<usize> = some.iter().map(|(at, _)| *at).collect();
            let commands: Vec<_> = some.iter().map(|at| fetch(&facts[*at].kind, &keys[*at])).collect();
            let [left, right] = self.ask(&commands)?;
            for ((at, left), right) in some.into_iter().zip(left).zip(right) {
                let kind = facts[at].kind.as_str();
                if canonical(kind, left) != canonical(kind, right) {
                    verdicts[at] = Verdict::Different(format!("the content of a {kind}"));
                } else if kind == "hash" {
                    if let Some(what) = self.field_times(&keys[at])? {
                        verdicts[at] = Verdict::Different(what);
                    }
                } else if kind == "stream"
                    && let Some(what) = self.stream_facts(&keys[at])?
                {
                    verdicts[at] = Verdict::Different(what);
                }
            }
        }
        Ok(())
    }

    /// How the times of a small hash's fields differ.
    fn field_times(&mut self, key: &[u8]) -> Result<Option<String>> {
        if !self.knows_field_times {
            return Ok(None);
        }
        let [fields, _] = self.ask_one(words("HKEYS", &[key]))?;
        let Value::Array(fields) = fields else { return Ok(None) };
        let fields: Vec<&[u8]> = fields.iter().filter_map(Value::text).collect();
        self.times_of(key, &fields)
    }

    /// How the times of these fields differ.
    pub(super) fn times_of(&mut self, key: &[u8], fields: &[&[u8]]) -> Result<Option<String>> {
        if !self.knows_field_times || fields.is_empty() {
            return Ok(None);
        }
        let count = fields.len().to_string();
        let mut rest = vec![key, b"FIELDS", count.as_bytes()];
        rest.extend(fields);
        let [Value::Array(a), Value::Array(b)] = self.ask_one(words("HPEXPIRETIME", &rest))? else { return Ok(None) };
        let differ = |(a, b): (&Value, &Value)| match (a, b) {
            (Value::Integer(a @ 0..), Value::Integer(b @ 0..)) => a.abs_diff(*b) > self.tolerance_ms,
            (a, b) => a != b,
        };
        let at = a.iter().zip(&b).position(differ);
        Ok(at.map(|at| format!("when the field {} expires", crate::report::shown(fields[at]))))
    }
}

fn fetch(kind: &str, key: &[u8]) -> Vec<Vec<u8>> {
    match kind {
        "list" => words("LRANGE", &[key, b"0", b"-1"]),
        "set" => words("SMEMBERS", &[key]),
        "hash" => words("HGETALL", &[key]),
        "zset" => words("ZRANGE", &[key, b"0", b"-1", b"WITHSCORES"]),
        "stream" => words("XRANGE", &[key, b"-", b"+"]),
        _ => words("GET", &[key]),
    }
}

/// In an order, where there is none.
fn canonical(kind: &str, reply: Value) -> Value {
    let text = |value: &Value| value.text().map(<[u8]>::to_vec);
    match (kind, reply) {
        ("set", Value::Array(mut members)) => {
            members.sort_by_key(text);
            Value::Array(members)
        }
        ("hash", Value::Array(flat)) => {
            let mut pairs: Vec<Vec<Value>> = flat.chunks(2).map(<[Value]>::to_vec).collect();
            pairs.sort_by_key(|pair| pair.first().and_then(text));
            Value::Array(pairs.into_iter().flatten().collect())
        }
        ("zset", Value::Array(flat)) => Value::Array(flat.into_iter().enumerate().map(score).collect()),
        (_, reply) => reply,
    }
}

/// A score as a number, whatever its spelling.
fn score((at, value): (usize, Value)) -> Value {
    let number = || std::str::from_utf8(value.text()?).ok()?.parse::<f64>().ok();
    match number() {
        Some(number) if at % 2 == 1 => Value::Double(format!("{number:e}").into_bytes()),
        _ => value,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn array(texts: &[&str]) -> Value {
        Value::Array(texts.iter().map(|text| Value::Text(text.as_bytes().to_vec())).collect())
    }

    #[test]
    fn what_has_no_order_is_compared_without() {
        let same = |kind: &str, a: &[&str], b: &[&str]| canonical(kind, array(a)) == canonical(kind, array(b));
        assert!(same("set", &["a", "b"], &["b", "a"]) && !same("list", &["a", "b"], &["b", "a"]));
        assert!(same("hash", &["f", "1", "g", "2"], &["g", "2", "f", "1"]));
        assert!(!same("hash", &["f", "1", "g", "2"], &["f", "2", "g", "1"]));
        assert!(same("zset", &["a", "1e3"], &["a", "1000"]) && !same("zset", &["1e3", "1"], &["1000", "1"]));
    }
}
