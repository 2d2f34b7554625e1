//! Commands that wait (BLPOP and its kin, and those that read streams), beside redis 8.2: who is served first, by what, and when, with several connections, cores and
//! partitions; and what concurrent producers, consumers and `kill -9` leave.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use common::{binary, dir, driver_args, drivers, eventually, is_ember, must, text};
use emberkv_torture::queues::{self, QueuesPlan, QueuesReport};
use emberkv_torture::rng::Rng;
use emberkv_torture::{Client, Flavor, Server, ServerSpec, TempDir, peers};

/// A server, its connections by name, and what has been said.
struct Scene {
    server: Server,
    _dir: TempDir,
    control: Client,
    clients: BTreeMap<String, (Client, i64)>,
    protocol: u8,
}

impl Scene {
    fn start(spec: ServerSpec, dir: TempDir, protocol: u8) -> Self {
        let server = Server::start(&spec).unwrap();
        let control = server.connect().unwrap();
        Self { server, _dir: dir, control, clients: BTreeMap::new(), protocol }
    }

    fn redis(protocol: u8) -> Self {
        let program = peers::redis82().unwrap_or_else(|error| panic!("no referee: {error}"));
        let dir = dir("blocking-redis");
        Self::start(ServerSpec::new(program, dir.path()), dir, protocol)
    }

    fn subject(io: &str, cores: &str, protocol: u8) -> Self {
        let dir = dir("blocking");
        let mut spec = ServerSpec::new(binary(), dir.path()).args(driver_args(io));
        if spec.flavor() == Flavor::Ember {
            spec = spec.args(["--cores", cores]);
        }
        Self::start(spec, dir, protocol)
    }

    fn client(&mut self, name: &str) -> &mut Client {
        let (server, protocol) = (&self.server, self.protocol);
        let (client, _) = self.clients.entry(name.into()).or_insert_with(|| {
            let mut client = server.connect().unwrap();
            must(&mut client, &format!("HELLO {protocol}"));
            let id = must(&mut client, "CLIENT ID").integer().unwrap();
            (client, id)
        });
        client
    }

    fn waits(&mut self, name: &str) -> bool {
        let id = self.clients[name].1;
        let line = text(&must(&mut self.control, &format!("CLIENT LIST ID {id}")));
        let flags = line.split(' ').find_map(|field| field.strip_prefix("flags=")).unwrap_or_default().to_owned();
        flags.contains('b')
    }

    fn read(&mut self, name: &str) -> String {
        match self.client(name).read_reply() {
            Ok(reply) => String::from_utf8_lossy(&reply.raw).into_owned(),
            Err(error) => format!("<{error}>"),
        }
    }

    /// One line of a scene.
    ///
    /// `a BLPOP q 0`: asks and reads. `a> BLPOP q 0`: asks, and waits till it waits. `a+ GET k`: asks. `a<`: reads. `a?`: whether it waits. `a!`: closes.
    fn act(&mut self, line: &str) -> String {
        let (name, words) = line.split_once(' ').unwrap_or((line, ""));
        let args: Vec<String> = words.split_ascii_whitespace().map(|word| self.replaced(word)).collect();
        let (who, how) = name.split_at(1);
        match how {
            "" => {
                self.client(who).send(&args);
                self.read(who)
            }
            ">" => {
                self.client(who).send(&args);
                self.client(who).flush().unwrap();
                eventually(line, || self.waits(who));
                String::new()
            }
            "+" => {
                self.client(who).send(&args);
                self.client(who).flush().unwrap();
                String::new()
            }
            "<" => self.read(who),
            "?" => format!("waits: {}", self.waits(who)),
            "!" => {
                let (_, id) = self.clients.remove(who).unwrap();
                eventually(line, || text(&must(&mut self.control, &format!("CLIENT LIST ID {id}"))).is_empty());
                String::new()
            }
            _ => panic!("{line}: what is that?"),
        }
    }

    /// `#a` is the number of connection a.
    fn replaced(&self, word: &str) -> String {
        match word.strip_prefix('#') {
            Some(name) => self.clients[name].1.to_string(),
            None => word.into(),
        }
    }

    fn fresh(&mut self) {
        self.clients.clear();
        eventually("all have gone", || info(&mut self.control, "blocked_clients") == 0);
        must(&mut self.control, "FLUSHALL");
    }
}

