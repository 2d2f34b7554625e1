//! A connection's output in order: replies of this core, and places for the answers of others.

use std::collections::VecDeque;

use emberkv_log::LogPosition;
use emberkv_resp::Output;

use crate::core::depends::Depends;

/// How many empty outputs are kept.
const SPARES: usize = 256;

/// Empty outputs whose memory is used again.
#[derive(Debug, Default)]
pub(crate) struct Spares(Vec<Output>);

impl Spares {
    pub fn take(&mut self) -> Output {
        self.0.pop().unwrap_or_default()
    }

    pub fn put(&mut self, mut output: Output) {
        if self.0.len() < SPARES && output.bytes_capacity() > 0 {
            output.clear();
            self.0.push(output);
        }
    }
}

#[derive(Debug)]
enum Piece {
    /// Replies, and what they wait for.
    Staged(Output, Depends),
    /// The place of an answer: it is reserved before its request leaves (D13).
    Awaited,
    /// The same, of an answer that is not wanted.
    Unwanted,
}

/// What the first piece waits for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Waits {
    /// There is none.
    Nothing,
    /// For the log of one of this core's partitions.
    Log,
    /// For another core.
    Answer,
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Pieces {
    queue: VecDeque<Piece>,
    /// The number of the first; they count up over the connection's life.
    first: u64,
    staged_bytes: usize,
    awaited: usize,
    /// Answers to what is asked from now on are not wanted.
    pub drops_answers: bool,
}

impl Pieces {
    pub fn stage(&mut self, output: Output, depends: Depends) {
        self.staged_bytes += output.len();
        self.queue.push_back(Piece::Staged(output, depends));
    }

    /// Reserves the place of an answer; returns its number.
    pub fn reserve(&mut self) -> u64 {
        self.awaited += 1;
        self.queue.push_back(if self.drops_answers { Piece::Unwanted } else { Piece::Awaited });
        self.first + self.queue.len() as u64 - 1
    }

    /// An answer has come; it waits for nothing but the pieces before it.
    pub fn answer(&mut self, number: u64, mut output: Output) {
        let place = number.checked_sub(self.first).and_then(|i| self.queue.get_mut(i as usize));
        let Some(place @ (Piece::Awaited | Piece::Unwanted)) = place else {
            unreachable!("an answer comes once, to its own place")
        };
        if matches!(place, Piece::Unwanted) {
            output.clear();
        }
        self.awaited -= 1;
        self.staged_bytes += output.len();
        *place = Piece::Staged(output, Depends::default());
    }

    /// What the first piece waits for.
    pub fn waits(&self, gates: &[LogPosition]) -> Waits {
        match self.queue.front() {
            Some(Piece::Awaited | Piece::Unwanted) => Waits::Answer,
            Some(Piece::Staged(_, depends)) if !depends.is_reached(gates) => Waits::Log,
            Some(Piece::Staged(..)) | None => Waits::Nothing,
        }
    }

    /// Moves to `ready` what may be sent. Returns what the rest waits for.
    pub fn release(&mut self, gates: &[LogPosition], ready: &mut Output, spares: &mut Spares) -> Waits {
        loop {
            let waits = self.waits(gates);
            if waits != Waits::Nothing {
                return waits;
            }
            let Some(Piece::Staged(mut output, _)) = self.queue.pop_front() else { return Waits::Nothing };
            self.first += 1;
            self.staged_bytes -= output.len();
            ready.append(&mut output);
            spares.put(output);
        }
    }

    /// Moves to `ready` all that is here, up to the first answer that has not come: everything is durable.
    pub fn release_all(&mut self, ready: &mut Output) {
        while let Some(Piece::Staged(output, _)) = self.queue.front_mut() {
            self.staged_bytes -= output.len();
            ready.append(output);
            self.queue.pop_front();
            self.first += 1;
        }
    }

    /// Whether the first piece waits for a log that will not go on.
    pub fn is_hopeless(&self, gates: &[LogPosition], hopeless: &[bool]) -> bool {
        matches!(self.queue.front(), Some(Piece::Staged(_, depends)) if depends.is_hopeless(gates, hopeless))
    }

    pub fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    pub fn len(&self) -> usize {
        self.queue.len()
    }

    /// Bytes of the replies that are here.
    pub fn bytes(&self) -> usize {
        self.staged_bytes
    }

    /// Whether answers of other cores are still to come.
    pub fn is_awaiting(&self) -> bool {
        self.awaited > 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn output(text: &str) -> Output {
        let mut output = Output::new();
        output.push(text.as_bytes());
        output
    }

    fn after(position: u64) -> Depends {
        let mut depends = Depends::default();
        depends.add(0, LogPosition(position));
        depends
    }

    #[test]
    fn what_is_sent_keeps_the_order_of_the_requests() {
        let (mut pieces, mut ready, mut spares) = (Pieces::default(), Output::new(), Spares::default());
        pieces.stage(output("a"), after(5));
        let (b, c) = (pieces.reserve(), pieces.reserve());
        pieces.stage(output("d"), after(9));
        pieces.answer(c, output("c"));
        assert_eq!(pieces.release(&[LogPosition(4)], &mut ready, &mut spares), Waits::Log);
        assert_eq!(pieces.release(&[LogPosition(5)], &mut ready, &mut spares), Waits::Answer);
        assert_eq!((ready.to_vec(), pieces.is_awaiting(), pieces.bytes()), (b"a".to_vec(), true, 2));
        pieces.answer(b, output("b"));
        assert_eq!(pieces.release(&[LogPosition(8)], &mut ready, &mut spares), Waits::Log);
        assert_eq!((ready.to_vec(), pieces.is_awaiting()), (b"abc".to_vec(), false));
        let e = pieces.reserve();
        pieces.answer(e, output("e"));
        assert_eq!(pieces.release(&[LogPosition(9)], &mut ready, &mut spares), Waits::Nothing);
        assert_eq!((ready.to_vec(), pieces.is_empty(), pieces.bytes()), (b"abcde".to_vec(), true, 0));
    }
}
