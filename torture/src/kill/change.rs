//! The commands of the workload on values that have elements.

use std::collections::{BTreeMap, BTreeSet};

use super::collection::{Bytes, Content, Field};
use super::derived::geo_score;
use super::model::Expected;
use super::sketch;
use crate::Value;
use crate::rng::Rng;

/// The kinds of values that have elements; a key's name begins with its kind, though RENAME and COPY may bring another one there.
pub const KINDS: [&str; 5] = ["hash", "set", "list", "zset", "stream"];
/// The kinds whose names no others take: of places, which are sorted sets whose scores mean something, and of hyperloglogs, which are strings.
pub const KINDS_APART: [&str; 2] = ["geo", "hll"];
/// Other names for elements than these there are not: so commands meet, and a value is large at times and small at times.
const NAMES: u64 = 300;

/// When fields expire that have a time, in unix ms: that is far away, so no reply depends on the clock.
const FAR_MS: i64 = 9_000_000_000_000;

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
    /// HSETEX PXAT.
    HSetEx(i64, Vec<(Bytes, Bytes)>),
    /// HPEXPIREAT.
    HExpire(i64, Vec<Bytes>),
    /// HPERSIST.
    HPersist(Vec<Bytes>),
    /// HGETDEL.
    HGetDel(Vec<Bytes>),
    /// SADD.
    SAdd(Vec<Bytes>),
    /// SREM.
    SRem(Vec<Bytes>),
    /// SISMEMBER.
    SIsMember(Bytes),
    /// SPOP of all that there are: which go is no matter of chance then.
    SPop,
    /// LPUSH or RPUSH.
    Push(End, Vec<Bytes>),
    /// LPOP or RPOP, of so many.
    Pop(End, usize),
    /// LTRIM.
    LTrim(usize, usize),
    /// LSET.
    LSet(usize, Bytes),
    /// LINDEX.
    LIndex(usize),
    /// LLEN.
    LLen,
    /// ZADD.
    ZAdd(Vec<(i64, Bytes)>),
    /// ZINCRBY.
    ZIncrBy(i64, Bytes),
    /// ZREM.
    ZRem(Vec<Bytes>),
    /// ZPOPMIN, of so many.
    ZPopMin(usize),
    /// ZRANK.
    ZRank(Bytes),
    /// XADD, of the first ms.
    XAdd(Bytes),
    /// XDEL of some of that ms.
    XDel(Vec<u64>),
    /// XTRIM to so many.
    XTrim(usize),
    /// XLEN.
    XLen,
    /// GEOADD, of places in parts of 64 of a degree.
    GeoAdd(Vec<(i32, i32, Bytes)>),
    /// PFADD.
    PfAdd(Vec<Bytes>),
    /// PFCOUNT, which writes down what it has counted.
    PfCount,
}

/// An end of a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// Where LPUSH does its work.
    Left,
    /// The other one.
    Right,
}

fn int(number: usize) -> Expected {
    Expected::Exactly(Value::Integer(number as i64))
}

fn optional(bytes: Option<&Bytes>) -> Expected {
    Expected::Exactly(bytes.map_or(Value::Null, |bytes| Value::Bulk(bytes.clone())))
}

fn numbered((number, mut element): (usize, Bytes)) -> Bytes {
    element.extend_from_slice(number.to_string().as_bytes());
    element
}

fn text(number: i64) -> Bytes {
    number.to_string().into_bytes()
}

