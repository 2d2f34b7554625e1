//! What the keys of the workload hold, and the commands on values that have elements.

use std::collections::{BTreeMap, BTreeSet};

use super::model::Expected;
use crate::rng::Rng;
use crate::{Client, Error, Result, Value};

/// Some bytes.
type Bytes = Vec<u8>;

/// A value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// A string.
    Text(Bytes),
    /// A hash.
    Hash(BTreeMap<Bytes, Bytes>),
    /// A set.
    Set(BTreeSet<Bytes>),
}

/// The kinds of values that have elements; a key's name begins with its kind, though RENAME and COPY may bring another one there.
pub const KINDS: [&str; 2] = ["hash", "set"];
/// Other names for elements than these there are not: so commands meet, and a value is large at times and small at times.
const NAMES: u64 = 300;

/// A command on one key whose value has elements.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// HSET.
    HSet(Vec<(Bytes, Bytes)>),
    /// HDEL.
    HDel(Vec<Bytes>),
    /// HINCRBY.
    HIncrBy(Bytes, i64),
    /// HGET.
    HGet(Bytes),
    /// HLEN.
    HLen,
    /// SADD.
    SAdd(Vec<Bytes>),
    /// SREM.
    SRem(Vec<Bytes>),
    /// SISMEMBER.
    SIsMember(Bytes),
    /// SPOP of all that there are: which go is no matter of chance then.
    SPop,
}

fn int(number: usize) -> Expected {
    Expected::Exactly(Value::Integer(number as i64))
}

fn optional(bytes: Option<&Bytes>) -> Expected {
    Expected::Exactly(bytes.map_or(Value::Null, |bytes| Value::Bulk(bytes.clone())))
}

impl Content {
    /// The string, if it is one.
    #[must_use]
    pub fn text(&self) -> Option<&[u8]> {
        if let Self::Text(text) = self { Some(text) } else { None }
    }

    fn is_empty(&self) -> bool {
        match self {
            Self::Text(_) => false,
            Self::Hash(fields) => fields.is_empty(),
            Self::Set(members) => members.is_empty(),
        }
    }

    /// Reads what a key holds that is no string.
    ///
    /// # Errors
    /// When the server does not answer, or answers nonsense.
    pub fn read(client: &mut Client, key: &[u8]) -> Result<Option<Self>> {
        let kind = client.command(&[&b"TYPE"[..], key])?;
        let nonsense = |reply: &Value| Error::Protocol(format!("what is read of a {kind:?} was answered {reply:?}"));
        let list = |reply: &Value| -> Result<Vec<Bytes>> {
            let items = reply.items().ok_or_else(|| nonsense(reply))?;
            items.iter().map(|item| item.text().map(<[u8]>::to_vec).ok_or_else(|| nonsense(reply))).collect()
        };
        match kind.text() {
            Some(b"none") => Ok(None),
            Some(b"hash") => {
                let reply = client.command(&[&b"HGETALL"[..], key])?;
                let all = list(&reply)?;
                let (pairs, rest) = all.as_chunks::<2>();
                let fields: BTreeMap<_, _> = pairs.iter().cloned().map(|[field, value]| (field, value)).collect();
                if !rest.is_empty() || fields.len() < pairs.len() {
                    return Err(nonsense(&reply));
                }
                Ok(Some(Self::Hash(fields)))
            }
            Some(b"set") => {
                let reply = client.command(&[&b"SMEMBERS"[..], key])?;
                let all = list(&reply)?;
                let members: BTreeSet<_> = all.iter().cloned().collect();
                if members.len() < all.len() {
                    return Err(nonsense(&reply));
                }
                Ok(Some(Self::Set(members)))
            }
            _ => Err(Error::Protocol(format!("a value of the type {kind:?}"))),
        }
    }
}

impl Change {
    /// Draws one for a key of a kind.
    ///
    /// # Panics
    /// If there is no such kind.
    pub fn draw(rng: &mut Rng, kind: &str, mut value: impl FnMut(&mut Rng, u64) -> Bytes) -> Self {
        let name = |rng: &mut Rng| format!("e{}", rng.below(NAMES)).into_bytes();
        // of numbers only, which nothing else is written to
        let number = |rng: &mut Rng| format!("n{}", rng.below(20)).into_bytes();
        let names = |rng: &mut Rng, most| (0..rng.between(1, most)).map(|_| name(rng)).collect::<Vec<_>>();
        let some = [20, 20, 60, 300, 2000];
        match (kind, rng.below(100)) {
            ("hash", 0..45) => {
                let longest = *rng.pick(&some);
                Self::HSet((0..rng.between(1, 12)).map(|_| (name(rng), value(rng, longest))).collect())
            }
            ("hash", 45..70) => Self::HDel(names(rng, 12)),
            ("hash", 70..85) => Self::HIncrBy(number(rng), *rng.pick(&[1, -1, 1_000_003])),
            ("hash", 85..95) => Self::HGet(name(rng)),
            ("hash", _) => Self::HLen,
            // of numbers alone a set is kept in another way
            ("set", 0..10) => {
                Self::SAdd((0..rng.between(1, 12)).map(|_| rng.below(NAMES).to_string().into()).collect())
            }
            ("set", 10..55) => Self::SAdd(names(rng, 30)),
            ("set", 55..85) => Self::SRem(names(rng, 12)),
            ("set", 85..98) => Self::SIsMember(name(rng)),
            ("set", _) => Self::SPop,
            _ => unreachable!("there is no kind {kind}"),
        }
    }

