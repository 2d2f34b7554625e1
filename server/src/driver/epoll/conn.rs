//! A connection's place in the epoll driver's table.

use std::io::IoSlice;
use std::os::fd::{AsFd, OwnedFd};

use emberkv_resp::{MAX_IO_SLICES, Output};
use rustix::io::Errno;
use rustix::net::{SendAncillaryBuffer, SendFlags};

use super::poller::Interest;

/// Why nothing more is received, for good.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum End {
    /// It is not so.
    Open,
    /// The peer has closed its side; what we send still arrives.
    Eof,
    /// Receiving or sending failed.
    Failed,
}

/// An output on its way.
pub(super) struct Outgoing {
    pub(super) output: Output,
    sent: usize,
}

/// See the module.
pub(super) struct Conn {
    /// `None`: the place is free.
    pub(super) socket: Option<OwnedFd>,
    pub(super) registered: Interest,
    pub(super) end: End,
    pub(super) paused: bool,
    pub(super) closing: bool,
    /// What the socket has not taken yet.
    pub(super) outgoing: Option<Outgoing>,
}

impl Conn {
    pub(super) fn free() -> Self {
        Self { socket: None, registered: Interest::NONE, end: End::Open, paused: false, closing: false, outgoing: None }
    }

    /// Takes the place.
    ///
    /// # Panics
    /// If it is taken.
    pub(super) fn open(&mut self, socket: OwnedFd) {
        assert!(self.socket.is_none(), "the connection's place is taken");
        *self = Self::free();
        self.socket = Some(socket);
    }

    pub(super) fn is_open(&self) -> bool {
        self.socket.is_some() && !self.closing
    }

    pub(super) fn receives(&self) -> bool {
        self.is_open() && !self.paused && self.end == End::Open
    }

    /// What the socket has to be watched for.
    pub(super) fn interest(&self) -> Interest {
        Interest { readable: self.receives(), writable: self.is_open() && self.outgoing.is_some() }
    }
}

impl Outgoing {
    pub(super) fn new(output: Output) -> Self {
        Self { output, sent: 0 }
    }

    /// Sends as much as the socket takes; true once that is all.
    pub(super) fn send(&mut self, socket: &OwnedFd, slices: &mut Vec<IoSlice<'static>>) -> Result<bool, Errno> {
        while self.sent < self.output.len() {
            let result = match self.output.contiguous() {
                Some(bytes) => rustix::net::send(socket, &bytes[self.sent..], SendFlags::NOSIGNAL),
                None => send_pieces(socket, &self.output, self.sent, slices),
            };
            match result {
                Ok(0) => return Err(Errno::PIPE),
                Ok(sent) => self.sent += sent,
                Err(Errno::AGAIN) => return Ok(false),
                Err(Errno::INTR) => {}
                Err(e) => return Err(e),
            }
        }
        Ok(true)
    }
}

/// Sends an output in pieces after its first `skip` bytes. `room` is empty before and after: only its memory is
/// used.
fn send_pieces(
    socket: &OwnedFd,
    output: &Output,
    skip: usize,
    room: &mut Vec<IoSlice<'static>>,
) -> Result<usize, Errno> {
    let mut slices: Vec<IoSlice<'_>> = std::mem::take(room);
    slices.reserve(MAX_IO_SLICES.min(64));
    output.io_slices(skip, &mut slices);
    let result =
        rustix::net::sendmsg(socket.as_fd(), &slices, &mut SendAncillaryBuffer::default(), SendFlags::NOSIGNAL);
    *room = emptied(slices);
    result
}

/// The vector's memory, for slices of another lifetime: an in-place collect of nothing keeps the allocation.
fn emptied(mut slices: Vec<IoSlice<'_>>) -> Vec<IoSlice<'static>> {
    slices.clear();
    slices.into_iter().map(|_| IoSlice::new(&[])).collect()
}
