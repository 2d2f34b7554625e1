//! `--bigkeys` and `--memkeys`: the largest key of each type.

use std::collections::BTreeMap;
use std::thread::sleep;
use std::time::Duration;

use super::scan::Scan;
use super::stat::bytes;
use crate::connection::{Connection, encode};
use crate::console::print;
use crate::error::{Error, Result};
use crate::options::Modes;
use crate::quote::quote;
use crate::value::Value;

/// How many SCANs go between two pauses.
const CYCLES: u32 = 100;

/// What is known of one type.
#[derive(Default)]
struct Kind {
    keys: u64,
    sum: i64,
    biggest: Option<(i64, Vec<u8>)>,
}

/// The command that tells a key's size, and what it counts.
fn measure(kind: &str, by_memory: bool) -> Option<(&'static [&'static str], &'static str)> {
    if by_memory {
        return Some((&["MEMORY", "USAGE"], "bytes"));
    }
    match kind {
        "string" => Some((&["STRLEN"], "bytes")),
        "list" => Some((&["LLEN"], "items")),
        "set" => Some((&["SCARD"], "members")),
        "hash" => Some((&["HLEN"], "fields")),
        "zset" => Some((&["ZCARD"], "members")),
        "stream" => Some((&["XLEN"], "entries")),
        // a module's: it can be counted, not measured.
        _ => None,
    }
}

/// Looks at every key.
pub(super) fn run(connection: &mut Connection, modes: &Modes, pause: Option<Duration>) -> Result<()> {
    let by_memory = modes.memkeys;
    print(b"\n# Scanning the entire keyspace to find biggest keys as well as\n# average sizes per key type.\n\n")?;
    let total = connection.must(&["DBSIZE"])?;
    let total = if let Value::Integer(total) = total { total.max(1) } else { 1 };
    let mut scan = Scan::new(modes)?;
    let mut kinds: BTreeMap<String, Kind> = BTreeMap::new();
    let (mut sampled, mut name_bytes, mut cycles) = (0_u64, 0_u64, 0_u32);
    while let Some(keys) = scan.next(connection)? {
        let of: Vec<String> = ask(connection, keys.iter().map(|key| vec![&b"TYPE"[..], key]))?
            .iter()
            .map(|reply| String::from_utf8_lossy(reply.text().unwrap_or_default()).into_owned())
            .collect();
        // "none": it went meanwhile.
        let known: Vec<(&Vec<u8>, &String)> = keys.iter().zip(&of).filter(|(_, kind)| *kind != "none").collect();
        let requests = known.iter().map(|(key, kind)| match measure(kind, by_memory) {
            Some((words, _)) => words.iter().map(|word| word.as_bytes()).chain([key.as_slice()]).collect(),
            None => vec![&b"EXISTS"[..], key],
        });
        let sizes = ask(connection, requests)?;
        for ((key, kind), size) in known.into_iter().zip(sizes) {
            let size = match size {
                Value::Integer(size) => size,
                Value::Error(text) if by_memory => {
                    let reply = String::from_utf8_lossy(&text).into_owned();
                    return Err(Error::Refused { what: "MEMORY USAGE".into(), reply });
                }
                _ => 0,
            };
            sampled += 1;
            name_bytes += key.len() as u64;
            let entry = kinds.entry(kind.clone()).or_default();
            entry.keys += 1;
            entry.sum += size;
            if entry.biggest.as_ref().is_none_or(|(most, _)| size > *most) {
                let unit = measure(kind, by_memory).map_or("", |(_, unit)| unit);
                let part = sampled as f64 / total as f64 * 100.0;
                let line = format!(
                    "[{:05.2}%] Biggest {kind:<6} found so far {} with {size} {unit}\n",
                    part.min(100.0),
                    quote(key)
                );
                print(line.as_bytes())?;
                entry.biggest = Some((size, key.clone()));
            }
        }
        cycles += 1;
        if cycles.is_multiple_of(CYCLES)
            && let Some(pause) = pause
        {
            sleep(pause);
        }
    }
    print(summary(&kinds, by_memory, sampled, name_bytes).as_bytes())
}

fn summary(kinds: &BTreeMap<String, Kind>, by_memory: bool, sampled: u64, name_bytes: u64) -> String {
    let average = |sum: f64, count: u64| if count == 0 { 0.0 } else { sum / count as f64 };
    let mut text = format!(
        "\n-------- summary -------\n\nSampled {sampled} keys in the keyspace!\n\
         Total key length in bytes is {name_bytes} (avg len {:.2})\n\n",
        average(name_bytes as f64, sampled)
    );
    let unit = |kind: &str| measure(kind, by_memory).map_or("", |(_, unit)| unit);
    for (name, kind) in kinds {
        if let Some((size, key)) = &kind.biggest {
            text += &format!("Biggest {name:>6} found {} has {size} {}", quote(key), unit(name));
            text += &if unit(name) == "bytes" { format!(" ({})\n", bytes(*size)) } else { "\n".to_owned() };
        }
    }
    text += "\n";
    for (name, kind) in kinds {
        let part = average(100.0 * kind.keys as f64, sampled);
        text += &format!(
            "{} {name}s with {} {} ({part:05.2}% of keys, avg size {:.2})\n",
            kind.keys,
            kind.sum,
            unit(name),
            average(kind.sum as f64, kind.keys)
        );
    }
    text
}

/// Sends requests in one go, and waits for all replies.
fn ask<'a>(connection: &mut Connection, requests: impl Iterator<Item = Vec<&'a [u8]>>) -> Result<Vec<Value>> {
    let (mut bytes, mut count) = (Vec::new(), 0);
    for request in requests {
        encode(&request, &mut bytes);
        count += 1;
    }
    connection.send_bytes(&bytes)?;
    let mut replies = Vec::with_capacity(count);
    while replies.len() < count {
        match connection.read()? {
            Value::Push(_) => {}
            reply => replies.push(reply),
        }
    }
    Ok(replies)
}
