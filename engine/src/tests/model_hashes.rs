//! The model of hashes: a map, kept as the text of itself, so that a value is bytes whatever its kind.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::model::{
    Answer, Float, Held, Model, NOT_FLOAT, NOT_INT, Name, bulk, err, int, nil, ok, optional, strict_int,
};
use super::model_sorted_sets::{changed_members, tells_of_member};

/// What a field has, and when it expires, in ms since 1970; 0: never.
pub type Field = (Vec<u8>, u64);
pub type Hash = BTreeMap<Vec<u8>, Field>;

/// What the text of a hash begins with; no string of these tests does.
const MARK: &[u8] = b"\0a hash:";

/// A collection as a value of the model: each part behind its length.
pub(super) fn text_of_parts<'a>(mark: &[u8], parts: impl Iterator<Item = &'a Vec<u8>>) -> Arc<[u8]> {
    let mut text = mark.to_vec();
    for part in parts {
        text.extend_from_slice(&(part.len() as u32).to_le_bytes());
        text.extend_from_slice(part);
    }
    text.into()
}

/// The parts of a value of the model, if it is a collection with this mark.
pub(super) fn parts_of(mark: &[u8], text: &[u8]) -> Option<Vec<Vec<u8>>> {
    let mut rest = text.strip_prefix(mark)?;
    let part = || {
        let (len, behind) = rest.split_first_chunk::<4>()?;
        let (part, behind) = behind.split_at(u32::from_le_bytes(*len) as usize);
        rest = behind;
        Some(part.to_vec())
    };
    Some(std::iter::from_fn(part).collect())
}

/// A hash as a value of the model.
pub fn text_of(hash: &Hash) -> Arc<[u8]> {
    let parts = hash.iter().map(|(field, (value, ms))| [field.clone(), value.clone(), ms.to_le_bytes().to_vec()]);
    text_of_parts(MARK, parts.collect::<Vec<_>>().as_flattened().iter())
}

/// The hash that a value of the model is, if it is one.
pub fn hash_of(text: &[u8]) -> Option<Hash> {
    let parts = parts_of(MARK, text)?;
    let time = |part: &[u8]| u64::from_le_bytes(part.try_into().unwrap());
    Some(parts.chunks(3).map(|part| (part[0].clone(), (part[1].clone(), time(&part[2])))).collect())
}

/// A value without the fields that have expired by now; none without any field.
pub fn live_text(text: &Arc<[u8]>, now_ms: u64) -> Option<Arc<[u8]>> {
    let Some(mut hash) = hash_of(text) else { return Some(Arc::clone(text)) };
    let before = hash.len();
    hash.retain(|_, (_, ms)| *ms == 0 || *ms > now_ms);
    match hash.len() {
        0 => None,
        len if len == before => Some(Arc::clone(text)),
        _ => Some(text_of(&hash)),
    }
}

/// Commands on times of fields that the model knows, and their fewest and most words: what is wrong with them otherwise is seen beside redis.
pub fn arity(name: &str) -> Option<(usize, usize)> {
    Some(match name {
        "hexpireat" | "hpexpire" | "hpexpireat" | "hsetex" => (6, usize::MAX),
        "hgetdel" | "hgetex" | "hpersist" | "hpexpiretime" | "hpttl" => (5, usize::MAX),
        _ => return None,
    })
}

fn array(parts: Vec<Answer>) -> Answer {
    let count = parts.len();
    let parts: Result<Vec<_>, _> = parts.into_iter().collect();
    Ok([format!("*{count}\r\n").into_bytes(), parts?.concat()].concat())
}

/// What comes before `FIELDS`, and what behind the number of them.
fn parted(args: &[Vec<u8>]) -> (&[Vec<u8>], &[Vec<u8>]) {
    let at = args.iter().position(|word| word.eq_ignore_ascii_case(b"fields")).unwrap();
    (&args[..at], &args[at + 2..])
}

/// The time that options give, in ms since 1970.
fn time_in(options: &[Vec<u8>]) -> Option<u64> {
    let at = options.iter().position(|word| word.eq_ignore_ascii_case(b"pxat"))?;
    strict_int(&options[at + 1]).map(|ms| ms as u64)
}

impl Model {
    /// The hash of a key; empty for none.
    fn hash(&mut self, key: &Name) -> Hash {
        let Some(held) = self.held(key) else { return Hash::new() };
        hash_of(&held.value).unwrap_or_else(|| {
            self.is_wrong();
            Hash::new()
        })
    }

    fn put_hash(&mut self, key: Name, hash: &Hash) {
        let expires_at_ms = self.held(&key).and_then(|held| held.expires_at_ms);
        if hash.is_empty() {
            self.state.remove(&key);
        } else {
            self.put(key, &text_of(hash), expires_at_ms);
        }
    }

