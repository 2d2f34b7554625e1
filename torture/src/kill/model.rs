//! What a key must be: the plain model of the commands that the workload uses.

use std::collections::{BTreeSet, HashMap};

use super::change::Change;
use super::collection::Content;
use super::op::{Op, Ttl};
use crate::Value;

/// A key's bytes.
pub type Key = Vec<u8>;

/// How far the server's clock, read once per turn, may lag behind or run ahead of the moment at
/// which a command was sent or answered.
const CLOCK_SLACK_MS: i64 = 500;

/// When something happened, as far as the client can tell: between two unix times.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moment {
    /// The earliest possible time, in ms.
    pub earliest_ms: i64,
    /// The latest possible time, in ms.
    pub latest_ms: i64,
}

impl Moment {
    /// A time that is known exactly.
    #[must_use]
    pub fn exact(ms: i64) -> Self {
        Self { earliest_ms: ms, latest_ms: ms }
    }

    /// So many ms later by the server's clock.
    #[must_use]
    pub fn later_by(self, ms: i64) -> Self {
        Self { earliest_ms: self.earliest_ms + ms - CLOCK_SLACK_MS, latest_ms: self.latest_ms + ms + CLOCK_SLACK_MS }
    }

    fn contains(self, ms: i64) -> bool {
        (self.earliest_ms..=self.latest_ms).contains(&ms)
    }
}

/// What a key holds and when it expires.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The value.
    pub value: Content,
    /// The expiry, if any.
    pub expiry: Option<Moment>,
}

/// What a server says about a key after a restart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// The value.
    pub value: Content,
    /// The absolute expiry in unix ms, if any.
    pub expiry_ms: Option<i64>,
}

/// What a reply must be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Expected {
    /// This value.
    Exactly(Value),
    /// An error.
    Error,
    /// It depends on whether a key has expired in between.
    Anything,
    /// These strings, in any order.
    Members(BTreeSet<Vec<u8>>),
    /// A list, each of them as it says.
    Each(Vec<Expected>),
}

impl Expected {
    /// Whether this is a reply that is due.
    #[must_use]
    pub fn allows(&self, reply: &Value) -> bool {
        match self {
            Self::Exactly(value) => value == reply,
            Self::Error => matches!(reply, Value::Error(_)),
            Self::Anything => !matches!(reply, Value::Error(_)),
            Self::Members(members) => reply.items().is_some_and(|items| {
                let found: BTreeSet<_> = items.iter().filter_map(Value::text).collect();
                items.len() == members.len()
                    && found.len() == members.len()
                    && found.iter().all(|m| members.contains(*m))
            }),
            Self::Each(each) => reply.items().is_some_and(|items| {
                items.len() == each.len() && each.iter().zip(items).all(|(expected, item)| expected.allows(item))
            }),
        }
    }
}

/// Every key that was ever touched, and its state; `None` for a key that is absent.
#[derive(Debug, Clone, Default)]
pub struct Model {
    entries: HashMap<Key, Option<Entry>>,
}

impl Model {
    /// The keys ever touched.
    pub fn keys(&self) -> impl Iterator<Item = &Key> {
        self.entries.keys()
    }

    /// True if the key was ever touched.
    #[must_use]
    pub fn knows(&self, key: &[u8]) -> bool {
        self.entries.contains_key(key)
    }

    /// The state of a key.
    #[must_use]
    pub fn get(&self, key: &[u8]) -> Option<&Entry> {
        self.entries.get(key).and_then(Option::as_ref)
    }

    /// Takes what was found for what is true from now on.
    pub fn adopt(&mut self, key: &[u8], found: Option<&Found>) {
        let entry = found.map(|found| Entry { value: found.value.clone(), expiry: found.expiry_ms.map(Moment::exact) });
        self.entries.insert(key.to_vec(), entry);
    }

    fn put(&mut self, key: &[u8], value: Vec<u8>, expiry: Option<Moment>) {
        self.entries.insert(key.to_vec(), Some(Entry { value: Content::Text(value), expiry }));
    }

    fn remove(&mut self, key: &[u8]) -> Option<Entry> {
        self.entries.insert(key.to_vec(), None).flatten()
    }

