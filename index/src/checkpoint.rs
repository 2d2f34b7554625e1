//! A checkpoint of the index: its pages, copied one after the other while it lives on, then what has changed meanwhile in
//! those that were copied already; and both loaded into an empty one (K3, K4, K7).
//!
//! ```text
//!   0            4      5       6     8               12          16
//!  +------------+------+-------+-----+---------------+-----------+---------------------+-----------------------+
//!  | first tag  | bits | blocks|  0  | entries aside |     0     | blocks, 8 KiB each  | entries aside, 16 each|
//!  +------------+------+-------+-----+---------------+-----------+---------------------+-----------------------+
//! ```
//!
//! A block is its memory, word for word, without the visited bits. The pages follow one another in tag order and cover all
//! tags. Changes, which come after them, are 16 bytes of the same form, with all ones for the tag and their number for that of
//! entries, and 24 each:
//!
//! ```text
//!   0                         8                      16                    24
//!  +-------------------------+----------------------+---------------------+
//!  | family: tag, lower row  |  old address, or 0   |  new address, or 0  |
//!  +-------------------------+----------------------+---------------------+
//! ```
//!
//! So what is loaded is the index as it was when the last change was taken. Whoever keeps the bytes adds the checksum.

use emberkv_log::Address;
#[cfg(any(test, feature = "sim"))]
use emberkv_log::plant::{Plant, is as is_planted};

use crate::{
    arena::{Arena, BlockId},
    block::{BLOCK_BYTES, BLOCK_SLOTS, Block, ROWS, SLOTS},
    directory::Directory,
    error::IndexError,
    fingerprint::{Family, Fingerprint, TAG_BITS, TAGS, Tag},
    index::Index,
    page::{MAX_BLOCKS, MAX_DEPTH, MIN_BLOCKS, Page, block_of},
    side::SideTable,
    slot::Word,
};

const HEADER_BYTES: usize = 16;
const ASIDE_BYTES: usize = 16;
const CHANGE_BYTES: usize = 24;
/// In place of a first tag: changes follow.
const CHANGES: u32 = u32::MAX;

/// Bytes are no pages of an index, or not those that come next.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Damaged {
    /// They contradict themselves.
    #[error("its index is not sound: page of tag {0:#x}")]
    Page(u32),
    /// They end before all tags were covered.
    #[error("its index is not whole: it ends at tag {0:#x}")]
    Short(u32),
    /// The index can't be made.
    #[error("{0}")]
    NoMemory(String),
}

/// How far a checkpoint of the index is.
#[derive(Debug, Default)]
pub(crate) struct Walk {
    /// The first tag that is not copied yet.
    next: u32,
    /// What has changed below it since, as it is kept.
    changes: Vec<u8>,
}

impl Walk {
    /// Whether it has come to a place inside of this range of tags.
    pub fn is_within(&self, (first, end): (u32, u32)) -> bool {
        first < self.next && self.next < end
    }

    /// Keeps a change, if its page was copied.
    #[cold]
    #[inline(never)]
    pub fn note(&mut self, family: Family, old: Option<Address>, new: Option<Address>) {
        #[cfg(any(test, feature = "sim"))]
        if is_planted(Plant::K4) {
            return;
        }
        if family.tag().raw() >= self.next {
            return;
        }
        for long in [u64::from(family.raw()), old.map_or(0, Address::raw), new.map_or(0, Address::raw)] {
            self.changes.extend_from_slice(&long.to_le_bytes());
        }
    }
}

impl Index {
    /// Begins a checkpoint. Until it is over what changes in pages that were copied is kept, and no two pages become one across
    /// the place that it has come to.
    pub fn begin_walk(&mut self) {
        self.walk = Some(Box::default());
    }

    /// Ends it, wherever it is.
    pub fn end_walk(&mut self) {
        self.walk = None;
    }

    #[inline]
    pub(crate) fn note_change(&mut self, family: Family, old: Option<Address>, new: Option<Address>) {
        if let Some(walk) = &mut self.walk {
            walk.note(family, old, new);
        }
    }

    /// Bytes of changes that are kept.
    pub fn kept_bytes(&self) -> usize {
        self.walk.as_ref().map_or(0, |walk| walk.changes.len())
    }

    /// Moves kept changes to the end of `to`, the oldest first, about `limit` bytes of them.
    pub fn take_changes(&mut self, limit: usize, to: &mut Vec<u8>) {
        let Some(walk) = &mut self.walk else { return };
        let count = (walk.changes.len() / CHANGE_BYTES).min(limit / CHANGE_BYTES);
        if count == 0 {
            return;
        }
        to.extend_from_slice(&CHANGES.to_le_bytes());
        to.extend_from_slice(&[0; 4]);
        to.extend_from_slice(&(count as u32).to_le_bytes());
        to.extend_from_slice(&[0; 4]);
        to.extend(walk.changes.drain(..count * CHANGE_BYTES));
    }

