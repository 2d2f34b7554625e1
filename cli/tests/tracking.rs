//! Client-side caching beside redis 8.2: the same commands, the same replies, and after each the same is told to the same connections.
//! And that nobody keeps a stale value, whatever races with what (protocol, N1).
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod common;

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use common::{PATIENCE, dir, eventually, is_ember, must, number, spec, text};
use emberkv_torture::rng::Rng;
use emberkv_torture::{Client, Server, ServerSpec, TempDir, Value, peers};

/// What a command has brought: its reply, and what was told to each connection since.
#[derive(PartialEq, Debug)]
struct Step {
    reply: Value,
    told: BTreeMap<String, Vec<Value>>,
}

struct Side {
    server: Server,
    _dir: TempDir,
    conns: BTreeMap<String, Client>,
    /// Connections' numbers.
    ids: BTreeMap<String, i64>,
}

/// Whether it is no reply.
fn is_told(value: &Value) -> bool {
    let is_message = |parts: &[Value]| parts.first() == Some(&Value::Bulk(b"message".to_vec()));
    matches!(value, Value::Push(_)) || matches!(value, Value::Array(parts) if is_message(parts))
}

impl Side {
    fn start(spec: impl FnOnce(&TempDir) -> ServerSpec) -> Self {
        let dir = dir("tracking");
        let server = Server::start(&spec(&dir)).unwrap();
        Self { server, _dir: dir, conns: BTreeMap::new(), ids: BTreeMap::new() }
    }

    fn ember(cores: &str) -> Self {
        Self::start(|dir| spec(dir.path(), &["--cores", cores]))
    }

    fn redis() -> Self {
        Self::start(|dir| ServerSpec::new(peers::redis82().unwrap(), dir.path()).args(["--appendonly", "yes"]))
    }

    /// Those whose names end with 3 speak RESP3.
    fn open(&mut self, name: &str) {
        let mut client = self.server.connect().unwrap();
        client.set_timeout(PATIENCE).unwrap();
        if name.ends_with('3') {
            client.ask("HELLO 3").unwrap();
        }
        let Value::Integer(id) = client.ask("CLIENT ID").unwrap() else { panic!("no number") };
        self.ids.insert(name.to_owned(), id);
        self.conns.insert(name.to_owned(), client);
    }

    /// Executes `NAME: COMMAND`, where `$NAME` is a connection's number.
    fn step(&mut self, line: &str) -> Step {
        let (name, command) = line.split_once(": ").unwrap();
        let mut told = BTreeMap::new();
        if command == "close" {
            self.conns.remove(name);
            std::thread::sleep(Duration::from_millis(300));
            return Step { reply: Value::Null, told };
        }
        if !self.conns.contains_key(name) {
            self.open(name);
        }
        let word =
            |word: &str| word.strip_prefix('$').map_or_else(|| word.to_owned(), |name| self.ids[name].to_string());
        let words: Vec<String> = command.split(' ').map(word).collect();
        self.conns.get_mut(name).unwrap().send(&words);
        let reply = self.read(name, &mut told);
        self.wait(&mut told);
        let is_of_numbers = ["CLIENT GETREDIR", "CLIENT TRACKINGINFO"].contains(&command);
        Step { reply: if is_of_numbers { self.named(reply) } else { reply }, told }
    }

    /// Waits until all has been told: who tells another one has heard it by then, and then that one has.
    fn wait(&mut self, told: &mut BTreeMap<String, Vec<Value>>) {
        for _ in 0..2 {
            for name in self.conns.keys().cloned().collect::<Vec<_>>() {
                self.conns.get_mut(&name).unwrap().send(&["PING"]);
                self.read(&name, told);
            }
        }
    }

    /// The next reply; what is told before it is kept.
    fn read(&mut self, name: &str, told: &mut BTreeMap<String, Vec<Value>>) -> Value {
        loop {
            let value = self.conns.get_mut(name).unwrap().read().unwrap();
            if !is_told(&value) {
                return value;
            }
            let value = self.named(value);
            told.entry(name.to_owned()).or_default().push(value);
        }
    }

