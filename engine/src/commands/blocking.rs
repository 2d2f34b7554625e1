//! Commands that take an element of the first key that has one, and may wait for one: BLPOP and its kin; and those that read streams, and may wait for
//! entries. What the former take, and how, is said by the command that never waits.

use emberkv_log::disk::Disk;
use emberkv_resp::schema::{CommandId, Runs};
use emberkv_resp::{Args, Output, OwnedArgs, Reply};

use crate::collections::{End, Type, WRONG_TYPE};
use crate::commands::{Moving, MultiPop, PopOfMany, Reading};
use crate::events::Cause;
use crate::group::Request;
use crate::long_double::Operand;
use crate::partition::Partition;
use crate::slots::partition_of;
use crate::stop::Stop;

/// Seconds, as redis reads a timeout: in ms; `None` for ever.
///
/// # Errors
/// The answer, if it is none.
pub(crate) fn timeout_ms(text: &[u8], now_ms: u64) -> Result<Option<u64>, Stop> {
    const NEGATIVE: Stop = Stop::error("ERR timeout is negative");
    const TOO_LONG: Stop = Stop::error("ERR timeout is out of range");
    let number = Operand::parse(text).ok_or(Stop::error("ERR timeout is not a float or out of range"))?;
    let Operand::Finite(seconds) = number else {
        return Err(if text.starts_with(b"-") { NEGATIVE } else { TOO_LONG });
    };
    let Some(ms) = seconds.thousandfold_ceil() else {
        return Err(if seconds.is_negative() { NEGATIVE } else { TOO_LONG });
    };
    let ms = u64::try_from(ms).map_err(|_| NEGATIVE)?;
    if ms > (i64::MAX as u64).saturating_sub(now_ms) {
        return Err(TOO_LONG);
    }
    Ok((ms > 0).then_some(ms))
}

/// How long a command waits, in ms; `None` for ever. All of its arguments are looked at.
///
/// # Errors
/// The answer, if they are wrong.
pub fn timeout_of(id: CommandId, args: Args<'_>, now_ms: u64) -> Result<Option<u64>, Stop> {
    Wish::parse(id, args, now_ms).map(|wish| wish.timeout_ms)
}

/// Whether a command waits if there is nothing. What has wrong arguments does not.
pub fn may_wait(id: CommandId, args: Args<'_>) -> bool {
    Wish::is_one(id) && Wish::parse(id, args, 0).is_ok_and(|wish| wish.waits)
}

/// How it is taken.
#[derive(Clone, Copy, Debug)]
enum Take<'a> {
    /// One, told with its key.
    One(End),
    /// Up to so many of one list.
    Many(End, u64),
    /// One, which goes to another list.
    Move(Moving),
    /// The member of a sorted set with the lowest score, or with the highest.
    Member { highest: bool },
    /// Up to so many of them.
    Members { highest: bool, count: u64 },
    /// Nothing: entries are read.
    Read(Reading<'a>),
}

/// What such a command asks for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wish<'a> {
    args: Args<'a>,
    /// The keys of which one is taken from.
    pub keys: Args<'a>,
    take: Take<'a>,
    /// Whether it waits if there is nothing.
    pub waits: bool,
    /// How long; `None` for ever.
    pub timeout_ms: Option<u64>,
}

impl<'a> Wish<'a> {
    /// Whether it is a command of this kind.
    pub fn is_one(id: CommandId) -> bool {
        id.command().runs == Runs::Blocking
    }

