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