impl Change {
    /// Draws one for a key of a kind; `value` makes one of at most so many bytes.
    ///
    /// # Panics
    /// If there is no such kind.
    pub fn draw(rng: &mut Rng, kind: &str, mut value: impl FnMut(&mut Rng, u64) -> Bytes) -> Self {
        let name = |rng: &mut Rng| format!("e{}", rng.below(NAMES)).into_bytes();
        let names = |rng: &mut Rng| (0..rng.between(1, 12)).map(|_| name(rng)).collect::<Vec<_>>();
        let score = |rng: &mut Rng| rng.between(0, 400) as i64 - 200;
        let end = |rng: &mut Rng| if rng.percent(50) { End::Left } else { End::Right };
        let place = |rng: &mut Rng| rng.index(200);
        let far_ms = |rng: &mut Rng| FAR_MS + rng.between(0, 1_000_000) as i64;
        let chance = rng.below(100);
        match (kind, chance) {
            ("hash", 0..45) => {
                let longest = *rng.pick(&[20, 20, 60, 300, 2000]);
                let pairs = (0..rng.between(1, 12)).map(|_| (name(rng), value(rng, longest))).collect();
                if chance < 35 { Self::HSet(pairs) } else { Self::HSetEx(far_ms(rng), pairs) }
            }
            ("hash", 45..60) => Self::HDel(names(rng)),
            // now and then their time is over
            ("hash", 60..66) => Self::HExpire(if rng.percent(15) { 1 } else { far_ms(rng) }, names(rng)),
            ("hash", 66..68) => Self::HPersist(names(rng)),
            ("hash", 68..70) => Self::HGetDel(names(rng)),
            // of numbers only, which nothing else is written to
            ("hash", 70..85) => {
                let field = format!("n{}", rng.below(20)).into_bytes();
                Self::HIncrBy(field, *rng.pick(&[1, -1, 1_000_003]))
            }
            ("hash", 85..95) => Self::HGet(name(rng)),
            ("hash", _) => Self::HLen,
            // of numbers alone a set is kept in another way
            ("set", 0..10) => {
                Self::SAdd((0..rng.between(1, 12)).map(|_| rng.below(NAMES).to_string().into()).collect())
            }
            ("set", 10..55) => Self::SAdd(names(rng)),
            ("set", 55..85) => Self::SRem(names(rng)),
            ("set", 85..98) => Self::SIsMember(name(rng)),
            ("set", _) => Self::SPop,
            ("list", 0..50) => {
                let longest = *rng.pick(&[20, 20, 60, 300, 2000]);
                Self::Push(end(rng), (0..rng.between(1, 12)).map(|_| value(rng, longest)).collect())
            }
            ("list", 50..75) => Self::Pop(end(rng), rng.between(1, 12) as usize),
            ("list", 75..78) => Self::LTrim(rng.index(20), place(rng)),
            ("list", 78..88) => Self::LSet(place(rng), value(rng, 60)),
            ("list", 88..95) => Self::LIndex(place(rng)),
            ("list", _) => Self::LLen,
            ("zset", 0..40) => Self::ZAdd((0..rng.between(1, 12)).map(|_| (score(rng), name(rng))).collect()),
            ("zset", 40..60) => Self::ZIncrBy(score(rng), name(rng)),
            ("zset", 60..75) => Self::ZRem(names(rng)),
            ("zset", 75..88) => Self::ZPopMin(rng.between(1, 12) as usize),
            ("zset", _) => Self::ZRank(name(rng)),
            ("stream", 0..70) => {
                let longest = *rng.pick(&[20, 20, 60, 300, 2000]);
                Self::XAdd(value(rng, longest))
            }
            ("stream", 70..88) => Self::XDel((0..rng.between(1, 12)).map(|_| rng.below(NAMES)).collect()),
            ("stream", 88..92) => Self::XTrim(place(rng)),
            ("stream", _) => Self::XLen,
            ("geo", 0..60) => {
                let degrees = |rng: &mut Rng, most: u64| rng.below(2 * most * 64) as i32 - most as i32 * 64;
                let place = |rng: &mut Rng| (degrees(rng, 180), degrees(rng, 85), name(rng));
                Self::GeoAdd((0..rng.between(1, 12)).map(|_| place(rng)).collect())
            }
            ("geo", 60..80) => Self::ZRem(names(rng)),
            ("geo", 80..90) => Self::ZPopMin(rng.between(1, 12) as usize),
            ("geo", _) => Self::ZRank(name(rng)),
            // of ever new elements: it becomes dense
            ("hll", 0..80) => {
                Self::PfAdd((0..rng.between(1, 30)).map(|_| value(rng, 20)).enumerate().map(numbered).collect())
            }
            ("hll", 80..90) => Self::PfAdd(names(rng)),
            ("hll", _) => Self::PfCount,
            _ => unreachable!("there is no kind {kind}"),
        }
    }

