//! The bytes of an RDB file: counted, checksummed, and, while a value is being delimited, kept.

use std::io::{ErrorKind, Read};

use emberkv_engine::payload::{crc64_from, lzf_unpack};
use emberkv_resp::format;

use crate::error::{Error, Result};

/// What is reserved before it has come: a length may be a lie.
const PIECE: usize = 64 * 1024;

/// What stands before a string's bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Length {
    /// So many follow.
    Bytes(u64),
    /// They are encoded in this way.
    Encoded(u8),
}

/// See the module.
pub(crate) struct Source<R> {
    from: R,
    position: u64,
    crc: u64,
    /// What was read and is to be read again.
    again: Vec<u8>,
    again_at: usize,
    /// What is read, if it is to be kept, and how much of it may be.
    kept: Option<(Vec<u8>, usize)>,
}

impl<R: Read> Source<R> {
    pub fn new(from: R) -> Self {
        Self { from, position: 0, crc: 0, again: Vec::new(), again_at: 0, kept: None }
    }

    /// How many bytes were read of the file.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// The checksum of all that was read.
    pub fn crc(&self) -> u64 {
        self.crc
    }

    /// An error about what was read last.
    pub fn wrong(&self, what: impl Into<String>) -> Error {
        Error::Rdb { position: self.position, what: what.into() }
    }

    /// From here on what is read is kept, up to `limit` bytes.
    pub fn keep(&mut self, limit: usize) {
        debug_assert!(self.kept.is_none());
        self.kept = Some((Vec::new(), limit));
    }

    /// What was kept.
    pub fn kept(&mut self) -> Vec<u8> {
        self.kept.take().map(|(bytes, _)| bytes).unwrap_or_default()
    }

    /// What was kept is read again.
    pub fn rewind(&mut self) {
        let rest = self.again.split_off(self.again_at);
        self.again = self.kept();
        self.again.extend_from_slice(&rest);
        self.again_at = 0;
    }

    fn fill(&mut self, buffer: &mut [u8]) -> Result<()> {
        if let Some((kept, limit)) = &self.kept
            && kept.len() + buffer.len() > *limit
        {
            return Err(Error::TooLarge { position: self.position });
        }
        let old = (self.again.len() - self.again_at).min(buffer.len());
        buffer[..old].copy_from_slice(&self.again[self.again_at..self.again_at + old]);
        self.again_at += old;
        if self.again_at == self.again.len() && self.again_at > 0 {
            (self.again, self.again_at) = (Vec::new(), 0);
        }
        let new = &mut buffer[old..];
        if !new.is_empty() {
            match self.from.read_exact(new) {
                Ok(()) => {}
                Err(error) if error.kind() == ErrorKind::UnexpectedEof => return Err(self.wrong("it ends here")),
                Err(error) if error.kind() == ErrorKind::Interrupted => return Err(Error::Interrupted),
                Err(source) => {
                    return Err(Error::Server {
                        who: "source",
                        source: emberkv_console::Error::Io { what: "reading the rdb", source },
                    });
                }
            }
            self.position += new.len() as u64;
            self.crc = crc64_from(self.crc, new);
        }
        if let Some((kept, _)) = &mut self.kept {
            kept.extend_from_slice(buffer);
        }
        Ok(())
    }