    /// With names in place of connections' numbers.
    fn named(&self, value: Value) -> Value {
        let all = |values: Vec<Value>| values.into_iter().map(|value| self.named(value)).collect();
        match value {
            Value::Integer(number) => match self.ids.iter().find(|(_, id)| **id == number) {
                Some((name, _)) if number > 2 => Value::Simple(name.clone().into_bytes()),
                _ => Value::Integer(number),
            },
            Value::Array(values) => Value::Array(all(values)),
            Value::Push(values) => Value::Push(all(values)),
            Value::Map(pairs) => {
                Value::Map(pairs.into_iter().map(|(name, value)| (self.named(name), self.named(value))).collect())
            }
            other => other,
        }
    }
}

/// The same without an order of what is told at once: of several keys, or by several prefixes.
fn sorted(mut step: Step) -> Step {
    step.told.values_mut().for_each(|told| told.sort_by_key(|value| format!("{value:?}")));
    step
}

/// The same, key by key: they may be in several partitions.
fn by_key(step: Step) -> Step {
    let single = |value: Value| -> Vec<Value> {
        let (Value::Push(parts) | Value::Array(parts)) = &value else { return vec![value] };
        let Some(Value::Array(keys)) = parts.last() else { return vec![value] };
        let mut rest = parts[..parts.len() - 1].to_vec();
        let of_key = |key: &Value| {
            rest.push(key.clone());
            let value = Value::Array(rest.clone());
            rest.pop();
            value
        };
        keys.iter().map(of_key).collect()
    };
    let told = step.told.into_iter().map(|(name, told)| {
        let mut told: Vec<Value> = told.into_iter().flat_map(single).collect();
        told.sort_by_key(|value| format!("{value:?}"));
        told.dedup();
        (name, told)
    });
    Step { told: told.collect(), reply: step.reply }
}

fn compare(lines: &[String]) {
    let mut sides = [Side::redis(), Side::ember("1"), Side::ember("2")];
    for (i, line) in lines.iter().enumerate() {
        let [theirs, one, two] = sides.each_mut().map(|side| side.step(line));
        let before = &lines[i.saturating_sub(12)..=i];
        let theirs = sorted(theirs);
        assert_eq!(sorted(one), theirs, "one core, {before:#?}");
        assert_eq!(by_key(two), by_key(theirs), "two cores, {before:#?}");
    }
}

fn lines(script: &str) -> Vec<String> {
    script.lines().map(str::trim).filter(|line| !line.is_empty()).map(str::to_owned).collect()
}

#[test]
fn options_are_redis_s() {
    if !is_ember() {
        return;
    }
    let commands = "
        CLIENT GETREDIR
        CLIENT TRACKINGINFO
        CLIENT TRACKING ON
        CLIENT TRACKING ON NOLOOP
        CLIENT TRACKINGINFO
        CLIENT TRACKING ON
        CLIENT TRACKINGINFO
        CLIENT TRACKING ON BCAST
        CLIENT TRACKING ON OPTIN
        CLIENT TRACKINGINFO
        CLIENT TRACKING ON OPTOUT
        CLIENT TRACKING ON
        CLIENT TRACKINGINFO
        CLIENT TRACKING ON OPTIN
        CLIENT TRACKING ON OPTOUT
        CLIENT CACHING NO
        CLIENT CACHING YES
        CLIENT TRACKINGINFO
        PING
        CLIENT TRACKINGINFO
        CLIENT TRACKING OFF
        CLIENT TRACKINGINFO
        CLIENT CACHING YES
        CLIENT TRACKING ON REDIRECT 0
        CLIENT TRACKING ON REDIRECT 99999
        CLIENT TRACKING ON REDIRECT -5
        CLIENT TRACKING ON REDIRECT x
        CLIENT TRACKINGINFO
        CLIENT TRACKING ON NOLOOP
        CLIENT TRACKING ON REDIRECT 99999
        CLIENT TRACKINGINFO
        CLIENT TRACKING OFF REDIRECT 99999
        CLIENT TRACKING OFF REDIRECT 0
        CLIENT TRACKING OFF REDIRECT x
        CLIENT TRACKINGINFO
        CLIENT TRACKING OFF PREFIX a
        CLIENT TRACKING OFF FOO
        CLIENT TRACKING ON PREFIX a
        CLIENT TRACKING ON REDIRECT
        CLIENT TRACKING ON PREFIX
        CLIENT TRACKING MAYBE
        CLIENT TRACKING MAYBE FOO
        CLIENT TRACKING ON BCAST OPTIN
        CLIENT TRACKING ON OPTIN OPTOUT
        CLIENT TRACKING ON BCAST PREFIX a PREFIX ab
        CLIENT TRACKING ON BCAST PREFIX a PREFIX b
        CLIENT TRACKING ON BCAST PREFIX c
        CLIENT TRACKINGINFO
        CLIENT TRACKING ON BCAST PREFIX aa
        CLIENT TRACKING ON BCAST PREFIX a
        CLIENT TRACKING ON BCAST
        CLIENT TRACKINGINFO
        CLIENT TRACKING ON
        CLIENT CACHING YES
        CLIENT CACHING MAYBE
        CLIENT TRACKING OFF
        CLIENT TRACKING ON BCAST
        CLIENT TRACKING ON BCAST
        CLIENT TRACKING ON BCAST PREFIX a
        CLIENT TRACKINGINFO
        CLIENT GETREDIR
        CLIENT TRACKING OFF
        CLIENT TRACKING ON
        CLIENT CACHING YES
        CLIENT CACHING MAYBE
        CLIENT GETREDIR
        CLIENT TRACKING ON REDIRECT $other
        CLIENT TRACKINGINFO
        CLIENT GETREDIR
        RESET
        CLIENT TRACKINGINFO
        CLIENT NO-EVICT ON
        CLIENT NO-EVICT MAYBE
        CLIENT NO-EVICT OFF
        CLIENT TRACKING
        CLIENT CACHING";
    let all = ["x", "a", "a3"].iter().flat_map(|name| {
        let own = lines(commands).into_iter().map(move |command| format!("{name}: {command}"));
        std::iter::once("other: PING".to_owned()).chain(own)
    });
    compare(&all.collect::<Vec<_>>());
}

