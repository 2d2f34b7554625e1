//! Who may touch which keys of a partition while transactions over several are under way (X1).
//!
//! ```text
//!  places, in the order of their arrival      a place is granted when it stands first at all that it wants:
//!   5: ticket 71  wants a, b   granted         no place before it wants any of the same
//!   6: ticket 72  wants b, c   behind 5
//!   7: visitors   want  b      behind 6       "visitors" are ordinary commands that were turned away: when it is
//!   8: ticket 75  wants all    behind 5..7     their turn, b is free until the end of the turn
//! ```
//!
//! Tickets arrive in their order at every partition, so a place waits only for smaller tickets, here and everywhere: the
//! smallest of all never waits, and there is no deadlock. Visitors hold nothing while they wait, and nothing that lasts
//! once they don't.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::hash::{BuildHasherDefault, Hasher};

use emberkv_log::TxId;

/// The hash of a database and a key. Two keys of the same one wait for each other without need, and nothing else.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(crate) struct KeyHash(pub u64);

/// What somebody wants to have to himself.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Wants {
    /// These keys.
    Keys(Vec<KeyHash>),
    /// The whole partition.
    All,
}

impl Wants {
    /// These keys, each once.
    pub fn keys(keys: impl Iterator<Item = KeyHash>) -> Self {
        let mut keys: Vec<_> = keys.collect();
        keys.sort_unstable();
        keys.dedup();
        Self::Keys(keys)
    }
}

/// A place in the order of arrival.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(crate) struct Place(u64);

#[derive(Debug)]
struct Entry {
    /// `None`: visitors.
    ticket: Option<TxId>,
    wants: Wants,
    /// How many queues it does not stand first in; the latest place before it that wants all counts as one.
    behind: usize,
}

impl Entry {
    fn is_held(&self) -> bool {
        self.behind == 0 && self.ticket.is_some()
    }
}

/// Places that want a key: there is at least one.
#[derive(Debug)]
struct Queue {
    first: Place,
    others: VecDeque<Place>,
}

impl Queue {
    fn last(&self) -> Place {
        *self.others.back().unwrap_or(&self.first)
    }
}

/// The keys are hashes already.
#[derive(Default, Debug)]
struct AsItIs(u64);

impl Hasher for AsItIs {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, _: &[u8]) {
        unreachable!("only u64 are hashed")
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Locks {
    places: BTreeMap<Place, Entry>,
    keys: HashMap<KeyHash, Queue, BuildHasherDefault<AsItIs>>,
    /// The places that want all, in order.
    alls: VecDeque<Place>,
    next: Place,
    newest: TxId,
    granted: Vec<TxId>,
    /// Visitors whose turn it is.
    visits: Vec<Place>,
    unlocks: u64,
}

impl Locks {
    pub fn new() -> Self {
        Self {
            places: BTreeMap::new(),
            keys: HashMap::default(),
            alls: VecDeque::new(),
            next: Place(0),
            newest: TxId(0),
            granted: Vec::new(),
            visits: Vec::new(),
            unlocks: 0,
        }
    }

    /// Whether nobody has or wants anything: the one question that ordinary commands ask.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// A counter that moves whenever somebody who was turned away should try again.
    pub fn unlocks(&self) -> u64 {
        self.unlocks
    }

    /// Whoever was turned away for another reason should try again.
    pub fn let_on(&mut self) {
        self.unlocks += 1;
    }

    /// A ticket takes its place. [`Locks::take_granted`] says when it has what it wants.
    ///
    /// # Panics
    /// If a greater ticket has come before: then nothing keeps two partitions from a deadlock.
    pub fn enter(&mut self, ticket: TxId, wants: Wants) -> Place {
        #[cfg(any(test, feature = "sim"))]
        let in_order = ticket > self.newest || emberkv_log::plant::is(emberkv_log::plant::Plant::X1);
        #[cfg(not(any(test, feature = "sim")))]
        let in_order = ticket > self.newest;
        assert!(in_order, "{ticket:?} comes after {:?}", self.newest);
        self.newest = ticket;
        self.push(Some(ticket), wants)
    }

