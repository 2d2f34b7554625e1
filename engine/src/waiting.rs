//! A client that waits for an element (BLPOP and its kin), and who may serve it.
//!
//! ```text
//!            claim (an owner of one of its keys)
//!   waits ------------------------------------------> claimed ----> ended: its reply is on its way
//!     |  <------------------------------------------    |
//!     |            given back, nothing was done         | left (its core): what was begun is done, and nothing more
//!     '---- end, leave (its core) ----> ended <---------'
//! ```
//!
//! It stands in line at every key that it waits for, and these may be in partitions of several cores. This one word, which all of them
//! share, is what keeps two owners from serving it, and one from serving a client that waits no more (B1).

use std::sync::{Arc, OnceLock};

use emberkv_log::DbId;
#[cfg(any(test, feature = "sim"))]
use emberkv_log::plant::{self, Plant};
use emberkv_resp::schema::CommandId;
use emberkv_resp::{OwnedArgs, Protocol};

use crate::collections::StreamId;
use crate::transact::CoordinatorId;

#[cfg(all(test, loom))]
use loom::sync::atomic::{
    AtomicU8,
    Ordering::{AcqRel, Acquire},
};
#[cfg(not(all(test, loom)))]
use std::sync::atomic::{
    AtomicU8,
    Ordering::{AcqRel, Acquire},
};

/// An owner is about to serve it.
const CLAIMED: u8 = 1;
/// It is served, or it does not wait any more.
const ENDED: u8 = 2;

/// What waits.
#[derive(Debug)]
pub struct Waiter {
    /// The core that has the client.
    pub home: CoordinatorId,
    /// By which that core knows it again.
    pub token: u64,
    /// The client's number.
    pub client: u64,
    /// Its command.
    pub id: CommandId,
    /// The database that it had selected.
    pub db: DbId,
    /// The arguments, the name first.
    pub args: OwnedArgs,
    /// How its reply is written.
    pub protocol: Protocol,
}

/// See the module.
#[derive(Clone, Debug)]
pub struct Waiting(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    waiter: Waiter,
    word: Word,
    /// Of XREAD: behind which entry of each key it waits, where that is not said by its arguments. Each is set by the key's owner, as the client comes to
    /// stand in line there, and read by no other.
    marks: Box<[OnceLock<StreamId>]>,
}

/// What the client's core and the owners share.
#[derive(Debug)]
pub(crate) struct Word(AtomicU8);

/// What has become of an attempt to claim one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Claim {
    /// It is ours to be served.
    Ours,
    /// Another owner has it, and may give it back.
    Theirs,
    /// It waits no more.
    Ended,
}

impl Word {
    pub fn new() -> Self {
        Self(AtomicU8::new(0))
    }

    /// An owner is going to serve it at once.
    pub fn claim(&self) -> Claim {
        match self.0.compare_exchange(0, CLAIMED, AcqRel, Acquire) {
            Ok(_) => Claim::Ours,
            Err(CLAIMED) => Claim::Theirs,
            #[cfg(any(test, feature = "sim"))]
            Err(_) if plant::is(Plant::B1) => Claim::Ours,
            Err(_) => Claim::Ended,
        }
    }

    /// What was claimed could not be done. If its core has left meanwhile nobody claims it again.
    pub fn give_back(&self) {
        self.0.fetch_and(!CLAIMED, AcqRel);
    }

    /// The same, whatever its core has done.
    #[cfg(all(test, loom))]
    pub fn forget(&self) {
        self.0.store(0, loom::sync::atomic::Ordering::Release);
    }

    /// What was claimed is done, or its client has gone.
    pub fn close(&self) {
        self.0.fetch_or(ENDED, AcqRel);
    }

    /// Its core ends its waiting, if nobody has claimed it.
    pub fn end(&self) -> bool {
        self.0.compare_exchange(0, ENDED, AcqRel, Acquire).is_ok()
    }
}

impl Waiting {
    /// A client that begins to wait.
    pub fn new(waiter: Waiter) -> Self {
        let marks = (0..waiter.args.args().len()).map(|_| OnceLock::new()).collect();
        Self(Arc::new(Shared { waiter, word: Word::new(), marks }))
    }

    /// Who waits, and for what.
    pub fn waiter(&self) -> &Waiter {
        &self.0.waiter
    }

    /// It waits behind this entry of the nth of its keys.
    pub(crate) fn mark(&self, nth: usize, id: StreamId) {
        if let Some(mark) = self.0.marks.get(nth) {
            mark.get_or_init(|| id);
        }
    }

    /// Behind which entry of the nth of its keys it waits, if somebody has said so.
    pub(crate) fn marked(&self, nth: usize) -> Option<StreamId> {
        self.0.marks.get(nth).and_then(OnceLock::get).copied()
    }

    /// An owner is going to serve it at once.
    pub(crate) fn claim(&self) -> Claim {
        self.0.word.claim()
    }

    /// What was claimed could not be done. If its core has left meanwhile nobody claims it again.
    pub(crate) fn give_back(&self) {
        self.0.word.give_back();
    }

    /// What was claimed is done.
    pub(crate) fn serve(&self) {
        self.0.word.close();
    }

    /// Its core ends its waiting, if that is possible: if not, its reply is on its way, or it may be tried again at once.
    pub fn end(&self) -> bool {
        self.0.word.end()
    }

    /// Its client has gone: nothing is begun for it from now on.
    pub fn leave(&self) {
        self.0.word.close();
    }
}

impl PartialEq for Waiting {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for Waiting {}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn waiting(token: u64, words: &[&[u8]]) -> Waiting {
        let command = emberkv_resp::schema::lookup(words[0]).unwrap();
        Waiting::new(Waiter {
            home: CoordinatorId(0),
            token,
            client: token,
            id: command.id,
            db: DbId(0),
            args: OwnedArgs::from_words(words),
            protocol: Protocol::Resp2,
        })
    }

    #[test]
    fn one_owner_has_it_and_none_when_it_has_ended() {
        let one = waiting(1, &[b"BLPOP", b"k", b"0"]);
        assert_eq!((one.claim(), one.claim(), one.end()), (Claim::Ours, Claim::Theirs, false));
        one.give_back();
        assert_eq!((one.claim(), one.end()), (Claim::Ours, false));
        one.serve();
        assert_eq!((one.claim(), one.end()), (Claim::Ended, false));
        let two = waiting(2, &[b"BLPOP", b"k", b"0"]);
        assert_eq!((two.end(), two.end(), two.claim()), (true, false, Claim::Ended));
    }

    #[test]
    fn a_client_that_leaves_while_it_is_claimed_is_not_claimed_again() {
        let one = waiting(1, &[b"BLPOP", b"k", b"0"]);
        assert_eq!(one.claim(), Claim::Ours);
        one.leave();
        one.give_back();
        assert_eq!(one.claim(), Claim::Ended);
    }
}