    /// The words of the command.
    #[must_use]
    pub fn args(&self, key: &[u8]) -> Vec<Bytes> {
        let with = |name: &str, words: &[Bytes]| {
            let mut all = vec![name.as_bytes().to_vec(), key.to_vec()];
            all.extend_from_slice(words);
            all
        };
        let number = |number: &usize| number.to_string().into_bytes();
        let pairs = |pairs: &[(i64, Bytes)]| -> Vec<Bytes> {
            pairs.iter().flat_map(|(score, member)| [text(*score), member.clone()]).collect()
        };
        let in_turn = |pairs: &[(Bytes, Bytes)]| -> Vec<Bytes> {
            pairs.iter().flat_map(|(field, value)| [field.clone(), value.clone()]).collect()
        };
        let fields = |count: usize, words: &[Bytes]| [&[b"FIELDS".to_vec(), number(&count)], words].concat();
        match self {
            Self::HSet(pairs) => with("HSET", &in_turn(pairs)),
            Self::HSetEx(ms, pairs) => {
                let words = fields(pairs.len(), &in_turn(pairs));
                with("HSETEX", &[vec![b"PXAT".to_vec(), text(*ms)], words].concat())
            }
            Self::HExpire(ms, names) => with("HPEXPIREAT", &[vec![text(*ms)], fields(names.len(), names)].concat()),
            Self::HPersist(names) => with("HPERSIST", &fields(names.len(), names)),
            Self::HGetDel(names) => with("HGETDEL", &fields(names.len(), names)),
            Self::HDel(fields) => with("HDEL", fields),
            Self::HIncrBy(field, by) => with("HINCRBY", &[field.clone(), text(*by)]),
            Self::HGet(field) => with("HGET", std::slice::from_ref(field)),
            Self::HLen => with("HLEN", &[]),
            Self::SAdd(members) => with("SADD", members),
            Self::SRem(members) => with("SREM", members),
            Self::SIsMember(member) => with("SISMEMBER", std::slice::from_ref(member)),
            Self::SPop => with("SPOP", &[b"1000000".to_vec()]),
            Self::Push(End::Left, elements) => with("LPUSH", elements),
            Self::Push(End::Right, elements) => with("RPUSH", elements),
            Self::Pop(End::Left, count) => with("LPOP", &[number(count)]),
            Self::Pop(End::Right, count) => with("RPOP", &[number(count)]),
            Self::LTrim(first, last) => with("LTRIM", &[number(first), number(last)]),
            Self::LSet(at, element) => with("LSET", &[number(at), element.clone()]),
            Self::LIndex(at) => with("LINDEX", &[number(at)]),
            Self::LLen => with("LLEN", &[]),
            Self::ZAdd(members) => with("ZADD", &pairs(members)),
            Self::ZIncrBy(by, member) => with("ZINCRBY", &[text(*by), member.clone()]),
            Self::ZRem(members) => with("ZREM", members),
            Self::ZPopMin(count) => with("ZPOPMIN", &[number(count)]),
            Self::ZRank(member) => with("ZRANK", std::slice::from_ref(member)),
            Self::XAdd(value) => with("XADD", &[b"1-*".to_vec(), b"value".to_vec(), value.clone()]),
            Self::XDel(ids) => with("XDEL", &ids.iter().map(|seq| format!("1-{seq}").into_bytes()).collect::<Vec<_>>()),
            Self::XTrim(len) => with("XTRIM", &[b"MAXLEN".to_vec(), number(len)]),
            Self::XLen => with("XLEN", &[]),
            Self::GeoAdd(places) => {
                let degrees = |parts: &i32| (f64::from(*parts) / 64.0).to_string().into_bytes();
                let words = places.iter().flat_map(|(lon, lat, name)| [degrees(lon), degrees(lat), name.clone()]);
                with("GEOADD", &words.collect::<Vec<_>>())
            }
            Self::PfAdd(elements) => with("PFADD", elements),
            Self::PfCount => with("PFCOUNT", &[]),
        }
    }

