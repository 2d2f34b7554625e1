//! One connection's TLS.

use std::io::{self, IoSlice, Read, Write};
use std::sync::Arc;

use emberkv_resp::Output;
use rustls::{ServerConfig, ServerConnection};

use super::subject::common_name;

/// A handshake that takes longer than this, in ms, is given up: who only connects must not hold anything for ever.
pub(crate) const HANDSHAKE_MS: u64 = 10_000;

/// What is encrypted at a time: the encrypted bytes are a copy, and of a large value there should not be a second one in memory.
const PIECE_BYTES: usize = 256 << 10;

/// What may wait of a handshake: a chain of certificates is some kilobytes.
const HANDSHAKE_BYTES: usize = 64 << 10;

/// Memory of a session beside what is counted elsewhere: measured by nobody, it is what rustls keeps for keys and buffers.
const SESSION_BYTES: usize = 8 << 10;

/// What became of received bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Took {
    /// More may follow.
    Open,
    /// The client has said that nothing follows.
    Closed,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Tls {
    session: ServerConnection,
    /// Of the handshake: received, and waits for its turn.
    input: Vec<u8>,
    /// Whether it is in the line for that.
    pub is_in_line: bool,
    /// The replies that are being sent, and how much of them is encrypted.
    outgoing: Output,
    taken: usize,
    /// Whether the driver has something to send.
    is_sending: bool,
    has_failed: bool,
    /// It was told that nothing follows.
    said_goodbye: bool,
}

impl Tls {
    /// A session that begins with the client's first words.
    ///
    /// # Errors
    /// If the configuration is of no use.
    pub fn new(config: Arc<ServerConfig>) -> Result<Self, rustls::Error> {
        let mut session = ServerConnection::new(config)?;
        // what is written to it is bounded here
        session.set_buffer_limit(None);
        Ok(Self {
            session,
            input: Vec::new(),
            is_in_line: false,
            outgoing: Output::new(),
            taken: 0,
            is_sending: false,
            has_failed: false,
            said_goodbye: false,
        })
    }

    /// Whether nothing can be said yet.
    pub fn is_handshaking(&self) -> bool {
        self.session.is_handshaking()
    }

    /// Whether the driver has something of it to send.
    pub fn is_sending(&self) -> bool {
        self.is_sending
    }

    /// Whether it has something to send, or to be looked at.
    pub fn is_busy(&self) -> bool {
        self.is_sending || self.is_in_line
    }

    /// Keeps bytes of a handshake for its turn, and of what the client sends behind it. Whether no more should come before that.
    pub fn keep(&mut self, bytes: &[u8]) -> bool {
        self.input.extend_from_slice(bytes);
        self.input.len() > HANDSHAKE_BYTES
    }

    /// What was kept.
    pub fn take_input(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.input)
    }

    /// Decrypts, and appends what was said to `plain`.
    ///
    /// # Errors
    /// If that is no TLS, not to be trusted, or damaged: the session is of no more use, but may have something to say of it.
    pub fn receive(&mut self, bytes: &[u8], plain: &mut Vec<u8>) -> Result<Took, rustls::Error> {
        let result = self.receive_all(bytes, plain);
        self.has_failed |= result.is_err();
        result
    }

    fn receive_all(&mut self, bytes: &[u8], plain: &mut Vec<u8>) -> Result<Took, rustls::Error> {
        let mut rest = bytes;
        while !rest.is_empty() {
            let before = rest.len();
            let full = |error: io::Error| rustls::Error::General(error.to_string());
            self.session.read_tls(&mut rest).map_err(full)?;
            let state = self.session.process_new_packets()?;
            let said = state.plaintext_bytes_to_read();
            if said > 0 {
                let at = plain.len();
                plain.resize(at + said, 0);
                self.session.reader().read_exact(&mut plain[at..]).map_err(full)?;
            }
            if state.peer_has_closed() {
                return Ok(Took::Closed);
            }
            if rest.len() == before {
                return Err(rustls::Error::General("a message is too long".into()));
            }
        }
        Ok(Took::Open)
    }

    /// What a client calls itself that has shown a certificate.
    pub fn client_name(&self) -> Option<&[u8]> {
        common_name(self.session.peer_certificates()?.first()?)
    }

    /// Replies to be sent; the last ones are.
    pub fn begin(&mut self, output: Output) {
        debug_assert!(self.outgoing.is_empty());
        (self.outgoing, self.taken) = (output, 0);
    }

    /// What the driver is to send now, if there is anything and it has nothing.
    pub fn next_piece(&mut self) -> Option<Output> {
        if self.is_sending {
            return None;
        }
        if !self.session.is_handshaking() && !self.has_failed && !self.said_goodbye {
            let mut slices: Vec<IoSlice<'_>> = Vec::new();
            if self.taken < self.outgoing.len() {
                self.outgoing.io_slices(self.taken, &mut slices);
            }
            let mut room = PIECE_BYTES;
            let mut writer = self.session.writer();
            for slice in slices {
                let part = &slice[..slice.len().min(room)];
                // there is no limit, and it is memory
                let _ = writer.write_all(part);
                self.taken += part.len();
                room -= part.len();
                if room == 0 {
                    break;
                }
            }
        }
        let mut piece = Output::new();
        while self.session.wants_write() {
            if self.session.write_tls(piece.bytes_mut()).is_err() {
                break;
            }
        }
        self.is_sending = !piece.is_empty();
        self.is_sending.then_some(piece)
    }

    /// The driver has sent its piece. Returns the replies, empty, if those are sent now.
    pub fn sent(&mut self) -> Option<Output> {
        self.is_sending = false;
        if self.outgoing.is_empty() || self.taken < self.outgoing.len() {
            return None;
        }
        self.taken = 0;
        let mut output = self.outgoing.take();
        output.clear();
        Some(output)
    }

    /// Has the client told that nothing follows; false if there is no use in that, or it was.
    pub fn say_goodbye(&mut self) -> bool {
        if self.said_goodbye || self.has_failed || self.is_handshaking() {
            return false;
        }
        self.said_goodbye = true;
        self.session.send_close_notify();
        true
    }

    /// The memory that it takes, without the replies.
    pub fn memory_bytes(&self) -> usize {
        SESSION_BYTES + self.input.capacity()
    }
}
