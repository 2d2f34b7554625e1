//! Replicas by log shipping: a replica's log is its primary's, record for record, at the same positions (R1 to R4).
//!
//! ```text
//!   primary: ordinary commands on ordinary connections         replica
//!                                                               link: a thread, and one for each partition
//!   any core <------------------- EMBER HELLO --------------------- what is there? --> opened so that it follows that
//!   any core <------------------- EMBER PULL ---------------------- what comes at this position?
//!      '- reads the partition's Shipping, waits if there is nothing ---> piece --> its owner: receive, follow, gate
//!   any core <------------------- EMBER ACK ----------------------- up to here it is as durable as the policy says
//! ```
//!
//! [`ships`] is what a primary's cores read of all partitions, [`replicas`] what it knows of those who follow it. [`link`] and
//! [`pull`] are a replica's threads, [`wire`] what they speak, [`feed`] what they and the cores tell each other. What the cores do of it
//! is in [`crate::core`]: `pulls`, `follow`, `role`, `reopen`.

mod feed;
mod link;
mod pull;
mod replicas;
mod ships;
mod wire;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use emberkv_log::CutOff;
pub(crate) use feed::{Feed, Now, Piece, Where};
pub(crate) use link::{Link, Me, State, follow};
pub(crate) use replicas::Replicas;
pub(crate) use ships::{Ships, replid};

/// What all cores know of replicas and of the primary.
#[derive(Debug, Default)]
pub(crate) struct Replication {
    /// To the primary; none: this server is one.
    link: Mutex<Option<Arc<Link>>>,
    replicas: Mutex<Replicas>,
    /// How many replicas were heard of lately.
    good: AtomicUsize,
    openings: Mutex<Openings>,
}

/// What has come of it when this server's data were opened as a replica's.
#[derive(Clone, Default, Debug)]
pub(crate) struct Openings {
    /// How often it has begun with nothing, and how often it has gone on with what it had.
    pub full: u64,
    pub partial: u64,
    /// It has begun with nothing, and will open all again when it has all.
    is_unfinished: bool,
    /// What was cut off the logs in this directory, whenever that was, as its primary never had it.
    pub cut_off: Vec<CutOff>,
}

impl Replication {
    /// The link to the primary; none: this server is one.
    pub fn link(&self) -> Option<Arc<Link>> {
        // a panic on any thread ends the process, so the lock is never poisoned, nor is the other
        self.link.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// From now on it is this one. The one before ends.
    pub fn set_link(&self, link: Option<Arc<Link>>) {
        let before = std::mem::replace(&mut *self.link.lock().unwrap_or_else(PoisonError::into_inner), link);
        if let Some(before) = before {
            before.stop();
        }
    }

    /// Those who follow this server.
    pub fn replicas(&self) -> MutexGuard<'_, Replicas> {
        self.replicas.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many of them count for `min-replicas-to-write`.
    pub fn good(&self) -> usize {
        self.good.load(Ordering::Relaxed)
    }

    /// What has come of it when the data were opened to follow.
    pub fn openings(&self) -> Openings {
        self.openings.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The data were opened. `syncs`: as a replica's that has to open them again later; none: as a primary's.
    pub fn note_opening(&self, begins_anew: bool, syncs: Option<bool>, cut_off: Vec<CutOff>) {
        let mut openings = self.openings.lock().unwrap_or_else(PoisonError::into_inner);
        openings.cut_off = cut_off;
        let was_unfinished = std::mem::replace(&mut openings.is_unfinished, syncs == Some(true));
        match syncs {
            Some(_) if begins_anew => openings.full += 1,
            Some(_) if !was_unfinished => openings.partial += 1,
            _ => {}
        }
    }

    /// So many do.
    pub fn set_good(&self, good: usize) {
        self.good.store(good, Ordering::Relaxed);
    }
}
