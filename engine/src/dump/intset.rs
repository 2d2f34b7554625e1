//! Intsets, in which redis keeps small sets of integers and writes them into its payloads. They are only read here.
//!
//! ```text
//! +----------------+-------------+---------------------+
//! | width, 4 le    | count, 4 le | integers, ascending |     2, 4 or 8 bytes each, le
//! +----------------+-------------+---------------------+
//! ```

use emberkv_resp::format;

/// The members of an intset, as text; `None` if it is none.
#[must_use]
pub fn members(bytes: &[u8]) -> Option<Vec<Vec<u8>>> {
    let (width, rest) = bytes.split_first_chunk::<4>()?;
    let (count, rest) = rest.split_first_chunk::<4>()?;
    let width = usize::try_from(u32::from_le_bytes(*width)).ok().filter(|width| matches!(width, 2 | 4 | 8))?;
    if u64::from(u32::from_le_bytes(*count)) * width as u64 != rest.len() as u64 {
        return None;
    }
    let number = |bytes: &[u8]| {
        let mut number = [0; 8];
        number[8 - width..].copy_from_slice(bytes);
        i64::from_le_bytes(number) >> (64 - 8 * width)
    };
    let numbers: Vec<_> = rest.chunks_exact(width).map(number).collect();
    let is_ascending = numbers.windows(2).all(|pair| pair[0] < pair[1]);
    is_ascending.then(|| numbers.into_iter().map(|number| format::integer(number, &mut [0; 20]).to_vec()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_are_read_in_every_width() {
        for width in [2u32, 4, 8] {
            let mut bytes = [width.to_le_bytes(), 3u32.to_le_bytes()].concat();
            for number in [-300i64, 0, 32767] {
                bytes.extend_from_slice(&number.to_le_bytes()[..width as usize]);
            }
            let expected = ["-300", "0", "32767"].map(|text| text.as_bytes().to_vec());
            assert_eq!(members(&bytes), Some(expected.to_vec()));
            for end in 0..bytes.len() {
                assert_eq!(members(&bytes[..end]), None);
            }
            let swapped = [&bytes[..8], &bytes[8 + width as usize..], &bytes[8..8 + width as usize]].concat();
            assert_eq!(members(&swapped), None, "they do not ascend");
        }
        assert_eq!(members(&[3, 0, 0, 0, 0, 0, 0, 0]), None);
    }
}
