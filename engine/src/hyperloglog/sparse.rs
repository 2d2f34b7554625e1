//! Registers as runs of equal ones, in order:
//!
//! ```text
//! 00 llllll            l + 1 registers that are 0
//! 01 llllll llllllll   the same, of up to 16,384
//! 1 vvvvv ll           l + 1 registers that are v + 1
//! ```

use std::fmt;

/// The most that a register may be in a run.
pub(super) const MAX_RANK: u8 = 32;
/// The longest run of registers that are not 0.
const MAX_RANKED: usize = 4;
/// The longest run of zeros in a byte.
const MAX_ZEROS: usize = 64;
/// After a change so many runs are looked at for two that can be one.
const MERGED_RUNS: usize = 5;

/// Some registers that are the same.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Run {
    pub rank: u8,
    pub len: usize,
    /// How many bytes it takes.
    bytes: usize,
}

impl Run {
    /// The run that bytes begin with, unless they are cut off.
    fn read(bytes: &[u8]) -> Option<Self> {
        let first = *bytes.first()?;
        Some(match first >> 6 {
            0 => Self { rank: 0, len: usize::from(first) + 1, bytes: 1 },
            1 => {
                let len = usize::from(first & 0x3f) << 8 | usize::from(*bytes.get(1)?);
                Self { rank: 0, len: len + 1, bytes: 2 }
            }
            _ => Self { rank: (first >> 2 & 0x1f) + 1, len: usize::from(first & 3) + 1, bytes: 1 },
        })
    }
}

/// As PFDEBUG DECODE shows it.
impl fmt::Display for Run {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.rank, self.bytes) {
            (0, 1) => write!(f, "z:{}", self.len),
            (0, _) => write!(f, "Z:{}", self.len),
            (rank, _) => write!(f, "v:{rank},{}", self.len),
        }
    }
}

/// All runs, and in the end nothing if they are cut off.
pub(super) fn runs(bytes: &[u8]) -> impl Iterator<Item = Option<Run>> {
    let mut at = 0;
    std::iter::from_fn(move || {
        let rest = bytes.get(at..).filter(|rest| !rest.is_empty())?;
        let run = Run::read(rest);
        at = run.map_or(bytes.len(), |run| at + run.bytes);
        Some(run)
    })
}

/// Appends a run, if it is one.
pub(super) fn push_run(bytes: &mut Vec<u8>, rank: u8, len: usize) {
    match (rank, len) {
        (_, 0) => {}
        (0, len) if len <= MAX_ZEROS => bytes.push(len as u8 - 1),
        (0, len) => bytes.extend_from_slice(&(0x4000 | (len as u16 - 1)).to_be_bytes()),
        (rank, len) => bytes.push(0x80 | (rank - 1) << 2 | (len as u8 - 1)),
    }
}

/// What has to be done so that a register is raised.
#[derive(Debug)]
pub(super) enum Raise {
    /// Nothing: it is as high.
    Is,
    Becomes(Edit),
}

/// A run gives way to others.
#[derive(Debug)]
pub(super) struct Edit {
    at: usize,
    bytes: usize,
    new: Vec<u8>,
    /// Where the run before it is.
    before: usize,
}

/// How a register is raised; `None` if the runs do not reach it.
pub(super) fn raise(bytes: &[u8], register: usize, rank: u8) -> Option<Raise> {
    let (mut at, mut first, mut before) = (0, 0, 0);
    let run = loop {
        let run = Run::read(bytes.get(at..)?)?;
        if register < first + run.len {
            break run;
        }
        (before, first, at) = (at, first + run.len, at + run.bytes);
    };
    if run.rank >= rank {
        return Some(Raise::Is);
    }
    let mut new = Vec::with_capacity(5);
    push_run(&mut new, run.rank, register - first);
    push_run(&mut new, rank, 1);
    push_run(&mut new, run.rank, first + run.len - register - 1);
    Some(Raise::Becomes(Edit { at, bytes: run.bytes, new, before }))
}

impl Edit {
    pub fn grows_by(&self) -> usize {
        self.new.len().saturating_sub(self.bytes)
    }

    /// Carries it out on the runs that begin at `start`, and makes one run of two near it where that is possible.
    pub fn apply(self, bytes: &mut Vec<u8>, start: usize) {
        bytes.splice(start + self.at..start + self.at + self.bytes, self.new);
        let mut at = start + self.before;
        for _ in 0..MERGED_RUNS {
            let Some(run) = bytes.get(at..).and_then(Run::read) else { return };
            let next = bytes.get(at + run.bytes..).and_then(Run::read);
            match next {
                Some(next) if run.rank > 0 && run.rank == next.rank && run.len + next.len <= MAX_RANKED => {
                    let mut both = Vec::with_capacity(1);
                    push_run(&mut both, run.rank, run.len + next.len);
                    bytes.splice(at..at + 2, both);
                }
                _ => at += run.bytes,
            }
        }
    }
}
