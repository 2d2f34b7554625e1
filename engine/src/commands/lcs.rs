//! LCS: the longest text whose bytes come in this order in both of two strings.

use emberkv_log::disk::Disk;
use emberkv_resp::{Args, Reply, format};

use crate::group::Request;
use crate::lookup::{Found, TextBuf};
use crate::partition::Partition;
use crate::stop::Stop;

/// LCS' options.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Lcs {
    what: What,
    /// Of matches: shorter ones are left out.
    min_match_len: u64,
    with_match_len: bool,
}

/// What is replied.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum What {
    Text,
    Length,
    Matches,
}

/// A piece that both strings have: where it begins in each.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Match {
    a: usize,
    b: usize,
    len: usize,
}

/// For each two beginnings of the strings, the length of what they have in common.
struct Table {
    lengths: Vec<u32>,
    columns: usize,
}

impl Table {
    fn new(a: &[u8], b: &[u8], max_bytes: usize) -> Result<Self, Stop> {
        let columns = b.len() + 1;
        let cells = columns.checked_mul(a.len() + 1).filter(|cells| cells.saturating_mul(4) <= max_bytes);
        let Some(cells) = cells else {
            return Err(Stop::error("ERR Insufficient memory, transient memory for LCS exceeds proto-max-bulk-len"));
        };
        let mut lengths = Vec::new();
        if lengths.try_reserve_exact(cells).is_err() {
            return Err(Stop::error("ERR Insufficient memory, failed allocating transient memory for LCS"));
        }
        lengths.resize(cells, 0);
        let mut table = Self { lengths, columns };
        for (i, byte) in a.iter().enumerate() {
            let (above, row) = table.lengths[i * columns..][..2 * columns].split_at_mut(columns);
            for (j, other) in b.iter().enumerate() {
                row[j + 1] = if byte == other { above[j] + 1 } else { above[j + 1].max(row[j]) };
            }
        }
        Ok(table)
    }

    fn at(&self, i: usize, j: usize) -> u32 {
        self.lengths[i * self.columns + j]
    }

    /// The text, and the pieces that it is made of in the strings, the last one first.
    fn trace(&self, a: &[u8], b: &[u8]) -> (Vec<u8>, Vec<Match>) {
        let (mut text, mut matches) = (Vec::new(), Vec::new());
        let (mut i, mut j, mut len) = (a.len(), b.len(), 0);
        while i > 0 && j > 0 {
            let is_same = a[i - 1] == b[j - 1];
            if is_same {
                (i, j, len) = (i - 1, j - 1, len + 1);
                text.push(a[i]);
            }
            if len > 0 && (!is_same || i == 0 || j == 0) {
                matches.push(Match { a: i, b: j, len });
                len = 0;
            }
            if !is_same {
                // where more is in common; if it is the same, the second string gives way
                if self.at(i - 1, j) > self.at(i, j - 1) { i -= 1 } else { j -= 1 }
            }
        }
        text.reverse();
        (text, matches)
    }
}

impl Lcs {
    /// Reads an LCS.
    pub fn parse(args: Args<'_>) -> Result<Self, Stop> {
        let (mut length, mut matches) = (false, false);
        let mut options = Self { what: What::Text, min_match_len: 0, with_match_len: false };
        let mut rest = args.from(3).iter();
        while let Some(option) = rest.next() {
            if option.eq_ignore_ascii_case(b"IDX") {
                matches = true;
            } else if option.eq_ignore_ascii_case(b"LEN") {
                length = true;
            } else if option.eq_ignore_ascii_case(b"WITHMATCHLEN") {
                options.with_match_len = true;
            } else if option.eq_ignore_ascii_case(b"MINMATCHLEN")
                && let Some(number) = rest.next()
            {
                let number = format::parse_integer(number).ok_or(Stop::NOT_AN_INTEGER)?;
                options.min_match_len = u64::try_from(number).unwrap_or(0);
            } else {
                return Err(Stop::SYNTAX);
            }
        }
        options.what = match (length, matches) {
            (true, true) => {
                return Err(Stop::error("ERR If you want both the length and indexes, please just use IDX."));
            }
            (true, false) => What::Length,
            (false, true) => What::Matches,
            (false, false) => What::Text,
        };
        Ok(options)
    }

