//! The link to a source, as one of its replicas: the handshake, the RDB, and the commands after it.

use std::io::{self, BufRead, Read};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use emberkv_console::{Connection, Error as Console, Interrupt, Target};
use rustix::net::sockopt::{Timeout, set_socket_timeout};

use crate::error::{Error, Result, of};
use crate::servers::connect;

/// A source that says nothing for so long is gone: it pings every ten seconds.
const PATIENCE: Duration = Duration::from_secs(60);
/// How often a wait looks around.
const LOOK: Duration = Duration::from_millis(200);
/// While the RDB is read the source is told that we are there.
const BREATH: Duration = Duration::from_secs(1);
/// A line that is longer is none.
const MOST_LINE: u64 = 64 * 1024;
/// What we say that we are: valkey sends those that are older no fields that expire, but hangs up.
const AS_VALKEY: &str = "9.1.0";

/// How much of a source's history was applied.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Point {
    /// Which history.
    pub id: String,
    /// So many of its bytes.
    pub offset: u64,
    /// In which database the next command is.
    pub db: u64,
}

/// How the source goes on.
#[derive(Debug)]
pub(crate) enum Start {
    /// Where we were, perhaps under a new name.
    Continue(Option<String>),
    /// With all that it has, which is what it had at this point of its history.
    Full(Point),
}

/// See the module.
pub(crate) struct Link {
    connection: Connection,
    interrupt: Interrupt,
}

fn unexpected(what: impl Into<String>) -> Error {
    of("source")(Console::Protocol(what.into()))
}

fn lost(error: io::Error) -> Error {
    let source = match error.kind() {
        io::ErrorKind::Interrupted => return Error::Interrupted,
        io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => Console::Closed,
        _ => Console::Io { what: "receiving", source: error },
    };
    Error::Server { who: "source", source }
}

impl Link {
    /// Becomes a replica, from a point on if the source still has what comes next.
    ///
    /// # Errors
    /// When nobody answers there, or we are refused.
    pub fn attach(source: &Target, from: Option<&Point>, interrupt: &Interrupt) -> Result<(Self, Start)> {
        let mut connection = connect(source, "source")?;
        set_socket_timeout(&connection, Timeout::Recv, Some(PATIENCE)).map_err(|error| lost(error.into()))?;
        connection.must(&["REPLCONF", "listening-port", "0"]).map_err(of("source"))?;
        connection.must(&["REPLCONF", "capa", "eof", "capa", "psync2"]).map_err(of("source"))?;
        // redis does not know this one
        connection.call(&["REPLCONF", "version", AS_VALKEY], |_| {}).map_err(of("source"))?;
        let (id, offset) = match from {
            Some(point) => (point.id.clone(), (point.offset + 1).to_string()),
            None => ("?".to_owned(), "-1".to_owned()),
        };
        connection.send(&["PSYNC", &id, &offset]).map_err(of("source"))?;
        let mut link = Self { connection, interrupt: interrupt.clone() };
        let line = link.line()?;
        let mut words = line.split(' ');
        let start = match words.next() {
            Some("+CONTINUE") => Start::Continue(words.next().map(str::to_owned)),
            Some("+FULLRESYNC") => {
                let id = words.next().map(str::to_owned);
                let offset = words.next().and_then(|text| text.parse().ok());
                let point = id.zip(offset).map(|(id, offset)| Point { id, offset, db: 0 });
                Start::Full(point.ok_or_else(|| unexpected(format!("PSYNC was answered {line:?}")))?)
            }
            Some("-LOADING" | "-NOMASTERLINK" | "-MASTERDOWN" | "-TRYAGAIN") => {
                return Err(Error::Server {
                    who: "source",
                    source: Console::Io { what: "PSYNC", source: io::Error::other(line) },
                });
            }
            _ => return Err(of("source")(Console::Refused { what: "PSYNC".into(), reply: line })),
        };
        Ok((link, start))
    }

    /// A line that is not empty: empty ones say that the source is still at it.
    fn line(&mut self) -> Result<String> {
        loop {
            let mut line = Vec::new();
            self.await_bytes(PATIENCE)?;
            self.connection.reader().take(MOST_LINE).read_until(b'\n', &mut line).map_err(lost)?;
            if line.is_empty() {
                return Err(of("source")(Console::Closed));
            }
            let text = String::from_utf8_lossy(&line).trim_end().to_owned();
            if !text.is_empty() {
                return Ok(text);
            }
        }
    }

