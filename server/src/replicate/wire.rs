//! What a replica says to its primary, on threads that may wait for it: RESP2, as any client.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, StreamOwned};

use crate::config::{Config, Primary};
use crate::migrate::encode;
use crate::tls::{TlsError, client_config};

/// The longest line that is read: nothing that is asked for is answered with more.
const LONGEST_LINE: u64 = 64 << 10;

/// The longest value: a piece of a log has one frame at least, and a frame at most a segment.
const LONGEST_BULK: usize = 2 << 30;

/// No address is tried for longer.
const CONNECT: Duration = Duration::from_secs(5);

/// Why a link is broken.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LinkError {
    /// The network.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// There is no TLS as the configuration wants it.
    #[error("{0}")]
    Tls(#[from] TlsError),
    /// The primary has refused something.
    #[error("the primary says: {0}")]
    Refused(String),
    /// What it says is not what an emberkv of this version says.
    #[error("{0} has answered what no emberkv of this version answers")]
    Strange(Primary),
    /// It does not have any more what comes next here.
    #[error("the primary has no longer what comes next here: the data are fetched anew")]
    Gone,
    /// It has begun anew.
    #[error("the primary has begun a new life")]
    NewLife,
    /// What it has sent can't be followed.
    #[error("what the primary has sent can't be followed: {0}")]
    Follow(String),
    /// What was lacking is here.
    #[error("all is fetched: the data are opened anew")]
    Fetched,
    /// It has not been asked to.
    #[error("the link is to end")]
    Stopped,
}

/// A reply.
#[derive(PartialEq, Eq, Debug)]
pub(super) enum Answer {
    Line(String),
    Bulk(Vec<u8>),
    Null,
    Error(String),
}

/// What has to be known to connect.
#[derive(Clone, Debug)]
pub(super) struct Access {
    primary: Primary,
    user: Vec<u8>,
    password: Vec<u8>,
    pub timeout: Duration,
    /// Under which address and port the primary shows this server, if not under those that it sees.
    pub announced: (Vec<u8>, Option<u16>),
    /// How to speak TLS, if that is to be.
    tls: Option<Arc<ClientConfig>>,
}

impl Access {
    pub fn new(primary: &Primary, config: &Config) -> Result<Self, LinkError> {
        Ok(Self {
            tls: if config.tls_replication { Some(client_config(config)?) } else { None },
            primary: primary.clone(),
            user: config.masteruser.clone(),
            password: config.masterauth.bytes().to_vec(),
            timeout: Duration::from_secs(u64::from(config.repl_timeout)),
            announced: (
                config.replica_announce_ip.clone(),
                (config.replica_announce_port > 0).then_some(config.replica_announce_port),
            ),
        })
    }
}

#[derive(Debug)]
enum Stream {
    Plain(TcpStream),
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(stream) => stream.read(buffer),
            Self::Tls(stream) => stream.read(buffer),
        }
    }
}

impl Stream {
    fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::Plain(stream) => stream.write_all(bytes),
            Self::Tls(stream) => stream.write_all(bytes).and_then(|()| stream.flush()),
        }
    }
}

/// A connection to the primary.
#[derive(Debug)]
pub(super) struct Wire {
    primary: Primary,
    /// To be shut down by another thread.
    socket: TcpStream,
    stream: BufReader<Stream>,
    request: Vec<u8>,
}

impl Wire {
    /// Connects, and says who it is.
    pub fn connect(access: &Access) -> Result<Self, LinkError> {
        let socket = connect(access)?;
        let plain = socket.try_clone()?;
        let stream = match &access.tls {
            None => Stream::Plain(plain),
            Some(config) => Stream::Tls(Box::new(shake_hands(Arc::clone(config), &access.primary.host, plain)?)),
        };
        let stream = BufReader::with_capacity(64 << 10, stream);
        let mut wire = Self { primary: access.primary.clone(), socket, stream, request: Vec::new() };
        if !access.password.is_empty() {
            let mut words = vec![&b"AUTH"[..], &access.user, &access.password];
            words.retain(|word| !word.is_empty());
            wire.send(&words)?;
            match wire.answer()? {
                Answer::Line(_) => {}
                Answer::Error(text) => return Err(LinkError::Refused(text)),
                _ => return Err(wire.strange()),
            }
        }
        Ok(wire)
    }

    /// Its socket, to be shut down by another thread.
    pub fn socket(&self) -> io::Result<TcpStream> {
        self.socket.try_clone()
    }

    pub fn strange(&self) -> LinkError {
        LinkError::Strange(self.primary.clone())
    }

    pub fn send(&mut self, words: &[&[u8]]) -> io::Result<()> {
        self.request.clear();
        encode(words, &mut self.request);
        self.stream.get_mut().send(&self.request)
    }

