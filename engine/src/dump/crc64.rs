//! The crc64 of redis's payloads: Jones' polynomial, bits in reverse order.

/// `TABLES[k][byte]` is the crc of `byte` followed by `k` zeros: eight bytes are taken in one step.
const TABLES: [[u64; 256]; 8] = tables();

const fn tables() -> [[u64; 256]; 8] {
    let mut tables = [[0; 256]; 8];
    let mut byte = 0;
    while byte < 256 {
        let mut crc = byte as u64;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 1 == 1 { crc >> 1 ^ 0x95ac_9329_ac4b_c9b5 } else { crc >> 1 };
            bit += 1;
        }
        tables[0][byte] = crc;
        byte += 1;
    }
    let mut zeros = 1;
    while zeros < 8 {
        let mut byte = 0;
        while byte < 256 {
            let crc: u64 = tables[zeros - 1][byte];
            tables[zeros][byte] = crc >> 8 ^ tables[0][(crc & 0xff) as usize];
            byte += 1;
        }
        zeros += 1;
    }
    tables
}

pub(super) fn crc64(bytes: &[u8]) -> u64 {
    crc64_from(0, bytes)
}

/// The checksum of what has `crc`, and these bytes behind it.
#[must_use]
pub fn crc64_from(mut crc: u64, bytes: &[u8]) -> u64 {
    let (chunks, rest) = bytes.as_chunks::<8>();
    for chunk in chunks {
        let word = (crc ^ u64::from_le_bytes(*chunk)).to_le_bytes();
        crc = word.iter().enumerate().fold(0, |crc, (i, byte)| crc ^ TABLES[7 - i][usize::from(*byte)]);
    }
    for byte in rest {
        crc = crc >> 8 ^ TABLES[0][usize::from(crc as u8 ^ byte)];
    }
    crc
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn it_is_redis_s() {
        // of crc64.c's own test
        assert_eq!(crc64(b"123456789"), 0xe9c6_d914_c4b8_d9ca);
    }

    proptest! {
        #[test]
        fn eight_bytes_at_a_time_make_the_same(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
            let one = |crc: u64, byte: &u8| crc >> 8 ^ TABLES[0][usize::from(crc as u8 ^ byte)];
            prop_assert_eq!(crc64(&bytes), bytes.iter().fold(0, one));
            let (some, rest) = bytes.split_at(bytes.len() / 3);
            prop_assert_eq!(crc64_from(crc64(some), rest), crc64(&bytes));
        }
    }
}