#[test]
fn who_is_told_of_what_is_redis_s() {
    if !is_ember() {
        return;
    }
    compare(&lines(
        "w: PING
        a3: CLIENT TRACKING ON
        w: SET k 1
        a3: GET k
        w: SET k 2
        w: SET k 3
        a3: GET k
        a3: SET k 4
        a3: MGET k l m
        w: MSET k 1 l 2 m 3
        a3: GET k
        a3: GET l
        w: RENAME k l
        a3: EXISTS l nosuch
        w: SET nosuch 1
        w: COPY l k
        w: COPY l nosuch REPLACE
        a3: HGETALL h
        w: HSET h f 1
        a3: HGET h f
        w: HDEL h g
        w: HDEL h f
        a3: GET k
        w: SET k 1 NX
        w: GETEX k
        w: GETEX k EX 100
        a3: TTL k
        w: PERSIST k
        w: PERSIST k
        a3: GETEX k
        w: DEL k
        w: SET k 1
        a3: GET k
        w: FLUSHDB
        w: SET k 1
        a3: GET k
        w: FLUSHALL
        w: SET k 1
        a3: GET k
        w: SWAPDB 0 1
        w: SWAPDB 0 1
        w: SET k 2
        a3: SELECT 3
        a3: GET k
        w: SET k 1
        a3: SELECT 0
        a3: GET k
        w: MULTI
        w: SET k 1
        w: SET k 2
        w: DEL l
        w: EXEC
        a3: MULTI
        a3: GET k
        a3: SET k 1
        a3: GET k
        a3: EXEC
        w: SET k 3
        a3: MULTI
        a3: SET k 2
        a3: GET k
        a3: SET l 2
        a3: EXEC
        w: SET k 3
        a3: GET zz
        w: MULTI
        w: SET zz 1
        w: DEL zz
        w: EXEC
        a3: GET k
        w: MULTI
        w: FLUSHALL
        w: SET k 1
        w: EXEC
        a3: GET k
        a3: CLIENT TRACKING OFF
        w: SET k 1
        a3: GET k
        a3: CLIENT TRACKING ON NOLOOP
        w: SET k 1
        a3: GET k
        a3: SET k 2
        w: SET k 3
        a3: GET k
        w: SET k 4
        a3: GET k
        a3: MULTI
        a3: SET k 5
        a3: EXEC
        a3: GET k
        w: SET k 6
        a3: GET k
        a3: MSET k 1 l 1
        a3: CLIENT TRACKING OFF
        a3: CLIENT TRACKING ON OPTIN
        a3: GET k
        w: SET k 1
        a3: CLIENT CACHING YES
        a3: CLIENT GETNAME
        a3: GET k
        a3: GET l
        w: SET k 1
        w: SET l 1
        a3: CLIENT CACHING YES
        a3: MULTI
        a3: GET k
        a3: GET l
        a3: EXEC
        w: SET k 1
        w: SET l 1
        a3: MULTI
        a3: CLIENT CACHING YES
        a3: GET k
        a3: GET l
        a3: EXEC
        w: SET k 1
        w: SET l 1
        a3: CLIENT TRACKING OFF
        a3: CLIENT TRACKING ON OPTOUT
        a3: CLIENT CACHING NO
        a3: GET k
        a3: GET l
        w: SET k 1
        w: SET l 1
        b3: CLIENT TRACKING ON
        b3: GET k
        a3: GET k
        w: SET k 1
        a3: GET k
        b3: SET k 2
        a3: CLIENT TRACKING OFF
        a3: CLIENT TRACKING ON BCAST PREFIX p NOLOOP
        w: SET p1 1
        w: MSET p2 1 p1 1 q 1
        w: DEL p1
        w: SET q 1
        w: FLUSHALL
        a3: SET p1 1
        w: SET p1 2
        a3: CLIENT TRACKING OFF
        a3: CLIENT TRACKING ON BCAST PREFIX p PREFIX q
        a3: MSET p1 1 q1 1 p2 2 x 1
        w: MULTI
        w: SET p1 1
        w: SET q1 1
        w: SET p0 1
        w: EXEC
        a3: CLIENT TRACKING OFF
        a3: CLIENT TRACKING ON BCAST
        w: SET k 1
        w: SET k 1",
    ));
}

