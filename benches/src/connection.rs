//! A client's connections: non-blocking, watched by one edge-triggered epoll.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};

use crate::cell::{Op, ValueSize};
use crate::error::{BenchError, Context};
use crate::reply::Replies;
use crate::request::{Batch, Keys, Random};

/// More than the replies to a full pipeline of 1-KiB values take: one read empties a socket.
const READ_BUFFER_BYTES: usize = 256 * 1024;

/// What every connection of a client sends.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// The server's port on the loopback interface.
    pub port: u16,
    /// The command.
    pub op: Op,
    /// The size of the values.
    pub value: ValueSize,
    /// The depth of the pipeline, in requests.
    pub pipeline: usize,
    /// The number of connections.
    pub clients: usize,
}

/// One connection.
#[derive(Debug)]
pub struct Connection {
    index: usize,
    stream: TcpStream,
    batch: Batch,
    replies: Replies,
    /// What the socket did not take yet.
    unsent: Vec<u8>,
}

impl Connection {
    /// Sends up to `limit` requests, later ones behind those that wait for the socket; returns how
    /// many, 0 when the keys have run out.
    ///
    /// # Errors
    /// When the connection fails.
    pub fn send(&mut self, keys: &mut Keys, limit: usize) -> Result<u64, BenchError> {
        let (count, bytes) = self.batch.fill(keys, self.index, limit);
        let written = if count == 0 || !self.unsent.is_empty() { 0 } else { write_some(&mut self.stream, bytes)? };
        self.unsent.extend_from_slice(&bytes[written..]);
        Ok(count as u64)
    }

    /// Goes on with what [`Self::send`] could not send.
    fn flush(&mut self) -> Result<(), BenchError> {
        while !self.unsent.is_empty() {
            match write_some(&mut self.stream, &self.unsent)? {
                0 => break,
                written => drop(self.unsent.drain(..written)),
            }
        }
        Ok(())
    }

    /// Reads all that is there; returns how many replies are complete with it.
    fn receive(&mut self, buffer: &mut [u8]) -> Result<u64, BenchError> {
        let mut complete = 0;
        loop {
            match self.stream.read(buffer) {
                Ok(0) => {
                    return Err(BenchError::Connection("the server closed a connection".into()));
                }
                Ok(read) => {
                    complete += self.replies.feed(&buffer[..read])?;
                    // a short read of a stream socket means that it is empty.
                    if read < buffer.len() {
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
fn write_some(stream: &mut TcpStream, bytes: &[u8]) -> Result<usize, BenchError> {
    loop {
        match stream.write(bytes) {
            Ok(written) => return Ok(written),
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(0),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error).context(|| "sending requests".into()),
        }
    }
}

/// All connections of a client.
pub struct Connections {
    epoll: OwnedFd,
    list: Vec<Connection>,
    events: Vec<Event>,
    buffer: Box<[u8]>,
}

impl Connections {
    /// Connects.
    ///
    /// # Errors
    /// When a connection cannot be made.
    pub fn open(shape: &Shape, random: &mut Random) -> Result<Self, BenchError> {
        let epoll = epoll::create(CreateFlags::CLOEXEC).context(|| "creating an epoll".into())?;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, shape.port));
        let mut list = Vec::with_capacity(shape.clients);
        for index in 0..shape.clients {
            let what = || format!("connecting to {address}");
            let stream = TcpStream::connect(address).context(what)?;
            stream.set_nonblocking(true).context(what)?;
            stream.set_nodelay(true).context(what)?;
            // edge-triggered, for both directions at once: no epoll_ctl ever again.
            let flags = EventFlags::IN | EventFlags::OUT | EventFlags::ET;
            epoll::add(&epoll, &stream, EventData::new_u64(index as u64), flags).context(what)?;
            let op = shape.op.of_connection(index);
            list.push(Connection {
                index,
                stream,
                batch: Batch::new(op, shape.value, shape.pipeline, random),
                replies: Replies::new(op, shape.value),
                unsent: Vec::new(),
            });
        }
        let no_event = Event { flags: EventFlags::empty(), data: EventData::new_u64(0) };
        Ok(Self {
            epoll,
            events: vec![no_event; shape.clients],
            list,
            buffer: vec![0; READ_BUFFER_BYTES].into_boxed_slice(),
        })
    }

    /// The number of connections.
    pub fn len(&self) -> usize {
        self.list.len()
    }

    /// One of them.
    ///
    /// # Panics
    /// If `index` is not below [`Self::len`].
    pub fn get(&mut self, index: usize) -> &mut Connection {
        &mut self.list[index]
    }

    /// Waits up to `timeout` for events, sends what waits to be sent, and calls `on_replies` with
    /// each connection on which replies are complete, its index, and their number.
    ///
    /// # Errors
    /// What a connection or `on_replies` fails with.
    pub fn poll(
        &mut self,
        timeout: Duration,
        mut on_replies: impl FnMut(&mut Connection, usize, u64) -> Result<(), BenchError>,
    ) -> Result<(), BenchError> {
        let timeout = Timespec { tv_sec: timeout.as_secs() as i64, tv_nsec: timeout.subsec_nanos().into() };
        let ready = match epoll::wait(&self.epoll, &mut self.events[..], Some(&timeout)) {
            Err(rustix::io::Errno::INTR) => 0,
            other => other.context(|| "waiting for replies".into())?,
        };
        for event in &self.events[..ready] {
            let index = event.data.u64() as usize;
            let connection = &mut self.list[index];
            if !connection.unsent.is_empty() {
                connection.flush()?;
            }
            let flags = event.flags;
            if flags.intersects(EventFlags::IN | EventFlags::HUP | EventFlags::ERR) {
                let complete = connection.receive(&mut self.buffer)?;
                if complete > 0 {
                    on_replies(connection, index, complete)?;
                }
            }
        }
        Ok(())
    }
}
