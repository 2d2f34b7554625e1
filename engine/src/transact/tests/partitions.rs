//! Single cases over several partitions.

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};

use emberkv_log::SyncPolicy;
use emberkv_log::disk::sim::Choices;
use emberkv_log::plant::{self, Plant};
use emberkv_resp::{Output, Protocol, Reply};

use super::coordinator::with_request;
use super::crash::crash;
use super::world::{World, words};
use crate::slots::partition_of;
use crate::tests::{START_MS, State};
use crate::transact::{Route, route};

/// `a` and `b` are keys of two partitions out of two.
fn two(policy: SyncPolicy, clients: usize) -> (World, Choices) {
    assert_ne!(partition_of(b"a", 2), partition_of(b"b", 2));
    (World::new(2, 1, clients, 1, policy), Choices::new(1))
}

fn owner(key: &str) -> usize {
    usize::from(partition_of(key.as_bytes(), 2).0)
}

impl World {
    fn ask(&mut self, line: &str, choices: &mut Choices) {
        assert!(self.send(0, 0, words(line), choices));
        assert!(self.settle(choices), "{line} waits for ever");
    }

    fn deliver_all(&mut self, choices: &mut Choices) {
        for owner in 0..self.partitions.len() {
            while self.deliver_to_owner(owner) {}
        }
        while self.deliver_to_coordinator(0, choices) {}
    }

    fn is_idle(&self, client: usize) -> bool {
        self.clients[client].doing.is_none()
    }
}

#[test]
fn commands_wait_for_the_keys_of_a_transaction_and_for_no_others() {
    let (mut world, mut choices) = two(SyncPolicy::EverySec, 4);
    world.ask("MSET a 1 b 1", &mut choices);
    world.send(0, 0, words("MSET a 2 b 2"), &mut choices);
    world.deliver_to_owner(owner("a"));
    world.send(1, 0, words("GET a"), &mut choices);
    world.send(2, 0, words("SET {a}other 1"), &mut choices);
    world.send(3, 0, words("GET b"), &mut choices);
    for client in 1..4 {
        world.try_again(client);
    }
    (0..2).for_each(|owner| world.end_turn(owner));
    assert!(!world.is_idle(1), "its key is locked");
    assert!(world.is_idle(2), "another key of the same partition is not");
    assert!(world.is_idle(3), "the lock has not come to its partition yet");
    let unlocks = world.partitions[owner("a")].unlocks();
    assert!(world.settle(&mut choices));
    assert!(world.partitions[owner("a")].unlocks() > unlocks);
    assert!(world.partitions.iter().all(|partition| partition.locks.is_empty()));
}

#[test]
fn a_key_that_expires_while_it_is_locked_goes_after_that() {
    let (mut world, mut choices) = two(SyncPolicy::EverySec, 1);
    world.ask("SET a 1 PX 50", &mut choices);
    world.send(0, 0, words("MGET a b"), &mut choices);
    let at = owner("a");
    world.deliver_to_owner(at);
    let partition = &mut world.partitions[at];
    partition.begin_turn(START_MS + 1000);
    while partition.expire(10) {}
    assert_eq!(partition.index.len(), 1, "nothing of a locked key is changed");
    assert!(world.settle(&mut choices));
    let partition = &mut world.partitions[at];
    partition.begin_turn(START_MS + 1100);
    while partition.expire(10) {}
    assert_eq!(partition.index.len(), 0);
}

#[test]
fn scan_goes_through_all_partitions_and_ends() {
    let mut world = World::new(3, 2, 1, 1, SyncPolicy::EverySec);
    let mut choices = Choices::new(3);
    let mut expected = BTreeSet::new();
    for i in 0..200 {
        world.ask(&format!("SET key:{i} {i}"), &mut choices);
        expected.insert(format!("key:{i}"));
    }
    let mut found = BTreeSet::new();
    let mut cursor = "0".to_owned();
    for _ in 0..1000 {
        let mut output = Output::new();
        with_request(0, &[b"SCAN", cursor.as_bytes(), b"COUNT", b"7"], |request| {
            let Route::One(owner) = route(request.id, request.args, 3) else { panic!("SCAN has one owner") };
            let partition = &mut world.partitions[usize::from(owner.0)];
            partition.execute(request, &mut Reply::new(&mut output, Protocol::Resp2)).unwrap();
        });
        let text = String::from_utf8(output.to_vec()).unwrap();
        let mut lines = text.split("\r\n").filter(|line| !line.starts_with(['*', '$']) && !line.is_empty());
        cursor = lines.next().unwrap().to_owned();
        found.extend(lines.map(str::to_owned));
        if cursor == "0" {
            break;
        }
    }
    assert_eq!(cursor, "0", "it ends");
    assert_eq!(found, expected);
}

