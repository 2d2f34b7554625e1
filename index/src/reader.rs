//! Lookups by other threads than the writer's.

use std::sync::Arc;

use crossbeam_epoch::Guard;
use emberkv_log::Address;

use crate::{block::Block, fingerprint::Fingerprint, prefetch::prefetch, published::Published, version::PageVersion};

/// Looks fingerprints up in an index that another thread changes. See [`Index::reader`](crate::Index::reader).
///
/// All is read under a guard of [`crossbeam_epoch::pin`]; an address is good for as long.
#[derive(Clone, Debug)]
pub struct Reader {
    pub(crate) published: Arc<Published>,
}

/// What a reader has found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Probe {
    /// The newest record of the key was at this address at some time during the call.
    Hit(Address),
    /// There was no entry at some time during the call.
    Absent,
    /// Nothing was found, and that means nothing: entries were moving. The index's owner knows.
    Unsure,
}

impl Reader {
    /// The entry of a key with this fingerprint whose record satisfies `matches`, which compares the key at an address.
    #[inline]
    pub fn find(&self, guard: &Guard, fingerprint: Fingerprint, matches: impl FnMut(Address) -> bool) -> Probe {
        let tag = fingerprint.tag();
        let Some(view) = self.published.view(guard, tag) else { return Probe::Unsure };
        probe(view.block(tag), &view.version, fingerprint, || self.published.has_side_entries(), matches)
    }

    /// Starts fetching the two cache lines that a lookup of this fingerprint reads.
    #[inline]
    pub fn prefetch(&self, guard: &Guard, fingerprint: Fingerprint) {
        let tag = fingerprint.tag();
        if let Some(view) = self.published.view(guard, tag) {
            let block = view.block(tag);
            let first = fingerprint.first_row();
            prefetch(block.row(first));
            prefetch(block.row(tag.other_row(first)));
        }
    }

    /// Notes a read of the entry at `address`, if it is still there: `next` makes of its visited bits what they are to be, or
    /// leaves them.
    pub fn visit(
        &self,
        guard: &Guard,
        fingerprint: Fingerprint,
        address: Address,
        next: impl FnOnce(u8) -> Option<u8>,
    ) {
        let tag = fingerprint.tag();
        let Some(view) = self.published.view(guard, tag) else { return };
        let (block, first) = (view.block(tag), fingerprint.first_row());
        for row in [first, tag.other_row(first)] {
            let line = block.row(row);
            let mut mask = line.matches(tag);
            while mask != 0 {
                let slot = mask.trailing_zeros() as usize;
                mask &= mask - 1;
                let word = line.load_shared(slot);
                if word.has_tag(tag) && word.address() == Some(address) {
                    if let Some(visited) = next(word.visited()) {
                        line.exchange_shared(slot, word, word.with_visited(visited));
                    }
                    return;
                }
            }
        }
    }

    /// The addresses that a lookup of this fingerprint would look at now: to prefetch their records.
    #[inline]
    pub fn candidates(&self, guard: &Guard, fingerprint: Fingerprint, mut report: impl FnMut(Address)) {
        let _ = self.find(guard, fingerprint, |address| {
            report(address);
            false
        });
    }
}

/// Looks at the two rows of a fingerprint. That nothing is there counts only if no entry has moved meanwhile, and there
/// is none in the side table.
#[inline]
pub(crate) fn probe(
    block: &Block,
    version: &PageVersion,
    fingerprint: Fingerprint,
    has_side_entries: impl FnOnce() -> bool,
    mut matches: impl FnMut(Address) -> bool,
) -> Probe {
    let tag = fingerprint.tag();
    let before = version.read();
    let first = fingerprint.first_row();
    for row in [first, tag.other_row(first)] {
        let line = block.row(row);
        let mut mask = line.matches(tag);
        while mask != 0 {
            let slot = mask.trailing_zeros() as usize;
            mask &= mask - 1;
            let word = line.load_shared(slot);
            if word.has_tag(tag)
                && let Some(address) = word.address()
                && matches(address)
            {
                return Probe::Hit(address);
            }
        }
    }
    match before {
        // in this order: an entry leaves the side table while the version says so
        Some(before) if !has_side_entries() && version.is_still(before) => Probe::Absent,
        _ => Probe::Unsure,
    }
}
