//! Values that are kept lz4-compressed.
//!
//! Stored as the length of the value (4 bytes) and one lz4 block.

/// The longest value that is packed, in bytes: longer ones would hold up the turn (law 4). It takes half a millisecond.
pub const MAX_PACKED_VALUE_BYTES: usize = 256 << 10;

const LEN_BYTES: usize = 4;

/// A value as a record of [`Kind::PutPacked`](crate::Kind::PutPacked) keeps it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Packed<'a> {
    stored: &'a [u8],
}

impl<'a> Packed<'a> {
    /// Packs a value by way of `buffer`. `None` if it is too long for that, or would not become at least an eighth shorter.
    pub fn pack(value: &[u8], buffer: &'a mut Vec<u8>) -> Option<Self> {
        if value.len() > MAX_PACKED_VALUE_BYTES {
            return None;
        }
        buffer.clear();
        buffer.resize(LEN_BYTES + lz4_flex::block::get_maximum_output_size(value.len()), 0);
        buffer[..LEN_BYTES].copy_from_slice(&(value.len() as u32).to_le_bytes());
        let block = lz4_flex::block::compress_into(value, &mut buffer[LEN_BYTES..]).ok()?;
        let len = LEN_BYTES + block;
        (len <= value.len() - value.len() / 8).then(|| Self { stored: &buffer[..len] })
    }

    /// The bytes of a record; `None` if nothing that was packed looks like this.
    pub(crate) fn from_stored(stored: &'a [u8]) -> Option<Self> {
        let packed = Self { stored };
        (stored.len() > LEN_BYTES && packed.len() <= MAX_PACKED_VALUE_BYTES).then_some(packed)
    }

    /// As [`Packed::from_stored`], for a record that was looked at when it was read or written.
    #[inline]
    pub(crate) fn trusted(stored: &'a [u8]) -> Self {
        debug_assert!(Self::from_stored(stored).is_some());
        Self { stored }
    }

    /// What a record keeps.
    #[inline]
    pub fn stored(self) -> &'a [u8] {
        self.stored
    }

    /// Bytes of the value.
    #[must_use]
    #[allow(clippy::len_without_is_empty, reason = "what is empty is not packed")]
    pub fn len(self) -> usize {
        let len: [u8; LEN_BYTES] = std::array::from_fn(|i| self.stored[i]);
        u32::from_le_bytes(len) as usize
    }

    /// Appends the value to `out`.
    ///
    /// # Panics
    /// If the block is not one that [`Packed::pack`] has made. Its crc agreed when it was read from disk, so only a
    /// fault of this program or of the memory does that.
    pub fn unpack(self, out: &mut Vec<u8>) {
        let start = out.len();
        out.resize(start + self.len(), 0);
        match lz4_flex::block::decompress_into(&self.stored[LEN_BYTES..], &mut out[start..]) {
            Ok(len) if len == self.len() => {}
            other => panic!("a packed value of {} bytes can't be unpacked: {other:?}", self.len()),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn unpacked(packed: Packed<'_>) -> Vec<u8> {
        let mut out = b"before".to_vec();
        packed.unpack(&mut out);
        assert!(out.starts_with(b"before"));
        out.split_off(6)
    }

    proptest! {
        #[test]
        fn a_value_comes_back(unit in prop::collection::vec(any::<u8>(), 1..40), times in 1_usize..200) {
            let value = unit.repeat(times);
            let mut buffer = vec![1; 7];
            if let Some(packed) = Packed::pack(&value, &mut buffer) {
                prop_assert!(packed.stored().len() < value.len());
                prop_assert_eq!(packed.len(), value.len());
                prop_assert_eq!(Packed::from_stored(packed.stored()), Some(packed));
                prop_assert_eq!(unpacked(packed), value);
            } else {
                prop_assert!(times < 4 || value.len() < 64, "{} bytes, {times} times the same", value.len());
            }
        }
    }

    #[test]
    fn what_does_not_shrink_and_what_is_too_long_is_left() {
        let mut buffer = Vec::new();
        let random: Vec<u8> =
            (0..4000_u32).flat_map(|i| i.wrapping_mul(0x9e37_79b9).rotate_left(i).to_le_bytes()).collect();
        assert_eq!(Packed::pack(&random, &mut buffer), None);
        assert_eq!(Packed::pack(b"", &mut buffer), None);
        assert_eq!(Packed::pack(&vec![0; MAX_PACKED_VALUE_BYTES + 1], &mut buffer), None);
        assert!(Packed::pack(&vec![0; MAX_PACKED_VALUE_BYTES], &mut buffer).is_some());
        assert_eq!(Packed::from_stored(&[1, 0, 0, 0]), None);
        assert_eq!(Packed::from_stored(&[0xff; 9]), None);
    }
}
