//! The index itself: lookups, and what changes one entry.

use emberkv_log::{Address, Grace};

use crate::{
    arena::{Arena, BlockId, Reserve},
    block::{Row, SLOTS},
    checkpoint::Walk,
    directory::{Directory, PageId},
    error::IndexError,
    fingerprint::{Family, Fingerprint, TAG_BITS},
    page::{MAX_DEPTH, Page},
    place::place,
    prefetch::prefetch,
    published::Publisher,
    side::SideTable,
    slot::Word,
};

/// From fingerprints to addresses. See the [crate documentation](crate) for the layout.
///
/// One thread changes it; others may look entries up by a [`Reader`](crate::Reader). It may be sent to another thread, to be dropped there: that unmaps its memory.
pub struct Index {
    pub(crate) directory: Directory,
    pub(crate) pages: Vec<Page>,
    /// Page numbers that are free to be used again.
    pub(crate) free_pages: Vec<PageId>,
    pub(crate) arena: Arena,
    /// The page of each block.
    pub(crate) owners: Vec<PageId>,
    pub(crate) side: SideTable,
    /// Pages by how often the tags were halved: the directory shrinks when its last level is empty.
    pub(crate) pages_at_depth: [u32; MAX_DEPTH + 1],
    pub(crate) len: usize,
    /// While a checkpoint is taken, how far that is.
    pub(crate) walk: Option<Box<Walk>>,
    /// What other threads see of it, once there is a reader.
    pub(crate) publisher: Option<Publisher>,
    /// Since when readers are led to another index, if this one was taken away.
    pub(crate) left: Option<Grace>,
    /// Insertions and removals so far: tells a stale [`SlotRef`].
    #[cfg(debug_assertions)]
    generation: u64,
}

/// Where an entry sits. Good until the next [`insert`](Index::insert) or [`remove`](Index::remove) of any entry, which
/// may move it (checked in debug builds).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SlotRef {
    place: u64,
    #[cfg(debug_assertions)]
    generation: u64,
}

impl SlotRef {
    /// Of an entry that is in no index.
    pub const NOWHERE: Self = Self {
        place: u64::MAX,
        #[cfg(debug_assertions)]
        generation: u64::MAX,
    };
}

/// What a [`SlotRef`] refers to.
///
/// ```text
///  63  62               42 41       10 9        3 2      0
/// +---+-------------------+-----------+----------+--------+
/// | 0 |         0         |   block   |   row    |  slot  |
/// +---+-------------------+-----------+----------+--------+
/// | 1 |      family (31)      |         position (32)     |
/// +---+-----------------------+---------------------------+
/// ```
enum Place {
    Slot { block: BlockId, row: usize, slot: usize },
    Side { family: Family, position: usize },
}

impl Place {
    const SIDE: u64 = 1 << 63;

    #[inline]
    const fn pack(self) -> u64 {
        match self {
            Self::Slot { block, row, slot } => (block.raw() as u64) << 10 | (row as u64) << 3 | slot as u64,
            Self::Side { family, position } => Self::SIDE | (family.raw() as u64) << 32 | position as u64,
        }
    }

    #[inline]
    const fn unpack(raw: u64) -> Self {
        if raw & Self::SIDE == 0 {
            let block = BlockId::from_raw((raw >> 10) as u32);
            Self::Slot { block, row: (raw >> 3) as usize & 127, slot: raw as usize & 7 }
        } else {
            let family = Family::from_raw((raw >> 32) as u32 & !(1 << 31));
            Self::Side { family, position: raw as u32 as usize }
        }
    }
}

impl Index {
    /// An empty index: one block, 32 KiB of memory.
    ///
    /// # Errors
    /// If the system has no memory to give.
    pub fn new() -> Result<Self, IndexError> {
        let mut arena = Arena::new();
        let block = arena.allocate()?;
        let mut pages_at_depth = [0; MAX_DEPTH + 1];
        pages_at_depth[0] = 1;
        Ok(Self {
            directory: Directory::new(0),
            pages: vec![Page::new(TAG_BITS, &[block], 0)],
            free_pages: Vec::new(),
            arena,
            owners: vec![0],
            side: SideTable::default(),
            pages_at_depth,
            len: 0,
            walk: None,
            publisher: None,
            left: None,
            #[cfg(debug_assertions)]
            generation: 0,
        })
    }

    /// Number of entries.
    #[inline]
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether there is no entry.
    #[inline]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Bytes of memory behind the index, idle ones included.
    pub fn memory_bytes(&self) -> usize {
        size_of::<Self>()
            + self.arena.memory_bytes()
            + self.directory.memory_bytes()
            + self.pages.capacity() * size_of::<Page>()
            + (self.owners.capacity() + self.free_pages.capacity()) * size_of::<PageId>()
            + self.side.memory_bytes()
            + self.publisher.as_ref().map_or(0, Publisher::memory_bytes)
    }