    /// Executes `op`, which the server executed at `when`; the reply that is due.
    pub fn apply(&mut self, op: &Op, when: Moment) -> Expected {
        let ok = || Expected::Exactly(Value::Simple(b"OK".to_vec()));
        let int = |number: i64| Expected::Exactly(Value::Integer(number));
        let bulk = |value: Option<Vec<u8>>| Expected::Exactly(value.map_or(Value::Null, Value::Bulk));
        if op.is_on_short_lived_key() {
            self.apply_short_lived(op, when);
            return Expected::Anything;
        }
        match op {
            Op::Set { key, value, ttl, .. } => {
                let expiry = match ttl {
                    Ttl::None => None,
                    Ttl::Keep => self.get(key).and_then(|entry| entry.expiry),
                    Ttl::InMs(ms) => Some(when.later_by(*ms)),
                    Ttl::AtMs(ms) => Some(Moment::exact(*ms)),
                };
                self.put(key, value.clone(), expiry);
                ok()
            }
            Op::Del(keys) => int(keys.iter().filter(|key| self.remove(key).is_some()).count() as i64),
            Op::IncrBy { key, by } => {
                let old = self.get(key).map(|entry| (entry.value.text().and_then(as_integer), entry.expiry));
                let (number, expiry) = match old {
                    None => (Some(0), None),
                    Some((number, expiry)) => (number, expiry),
                };
                let Some(new) = number.and_then(|number| number.checked_add(*by)) else {
                    // a refused INCR touches the key all the same: it must be checked.
                    self.touch(key);
                    return Expected::Error;
                };
                self.put(key, new.to_string().into_bytes(), expiry);
                int(new)
            }
            Op::Append { key, value } => {
                if self.is_no_string(key) {
                    return Expected::Error;
                }
                let old = self.get(key).and_then(|entry| Some((entry.value.text()?.to_vec(), entry.expiry)));
                let (mut text, expiry) = old.unwrap_or_default();
                text.extend_from_slice(value);
                let length = text.len() as i64;
                self.put(key, text, expiry);
                int(length)
            }
            Op::SetRange { key, at, value } => {
                if self.is_no_string(key) {
                    return Expected::Error;
                }
                let old = self.get(key).and_then(|entry| Some((entry.value.text()?.to_vec(), entry.expiry)));
                let length = old.as_ref().map_or(0, |(text, _)| text.len());
                if value.is_empty() {
                    self.touch(key);
                    return int(length as i64);
                }
                let (mut text, expiry) = old.unwrap_or_default();
                let at = usize::try_from(*at).unwrap_or(0);
                text.resize(length.max(at + value.len()), 0);
                text[at..at + value.len()].copy_from_slice(value);
                let length = text.len() as i64;
                self.put(key, text, expiry);
                int(length)
            }
            Op::MSet(pairs) => {
                for (key, value) in pairs {
                    self.put(key, value.clone(), None);
                }
                ok()
            }
            Op::MSetNx(pairs) => {
                pairs.iter().for_each(|(key, _)| self.touch(key));
                if pairs.iter().any(|(key, _)| self.get(key).is_some()) {
                    return int(0);
                }
                for (key, value) in pairs {
                    self.put(key, value.clone(), None);
                }
                int(1)
            }
            Op::Multi { watched, queued, executes } => {
                watched.iter().chain(queued.iter().flat_map(Op::keys)).for_each(|key| self.touch(key));
                if *executes { Expected::Each(queued.iter().map(|op| self.apply(op, when)).collect()) } else { ok() }
            }
            Op::FlushDb => {
                self.entries.values_mut().for_each(|entry| *entry = None);
                ok()
            }
            Op::Rename(from, to) => {
                self.touch(to);
                let Some(entry) = self.remove(from) else { return Expected::Error };
                self.entries.insert(to.clone(), Some(entry));
                ok()
            }
            Op::Copy(from, to) => {
                self.touch(from);
                self.touch(to);
                let Some(entry) = self.get(from).cloned() else { return int(0) };
                self.entries.insert(to.clone(), Some(entry));
                int(1)
            }
            Op::Derive { how, from, to } => {
                self.touch(from);
                let from = self.get(from).map(|entry| entry.value.clone());
                let old = self.get(to).cloned();
                let (made, reply) = how.apply(from.as_ref(), old.as_ref().map(|entry| &entry.value));
                let keeps = how.adds() || reply == Expected::Error;
                let expiry = old.filter(|_| keeps).and_then(|old| old.expiry);
                self.entries.insert(to.clone(), made.map(|value| Entry { value, expiry }));
                reply
            }
            Op::GetDel(key) | Op::Get(key) | Op::GetExPersist(key) if self.is_no_string(key) => Expected::Error,
            Op::GetDel(key) => bulk(self.remove(key).and_then(|entry| entry.value.text().map(<[u8]>::to_vec))),
            Op::Get(key) => bulk(self.text(key)),
            Op::Change { key, change } => {
                let (mut content, expiry) = match self.remove(key) {
                    Some(Entry { value, expiry }) => (Some(value), expiry),
                    None => (None, None),
                };
                let reply = change.apply(&mut content);
                self.entries.insert(key.clone(), content.map(|value| Entry { value, expiry }));
                reply
            }
            Op::Persist(key) => {
                let had = self.get(key).is_some_and(|entry| entry.expiry.is_some());
                self.set_expiry(key, None);
                int(i64::from(had))
            }
            Op::GetExPersist(key) => {
                self.set_expiry(key, None);
                bulk(self.text(key))
            }
            Op::ExpireIn { key, ms } => int(i64::from(self.set_expiry(key, Some(when.later_by(*ms))))),
            Op::ExpireAt { key, ms } => int(i64::from(self.set_expiry(key, Some(Moment::exact(*ms))))),
        }
    }

