//! One connection: requests out, replies in.

use std::io::{self, BufRead, BufReader, Write};
use std::net::TcpStream;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustls::{ClientConnection, StreamOwned};

use crate::error::{Error, Result, io};
use crate::stream::Stream;
use crate::target::{Place, Target};
use crate::tls::TlsArgs;
use crate::value::Value;

/// Set by ctrl-c, where that ends a wait and not the process.
pub type Interrupt = Arc<AtomicBool>;

/// How often a wait looks whether ctrl-c was pressed, should the signal have come just before it began.
const LOOK: Duration = Duration::from_millis(200);

/// A connection.
pub struct Connection {
    stream: BufReader<Stream>,
    interrupt: Option<Interrupt>,
}

impl Connection {
    /// Connects.
    ///
    /// # Errors
    /// When nobody listens there.
    pub fn open(target: &Target, interrupt: Option<Interrupt>) -> Result<Self> {
        let failed = |source| Error::Connect { target: target.place.to_string(), source };
        let stream = match &target.place {
            Place::Tcp(host, port) => {
                let stream = TcpStream::connect((host.as_str(), *port)).map_err(failed)?;
                stream.set_nodelay(true).map_err(failed)?;
                if target.tls.tls { secured(&target.tls, host, stream).map_err(failed)? } else { Stream::Tcp(stream) }
            }
            Place::Unix(path) => UnixStream::connect(path).map(Stream::Unix).map_err(failed)?,
        };
        Ok(Self { stream: BufReader::with_capacity(64 * 1024, stream), interrupt })
    }

    /// Sends a command.
    ///
    /// # Errors
    /// When the connection fails.
    pub fn send<W: AsRef<[u8]>>(&mut self, words: &[W]) -> Result<()> {
        let mut request = Vec::new();
        encode(words, &mut request);
        self.send_bytes(&request)
    }

    /// Sends bytes as they are.
    ///
    /// # Errors
    /// When the connection fails.
    pub fn send_bytes(&mut self, bytes: &[u8]) -> Result<()> {
        let stream = self.stream.get_mut();
        stream.write_all(bytes).and_then(|()| stream.flush()).map_err(io("sending"))
    }

    /// Waits for the next reply or push.
    ///
    /// # Errors
    /// When the connection ends or fails, what comes is not RESP, or ctrl-c was pressed first.
    pub fn read(&mut self) -> Result<Value> {
        while let Some(interrupt) = self.interrupt.clone() {
            match self.wait(LOOK) {
                Ok(true) => break,
                Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(io("waiting")(error)),
                Ok(false) | Err(_) if interrupt.swap(false, Ordering::Relaxed) => return Err(Error::Interrupted),
                Ok(false) | Err(_) => {}
            }
        }
        Value::read(&mut self.stream)
    }

    /// Sends a command and waits for its reply; pushes before it are handed to `on_push`.
    ///
    /// # Errors
    /// When the connection ends or fails, or what comes is not RESP.
    pub fn call<W: AsRef<[u8]>>(&mut self, words: &[W], mut on_push: impl FnMut(Value)) -> Result<Value> {
        self.send(words)?;
        loop {
            match self.read()? {
                push @ Value::Push(_) => on_push(push),
                reply => return Ok(reply),
            }
        }
    }

    /// A command of our own: pushes are of no interest, and an error is one.
    ///
    /// # Errors
    /// As [`Self::call`], and [`Error::Refused`].
    pub fn must(&mut self, words: &[&str]) -> Result<Value> {
        let reply = self.call(words, |_| {})?;
        match reply.error() {
            Some(error) => Err(Error::Refused { what: words[0].to_owned(), reply: error }),
            None => Ok(reply),
        }
    }

    /// What comes, as it is: for what is no reply.
    pub fn reader(&mut self) -> &mut impl BufRead {
        &mut self.stream
    }

    /// Whether something has come that was not read yet, as far as is known without asking the system.
    #[must_use]
    pub fn has_read_ahead(&self) -> bool {
        !self.stream.buffer().is_empty()
    }

    /// Whether something has come, or comes within `patience`; also when the connection has ended.
    ///
    /// # Errors
    /// [`io::ErrorKind::Interrupted`] when a signal came meanwhile, or what the system says.
    pub fn wait(&mut self, patience: Duration) -> io::Result<bool> {
        Ok(!self.stream.buffer().is_empty()
            || self.stream.get_ref().has_more()
            || readable(&self.stream.get_ref(), patience)?)
    }

    /// Whether the peer has gone, as far as is known without asking it.
    pub fn is_closed(&mut self) -> bool {
        if !self.stream.buffer().is_empty() || !readable(&self.stream.get_ref(), Duration::ZERO).unwrap_or(true) {
            return false;
        }
        if self.stream.get_ref().set_impatient(true).is_err() {
            return true;
        }
        // it is readable, so this does not wait: a push, or the end. With TLS it may be neither.
        let is_closed = match self.stream.fill_buf() {
            Ok(bytes) => bytes.is_empty(),
            Err(error) => error.kind() != io::ErrorKind::WouldBlock,
        };
        is_closed || self.stream.get_ref().set_impatient(false).is_err()
    }
}

impl AsFd for Connection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.get_ref().as_fd()
    }
}

/// The handshake, so that what is wrong with it is said at once.
fn secured(tls: &TlsArgs, host: &str, mut socket: TcpStream) -> io::Result<Stream> {
    let made = tls.config().and_then(|config| Ok((config, tls.name(host)?)));
    let (config, name) = made.map_err(io::Error::other)?;
    let mut session = ClientConnection::new(config, name).map_err(io::Error::other)?;
    while session.is_handshaking() {
        session.complete_io(&mut socket)?;
    }
    Ok(Stream::Tls(Box::new(StreamOwned::new(session, socket))))
}

fn readable(fd: &impl AsFd, patience: Duration) -> io::Result<bool> {
    let timeout = Timespec { tv_sec: patience.as_secs() as i64, tv_nsec: patience.subsec_nanos().into() };
    let mut fds = [PollFd::new(fd, PollFlags::IN)];
    Ok(poll(&mut fds, Some(&timeout))? > 0)
}

/// Appends a command to `out`.
pub fn encode<W: AsRef<[u8]>>(words: &[W], out: &mut Vec<u8>) {
    // writing into memory does not fail.
    let _ = write!(out, "*{}\r\n", words.len());
    for word in words {
        let word = word.as_ref();
        let _ = write!(out, "${}\r\n", word.len());
        out.extend_from_slice(word);
        out.extend_from_slice(b"\r\n");
    }
}
