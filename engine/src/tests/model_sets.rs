//! The model of sets: kept as the text of itself, as a hash is.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::model::{Answer, Model, Name, bulk, err, int, nil, optional, strict_int};
use super::model_hashes::{Field, parts_of, text_of, text_of_parts};
use crate::collections::Type;

pub type Set = BTreeSet<Vec<u8>>;

/// What the text of a set begins with; no string of these tests does.
const MARK: &[u8] = b"\0a set:";

/// A hash or a set as a value of the model, out of its pairs.
pub fn text_of_pairs(kind: Type, pairs: impl Iterator<Item = (Vec<u8>, Field)>) -> Arc<[u8]> {
    match kind {
        Type::Set => text_of_set(&pairs.map(|(member, _)| member).collect()),
        _ => text_of(&pairs.collect()),
    }
}

fn text_of_set(set: &Set) -> Arc<[u8]> {
    text_of_parts(MARK, set.iter())
}

/// The set that a value of the model is, if it is one.
pub fn set_of(text: &[u8]) -> Option<Set> {
    Some(parts_of(MARK, text)?.into_iter().collect())
}

/// Commands on sets that the model knows, and their fewest and most words.
pub fn arity(name: &str) -> Option<(usize, usize)> {
    Some(match name {
        "sadd" | "srem" | "smismember" | "sinterstore" | "sunionstore" | "sdiffstore" => (3, usize::MAX),
        "sintercard" => (3, usize::MAX),
        "sismember" => (3, 3),
        "scard" | "smembers" => (2, 2),
        "sinter" | "sunion" | "sdiff" | "spop" => (2, usize::MAX),
        "smove" => (4, 4),
        _ => return None,
    })
}

/// A request as the model is told it: with what SPOP has drawn.
pub fn told(words: &[Vec<u8>], reply: &[u8]) -> Vec<Vec<u8>> {
    let mut words = words.to_vec();
    if words.len() > 1 && words[0].eq_ignore_ascii_case(b"spop") {
        words.push(reply.to_vec());
    }
    words
}

/// The strings of a reply that is one, or an array of some.
fn strings(reply: &[u8]) -> Vec<Vec<u8>> {
    let mut rest = reply;
    let mut line = || {
        let end = rest.iter().position(|byte| *byte == b'\r')?;
        let (line, behind) = rest.split_at(end);
        rest = &behind[2..];
        if line.first() != Some(&b'$') {
            return Some(None);
        }
        let Ok(len) = std::str::from_utf8(&line[1..]).ok()?.parse::<usize>() else { return Some(None) };
        let (text, behind) = rest.split_at(len);
        rest = &behind[2..];
        Some(Some(text.to_vec()))
    };
    std::iter::from_fn(&mut line).flatten().collect()
}

fn array(texts: impl ExactSizeIterator<Item = Vec<u8>>) -> Answer {
    let count = texts.len();
    let texts: Result<Vec<_>, _> = texts.map(|text| bulk(&text)).collect();
    Ok([format!("*{count}\r\n").into_bytes(), texts?.concat()].concat())
}

impl Model {
    /// The set of a key; empty for none.
    fn set_at(&mut self, key: &Name) -> Set {
        let Some(held) = self.held(key) else { return Set::new() };
        set_of(&held.value).unwrap_or_else(|| {
            self.is_wrong();
            Set::new()
        })
    }

    fn put_set(&mut self, key: &Name, set: &Set, keeps_expiry: bool) {
        let expires_at_ms = self.held(key).and_then(|held| held.expires_at_ms).filter(|_| keeps_expiry);
        if set.is_empty() {
            self.state.remove(key);
        } else {
            self.put(key.clone(), &text_of_set(set), expires_at_ms);
        }
    }

    /// What becomes of the sets under these keys.
    fn combined(&mut self, operation: &str, keys: &[Name]) -> Set {
        let sets: Vec<Set> = keys.iter().map(|key| self.set_at(key)).collect();
        let others = |member: &Vec<u8>| sets[1..].iter().filter(|set| set.contains(member)).count();
        match operation {
            "union" => sets.iter().flatten().cloned().collect(),
            "inter" => sets[0].iter().filter(|member| others(member) + 1 == sets.len()).cloned().collect(),
            _ => sets[0].iter().filter(|member| others(member) == 0).cloned().collect(),
        }
    }

