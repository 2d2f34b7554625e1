//! What the tests of arriving and leaving share: servers, what fills them, and what says that two have the same.
#![allow(dead_code, reason = "each test program uses its own part of this")]

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};

use emberkv_torture::rng::Rng;
use emberkv_torture::value::escape;
use emberkv_torture::{Client, Server, ServerSpec, TempDir, Value, peers};

use crate::common::{PATIENCE, binary, dir, must, start};

/// The servers that data come from.
pub fn sources() -> [(&'static str, PathBuf); 3] {
    let found = |path: emberkv_torture::Result<PathBuf>| path.unwrap_or_else(|error| panic!("no peer: {error}"));
    [
        ("redis 7.0", PathBuf::from("/usr/bin/redis-server")),
        ("redis 8.2", found(peers::redis82())),
        ("valkey 9.1", found(peers::valkey91())),
    ]
}

pub fn source(program: &PathBuf, args: &[&str]) -> (Server, TempDir) {
    let dir = dir("arrive-source");
    let fast = ["--repl-diskless-sync-delay", "0"];
    let spec = ServerSpec::new(program, dir.path()).args(fast).args(args.iter().copied());
    (Server::start(&spec).unwrap(), dir)
}

/// An emberkv with nothing in it.
pub fn target() -> (Server, TempDir) {
    start("arrive", &["--cores", "2"])
}

pub fn client(server: &Server) -> Client {
    let mut client = server.connect().unwrap();
    client.set_timeout(PATIENCE).unwrap();
    client
}

pub fn uri(server: &Server) -> String {
    format!("redis://127.0.0.1:{}", server.port())
}

/// `emberkv` with these words.
pub fn command(args: &[&str]) -> Command {
    let mut command = Command::new(binary());
    command.args(args).stdin(Stdio::null());
    command
}

/// What it said and how it ended.
pub fn said(output: &Output) -> (i32, String) {
    let out = String::from_utf8_lossy(&output.stdout);
    let err = String::from_utf8_lossy(&output.stderr);
    (output.status.code().unwrap_or(-1), format!("{out}{err}"))
}

/// Runs `emberkv` to its end: what it said and how it ended.
pub fn tool(args: &[&str]) -> (i32, String) {
    said(&command(args).output().unwrap())
}

/// Runs it; panics unless it ended with this code.
pub fn ends_with(code: i32, args: &[&str]) -> String {
    let (found, text) = tool(args);
    assert_eq!(found, code, "emberkv {args:?}\n{text}");
    text
}

/// One that runs beside the test; killed when it is dropped.
pub struct Running(pub Child);

impl Running {
    pub fn start(args: &[&str]) -> Self {
        Self(command(args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap())
    }

    /// Panics with what it said if it has ended.
    pub fn must_run(&mut self) {
        if let Some(status) = self.0.try_wait().unwrap() {
            let mut text = String::new();
            std::io::Read::read_to_string(self.0.stderr.as_mut().unwrap(), &mut text).unwrap();
            panic!("it has ended with {status}: {text}");
        }
    }

    pub fn kill9(mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }

    /// Tells it to cut over, and waits for its end.
    pub fn interrupt(self) -> (i32, String) {
        let status = Command::new("kill").args(["-INT", &self.0.id().to_string()]).status().unwrap();
        assert!(status.success());
        self.wait()
    }

    pub fn wait(mut self) -> (i32, String) {
        let deadline = std::time::Instant::now() + PATIENCE;
        while self.0.try_wait().unwrap().is_none() {
            assert!(std::time::Instant::now() < deadline, "it does not end");
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        let read = |from: Option<&mut dyn std::io::Read>| {
            let mut text = String::new();
            from.unwrap().read_to_string(&mut text).unwrap();
            text
        };
        let out = read(self.0.stdout.as_mut().map(|out| out as &mut dyn std::io::Read));
        let err = read(self.0.stderr.as_mut().map(|err| err as &mut dyn std::io::Read));
        (self.0.wait().unwrap().code().unwrap_or(-1), out + &err)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// 2100-01-01.
const FAR_MS: u64 = 4_102_444_800_000;

struct Filler<'a> {
    client: &'a mut Client,
    rng: Rng,
}

impl Filler<'_> {
    fn ask<W: AsRef<[u8]>>(&mut self, words: &[W]) -> Value {
        self.client.command(words).unwrap()
    }

    fn must<W: AsRef<[u8]>>(&mut self, words: &[W]) {
        let reply = self.ask(words);
        assert!(
            !matches!(reply, Value::Error(_)),
            "{:?} was answered {reply:?}",
            String::from_utf8_lossy(words[0].as_ref())
        );
    }

    fn text(&mut self) -> Vec<u8> {
        let len = match self.rng.below(12) {
            0..8 => self.rng.below(40),
            8..11 => self.rng.below(300),
            _ => self.rng.below(12_000),
        };
        match self.rng.below(4) {
            0 => (self.rng.next_u64() as i64 >> self.rng.below(64)).to_string().into_bytes(),
            1 => (0..len).map(|at| b"the same words again and again, "[at as usize % 32]).collect(),
            2 => (0..len).map(|_| b'a' + self.rng.below(26) as u8).collect(),
            _ => (0..len).map(|_| self.rng.below(256) as u8).collect(),
        }
    }

    fn collection(&mut self, name: &str, nth: u64, count: u64) {
        let key = format!("{name}:{nth}:{count}").into_bytes();
        for at in 0..count {
            let (text, other) = (self.text(), self.text());
            let member = [format!("{at}:").as_bytes(), &text[..text.len().min(2000)]].concat();
            let score = match self.rng.below(8) {
                0 => "inf".to_owned(),
                1 => "-inf".into(),
                2 => "5e-324".into(),
                3 => "-1.7976931348623157e308".into(),
                4 => (self.rng.next_u64() as i64 >> 20).to_string(),
                _ => format!("{}", self.rng.next_u64() as f64 / 1e12),
            };
            match name {
                "list" => self.must(&[&b"RPUSH"[..], &key, &text]),
                "set" => self.must(&[&b"SADD"[..], &key, &member]),
                "ints" => self.must(&[&b"SADD"[..], &key, (at * at * at * 97).to_string().as_bytes()]),
                "hash" | "timed" => self.must(&[&b"HSET"[..], &key, &member, &other]),
                _ => self.must(&[&b"ZADD"[..], &key, score.as_bytes(), &member]),
            }
            if name == "timed" && at % 3 != 1 {
                // redis 7.0 does not know it
                let time = (FAR_MS + self.rng.below(1 << 30)).to_string();
                self.ask(&[&b"HPEXPIREAT"[..], &key, time.as_bytes(), b"FIELDS", b"1", &member]);
            }
        }
        if nth % 2 == 1 {
            let time = (FAR_MS + self.rng.below(1 << 40)).to_string();
            self.must(&[&b"PEXPIREAT"[..], &key, time.as_bytes()]);
        }
    }

    fn stream(&mut self, nth: u64, count: u64) {
        let key = format!("stream:{nth}:{count}");
        self.must(&["XGROUP", "CREATE", &key, "g", "0", "MKSTREAM"]);
        for at in 0..count {
            let id = format!("{}-{}", 1000 + at / 3, at % 3);
            let (a, b) = (self.text(), self.text());
            let field: &[u8] = if at % 5 == 0 { b"other" } else { b"field" };
            self.must(&[&b"XADD"[..], key.as_bytes(), id.as_bytes(), field, &a, b"n", &b]);
            if at % 7 == 3 {
                self.must(&["XDEL", &key, &id]);
            }
        }
        if count > 0 {
            self.must(&["XGROUP", "CREATE", &key, "other", "1001-0"]);
            for consumer in ["c", "d"] {
                self.must(&["XREADGROUP", "GROUP", "g", consumer, "COUNT", "5", "STREAMS", &key, ">"]);
            }
            self.must(&["XACK", &key, "g", "1000-1"]);
            self.must(&["XGROUP", "CREATECONSUMER", &key, "g", "idle"]);
        }
    }
}

/// Every type in every form that servers have for it, in three databases.
pub fn fill(client: &mut Client, seed: u64) {
    let mut filler = Filler { client, rng: Rng::new(seed) };
    for db in ["0", "3", "15"] {
        filler.must(&["SELECT", db]);
        for nth in 0..40 {
            let (key, text) = (format!("text:{nth}"), filler.text());
            filler.must(&[b"SET", key.as_bytes(), &text]);
            if nth % 3 == 0 {
                filler.must(&["PEXPIREAT", &key, &(FAR_MS + nth * 1_000_003).to_string()]);
            }
        }
        filler.must(&["SET", "", "empty key"]);
        filler.must(&["SET", "empty value", ""]);
        filler.must(&[&b"SET"[..], b"bin\x00\r\n\xff", b"\x00\r\n\xff"]);
        filler.must(&[&b"SET"[..], b"large", &vec![b'x'; 300_000]]);
        for name in ["list", "set", "ints", "hash", "timed", "zset"] {
            for (nth, count) in [1, 5, 60, 700].into_iter().enumerate() {
                filler.collection(name, nth as u64, count);
            }
        }
        for (nth, count) in [0, 3, 40, 650].into_iter().enumerate() {
            filler.stream(nth as u64, count);
        }
        filler.must(&["PFADD", "hll", "a", "b", "c"]);
        filler.must(&["GEOADD", "geo", "13.361389", "38.115556", "Palermo", "15.087269", "37.502669", "Catania"]);
        filler.must(&["SETBIT", "bits", "100000", "1"]);
    }
    filler.must(&["SELECT", "0"]);
}

/// All that a server has, by database and key, in a form in which equal things are equal: an oracle that shares
/// nothing with `emberkv compare`.
pub fn contents(client: &mut Client) -> BTreeMap<(u8, Vec<u8>), String> {
    let mut all = BTreeMap::new();
    for db in 0..16 {
        client.select(db).unwrap();
        let keys = must(client, "KEYS *");
        for key in keys.items().unwrap() {
            let key = key.text().unwrap().to_vec();
            let mut ask = |words: &[&[u8]]| client.command(words).unwrap();
            let kind = String::from_utf8_lossy(ask(&[b"TYPE", &key]).text().unwrap()).into_owned();
            let time = ask(&[b"PEXPIRETIME", &key]).integer();
            let value = match kind.as_str() {
                "string" => ask(&[b"GET", &key]),
                "list" => ask(&[b"LRANGE", &key, b"0", b"-1"]),
                "set" => ask(&[b"SMEMBERS", &key]),
                "hash" => ask(&[b"HGETALL", &key]),
                "zset" => ask(&[b"ZRANGE", &key, b"0", b"-1", b"WITHSCORES"]),
                _ => ask(&[b"XRANGE", &key, b"-", b"+"]),
            };
            let mut parts: Vec<String> = match value.items() {
                None => vec![escape(value.text().unwrap())],
                Some(items) => {
                    items.iter().map(|item| item.text().map_or_else(|| format!("{item:?}"), escape)).collect()
                }
            };
            if kind == "hash" {
                let mut pairs = Vec::new();
                for pair in value.items().unwrap().chunks(2) {
                    let field = pair[0].text().unwrap();
                    let time = ask(&[b"HPEXPIRETIME", &key, b"FIELDS", b"1", field]);
                    let time = time.items().map_or(-1, |items| items[0].integer().unwrap());
                    pairs.push(format!("{}={} until {time}", escape(field), escape(pair[1].text().unwrap())));
                }
                parts = pairs;
            }
            if kind == "stream" {
                parts.push(format!(
                    "{:?}",
                    ask(&[b"XPENDING", &key, b"g", b"-", b"+", b"1000"]).items().map(|entries| {
                        // since when is another time on each
                        entries
                            .iter()
                            .map(|entry| (entry.items().unwrap()[0].clone(), entry.items().unwrap()[3].clone()))
                            .collect::<Vec<_>>()
                    })
                ));
            }
            if matches!(kind.as_str(), "set" | "hash") {
                parts.sort();
            }
            if kind == "zset" {
                let score = |text: &String| format!("{:?}", text.parse::<f64>());
                parts = parts.chunks(2).flat_map(|pair| [pair[0].clone(), score(&pair[1])]).collect();
            }
            all.insert((db, key), format!("{kind} until {time:?}: {parts:?}"));
        }
    }
    client.select(0).unwrap();
    all
}

/// Panics unless they have the same, by the oracle and by `emberkv compare`.
pub fn assert_same(a: &Server, b: &Server) {
    let (left, right) = (contents(&mut client(a)), contents(&mut client(b)));
    for (key, value) in &left {
        let other = right.get(key).map_or("missing", String::as_str);
        let short = |text: &str| text.chars().take(2000).collect::<String>();
        assert!(value == other, "{key:?}\n{}\n{}", short(value), short(other));
    }
    assert_eq!(left.len(), right.len());
    ends_with(0, &["compare", &uri(a), &uri(b)]);
}