    fn push(&mut self, ticket: Option<TxId>, wants: Wants) -> Place {
        let place = self.next;
        self.next.0 += 1;
        let behind = match &wants {
            Wants::All => usize::from(!self.places.is_empty()),
            Wants::Keys(keys) => {
                let mut behind = usize::from(!self.alls.is_empty());
                for key in keys {
                    match self.keys.entry(*key) {
                        std::collections::hash_map::Entry::Occupied(mut queue) => {
                            queue.get_mut().others.push_back(place);
                            behind += 1;
                        }
                        std::collections::hash_map::Entry::Vacant(queue) => {
                            queue.insert(Queue { first: place, others: VecDeque::new() });
                        }
                    }
                }
                behind
            }
        };
        if wants == Wants::All {
            self.alls.push_back(place);
        }
        self.places.insert(place, Entry { ticket, wants, behind });
        if behind == 0 {
            self.grant(place, ticket);
        }
        place
    }

    fn grant(&mut self, place: Place, ticket: Option<TxId>) {
        match ticket {
            Some(ticket) => self.granted.push(ticket),
            None => {
                self.visits.push(place);
                self.unlocks += 1;
            }
        }
    }

    /// The tickets that have got what they want since the last call, in that order.
    pub fn take_granted(&mut self) -> Vec<TxId> {
        std::mem::take(&mut self.granted)
    }

    /// Gives a place up, whether it had what it wanted or not.
    ///
    /// # Panics
    /// If it was given up before.
    pub fn leave(&mut self, place: Place) {
        let Some(entry) = self.places.remove(&place) else { unreachable!("{place:?} is left once") };
        if entry.is_held() {
            self.unlocks += 1;
            self.granted.retain(|ticket| Some(*ticket) != entry.ticket);
        }
        match &entry.wants {
            Wants::Keys(keys) => keys.iter().for_each(|key| self.leave_key(*key, place)),
            Wants::All => self.leave_all(place),
        }
        if let Some((&first, entry)) = self.places.first_key_value()
            && entry.wants == Wants::All
            && entry.behind > 0
        {
            self.move_up(first);
        }
    }

    fn leave_key(&mut self, key: KeyHash, place: Place) {
        let Some(queue) = self.keys.get_mut(&key) else { unreachable!("{place:?} stands in this queue") };
        if queue.first != place {
            queue.others.retain(|other| *other != place);
            return;
        }
        match queue.others.pop_front() {
            Some(next) => {
                queue.first = next;
                self.move_up(next);
            }
            None => drop(self.keys.remove(&key)),
        }
    }

    fn leave_all(&mut self, place: Place) {
        let was_first = self.alls.front() == Some(&place);
        self.alls.retain(|other| *other != place);
        if !was_first {
            return; // the one before it holds up the same places
        }
        let until = self.alls.front().copied().unwrap_or(self.next);
        let freed: Vec<_> = self.places.range(place..until).map(|(place, _)| *place).collect();
        freed.into_iter().for_each(|place| self.move_up(place));
    }

    /// A place stands first in one queue more.
    fn move_up(&mut self, place: Place) {
        let Some(entry) = self.places.get_mut(&place) else { unreachable!("{place:?} stands in a queue") };
        entry.behind -= 1;
        if entry.behind == 0 {
            let ticket = entry.ticket;
            self.grant(place, ticket);
        }
    }

    /// What a place wants.
    ///
    /// # Panics
    /// If it was given up.
    pub fn wants(&self, place: Place) -> &Wants {
        &self.places[&place].wants
    }

    /// Whether a ticket has this key.
    pub fn is_held(&self, key: KeyHash) -> bool {
        let held = |place: &Place| self.places.get(place).is_some_and(Entry::is_held);
        self.alls.front().is_some_and(held) || self.keys.get(&key).is_some_and(|queue| held(&queue.first))
    }

    /// The tickets that have this key to themselves.
    pub fn holder(&self, key: KeyHash) -> Option<TxId> {
        let ticket =
            |place: &Place| self.places.get(place).filter(|entry| entry.is_held()).and_then(|entry| entry.ticket);
        self.alls.front().and_then(ticket).or_else(|| self.keys.get(&key).and_then(|queue| ticket(&queue.first)))
    }

