//! Writing an RDB file.

use std::io::{self, Seek, SeekFrom, Write};

use emberkv_engine::payload::crc64_from;

use super::source::Source;
use super::*;
use crate::error::Result;

/// Behind each payload: the version, 2 le, and the checksum, 8 le.
const FOOTER: usize = 10;

/// A value as DUMP replies it, without what stands behind it.
#[derive(Debug)]
pub(crate) struct Payload {
    kind: u8,
    body: Vec<u8>,
}

impl Payload {
    /// Of a reply of DUMP's. A stream is written as redis 7.0 reads it, if `version` is that old: all that is lost is when
    /// consumers were active last, and redis 7.0 does not know of that.
    ///
    /// # Errors
    /// When it is of a type that is not known, or ends before its value does.
    pub fn of(dumped: &[u8], version: u32) -> Result<Self> {
        let end = dumped.len().saturating_sub(FOOTER);
        let (body, footer) = dumped.split_at(end);
        let Some((&kind, body)) = body.split_first() else {
            return Err(Source::new(dumped).wrong("a payload is empty"));
        };
        let is_valkey = footer.first_chunk().is_some_and(|version| u16::from_le_bytes(*version) >= 80);
        let kind = if is_valkey && kind == HASH_EXPIRING_EARLY { HASH_TIMED } else { kind };
        let mut source = Source::new(body);
        source.skip_value(kind)?;
        if source.position() != body.len() as u64 {
            return Err(source.wrong("a payload has more than its value"));
        }
        if kind == STREAM_3 && version < 11 {
            return Ok(Self { kind: STREAM_2, body: older_stream(body)? });
        }
        Ok(Self { kind, body: body.to_vec() })
    }

    /// The oldest version that knows the type; `None`: only valkey does.
    fn version(&self) -> Option<u32> {
        match self.kind {
            SET_LISTPACK | STREAM_3 => Some(11),
            HASH_EXPIRING_EARLY | HASH_LISTPACK_EXPIRING_EARLY | HASH_EXPIRING | HASH_LISTPACK_EXPIRING => Some(12),
            HASH_TIMED => None,
            _ => Some(10),
        }
    }
}

/// A stream without the times at which consumers were active.
fn older_stream(body: &[u8]) -> Result<Vec<u8>> {
    let mut source = Source::new(body);
    let mut older = Vec::with_capacity(body.len());
    // what was kept since is taken over, but for its last bytes
    let mut take = |source: &mut Source<&[u8]>, but: usize| {
        let kept = source.kept();
        older.extend_from_slice(&kept[..kept.len() - but]);
        source.keep(usize::MAX);
    };
    source.keep(usize::MAX);
    for _ in 0..source.count()? {
        source.skip_string()?;
        source.skip_string()?;
    }
    for _ in 0..8 {
        source.count()?;
    }
    for _ in 0..source.count()? {
        source.skip_string()?;
        for _ in 0..3 {
            source.count()?;
        }
        for _ in 0..source.count()? {
            source.skip(24)?;
            source.count()?;
        }
        for _ in 0..source.count()? {
            source.skip_string()?;
            source.skip(16)?;
            take(&mut source, 8);
            for _ in 0..source.count()? {
                source.skip(16)?;
            }
        }
    }
    take(&mut source, 0);
    Ok(older)
}

/// Writes a file. The header is written last: the version is the oldest that knows all that is in it.
pub(crate) struct Writer<W> {
    to: W,
    db: Option<u64>,
    version: u32,
    is_valkey: bool,
}

impl<W: Write + Seek> Writer<W> {
    /// Begins a file of this version, or a newer one.
    ///
    /// # Errors
    /// When it can't be written.
    pub fn new(mut to: W, version: u32) -> io::Result<Self> {
        to.write_all(b"\0\0\0\0\0\0\0\0\0")?;
        let mut writer = Self { to, db: None, version, is_valkey: false };
        writer.to.write_all(&[0xfa])?;
        writer.text(b"emberkv-ver")?;
        writer.text(env!("CARGO_PKG_VERSION").as_bytes())?;
        Ok(writer)
    }

    /// Writes a key.
    ///
    /// # Errors
    /// When it can't be written.
    pub fn key(&mut self, db: u64, key: &[u8], payload: &Payload, expires_at_ms: Option<u64>) -> io::Result<()> {
        if self.db != Some(db) {
            self.to.write_all(&[0xfe])?;
            self.length(db)?;
            self.db = Some(db);
        }
        if let Some(ms) = expires_at_ms {
            self.to.write_all(&[0xfc])?;
            self.to.write_all(&ms.to_le_bytes())?;
        }
        match payload.version() {
            Some(version) => self.version = self.version.max(version),
            None => self.is_valkey = true,
        }
        self.to.write_all(&[if payload.kind == HASH_TIMED { HASH_EXPIRING_EARLY } else { payload.kind }])?;
        self.text(key)?;
        self.to.write_all(&payload.body)
    }

    fn length(&mut self, len: u64) -> io::Result<()> {
        match len {
            0..0x40 => self.to.write_all(&[len as u8]),
            0x40..0x4000 => self.to.write_all(&(len as u16 | 1 << 14).to_be_bytes()),
            _ => {
                self.to.write_all(&[0x81])?;
                self.to.write_all(&len.to_be_bytes())
            }
        }
    }

