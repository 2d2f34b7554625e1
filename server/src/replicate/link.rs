//! A replica's link to its primary: says hello, has the partitions opened so that they follow, has them pulled, and says how far they
//! are; and all that again after a while, when it breaks.

use std::net::{Shutdown, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::Thread;
use std::time::{Duration, Instant};

use emberkv_log::{LogPosition, Origin};

use crate::config::Primary;
use crate::core::{CoreId, Message, Mode, Peers};
use crate::replicate::feed::{Feed, Now};
use crate::replicate::pull::{Puller, origin_of};
use crate::replicate::wire::{Access, LinkError, Wire};

/// How long until a broken link is tried again: soon for a while, as a primary that restarts keeps nothing for who has not come back yet.
const AGAIN: Duration = Duration::from_secs(1);
const SOON: Duration = Duration::from_millis(100);
/// So many times it is tried soon.
const TIMES_SOON: u64 = 20;

/// How often the primary hears of the replica though there is nothing new, if that is not too seldom for `repl-timeout`.
const HEARTBEAT: Duration = Duration::from_secs(1);

/// How often the primary is asked what is settled by now, while it writes: until that is known nothing is freed here.
const ASK_AGAIN: Duration = Duration::from_secs(2);

/// If nothing of what is here is followed for so long, the data are opened anew: what is waited for will not come.
const STUCK: Duration = Duration::from_secs(20);

/// How a link is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub(crate) enum State {
    /// Broken: it will be tried again.
    Connect,
    /// The primary is being asked what there is.
    Connecting,
    /// What there was is being fetched.
    Sync,
    /// What the primary writes is followed.
    Connected,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Link {
    pub primary: Primary,
    is_stopped: AtomicBool,
    state: AtomicU8,
    began: Instant,
    /// In ms since then, plus 1: when something was heard, and when it broke; 0: never.
    heard_ms: AtomicU64,
    down_ms: AtomicU64,
    /// How often it was tried.
    attempts: AtomicU64,
    manager: Mutex<Option<Thread>>,
    sockets: Mutex<Vec<TcpStream>>,
    feed: Mutex<Option<Arc<Feed>>>,
    /// Why it is broken.
    error: Mutex<Option<String>>,
}

/// Makes this server follow another one.
///
/// # Errors
/// If the system has no thread to give.
pub(crate) fn follow(peers: &Arc<Peers>, primary: Primary, me: Me) -> std::io::Result<()> {
    let link = Arc::new(Link {
        primary,
        is_stopped: AtomicBool::new(false),
        state: AtomicU8::new(State::Connect as u8),
        began: Instant::now(),
        heard_ms: AtomicU64::new(0),
        down_ms: AtomicU64::new(0),
        attempts: AtomicU64::new(0),
        manager: Mutex::default(),
        sockets: Mutex::default(),
        feed: Mutex::default(),
        error: Mutex::default(),
    });
    let manager = Manager { link: Arc::clone(&link), peers: Arc::clone(peers), me: Arc::new(me) };
    std::thread::Builder::new().name("replica".into()).spawn(move || manager.run())?;
    peers.replication.set_link(Some(link));
    Ok(())
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // a panic on any thread ends the process, so no lock is ever poisoned
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Link {
    #[inline]
    pub fn state(&self) -> State {
        match self.state.load(Ordering::Acquire) {
            0 => State::Connect,
            1 => State::Connecting,
            2 => State::Sync,
            _ => State::Connected,
        }
    }

    fn set_state(&self, state: State) {
        self.state.store(state as u8, Ordering::Release);
    }

    /// Whether what the primary writes is followed.
    pub fn is_up(&self) -> bool {
        self.state() == State::Connected
    }

    /// The partitions have what there was.
    pub fn has_synced(&self) {
        // a link that is broken stays so
        let (sync, connected) = (State::Sync as u8, State::Connected as u8);
        if self.state.compare_exchange(sync, connected, Ordering::AcqRel, Ordering::Acquire).is_ok() {
            tracing::info!(primary = %self.primary, "in sync with the primary");
        }
    }

    /// Ends, at once or soon.
    pub fn stop(&self) {
        self.is_stopped.store(true, Ordering::Release);
        self.hang_up();
        self.wake();
    }

    pub fn is_stopped(&self) -> bool {
        self.is_stopped.load(Ordering::Acquire)
    }

    /// There may be something to say to the primary, or to do.
    pub fn wake(&self) {
        if let Some(manager) = &*lock(&self.manager) {
            manager.unpark();
        }
    }

    fn hang_up(&self) {
        for socket in lock(&self.sockets).drain(..) {
            // it may be closed already
            let _ = socket.shutdown(Shutdown::Both);
        }
    }

    fn now_ms(&self) -> u64 {
        self.began.elapsed().as_millis() as u64 + 1
    }

    fn seconds_since(&self, ms: &AtomicU64) -> i64 {
        match ms.load(Ordering::Relaxed) {
            0 => -1,
            ms => (self.now_ms().saturating_sub(ms) / 1000) as i64,
        }
    }

    /// Since when nothing was heard, in seconds; -1: for ever.
    pub fn silent_s(&self) -> i64 {
        self.seconds_since(&self.heard_ms)
    }

    /// How long ago it broke, in seconds; -1: it never was whole.
    pub fn down_s(&self) -> i64 {
        self.seconds_since(&self.down_ms)
    }

    /// How often it was tried.
    pub fn attempts(&self) -> u64 {
        self.attempts.load(Ordering::Relaxed)
    }

    /// What the partitions are fed by, if they have been opened.
    pub fn feed(&self) -> Option<Arc<Feed>> {
        lock(&self.feed).clone().filter(|feed| feed.is_open())
    }

    /// Why it is broken.
    pub fn error(&self) -> Option<String> {
        lock(&self.error).clone()
    }
}

/// What this server tells a primary of itself.
#[derive(Debug)]
pub(crate) struct Me {
    /// Random, in hexadecimal digits.
    pub id: String,
    /// The port that it listens on.
    pub port: u16,
}

impl Me {
    pub(super) fn hello(&self, wire: &mut Wire, access: &Access) -> Result<Origin, LinkError> {
        let (ip, port) = &access.announced;
        let port = port.unwrap_or(self.port).to_string();
        let words = [&b"EMBER"[..], b"HELLO", self.id.as_bytes(), port.as_bytes(), ip];
        let bytes = wire.bulk(if ip.is_empty() { &words[..4] } else { &words })?;
        origin_of(&bytes, wire)
    }
}

/// The connections of a link, until one of them breaks.
#[derive(Debug)]
pub(super) struct Session {
    link: Arc<Link>,
    is_over: AtomicBool,
    /// It has got as far as to have the partitions pulled.
    is_whole: AtomicBool,
    error: Mutex<Option<LinkError>>,
}

impl Session {
    pub fn is_over(&self) -> bool {
        self.is_over.load(Ordering::Acquire) || self.link.is_stopped()
    }

    /// It is over, because of this if nothing came before.
    pub fn end(&self, error: LinkError) {
        lock(&self.error).get_or_insert(error);
        self.is_over.store(true, Ordering::Release);
        self.link.hang_up();
        self.link.wake();
    }

    /// A connection of it, to be ended with it.
    pub fn register(&self, wire: &Wire) -> Result<(), LinkError> {
        lock(&self.link.sockets).push(wire.socket()?);
        if self.is_over() { Err(LinkError::Stopped) } else { Ok(()) }
    }

    /// The primary has said something.
    pub fn has_heard(&self) {
        self.link.heard_ms.store(self.link.now_ms(), Ordering::Relaxed);
    }
}

/// The link's own thread.
struct Manager {
    link: Arc<Link>,
    peers: Arc<Peers>,
    me: Arc<Me>,
}

impl Manager {
    fn run(self) {
        *lock(&self.link.manager) = Some(std::thread::current());
        let (mut feed, mut tries) = (None, 0);
        while !self.link.is_stopped() {
            self.link.attempts.fetch_add(1, Ordering::Relaxed);
            let (error, was_whole) = self.session(&mut feed);
            if let (LinkError::Follow(text), Some(feed)) = (&error, &feed) {
                feed.fail(text.clone());
            }
            if self.link.is_stopped() {
                break;
            }
            if let LinkError::Fetched = error {
                tracing::info!(primary = %self.link.primary, "{error}");
                continue;
            }
            self.link.set_state(State::Connect);
            if was_whole {
                self.link.down_ms.store(self.link.now_ms(), Ordering::Relaxed);
                // one that breaks because of what is sent would only break again
                tries = if matches!(error, LinkError::Gone | LinkError::Follow(_)) { TIMES_SOON } else { 0 };
            }
            let text = error.to_string();
            let is_news = lock(&self.link.error).replace(text.clone()).as_deref() != Some(&*text);
            if is_news {
                tracing::warn!(primary = %self.link.primary, error = text, "no link to the primary: it is tried each second");
            }
            let until = Instant::now() + if tries < TIMES_SOON { SOON } else { AGAIN };
            tries += 1;
            while !self.link.is_stopped() && Instant::now() < until {
                std::thread::park_timeout(until - Instant::now());
            }
        }
        tracing::debug!(primary = %self.link.primary, "the link has ended");
    }

    /// Runs until something breaks. Returns what, and whether it was whole before.
    fn session(&self, feed: &mut Option<Arc<Feed>>) -> (LinkError, bool) {
        let session = Arc::new(Session {
            link: Arc::clone(&self.link),
            is_over: AtomicBool::new(false),
            is_whole: AtomicBool::new(false),
            error: Mutex::default(),
        });
        let mut pullers = Vec::new();
        let result = self.talk(&session, feed, &mut pullers);
        session.end(result.err().unwrap_or(LinkError::Stopped));
        if let Some(feed) = feed {
            feed.wake_pullers();
        }
        for puller in pullers {
            let _ = puller.join();
        }
        // those who came late have registered behind the end
        self.link.hang_up();
        let error = lock(&session.error).take();
        (error.unwrap_or(LinkError::Stopped), session.is_whole.load(Ordering::Relaxed))
    }

    fn talk(
        &self,
        session: &Arc<Session>,
        feed: &mut Option<Arc<Feed>>,
        pullers: &mut Vec<std::thread::JoinHandle<()>>,
    ) -> Result<(), LinkError> {
        self.link.set_state(State::Connecting);
        let access = {
            let shared = self.peers.config.lock().unwrap_or_else(PoisonError::into_inner);
            Access::new(&self.link.primary, &shared.config)?
        };
        let mut wire = Wire::connect(&access)?;
        session.register(&wire)?;
        let origin = self.me.hello(&mut wire, &access)?;
        session.has_heard();
        let feed = match feed {
            Some(known) if known.goes_on_with(&origin) => Arc::clone(known),
            known => {
                let new = self.open(session, &mut wire, origin)?;
                *lock(&self.link.feed) = Some(Arc::clone(&new));
                Arc::clone(known.insert(new))
            }
        };
        self.link.set_state(State::Sync);
        if feed.has_synced() {
            self.link.has_synced();
        }
        session.is_whole.store(true, Ordering::Relaxed);
        *lock(&self.link.error) = None;
        for partition in 0..feed.partitions() {
            let puller = Puller {
                feed: Arc::clone(&feed),
                partition,
                session: Arc::clone(session),
                access: access.clone(),
                me: Arc::clone(&self.me),
                peers: Arc::clone(&self.peers),
            };
            let thread = std::thread::Builder::new().name(format!("pull-{partition}"));
            pullers.push(thread.spawn(move || puller.run())?);
        }
        let mut moved = (feed.followed(), Instant::now());
        let mut asked = (feed.followed(), Instant::now());
        let heartbeat = HEARTBEAT.min(access.timeout / 3);
        let mut told: (Vec<LogPosition>, Instant) = (Vec::new(), Instant::now());
        while !session.is_over() {
            if let Some(text) = feed.failure() {
                return Err(LinkError::Follow(text));
            }
            if feed.is_fetched() {
                return Err(LinkError::Fetched);
            }
            let followed = feed.followed();
            if feed.take_wants_origin() || followed != asked.0 && asked.1.elapsed() > ASK_AGAIN {
                let origin = self.me.hello(&mut wire, &access)?;
                let now = Now { feed: Arc::clone(&feed), origin };
                self.peers.send(CoreId::FIRST, Message::Origin(Box::new(now)));
                asked = (followed.clone(), Instant::now());
            }
            if followed != moved.0 || !feed.is_behind() {
                moved = (followed, Instant::now());
            } else if moved.1.elapsed() > STUCK {
                return Err(LinkError::Follow(format!("nothing was followed for {STUCK:?}")));
            }
            let acked = feed.acked();
            let is_due = told.1.elapsed() >= heartbeat;
            if acked != told.0 || is_due {
                self.tell(&mut wire, &acked)?;
                session.has_heard();
                told = (acked, Instant::now());
            } else {
                std::thread::park_timeout(heartbeat.saturating_sub(told.1.elapsed()));
            }
        }
        Ok(())
    }

    /// Has the partitions opened so that they follow `origin`.
    fn open(&self, session: &Session, wire: &mut Wire, origin: Origin) -> Result<Arc<Feed>, LinkError> {
        let feed = Arc::new(Feed::new(Arc::clone(&self.link), origin.clone()));
        let nothing = vec![LogPosition(0); origin.logs.len()];
        tracing::info!(primary = %self.link.primary, partitions = origin.logs.len(), "following");
        self.tell(wire, &nothing)?;
        let mode = Mode::Follower { origin: Box::new(origin), feed: Arc::clone(&feed) };
        self.peers.send(CoreId::FIRST, Message::Reopen(Box::new(mode)));
        while !feed.is_open() {
            if session.is_over() {
                return Err(LinkError::Stopped);
            }
            if let Some(text) = feed.failure() {
                return Err(LinkError::Follow(text));
            }
            std::thread::park_timeout(HEARTBEAT);
            // so that it keeps what there was
            self.tell(wire, &nothing)?;
        }
        Ok(feed)
    }

    fn tell(&self, wire: &mut Wire, acked: &[LogPosition]) -> Result<(), LinkError> {
        let positions: Vec<String> = acked.iter().map(|position| position.0.to_string()).collect();
        let mut words = vec![&b"EMBER"[..], b"ACK", self.me.id.as_bytes()];
        words.extend(positions.iter().map(String::as_bytes));
        wire.tell(&words)
    }
}
