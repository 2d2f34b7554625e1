//! The slot of a key, as redis cluster has it, and the partition of a slot.

/// How many slots there are.
const SLOTS: u32 = 16_384;

/// CRC16 (XMODEM) of every byte.
static TABLE: [u16; 256] = table();

const fn table() -> [u16; 256] {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let mut crc = (byte as u16) << 8;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 0x8000 == 0 { crc << 1 } else { crc << 1 ^ 0x1021 };
            bit += 1;
        }
        table[byte] = crc;
        byte += 1;
    }
    table
}

/// The slot of a key: of the part in its first pair of braces, if there is something in it.
#[inline]
pub(crate) fn slot(key: &[u8]) -> u16 {
    let tag = key.iter().position(|byte| *byte == b'{').and_then(|open| {
        let rest = &key[open + 1..];
        let close = rest.iter().position(|byte| *byte == b'}')?;
        (close > 0).then(|| &rest[..close])
    });
    let crc = tag.unwrap_or(key).iter().fold(0u16, |crc, byte| crc << 8 ^ TABLE[usize::from((crc >> 8) as u8 ^ byte)]);
    crc % SLOTS as u16
}

/// The partition of a slot: equal ranges.
#[inline]
pub(crate) fn partition_of(slot: u16, partitions: u16) -> u16 {
    (u32::from(slot) * u32::from(partitions) / SLOTS) as u16
}