    /// Writes what is to be said of two strings, unless that takes more than `max_bytes` of memory.
    pub fn answer(self, a: &[u8], b: &[u8], max_bytes: usize, reply: &mut Reply<'_>) -> Result<(), Stop> {
        let table = Table::new(a, b, max_bytes)?;
        let length = i64::from(table.at(a.len(), b.len()));
        match self.what {
            What::Length => reply.integer(length),
            What::Text => reply.bulk(&table.trace(a, b).0),
            What::Matches => {
                let mut matches = table.trace(a, b).1;
                matches.retain(|found| found.len as u64 >= self.min_match_len);
                reply.map(2);
                reply.bulk(b"matches");
                reply.array(matches.len());
                for Match { a, b, len } in matches {
                    reply.array(2 + usize::from(self.with_match_len));
                    for start in [a, b] {
                        reply.array(2);
                        reply.integer(start as i64);
                        reply.integer((start + len - 1) as i64);
                    }
                    if self.with_match_len {
                        reply.integer(len as i64);
                    }
                }
                reply.bulk(b"len");
                reply.integer(length);
            }
        }
        Ok(())
    }
}

/// What LCS says of another kind of value.
pub(crate) const NOT_STRINGS: &str = "ERR The specified keys must contain string values";

impl<D: Disk> Partition<D> {
    pub(super) fn lcs(&mut self, request: Request<'_>, reply: &mut Reply<'_>) -> Result<(), Stop> {
        let options = Lcs::parse(request.args)?;
        let keys = [1, 2].map(|i| self.key(request.db, request.args.at(i)));
        for key in keys {
            // the second is asked for whatever the first one is
            let lookup = self.lookup(key)?;
            self.count_read(key, lookup);
        }
        if keys.iter().any(|key| self.peek(*key).live().is_some_and(Found::is_collection)) {
            return Err(Stop::error(NOT_STRINGS));
        }
        self.bring_texts(&keys)?;
        let mut buffers = [TextBuf::default(), TextBuf::default()];
        let [first, second] = &mut buffers;
        let text = |key, buffer| self.peek(key).live().map_or(&[][..], |found| self.text(found, buffer));
        let (a, b) = (text(keys[0], first), text(keys[1], second));
        options.answer(a, b, self.limits.max_value_bytes, reply)
    }
}

#[cfg(test)]
mod tests {
    use emberkv_resp::{Output, Protocol};
    use proptest::prelude::*;

    use super::*;

    /// The length, the slow way.
    fn length(a: &[u8], b: &[u8]) -> usize {
        match (a.split_last(), b.split_last()) {
            (Some((x, a)), Some((y, b))) if x == y => length(a, b) + 1,
            (Some((_, short)), Some((_, other))) => length(short, b).max(length(a, other)),
            _ => 0,
        }
    }

    fn is_within(text: &[u8], whole: &[u8]) -> bool {
        let mut rest = whole.iter();
        text.iter().all(|byte| rest.any(|other| other == byte))
    }

    proptest! {
        #[test]
        fn the_text_is_in_both_and_none_is_longer(a in "[a-c]{0,7}", b in "[a-c]{0,7}") {
            let (a, b) = (a.as_bytes(), b.as_bytes());
            let (text, matches) = Table::new(a, b, 1 << 20).unwrap().trace(a, b);
            prop_assert!(is_within(&text, a) && is_within(&text, b));
            prop_assert_eq!(text.len(), length(a, b));
            let pieces: Vec<u8> = matches.iter().rev().flat_map(|piece| &a[piece.a..][..piece.len]).copied().collect();
            let others: Vec<u8> = matches.iter().rev().flat_map(|piece| &b[piece.b..][..piece.len]).copied().collect();
            prop_assert_eq!(&pieces, &text);
            prop_assert_eq!(&others, &text);
        }
    }

    #[test]
    fn more_memory_than_is_allowed_is_refused() {
        let mut output = Output::new();
        let options = Lcs { what: What::Length, min_match_len: 0, with_match_len: false };
        let result = options.answer(&[b'a'; 100], &[b'a'; 100], 1000, &mut Reply::new(&mut output, Protocol::Resp2));
        assert!(matches!(result, Err(Stop::Error(text)) if text.contains("proto-max-bulk-len")));
    }
}
