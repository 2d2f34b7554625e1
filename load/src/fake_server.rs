//! A server for tests: it answers every SET of a 1-byte value alike, and remembers the keys.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use crate::connection::Endpoint;
use crate::error::LoadError;
use crate::workload::Workload;

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

    /// Where it is.
    pub fn endpoint(&self) -> Endpoint {
        Endpoint::new((Ipv4Addr::LOCALHOST, self.port).into())
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

/// Sets the keys of a range, which it answers with `+OK`.
pub struct Sets {
    keys: std::ops::Range<u64>,
    bytes: Vec<u8>,
}

impl Sets {
    pub fn new(keys: std::ops::Range<u64>) -> Self {
        Self { keys, bytes: Vec::new() }
    }
}

impl Workload for Sets {
    /// Bytes of a reply that is not complete.
    type Lane = usize;

    fn lane(&mut self, _: usize) -> usize {
        0
    }

    fn fill<'a>(&'a mut self, _: &'a mut usize, _: usize, limit: usize) -> (usize, &'a [u8]) {
        self.bytes.clear();
        let mut count = 0;
        for key in self.keys.by_ref().take(limit) {
            let request = format!("*3\r\n$3\r\nSET\r\n$16\r\nkey:{key:012}\r\n$1\r\nx\r\n");
            self.bytes.extend_from_slice(request.as_bytes());
            count += 1;
        }
        (count, &self.bytes)
    }

    fn feed(&mut self, lane: &mut usize, bytes: &[u8]) -> Result<u64, LoadError> {
        if bytes.contains(&b'-') {
            return Err(LoadError::Reply { reply: String::from_utf8_lossy(bytes).into_owned(), wanted: "+OK".into() });
        }
        *lane += bytes.len();
        let complete = *lane / 5;
        *lane %= 5;
        Ok(complete as u64)
    }
}
