//! What is in an RDB file, one thing after another.

use std::io::Read;

use super::decode::{Element, decode};
use super::source::Source;
use super::{HASH_EXPIRING_EARLY, HASH_TIMED, MODULE};
use crate::error::{Error, Result};

/// The newest of redis's that is known: 8.2's.
const NEWEST: u32 = 12;
/// The newest of valkey's: 9.1's.
const NEWEST_VALKEY: u32 = 80;
/// Since when there is a checksum at the end.
const CHECKSUM_SINCE: u32 = 5;

const SLOT_INFO: u8 = 0xf4;
const FUNCTION: u8 = 0xf5;
const MODULE_AUX: u8 = 0xf7;
const IDLE: u8 = 0xf8;
const FREQUENCY: u8 = 0xf9;
const AUX: u8 = 0xfa;
const RESIZE: u8 = 0xfb;
const EXPIRES_MS: u8 = 0xfc;
const EXPIRES_S: u8 = 0xfd;
const SELECT: u8 = 0xfe;
const END: u8 = 0xff;

/// A key.
#[derive(PartialEq, Debug)]
pub(crate) struct Entry {
    pub db: u64,
    pub key: Vec<u8>,
    /// The type of its value.
    pub kind: u8,
    pub body: Body,
    pub expires_at_ms: Option<u64>,
    /// Seconds since which nobody has asked for it.
    pub idle_s: Option<u64>,
    /// How often it is asked for, as redis counts.
    pub frequency: Option<u8>,
}

/// A value.
#[derive(PartialEq, Debug)]
pub(crate) enum Body {
    /// Its bytes, without type, version and checksum.
    Whole(Vec<u8>),
    /// It has more bytes than are to be kept: [`Reader::elements`] has to be called before what follows is read.
    Large,
    /// Only this module knows what it is; its bytes were skipped.
    Module(String),
}

/// What comes next.
#[derive(PartialEq, Debug)]
pub(crate) enum Item {
    Key(Entry),
    /// A library of functions: its code.
    Functions(Vec<u8>),
    /// What a module has beside its keys was skipped; the module's name.
    ModuleAux(String),
    /// Something about the server that wrote it.
    About(Vec<u8>, Vec<u8>),
    /// The end, and the checksum is right.
    End,
}

/// Reads an RDB file.
pub(crate) struct Reader<R> {
    source: Source<R>,
    /// The largest value whose bytes are kept.
    limit: usize,
    version: u32,
    is_valkey: bool,
    db: u64,
}

impl<R: Read> Reader<R> {
    /// Reads the header.
    ///
    /// # Errors
    /// When it is none, or of a version that is not known.
    pub fn new(from: R, limit: usize) -> Result<Self> {
        let mut source = Source::new(from);
        let header = source.array::<9>()?;
        let number = |text: &[u8]| std::str::from_utf8(text).ok()?.parse().ok();
        let (version, is_valkey) = match (header.strip_prefix(b"REDIS"), header.strip_prefix(b"VALKEY")) {
            (Some(digits), _) => (number(digits), false),
            (_, Some(digits)) => (number(digits), true),
            _ => return Err(source.wrong("this is no rdb file")),
        };
        let version = version.ok_or_else(|| source.wrong("the version in its header is no number"))?;
        let is_known = if is_valkey { version <= NEWEST_VALKEY } else { (1..=NEWEST).contains(&version) };
        if !is_known {
            return Err(source.wrong(format!("version {version} is not known")));
        }
        Ok(Self { source, limit, version, is_valkey, db: 0 })
    }

    /// How many bytes were read.
    pub fn position(&self) -> u64 {
        self.source.position()
    }

    /// What comes next.
    ///
    /// # Errors
    /// When it is damaged, or something that is not known.
    pub fn next(&mut self) -> Result<Item> {
        let (mut expires_at_ms, mut idle_s, mut frequency) = (None, None, None);
        loop {
            let opcode = self.source.byte()?;
            match opcode {
                EXPIRES_MS => expires_at_ms = Some(u64::from_le_bytes(self.source.array()?)),
                EXPIRES_S => expires_at_ms = Some(u64::from(u32::from_le_bytes(self.source.array()?)) * 1000),
                IDLE => idle_s = Some(self.source.count()?),
                FREQUENCY => frequency = Some(self.source.byte()?),
                SELECT => self.db = self.source.count()?,
                RESIZE => {
                    self.source.count()?;
                    self.source.count()?;
                }
                SLOT_INFO => {
                    for _ in 0..3 {
                        self.source.count()?;
                    }
                }
                AUX => return Ok(Item::About(self.source.string()?, self.source.string()?)),
                FUNCTION => return Ok(Item::Functions(self.source.string()?)),
                MODULE_AUX => return Ok(Item::ModuleAux(self.source.skip_module()?)),
                END => return self.end().map(|()| Item::End),
                kind => {
                    // a byte that is no type should not be taken for one, and what follows for a key
                    if kind > super::HASH_LISTPACK_EXPIRING {
                        return Err(self.source.wrong(format!("{kind} is nothing that is known")));
                    }
                    let kind = if self.is_valkey && kind == HASH_EXPIRING_EARLY { HASH_TIMED } else { kind };
                    let key = self.source.string()?;
                    let body = self.body(kind)?;
                    return Ok(Item::Key(Entry { db: self.db, key, kind, body, expires_at_ms, idle_s, frequency }));
                }
            }
        }
    }

