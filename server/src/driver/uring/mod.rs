//! The driver over `io_uring` (Linux 6.0 and newer; best from 6.12 on).
//!
//! One system call a turn submits all that was queued and waits. Each connection has one multishot receive out of
//! the shared buffers and at most one send under way.

mod buffers;
mod conn;
mod disk;
mod probe;
mod read;
mod ring;
mod tag;

use std::io;
use std::marker::PhantomData;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use emberkv_resp::Output;
use rustix::io::Errno;

use self::buffers::BufferRing;
use self::conn::{Conn, End, Receive};
use self::disk::DiskTable;
use self::read::ReadTable;
use self::ring::{Completion, Ring};
use self::tag::{Generation, Kind, Tag};
use super::listen::AcceptPause;
use super::wake::{self, Reading};
use super::{ConnId, DiskRead, DiskToken, DiskWrite, Driver, Event, ListenerId, Received, Settings, Wait, Waker};

pub use self::probe::probe;

/// A listening socket's place in the table.
struct Listener {
    id: ListenerId,
    /// `None`: the place is free.
    socket: Option<OwnedFd>,
    generation: Generation,
    /// Whether the accept is under way.
    armed: bool,
    closing: bool,
}

/// See the module.
pub struct Uring {
    ring: Ring,
    buffers: BufferRing,
    conns: Vec<Conn>,
    listeners: Vec<Listener>,
    accept_pause: AcceptPause,
    disk: DiskTable,
    reads: ReadTable,
    waker: Waker,
    /// Other drivers that were woken from here.
    called: Vec<Waker>,
    eventfd: Arc<OwnedFd>,
    /// Where the kernel puts what it reads from the eventfd.
    wake_counter: Box<u64>,
    /// Whether the last completions are being waited for.
    dropping: bool,
    /// Events that need no completion, for the next poll.
    ready: Vec<Event>,
    /// Connections whose receive ended for want of a buffer.
    starved: Vec<u32>,
    /// Connections and listeners whose cancellation found nothing, to be looked at again.
    uncancelled: Vec<Tag>,
    /// Room for the completions of one poll.
    completions: Vec<Completion>,
    /// The kernel ties the ring to the thread that made it.
    _one_thread: PhantomData<*const ()>,
}

impl Uring {
    /// Makes a driver that belongs to the calling thread.
    ///
    /// # Errors
    /// When the kernel lacks or forbids what is needed; [`probe()`] tells in words.
    ///
    /// # Panics
    /// If `settings` are out of their range.
    pub fn new(settings: Settings) -> io::Result<Self> {
        Self::over(Ring::new()?, settings)
    }

    /// The same with only what the oldest kernels have.
    #[cfg(test)]
    pub(super) fn plain(settings: Settings) -> io::Result<Self> {
        Self::over(Ring::with(ring::Features::Plain)?, settings)
    }

    fn over(ring: Ring, settings: Settings) -> io::Result<Self> {
        let buffers = BufferRing::new(&ring, settings)?;
        let (mut waker, eventfd) = wake::pair(Reading::Waits)?;
        waker.ring = if ring.can_call() { Some(Arc::new(ring.descriptor()?)) } else { None };
        let mut driver = Self {
            ring,
            buffers,
            conns: Vec::new(),
            listeners: Vec::new(),
            accept_pause: AcceptPause::default(),
            disk: DiskTable::default(),
            reads: ReadTable::default(),
            waker,
            called: Vec::new(),
            eventfd,
            wake_counter: Box::new(0),
            dropping: false,
            ready: Vec::new(),
            starved: Vec::new(),
            uncancelled: Vec::new(),
            completions: Vec::new(),
            _one_thread: PhantomData,
        };
        driver.arm_waker();
        Ok(driver)
    }

    fn arm_waker(&mut self) {
        let tag = Tag { kind: Kind::Wake, generation: Generation::default(), index: 0 };
        // SAFETY: the counter is boxed and used for nothing else; the driver keeps it until the ring is done.
        unsafe {
            self.ring.read_counter(self.eventfd.as_fd(), std::ptr::from_mut(&mut *self.wake_counter), tag);
        }
    }

