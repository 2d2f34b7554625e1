//! The model of sorted sets: a map of scores, kept as the text of itself, so that a value is bytes whatever its kind.

use std::collections::BTreeMap;
use std::sync::Arc;

use emberkv_resp::format;

use super::model::{Answer, Held, Model, NOT_FLOAT, NOT_INT, Name, SYNTAX, bulk, err, int, nil, strict_int};

pub type Sorted = BTreeMap<Vec<u8>, f64>;

/// What the text of a sorted set begins with; no string of these tests does.
const MARK: &[u8] = b"\0a sorted set:";

/// A sorted set as a value of the model.
pub fn sorted_text(set: &Sorted) -> Arc<[u8]> {
    let mut text = MARK.to_vec();
    for (member, score) in set {
        text.extend_from_slice(&(member.len() as u32).to_le_bytes());
        text.extend_from_slice(member);
        text.extend_from_slice(&(score + 0.0).to_le_bytes());
    }
    text.into()
}

/// The sorted set that a value of the model is, if it is one.
pub fn sorted_of(text: &[u8]) -> Option<Sorted> {
    let mut rest = text.strip_prefix(MARK)?;
    let mut set = Sorted::new();
    while let Some((len, behind)) = rest.split_first_chunk::<4>() {
        let (member, behind) = behind.split_at(u32::from_le_bytes(*len) as usize);
        let (score, behind) = behind.split_first_chunk::<8>().unwrap();
        set.insert(member.to_vec(), f64::from_le_bytes(*score));
        rest = behind;
    }
    Some(set)
}

/// How many words a command has.
pub fn arity(name: &str) -> Option<(usize, usize)> {
    Some(match name {
        "zcard" => (2, 2),
        "zscore" => (3, 3),
        "zrank" | "zrevrank" => (3, 4),
        "zpopmin" | "zpopmax" => (2, usize::MAX),
        "zadd" | "zrange" => (4, usize::MAX),
        "zincrby" | "zcount" | "zremrangebyrank" | "zremrangebyscore" => (4, 4),
        "zrem" | "zmscore" => (3, usize::MAX),
        "zrangestore" => (5, usize::MAX),
        _ => return None,
    })
}

fn double(score: f64) -> Vec<u8> {
    bulk(format::double(score).as_bytes()).unwrap()
}

fn array(parts: Vec<Vec<u8>>) -> Answer {
    Ok([format!("*{}\r\n", parts.len()).into_bytes(), parts.concat()].concat())
}

/// A score, of those that are written here.
fn score_of(text: &[u8]) -> Option<f64> {
    let text = std::str::from_utf8(text).ok()?;
    text.parse::<f64>().ok().filter(|score| !score.is_nan())
}

/// Whether a score is in a range, as far as this end of it goes.
fn is_within(end: &[u8], is_in: impl Fn(f64, bool) -> bool) -> Option<bool> {
    let (end, with) = end.strip_prefix(b"(").map_or((end, true), |end| (end, false));
    Some(is_in(if end.is_empty() { 0.0 } else { score_of(end)? }, with))
}

fn in_scores(min: &[u8], max: &[u8], score: f64) -> Option<bool> {
    let from = is_within(min, |min, with| score > min || with && score == min)?;
    let to = is_within(max, |max, with| score < max || with && score == max)?;
    Some(from && to)
}

fn in_order(set: &Sorted) -> Vec<(Vec<u8>, f64)> {
    let mut all: Vec<_> = set.iter().map(|(member, score)| (member.clone(), *score)).collect();
    all.sort_by(|a, b| a.1.partial_cmp(&b.1).unwrap().then_with(|| a.0.cmp(&b.0)));
    all
}

/// The places between two.
fn between(start: i64, stop: i64, len: usize) -> std::ops::Range<usize> {
    let place = |at: i64| if at < 0 { at.saturating_add(len as i64) } else { at };
    let (start, stop) = (place(start).max(0), place(stop).min(len as i64 - 1));
    if start > stop { 0..0 } else { start as usize..stop as usize + 1 }
}

const NOT_RANGE: &str = "ERR min or max is not a float";

impl Model {
    /// The sorted set of a key; empty for none.
    fn sorted_set(&mut self, key: &Name) -> Sorted {
        let Some(held) = self.held(key) else { return Sorted::new() };
        sorted_of(&held.value).unwrap_or_else(|| {
            self.is_wrong();
            Sorted::new()
        })
    }

    fn put_sorted(&mut self, key: Name, set: &Sorted) {
        let expires_at_ms = self.held(&key).and_then(|held| held.expires_at_ms);
        if set.is_empty() {
            self.state.remove(&key);
        } else {
            self.put(key, &sorted_text(set), expires_at_ms);
        }
    }

