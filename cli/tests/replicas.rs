//! Replicas: they get all that their primary has, over whatever numbers of cores, survive `kill -9` on both sides, and can be promoted.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod common;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use common::{PATIENCE, dir, drivers, eventually, is_ember, must, text};
use emberkv_torture::{Client, Server, ServerSpec, TempDir, Value, process::free_port};

/// A server that can be killed and started again where it was.
struct Node {
    spec: ServerSpec,
    server: Server,
    dir: TempDir,
}

impl Node {
    fn start(name: &str, args: &[&str]) -> Self {
        let dir = dir(name);
        let spec = common::spec(dir.path(), args).port(free_port().unwrap());
        let server = Server::start(&spec).unwrap();
        Self { spec, server, dir }
    }

    /// One that follows another from its start on.
    fn replica_of(primary: &Self, args: &[&str]) -> Self {
        let port = primary.server.port().to_string();
        let words = ["--replicaof", "127.0.0.1", &port];
        let node = Self::start("replica", &[args, &words].concat());
        node.wait_for_link();
        node
    }

    fn client(&self) -> Client {
        let mut client = self.server.connect().unwrap();
        client.set_timeout(PATIENCE).unwrap();
        client
    }

    fn kill_and_start(&mut self) {
        self.server.kill9().unwrap();
        self.server = Server::start(&self.spec).unwrap();
    }

    fn info(&self) -> BTreeMap<String, String> {
        let reply = must(&mut self.client(), "INFO replication");
        let lines = text(&reply);
        let pair = |line: &str| line.split_once(':').map(|(name, value)| (name.to_owned(), value.to_owned()));
        lines.lines().filter_map(pair).collect()
    }

