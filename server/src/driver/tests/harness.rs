//! A small server over any driver: it echoes, or does what a test has set, and checks each driver's promises on
//! the way.

use std::collections::{HashMap, HashSet};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use emberkv_resp::Output;
use socket2::SockRef;

use super::super::listen::bind_tcp;
use super::super::{ConnId, Driver, Event, ListenerId, Wait};

/// After so long a test has hung.
const HUNG: Duration = Duration::from_secs(60);

pub(super) const LISTENER: ListenerId = ListenerId(3);

/// What the server knows of a connection.
#[derive(Default)]
pub(super) struct Client {
    pub(super) received: Vec<u8>,
    staged: Output,
    sending: bool,
    pub(super) sent_count: usize,
    pub(super) eof: bool,
    pub(super) failed: bool,
    closing: bool,
}

pub(super) struct Server<D: Driver> {
    pub(super) driver: D,
    pub(super) clients: HashMap<ConnId, Client>,
    pub(super) accepted: Vec<(ListenerId, ConnId)>,
    pub(super) closed: Vec<ConnId>,
    pub(super) woken: usize,
    pub(super) disk: Vec<(u64, std::io::Result<()>)>,
    pub(super) reads: Vec<(u64, std::io::Result<Vec<u8>>)>,
    /// Whether what arrives is sent back (else kept).
    pub(super) echo: bool,
    /// Whether a connection is closed when it has ended and all is sent.
    pub(super) hang_up: bool,
    pub(super) wait: Wait,
    events: Vec<Event>,
    next: u32,
}

pub(super) fn wait_ms(ms: u64) -> Wait {
    Wait { timeout: Duration::from_millis(ms), gather_time: Duration::ZERO, gather_events: 1 }
}

impl<D: Driver> Server<D> {
    pub(super) fn new(driver: D) -> Self {
        Self {
            driver,
            clients: HashMap::new(),
            accepted: Vec::new(),
            closed: Vec::new(),
            woken: 0,
            disk: Vec::new(),
            reads: Vec::new(),
            echo: true,
            hang_up: true,
            wait: wait_ms(20),
            events: Vec::new(),
            next: 0,
        }
    }

    /// Listens on a free local port.
    pub(super) fn listen(&mut self, id: ListenerId) -> SocketAddr {
        let socket = bind_tcp(SocketAddr::from(([127, 0, 0, 1], 0)), 512, false).unwrap();
        let addr = SockRef::from(&socket).local_addr().unwrap();
        self.driver.listen(id, socket).unwrap();
        addr.as_socket().unwrap()
    }

    /// A server that listens, and one connection to it.
    pub(super) fn connected(driver: D) -> (Self, ConnId, TcpStream) {
        let mut server = Self::new(driver);
        let addr = server.listen(LISTENER);
        let client = TcpStream::connect(addr).unwrap();
        server.run_until(|s| s.accepted.len() == 1);
        let id = server.accepted[0].1;
        (server, id, client)
    }

    pub(super) fn attach(&mut self, id: ConnId, socket: OwnedFd) {
        let before = self.clients.insert(id, Client::default());
        assert!(before.is_none());
        self.driver.attach(id, socket).unwrap();
    }

    pub(super) fn send(&mut self, id: ConnId, mut output: Output) {
        let client = self.clients.get_mut(&id).unwrap();
        client.staged.append(&mut output);
        self.flush(id);
    }

    pub(super) fn close(&mut self, id: ConnId) {
        self.clients.get_mut(&id).unwrap().closing = true;
        self.driver.close(id);
    }

    fn flush(&mut self, id: ConnId) {
        let client = self.clients.get_mut(&id).unwrap();
        if client.closing || client.sending {
            return;
        }
        if !client.staged.is_empty() {
            client.sending = true;
            self.driver.send(id, client.staged.take());
        } else if self.hang_up && (client.eof || client.failed) {
            self.close(id);
        }
    }

    /// One poll, and what follows from it.
    pub(super) fn turn(&mut self) -> usize {
        let mut events = std::mem::take(&mut self.events);
        self.driver.poll(self.wait, &mut events).unwrap();
        let count = events.len();
        // what came before a close in the same batch stands.
        let closing: HashSet<ConnId> = self.closing();
        for event in events.drain(..) {
            self.handle(event, &closing);
        }
        self.events = events;
        count
    }

    fn closing(&self) -> HashSet<ConnId> {
        let closing = self.clients.iter().filter(|(_, client)| client.closing);
        closing.map(|(id, _)| *id).collect()
    }

    fn handle(&mut self, event: Event, closing: &HashSet<ConnId>) {
        match event {
            Event::Accepted(listener, socket) => {
                let id = ConnId(self.next);
                self.next += 1;
                self.accepted.push((listener, id));
                self.attach(id, socket);
            }
            Event::Received(id, received) => {
                let bytes = self.driver.bytes(&received);
                assert!(!bytes.is_empty());
                assert!(!closing.contains(&id), "received after a close");
                let client = self.clients.get_mut(&id).unwrap();
                assert!(!client.eof && !client.failed, "received after the end");
                if self.echo {
                    client.staged.push(bytes);
                } else {
                    client.received.extend_from_slice(bytes);
                }
                self.driver.recycle(received);
                self.flush(id);
            }
            Event::Eof(id) => {
                assert!(!closing.contains(&id), "eof after a close");
                let client = self.clients.get_mut(&id).unwrap();
                assert!(!client.eof && !client.failed);
                client.eof = true;
                self.flush(id);
            }
            Event::Failed(id, _) => {
                assert!(!closing.contains(&id), "failed after a close");
                let client = self.clients.get_mut(&id).unwrap();
                assert!(!client.failed);
                client.failed = true;
                client.staged.clear();
                self.flush(id);
            }
            Event::Sent(id, output) => {
                assert!(!closing.contains(&id), "sent after a close");
                assert!(output.is_empty());
                let client = self.clients.get_mut(&id).unwrap();
                assert!(client.sending);
                client.sending = false;
                client.sent_count += 1;
                self.flush(id);
            }
            Event::Closed(id) => {
                assert!(closing.contains(&id), "closed in the poll of the close");
                self.clients.remove(&id).unwrap();
                self.closed.push(id);
            }
            Event::DiskDone(token, result) => self.disk.push((token.0, result)),
            Event::DiskRead(token, result) => self.reads.push((token.0, result)),
            Event::Woken => self.woken += 1,
        }
    }

    pub(super) fn run_until(&mut self, mut done: impl FnMut(&Self) -> bool) {
        let begun = Instant::now();
        while !done(self) {
            assert!(begun.elapsed() < HUNG, "hangs");
            self.turn();
        }
    }

    /// Polls until nothing has happened for a while.
    pub(super) fn run_until_quiet(&mut self) {
        let mut quiet = 0;
        while quiet < 5 {
            quiet = if self.turn() == 0 { quiet + 1 } else { 0 };
        }
    }
}

/// Bytes that tell when one is lost, doubled or moved.
pub(super) fn pattern(len: usize, seed: u64) -> Vec<u8> {
    let mut state = seed | 1;
    let mut bytes = Vec::with_capacity(len + 8);
    while bytes.len() < len {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(len);
    bytes
}
