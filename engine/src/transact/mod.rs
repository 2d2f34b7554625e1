//! Commands over several partitions: all or nothing, and nobody sees half of one (X1 to X3, X6).
//!
//! ```text
//!  coordinator                 owner of A                  owner of B
//!     |-- Lock (share) ---------->|                           |
//!     |-- Lock (share) -------------------------------------->|      drawn and pushed in one critical section
//!     |<--------- Granted (vote) -|                           |      what it has seen is durable, room is held
//!     |<------------------------------------- Granted (vote) -|
//!     |-- Write ----------------->|  part                     |
//!     |-- Write --------------------------------------------->|  part
//!     |<---------------- Durable -|                           |
//!     |<-------------------------------------------- Durable -|
//!     |   reply                   |                           |
//!     |-- Commit ---------------->|  mark, publish, unlock    |
//!     |-- Commit -------------------------------------------->|  mark, publish, unlock
//! ```
//!
//! What only reads ends after the votes, with `Release` to all. What all write whatever they see (MSET, FLUSHALL, FLUSHDB) needs no
//! votes: the parts are appended as soon as the locks are granted. Coordinator and owners are state machines: the server
//! carries their messages, in order between any two of them.

mod coordinator;
mod gather;
mod lists;
mod participant;
mod plan;
mod reply;
mod script;
mod share;
mod sorting;
mod staged;
mod streams;
#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::sync::Arc;

use emberkv_log::{PartitionId, TxId};

pub use coordinator::{Coordinator, Effect, MAX_OPEN};
pub(crate) use participant::Transactions;
pub use plan::{Extent, Plan, Route, route};
pub(crate) use plan::{ScanPlace, parse_cursor};
pub use reply::Outcome;
pub use script::{Line, Watched};
pub use share::{Action, Answer, Change, Member, Ran, Run, Seen, Share, Step, Strings, Task, Values, Vote};

/// Names a coordinator: the core that it is on.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct CoordinatorId(pub u16);

/// What a coordinator says to the owner of a partition.
#[derive(Debug)]
pub enum ToOwner {
    /// Lock what the share needs, then look and vote. Comes to every owner in the order of tickets.
    Lock {
        /// The transaction.
        ticket: TxId,
        /// Whom to answer.
        from: CoordinatorId,
        /// How many partitions are locked by it.
        members: u16,
        /// All of them, if all write, whatever they see: then there is no vote, and the part is appended at once.
        at_once: Option<Arc<[PartitionId]>>,
        /// Whether what is read is not to be noted (CLIENT NO-TOUCH).
        untouched: bool,
        /// What is to be done here.
        share: Share,
    },
    /// Execute further steps of a script. Answered as `Lock` is.
    Run {
        /// The transaction.
        ticket: TxId,
        /// The steps.
        steps: Vec<Task>,
    },
    /// Append the part.
    Write {
        /// The transaction.
        ticket: TxId,
        /// All partitions that append one.
        participants: Arc<[PartitionId]>,
    },
    /// The transaction is committed: append the mark, publish, unlock.
    Commit {
        /// The transaction.
        ticket: TxId,
    },
    /// It never happened: append an abort. The locks stay.
    Abort {
        /// The transaction.
        ticket: TxId,
    },
    /// Nothing is left to be done here: unlock.
    Release {
        /// The transaction.
        ticket: TxId,
    },
}

/// What an owner answers: one answer to each `Lock`, `Run`, `Write` and `Abort`.
#[derive(Debug)]
pub enum ToCoordinator {
    /// Locked, and what was seen is durable. If this partition is to write, it has the room for it.
    Granted {
        /// The transaction.
        ticket: TxId,
        /// Who votes.
        partition: PartitionId,
        /// What was seen.
        vote: Vote,
    },
    /// Nothing was appended here, nor will be. What is locked stays so until `Release`.
    Refused {
        /// The transaction.
        ticket: TxId,
        /// Who refuses.
        partition: PartitionId,
        /// The error for the client.
        error: Cow<'static, str>,
    },
    /// The part is durable, as the sync policy has it.
    Durable {
        /// The transaction.
        ticket: TxId,
        /// Whose part it is.
        partition: PartitionId,
    },
    /// The part was appended, and nobody knows whether it is on the disk: the log has failed for good.
    Failed {
        /// The transaction.
        ticket: TxId,
        /// Whose part it is.
        partition: PartitionId,
        /// The error for the client.
        error: Cow<'static, str>,
    },
    /// The answer to `Abort`.
    Aborted {
        /// The transaction.
        ticket: TxId,
        /// Who answers.
        partition: PartitionId,
        /// Whether the abort is synced here; if not it never will be before a restart.
        safe: bool,
    },
}

impl ToCoordinator {
    /// The transaction that it is about.
    pub fn ticket(&self) -> TxId {
        match self {
            Self::Granted { ticket, .. }
            | Self::Refused { ticket, .. }
            | Self::Durable { ticket, .. }
            | Self::Failed { ticket, .. }
            | Self::Aborted { ticket, .. } => *ticket,
        }
    }
}