    /// Reads the arguments, whose number was checked.
    ///
    /// # Errors
    /// The answer, if they are wrong.
    pub fn parse(id: CommandId, args: Args<'a>, now_ms: u64) -> Result<Self, Stop> {
        let last = args.len() - 1;
        let (keys, take, timeout) = match id {
            CommandId::Blpop => (args.to(last).from(1), Take::One(End::Front), args.at(last)),
            CommandId::Brpop => (args.to(last).from(1), Take::One(End::Back), args.at(last)),
            CommandId::Blmpop => {
                let PopOfMany { keys, end, count } = PopOfMany::parse(args.from(1))?;
                (keys, Take::Many(end, count), args.at(1))
            }
            CommandId::Blmove | CommandId::Brpoplpush => {
                (args.to(2).from(1), Take::Move(Moving::parse(id, args)?), args.at(last))
            }
            CommandId::Bzpopmin | CommandId::Bzpopmax => {
                (args.to(last).from(1), Take::Member { highest: id == CommandId::Bzpopmax }, args.at(last))
            }
            CommandId::Bzmpop => {
                let MultiPop { keys, highest, count } = MultiPop::parse(args.from(2))?;
                (keys, Take::Members { highest, count }, args.at(1))
            }
            CommandId::Xread | CommandId::Xreadgroup => {
                let reading = Reading::parse(id, args, now_ms)?;
                let (keys, waits, timeout_ms) = (reading.keys, reading.block.is_some(), reading.block.flatten());
                return Ok(Self { args, keys, take: Take::Read(reading), waits, timeout_ms });
            }
            other => unreachable!("{other:?} does not wait"),
        };
        Ok(Self { args, keys, take, waits: true, timeout_ms: timeout_ms(timeout, now_ms)? })
    }

    /// The kind of value that it takes from.
    pub fn kind(id: CommandId) -> Type {
        match id {
            CommandId::Blpop | CommandId::Brpop | CommandId::Blmpop | CommandId::Blmove | CommandId::Brpoplpush => {
                Type::List
            }
            CommandId::Bzpopmin | CommandId::Bzpopmax | CommandId::Bzmpop => Type::ZSet,
            CommandId::Xread | CommandId::Xreadgroup => Type::Stream,
            other => unreachable!("{other:?} does not wait"),
        }
    }

    /// Whether it may have a reply when a key holds a value of this kind, or nothing: who reads for a group is told that there is none any more.
    pub fn wants(id: CommandId, kind: Option<Type>) -> bool {
        id == CommandId::Xreadgroup || kind == Some(Self::kind(id))
    }

    /// What it reads, if it takes nothing.
    pub fn reading(self) -> Option<Reading<'a>> {
        if let Take::Read(reading) = self.take { Some(reading) } else { None }
    }

    /// Where what it takes goes to, if that is another key.
    pub fn target(self) -> Option<&'a [u8]> {
        matches!(self.take, Take::Move(_)).then(|| self.args.at(2))
    }

    /// The same command, for one of its keys alone.
    pub fn of_one(self, key: &[u8]) -> OwnedArgs {
        let name = self.args.at(0);
        match self.take {
            Take::One(_) | Take::Member { .. } => OwnedArgs::from_words(&[name, key, b"0"]),
            Take::Many(..) | Take::Members { .. } => {
                let rest = self.args.from(3 + self.keys.len());
                let words: Vec<&[u8]> = [name, b"0", b"1", key].into_iter().chain(rest.iter()).collect();
                OwnedArgs::from_words(&words)
            }
            Take::Move(_) | Take::Read(_) => self.args.into(),
        }
    }

    /// The command that takes it from a key that has something.
    pub fn taking(self, key: &[u8]) -> (CommandId, OwnedArgs) {
        let word = |end| if end == End::Front { &b"LEFT"[..] } else { b"RIGHT" };
        match self.take {
            Take::One(End::Front) => (CommandId::Lpop, OwnedArgs::from_words(&[b"LPOP", key])),
            Take::One(End::Back) => (CommandId::Rpop, OwnedArgs::from_words(&[b"RPOP", key])),
            Take::Many(end, count) => {
                let count = count.to_string();
                let words = [b"LMPOP", &b"1"[..], key, word(end), b"COUNT", count.as_bytes()];
                (CommandId::Lmpop, OwnedArgs::from_words(&words))
            }
            Take::Member { highest: false } => (CommandId::Zpopmin, OwnedArgs::from_words(&[b"ZPOPMIN", key])),
            Take::Member { highest: true } => (CommandId::Zpopmax, OwnedArgs::from_words(&[b"ZPOPMAX", key])),
            Take::Members { highest, count } => {
                let (end, count) = (if highest { &b"MAX"[..] } else { b"MIN" }, count.to_string());
                let words = [b"ZMPOP", &b"1"[..], key, end, b"COUNT", count.as_bytes()];
                (CommandId::Zmpop, OwnedArgs::from_words(&words))
            }
            Take::Read(_) => unreachable!("it takes nothing"),
            Take::Move(Moving { from, to }) => {
                (CommandId::Lmove, OwnedArgs::from_words(&[b"LMOVE", key, self.args.at(2), word(from), word(to)]))
            }
        }
    }

    /// What is replied when there is nothing, and it does not wait.
    pub fn reply_nothing(id: CommandId, reply: &mut Reply<'_>) {
        match id {
            CommandId::Blmove | CommandId::Brpoplpush => reply.null(),
            _ => reply.null_array(),
        }
    }
}