    fn text(&mut self, text: &[u8]) -> io::Result<()> {
        self.length(text.len() as u64)?;
        self.to.write_all(text)
    }

    /// Writes the header and what is behind the last key, but for the checksum. Returns the header's words.
    fn seal(&mut self) -> io::Result<String> {
        self.to.write_all(&[0xff])?;
        self.to.flush()?;
        let header = if self.is_valkey { "VALKEY080".to_owned() } else { format!("REDIS{:04}", self.version) };
        self.to.seek(SeekFrom::Start(0))?;
        self.to.write_all(header.as_bytes())?;
        self.to.flush()?;
        Ok(header)
    }
}

impl<W: io::Read + Write + Seek> Writer<io::BufWriter<W>> {
    /// Ends the file, and returns it with its header's words. For the checksum it is read once.
    ///
    /// # Errors
    /// When it can't be written or read.
    pub fn finish(mut self) -> io::Result<(W, String)> {
        let header = self.seal()?;
        let mut file = self.to.into_inner().map_err(io::IntoInnerError::into_error)?;
        file.seek(SeekFrom::Start(0))?;
        let (mut crc, mut piece) = (0, vec![0; 1 << 20]);
        loop {
            match file.read(&mut piece)? {
                0 => break,
                len => crc = crc64_from(crc, &piece[..len]),
            }
        }
        file.write_all(&crc.to_le_bytes())?;
        Ok((file, header))
    }
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::super::reader::{Body, Item, Reader};
    use super::*;

    fn dumped(kind: u8, body: &[u8]) -> Vec<u8> {
        [&[kind][..], body, &10u16.to_le_bytes(), &[0; 8]].concat()
    }

    #[test]
    fn what_is_written_is_read() {
        let mut writer = Writer::new(io::BufWriter::new(Cursor::new(Vec::new())), 10).unwrap();
        let text = Payload::of(&dumped(STRING, b"\x03abc"), 10).unwrap();
        writer.key(0, b"k", &text, None).unwrap();
        writer.key(300, &[b'x'; 20_000], &text, Some(1 << 40)).unwrap();
        let set = Payload::of(&dumped(HASH_EXPIRING, b"\x01\0\0\0\0\0\0\0\0"), 10).unwrap();
        writer.key(300, b"h", &set, None).unwrap();
        let (file, header) = writer.finish().unwrap();
        assert_eq!(header, "REDIS0012");
        let file = file.into_inner();
        let mut reader = Reader::new(&file[..], 1 << 20).unwrap();
        assert!(matches!(reader.next().unwrap(), Item::About(..)));
        let mut keys = Vec::new();
        loop {
            match reader.next().unwrap() {
                Item::Key(entry) => keys.push((entry.db, entry.key.len(), entry.kind, entry.body, entry.expires_at_ms)),
                Item::End => break,
                other => panic!("{other:?}"),
            }
        }
        let whole = |text: &[u8]| Body::Whole(text.to_vec());
        assert_eq!(keys[0], (0, 1, STRING, whole(b"\x03abc"), None));
        assert_eq!(keys[1], (300, 20_000, STRING, whole(b"\x03abc"), Some(1 << 40)));
        assert_eq!(keys[2], (300, 1, HASH_EXPIRING, whole(b"\x01\0\0\0\0\0\0\0\0"), None));
        assert_eq!(keys.len(), 3);
        // every bit counts, but for those of the checksum itself when they make it 0
        for at in (0..file.len()).step_by(97) {
            let mut damaged = file.clone();
            damaged[at] ^= 4;
            let all = Reader::new(&damaged[..], 1 << 20).and_then(|mut reader| {
                while reader.next()? != Item::End {}
                Ok(())
            });
            assert!(all.is_err(), "a bit of byte {at}");
        }
    }

    #[test]
    fn a_stream_loses_its_active_times_for_redis_7_0() {
        let mut body = vec![0, 0];
        body.extend_from_slice(&[5, 0, 0, 0, 0, 0, 1]);
        // a group with one pending entry and one consumer
        body.extend_from_slice(&[1, 1, b'g', 5, 0, 1, 1]);
        let id = [0, 0, 0, 0, 0, 0, 0, 5, 0, 0, 0, 0, 0, 0, 0, 0];
        body.extend_from_slice(&id);
        body.extend_from_slice(&[7, 0, 0, 0, 0, 0, 0, 0, 1]);
        body.extend_from_slice(&[1, 1, b'c']);
        let (mut newer, mut older) = (body.clone(), body);
        newer.extend_from_slice(&[8, 0, 0, 0, 0, 0, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0, 1]);
        newer.extend_from_slice(&id);
        older.extend_from_slice(&[8, 0, 0, 0, 0, 0, 0, 0, 1]);
        older.extend_from_slice(&id);
        let payload = Payload::of(&dumped(STREAM_3, &newer), 10).unwrap();
        assert_eq!((payload.kind, &payload.body), (STREAM_2, &older));
        assert_eq!(Payload::of(&dumped(STREAM_3, &newer), 11).unwrap().kind, STREAM_3);
        let mut source = Source::new(&older[..]);
        source.skip_value(STREAM_2).unwrap();
        assert_eq!(source.position(), older.len() as u64);
    }
}
