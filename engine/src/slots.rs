//! From a key to its partition: by redis cluster's slots, in equal ranges.

use emberkv_log::PartitionId;

/// How many slots there are.
pub const SLOTS: u16 = 16384;

/// `TABLES[k][byte]` is the crc of `byte` followed by `k` zeros: eight bytes are taken in one step, whose look-ups do not
/// wait for one another. (Byte by byte, the crc of a key of 16 bytes is a chain of 16 look-ups.)
const TABLES: [[u16; 256]; 8] = tables();

const fn tables() -> [[u16; 256]; 8] {
    let mut tables = [[0; 256]; 8];
    let mut byte = 0;
    while byte < 256 {
        let mut crc = (byte as u16) << 8;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 0x8000 != 0 { crc << 1 ^ 0x1021 } else { crc << 1 };
            bit += 1;
        }
        tables[0][byte] = crc;
        byte += 1;
    }
    let mut zeros = 1;
    while zeros < 8 {
        let mut byte = 0;
        while byte < 256 {
            let crc = tables[zeros - 1][byte];
            tables[zeros][byte] = crc << 8 ^ tables[0][(crc >> 8) as usize];
            byte += 1;
        }
        zeros += 1;
    }
    tables
}

/// CRC-16/XMODEM, which redis cluster uses.
#[inline]
fn crc16(bytes: &[u8]) -> u16 {
    let (chunks, rest) = bytes.as_chunks::<8>();
    let mut crc = 0u16;
    for chunk in chunks {
        let [high, low] = crc.to_be_bytes();
        let mut next = TABLES[7][usize::from(chunk[0] ^ high)] ^ TABLES[6][usize::from(chunk[1] ^ low)];
        for (i, byte) in chunk.iter().enumerate().skip(2) {
            next ^= TABLES[7 - i][usize::from(*byte)];
        }
        crc = next;
    }
    for byte in rest {
        crc = crc << 8 ^ TABLES[0][usize::from((crc >> 8) as u8 ^ byte)];
    }
    crc
}

/// What is hashed of a key: what is between the first `{` and the first `}` after it, if there is anything; else all of it.
#[inline]
fn hashed(key: &[u8]) -> &[u8] {
    let Some(open) = key.iter().position(|byte| *byte == b'{') else { return key };
    let tag = &key[open + 1..];
    match tag.iter().position(|byte| *byte == b'}') {
        Some(len) if len > 0 => &tag[..len],
        _ => key,
    }
}

/// A key's slot, as redis cluster has it.
#[inline]
pub fn slot(key: &[u8]) -> u16 {
    crc16(hashed(key)) % SLOTS
}

/// The partition that holds a key, out of `partitions`.
#[inline]
pub fn partition_of(key: &[u8], partitions: u16) -> PartitionId {
    if partitions == 1 {
        return PartitionId(0);
    }
    PartitionId((u32::from(slot(key)) * u32::from(partitions) / u32::from(SLOTS)) as u16)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn slots_are_those_of_redis_cluster() {
        // CLUSTER KEYSLOT of redis 7
        for (key, expected) in [
            ("", 0),
            ("foo", 12182),
            ("somekey", 11058),
            ("foo{hash_tag}", 2515),
            ("bar{hash_tag}", 2515),
            ("123456789", 0x31c3),
        ] {
            assert_eq!(slot(key.as_bytes()), expected, "{key}");
        }
        assert_eq!(slot(b"{user1000}.following"), slot(b"{user1000}.followers"));
        assert_eq!(slot(b"foo{}{bar}"), crc16(b"foo{}{bar}") % SLOTS);
        assert_eq!(slot(b"foo{{bar}}zap"), slot(b"{bar"));
        assert_eq!(slot(b"foo{bar}{zap}"), slot(b"bar"));
        assert_eq!(slot(b"foo{bar"), crc16(b"foo{bar") % SLOTS);
    }

    proptest! {
        #[test]
        fn eight_bytes_at_a_time_make_the_same_crc(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
            let mut crc = 0u16;
            for byte in &bytes {
                crc ^= u16::from(*byte) << 8;
                for _ in 0..8 {
                    crc = if crc & 0x8000 != 0 { crc << 1 ^ 0x1021 } else { crc << 1 };
                }
            }
            prop_assert_eq!(crc16(&bytes), crc);
        }
    }

    #[test]
    fn partitions_are_equal_ranges_of_slots() {
        for partitions in [1, 2, 3, 7, 16] {
            let mut counts = vec![0u32; usize::from(partitions)];
            let mut last = 0;
            for i in 0..u32::from(SLOTS) {
                let partition = (i * u32::from(partitions) / u32::from(SLOTS)) as u16;
                assert!(partition == last || partition == last + 1);
                last = partition;
                counts[usize::from(partition)] += 1;
            }
            assert!(counts.iter().max().unwrap() - counts.iter().min().unwrap() <= 1);
            assert!(partition_of(b"foo", partitions).0 < partitions);
        }
    }
}
