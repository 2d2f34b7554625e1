//! What all cores share: each other's inboxes, and a few counts.

use std::sync::atomic::{AtomicBool, AtomicU16, AtomicU64, AtomicUsize, Ordering, fence};
use std::sync::{Arc, Mutex};

use rustls::ServerConfig;

use crate::acl::{Journal, Users};
use crate::config::Config;
use crate::core::inbox::{Inbox, Owner};
use crate::core::message::{CoreId, Message};
use crate::core::saves::SharedSaves;
use crate::driver::Waker;
use crate::replicate::Replication;

/// See the module.
#[derive(Debug)]
pub(crate) struct Peers {
    cores: Vec<Peer>,
    /// The last number that a connection was given.
    last_client: AtomicU64,
    /// The most that all cores together have used.
    pub peak_memory: AtomicU64,
    /// The number that the next entry of the slow log gets.
    next_slow: AtomicU64,
    /// How many cores have got their partitions.
    pub loaded: AtomicU16,
    /// A log takes no writes any more.
    pub read_only: AtomicBool,
    /// Held while a ticket is drawn and its locks are pushed (X1).
    pub tickets: Mutex<()>,
    /// What is known of checkpoints.
    pub saves: SharedSaves,
    /// What CONFIG SET and ACL change. Held while the change is told to all cores, so that they hear of all changes in one
    /// order.
    pub config: Mutex<Shared>,
    /// What new sessions of `tls-port` are made of; none without that.
    pub tls: Mutex<Option<Arc<ServerConfig>>>,
    /// What was denied to connections of all cores.
    pub denials: Mutex<Journal>,
    /// What is known of replicas and of the primary.
    pub replication: Replication,
    /// How many cores want to be told when a log has moved.
    awaiting: AtomicUsize,
}

/// The configuration that counts.
#[derive(Debug)]
pub(crate) struct Shared {
    pub config: Config,
    pub users: Arc<Users>,
    /// Goes up with each change.
    pub version: u64,
}

/// A core, as the others see it. On cache lines of its own: all write to it.
#[derive(Debug)]
#[repr(align(128))]
struct Peer {
    inbox: Inbox<Message>,
    waker: Waker,
    clients: AtomicUsize,
    /// What it uses of memory, and what of it is on its way out; whether it has found nothing to give back.
    used: AtomicU64,
    leaving: AtomicU64,
    is_stuck: AtomicBool,
    /// How many names its connections listen to.
    subscriptions: AtomicUsize,
    /// How many of its connections monitor.
    monitors: AtomicUsize,
    /// How many keep what they read, and how many of them hear of other keys too.
    trackers: AtomicUsize,
    broadcasts: AtomicUsize,
    /// Somebody here waits for a log to move, or for a replica.
    awaits: AtomicBool,
}

impl Peers {
    /// One core for each waker.
    pub fn new(wakers: Vec<Waker>, config: Config, users: Arc<Users>) -> Self {
        let peer = |waker| Peer {
            inbox: Inbox::new(),
            waker,
            clients: AtomicUsize::new(0),
            used: AtomicU64::new(0),
            leaving: AtomicU64::new(0),
            is_stuck: AtomicBool::new(false),
            subscriptions: AtomicUsize::new(0),
            monitors: AtomicUsize::new(0),
            trackers: AtomicUsize::new(0),
            broadcasts: AtomicUsize::new(0),
            awaits: AtomicBool::new(false),
        };
        Self {
            cores: wakers.into_iter().map(peer).collect(),
            last_client: AtomicU64::new(0),
            peak_memory: AtomicU64::new(0),
            next_slow: AtomicU64::new(0),
            loaded: AtomicU16::new(0),
            read_only: AtomicBool::new(false),
            tickets: Mutex::new(()),
            saves: SharedSaves::default(),
            config: Mutex::new(Shared { config, users, version: 0 }),
            tls: Mutex::default(),
            denials: Mutex::default(),
            replication: Replication::default(),
            awaiting: AtomicUsize::new(0),
        }
    }

    /// How many cores there are.
    pub fn len(&self) -> u16 {
        self.cores.len() as u16
    }

    /// All cores.
    pub fn all(&self) -> impl Iterator<Item = CoreId> + use<> {
        (0..self.len()).map(CoreId)
    }

    /// All cores but one.
    pub fn others(&self, me: CoreId) -> impl Iterator<Item = CoreId> + use<> {
        (0..self.len()).map(CoreId).filter(move |core| *core != me)
    }

    /// Says something to a core, and wakes it if it sleeps.
    pub fn send(&self, to: CoreId, message: Message) {
        if self.push(to, message) == Owner::Asleep {
            self.waker(to).wake();
        }
    }

    /// Says something to a core. The sender has to wake it if it sleeps.
    pub fn push(&self, to: CoreId, message: Message) -> Owner {
        self.cores[to.index()].inbox.push(message)
    }

    /// What wakes a core.
    pub fn waker(&self, to: CoreId) -> &Waker {
        &self.cores[to.index()].waker
    }

    /// What was said to a core; it alone may ask.
    pub fn take(&self, me: CoreId, messages: &mut Vec<Message>) {
        self.cores[me.index()].inbox.take(messages);
    }

    /// Whether a core may wait in its poll: nothing was said to it. What is said from now on wakes it.
    pub fn sleep(&self, me: CoreId) -> bool {
        self.cores[me.index()].inbox.sleep()
    }

