//! What is said to the other server, on a thread that may wait for it.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::Instant;

use super::Order;

/// A key on its way.
#[derive(Debug)]
pub(crate) enum Parcelled {
    /// Its value, as DUMP has it, and how long it lives from when it was read, in ms; 0: for ever. `again`: what is there in its name was sent by us, and is
    /// written over.
    Value { key: Box<[u8]>, payload: Vec<u8>, ttl_ms: u64, again: bool },
    /// It was sent before, and is not here any more: it goes there too.
    Gone(Box<[u8]>),
}

impl Parcelled {
    pub fn key(&self) -> &[u8] {
        match self {
            Self::Value { key, .. } | Self::Gone(key) => key,
        }
    }
}

/// What became of them.
#[derive(Debug)]
pub(crate) struct Sent {
    /// For each in turn whether it is there as it was sent; fewer, if the connection failed.
    pub taken: Vec<bool>,
    /// The first error, as the client is told it.
    pub error: Option<String>,
}

/// Sends keys that were read at a time.
pub(crate) fn send(order: &Order, parcelled: &[Parcelled], read: Instant) -> Sent {
    let mut sent = Sent { taken: Vec::new(), error: None };
    let stream = match connect(order) {
        Ok(stream) => stream,
        Err(error) => {
            // to redis it shows when it writes that nobody listens there
            let what = match error.kind() {
                io::ErrorKind::ConnectionRefused => "writing to target instance",
                _ => "connecting to the client",
            };
            sent.error = Some(format!("IOERR error or timeout {what}"));
            return sent;
        }
    };
    if let Err(failed) = talk(stream, order, parcelled, read, &mut sent) {
        let what = match failed {
            Failed::Writing => "writing",
            Failed::Reading => "reading",
        };
        // what it has refused before is of more use
        sent.error.get_or_insert(format!("IOERR error or timeout {what} to target instance"));
    }
    sent
}

fn connect(order: &Order) -> io::Result<TcpStream> {
    let port: u16 = order.port.parse().map_err(io::Error::other)?;
    let mut last = io::Error::from(io::ErrorKind::NotFound);
    for address in (order.host.as_str(), port).to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, order.timeout) {
            Ok(stream) => {
                stream.set_nodelay(true)?;
                stream.set_read_timeout(Some(order.timeout))?;
                stream.set_write_timeout(Some(order.timeout))?;
                return Ok(stream);
            }
            Err(error) => last = error,
        }
    }
    Err(last)
}

enum Failed {
    Writing,
    Reading,
}

/// So many are on their way without an answer, at most: the other server may stop reading when it has as much to say as nobody reads.
const MOST_UNANSWERED: usize = 1024;
/// So much is put together before it is written.
const PIECE_BYTES: usize = 64 << 10;

/// The connection to the other server.
struct Wire {
    stream: TcpStream,
    reader: BufReader<TcpStream>,
    out: Vec<u8>,
}

impl Wire {
    fn new(stream: TcpStream) -> io::Result<Self> {
        let reader = BufReader::new(stream.try_clone()?);
        Ok(Self { stream, reader, out: Vec::new() })
    }

