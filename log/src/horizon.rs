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

use std::collections::BTreeMap;
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
    open: BTreeMap<TxId, Open>,
    /// Something waits until the tickets below this one are settled.
    waited_for: TxId,
}

/// A ticket that is not settled.
#[derive(Debug, Default)]
struct Open {
    decided: bool,
    /// Partitions whose log has taken a part or an abort of it that is not synced yet.
    unsynced: Vec<PartitionId>,
}

impl Horizon {
    /// All tickets below `next` are settled, it is the next one drawn.
    pub(crate) fn new(next: TxId) -> Self {
        Self { tickets: Mutex::new(Tickets { next, open: BTreeMap::new(), waited_for: TxId(0) }) }
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
        self.change(ticket, |open| open.decided = true);
    }

    /// A part or an abort of the transaction was appended to this partition's log. Said by the log.
    pub(crate) fn part_appended(&self, ticket: TxId, partition: PartitionId) {
        self.change(ticket, |open| open.unsynced.push(partition));
    }

    /// Everything of these transactions that was appended to this partition's log is synced. Said by the log.
    pub(crate) fn parts_synced(&self, synced: impl IntoIterator<Item = TxId>, partition: PartitionId) {
        let mut tickets = self.lock();
        for ticket in synced {
            tickets.change(ticket, |open| open.unsynced.retain(|other| *other != partition));
        }
    }

    fn change(&self, ticket: TxId, how: impl FnOnce(&mut Open)) {
        self.lock().change(ticket, how);
    }

    /// The oldest ticket that is drawn and not settled, or the next one if there is none: what is below is decided, and
    /// all its parts are synced.
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

    /// The ticket that is drawn next: all that were drawn are below.
    pub fn next(&self) -> TxId {
        self.lock().next
    }
}

impl Tickets {
    fn horizon(&self) -> TxId {
        self.open.first_key_value().map_or(self.next, |(oldest, _)| *oldest)
    }

    fn change(&mut self, ticket: TxId, how: impl FnOnce(&mut Open)) {
        let Some(open) = self.open.get_mut(&ticket) else { return };
        how(open);
        if open.decided && open.unsynced.is_empty() {
            self.open.remove(&ticket);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: PartitionId = PartitionId(0);
    const B: PartitionId = PartitionId(1);

    #[test]
    fn a_transaction_is_settled_when_it_is_decided_and_its_parts_are_synced() {
        let horizon = Horizon::new(TxId(5));
        assert_eq!(horizon.horizon(), TxId(5));
        let (first, second) = (horizon.draw(), horizon.draw());
        assert_eq!((first, second, horizon.next()), (TxId(5), TxId(6), TxId(7)));
        for partition in [A, B] {
            horizon.part_appended(first, partition);
            horizon.part_appended(second, partition);
        }
        horizon.decided(second);
        horizon.parts_synced([first, second], A);
        horizon.parts_synced([second], B);
        assert_eq!(horizon.horizon(), first, "the second is settled, the first one is not");
        horizon.parts_synced([first], B);
        assert_eq!(horizon.horizon(), first, "all is synced and nothing decided");
        horizon.decided(first);
        assert_eq!(horizon.horizon(), TxId(7));
    }
}