    pub(super) fn sets(&mut self, name: &str, db: u8, args: &[Vec<u8>]) -> Answer {
        let name_of = |arg: &Vec<u8>| -> Name { (db, arg.as_slice().into()) };
        let key = name_of(&args[0]);
        let args = &args[1..];
        match name {
            "sadd" => {
                let mut set = self.set_at(&key);
                let added = args.iter().filter(|member| set.insert((*member).clone())).count();
                if added > 0 {
                    self.put_set(&key, &set, true);
                }
                int(added as i64)
            }
            "srem" => {
                let mut set = self.set_at(&key);
                let removed = args.iter().filter(|member| set.remove(*member)).count();
                if removed > 0 {
                    self.put_set(&key, &set, true);
                }
                int(removed as i64)
            }
            "sismember" => int(self.set_at(&key).contains(&args[0]).into()),
            "scard" => int(self.set_at(&key).len() as i64),
            "smismember" => {
                let set = self.set_at(&key);
                let answers: Vec<u8> =
                    args.iter().flat_map(|member| int(set.contains(member).into()).unwrap_or_default()).collect();
                Ok([format!("*{}\r\n", args.len()).into_bytes(), answers].concat())
            }
            "smembers" => array(self.set_at(&key).into_iter()),
            "spop" => self.popped(&key, args),
            "smove" => {
                let to = name_of(&args[0]);
                if self.held(&key).is_none() {
                    return int(0);
                }
                let (mut from, mut other) = (self.set_at(&key), self.set_at(&to));
                if !from.contains(&args[1]) || key == to {
                    return int(from.contains(&args[1]).into());
                }
                from.remove(&args[1]);
                other.insert(args[1].clone());
                self.put_set(&key, &from, true);
                self.put_set(&to, &other, true);
                int(1)
            }
            "sintercard" => {
                let keys: Vec<_> = args.iter().map(name_of).collect();
                let count: usize = String::from_utf8_lossy(&key.1).parse().unwrap_or(0);
                if count == 0 {
                    return err("ERR numkeys should be greater than 0");
                }
                if count > keys.len() {
                    return err("ERR Number of keys can't be greater than number of args");
                }
                if count < keys.len() {
                    return err("ERR syntax error");
                }
                int(self.combined("inter", &keys).len() as i64)
            }
            "sinter" | "sunion" | "sdiff" => {
                let keys: Vec<_> = std::iter::once(key).chain(args.iter().map(name_of)).collect();
                array(self.combined(&name[1..], &keys).into_iter())
            }
            _ => {
                let keys: Vec<_> = args.iter().map(name_of).collect();
                let made = self.combined(&name[1..name.len() - "store".len()], &keys);
                self.put_set(&key, &made, false);
                int(made.len() as i64)
            }
        }
    }

    /// The last argument is what was replied: as many different members as were to go.
    fn popped(&mut self, key: &Name, args: &[Vec<u8>]) -> Answer {
        let (reply, args) = args.split_last().unwrap();
        let count = match args {
            [] => 1,
            [count] => match strict_int(count).and_then(|count| usize::try_from(count).ok()) {
                Some(count) => count,
                None => return err("ERR value is out of range, must be positive"),
            },
            _ => return err("ERR syntax error"),
        };
        let mut set = self.set_at(key);
        if self.wrong.is_some() {
            return nil();
        }
        let members = strings(reply);
        let all = set.len();
        let gone = members.iter().filter(|member| set.remove(*member)).count();
        if gone != all.min(count) || gone != members.len() {
            return Err(format!("{gone} of {} replied members were there, of {all}", members.len()));
        }
        if gone > 0 {
            self.put_set(key, &set, true);
        }
        match args {
            [] => optional(members.first().map(Vec::as_slice)),
            _ => array(members.into_iter()),
        }
    }
}