    /// Whether an ordinary command that wants this has to wait for a ticket. If so its place is kept, so that it can't be
    /// passed for ever; it is to be tried again when [`Locks::unlocks`] has moved.
    pub fn turns_away(&mut self, wants: Wants) -> bool {
        let is_held = match &wants {
            Wants::Keys(keys) => keys.iter().any(|key| self.is_held(*key)),
            Wants::All => self.places.values().any(Entry::is_held),
        };
        if is_held && !self.is_awaited(&wants) {
            self.push(None, wants);
        }
        is_held
    }

    /// Whether visitors' places are the last ones at all of this.
    fn is_awaited(&self, wants: &Wants) -> bool {
        let visitors = |place: Place| self.places.get(&place).is_some_and(|entry| entry.ticket.is_none());
        match wants {
            Wants::Keys(keys) => keys.iter().all(|key| self.keys.get(key).is_some_and(|queue| visitors(queue.last()))),
            Wants::All => self.alls.back().is_some_and(|place| visitors(*place)),
        }
    }

    /// The visitors whose turn it was have had it.
    pub fn end_visits(&mut self) {
        // those whose turn begins by this have theirs until the next call
        for place in std::mem::take(&mut self.visits) {
            self.leave(place);
        }
    }

    /// Whether [`Locks::end_visits`] has something to do.
    pub fn has_visits(&self) -> bool {
        !self.visits.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeSet, VecDeque};

    use emberkv_log::disk::sim::Choices;
    use emberkv_log::plant::{self, Plant};

    use super::*;

    fn keys(keys: &[u64]) -> Wants {
        Wants::keys(keys.iter().map(|key| KeyHash(*key)))
    }

    fn overlap(a: &Wants, b: &Wants) -> bool {
        match (a, b) {
            (Wants::Keys(a), Wants::Keys(b)) => a.iter().any(|key| b.contains(key)),
            _ => true,
        }
    }

    fn some(choices: &mut Choices) -> Wants {
        if choices.one_in(8) {
            return Wants::All;
        }
        let count = 1 + choices.below(3);
        keys(&(0..count).map(|_| choices.below(8)).collect::<Vec<_>>())
    }

    /// Whoever wants anything, in the order of arrival: he has it if nobody before him wants any of it.
    #[derive(Default)]
    struct Plain(Vec<(Place, Option<TxId>, Wants)>);

    impl Plain {
        fn has(&self, i: usize) -> bool {
            self.0[..i].iter().all(|(_, _, before)| !overlap(before, &self.0[i].2))
        }

        fn holders(&self) -> BTreeSet<TxId> {
            (0..self.0.len()).filter(|i| self.has(*i)).filter_map(|i| self.0[i].1).collect()
        }

        fn is_held(&self, wants: &Wants) -> bool {
            (0..self.0.len()).any(|i| self.has(i) && self.0[i].1.is_some() && overlap(&self.0[i].2, wants))
        }
    }

    #[test]
    fn a_place_is_granted_when_nobody_before_it_wants_any_of_the_same() {
        for seed in 0..300 {
            let mut choices = Choices::new(seed);
            let (mut locks, mut plain) = (Locks::new(), Plain::default());
            let mut holders = BTreeSet::new();
            for ticket in 1..150 {
                match choices.below(10) {
                    0..4 => {
                        let wants = some(&mut choices);
                        let place = locks.enter(TxId(ticket), wants.clone());
                        plain.0.push((place, Some(TxId(ticket)), wants));
                    }
                    4..8 if !plain.0.is_empty() => {
                        let (place, ticket, _) = plain.0[choices.below(plain.0.len() as u64) as usize];
                        if let Some(ticket) = ticket {
                            plain.0.retain(|(other, ..)| *other != place);
                            locks.leave(place);
                            holders.remove(&ticket);
                        }
                    }
                    8 => {
                        let wants = some(&mut choices);
                        let place = locks.next;
                        assert_eq!(locks.turns_away(wants.clone()), plain.is_held(&wants));
                        if locks.next != place {
                            plain.0.push((place, None, wants));
                        }
                    }
                    _ => {
                        let visits = locks.visits.clone();
                        plain.0.retain(|(place, ..)| !visits.contains(place));
                        locks.end_visits();
                    }
                }
                holders.extend(locks.take_granted());
                holders.retain(|ticket| plain.0.iter().any(|(_, other, _)| other == &Some(*ticket)));
                assert_eq!(holders, plain.holders(), "seed {seed}");
                assert_eq!(locks.is_empty(), plain.0.is_empty());
                for key in 0..8 {
                    assert_eq!(locks.is_held(KeyHash(key)), plain.is_held(&keys(&[key])));
                }
            }
            while let Some((place, ..)) = plain.0.pop() {
                locks.leave(place);
            }
            assert!(locks.is_empty() && locks.keys.is_empty() && locks.alls.is_empty());
        }
    }

