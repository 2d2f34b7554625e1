//! Random lives of a data set of several partitions: commands of all kinds by several clients, messages and jobs in any
//! order, failing disks, crashes. A seed gives the same life again.

use emberkv_log::SyncPolicy;
use emberkv_log::disk::sim::Choices;
use emberkv_log::plant::{self, Plant};

use super::crash::crash;
use super::world::{World, words};
use crate::tests::{START_MS, State, change_residency, check_counts, compact_some, is_noticed, lives, with_seeds};

fn key(choices: &mut Choices) -> String {
    format!("k{}", choices.below(9))
}

fn value(choices: &mut Choices, n: u64, heavy: bool) -> String {
    let len = match choices.below(30) {
        0..15 if heavy => 1000 + choices.below(9000),
        0 => 3000 + choices.below(9000),
        1..4 => 300,
        _ => 0,
    };
    format!("v{n}{}", "x".repeat(len as usize))
}

/// Mostly one of those that are hashes.
fn hash_key(choices: &mut Choices) -> String {
    if choices.one_in(8) { key(choices) } else { format!("h{}", choices.below(4)) }
}

/// A command on a hash; large ones are split.
fn hash_line(choices: &mut Choices, n: u64, heavy: bool) -> String {
    let key = hash_key(choices);
    let many = if choices.one_in(4) { 5 + choices.below(60) } else { 1 + choices.below(3) };
    let of = if key.ends_with(['1', '3']) { 80 } else { 8 };
    let mut fields: Vec<_> = (0..many).map(|_| format!("f{}", choices.below(of))).collect();
    // their clock stands: far ahead, or over
    let ms = START_MS + if choices.one_in(6) { 0 } else { 1_000_000 + choices.below(100) };
    match choices.below(16) {
        12..14 => format!("HPEXPIREAT {key} {ms} FIELDS {many} {}", fields.join(" ")),
        14 => {
            fields.iter_mut().for_each(|field| *field += &format!(" x{n}"));
            format!("HSETEX {key} PXAT {ms} FIELDS {many} {}", fields.join(" "))
        }
        15 if choices.one_in(2) => format!("HPEXPIRETIME {key} FIELDS {many} {}", fields.join(" ")),
        15 => format!("HGETDEL {key} FIELDS 1 {}", fields[0]),
        0..5 => {
            let long = if heavy { "y".repeat(choices.below(60) as usize) } else { String::new() };
            fields.iter_mut().enumerate().for_each(|(i, field)| *field += &format!(" w{n}.{i}{long}"));
            format!("HSET {key} {}", fields.join(" "))
        }
        5..7 => format!("HDEL {key} {}", fields.join(" ")),
        7 => format!("HMGET {key} {}", fields.join(" ")),
        8 => format!("HGET {key} {}", fields[0]),
        9 => format!("HSETNX {key} {} {n}", fields[0]),
        10 => format!("HINCRBY {key} n {}", choices.below(9)),
        _ => format!("HLEN {key}"),
    }
}

/// Mostly one of those that are sorted sets.
fn sorted_key(choices: &mut Choices) -> String {
    if choices.one_in(8) { key(choices) } else { format!("z{}", choices.below(4)) }
}

/// A command on a sorted set; large ones are split.
fn sorted_line(choices: &mut Choices, n: u64, heavy: bool) -> String {
    let key = sorted_key(choices);
    let many = if choices.one_in(4) { 5 + choices.below(60) } else { 1 + choices.below(3) };
    let of = if key.ends_with(['1', '3']) { 80 } else { 8 };
    let long = if heavy { "y".repeat(choices.below(60) as usize) } else { String::new() };
    let members: Vec<_> = (0..many).map(|_| format!("m{}", choices.below(of))).collect();
    match choices.below(12) {
        0..5 => {
            let scored: Vec<_> =
                members.iter().map(|member| format!("{} {member}{long}", n + choices.below(9))).collect();
            format!("ZADD {key} {}", scored.join(" "))
        }
        5..7 => format!("ZREM {key} {}", members.join(" ")),
        7 => format!("ZMSCORE {key} {}", members.join(" ")),
        8 => format!("ZINCRBY {key} {n} {}", members[0]),
        9 => format!("ZPOPMIN {key} {}", choices.below(4)),
        10 => format!("ZRANGESTORE {key} {} 0 {}", sorted_key(choices), choices.below(60)),
        _ => format!("ZCARD {key}"),
    }
}

/// Mostly one of those that are lists.
fn list_key(choices: &mut Choices) -> String {
    if choices.one_in(8) { key(choices) } else { format!("l{}", choices.below(4)) }
}

