//! Connections that use a few registers at once, and write down what they asked and were answered.
//!
//! A register is a key, or a group of keys that is only ever written as a whole: by MSET, MSETNX, DEL and MULTI where it must
//! look like one register to every reader, or a database of its own, which FLUSHDB empties.

use std::collections::VecDeque;
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use super::check::Event;
use super::register::{Answer, Op};
use crate::partition::partition;
use crate::rng::Rng;
use crate::value::escape;
use crate::{Client, Error, Result, Value};

/// Registers that are one key.
pub const KEYS: usize = 10;
/// Registers that are a group of keys; the first has them all in one partition.
pub const GROUPS: usize = 5;
/// Registers that are a database.
pub const DATABASES: usize = 2;
/// Keys of a group or database.
const MEMBERS: usize = 4;
/// The longest pipeline.
const DEPTH: u64 = 12;
/// Operations of one connection in one round: the search grows with them.
const MOST: usize = 1_500;

/// A register's place in the server.
#[derive(Debug, Clone)]
pub struct Register {
    database: u8,
    keys: Vec<String>,
    is_whole_database: bool,
    partitions: u16,
    /// Whether its keys lie in several partitions.
    is_spread: bool,
}

impl Register {
    fn new(database: u8, keys: Vec<String>, partitions: u16) -> Self {
        let lies_in = |key: &String| partition(key.as_bytes(), partitions);
        let is_spread = keys.iter().any(|key| lies_in(key) != lies_in(&keys[0]));
        Self { database, keys, is_whole_database: database != 0, partitions, is_spread }
    }

    /// The registers of a round, over so many partitions: their names are new.
    #[must_use]
    pub fn of_round(round: u64, partitions: u16) -> Vec<Self> {
        let here = |keys| Self::new(0, keys, partitions);
        let keys = (0..KEYS).map(|number| here(vec![format!("key:{round}:{number}")]));
        let groups = (0..GROUPS).map(|group| {
            let tag = if group == 0 { format!("{{{round}}}") } else { round.to_string() };
            here((0..MEMBERS).map(|member| format!("group:{tag}:{group}:{member}")).collect())
        });
        let databases = (0..DATABASES).map(|number| {
            let keys = (0..MEMBERS).map(|member| format!("member:{round}:{member}")).collect();
            Self::new(u8::try_from(number + 1).unwrap_or(1), keys, partitions)
        });
        keys.chain(groups).chain(databases).collect()
    }

    /// What a report calls it.
    #[must_use]
    pub fn name(&self) -> String {
        if self.is_whole_database { format!("database {}", self.database) } else { self.keys.join(" ") }
    }

    fn is_one_key(&self) -> bool {
        self.keys.len() == 1
    }
}

/// An operation on a register, and how it is said.
#[derive(Debug, Clone)]
struct Request {
    register: usize,
    op: Op,
    /// One command, or a transaction; the last has the answer.
    commands: Vec<Vec<Vec<u8>>>,
    reading: Reading,
    lane: Option<u16>,
}

/// How a reply becomes an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reading {
    /// As it is.
    Plain,
    /// The number of members: all or none.
    Count,
    /// The members' values: all the same.
    Values,
    /// A list of keys: all or none.
    Names,
    /// A key or nothing.
    Something,
    /// What EXEC has executed: the values of all members.
    ExecValues,
    /// The same: each of so many has done what it was to.
    ExecDone(usize),
    /// The same: the first one's answer, while the second one has written.
    ExecFirst,
    /// EXEC has executed one, or none, as what was watched has changed.
    ExecUnlessChanged,
}

impl Reading {
    fn answer(self, op: &Op, reply: &Value) -> Answer {
        let nonsense = || Answer::Nonsense(told(reply));
        let all_or_none = |count: i64| match usize::try_from(count) {
            Ok(0) => Answer::Integer(0),
            Ok(MEMBERS) => Answer::Integer(1),
            _ => nonsense(),
        };
        match (self, reply) {
            (Self::Plain, Value::Error(_)) if matches!(op, Op::Incr) => Answer::Refused,
            (Self::Plain, Value::Simple(text)) if text == b"OK" => Answer::Ok,
            (Self::Plain, Value::Integer(number)) => Answer::Integer(*number),
            (Self::Plain, Value::Bulk(text)) => Answer::Content(Some(text.clone())),
            (Self::Plain, Value::Null) => Answer::Content(None),
            (Self::Count, Value::Integer(number)) => all_or_none(*number),
            (Self::Names, Value::Array(items)) => all_or_none(i64::try_from(items.len()).unwrap_or(-1)),
            (Self::Something, Value::Null) => Answer::Integer(0),
            (Self::Something, Value::Bulk(_)) => Answer::Integer(1),
            (Self::Values, Value::Array(items)) if items.iter().all(|item| item == &items[0]) => match &items[0] {
                Value::Bulk(text) => Answer::Content(Some(text.clone())),
                Value::Null => Answer::Content(None),
                _ => nonsense(),
            },
            (Self::ExecValues, Value::Array(_)) => Self::Values.answer(op, reply),
            (Self::ExecDone(count), Value::Array(items)) if items.len() == count && items.iter().all(Value::is_ok) => {
                Answer::Ok
            }
            (Self::ExecFirst, Value::Array(items)) if items.len() == 2 && items[1].is_ok() => {
                Self::Plain.answer(op, &items[0])
            }
            (Self::ExecUnlessChanged, Value::Null) => Answer::Refused,
            (Self::ExecUnlessChanged, Value::Array(items)) if items.len() == 1 && items[0].is_ok() => Answer::Ok,
            _ => nonsense(),
        }
    }
}