#[test]
fn what_is_told_to_others_is_redis_s() {
    if !is_ember() {
        return;
    }
    compare(&lines(
        "w: PING
        x: PING
        r: PING
        b: CLIENT TRACKING ON REDIRECT $r
        b: CLIENT TRACKINGINFO
        b: CLIENT GETREDIR
        b: GET k
        w: SET k 1
        r: SUBSCRIBE __redis__:invalidate
        b: GET k
        w: SET k 1
        b: MGET k l
        b: SET k 1
        w: SET l 1
        w: FLUSHALL
        w: PUBLISH __redis__:invalidate x
        c3: CLIENT TRACKING ON BCAST PREFIX c REDIRECT $r
        w: SET c1 1
        w: SET k 1
        r3: PING
        c3: CLIENT TRACKING OFF
        c3: CLIENT TRACKING ON REDIRECT $r3
        c3: GET k
        w: SET k 1
        w: FLUSHALL
        d: CLIENT TRACKING ON REDIRECT $r3
        d: GET k
        w: SET k 1
        s3: CLIENT TRACKING ON REDIRECT $s3
        s3: GET k
        w: SET k 1
        r3: close
        c3: CLIENT TRACKINGINFO
        c3: GET k
        w: SET k 1
        c3: CLIENT TRACKINGINFO
        c3: GET k
        w: SET k 1
        d: GET k
        w: SET k 1
        d: CLIENT TRACKINGINFO
        c3: CLIENT TRACKING ON
        c3: CLIENT TRACKINGINFO
        c3: GET k
        w: SET k 1",
    ));
}

/// `EMBERKV_RANDOM_STEPS` and `EMBERKV_RANDOM_SEED` make it longer or another.
#[test]
fn random_commands_invalidate_as_redis_does() {
    if !is_ember() {
        return;
    }
    let commands = [
        "SET k 1",
        "SET k 1 EX 100",
        "SET k 1 NX",
        "GET k",
        "GET k",
        "GET k",
        "MGET k l m",
        "MSET k 1 l 2",
        "MSETNX k 1 l 2",
        "DEL k l",
        "DEL k",
        "UNLINK k",
        "RENAME k l",
        "RENAMENX k l",
        "COPY k l REPLACE",
        "APPEND k x",
        "INCR k",
        "EXPIRE k 100",
        "PERSIST k",
        "GETDEL k",
        "GETEX k",
        "HSET k f 1",
        "HSET k f 1 g 2",
        "HDEL k f g",
        "HGET k f",
        "HGETALL k",
        "HLEN k",
        "HINCRBY k n 1",
        "EXISTS k l",
        "TOUCH k",
        "TYPE k",
        "STRLEN k",
        "SETRANGE k 1 x",
        "BITOP OR k l m",
        "LCS k l",
        "MOVE k 3",
        "SETBIT k 1 1",
        "BITCOUNT k",
        "EXPIRE k -1",
        "TTL k",
    ];
    let mut rng = Rng::new(number("EMBERKV_RANDOM_SEED", 1));
    let mut all = lines(
        "w: PING
        a3: CLIENT TRACKING ON
        b3: CLIENT TRACKING ON NOLOOP
        c3: CLIENT TRACKING ON BCAST PREFIX a PREFIX b
        r: SUBSCRIBE __redis__:invalidate
        d: CLIENT TRACKING ON REDIRECT $r",
    );
    let mut pick = |of: &[&str]| of[rng.below(of.len() as u64) as usize].to_owned();
    for _ in 0..number("EMBERKV_RANDOM_STEPS", 600) {
        let command = pick(&commands);
        let words = command.split(' ').map(|word| match word {
            "k" | "l" | "m" => pick(&["a", "b", "c", "d"]),
            other => other.to_owned(),
        });
        let words: Vec<String> = words.collect();
        if ["RENAME", "RENAMENX", "COPY"].contains(&words[0].as_str()) && words[1] == words[2] {
            continue;
        }
        let conn = pick(&["w", "a3", "b3", "c3", "d"]);
        let lines = if pick(&["", "", "", "multi"]).is_empty() {
            vec![words.join(" ")]
        } else {
            let more = [pick(&["a", "b", "c", "d"]), pick(&["a", "b", "c", "d"])];
            vec![
                "MULTI".into(),
                words.join(" "),
                format!("GET {}", more[0]),
                format!("SET {} 1", more[1]),
                "EXEC".into(),
            ]
        };
        all.extend(lines.into_iter().map(|line| format!("{conn}: {line}")));
    }
    compare(&all);
}

