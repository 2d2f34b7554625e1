//! What the keys of the workload hold.

use std::collections::{BTreeMap, BTreeSet};

use super::model::Moment;
use super::sketch::{self, Registers};
use crate::value::escape;
use crate::{Client, Error, Result, Value};

/// Some bytes.
pub type Bytes = Vec<u8>;

/// What a field of a hash has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Field {
    /// Its value.
    pub value: Bytes,
    /// When it expires, in unix ms; 0: never.
    pub expires_at_ms: i64,
}

impl Field {
    /// One that never expires.
    #[must_use]
    pub fn lasting(value: Bytes) -> Self {
        Self { value, expires_at_ms: 0 }
    }

    /// Whether it may be gone by then.
    fn may_be_gone(&self, at: Moment) -> bool {
        self.expires_at_ms > 0 && self.expires_at_ms <= at.latest_ms
    }

    /// Whether it must be.
    fn must_be_gone(&self, at: Moment) -> bool {
        self.expires_at_ms > 0 && self.expires_at_ms < at.later_by(0).earliest_ms
    }
}

/// A value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// A string.
    Text(Bytes),
    /// A hash.
    Hash(BTreeMap<Bytes, Field>),
    /// A set.
    Set(BTreeSet<Bytes>),
    /// A list.
    List(Vec<Bytes>),
    /// A sorted set, in its order.
    Sorted(Vec<(i64, Bytes)>),
    /// A stream whose ids are all of one ms, from its first on: which comes next, and what those that are there have under their one field.
    Stream(u64, BTreeMap<u64, Bytes>),
    /// A hyperloglog. What it says of its count is left out.
    Sketch(Registers),
}

impl Content {
    /// What a string is: a hyperloglog if it looks like one, as nothing else of the workload does.
    #[must_use]
    pub fn of_string(text: Bytes) -> Self {
        sketch::decode(&text).map_or(Self::Text(text), Self::Sketch)
    }

    /// The string, if it is one.
    #[must_use]
    pub fn text(&self) -> Option<&[u8]> {
        if let Self::Text(text) = self { Some(text) } else { None }
    }

    /// Whether it has no elements, so that it is not there; a string may be empty, and so may a stream that has had some.
    #[must_use]
    pub fn is_gone(&self) -> bool {
        match self {
            Self::Text(_) | Self::Sketch(_) => false,
            Self::Hash(fields) => fields.is_empty(),
            Self::Set(members) => members.is_empty(),
            Self::List(elements) => elements.is_empty(),
            Self::Sorted(members) => members.is_empty(),
            Self::Stream(next, _) => *next == 0,
        }
    }

    /// Whether nothing may be left of it by then, as all of its fields have expired.
    #[must_use]
    pub fn may_have_expired(&self, at: Moment) -> bool {
        matches!(self, Self::Hash(fields) if fields.values().all(|field| field.may_be_gone(at)))
    }

    /// Whether `found`, read then, is this, but for fields that have expired.
    #[must_use]
    pub fn explains(&self, found: &Self, at: Moment) -> bool {
        let (Self::Hash(fields), Self::Hash(left)) = (self, found) else { return self == found };
        let is_right = |(name, field): (&Bytes, &Field)| match left.get(name) {
            Some(found) => found == field && !field.must_be_gone(at),
            None => field.may_be_gone(at),
        };
        fields.iter().all(is_right) && left.keys().all(|name| fields.contains_key(name))
    }

    /// Reads what a key holds that is no string.
    ///
    /// # Errors
    /// When the server does not answer, or answers nonsense.
    pub fn read(client: &mut Client, key: &[u8]) -> Result<Option<Self>> {
        let kind = client.command(&[&b"TYPE"[..], key])?;
        let words: &[&[u8]] = match kind.text() {
            Some(b"none") => return Ok(None),
            Some(b"hash") => return Self::read_hash(client, key),
            Some(b"set") => &[b"SMEMBERS", key],
            Some(b"list") => &[b"LRANGE", key, b"0", b"-1"],
            Some(b"stream") => return Self::read_stream(client, key).map(Some),
            Some(b"zset") => &[b"ZRANGE", key, b"0", b"-1", b"WITHSCORES"],
            _ => return Err(Error::Protocol(format!("{} has the type {kind:?}", escape(key)))),
        };
        let reply = client.command(words)?;
        let nonsense = || Error::Protocol(format!("what {} holds, a {kind:?}, was answered {reply:?}", escape(key)));
        let items = reply.items().ok_or_else(nonsense)?.iter();
        let all: Option<Vec<Bytes>> = items.map(|item| item.text().map(<[u8]>::to_vec)).collect();
        let all = all.ok_or_else(nonsense)?;
        let pairs = || all.as_chunks::<2>().0.iter().cloned();
        let count = all.len();
        let (content, is_whole) = match kind.text() {
            Some(b"set") => {
                let members: BTreeSet<_> = all.into_iter().collect();
                let is_whole = members.len() == count;
                (Self::Set(members), is_whole)
            }
            Some(b"list") => (Self::List(all), true),
            _ => {
                let score = |text: &[u8]| std::str::from_utf8(text).ok()?.parse().ok();
                let members: Option<Vec<_>> = pairs().map(|[member, text]| Some((score(&text)?, member))).collect();
                let members = members.ok_or_else(nonsense)?;
                let is_whole = 2 * members.len() == count;
                (Self::Sorted(members), is_whole)
            }
        };
        if is_whole { Ok(Some(content)) } else { Err(nonsense()) }
    }