    /// Whether the index will soon grow into another 2 MiB: the time to have another thread make a [`Reserve`].
    /// Without one it maps memory itself when it must, which may take milliseconds. Cheap: ask once a turn.
    #[inline]
    pub const fn wants_reserve(&self) -> bool {
        self.arena.wants_reserve()
    }

    /// Takes over memory for the next growth. One that was not wanted any more is unmapped when the index shrinks.
    pub fn put_reserve(&mut self, reserve: Reserve) {
        self.arena.put_reserve(reserve);
    }

    /// Starts fetching the two cache lines that a lookup of this fingerprint reads.
    #[inline]
    pub fn prefetch(&self, fingerprint: Fingerprint) {
        let (_, [first, second]) = self.rows_of(fingerprint);
        prefetch(first.1);
        prefetch(second.1);
    }

    /// The block of a fingerprint, and its two rows.
    #[inline]
    fn rows_of(&self, fingerprint: Fingerprint) -> (BlockId, [(usize, &Row); 2]) {
        let tag = fingerprint.tag();
        let id = self.pages[self.directory.page_of(tag) as usize].block_of(tag);
        let block = self.arena.block(id);
        let first = fingerprint.first_row();
        let second = tag.other_row(first);
        (id, [(first, block.row(first)), (second, block.row(second))])
    }

    #[inline]
    fn slot_ref(&self, place: Place) -> SlotRef {
        SlotRef {
            place: place.pack(),
            #[cfg(debug_assertions)]
            generation: self.generation,
        }
    }

    #[inline]
    fn place_of(&self, at: SlotRef) -> Place {
        #[cfg(debug_assertions)]
        assert_eq!(at.generation, self.generation, "a slot reference was used after an insert or remove");
        Place::unpack(at.place)
    }

    #[inline]
    fn next_generation(&mut self) {
        #[cfg(debug_assertions)]
        {
            self.generation += 1;
        }
    }

    /// The entry of a key with this fingerprint whose record satisfies `matches`, which compares the key at an address.
    ///
    /// Calls `matches` for entries with the same tag in the same two rows. A block's tags differ in those bits only that
    /// did not choose the block, so a wrong one comes up once in a hundred lookups at 10M keys, in ten at 100M.
    #[inline]
    pub fn find(
        &self,
        fingerprint: Fingerprint,
        mut matches: impl FnMut(Address) -> bool,
    ) -> Option<(SlotRef, Address)> {
        let (block, rows) = self.rows_of(fingerprint);
        for (row, line) in rows {
            let mut mask = line.matches(fingerprint.tag());
            while mask != 0 {
                let slot = mask.trailing_zeros() as usize;
                mask &= mask - 1;
                if let Some(address) = line.load(slot).address()
                    && matches(address)
                {
                    return Some((self.slot_ref(Place::Slot { block, row, slot }), address));
                }
            }
        }
        if self.side.is_empty() {
            return None;
        }
        self.find_aside(fingerprint, matches)
    }

    #[cold]
    fn find_aside(
        &self,
        fingerprint: Fingerprint,
        mut matches: impl FnMut(Address) -> bool,
    ) -> Option<(SlotRef, Address)> {
        let family = Family::new(fingerprint.tag(), fingerprint.first_row());
        let mut entries = self.side.of(family).iter().copied().enumerate();
        let (position, address) = entries.find(|&(_, address)| matches(address))?;
        Some((self.slot_ref(Place::Side { family, position }), address))
    }

