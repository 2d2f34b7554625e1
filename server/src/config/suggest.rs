//! What a misspelt directive may have meant.

use super::foreign;
use super::table::DIRECTIVES;

/// The nearest known name, if one is near enough to be what was meant.
pub(super) fn nearest_name(written: &[u8]) -> Option<&'static str> {
    let written = written.to_ascii_lowercase();
    let names = DIRECTIVES.iter().map(|row| row.name).chain(foreign::rows().map(|row| row.name));
    let near = names.map(|name| (distance(&written, name.as_bytes()), name));
    let (edits, name) = near.min_by_key(|(edits, _)| *edits)?;
    // more than a third of the letters wrong is another word
    (edits <= name.len().div_ceil(3).min(3)).then_some(name)
}

/// How many single-byte edits turn `from` into `to`; `from` is cut at a length that no name has.
fn distance(from: &[u8], to: &[u8]) -> usize {
    let from = &from[..from.len().min(64)];
    let mut above: Vec<usize> = (0..=to.len()).collect();
    for (row, from_byte) in from.iter().enumerate() {
        let mut diagonal = above[0];
        above[0] = row + 1;
        for (column, to_byte) in to.iter().enumerate() {
            let replaced = diagonal + usize::from(from_byte != to_byte);
            diagonal = above[column + 1];
            above[column + 1] = replaced.min(diagonal + 1).min(above[column] + 1);
        }
    }
    above[to.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_misses_are_named_and_other_words_are_not() {
        assert_eq!(nearest_name(b"apendfsync"), Some("appendfsync"));
        assert_eq!(nearest_name(b"max-memory"), Some("maxmemory"));
        assert_eq!(nearest_name(b"Prot"), Some("port"));
        assert_eq!(nearest_name(b"weather"), None);
        assert_eq!(nearest_name(&[b'x'; 10_000]), None);
        assert_eq!(nearest_name(b""), None);
    }

    #[test]
    fn distance_counts_edits() {
        assert_eq!(distance(b"kitten", b"sitting"), 3);
        assert_eq!(distance(b"", b"abc"), 3);
        assert_eq!(distance(b"abc", b"abc"), 0);
    }
}
