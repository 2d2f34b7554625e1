//! Keyspace notifications beside redis 8.2: the same commands, and then the same events, in their order. Over several cores the
//! order is that of each key.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod common;

use std::collections::BTreeMap;
use std::time::Duration;

use common::{PATIENCE, dir, eventually, is_ember, must, number, spec, text};
use emberkv_torture::{Client, Server, ServerSpec, TempDir, Value, peers};

/// How long nothing comes when all has come.
const QUIET: Duration = Duration::from_millis(1500);

struct Side {
    server: Server,
    _dir: TempDir,
    client: Client,
    listener: Client,
}

impl Side {
    fn start(spec: impl FnOnce(&TempDir) -> ServerSpec) -> Self {
        let dir = dir("events");
        let server = Server::start(&spec(&dir)).unwrap();
        let [mut client, mut listener] = [0; 2].map(|_: u8| server.connect().unwrap());
        client.set_timeout(PATIENCE).unwrap();
        must(&mut client, "CONFIG SET notify-keyspace-events KEAmnoc");
        must(&mut listener, "PSUBSCRIBE __key*");
        listener.set_timeout(QUIET).unwrap();
        Self { server, _dir: dir, client, listener }
    }

    fn ember(args: &[&str]) -> Self {
        Self::start(|dir| spec(dir.path(), args))
    }

    fn redis() -> Self {
        Self::start(|dir| ServerSpec::new(peers::redis82().unwrap(), dir.path()).args(["--appendonly", "yes"]))
    }

    /// What was told, until nothing more comes: channels and messages.
    fn events(&mut self) -> Vec<(String, String)> {
        let mut events = Vec::new();
        while let Ok(Value::Array(message) | Value::Push(message)) = self.listener.read() {
            events.push((text(&message[2]), text(&message[3])));
        }
        // a read that was given up on may have left part of a message
        self.listener = self.server.connect().unwrap();
        must(&mut self.listener, "PSUBSCRIBE __key*");
        self.listener.set_timeout(QUIET).unwrap();
        events
    }
}

/// The events of each key, or rather of each channel that has a key's name.
fn by_key(events: &[(String, String)]) -> BTreeMap<&str, Vec<&str>> {
    let mut keys: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (channel, message) in events.iter().filter(|(channel, _)| channel.starts_with("__keyspace@")) {
        keys.entry(channel).or_default().push(message);
    }
    keys
}

struct Dice(u64);

impl Dice {
    fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % n
    }

    fn pick<'a>(&mut self, of: &[&'a str]) -> &'a str {
        of[self.below(of.len())]
    }
}

