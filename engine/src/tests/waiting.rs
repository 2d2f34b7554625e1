//! Clients that wait for elements: when they are served, and when nothing is taken for them.

use emberkv_log::SyncPolicy;
use emberkv_log::plant::{self, Plant};
use emberkv_resp::{Output, OwnedArgs, Protocol, Reply};

use super::rig::{NIL, Rig, bulk};
use crate::transact::CoordinatorId;
use crate::{Request, Waiter, Waiting};

/// A client's command that waits, and whether it does.
fn ask_and_wait(rig: &mut Rig, token: u64, line: &str) -> (Waiting, Option<String>) {
    let words: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
    let id = emberkv_resp::schema::lookup(words[0]).unwrap().id;
    let args = OwnedArgs::from_words(&words);
    let (db, protocol) = (emberkv_log::DbId(0), Protocol::Resp2);
    let waiting =
        Waiting::new(Waiter { home: CoordinatorId(3), token, client: token, id, db, args: args.clone(), protocol });
    let request = Request { id, db, args: args.args(), whose: emberkv_log::Whose { client: token, request: 1 } };
    let mut output = Output::new();
    let mut reply = Reply::new(&mut output, protocol);
    let has_reply = rig.partition.pop_or_wait(request, &mut reply, || waiting.clone()).unwrap();
    let _ = rig.partition.take_dependency();
    (waiting, has_reply.then(|| String::from_utf8(output.to_vec()).unwrap()))
}

fn wait(rig: &mut Rig, token: u64, line: &str) -> Waiting {
    let (waiting, reply) = ask_and_wait(rig, token, line);
    assert_eq!(reply, None);
    waiting
}

/// Who was served, and with what, that may be said by now.
fn served(rig: &mut Rig) -> Vec<(u64, String)> {
    let mut all = Vec::new();
    rig.partition.take_served(|served| {
        assert_eq!(served.home, CoordinatorId(3));
        all.push((served.token, String::from_utf8(served.reply.unwrap().to_vec()).unwrap()));
    });
    all
}

fn pair(key: &str, element: &str) -> String {
    format!("*2\r\n{}{}", bulk(key), bulk(element))
}

#[test]
fn who_waits_gets_the_next_element_when_its_record_is_durable() {
    let mut rig = Rig::new(1, SyncPolicy::Always);
    rig.ask(0, "RPUSH other 1");
    let (_, reply) = ask_and_wait(&mut rig, 1, "BLPOP q other 0");
    assert_eq!(reply, Some(pair("other", "1")));
    wait(&mut rig, 2, "BRPOP q r 0");
    wait(&mut rig, 3, "BLPOP r q 0");
    assert_eq!(rig.partition.awaited_keys(), 2);
    assert_eq!(rig.ask(0, "RPUSH q a b c"), ":3\r\n");
    assert_eq!(rig.ask(0, "LRANGE q 0 -1"), format!("*1\r\n{}", bulk("b")));
    assert_eq!(served(&mut rig), [], "nothing is synced yet");
    rig.run_all();
    assert_eq!(served(&mut rig), [(2, pair("q", "c")), (3, pair("q", "a"))]);
    assert_eq!(rig.partition.awaited_keys(), 0);
    let mut rig = rig.killed();
    assert_eq!(rig.ask(0, "LRANGE q 0 -1"), format!("*1\r\n{}", bulk("b")));
}

/// Whether an element is still there that was pushed when the client did not wait any more.
fn left_for_one_who_has_gone() -> String {
    let mut rig = Rig::new(1, SyncPolicy::EverySec);
    let waiting = wait(&mut rig, 1, "BLPOP q r 0");
    // its core has ended it, and this partition has not heard of that yet
    assert!(waiting.end());
    rig.ask(0, "RPUSH q a");
    rig.ask(0, "LPOP q")
}

#[test]
fn nothing_is_taken_for_a_client_that_waits_no_more() {
    assert_eq!(left_for_one_who_has_gone(), bulk("a"));
    plant::set(Some(Plant::B1));
    let without = left_for_one_who_has_gone();
    plant::set(None);
    assert_eq!(without, NIL, "it was taken for nobody");
}

/// What the next command finds of what somebody waits for.
fn left_for_the_next_command() -> String {
    let mut rig = Rig::new(1, SyncPolicy::EverySec);
    wait(&mut rig, 1, "BLPOP q 0");
    rig.ask(0, "RPUSH q a");
    let left = rig.ask(0, "LPOP q");
    rig.partition.serve_waiters_at_end();
    left
}

#[test]
fn who_waits_comes_before_the_next_command() {
    assert_eq!(left_for_the_next_command(), NIL);
    plant::set(Some(Plant::B2));
    let without = left_for_the_next_command();
    plant::set(None);
    assert_eq!(without, bulk("a"), "it was taken by who came later");
}

#[test]
fn what_another_owner_is_about_to_serve_is_tried_again() {
    let mut rig = Rig::new(1, SyncPolicy::EverySec);
    let waiting = wait(&mut rig, 1, "BLPOP q 0");
    assert_eq!(waiting.claim(), crate::waiting::Claim::Ours);
    rig.ask(0, "RPUSH q a");
    assert!(rig.partition.serve_waiters_at_end(), "it is to be done again soon");
    assert!(!waiting.end());
    waiting.give_back();
    assert!(!rig.partition.serve_waiters_at_end());
    rig.run_all();
    assert_eq!(served(&mut rig), [(1, pair("q", "a"))]);
}

#[test]
fn a_key_of_another_type_serves_nobody_and_whoever_waits_keeps_its_place() {
    let mut rig = Rig::new(1, SyncPolicy::EverySec);
    for token in 1..4 {
        wait(&mut rig, token, "BLPOP q 0");
    }
    for line in ["SET q 1", "DEL q", "HSET q f 1", "RPUSH o 1 2", "RENAME o q"] {
        rig.ask(0, line);
    }
    rig.run_all();
    assert_eq!(served(&mut rig), [(1, pair("q", "1")), (2, pair("q", "2"))]);
    assert_eq!(rig.ask(0, "EXISTS q"), ":0\r\n");
    rig.ask(0, "RPUSH q 3");
    rig.run_all();
    assert_eq!(served(&mut rig), [(3, pair("q", "3"))]);
}
