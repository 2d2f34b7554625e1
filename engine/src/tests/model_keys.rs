//! The model of commands on more than one key.

use std::sync::Arc;

use super::model::{Answer, Model, NOT_INT, Name, SYNTAX, bulk, err, int, ok, strict_int};
use super::rig::DATABASES;

const SAME: &str = "ERR source and destination objects are the same";

fn database(text: &[u8]) -> Result<u8, String> {
    let Some(index) = strict_int(text) else { return err(NOT_INT) };
    if i32::try_from(index).is_err() {
        return err("ERR value is out of range, value must between -2147483648 and 2147483647");
    }
    if !(0..DATABASES as i64).contains(&index) {
        return err("ERR DB index is out of range");
    }
    Ok(index as u8)
}

impl Model {
    pub(super) fn rename(&mut self, only_new: bool, from: &Name, to: Name) -> Answer {
        let Some(held) = self.held(from) else { return err("ERR no such key") };
        let is_there = self.held(&to).is_some();
        if from != &to && !(only_new && is_there) {
            self.state.remove(from);
            self.state.insert(to, held);
        }
        if only_new { int(i64::from(!is_there)) } else { ok() }
    }

    pub(super) fn swapdb(&mut self, args: &[Vec<u8>]) -> Answer {
        let (a, b) = (database(&args[0])?, database(&args[1])?);
        let other = |db| {
            if db == a {
                b
            } else if db == b {
                a
            } else {
                db
            }
        };
        let state = std::mem::take(&mut self.state);
        self.state = state.into_iter().map(|((db, key), held)| ((other(db), key), held)).collect();
        ok()
    }

    /// MOVE and COPY.
    pub(super) fn carry(&mut self, name: &str, db: u8, args: &[Vec<u8>]) -> Answer {
        let from: Name = (db, args[0].as_slice().into());
        let (mut to_db, mut replace) = (db, false);
        if name == "move" {
            to_db = database(&args[1])?;
        } else {
            let mut rest = args[2..].iter();
            while let Some(word) = rest.next() {
                match (word.to_ascii_lowercase().as_slice(), rest.as_slice().first()) {
                    (b"replace", _) => replace = true,
                    (b"db", Some(index)) => {
                        to_db = database(index)?;
                        rest.next();
                    }
                    _ => return err(SYNTAX),
                }
            }
        }
        let key = if name == "move" { &args[0] } else { &args[1] };
        let to: Name = (to_db, key.as_slice().into());
        if from == to {
            return err(SAME);
        }
        let Some(held) = self.held(&from) else { return int(0) };
        if self.held(&to).is_some() && !replace {
            return int(0);
        }
        if name == "move" {
            self.state.remove(&from);
        }
        self.state.insert(to, held);
        int(1)
    }

    pub(super) fn bitop(&mut self, db: u8, args: &[Vec<u8>]) -> Answer {
        let name = String::from_utf8_lossy(&args[0]).to_ascii_uppercase();
        if !["AND", "OR", "XOR", "NOT", "DIFF", "DIFF1", "ANDOR", "ONE"].contains(&name.as_str()) {
            return err(SYNTAX);
        }
        if name == "NOT" && args.len() != 3 {
            return err("ERR BITOP NOT must be called with a single source key.");
        }
        if ["DIFF", "DIFF1", "ANDOR"].contains(&name.as_str()) && args.len() < 4 {
            return Err(format!("ERR BITOP {name} must be called with at least two source keys."));
        }
        let read = |key: &Vec<u8>| self.value(&(db, key.as_slice().into())).unwrap_or_else(|| [].into());
        let values: Vec<Arc<[u8]>> = args[2..].iter().map(read).collect();
        let len = values.iter().map(|value| value.len()).max().unwrap_or_default();
        let at = |value: &Arc<[u8]>, i: usize| value.get(i).copied().unwrap_or(0);
        let result: Vec<u8> = (0..len)
            .map(|i| {
                let (first, others) = (at(&values[0], i), &values[1..]);
                let any = others.iter().fold(0, |any, value| any | at(value, i));
                match name.as_str() {
                    "AND" => others.iter().fold(first, |all, value| all & at(value, i)),
                    "OR" => first | any,
                    "XOR" => others.iter().fold(first, |odd, value| odd ^ at(value, i)),
                    "NOT" => !first,
                    "DIFF" => first & !any,
                    "DIFF1" => any & !first,
                    "ANDOR" => first & any,
                    _ => (0..8).fold(0, |byte, bit| {
                        let count = values.iter().filter(|value| at(value, i) >> bit & 1 == 1).count();
                        byte | u8::from(count == 1) << bit
                    }),
                }
            })
            .collect();
        let to: Name = (db, args[1].as_slice().into());
        if result.is_empty() {
            self.held(&to);
            self.state.remove(&to);
        } else {
            self.put(to, &result, None);
        }
        int(len as i64)
    }

    /// Without the options that say where: those are compared with redis's.
    pub(super) fn lcs(&mut self, db: u8, args: &[Vec<u8>]) -> Answer {
        let mut only_length = false;
        for word in &args[2..] {
            if !word.eq_ignore_ascii_case(b"len") {
                return err(SYNTAX);
            }
            only_length = true;
        }
        let [a, b] = [0, 1].map(|i| self.value(&(db, args[i].as_slice().into())).unwrap_or_else(|| [].into()));
        self.lcs_is_wrong();
        if (a.len() + 1) * (b.len() + 1) * 4 > super::rig::MAX_VALUE_BYTES {
            return err("ERR Insufficient memory, transient memory for LCS exceeds proto-max-bulk-len");
        }
        // the length of what the rests have in common
        let mut lengths = vec![vec![0; b.len() + 1]; a.len() + 1];
        for i in 0..a.len() {
            for j in 0..b.len() {
                lengths[i + 1][j + 1] =
                    if a[i] == b[j] { lengths[i][j] + 1 } else { lengths[i][j + 1].max(lengths[i + 1][j]) };
            }
        }
        if only_length {
            return int(lengths[a.len()][b.len()]);
        }
        let (mut i, mut j, mut text) = (a.len(), b.len(), Vec::new());
        while i > 0 && j > 0 {
            if a[i - 1] == b[j - 1] {
                text.insert(0, a[i - 1]);
                (i, j) = (i - 1, j - 1);
            } else if lengths[i - 1][j] > lengths[i][j - 1] {
                i -= 1;
            } else {
                j -= 1;
            }
        }
        bulk(&text)
    }
}