fn info(client: &mut Client, field: &str) -> u64 {
    let text = text(&must(client, "INFO clients"));
    let line = text.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':')).unwrap();
    line.trim().parse().unwrap()
}

/// Scenes, each from an empty server; a line that begins with `1` is left out where there are several partitions: there the keys of a command are looked
/// at in an order of their own when it is served (protocol, B3).
const SCENES: &[&str] = &[
    // what is there is taken at once, of the first key that has something
    "p RPUSH k2 1 2 3 | a BLPOP k1 k2 0 | a BRPOP k1 k2 k3 0 | p RPUSH k1 9 | a BLPOP k1 k2 0 | a BLPOP k1 k2 0 | p EXISTS k1 k2",
    // who has waited longest is served first
    "a> BLPOP q 0 | b> BRPOP q 0 | c> BLPOP q 0 | p RPUSH q 1 2 | a< | b< | c? | p LPUSH q 3 4 | c< | p LRANGE q 0 -1",
    "a> BLPOP q 0 | p RPUSH q 1 | a< | b> BLPOP q 0 | a> BLPOP q 0 | p RPUSH q 2 | b< | a? | p RPUSH q 3 | a<",
    // one client at several keys gets one element
    "a> BLPOP x y z 0 | b> BLPOP z y 0 | p RPUSH y 1 | a< | b? | p RPUSH x 2 | b? | p RPUSH z 3 4 | b< | p LLEN z | p LLEN x",
    "a> BLPOP q q q 0 | p RPUSH q 1 2 | a< | p LRANGE q 0 -1",
    // timeouts
    "a BLPOP q 0.01 | a BRPOP q r 0.02 | a BLPOP q -1 | a BLPOP q x | a BLPOP q 1e30 | a BLPOP q inf | a BLPOP q nan | a BLPOP q",
    "a> BLPOP q 0.3 | a< | p RPUSH q 1 | p LRANGE q 0 -1 | a BLPOP q 0.3",
    // several elements at once
    "p RPUSH k2 1 2 3 4 | a BLMPOP 0 2 k1 k2 LEFT COUNT 2 | a BLMPOP 0 2 k1 k2 RIGHT COUNT 10 | a BLMPOP 0.01 2 k1 k2 LEFT | p EXISTS k2",
    "a> BLMPOP 0 2 k1 k2 LEFT COUNT 2 | b> BLMPOP 0 1 k2 RIGHT | p RPUSH k2 1 2 3 4 | a< | b< | p LRANGE k2 0 -1",
    "a BLMPOP 0 0 a LEFT | a BLMPOP 0 x a LEFT | a BLMPOP 0 2 a LEFT | a BLMPOP 0 1 a FOO | a BLMPOP 0 1 a LEFT COUNT 0 | a BLMPOP 0 1 a LEFT COUNT",
    "a BLMPOP x 1 a LEFT | a BLMPOP -1 1 a LEFT COUNT 1 COUNT 2 | a BLMPOP -1 1 a LEFT | a BLMPOP 0 99999999999999999999 a LEFT | a BLMPOP 0 9223372036854775807 a LEFT",
    "a MULTI | a BLMPOP 0 2 x y LEFT | a RPUSH y 1 2 3 | a BLMPOP 0 2 x y RIGHT COUNT 2 | a BLMPOP 0 2 x y FOO | a EXEC",
    // from one list to another
    "p RPUSH s 1 2 3 | a BLMOVE s d LEFT RIGHT 0 | a BRPOPLPUSH s d 0 | a BLMOVE s s LEFT RIGHT 0 | p LRANGE s 0 -1 | p LRANGE d 0 -1",
    "a BLMOVE s d LEFT RIGHT 0.01 | a BRPOPLPUSH s d 0.01 | a BLMOVE s d x LEFT 0 | a BLMOVE s d LEFT x 0 | a BLMOVE s d LEFT LEFT -1 | a BRPOPLPUSH s d x",
    "a> BLMOVE s d LEFT RIGHT 0 | b> BLPOP d 0 | p RPUSH s 1 2 | a< | b< | p LRANGE s 0 -1 | p EXISTS d",
    "a> BLMOVE s d LEFT RIGHT 0 | b> BLPOP s 0 | c> BRPOPLPUSH s e 0 | p RPUSH s 1 2 3 4 | a< | b< | c< | p LRANGE s 0 -1 | p LRANGE d 0 -1 | p LRANGE e 0 -1",
    "a> BLMOVE s s LEFT RIGHT 0 | b> BLMOVE s s RIGHT LEFT 0 | p RPUSH s 1 2 3 | a< | b< | p LRANGE s 0 -1",
    "a> BLMOVE s d LEFT RIGHT 0 | p SET d x | p RPUSH s 1 | a< | p LRANGE s 0 -1 | a BLMOVE s d LEFT LEFT 0 | p DEL s | a BLMOVE d s LEFT LEFT 0 | a BLMOVE s d LEFT LEFT 0.01",
    "a> BLMOVE s d LEFT RIGHT 0 | p RPUSH s 1 | p LPOP s | a< | p LRANGE d 0 -1",
    "a> BRPOPLPUSH s d 0 | b> BRPOPLPUSH d e 0 | c> BLMOVE e f LEFT LEFT 0 | p RPUSH s 1 | a< | b< | c< | p EXISTS s d e | p LRANGE f 0 -1",
    "a> BLMOVE s d LEFT RIGHT 0 | p CLIENT UNBLOCK #a | a< | p RPUSH s 1 | p LRANGE s 0 -1 | b> BLMOVE q d LEFT LEFT 0 | b! | p RPUSH q 1 | p LLEN q",
    "a MULTI | a BLMOVE s d LEFT RIGHT 0 | a BRPOPLPUSH s d 0 | a RPUSH s 1 2 | a BLMOVE s d LEFT RIGHT 0 | a BRPOPLPUSH s d x | a BLMOVE s d LEFT y 0 | a BRPOPLPUSH s d 0 | a EXEC | p LRANGE d 0 -1",
    "a> BLMOVE s d LEFT RIGHT 0 | p MULTI | p RPUSH s 1 2 | p LPOP s | p EXEC | a< | p LRANGE d 0 -1",
    // sorted sets
    "p ZADD z2 1.5 a 2 b 3 c 4 d | a BZPOPMIN z1 z2 0 | a BZPOPMAX z1 z2 0 | a BZMPOP 0 2 z1 z2 MIN COUNT 5 | a BZPOPMIN z2 0.01 | a BZMPOP 0.01 1 z2 MAX | p EXISTS z2",
    "a> BZPOPMIN z1 z2 0 | b> BZPOPMAX z2 0 | c> BZMPOP 0 2 z2 z1 MIN COUNT 2 | p ZADD z2 1 a 2 b 3 c 4 d 5 e | a< | b< | c< | p ZRANGE z2 0 -1 WITHSCORES",
    "a> BZPOPMIN z 0 | b> BLPOP z 0 | p RPUSH z 1 | b< | a? | p ZADD z 7 x | a< | b> BLPOP z 0 | p ZINCRBY z 1 y | b? | p DEL z | p RPUSH z 2 | b<",
    "a> BZPOPMAX z 0 | p ZADD o 1 a 2 b | p ZUNIONSTORE z 1 o | a< | b> BZPOPMIN y 0 | p RENAME z y | b< | p EXISTS y z",
    "a BZPOPMIN z -1 | a BZPOPMIN z x | a BZMPOP 0 0 z MIN | a BZMPOP 0 1 z FOO | a BZMPOP 0 1 z MIN COUNT 0 | a BZMPOP 0 1 z MIN COUNT | p RPUSH l 1 | a BZPOPMIN l 0 | a BZMPOP 0 2 z l MIN",
    "a MULTI | a BZPOPMIN z 0 | a BZMPOP 0 2 z y MAX | a ZADD y 1 a 2 b 3 c | a BZPOPMAX z y 0 | a BZMPOP 0 2 z y MIN COUNT 5 | a EXEC",
    // another type: an error when it is asked for, and nothing later
    "p SET s 1 | a BLPOP s 0 | a BLPOP q s 0 | p RPUSH q 1 | a BLPOP q s 0 | a BLPOP s q 0",
    "a> BLPOP q 0 | p SET q 1 | a? | p DEL q | p HSET q f 1 | a? | p DEL q | p RPUSH q 1 | a<",
    // whatever makes a list appear
    "a> BLPOP q 0 | p RPUSH o 1 2 | p RENAME o q | a< | p LRANGE q 0 -1",
    "a> BLPOP q 0 | p RPUSH o 1 | p RENAMENX o q | a< | p EXISTS o q",
    "a> BLPOP q 0 | p RPUSH o 1 2 | p COPY o q | a< | p LRANGE q 0 -1 | p LRANGE o 0 -1",
    "a> BLPOP q 0 | p SET q x | p RPUSH o 1 2 | p RENAME o q | a< | p LRANGE q 0 -1",
    "a> BLPOP q 0 | p SET q x | p RPUSH o 1 2 | p COPY o q REPLACE | a< | p LRANGE q 0 -1",
    "a> BLPOP q 0 | p SELECT 1 | p RPUSH q 1 2 | p MOVE q 0 | a< | p EXISTS q",
    "a> BLPOP q 0 | p SELECT 1 | p RPUSH q 1 2 | a? | p SWAPDB 0 1 | a< | p EXISTS q | p SELECT 0 | p LRANGE q 0 -1",
    "a SELECT 3 | a> BLPOP q 0 | p RPUSH q 1 | a? | p SELECT 3 | p RPUSH q 2 | a<",
    // transactions
    "a MULTI | a BLPOP q 0 | a BLPOP q r s 0 | a BRPOP q x | a EXEC | a MULTI | a RPUSH q 1 2 | a BLPOP r q 0 | a BRPOP q 0 | a BLPOP q 0 | a EXEC",
    "a> BLPOP q 0 | p MULTI | p RPUSH q 1 | p LPOP q | p EXEC | a? | p MULTI | p RPUSH q 2 3 | p LPOP q | p EXEC | a<",
    "a> BLPOP q 0 | b> BLPOP q 0 | p MULTI | p RPUSH q 1 | p RPUSH q 2 | p LPUSH q 0 | p EXEC | a< | b< | p LRANGE q 0 -1",
    "a> BLPOP q 0 | p MULTI | p RPUSH q 1 | p DEL q | p EXEC | a? | p RPUSH q 2 | a<",
    "1 | a> BLPOP x y 0 | p MULTI | p RPUSH y 1 | p RPUSH x 2 | p EXEC | a< | p LRANGE x 0 -1 | p LRANGE y 0 -1",
    "1 | a> BLPOP x y 0 | p SET x 1 | p RPUSH y 2 | a< | p LRANGE y 0 -1",
    "a> BLPOP {x}1 {x}2 0 | p MULTI | p RPUSH {x}2 1 | p RPUSH {x}1 2 | p EXEC | a< | p LRANGE {x}1 0 -1 | p LRANGE {x}2 0 -1",
    "a> BLPOP {x}1 {x}2 0 | p SET {x}1 1 | p RPUSH {x}2 2 | a< | p LRANGE {x}2 0 -1",
    // CLIENT UNBLOCK
    "a> BLPOP q 0 | p CLIENT UNBLOCK #a | a< | p CLIENT UNBLOCK #a | p RPUSH q 1 | a BLPOP q 0",
    "a> BLPOP q r 0 | p CLIENT UNBLOCK #a ERROR | a< | p RPUSH q 1 | p LLEN q",
    "a> BLPOP q r 0 | p CLIENT UNBLOCK #a TIMEOUT | a< | p CLIENT UNBLOCK #a NOW | p CLIENT UNBLOCK x | p CLIENT UNBLOCK -1 | p CLIENT UNBLOCK 0",
    // who has gone gets nothing
    "a> BLPOP q r s t 0 | a! | p RPUSH q 1 | p RPUSH r 1 | p RPUSH s 1 | p RPUSH t 1 | p EXISTS q r s t",
    "a> BLPOP q r 0 | p CLIENT KILL ID #a | p RPUSH q 1 | p RPUSH r 1 | p EXISTS q r",
    "a> BLPOP q r 0 | b> BLPOP r q 0 | p CLIENT KILL ID #a | p RPUSH r 1 | b< | p RPUSH q 2 | p EXISTS q",
    // what is sent behind waits
    "a> BLPOP q 0 | a+ PING | a+ RPUSH q 7 | a+ BLPOP q r 0 | p RPUSH q 1 | a< | a< | a< | a<",
    "a> BLPOP q r 0 | a+ MSET {a}1 1 {b}2 2 | a+ MGET {a}1 {b}2 | p EXISTS {a}1 {b}2 | p RPUSH r 1 | a< | a< | a<",
    "a> BLPOP q 0 | a+ BLPOP q 0 | p RPUSH q 1 | a< | p RPUSH q 2 | a<",
    // no reply is wanted
    "a CLIENT REPLY OFF 1 | a+ CLIENT REPLY SKIP | a+ BLPOP q 0.05 | a PING",
    // pauses
    "a> BLPOP q 0 | p CLIENT PAUSE 50 WRITE | p RPUSH q 1 | a<",
    // users
    "p ACL SETUSER u on nopass +@all -@blocking ~q* | a AUTH u x | a BLPOP q 0 | p ACL SETUSER u +blpop | a BLPOP r 0 | a> BLPOP q 0 | p RPUSH q 1 | a< | p ACL DELUSER u",
];

