//! How often a cache has what it is asked for: all servers with the same `maxmemory` and policy, and the same requests. A key that is
//! not there is set, as who uses a cache does. It is no measurement of time, and may run on a busy machine.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;

use clap::ValueEnum;
use emberkv_load::{LoadError, Random, interrupt};

use crate::cell::{SyncMode, ValueSize};
use crate::error::{BenchError, Context};
use crate::pattern::{Kind, Pattern};
use crate::probe::bulk_length;
use crate::procfs::field;
use crate::run::Bench;
use crate::server::Server;

/// Requests that are sent together.
const BATCH: usize = 64;

/// Of all requests this part comes before those that are counted.
const WARM_UP: u64 = 3;

/// So many times as many keys as fit, without any overhead, into the memory.
const KEYS_FOR_ONE_THAT_FITS: u64 = 5;

/// Requests for each key that fits.
const REQUESTS_FOR_ONE_THAT_FITS: u64 = 60;

/// The policies that say by themselves what is worth keeping.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Policy {
    /// What was not asked for lately goes.
    AllkeysLru,
    /// What was not asked for often goes.
    AllkeysLfu,
}

impl Policy {
    fn name(self) -> &'static str {
        match self {
            Self::AllkeysLru => "allkeys-lru",
            Self::AllkeysLfu => "allkeys-lfu",
        }
    }
}

/// What a server has shown.
struct Shown {
    hit_ratio: f64,
    keys: u64,
    used_mib: f64,
    resident_mib: f64,
}

/// All servers, one after the other. A table.
///
/// # Errors
/// When a server or the client fails.
pub fn run(bench: &Bench<'_>) -> Result<String, BenchError> {
    let max = bench.args.maxmemory_mib << 20;
    let mut table = format!(
        "hit ratios with maxmemory {} MiB; {KEYS_FOR_ONE_THAT_FITS} times as many keys (16 bytes) as fit without overhead, \
         {REQUESTS_FOR_ONE_THAT_FITS} requests for each that fits, the last {} of {WARM_UP} parts counted\n\n\
         | requests | value | policy | server | hit ratio | keys at the end | used MiB | RSS MiB |\n\
         |---|---:|---|---|---:|---:|---:|---:|\n",
        bench.args.maxmemory_mib,
        WARM_UP - 1
    );
    for kind in Kind::value_variants() {
        for value in &bench.args.hit_values {
            for policy in Policy::value_variants() {
                for (index, binary) in bench.binaries.iter().enumerate() {
                    let more =
                        ["--maxmemory", &max.to_string(), "--maxmemory-policy", policy.name()].map(str::to_owned);
                    let server = bench.start_with(index, SyncMode::Everysec, &more)?;
                    let shown = ask(&server, *kind, ValueSize(*value), max)?;
                    let line = format!(
                        "| {} | {value} | {} | {} | {:.4} | {} | {:.1} | {:.1} |\n",
                        kind.describe(),
                        policy.name(),
                        binary.kind.name(),
                        shown.hit_ratio,
                        shown.keys,
                        shown.used_mib,
                        shown.resident_mib
                    );
                    eprint!("{line}");
                    table.push_str(&line);
                }
            }
        }
    }
    Ok(table)
}

