//! The source's commands, applied to the target in transactions that each say how far they go.

use emberkv_console::{Connection, encode};

use crate::error::{Error, Result, of};
use crate::link::Point;
use crate::report::{Report, shown};
use crate::servers::{longest_word, words};
use crate::state::{KEY, State};

/// So many commands, or bytes, make a transaction, if the source has sent them already.
const MOST_COMMANDS: usize = 256;
const MOST_BYTES: usize = 1 << 20;

/// A command of the source's.
struct Command {
    db: u64,
    words: Vec<Vec<u8>>,
}

/// See the module.
pub(crate) struct Applier {
    target: Connection,
    /// Which database the target's connection has.
    selected: u64,
    /// What the target has.
    applied: Point,
    /// What was read of the source; the same, or more by the commands below.
    read: Point,
    in_transaction: bool,
    batch: Vec<Command>,
    bytes: usize,
    skips_errors: bool,
    /// Longer words would cost us the connection.
    longest_word: usize,
}

/// What was asked for with a command.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Asked {
    /// Nothing.
    None,
    /// To say how much was applied.
    Acknowledge,
}

impl Applier {
    /// The target has all up to this point, and database 0 is selected.
    ///
    /// # Errors
    /// When the target has gone.
    pub fn new(mut target: Connection, point: Point, skips_errors: bool) -> Result<Self> {
        let longest_word = longest_word(&mut target, "target")?;
        Ok(Self {
            target,
            selected: 0,
            applied: point.clone(),
            read: point,
            in_transaction: false,
            batch: Vec::new(),
            bytes: 0,
            skips_errors,
            longest_word,
        })
    }

    /// How much the target has.
    pub fn applied(&self) -> &Point {
        &self.applied
    }

    /// How much was read: as much, but for what is no command on data.
    pub fn read_offset(&self) -> u64 {
        self.read.offset
    }

    /// Whether all that was read is applied.
    pub fn is_even(&self) -> bool {
        self.batch.is_empty() && !self.in_transaction
    }

    /// Whether as much is put together as should be.
    pub fn is_full(&self) -> bool {
        !self.in_transaction && (self.batch.len() >= MOST_COMMANDS || self.bytes >= MOST_BYTES)
    }

    /// The connection.
    pub fn into_target(self) -> Connection {
        self.target
    }

    /// Takes a command that has so many bytes of the source's history.
    ///
    /// # Errors
    /// When it makes no sense.
    pub fn take(&mut self, words: Vec<Vec<u8>>, bytes: u64) -> Result<Asked> {
        self.read.offset += bytes;
        let Some(name) = words.first().map(|name| name.to_ascii_uppercase()) else { return Ok(Asked::None) };
        match &name[..] {
            b"PING" => {}
            b"SELECT" => {
                let db = words.get(1).and_then(|text| std::str::from_utf8(text).ok()?.parse().ok());
                self.read.db =
                    db.ok_or_else(|| Error::Usage("the source selects a database that is no number".into()))?;
            }
            b"REPLCONF" => return Ok(Asked::Acknowledge),
            // they are within ours
            b"MULTI" => self.in_transaction = true,
            b"EXEC" => self.in_transaction = false,
            _ => {
                self.bytes += words.iter().map(|word| word.len() + 32).sum::<usize>();
                self.batch.push(Command { db: self.read.db, words });
            }
        }
        Ok(Asked::None)
    }

    /// Applies what was taken, unless the source is within a transaction. All of it is applied, and the target says so, or
    /// nothing is.
    ///
    /// # Errors
    /// When the target has gone, or does not take a command.
    pub fn flush(&mut self, report: &mut Report) -> Result<()> {
        if self.in_transaction {
            return Ok(());
        }
        while !self.batch.is_empty() {
            let refused = self.transaction(report)?;
            if refused.is_empty() {
                break;
            }
            // nothing was applied: the others once more
            for (at, reply) in refused.into_iter().rev() {
                let what = describe(&self.batch.remove(at));
                if !self.skips_errors {
                    return Err(Error::Refused {
                        what: format!("{what} behind offset {}", self.applied.offset),
                        reply,
                    });
                }
                report.fail_other(format!("{what}: {reply}"));
            }
        }
        if self.batch.is_empty() && self.bytes > 0 {
            self.bytes = 0;
        }
        Ok(())
    }