    /// Does the same to what a key holds; the reply that is due. What has no elements any more is gone.
    pub fn apply(&self, content: &mut Option<Content>) -> Expected {
        let was_there = content.is_some();
        let reply = self.apply_to(content.get_or_insert_with(|| self.empty()), was_there);
        let makes_nothing = !was_there && matches!(self, Self::PfCount);
        if makes_nothing || content.as_ref().is_some_and(Content::is_gone) {
            *content = None;
        }
        reply
    }

    /// What such commands make where nothing is.
    fn empty(&self) -> Content {
        match self {
            Self::HSet(_) | Self::HDel(_) | Self::HIncrBy(..) | Self::HGet(_) | Self::HLen => {
                Content::Hash(BTreeMap::new())
            }
            Self::HSetEx(..) | Self::HExpire(..) | Self::HPersist(_) | Self::HGetDel(_) => {
                Content::Hash(BTreeMap::new())
            }
            Self::SAdd(_) | Self::SRem(_) | Self::SIsMember(_) | Self::SPop => Content::Set(BTreeSet::new()),
            Self::Push(..) | Self::Pop(..) | Self::LTrim(..) | Self::LSet(..) | Self::LIndex(_) | Self::LLen => {
                Content::List(Vec::new())
            }
            Self::ZAdd(_) | Self::ZIncrBy(..) | Self::ZRem(_) | Self::ZPopMin(_) | Self::ZRank(_) | Self::GeoAdd(_) => {
                Content::Sorted(Vec::new())
            }
            Self::PfAdd(_) | Self::PfCount => Content::Sketch(sketch::Registers::new()),
            Self::XAdd(_) | Self::XDel(_) | Self::XTrim(_) | Self::XLen => Content::Stream(0, BTreeMap::new()),
        }
    }

    fn apply_to(&self, content: &mut Content, was_there: bool) -> Expected {
        match content {
            Content::Hash(fields) => self.apply_to_hash(fields),
            Content::Set(members) => self.apply_to_set(members),
            Content::List(elements) => self.apply_to_list(elements, was_there),
            Content::Sorted(members) => self.apply_to_sorted(members),
            Content::Stream(next, entries) => self.apply_to_stream(next, entries),
            Content::Sketch(registers) => match self {
                Self::PfAdd(elements) => {
                    let rises = elements.iter().filter(|element| sketch::add(registers, element)).count();
                    int(usize::from(rises > 0 || !was_there))
                }
                Self::PfCount => Expected::Anything,
                _ => Expected::Error,
            },
            Content::Text(_) => Expected::Error,
        }
    }

    fn apply_to_stream(&self, next: &mut u64, entries: &mut BTreeMap<u64, Bytes>) -> Expected {
        match self {
            Self::XAdd(value) => {
                let seq = *next;
                *next += 1;
                entries.insert(seq, value.clone());
                Expected::Exactly(Value::Bulk(format!("1-{seq}").into_bytes()))
            }
            Self::XDel(ids) => int(ids.iter().filter(|seq| entries.remove(seq).is_some()).count()),
            Self::XTrim(len) => {
                let gone = entries.len().saturating_sub(*len);
                (0..gone).for_each(|_| drop(entries.pop_first()));
                int(gone)
            }
            Self::XLen => int(entries.len()),
            _ => Expected::Error,
        }
    }

