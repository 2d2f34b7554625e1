//! Client-side caching (N1): a change of a key is before a read, which has seen it, or its reader hears of it.

use emberkv_log::SyncPolicy;
use emberkv_log::disk::sim::Choices;
use emberkv_log::plant::{self, Plant};

use super::world::{World, words};
use crate::slots::partition_of;
use crate::{Author, Invalid, Reader};

const READER: Reader = Reader { core: 0, conn: 1, client: 2 };

/// A command, or several of a script, with the number of words before each.
fn line(text: &str) -> String {
    let Some(script) = text.strip_prefix("multi ; ") else { return text.to_owned() };
    let each = script.split(" ; ").map(|line| format!(" {} {line}", line.split(' ').count()));
    format!("multi{}", each.collect::<String>())
}

fn ask(world: &mut World, client: usize, text: &str) {
    let mut choices = Choices::new(7);
    assert!(world.send(client, 0, words(&line(text)), &mut choices), "{text}");
    assert!(world.settle(&mut choices), "{text} waits for ever");
}

/// Reads a key to keep it.
fn keep(world: &mut World, key: &str) {
    world.reader = Some(READER);
    ask(world, 0, &format!("multi ; GET {key}"));
    world.reader = None;
}

/// The keys of which the reader hears.
fn heard(world: &mut World) -> Vec<String> {
    let all = world.partitions.iter_mut().flat_map(|partition| partition.take_invalid());
    let told = all.filter_map(|invalid| match invalid {
        Invalid::Key { key, readers, .. } => readers.contains(&READER).then(|| String::from_utf8_lossy(&key).into()),
        Invalid::All => Some("all".to_owned()),
    });
    told.collect()
}

fn world(partitions: u16) -> World {
    World::new(partitions, 1, 3, 1, SyncPolicy::Always)
}

#[test]
fn a_reader_hears_of_every_way_a_key_changes_once() {
    for partitions in 1..3 {
        let mut world = world(partitions);
        for change in [
            "SET k 1",
            "SET k 2",
            "MSET a 1 k 3",
            "DEL k",
            "SET k 5",
            "APPEND k 1",
            "RENAME a k",
            "RENAME k a",
            "COPY a k",
            "EXPIRE k 100",
            "PERSIST k",
            "GETDEL k",
            "multi ; SET k 1",
            "multi ; SET k 2 ; SET other 1",
            "BITOP NOT k a",
            "FLUSHDB",
            "SET k 1",
            "FLUSHALL",
        ] {
            keep(&mut world, "k");
            assert!(heard(&mut world).is_empty());
            ask(&mut world, 1, change);
            let expected = if change.starts_with("FLUSH") { "all" } else { "k" };
            assert_eq!(heard(&mut world), [expected], "{change}, {partitions} partitions");
            ask(&mut world, 1, "SET unread 1");
            assert!(heard(&mut world).is_empty());
        }
        let (keys, items) = world.partitions.iter().fold((0, 0), |all, one| {
            let one = one.tracked();
            (all.0 + one.0, all.1 + one.1)
        });
        assert_eq!((keys, items), (0, 0));
    }
}

/// A read that comes while the key is being written has to wait. Whether its reader hears of the next change.
fn hears_behind_a_write() -> bool {
    let mut world = world(2);
    let mut choices = Choices::new(7);
    let owner = |key: &str| partition_of(key.as_bytes(), 2).0;
    let other = (0..).map(|i| format!("o{i}")).find(|other| owner(other) != owner("k")).unwrap();
    assert!(world.send(0, 0, words(&format!("MSET k 1 {other} 1")), &mut choices));
    while (0..2).any(|owner| world.deliver_to_owner(owner)) {}
    // the write has the lock, and nobody sees it yet
    world.reader = Some(READER);
    assert!(world.send(1, 0, words(&line("multi ; GET k")), &mut choices));
    world.reader = None;
    while (0..2).any(|owner| world.deliver_to_owner(owner)) {}
    assert!(world.settle(&mut choices));
    let _ = heard(&mut world);
    ask(&mut world, 1, "SET k 2");
    heard(&mut world) == ["k"]
}

#[test]
fn a_reader_that_has_waited_for_a_write_hears_of_the_next_one() {
    assert!(hears_behind_a_write());
    plant::set(Some(Plant::N1Reader));
    let hears = hears_behind_a_write();
    plant::set(None);
    assert!(!hears, "the plant takes the rule out");
}

#[test]
fn what_is_remembered_is_bounded_and_who_is_forgotten_hears_of_it() {
    let mut world = world(1);
    world.partitions[0].set_max_tracked(10);
    (0..30).for_each(|i| keep(&mut world, &format!("k{i}")));
    assert_eq!(world.partitions[0].tracked(), (10, 10));
    assert_eq!(heard(&mut world).len(), 20);
}

#[test]
fn who_has_changed_a_key_is_told() {
    let mut world = world(1);
    world.partitions[0].set_tracking(true, true);
    ask(&mut world, 1, "MSET k 1 l 2");
    let invalid = world.partitions[0].take_invalid();
    assert_eq!(invalid.len(), 2);
    assert!(invalid.iter().all(|invalid| !matches!(invalid, Invalid::Key { author: Some(Author::Nobody), .. })));
    ask(&mut world, 1, "multi ; SET k 1");
    let [Invalid::Key { author: Some(Author::Transaction(_)), .. }] = world.partitions[0].take_invalid()[..] else {
        panic!("a transaction is its author")
    };
}
