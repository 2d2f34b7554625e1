//! The model of streams: entries and what is pending, as words in their order, kept as one text, so that a value is bytes whatever its kind.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::collections::Elements;

use super::model::{Answer, Model, NOT_INT, Name, bulk, err, int, nil, ok, strict_int};
use super::model_lists::{List, list_of, list_text};

/// What the text of a stream begins with; no string of these tests does.
const MARK: &[u8] = b"\0a stream:";

/// Ids are the second number alone: the first is always 1.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct Stream {
    /// The number that comes next.
    pub next: u64,
    pub entries: BTreeMap<u64, Vec<u8>>,
    pub groups: BTreeMap<Vec<u8>, Group>,
}

#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct Group {
    /// What it is delivered next.
    pub next: u64,
    pub consumers: BTreeSet<Vec<u8>>,
    pub pending: BTreeMap<u64, Vec<u8>>,
}

/// A stream as a value of the model.
pub fn stream_text(stream: &Stream) -> Arc<[u8]> {
    let number = |number: u64| number.to_string().into_bytes();
    let mut words: List = vec![number(stream.next), number(stream.entries.len() as u64)];
    for (id, value) in &stream.entries {
        words.extend([number(*id), value.clone()]);
    }
    for (name, group) in &stream.groups {
        words.extend([name.clone(), number(group.next), number(group.consumers.len() as u64)]);
        words.extend(group.consumers.iter().cloned());
        words.push(number(group.pending.len() as u64));
        for (id, owner) in &group.pending {
            words.extend([number(*id), owner.clone()]);
        }
    }
    [MARK, &list_text(&words)].concat().into()
}

/// The stream that a value of the model is, if it is one.
pub fn stream_of(text: &[u8]) -> Option<Stream> {
    let mut words = list_of(text.strip_prefix(MARK)?)?.into_iter();
    let number = |word: Option<Vec<u8>>| std::str::from_utf8(&word.unwrap()).unwrap().parse::<u64>().unwrap();
    let mut stream = Stream { next: number(words.next()), ..Stream::default() };
    for _ in 0..number(words.next()) {
        stream.entries.insert(number(words.next()), words.next().unwrap());
    }
    while let Some(name) = words.next() {
        let mut group = Group { next: number(words.next()), ..Group::default() };
        for _ in 0..number(words.next()) {
            group.consumers.insert(words.next().unwrap());
        }
        for _ in 0..number(words.next()) {
            group.pending.insert(number(words.next()), words.next().unwrap());
        }
        stream.groups.insert(name, group);
    }
    Some(stream)
}

/// The stream that these rows are, in their order, as the head of collections/stream/mod.rs has them.
pub fn stream_of_rows(next: u64, rows: &List) -> Stream {
    let mut stream = Stream { next, ..Stream::default() };
    let (mut names, mut consumers, mut owned) = (BTreeMap::new(), BTreeMap::new(), Vec::new());
    let id = |bytes: &[u8]| {
        assert_eq!(bytes[..8], 1u64.to_be_bytes());
        u64::from_be_bytes(bytes[8..16].try_into().unwrap())
    };
    for row in rows {
        match row[0] {
            // a name, then a number below 128, then what it is delivered
            0 => {
                let (name, rest) = row[2..].split_at(usize::from(row[1]));
                let last = &rest[1..17];
                let next = if last == [0; 16] { 0 } else { id(last) + 1 };
                names.insert(rest[0], name.to_vec());
                stream.groups.insert(name.to_vec(), Group { next, ..Group::default() });
            }
            1 => {
                let (name, rest) = row[6..].split_at(usize::from(row[5]));
                consumers.insert(rest[0], name.to_vec());
                stream.groups.get_mut(&names[&row[4]]).unwrap().consumers.insert(name.to_vec());
            }
            2 => {
                let group = stream.groups.get_mut(&names[&row[4]]).unwrap();
                group.pending.insert(id(&row[5..21]), consumers[&row[21]].clone());
            }
            3 => owned.push((names[&row[4]].clone(), id(&row[9..25]), consumers[&row[8]].clone())),
            // one field, `v`, and its value, behind its length
            4 => {
                let value = Elements::of(&row[17..]).nth(1).unwrap().to_vec();
                stream.entries.insert(id(&row[1..17]), value);
            }
            other => panic!("{other} is no kind of row"),
        }
    }
    let all = stream
        .groups
        .iter()
        .flat_map(|(name, group)| group.pending.iter().map(|one| (name.clone(), *one.0, one.1.clone())));
    let mut all: Vec<_> = all.collect();
    all.sort();
    owned.sort();
    assert_eq!(owned, all, "what is pending is kept twice");
    stream
}