    fn apply_to_hash(&self, fields: &mut BTreeMap<Bytes, Field>) -> Expected {
        let array = |items: Vec<Value>| Expected::Exactly(Value::Array(items));
        match self {
            Self::HSet(pairs) => {
                let field = |value: &Bytes| Field::lasting(value.clone());
                let is_new = |(name, value): &&(Bytes, Bytes)| fields.insert(name.clone(), field(value)).is_none();
                int(pairs.iter().filter(is_new).count())
            }
            Self::HSetEx(ms, pairs) => {
                for (name, value) in pairs {
                    fields.insert(name.clone(), Field { value: value.clone(), expires_at_ms: *ms });
                }
                int(1)
            }
            Self::HExpire(ms, names) => {
                let mut expire = |name: &Bytes| match fields.get_mut(name) {
                    None => -2,
                    Some(_) if *ms < FAR_MS => {
                        fields.remove(name);
                        2
                    }
                    Some(field) => {
                        field.expires_at_ms = *ms;
                        1
                    }
                };
                array(names.iter().map(|name| Value::Integer(expire(name))).collect())
            }
            Self::HPersist(names) => {
                let mut persist = |name: &Bytes| match fields.get_mut(name) {
                    None => -2,
                    Some(field) => {
                        if std::mem::take(&mut field.expires_at_ms) > 0 {
                            1
                        } else {
                            -1
                        }
                    }
                };
                array(names.iter().map(|name| Value::Integer(persist(name))).collect())
            }
            Self::HGetDel(names) => {
                let mut take = |name| fields.remove(name).map_or(Value::Null, |field| Value::Bulk(field.value));
                array(names.iter().map(&mut take).collect())
            }
            Self::HDel(names) => int(names.iter().filter(|name| fields.remove(*name).is_some()).count()),
            Self::HIncrBy(name, by) => {
                let field = fields.entry(name.clone()).or_insert_with(|| Field::lasting(text(0)));
                let old: i64 = std::str::from_utf8(&field.value).ok().and_then(|text| text.parse().ok()).unwrap_or(0);
                field.value = text(old + by);
                Expected::Exactly(Value::Integer(old + by))
            }
            Self::HGet(name) => optional(fields.get(name).map(|field| &field.value)),
            Self::HLen => int(fields.len()),
            _ => Expected::Error,
        }
    }

    fn apply_to_set(&self, members: &mut BTreeSet<Bytes>) -> Expected {
        match self {
            Self::SAdd(names) => int(names.iter().filter(|name| members.insert((*name).clone())).count()),
            Self::SRem(names) => int(names.iter().filter(|name| members.remove(*name)).count()),
            Self::SIsMember(name) => int(usize::from(members.contains(name))),
            Self::SPop => Expected::Members(std::mem::take(members)),
            _ => Expected::Error,
        }
    }

    fn apply_to_list(&self, list: &mut Vec<Bytes>, was_there: bool) -> Expected {
        let ok = || Expected::Exactly(Value::Simple(b"OK".to_vec()));
        match self {
            Self::Push(End::Left, elements) => {
                list.splice(..0, elements.iter().rev().cloned());
                int(list.len())
            }
            Self::Push(End::Right, elements) => {
                list.extend_from_slice(elements);
                int(list.len())
            }
            Self::Pop(..) if !was_there => Expected::Exactly(Value::Null),
            Self::Pop(end, count) => {
                let count = (*count).min(list.len());
                let popped: Vec<_> = match end {
                    End::Left => list.drain(..count).collect(),
                    End::Right => list.drain(list.len() - count..).rev().collect(),
                };
                Expected::Exactly(Value::Array(popped.into_iter().map(Value::Bulk).collect()))
            }
            Self::LTrim(first, last) => {
                list.truncate(last + 1);
                list.drain(..(*first).min(list.len()));
                ok()
            }
            Self::LSet(at, element) => match list.get_mut(*at) {
                Some(old) => {
                    old.clone_from(element);
                    ok()
                }
                None => Expected::Error,
            },
            Self::LIndex(at) => optional(list.get(*at)),
            Self::LLen => int(list.len()),
            _ => Expected::Error,
        }
    }

