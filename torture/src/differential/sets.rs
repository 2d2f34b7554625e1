//! Random commands on sets, small and large ones, of integers and of others, one or several. What SPOP has drawn on one side is removed
//! on the other.

use std::collections::BTreeSet;

use super::contest::{Contest, Mismatch, Pair};
use super::random::args;
use super::rounds::{Args, Game, Note, encoding, is_of_type, scan};
use super::script::Compare;
use crate::rng::Rng;
use crate::value::escape;
use crate::{Result, Value};

/// The last two are strings at first.
const KEYS: [&[u8]; 9] = [b"small", b"{s}mall", b"ints", b"{i}nts", b"middle", b"large", b"{l}arge", b"string", b""];

/// The limits by which redis chooses an encoding: its own, or these.
const LIMITS: [&str; 6] =
    ["--set-max-intset-entries", "100", "--set-max-listpack-entries", "40", "--set-max-listpack-value", "32"];

impl Contest {
    /// Runs `steps` random commands on sets in one protocol. The same seed draws the same commands.
    ///
    /// # Errors
    /// When a server does not start, or dies.
    pub fn run_sets(&self, seed: u64, steps: u64, protocol: u8) -> Result<Vec<Mismatch>> {
        self.run_rounds(&mut Draw { rng: Rng::new(seed) }, &LIMITS, seed, steps, protocol)
    }
}

struct Draw {
    rng: Rng,
}

impl Game for Draw {
    fn command(&mut self) -> Args {
        self.draw()
    }

    fn play(&mut self, pair: &mut Pair, command: &Args) -> Result<Option<[String; 2]>> {
        if let [name, key, ..] = command.as_slice()
            && name == b"SPOP"
            && is_of_type(pair, key, "set")?
        {
            return pop(pair, command);
        }
        let compare = compare_of(pair, command)?;
        let replies = pair.ask("main", command)?;
        Ok(pair.judge("main", &compare, &replies))
    }

    fn compare(&mut self, pair: &mut Pair, note: Note<'_>) -> Result<()> {
        compare_sets(pair, note)
    }

    fn rng(&mut self) -> &mut Rng {
        &mut self.rng
    }
}

/// Pops on one side; the same members have to be there on the other, and as many as it would have popped.
fn pop(pair: &mut Pair, command: &Args) -> Result<Option<[String; 2]>> {
    let key = &command[1];
    let [subject, referee] = pair.connection("main")?;
    let said = subject.command(command)?;
    let popped = match &said {
        Value::Bulk(member) => vec![member.clone()],
        Value::Error(_) => {
            let wrong = referee.command(command)?;
            return Ok((said != wrong).then(|| [format!("{said:?}"), format!("{wrong:?}")]));
        }
        said => texts(said).into_iter().collect(),
    };
    let there = referee.command(&[&b"SCARD"[..], key])?.integer().unwrap_or(0);
    let count = command.get(2).map_or(1, |count| String::from_utf8_lossy(count).parse().unwrap_or(0));
    let expected = Value::Integer(there.min(count));
    let mut removal = args("SREM", [key.clone()]);
    removal.extend(popped.iter().cloned());
    let removed = if popped.is_empty() { Value::Integer(0) } else { referee.command(&removal)? };
    let is_right = removed == expected && popped.len() as i64 == there.min(count);
    Ok((!is_right).then(|| [format!("{said:?}"), format!("{removed:?} were there, {expected:?} expected")]))
}

/// What redis has no order for may come in any; what is drawn must only be as much.
fn compare_of(pair: &mut Pair, command: &Args) -> Result<Compare> {
    let name = command[0].to_ascii_lowercase();
    Ok(match name.as_slice() {
        b"smembers" if command.len() == 2 && is_in_any_order(pair, &command[1])? => Compare::Set,
        // listpacks have come out of sets that have no order
        b"sinter" | b"sunion" | b"sdiff" => Compare::Set,
        b"srandmember" => Compare::Shape,
        // cursors are each server's own: whole scans are compared with the states
        b"sscan" if command.len() > 1 && is_in_any_order(pair, &command[1])? => Compare::Ignore,
        b"dump" | b"memory" => Compare::Ignore,
        // how strings are kept is compared elsewhere
        b"object" if command.len() == 3 && !is_of_type(pair, &command[2], "set")? => Compare::Ignore,
        _ => Compare::Exact,
    })
}