    fn wait_for_link(&self) {
        let deadline = Instant::now() + PATIENCE;
        while self.info().get("master_link_status").is_none_or(|status| status != "up") {
            let late = || format!("the link is not up:\n{:#?}\n{}", self.info(), self.server.log_text());
            assert!(Instant::now() < deadline, "{}", late());
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

/// Type, value and expiry of each key, by database and name.
type Contents = BTreeMap<(u8, Vec<u8>), (String, Vec<u8>, String)>;

/// All that there is.
fn contents(node: &Node) -> Contents {
    let mut client = node.client();
    let mut all = BTreeMap::new();
    for db in [0_u8, 1, 3] {
        client.select(db).unwrap();
        let mut cursor = b"0".to_vec();
        loop {
            let reply = client.command(&[&b"SCAN"[..], &cursor, b"COUNT", b"1000"]).unwrap();
            let items = reply.items().unwrap_or_else(|| panic!("SCAN: {reply:?}"));
            for key in items[1].items().unwrap() {
                let key = key.text().unwrap().to_vec();
                let mut ask = |command: &str| client.command(&[command.as_bytes(), &key]).unwrap();
                let (kind, value, expiry) = (ask("TYPE"), ask("DUMP"), ask("PEXPIRETIME"));
                let value = value.text().map(<[u8]>::to_vec).unwrap_or_default();
                all.insert((db, key), (text(&kind), value, text(&expiry)));
            }
            cursor = items[0].text().unwrap().to_vec();
            if cursor == b"0" {
                break;
            }
        }
    }
    all
}

/// The replica has what was written up to now: nobody writes meanwhile.
fn is_equal(primary: &Node, replica: &Node) {
    let mut client = primary.client();
    eventually("the replica has it all", || matches!(must(&mut client, "WAIT 1 1000"), Value::Integer(1..)));
    let (ours, theirs) = (contents(primary), contents(replica));
    assert!(!ours.is_empty(), "nothing was compared");
    let differs = |key: &&(u8, Vec<u8>)| ours.get(*key) != theirs.get(*key);
    let strange: Vec<_> = ours.keys().chain(theirs.keys()).filter(differs).take(5).collect();
    assert!(strange.is_empty(), "of {} and {} keys these differ: {strange:?}", ours.len(), theirs.len());
}

/// Something of every type, in several databases.
fn fill(client: &mut Client, from: usize, to: usize) {
    for i in from..to {
        must(client, &format!("SET string:{i} value-{i}"));
        must(client, &format!("SET brief:{i} x EX {}", 5000 + i));
        must(client, &format!("HSET hash:{i} a {i} b two c three"));
        must(client, &format!("RPUSH list:{i} a b c {i}"));
        must(client, &format!("SADD set:{i} a b c {i}"));
        must(client, &format!("ZADD zset:{i} 1 a 2 b {i} c"));
        must(client, &format!("XADD stream:{i} * field {i}"));
        must(client, &format!("MSET many:{i} 1 other:{i} 2 third:{i} 3"));
        must(client, &format!("INCRBY counter {i}"));
        must(client, &format!("APPEND long {i},"));
        if i % 3 == 0 {
            must(client, &format!("DEL string:{i} hash:{i}"));
        }
    }
    must(client, "SELECT 3");
    must(client, &format!("SET elsewhere:{to} {to}"));
    must(client, "SELECT 0");
}

fn large(client: &mut Client, fields: usize, bytes: usize) {
    for i in 0..fields {
        must(client, &format!("HSET large:hash field:{i} value:{i}"));
        must(client, &format!("ZADD large:zset {i} member:{i}"));
        must(client, &format!("RPUSH large:list element:{i}"));
    }
    let value = vec![b'x'; bytes];
    assert!(client.command(&[&b"SET"[..], b"large:string", &value]).unwrap().is_ok());
}

#[test]
fn a_replica_gets_what_was_there_and_what_comes() {
    if !is_ember() {
        return;
    }
    for (io, primary_cores, replica_cores) in
        drivers().into_iter().zip([("1", "2"), ("2", "1")]).map(|(io, (a, b))| (io, a, b))
    {
        let primary = Node::start("primary", &["--cores", primary_cores, "--io", io, "--segment-size", "1mb"]);
        let mut client = primary.client();
        fill(&mut client, 0, 300);
        large(&mut client, 2000, 3 << 20);
        let replica = Node::replica_of(&primary, &["--cores", replica_cores, "--io", io]);
        is_equal(&primary, &replica);
        fill(&mut client, 300, 600);
        must(&mut client, "RENAME string:301 renamed");
        must(&mut client, "COPY string:302 copied");
        must(&mut client, "PERSIST brief:303");
        is_equal(&primary, &replica);
        must(&mut client, "SWAPDB 0 3");
        is_equal(&primary, &replica);
        must(&mut client, "FLUSHDB");
        must(&mut client, "SET after flush");
        is_equal(&primary, &replica);
        must(&mut client, "BGREWRITEAOF");
        fill(&mut client, 600, 700);
        is_equal(&primary, &replica);
    }
}

#[test]
fn a_replica_takes_no_writes_and_says_what_it_is() {
    if !is_ember() {
        return;
    }
    let primary = Node::start("primary", &["--cores", "2"]);
    let replica = Node::replica_of(&primary, &["--cores", "2"]);
    must(&mut primary.client(), "SET a 1");
    let mut client = replica.client();
    let read_only = "READONLY You can't write against a read only replica.";
    for write in [
        "SET a b",
        "MSET a 1 b 2",
        "BLPOP list 1",
        "FLUSHALL",
        "SWAPDB 0 1",
        "SORT list STORE other",
        "MIGRATE h 1 k 0 1",
    ] {
        assert_eq!(text(&client.ask(write).unwrap()), read_only, "{write}");
    }
    eventually("it is there", || text(&client.ask("GET a").unwrap()) == "1");
    must(&mut client, "PFCOUNT nothing");
    // as redis: refused when it is queued, and then nothing is executed
    must(&mut client, "MULTI");
    assert_eq!(text(&client.ask("SET a b").unwrap()), read_only);
    let aborted = "EXECABORT Transaction discarded because of previous errors.";
    assert_eq!(text(&client.ask("EXEC").unwrap()), aborted);
    must(&mut client, "MULTI");
    must(&mut client, "GET a");
    assert_eq!(must(&mut client, "EXEC"), Value::Array(vec![Value::Bulk(b"1".to_vec())]));
    assert!(text(&client.ask("WAIT 0 0").unwrap()).starts_with("ERR WAIT cannot be used with replica instances."));
    assert!(client.ask("BGSAVE").unwrap().is_error("ERR"));
    assert!(client.ask("CONFIG SET replica-read-only no").unwrap().is_error("ERR"));
    let port = primary.server.port();
    let role = must(&mut client, "ROLE");
    let role = role.items().unwrap();
    assert_eq!(
        (text(&role[0]), text(&role[1]), text(&role[3])),
        ("slave".into(), "127.0.0.1".into(), "connected".into())
    );
    assert_eq!(role[2], Value::Integer(port.into()));
    assert_eq!(text(&must(&mut client, "CONFIG GET replicaof").items().unwrap()[1]), format!("127.0.0.1 {port}"));
    let info = replica.info();
    assert_eq!((&*info["role"], &*info["master_host"], &*info["slave_read_only"]), ("slave", "127.0.0.1", "1"));
    let again = client.ask(&format!("REPLICAOF 127.0.0.1 {port}")).unwrap();
    assert_eq!(text(&again), "OK Already connected to specified master");
    assert_eq!(text(&client.ask("REPLICAOF 127.0.0.1 x").unwrap()), "ERR Invalid master port");

    let role = must(&mut primary.client(), "ROLE");
    let items = role.items().unwrap();
    assert_eq!(text(&items[0]), "master");
    let replicas = items[2].items().unwrap();
    assert_eq!(text(&replicas[0].items().unwrap()[1]), replica.server.port().to_string());
    let info = primary.info();
    assert_eq!((&*info["role"], &*info["connected_slaves"]), ("master", "1"));
    assert!(info["slave0"].starts_with(&format!("ip=127.0.0.1,port={},state=online,offset=", replica.server.port())));
    assert_eq!(info["master_replid"], replica.info()["master_replid"]);
}

#[test]
fn a_replica_follows_at_run_time_and_is_promoted() {
    if !is_ember() {
        return;
    }
    for io in drivers() {
        let primary = Node::start("primary", &["--cores", "2", "--io", io]);
        fill(&mut primary.client(), 0, 100);
        let replica = Node::start("replica", &["--cores", "2", "--io", io]);
        let mut client = replica.client();
        must(&mut client, "SET mine only");
        must(&mut client, "WATCH mine");
        // one that waits is told, and connections stay
        let mut waits = replica.client();
        waits.send(&["BLPOP", "nothing", "0"]);
        waits.flush().unwrap();
        eventually("it waits", || text(&must(&mut replica.client(), "INFO clients")).contains("blocked_clients:1"));
        must(&mut client, &format!("REPLICAOF 127.0.0.1 {}", primary.server.port()));
        assert!(
            waits.read().unwrap().is_error("UNBLOCKED force unblock from blocking operation, instance state changed")
        );
        replica.wait_for_link();
        must(&mut client, "MULTI");
        must(&mut client, "GET mine");
        assert_eq!(client.ask("EXEC").unwrap(), Value::Null, "what was watched is another's");
        assert_eq!(client.ask("GET mine").unwrap(), Value::Null, "what was here is gone");
        is_equal(&primary, &replica);
        // promoted, it goes on from there
        must(&mut client, "REPLICAOF NO ONE");
        eventually("it takes writes", || client.ask("SET mine again").unwrap().is_ok());
        let mut ours = contents(&replica);
        ours.remove(&(0, b"mine".to_vec()));
        assert_eq!(ours, contents(&primary));
        assert_eq!(replica.info()["role"], "master");
        eventually("it is let go", || primary.info()["connected_slaves"] == "0");
        // and the other way round
        let mut old = primary.client();
        must(&mut old, &format!("SLAVEOF localhost {}", replica.server.port()));
        primary.wait_for_link();
        is_equal(&replica, &primary);
    }
}

#[test]
fn wait_counts_replicas_that_have_it() {
    if !is_ember() {
        return;
    }
    let primary = Node::start("primary", &["--cores", "2"]);
    let mut client = primary.client();
    assert_eq!(must(&mut client, "WAIT 0 0"), Value::Integer(0));
    assert_eq!(must(&mut client, "WAIT 1 200"), Value::Integer(0));
    let replicas = [&["--cores", "1"][..], &["--cores", "2", "--appendfsync", "always"]]
        .map(|args| Node::replica_of(&primary, args));
    for i in 0..50 {
        must(&mut client, &format!("MSET a{i} 1 b{i} 2 c{i} 3"));
        assert_eq!(must(&mut client, "WAIT 2 10000"), Value::Integer(2));
        for replica in &replicas {
            assert_eq!(text(&must(&mut replica.client(), &format!("GET b{i}"))), "2");
        }
    }
    for (words, error) in
        [("WAIT x 0", "ERR value is not an integer or out of range"), ("WAIT 0 -1", "ERR timeout is negative")]
    {
        assert_eq!(text(&client.ask(words).unwrap()), error);
    }
    must(&mut client, "MULTI");
    must(&mut client, "WAIT 5 0");
    assert!(matches!(must(&mut client, "EXEC").items().unwrap(), [Value::Integer(_)]));
    // too few, and writes are refused
    must(&mut client, "CONFIG SET min-replicas-to-write 3");
    let refused = client.ask("SET a b").unwrap();
    assert_eq!(text(&refused), "NOREPLICAS Not enough good replicas to write.");
    must(&mut client, "CONFIG SET min-replicas-to-write 2");
    eventually("they count", || client.ask("SET a b").unwrap().is_ok());
}

/// Writes until it is told to stop: what was acknowledged is counted. Errors are what a kill brings.
fn writer(port: u16, name: usize, stop: Arc<AtomicBool>, acked: Arc<AtomicU64>) -> std::thread::JoinHandle<()> {
    std::thread::spawn(move || {
        let mut i = 0;
        while !stop.load(Ordering::Relaxed) {
            let Ok(mut client) = Client::connect(port) else {
                std::thread::sleep(Duration::from_millis(5));
                continue;
            };
            let _ = client.set_timeout(Duration::from_secs(5));
            while !stop.load(Ordering::Relaxed) {
                let words = [
                    format!("SET w{name}:{} {i}", i % 5000),
                    format!("HSET wh{name}:{} f{} {i}", i % 50, i % 700),
                    format!("LPUSH wl{name}:{} {i}", i % 20),
                    format!("MSET wm{name}:{} {i} wn{name}:{} {i}", i % 900, i % 900),
                    format!("ZADD wz{name} {i} m{}", i % 1500),
                    format!("DEL w{name}:{}", (i * 7) % 5000),
                ];
                for words in &words {
                    client.send(&words.split(' ').collect::<Vec<_>>());
                }
                if client.flush().is_err() || !words.iter().all(|_| client.read().is_ok()) {
                    break;
                }
                i += 1;
                acked.fetch_add(words.len() as u64, Ordering::Relaxed);
            }
        }
    })
}

/// `kills`: for each in turn whether it is the primary that is killed; `EMBERKV_KILL_ROUNDS` says how often all of it.
fn survives_kills(primary_cores: &str, replica_cores: &str, kills: &[bool]) {
    let mut primary = Node::start("primary", &["--cores", primary_cores, "--segment-size", "1mb"]);
    let mut replica = Node::replica_of(&primary, &["--cores", replica_cores]);
    let (stop, acked) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let port = primary.server.port();
    let writers: Vec<_> = (0..2).map(|name| writer(port, name, Arc::clone(&stop), Arc::clone(&acked))).collect();
    let rounds = common::number("EMBERKV_KILL_ROUNDS", 1) as usize;
    for (i, is_primary) in kills.iter().cycle().take(kills.len() * rounds).enumerate() {
        std::thread::sleep(Duration::from_millis(300 + (137 * i as u64) % 400));
        let before = acked.load(Ordering::Relaxed);
        if *is_primary {
            primary.kill_and_start()
        } else {
            replica.kill_and_start()
        }
        replica.wait_for_link();
        eventually("writes go on", || acked.load(Ordering::Relaxed) > before);
    }
    stop.store(true, Ordering::Relaxed);
    writers.into_iter().for_each(|writer| writer.join().unwrap());
    replica.wait_for_link();
    is_equal(&primary, &replica);
    println!("{} writes were acknowledged", acked.load(Ordering::Relaxed));
}

#[test]
fn a_replica_that_is_killed_goes_on_and_is_equal() {
    if is_ember() {
        survives_kills("2", "2", &[false, false, false]);
    }
}

#[test]
fn a_replica_goes_on_when_its_primary_is_killed_and_is_equal() {
    if is_ember() {
        survives_kills("2", "1", &[true, false, true]);
    }
}

#[test]
fn what_a_replica_has_is_there_when_its_primary_is_lost() {
    if !is_ember() {
        return;
    }
    for cores in ["1", "2"] {
        let mut primary = Node::start("primary", &["--cores", cores]);
        let mut replica = Node::replica_of(&primary, &["--cores", cores]);
        let mut client = primary.client();
        let mut promised = 0;
        for i in 0..500 {
            must(&mut client, &format!("MSET a{i} {i} b{i} {i}"));
            if i % 50 == 0 {
                assert_eq!(must(&mut client, "WAIT 1 10000"), Value::Integer(1));
                promised = i;
            }
        }
        primary.server.kill9().unwrap();
        // it is killed too, and finds nobody who could say whether what it has still counts: it is told
        replica.server.kill9().unwrap();
        replica.server = Server::spawn(&replica.spec).unwrap();
        eventually("it says that it has nothing", || {
            let mut client = replica.server.connect().ok();
            client.as_mut().is_some_and(|client| client.ask("GET a0").is_ok_and(|reply| reply.is_error("LOADING")))
        });
        let mut client = replica.client();
        must(&mut client, "REPLICAOF NO ONE");
        eventually("it takes writes", || client.ask("SET mine 1").unwrap().is_ok());
        for i in 0..=promised {
            assert_eq!(text(&must(&mut client, &format!("GET a{i}"))), i.to_string());
            assert_eq!(text(&must(&mut client, &format!("GET b{i}"))), i.to_string());
        }
        // all of a transaction or nothing
        for i in promised..500 {
            let both = ["a", "b"].map(|key| must(&mut client, &format!("EXISTS {key}{i}")));
            assert_eq!(both[0], both[1], "MSET {i}");
        }
    }
}

#[test]
fn replicas_have_replicas() {
    if !is_ember() {
        return;
    }
    let primary = Node::start("primary", &["--cores", "2"]);
    fill(&mut primary.client(), 0, 50);
    let first = Node::replica_of(&primary, &["--cores", "1"]);
    let second = Node::replica_of(&first, &["--cores", "2"]);
    fill(&mut primary.client(), 50, 100);
    is_equal(&primary, &first);
    let wanted = contents(&primary);
    eventually("it comes to the second too", || contents(&second) == wanted);
    // the first is promoted, and the second stays with it
    must(&mut first.client(), "REPLICAOF NO ONE");
    let mut client = first.client();
    eventually("it takes writes", || client.ask("SET mine 1").unwrap().is_ok());
    second.wait_for_link();
    is_equal(&first, &second);
    assert_eq!(second.info()["master_replid"], first.info()["master_replid"]);
}

/// What is not there any more is fetched as a whole.
#[test]
fn a_replica_that_was_away_for_too_long_begins_anew() {
    if !is_ember() {
        return;
    }
    let primary = Node::start("primary", &["--cores", "1", "--segment-size", "1mb", "--repl-timeout", "1"]);
    let mut client = primary.client();
    fill(&mut client, 0, 50);
    let mut replica = Node::replica_of(&primary, &["--cores", "1"]);
    replica.server.kill9().unwrap();
    let value = "x".repeat(10_000);
    for i in 0..2000 {
        must(&mut client, &format!("SET same:{} {value}", i % 10));
    }
    eventually("it is forgotten", || primary.info()["connected_slaves"] == "0");
    std::thread::sleep(Duration::from_secs(3));
    must(&mut client, "BGREWRITEAOF");
    for i in 0..2000 {
        must(&mut client, &format!("SET same:{} {value}", i % 10));
    }
    replica.server = Server::start(&replica.spec).unwrap();
    replica.wait_for_link();
    is_equal(&primary, &replica);
}

/// What the old primary has alone is cut off, and kept; the rest is not fetched again.
#[test]
fn an_old_primary_goes_on_as_a_replica_of_the_new_one() {
    if !is_ember() {
        return;
    }
    for (cores, dies) in [("2", false), ("1", true), ("2", true)] {
        let mut old = Node::start("primary", &["--cores", cores, "--segment-size", "1mb"]);
        fill(&mut old.client(), 0, 120);
        let new = Node::replica_of(&old, &["--cores", cores]);
        is_equal(&old, &new);
        must(&mut new.client(), "REPLICAOF NO ONE");
        eventually("it takes writes", || new.client().ask("SET mine 1").unwrap().is_ok());
        // both go on
        fill(&mut old.client(), 80, 150);
        must(&mut old.client(), "SET alone 1");
        fill(&mut new.client(), 110, 130);
        if dies {
            old.kill_and_start();
        }
        must(&mut old.client(), &format!("REPLICAOF 127.0.0.1 {}", new.server.port()));
        old.wait_for_link();
        is_equal(&new, &old);
        assert_eq!(old.client().ask("GET alone").unwrap(), Value::Null);
        let info = old.info();
        assert_eq!((&*info["master_full_syncs"], &*info["master_partial_syncs"]), ("0", "1"), "{info:#?}");
        let files = info.iter().filter(|(name, _)| name.starts_with("repl_cut_off_") && *name != "repl_cut_off_files");
        let files: Vec<_> = files.map(|(_, line)| line.split_once("file=").unwrap().1).collect();
        assert_eq!(info["repl_cut_off_files"], files.len().to_string());
        let kept: Vec<_> = files.iter().map(|file| std::fs::read(file).unwrap()).collect();
        let holds = |bytes: &Vec<u8>| bytes.windows(5).any(|window| window == b"alone");
        assert!(kept.iter().any(holds), "what is cut off is kept in {files:?}");
        // it is a replica like any other, and can be promoted in its turn
        fill(&mut new.client(), 130, 160);
        is_equal(&new, &old);
        must(&mut old.client(), "REPLICAOF NO ONE");
        eventually("it takes writes", || old.client().ask("SET mine 2").unwrap().is_ok());
        assert_eq!(old.info()["repl_cut_off_files"], files.len().to_string(), "it is named as long as it is there");
        must(&mut new.client(), &format!("REPLICAOF 127.0.0.1 {}", old.server.port()));
        new.wait_for_link();
        is_equal(&old, &new);
        assert_eq!(new.info()["master_full_syncs"], "1", "that was its first one");
    }
}

/// How many checkpoints the last start began with.
fn checkpoints_used(node: &Node) -> u64 {
    let log = node.server.log_text();
    let line = log.lines().rev().find(|line| line.contains("the log is replayed")).unwrap_or_else(|| panic!("{log}"));
    let word = line.split_whitespace().find_map(|word| word.strip_prefix("checkpoints="));
    word.and_then(|word| word.parse().ok()).unwrap_or_else(|| panic!("{line}"))
}

#[test]
fn a_replica_takes_checkpoints_and_begins_with_them() {
    if !is_ember() {
        return;
    }
    for cores in ["1", "2"] {
        let primary = Node::start("primary", &["--cores", cores]);
        let mut client = primary.client();
        fill(&mut client, 0, 50);
        let mut replica = Node::replica_of(&primary, &["--cores", cores, "--checkpoint-interval", "4kb"]);
        fill(&mut client, 50, 150);
        let dir = replica.dir.path().to_owned();
        let is_checkpoint = |name: &str| name.starts_with("checkpoint-") && !name.ends_with(".new");
        let taken = || {
            let names = std::fs::read_dir(&dir).unwrap().map(|entry| entry.unwrap().file_name());
            names.filter(|name| is_checkpoint(&name.to_string_lossy())).count()
        };
        // it needs to hear what is settled at the primary, for which nobody has to write
        eventually("each partition has one", || taken() >= cores.parse().unwrap());
        is_equal(&primary, &replica);
        replica.kill_and_start();
        replica.wait_for_link();
        assert!(checkpoints_used(&replica) > 0, "{}", replica.server.log_text());
        is_equal(&primary, &replica);
        assert_eq!(replica.info()["master_partial_syncs"], "1");
        let wanted = contents(&primary);
        must(&mut replica.client(), "REPLICAOF NO ONE");
        eventually("it takes writes", || replica.client().ask("SET mine 1").unwrap().is_ok());
        assert!(checkpoints_used(&replica) > 0, "{}", replica.server.log_text());
        must(&mut replica.client(), "DEL mine");
        assert_eq!(contents(&replica), wanted);
    }
}

#[test]
fn stale_data_are_served_or_not_as_it_is_configured() {
    if !is_ember() {
        return;
    }
    let mut primary = Node::start("primary", &["--cores", "1", "--requirepass", "sekret"]);
    let mut ours = primary.server.connect().unwrap();
    must(&mut ours, "AUTH sekret");
    must(&mut ours, "SET a 1");
    let port = primary.server.port().to_string();
    let replica = Node::start("replica", &["--cores", "1"]);
    let mut client = replica.client();
    must(&mut client, &format!("REPLICAOF 127.0.0.1 {port}"));
    eventually("the password is missing", || {
        replica.info().get("master_link_error").is_some_and(|e| e.contains("NOAUTH"))
    });
    assert_eq!(client.ask("GET a").unwrap(), Value::Null, "the old data stay as long as nothing is known of the new");
    must(&mut client, "CONFIG SET masterauth sekret");
    replica.wait_for_link();
    assert_eq!(text(&must(&mut client, "GET a")), "1");
    primary.server.kill9().unwrap();
    eventually("the link is down", || replica.info()["master_link_status"] == "down");
    assert_eq!(text(&must(&mut client, "GET a")), "1");
    must(&mut client, "CONFIG SET replica-serve-stale-data no");
    let refused = "MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.";
    assert_eq!(text(&client.ask("GET a").unwrap()), refused);
    must(&mut client, "REPLICAOF NO ONE");
    eventually("it takes writes", || client.ask("SET a 2").unwrap().is_ok());
}
