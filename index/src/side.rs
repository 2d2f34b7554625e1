//! The side table: entries for which no growth could make room.

use std::collections::BTreeMap;

use emberkv_log::Address;

use crate::fingerprint::{Family, Tag};

/// Addresses by family, in tag order. Empty in practice: a family needs more than sixteen keys, one in
/// 2^30 each, or a block the bad luck to be full long before the others of its page.
#[derive(Default)]
pub(crate) struct SideTable {
    families: BTreeMap<Family, Vec<Address>>,
    len: usize,
}

impl SideTable {
    #[inline]
    pub(crate) const fn is_empty(&self) -> bool {
        self.len == 0
    }

    pub(crate) const fn len(&self) -> usize {
        self.len
    }

    /// All entries that may have this family's fingerprint.
    pub(crate) fn of(&self, family: Family) -> &[Address] {
        self.families.get(&family).map_or(&[], Vec::as_slice)
    }

    pub(crate) fn push(&mut self, family: Family, address: Address) {
        self.families.entry(family).or_default().push(address);
        self.len += 1;
    }

    /// # Panics
    /// If there is no such entry.
    pub(crate) fn slot_mut(&mut self, family: Family, position: usize) -> &mut Address {
        match self.families.get_mut(&family).and_then(|addresses| addresses.get_mut(position)) {
            Some(address) => address,
            None => panic!("no entry {position} of {family:?} in the side table: the slot reference is stale"),
        }
    }

    /// Takes one entry out; the last of its family takes its position.
    ///
    /// # Panics
    /// If there is no such entry.
    pub(crate) fn remove(&mut self, family: Family, position: usize) -> Address {
        let address = *self.slot_mut(family, position);
        if let Some(addresses) = self.families.get_mut(&family) {
            addresses.swap_remove(position);
            if addresses.is_empty() {
                self.families.remove(&family);
            }
        }
        self.len -= 1;
        address
    }

    /// Takes some entry of the family out.
    pub(crate) fn pop(&mut self, family: Family) -> Option<Address> {
        let last = self.of(family).len().checked_sub(1)?;
        Some(self.remove(family, last))
    }

    /// The first family that is not below `from` and whose tag is below `end`.
    pub(crate) fn next_family(&self, from: Family, end: u32) -> Option<Family> {
        self.families.range(from..Family::lowest_of(end)).next().map(|(family, _)| *family)
    }

    /// The families with tags in `first..end`, and their addresses.
    pub(crate) fn families(&self, first: u32, end: u32) -> impl Iterator<Item = (Family, Address)> + '_ {
        self.families
            .range(Family::lowest_of(first)..Family::lowest_of(end))
            .flat_map(|(family, addresses)| addresses.iter().map(|&address| (*family, address)))
    }

    /// The entries with tags in `first..end`.
    pub(crate) fn range(&self, first: u32, end: u32) -> impl Iterator<Item = (Tag, Address)> + '_ {
        self.families
            .range(Family::lowest_of(first)..Family::lowest_of(end))
            .flat_map(|(family, addresses)| addresses.iter().map(|&address| (family.tag(), address)))
    }

    /// The entry at this position of all; the families are walked.
    pub(crate) fn nth(&self, position: usize) -> Option<Address> {
        self.families.values().flatten().nth(position).copied()
    }

    /// About what it takes on the heap.
    pub(crate) fn memory_bytes(&self) -> usize {
        self.families.values().map(|addresses| 48 + addresses.capacity() * size_of::<Address>()).sum()
    }
}