/// The same with streams.
fn stream_scenes() -> impl Iterator<Item = &'static str> {
    include_str!("blocking/streams.txt").lines().filter(|line| !line.starts_with('#'))
}

fn play(scene: &mut Scene, several: bool) -> Vec<String> {
    let mut said = Vec::new();
    for text in SCENES.iter().copied().chain(stream_scenes()) {
        let mut lines: Vec<&str> = text.split('|').map(str::trim).collect();
        if lines[0] == "1" {
            if several {
                said.push(format!("{text}\n  left out"));
                continue;
            }
            lines.remove(0);
        }
        scene.fresh();
        said.push(text.to_string());
        for line in lines {
            said.push(format!("  {line}: {}", scene.act(line)));
        }
    }
    said
}

#[test]
fn who_waits_is_served_as_redis_does_it() {
    for protocol in [2, 3] {
        let expected = [false, true].map(|several| play(&mut Scene::redis(protocol), several));
        for io in drivers() {
            for cores in ["1", "2", "3"] {
                let several = cores != "1";
                let said = play(&mut Scene::subject(io, cores, protocol), several);
                for (said, expected) in said.iter().zip(&expected[usize::from(several)]) {
                    assert_eq!(said, expected, "io {io}, {cores} cores, RESP{protocol}");
                }
            }
        }
    }
}