    fn body(&mut self, kind: u8) -> Result<Body> {
        if kind == MODULE {
            return Ok(Body::Module(self.source.skip_module()?));
        }
        self.source.keep(self.limit);
        match self.source.skip_value(kind) {
            Ok(()) => Ok(Body::Whole(self.source.kept())),
            Err(Error::TooLarge { .. }) => {
                self.source.rewind();
                Ok(Body::Large)
            }
            Err(error) => Err(error),
        }
    }

    /// Reads a value that is [`Body::Large`], piece by piece.
    ///
    /// # Errors
    /// When it is damaged, or `show` fails.
    pub fn elements(&mut self, kind: u8, show: &mut dyn FnMut(Element) -> Result<()>) -> Result<()> {
        decode(kind, &mut self.source, show)
    }

    fn end(&mut self) -> Result<()> {
        if self.version < CHECKSUM_SINCE && !self.is_valkey {
            return Ok(());
        }
        let computed = self.source.crc();
        let written = u64::from_le_bytes(self.source.array()?);
        // 0: whoever wrote it was told not to compute any
        if written == 0 || written == computed {
            Ok(())
        } else {
            Err(self.source.wrong(format!("its checksum is {written:016x}, that of what was read {computed:016x}")))
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::*;
    use super::*;

    /// A key of each type; nobody looks at the checksum.
    fn file() -> Vec<u8> {
        let listpack = b"\x0c\x0c\0\0\0\x02\0\x81a\x02\x07\x01\xff";
        let ziplist = b"\x11\x11\0\0\0\0\0\0\0\x02\0\x00\x01a\x03\xfe\x07\xff";
        let id = [0, 0, 0, 0, 0, 0, 0, 5, 0, 0, 0, 0, 0, 0, 0, 0];
        let entries =
            b"\x1d\x1d\0\0\0\x0a\0\x01\x01\0\x01\x01\x01\x81f\x02\0\x01\x02\x01\0\x01\0\x01\x81v\x02\x04\x01\xff";
        let group =
            [&b"\x01\x01g\x05\0\x01\x01"[..], &id, &[7, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, b'c'], &[0; 16], &[1], &id];
        let stream = [&[1, 16][..], &id, entries, b"\x01\x05\0\x05\0\0\0\x01", &group.concat()].concat();
        let values: [(u8, &[u8]); 16] = [
            (STRING, b"\x03abc"),
            (STRING, b"\xc3\x05\x0a\x00a\xe0\x00\x00"),
            (LIST, b"\x02\x01a\xc0\x07"),
            (SET, b"\x01\x01a"),
            (HASH, b"\x01\x01f\x01v"),
            (ZSET, b"\x01\x01m\0\0\0\0\0\0\xf0\x3f"),
            (ZSET_TEXT, b"\x02\x01m\x031.5\x01n\xff"),
            (SET_INTSET, b"\x0a\x02\0\0\0\x01\0\0\0\x07\0"),
            (HASH_LISTPACK, listpack),
            (ZSET_LISTPACK, listpack),
            (SET_LISTPACK, listpack),
            (LIST_ZIPLIST, ziplist),
            (HASH_EXPIRING, b"\x09\0\0\0\0\0\0\0\x01\x03\x01f\x01v"),
            (HASH_EXPIRING_EARLY, b"\x01\x03\x01f\x01v"),
            (STREAM_3, &stream),
            (MODULE, b"\x81\0\0\0\0\0\0\0\0\x05\x01a\0"),
        ];
        let mut file =
            b"REDIS0012\xfa\x01a\x01b\xf5\x03abc\xf7\x01\x02\x02\0\xfe\x03\xfb\x07\x01\xf4\x01\x01\x01".to_vec();
        for (kind, value) in values {
            file.extend_from_slice(&[&b"\xfc\x01\0\0\0\0\0\0\0\xf8\x07"[..], &[kind], b"\x01k", value].concat());
        }
        file.extend_from_slice(b"\xff\0\0\0\0\0\0\0\0");
        file
    }

    /// Reads all, each value in pieces too; how many keys there are.
    fn read(file: &[u8], limit: usize) -> Result<usize> {
        let mut reader = Reader::new(file, limit)?;
        let (mut keys, mut shown) = (0, 0);
        loop {
            match reader.next()? {
                Item::End => return Ok(keys),
                Item::Key(Entry { kind, body, .. }) => {
                    keys += 1;
                    let mut show = |_| {
                        shown += 1;
                        Ok(())
                    };
                    match body {
                        Body::Whole(body) => decode(kind, &mut Source::new(&body[..]), &mut show)?,
                        Body::Large => reader.elements(kind, &mut show)?,
                        Body::Module(_) => {}
                    }
                }
                _ => {}
            }
        }
    }

    #[test]
    fn values_are_read_whole_and_in_pieces() {
        assert_eq!(read(&file(), 1 << 20).unwrap(), 16);
        assert_eq!(read(&file(), 2).unwrap(), 16);
    }

    #[test]
    fn no_end_and_no_bit_makes_it_panic() {
        let whole = file();
        for at in 0..whole.len() {
            assert!(read(&whole[..at], 1 << 20).is_err(), "it ends at {at}");
            for bit in 0..8 {
                let mut damaged = whole.clone();
                damaged[at] ^= 1 << bit;
                let _ = (read(&damaged, 1 << 20), read(&damaged, 2));
            }
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200), kind in 0u8..26) {
            let file = [&b"REDIS0012"[..], &[kind, 1, b'k'], &bytes].concat();
            let _ = (read(&file, 1 << 20), read(&file, 2));
        }
    }
}