    fn apply_to_sorted(&self, members: &mut Vec<(i64, Bytes)>) -> Expected {
        let put = |members: &mut Vec<(i64, Bytes)>, score: i64, name: &Bytes| {
            let old = members.iter().position(|member| member.1 == *name).map(|at| members.remove(at).0);
            let at = members.partition_point(|member| (member.0, &member.1) < (score, name));
            members.insert(at, (score, name.clone()));
            old
        };
        let rank = |members: &[(i64, Bytes)], name: &Bytes| members.iter().position(|member| member.1 == *name);
        match self {
            Self::ZAdd(pairs) => int(pairs.iter().filter(|(score, name)| put(members, *score, name).is_none()).count()),
            Self::GeoAdd(places) => {
                let score = |(lon, lat, name): &(i32, i32, Bytes)| put(members, geo_score(*lon, *lat), name).is_none();
                int(places.iter().map(score).filter(|is_new| *is_new).count())
            }
            Self::ZIncrBy(by, name) => {
                let new = rank(members, name).map_or(0, |at| members[at].0) + by;
                put(members, new, name);
                Expected::Exactly(Value::Bulk(text(new)))
            }
            Self::ZRem(names) => {
                let before = members.len();
                members.retain(|member| !names.contains(&member.1));
                int(before - members.len())
            }
            Self::ZPopMin(count) => {
                let popped = members.drain(..(*count).min(members.len()));
                let words = popped.flat_map(|(score, name)| [Value::Bulk(name), Value::Bulk(text(score))]);
                Expected::Exactly(Value::Array(words.collect()))
            }
            Self::ZRank(name) => match rank(members, name) {
                Some(rank) => int(rank),
                None => Expected::Exactly(Value::Null),
            },
            _ => Expected::Error,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn word(text: &str) -> Bytes {
        text.as_bytes().to_vec()
    }

    #[test]
    fn a_hash_without_fields_is_gone() {
        let mut content = None;
        let set = Change::HSet(vec![(word("a"), word("1")), (word("a"), word("2"))]);
        assert_eq!(set.apply(&mut content), int(1));
        assert_eq!(Change::HGet(word("a")).apply(&mut content), optional(Some(&word("2"))));
        assert_eq!(Change::HDel(vec![word("b"), word("a")]).apply(&mut content), int(1));
        assert_eq!(content, None);
        assert_eq!(Change::HLen.apply(&mut content), int(0));
        assert_eq!(content, None);
    }

    #[test]
    fn another_type_stays_as_it_is() {
        for value in [Content::Text(word("")), Content::Set([word("a")].into())] {
            let mut content = Some(value.clone());
            assert_eq!(Change::HLen.apply(&mut content), Expected::Error);
            assert_eq!(content, Some(value));
        }
    }

    #[test]
    fn what_is_popped_is_all_in_any_order() {
        let mut content = None;
        let [a, b] = ["a", "b"].map(word);
        assert_eq!(Change::SAdd(vec![a.clone(), b.clone(), a.clone()]).apply(&mut content), int(2));
        let popped = Change::SPop.apply(&mut content);
        let reply = |members: [&Bytes; 2]| Value::Array(members.map(|member| Value::Bulk(member.clone())).to_vec());
        assert!(popped.allows(&reply([&b, &a])) && !popped.allows(&reply([&b, &b])));
        assert_eq!(content, None);
    }

    #[test]
    fn a_list_has_two_ends() {
        let mut content = None;
        let push = |end, words: &[&str]| Change::Push(end, words.iter().map(|text| word(text)).collect());
        push(End::Left, &["b", "a"]).apply(&mut content);
        assert_eq!(push(End::Right, &["c", "d"]).apply(&mut content), int(4));
        let both = Value::Array(vec![Value::Bulk(word("d")), Value::Bulk(word("c"))]);
        assert_eq!(Change::Pop(End::Right, 2).apply(&mut content), Expected::Exactly(both));
        Change::LTrim(1, 5).apply(&mut content);
        assert_eq!(content, Some(Content::List(vec![word("b")])));
        Change::LTrim(1, 5).apply(&mut content);
        assert_eq!(Change::Pop(End::Left, 1).apply(&mut content), Expected::Exactly(Value::Null));
    }

    #[test]
    fn a_sorted_set_is_in_order() {
        let mut content = None;
        let add = Change::ZAdd(vec![(2, word("b")), (2, word("a")), (-1, word("c")), (3, word("b"))]);
        assert_eq!(add.apply(&mut content), int(3));
        assert_eq!(content, Some(Content::Sorted(vec![(-1, word("c")), (2, word("a")), (3, word("b"))])));
        Change::ZIncrBy(9, word("c")).apply(&mut content);
        assert_eq!(Change::ZRank(word("c")).apply(&mut content), int(2));
    }
}