    /// Copies the next page to the end of `to`: some 50 KiB. False if there is none left, or no checkpoint.
    pub fn copy_page(&mut self, to: &mut Vec<u8>) -> bool {
        let Some(walk) = self.walk.as_ref().filter(|walk| walk.next < TAGS) else { return false };
        let first = walk.next;
        let tag = Tag::from_raw(first);
        let page = self.pages[self.directory.page_of(tag) as usize];
        let range = page.range(tag);
        debug_assert!(cfg!(test) || range.0 == first, "no page crosses the walk");
        let aside = if self.side.is_empty() { 0 } else { self.side.families(range.0, range.1).count() };
        to.reserve(HEADER_BYTES + page.count() * BLOCK_BYTES + aside * ASIDE_BYTES);
        to.extend_from_slice(&range.0.to_le_bytes());
        to.extend_from_slice(&[page.bits() as u8, page.count() as u8, 0, 0]);
        to.extend_from_slice(&(aside as u32).to_le_bytes());
        to.extend_from_slice(&[0; 4]);
        for block in page.blocks() {
            copy_block(self.arena.block(block), to);
        }
        if aside > 0 {
            for (family, address) in self.side.families(range.0, range.1) {
                to.extend_from_slice(&u64::from(family.raw()).to_le_bytes());
                to.extend_from_slice(&address.raw().to_le_bytes());
            }
        }
        if let Some(walk) = &mut self.walk {
            walk.next = range.1;
        }
        true
    }

    /// About how many bytes all pages have.
    pub fn pages_bytes(&self) -> u64 {
        (self.arena.len() * BLOCK_BYTES + self.pages.len() * HEADER_BYTES + self.side.len() * ASIDE_BYTES) as u64
    }
}

fn copy_block(block: &Block, to: &mut Vec<u8>) {
    for row in 0..ROWS {
        let row = block.row(row);
        let mut bytes = [0; SLOTS * 8];
        for (slot, word) in bytes.chunks_exact_mut(8).enumerate() {
            let entry = row.load(slot);
            let unvisited = entry.unvisited();
            #[cfg(test)]
            let unvisited = if is_planted(Plant::K7) { entry } else { unvisited };
            word.copy_from_slice(&unvisited.raw().to_le_bytes());
        }
        to.extend_from_slice(&bytes);
    }
}

/// An index that is made of pages.
pub struct Loader {
    arena: Arena,
    pages: Vec<Page>,
    owners: Vec<u32>,
    side: SideTable,
    len: usize,
    /// The first tag that no page has covered yet.
    next: u32,
    /// To be made when all pages are there.
    changes: Vec<u8>,
}

impl Default for Loader {
    fn default() -> Self {
        Self {
            arena: Arena::new(),
            pages: Vec::new(),
            owners: Vec::new(),
            side: SideTable::default(),
            len: 0,
            next: 0,
            changes: Vec::new(),
        }
    }
}

impl Loader {
    /// One for about so many bytes of pages.
    ///
    /// # Errors
    /// If there is no memory for them.
    pub fn expecting(bytes: u64) -> Result<Self, Damaged> {
        let mut loader = Self::default();
        let blocks = usize::try_from(bytes / BLOCK_BYTES as u64).unwrap_or(usize::MAX);
        loader.arena.expect(blocks).map_err(|error| Damaged::NoMemory(error.to_string()))?;
        Ok(loader)
    }

    /// Loads the pages that come next. Entries that `keeps` says no to are left out (K3).
    ///
    /// # Errors
    /// If they are not sound; the loader is of no use then.
    pub fn load(&mut self, mut bytes: &[u8], keeps: impl Fn(Address) -> bool) -> Result<(), Damaged> {
        while !bytes.is_empty() {
            let taken = self.load_page(bytes, &keeps)?;
            bytes = bytes.get(taken..).ok_or(Damaged::Page(self.next))?;
        }
        Ok(())
    }

