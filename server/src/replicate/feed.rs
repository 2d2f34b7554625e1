//! What a replica's threads and its cores tell each other of the partitions that follow a primary.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::SyncSender;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::Thread;

use bytes::Bytes;
use emberkv_engine::Partition;
use emberkv_log::disk::real::RealDisk;
use emberkv_log::{LogPosition, Origin};

use crate::replicate::Link;

/// Bytes of a partition's log that may be here and are not followed yet, besides the piece that is coming: a core that does nothing
/// else follows them in some 10 ms, which is more than a round trip takes.
const MOST_AHEAD: u64 = 4 << 20;

/// See the module. One for each time that the partitions are opened to follow.
#[derive(Debug)]
pub(crate) struct Feed {
    pub link: Arc<Link>,
    /// What there was when they were opened.
    origin: Origin,
    streams: Vec<Stream>,
    /// The cores have the partitions.
    is_open: AtomicBool,
    /// How many partitions have yet to get what there was when they were opened.
    behind: AtomicUsize,
    /// What is here is no state of the primary's: it is fetched, and opened anew when all is here.
    is_raw: AtomicBool,
    /// A partition wants to know what the primary is by now.
    wants_origin: AtomicBool,
    /// What keeps it from going on. Then the partitions are opened anew.
    failure: Mutex<Option<String>>,
    has_failed: AtomicBool,
}

/// One partition's.
#[derive(Debug)]
struct Stream {
    /// What there was when it was opened.
    goal: LogPosition,
    /// Up to where pieces were sent to the owner, up to where the owner has applied it, and up to where it is as durable as the policy says.
    received: AtomicU64,
    followed: AtomicU64,
    acked: AtomicU64,
    /// Where the primary had nothing more; 0: not known.
    caught_up: AtomicU64,
    has_reached: AtomicBool,
    puller: Mutex<Option<Thread>>,
    is_parked: AtomicBool,
}

/// A piece of a log on its way to the core that owns the partition.
#[derive(Debug)]
pub(crate) struct Piece {
    pub feed: Arc<Feed>,
    pub partition: u16,
    pub bytes: Bytes,
}

/// What the primary is by now, for the core that owns the first partition.
#[derive(Debug)]
pub(crate) struct Now {
    pub feed: Arc<Feed>,
    pub origin: Origin,
}

/// The same core is asked where the next piece begins.
#[derive(Debug)]
pub(crate) struct Where {
    pub feed: Arc<Feed>,
    pub partition: u16,
    pub answer: SyncSender<LogPosition>,
}

impl Feed {
    pub fn new(link: Arc<Link>, origin: Origin) -> Self {
        let stream = |log: &emberkv_log::OriginLog| Stream {
            goal: log.end(),
            received: AtomicU64::new(0),
            followed: AtomicU64::new(0),
            acked: AtomicU64::new(0),
            caught_up: AtomicU64::new(0),
            has_reached: AtomicBool::new(false),
            puller: Mutex::default(),
            is_parked: AtomicBool::new(false),
        };
        Self {
            link,
            streams: origin.logs.iter().map(stream).collect(),
            is_open: AtomicBool::new(false),
            behind: AtomicUsize::new(origin.logs.len()),
            is_raw: AtomicBool::new(false),
            wants_origin: AtomicBool::new(false),
            failure: Mutex::default(),
            has_failed: AtomicBool::new(false),
            origin,
        }
    }

    /// Whether the partitions can go on with this origin as they are.
    pub fn goes_on_with(&self, origin: &Origin) -> bool {
        let mut logs = origin.logs.iter().zip(&self.origin.logs).zip(&self.streams);
        self.is_open()
            && !self.has_failed()
            && !self.is_fetched()
            && self.origin.dataset == origin.dataset
            && self.streams.len() == origin.logs.len()
            && logs.all(|((now, before), stream)| {
                now.goes_on(before, LogPosition(stream.received.load(Ordering::Acquire)))
            })
    }

    /// How many partitions there are.
    pub fn partitions(&self) -> u16 {
        self.streams.len() as u16
    }

    /// The data set and the life of its first partition, for the replication id.
    pub fn names(&self) -> (u64, u64) {
        let life = self.origin.logs.first().and_then(|log| log.incarnations.last());
        (self.origin.dataset, life.map_or(0, |life| life.id))
    }

    /// The partitions were opened, and are about to be dealt out.
    pub fn begins_with(&self, partitions: &[Partition<RealDisk>]) {
        for (stream, partition) in self.streams.iter().zip(partitions) {
            stream.received.store(partition.received().0, Ordering::Release);
            stream.followed.store(partition.log().followed().0, Ordering::Release);
            stream.acked.store(partition.log().gate().0, Ordering::Release);
        }
        self.is_raw.store(partitions.iter().any(Partition::is_syncing), Ordering::Release);
    }

    /// Whether what is here can't be served, whoever asks: what was freed at the primary is lacking, and what made up for it is yet to come.
    pub fn is_raw(&self) -> bool {
        self.is_raw.load(Ordering::Acquire)
    }

    /// A partition of that has got all that it lacked.
    pub fn has_fetched(&self, partition: u16) {
        if let Some(stream) = self.streams.get(usize::from(partition))
            && !stream.has_reached.swap(true, Ordering::AcqRel)
            && self.behind.fetch_sub(1, Ordering::AcqRel) == 1
        {
            self.link.wake();
        }
    }

    /// Whether all have: then they are to be opened anew.
    pub fn is_fetched(&self) -> bool {
        self.is_raw() && self.behind.load(Ordering::Acquire) == 0
    }

