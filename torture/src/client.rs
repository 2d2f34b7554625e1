//! A small blocking client: it sends commands or raw bytes, and reads replies as values and as
//! the bytes that came.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, StreamOwned};

use crate::{Error, Result, Value};

/// How long a read or write may take by default: generous, for a busy machine.
pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(60);

/// A reply, parsed and as it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// The parsed reply.
    pub value: Value,
    /// Its bytes on the wire.
    pub raw: Vec<u8>,
}

#[derive(Debug)]
enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
}

/// One connection. Commands may be pipelined: [`Client::send`] any number of them, then
/// [`Client::read`] as many replies.
#[derive(Debug)]
pub struct Client {
    stream: Stream,
    received: Vec<u8>,
    parsed: usize,
    unsent: Vec<u8>,
}

impl Client {
    /// Connects to a port of the local machine.
    ///
    /// # Errors
    /// When nothing listens there, or the time-outs can't be set.
    pub fn connect(port: u16) -> Result<Self> {
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        let stream = TcpStream::connect_timeout(&address, DEFAULT_TIMEOUT)
            .map_err(|source| Error::Io { what: format!("connecting to {address}"), source })?;
        stream.set_nodelay(true).map_err(|e| Error::io("TCP_NODELAY", e))?;
        Self::over(Stream::Tcp(stream))
    }

    /// Connects to a unix socket.
    ///
    /// # Errors
    /// When nothing listens there, or the time-outs can't be set.
    pub fn connect_unix(path: &Path) -> Result<Self> {
        let stream = UnixStream::connect(path)
            .map_err(|source| Error::Io { what: format!("connecting to {}", path.display()), source })?;
        Self::over(Stream::Unix(stream))
    }

    /// Connects to a port of the local machine, by TLS.
    ///
    /// # Errors
    /// When nothing listens there, the time-outs can't be set, or the two do not come to terms.
    pub fn connect_tls(port: u16, config: Arc<ClientConfig>, name: &str) -> Result<Self> {
        let plain = Self::connect(port)?;
        let Stream::Tcp(mut socket) = plain.stream else { return Err(Error::Closed) };
        let failed = |error| Error::io("the handshake", error);
        let name = ServerName::try_from(name.to_owned()).map_err(|error| failed(io::Error::other(error)))?;
        let session = ClientConnection::new(config, name);
        let mut session = session.map_err(|error| failed(io::Error::other(error)))?;
        while session.is_handshaking() {
            session.complete_io(&mut socket).map_err(failed)?;
        }
        Self::over(Stream::Tls(Box::new(StreamOwned::new(session, socket))))
    }

    fn over(stream: Stream) -> Result<Self> {
        let mut client = Self { stream, received: Vec::new(), parsed: 0, unsent: Vec::new() };
        client.set_timeout(DEFAULT_TIMEOUT)?;
        Ok(client)
    }

    /// Bounds how long one read or write may wait.
    ///
    /// # Errors
    /// When the system refuses the value (zero).
    pub fn set_timeout(&mut self, timeout: Duration) -> Result<()> {
        let timeout = Some(timeout);
        match &self.stream {
            Stream::Tcp(s) => s.set_read_timeout(timeout).and(s.set_write_timeout(timeout)),
            Stream::Unix(s) => s.set_read_timeout(timeout).and(s.set_write_timeout(timeout)),
            Stream::Tls(s) => s.sock.set_read_timeout(timeout).and(s.sock.set_write_timeout(timeout)),
        }
        .map_err(|source| Error::Io { what: "setting the time-out".into(), source })
    }

    /// Queues a command; nothing is sent before [`Client::flush`] or a read.
    pub fn send<A: AsRef<[u8]>>(&mut self, args: &[A]) {
        encode(args, &mut self.unsent);
    }

    /// Queues bytes as they are.
    pub fn send_raw(&mut self, bytes: &[u8]) {
        self.unsent.extend_from_slice(bytes);
    }

    /// Sends all that is queued.
    ///
    /// # Errors
    /// When the connection is closed, or the peer reads nothing within the time-out.
    pub fn flush(&mut self) -> Result<()> {
        let unsent = std::mem::take(&mut self.unsent);
        self.stream.write_all(&unsent).and_then(|()| self.stream.flush()).map_err(|e| Error::io("sending", e))
    }

    /// Sends what is queued and reads one reply, with its bytes.
    ///
    /// # Errors
    /// When the connection closes or the time-out passes before a whole reply has come, or what
    /// comes is not RESP.
    pub fn read_reply(&mut self) -> Result<Reply> {
        if !self.unsent.is_empty() {
            self.flush()?;
        }
        loop {
            let pending = &self.received[self.parsed..];
            if !pending.is_empty()
                && let Some((value, length)) = Value::parse(pending)?
            {
                let raw = pending[..length].to_vec();
                self.parsed += length;
                if self.parsed == self.received.len() {
                    self.received.clear();
                    self.parsed = 0;
                }
                return Ok(Reply { value, raw });
            }
            if self.fill()? == 0 {
                return Err(Error::Closed);
            }
        }
    }