    pub fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        let mut array = [0; N];
        self.fill(&mut array)?;
        Ok(array)
    }

    pub fn byte(&mut self) -> Result<u8> {
        self.array::<1>().map(|[byte]| byte)
    }

    /// The next bytes, of which there may be fewer than somebody says.
    pub fn bytes(&mut self, len: u64) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        let mut left = len;
        while left > 0 {
            let begin = bytes.len();
            // as much again as has come
            let step = left.min(begin.max(PIECE) as u64) as usize;
            bytes.resize(begin + step, 0);
            self.fill(&mut bytes[begin..])?;
            left -= step as u64;
        }
        Ok(bytes)
    }

    /// Reads over so many bytes.
    pub fn skip(&mut self, len: u64) -> Result<()> {
        if let Some((kept, limit)) = &self.kept
            && len > (*limit - kept.len()) as u64
        {
            return Err(Error::TooLarge { position: self.position });
        }
        let mut piece = [0; 4096];
        let mut left = len;
        while left > 0 {
            let step = left.min(piece.len() as u64) as usize;
            self.fill(&mut piece[..step])?;
            left -= step as u64;
        }
        Ok(())
    }

    pub fn length(&mut self) -> Result<Length> {
        let first = self.byte()?;
        let low = first & 0x3f;
        Ok(match first >> 6 {
            0 => Length::Bytes(low.into()),
            1 => Length::Bytes(u64::from(low) << 8 | u64::from(self.byte()?)),
            2 if first == 0x80 => Length::Bytes(u32::from_be_bytes(self.array()?).into()),
            2 if first == 0x81 => Length::Bytes(u64::from_be_bytes(self.array()?)),
            2 => return Err(self.wrong(format!("{first:#x} begins no length"))),
            _ => Length::Encoded(low),
        })
    }

    /// A length that is a number of something.
    pub fn count(&mut self) -> Result<u64> {
        match self.length()? {
            Length::Bytes(count) => Ok(count),
            Length::Encoded(_) => Err(self.wrong("a number of things is encoded as a string")),
        }
    }

    /// The rest of a string that does not simply follow its length.
    pub fn encoded(&mut self, how: u8) -> Result<Vec<u8>> {
        let int = match how {
            0 => i8::from_le_bytes(self.array()?).into(),
            1 => i16::from_le_bytes(self.array()?).into(),
            2 => i32::from_le_bytes(self.array()?).into(),
            3 => {
                let (packed, len) = (self.count()?, self.count()?);
                let packed = self.bytes(packed)?;
                let text = usize::try_from(len).ok().and_then(|len| lzf_unpack(&packed, len));
                return text.ok_or_else(|| self.wrong("a compressed string does not unpack"));
            }
            _ => return Err(self.wrong(format!("a string is encoded in an unknown way, {how}"))),
        };
        Ok(format::integer(int, &mut [0; 20]).to_vec())
    }

    pub fn string(&mut self) -> Result<Vec<u8>> {
        match self.length()? {
            Length::Bytes(len) => self.bytes(len),
            Length::Encoded(how) => self.encoded(how),
        }
    }

    pub fn skip_string(&mut self) -> Result<()> {
        let len = match self.length()? {
            Length::Bytes(len) => len,
            Length::Encoded(0) => 1,
            Length::Encoded(1) => 2,
            Length::Encoded(2) => 4,
            Length::Encoded(3) => {
                let packed = self.count()?;
                self.count()?;
                packed
            }
            Length::Encoded(how) => return Err(self.wrong(format!("a string is encoded in an unknown way, {how}"))),
        };
        self.skip(len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_are_read_in_each_form() {
        let cases: [(&[u8], &[u8]); 6] = [
            (b"\x03abc", b"abc"),
            (b"\x40\x01a", b"a"),
            (b"\x80\0\0\0\x01a", b"a"),
            (b"\xc0\xff", b"-1"),
            (b"\xc2\0\0\0\x80", b"-2147483648"),
            (b"\xc3\x06\x0f\x00a\xe0\x05\x00", b""),
        ];
        for (bytes, text) in &cases[..5] {
            let mut source = Source::new(*bytes);
            assert_eq!(source.string().unwrap(), *text);
            let mut source = Source::new(*bytes);
            source.skip_string().unwrap();
            assert_eq!(source.position(), bytes.len() as u64);
            for end in 0..bytes.len() {
                assert!(Source::new(&bytes[..end]).string().is_err());
                assert!(Source::new(&bytes[..end]).skip_string().is_err());
            }
        }
        assert!(Source::new(cases[5].0).string().is_err(), "it says that it has more than it has");
    }

    #[test]
    fn what_was_kept_is_read_again_and_counted_once() {
        let mut source = Source::new(&b"abcdefgh"[..]);
        source.byte().unwrap();
        source.keep(4);
        source.skip(3).unwrap();
        assert!(matches!(source.skip(2), Err(Error::TooLarge { position: 4 })));
        source.rewind();
        assert_eq!(source.bytes(6).unwrap(), b"bcdefg");
        assert_eq!((source.position(), source.crc()), (7, crc64_from(0, b"abcdefg")));
    }

    #[test]
    fn a_lie_about_a_length_reserves_nothing() {
        assert!(matches!(Source::new(&b"\x81\x7f\0\0\0\0\0\0\0abc"[..]).string(), Err(Error::Rdb { .. })));
    }
}
