//! SWAPDB: two databases change places, for everybody at once, also after a crash.

use emberkv_log::disk::sim::Choices;
use emberkv_log::plant::{self, Plant};
use emberkv_log::{DbId, SyncPolicy};

use super::crash::crash;
use super::world::{World, words};
use crate::tests::State;
use crate::{Foreign, Watch};

fn names(world: &World) -> Vec<(u8, String)> {
    world.contents().keys().map(|(db, key)| (*db, String::from_utf8_lossy(key).into_owned())).collect()
}

#[test]
fn databases_are_swapped_with_one_partition_too() {
    for partitions in 1..4 {
        let mut world = World::new(partitions, 1, 1, 1, SyncPolicy::Always);
        let mut choices = Choices::new(7);
        let mut ask = |world: &mut World, db, line| {
            assert!(world.send(0, db, words(line), &mut choices));
            assert!(world.settle(&mut choices), "{line} waits for ever");
        };
        ask(&mut world, 0, "SET a 1");
        ask(&mut world, 0, "SET b 1");
        ask(&mut world, 1, "SET a 2");
        ask(&mut world, 0, "SWAPDB 0 2");
        ask(&mut world, 2, "MGET a b");
        ask(&mut world, 0, "SET c 3");
        ask(&mut world, 1, "SWAPDB 1 2");
        let expected = [(0, "c"), (1, "a"), (1, "b"), (2, "a")].map(|(db, key)| (db, key.to_owned()));
        assert_eq!(names(&world), expected);
        crash(&mut world, &mut State::new(), 1, &mut Choices::new(3));
        world.disk.crash_after(1 << 40); // and not once more
        assert_eq!(names(&world), expected);
        ask(&mut world, 1, "MGET a b c");
        ask(&mut world, 0, "FLUSHALL");
        ask(&mut world, 2, "SET d 4");
        crash(&mut world, &mut State::new(), 1, &mut Choices::new(3));
        assert_eq!(names(&world), [(2, "d".to_owned())]);
    }
}

/// Whether somebody who watches a key of database 0 has seen something, after 0 and 2 were swapped.
fn is_dirty(watched: &[u8]) -> bool {
    let mut world = World::new(1, 1, 1, 1, SyncPolicy::EverySec);
    let mut choices = Choices::new(7);
    for (db, line) in [(0, "SET here 1"), (2, "SET there 1"), (1, "SET elsewhere 1")] {
        assert!(world.send(0, db, words(line), &mut choices));
        assert!(world.settle(&mut choices));
    }
    let watch = Watch::default();
    world.partitions[0].watchers.add(DbId(0), watched, &watch);
    assert!(world.send(0, 1, words("SWAPDB 1 3"), &mut choices) && world.settle(&mut choices));
    assert!(!watch.is_dirty(), "other databases");
    assert!(world.send(0, 1, words("SWAPDB 2 0"), &mut choices) && world.settle(&mut choices));
    watch.is_dirty()
}

#[test]
fn whoever_watches_sees_a_swap_of_what_exists_in_either() {
    assert!(is_dirty(b"here") && is_dirty(b"there"));
    assert!(!is_dirty(b"elsewhere") && !is_dirty(b"nowhere"));
    plant::set(Some(Plant::X8Watch));
    let noticed = is_dirty(b"here");
    plant::set(None);
    assert!(!noticed, "the plant takes the rule out");
}

#[test]
fn a_direct_read_asks_while_databases_are_being_swapped() {
    let mut world = World::new(1, 1, 1, 1, SyncPolicy::EverySec);
    let mut choices = Choices::new(7);
    assert!(world.send(0, 0, words("SET a 1"), &mut choices) && world.settle(&mut choices));
    let reader = world.partitions[0].reader();
    let guard = crossbeam_epoch::pin();
    let found = |db| reader.get(&guard, DbId(db), b"a", crate::tests::START_MS);
    assert!(matches!(found(0), Foreign::Value(_)));
    let swaps = &world.partitions[0].published.as_ref().unwrap().swaps;
    swaps.begin();
    swaps.store(DbId(0), DbId(2));
    assert!(matches!(found(0), Foreign::Ask));
    swaps.store(DbId(2), DbId(0));
    swaps.end();
    assert!(matches!(found(0), Foreign::Nil) && matches!(found(2), Foreign::Value(_)));
}