    pub(super) fn sorted_sets(&mut self, name: &str, db: u8, args: &[Vec<u8>]) -> Answer {
        let (key, args): (Name, _) = ((db, args[0].as_slice().into()), &args[1..]);
        match name {
            "zadd" => self.zadd(key, args),
            "zincrby" => self.zadd(key, &[&[b"incr".to_vec()], args].concat()),
            "zrem" => {
                let mut set = self.sorted_set(&key);
                let removed = args.iter().filter(|member| set.remove(*member).is_some()).count();
                if removed > 0 {
                    self.put_sorted(key, &set);
                }
                int(removed as i64)
            }
            "zcard" => int(self.sorted_set(&key).len() as i64),
            "zscore" => self.sorted_set(&key).get(&args[0]).map_or_else(nil, |score| Ok(double(*score))),
            "zmscore" => {
                let set = self.sorted_set(&key);
                array(
                    args.iter().map(|member| set.get(member).map_or(nil().unwrap(), |score| double(*score))).collect(),
                )
            }
            "zcount" => {
                if in_scores(&args[0], &args[1], 0.0).is_none() {
                    return err(NOT_RANGE);
                }
                let set = self.sorted_set(&key);
                int(set.values().filter(|score| in_scores(&args[0], &args[1], **score) == Some(true)).count() as i64)
            }
            "zrank" | "zrevrank" => {
                let with_score = args.len() > 1;
                if with_score && !args[1].eq_ignore_ascii_case(b"withscore") {
                    return err(SYNTAX);
                }
                let set = self.sorted_set(&key);
                let all = in_order(&set);
                let Some(place) = all.iter().position(|(member, _)| *member == args[0]) else {
                    return if with_score { Ok(b"*-1\r\n".to_vec()) } else { nil() };
                };
                let score = all[place].1;
                let place = int(if name == "zrank" { place } else { all.len() - 1 - place } as i64);
                if with_score { array(vec![place?, double(score)]) } else { place }
            }
            "zpopmin" | "zpopmax" => {
                if args.len() > 1 {
                    return err(SYNTAX);
                }
                let count = args.first().map_or(Some(1), |count| strict_int(count).filter(|count| *count >= 0));
                let Some(count) = count else { return err("ERR value is out of range, must be positive") };
                let mut set = self.sorted_set(&key);
                let mut all = in_order(&set);
                if name == "zpopmax" {
                    all.reverse();
                }
                all.truncate(usize::try_from(count).unwrap_or(usize::MAX));
                let gone = all.iter().filter(|(member, _)| set.remove(member).is_some()).count();
                if gone > 0 {
                    self.put_sorted(key, &set);
                }
                array(all.into_iter().flat_map(|(member, score)| [bulk(&member).unwrap(), double(score)]).collect())
            }
            "zremrangebyrank" | "zremrangebyscore" => {
                let by_place = name == "zremrangebyrank";
                let places = strict_int(&args[0]).zip(strict_int(&args[1]));
                if by_place && places.is_none() {
                    return err(NOT_INT);
                }
                if !by_place && in_scores(&args[0], &args[1], 0.0).is_none() {
                    return err(NOT_RANGE);
                }
                let mut set = self.sorted_set(&key);
                let all = in_order(&set);
                let gone = match places {
                    Some((start, stop)) if by_place => all[between(start, stop, all.len())].to_vec(),
                    _ => {
                        let is_in = |score| in_scores(&args[0], &args[1], score) == Some(true);
                        all.into_iter().filter(|(_, score)| is_in(*score)).collect()
                    }
                };
                for (member, _) in &gone {
                    set.remove(member);
                }
                if !gone.is_empty() {
                    self.put_sorted(key, &set);
                }
                int(gone.len() as i64)
            }
            "zrange" => {
                let with_scores = args[2..].iter().any(|word| word == b"withscores");
                let found = self.range(&key, args, true)?;
                let parts = |(member, score): (Vec<u8>, f64)| {
                    [Some(bulk(&member).unwrap()), with_scores.then(|| double(score))].into_iter().flatten()
                };
                array(found.into_iter().flat_map(parts).collect())
            }
            "zrangestore" => {
                let from: Name = (db, args[0].as_slice().into());
                self.seen.insert(key.clone());
                let found: Sorted = self.range(&from, &args[1..], false)?.into_iter().collect();
                let count = int(found.len() as i64);
                if self.wrong.is_some() {
                    return count;
                }
                self.state.remove(&key);
                self.put_sorted(key, &found);
                count
            }
            other => panic!("the model does not know {other}"),
        }
    }