/// A reply for a report.
fn told(reply: &Value) -> String {
    match (reply.items(), reply.text()) {
        (Some(items), _) => format!("[{}]", items.iter().map(told).collect::<Vec<_>>().join(", ")),
        (None, Some(text)) => escape(text),
        (None, None) => format!("{reply:?}"),
    }
}

/// Draws one operation. `token` is a number that nobody else writes.
fn draw(rng: &mut Rng, registers: &[Register], transactions: bool, token: u64) -> Request {
    // three are hot, so that there is something to get wrong.
    let register =
        if rng.percent(50) { [0, KEYS + 1, KEYS + GROUPS][rng.index(3)] } else { rng.index(registers.len()) };
    let place = &registers[register];
    let token = token.to_string().into_bytes();
    if transactions && !place.is_whole_database && rng.percent(12) {
        return transaction(rng, register, place, token);
    }
    let (op, name, reading) = if place.is_one_key() {
        let (op, name) = match rng.below(100) {
            0..28 => (Op::Get, "GET"),
            28..34 => (Op::Exists, "EXISTS"),
            34..50 => (Op::Set(token), "SET"),
            50..64 => (Op::Incr, "INCR"),
            64..74 => (Op::Append(b"7".to_vec()), "APPEND"),
            74..80 => (Op::SetNx(token), "SETNX"),
            80..86 => (Op::Del, "DEL"),
            86..90 => (Op::Del, "UNLINK"),
            _ => (Op::GetDel, "GETDEL"),
        };
        (op, name, Reading::Plain)
    } else if place.is_whole_database {
        match rng.below(100) {
            0..25 => (Op::Get, "MGET", Reading::Values),
            25..50 => (Op::Set(token), "MSET", Reading::Plain),
            50..65 => (Op::Exists, "DBSIZE", Reading::Count),
            65..75 => (Op::Exists, "KEYS", Reading::Names),
            75..80 => (Op::Exists, "RANDOMKEY", Reading::Something),
            80..88 => (Op::Del, "DEL", Reading::Count),
            _ => (Op::Clear, "FLUSHDB", Reading::Plain),
        }
    } else {
        match rng.below(100) {
            0..25 => (Op::Get, "MGET", Reading::Values),
            25..42 => (Op::Get, "GET", Reading::Plain),
            42..65 => (Op::Set(token), "MSET", Reading::Plain),
            65..78 => (Op::SetNx(token), "MSETNX", Reading::Plain),
            78..84 => (Op::Exists, "EXISTS", Reading::Count),
            84..88 => (Op::Exists, "TOUCH", Reading::Count),
            88..95 => (Op::Del, "DEL", Reading::Count),
            _ => (Op::Del, "UNLINK", Reading::Count),
        }
    };
    let words = spell(rng, place, &op, name);
    let lane = (place.is_spread && name == "GET").then(|| partition(&words[1], place.partitions));
    Request { register, op, commands: vec![words], reading, lane }
}

/// Reads, writes, or both, in MULTI.
fn transaction(rng: &mut Rng, register: usize, place: &Register, token: Vec<u8>) -> Request {
    let words = |words: &[&[u8]]| words.iter().map(|word| word.to_vec()).collect::<Vec<_>>();
    let read = |key: &String| words(&[b"GET", key.as_bytes()]);
    let write = |key: &String| words(&[b"SET", key.as_bytes(), &token]);
    let (op, queued, reading): (_, Vec<_>, _) = if place.is_one_key() {
        let key = &place.keys[0];
        (Op::Swap(token.clone()), vec![read(key), write(key)], Reading::ExecFirst)
    } else if rng.percent(50) {
        (Op::Get, place.keys.iter().map(read).collect(), Reading::ExecValues)
    } else {
        (Op::Set(token.clone()), place.keys.iter().map(write).collect(), Reading::ExecDone(place.keys.len()))
    };
    let commands = std::iter::once(words(&[b"MULTI"])).chain(queued).chain([words(&[b"EXEC"])]).collect();
    Request { register, op, commands, reading, lane: None }
}

