//! The driver over readiness: epoll, or what else the `polling` crate finds (kqueue on macOS and the BSDs).
//!
//! A turn costs one wait and, for each connection that has something, one receive and one send. What can be sent
//! at once is sent in [`Driver::send`]; its [`Event::Sent`] comes with the next poll.

mod buffers;
mod conn;
mod disk;
mod poller;

use std::io::{self, IoSlice};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use emberkv_resp::Output;
use rustix::io::Errno;
use rustix::net::RecvFlags;

use self::buffers::BufferPool;
use self::conn::{Conn, End, Outgoing};
use self::disk::{DiskThread, Task};
use self::poller::{Interest, Ready, Sockets};
use super::listen::{self, AcceptPause};
use super::wake::{self, Reading};
use super::{ConnId, DiskRead, DiskToken, DiskWrite, Driver, Event, ListenerId, Received, Settings, Wait, Waker};

/// Buffers that one connection may fill in one poll, so that a fast one leaves some for the others.
const RECEIVES_PER_POLL: u32 = 4;

/// Connections accepted from one listener in one poll, before those that exist are served again.
const ACCEPTS_PER_POLL: u32 = 64;

/// Keys that are no connection's. The highest is the `polling` crate's own.
const WAKE_KEY: usize = usize::MAX - 1;
const DISK_KEY: usize = usize::MAX - 2;
const READ_KEY: usize = usize::MAX - 3;
const FIRST_LISTENER_KEY: usize = usize::MAX - 1024;

/// A listening socket.
struct Listener {
    id: ListenerId,
    socket: OwnedFd,
    registered: Interest,
}

/// See the module.
pub struct Epoll {
    sockets: Sockets,
    buffers: BufferPool,
    conns: Vec<Conn>,
    listeners: Vec<Option<Listener>>,
    accept_pause: AcceptPause,
    /// Started by the first write.
    disk: Option<DiskThread>,
    reader: Option<DiskThread>,
    waker: Waker,
    called: Arc<OwnedFd>,
    /// What the next poll reports without waiting.
    done: Vec<Event>,
    /// Room for the ready sockets of one poll.
    ready: Vec<Ready>,
    /// Room for the slices of one send.
    slices: Vec<IoSlice<'static>>,
}

impl Epoll {
    /// Makes a driver.
    ///
    /// # Errors
    /// When the operating system refuses.
    ///
    /// # Panics
    /// If `settings` are out of their range.
    pub fn new(settings: Settings) -> io::Result<Self> {
        let sockets = Sockets::new()?;
        let (waker, called) = wake::pair(Reading::Returns)?;
        sockets.change(called.as_fd(), WAKE_KEY, Interest::NONE, Interest::READABLE)?;
        Ok(Self {
            sockets,
            buffers: BufferPool::new(settings),
            conns: Vec::new(),
            listeners: Vec::new(),
            accept_pause: AcceptPause::default(),
            disk: None,
            reader: None,
            waker,
            called,
            done: Vec::new(),
            ready: Vec::new(),
            slices: Vec::new(),
        })
    }

    /// Watches a connection's socket for what it wants now. A failure fails the connection.
    fn watch(&mut self, id: ConnId) {
        let conn = &mut self.conns[id.0 as usize];
        let Some(socket) = &conn.socket else { return };
        let wanted = conn.interest();
        match self.sockets.change(socket.as_fd(), id.0 as usize, conn.registered, wanted) {
            Ok(()) => conn.registered = wanted,
            Err(e) if wanted != Interest::NONE => {
                let failed = fail(conn, id, e, &mut self.done);
                assert!(failed, "a failed connection is watched");
                self.watch(id);
            }
            Err(error) => {
                tracing::error!(%error, "can't stop watching a socket");
                conn.registered = wanted;
            }
        }
    }

    fn received(&mut self, id: ConnId, events: &mut Vec<Event>) {
        let conn = &mut self.conns[id.0 as usize];
        for _ in 0..RECEIVES_PER_POLL {
            if !conn.receives() {
                break;
            }
            let Some(socket) = &conn.socket else { break };
            // without a buffer the socket stays readable, and the next poll finds it again.
            let Some(buffer) = self.buffers.next() else {
                break;
            };
            let room = buffer.len();
            match rustix::net::recv(socket, buffer, RecvFlags::empty()) {
                Ok((_, 0)) => {
                    conn.end = End::Eof;
                    events.push(Event::Eof(id));
                }
                Ok((_, len)) => {
                    events.push(Event::Received(id, self.buffers.filled(len)));
                    if len < room {
                        break;
                    }
                }
                Err(Errno::AGAIN) => break,
                Err(Errno::INTR) => {}
                Err(e) => {
                    fail(conn, id, e.into(), events);
                }
            }
        }
        if self.conns[id.0 as usize].end != End::Open {
            self.watch(id);
        }
    }