fn ask(server: &Server, kind: Kind, value: ValueSize, max: u64) -> Result<Shown, BenchError> {
    let fits = max / (crate::request::KEY_BYTES + value.0) as u64;
    let requests = fits * REQUESTS_FOR_ONE_THAT_FITS;
    let mut pattern = Pattern::new(kind, fits * KEYS_FOR_ONE_THAT_FITS, fits, 11);
    let mut cache = Cache::connect(server, value)?;
    let (mut hits, mut counted, mut asked) = (0_u64, 0_u64, 0);
    while asked < requests {
        interrupt::check()?;
        let keys: Vec<(u64, bool)> = (0..BATCH).map(|_| pattern.next_key()).collect();
        let there = cache.get_or_set(&keys)?;
        asked += BATCH as u64;
        if asked > requests / WARM_UP {
            let counts = || keys.iter().zip(&there).filter(|((_, counts), _)| *counts);
            counted += counts().count() as u64;
            hits += counts().filter(|(_, there)| **there).count() as u64;
        }
    }
    let (_, info) = server.ask(&["INFO", "memory"])?;
    let used: f64 = field(&info, "used_memory").and_then(|used| used.parse().ok()).unwrap_or(f64::NAN);
    let mib = f64::from(1 << 20);
    Ok(Shown {
        hit_ratio: hits as f64 / counted.max(1) as f64,
        keys: server.key_count()?,
        used_mib: used / mib,
        resident_mib: server.resident_bytes()? as f64 / mib,
    })
}

/// A client that asks for keys, and sets those that are not there.
struct Cache {
    stream: BufReader<TcpStream>,
    requests: Vec<u8>,
    value: ValueSize,
    /// What values are cut out of.
    bytes: Vec<u8>,
    random: Random,
}

impl Cache {
    fn connect(server: &Server, value: ValueSize) -> Result<Self, BenchError> {
        let stream = TcpStream::connect(("127.0.0.1", server.port())).context(|| "connecting".into())?;
        stream.set_nodelay(true).context(|| "connecting".into())?;
        let mut random = Random::new(5);
        let bytes = (0..2 * value.0 + 1024).map(|_| b'!' + random.below(94) as u8).collect();
        Ok(Self { stream: BufReader::new(stream), requests: Vec::new(), value, bytes, random })
    }

    /// Which of these keys are there.
    fn get_or_set(&mut self, keys: &[(u64, bool)]) -> Result<Vec<bool>, BenchError> {
        self.requests.clear();
        for (key, _) in keys {
            self.requests.extend_from_slice(format!("*2\r\n$3\r\nGET\r\n$16\r\nkey:{key:012}\r\n").as_bytes());
        }
        self.send()?;
        let there = keys.iter().map(|_| self.read_value()).collect::<Result<Vec<bool>, _>>()?;
        self.requests.clear();
        let missing = || keys.iter().zip(&there).filter(|(_, there)| !**there);
        for ((key, _), _) in missing() {
            let head = format!("*3\r\n$3\r\nSET\r\n$16\r\nkey:{key:012}\r\n${}\r\n", self.value.0);
            self.requests.extend_from_slice(head.as_bytes());
            let from = self.random.below((self.bytes.len() - self.value.0) as u64) as usize;
            self.requests.extend_from_slice(&self.bytes[from..from + self.value.0]);
            self.requests.extend_from_slice(b"\r\n");
        }
        self.send()?;
        for _ in missing() {
            let reply = self.read_line()?;
            if reply != "+OK" {
                return Err(LoadError::Reply { reply, wanted: "OK".to_owned() }.into());
            }
        }
        Ok(there)
    }

    fn send(&mut self) -> Result<(), BenchError> {
        self.stream.get_mut().write_all(&self.requests).context(|| "sending requests".into())
    }

    fn read_line(&mut self) -> Result<String, BenchError> {
        let mut line = String::new();
        let read = self.stream.read_line(&mut line).context(|| "reading replies".into())?;
        if read == 0 {
            return Err(BenchError::Lost("the server has closed the connection".into()));
        }
        Ok(line.trim_end().to_owned())
    }

    /// Whether a reply to GET is a value.
    fn read_value(&mut self) -> Result<bool, BenchError> {
        let reply = self.read_line()?;
        match bulk_length(&reply) {
            None if reply == "$-1" => Ok(false),
            None => Err(LoadError::Reply { reply, wanted: "a value or none".to_owned() }.into()),
            Some(length) => {
                let mut content = vec![0; length + 2];
                self.stream.read_exact(&mut content).context(|| "reading replies".into())?;
                Ok(true)
            }
        }
    }
}
