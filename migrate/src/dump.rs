//! `emberkv dump`: all keys of a server into an RDB file.

use std::collections::HashSet;
use std::collections::hash_map::RandomState;
use std::fs::{self, File};
use std::hash::BuildHasher;
use std::io::BufWriter;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;

use emberkv_console::{Connection, Interrupt, Target, Value};

use crate::error::{self, Error, Result, of};
use crate::load::now_ms;
use crate::rdb::{Payload, Writer};
use crate::report::{Report, say, shown};
use crate::servers::{Progress, connect, databases, pipeline, read_all, send_all, words};

/// How many keys a SCAN looks at.
const SCAN_COUNT: &[u8] = b"512";

/// One step of SCAN: the next cursor, and keys.
pub(crate) fn scan(connection: &mut Connection, cursor: &[u8], who: &'static str) -> Result<(Vec<u8>, Vec<Vec<u8>>)> {
    let command = words("SCAN", &[cursor, b"COUNT", SCAN_COUNT]);
    let reply = pipeline(connection, &[command], who)?.pop();
    let refused = |reply: String| of(who)(emberkv_console::Error::Refused { what: "SCAN".into(), reply });
    let Some(Value::Array(parts)) = reply else {
        return Err(refused(reply.and_then(|reply| reply.error()).unwrap_or_default()));
    };
    match <[Value; 2]>::try_from(parts) {
        Ok([Value::Text(next), Value::Array(keys)]) => {
            let key = |key: Value| if let Value::Text(key) = key { Some(key) } else { None };
            Ok((next, keys.into_iter().filter_map(key).collect()))
        }
        _ => Err(refused("it has another form".into())),
    }
}

/// Keys that were seen: SCAN may show one twice, and a file that has one twice is not read.
#[derive(Default)]
struct Seen {
    keys: HashSet<u128>,
    states: [RandomState; 2],
}

impl Seen {
    /// Whether it is new. Of two keys one would be taken for the other once in 2^128 pairs.
    fn insert(&mut self, db: u64, key: &[u8]) -> bool {
        let [a, b] = &self.states;
        let high = u128::from(a.hash_one((db, key)));
        self.keys.insert(high << 64 | u128::from(b.hash_one((db, key))))
    }
}

/// Writes all keys of all databases; the file has its name when it is whole.
///
/// # Errors
/// When the server has gone, or the file can't be written.
pub(crate) fn dump(from: &Target, path: &Path, version: u32, interrupt: &Interrupt) -> Result<Report> {
    let fresh = PathBuf::from(format!("{}.part", path.display()));
    let done = write(from, &fresh, version, interrupt);
    match done {
        Ok(report) => {
            fs::rename(&fresh, path).map_err(error::file(path))?;
            Ok(report)
        }
        Err(error) => {
            let _ = fs::remove_file(&fresh);
            Err(error)
        }
    }
}

fn write(from: &Target, path: &Path, version: u32, interrupt: &Interrupt) -> Result<Report> {
    let failed = error::file(path);
    let mut connection = connect(from, "source")?;
    let file = File::options().read(true).write(true).create(true).truncate(true).open(path).map_err(&failed)?;
    let mut writer = Writer::new(BufWriter::with_capacity(1 << 20, file), version).map_err(&failed)?;
    let (mut report, mut seen, mut progress) = (Report::default(), Seen::default(), Progress::new());
    // servers before redis 7.0 say only how long is left
    let probe = connection.call(&["PEXPIRETIME", "emberkv:no:such:key"], |_| {}).map_err(of("source"))?;
    let (time, is_left) = if probe.is_error() { ("PTTL", true) } else { ("PEXPIRETIME", false) };
    for db in databases(&mut connection, "source")? {
        connection.must(&["SELECT", &db.to_string()]).map_err(of("source"))?;
        let mut cursor = b"0".to_vec();
        loop {
            let (next, mut keys) = scan(&mut connection, &cursor, "source")?;
            keys.retain(|key| seen.insert(db, key));
            let commands: Vec<_> = keys.iter().flat_map(|key| [words(time, &[key]), words("DUMP", &[key])]).collect();
            send_all(&mut connection, &commands, "source")?;
            for key in &keys {
                let mut replies = read_all(&mut connection, 2, "source")?.into_iter();
                let (Some(ttl), Some(value)) = (replies.next(), replies.next()) else { break };
                let payload = match value {
                    // it has gone meanwhile
                    Value::Nil => continue,
                    Value::Text(payload) => Payload::of(&payload, version),
                    other => {
                        report.fail(db, key, &other.error().unwrap_or_default());
                        continue;
                    }
                };
                let expires_at_ms = match ttl {
                    Value::Integer(ms @ 0..) => Some(ms as u64 + if is_left { now_ms() } else { 0 }),
                    _ => None,
                };
                match payload {
                    Ok(payload) => {
                        writer.key(db, key, &payload, expires_at_ms).map_err(&failed)?;
                        report.carried += 1;
                    }
                    Err(error) => drop(report.fail(db, key, &format!("its payload is not understood: {error}"))),
                }
            }
            if interrupt.load(Ordering::Relaxed) {
                return Err(Error::Interrupted);
            }
            progress.say(|| format!("{} keys", report.carried));
            if next == b"0" {
                break;
            }
            cursor = next;
        }
    }
    let functions = connection.call(&["FUNCTION", "LIST"], |_| {}).map_err(of("source"))?;
    if let Value::Array(libraries) = functions {
        for library in libraries {
            let name = if let Value::Array(facts) = &library { facts.get(1).and_then(Value::text) } else { None };
            report.fail_other(format!("the functions {}", shown(name.unwrap_or_default())));
        }
    }
    let (file, header) = writer.finish().map_err(&failed)?;
    file.sync_all().map_err(&failed)?;
    say(format_args!("{header}: {} keys", report.carried));
    Ok(report)
}
