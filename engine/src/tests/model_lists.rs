//! The model of lists: a vector, kept as the text of itself, so that a value is bytes whatever its kind.

use std::sync::Arc;

use super::model::{Answer, Model, NOT_INT, Name, bulk, err, int, nil, ok, optional, strict_int};

pub type List = Vec<Vec<u8>>;

/// What the text of a list begins with; no string of these tests does.
const MARK: &[u8] = b"\0a list:";

/// A list as a value of the model.
pub fn list_text(list: &List) -> Arc<[u8]> {
    let mut text = MARK.to_vec();
    for element in list {
        text.extend_from_slice(&(element.len() as u32).to_le_bytes());
        text.extend_from_slice(element);
    }
    text.into()
}

/// The list that a value of the model is, if it is one.
pub fn list_of(text: &[u8]) -> Option<List> {
    let mut rest = text.strip_prefix(MARK)?;
    let mut list = List::new();
    while let Some((len, behind)) = rest.split_first_chunk::<4>() {
        let (element, behind) = behind.split_at(u32::from_le_bytes(*len) as usize);
        list.push(element.to_vec());
        rest = behind;
    }
    Some(list)
}

/// How many words a command has.
pub fn arity(name: &str) -> Option<(usize, usize)> {
    Some(match name {
        "llen" => (2, 2),
        "lpop" | "rpop" => (2, 3),
        "lindex" | "rpoplpush" => (3, 3),
        "lpush" | "rpush" | "lpushx" | "rpushx" | "lpos" => (3, usize::MAX),
        "lrange" | "ltrim" | "lrem" | "lset" => (4, 4),
        "linsert" | "lmove" => (5, 5),
        "lmpop" => (4, usize::MAX),
        _ => return None,
    })
}

fn array(elements: &[Vec<u8>]) -> Answer {
    let parts: Result<Vec<_>, _> = elements.iter().map(|element| bulk(element)).collect();
    Ok([format!("*{}\r\n", elements.len()).into_bytes(), parts?.concat()].concat())
}

/// The elements between two indices.
fn between(start: i64, stop: i64, len: usize) -> std::ops::Range<usize> {
    let place = |at: i64| if at < 0 { at.saturating_add(len as i64) } else { at };
    let (start, stop) = (place(start).max(0), place(stop).min(len as i64 - 1));
    if start > stop { 0..0 } else { start as usize..stop as usize + 1 }
}

fn index_of(index: i64, len: usize) -> Option<usize> {
    let place = if index < 0 { index.checked_add(len as i64)? } else { index };
    usize::try_from(place).ok().filter(|place| *place < len)
}

fn is_left(word: &[u8]) -> Option<bool> {
    [("left", true), ("right", false)]
        .into_iter()
        .find(|(name, _)| word.eq_ignore_ascii_case(name.as_bytes()))
        .map(|(_, is)| is)
}

/// Takes up to so many from an end, in the order in which they are popped.
fn pop(list: &mut List, left: bool, count: usize) -> List {
    let count = count.min(list.len());
    if left {
        return list.drain(..count).collect();
    }
    let mut popped = list.split_off(list.len() - count);
    popped.reverse();
    popped
}

fn push(list: &mut List, left: bool, element: Vec<u8>) {
    let at = if left { 0 } else { list.len() };
    list.insert(at, element);
}

const SYNTAX: &str = "ERR syntax error";

impl Model {
    /// The list of a key; `None` for no key.
    fn list(&mut self, key: &Name) -> Option<List> {
        let held = self.held(key)?;
        let list = list_of(&held.value);
        if list.is_none() {
            self.is_wrong();
        }
        list
    }

    fn put_list(&mut self, key: Name, list: &List) {
        let expires_at_ms = self.held(&key).and_then(|held| held.expires_at_ms);
        if list.is_empty() {
            self.state.remove(&key);
        } else {
            self.put(key, &list_text(list), expires_at_ms);
        }
    }