fn is_in_any_order(pair: &mut Pair, key: &[u8]) -> Result<bool> {
    Ok(matches!(encoding(pair, key)?.as_slice(), b"hashtable" | b"listpack"))
}

/// Compares all that there is of each set: by SMEMBERS, by a whole SSCAN, in both directions by DUMP and RESTORE.
fn compare_sets(pair: &mut Pair, note: Note<'_>) -> Result<()> {
    for key in KEYS {
        let shown = escape(key);
        let words: [&[&[u8]]; 3] = [&[b"TYPE", key], &[b"SCARD", key], &[b"OBJECT", b"ENCODING", key]];
        for words in &words[..if is_of_type(pair, key, "set")? { 3 } else { 2 }] {
            let command: Args = words.iter().map(|word| word.to_vec()).collect();
            let replies = pair.ask("main", &command)?;
            if let Some(said) = pair.judge("main", &Compare::Exact, &replies) {
                note(format!("{} of {shown}", escape(words[0])), said);
            }
        }
        let command = args("SMEMBERS", [key.to_vec()]);
        let compare = compare_of(pair, &command)?;
        let replies = pair.ask("main", &command)?;
        if let Some(said) = pair.judge("main", &compare, &replies) {
            note(format!("state of {shown}"), said);
        }
        let [subject, referee] = pair.connection("main")?;
        if subject.command(&[&b"TYPE"[..], key])?.text() != Some(b"set") {
            continue;
        }
        let all = texts(&subject.command(&[&b"SMEMBERS"[..], key])?);
        let mut scanned = BTreeSet::new();
        scan(subject, b"SSCAN", key, |batch| scanned.extend(texts(batch)))?;
        if scanned != all {
            note(format!("SSCAN of {shown}"), [format!("{scanned:?}"), format!("{all:?}")]);
        }
        let payloads = [subject.command(&[&b"DUMP"[..], key])?, referee.command(&[&b"DUMP"[..], key])?];
        for (payload, to) in payloads.iter().zip([referee, subject]) {
            let Some(payload) = payload.text() else { continue };
            let said = to.command(&[&b"RESTORE"[..], b"restored", b"0", payload, b"REPLACE"])?;
            let restored = texts(&to.command(&[&b"SMEMBERS"[..], b"restored"])?);
            to.command(&[&b"DEL"[..], b"restored"])?;
            if restored != all {
                note(format!("{shown} dumped and restored"), [format!("{said:?} {restored:?}"), format!("{all:?}")]);
            }
        }
    }
    Ok(())
}

fn texts(reply: &Value) -> BTreeSet<Vec<u8>> {
    let text = |value: &Value| value.text().unwrap_or_default().to_vec();
    match reply {
        Value::Set(members) => members.iter().map(text).collect(),
        other => other.items().unwrap_or_default().iter().map(text).collect(),
    }
}

