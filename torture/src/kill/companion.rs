//! Who is there besides those that write: it walks over all keys with SCAN, again and again, and has checkpoints taken and the log
//! compacted meanwhile. What nobody changes is listed by every walk.

use std::collections::HashSet;

use super::model::Key;
use crate::rng::Rng;
use crate::value::escape;
use crate::{Client, Error, Result, Value};

/// Enough to see what is wrong.
const MAX_COMPLAINTS: usize = 5;

/// What it has done, and what was wrong.
#[derive(Debug, Default)]
pub struct Seen {
    /// Walks that came to their end.
    pub walks: u64,
    /// Checkpoints that were begun.
    pub saves: u64,
    /// What must not be.
    pub complaints: Vec<String>,
}

/// Goes on until the server dies. `lasting` are keys that nobody changes.
pub fn accompany(mut client: Client, mut rng: Rng, lasting: &HashSet<Key>) -> Seen {
    let mut seen = Seen::default();
    while seen.complaints.len() < MAX_COMPLAINTS {
        match walk(&mut client, &mut rng, &mut seen) {
            Ok(listed) => {
                seen.walks += 1;
                let missing: Vec<String> = lasting.difference(&listed).take(3).map(|key| escape(key)).collect();
                if !missing.is_empty() {
                    seen.complaints.push(format!("a walk with SCAN did not list {missing:?}, which nobody changes"));
                }
            }
            Err(Error::Closed) => break,
            Err(error) => seen.complaints.push(format!("the walker: {error}")),
        }
    }
    seen
}

fn walk(client: &mut Client, rng: &mut Rng, seen: &mut Seen) -> Result<HashSet<Key>> {
    let (mut listed, mut cursor) = (HashSet::new(), b"0".to_vec());
    loop {
        match rng.below(40) {
            // an error says that one is under way
            0 | 1 => seen.saves += u64::from(!matches!(client.ask("BGSAVE")?, Value::Error(_))),
            2 => drop(client.ask("BGREWRITEAOF")?),
            _ => {}
        }
        let count = rng.between(1, 400).to_string();
        let reply = client.command(&[&b"SCAN"[..], &cursor, b"COUNT", count.as_bytes()])?;
        let Some([next, batch]) = reply.items() else {
            return Err(Error::Protocol(format!("SCAN was answered {reply:?}")));
        };
        listed.extend(batch.items().unwrap_or_default().iter().filter_map(|key| key.text().map(<[u8]>::to_vec)));
        cursor = next.text().unwrap_or(b"0").to_vec();
        if cursor == b"0" {
            return Ok(listed);
        }
    }
}
