//! Where a value ends.

use std::io::Read;

use super::source::Source;
use super::*;
use crate::error::Result;

impl<R: Read> Source<R> {
    /// Reads over a value of a type.
    ///
    /// # Errors
    /// When the type is not known, or what is kept would be too much.
    pub fn skip_value(&mut self, kind: u8) -> Result<()> {
        match kind {
            STRING | HASH_ZIPMAP | LIST_ZIPLIST | SET_INTSET | ZSET_ZIPLIST | HASH_ZIPLIST | HASH_LISTPACK
            | ZSET_LISTPACK | SET_LISTPACK => self.skip_string(),
            LIST | SET | LIST_ZIPLISTS => self.times(Self::skip_string),
            HASH => self.times(|source| source.skip_string().and_then(|()| source.skip_string())),
            ZSET_TEXT => self.times(|source| {
                source.skip_string()?;
                match source.byte()? {
                    253.. => Ok(()),
                    len => source.skip(len.into()),
                }
            }),
            ZSET => self.times(|source| {
                source.skip_string()?;
                source.skip(8)
            }),
            LIST_NODES => self.times(|source| {
                source.count()?;
                source.skip_string()
            }),
            HASH_EXPIRING_EARLY => self.times(Self::skip_timed),
            HASH_EXPIRING => {
                self.skip(8)?;
                self.times(Self::skip_timed)
            }
            HASH_LISTPACK_EXPIRING_EARLY => self.skip_string(),
            HASH_LISTPACK_EXPIRING => {
                self.skip(8)?;
                self.skip_string()
            }
            HASH_TIMED => self.times(|source| {
                source.skip_string()?;
                source.skip_string()?;
                source.skip(8)
            }),
            STREAM_1 | STREAM_2 | STREAM_3 => self.skip_stream(kind),
            MODULE => self.skip_module().map(drop),
            _ => Err(self.wrong(format!("{kind} is no type of a value that is known"))),
        }
    }

    fn times(&mut self, mut skip: impl FnMut(&mut Self) -> Result<()>) -> Result<()> {
        for _ in 0..self.count()? {
            skip(self)?;
        }
        Ok(())
    }

    fn skip_timed(&mut self) -> Result<()> {
        self.count()?;
        self.skip_string()?;
        self.skip_string()
    }

    fn skip_stream(&mut self, kind: u8) -> Result<()> {
        self.times(|source| source.skip_string().and_then(|()| source.skip_string()))?;
        // entries, the last id; then the first id, the highest one that was deleted, and how many were added
        for _ in 0..if kind == STREAM_1 { 3 } else { 8 } {
            self.count()?;
        }
        self.times(|source| {
            source.skip_string()?;
            for _ in 0..if kind == STREAM_1 { 2 } else { 3 } {
                source.count()?;
            }
            source.times(|source| {
                source.skip(16 + 8)?;
                source.count().map(drop)
            })?;
            source.times(|source| {
                source.skip_string()?;
                source.skip(if kind == STREAM_3 { 16 } else { 8 })?;
                source.times(|source| source.skip(16))
            })
        })
    }

    /// Reads over what a module has written, and returns the module's name.
    pub fn skip_module(&mut self) -> Result<String> {
        let name = module_name(self.count()?);
        loop {
            match self.count()? {
                0 => return Ok(name),
                1 | 2 => drop(self.count()?),
                3 => self.skip(4)?,
                4 => self.skip(8)?,
                5 => self.skip_string()?,
                other => return Err(self.wrong(format!("{other} is nothing that a module writes"))),
            }
        }
    }
}

/// Nine letters of six bits each, above the ten bits of a version.
fn module_name(id: u64) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    (0..9).map(|nth| char::from(LETTERS[(id >> (58 - 6 * nth) & 63) as usize])).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_module_s_value_ends_where_it_says() {
        let mut bytes = vec![0x81];
        bytes.extend_from_slice(&[0; 8]);
        bytes.extend_from_slice(&[2, 5, 1, 7, 3, 0, 0, 0, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 5, 2, b'a', b'b', 0, 99]);
        let mut source = Source::new(&bytes[..]);
        assert_eq!(source.skip_module().unwrap(), "AAAAAAAAA");
        assert_eq!(source.byte().unwrap(), 99);
    }
}
