//! `--scan`, and what else goes over all keys.

use std::thread::sleep;
use std::time::Duration;

use crate::connection::Connection;
use crate::console::print;
use crate::error::{Error, Result};
use crate::options::Modes;
use crate::quote::quote;
use crate::value::Value;

/// All keys, some at a time.
pub(super) struct Scan {
    words: Vec<Vec<u8>>,
    ended: bool,
}

impl Scan {
    /// Those that the options name.
    pub(super) fn new(modes: &Modes) -> Result<Self> {
        let mut words = vec![b"SCAN".to_vec(), b"0".to_vec()];
        let mut option = |name: &str, value: Vec<u8>| words.extend([name.into(), value]);
        if let Some(pattern) = modes.pattern()? {
            option("MATCH", pattern);
        }
        if let Some(count) = modes.count {
            option("COUNT", count.to_string().into());
        }
        if let Some(kind) = &modes.kind {
            option("TYPE", kind.clone().into());
        }
        Ok(Self { words, ended: false })
    }

    /// The next keys, maybe none; `None` when those were all.
    pub(super) fn next(&mut self, connection: &mut Connection) -> Result<Option<Vec<Vec<u8>>>> {
        if self.ended {
            return Ok(None);
        }
        let reply = connection.call(&self.words, |_| {})?;
        if let Some(reply) = reply.error() {
            return Err(Error::Refused { what: "SCAN".into(), reply });
        }
        let strange = || Error::Protocol("not an answer to SCAN".into());
        let Value::Array(parts) = reply else { return Err(strange()) };
        let mut parts = parts.into_iter();
        let (Some(Value::Text(cursor)), Some(Value::Array(keys))) = (parts.next(), parts.next()) else {
            return Err(strange());
        };
        self.ended = cursor == b"0";
        self.words[1] = cursor;
        let keys = keys.into_iter().filter_map(|key| if let Value::Text(key) = key { Some(key) } else { None });
        Ok(Some(keys.collect()))
    }
}

/// Prints every key in a line.
pub(super) fn run(connection: &mut Connection, modes: &Modes, pause: Option<Duration>, quoted: bool) -> Result<()> {
    let mut scan = Scan::new(modes)?;
    let mut out = Vec::new();
    while let Some(keys) = scan.next(connection)? {
        out.clear();
        for key in keys {
            if quoted {
                out.extend_from_slice(quote(&key).as_bytes());
            } else {
                out.extend_from_slice(&key);
            }
            out.push(b'\n');
        }
        print(&out)?;
        if let Some(pause) = pause {
            sleep(pause);
        }
    }
    Ok(())
}