    pub(super) fn lists(&mut self, name: &str, key: Name, args: &[Vec<u8>]) -> Answer {
        match name {
            "lpush" | "rpush" | "lpushx" | "rpushx" => {
                let list = self.list(&key);
                if list.is_none() && name.ends_with('x') {
                    return int(0);
                }
                let mut list = list.unwrap_or_default();
                args.iter().for_each(|element| push(&mut list, name.starts_with('l'), element.clone()));
                self.put_list(key, &list);
                int(list.len() as i64)
            }
            "lpop" | "rpop" => {
                let count =
                    match args.first().map(|text| strict_int(text).and_then(|count| usize::try_from(count).ok())) {
                        Some(None) => return err("ERR value is out of range, must be positive"),
                        Some(count) => count,
                        None => None,
                    };
                let Some(mut list) = self.list(&key) else {
                    return if count.is_some() { Ok(b"*-1\r\n".to_vec()) } else { nil() };
                };
                let popped = pop(&mut list, name == "lpop", count.unwrap_or(1));
                if !popped.is_empty() {
                    self.put_list(key, &list);
                }
                if count.is_some() { array(&popped) } else { optional(popped.first().map(Vec::as_slice)) }
            }
            "llen" => int(self.list(&key).map_or(0, |list| list.len()) as i64),
            "lrange" | "ltrim" => {
                let (Some(start), Some(stop)) = (strict_int(&args[0]), strict_int(&args[1])) else {
                    return err(NOT_INT);
                };
                let list = self.list(&key);
                let some = list.as_ref().map_or(0..0, |list| between(start, stop, list.len()));
                let some = list.map(|list| list[some].to_vec());
                if name == "lrange" {
                    return array(&some.unwrap_or_default());
                }
                if let Some(some) = some {
                    self.put_list(key, &some);
                }
                ok()
            }
            "lindex" => {
                let Some(list) = self.list(&key) else { return nil() };
                let Some(index) = strict_int(&args[0]) else { return err(NOT_INT) };
                optional(index_of(index, list.len()).map(|place| list[place].as_slice()))
            }
            "lset" => {
                let list = self.list(&key);
                let Some(mut list) = list else { return err("ERR no such key") };
                let Some(index) = strict_int(&args[0]) else { return err(NOT_INT) };
                let Some(place) = index_of(index, list.len()) else { return err("ERR index out of range") };
                list[place].clone_from(&args[1]);
                self.put_list(key, &list);
                ok()
            }
            "linsert" => {
                let before = match args[0].to_ascii_lowercase().as_slice() {
                    b"before" => true,
                    b"after" => false,
                    _ => return err(SYNTAX),
                };
                let Some(mut list) = self.list(&key) else { return int(0) };
                let Some(place) = list.iter().position(|element| *element == args[1]) else { return int(-1) };
                list.insert(place + usize::from(!before), args[2].clone());
                self.put_list(key, &list);
                int(list.len() as i64)
            }
            "lrem" => {
                let Some(count) = strict_int(&args[0]) else { return err(NOT_INT) };
                let Some(list) = self.list(&key) else { return int(0) };
                let mut left = if count == 0 { usize::MAX } else { count.unsigned_abs() as usize };
                let before = list.len();
                let mut stays = |element: &Vec<u8>| {
                    let goes = *element == args[1] && left > 0;
                    left -= usize::from(goes);
                    !goes
                };
                let mut list: List = if count < 0 {
                    let mut kept: List = list.into_iter().rev().filter(&mut stays).collect();
                    kept.reverse();
                    kept
                } else {
                    list.into_iter().filter(&mut stays).collect()
                };
                let removed = before - list.len();
                if removed > 0 {
                    self.put_list(key, &std::mem::take(&mut list));
                }
                int(removed as i64)
            }
            "lpos" => {
                let rank = match args.get(1..) {
                    Some([]) | None => 1,
                    Some([word, rank]) if word.eq_ignore_ascii_case(b"rank") => strict_int(rank).unwrap(),
                    other => panic!("the model does not know {other:?}"),
                };
                let list = self.list(&key).unwrap_or_default();
                let mut places: Vec<_> = (0..list.len()).filter(|place| list[*place] == args[0]).collect();
                if rank < 0 {
                    places.reverse();
                }
                places.get(rank.unsigned_abs() as usize - 1).map_or_else(nil, |place| int(*place as i64))
            }
            "lmove" | "rpoplpush" => {
                let to: Name = (key.0, args[0].as_slice().into());
                let ends =
                    if name == "rpoplpush" { Some((false, true)) } else { is_left(&args[1]).zip(is_left(&args[2])) };
                let Some((from_left, to_left)) = ends else { return err(SYNTAX) };
                let Some(mut list) = self.list(&key) else { return nil() };
                if to == key {
                    let element = pop(&mut list, from_left, 1).remove(0);
                    push(&mut list, to_left, element.clone());
                    self.put_list(key, &list);
                    return bulk(&element);
                }
                let mut other = self.list(&to).unwrap_or_default();
                let element = pop(&mut list, from_left, 1).remove(0);
                push(&mut other, to_left, element.clone());
                self.put_list(key, &list);
                self.put_list(to, &other);
                bulk(&element)
            }
            other => panic!("the model does not know {other}"),
        }
    }

    /// LMPOP, of whose arguments only those that are right are known.
    pub(super) fn lmpop(&mut self, db: u8, args: &[Vec<u8>]) -> Answer {
        let keys = strict_int(&args[0]).unwrap() as usize;
        let left = is_left(&args[1 + keys]).unwrap();
        let count = args.get(3 + keys).map_or(1, |count| strict_int(count).unwrap() as usize);
        for name in &args[1..=keys] {
            let key: Name = (db, name.as_slice().into());
            let Some(mut list) = self.list(&key) else {
                if self.wrong.is_some() {
                    return nil();
                }
                continue;
            };
            let popped = pop(&mut list, left, count);
            self.put_list(key, &list);
            return Ok([b"*2\r\n".to_vec(), bulk(name)?, array(&popped)?].concat());
        }
        Ok(b"*-1\r\n".to_vec())
    }
}
