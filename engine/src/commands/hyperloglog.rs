//! PFADD, PFCOUNT, PFMERGE, PFDEBUG: see [`crate::hyperloglog`].

use emberkv_log::Value;
use emberkv_log::disk::Disk;
use emberkv_resp::Reply;

use crate::events::Cause;
use crate::group::Request;
use crate::hyperloglog::{HyperLogLog, Merged};
use crate::lookup::{Found, Key, Lookup, TextBuf};
use crate::partition::Partition;
use crate::stop::Stop;

/// What PFDEBUG asks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Question {
    /// All registers, of one that is dense from then on.
    Registers,
    /// The runs of a sparse one.
    Runs,
    Encoding,
    MakeDense,
}

impl<D: Disk> Partition<D> {
    pub(super) fn pfadd(&mut self, request: Request<'_>, reply: &mut Reply<'_>) -> Result<(), Stop> {
        let key = self.key(request.db, request.args.at(1));
        let old = self.lookup_string(key)?;
        let (mut buf, sparse_max_bytes) = (TextBuf::default(), self.limits.hll_sparse_max_bytes);
        let mut hll = match old.live() {
            Some(found) => HyperLogLog::read(self.text(found, &mut buf))?,
            None => HyperLogLog::new(),
        };
        let mut changes = old.live().is_none();
        for element in request.args.from(2).iter() {
            changes |= hll.add(element, sparse_max_bytes)?;
        }
        if changes {
            hll.forget_count();
            let bytes = hll.into_bytes();
            self.replace_text(key, &bytes, old)?;
        }
        reply.integer(i64::from(changes));
        Ok(())
    }

    pub(super) fn pfcount(&mut self, request: Request<'_>, reply: &mut Reply<'_>) -> Result<(), Stop> {
        if request.args.len() > 2 {
            let keys: Vec<_> = request.args.from(1).iter().map(|key| self.key(request.db, key)).collect();
            reply.integer(self.merged(&keys)?.estimate() as i64);
            return Ok(());
        }
        let key = self.key(request.db, request.args.at(1));
        let old = self.lookup_string(key)?;
        self.count_read(key, old);
        let Some(found) = old.live() else {
            reply.integer(0);
            return Ok(());
        };
        let mut buf = TextBuf::default();
        let mut hll = HyperLogLog::read(self.text(found, &mut buf))?;
        let count = match hll.kept_count() {
            Some(count) => count,
            None => {
                let count = hll.registers()?.estimate();
                hll.keep_count(count);
                let bytes = hll.into_bytes();
                self.events.cause = Cause::Silent;
                match self.replace_text(key, &bytes, old) {
                    // it can't be kept, but said
                    Ok(()) | Err(Stop::Error(_)) => count,
                    Err(stop) => return Err(stop),
                }
            }
        };
        reply.integer(count as i64);
        Ok(())
    }

    pub(super) fn pfmerge(&mut self, request: Request<'_>, reply: &mut Reply<'_>) -> Result<(), Stop> {
        let keys: Vec<_> = request.args.from(1).iter().map(|key| self.key(request.db, key)).collect();
        let merged = self.merged(&keys)?;
        let old = self.peek(keys[0]);
        let mut buf = TextBuf::default();
        let value = old.live().map(|found| self.whole_value(found, &mut buf));
        let bytes = merged.onto(value, self.limits.hll_sparse_max_bytes)?;
        self.replace_text(keys[0], &bytes, old)?;
        reply.ok();
        Ok(())
    }

    /// What some keys have seen together.
    fn merged(&mut self, keys: &[Key<'_>]) -> Result<Merged, Stop> {
        self.bring_texts(keys)?;
        // a lookup that removes an expired key moves others in the index: removals first, then the reads
        for key in keys {
            let lookup = self.lookup(*key)?;
            self.count_read(*key, lookup);
            // what is behind one that is none is not looked at
            if let Some(found) = lookup.live() {
                let mut buf = TextBuf::default();
                HyperLogLog::of(self.whole_value(found, &mut buf), &mut TextBuf::default())?;
            }
        }
        let mut buffers: Vec<_> = keys.iter().map(|_| TextBuf::default()).collect();
        let value = |(key, buf)| self.peek(key).live().map(|found| self.whole_value(found, buf));
        Merged::of(keys.iter().copied().zip(&mut buffers).map(value))
    }

    /// The value of a found record; of what is in chunks, and has been brought, its text.
    fn whole_value<'a>(&'a self, found: Found, buf: &'a mut TextBuf) -> Value<'a> {
        match self.value(found) {
            Value::Chunked(_) => Value::Bytes(self.text(found, buf)),
            value => value,
        }
    }

    /// Gives a key another text; the expiry stays.
    fn replace_text(&mut self, key: Key<'_>, text: &[u8], old: Lookup) -> Result<(), Stop> {
        let expires_at_ms = old.live().and_then(|found| found.expires_at_ms);
        self.set(key, Value::Bytes(text), expires_at_ms, old)
    }

    pub(super) fn pfdebug(&mut self, request: Request<'_>, reply: &mut Reply<'_>) -> Result<(), Stop> {
        let (word, argument) = (request.args.at(1), request.args.at(2));
        let is = |name: &[u8]| word.eq_ignore_ascii_case(name);
        if is(b"simd") {
            // there is one way to count here
            let state = match argument.to_ascii_lowercase().as_slice() {
                b"on" => "enabled",
                b"off" => "disabled",
                _ => return Err(Stop::error("ERR Argument must be ON or OFF")),
            };
            reply.simple(state);
            return Ok(());
        }
        let key = self.key(request.db, argument);
        let old = self.lookup_string(key)?;
        let Some(found) = old.live() else { return Err(Stop::error("ERR The specified key does not exist")) };
        let mut buf = TextBuf::default();
        let mut hll = HyperLogLog::read(self.text(found, &mut buf))?;
        let question = match () {
            () if is(b"getreg") => Question::Registers,
            () if is(b"decode") => Question::Runs,
            () if is(b"encoding") => Question::Encoding,
            () if is(b"todense") => Question::MakeDense,
            () => {
                let word = String::from_utf8_lossy(word);
                return Err(Stop::Error(format!("ERR Unknown PFDEBUG subcommand '{word}'").into()));
            }
        };
        match question {
            Question::Encoding => reply.simple(if hll.is_dense() { "dense" } else { "sparse" }),
            Question::Runs if hll.is_dense() => return Err(Stop::error("ERR HLL encoding is not sparse")),
            Question::Runs => reply.bulk(hll.shown()?.as_bytes()),
            Question::Registers | Question::MakeDense => {
                let registers = hll.registers()?;
                let changes = hll.make_dense()?;
                if changes {
                    let bytes = hll.into_bytes();
                    self.events.cause = Cause::Silent;
                    self.replace_text(key, &bytes, old)?;
                }
                if question == Question::MakeDense {
                    reply.integer(i64::from(changes));
                    return Ok(());
                }
                reply.array(registers.iter().len());
                registers.iter().for_each(|rank| reply.integer(i64::from(rank)));
            }
        }
        Ok(())
    }
}