    pub(super) fn hashes(&mut self, name: &str, key: Name, args: &[Vec<u8>]) -> Answer {
        match name {
            "hset" | "hmset" => {
                let mut hash = self.hash(&key);
                let before = hash.len();
                hash.extend(args.chunks(2).map(|pair| (pair[0].clone(), (pair[1].clone(), 0))));
                let added = (hash.len() - before) as i64;
                self.put_hash(key, &hash);
                if name == "hset" { int(added) } else { ok() }
            }
            "hsetnx" => {
                let mut hash = self.hash(&key);
                let is_new = !hash.contains_key(&args[0]);
                if is_new {
                    hash.insert(args[0].clone(), (args[1].clone(), 0));
                    self.put_hash(key, &hash);
                }
                int(is_new.into())
            }
            "hdel" => {
                let mut hash = self.hash(&key);
                let deleted = args.iter().filter(|field| hash.remove(*field).is_some()).count();
                if deleted > 0 {
                    self.put_hash(key, &hash);
                }
                int(deleted as i64)
            }
            "hget" => optional(self.hash(&key).get(&args[0]).map(|(value, _)| value.as_slice())),
            "hstrlen" => int(self.hash(&key).get(&args[0]).map_or(0, |(value, _)| value.len()) as i64),
            "hexists" => int(self.hash(&key).contains_key(&args[0]).into()),
            "hlen" => int(self.hash(&key).len() as i64),
            "hmget" => {
                let hash = self.hash(&key);
                array(args.iter().map(|field| hash.get(field).map_or_else(nil, |(value, _)| bulk(value))).collect())
            }
            "hgetall" | "hkeys" | "hvals" => {
                let hash = self.hash(&key);
                let shows = |which: &str| which != name;
                let mut parts = Vec::new();
                for (field, (value, _)) in &hash {
                    parts.extend(shows("hvals").then(|| bulk(field).unwrap()));
                    parts.extend(shows("hkeys").then(|| bulk(value).unwrap()));
                }
                Ok([format!("*{}\r\n", parts.len()).into_bytes(), parts.concat()].concat())
            }
            "hincrby" => {
                let Some(by) = strict_int(&args[1]) else { return err(NOT_INT) };
                let mut hash = self.hash(&key);
                let (old, ms) = hash.get(&args[0]).map_or((Some(0), 0), |(value, ms)| (strict_int(value), *ms));
                let Some(old) = old else { return err("ERR hash value is not an integer") };
                let Some(sum) = old.checked_add(by) else { return err("ERR increment or decrement would overflow") };
                hash.insert(args[0].clone(), (sum.to_string().into_bytes(), ms));
                self.put_hash(key, &hash);
                int(sum)
            }
            "hincrbyfloat" => {
                let Float::Exact(by) = Float::of(&args[1]) else { return err(NOT_FLOAT) };
                let mut hash = self.hash(&key);
                let (old, ms) = hash.get(&args[0]).map_or((Float::Exact(0), 0), |(value, ms)| (Float::of(value), *ms));
                let Float::Exact(old) = old else { return err("ERR hash value is not a float") };
                let sum = Float::text(old + by);
                hash.insert(args[0].clone(), (sum.clone().into_bytes(), ms));
                self.put_hash(key, &hash);
                bulk(sum.as_bytes())
            }
            other => self.times_of_fields(other, key, args),
        }
    }