fn spell(rng: &mut Rng, place: &Register, op: &Op, name: &str) -> Vec<Vec<u8>> {
    let mut words = vec![name.as_bytes().to_vec()];
    match name {
        "KEYS" => words.push(b"*".to_vec()),
        "DBSIZE" | "RANDOMKEY" | "FLUSHDB" => {}
        // one member shows what the whole group is.
        "GET" => words.push(rng.pick(&place.keys).clone().into_bytes()),
        _ => {
            let first = rng.index(place.keys.len());
            for at in 0..place.keys.len() {
                let key = &place.keys[(first + at) % place.keys.len()];
                words.push(key.clone().into_bytes());
                if let Op::Set(value) | Op::SetNx(value) | Op::Append(value) = op {
                    words.push(value.clone());
                }
            }
        }
    }
    words
}

/// What one connection did.
#[derive(Debug)]
pub struct Record {
    /// Its operations on each register.
    pub events: Vec<Vec<Event>>,
    /// Whether the connection broke, and left some without an answer.
    pub is_cut_off: bool,
}

/// One connection's part of a round.
#[derive(Debug)]
pub struct Recorder<'a> {
    /// Its number: decides how it pipelines.
    pub connection: usize,
    /// Its source of numbers.
    pub rng: Rng,
    /// The registers of the round.
    pub registers: &'a [Register],
    /// Whether some of it is done in MULTI, and after WATCH.
    pub transactions: bool,
    /// When time began, for all connections.
    pub epoch: Instant,
    /// All begin together.
    pub start: &'a Barrier,
    /// Tells when to end.
    pub stop: &'a AtomicBool,
}

struct Waiting {
    request: Request,
    sent: u64,
    selects: bool,
}