    /// Sends what is left of an output; reports when that is all.
    fn send_rest(&mut self, id: ConnId, events: &mut Vec<Event>) {
        let conn = &mut self.conns[id.0 as usize];
        let (Some(socket), Some(outgoing)) = (&conn.socket, &mut conn.outgoing) else {
            return;
        };
        let result = outgoing.send(socket, &mut self.slices);
        if result == Ok(false) {
            return;
        }
        let mut output = std::mem::take(&mut outgoing.output);
        conn.outgoing = None;
        if let Err(e) = result {
            fail(conn, id, e.into(), events);
        }
        output.clear();
        events.push(Event::Sent(id, output));
    }

    fn accepted(&mut self, index: usize, events: &mut Vec<Event>) {
        let Some(Some(listener)) = self.listeners.get(index) else {
            return;
        };
        for _ in 0..ACCEPTS_PER_POLL {
            match listen::accept(listener.socket.as_fd()) {
                Ok(socket) => events.push(Event::Accepted(listener.id, socket)),
                Err(Errno::AGAIN) => return,
                Err(e) => {
                    self.accept_pause.note(e);
                    if self.accept_pause.is_on() {
                        return self.watch_listeners(Interest::NONE);
                    }
                }
            }
        }
    }

    fn watch_listeners(&mut self, wanted: Interest) {
        for (index, place) in self.listeners.iter_mut().enumerate() {
            let Some(listener) = place else { continue };
            let key = FIRST_LISTENER_KEY + index;
            match self.sockets.change(listener.socket.as_fd(), key, listener.registered, wanted) {
                Ok(()) => listener.registered = wanted,
                // most likely for want of memory: as when accepting itself fails.
                Err(error) => self.accept_pause.note(Errno::from_io_error(&error).unwrap_or(Errno::NOMEM)),
            }
        }
    }

    fn handle(&mut self, ready: Ready, events: &mut Vec<Event>) {
        match ready.key {
            WAKE_KEY => {
                wake::drain(&*self.called);
                events.push(Event::Woken);
            }
            DISK_KEY => {
                if let Some(disk) = &self.disk {
                    disk.take_done(events);
                }
            }
            READ_KEY => {
                if let Some(reader) = &self.reader {
                    reader.take_done(events);
                }
            }
            usize::MAX => {}
            key if key >= FIRST_LISTENER_KEY => self.accepted(key - FIRST_LISTENER_KEY, events),
            key => {
                let id = ConnId(key as u32);
                if ready.writable && self.conns[key].outgoing.is_some() {
                    self.send_rest(id, events);
                    self.watch(id);
                }
                if ready.readable {
                    self.received(id, events);
                }
            }
        }
    }
}

/// Marks a connection as failed and reports it, unless that has been done.
fn fail(conn: &mut Conn, id: ConnId, error: io::Error, events: &mut Vec<Event>) -> bool {
    let first = conn.end != End::Failed;
    if first {
        conn.end = End::Failed;
        events.push(Event::Failed(id, error));
    }
    if let Some(outgoing) = conn.outgoing.take() {
        let mut output = outgoing.output;
        output.clear();
        events.push(Event::Sent(id, output));
    }
    first
}

impl Driver for Epoll {
    const NAME: &'static str = "epoll";

    fn listen(&mut self, id: ListenerId, socket: OwnedFd) -> io::Result<()> {
        let free = self.listeners.iter().position(Option::is_none);
        let index = free.unwrap_or(self.listeners.len());
        let key = FIRST_LISTENER_KEY + index;
        assert!(key < READ_KEY, "too many listeners");
        self.sockets.change(socket.as_fd(), key, Interest::NONE, Interest::READABLE)?;
        let listener = Some(Listener { id, socket, registered: Interest::READABLE });
        if index == self.listeners.len() {
            self.listeners.push(listener);
        } else {
            self.listeners[index] = listener;
        }
        Ok(())
    }