/// Commands of all kinds on few keys: `k`, `l`, `m` stand for some of them.
const COMMANDS: &[&str] = &[
    "SET k 1",
    "SET k 1 EX 100",
    "SET k 1 KEEPTTL",
    "SET k 1 NX",
    "SET k 1 XX",
    "SET k 1 GET",
    "SETNX k 2",
    "SETEX k 100 1",
    "PSETEX k 100000 1",
    "GETSET k 3",
    "APPEND k 1",
    "APPEND k \"\"",
    "SETRANGE k 1 2",
    "SETRANGE k 0 \"\"",
    "INCR k",
    "DECR k",
    "INCRBY k 2",
    "DECRBY k 2",
    "INCRBYFLOAT k 1",
    "SETBIT k 1 1",
    "BITFIELD k SET u8 0 1",
    "BITFIELD k GET u8 0",
    "BITFIELD_RO k GET u8 0",
    "GET k",
    "STRLEN k",
    "GETRANGE k 0 1",
    "GETBIT k 1",
    "BITCOUNT k",
    "BITPOS k 1",
    "TTL k",
    "TYPE k",
    "EXISTS k",
    "TOUCH k",
    "DUMP k",
    "OBJECT ENCODING k",
    "GETDEL k",
    "GETEX k",
    "GETEX k EX 100",
    "GETEX k PERSIST",
    "EXPIRE k 100",
    "EXPIRE k 100 XX",
    "EXPIRE k -1",
    "PEXPIREAT k 1",
    "PERSIST k",
    "DEL k",
    "DEL k l",
    "UNLINK k l m",
    "MSET k 1 l 2",
    "MSETNX k 1 l 2",
    "MGET k l m",
    "EXISTS k l",
    "RENAME k l",
    "RENAMENX k l",
    "COPY k l",
    "COPY k l REPLACE",
    "MOVE k 5",
    "BITOP OR k l m",
    "PFADD k x",
    "PFCOUNT k",
    "PFCOUNT k l",
    "PFMERGE k l m",
    "GEOADD k 1 1 a 2 2 b",
    "GEOSEARCH k FROMLONLAT 1 1 BYRADIUS 1000 km",
    "GEOSEARCHSTORE k l FROMLONLAT 1 1 BYRADIUS 1 km",
    "GEORADIUS k 1 1 1 km STORE l",
    "RPUSH k 3 1 2",
    "SORT k",
    "SORT k STORE l",
    "SORT k BY m* GET l* STORE l",
    "LCS k l",
    "SELECT 5",
    "SELECT 0",
    "SWAPDB 0 5",
    "FLUSHDB",
    "SCAN 0",
    "RESTORE k 0 nonsense",
    "RESTORE k 0 PAYLOAD",
    "RESTORE k 0 PAYLOAD REPLACE",
    "RESTORE k 100000 PAYLOAD REPLACE",
    "RESTORE k 1 PAYLOAD REPLACE ABSTTL",
    "HSET k f 1",
    "HSET k f 1 g 2",
    "HSET k long1 LONG long2 LONG",
    "HSET k long1 LONG",
    "HMSET k f 2",
    "HSETNX k f 1",
    "HINCRBY k f 1",
    "HINCRBYFLOAT k f 1.5",
    "HDEL k f g",
    "HDEL k f",
    "HDEL k f g long1 long2",
    "HGET k f",
    "HMGET k f g",
    "HLEN k",
    "HEXISTS k f",
    "HGETALL k",
    "HRANDFIELD k",
    "HSCAN k 0",
    "HEXPIRE k 100 FIELDS 2 f g",
    "HEXPIRE k 0 FIELDS 1 f",
    "HTTL k FIELDS 1 f",
    "HPERSIST k FIELDS 1 f",
    "HGETEX k EX 100 FIELDS 1 f",
    "HGETEX k PERSIST FIELDS 2 f g",
    "HGETEX k PXAT 1 FIELDS 1 g",
    "HSETEX k EX 100 FIELDS 2 f 1 g 2",
    "HSETEX k FIELDS 1 f 1",
    "HSETEX k FXX KEEPTTL FIELDS 1 f 1",
    "HGETDEL k FIELDS 2 f g",
    "XADD k 5-1 a 1",
    "XADD k 0-* a 1",
    "XADD k MAXLEN 2 7-* a 1",
    "XADD k NOMKSTREAM 8-* a 1",
    "XTRIM k MAXLEN 1",
    "XDEL k 5-1",
    "XDEL k 7-0 7-1",
    "XSETID k 9-9",
    "XGROUP CREATE k g 0 MKSTREAM",
    "XGROUP CREATE k g 0",
    "XGROUP CREATECONSUMER k g c",
    "XGROUP DELCONSUMER k g c",
    "XGROUP SETID k g 0",
    "XGROUP DESTROY k g",
    "XREADGROUP GROUP g c STREAMS k >",
    "XREADGROUP GROUP g d NOACK STREAMS k >",
    "XREADGROUP GROUP g d STREAMS k 0",
    "XACK k g 5-1 7-0 7-1",
    "XCLAIM k g e 0 5-1 7-0",
    "XAUTOCLAIM k g f 0 0",
    "XREAD STREAMS k 0",
    "XPENDING k g",
    "XINFO STREAM k",
    "XLEN k",
    "XRANGE k - +",
];

/// A string, as redis dumps it.
const PAYLOAD: &[u8] = b"\x00\xc0\x05\x0c\x00\xa8Yk\xa6y\x05-\x18";

type Command = Vec<Vec<u8>>;

/// A word of [`COMMANDS`] as it is sent.
fn word(word: &str, dice: &mut Dice) -> Vec<u8> {
    match word {
        "k" | "l" | "m" => vec![b'a' + dice.below(5) as u8],
        "\"\"" => Vec::new(),
        "PAYLOAD" => PAYLOAD.to_vec(),
        "LONG" => vec![b'x'; 600],
        other => other.as_bytes().to_vec(),
    }
}

fn commands(seed: u64, count: usize) -> Vec<Command> {
    let mut dice = Dice(seed);
    let mut all: Vec<Command> = Vec::new();
    let mut in_multi = 0;
    while all.len() < count {
        if in_multi == 0 && dice.below(12) == 0 {
            all.push(vec![b"MULTI".to_vec()]);
            in_multi = 1 + dice.below(6);
        }
        let words: Command = dice.pick(COMMANDS).split(' ').map(|text| word(text, &mut dice)).collect();
        let is_single = [b"RENAME".as_slice(), b"RENAMENX", b"COPY"].contains(&&*words[0]) && words[1] == words[2];
        if is_single {
            continue; // to itself
        }
        all.push(words);
        if in_multi > 0 {
            in_multi -= 1;
            if in_multi == 0 {
                all.push(vec![b"EXEC".to_vec()]);
            }
        }
    }
    if in_multi > 0 {
        all.push(vec![b"EXEC".to_vec()]);
    }
    all
}

/// `EMBERKV_RANDOM_STEPS` and `EMBERKV_RANDOM_SEED` make it longer or another.
#[test]
fn events_are_redis_s_in_order() {
    if !is_ember() {
        return;
    }
    let seed = number("EMBERKV_RANDOM_SEED", 1);
    for io in common::drivers() {
        let mut sides = [Side::ember(&["--io", io, "--cores", "1"]), Side::redis()];
        for command in commands(seed, number("EMBERKV_RANDOM_STEPS", 3000) as usize) {
            for side in &mut sides {
                side.client.command(&command).unwrap();
            }
        }
        let [ours, theirs] = sides.each_mut().map(Side::events);
        for (i, (our, their)) in ours.iter().zip(&theirs).enumerate() {
            assert_eq!(our, their, "io {io}, event {i}, after {:?}", &theirs[i.saturating_sub(6)..i]);
        }
        assert_eq!(ours.len(), theirs.len());
    }
}