#[test]
fn a_full_disk_refuses_whole_commands() {
    let (mut world, mut choices) = two(SyncPolicy::EverySec, 1);
    let value = "x".repeat(5000);
    world.ask("MSET a 1 b 1", &mut choices);
    world.disk.set_capacity(Some(world.disk.used()));
    for i in 0..40 {
        world.ask(&format!("MSET {{a}}{i} {value} {{a}}2 {value} {{b}}{i} {value}"), &mut choices);
    }
    assert!(world.partitions.iter().any(|partition| partition.log().no_space().is_some()));
    assert_eq!(world.contents(), world.model.state);
    // what removes has room, and so have the marks
    let keys = world.contents().len();
    world.ask("DEL a b {a}2 {b}2", &mut choices);
    assert_eq!(world.contents().len(), keys - 4);
    world.ask("FLUSHALL", &mut choices);
    crash(&mut world, &mut State::new(), 1, &mut choices);
    assert!(world.contents().is_empty());
}

/// Under `always`, the sync of b's part fails for good after it was written, and a's part is durable; then a crash.
/// `settles`: only after the client has been answered.
fn after_a_part_that_failed(seed: u64, settles: bool) -> State {
    let (mut world, _) = two(SyncPolicy::Always, 1);
    let mut choices = Choices::new(seed);
    world.send(0, 0, words("MSET a 1 b 1"), &mut choices);
    world.deliver_all(&mut choices);
    (0..2).for_each(|owner| world.end_turn(owner));
    world.deliver_all(&mut choices);
    (0..2).for_each(|owner| while world.deliver_to_owner(owner) {});
    let (a, b) = (owner("a"), owner("b"));
    world.end_turn(a);
    while world.run_job(a, &mut choices) {}
    world.end_turn(b);
    world.disk.fail_syncs(100);
    while world.run_job(b, &mut choices) {}
    world.disk.fail_syncs(0);
    assert!(world.partitions[b].log().read_only().is_some());
    (0..2).for_each(|owner| world.end_turn(owner));
    world.deliver_all(&mut choices);
    world.deliver_all(&mut choices);
    // the abort is appended, and not on the disk
    (0..2).for_each(|owner| world.end_turn(owner));
    world.deliver_all(&mut choices);
    if settles {
        assert!(!world.is_idle(0));
        assert!(world.settle(&mut choices));
    }
    let mut base = State::new();
    crash(&mut world, &mut base, seed, &mut choices);
    base
}

#[test]
fn an_error_is_answered_when_no_crash_can_bring_the_command_back() {
    let mut kept = 0;
    for seed in 0..30 {
        assert!(after_a_part_that_failed(seed, true).is_empty(), "an error was answered");
        kept += after_a_part_that_failed(seed, false).len();
    }
    assert!(kept > 0, "with both parts on the disk and no abort it has happened");
    plant::set(Some(Plant::X6));
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    let breaks = |seed| catch_unwind(AssertUnwindSafe(|| after_a_part_that_failed(seed, false))).is_err();
    let noticed = (0..30).any(breaks);
    std::panic::set_hook(hook);
    plant::set(None);
    assert!(noticed, "nothing noticed that X6 is missing");
}

/// In a transaction too MSET and MSETNX write all their keys or none, whichever partition has no memory left.
#[test]
fn what_one_partition_has_no_memory_for_the_others_do_not_write() {
    for line in ["multi 5 MSET a 1 b 1", "multi 5 MSETNX a 1 b 1", "multi 3 SET a 1 5 MSET b 1 a 2"] {
        for full in ["a", "b"] {
            let (mut world, mut choices) = two(SyncPolicy::EverySec, 1);
            world.partitions[owner(full)].spill.is_full = true;
            world.ask(line, &mut choices);
            for key in ["a", "b"] {
                let partition = &world.partitions[owner(key)];
                let found = partition.peek(partition.key(emberkv_log::DbId(0), key.as_bytes()));
                assert!(found.live().is_none(), "{line}: {key} is there though {full} is full");
            }
        }
    }
}