/// A command on a list, or on several; large ones are split.
fn list_line(choices: &mut Choices, n: u64, heavy: bool) -> String {
    let (key, other) = (list_key(choices), list_key(choices));
    let many = if choices.one_in(4) { 5 + choices.below(80) } else { 1 + choices.below(3) };
    let end = |choices: &mut Choices| if choices.one_in(2) { "LEFT" } else { "RIGHT" };
    match choices.below(16) {
        0..5 => {
            let long = if heavy { "z".repeat(choices.below(60) as usize) } else { String::new() };
            let elements: String = (0..many).map(|i| format!(" e{n}.{i}{long}")).collect();
            format!("{} {key}{elements}", if choices.one_in(2) { "RPUSH" } else { "LPUSH" })
        }
        5..7 => format!("{} {key} {many}", if choices.one_in(2) { "RPOP" } else { "LPOP" }),
        7 => format!("LPOP {key}"),
        8..11 => format!("LMOVE {key} {other} {} {}", end(choices), end(choices)),
        11 => format!("RPOPLPUSH {key} {other}"),
        12 => format!("LMPOP 2 {key} {other} {} COUNT {many}", end(choices)),
        13 => format!("LSET {key} {} s{n}", choices.below(3 * many)),
        14 => format!("LTRIM {key} {} -1", choices.below(many)),
        _ => format!("LRANGE {key} 0 -1"),
    }
}

/// Mostly one of those that are sets.
fn set_key(choices: &mut Choices) -> String {
    if choices.one_in(8) { key(choices) } else { format!("s{}", choices.below(4)) }
}

/// A command on a set, or on several; large ones are split. What is said of their elements has an order here.
fn set_line(choices: &mut Choices) -> String {
    let key = set_key(choices);
    let many = if choices.one_in(4) { 5 + choices.below(60) } else { 1 + choices.below(3) };
    let (of, integers) = (if key.ends_with(['1', '3']) { 150 } else { 8 }, key.ends_with(['0', '1']));
    let members = (0..many).map(|_| choices.below(of));
    let members: Vec<_> = members.map(|m| if integers { m.to_string() } else { format!("member{m}") }).collect();
    match choices.below(16) {
        0..6 => format!("SADD {key} {}", members.join(" ")),
        6..8 => format!("SREM {key} {}", members.join(" ")),
        8 => format!("SMISMEMBER {key} {}", members.join(" ")),
        9..12 => format!("SMOVE {key} {} {}", set_key(choices), members[0]),
        12..14 => {
            let name = ["SINTERSTORE", "SUNIONSTORE", "SDIFFSTORE"][choices.below(3) as usize];
            format!("{name} {} {key} {}", set_key(choices), set_key(choices))
        }
        14 => format!("SINTERCARD 2 {key} {}", set_key(choices)),
        _ => format!("SCARD {key}"),
    }
}

/// One of those that go by what they find under several keys, or in two databases.
fn several(choices: &mut Choices) -> String {
    let (a, b) = (key(choices), key(choices));
    let (a, b) = match choices.below(6) {
        0 => (hash_key(choices), hash_key(choices)),
        1 => (list_key(choices), list_key(choices)),
        2 => (set_key(choices), set_key(choices)),
        3 => (sorted_key(choices), sorted_key(choices)),
        _ => (a, b),
    };
    let db = choices.below(2);
    match choices.below(10) {
        0..3 => format!("RENAME {a} {b}"),
        3 => format!("RENAMENX {a} {b}"),
        4 => format!("COPY {a} {b} REPLACE"),
        5 => format!("COPY {a} {b} DB {db}"),
        6 => format!("MOVE {a} {db}"),
        7 => format!("LCS {a} {b} LEN"),
        8 => format!("SWAPDB {db} {}", choices.below(3)),
        _ => format!("BITOP {} {a} {b} {}", ["AND", "XOR", "DIFF1", "ONE"][choices.below(4) as usize], key(choices)),
    }
}