    fn handle(&mut self, completion: Completion, events: &mut Vec<Event>) {
        match completion.tag.kind {
            Kind::Receive => self.received(&completion, events),
            Kind::Send => self.sent(&completion, events),
            Kind::Accept => self.accepted(completion, events),
            Kind::CancelConn | Kind::CancelAccept => {
                // success or "under way" is followed by the completion of what was cancelled. If nothing was
                // found that completion has come already, or the operation was just between two attempts.
                if completion.result < 0 {
                    self.uncancelled.push(completion.tag);
                }
            }
            Kind::Wake => {
                if !self.dropping {
                    events.push(Event::Woken);
                    self.arm_waker();
                }
            }
            Kind::Called => events.push(Event::Woken),
            // its ring is full or gone
            Kind::Call => self.called[completion.tag.index as usize].wake(),
            Kind::DiskWrite => {
                if let Some((token, result)) = self.disk.complete(&mut self.ring, &completion) {
                    events.push(Event::DiskDone(token, result));
                }
            }
            Kind::DiskRead => {
                if let Some((token, result)) = self.reads.complete(&mut self.ring, &completion) {
                    events.push(Event::DiskRead(token, result));
                }
            }
        }
    }

    fn received(&mut self, completion: &Completion, events: &mut Vec<Event>) {
        let index = completion.tag.index;
        let id = ConnId(index);
        let conn = &mut self.conns[index as usize];
        assert_eq!(conn.generation, completion.tag.generation, "a closed connection received");
        let wanted = !conn.closing && conn.end == End::Open;
        let value = completion.value();
        if let Some(buffer) = completion.buffer() {
            let received = self.buffers.filled(buffer, value.unwrap_or(0));
            if wanted && received.len > 0 {
                events.push(Event::Received(id, received));
            } else {
                self.buffers.recycle(received);
            }
        }
        if completion.goes_on() {
            return;
        }
        conn.receive = Receive::Off;
        if conn.closing {
            return self.try_finish_close(index, events);
        }
        if !wanted {
            return;
        }
        match value {
            Ok(0) => {
                conn.end = End::Eof;
                events.push(Event::Eof(id));
            }
            Err(Errno::NOBUFS) => {
                if !conn.starved {
                    conn.starved = true;
                    self.starved.push(index);
                }
            }
            // a multishot receive also ends when the completion queue is full, when it is cancelled, and when the
            // kernel thinks fit.
            Ok(_) | Err(Errno::CANCELED | Errno::INTR | Errno::AGAIN) => {
                conn.arm(&mut self.ring, index);
            }
            Err(e) => {
                conn.end = End::Failed;
                events.push(Event::Failed(id, e.into()));
            }
        }
    }

    fn sent(&mut self, completion: &Completion, events: &mut Vec<Event>) {
        let index = completion.tag.index;
        let id = ConnId(index);
        let conn = &mut self.conns[index as usize];
        assert_eq!(conn.generation, completion.tag.generation, "a closed connection sent");
        if conn.closing {
            drop(conn.take_output());
            return self.try_finish_close(index, events);
        }
        let error = match completion.value() {
            Ok(0) => io::ErrorKind::WriteZero.into(),
            Ok(sent) => {
                if conn.sent(&mut self.ring, index, sent as usize) {
                    events.push(Event::Sent(id, conn.take_output()));
                }
                return;
            }
            Err(Errno::INTR | Errno::AGAIN) => {
                conn.sent(&mut self.ring, index, 0);
                return;
            }
            Err(e) => e.into(),
        };
        if conn.end != End::Failed {
            conn.end = End::Failed;
            conn.disarm(&mut self.ring, index);
            events.push(Event::Failed(id, error));
        }
        events.push(Event::Sent(id, conn.take_output()));
    }

    /// Ends a connection that is being closed once nothing of it is under way.
    fn try_finish_close(&mut self, index: u32, events: &mut Vec<Event>) {
        let conn = &mut self.conns[index as usize];
        assert!(conn.closing);
        if conn.receive == Receive::Off && !conn.sending {
            conn.socket = None;
            conn.closing = false;
            events.push(Event::Closed(ConnId(index)));
        }
    }

