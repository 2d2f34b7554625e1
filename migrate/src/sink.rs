//! The target: what is sent to it without waiting for each reply, and what it did not take.

use std::collections::VecDeque;

use emberkv_console::{Connection, Value, encode};
use emberkv_engine::payload::crc64_from;

use crate::error::{Error, Result, of};
use crate::rdb::{Body, Element, Entry, Source, decode, is_restored};
use crate::report::{Report, shown};
use crate::rewrite::Rewrite;
use crate::servers::longest_word;

/// The version of payloads: all servers since redis 7.0 take it, whatever type is in it.
const PAYLOAD_VERSION: u16 = 10;
/// Its type, its version and its checksum.
const PAYLOAD_ENDS: usize = 11;
/// So much is put together before it is sent.
const SEND_BYTES: usize = 256 * 1024;
/// So many replies may be outstanding, and so many bytes of what would have to be sent in another way.
const MOST_WAITING: usize = 1024;
const MOST_KEPT_BYTES: usize = 16 << 20;

/// What a reply is to.
enum Waiting {
    /// Something that must not fail.
    Select(u64),
    /// A whole value, which is sent as commands if the target can't read its type.
    Restore(Box<Entry>),
    /// A command of several that make a value.
    Part(u64, Vec<u8>),
    /// A library of functions.
    Functions(String),
}

/// See the module.
pub(crate) struct Sink {
    connection: Connection,
    out: Vec<u8>,
    waiting: VecDeque<Waiting>,
    /// Those whose commands are on their way.
    sent: usize,
    kept_bytes: usize,
    db: u64,
    /// Longer words would cost us the connection.
    longest_word: usize,
    /// Those that RESTORE did not take and that are to be sent as commands.
    again: Vec<Entry>,
    pub report: Report,
}

impl Sink {
    /// The connection has database 0 selected.
    ///
    /// # Errors
    /// When it fails.
    pub fn new(mut connection: Connection, report: Report) -> Result<Self> {
        let longest_word = longest_word(&mut connection, "target")?;
        Ok(Self {
            longest_word,
            connection,
            out: Vec::new(),
            waiting: VecDeque::new(),
            sent: 0,
            kept_bytes: 0,
            db: 0,
            again: Vec::new(),
            report,
        })
    }

    /// The connection, with database 0 selected again and nothing outstanding, and what was not taken.
    pub fn into_inner(mut self) -> Result<(Connection, Report)> {
        self.select(0)?;
        self.drain()?;
        Ok((self.connection, self.report))
    }

    fn push<W: AsRef<[u8]>>(&mut self, words: &[W], waiting: Waiting) -> Result<()> {
        encode(words, &mut self.out);
        self.waiting.push_back(waiting);
        if self.out.len() >= SEND_BYTES || self.waiting.len() >= MOST_WAITING || self.kept_bytes >= MOST_KEPT_BYTES {
            // what was sent before has had its time: the target is never without work
            self.collect()?;
            self.send()?;
        }
        Ok(())
    }

    fn send(&mut self) -> Result<()> {
        self.connection.send_bytes(&self.out).map_err(of("target"))?;
        self.out.clear();
        self.sent = self.waiting.len();
        Ok(())
    }

    /// Takes the replies to what was sent.
    fn collect(&mut self) -> Result<()> {
        while self.sent > 0 {
            let reply = self.connection.read().map_err(of("target"))?;
            let Some(waiting) = self.waiting.pop_front() else { break };
            self.sent -= 1;
            self.take(waiting, &reply)?;
        }
        Ok(())
    }

    fn take(&mut self, waiting: Waiting, reply: &Value) -> Result<()> {
        let error = reply.error();
        match (waiting, error) {
            (Waiting::Select(db), Some(reply)) => return Err(Error::Refused { what: format!("SELECT {db}"), reply }),
            (Waiting::Restore(entry), error) => {
                self.kept_bytes -= size(&entry);
                match error {
                    None => self.report.carried += 1,
                    Some(reply) if reply.starts_with("ERR Bad data format") => self.again.push(*entry),
                    Some(reply) => drop(self.report.fail(entry.db, &entry.key, &reply)),
                }
            }
            (Waiting::Part(db, key), Some(reply)) => self.fail_part(db, &key, &reply),
            (Waiting::Functions(name), Some(reply)) => {
                self.report.fail_other(format!("the functions {name}: {reply}"));
            }
            (Waiting::Select(_) | Waiting::Part(..) | Waiting::Functions(_), None) => {}
        }
        Ok(())
    }

    /// A part of a value that is sent in pieces was not taken.
    fn fail_part(&mut self, db: u64, key: &[u8], why: &str) {
        if self.report.fail(db, key, why) {
            (self.report.carried, self.report.in_pieces) = (self.report.carried - 1, self.report.in_pieces - 1);
        }
    }