    fn unlisten(&mut self, id: ListenerId) {
        for (index, place) in self.listeners.iter_mut().enumerate() {
            if let Some(listener) = place.take_if(|listener| listener.id == id)
                && let Err(error) = self.sockets.change(
                    listener.socket.as_fd(),
                    FIRST_LISTENER_KEY + index,
                    listener.registered,
                    Interest::NONE,
                )
            {
                tracing::error!(%error, "can't stop watching a listener");
            }
        }
    }

    fn attach(&mut self, conn: ConnId, socket: OwnedFd) -> io::Result<()> {
        rustix::io::ioctl_fionbio(&socket, true)?;
        let index = conn.0 as usize;
        assert!(index < FIRST_LISTENER_KEY);
        if index >= self.conns.len() {
            self.conns.resize_with(index + 1, Conn::free);
        }
        self.sockets.change(socket.as_fd(), index, Interest::NONE, Interest::READABLE)?;
        let place = &mut self.conns[index];
        place.open(socket);
        place.registered = Interest::READABLE;
        Ok(())
    }

    fn pause(&mut self, conn: ConnId) {
        self.conns[conn.0 as usize].paused = true;
        self.watch(conn);
    }

    fn resume(&mut self, conn: ConnId) {
        self.conns[conn.0 as usize].paused = false;
        self.watch(conn);
    }

    fn send(&mut self, conn: ConnId, mut output: Output) {
        let place = &mut self.conns[conn.0 as usize];
        if !place.is_open() {
            return;
        }
        assert!(place.outgoing.is_none(), "the previous output is still being sent");
        if output.is_empty() || place.end == End::Failed {
            output.clear();
            self.done.push(Event::Sent(conn, output));
            return;
        }
        place.outgoing = Some(Outgoing::new(output));
        let mut done = std::mem::take(&mut self.done);
        self.send_rest(conn, &mut done);
        self.done = done;
        self.watch(conn);
    }

    fn close(&mut self, conn: ConnId) {
        let Some(place) = self.conns.get_mut(conn.0 as usize) else {
            return;
        };
        if !place.is_open() {
            return;
        }
        place.closing = true;
        place.outgoing = None;
        self.watch(conn);
        // nothing but the end is reported after this.
        self.done.retain(|event| !matches!(event, Event::Sent(id, _) | Event::Failed(id, _) if *id == conn));
        self.conns[conn.0 as usize].socket = None;
        self.done.push(Event::Closed(conn));
    }

    fn write(&mut self, token: DiskToken, write: DiskWrite) {
        if self.disk.is_none() {
            let started = DiskThread::start().and_then(|disk| {
                self.sockets.change(disk.called(), DISK_KEY, Interest::NONE, Interest::READABLE)?;
                Ok(disk)
            });
            match started {
                Ok(disk) => self.disk = Some(disk),
                Err(e) => self.done.push(Event::DiskDone(token, Err(e))),
            }
        }
        if let Some(disk) = &self.disk {
            disk.begin(token, Task::Write(write));
        }
    }

    fn read(&mut self, token: DiskToken, read: DiskRead) {
        if self.reader.is_none() {
            let started = DiskThread::start().and_then(|reader| {
                self.sockets.change(reader.called(), READ_KEY, Interest::NONE, Interest::READABLE)?;
                Ok(reader)
            });
            match started {
                Ok(reader) => self.reader = Some(reader),
                Err(e) => self.done.push(Event::DiskRead(token, Err(e))),
            }
        }
        if let Some(reader) = &self.reader {
            reader.begin(token, Task::Read(read));
        }
    }

    fn waker(&self) -> Waker {
        self.waker.clone()
    }

    fn bytes(&self, received: &Received) -> &[u8] {
        self.buffers.bytes(received)
    }

    fn recycle(&mut self, received: Received) {
        self.buffers.recycle(received);
    }

    fn poll(&mut self, wait: Wait, events: &mut Vec<Event>) -> io::Result<()> {
        if self.accept_pause.ends() {
            self.watch_listeners(Interest::READABLE);
        }
        let timeout = if self.done.is_empty() { self.accept_pause.limit(wait.timeout) } else { Duration::ZERO };
        events.append(&mut self.done);
        let mut ready = std::mem::take(&mut self.ready);
        let result = self.sockets.wait(timeout, &mut ready);
        for ready in ready.drain(..) {
            self.handle(ready, events);
        }
        self.ready = ready;
        // a connection that failed while it was handled.
        events.append(&mut self.done);
        result
    }
}