/// Expiry and eviction, and the bound of what is remembered.
#[test]
fn what_goes_by_itself_is_told_too() {
    if !is_ember() {
        return;
    }
    for cores in ["1", "2"] {
        let mut side = Side::ember(cores);
        side.step("w: PING");
        side.step("a3: CLIENT TRACKING ON");
        for i in 0..20 {
            side.step(&format!("w: SET e{i} 1 PX 300"));
            side.step(&format!("a3: GET e{i}"));
        }
        let mut told = BTreeMap::new();
        eventually("all have expired and are told", || {
            side.wait(&mut told);
            told.get("a3").map_or(0, Vec::len) == 20
        });
        for i in 0..40 {
            side.step(&format!("a3: GET k{i}"));
        }
        let mut told = side.step("w: CONFIG SET tracking-table-max-keys 10").told;
        eventually("who is forgotten is told", || {
            side.wait(&mut told);
            told.get("a3").map_or(0, Vec::len) >= 30
        });
        let info = text(&side.step("w: INFO").reply);
        let field = |name: &str| {
            let line = info.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_else(|| panic!("no {name}"));
            line.trim_start_matches(':').parse::<u64>().unwrap()
        };
        assert_eq!((field("tracking_clients"), field("tracking_total_prefixes")), (1, 0));
        assert!(field("tracking_total_keys") <= 10 && field("tracking_total_items") <= 10, "{info}");
    }
    let args = ["--cores", "2", "--maxmemory", "40mb", "--maxmemory-policy", "allkeys-random", "--segment-size", "1mb"];
    let mut side = Side::start(|dir| spec(dir.path(), &args));
    side.step("a3: CLIENT TRACKING ON");
    for i in 0..50 {
        side.step(&format!("w: SET k{i} 1"));
        side.step(&format!("a3: GET k{i}"));
    }
    let value = "x".repeat(100_000);
    let mut told = BTreeMap::new();
    for i in 0..1000 {
        side.conns.get_mut("w").unwrap().command(&["SET", &format!("big{i}"), &value]).unwrap();
    }
    side.wait(&mut told);
    let gone = (0..50).filter(|i| side.step(&format!("w: EXISTS k{i}")).reply == Value::Integer(0)).count();
    side.wait(&mut told);
    let told = told.get("a3").map_or(0, Vec::len);
    assert!(gone > 0 && told >= gone, "{gone} were evicted, {told} told");
}

/// A client that keeps what it reads until it is told otherwise.
struct Keeper {
    client: Client,
    kept: HashMap<String, Value>,
}

impl Keeper {
    fn take(&mut self, message: &Value) {
        let Value::Push(parts) = message else { panic!("{message:?} is not told") };
        match &parts[1] {
            Value::Array(keys) => keys.iter().for_each(|key| drop(self.kept.remove(&text(key)))),
            _ => self.kept.clear(),
        }
    }

    fn ask(&mut self, words: &[&str]) -> Value {
        self.client.send(words);
        loop {
            match self.client.read().unwrap() {
                message @ Value::Push(_) => self.take(&message),
                reply => return reply,
            }
        }
    }