impl Draw {
    fn draw(&mut self) -> Args {
        let key = self.key();
        match self.rng.below(44) {
            0..12 => self.on_members("SADD", key),
            12..16 => self.on_members("SREM", key),
            16 => self.on_members("SMISMEMBER", key),
            17..19 => {
                let member = self.member(&key);
                args("SISMEMBER", [key, member])
            }
            19 => args(self.word(&["SCARD", "SMEMBERS", "SMEMBERS"]), [key]),
            20..23 => {
                let mut command = args("SPOP", [key]);
                // not so many that few stay: then redis keeps them in another way
                if self.rng.percent(60) {
                    command.push(self.word(&["0", "1", "2", "3", "4", "100000", "x", "-1", ""]).into());
                }
                command
            }
            23 => {
                let mut command = args("SRANDMEMBER", [key]);
                if self.rng.percent(80) {
                    command.push(self.word(&["0", "1", "3", "1000", "-3", "-20", "x", ""]).into());
                }
                command
            }
            24..27 => {
                let (to, member) = (self.key(), self.member(&key));
                args("SMOVE", [key, to, member])
            }
            27..30 => {
                let mut command = args(self.word(&["SINTER", "SUNION", "SDIFF"]), [key]);
                command.extend(self.keys());
                command
            }
            30..34 => {
                let name = self.word(&["SINTERSTORE", "SUNIONSTORE", "SDIFFSTORE"]);
                let mut command = args(name, [key, self.key()]);
                command.extend(self.keys());
                command
            }
            34 => {
                let keys: Vec<_> = std::iter::once(key).chain(self.keys()).collect();
                let count = if self.rng.percent(90) { keys.len() } else { self.rng.index(4) };
                let mut command = args("SINTERCARD", [count.to_string().into_bytes()]);
                command.extend(keys);
                if self.rng.percent(40) {
                    command.push(self.word(&["LIMIT", "limit", "x"]).into());
                    command.push(self.word(&["0", "1", "5", "-1", "x"]).into());
                }
                command
            }
            35 if key.ends_with(b"mall") => {
                let mut command = args("SSCAN", [key, self.word(&["0", "0", "0", "x", ""]).into()]);
                for _ in 0..self.rng.below(3) {
                    let option =
                        self.word(&["COUNT 5", "COUNT 0", "COUNT x", "MATCH m1*", "NOVALUES", "MATCH", "TYPE set"]);
                    command.extend(option.split(' ').map(|word| word.as_bytes().to_vec()));
                }
                command
            }
            35 => args("DUMP", [key]),
            36 => args("TYPE", [key]),
            37 => args("OBJECT", [b"ENCODING".to_vec(), key]),
            38 => {
                let to = self.key();
                args(self.word(&["RENAME", "RENAMENX", "COPY"]), [key, to])
            }
            39 => args("COPY", [key, self.key(), b"REPLACE".to_vec()]),
            40 if self.rng.percent(30) => args(self.word(&["DEL", "UNLINK"]), [key]),
            40 => args("MEMORY", [b"USAGE".to_vec(), key]),
            41 if self.rng.percent(30) => {
                let value = self.member(&key);
                args(self.word(&["SET", "APPEND", "GETSET"]), [key, value])
            }
            41 => args(self.word(&["EXPIRE", "PERSIST"]), [key, b"100000".to_vec()]),
            _ => args(self.word(&["GET", "STRLEN", "INCR", "HGETALL", "HLEN", "EXISTS", "SCARD"]), [key]),
        }
    }

    fn on_members(&mut self, name: &str, key: Vec<u8>) -> Args {
        let most = if key.contains(&b'l') && self.rng.percent(30) { 200 } else { 5 };
        let count = 1 + self.rng.below(most);
        let members: Vec<_> = (0..count).map(|_| self.member(&key)).collect();
        let mut command = args(name, [key]);
        command.extend(members);
        command
    }

    fn word(&mut self, words: &[&'static str]) -> &'static str {
        words[self.rng.index(words.len())]
    }

    fn key(&mut self) -> Vec<u8> {
        self.rng.pick(&KEYS).to_vec()
    }

    fn keys(&mut self) -> Vec<Vec<u8>> {
        (0..self.rng.below(3)).map(|_| self.key()).collect()
    }

    fn member(&mut self, key: &[u8]) -> Vec<u8> {
        let of = match key {
            b"large" | b"{l}arge" => 1500,
            b"middle" | b"ints" | b"{i}nts" => 150,
            _ => 12,
        };
        let number = self.rng.below(of) as i64 - 5;
        match self.rng.below(if key.contains(&b'i') { 2000 } else { 100 }) {
            0 => Vec::new(),
            1 => b"\x00\r\n\xff".to_vec(),
            2 => vec![b'M'; self.rng.index(90)],
            3 => self.rng.pick(&["9223372036854775807", "-9223372036854775808", "+1", "01", "-0"]).as_bytes().to_vec(),
            _ if key.contains(&b'i') || self.rng.percent(20) => number.to_string().into_bytes(),
            _ => format!("m{number}").into_bytes(),
        }
    }
}
