//! Who waits for which keys of a partition, in the order of arrival, and which of these keys have got something (B2).
//!
//! ```text
//!   lines    q -> 7, 9, 12       ready    q
//!            r -> 9
//! ```
//!
//! Keys go by the names that clients have for them: who waits in a database stays there when it is swapped.

use std::collections::{HashMap, VecDeque};

use emberkv_log::DbId;

use crate::waiting::{Claim, Waiter, Waiting};

/// A key in a database.
pub(crate) type Name = (DbId, Box<[u8]>);

#[derive(Default, Debug)]
struct Line {
    waiting: VecDeque<Waiting>,
    is_ready: bool,
}

/// Who is served next at a key.
#[derive(PartialEq, Eq, Debug)]
pub(crate) enum Next {
    /// This one, who has waited longest, and is ours.
    Claimed(Waiting),
    /// Another owner is just about to serve him: it is to be tried again.
    Busy,
    Nobody,
}

/// See the module.
#[derive(Default, Debug)]
pub(crate) struct Waiters {
    lines: HashMap<Name, Line>,
    /// Each once. One without a line is nobody's any more.
    ready: VecDeque<Name>,
    /// Whether some of them could not be served yet, and others' commands may wait for that.
    pub is_stuck: bool,
    /// Clients who are claimed, and served by a transaction; whether that has begun.
    pub transfers: Vec<(Waiting, bool)>,
    /// Whether that is because another owner was about to serve who is next.
    pub is_busy: bool,
}

impl Waiters {
    /// Whether nobody waits: the one question that a write asks.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    /// Whether somebody may be served.
    #[inline]
    pub fn has_ready(&self) -> bool {
        !self.ready.is_empty()
    }

    /// How many keys are waited for.
    pub fn keys(&self) -> usize {
        self.lines.len()
    }

    /// Somebody waits at these keys, behind all others.
    pub fn enter(&mut self, waiting: &Waiting, names: impl Iterator<Item = Name>) {
        for name in names {
            let line = &mut self.lines.entry(name).or_default().waiting;
            if line.back() != Some(waiting) && !line.contains(waiting) {
                line.push_back(waiting.clone());
            }
        }
    }

    /// Somebody waits no more.
    pub fn leave(&mut self, waiting: &Waiting, names: impl Iterator<Item = Name>) {
        for name in names {
            let Some(line) = self.lines.get_mut(&name) else { continue };
            if let Some(i) = line.waiting.iter().position(|other| other == waiting) {
                line.waiting.remove(i);
            }
            if line.waiting.is_empty() {
                self.lines.remove(&name);
            }
        }
    }

    /// A key has got something.
    #[cold]
    pub fn note(&mut self, db: DbId, key: &[u8]) {
        let name = (db, key.into());
        if let Some(line) = self.lines.get_mut(&name)
            && !std::mem::replace(&mut line.is_ready, true)
        {
            self.ready.push_back(name);
        }
    }

    /// The same of all keys in these databases.
    pub fn note_all(&mut self, is_meant: impl Fn(DbId) -> bool) {
        for (name, line) in self.lines.iter_mut().filter(|((db, _), _)| is_meant(*db)) {
            if !std::mem::replace(&mut line.is_ready, true) {
                self.ready.push_back(name.clone());
            }
        }
    }

    /// The nth of the keys that have got something, in that order.
    pub fn ready(&mut self, nth: usize) -> Option<Name> {
        while let Some(name) = self.ready.get(nth) {
            if self.lines.get(name).is_some_and(|line| line.is_ready) {
                return Some(name.clone());
            }
            self.ready.remove(nth);
        }
        None
    }

    /// Whether a key waits to be looked at.
    pub fn is_ready(&self, db: DbId, key: &[u8]) -> bool {
        self.ready.iter().any(|(other, name)| *other == db && **name == *key)
    }

    /// Nobody more is to be served by what the nth key has got.
    pub fn is_done(&mut self, nth: usize) {
        if let Some(name) = self.ready.remove(nth)
            && let Some(line) = self.lines.get_mut(&name)
        {
            line.is_ready = false;
        }
    }

