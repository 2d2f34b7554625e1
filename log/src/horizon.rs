//! The tickets of transactions over several partitions, and which of them are settled (X4).
//!
//! ```text
//!        settled          not settled yet              not drawn
//!  ... 4  5  6  7  |  8   9   10   11   12   |  13 ...
//!                  ^ horizon: the oldest     ^ next
//! ```
//!
//! One per data set, shared by all its logs and coordinators. A coordinator draws and says when it has decided;
//! the rest is said by the logs, as they append and sync.
//!
//! A part that is synced is not safe yet: a mark before it in its log, of a transaction that may still lose a part elsewhere, is where
//! a power loss may end that log (X5), and this part goes with it. So each log's records are taken in order, and a
//! mark holds up what is behind it until its own transaction is settled.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::address::PartitionId;

/// A transaction over several partitions: the ticket that it drew. Never drawn twice among the transactions of which a
/// record survives.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct TxId(pub u64);

/// See the module.
#[derive(Debug)]
pub struct Horizon {
    tickets: Mutex<Tickets>,
}

#[derive(Debug)]
struct Tickets {
    next: TxId,
    /// Of logs that follow others: those from here on may be such that nothing has come of yet.
    cap: Option<TxId>,
    open: BTreeMap<TxId, Open>,
    /// Of each partition, what is synced and behind a mark that is not settled, the mark included.
    behind: Vec<VecDeque<(TxId, Step)>>,
    /// Partitions whose log is read-only.
    failed: Vec<PartitionId>,
    /// Something waits until the tickets below this one are settled.
    waited_for: TxId,
}

/// What a log has taken of a transaction.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Step {
    /// A part or an abort: to be safe before the transaction is settled.
    Counts,
    /// A mark, appended after so many ticks of its log.
    Mark { tick: u32 },
}

/// A ticket that is not settled.
#[derive(Debug, Default)]
struct Open {
    decided: bool,
    /// The partitions that have a part or an abort of it which is not safe yet; twice, if they have both.
    not_safe: Vec<PartitionId>,
}

