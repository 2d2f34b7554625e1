//! Walking over all entries, and picking one at random.

use emberkv_log::Address;

use crate::{
    arena::BlockId,
    block::{ROWS, SLOTS},
    fingerprint::{TAGS, Tag},
    index::Index,
    slot::Word,
};

/// How far a scan has come: the first tag that it has not reported.
///
/// A place in hash order, not in memory: growth, shrinkage and displacement do not disturb it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[repr(transparent)]
pub struct ScanCursor(u32);

impl ScanCursor {
    /// Before the first entry.
    pub const START: Self = Self(0);

    /// The cursor with this number. Any number will do: one past the last tag is the end.
    #[inline]
    pub const fn from_raw(raw: u32) -> Self {
        Self(raw)
    }

    /// The cursor as a number; zero is the start, and never a place to go on from.
    #[inline]
    pub const fn raw(self) -> u32 {
        self.0
    }
}

impl Index {
    /// Reports entries in tag order, from the cursor on: about `limit` of them (at least one tag's), and
    /// always all of a tag together. Returns where to go on, `None` at the end.
    ///
    /// An entry that is there during a whole pass is reported exactly once, whatever else happens to the index
    /// between the calls. Cost: a walk over a block (8 KiB) for each ~900 entries, and for each call.
    pub fn scan(&self, from: ScanCursor, limit: usize, mut report: impl FnMut(Tag, Address)) -> Option<ScanCursor> {
        let mut next = from.0;
        let mut left = limit.max(1);
        let mut words = Vec::new();
        while next < TAGS && left > 0 {
            let first = Tag::from_raw(next);
            let page = &self.pages[self.directory.page_of(first) as usize];
            let end = page.block_end(first);
            words.clear();
            words.extend(
                self.arena.block(page.block_of(first)).words().filter(|word| !word.is_empty() && word.tag() >= first),
            );
            if !self.side.is_empty() {
                words.extend(self.side.range(next, end).map(|(tag, address)| Word::new(tag, address)));
            }
            next = end;
            // words sort by tag. of more than wanted, those up to the tag of the last wanted one stay.
            if words.len() > left {
                let (_, last, _) = words.select_nth_unstable(left - 1);
                let last = last.tag();
                words.retain(|word| word.tag() <= last);
                next = last.raw() + 1;
            }
            words.sort_unstable();
            for word in &words {
                if let Some(address) = word.address() {
                    report(word.tag(), address);
                }
            }
            left = left.saturating_sub(words.len());
        }
        (next < TAGS).then_some(ScanCursor(next))
    }

    /// An entry at random, each about as likely; `None` if there is none. `random` is the chance:
    /// the same number gives the same entry while nothing changes.
    pub fn sample(&self, random: u64) -> Option<Address> {
        /// Slots tried at random. At the usual load a try fails once in ten, after mass removal once in three.
        const TRIES: usize = 64;
        let mut chance = Chance(random);
        if self.is_empty() {
            return None;
        }
        if chance.below(self.len) < self.side.len() {
            return self.side.nth(chance.below(self.side.len()));
        }
        for _ in 0..TRIES {
            let block = BlockId::from_raw(chance.below(self.arena.len()) as u32);
            let (row, slot) = (chance.below(ROWS), chance.below(SLOTS));
            if let Some(address) = self.arena.block(block).row(row).load(slot).address() {
                return Some(address);
            }
        }
        // a nearly empty index: the first entry after some block, which is fair enough.
        let start = chance.below(self.arena.len());
        let blocks = (start..self.arena.len()).chain(0..start);
        blocks.flat_map(|block| self.arena.block(BlockId::from_raw(block as u32)).words()).find_map(Word::address)
    }
}

/// A row of numbers that look random, from one that is.
struct Chance(u64);

impl Chance {
    /// A number below `bound`, which must not be zero.
    fn below(&mut self, bound: usize) -> usize {
        // splitmix64: a Weyl sequence, mixed.
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^= mixed >> 31;
        ((u128::from(mixed) * bound as u128) >> 64) as usize
    }
}