impl<D: Disk> Partition<D> {
    /// One that does not wait, as in a transaction.
    pub(super) fn pop_now(&mut self, request: Request<'_>, reply: &mut Reply<'_>) -> Result<(), Stop> {
        if !self.pop_first(request, reply)? {
            Wish::reply_nothing(request.id, reply);
        }
        Ok(())
    }

    /// Takes from the first of those keys that are here and exist. Returns whether there was one, and a reply is written.
    pub(crate) fn pop_first(&mut self, request: Request<'_>, reply: &mut Reply<'_>) -> Result<bool, Stop> {
        let wish = Wish::parse(request.id, request.args, self.now_ms)?;
        self.events.cause = Cause::Command(request.id);
        if wish.reading().is_some() {
            return self.read_streams(request, reply, false);
        }
        for bytes in wish.keys.iter() {
            if partition_of(bytes, self.partitions) != self.id() {
                continue; // its owner looks at it
            }
            let key = self.key(request.db, bytes);
            let Some(found) = self.lookup(key)?.live() else { continue };
            if self.head(found).map(|head| head.kind) != Some(Wish::kind(request.id)) {
                return Err(WRONG_TYPE);
            }
            if let Take::Member { highest } = wish.take {
                self.pop_member(key, highest, reply)?;
                return Ok(true);
            }
            let (id, args) = wish.taking(bytes);
            let mut output = Output::new();
            self.execute_other(
                Request { id, args: args.args(), ..request },
                &mut Reply::new(&mut output, reply.protocol()),
            )?;
            if let Take::One(_) = wish.take {
                reply.array(2);
                reply.bulk(bytes);
            }
            reply.output().append(&mut output);
            return Ok(true);
        }
        Ok(false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timeouts_are_read_as_redis_reads_them() {
        let ms = |text: &str| timeout_ms(text.as_bytes(), 1_700_000_000_000);
        for (text, expected) in [
            ("0", None),
            ("-0.0001", None),
            ("-0", None),
            ("0.0001", Some(1)),
            ("0.001", Some(1)),
            ("0.01", Some(10)),
            ("1.5", Some(1500)),
            ("0x1", Some(1000)),
            ("1e-300", Some(1)),
            ("9e15", Some(9_000_000_000_000_000_000)),
        ] {
            assert_eq!(ms(text), Ok(expected), "{text}");
        }
        for (text, error) in [
            ("-1", "ERR timeout is negative"),
            ("-1e30", "ERR timeout is negative"),
            ("-inf", "ERR timeout is negative"),
            ("inf", "ERR timeout is out of range"),
            ("1e30", "ERR timeout is out of range"),
            ("9223372036854775", "ERR timeout is out of range"),
            ("nan", "ERR timeout is not a float or out of range"),
            ("", "ERR timeout is not a float or out of range"),
            ("1 ", "ERR timeout is not a float or out of range"),
        ] {
            assert_eq!(ms(text), Err(Stop::error(error)), "{text}");
        }
    }
}