    /// A core says what memory it uses.
    pub fn tell_memory(&self, me: CoreId, used: u64, leaving: u64, is_stuck: bool) {
        let peer = &self.cores[me.index()];
        peer.used.store(used, Ordering::Relaxed);
        peer.leaving.store(leaving, Ordering::Relaxed);
        peer.is_stuck.store(is_stuck, Ordering::Relaxed);
        let (all, ..) = self.used_memory();
        if all > self.peak_memory.load(Ordering::Relaxed) {
            self.peak_memory.fetch_max(all, Ordering::Relaxed);
        }
    }

    /// What all cores use, what of it is on its way out, and whether none has found anything to give back. Each core's
    /// word is as old as its last turn.
    pub fn used_memory(&self) -> (u64, u64, bool) {
        let sum = |of: fn(&Peer) -> &AtomicU64| self.cores.iter().map(|peer| of(peer).load(Ordering::Relaxed)).sum();
        let is_stuck = self.cores.iter().all(|peer| peer.is_stuck.load(Ordering::Relaxed));
        (sum(|peer| &peer.used), sum(|peer| &peer.leaving), is_stuck)
    }

    /// A number for a new connection.
    pub fn next_client(&self) -> u64 {
        self.last_client.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// So many names are listened to at a core. It is known before the subscription is confirmed: who publishes after that
    /// asks this core.
    pub fn set_subscriptions(&self, core: CoreId, names: usize) {
        self.cores[core.index()].subscriptions.store(names, Ordering::Release);
    }

    pub fn has_subscriptions(&self, core: CoreId) -> bool {
        self.cores[core.index()].subscriptions.load(Ordering::Acquire) > 0
    }

    pub fn set_monitors(&self, core: CoreId, count: usize) {
        self.cores[core.index()].monitors.store(count, Ordering::Release);
    }

    pub fn monitors(&self, core: CoreId) -> usize {
        self.cores[core.index()].monitors.load(Ordering::Acquire)
    }

    /// Whether a connection of any core monitors.
    pub fn has_monitors(&self) -> bool {
        self.all().any(|core| self.monitors(core) > 0)
    }

    /// A number for a new entry of the slow log.
    pub fn next_slow(&self) -> u64 {
        self.next_slow.fetch_add(1, Ordering::Relaxed)
    }

    /// The core with the fewest clients, which gets one more now.
    pub fn deal_client(&self) -> CoreId {
        let fewest = (0..self.cores.len()).min_by_key(|core| self.cores[*core].clients.load(Ordering::Relaxed));
        let core = CoreId(fewest.unwrap_or(0) as u16);
        self.add_client(core);
        core
    }

    pub fn add_client(&self, core: CoreId) {
        self.cores[core.index()].clients.fetch_add(1, Ordering::Relaxed);
    }

    pub fn remove_client(&self, core: CoreId) {
        self.cores[core.index()].clients.fetch_sub(1, Ordering::Relaxed);
    }

    /// A connection of a core tracks from now on, or no more; and hears of keys that it has not read.
    pub fn count_tracker(&self, core: CoreId, is: bool, was: bool, hears: bool, heard: bool) {
        let peer = &self.cores[core.index()];
        for (count, is, was) in [(&peer.trackers, is, was), (&peer.broadcasts, hears, heard)] {
            match (is, was) {
                (true, false) => count.fetch_add(1, Ordering::SeqCst),
                (false, true) => count.fetch_sub(1, Ordering::SeqCst),
                _ => continue,
            };
        }
    }

    /// Whether a connection of any core tracks.
    pub fn has_trackers(&self) -> bool {
        self.cores.iter().any(|peer| peer.trackers.load(Ordering::SeqCst) > 0)
    }

    /// Whether a connection of any core hears of keys that it has not read.
    pub fn has_broadcasts(&self) -> bool {
        self.all().any(|core| self.broadcasts(core))
    }

    /// Whether one of this core does.
    pub fn broadcasts(&self, core: CoreId) -> bool {
        self.cores[core.index()].broadcasts.load(Ordering::SeqCst) > 0
    }

    /// A core wants to be told when a log has moved, or no more. It looks at the logs after it has said so.
    pub fn set_awaits(&self, core: CoreId, awaits: bool) {
        if self.cores[core.index()].awaits.swap(awaits, Ordering::SeqCst) != awaits {
            if awaits {
                self.awaiting.fetch_add(1, Ordering::SeqCst);
            } else {
                self.awaiting.fetch_sub(1, Ordering::SeqCst);
            }
        }
        fence(Ordering::SeqCst);
    }

    /// A log has moved, or a replica has more of it: returns those who want to know, each once.
    #[inline]
    pub fn take_awaiting(&self, me: CoreId) -> Option<impl Iterator<Item = CoreId> + use<'_>> {
        if self.cores.len() == 1 {
            return None;
        }
        // what has moved was published before: either this sees that somebody waits, or that one sees that it has moved
        fence(Ordering::SeqCst);
        if self.awaiting.load(Ordering::Relaxed) == 0 {
            return None;
        }
        Some(self.others(me).filter(|core| {
            let awaits = self.cores[core.index()].awaits.swap(false, Ordering::SeqCst);
            if awaits {
                self.awaiting.fetch_sub(1, Ordering::SeqCst);
            }
            awaits
        }))
    }

    /// Clients of all cores.
    pub fn clients(&self) -> usize {
        self.cores.iter().map(|peer| peer.clients.load(Ordering::Relaxed)).sum()
    }
}
