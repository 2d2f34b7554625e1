//! The names of leaves: keys of the reserved database, which no client can name.
//!
//! ```text
//! +---+----+--------+----------+-----+
//! | 1 | db | id     | number   | key |
//! +---+----+--------+----------+-----+
//!   1   1    8 le     4 le       the collection's; db is the physical one
//! ```

use emberkv_log::DbId;

use crate::databases::RESERVED;

/// What a leaf's name begins with: the other keys of that database are words.
const TAG: u8 = 1;
const FRONT: usize = 1 + 1 + 8 + 4;

/// What a leaf is named by.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct LeafName<'a> {
    pub db: DbId,
    pub id: u64,
    pub number: u32,
    pub key: &'a [u8],
}

impl<'a> LeafName<'a> {
    /// Reads the key of a record; `None` if that is no leaf.
    #[inline]
    pub fn of(db: DbId, key: &'a [u8]) -> Option<Self> {
        if db != RESERVED { None } else { Self::read(key) }
    }

    fn read(name: &'a [u8]) -> Option<Self> {
        let (front, key) = name.split_first_chunk::<FRONT>()?;
        let [TAG, db, rest @ ..] = front else { return None };
        let (id, number) = rest.split_first_chunk::<8>()?;
        let number = u32::from_le_bytes(number.try_into().ok()?);
        Some(Self { db: DbId(*db), id: u64::from_le_bytes(*id), number, key })
    }

    /// Shows the key of its record, which is nowhere but on the stack if it is short.
    #[inline]
    pub fn with<T>(self, show: impl FnOnce(&[u8]) -> T) -> T {
        const SHORT: usize = 64;
        let mut short = [0; FRONT + SHORT];
        let Some(name) = short.get_mut(..FRONT + self.key.len()) else { return show(&self.write()) };
        name[..2].copy_from_slice(&[TAG, self.db.0]);
        name[2..10].copy_from_slice(&self.id.to_le_bytes());
        name[10..FRONT].copy_from_slice(&self.number.to_le_bytes());
        name[FRONT..].copy_from_slice(self.key);
        show(name)
    }

    /// The key of its record.
    pub fn write(self) -> Vec<u8> {
        let mut out = Vec::with_capacity(FRONT + self.key.len());
        out.extend_from_slice(&[TAG, self.db.0]);
        out.extend_from_slice(&self.id.to_le_bytes());
        out.extend_from_slice(&self.number.to_le_bytes());
        out.extend_from_slice(self.key);
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::databases::MAP_KEY;

    #[test]
    fn a_name_is_read_as_it_was_written() {
        let name = LeafName { db: DbId(3), id: 77, number: 12, key: b"" };
        assert_eq!(LeafName::of(RESERVED, &name.write()), Some(name));
        for len in [0, 63, 64, 65, 200] {
            let name = LeafName { key: &[b'k'; 200][..len], ..name };
            name.with(|shown| assert_eq!(shown, name.write()));
        }
        assert_eq!(LeafName::of(DbId(0), &name.write()), None, "a client may have such a key");
        assert_eq!(LeafName::of(RESERVED, MAP_KEY), None);
    }
}
