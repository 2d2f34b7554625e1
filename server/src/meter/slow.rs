//! The slow log of a core: the last commands that took long.

use std::collections::VecDeque;

use emberkv_resp::Args;
use emberkv_resp::schema::CommandId;

use super::redact::redacted;

/// Arguments that are kept of a command, and bytes of each.
const KEPT_ARGUMENTS: usize = 32;
const KEPT_BYTES: usize = 128;

/// A slow command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Slow {
    pub id: u64,
    pub at_s: u64,
    pub micros: u64,
    pub args: Vec<Vec<u8>>,
    pub address: String,
    pub name: Vec<u8>,
}

impl Slow {
    /// Without what the client's own core knows of it.
    pub fn new(command: CommandId, args: Args<'_>, micros: u64, now_ms: u64) -> Self {
        Self {
            id: 0,
            at_s: now_ms / 1000,
            micros,
            args: shorten(command, args),
            address: String::new(),
            name: Vec::new(),
        }
    }
}

/// What is kept of the arguments: the beginning of each, and the first of them.
fn shorten(command: CommandId, args: Args<'_>) -> Vec<Vec<u8>> {
    let kept = if args.len() > KEPT_ARGUMENTS { KEPT_ARGUMENTS - 1 } else { args.len() };
    let mut short: Vec<Vec<u8>> = redacted(command, args)
        .take(kept)
        .map(|arg| {
            if arg.len() <= KEPT_BYTES {
                return arg.to_vec();
            }
            let rest = format!("... ({} more bytes)", arg.len() - KEPT_BYTES);
            [&arg[..KEPT_BYTES], rest.as_bytes()].concat()
        })
        .collect();
    if kept < args.len() {
        short.push(format!("... ({} more arguments)", args.len() - kept).into_bytes());
    }
    short
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct SlowLog {
    /// The newest first.
    entries: VecDeque<Slow>,
    max_len: usize,
}

impl SlowLog {
    pub fn set_max_len(&mut self, max_len: u64) {
        self.max_len = usize::try_from(max_len).unwrap_or(usize::MAX);
        self.entries.truncate(self.max_len);
    }

    pub fn add(&mut self, slow: Slow) {
        if self.max_len > 0 {
            self.entries.truncate(self.max_len - 1);
            self.entries.push_front(slow);
        }
    }

    pub fn entries(&self) -> impl Iterator<Item = &Slow> {
        self.entries.iter()
    }

    pub fn clear(&mut self) {
        self.entries.clear();
    }
}

#[cfg(test)]
mod tests {
    use emberkv_resp::Span;

    use super::*;

    #[test]
    fn long_arguments_and_many_are_shortened() {
        let text = "x".repeat(200);
        let spans: Vec<Span> = (0..40).map(|i| Span { start: 0, len: if i == 0 { 200 } else { 3 } }).collect();
        let short = shorten(CommandId::Ping, Args::new(text.as_bytes(), &spans));
        assert_eq!(short.len(), 32);
        assert_eq!(short[0], format!("{}... (72 more bytes)", "x".repeat(128)).into_bytes());
        assert_eq!((short[1].as_slice(), short[31].as_slice()), (&b"xxx"[..], &b"... (9 more arguments)"[..]));
    }

    #[test]
    fn only_the_newest_are_kept() {
        let mut log = SlowLog::default();
        let slow = |micros| Slow::new(CommandId::Ping, Args::new(b"", &[]), micros, 0);
        log.add(slow(1));
        assert_eq!(log.entries().count(), 0);
        log.set_max_len(2);
        (1..=3).for_each(|micros| log.add(slow(micros)));
        assert_eq!(log.entries().map(|slow| slow.micros).collect::<Vec<_>>(), [3, 2]);
        log.set_max_len(1);
        assert_eq!(log.entries().map(|slow| slow.micros).collect::<Vec<_>>(), [3]);
    }
}
