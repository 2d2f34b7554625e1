//! WATCH at the owners of the keys, with plain messages.

use std::sync::Arc;

use emberkv_log::disk::sim::Choices;
use emberkv_log::plant::{self, Plant};
use emberkv_log::{DbId, SyncPolicy};
use emberkv_resp::{Args, Protocol, Span};

use super::coordinator::with_request;
use super::world::{World, extent};
use crate::transact::{CoordinatorId, Plan, ToCoordinator, ToOwner, Vote};
use crate::{Partition, Watch};

type Owner = Partition<emberkv_log::disk::sim::SimDisk>;

/// Whether an EXEC of nothing but `watch` finds a change, after `between`.
fn is_dirty(between: &[(u8, &[&str])], watched: &[u8]) -> bool {
    let mut world = World::new(1, 1, 0, 1, SyncPolicy::EverySec);
    execute(&mut world.partitions[0], 0, &["SET", "there", "1"]);
    let watch = Watch::default();
    let spans = [Span { start: 0, len: watched.len() as u32 }];
    let plan = Plan::watch(DbId(0), Args::new(watched, &spans), &watch, 1);
    assert_eq!(ask(&mut world, plan), Vote::Count(0));
    for (db, words) in between {
        execute(&mut world.partitions[0], *db, words);
    }
    let keys = [(DbId(0), watched.into())];
    let plan = Plan::script(Vec::new(), Some((&watch, &keys)), Protocol::Resp2, extent(1));
    ask(&mut world, plan) == Vote::Changed
}

fn execute(partition: &mut Owner, db: u8, words: &[&str]) {
    let words: Vec<_> = words.iter().map(|word| word.as_bytes()).collect();
    let mut output = emberkv_resp::Output::new();
    let mut reply = emberkv_resp::Reply::new(&mut output, Protocol::Resp2);
    with_request(db, &words, |request| partition.execute(request, &mut reply).unwrap());
    let _ = partition.take_dependency();
}

/// The vote on the only share of a plan, which then ends.
fn ask(world: &mut World, plan: Plan) -> Vote {
    let ticket = world.partitions[0].log().horizon().draw();
    let (_, share) = plan.shares.into_iter().next().unwrap();
    let (from, at_once): (_, Option<Arc<[_]>>) = (CoordinatorId(0), None);
    world.partitions[0].receive(ToOwner::Lock { ticket, from, members: 1, at_once, untouched: false, share });
    let mut choices = Choices::new(1);
    let mut vote = None;
    while vote.is_none() {
        world.partitions[0].log_mut().end_turn();
        while world.run_job(0, &mut choices) {}
        world.partitions[0].take_answers(|_, answer| {
            let ToCoordinator::Granted { vote: granted, .. } = answer else { panic!("{answer:?}") };
            vote = Some(granted);
        });
    }
    world.partitions[0].receive(ToOwner::Release { ticket });
    world.partitions[0].log().horizon().decided(ticket);
    vote.unwrap()
}

#[test]
fn a_change_of_a_watched_key_is_noticed_and_nothing_else_is() {
    assert!(!is_dirty(&[], b"there"));
    assert!(!is_dirty(&[(0, &["GET", "there"]), (0, &["SET", "other", "1"]), (1, &["SET", "there", "1"])], b"there"));
    assert!(!is_dirty(&[(0, &["DEL", "nobody"]), (0, &["FLUSHALL"])], b"nobody"));
    assert!(!is_dirty(&[(1, &["FLUSHDB"])], b"there"));
    assert!(is_dirty(&[(0, &["SET", "there", "1"])], b"there"));
    assert!(is_dirty(&[(0, &["EXPIRE", "there", "1000"])], b"there"));
    assert!(is_dirty(&[(0, &["DEL", "there"]), (0, &["SET", "there", "1"])], b"there"));
    assert!(is_dirty(&[(0, &["SET", "nobody", "1"]), (0, &["DEL", "nobody"])], b"nobody"));
    assert!(is_dirty(&[(0, &["FLUSHALL"])], b"there"));
    assert!(is_dirty(&[(0, &["FLUSHDB"])], b"there"));
    plant::set(Some(Plant::X1Watch));
    let noticed = is_dirty(&[(0, &["SET", "there", "1"])], b"there");
    plant::set(None);
    assert!(!noticed, "the plant takes the rule out");
}

#[test]
fn who_has_gone_is_forgotten() {
    let mut world = World::new(1, 1, 0, 1, SyncPolicy::EverySec);
    let watchers = &mut world.partitions[0].watchers;
    let kept = Watch::default();
    for i in 0..10_000u32 {
        let watch = if i == 5 { kept.clone() } else { Watch::default() };
        watchers.add(DbId(0), &i.to_le_bytes(), &watch);
    }
    assert!(watchers.len() < 200, "{} are left", watchers.len());
    execute(&mut world.partitions[0], 0, &["SET", "\x05\0\0\0", "1"]);
    assert!(kept.is_dirty());
}