    /// Those that the target could not even read.
    fn too_long(&self) -> Vec<(usize, String)> {
        let is_long = |command: &Command| command.words.iter().any(|word| word.len() > self.longest_word);
        let long = self.batch.iter().enumerate().filter(|(_, command)| is_long(command));
        long.map(|(at, _)| (at, "it is longer than the target's proto-max-bulk-len".to_owned())).collect()
    }

    /// Applies what was taken. Returns those that were refused before it came to that.
    fn transaction(&mut self, report: &mut Report) -> Result<Vec<(usize, String)>> {
        let long = self.too_long();
        if !long.is_empty() {
            return Ok(long);
        }
        let mut out = Vec::new();
        // of each reply, which command it is to
        let mut commands: Vec<Option<usize>> = Vec::new();
        let mut add = |words: &[Vec<u8>], of: Option<usize>| {
            encode(words, &mut out);
            commands.push(of);
        };
        let select = |db: u64| words("SELECT", &[db.to_string().as_bytes()]);
        let mut selected = self.selected;
        for (at, command) in self.batch.iter().enumerate() {
            let is_swap = command.words[0].eq_ignore_ascii_case(b"SWAPDB");
            if is_swap {
                // our key is not to end in another database
                add(&select(0), None);
                add(&words("DEL", &[KEY]), None);
                selected = 0;
            }
            if selected != command.db {
                add(&select(command.db), Some(at));
                selected = command.db;
            }
            add(&command.words, Some(at));
        }
        if selected != 0 {
            add(&select(0), None);
        }
        add(&State::Following(self.read.clone()).command(), None);
        let mut all = Vec::with_capacity(out.len() + 64);
        encode(&["MULTI"], &mut all);
        all.append(&mut out);
        encode(&["EXEC"], &mut all);
        self.target.send_bytes(&all).map_err(of("target"))?;
        let begun = self.target.read().map_err(of("target"))?;
        if let Some(reply) = begun.error() {
            return Err(Error::Refused { what: "MULTI".into(), reply });
        }
        let mut refused: Vec<(usize, String)> = Vec::new();
        for command in &commands {
            let queued = self.target.read().map_err(of("target"))?;
            if let Some(reply) = queued.error() {
                match command {
                    None => {
                        return Err(Error::Refused { what: "what says how far the transaction goes".into(), reply });
                    }
                    Some(at) if refused.last().is_some_and(|(last, _)| last == at) => {}
                    Some(at) => refused.push((*at, reply)),
                }
            }
        }
        let done = self.target.read().map_err(of("target"))?;
        if !refused.is_empty() {
            return Ok(refused);
        }
        let emberkv_console::Value::Array(replies) = done else {
            let reply = done.error().unwrap_or_else(|| "no replies".into());
            return Err(Error::Refused { what: "EXEC".into(), reply });
        };
        self.selected = 0;
        self.applied = self.read.clone();
        let failed: Vec<(usize, String)> =
            commands.iter().zip(&replies).filter_map(|(at, reply)| Some(((*at)?, reply.error()?))).collect();
        report.followed += (self.batch.len() - failed.len()) as u64;
        let batch = std::mem::take(&mut self.batch);
        let first = failed.first().map(|(at, reply)| (describe(&batch[*at]), reply.clone()));
        failed.iter().for_each(|(at, reply)| report.fail_other(format!("{}: {reply}", describe(&batch[*at]))));
        match first {
            // the others of the transaction are applied, so a run that goes on has to know of it
            Some((what, reply)) if !self.skips_errors => {
                State::Refused(self.applied.clone()).write(&mut self.target)?;
                Err(Error::Refused { what: format!("{what} before offset {}", self.applied.offset), reply })
            }
            _ => Ok(Vec::new()),
        }
    }
}

/// A command's name and its key.
fn describe(command: &Command) -> String {
    let some: Vec<String> = command.words.iter().take(2).map(|word| shown(word)).collect();
    format!("the command {} of database {}", some.join(" "), command.db)
}