    /// All entries that a key with this fingerprint may be: same tag, in the same two rows or in the side table.
    #[inline]
    pub fn candidates(&self, fingerprint: Fingerprint) -> Candidates<'_> {
        let (block, rows) = self.rows_of(fingerprint);
        let [first, second] = rows.map(|(_, line)| line.matches(fingerprint.tag()));
        let family = Family::new(fingerprint.tag(), fingerprint.first_row());
        let side = if self.side.is_empty() { &[] } else { self.side.of(family) };
        Candidates { index: self, block, rows, mask: first | second << SLOTS, family, side, position: 0 }
    }

    /// The address in a slot.
    ///
    /// # Panics
    /// If the slot is empty or gone, which a valid reference never is.
    #[inline]
    pub fn get(&self, at: SlotRef) -> Address {
        match self.place_of(at) {
            Place::Slot { block, row, slot } => match self.arena.block(block).row(row).load(slot).address() {
                Some(address) => address,
                None => stale(),
            },
            Place::Side { family, position } => match self.side.of(family).get(position) {
                Some(address) => *address,
                None => stale(),
            },
        }
    }

    /// Points an entry to another record of the same key. References stay valid.
    #[inline]
    pub fn replace(&mut self, at: SlotRef, address: Address) {
        match self.place_of(at) {
            Place::Slot { block, row, slot } => {
                let line = self.arena.block(block).row(row);
                let word = line.load(slot);
                debug_assert!(!word.is_empty());
                line.store(slot, word.with_address(address));
                if self.walk.is_some() {
                    self.note_change(Family::new(word.tag(), row), word.address(), Some(address));
                }
            }
            Place::Side { family, position } => {
                let old = std::mem::replace(self.side.slot_mut(family, position), address);
                self.note_change(family, Some(old), Some(address));
            }
        }
    }

    /// What was noted of reads of an entry: 0 to [`MAX_VISITED`](crate::MAX_VISITED). Nothing is noted of the few in
    /// the side table.
    #[inline]
    pub fn visited(&self, at: SlotRef) -> Option<u8> {
        if at == SlotRef::NOWHERE {
            return None; // what a transaction has written and not published
        }
        match self.place_of(at) {
            Place::Slot { block, row, slot } => Some(self.arena.block(block).row(row).load(slot).visited()),
            Place::Side { .. } => None,
        }
    }

    /// Notes something of reads of an entry. What another thread notes meanwhile may be lost.
    #[inline]
    pub fn set_visited(&mut self, at: SlotRef, visited: u8) {
        if let Place::Slot { block, row, slot } = self.place_of(at) {
            let line = self.arena.block(block).row(row);
            line.store(slot, line.load(slot).with_visited(visited));
        }
    }

    /// Adds an entry for a key that has none (the caller has looked). Invalidates references.
    ///
    /// Grows the index by a block now and then, which takes some 10 µs.
    ///
    /// # Errors
    /// If it had to grow and the system has no memory to give: then nothing was added.
    #[inline]
    pub fn insert(&mut self, fingerprint: Fingerprint, address: Address) -> Result<(), IndexError> {
        self.next_generation();
        let (tag, row) = (fingerprint.tag(), fingerprint.first_row());
        let word = Word::new(tag, address);
        loop {
            let page = &mut self.pages[self.directory.page_of(tag) as usize];
            let block = self.arena.block(page.block_of(tag));
            let version = || self.publisher.as_ref()?.version(tag);
            if place(block, row, word, version) {
                page.live += 1;
                break;
            }
            if !self.growth_helps(fingerprint) {
                self.side.push(Family::new(tag, row), address);
                self.show_side();
                break;
            }
            self.grow(tag)?;
        }
        self.len += 1;
        if self.walk.is_some() {
            self.note_change(Family::new(tag, row), None, Some(address));
        }
        Ok(())
    }

    /// Takes an entry out. Invalidates references.
    ///
    /// Shrinks the index by a block now and then, which takes some 10 µs.
    pub fn remove(&mut self, at: SlotRef) {
        let place_of_entry = self.place_of(at);
        self.next_generation();
        self.len -= 1;
        match place_of_entry {
            Place::Side { family, position } => {
                let old = self.side.remove(family, position);
                self.note_change(family, Some(old), None);
                self.show_side();
            }
            Place::Slot { block, row, slot } => {
                let line = self.arena.block(block).row(row);
                let word = line.load(slot);
                let tag = word.tag();
                debug_assert!(!word.is_empty());
                line.store(slot, Word::EMPTY);
                if let Some(walk) = &mut self.walk {
                    walk.note(Family::new(tag, row), word.address(), None);
                }
                if !self.side.is_empty()
                    && let Some(address) = self.side.pop(Family::new(tag, row))
                {
                    if let Some(version) = self.version(tag) {
                        version.begin();
                    }
                    line.store(slot, Word::new(tag, address));
                    self.show_side();
                    if let Some(version) = self.version(tag) {
                        version.end();
                    }
                    return;
                }
                self.pages[self.owners[block.raw() as usize] as usize].live -= 1;
                self.shrink(tag);
            }
        }
    }
}

impl std::fmt::Debug for Index {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Index").field("len", &self.len).finish_non_exhaustive()
    }
}

#[cold]
#[inline(never)]
fn stale() -> ! {
    panic!("a slot reference points to no entry: it was used after an insert or remove")
}

/// See [`Index::candidates`].
pub struct Candidates<'a> {
    index: &'a Index,
    block: BlockId,
    rows: [(usize, &'a Row); 2],
    /// One bit per slot of the two rows.
    mask: u32,
    family: Family,
    side: &'a [Address],
    /// Next of `side`.
    position: usize,
}

impl Iterator for Candidates<'_> {
    type Item = (SlotRef, Address);

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        while self.mask != 0 {
            let bit = self.mask.trailing_zeros() as usize;
            self.mask &= self.mask - 1;
            let ((row, line), slot) = (self.rows[bit / SLOTS], bit & (SLOTS - 1));
            if let Some(address) = line.load(slot).address() {
                return Some((self.index.slot_ref(Place::Slot { block: self.block, row, slot }), address));
            }
        }
        let address = *self.side.get(self.position)?;
        let place = Place::Side { family: self.family, position: self.position };
        self.position += 1;
        Some((self.index.slot_ref(place), address))
    }
}