    fn times_of_fields(&mut self, name: &str, key: Name, args: &[Vec<u8>]) -> Answer {
        let (options, fields) = parted(args);
        let (now_ms, before) = (self.now_ms, self.hash(&key));
        let mut hash = before.clone();
        let has = |word: &str| options.iter().any(|option| option.eq_ignore_ascii_case(word.as_bytes()));
        let mut answers = Vec::new();
        match name {
            "hexpireat" | "hpexpire" | "hpexpireat" => {
                let number = strict_int(&options[0]).unwrap() as u64;
                let ms = match name {
                    "hexpireat" => number * 1000,
                    "hpexpire" => number + now_ms,
                    _ => number,
                };
                for field in fields {
                    let old_ms = hash.get(field).map(|(_, ms)| *ms);
                    let meets = |old: u64| {
                        !(has("nx") && old > 0
                            || has("xx") && old == 0
                            || has("gt") && (old == 0 || ms <= old)
                            || has("lt") && old > 0 && ms >= old)
                    };
                    answers.push(int(match old_ms {
                        None => -2,
                        Some(old) if !meets(old) => 0,
                        Some(_) if ms <= now_ms => {
                            hash.remove(field);
                            2
                        }
                        Some(_) => {
                            hash.get_mut(field).unwrap().1 = ms;
                            1
                        }
                    }));
                }
            }
            "hpttl" | "hpexpiretime" | "hpersist" => {
                for field in fields {
                    answers.push(int(match hash.get_mut(field) {
                        None => -2,
                        Some((_, 0)) => -1,
                        Some((_, ms)) if name == "hpersist" => {
                            *ms = 0;
                            1
                        }
                        Some((_, ms)) => (*ms - if name == "hpttl" { now_ms } else { 0 }) as i64,
                    }));
                }
            }
            "hgetex" | "hgetdel" => {
                let ms = if has("persist") { Some(0) } else { time_in(options) };
                for field in fields {
                    answers.push(hash.get(field).map_or_else(nil, |(value, _)| bulk(value)));
                    if name == "hgetdel" || ms.is_some_and(|ms| ms > 0 && ms <= now_ms) {
                        hash.remove(field);
                    } else if let (Some(ms), Some(old)) = (ms, hash.get_mut(field)) {
                        old.1 = ms;
                    }
                }
            }
            "hsetex" => {
                let are_there = fields.chunks(2).map(|pair| hash.contains_key(&pair[0]));
                if has("fnx") && are_there.clone().any(|is| is) || has("fxx") && !are_there.clone().all(|is| is) {
                    return int(0);
                }
                let ms = time_in(options).unwrap_or(0);
                for pair in fields.chunks(2) {
                    let old = hash.remove(&pair[0]).map_or(0, |(_, ms)| ms);
                    let ms = if has("keepttl") { old } else { ms };
                    if ms == 0 || ms > now_ms {
                        hash.insert(pair[0].clone(), (pair[1].clone(), ms));
                    }
                }
            }
            other => panic!("the model does not know {other}"),
        }
        if hash != before {
            self.put_hash(key, &hash);
        }
        if name == "hsetex" { int(1) } else { array(answers) }
    }
}

/// A reply with its pairs, or its elements, in order: in which they are replied is nobody's business here.
pub fn sorted(name: &[u8], reply: Vec<u8>) -> Vec<u8> {
    let name = name.to_ascii_lowercase();
    let step = match name.as_slice() {
        b"hgetall" => 2,
        b"hkeys" | b"hvals" | b"smembers" | b"sinter" | b"sunion" | b"sdiff" => 1,
        _ => return reply,
    };
    let Some(mut rest) = reply.strip_prefix(b"*") else { return reply };
    let line = |rest: &mut &[u8]| {
        let end = rest.iter().position(|byte| *byte == b'\r').unwrap();
        let number: usize = std::str::from_utf8(&rest[..end]).unwrap().parse().unwrap();
        *rest = &rest[end + 2..];
        number
    };
    let count = line(&mut rest);
    let mut parts = Vec::new();
    for _ in 0..count {
        rest = rest.strip_prefix(b"$").unwrap();
        let len = line(&mut rest);
        parts.push(rest[..len].to_vec());
        rest = &rest[len + 2..];
    }
    assert!(rest.is_empty());
    let mut chunks: Vec<_> = parts.chunks(step).map(<[Vec<u8>]>::to_vec).collect();
    chunks.sort();
    let parts: Vec<_> = chunks.concat().iter().map(|part| bulk(part).unwrap()).collect();
    [format!("*{count}\r\n").into_bytes(), parts.concat()].concat()
}

/// The fields that differ if a change was within a hash: as many fields as before, and the same expiry. A reply that tells of the key alone
/// does not tell of it.
pub fn changed_within(old: Option<&Held>, new: Option<&Held>) -> Option<Vec<Vec<u8>>> {
    let (old, new) = (old?, new?);
    let (Some(before), Some(after)) = (hash_of(&old.value), hash_of(&new.value)) else {
        return changed_members(old, new);
    };
    if before.len() != after.len() || old.expires_at_ms != new.expires_at_ms {
        return None;
    }
    let fields = before.keys().chain(after.keys());
    Some(fields.filter(|field| before.get(*field) != after.get(*field)).cloned().collect())
}

/// Whether the reply to a command tells of a field of the hash that it names first.
pub fn tells_of(words: &[Vec<u8>], field: &[u8]) -> bool {
    let names = |range: &[Vec<u8>]| range.iter().any(|word| word == field);
    match words[0].to_ascii_lowercase().as_slice() {
        b"hgetall" | b"hkeys" | b"hvals" => true,
        b"hget" | b"hexists" | b"hstrlen" | b"hsetnx" => names(&words[2..words.len().min(3)]),
        b"hmget" | b"hdel" | b"hexpireat" | b"hgetdel" | b"hgetex" | b"hpersist" | b"hpexpire" | b"hpexpireat"
        | b"hpexpiretime" | b"hpttl" => names(&words[2..]),
        _ => tells_of_member(words, field),
    }
}