    /// Waits for something to come.
    fn await_bytes(&mut self, patience: Duration) -> Result<()> {
        let begun = Instant::now();
        while !self.has_bytes(LOOK)? {
            if self.interrupt.load(Ordering::Relaxed) {
                return Err(Error::Interrupted);
            }
            if begun.elapsed() > patience {
                return Err(lost(io::ErrorKind::TimedOut.into()));
            }
        }
        Ok(())
    }

    /// Whether something has come, or comes soon.
    pub fn has_bytes(&mut self, patience: Duration) -> Result<bool> {
        match self.connection.wait(patience) {
            Ok(has) => Ok(has),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(false),
            Err(error) => Err(lost(error)),
        }
    }

    /// The RDB, which `read` reads to its end.
    pub fn rdb(&mut self, read: impl FnOnce(&mut dyn Read) -> Result<()>) -> Result<()> {
        let line = self.line()?;
        let form = line.strip_prefix('$').ok_or_else(|| unexpected(format!("instead of the rdb came {line:?}")))?;
        if let Some(mark) = form.strip_prefix("EOF:") {
            let mark = mark.as_bytes().to_vec();
            let mut feed = Feed { link: self, spoke: Instant::now() };
            read(&mut feed)?;
            let mut end = vec![0; mark.len()];
            feed.read_exact(&mut end).map_err(lost)?;
            if end == mark { Ok(()) } else { Err(unexpected("the rdb does not end with its mark")) }
        } else {
            let len = form.parse().map_err(|_| unexpected(format!("instead of the rdb came {line:?}")))?;
            let mut feed = Feed { link: self, spoke: Instant::now() }.take(len);
            read(&mut feed)?;
            if feed.limit() == 0 { Ok(()) } else { Err(unexpected("the rdb is longer than what is in it")) }
        }
    }

    /// The next command, and how many bytes of the history it is; no words: none.
    pub fn command(&mut self) -> Result<(Vec<Vec<u8>>, u64)> {
        let (count, mut bytes) = self.number(b'*')?;
        let mut words = Vec::new();
        for _ in 0..count {
            let (len, header) = self.number(b'$')?;
            let mut word = Vec::new();
            let wanted = len + 2;
            let got = self.connection.reader().take(wanted).read_to_end(&mut word).map_err(lost)? as u64;
            if got < wanted {
                return Err(of("source")(Console::Closed));
            }
            word.truncate(len as usize);
            words.push(word);
            bytes += header + wanted;
        }
        Ok((words, bytes))
    }

    /// A line with a number; an empty one is 0. And how many bytes it has.
    fn number(&mut self, kind: u8) -> Result<(u64, u64)> {
        let mut line = Vec::new();
        let bytes = self.connection.reader().take(MOST_LINE).read_until(b'\n', &mut line).map_err(lost)? as u64;
        if line.last() != Some(&b'\n') {
            return Err(of("source")(Console::Closed));
        }
        let text = line.trim_ascii();
        if text.is_empty() && kind == b'*' {
            return Ok((0, bytes));
        }
        let number = text.strip_prefix(&[kind]).and_then(|digits| std::str::from_utf8(digits).ok()?.parse().ok());
        let number = number.filter(|number| *number <= u64::from(u32::MAX));
        number
            .map(|number| (number, bytes))
            .ok_or_else(|| unexpected(format!("a command begins with {:?}", text.escape_ascii().to_string())))
    }

    /// Says how much was applied.
    pub fn acknowledge(&mut self, offset: u64) -> Result<()> {
        self.connection.send(&["REPLCONF", "ACK", &offset.to_string()]).map_err(of("source"))
    }
}

/// The bytes of the RDB. The source hears from us now and then, or it would take us for dead.
struct Feed<'a> {
    link: &'a mut Link,
    spoke: Instant,
}

impl Read for Feed<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.spoke.elapsed() >= BREATH {
            self.link.connection.send_bytes(b"\n").map_err(io::Error::other)?;
            self.spoke = Instant::now();
        }
        if !self.link.connection.has_read_ahead() {
            match self.link.await_bytes(PATIENCE) {
                Ok(()) => {}
                // an error of this kind would be tried again
                Err(Error::Interrupted) => return Err(io::Error::other("interrupted")),
                Err(error) => return Err(io::Error::other(error.to_string())),
            }
        }
        match self.link.connection.reader().read(buffer)? {
            // the end of the connection is not that of the rdb
            0 if !buffer.is_empty() => Err(io::ErrorKind::ConnectionReset.into()),
            len => Ok(len),
        }
    }
}
