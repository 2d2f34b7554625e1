//! Connections that come and go while others work: some leave with commands on their way, or in the middle of one, and
//! whoever comes next, in the same place of the server's tables, must not get their answers.

use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::subject::{Port, Subject as _};
use crate::rng::Rng;
use crate::{Client, Error, Result, Value};

/// Keys that visitors use: over all partitions, and nobody else's.
const KEYS: u64 = 64;
/// The longest pipeline that is left behind.
const DEPTH: u64 = 200;
/// Between two visits of a thread.
const PAUSE: Duration = Duration::from_millis(3);
/// As long a value as a server may send without copying it.
const LONG: usize = 40_000;

/// The visits of one thread in a round.
#[derive(Debug)]
pub struct Visits<'a> {
    /// Its number.
    pub visitor: usize,
    /// All begin together.
    pub start: &'a Barrier,
    /// Tells when to end.
    pub stop: &'a AtomicBool,
    /// Whether the round may also end by a kill.
    pub may_be_cut_off: bool,
}

impl Visits<'_> {
    /// Comes and goes until it is told to stop; how often, and what was wrong.
    ///
    /// # Errors
    /// When a connection fails in another way than by being closed.
    pub fn run(&self, target: Port, mut rng: Rng) -> Result<(u64, Vec<String>)> {
        let (mut visits, mut complaints) = (0, Vec::new());
        self.start.wait();
        while !self.stop.load(Ordering::Relaxed) && complaints.is_empty() {
            let outcome = target.connect().and_then(|client| match rng.below(8) {
                0..4 => polite(client, &mut rng, self.visitor, visits),
                4 => curious(client, &mut rng),
                _ => rude(client, &mut rng).map(|()| None),
            });
            visits += 1;
            // the machine is there for the others.
            std::thread::sleep(PAUSE);
            match outcome {
                Ok(complaint) => complaints.extend(complaint),
                // a server that is killed closes some and refuses others.
                Err(_) if self.may_be_cut_off => break,
                Err(error) => return Err(error),
            }
        }
        Ok((visits, complaints))
    }
}

fn key(rng: &mut Rng) -> String {
    format!("visitor:{}", rng.below(KEYS))
}

/// Queues one command whose answer is not looked at.
fn send_any(client: &mut Client, rng: &mut Rng) {
    let (a, b) = (key(rng), key(rng));
    match rng.below(80) {
        0..30 => client.send(&["GET", &a]),
        30 => client.send(&["SET", &a, &"v".repeat(LONG)]),
        31..41 => client.send(&["MSET", &a, "1", &b, "2"]),
        41..51 => client.send(&["MGET", &a, &b]),
        51..61 => client.send(&["DEL", &a, &b]),
        _ => client.send(&["SET", &a, "x"]),
    }
}

/// Leaves with a pipeline on its way, the last command of which may not be whole.
fn rude(mut client: Client, rng: &mut Rng) -> Result<()> {
    (0..rng.between(1, DEPTH)).for_each(|_| send_any(&mut client, rng));
    if rng.percent(50) {
        client.send_raw(b"*3\r\n$3\r\nSET\r\n$7\r\nvisit");
    }
    client.flush()
}

/// Sends a pipeline whose every answer is known, and checks it.
fn polite(mut client: Client, rng: &mut Rng, visitor: usize, visit: u64) -> Result<Option<String>> {
    // keys that only this thread uses, so that the answers are certain.
    let own = |number: u64| format!("polite:{visitor}:{number}");
    let count = rng.between(1, 16);
    for number in 0..count {
        let token = format!("{visitor}.{visit}.{number}");
        client.send(&["ECHO", &token]);
        client.send(&["SET", &own(number), &token]);
        client.send(&["GET", &own(number)]);
        client.send(&["MGET", &own(number), &own((number + 1) % KEYS)]);
    }
    for number in 0..count {
        let token = Value::Bulk(format!("{visitor}.{visit}.{number}").into());
        let ok = Value::Simple(b"OK".to_vec());
        for expected in [&token, &ok, &token] {
            let reply = client.read()?;
            if reply != *expected {
                return Ok(Some(format!("visitor {visitor}: {reply:?} came where {expected:?} was due")));
            }
        }
        let reply = client.read()?;
        if reply.items().is_none_or(|items| items.len() != 2 || items[0] != token) {
            return Ok(Some(format!("visitor {visitor}: MGET was answered {reply:?}, its first should be {token:?}")));
        }
    }
    Ok(None)
}

/// Asks what concerns all cores.
fn curious(mut client: Client, rng: &mut Rng) -> Result<Option<String>> {
    const QUESTIONS: [&str; 7] = [
        "INFO everything",
        "CLIENT LIST",
        "DBSIZE",
        "CONFIG GET *",
        "CONFIG SET maxclients 5000",
        "SCAN 0 COUNT 100",
        "RANDOMKEY",
    ];
    for _ in 0..rng.between(1, 4) {
        let question = *rng.pick(&QUESTIONS);
        match client.ask(question) {
            Ok(Value::Error(text)) => {
                return Ok(Some(format!("{question} was answered {}", String::from_utf8_lossy(&text))));
            }
            Ok(_) => {}
            Err(Error::TimedOut) => return Ok(Some(format!("{question} was not answered"))),
            Err(error) => return Err(error),
        }
    }
    Ok(None)
}