    /// Like [`Client::read_reply`], the value alone.
    ///
    /// # Errors
    /// As [`Client::read_reply`].
    pub fn read(&mut self) -> Result<Value> {
        self.read_reply().map(|reply| reply.value)
    }

    /// Sends one command and reads its reply.
    ///
    /// # Errors
    /// As [`Client::read_reply`]. An error reply is a value.
    pub fn command<A: AsRef<[u8]>>(&mut self, args: &[A]) -> Result<Value> {
        self.send(args);
        self.read()
    }

    /// Sends one command, its words separated by spaces, and reads its reply.
    ///
    /// # Errors
    /// As [`Client::read_reply`].
    pub fn ask(&mut self, words: &str) -> Result<Value> {
        let args: Vec<&str> = words.split_ascii_whitespace().collect();
        self.command(&args)
    }

    /// Chooses a database.
    ///
    /// # Errors
    /// As [`Client::read_reply`], and when the server does not say OK.
    pub fn select(&mut self, database: u8) -> Result<()> {
        let reply = self.command(&["SELECT", &database.to_string()])?;
        if reply.is_ok() {
            return Ok(());
        }
        Err(Error::Protocol(format!("SELECT {database} was answered {reply:?}")))
    }

    /// The cores of the server; one, if it knows nothing of cores.
    ///
    /// # Errors
    /// As [`Client::read_reply`].
    pub fn cores(&mut self) -> Result<u16> {
        let info = self.ask("INFO server")?;
        let text = String::from_utf8_lossy(info.text().unwrap_or_default());
        let cores = text.lines().find_map(|line| line.strip_prefix("cores:"));
        Ok(cores.and_then(|cores| cores.trim().parse().ok()).unwrap_or(1))
    }

    /// Sends what is queued and reads until the peer closes: all bytes that came before.
    ///
    /// # Errors
    /// When the peer does not close within the time-out.
    pub fn read_to_close(&mut self) -> Result<Vec<u8>> {
        if !self.unsent.is_empty() {
            // a peer that has already refused us may close before it reads all.
            match self.flush() {
                Ok(()) | Err(Error::Closed) => {}
                Err(error) => return Err(error),
            }
        }
        loop {
            match self.fill() {
                Ok(0) | Err(Error::Closed) => break,
                Ok(_) => {}
                Err(error) => return Err(error),
            }
        }
        let rest = self.received.split_off(self.parsed);
        self.received.clear();
        self.parsed = 0;
        Ok(rest)
    }

    /// Tells the peer that nothing more will be sent.
    ///
    /// # Errors
    /// When the connection is gone.
    pub fn close_sending(&mut self) -> Result<()> {
        match &mut self.stream {
            Stream::Tcp(s) => s.shutdown(Shutdown::Write),
            Stream::Unix(s) => s.shutdown(Shutdown::Write),
            Stream::Tls(s) => {
                s.conn.send_close_notify();
                s.flush().and_then(|()| s.sock.shutdown(Shutdown::Write))
            }
        }
        .map_err(|e| Error::io("closing the sending half", e))
    }

    /// Reads what there is; the number of bytes, 0 when the peer has closed.
    fn fill(&mut self) -> Result<usize> {
        if self.parsed > 1 << 20 {
            self.received.drain(..self.parsed);
            self.parsed = 0;
        }
        let start = self.received.len();
        // grows with what has come, so that a value of 100 MB takes tens of reads, not thousands.
        let chunk = (start - self.parsed).clamp(64 << 10, 16 << 20);
        self.received.resize(start + chunk, 0);
        let outcome = loop {
            match self.stream.read(&mut self.received[start..]) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                other => break other,
            }
        };
        self.received.truncate(start + *outcome.as_ref().unwrap_or(&0));
        outcome.map_err(|e| Error::io("receiving", e))
    }
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(s) => s.read(buffer),
            Self::Unix(s) => s.read(buffer),
            Self::Tls(s) => s.read(buffer),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(s) => s.write(bytes),
            Self::Unix(s) => s.write(bytes),
            Self::Tls(s) => s.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Tcp(_) | Self::Unix(_) => Ok(()),
            Self::Tls(s) => s.flush(),
        }
    }
}

/// Appends a command to `out` as a multibulk request.
pub fn encode<A: AsRef<[u8]>>(args: &[A], out: &mut Vec<u8>) {
    out.extend_from_slice(format!("*{}\r\n", args.len()).as_bytes());
    for arg in args {
        let arg = arg.as_ref();
        out.extend_from_slice(format!("${}\r\n", arg.len()).as_bytes());
        out.extend_from_slice(arg);
        out.extend_from_slice(b"\r\n");
    }
}