    /// The words of the command.
    #[must_use]
    pub fn args(&self, key: &[u8]) -> Vec<Bytes> {
        let command = |name: &str| vec![name.as_bytes().to_vec(), key.to_vec()];
        let with = |name, words: &[Bytes]| [command(name), words.to_vec()].concat();
        match self {
            Self::HSet(pairs) => {
                let words = pairs.iter().flat_map(|(field, value)| [field.clone(), value.clone()]);
                command("HSET").into_iter().chain(words).collect()
            }
            Self::HDel(fields) => with("HDEL", fields),
            Self::HIncrBy(field, by) => with("HINCRBY", &[field.clone(), by.to_string().into_bytes()]),
            Self::HGet(field) => with("HGET", std::slice::from_ref(field)),
            Self::HLen => command("HLEN"),
            Self::SAdd(members) => with("SADD", members),
            Self::SRem(members) => with("SREM", members),
            Self::SIsMember(member) => with("SISMEMBER", std::slice::from_ref(member)),
            Self::SPop => with("SPOP", &[b"1000000".to_vec()]),
        }
    }

    /// Does the same to what a key holds; the reply that is due. What has no elements any more is gone.
    pub fn apply(&self, content: &mut Option<Content>) -> Expected {
        let reply = self.apply_to(content);
        if content.as_ref().is_some_and(Content::is_empty) {
            *content = None;
        }
        reply
    }

    fn apply_to(&self, content: &mut Option<Content>) -> Expected {
        let made = match self {
            Self::HSet(_) | Self::HDel(_) | Self::HIncrBy(..) | Self::HGet(_) | Self::HLen => {
                Content::Hash(BTreeMap::new())
            }
            Self::SAdd(_) | Self::SRem(_) | Self::SIsMember(_) | Self::SPop => Content::Set(BTreeSet::new()),
        };
        match (self, content.get_or_insert(made)) {
            (Self::HSet(pairs), Content::Hash(fields)) => {
                let is_new = |(field, value): &&(Bytes, Bytes)| fields.insert(field.clone(), value.clone()).is_none();
                int(pairs.iter().filter(is_new).count())
            }
            (Self::HDel(names), Content::Hash(fields)) => {
                int(names.iter().filter(|name| fields.remove(*name).is_some()).count())
            }
            (Self::HIncrBy(field, by), Content::Hash(fields)) => {
                let old =
                    fields.get(field).and_then(|text| std::str::from_utf8(text).ok()?.parse().ok()).unwrap_or(0i64);
                fields.insert(field.clone(), (old + by).to_string().into_bytes());
                Expected::Exactly(Value::Integer(old + by))
            }
            (Self::HGet(field), Content::Hash(fields)) => optional(fields.get(field)),
            (Self::HLen, Content::Hash(fields)) => int(fields.len()),
            (Self::SAdd(names), Content::Set(members)) => {
                int(names.iter().filter(|name| members.insert((*name).clone())).count())
            }
            (Self::SRem(names), Content::Set(members)) => {
                int(names.iter().filter(|name| members.remove(*name)).count())
            }
            (Self::SIsMember(name), Content::Set(members)) => int(usize::from(members.contains(name))),
            (Self::SPop, Content::Set(members)) => Expected::Members(std::mem::take(members)),
            _ => Expected::Error,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_without_fields_is_gone() {
        let mut content = None;
        let field = |name: &str| name.as_bytes().to_vec();
        let set = Change::HSet(vec![(field("a"), field("1")), (field("a"), field("2"))]);
        assert_eq!(set.apply(&mut content), int(1));
        assert_eq!(Change::HGet(field("a")).apply(&mut content), optional(Some(&field("2"))));
        assert_eq!(Change::HDel(vec![field("b"), field("a")]).apply(&mut content), int(1));
        assert_eq!(content, None);
        assert_eq!(Change::HLen.apply(&mut content), int(0));
        assert_eq!(content, None);
    }

    #[test]
    fn what_is_popped_is_all_in_any_order() {
        let mut content = None;
        let [a, b] = ["a", "b"].map(|name| name.as_bytes().to_vec());
        assert_eq!(Change::SAdd(vec![a.clone(), b.clone(), a.clone()]).apply(&mut content), int(2));
        let popped = Change::SPop.apply(&mut content);
        let reply = |members: [&Bytes; 2]| Value::Array(members.map(|member| Value::Bulk(member.clone())).to_vec());
        assert!(popped.allows(&reply([&b, &a])) && !popped.allows(&reply([&b, &b])));
        assert_eq!(content, None);
    }

    #[test]
    fn another_type_stays_as_it_is() {
        let mut content = Some(Content::Text(b"x".to_vec()));
        assert_eq!(Change::HLen.apply(&mut content), Expected::Error);
        assert_eq!(content, Some(Content::Text(b"x".to_vec())));
    }
}
