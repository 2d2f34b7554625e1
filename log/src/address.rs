//! The numbers that name a place in the log. Each has its own type, so that none is taken for another.

/// Bits of an [`Address`]: what one index slot has room for.
pub const ADDRESS_BITS: u32 = 38;

/// Where a record lies: (segment slot, byte offset), packed in 38 bits.
///
/// ```text
///  37                26 25                         0
/// +--------------------+----------------------------+
/// |    segment slot    |   byte offset in segment   |   64-MiB segments; the split follows
/// +--------------------+----------------------------+   the segment size, see [`AddressSplit`]
/// ```
///
/// Zero is no address: offset 0 of a segment is its header.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[repr(transparent)]
pub struct Address(u64);

impl Address {
    /// The address with these bits.
    ///
    /// # Panics
    /// If `raw` is zero or does not fit in 38 bits (debug builds only).
    #[inline]
    pub const fn from_raw(raw: u64) -> Self {
        debug_assert!(raw != 0 && raw >> ADDRESS_BITS == 0);
        Self(raw)
    }

    /// The address as an integer of at most 38 bits, never zero.
    #[inline]
    pub const fn raw(self) -> u64 {
        self.0
    }
}

/// A segment's place in the partition's segment table: the upper half of an [`Address`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct SegmentSlot(pub u32);

/// A partition of the data set: its place among all of them.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct PartitionId(pub u16);

/// Bytes appended to the partition since it was created: what replies wait for.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct LogPosition(pub u64);

/// How an [`Address`] is divided: fixed when a data set is created, kept in its manifest.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct AddressSplit {
    offset_bits: u32,
}

impl AddressSplit {
    /// The split for segments of `segment_size` bytes; `None` unless that is a power of two between
    /// 64 KiB and 1 GiB.
    pub const fn for_segment_size(segment_size: u64) -> Option<Self> {
        if !segment_size.is_power_of_two() || segment_size < 1 << 16 || segment_size > 1 << 30 {
            return None;
        }
        Some(Self { offset_bits: segment_size.trailing_zeros() })
    }

    /// Bytes of a segment of ordinary size.
    #[inline]
    pub const fn segment_size(self) -> u64 {
        1 << self.offset_bits
    }

    /// How many segment slots an address can tell apart.
    pub const fn slots(self) -> u32 {
        1 << (ADDRESS_BITS - self.offset_bits)
    }

    /// The address of `offset` in the segment whose first slot is `slot`. A segment of a record that is
    /// larger than `segment_size` has several slots in a row; `offset` may reach into any of them.
    #[inline]
    pub fn address(self, slot: SegmentSlot, offset: u64) -> Address {
        Address::from_raw((u64::from(slot.0) << self.offset_bits) + offset)
    }

    /// The slot and the offset in it.
    #[inline]
    pub const fn parts(self, address: Address) -> (SegmentSlot, u64) {
        (SegmentSlot((address.0 >> self.offset_bits) as u32), address.0 & ((1 << self.offset_bits) - 1))
    }
}

/// A segment's place in the order of the log. Never used twice in a partition.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct SegmentSequence(pub u64);

/// The number in a segment file's name. Says nothing of what the file holds: the manifest does.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct FileId(pub u32);

/// Random, new at every filling of a segment file: what tells a frame of this filling from the stale
/// bytes of a recycled file (F1, F3).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Nonce(pub u64);

impl LogPosition {
    /// The position `bytes` further on.
    #[inline]
    pub const fn plus(self, bytes: u64) -> Self {
        Self(self.0 + bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_gives_back_its_parts() {
        let split = AddressSplit::for_segment_size(64 << 20).unwrap();
        assert_eq!(split.slots(), 4096);
        let address = split.address(SegmentSlot(4095), (64 << 20) - 8);
        assert_eq!(split.parts(address), (SegmentSlot(4095), (64 << 20) - 8));
        let in_second_slot = split.address(SegmentSlot(7), (64 << 20) + 88);
        assert_eq!(split.parts(in_second_slot), (SegmentSlot(8), 88));
    }

    #[test]
    fn only_powers_of_two_split_an_address() {
        assert!(AddressSplit::for_segment_size(48 << 20).is_none());
        assert!(AddressSplit::for_segment_size(2 << 30).is_none());
    }
}