    /// Keys with short lives see only commands whose effect does not depend on whether the key
    /// has expired: plain writes and removals.
    fn apply_short_lived(&mut self, op: &Op, when: Moment) {
        match op {
            Op::Set { key, value, ttl: Ttl::InMs(ms), .. } => {
                self.put(key, value.clone(), Some(when.later_by(*ms)));
            }
            Op::Del(keys) => keys.iter().for_each(|key| {
                self.remove(key);
            }),
            Op::GetDel(key) => {
                self.remove(key);
            }
            // times of fields are given as such: what has expired of them is left out when it is compared
            Op::Change { key, change: change @ (Change::HSetEx(..) | Change::HDel(_)) } => {
                let mut content = self.remove(key).map(|entry| entry.value);
                change.apply(&mut content);
                self.entries.insert(key.clone(), content.map(|value| Entry { value, expiry: None }));
            }
            _ => unreachable!("the workload gives short-lived keys only SET PX, DEL and GETDEL, HSETEX PXAT and HDEL"),
        }
    }

    fn text(&self, key: &[u8]) -> Option<Vec<u8>> {
        self.get(key).and_then(|entry| entry.value.text().map(<[u8]>::to_vec))
    }

    /// Whether commands on strings are refused there.
    fn is_no_string(&self, key: &[u8]) -> bool {
        self.get(key).is_some_and(|entry| entry.value.text().is_none())
    }

    fn touch(&mut self, key: &[u8]) {
        if !self.entries.contains_key(key) {
            self.entries.insert(key.to_vec(), None);
        }
    }

    /// Changes the expiry of a key; false when it is absent.
    fn set_expiry(&mut self, key: &[u8], expiry: Option<Moment>) -> bool {
        self.touch(key);
        match self.entries.get_mut(key) {
            Some(Some(entry)) => {
                entry.expiry = expiry;
                true
            }
            _ => false,
        }
    }

    /// Whether `found`, read at `read_at`, is what this model says about the key.
    #[must_use]
    pub fn explains(&self, key: &[u8], found: Option<&Found>, read_at: Moment) -> bool {
        match (self.get(key), found) {
            (None, found) => found.is_none(),
            (Some(entry), None) => {
                entry.expiry.is_some_and(|expiry| expiry.earliest_ms <= read_at.latest_ms)
                    || entry.value.may_have_expired(read_at)
            }
            (Some(entry), Some(found)) => {
                entry.value.explains(&found.value, read_at)
                    && match (entry.expiry, found.expiry_ms) {
                        (None, None) => true,
                        (Some(expiry), Some(ms)) => expiry.contains(ms),
                        _ => false,
                    }
            }
        }
    }
}