    /// Tickets over several owners, each with its own idea of time; a ticket ends when all have granted it. Whether all
    /// of them end.
    fn all_end(seed: u64, in_order: bool) -> bool {
        const OWNERS: usize = 3;
        let mut choices = Choices::new(seed);
        let mut inboxes: Vec<VecDeque<(TxId, Wants)>> = vec![VecDeque::new(); OWNERS];
        let mut locks: Vec<Locks> = (0..OWNERS).map(|_| Locks::new()).collect();
        let mut places = BTreeMap::new();
        let mut granted: BTreeMap<TxId, usize> = BTreeMap::new();
        let mut open = BTreeMap::new();
        for ticket in 1..40 {
            let owners: Vec<_> = (0..OWNERS).filter(|_| choices.one_in(2)).collect();
            for owner in &owners {
                let wants = some(&mut choices);
                let inbox = &mut inboxes[*owner];
                if in_order || inbox.is_empty() || choices.one_in(2) {
                    inbox.push_back((TxId(ticket), wants));
                } else {
                    inbox.insert(inbox.len() - 1, (TxId(ticket), wants));
                }
            }
            if !owners.is_empty() {
                open.insert(TxId(ticket), owners);
            }
        }
        let mut idle = 0;
        while idle < 200 {
            idle += 1;
            let owner = choices.below(OWNERS as u64) as usize;
            if choices.one_in(2)
                && let Some((ticket, wants)) = inboxes[owner].pop_front()
            {
                places.insert((ticket, owner), locks[owner].enter(ticket, wants));
                idle = 0;
            }
            if choices.one_in(4) {
                locks[owner].turns_away(some(&mut choices));
            }
            locks[owner].end_visits();
            for ticket in locks[owner].take_granted() {
                *granted.entry(ticket).or_default() += 1;
            }
            let ready = open.iter().find(|(ticket, owners)| granted.get(ticket) == Some(&owners.len()));
            if let Some((&ticket, _)) = ready
                && let Some(owners) = open.remove(&ticket)
            {
                for owner in owners {
                    locks[owner].leave(places[&(ticket, owner)]);
                }
                idle = 0;
            }
        }
        open.is_empty()
    }

    #[test]
    fn tickets_in_order_never_lock_each_other_out() {
        for seed in 0..500 {
            assert!(all_end(seed, true), "seed {seed}");
        }
        plant::set(Some(Plant::X1));
        let deadlock = (0..500).any(|seed| !all_end(seed, false));
        plant::set(None);
        assert!(deadlock, "nothing noticed that the tickets are in no order");
    }

    #[test]
    fn who_was_turned_away_has_its_turn_before_later_tickets() {
        let mut locks = Locks::new();
        let first = locks.enter(TxId(1), keys(&[1, 2]));
        assert_eq!(locks.take_granted(), [TxId(1)]);
        assert!(locks.turns_away(keys(&[2])) && locks.turns_away(keys(&[2])));
        let second = locks.enter(TxId(2), keys(&[2]));
        let before = locks.unlocks();
        locks.leave(first);
        assert!(locks.unlocks() > before);
        assert!(!locks.turns_away(keys(&[2])), "it is the visitors' turn");
        assert!(locks.take_granted().is_empty());
        locks.end_visits();
        assert_eq!(locks.take_granted(), [TxId(2)]);
        assert!(locks.turns_away(keys(&[2])));
        locks.leave(second);
        locks.end_visits();
        assert!(locks.is_empty());
    }
}