    fn read_hash(client: &mut Client, key: &[u8]) -> Result<Option<Self>> {
        let reply = client.command(&[&b"HGETALL"[..], key])?;
        let nonsense = |times: &Value| {
            Error::Protocol(format!("what {} holds, a hash, was answered {reply:?} {times:?}", escape(key)))
        };
        let all: Option<Vec<Bytes>> =
            reply.items().map(|items| items.iter().filter_map(|item| Some(item.text()?.to_vec())).collect());
        let all = all.ok_or_else(|| nonsense(&Value::Null))?;
        if all.is_empty() {
            // all of its fields have expired: it is gone since somebody has asked, or (redis) once its cycle comes by
            for _ in 0..200 {
                if client.command(&[&b"TYPE"[..], key])?.text() == Some(b"none") {
                    return Ok(None);
                }
                std::thread::sleep(std::time::Duration::from_millis(10));
            }
            return Err(nonsense(&Value::Null));
        }
        let count = (all.len() / 2).to_string();
        let mut words = vec![&b"HPEXPIRETIME"[..], key, b"FIELDS", count.as_bytes()];
        words.extend(all.iter().step_by(2).map(Vec::as_slice));
        let times = client.command(&words)?;
        let each: Option<Vec<i64>> = times.items().and_then(|items| items.iter().map(Value::integer).collect());
        let each = each.filter(|each| each.len() * 2 == all.len()).ok_or_else(|| nonsense(&times))?;
        let mut fields = BTreeMap::new();
        for ([name, value], ms) in all.as_chunks::<2>().0.iter().zip(each) {
            let is_twice = match ms {
                -2 => false, // it has expired in between
                ms => fields.insert(name.clone(), Field { value: value.clone(), expires_at_ms: ms.max(0) }).is_some(),
            };
            if is_twice {
                return Err(nonsense(&times));
            }
        }
        Ok((!fields.is_empty()).then_some(Self::Hash(fields)))
    }

    fn read_stream(client: &mut Client, key: &[u8]) -> Result<Self> {
        let info = client.command(&[&b"XINFO"[..], b"STREAM", key])?;
        let all = client.command(&[&b"XRANGE"[..], key, b"-", b"+"])?;
        let nonsense = || Error::Protocol(format!("the stream {} was answered {info:?} {all:?}", escape(key)));
        let seq = |id: &Value| std::str::from_utf8(id.text()?.strip_prefix(b"1-")?).ok()?.parse().ok();
        let last: Option<u64> = info.items().and_then(|items| {
            let place = items.iter().position(|item| item.text() == Some(b"last-generated-id"))?;
            seq(items.get(place + 1)?)
        });
        let entry = |entry: &Value| match entry.items()? {
            [id, fields] => Some((seq(id)?, fields.items()?.get(1)?.text()?.to_vec())),
            _ => None,
        };
        let entries: Option<BTreeMap<_, _>> = all.items().ok_or_else(nonsense)?.iter().map(entry).collect();
        Ok(Self::Stream(last.ok_or_else(nonsense)? + 1, entries.ok_or_else(nonsense)?))
    }

    /// For people, not too long.
    #[must_use]
    pub fn show(&self) -> String {
        let short = |bytes: &Bytes| escape(&bytes[..bytes.len().min(12)]);
        let (kind, elements): (_, Vec<_>) = match self {
            Self::Text(text) if text.len() > 60 => {
                return format!("\"{}...\" ({} bytes)", escape(&text[..60]), text.len());
            }
            Self::Text(text) => return format!("\"{}\"", escape(text)),
            Self::Hash(fields) => {
                let shown = |(name, field): (&Bytes, &Field)| match field.expires_at_ms {
                    0 => format!("{} {}", short(name), short(&field.value)),
                    ms => format!("{} {} until {ms}", short(name), short(&field.value)),
                };
                ("hash", fields.iter().map(shown).collect())
            }
            Self::Set(members) => ("set", members.iter().map(short).collect()),
            Self::List(elements) => ("list", elements.iter().map(short).collect()),
            Self::Sorted(members) => {
                ("sorted set", members.iter().map(|(score, member)| format!("{} {score}", short(member))).collect())
            }
            Self::Sketch(registers) => {
                ("hyperloglog", registers.iter().map(|(place, rank)| format!("{place} {rank}")).collect())
            }
            Self::Stream(_, entries) => {
                ("stream", entries.iter().map(|(seq, value)| format!("{seq} {}", short(value))).collect())
            }
        };
        format!("a {kind} of {} ({})", elements.len(), elements.join(", "))
    }
}