    fn accepted(&mut self, completion: Completion, events: &mut Vec<Event>) {
        let index = completion.tag.index;
        let goes_on = completion.goes_on();
        let listener = &mut self.listeners[index as usize];
        assert_eq!(listener.generation, completion.tag.generation, "a closed listener accepted");
        match completion.accepted() {
            Ok(socket) if !listener.closing => events.push(Event::Accepted(listener.id, socket)),
            Ok(socket) => drop(socket),
            Err(e) if !goes_on && !listener.closing => self.accept_pause.note(e),
            Err(_) => {}
        }
        if goes_on {
            return;
        }
        listener.armed = false;
        if listener.closing {
            listener.socket = None;
        } else if !self.accept_pause.is_on() {
            self.arm_listener(index);
        }
    }

    fn arm_listener(&mut self, index: u32) {
        let listener = &mut self.listeners[index as usize];
        if let Some(socket) = &listener.socket
            && !listener.armed
            && !listener.closing
        {
            listener.armed = true;
            let tag = listener.tag(Kind::Accept, index);
            self.ring.accept(socket.as_fd(), tag);
        }
    }

    /// What has to be begun again since the last poll.
    fn rearm(&mut self) {
        if !self.starved.is_empty() && self.buffers.has_free() {
            for index in self.starved.drain(..) {
                let conn = &mut self.conns[index as usize];
                if std::mem::take(&mut conn.starved) {
                    conn.arm(&mut self.ring, index);
                }
            }
        }
        for tag in self.uncancelled.drain(..) {
            let index = tag.index;
            if tag.kind == Kind::CancelAccept {
                let listener = &self.listeners[index as usize];
                if listener.generation == tag.generation && listener.closing && listener.armed {
                    self.ring.cancel(listener.tag(Kind::Accept, index), tag);
                }
                continue;
            }
            let conn = &self.conns[index as usize];
            if conn.generation != tag.generation {
                continue;
            }
            if conn.receive == Receive::Cancelling {
                conn.cancel(&mut self.ring, Kind::Receive, index);
            }
            if conn.closing && conn.sending {
                conn.cancel(&mut self.ring, Kind::Send, index);
            }
        }
        if self.accept_pause.ends() {
            for index in 0..self.listeners.len() as u32 {
                self.arm_listener(index);
            }
        }
    }

    /// Waits and handles what has come.
    fn turn(&mut self, wait: Wait, events: &mut Vec<Event>) -> io::Result<()> {
        self.ring.submit_and_wait(wait.timeout, wait.gather_time, wait.gather_events)?;
        let mut completions = std::mem::take(&mut self.completions);
        self.ring.take_completions(&mut completions);
        for completion in completions.drain(..) {
            self.handle(completion, events);
        }
        self.completions = completions;
        Ok(())
    }
}

impl Listener {
    fn tag(&self, kind: Kind, index: u32) -> Tag {
        Tag { kind, generation: self.generation, index }
    }
}

impl Driver for Uring {
    const NAME: &'static str = "uring";

    fn listen(&mut self, id: ListenerId, socket: OwnedFd) -> io::Result<()> {
        let free = self.listeners.iter().position(|l| l.socket.is_none());
        let index = free.unwrap_or_else(|| {
            self.listeners.push(Listener {
                id,
                socket: None,
                generation: Generation::default(),
                armed: false,
                closing: false,
            });
            self.listeners.len() - 1
        });
        let listener = &mut self.listeners[index];
        listener.id = id;
        listener.socket = Some(socket);
        listener.generation = listener.generation.next();
        listener.closing = false;
        self.arm_listener(index as u32);
        Ok(())
    }

    fn unlisten(&mut self, id: ListenerId) {
        for (index, listener) in self.listeners.iter_mut().enumerate() {
            if listener.id != id || listener.closing || listener.socket.is_none() {
                continue;
            }
            if listener.armed {
                listener.closing = true;
                let index = index as u32;
                self.ring.cancel(listener.tag(Kind::Accept, index), listener.tag(Kind::CancelAccept, index));
            } else {
                listener.socket = None;
            }
        }
    }

    fn attach(&mut self, conn: ConnId, socket: OwnedFd) -> io::Result<()> {
        let index = conn.0 as usize;
        if index >= self.conns.len() {
            self.conns.resize_with(index + 1, Conn::free);
        }
        let place = &mut self.conns[index];
        place.open(socket);
        place.arm(&mut self.ring, conn.0);
        Ok(())
    }

    fn pause(&mut self, conn: ConnId) {
        let place = &mut self.conns[conn.0 as usize];
        place.paused = true;
        place.disarm(&mut self.ring, conn.0);
    }