const KEYS: [&str; 6] = ["q", "r", "s", "{t}1", "{t}2", "{t}3"];

/// One step of a random scene: a line, whoever waits may have been served by it.
fn random_line(rng: &mut Rng, idle: &[&str], waiting: &[&str], several: bool) -> String {
    let key = |rng: &mut Rng| *rng.pick(&KEYS);
    let value = rng.below(1000);
    match rng.below(14) {
        0..6 if !idle.is_empty() => {
            let count = if rng.percent(50) { 1 } else { rng.between(1, 4) };
            let keys: Vec<&str> = (0..count).map(|_| key(rng)).collect();
            let (who, keys) = (rng.pick(idle), keys.join(" "));
            match rng.below(5) {
                3 => format!("{who}+ BLMOVE {} {} {} RIGHT 0", key(rng), key(rng), rng.pick(&["LEFT", "RIGHT"])),
                4 => format!("{who}+ BRPOPLPUSH {} {} 0", key(rng), key(rng)),
                0 => format!("{who}+ BLPOP {keys} 0"),
                1 => format!("{who}+ BRPOP {keys} 0"),
                _ => format!(
                    "{who}+ BLMPOP 0 {count} {keys} {} COUNT {}",
                    rng.pick(&["LEFT", "RIGHT"]),
                    1 + rng.below(3)
                ),
            }
        }
        6 if !waiting.is_empty() => {
            format!("p CLIENT UNBLOCK #{} {}", rng.pick(waiting), rng.pick(&["ERROR", "TIMEOUT"]))
        }
        7 => format!("p DEL {}", key(rng)),
        8 => {
            // where there are several partitions, keys of a client in others are not looked at (B3)
            let way = *rng.pick(&["RENAME", "COPY", "RENAMENX"]);
            format!("p {way} {} {}", key(rng), key(rng))
        }
        9 if !several => format!("p SET {} x", key(rng)),
        10 => format!("p LPOP {}", key(rng)),
        11 => format!("p RPUSH {} {value} {value} {value}", key(rng)),
        _ => format!("p {} {} {value}", rng.pick(&["RPUSH", "LPUSH"]), key(rng)),
    }
}

