//! The completion-based door to sockets and to asynchronous disk writes: one interface, two
//! implementations ([`uring`] and [`epoll`]) that pass the same tests.
//!
//! A core owns one driver and is its only caller. Nothing here blocks but [`Driver::poll`].

pub mod epoll;
pub mod listen;
#[cfg(target_os = "linux")]
pub mod uring;
mod wake;

#[cfg(test)]
mod tests;

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use emberkv_resp::Output;

pub use wake::Waker;

/// How large a driver's pool of receive buffers is.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Buffers, shared by all connections of the driver: 1 to 32768.
    pub buffers: u16,
    /// Bytes in each: what one [`Event::Received`] brings at most.
    pub buffer_len_bytes: u32,
}

impl Settings {
    /// The pool's memory, once all of it was used.
    pub const fn bytes(self) -> u64 {
        self.buffers as u64 * self.buffer_len_bytes as u64
    }
}

impl Default for Settings {
    /// 512 buffers of 16 KiB: enough for a turn in which every one of 512 clients has sent something, and one
    /// receive takes a whole pipeline of small commands. Fewer make a turn with many clients wait for a
    /// second one; more only spread the same traffic over more of the cpu's cache.
    fn default() -> Self {
        Self { buffers: 512, buffer_len_bytes: 16 * 1024 }
    }
}

/// Names a connection to the driver: a slot in the core's connection table. A slot is used again
/// only after [`Event::Closed`].
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct ConnId(pub u32);

/// Names a listening socket.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ListenerId(pub u8);

/// Names a disk operation, chosen by the caller and returned in [`Event::DiskDone`]
/// or [`Event::DiskRead`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DiskToken(pub u64);

/// Received bytes, in a buffer of the driver's. Read with [`Driver::bytes`], given back with
/// [`Driver::recycle`] in the same turn, also when its connection was closed meanwhile: an unreturned buffer
/// starves the others.
#[derive(Debug)]
pub struct Received {
    /// Which of the driver's buffers.
    pub(crate) buffer: u32,
    /// How many bytes of it are filled.
    pub(crate) len: u32,
}

/// A write for the disk, optionally made durable before it is reported done.
#[derive(Debug)]
pub struct DiskWrite {
    /// The file; kept open until the write is done.
    pub file: Arc<File>,
    /// Byte offset in the file.
    pub offset: u64,
    /// What to write.
    pub data: Bytes,
    /// Whether fdatasync must have returned before the write counts as done.
    pub sync: bool,
}

/// A read from the disk.
#[derive(Debug)]
pub struct DiskRead {
    /// The file; kept open until the read is done.
    pub file: Arc<File>,
    /// Byte offset in the file.
    pub offset: u64,
    /// How many bytes.
    pub len: usize,
}

/// What happened.
#[derive(Debug)]
pub enum Event {
    /// A listener accepted a connection. The socket is non-blocking and close-on-exec.
    Accepted(ListenerId, OwnedFd),
    /// Bytes arrived.
    Received(ConnId, Received),
    /// The peer has closed its sending side; no more [`Event::Received`] follows.
    Eof(ConnId),
    /// Receiving or sending failed; the connection is of no more use and must be closed. Reported once; of
    /// this connection only [`Event::Sent`] and [`Event::Closed`] may follow.
    Failed(ConnId, io::Error),
    /// An output was sent whole (or dropped, after a failure that [`Event::Failed`] reports). It comes
    /// back empty, its memory to be used again.
    Sent(ConnId, Output),
    /// The connection is closed: no operation of it is under way and no event of it follows.
    Closed(ConnId),
    /// A disk write is done, all of it (a short write is continued by the driver). After an error nothing is
    /// known about what reached the file.
    DiskDone(DiskToken, io::Result<()>),
    /// A disk read is done: all that was asked for, or up to the end of the file.
    DiskRead(DiskToken, io::Result<Vec<u8>>),
    /// Somebody called [`Waker::wake`].
    Woken,
}

/// How long [`Driver::poll`] waits.
#[derive(Clone, Copy, Debug)]
pub struct Wait {
    /// At most this long. Zero: only look.
    pub timeout: Duration,
    /// Once there is work, gather more of it, to share the cost of a turn: return when `gather_events`
    /// are there or after `gather_time`, whichever is first. Zero time: return at the first event.
    pub gather_time: Duration,
    /// See `gather_time`.
    pub gather_events: u32,
}

/// The interface. Calls queue work; [`Driver::poll`] submits it and waits.
///
/// A driver is made, used and dropped on one thread. Dropping it closes its sockets and waits for the disk
/// writes that are under way.
pub trait Driver: Sized {
    /// `uring` or `epoll`: what `INFO server` says.
    const NAME: &'static str;

    /// Begins to accept on `socket` (bound and listening).
    ///
    /// # Errors
    /// When the operating system refuses.
    fn listen(&mut self, id: ListenerId, socket: OwnedFd) -> io::Result<()>;

    /// Stops accepting and closes the listener.
    fn unlisten(&mut self, id: ListenerId);

    /// Takes over a connected socket under the name `conn` and begins to receive.
    ///
    /// # Errors
    /// When the operating system refuses; the socket is then closed.
    fn attach(&mut self, conn: ConnId, socket: OwnedFd) -> io::Result<()>;

    /// Stops receiving until [`Driver::resume`]: the client is made to wait. What is already under way
    /// may still arrive.
    fn pause(&mut self, conn: ConnId);

    /// Receives again after [`Driver::pause`].
    fn resume(&mut self, conn: ConnId);

    /// Sends all of `output`, in order; [`Event::Sent`] brings it back. One at a time: what comes up
    /// meanwhile is gathered for the next.
    ///
    /// # Panics
    /// If an earlier output of this connection has not come back yet.
    fn send(&mut self, conn: ConnId, output: Output);

    /// Closes the connection: drops what is not yet sent, cancels what is under way; [`Event::Closed`]
    /// follows, once, always in a later poll, and is then the only event of it: an output that is still
    /// being sent does not come back. (Events that an earlier poll has reported stand.) Closing twice is
    /// closing once.
    fn close(&mut self, conn: ConnId);

    /// Begins a disk write. Writes under way at the same time may be done in any order.
    fn write(&mut self, token: DiskToken, write: DiskWrite);

    /// Begins a disk read. It waits for no write that is under way.
    fn read(&mut self, token: DiskToken, read: DiskRead);

    /// What can wake this driver's poll from another thread.
    fn waker(&self) -> Waker;

    /// Wakes another driver from this one's thread: at the next [`Driver::poll`], if [`Driver::wakes_at_poll`] says so, else at once.
    fn wake(&mut self, other: &Waker) {
        other.wake();
    }

    /// Whether [`Driver::wake`] only queues what is submitted with all else, which spares a system call.
    fn wakes_at_poll(&self) -> bool {
        false
    }

    /// The bytes of a received buffer.
    fn bytes(&self, received: &Received) -> &[u8];

    /// Gives a buffer back.
    fn recycle(&mut self, received: Received);

    /// Submits what is queued, waits, and appends what happened to `events`. May return early without an
    /// event.
    ///
    /// # Errors
    /// Only what means that the driver is broken; a time-out or a signal is no error.
    fn poll(&mut self, wait: Wait, events: &mut Vec<Event>) -> io::Result<()>;
}