    /// The next reply. Where it is known to be an error that says something of the log, it is told apart.
    pub fn answer(&mut self) -> Result<Answer, LinkError> {
        answer(&mut self.stream).map_err(|error| match error.kind() {
            io::ErrorKind::InvalidData => self.strange(),
            // what it means on a socket with a timeout
            io::ErrorKind::WouldBlock => LinkError::Io(io::ErrorKind::TimedOut.into()),
            _ => error.into(),
        })
    }

    /// Asks for a value.
    pub fn bulk(&mut self, words: &[&[u8]]) -> Result<Vec<u8>, LinkError> {
        self.send(words)?;
        match self.answer()? {
            Answer::Bulk(bytes) => Ok(bytes),
            Answer::Error(text) => Err(LinkError::Refused(text)),
            Answer::Line(_) | Answer::Null => Err(self.strange()),
        }
    }

    /// Asks for nothing but that it was heard.
    pub fn tell(&mut self, words: &[&[u8]]) -> Result<(), LinkError> {
        self.send(words)?;
        match self.answer()? {
            Answer::Line(_) => Ok(()),
            Answer::Error(text) => Err(LinkError::Refused(text)),
            Answer::Bulk(_) | Answer::Null => Err(self.strange()),
        }
    }
}

/// The primary has a certificate for this name, or there is no session.
fn shake_hands(
    config: Arc<ClientConfig>,
    host: &str,
    mut socket: TcpStream,
) -> io::Result<StreamOwned<ClientConnection, TcpStream>> {
    let name = ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
    let mut session = ClientConnection::new(config, name).map_err(io::Error::other)?;
    while session.is_handshaking() {
        session.complete_io(&mut socket)?;
    }
    Ok(StreamOwned::new(session, socket))
}

fn connect(access: &Access) -> io::Result<TcpStream> {
    let Primary { host, port } = &access.primary;
    let mut last = io::Error::new(io::ErrorKind::NotFound, format!("{host} has no address"));
    for address in (host.as_str(), *port).to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, access.timeout.min(CONNECT)) {
            Ok(stream) => {
                stream.set_nodelay(true)?;
                stream.set_read_timeout(Some(access.timeout))?;
                stream.set_write_timeout(Some(access.timeout))?;
                return Ok(stream);
            }
            Err(error) => last = error,
        }
    }
    Err(last)
}

fn answer(reader: &mut impl BufRead) -> io::Result<Answer> {
    let mut line = Vec::new();
    reader.take(LONGEST_LINE).read_until(b'\n', &mut line)?;
    let text = line.strip_suffix(b"\r\n").ok_or(io::ErrorKind::UnexpectedEof)?;
    let (kind, text) = text.split_first().ok_or(io::ErrorKind::InvalidData)?;
    let owned = || String::from_utf8_lossy(text).into_owned();
    match kind {
        b'-' => Ok(Answer::Error(owned())),
        b'+' | b':' => Ok(Answer::Line(owned())),
        b'$' if text == b"-1" => Ok(Answer::Null),
        b'$' => {
            let len = std::str::from_utf8(text).ok().and_then(|text| text.parse().ok());
            let len: usize = len.filter(|len| *len <= LONGEST_BULK).ok_or(io::ErrorKind::InvalidData)?;
            // what has not come takes no memory
            let mut bytes = Vec::with_capacity((len + 2).min(4 << 20));
            reader.take(len as u64 + 2).read_to_end(&mut bytes)?;
            if bytes.len() != len + 2 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            bytes.truncate(len);
            Ok(Answer::Bulk(bytes))
        }
        _ => Err(io::ErrorKind::InvalidData.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replies_are_read_whole_or_not_at_all() {
        let read = |bytes: &[u8]| answer(&mut &bytes[..]);
        assert_eq!(read(b"+OK\r\n").unwrap(), Answer::Line("OK".into()));
        assert_eq!(read(b"-GONE away\r\n").unwrap(), Answer::Error("GONE away".into()));
        assert_eq!(read(b"$-1\r\n").unwrap(), Answer::Null);
        assert_eq!(read(b"$4\r\na\r\nb\r\n").unwrap(), Answer::Bulk(b"a\r\nb".to_vec()));
        assert_eq!(read(b"$0\r\n\r\n").unwrap(), Answer::Bulk(Vec::new()));
        for wrong in
            [&b""[..], b"+OK", b"$4\r\nab", b"$x\r\n", b"$-2\r\n", b"$99999999999\r\n", b"\r\n", b"HTTP/1.1 400\r\n"]
        {
            assert!(read(wrong).is_err());
        }
    }
}
