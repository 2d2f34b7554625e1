//! Clients that wait for keys of several partitions (B3, B4), with plain messages.

use std::collections::VecDeque;

use emberkv_log::SyncPolicy;
use emberkv_log::disk::sim::Choices;
use emberkv_log::plant::{self, Plant};
use emberkv_resp::{Output, Protocol, Reply};

use super::coordinator::with_request;
use super::world::{World, extent};
use crate::slots::partition_of;
use crate::transact::{Coordinator, CoordinatorId, Effect, Plan, ToOwner};
use crate::waiting::tests::waiting;
use crate::{Stop, Waiting};

/// Two partitions, which have the keys `a` and `b`, and the messages of one transaction.
struct Two {
    world: World,
    coordinator: Coordinator<()>,
    to_owners: VecDeque<(usize, ToOwner)>,
    has_ended: bool,
}

impl Two {
    fn new() -> Self {
        assert_ne!(partition_of(b"a", 2), partition_of(b"b", 2));
        Self {
            world: World::new(2, 1, 0, 1, SyncPolicy::EverySec),
            coordinator: Coordinator::new(CoordinatorId(0), 1),
            to_owners: VecDeque::new(),
            has_ended: false,
        }
    }

    fn begin(&mut self, plan: Plan) {
        let ticket = self.world.partitions[0].log().horizon().draw();
        let inbox = &mut self.to_owners;
        self.coordinator.begin(ticket, (), plan, |to, message| inbox.push_back((usize::from(to.0), message)));
    }

    /// Delivers what is on its way to the owners, and what they answer to the coordinator.
    fn round(&mut self) {
        for (owner, message) in std::mem::take(&mut self.to_owners) {
            self.world.partitions[owner].receive(message);
        }
        let mut effects = Vec::new();
        for owner in 0..2 {
            self.world.partitions[owner].progress_transactions();
            self.world.partitions[owner].log_mut().end_turn();
            while self.world.run_job(owner, &mut Choices::new(1)) {}
            let coordinator = &mut self.coordinator;
            self.world.partitions[owner].take_answers(|_, answer| coordinator.receive(answer, &mut effects));
        }
        for effect in effects {
            match effect {
                Effect::Send { to, message } => self.to_owners.push_back((usize::from(to.0), message)),
                Effect::Finish { .. } => self.has_ended = true,
                Effect::Decided(ticket) => self.world.partitions[0].log().horizon().decided(ticket),
            }
        }
    }

    fn finish(&mut self) {
        while !self.has_ended || !self.to_owners.is_empty() {
            self.round();
        }
    }

    /// A command at the owner of `a`.
    fn ask(&mut self, line: &str) -> Result<String, Stop> {
        let words: Vec<_> = line.split(' ').map(str::as_bytes).collect();
        let partition = &mut self.world.partitions[usize::from(partition_of(b"a", 2).0)];
        let mut output = Output::new();
        let mut reply = Reply::new(&mut output, Protocol::Resp2);
        let done = with_request(0, &words, |request| partition.execute(request, &mut reply));
        let _ = partition.take_dependency();
        done.map(|()| String::from_utf8(output.to_vec()).unwrap())
    }
}

/// Whether somebody who waits at `a` and `b` is served by a push that comes between the look at them and the line.
fn is_served_by_a_push_meanwhile() -> bool {
    let mut two = Two::new();
    let one = waiting(1, &[b"BLPOP", b"a", b"b", b"0"]);
    two.begin(Plan::waiting(&one, extent(2)).unwrap());
    two.round();
    assert!(two.to_owners.iter().all(|(_, message)| matches!(message, ToOwner::Run { .. })), "nothing was there");
    let pushed = two.ask("RPUSH a x");
    two.finish();
    if matches!(pushed, Err(Stop::Locked)) {
        two.ask("RPUSH a x").unwrap();
    }
    two.ask("EXISTS a").unwrap() == ":0\r\n"
}

#[test]
fn nothing_comes_between_the_look_at_the_keys_and_the_line() {
    assert!(is_served_by_a_push_meanwhile());
    plant::set(Some(Plant::B3));
    let without = is_served_by_a_push_meanwhile();
    plant::set(None);
    assert!(!without, "it waits, and an element is there");
}

/// What an LPOP gets that comes behind a push for somebody who waits to move what is pushed to another partition.
fn left_by_who_moves() -> (String, Waiting) {
    let mut two = Two::new();
    let owner = usize::from(partition_of(b"a", 2).0);
    let one = waiting(1, &[b"BLMOVE", b"a", b"b", b"LEFT", b"LEFT", b"0"]);
    two.world.partitions[owner].wait(&one);
    two.ask("RPUSH a x y").unwrap();
    let at_once = two.ask("LPOP a");
    let claimed = two.world.partitions[owner].next_transfer().unwrap();
    assert!(two.world.partitions[owner].next_transfer().is_none());
    two.begin(Plan::transfer(&claimed, extent(2)));
    two.finish();
    two.world.partitions[owner].end_transfer(&claimed, true);
    let reply = match at_once {
        Err(Stop::Locked) => two.ask("LPOP a").unwrap(),
        done => done.unwrap(),
    };
    (reply, one)
}

#[test]
fn who_waits_to_move_comes_before_the_next_command() {
    let (left, one) = left_by_who_moves();
    assert_eq!((left.as_str(), one.end()), ("$1\r\ny\r\n", false));
    plant::set(Some(Plant::B4));
    let (left, _) = left_by_who_moves();
    plant::set(None);
    assert_eq!(left, "$1\r\nx\r\n", "it was taken by who came later");
}
