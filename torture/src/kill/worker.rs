//! One connection of the workload: it pipelines until the server dies, and remembers what was
//! acknowledged and what was still in flight.

use std::collections::VecDeque;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use super::model::{Model, Moment};
use super::op::{Generator, Op};
use super::shared::{self, Names, SharedOp, Tally};
use crate::rng::Rng;
use crate::value::escape;
use crate::{Client, Error, Result, Value};

/// The longest pipeline that is sent at once.
const MAX_BATCH: u64 = 32;
/// Enough wrong replies to see what is wrong.
const MAX_COMPLAINTS: usize = 10;

#[derive(Debug, Clone)]
enum Command {
    Own(Op),
    Shared(SharedOp),
}

#[derive(Debug)]
struct Pending {
    command: Command,
    sent_ms: i64,
}

impl Pending {
    /// The answer that counts: the last of its commands', or the first of the others' that is not as it should be.
    fn read(&self, client: &mut Client, names: Names) -> Result<Value> {
        let commands = match &self.command {
            Command::Own(op) => op.commands().len(),
            Command::Shared(op) => names.commands(op).len(),
        };
        let mut wrong = None;
        for _ in 1..commands {
            let reply = client.read()?;
            if !matches!(&reply, Value::Simple(text) if text == b"OK" || text == b"QUEUED") {
                wrong.get_or_insert(reply);
            }
        }
        let last = client.read()?;
        Ok(wrong.unwrap_or(last))
    }
}

/// A command on own keys whose reply never came.
#[derive(Debug, Clone)]
pub struct InFlight {
    /// The command.
    pub op: Op,
    /// When it was sent, in unix ms.
    pub sent_ms: i64,
}

/// What one connection knows when the server has died.
#[derive(Debug)]
pub struct Journal {
    /// The state of its own keys after all that was acknowledged.
    pub model: Model,
    /// The commands on its own keys that were sent and not answered, in order.
    pub in_flight: Vec<InFlight>,
    /// What it did to the shared keys.
    pub tally: Tally,
    /// The number of commands sent.
    pub sent: u64,
    /// The number of commands answered.
    pub acked: u64,
    /// Replies that the model does not explain, one line each.
    pub complaints: Vec<String>,
}

/// Everything that a connection needs to know for a round.
#[derive(Debug, Clone)]
pub struct Assignment {
    /// Its number, from 0.
    pub connection: usize,
    /// The round, from 0.
    pub round: u64,
    /// The database that it uses. Outside of 0 it is alone, leaves the shared keys out, and
    /// empties it now and then.
    pub database: u8,
    /// Its own source of numbers.
    pub rng: Rng,
}

/// The unix time in ms.
#[must_use]
pub fn unix_ms() -> i64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |elapsed| i64::try_from(elapsed.as_millis()).unwrap_or(i64::MAX))
}

/// Sends commands until the connection breaks.
#[must_use]
pub fn run(assignment: Assignment, model: Model, mut client: Client) -> Journal {
    let Assignment { connection, round, database, mut rng } = assignment;
    let mut generator = Generator::new(rng.fork(1), connection, round, unix_ms());
    let names = Names { round };
    let mut journal =
        Journal { model, in_flight: Vec::new(), tally: Tally::default(), sent: 0, acked: 0, complaints: Vec::new() };
    let mut pending: VecDeque<Pending> = VecDeque::new();
    let alone = database != 0;
    if let Err(error) = client.select(database) {
        if !matches!(error, Error::Closed) {
            journal.complain(format!("connection {connection}, SELECT: {error}"));
        }
        return journal;
    }
    loop {
        let batch = rng.between(1, MAX_BATCH);
        for _ in 0..batch {
            let command = if alone && rng.below(1_000) == 0 {
                Command::Own(Op::FlushDb)
            } else if !alone && rng.percent(15) {
                Command::Shared(shared::draw(&mut rng, connection, round, journal.sent))
            } else {
                Command::Own(generator.next_op())
            };
            match &command {
                Command::Own(op) => op.commands().iter().for_each(|words| client.send(words)),
                Command::Shared(op) => {
                    names.commands(op).iter().for_each(|words| client.send(words));
                    journal.tally.sent(op, Instant::now());
                }
            }
            journal.sent += 1;
            pending.push_back(Pending { command, sent_ms: unix_ms() });
        }
        // a pipeline is always in flight: the one before is read while this one is executed.
        let mut outcome = client.flush();
        let keep = usize::try_from(batch).unwrap_or(0);
        while outcome.is_ok() && pending.len() > keep {
            let Some(first) = pending.front() else { break };
            match first.read(&mut client, names) {
                Ok(reply) => {
                    if let Some(first) = pending.pop_front() {
                        journal.acknowledge(&first, &reply);
                    }
                }
                Err(error) => outcome = Err(error),
            }
        }
        if let Err(error) = outcome {
            if !matches!(error, Error::Closed) {
                journal.complain(format!("connection {connection}: {error}"));
            }
            break;
        }
    }
    // replies that came before the end are acknowledgements too.
    while let Some(first) = pending.pop_front() {
        match first.read(&mut client, names) {
            Ok(reply) => journal.acknowledge(&first, &reply),
            Err(_) => {
                pending.push_front(first);
                break;
            }
        }
    }
    journal.in_flight = pending
        .into_iter()
        .filter_map(|pending| match pending.command {
            Command::Own(op) => Some(InFlight { op, sent_ms: pending.sent_ms }),
            Command::Shared(_) => None,
        })
        .collect();
    journal
}

impl Journal {
    fn acknowledge(&mut self, pending: &Pending, reply: &Value) {
        self.acked += 1;
        match &pending.command {
            Command::Shared(op) => {
                if let Some(complaint) = self.tally.answered(op, reply, Instant::now()) {
                    self.complain(complaint);
                }
            }
            Command::Own(op) => {
                let when = Moment { earliest_ms: pending.sent_ms, latest_ms: unix_ms() };
                let expected = self.model.apply(op, when);
                if !expected.allows(reply) {
                    let words: Vec<String> = op.args().iter().map(|arg| escape(arg)).collect();
                    self.complain(format!("{} was answered {reply:?}, the model says {expected:?}", words.join(" ")));
                }
            }
        }
    }

    fn complain(&mut self, complaint: String) {
        if self.complaints.len() < MAX_COMPLAINTS {
            self.complaints.push(complaint);
        }
    }
}