/// The integer that a string spells canonically, as INCR reads it.
fn as_integer(text: &[u8]) -> Option<i64> {
    let number: i64 = std::str::from_utf8(text).ok()?.parse().ok()?;
    (number.to_string().as_bytes() == text).then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Moment = Moment { earliest_ms: 1_000_000, latest_ms: 1_000_050 };

    fn set(key: &str, value: &str, ttl: Ttl) -> Op {
        Op::Set { key: key.into(), value: value.into(), ttl, spelled: super::super::op::Spelling::Set }
    }

    #[test]
    fn a_relative_expiry_is_a_window_around_the_time_of_execution() {
        let mut model = Model::default();
        model.apply(&set("a", "1", Ttl::InMs(60_000)), NOW);
        let found = |ms| Found { value: Content::Text(b"1".to_vec()), expiry_ms: Some(ms) };
        assert!(model.explains(b"a", Some(&found(1_060_010)), NOW));
        assert!(!model.explains(b"a", Some(&found(1_070_000)), NOW));
        assert!(!model.explains(b"a", Some(&Found { value: Content::Text(b"1".to_vec()), expiry_ms: None }), NOW));
    }

    #[test]
    fn a_key_may_be_absent_only_once_it_can_have_expired() {
        let mut model = Model::default();
        model.apply(&set("a", "1", Ttl::AtMs(1_000_100)), NOW);
        assert!(!model.explains(b"a", None, NOW));
        assert!(model.explains(b"a", None, Moment::exact(1_000_200)));
    }

    #[test]
    fn a_field_is_there_until_it_can_have_expired_and_not_much_longer() {
        let mut model = Model::default();
        let key = b"brief:0:fields:1".to_vec();
        let set = |ms, name: &str| {
            let change = Change::HSetEx(ms, vec![(name.into(), b"1".to_vec())]);
            Op::Change { key: key.clone(), change }
        };
        model.apply(&set(1_000_100, "a"), NOW);
        model.apply(&set(1_009_000, "b"), NOW);
        let found = |names: &[(&str, i64)]| {
            let field = |ms| super::super::collection::Field { value: b"1".to_vec(), expires_at_ms: ms };
            let fields = names.iter().map(|(name, ms)| (name.as_bytes().to_vec(), field(*ms))).collect();
            Some(Found { value: Content::Hash(fields), expiry_ms: None })
        };
        let explains = |found: Option<Found>, ms| model.explains(&key, found.as_ref(), Moment::exact(ms));
        let (both, one) = (found(&[("a", 1_000_100), ("b", 1_009_000)]), found(&[("b", 1_009_000)]));
        assert!(explains(both.clone(), 1_000_050) && !explains(one.clone(), 1_000_050));
        assert!(explains(one.clone(), 1_000_200) && explains(both.clone(), 1_000_200));
        assert!(!explains(both, 1_002_000), "it has expired long ago");
        assert!(!explains(found(&[("b", 1_009_001)]), 1_002_000) && !explains(None, 1_002_000));
        assert!(explains(None, 1_009_000));
    }

    #[test]
    fn a_renamed_key_takes_its_expiry_along() {
        let mut model = Model::default();
        model.apply(&set("a", "1", Ttl::AtMs(9_000_000)), NOW);
        let (a, b) = (b"a".to_vec(), b"b".to_vec());
        assert_eq!(model.apply(&Op::Rename(b.clone(), a.clone()), NOW), Expected::Error);
        model.apply(&Op::Rename(a.clone(), b.clone()), NOW);
        assert!(model.get(b"a").is_none() && model.knows(b"a"));
        assert_eq!(model.get(b"b").unwrap().expiry, Some(Moment::exact(9_000_000)));
        let multi = Op::Multi { watched: vec![], queued: vec![Op::Copy(b, a.clone()), Op::GetDel(a)], executes: true };
        let one = |value| Expected::Exactly(value);
        let each = vec![one(Value::Integer(1)), one(Value::Bulk(b"1".to_vec()))];
        assert_eq!(model.apply(&multi, NOW), Expected::Each(each));
        assert!(model.get(b"a").is_none());
    }

    #[test]
    fn msetnx_is_all_or_nothing() {
        let mut model = Model::default();
        model.apply(&set("b", "1", Ttl::None), NOW);
        let pairs = vec![(b"a".to_vec(), b"2".to_vec()), (b"b".to_vec(), b"2".to_vec())];
        assert_eq!(model.apply(&Op::MSetNx(pairs), NOW), Expected::Exactly(Value::Integer(0)));
        assert!(model.get(b"a").is_none() && model.knows(b"a"));
    }

    #[test]
    fn incr_keeps_the_expiry_and_refuses_what_is_no_integer() {
        let mut model = Model::default();
        model.apply(&set("a", "41", Ttl::AtMs(9_000_000)), NOW);
        let incr = Op::IncrBy { key: b"a".to_vec(), by: 1 };
        assert_eq!(model.apply(&incr, NOW), Expected::Exactly(Value::Integer(42)));
        assert_eq!(model.get(b"a").unwrap().expiry, Some(Moment::exact(9_000_000)));
        model.apply(&set("a", " 1", Ttl::None), NOW);
        assert_eq!(model.apply(&incr, NOW), Expected::Error);
    }
}
