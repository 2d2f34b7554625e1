//! The coordinator by itself: what it wants after which answers.

use emberkv_log::{DbId, PartitionId, TxId, Whose};
use emberkv_resp::schema::resolve;
use emberkv_resp::{Output, Protocol, Reply};

use super::world::extent;
use crate::slots::partition_of;
use crate::tests::rig::with_args;
use crate::transact::{
    Action, Coordinator, CoordinatorId, Effect, Outcome, Plan, Route, Strings, ToCoordinator, ToOwner, Values, Vote,
    route,
};
use crate::{Request, Stop};

const TICKET: TxId = TxId(9);

/// Calls `use_it` with a request of these words.
pub fn with_request<T>(db: u8, words: &[&[u8]], use_it: impl FnOnce(Request<'_>) -> T) -> T {
    with_args(words, |args| {
        use_it(Request { id: resolve(args).unwrap().id, db: DbId(db), args, whose: Whose::default() })
    })
}

fn plan_of(line: &str, partitions: u16) -> Result<Plan, Stop> {
    let words: Vec<_> = line.split(' ').map(str::as_bytes).collect();
    with_request(0, &words, |request| Plan::new(request, Protocol::Resp2, extent(partitions)))
}

fn route_of(line: &str, partitions: u16) -> Route {
    let words: Vec<_> = line.split(' ').map(str::as_bytes).collect();
    with_request(0, &words, |request| route(request.id, request.args, partitions))
}

struct Case {
    coordinator: Coordinator<&'static str>,
    /// The shares that were sent, by partition.
    locked: Vec<(PartitionId, Action)>,
}

fn begin(line: &str, partitions: u16) -> Case {
    let mut coordinator = Coordinator::new(CoordinatorId(3), 5);
    let mut locked = Vec::new();
    coordinator.begin(TICKET, "me", plan_of(line, partitions).unwrap(), |to, message| {
        let ToOwner::Lock { ticket: TICKET, from: CoordinatorId(3), share, .. } = message else {
            panic!("{message:?}")
        };
        locked.push((to, share.action));
    });
    Case { coordinator, locked }
}

impl Case {
    fn answer(&mut self, answer: ToCoordinator) -> Vec<String> {
        let mut effects = Vec::new();
        self.coordinator.receive(answer, &mut effects);
        effects.iter().map(show).collect()
    }

    fn vote(&mut self, i: usize, vote: Vote) -> Vec<String> {
        let partition = self.locked[i].0;
        self.answer(ToCoordinator::Granted { ticket: TICKET, partition, vote })
    }

    fn durable(&mut self, i: usize) -> Vec<String> {
        let partition = self.locked[i].0;
        self.answer(ToCoordinator::Durable { ticket: TICKET, partition })
    }

    fn refused(&mut self, i: usize) -> Vec<String> {
        let partition = self.locked[i].0;
        self.answer(ToCoordinator::Refused { ticket: TICKET, partition, error: "ERR no".into() })
    }

    fn failed(&mut self, i: usize) -> Vec<String> {
        let partition = self.locked[i].0;
        self.answer(ToCoordinator::Failed { ticket: TICKET, partition, error: "ERR failed".into() })
    }

    fn aborted(&mut self, i: usize, safe: bool) -> Vec<String> {
        let partition = self.locked[i].0;
        self.answer(ToCoordinator::Aborted { ticket: TICKET, partition, safe })
    }
}

fn show(effect: &Effect<&str>) -> String {
    match effect {
        Effect::Send { to, message: ToOwner::Write { participants, .. } } => {
            let all: Vec<_> = participants.iter().map(|partition| partition.0.to_string()).collect();
            format!("{}: write {}", to.0, all.join(","))
        }
        Effect::Send { to, message: ToOwner::Commit { .. } } => format!("{}: commit", to.0),
        Effect::Send { to, message: ToOwner::Abort { .. } } => format!("{}: abort", to.0),
        Effect::Send { to, message: ToOwner::Release { .. } } => format!("{}: release", to.0),
        Effect::Send { message, .. } => panic!("{message:?}"),
        Effect::Finish { client, outcome } => {
            assert_eq!(*client, "me");
            let mut output = Output::new();
            outcome.write(&mut Reply::new(&mut output, Protocol::Resp2));
            format!("reply {}", String::from_utf8(output.to_vec()).unwrap().replace("\r\n", " ").trim_end())
        }
        Effect::Decided(ticket) => {
            assert_eq!(*ticket, TICKET);
            "decided".to_owned()
        }
    }
}

#[test]
fn a_command_goes_to_one_partition_if_all_its_keys_are_there() {
    let (a, b) = (partition_of(b"a", 2), partition_of(b"b", 2));
    assert_ne!(a, b, "the tests below take these for keys of two partitions");
    for line in ["GET a", "SET a 1", "MGET a {a}b a", "MSET {a}1 x {a}2 y", "DEL a", "INCR a", "EXPIRE a 1"] {
        assert_eq!(route_of(line, 2), Route::One(a), "{line}");
    }
    for line in ["MGET a b", "MSET a 1 b 2", "MSETNX a 1 b 2", "DEL a b", "UNLINK b a", "EXISTS a b", "TOUCH a b"] {
        assert_eq!(route_of(line, 2), Route::Several, "{line}");
        assert_eq!(route_of(line, 1), Route::One(PartitionId(0)), "{line}");
    }
    for line in ["KEYS *", "DBSIZE", "RANDOMKEY", "FLUSHALL", "FLUSHDB"] {
        assert_eq!(route_of(line, 2), Route::Several, "{line}");
        assert_eq!(route_of(line, 1), Route::One(PartitionId(0)), "{line}");
    }
    for (line, owner) in [("0", 0), ("77", 0), ("4294967296", 1), ("99999999999999", 1), ("no", 0), ("4294967295", 0)] {
        assert_eq!(route_of(&format!("SCAN {line}"), 2), Route::One(PartitionId(owner)), "SCAN {line}");
    }
}

#[test]
fn wrong_arguments_are_answered_before_anything_is_locked() {
    for (line, error) in [
        ("MSET a 1 b", "ERR wrong number of arguments for 'mset' command"),
        ("MSETNX a 1 b", "ERR wrong number of arguments for 'msetnx' command"),
        ("FLUSHALL now", "ERR syntax error"),
    ] {
        assert_eq!(plan_of(line, 2), Err(Stop::Error(error.into())), "{line}");
    }
}

fn strings(words: &[&str]) -> Strings {
    let mut strings = Strings::default();
    words.iter().for_each(|word| strings.push(word.as_bytes()));
    strings
}

#[test]
fn a_write_commits_when_all_parts_are_durable_and_not_before() {
    let mut case = begin("MSET a 1 b 2 a 3", 2);
    assert_eq!(case.locked[0].1, Action::Put { pairs: strings(&["a", "1", "a", "3"]), if_absent: false });
    assert_eq!(case.locked[1].1, Action::Put { pairs: strings(&["b", "2"]), if_absent: false });
    assert!(case.durable(0).is_empty(), "one of two parts");
    assert_eq!(case.durable(1), ["1: commit", "0: commit", "reply +OK", "decided"]);
    assert_eq!(case.coordinator.open(), 0);
}

#[test]
fn msetnx_writes_all_or_nothing() {
    let mut case = begin("MSETNX a 1 b 2", 2);
    assert!(case.vote(0, Vote::Ready).is_empty());
    assert_eq!(case.vote(1, Vote::Exists), ["1: release", "0: release", "reply :0", "decided"]);
    let mut case = begin("MSETNX a 1 b 2", 2);
    assert!(case.vote(1, Vote::Ready).is_empty());
    assert_eq!(case.vote(0, Vote::Ready), ["1: write 1,0", "0: write 1,0"]);
    assert!(case.durable(0).is_empty());
    assert_eq!(case.durable(1), ["1: commit", "0: commit", "reply :1", "decided"]);
}

#[test]
fn only_those_that_have_something_to_delete_have_a_part() {
    let mut case = begin("DEL a b a", 2);
    case.vote(0, Vote::Count(1));
    assert_eq!(case.vote(1, Vote::Count(0)), ["1: write 1", "0: release"]);
    assert_eq!(case.durable(0), ["1: commit", "reply :1", "decided"]);
    let mut case = begin("DEL a b", 2);
    case.vote(0, Vote::Count(0));
    assert_eq!(case.vote(1, Vote::Count(0)), ["1: release", "0: release", "reply :0", "decided"]);
    let mut case = begin("EXISTS a b b", 2);
    case.vote(0, Vote::Count(1));
    assert_eq!(case.vote(1, Vote::Count(2)), ["1: release", "0: release", "reply :3", "decided"]);
}

#[test]
fn values_come_back_in_their_places() {
    let mut case = begin("MGET b a b {a}x", 2);
    let (mut in_b, mut in_a) = (Values::default(), Values::default());
    in_b.push(b"one");
    in_b.push_shared(bytes::Bytes::from_static(b"three"));
    in_a.push_nil();
    in_a.push(b"");
    case.vote(1, Vote::Values(in_a));
    let expected = "reply *4 $3 one $-1 $5 three $0 ";
    assert_eq!(case.vote(0, Vote::Values(in_b)), ["0: release", "1: release", expected.trim_end(), "decided"]);
}

#[test]
fn a_random_key_is_drawn_from_partitions_by_their_number_of_keys() {
    let mut counts = [0; 3];
    for seed in 0..3000 {
        let mut case = begin("RANDOMKEY", 3);
        case.coordinator = Coordinator::new(CoordinatorId(3), u64::wrapping_mul(seed, 0x9e37_79b9_7f4a_7c15));
        case.coordinator.begin(TICKET, "me", plan_of("RANDOMKEY", 3).unwrap(), |_, _| {});
        case.vote(0, Vote::Drawn { keys: 1, key: Some((*b"0").into()) });
        case.vote(1, Vote::Drawn { keys: 50, key: None });
        let effects = case.vote(2, Vote::Drawn { keys: 3, key: Some((*b"2").into()) });
        counts[effects[3].bytes().last().unwrap() as usize - usize::from(b'0')] += 1;
    }
    assert!(counts[1] == 0 && counts[0] > 600 && counts[0] < 900, "{counts:?}");
    let mut case = begin("RANDOMKEY", 2);
    case.vote(0, Vote::Drawn { keys: 0, key: None });
    assert_eq!(case.vote(1, Vote::Drawn { keys: 0, key: None })[2], "reply $-1");
}

#[test]
fn a_refusal_releases_the_others() {
    let mut case = begin("MSETNX a 1 b 2", 2);
    assert!(case.refused(0).is_empty());
    assert_eq!(case.vote(1, Vote::Ready), ["1: release", "0: release", "reply -ERR no", "decided"]);
}

#[test]
fn a_part_that_was_never_written_aborts_the_others() {
    let mut case = begin("MSET a 1 b 2", 2);
    case.durable(0);
    assert_eq!(case.refused(1), ["1: abort"]);
    assert_eq!(case.aborted(0, true), ["1: release", "0: release", "reply -ERR no", "decided"]);
    let mut case = begin("MSET a 1 b 2", 2);
    case.refused(0);
    assert_eq!(case.refused(1), ["1: release", "0: release", "reply -ERR no", "decided"]);
}

#[test]
fn what_may_be_on_the_disk_is_answered_when_an_abort_is_safe() {
    let mut case = begin("MSET a 1 b 2", 2);
    case.failed(1);
    assert_eq!(case.durable(0), ["1: abort", "0: abort"]);
    assert!(case.aborted(1, false).is_empty());
    // not settled: the failed one's next start appends its abort
    assert_eq!(case.aborted(0, true), ["1: release", "0: release", "reply -ERR failed"]);
    assert_eq!(case.coordinator.open(), 0);
}

#[test]
fn without_a_safe_abort_the_locks_stay() {
    let mut case = begin("MSETNX a 1 b 2", 2);
    case.vote(0, Vote::Ready);
    case.vote(1, Vote::Ready);
    case.failed(0);
    case.failed(1);
    case.aborted(0, false);
    let effects = case.aborted(1, false);
    assert!(effects.len() == 1 && effects[0].contains("unknown until a restart"), "{effects:?}");
}

#[test]
fn outcomes_are_written_as_one_partition_writes_them() {
    let write = |outcome: Outcome, protocol| {
        let mut output = Output::new();
        outcome.write(&mut Reply::new(&mut output, protocol));
        String::from_utf8(output.to_vec()).unwrap()
    };
    let mut values = Values::default();
    values.push_nil();
    let nil = Outcome::Values { order: vec![0], shares: vec![values] };
    assert_eq!(write(nil, Protocol::Resp3), "*1\r\n_\r\n");
    assert_eq!(write(Outcome::Key(None), Protocol::Resp3), "_\r\n");
    let keys = Outcome::Keys(vec![strings(&["x"]), strings(&[]), strings(&["y", "z"])]);
    assert_eq!(write(keys, Protocol::Resp2), "*3\r\n$1\r\nx\r\n$1\r\ny\r\n$1\r\nz\r\n");
}
