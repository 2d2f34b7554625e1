//! A server for tests: it answers every SET of a 1-byte value alike, and remembers the keys.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use crate::cell::{Op, ValueSize};
use crate::connection::Shape;

/// `*3 $3 SET $16 key:000000000000 $1 x`, with line ends.
const REQUEST_BYTES: usize = 43;

/// A listening fake; its threads end with their connections.
pub struct FakeServer {
    port: u16,
    keys: Arc<Mutex<Vec<u64>>>,
}

impl FakeServer {
    /// Listens, and answers each request with `reply`.
    pub fn start(reply: &'static str) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let keys = Arc::new(Mutex::new(Vec::new()));
        let shared = Arc::clone(&keys);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let keys = Arc::clone(&shared);
                std::thread::spawn(move || serve(stream.unwrap(), reply, &keys));
            }
        });
        Self { port, keys }
    }

    /// The shape of a client that it understands.
    pub fn shape(&self, pipeline: usize, clients: usize) -> Shape {
        Shape { port: self.port, op: Op::Set, value: ValueSize(1), pipeline, clients }
    }

    /// The numbers of the keys that were set, in order.
    pub fn keys(&self) -> Vec<u64> {
        let mut keys = self.keys.lock().unwrap().clone();
        keys.sort_unstable();
        keys
    }
}

fn serve(mut stream: TcpStream, reply: &str, keys: &Mutex<Vec<u64>>) {
    let mut request = [0; REQUEST_BYTES];
    while stream.read_exact(&mut request).is_ok() {
        let text = std::str::from_utf8(&request).unwrap();
        let (_, rest) = text.split_once("key:").unwrap();
        keys.lock().unwrap().push(rest[..12].parse().unwrap());
        if reply.is_empty() || stream.write_all(reply.as_bytes()).is_err() {
            return;
        }
    }
}