    fn resume(&mut self, conn: ConnId) {
        let place = &mut self.conns[conn.0 as usize];
        place.paused = false;
        if !place.starved {
            place.arm(&mut self.ring, conn.0);
        }
    }

    fn send(&mut self, conn: ConnId, mut output: Output) {
        let place = &mut self.conns[conn.0 as usize];
        if !place.is_open() {
            return;
        }
        if output.is_empty() || place.end == End::Failed {
            assert!(!place.sending, "the previous output is still being sent");
            output.clear();
            self.ready.push(Event::Sent(conn, output));
        } else {
            place.send(&mut self.ring, conn.0, output);
        }
    }

    fn close(&mut self, conn: ConnId) {
        let Some(place) = self.conns.get_mut(conn.0 as usize) else {
            return;
        };
        if !place.is_open() {
            return;
        }
        place.closing = true;
        place.disarm(&mut self.ring, conn.0);
        if place.sending {
            place.cancel(&mut self.ring, Kind::Send, conn.0);
        }
        // an output that was done at once does not come back after this.
        self.ready.retain(|event| !matches!(event, Event::Sent(id, _) if *id == conn));
        let mut ready = std::mem::take(&mut self.ready);
        self.try_finish_close(conn.0, &mut ready);
        self.ready = ready;
    }

    fn write(&mut self, token: DiskToken, write: DiskWrite) {
        if self.disk.begin(&mut self.ring, token, write) {
            self.ready.push(Event::DiskDone(token, Ok(())));
        }
    }

    fn read(&mut self, token: DiskToken, read: DiskRead) {
        if read.len == 0 {
            return self.ready.push(Event::DiskRead(token, Ok(Vec::new())));
        }
        self.reads.begin(&mut self.ring, token, read);
    }

    fn waker(&self) -> Waker {
        self.waker.clone()
    }

    fn wake(&mut self, other: &Waker) {
        let Some(ring) = other.ring.as_ref().filter(|_| self.ring.can_call()) else { return other.wake() };
        let is_it = |waker: &Waker| waker.ring.as_ref().is_some_and(|known| Arc::ptr_eq(known, ring));
        let index = self.called.iter().position(is_it).unwrap_or_else(|| {
            self.called.push(other.clone());
            self.called.len() - 1
        });
        let tag = |kind, index| Tag { kind, generation: Generation::default(), index };
        self.ring.call(ring.as_fd(), tag(Kind::Call, index as u32), tag(Kind::Called, 0));
    }

    fn wakes_at_poll(&self) -> bool {
        self.ring.can_call()
    }

    fn bytes(&self, received: &Received) -> &[u8] {
        self.buffers.bytes(received)
    }

    fn recycle(&mut self, received: Received) {
        self.buffers.recycle(received);
    }

    fn poll(&mut self, wait: Wait, events: &mut Vec<Event>) -> io::Result<()> {
        self.rearm();
        let mut wait = wait;
        if self.ready.is_empty() {
            wait.timeout = self.accept_pause.limit(wait.timeout);
        } else {
            wait.timeout = Duration::ZERO;
            events.append(&mut self.ready);
        }
        self.turn(wait, events)
    }
}

impl Drop for Uring {
    /// Ends what is under way before the memory that it uses goes away.
    fn drop(&mut self) {
        for index in 0..self.conns.len() as u32 {
            self.close(ConnId(index));
        }
        for index in 0..self.listeners.len() {
            self.unlisten(self.listeners[index].id);
        }
        // the read of the eventfd needs no cancellation: it ends by being called.
        self.dropping = true;
        self.waker.wake();
        let wait = Wait { timeout: Duration::from_secs(1), gather_time: Duration::ZERO, gather_events: 0 };
        let mut events = Vec::new();
        while self.ring.in_flight() > 0 {
            events.clear();
            self.rearm();
            if let Err(error) = self.turn(wait, &mut events) {
                tracing::error!(%error, "can't drain the ring: its memory is given up");
                self.buffers.leak();
                std::mem::forget(std::mem::take(&mut self.conns));
                std::mem::forget(std::mem::take(&mut self.disk));
                std::mem::forget(std::mem::take(&mut self.reads));
                std::mem::forget(std::mem::take(&mut self.wake_counter));
                return;
            }
        }
    }
}