    fn get(&mut self, key: &str) {
        let value = self.ask(&["GET", key]);
        self.kept.insert(key.to_owned(), value);
    }

    /// Reads of several keys on their way at once.
    fn get_all(&mut self, keys: &[String]) {
        keys.iter().for_each(|key| self.client.send(&["GET", key]));
        for key in keys {
            loop {
                match self.client.read().unwrap() {
                    message @ Value::Push(_) => self.take(&message),
                    value => {
                        self.kept.insert(key.clone(), value);
                        break;
                    }
                }
            }
        }
    }
}

/// Keepers of all modes beside writers: when these have stopped, what is kept is what is there.
#[test]
fn nobody_keeps_a_stale_value() {
    if !is_ember() {
        return;
    }
    for (policy, cores) in [("everysec", "2"), ("always", "2"), ("everysec", "1")] {
        let dir = dir("tracking-race");
        let server = Server::start(&spec(dir.path(), &["--cores", cores, "--appendfsync", policy])).unwrap();
        let keys: Vec<String> = (0..16).map(|i| format!("k{i}")).collect();
        for round in 0..number("EMBERKV_RANDOM_STEPS", 3) {
            let is_over = AtomicBool::new(false);
            let connect = || {
                let mut client = server.connect().unwrap();
                client.set_timeout(PATIENCE).unwrap();
                client
            };
            std::thread::scope(|scope| {
                let writers: Vec<_> = (0..2)
                    .map(|writer| {
                        let (keys, is_over, mut client) = (&keys, &is_over, connect());
                        scope.spawn(move || {
                            let mut rng = Rng::new(round * 10 + writer);
                            let mut i = 0;
                            while !is_over.load(Ordering::Relaxed) {
                                let mut key = || keys[rng.below(16) as usize].clone();
                                i += 1;
                                let value = format!("{writer}:{i}");
                                match i % 7 {
                                    0 => client.command(&["MSET", &key(), &value, &key(), &value]),
                                    1 => client.command(&["DEL", &key()]),
                                    2 => client.command(&["RENAME", &key(), &key()]),
                                    3 if i % 490 == 3 => client.command(&["FLUSHALL"]),
                                    _ => client.command(&["SET", &key(), &value]),
                                }
                                .unwrap();
                            }
                        })
                    })
                    .collect();
                let keepers: Vec<_> = ["ON", "ON NOLOOP", "ON BCAST PREFIX k", "ON OPTOUT"]
                    .into_iter()
                    .enumerate()
                    .map(|(number, mode)| {
                        let (keys, is_over, mut client) = (&keys, &is_over, connect());
                        scope.spawn(move || {
                            client.ask("HELLO 3").unwrap();
                            must(&mut client, &format!("CLIENT TRACKING {mode}"));
                            let mut keeper = Keeper { client, kept: HashMap::new() };
                            let mut rng = Rng::new(100 + round * 10 + number as u64);
                            while !is_over.load(Ordering::Relaxed) {
                                match rng.below(4) {
                                    0 => keeper.get_all(keys),
                                    _ => keeper.get(&keys[rng.below(16) as usize]),
                                }
                            }
                            keeper
                        })
                    })
                    .collect();
                std::thread::sleep(Duration::from_millis(1500));
                is_over.store(true, Ordering::Relaxed);
                writers.into_iter().for_each(|writer| writer.join().unwrap());
                let mut reader = connect();
                for keeper in keepers {
                    let mut keeper = keeper.join().unwrap();
                    // a write over several partitions is answered when it is decided, and its readers hear of it where it is installed
                    eventually(&format!("what is kept is what is there, {policy}, {cores} cores"), || {
                        keeper.ask(&["PING"]);
                        keeper.kept.iter().all(|(key, kept)| *kept == reader.command(&["GET", key]).unwrap())
                    });
                }
            });
        }
    }
}

#[test]
fn redis_pys_cache_on_two_cores() {
    if !is_ember() {
        return;
    }
    let python = peers::python().unwrap_or_else(|error| panic!("{error}"));
    let script = common::test_file("clients/redis_py_cache.py");
    let (server, _dir) = common::start("tracking-python", &["--cores", "2"]);
    let said = common::run(&python, &[script.to_str().unwrap(), &server.port().to_string()], &[]);
    assert!(said.ends_with("done\n"), "{said}");
}