    /// Claims who has waited longest of those that want what a key holds. `from`: how many of the line have been looked at.
    pub fn claim_next(&mut self, name: &Name, from: &mut usize, wants: impl Fn(&Waiter) -> bool) -> Next {
        let Some(line) = self.lines.get_mut(name) else { return Next::Nobody };
        while let Some(waiting) = line.waiting.get(*from) {
            if !wants(waiting.waiter()) {
                *from += 1;
                continue;
            }
            match waiting.claim() {
                Claim::Ours => return Next::Claimed(waiting.clone()),
                Claim::Theirs => return Next::Busy,
                // its core will say so, to be forgotten at its other keys too
                Claim::Ended => *from += 1,
            }
        }
        Next::Nobody
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use emberkv_log::disk::sim::Choices;

    use super::*;
    use crate::waiting::tests::waiting;

    fn name(key: u8) -> Name {
        (DbId(0), [key].into())
    }

    /// Who waits, in the order of arrival, and for which keys.
    #[derive(Default)]
    struct Plain(Vec<(u64, Vec<u8>)>);

    /// Elements that come to keys go to those who have waited longest for that key, each client gets one, and nobody who has
    /// left gets any.
    #[test]
    fn who_has_waited_longest_is_served_first_at_each_key() {
        for seed in 0..200 {
            let mut choices = Choices::new(seed);
            let (mut waiters, mut plain) = (Waiters::default(), Plain::default());
            let mut clients: BTreeMap<u64, Waiting> = BTreeMap::new();
            let mut stock: BTreeMap<u8, u64> = BTreeMap::new();
            for token in 1..120 {
                match choices.below(4) {
                    0 | 1 => {
                        let keys: Vec<u8> = (0..1 + choices.below(3)).map(|_| choices.below(5) as u8).collect();
                        if keys.iter().any(|key| stock.get(key).is_some_and(|count| *count > 0)) {
                            continue; // it would have been served at once
                        }
                        let one = waiting(token, &[b"BLPOP", b"k", b"0"]);
                        waiters.enter(&one, keys.iter().map(|key| name(*key)));
                        clients.insert(token, one);
                        plain.0.push((token, keys));
                    }
                    2 if !plain.0.is_empty() => {
                        let (token, keys) = plain.0.remove(choices.below(plain.0.len() as u64) as usize);
                        let one = &clients[&token];
                        assert!(one.end());
                        // the owner may hear of it late, or never before the next push
                        if choices.one_in(2) {
                            waiters.leave(one, keys.iter().map(|key| name(*key)));
                        }
                    }
                    _ => {
                        let (key, count) = (choices.below(5) as u8, 1 + choices.below(3));
                        *stock.entry(key).or_default() += count;
                        waiters.note(DbId(0), &[key]);
                        waiters.note(DbId(0), &[key]);
                        let mut served = Vec::new();
                        while let Some(ready) = waiters.ready(0) {
                            let (key, mut from) = (ready.1[0], 0);
                            while stock[&key] > 0
                                && let Next::Claimed(one) = waiters.claim_next(&ready, &mut from, |_| true)
                            {
                                *stock.entry(key).or_default() -= 1;
                                one.serve();
                                served.push(one.waiter().token);
                                let keys = plain.0.iter().find(|(other, _)| *other == one.waiter().token).unwrap();
                                waiters.leave(&one, keys.1.iter().map(|key| name(*key)));
                            }
                            waiters.is_done(0);
                        }
                        let wanted: Vec<u64> =
                            plain.0.iter().filter(|(_, keys)| keys.contains(&key)).map(|(token, _)| *token).collect();
                        let wanted = &wanted[..wanted.len().min(served.len().max(count as usize))];
                        assert_eq!(served, wanted, "seed {seed}");
                        plain.0.retain(|(token, _)| !served.contains(token));
                    }
                }
                assert!(!waiters.has_ready());
            }
        }
    }

    #[test]
    fn who_wants_something_else_is_passed_over_and_keeps_its_place() {
        let mut waiters = Waiters::default();
        let [a, b, c] = [1, 2, 3].map(|token| waiting(token, &[b"BLPOP", b"k", b"0"]));
        for one in [&a, &b, &c] {
            waiters.enter(one, [name(0), name(0)].into_iter());
        }
        let mut from = 0;
        let next = waiters.claim_next(&name(0), &mut from, |waiter| waiter.token != 1);
        assert_eq!((next, from), (Next::Claimed(b.clone()), 1));
        assert_eq!(waiters.claim_next(&name(0), &mut from, |_| true), Next::Busy);
        b.give_back();
        assert_eq!(waiters.claim_next(&name(0), &mut 0, |_| true), Next::Claimed(a));
        assert_eq!(waiters.claim_next(&name(0), &mut 2, |_| true), Next::Claimed(c.clone()));
        assert_eq!(waiters.claim_next(&name(0), &mut 3, |_| true), Next::Nobody);
        for (one, left) in [(&b, 1), (&c, 1)] {
            waiters.leave(one, [name(0)].into_iter());
            assert_eq!(waiters.keys(), left);
        }
    }
}