/// A command of any kind; `n` makes its values unlike all others.
fn command(choices: &mut Choices, n: u64, heavy: bool) -> Vec<Vec<u8>> {
    let many = |choices: &mut Choices| {
        let count = 2 + choices.below(3);
        (0..count).map(|_| key(choices)).collect::<Vec<_>>().join(" ")
    };
    let pairs = |choices: &mut Choices| {
        let count = 2 + choices.below(3);
        (0..count)
            .map(|i| format!("{} {}", key(choices), value(choices, n * 10 + i, heavy)))
            .collect::<Vec<_>>()
            .join(" ")
    };
    if choices.one_in(4) {
        return script(choices, n, heavy);
    }
    if choices.one_in(4) {
        return words(&match choices.below(4) {
            0 => hash_line(choices, n, heavy),
            1 => list_line(choices, n, heavy),
            2 => sorted_line(choices, n, heavy),
            _ => set_line(choices),
        });
    }
    let line = match choices.below(100) {
        0..25 => format!("MSET {}", pairs(choices)),
        25..33 => format!("MSETNX {}", pairs(choices)),
        33..36 => format!("DEL {} {}", hash_key(choices), hash_key(choices)),
        36..43 => format!("DEL {}", many(choices)),
        43..55 => format!("MGET {}", many(choices)),
        55..60 => format!("EXISTS {}", many(choices)),
        60..63 => "DBSIZE".to_owned(),
        63 => "KEYS *".to_owned(),
        64 => "RANDOMKEY".to_owned(),
        65 if choices.one_in(2) => format!("SWAPDB {} {}", choices.below(3), choices.below(3)),
        65 => "FLUSHALL".to_owned(),
        66..68 => "FLUSHDB".to_owned(),
        68 => format!("SCAN {} COUNT 100", choices.below(3) << 32),
        69..73 => several(choices),
        73..80 => format!("GET {}", key(choices)),
        80..92 => format!("SET {} {}", key(choices), value(choices, n * 10, heavy)),
        92..95 => format!("DEL {}", key(choices)),
        95..98 => format!("APPEND {} {n}", key(choices)),
        _ => format!("SETNX {} {n}", key(choices)),
    };
    words(&line)
}

/// Commands that are executed together: "multi", then each with its number of words before it.
fn script(choices: &mut Choices, n: u64, heavy: bool) -> Vec<Vec<u8>> {
    let mut all = words("multi");
    for i in 0..1 + choices.below(5) {
        let unique = n * 100 + i;
        let line = match choices.below(38) {
            24..29 => hash_line(choices, unique, heavy),
            32..35 => list_line(choices, unique, heavy),
            35.. => set_line(choices),
            29 => format!("DEL {} {} {}", hash_key(choices), set_key(choices), sorted_key(choices)),
            30 | 31 => sorted_line(choices, unique, heavy),
            0..4 => format!("SET {} {}", key(choices), value(choices, unique, heavy)),
            4..7 => format!("APPEND {} {unique}", key(choices)),
            7..9 => format!("DEL {} {}", key(choices), key(choices)),
            9..11 => format!("GET {}", key(choices)),
            11 => several(choices),
            12 => format!("MGET {} {} {}", key(choices), key(choices), key(choices)),
            13..15 => format!("MSET {} s{unique} {} t{unique}", key(choices), key(choices)),
            15..19 => format!("MSETNX {} s{unique} {} t{unique}", key(choices), key(choices)),
            19 => format!("GETDEL {}", key(choices)),
            20 => format!("INCR {}", key(choices)),
            21 => format!("SETNX {} {unique}", key(choices)),
            22 if choices.one_in(3) => {
                ["DBSIZE", "FLUSHDB", "FLUSHALL", "SWAPDB 0 1", "SWAPDB 0 2"][choices.below(5) as usize].to_owned()
            }
            _ => format!("EXISTS {} {}", key(choices), key(choices)),
        };
        let line = words(&line);
        all.push(line.len().to_string().into_bytes());
        all.extend(line);
    }
    all
}

pub(super) struct Life {
    pub world: World,
    pub choices: Choices,
    /// What is not in memory is chosen apart.
    cold_choices: Choices,
    pub base: State,
    commands: u64,
    can_fail: bool,
    /// Large values, so that there are segments to compact.
    heavy: bool,
    /// All stays in memory.
    pub is_resident: bool,
}

impl Life {
    pub fn new(seed: u64) -> Self {
        let mut choices = Choices::new(seed);
        let policy = [SyncPolicy::Always, SyncPolicy::EverySec, SyncPolicy::No][choices.below(3) as usize];
        let partitions = 2 + choices.below(2) as u16;
        let cores = 1 + choices.below(3) as usize;
        let clients = 1 + choices.below(6) as usize;
        let mut world = World::new(partitions, cores, clients, seed, policy);
        world.scrambled = plant::is(Plant::X1);
        let can_fail = choices.one_in(3);
        let heavy = choices.one_in(2);
        let cold_choices = Choices::new(seed ^ 0xc01d);
        Self { world, choices, cold_choices, base: State::new(), commands: 0, can_fail, heavy, is_resident: false }
    }