impl Horizon {
    /// All tickets below `next` are settled, it is the next one drawn.
    pub(crate) fn new(next: TxId, partitions: usize) -> Self {
        let behind = vec![VecDeque::new(); partitions];
        Self {
            tickets: Mutex::new(Tickets {
                next,
                cap: None,
                open: BTreeMap::new(),
                behind,
                failed: Vec::new(),
                waited_for: TxId(0),
            }),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Tickets> {
        // a panic ends the process; no state is left half-changed here in any case
        self.tickets.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Draws a ticket, for a coordinator. [`Horizon::decided`] must follow some day, or no segment is freed any more.
    pub fn draw(&self) -> TxId {
        let mut tickets = self.lock();
        let ticket = tickets.next;
        tickets.next.0 += 1;
        tickets.open.insert(ticket, Open::default());
        ticket
    }

    /// The coordinator has decided: all parts of the transaction that there will ever be (and if it was aborted, its
    /// aborts) are appended.
    pub fn decided(&self, ticket: TxId) {
        let mut tickets = self.lock();
        tickets.change(ticket, |open| open.decided = true);
        tickets.settle();
    }

    /// A part or an abort of the transaction was appended to a log. Said by the log, before anybody learns of it.
    pub(crate) fn appended(&self, ticket: TxId, partition: PartitionId) {
        self.lock().change(ticket, |open| open.not_safe.push(partition));
    }

    /// A log that follows another one has got a part of the transaction, the first that is known of it perhaps: all participants will
    /// have one, or an abort.
    pub(crate) fn follows(&self, ticket: TxId, participants: impl Iterator<Item = PartitionId>) {
        let mut tickets = self.lock();
        tickets.next = tickets.next.max(TxId(ticket.0 + 1));
        // once it is settled no log lacks its part any more, so none comes
        tickets.open.entry(ticket).or_insert_with(|| Open { decided: false, not_safe: participants.collect() });
    }

    /// Tickets below have been drawn where the log comes from.
    pub(crate) fn has_drawn(&self, next: TxId) {
        let mut tickets = self.lock();
        tickets.next = tickets.next.max(next);
    }

    /// What is open is of no account: the logs will be opened again when they are whole.
    pub(crate) fn forget_open(&self) {
        let mut tickets = self.lock();
        tickets.open.clear();
        tickets.behind.iter_mut().for_each(VecDeque::clear);
    }

    /// The logs follow others, in which at least the tickets below this one are settled, and here too.
    pub(crate) fn follow_from(&self, settled: TxId) {
        let mut tickets = self.lock();
        tickets.cap = tickets.cap.max(Some(settled));
        tickets.next = tickets.next.max(settled);
    }

    /// These are synced, in the order of this partition's log. Said by the log.
    pub(crate) fn synced(&self, partition: PartitionId, steps: impl IntoIterator<Item = (TxId, Step)>) {
        let mut tickets = self.lock();
        tickets.behind[usize::from(partition.0)].extend(steps);
        tickets.settle();
    }

    /// This partition's log is read-only: what is not synced in it may never be. Said by the log.
    pub(crate) fn failed(&self, partition: PartitionId) {
        self.lock().failed.push(partition);
    }

    /// A partition that is read-only and has a part which this one's log hangs on, by a mark (E2).
    pub(crate) fn hangs_on_failed(&self, partition: PartitionId) -> Option<PartitionId> {
        let tickets = self.lock();
        let marks =
            tickets.behind[usize::from(partition.0)].iter().filter(|(_, step)| matches!(step, Step::Mark { .. }));
        let mut lacking = marks.filter_map(|(ticket, _)| tickets.open.get(ticket)).flat_map(|open| &open.not_safe);
        lacking.find(|lacking| tickets.failed.contains(lacking)).copied()
    }

    /// After how many of its ticks this partition's log got the first mark that it has synced and whose transaction is not settled,
    /// if there is one.
    pub(crate) fn oldest_mark(&self, partition: PartitionId) -> Option<u32> {
        match self.lock().behind[usize::from(partition.0)].front() {
            Some((_, Step::Mark { tick })) => Some(*tick),
            _ => None, // what counts is taken at once when no mark is before it
        }
    }

    /// The oldest ticket that is drawn and not settled, or the next one if there is none: what is below is decided, and
    /// no power loss takes any of it.
    pub fn horizon(&self) -> TxId {
        self.lock().horizon()
    }

    /// Notes that something waits until the tickets below `ticket` are settled, for logs that sync only when they must.
    pub(crate) fn wait_for(&self, ticket: TxId) {
        let mut tickets = self.lock();
        tickets.waited_for = tickets.waited_for.max(ticket);
    }

    /// Whether something waits for a ticket to be settled.
    pub(crate) fn is_waited_for(&self) -> bool {
        let tickets = self.lock();
        tickets.horizon() < tickets.waited_for
    }

    /// Whether what this partition's log has of the transaction, and has synced, is safe: no mark before it holds it up.
    pub fn is_safe(&self, ticket: TxId, partition: PartitionId) -> bool {
        !self.lock().behind[usize::from(partition.0)].contains(&(ticket, Step::Counts))
    }

    /// Whether the transaction is settled: decided, and no power loss takes any of it. An abort is safe then (X6).
    pub fn is_settled(&self, ticket: TxId) -> bool {
        let tickets = self.lock();
        ticket < tickets.next && !tickets.open.contains_key(&ticket)
    }

    /// The ticket that is drawn next: all that were drawn are below.
    pub fn next(&self) -> TxId {
        self.lock().next
    }
}

impl Tickets {
    fn horizon(&self) -> TxId {
        let oldest = self.open.first_key_value().map_or(self.next, |(oldest, _)| *oldest);
        #[cfg(any(test, feature = "sim"))]
        if crate::plant::is(crate::plant::Plant::R6) {
            return oldest;
        }
        self.cap.map_or(oldest, |cap| cap.min(oldest))
    }

    /// Takes what is behind marks that are settled by now; that may settle others, so to a fixpoint. It ends: a part behind a
    /// mark was appended after that transaction's parts.
    fn settle(&mut self) {
        let mut changed = true;
        while std::mem::take(&mut changed) {
            for partition in 0..self.behind.len() {
                while let Some(&(ticket, step)) = self.behind[partition].front() {
                    #[cfg(any(test, feature = "sim"))]
                    let step = if crate::plant::is(crate::plant::Plant::X4Safe) && matches!(step, Step::Mark { .. }) {
                        self.behind[partition].pop_front();
                        continue;
                    } else {
                        step
                    };
                    match step {
                        Step::Mark { .. } if self.open.contains_key(&ticket) => break,
                        Step::Mark { .. } => {}
                        Step::Counts => self.change(ticket, |open| {
                            if let Some(at) = open.not_safe.iter().position(|p| usize::from(p.0) == partition) {
                                open.not_safe.swap_remove(at);
                            }
                        }),
                    }
                    self.behind[partition].pop_front();
                    changed = true;
                }
            }
        }
    }

    fn change(&mut self, ticket: TxId, how: impl FnOnce(&mut Open)) {
        let Some(open) = self.open.get_mut(&ticket) else { return };
        how(open);
        if open.decided && open.not_safe.is_empty() {
            self.open.remove(&ticket);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: PartitionId = PartitionId(0);
    const B: PartitionId = PartitionId(1);
    const C: PartitionId = PartitionId(2);

    #[test]
    fn a_transaction_is_settled_when_it_is_decided_and_its_parts_are_synced() {
        let horizon = Horizon::new(TxId(5), 2);
        assert_eq!(horizon.horizon(), TxId(5));
        let (first, second) = (horizon.draw(), horizon.draw());
        assert_eq!((first, second, horizon.next()), (TxId(5), TxId(6), TxId(7)));
        for partition in [A, B] {
            horizon.appended(first, partition);
            horizon.appended(second, partition);
        }
        horizon.decided(second);
        horizon.synced(A, [(first, Step::Counts), (second, Step::Counts)]);
        horizon.synced(B, [(second, Step::Counts)]);
        assert_eq!(horizon.horizon(), first, "the second is settled, the first one is not");
        horizon.synced(B, [(first, Step::Counts)]);
        assert_eq!(horizon.horizon(), first, "all is synced and nothing decided");
        horizon.decided(first);
        assert_eq!(horizon.horizon(), TxId(7));
    }

    #[test]
    fn a_part_behind_a_mark_is_not_safe_before_that_transaction_is_settled() {
        let horizon = Horizon::new(TxId(1), 3);
        let (first, second) = (horizon.draw(), horizon.draw());
        for (ticket, partition) in [(first, A), (first, B), (second, A), (second, C)] {
            horizon.appended(ticket, partition);
        }
        horizon.decided(second); // parts on A and C; that on C is not synced
        horizon.decided(first); // parts on A, behind the second's mark, and on B
        horizon.synced(B, [(first, Step::Counts)]);
        horizon.synced(A, [(second, Step::Counts), (second, Step::Mark { tick: 0 }), (first, Step::Counts)]);
        assert_eq!(horizon.horizon(), first, "a power loss may cut A before the second's mark");
        horizon.synced(C, [(second, Step::Counts)]);
        assert_eq!(horizon.horizon(), TxId(3), "now both are settled");
    }
}
