//! Requests that travel to the core that owns their keys, and come back as answers.
//!
//! A parcel has a turn's requests for one owner, as runs: consecutive requests of one connection. It is allocated
//! once and used again, with all that is in it.

use std::ops::Range;

use emberkv_engine::Request;
use emberkv_index::Fingerprint;
use emberkv_log::{DbId, Whose};
use emberkv_resp::schema::CommandId;
use emberkv_resp::{Args, Output, Protocol, Span};

use crate::core::depends::Depends;
use crate::core::foreign::Written;
use crate::core::message::CoreId;
use crate::driver::ConnId;
use crate::meter::Slow;

/// A parcel with so many requests leaves at once: their index rows and records are asked for together, and more
/// would push each other out of the cache.
const FULL_REQUESTS: usize = 64;
/// Or with so many bytes.
const FULL_BYTES: usize = 64 << 10;

/// A parcel that has grown beyond this is not used again, in bytes.
const KEEP_BYTES: usize = 1 << 20;

/// See the module.
#[derive(Debug)]
pub(crate) struct Parcel {
    /// Whose connections asked.
    pub home: CoreId,
    pub runs: Vec<Run>,
    pub requests: Vec<Asked>,
    bytes: Vec<u8>,
    spans: Vec<Span>,
}

/// Consecutive requests of a connection.
#[derive(Debug)]
pub(crate) struct Run {
    pub conn: ConnId,
    /// The connection's own number: another may have its place when the answer comes.
    pub client: u64,
    /// Where the answer goes in the connection's output.
    pub piece: u64,
    pub db: DbId,
    pub protocol: Protocol,
    /// Whether what it reads is not to be noted.
    pub no_touch: bool,
    /// Those of the parcel's requests that are not executed yet.
    pub left: Range<u32>,
    pub count: u32,
    /// Bytes of the requests.
    pub size: usize,
    /// The replies.
    pub output: Output,
    pub depends: Depends,
    /// Those that the slow log is to have.
    pub slow: Vec<Slow>,
    /// The replies will never leave: the log that they wait for has failed.
    pub is_lost: bool,
}

/// A request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asked {
    pub id: CommandId,
    /// Which of the owner's partitions.
    pub own: u16,
    /// Of its first key.
    pub fingerprint: Fingerprint,
    /// If it is a write that others must not read past.
    pub written: Option<Written>,
    spans: (u32, u32),
}

impl Parcel {
    pub fn new(home: CoreId) -> Self {
        Self { home, runs: Vec::new(), requests: Vec::new(), bytes: Vec::new(), spans: Vec::new() }
    }

    /// Appends a request to the last run; returns its bytes.
    pub fn push(&mut self, id: CommandId, own: u16, args: Args<'_>, written: Option<Written>) -> usize {
        let (first, before) = (self.spans.len() as u32, self.bytes.len());
        args.append_to(&mut self.bytes, &mut self.spans);
        let spans = (first, self.spans.len() as u32);
        self.requests.push(Asked { id, own, fingerprint: Fingerprint::from_raw(0), written, spans });
        let size = self.bytes.len() - before;
        if let Some(run) = self.runs.last_mut() {
            run.left.end += 1;
            run.count += 1;
            run.size += size;
        }
        size
    }

    pub fn is_full(&self) -> bool {
        self.requests.len() >= FULL_REQUESTS || self.bytes.len() >= FULL_BYTES
    }

    /// Whether nothing of it is left to be executed.
    pub fn is_executed(&self) -> bool {
        self.runs.iter().all(|run| run.left.is_empty())
    }

    /// Shows the first key of each request, with its partition and database, and remembers its fingerprint.
    pub fn each_key(&mut self, mut fingerprint: impl FnMut(u16, DbId, &[u8]) -> Fingerprint) {
        for run in &self.runs {
            for asked in &mut self.requests[run.left.start as usize..run.left.end as usize] {
                // commands without keys are not sent in parcels, and a key is the first argument of all others
                if let Some(key) = self.spans.get(asked.spans.0 as usize + 1) {
                    asked.fingerprint = fingerprint(asked.own, run.db, key.of(&self.bytes));
                }
            }
        }
    }

    /// Request `i`, and the run that it belongs to, to be executed.
    pub fn request(&mut self, run: usize, i: u32) -> (&mut Run, u16, Request<'_>) {
        let asked = &self.requests[i as usize];
        let args = Args::new(&self.bytes, &self.spans[asked.spans.0 as usize..asked.spans.1 as usize]);
        let run = &mut self.runs[run];
        // a parcel's requests are fewer than that
        let whose = Whose { client: run.client, request: run.piece << 16 | u64::from(i) };
        let request = Request { id: asked.id, db: run.db, args, whose };
        (run, asked.own, request)
    }

    /// Takes runs out into a parcel of their own, of answers only; `None` if there are none. If all are taken, the rest is
    /// an empty parcel.
    pub fn split_off(self: &mut Box<Self>, takes: impl FnMut(&mut Run) -> bool) -> Option<Box<Self>> {
        let before = self.runs.len();
        let taken: Vec<Run> = self.runs.extract_if(.., takes).collect();
        if taken.is_empty() {
            return None;
        }
        let mut other = Box::new(Self::new(self.home));
        if taken.len() == before {
            // the usual case: nothing is left behind but room
            std::mem::swap(self, &mut other);
        }
        other.runs = taken;
        Some(other)
    }

    /// Empties it for the next use; `None`: it is too large to be kept.
    pub fn reuse(mut self: Box<Self>) -> Option<Box<Self>> {
        self.runs.clear();
        self.requests.clear();
        self.bytes.clear();
        self.spans.clear();
        (self.bytes.capacity() + self.spans.capacity() * size_of::<Span>() <= KEEP_BYTES).then_some(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parcel_of(lefts: &[u32]) -> Box<Parcel> {
        let mut parcel = Box::new(Parcel::new(CoreId(1)));
        for (i, left) in lefts.iter().enumerate() {
            parcel.runs.push(Run {
                conn: ConnId(i as u32),
                client: i as u64,
                piece: 0,
                db: DbId(0),
                protocol: Protocol::Resp2,
                no_touch: false,
                left: 0..*left,
                count: 1,
                size: 0,
                output: Output::new(),
                depends: Depends::default(),
                slow: Vec::new(),
                is_lost: false,
            });
        }
        parcel
    }

    fn clients(parcel: &Parcel) -> Vec<u64> {
        parcel.runs.iter().map(|run| run.client).collect()
    }

    #[test]
    fn who_waits_does_not_hold_back_the_answers_of_others() {
        let mut parcel = parcel_of(&[0, 3, 0]);
        let executed = parcel.split_off(|run| run.left.is_empty()).unwrap();
        assert_eq!((clients(&executed), clients(&parcel)), (vec![0, 2], vec![1]));
        assert!(executed.is_executed() && !parcel.is_executed() && executed.home == CoreId(1));
        assert!(parcel.split_off(|run| run.left.is_empty()).is_none());
        let all = parcel.split_off(|_| true).unwrap();
        assert_eq!((clients(&all), clients(&parcel)), (vec![1], vec![]));
    }
}