    pub fn step(&mut self) {
        let (world, choices) = (&mut self.world, &mut self.choices);
        if !self.is_resident && self.cold_choices.one_in(5) {
            let owner = self.cold_choices.below(world.partitions.len() as u64) as usize;
            change_residency(&mut world.partitions[owner], &mut self.cold_choices);
        }
        let owner = choices.below(world.partitions.len() as u64) as usize;
        match choices.below(100) {
            0..20 => {
                let idle: Vec<_> =
                    (0..world.clients.len()).filter(|client| world.clients[*client].doing.is_none()).collect();
                if idle.is_empty() {
                    return;
                }
                let client = idle[choices.below(idle.len() as u64) as usize];
                self.commands += 1;
                let db = choices.below(6).saturating_sub(4) as u8;
                let words = command(choices, self.commands, self.heavy);
                world.send(client, db, words, choices);
            }
            20..24 => {
                let (db, key) = (choices.below(6).saturating_sub(4) as u8, key(choices));
                world.read_directly(db, key.as_bytes());
            }
            24..40 => {
                let client = choices.below(world.clients.len() as u64) as usize;
                world.try_again(client);
            }
            40..58 => drop(world.deliver_to_owner(owner)),
            58..68 => {
                let core = choices.below(3) as usize % world.cores();
                world.deliver_to_coordinator(core, choices);
            }
            68..73 => world.progress(owner),
            73..76 => {
                let partition = &mut world.partitions[owner];
                if !partition.is_saving() {
                    partition.begin_checkpoint();
                }
                partition.save_some(1 + choices.below(3) as usize);
            }
            76..86 => world.end_turn(owner),
            86..94 => drop(world.run_job(owner, choices)),
            94 => compact_some(&mut world.partitions[owner], choices),
            95 => world.partitions[owner].log_mut().tick(),
            96 if choices.one_in(2) => drop(world.partitions[owner].sweep(choices.below(6) as usize)),
            96 => compact_some(&mut world.partitions[owner], choices),
            97 if self.can_fail && choices.one_in(25) => world.disk.fail_syncs(1 + choices.below(8) / 6 * 9),
            98 if self.can_fail && choices.one_in(25) => world.disk.fail_writes(1 + choices.below(8) / 7 * 9),
            99 if self.can_fail && choices.one_in(6) => {
                // a full disk, and room again
                let used = world.disk.used();
                world.disk.set_capacity(choices.one_in(2).then_some(used));
            }
            99 if choices.one_in(12) => self.check(),
            _ => {}
        }
    }

    /// Once nobody is at work any more, the contents are the model's.
    pub fn check(&mut self) {
        let settles = self.world.settle(&mut self.choices);
        assert!(settles, "somebody waits for ever: {:?}", self.world.clients);
        if self.world.disk.crashed() {
            return;
        }
        self.world.bring_all();
        // one whose outcome is unknown keeps its locks, and its records count as needed
        if self.world.partitions.iter().all(|partition| partition.log().read_only().is_none()) {
            self.world.partitions.iter().for_each(|partition| assert!(partition.locks.is_empty()));
            self.world.partitions.iter().for_each(check_counts);
        }
        assert_eq!(self.world.contents(), self.world.model.state);
    }
}

fn live(seed: u64) {
    let mut life = Life::new(seed);
    for _ in 0..4 {
        if life.choices.one_in(2) {
            let until = life.choices.below(150);
            life.world.disk.crash_after(until);
        }
        for _ in 0..life.choices.below(900) {
            life.step();
            if life.world.disk.crashed() {
                break;
            }
        }
        if !life.world.disk.crashed() && life.choices.one_in(3) {
            life.check();
        }
        crash(&mut life.world, &mut life.base, seed, &mut life.choices);
    }
}

#[test]
fn commands_over_partitions_happen_whole_or_not_at_all() {
    with_seeds(lives(300), live);
}

#[test]
fn a_life_over_partitions_notices_each_rule_that_is_missing() {
    for plant in [
        Plant::X1,
        Plant::X1Names,
        Plant::X2Stage,
        Plant::X3Durable,
        Plant::X3Publish,
        Plant::L2Vote,
        Plant::D6,
        Plant::C5,
        Plant::C6,
        Plant::K1Parts,
        Plant::X8Names,
        Plant::X8Flush,
    ] {
        assert!(is_noticed(plant, 3000, live), "nothing noticed that {plant:?} is missing");
    }
}