/// Commands over several partitions too; but BITOP and PFMERGE, which ask all partitions where redis stops at the first key that holds something else.
#[test]
fn events_over_several_cores_are_redis_s_for_each_key() {
    if !is_ember() {
        return;
    }
    let seed = number("EMBERKV_RANDOM_SEED", 1);
    for io in common::drivers() {
        let mut sides = [Side::ember(&["--io", io, "--cores", "2"]), Side::redis()];
        for command in commands(seed, number("EMBERKV_RANDOM_STEPS", 2000) as usize) {
            if [b"BITOP".as_slice(), b"PFMERGE", b"PFCOUNT"].contains(&&*command[0]) {
                continue;
            }
            for side in &mut sides {
                side.client.command(&command).unwrap();
            }
        }
        let [ours, theirs] = sides.each_mut().map(Side::events);
        let (ours, theirs) = (by_key(&ours), by_key(&theirs));
        for (key, events) in &theirs {
            assert_eq!(ours.get(key), Some(events), "io {io}, {key}");
        }
        assert_eq!(ours.len(), theirs.len(), "io {io}");
    }
}

#[test]
fn what_expires_is_told_asked_for_or_not() {
    if !is_ember() {
        return;
    }
    for cores in ["1", "2"] {
        let mut side = Side::ember(&["--cores", cores]);
        side.listener.set_timeout(PATIENCE).unwrap();
        must(&mut side.client, "CONFIG SET notify-keyspace-events Kx");
        must(&mut side.client, "SELECT 3");
        for i in 0..50 {
            must(&mut side.client, &format!("SET active:{i} x PX 20"));
            must(&mut side.client, &format!("SET asked:{i} x PX 5"));
        }
        for i in 0..50 {
            eventually("it has expired", || side.client.ask(&format!("GET asked:{i}")).unwrap() == Value::Null);
        }
        let mut told = std::collections::BTreeSet::new();
        while told.len() < 100 {
            let Value::Array(message) = side.listener.read().unwrap() else { panic!("no message") };
            assert_eq!(text(&message[3]), "expired");
            assert!(told.insert(text(&message[2])), "{} is told twice", text(&message[2]));
        }
        assert!(told.iter().all(|channel| channel.starts_with("__keyspace@3__:a")));
    }
}

#[test]
fn what_gives_way_is_told_as_evicted() {
    if !is_ember() {
        return;
    }
    for (policy, cores) in [("allkeys-lru", "1"), ("volatile-ttl", "2"), ("allkeys-random", "2")] {
        let args = ["--cores", cores, "--maxmemory", "40mb", "--maxmemory-policy", policy, "--segment-size", "1mb"];
        let mut side = Side::ember(&args);
        must(&mut side.client, "CONFIG SET notify-keyspace-events Ee");
        let value = "x".repeat(100_000);
        for i in 0..1000 {
            side.client.command(&["SET", &format!("key:{i}"), &value, "EX", "10000"]).unwrap();
        }
        let events = side.events();
        assert!(!events.is_empty(), "{policy}: nothing was evicted");
        assert!(events.iter().all(|(channel, _)| channel == "__keyevent@0__:evicted"), "{policy}: {events:?}");
        for (_, key) in &events {
            let gone = side.client.ask(&format!("EXISTS {key}")).unwrap();
            assert_eq!(gone, Value::Integer(0), "{policy}: {key} is there");
        }
    }
}

/// What was told by an `always` server is not taken back by a crash.
#[test]
fn what_was_told_outlives_a_kill() {
    if !is_ember() {
        return;
    }
    let dir = dir("events-kill");
    let args = ["--cores", "2", "--appendfsync", "always", "--notify-keyspace-events", "E$"];
    let told: Vec<String> = {
        let mut server = Server::start(&spec(dir.path(), &args)).unwrap();
        let mut listener = server.connect().unwrap();
        listener.set_timeout(PATIENCE).unwrap();
        must(&mut listener, "PSUBSCRIBE __keyevent*");
        let mut writers: Vec<Client> = (0..4).map(|_| server.connect().unwrap()).collect();
        for i in 0..400 {
            for (number, writer) in writers.iter_mut().enumerate() {
                writer.send(&["SET", &format!("{number}:{i}"), "x"]);
            }
        }
        writers.iter_mut().for_each(|writer| writer.flush().unwrap());
        // killed while it writes
        let told = (0..300).map(|_| match listener.read().unwrap() {
            Value::Array(message) => text(&message[3]),
            other => panic!("{other:?}"),
        });
        let told = told.collect();
        server.kill9().unwrap();
        told
    };
    let server = Server::start(&spec(dir.path(), &args)).unwrap();
    let mut client = server.connect().unwrap();
    for key in told {
        assert_eq!(client.ask(&format!("EXISTS {key}")).unwrap(), Value::Integer(1), "{key} was told");
    }
}
