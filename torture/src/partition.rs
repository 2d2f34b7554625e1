//! Which partition a key belongs to: redis cluster's slots, dealt out in equal ranges.

/// The number of slots.
const SLOTS: u32 = 16_384;

/// The slot of a key: of its `{tag}` where it has one that is not empty.
#[must_use]
pub fn slot(key: &[u8]) -> u16 {
    let tag = key.iter().position(|byte| *byte == b'{').and_then(|open| {
        let rest = &key[open + 1..];
        let close = rest.iter().position(|byte| *byte == b'}')?;
        (close > 0).then(|| &rest[..close])
    });
    crc16(tag.unwrap_or(key)) % SLOTS as u16
}

/// The partition of a key among so many.
#[must_use]
pub fn partition(key: &[u8], partitions: u16) -> u16 {
    let partition = u32::from(slot(key)) * u32::from(partitions) / SLOTS;
    u16::try_from(partition).unwrap_or(u16::MAX)
}

/// CRC-16/XMODEM.
fn crc16(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0, |crc: u16, byte| {
        (0..8).fold(
            crc ^ (u16::from(*byte) << 8),
            |crc, _| {
                if crc & 0x8000 == 0 { crc << 1 } else { (crc << 1) ^ 0x1021 }
            },
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_those_of_redis_cluster() {
        assert_eq!(crc16(b"123456789"), 0x31c3);
        assert_eq!(slot(b"foo"), 12_182);
        assert_eq!(slot(b"{user1000}.following"), slot(b"user1000"));
        assert_eq!(slot(b"foo{}{bar}"), crc16(b"foo{}{bar}") % 16_384);
        assert_eq!(slot(b"foo{{bar}}zap"), slot(b"{bar"));
    }

    #[test]
    fn partitions_are_equal_ranges_of_slots() {
        assert_eq!(partition(b"foo", 1), 0);
        assert_eq!(partition(b"foo", 2), 1);
        assert_eq!(partition(b"foo", 4), 2);
    }
}
