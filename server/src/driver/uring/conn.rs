//! A connection's place in the ring driver's table.

use std::io::IoSlice;
use std::os::fd::{AsFd, OwnedFd};

use emberkv_resp::Output;
use socket2::MsgHdr;

use super::ring::Ring;
use super::tag::{Generation, Kind, Tag};

/// What the one receive of a connection is doing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Receive {
    /// Nothing is under way.
    Off,
    /// A multishot receive is under way.
    Armed,
    /// It is, and its cancellation too.
    Cancelling,
}

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

/// An output on its way. The kernel reads it, so it is boxed and not touched until the completion.
struct Outgoing {
    output: Output,
    sent: usize,
    /// Room for the slices of an output in pieces; kept for the next. They point into `output`.
    slices: Vec<IoSlice<'static>>,
    /// Points to `slices`.
    message: MsgHdr<'static, 'static, 'static>,
}

/// See the module.
pub(super) struct Conn {
    /// `None`: the place is free.
    pub(super) socket: Option<OwnedFd>,
    pub(super) generation: Generation,
    pub(super) receive: Receive,
    pub(super) end: End,
    pub(super) paused: bool,
    pub(super) closing: bool,
    /// Whether it waits for receive buffers to come back.
    pub(super) starved: bool,
    pub(super) sending: bool,
    outgoing: Box<Outgoing>,
}

impl Conn {
    pub(super) fn free() -> Self {
        Self {
            socket: None,
            generation: Generation::default(),
            receive: Receive::Off,
            end: End::Open,
            paused: false,
            closing: false,
            starved: false,
            sending: false,
            outgoing: Box::new(Outgoing {
                output: Output::default(),
                sent: 0,
                slices: Vec::new(),
                message: MsgHdr::new(),
            }),
        }
    }

    /// Takes the place.
    ///
    /// # Panics
    /// If it is taken.
    pub(super) fn open(&mut self, socket: OwnedFd) {
        assert!(self.socket.is_none(), "the connection's place is taken");
        assert!(self.receive == Receive::Off && !self.sending);
        self.socket = Some(socket);
        self.generation = self.generation.next();
        self.end = End::Open;
        self.paused = false;
        self.closing = false;
        self.starved = false;
    }

    pub(super) fn is_open(&self) -> bool {
        self.socket.is_some() && !self.closing
    }

    pub(super) fn tag(&self, kind: Kind, index: u32) -> Tag {
        Tag { kind, generation: self.generation, index }
    }

    /// Begins to receive, if nothing speaks against it.
    pub(super) fn arm(&mut self, ring: &mut Ring, index: u32) {
        let wanted = !self.paused && !self.closing && self.end == End::Open;
        if let Some(socket) = &self.socket
            && wanted
            && self.receive == Receive::Off
        {
            ring.receive(socket.as_fd(), self.tag(Kind::Receive, index));
            self.receive = Receive::Armed;
        }
    }

    /// Stops to receive, if something is under way.
    pub(super) fn disarm(&mut self, ring: &mut Ring, index: u32) {
        if self.receive == Receive::Armed {
            self.cancel(ring, Kind::Receive, index);
            self.receive = Receive::Cancelling;
        }
    }

    /// Cancels the operation of this kind that is under way.
    pub(super) fn cancel(&self, ring: &mut Ring, kind: Kind, index: u32) {
        let target = self.tag(kind, index);
        ring.cancel(target, self.tag(Kind::CancelConn, index));
    }

    /// Begins to send `output`, which is not empty.
    ///
    /// # Panics
    /// If another one is being sent.
    pub(super) fn send(&mut self, ring: &mut Ring, index: u32, output: Output) {
        assert!(!self.sending, "the previous output is still being sent");
        self.sending = true;
        self.outgoing.output = output;
        self.outgoing.sent = 0;
        self.send_rest(ring, index);
    }

    /// Goes on after `sent` more bytes; true once all are sent.
    pub(super) fn sent(&mut self, ring: &mut Ring, index: u32, sent: usize) -> bool {
        assert!(self.sending);
        self.outgoing.sent += sent;
        if self.outgoing.sent < self.outgoing.output.len() {
            self.send_rest(ring, index);
            return false;
        }
        true
    }

    /// Takes back the output, empty, after its last completion.
    pub(super) fn take_output(&mut self) -> Output {
        assert!(self.sending);
        self.sending = false;
        let mut output = std::mem::take(&mut self.outgoing.output);
        output.clear();
        output
    }

    fn send_rest(&mut self, ring: &mut Ring, index: u32) {
        let tag = self.tag(Kind::Send, index);
        let Some(socket) = &self.socket else { panic!("a free place can't send") };
        let outgoing = &mut *self.outgoing;
        if let Some(bytes) = outgoing.output.contiguous() {
            // SAFETY: `outgoing.output` owns the bytes. It is neither changed, moved out nor dropped while
            // `sending` is set, which only `take_output`, called at the last completion, clears: `send` asserts
            // it, and the driver lets no `Conn` go before the ring is done with it.
            unsafe { ring.send(socket.as_fd(), &bytes[outgoing.sent..], tag) };
            return;
        }
        let mut slices = std::mem::take(&mut outgoing.slices);
        slices.clear();
        // SAFETY: the output stays as it is while the slices are used, as said above; the lifetime is only
        // prolonged to keep them beside it. They are cleared before each use and never read otherwise.
        let output: &'static Output = unsafe { &*std::ptr::from_ref(&outgoing.output) };
        output.io_slices(outgoing.sent, &mut slices);
        outgoing.slices = slices;
        // SAFETY: the list is not touched until the next call, which comes after the completion.
        let list: &'static [IoSlice<'static>] =
            unsafe { std::slice::from_raw_parts(outgoing.slices.as_ptr(), outgoing.slices.len()) };
        outgoing.message = MsgHdr::new().with_buffers(list);
        // SAFETY: the message is in a box that the driver keeps until the ring is done, the list and the output
        // are as said above.
        unsafe { ring.send_message(socket.as_fd(), &outgoing.message, tag) };
    }
}