    fn load_page(&mut self, bytes: &[u8], keeps: &impl Fn(Address) -> bool) -> Result<usize, Damaged> {
        let damaged = Damaged::Page(self.next);
        let header = bytes.get(..HEADER_BYTES).ok_or(damaged.clone())?;
        let word = |at: usize| u32::from_le_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
        if word(0) == CHANGES && self.next == TAGS {
            let end = HEADER_BYTES + word(8) as usize * CHANGE_BYTES;
            self.changes.extend_from_slice(bytes.get(HEADER_BYTES..end).ok_or(damaged)?);
            return Ok(end);
        }
        let (first, bits, count, aside) = (word(0), u32::from(header[4]), usize::from(header[5]), word(8) as usize);
        let least = if bits == TAG_BITS { 1 } else { MIN_BLOCKS };
        let sound = (TAG_BITS - MAX_DEPTH as u32..=TAG_BITS).contains(&bits)
            && (least..=MAX_BLOCKS).contains(&count)
            && first == self.next
            && first.is_multiple_of(1 << bits)
            && first + (1 << bits) <= TAGS;
        let blocks_end = HEADER_BYTES + count * BLOCK_BYTES;
        let end = blocks_end + aside * ASIDE_BYTES;
        if !sound || bytes.len() < end {
            return Err(damaged);
        }
        let mut blocks = [BlockId::from_raw(0); MAX_BLOCKS];
        let mut live = 0;
        for (i, from) in bytes[HEADER_BYTES..blocks_end].chunks_exact(BLOCK_BYTES).enumerate() {
            blocks[i] = self.arena.allocate().map_err(|error: IndexError| Damaged::NoMemory(error.to_string()))?;
            self.owners.push(self.pages.len() as u32);
            let belongs = |tag: Tag| tag.raw() >> bits == first >> bits && block_of(tag, bits, count) == i;
            live += load_block(self.arena.block(blocks[i]), from, belongs, keeps).ok_or(damaged.clone())?;
        }
        for entry in bytes[blocks_end..end].chunks_exact(ASIDE_BYTES) {
            let (Some(family), Some(address)) = (family_at(entry), address_at(&entry[8..])) else {
                return Err(damaged);
            };
            if family.tag().raw() >> bits != first >> bits {
                return Err(damaged);
            }
            if keeps(address) {
                self.side.push(family, address);
                self.len += 1;
            }
        }
        self.pages.push(Page::new(bits, &blocks[..count], live));
        self.len += live;
        self.next = first + (1 << bits);
        Ok(end)
    }

    /// The index, when all was loaded, with the changes made. `keeps` is as it was.
    ///
    /// # Errors
    /// If some pages are missing, or a change is of what is not there.
    pub fn finish(self, keeps: impl Fn(Address) -> bool) -> Result<Index, Damaged> {
        if self.next != TAGS {
            return Err(Damaged::Short(self.next));
        }
        let mut index = Index::new().map_err(|error| Damaged::NoMemory(error.to_string()))?;
        index.directory = Directory::of_pages(self.pages.iter().map(Page::bits));
        index.pages_at_depth = [0; MAX_DEPTH + 1];
        for page in &self.pages {
            index.pages_at_depth[page.depth()] += 1;
        }
        (index.arena, index.pages, index.owners) = (self.arena, self.pages, self.owners);
        (index.side, index.len) = (self.side, self.len);
        for change in self.changes.chunks_exact(CHANGE_BYTES) {
            let Some(family) = family_at(change) else { return Err(Damaged::Page(TAGS)) };
            let [old, new] = [8, 16].map(|at| address_at(&change[at..]).filter(|address| keeps(*address)));
            make_change(&mut index, family, old, new)?;
        }
        Ok(index)
    }
}

/// Makes one change. An address that is not kept leads nowhere.
fn make_change(index: &mut Index, family: Family, old: Option<Address>, new: Option<Address>) -> Result<(), Damaged> {
    // either of the two rows will do
    let fingerprint = Fingerprint::from_raw(family.raw());
    let damaged = Damaged::Page(family.tag().raw());
    let found = match old {
        Some(old) => Some(index.find(fingerprint, |address| address == old).ok_or(damaged)?.0),
        None => None,
    };
    match (found, new) {
        (Some(at), Some(new)) => index.replace(at, new),
        (Some(at), None) => index.remove(at),
        (None, Some(new)) => {
            index.insert(fingerprint, new).map_err(|error| Damaged::NoMemory(error.to_string()))?;
        }
        (None, None) => {}
    }
    Ok(())
}

fn long_at(bytes: &[u8]) -> u64 {
    bytes[..8].iter().rev().fold(0, |long, byte| long << 8 | u64::from(*byte))
}

fn family_at(bytes: &[u8]) -> Option<Family> {
    u32::try_from(long_at(bytes)).ok().filter(|raw| raw >> 31 == 0).map(Family::from_raw)
}

fn address_at(bytes: &[u8]) -> Option<Address> {
    Word::from_raw(long_at(bytes)).address()
}

impl std::fmt::Debug for Loader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Loader").field("len", &self.len).field("next", &self.next).finish_non_exhaustive()
    }
}

/// Fills an empty block; how many entries it has now, or `None` if one does not belong there.
fn load_block(
    block: &Block,
    bytes: &[u8],
    belongs: impl Fn(Tag) -> bool,
    keeps: &impl Fn(Address) -> bool,
) -> Option<usize> {
    let mut live = 0;
    for (at, bytes) in bytes.chunks_exact(8).enumerate().take(BLOCK_SLOTS) {
        let word = Word::from_raw(u64::from_le_bytes(bytes.try_into().ok()?));
        if word.is_empty() {
            continue;
        }
        let address = word.address().filter(|_| word == word.unvisited() && belongs(word.tag()))?;
        if keeps(address) {
            block.row(at / SLOTS).store(at % SLOTS, word);
            live += 1;
        }
    }
    Some(live)
}

#[cfg(test)]
mod tests;