/// `EMBERKV_RANDOM_STEPS` and `EMBERKV_RANDOM_SEED` make it longer or another.
#[test]
fn random_scenes_go_as_with_redis() {
    const NAMES: [&str; 5] = ["a", "b", "c", "d", "e"];
    let (steps, seed) = (common::number("EMBERKV_RANDOM_STEPS", 400), common::number("EMBERKV_RANDOM_SEED", 1));
    for (nth, (io, cores)) in drivers().into_iter().flat_map(|io| ["1", "2", "3"].map(|cores| (io, cores))).enumerate()
    {
        let mut rng = Rng::new(seed + nth as u64);
        let (mut subject, mut referee) = (Scene::subject(io, cores, 3), Scene::redis(3));
        let mut waiting: BTreeSet<&str> = BTreeSet::new();
        let mut log = Vec::new();
        for scene in [&mut subject, &mut referee] {
            for name in NAMES.iter().chain(&["p"]) {
                scene.client(name);
            }
        }
        for _ in 0..steps {
            let idle: Vec<&str> = NAMES.into_iter().filter(|name| !waiting.contains(name)).collect();
            let line = random_line(&mut rng, &idle, &waiting.iter().copied().collect::<Vec<_>>(), cores != "1");
            log.push(line.clone());
            let context =
                || format!("io {io}, {cores} cores, seed {seed}:\n{}", log[log.len().saturating_sub(30)..].join("\n"));
            assert_eq!(subject.act(&line), referee.act(&line), "{}", context());
            if line[1..].starts_with('+')
                && let Some(name) = NAMES.iter().find(|name| line.starts_with(**name))
            {
                waiting.insert(name);
                // it has come to the server when a later command of another connection is answered
                std::thread::sleep(Duration::from_millis(2));
                eventually("it is executed", || {
                    let id = referee.clients[*name].1;
                    let line = text(&must(&mut referee.control, &format!("CLIENT LIST ID {id}")));
                    ["cmd=blpop", "cmd=brpop", "cmd=blm"].iter().any(|command| line.contains(command))
                });
            }
            for name in waiting.clone() {
                if !referee.waits(name) {
                    assert_eq!(subject.read(name), referee.read(name), "{name}, {}", context());
                    waiting.remove(name);
                    must(referee.client(name), "PING");
                    must(subject.client(name), "PING");
                } else {
                    eventually("it waits", || subject.waits(name));
                }
            }
        }
        for key in KEYS {
            let line = format!("p TYPE {key}");
            assert_eq!(subject.act(&line), referee.act(&line));
        }
    }
}