    /// By place or by score, in either direction, without a limit.
    fn range(&mut self, key: &Name, args: &[Vec<u8>], may_have_scores: bool) -> Result<Vec<(Vec<u8>, f64)>, String> {
        let (mut by_score, mut backwards) = (false, false);
        for word in &args[2..] {
            match word.as_slice() {
                b"byscore" if !by_score => by_score = true,
                b"rev" if !backwards => backwards = true,
                b"withscores" if may_have_scores => {}
                _ => return err(SYNTAX),
            }
        }
        let (min, max) = if by_score && backwards { (&args[1], &args[0]) } else { (&args[0], &args[1]) };
        let places = strict_int(min).zip(strict_int(max));
        if !by_score && places.is_none() {
            return err(NOT_INT);
        }
        if by_score && in_scores(min, max, 0.0).is_none() {
            return err(NOT_RANGE);
        }
        let mut all = in_order(&self.sorted_set(key));
        if backwards {
            all.reverse();
        }
        if let (Some((start, stop)), false) = (places, by_score) {
            return Ok(all[between(start, stop, all.len())].to_vec());
        }
        all.retain(|(_, score)| in_scores(min, max, *score) == Some(true));
        Ok(all)
    }

    fn zadd(&mut self, key: Name, args: &[Vec<u8>]) -> Answer {
        let is_option = |word: &&Vec<u8>| {
            [&b"nx"[..], b"xx", b"gt", b"lt", b"ch", b"incr"].contains(&word.to_ascii_lowercase().as_slice())
        };
        let options = args.iter().take_while(is_option).count();
        let has = |name: &[u8]| args[..options].iter().any(|word| word.eq_ignore_ascii_case(name));
        let (new, old, greater, less, adds) = (has(b"nx"), has(b"xx"), has(b"gt"), has(b"lt"), has(b"incr"));
        let pairs = &args[options..];
        if pairs.is_empty() || !pairs.len().is_multiple_of(2) {
            return err(SYNTAX);
        }
        if new && old {
            return err("ERR XX and NX options at the same time are not compatible");
        }
        if new && (greater || less) || greater && less {
            return err("ERR GT, LT, and/or NX options at the same time are not compatible");
        }
        if adds && pairs.len() > 2 {
            return err("ERR INCR option supports a single increment-element pair");
        }
        if pairs.iter().step_by(2).any(|score| score_of(score).is_none()) {
            return err(NOT_FLOAT);
        }
        let mut set = self.sorted_set(&key);
        let (mut added, mut changed, mut last) = (0, 0, None);
        for pair in pairs.chunks(2) {
            let given = score_of(&pair[0]).unwrap();
            let is_there = set.get(&pair[1]).copied();
            last = None;
            if new && is_there.is_some() || old && is_there.is_none() {
                continue;
            }
            let score = if adds { given + is_there.unwrap_or(0.0) } else { given };
            if score.is_nan() {
                return err("ERR resulting score is not a number (NaN)");
            }
            if is_there.is_some_and(|old| greater && score <= old || less && score >= old) {
                continue;
            }
            last = Some(score);
            added += i64::from(is_there.is_none());
            changed += i64::from(is_there.is_some_and(|old| old != score));
            set.insert(pair[1].clone(), score);
        }
        if added + changed > 0 {
            self.put_sorted(key, &set);
        }
        match last {
            Some(score) if adds => Ok(double(score)),
            None if adds => nil(),
            _ => int(added + if has(b"ch") { changed } else { 0 }),
        }
    }
}

/// The members whose scores differ if a change was within a sorted set: as many members as before, and the same expiry.
pub fn changed_members(old: &Held, new: &Held) -> Option<Vec<Vec<u8>>> {
    let (before, after) = (sorted_of(&old.value)?, sorted_of(&new.value)?);
    if before.len() != after.len() || old.expires_at_ms != new.expires_at_ms {
        return None;
    }
    let members = before.keys().chain(after.keys());
    Some(members.filter(|member| before.get(*member) != after.get(*member)).cloned().collect())
}

/// Whether the reply to a command tells of a member's score.
pub fn tells_of_member(words: &[Vec<u8>], member: &[u8]) -> bool {
    match words[0].to_ascii_lowercase().as_slice() {
        b"zrange" => words.len() > 3 && words[2..4] == [b"0".to_vec(), b"-1".to_vec()],
        b"zscore" | b"zrank" | b"zrevrank" => words.len() > 2 && words[2] == member,
        b"zmscore" | b"zrem" => words[2..].iter().any(|word| word == member),
        _ => false,
    }
}