    fn say(&mut self, words: &[&[u8]]) -> Result<(), Failed> {
        encode(words, &mut self.out);
        if self.out.len() >= PIECE_BYTES { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> Result<(), Failed> {
        self.stream.write_all(&self.out).map_err(|_| Failed::Writing)?;
        self.out.clear();
        Ok(())
    }

    fn hear(&mut self) -> Result<Result<(), String>, Failed> {
        line(&mut self.reader).map_err(|_| Failed::Reading)
    }
}

fn talk(
    stream: TcpStream,
    order: &Order,
    parcelled: &[Parcelled],
    read: Instant,
    sent: &mut Sent,
) -> Result<(), Failed> {
    let mut wire = Wire::new(stream).map_err(|_| Failed::Reading)?;
    let refused = |error: String| format!("ERR Target instance replied with error: {error}");
    if !order.auth.is_empty() {
        let words: Vec<&[u8]> = [&b"AUTH"[..]].into_iter().chain(order.auth.iter().map(Vec::as_slice)).collect();
        wire.say(&words)?;
    }
    wire.say(&[b"SELECT", order.db.to_string().as_bytes()])?;
    wire.flush()?;
    // no key is sent before it is known that it will come into the right database
    for _ in 0..1 + usize::from(!order.auth.is_empty()) {
        if let Err(error) = wire.hear()? {
            sent.error.get_or_insert(refused(error));
        }
    }
    if sent.error.is_some() {
        return Ok(());
    }
    let mut hear = |wire: &mut Wire| {
        let answer = wire.hear()?;
        sent.taken.push(answer.is_ok());
        if let Err(error) = answer {
            sent.error.get_or_insert(refused(error));
        }
        Ok(())
    };
    let mut unanswered = 0;
    for one in parcelled {
        match one {
            Parcelled::Gone(key) => wire.say(&[b"DEL", key])?,
            Parcelled::Value { key, payload, ttl_ms, again } => {
                let ttl = left(*ttl_ms, read).to_string();
                let words = [&b"RESTORE"[..], key, ttl.as_bytes(), payload, b"REPLACE"];
                wire.say(&words[..if *again || order.replace { 5 } else { 4 }])?;
            }
        }
        unanswered += 1;
        if unanswered == MOST_UNANSWERED {
            wire.flush()?;
            // the other half is still on its way meanwhile
            while unanswered > MOST_UNANSWERED / 2 {
                hear(&mut wire)?;
                unanswered -= 1;
            }
        }
    }
    wire.flush()?;
    for _ in 0..unanswered {
        hear(&mut wire)?;
    }
    Ok(())
}

/// What is left of a ttl: the keys before it may have taken long.
fn left(ttl_ms: u64, read: Instant) -> u64 {
    let gone = u64::try_from(read.elapsed().as_millis()).unwrap_or(u64::MAX);
    // 0 would be for ever
    if ttl_ms == 0 { 0 } else { ttl_ms.saturating_sub(gone).max(1) }
}

/// The longest line that is read: nothing that is asked for is answered with more.
const LONGEST_LINE: u64 = 64 << 10;

/// A reply of one line; an error's text without what says that it is one.
fn line(reader: &mut impl BufRead) -> io::Result<Result<(), String>> {
    let mut line = Vec::new();
    reader.take(LONGEST_LINE).read_until(b'\n', &mut line)?;
    let text = line.strip_suffix(b"\r\n").ok_or(io::ErrorKind::UnexpectedEof)?;
    match text.split_first() {
        Some((b'-', text)) => Ok(Err(String::from_utf8_lossy(text).into_owned())),
        Some((b'+' | b':', _)) => Ok(Ok(())),
        _ => Err(io::ErrorKind::InvalidData.into()),
    }
}

/// A request as it is sent.
pub(crate) fn encode(words: &[&[u8]], out: &mut Vec<u8>) {
    out.extend_from_slice(format!("*{}\r\n", words.len()).as_bytes());
    for word in words {
        out.extend_from_slice(format!("${}\r\n", word.len()).as_bytes());
        out.extend_from_slice(word);
        out.extend_from_slice(b"\r\n");
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_ttl_grows_shorter_on_the_way_and_never_into_for_ever() {
        let long_ago = Instant::now() - Duration::from_secs(5);
        assert!((54_000..=55_000).contains(&left(60_000, long_ago)));
        assert_eq!((left(4_000, long_ago), left(0, long_ago)), (1, 0));
    }

    #[test]
    fn replies_are_lines() {
        let read = |bytes: &[u8]| line(&mut &bytes[..]);
        assert_eq!(read(b"+OK\r\n+OK\r\n").unwrap(), Ok(()));
        assert_eq!(read(b":1\r\n").unwrap(), Ok(()));
        assert_eq!(read(b"-BUSYKEY it is there\r\n").unwrap(), Err("BUSYKEY it is there".into()));
        for wrong in [&b""[..], b"+OK", b"$1\r\nx\r\n", b"\r\n", b"HTTP/1.1 400\r\n"] {
            assert!(read(wrong).is_err());
        }
        assert!(read(&vec![b'+'; 100_000]).is_err());
    }
}