impl Recorder<'_> {
    /// Uses the registers until it is told to stop or cut off.
    ///
    /// # Errors
    /// When the connection fails in another way than by being closed.
    pub fn run(mut self, client: &mut Client) -> Result<Record> {
        let mut events = vec![Vec::new(); self.registers.len()];
        let mut waiting = VecDeque::new();
        match self.use_registers(client, &mut waiting, &mut events) {
            Ok(()) => Ok(Record { events, is_cut_off: false }),
            Err(Error::Closed) => {
                for Waiting { request, sent, .. } in waiting {
                    let answered = self.now();
                    events[request.register].push(Event {
                        op: request.op,
                        answer: None,
                        sent,
                        answered,
                        lane: request.lane,
                    });
                }
                Ok(Record { events, is_cut_off: true })
            }
            Err(error) => Err(error),
        }
    }

    fn use_registers(
        &mut self,
        client: &mut Client,
        waiting: &mut VecDeque<Waiting>,
        events: &mut [Vec<Event>],
    ) -> Result<()> {
        // one request at a time, a pipeline at a time, or a pipeline while the one before is executed.
        let depth = if self.connection.is_multiple_of(3) { 1 } else { DEPTH };
        let overlaps = self.connection % 3 == 2;
        let mut count = 0;
        self.start.wait();
        while !self.stop.load(Ordering::Relaxed) && count < MOST {
            if self.transactions && depth == 1 && self.rng.percent(20) {
                count += 1;
                self.compare_and_set(client, count as u64, waiting, events)?;
                continue;
            }
            let batch = usize::try_from(self.rng.between(1, depth)).unwrap_or(1);
            let sent = self.now();
            for _ in 0..batch {
                let token = (self.connection as u64 + 1) * 1_000_000 + count as u64;
                count += 1;
                let request = draw(&mut self.rng, self.registers, self.transactions, token);
                let database = self.registers[request.register].database;
                let selects = database != 0;
                if selects {
                    client.send(&["SELECT", &database.to_string()]);
                }
                request.commands.iter().for_each(|words| client.send(words));
                if selects {
                    client.send(&["SELECT", "0"]);
                }
                waiting.push_back(Waiting { request, sent, selects });
            }
            client.flush()?;
            let keep = if overlaps { batch } else { 0 };
            self.read(client, waiting, keep, events)?;
        }
        self.read(client, waiting, 0, events)
    }

    /// WATCH and GET of a key, and when that is answered a SET in MULTI: it is done only if the key is still what was read. That
    /// it is not done says nothing, as it may have changed and be the same again.
    fn compare_and_set(
        &mut self,
        client: &mut Client,
        count: u64,
        waiting: &mut VecDeque<Waiting>,
        events: &mut [Vec<Event>],
    ) -> Result<()> {
        let register = self.rng.index(KEYS);
        let key = self.registers[register].keys[0].clone();
        let token = ((self.connection as u64 + 1) * 1_000_000 + 500_000 + count).to_string();
        client.command(&["WATCH", &key])?;
        let sent = self.now();
        let words = |words: &[&str]| words.iter().map(|word| word.as_bytes().to_vec()).collect::<Vec<_>>();
        let commands = vec![words(&["GET", &key])];
        let request = Request { register, op: Op::Get, commands, reading: Reading::Plain, lane: None };
        request.commands.iter().for_each(|words| client.send(words));
        waiting.push_back(Waiting { request, sent, selects: false });
        self.read(client, waiting, 0, events)?;
        let Some(Answer::Content(found)) = events[register].last().and_then(|event| event.answer.clone()) else {
            client.command(&["UNWATCH"])?;
            return Ok(());
        };
        let sent = self.now();
        let commands = vec![words(&["MULTI"]), words(&["SET", &key, &token]), words(&["EXEC"])];
        let op = Op::Compare(found, token.into_bytes());
        let request = Request { register, op, commands, reading: Reading::ExecUnlessChanged, lane: None };
        request.commands.iter().for_each(|words| client.send(words));
        waiting.push_back(Waiting { request, sent, selects: false });
        self.read(client, waiting, 0, events)?;
        if events[register].last().is_some_and(|event| event.answer == Some(Answer::Refused)) {
            events[register].pop();
        }
        Ok(())
    }

    fn now(&self) -> u64 {
        u64::try_from(self.epoch.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    fn read(
        &self,
        client: &mut Client,
        waiting: &mut VecDeque<Waiting>,
        keep: usize,
        events: &mut [Vec<Event>],
    ) -> Result<()> {
        while waiting.len() > keep
            && let Some(Waiting { request, sent, selects }) = waiting.front()
        {
            if *selects {
                client.read()?;
            }
            let mut queued = true;
            for _ in 1..request.commands.len() {
                queued &= matches!(client.read()?, Value::Simple(_));
            }
            let reply = client.read()?;
            let (op, answered) = (request.op.clone(), self.now());
            let answer = if queued { request.reading.answer(&op, &reply) } else { Answer::Nonsense(told(&reply)) };
            let answer = Some(answer);
            events[request.register].push(Event { op, answer, sent: *sent, answered, lane: request.lane });
            let selects = *selects;
            waiting.pop_front();
            if selects {
                client.read()?;
            }
        }
        Ok(())
    }
}

/// Reads every register once, when all others have ended: what is left must be explained too. Then it empties the
/// databases.
///
/// # Errors
/// When the connection breaks.
pub fn read_all(client: &mut Client, registers: &[Register], epoch: Instant) -> Result<Record> {
    let now = || u64::try_from(epoch.elapsed().as_nanos()).unwrap_or(u64::MAX);
    let mut events = Vec::new();
    for place in registers {
        client.select(place.database)?;
        let (name, reading) = if place.is_one_key() { ("GET", Reading::Plain) } else { ("MGET", Reading::Values) };
        let words: Vec<&str> = std::iter::once(name).chain(place.keys.iter().map(String::as_str)).collect();
        let sent = now();
        let reply = client.command(&words)?;
        let answer = Some(reading.answer(&Op::Get, &reply));
        events.push(vec![Event { op: Op::Get, answer, sent, answered: now(), lane: None }]);
        if place.is_whole_database {
            // the next round's keys find it empty.
            client.command(&["FLUSHDB"])?;
        }
    }
    client.select(0)?;
    Ok(Record { events, is_cut_off: false })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_a_group_is_nonsense() {
        let bulk = |text: &str| Value::Bulk(text.into());
        let half = Value::Array(vec![bulk("1"), bulk("1"), bulk("2"), bulk("1")]);
        assert!(matches!(Reading::Values.answer(&Op::Get, &half), Answer::Nonsense(_)));
        assert!(matches!(Reading::Count.answer(&Op::Del, &Value::Integer(3)), Answer::Nonsense(_)));
        assert_eq!(Reading::Count.answer(&Op::Del, &Value::Integer(4)), Answer::Integer(1));
    }

    #[test]
    fn an_error_is_an_answer_only_to_incr() {
        let error = Value::Error(b"ERR value is not an integer or out of range".to_vec());
        assert_eq!(Reading::Plain.answer(&Op::Incr, &error), Answer::Refused);
        assert!(matches!(Reading::Plain.answer(&Op::Get, &error), Answer::Nonsense(_)));
    }
}