    /// A partition wants to know what the primary is by now.
    pub fn want_origin(&self) {
        if !self.wants_origin.swap(true, Ordering::AcqRel) {
            self.link.wake();
        }
    }

    /// Whether one does; once.
    pub fn take_wants_origin(&self) -> bool {
        self.wants_origin.swap(false, Ordering::AcqRel)
    }

    /// The cores have them.
    pub fn set_open(&self) {
        for partition in 0..self.streams.len() {
            self.look_at(partition);
        }
        self.is_open.store(true, Ordering::Release);
        self.link.wake();
    }

    pub fn is_open(&self) -> bool {
        self.is_open.load(Ordering::Acquire)
    }

    /// Whether the partitions have got what there was when they were opened, since when they are worth to be asked.
    #[inline]
    pub fn has_synced(&self) -> bool {
        self.behind.load(Ordering::Acquire) == 0 && !self.is_raw()
    }

    /// An owner has followed up to here. Returns whether that was news.
    pub fn has_followed(&self, partition: u16, position: LogPosition) -> bool {
        let Some(stream) = self.streams.get(usize::from(partition)) else { return false };
        if stream.followed.swap(position.0, Ordering::AcqRel) == position.0 {
            return false;
        }
        // before it parks, the puller says so and looks again
        if stream.is_parked.load(Ordering::SeqCst) {
            stream.wake();
        }
        self.look_at(usize::from(partition));
        true
    }

    /// An owner has it as durable as the policy says up to here.
    pub fn has_durable(&self, partition: u16, position: LogPosition) {
        if let Some(stream) = self.streams.get(usize::from(partition))
            && stream.acked.swap(position.0, Ordering::AcqRel) != position.0
        {
            self.link.wake();
        }
    }

    /// It has been sent pieces that end here.
    pub fn has_received(&self, partition: u16, position: LogPosition) {
        if let Some(stream) = self.streams.get(usize::from(partition)) {
            stream.received.store(position.0, Ordering::Release);
        }
    }

    /// Whether something is here that is not followed.
    pub fn is_behind(&self) -> bool {
        let is_behind =
            |stream: &Stream| stream.received.load(Ordering::Acquire) > stream.followed.load(Ordering::Acquire);
        self.streams.iter().any(is_behind)
    }

    /// The primary had nothing more at this position.
    pub fn has_nothing_at(&self, partition: u16, position: LogPosition) {
        if let Some(stream) = self.streams.get(usize::from(partition)) {
            stream.caught_up.store(position.0, Ordering::Release);
            self.look_at(usize::from(partition));
        }
    }

    /// Whether a partition has got what there was.
    fn look_at(&self, partition: usize) {
        if self.is_raw() || self.has_synced() {
            return;
        }
        let stream = &self.streams[partition];
        let followed = stream.followed.load(Ordering::Acquire);
        let caught_up = stream.caught_up.load(Ordering::Acquire);
        let has_reached = followed >= stream.goal.0 || caught_up > 0 && followed >= caught_up;
        if has_reached
            && !stream.has_reached.swap(true, Ordering::AcqRel)
            && self.behind.fetch_sub(1, Ordering::AcqRel) == 1
        {
            self.link.has_synced();
        }
    }

    /// Whether a piece that begins at `received` may be asked for: little is here that is not followed.
    pub fn has_room(&self, partition: u16, received: LogPosition) -> bool {
        let followed = self.streams[usize::from(partition)].followed.load(Ordering::Acquire);
        received.0.saturating_sub(followed) < MOST_AHEAD
    }

    /// The calling thread pulls a partition: waits until there is room, or somebody wants something else of it.
    pub fn wait_for_room(&self, partition: u16, received: LogPosition) {
        let stream = &self.streams[usize::from(partition)];
        stream.is_parked.store(true, Ordering::SeqCst);
        if !self.has_room(partition, received) {
            std::thread::park_timeout(std::time::Duration::from_millis(100));
        }
        stream.is_parked.store(false, Ordering::Relaxed);
    }

    /// It is pulled by the calling thread.
    pub fn begin_pulling(&self, partition: u16) {
        // a panic on any thread ends the process, so no lock is ever poisoned
        let mut puller = self.streams[usize::from(partition)].puller.lock().unwrap_or_else(PoisonError::into_inner);
        *puller = Some(std::thread::current());
    }

    /// Up to where each partition is durable.
    pub fn acked(&self) -> Vec<LogPosition> {
        self.streams.iter().map(|stream| LogPosition(stream.acked.load(Ordering::Acquire))).collect()
    }

    /// The same of one.
    pub fn acked_in(&self, partition: u16) -> LogPosition {
        LogPosition(self.streams[usize::from(partition)].acked.load(Ordering::Acquire))
    }

    /// Up to where each is applied.
    pub fn followed(&self) -> Vec<LogPosition> {
        self.streams.iter().map(|stream| LogPosition(stream.followed.load(Ordering::Acquire))).collect()
    }

    /// It can't go on as it is.
    pub fn fail(&self, why: String) {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(why);
        self.has_failed.store(true, Ordering::Release);
        self.link.wake();
    }

    /// Whether it can't.
    pub fn has_failed(&self) -> bool {
        self.has_failed.load(Ordering::Acquire)
    }

    /// Why it can't.
    pub fn failure(&self) -> Option<String> {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Wakes those who pull.
    pub fn wake_pullers(&self) {
        self.streams.iter().for_each(Stream::wake);
    }
}

impl Stream {
    fn wake(&self) {
        if let Some(puller) = &*self.puller.lock().unwrap_or_else(PoisonError::into_inner) {
            puller.unpark();
        }
    }
}
