//! Finding room for an entry in its block.

use crate::{
    block::{Block, ROWS, SLOTS},
    slot::Word,
    version::PageVersion,
};

/// Puts `word` into one of its two rows, `row` if it has room. When both are full an entry of theirs
/// is moved to its other row, after at most one more move there. False, and nothing is changed, if that
/// makes no room either.
///
/// Two moves reach about all rows of a block, which then is 95% full and more when this fails for the
/// first time; with a third each insert into a full block would try a thousand rows to win one percent.
///
/// An entry is written to its new place before the old one is overwritten: at no time is it missing. A reader who
/// looks at the new place before and at the old one after misses it all the same: `version` is marked meanwhile (D5).
#[inline]
pub(crate) fn place<'a>(
    block: &Block,
    row: usize,
    word: Word,
    version: impl FnOnce() -> Option<&'a PageVersion>,
) -> bool {
    debug_assert!(!word.is_empty() && row < ROWS);
    let rows = [row, word.tag().other_row(row)];
    for row in rows {
        if let Some(slot) = block.row(row).empty() {
            block.row(row).store(slot, word);
            return true;
        }
    }
    place_by_moves(block, rows, word, version())
}

#[inline(never)]
fn place_by_moves(block: &Block, rows: [usize; 2], word: Word, version: Option<&PageVersion>) -> bool {
    if let Some(version) = version {
        version.begin();
    }
    let placed = rows.into_iter().any(|row| place_by_one_move(block, row, word))
        || rows.into_iter().any(|row| place_by_two_moves(block, row, word));
    if let Some(version) = version {
        version.end();
    }
    placed
}

/// Moves an entry of the full row `row` to its other row, if one of them has room there, and puts
/// `word` in its place.
fn place_by_one_move(block: &Block, row: usize, word: Word) -> bool {
    let full = block.row(row);
    for slot in 0..SLOTS {
        let resident = full.load(slot);
        let other = block.row(resident.tag().other_row(row));
        if let Some(room) = other.empty() {
            other.store(room, resident);
            full.store(slot, word);
            return true;
        }
    }
    false
}

/// As [`place_by_one_move`], after making room in the other row likewise.
fn place_by_two_moves(block: &Block, row: usize, word: Word) -> bool {
    let full = block.row(row);
    for slot in 0..SLOTS {
        let resident = full.load(slot);
        // the other row is full, or one move had done. it may hold entries whose other row is `row`: full too.
        if place_by_one_move(block, resident.tag().other_row(row), resident) {
            full.store(slot, word);
            return true;
        }
    }
    false
}

/// Moves those entries of `from` to `to` that `leaves` chooses, each to the same row where it fits.
/// Those that do not fit in either of their rows are given to `spill`, with a row of theirs. The pages are hidden from
/// readers meanwhile.
///
/// Which entries leave is a matter of chance, so a branch for each would be mispredicted half of the
/// time, thousands of times: rows are parted without one.
pub(crate) fn move_entries(
    from: &Block,
    to: &Block,
    leaves: impl Fn(Word) -> bool,
    mut spill: impl FnMut(usize, Word),
) {
    for row in 0..ROWS {
        let (source, target) = (from.row(row), to.row(row));
        let (mut staying, mut stay_count) = ([Word::EMPTY; SLOTS], 0);
        let (mut leaving, mut leave_count) = ([Word::EMPTY; SLOTS], 0);
        let mut room = 0;
        for slot in 0..SLOTS {
            let word = source.load(slot);
            let is_entry = !word.is_empty();
            let is_leaving = is_entry & leaves(word);
            staying[stay_count & (SLOTS - 1)] = word;
            stay_count += usize::from(is_entry & !is_leaving);
            leaving[leave_count & (SLOTS - 1)] = word;
            leave_count += usize::from(is_leaving);
            room += usize::from(!target.load(slot).is_empty());
        }
        for &word in &leaving[..leave_count] {
            // the target's entries are at its front if it was a source before: mostly.
            if room < SLOTS && target.load(room).is_empty() {
                target.store(room, word);
                room += 1;
            } else if !place(to, row, word, || None) {
                spill(row, word);
            }
        }
        for (slot, &word) in staying.iter().enumerate() {
            source.store(slot, if slot < stay_count { word } else { Word::EMPTY });
        }
    }
}