/// How many words a command has.
pub fn arity(name: &str) -> Option<(usize, usize)> {
    Some(match name {
        "xlen" => (2, 2),
        "xdel" => (3, usize::MAX),
        "xtrim" | "xrange" => (4, 4),
        "xack" => (4, usize::MAX),
        "xgroup" => (4, usize::MAX),
        "xadd" => (5, 5),
        "xreadgroup" => (9, 9),
        _ => return None,
    })
}

fn number_of(id: &[u8]) -> u64 {
    std::str::from_utf8(id.strip_prefix(b"1-").unwrap()).unwrap().parse().unwrap()
}

fn shown(entries: &[(u64, Vec<u8>)]) -> Answer {
    let mut text = format!("*{}\r\n", entries.len()).into_bytes();
    for (id, value) in entries {
        let parts =
            [b"*2\r\n".to_vec(), bulk(format!("1-{id}").as_bytes())?, b"*2\r\n$1\r\nv\r\n".to_vec(), bulk(value)?];
        text.extend(parts.concat());
    }
    Ok(text)
}

impl Model {
    /// `key` is the one that the command names.
    pub(super) fn streams(&mut self, name: &str, key: Name, args: &[Vec<u8>]) -> Answer {
        let held = self.held(&key);
        let old = held.as_ref().map(|held| stream_of(&held.value));
        if old == Some(None) {
            self.is_wrong();
            return nil();
        }
        let (is_there, mut stream) = (old.is_some(), old.flatten().unwrap_or_default());
        let answer = match name {
            "xlen" => int(stream.entries.len() as i64),
            "xrange" => shown(&stream.entries.clone().into_iter().collect::<Vec<_>>()),
            // XADD key 1-* v value
            "xadd" => {
                let id = stream.next;
                stream.next += 1;
                stream.entries.insert(id, args[3].clone());
                bulk(format!("1-{id}").as_bytes())
            }
            "xdel" => int(args[1..].iter().filter(|id| stream.entries.remove(&number_of(id)).is_some()).count() as i64),
            // XTRIM key MAXLEN n
            "xtrim" => {
                let Some(len) = strict_int(&args[2]) else { return err(NOT_INT) };
                let gone = stream.entries.len().saturating_sub(len as usize);
                (0..gone).for_each(|_| drop(stream.entries.pop_first()));
                int(gone as i64)
            }
            // XGROUP CREATE key group 0 MKSTREAM, or XGROUP DESTROY key group 0
            "xgroup" if args[0] == b"DESTROY" => {
                if !is_there {
                    return err(
                        "ERR The XGROUP subcommand requires the key to exist. Note that for CREATE you may want to use \
                         the MKSTREAM option to create an empty stream automatically.",
                    );
                }
                int(stream.groups.remove(&args[2]).is_some().into())
            }
            "xgroup" => {
                if stream.groups.contains_key(&args[2]) {
                    return err("BUSYGROUP Consumer Group name already exists");
                }
                stream.groups.insert(args[2].clone(), Group::default());
                self.put(key, &stream_text(&stream), held.and_then(|held| held.expires_at_ms));
                return ok();
            }
            // XREADGROUP GROUP group consumer COUNT n STREAMS key >
            "xreadgroup" => {
                let Some(group) = stream.groups.get_mut(&args[1]) else {
                    let [key, group] = [&args[6], &args[1]].map(|word| String::from_utf8_lossy(word).into_owned());
                    return Err(format!(
                        "NOGROUP No such key '{key}' or consumer group '{group}' in XREADGROUP with GROUP option"
                    ));
                };
                group.consumers.insert(args[2].clone());
                let count = strict_int(&args[4]).unwrap() as usize;
                let found: Vec<_> =
                    stream.entries.range(group.next..).take(count).map(|(id, v)| (*id, v.clone())).collect();
                for (id, _) in &found {
                    group.next = id + 1;
                    group.pending.insert(*id, args[2].clone());
                }
                if found.is_empty() {
                    Ok(b"*-1\r\n".to_vec())
                } else {
                    Ok([b"*1\r\n*2\r\n".to_vec(), bulk(&args[6])?, shown(&found)?].concat())
                }
            }
            // XACK key group id ...
            _ => {
                let Some(group) = stream.groups.get_mut(&args[1]) else { return int(0) };
                int(args[2..].iter().filter(|id| group.pending.remove(&number_of(id)).is_some()).count() as i64)
            }
        };
        if is_there || name == "xadd" {
            self.put(key, &stream_text(&stream), held.and_then(|held| held.expires_at_ms));
        }
        answer
    }
}