/// Each element that was pushed is popped once, whoever waits and wherever, and what clients keep of what they have read is not stale;
/// through `kill -9`.
#[test]
fn each_element_is_popped_once() {
    if !is_ember() {
        return;
    }
    for (io, cores, policy) in [("uring", [2, 1], "everysec"), ("epoll", [2, 3], "always"), ("uring", [1, 1], "always")]
    {
        let dir = dir("queues");
        let spec = ServerSpec::new(binary(), dir.path()).args(driver_args(io)).args(["--appendfsync", policy]);
        let mut plan = QueuesPlan::new(spec, common::number("EMBERKV_QUEUE_ROUNDS", 3), 1);
        plan.cores = cores.to_vec();
        let report = queues::run(&plan).unwrap();
        assert!(report.is_clean(), "io {io}, {cores:?} cores, {policy}: {report}");
        let QueuesReport { popped, moved, nothing, invalidated, .. } = report;
        assert!(popped.min(moved).min(nothing).min(invalidated) > 0, "io {io}, {cores:?} cores: {report}");
    }
}

#[test]
fn a_server_ends_though_clients_wait() {
    for io in drivers() {
        let mut scene = Scene::subject(io, "2", 2);
        for line in ["a> BLPOP q r 0", "b> BLPOP s 0"] {
            scene.act(line);
        }
        let began = Instant::now();
        assert!(scene.server.terminate(common::PATIENCE).unwrap().success());
        assert!(began.elapsed() < Duration::from_secs(20), "it has waited for those who wait");
    }
}