    /// Sends what is put together and takes all replies.
    pub fn drain(&mut self) -> Result<()> {
        loop {
            self.rewrite_again()?;
            if self.waiting.is_empty() {
                return Ok(());
            }
            self.collect()?;
            self.send()?;
            self.collect()?;
        }
    }

    fn rewrite_again(&mut self) -> Result<()> {
        while let Some(entry) = self.again.pop() {
            self.rewrite(&entry)?;
        }
        Ok(())
    }

    fn select(&mut self, db: u64) -> Result<()> {
        if self.db != db {
            self.db = db;
            self.push(&["SELECT".to_owned(), db.to_string()], Waiting::Select(db))?;
        }
        Ok(())
    }

    /// A library of functions.
    pub fn functions(&mut self, code: &[u8]) -> Result<()> {
        let first = code.split(|byte| *byte == b'\n').next().unwrap_or_default();
        let name = first.windows(5).position(|word| word == b"name=").map_or(first, |at| &first[at + 5..]);
        let name = shown(name);
        self.push(&[&b"FUNCTION"[..], b"LOAD", b"REPLACE", code], Waiting::Functions(name))
    }

    /// A key with its whole value, or with none that can be sent.
    pub fn key(&mut self, entry: Entry) -> Result<()> {
        self.rewrite_again()?;
        match &entry.body {
            Body::Module(module) => {
                let why = format!("its value is the module {module}'s");
                self.report.fail(entry.db, &entry.key, &why);
                Ok(())
            }
            Body::Whole(body) if is_restored(entry.kind) && body.len() + PAYLOAD_ENDS <= self.longest_word => {
                self.select(entry.db)?;
                let payload = payload(entry.kind, body);
                // 0 would be never
                let ttl = entry.expires_at_ms.map_or(0, |ms| ms.max(1)).to_string();
                let mut words = vec![b"RESTORE".to_vec(), entry.key.clone(), ttl.into_bytes(), payload];
                words.extend(["REPLACE", "ABSTTL"].map(|word| word.as_bytes().to_vec()));
                let (idle, frequency) = (entry.idle_s, entry.frequency);
                if let Some(idle) = idle {
                    words.extend([b"IDLETIME".to_vec(), idle.to_string().into_bytes()]);
                } else if let Some(frequency) = frequency {
                    words.extend([b"FREQ".to_vec(), frequency.to_string().into_bytes()]);
                }
                self.kept_bytes += size(&entry);
                self.push(&words, Waiting::Restore(Box::new(entry)))
            }
            Body::Whole(_) => self.rewrite(&entry),
            Body::Large => unreachable!("what is large is sent piece by piece"),
        }
    }

    /// Sends a whole value as commands.
    fn rewrite(&mut self, entry: &Entry) -> Result<()> {
        let Body::Whole(body) = &entry.body else { return Ok(()) };
        let mut source = Source::new(&body[..]);
        self.pieces(entry, |show| decode(entry.kind, &mut source, show))
    }

    /// Sends a value that `walk` shows piece by piece.
    pub fn pieces(
        &mut self,
        entry: &Entry,
        walk: impl FnOnce(&mut dyn FnMut(Element) -> Result<()>) -> Result<()>,
    ) -> Result<()> {
        self.select(entry.db)?;
        self.report.carried += 1;
        self.report.in_pieces += 1;
        let (db, key) = (entry.db, &entry.key);
        let mut emit = |words: Vec<Vec<u8>>| {
            if let Some(long) = words.iter().map(Vec::len).find(|len| *len > self.longest_word) {
                self.fail_part(
                    db,
                    key,
                    &format!("{long} bytes in one piece are more than the target's proto-max-bulk-len"),
                );
                return Ok(());
            }
            self.push(&words, Waiting::Part(db, key.clone()))
        };
        let mut rewrite = Rewrite::new(key, &mut emit)?;
        walk(&mut |element| rewrite.element(element))?;
        rewrite.finish(entry.expires_at_ms)
    }
}

fn size(entry: &Entry) -> usize {
    entry.key.len() + if let Body::Whole(body) = &entry.body { body.len() } else { 0 }
}

/// What RESTORE takes.
fn payload(kind: u8, body: &[u8]) -> Vec<u8> {
    let mut payload = Vec::with_capacity(body.len() + PAYLOAD_ENDS);
    payload.push(kind);
    payload.extend_from_slice(body);
    payload.extend_from_slice(&PAYLOAD_VERSION.to_le_bytes());
    payload.extend_from_slice(&crc64_from(0, &payload).to_le_bytes());
    payload
}
