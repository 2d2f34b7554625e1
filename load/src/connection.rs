//! A client's connections: non-blocking, watched by one edge-triggered epoll.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;

use crate::error::{Context, LoadError};
use crate::scanner::Scanner;
use crate::stream::Stream;
use crate::workload::Workload;

/// More than the replies to a full pipeline of 1-KiB values take: one read empties a socket.
const READ_BUFFER_BYTES: usize = 256 * 1024;

/// Where connections go.
#[derive(Clone, Debug)]
pub struct Endpoint {
    /// The server.
    pub address: SocketAddr,
    /// What is sent first on each connection: requests that must succeed (a password, a database).
    pub greeting: Vec<u8>,
    /// The number of those requests.
    pub greetings: u64,
    /// What TLS sessions are made of and the name that the server shows, if TLS is spoken.
    pub tls: Option<(Arc<ClientConfig>, ServerName<'static>)>,
}

impl Endpoint {
    /// A server that wants no greeting.
    pub fn new(address: SocketAddr) -> Self {
        Self { address, greeting: Vec::new(), greetings: 0, tls: None }
    }

    /// A connection on which the greeting was answered.
    ///
    /// # Errors
    /// When it cannot be made, or the greeting is refused.
    pub fn connect(&self) -> Result<Stream, LoadError> {
        let what = || format!("connecting to {}", self.address);
        let socket = TcpStream::connect(self.address).context(what)?;
        socket.set_nodelay(true).context(what)?;
        let mut stream = Stream::new(socket, self.tls.as_ref()).context(what)?;
        stream.write_all(&self.greeting).context(what)?;
        stream.flush().context(what)?;
        let (mut scanner, mut answered, mut buffer) = (Scanner::default(), 0, [0; 4096]);
        while answered < self.greetings {
            let read = stream.read(&mut buffer).context(what)?;
            if read == 0 {
                return Err(LoadError::Connection(format!("{} closed a new connection", self.address)));
            }
            answered += scanner.feed(&buffer[..read])?;
            if let Some(reply) = scanner.first_error.take() {
                return Err(LoadError::Reply { reply, wanted: "a greeting".into() });
            }
        }
        Ok(stream)
    }
}

/// One connection.
#[derive(Debug)]
pub(crate) struct Connection<L> {
    index: usize,
    stream: Stream,
    lane: L,
    /// What the socket did not take yet.
    unsent: Vec<u8>,
}

impl<L> Connection<L> {
    /// Sends up to `limit` requests, later ones behind those that wait for the socket; returns how
    /// many, 0 when there are no more.
    pub(crate) fn send<W: Workload<Lane = L>>(&mut self, workload: &mut W, limit: usize) -> Result<u64, LoadError> {
        let (count, bytes) = workload.fill(&mut self.lane, self.index, limit);
        let written = if count == 0 || !self.unsent.is_empty() { 0 } else { write_some(&mut self.stream, bytes)? };
        self.unsent.extend_from_slice(&bytes[written..]);
        Ok(count as u64)
    }

    /// Goes on with what [`Self::send`] could not send.
    fn flush(&mut self) -> Result<(), LoadError> {
        self.stream.flush_some().context(|| "sending requests".into())?;
        while !self.unsent.is_empty() {
            match write_some(&mut self.stream, &self.unsent)? {
                0 => break,
                written => drop(self.unsent.drain(..written)),
            }
        }
        Ok(())
    }

    /// Reads all that is there; returns how many replies are complete with it.
    fn receive<W: Workload<Lane = L>>(&mut self, workload: &mut W, buffer: &mut [u8]) -> Result<u64, LoadError> {
        let mut complete = 0;
        loop {
            match self.stream.read(buffer) {
                Ok(0) => {
                    return Err(LoadError::Connection("the server closed a connection".into()));
                }
                Ok(read) => {
                    complete += workload.feed(&mut self.lane, &buffer[..read])?;
                    // a short read of a stream socket means that it is empty.
                    if read < buffer.len() && self.stream.reads_whole() {
                        return Ok(complete);
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(complete),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error).context(|| "reading replies".into()),
            }
        }
    }
}

/// How much of `bytes` the socket takes now.
fn write_some(stream: &mut Stream, bytes: &[u8]) -> Result<usize, LoadError> {
    loop {
        match stream.write(bytes) {
            Ok(written) => return Ok(written),
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(0),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error).context(|| "sending requests".into()),
        }
    }
}

/// All connections of a client, and what they send.
pub(crate) struct Connections<W: Workload> {
    pub(crate) workload: W,
    epoll: OwnedFd,
    list: Vec<Connection<W::Lane>>,
    events: Vec<Event>,
    buffer: Box<[u8]>,
}

impl<W: Workload> Connections<W> {
    /// Connects.
    pub(crate) fn open(endpoint: &Endpoint, clients: usize, mut workload: W) -> Result<Self, LoadError> {
        let epoll = epoll::create(CreateFlags::CLOEXEC).context(|| "creating an epoll".into())?;
        let mut list = Vec::with_capacity(clients);
        for index in 0..clients {
            let what = || format!("connecting to {}", endpoint.address);
            let stream = endpoint.connect()?;
            stream.set_nonblocking(true).context(what)?;
            // edge-triggered, for both directions at once: no epoll_ctl ever again.
            let flags = EventFlags::IN | EventFlags::OUT | EventFlags::ET;
            epoll::add(&epoll, stream.socket(), EventData::new_u64(index as u64), flags).context(what)?;
            list.push(Connection { index, stream, lane: workload.lane(index), unsent: Vec::new() });
        }
        let no_event = Event { flags: EventFlags::empty(), data: EventData::new_u64(0) };
        Ok(Self {
            workload,
            epoll,
            events: vec![no_event; clients],
            list,
            buffer: vec![0; READ_BUFFER_BYTES].into_boxed_slice(),
        })
    }

    /// The number of connections.
    pub(crate) fn len(&self) -> usize {
        self.list.len()
    }

    /// Sends up to `limit` requests on one of them; returns how many, 0 when there are no more.
    pub(crate) fn send(&mut self, index: usize, limit: usize) -> Result<u64, LoadError> {
        self.list[index].send(&mut self.workload, limit)
    }

    /// Waits up to `timeout` for events, sends what waits to be sent, and calls `on_replies` with
    /// each connection on which replies are complete, the workload, its index, and their number.
    pub(crate) fn poll(
        &mut self,
        timeout: Duration,
        mut on_replies: impl FnMut(&mut Connection<W::Lane>, &mut W, usize, u64) -> Result<(), LoadError>,
    ) -> Result<(), LoadError> {
        let timeout = Timespec { tv_sec: timeout.as_secs() as i64, tv_nsec: timeout.subsec_nanos().into() };
        let ready = match epoll::wait(&self.epoll, &mut self.events[..], Some(&timeout)) {
            Err(rustix::io::Errno::INTR) => 0,
            other => other.context(|| "waiting for replies".into())?,
        };
        for event in &self.events[..ready] {
            let index = event.data.u64() as usize;
            let connection = &mut self.list[index];
            if !connection.unsent.is_empty() || connection.stream.has_unsent() {
                connection.flush()?;
            }
            let flags = event.flags;
            if flags.intersects(EventFlags::IN | EventFlags::HUP | EventFlags::ERR) {
                let complete = connection.receive(&mut self.workload, &mut self.buffer)?;
                if complete > 0 {
                    on_replies(connection, &mut self.workload, index, complete)?;
                }
            }
        }
        Ok(())
    }
}
