//! Random commands on hashes, small and large ones, with restarts of both servers in between, orderly ones and `kill -9`: replies and then all
//! fields must be equal; in order, while redis keeps one.

use std::collections::BTreeMap;

use super::contest::{Contest, Mismatch, Pair};
use super::random::args;
use super::rounds::{Args, Game, Note, encoding, is_of_type, scan};
use super::script::Compare;
use crate::rng::Rng;
use crate::value::escape;
use crate::{Result, Value};

/// The last two are strings at first.
const KEYS: [&[u8]; 7] = [b"small", b"{s}mall", b"middle", b"large", b"{l}arge", b"string", b""];

/// The limits by which redis chooses an encoding: its own, or these.
const LIMITS: [&str; 4] = ["--hash-max-listpack-entries", "64", "--hash-max-listpack-value", "32"];

impl Contest {
    /// Runs `steps` random commands on hashes in one protocol. The same seed draws the same commands.
    ///
    /// # Errors
    /// When a server does not start, or dies.
    pub fn run_hashes(&self, seed: u64, steps: u64, protocol: u8) -> Result<Vec<Mismatch>> {
        self.run_rounds(&mut Draw { rng: Rng::new(seed) }, &LIMITS, seed, steps, protocol)
    }
}

impl Game for Draw {
    fn command(&mut self) -> Args {
        self.draw()
    }

    fn play(&mut self, pair: &mut Pair, command: &Args) -> Result<Option<[String; 2]>> {
        let compare = compare_of(pair, command)?;
        let replies = pair.ask("main", command)?;
        Ok(pair.judge("main", &compare, &replies))
    }

    fn compare(&mut self, pair: &mut Pair, note: Note<'_>) -> Result<()> {
        compare_hashes(pair, note)
    }

    fn rng(&mut self) -> &mut Rng {
        &mut self.rng
    }

    fn spoil(&mut self, command: &mut Args) {
        if self.rng.percent(50) && command.len() > 1 {
            command.pop();
        } else {
            command.push(self.number());
        }
    }
}

/// What redis has no order for may come in any; what is drawn must only be as much.
fn compare_of(pair: &mut Pair, command: &Args) -> Result<Compare> {
    let name = command[0].to_ascii_lowercase();
    Ok(match name.as_slice() {
        b"hgetall" | b"hkeys" | b"hvals" if command.len() == 2 && is_in_any_order(pair, &command[1])? => Compare::Set,
        b"hrandfield" => Compare::Shape,
        // cursors are each server's own: whole scans are compared with the states
        b"hscan" if command.len() > 1 && is_in_any_order(pair, &command[1])? => Compare::Ignore,
        b"dump" | b"memory" => Compare::Ignore,
        // how strings are kept is compared elsewhere
        b"object" if command.len() == 3 && !is_of_type(pair, &command[2], "hash")? => Compare::Ignore,
        _ => Compare::Exact,
    })
}

/// Whether redis keeps a hash by its fields' hashes.
fn is_in_any_order(pair: &mut Pair, key: &[u8]) -> Result<bool> {
    Ok(encoding(pair, key)? == b"hashtable")
}

/// Compares all that there is of each hash: by HGETALL, by a whole HSCAN, in both directions by DUMP and RESTORE.
fn compare_hashes(pair: &mut Pair, note: Note<'_>) -> Result<()> {
    for key in KEYS {
        let shown = escape(key);
        let words: [&[&[u8]]; 3] = [&[b"TYPE", key], &[b"HLEN", key], &[b"OBJECT", b"ENCODING", key]];
        for words in &words[..if is_of_type(pair, key, "hash")? { 3 } else { 2 }] {
            let command: Args = words.iter().map(|word| word.to_vec()).collect();
            let replies = pair.ask("main", &command)?;
            if let Some(said) = pair.judge("main", &Compare::Exact, &replies) {
                note(format!("{} of {shown}", escape(words[0])), said);
            }
        }
        let compare = if is_in_any_order(pair, key)? { Compare::Set } else { Compare::Exact };
        let replies = pair.ask("main", &args("HGETALL", [key.to_vec()]))?;
        if let Some(said) = pair.judge("main", &compare, &replies) {
            note(format!("state of {shown}"), said);
        }
        let [subject, referee] = pair.connection("main")?;
        if subject.command(&[&b"TYPE"[..], key])?.text() != Some(b"hash") {
            continue;
        }
        let all = fields(&subject.command(&[&b"HGETALL"[..], key])?);
        let mut scanned = Fields::new();
        scan(subject, b"HSCAN", key, |batch| scanned.extend(fields(batch)))?;
        if scanned != all {
            note(format!("HSCAN of {shown}"), [format!("{scanned:?}"), format!("{all:?}")]);
        }
        let payloads = [subject.command(&[&b"DUMP"[..], key])?, referee.command(&[&b"DUMP"[..], key])?];
        for (payload, to) in payloads.iter().zip([referee, subject]) {
            let Some(payload) = payload.text() else { continue };
            let said = to.command(&[&b"RESTORE"[..], b"restored", b"0", payload, b"REPLACE"])?;
            let restored = fields(&to.command(&[&b"HGETALL"[..], b"restored"])?);
            to.command(&[&b"DEL"[..], b"restored"])?;
            if restored != all {
                note(format!("{shown} dumped and restored"), [format!("{said:?} {restored:?}"), format!("{all:?}")]);
            }
        }
    }
    Ok(())
}

type Fields = BTreeMap<Vec<u8>, Vec<u8>>;

fn fields(reply: &Value) -> Fields {
    let text = |value: &Value| value.text().unwrap_or_default().to_vec();
    match reply {
        Value::Map(pairs) => pairs.iter().map(|(field, value)| (text(field), text(value))).collect(),
        other => other.items().unwrap_or_default().chunks(2).map(|pair| (text(&pair[0]), text(&pair[1]))).collect(),
    }
}

struct Draw {
    rng: Rng,
}

impl Draw {
    fn draw(&mut self) -> Args {
        let key = self.key();
        match self.rng.below(39) {
            0..12 => {
                let name = self.word(&["HSET", "HSET", "HSET", "HMSET"]);
                let mut command = args(name, [key.clone()]);
                for _ in 0..self.many(&key) {
                    command.extend([self.field(&key), self.value()]);
                }
                command
            }
            12 => {
                let (field, value) = (self.field(&key), self.value());
                args("HSETNX", [key, field, value])
            }
            13..16 => {
                let field = self.field(&key);
                args(self.word(&["HGET", "HSTRLEN", "HEXISTS"]), [key, field])
            }
            16 => args("HLEN", [key]),
            17..20 => args(self.word(&["HGETALL", "HKEYS", "HVALS"]), [key]),
            20..24 => {
                let name = self.word(&["HMGET", "HDEL", "HDEL"]);
                let mut command = args(name, [key.clone()]);
                for _ in 0..self.many(&key) {
                    command.push(self.field(&key));
                }
                command
            }
            24..27 => {
                let (field, by) = (self.field(&key), self.number());
                args(self.word(&["HINCRBY", "HINCRBYFLOAT"]), [key, field, by])
            }
            27..29 => {
                let mut command = args("HRANDFIELD", [key]);
                if self.rng.percent(80) {
                    command.push(self.word(&["0", "1", "3", "1000", "-3", "-20", "x", ""]).into());
                    if self.rng.percent(50) {
                        command.push(self.word(&["WITHVALUES", "withvalues", "x"]).into());
                    }
                }
                command
            }
            29 if key.starts_with(b"small") => {
                let mut command = args("HSCAN", [key, self.word(&["0", "0", "0", "x", ""]).into()]);
                for _ in 0..self.rng.below(3) {
                    let option =
                        self.word(&["COUNT 5", "COUNT 0", "COUNT x", "MATCH f1*", "NOVALUES", "MATCH", "TYPE hash"]);
                    command.extend(option.split(' ').map(|word| word.as_bytes().to_vec()));
                }
                command
            }
            29 => args("DUMP", [key]),
            30 => args("TYPE", [key]),
            31 => args("OBJECT", [b"ENCODING".to_vec(), key]),
            32 => {
                let to = self.key();
                args(self.word(&["RENAME", "RENAMENX", "COPY"]), [key, to])
            }
            33 => args("COPY", [key, self.key(), b"REPLACE".to_vec()]),
            34 if self.rng.percent(30) => args(self.word(&["DEL", "UNLINK"]), [key]),
            34 => args("EXISTS", [key]),
            35 => args("MEMORY", [b"USAGE".to_vec(), key]),
            36 if self.rng.percent(30) => {
                let value = self.value();
                args(self.word(&["SET", "APPEND", "GETSET"]), [key, value])
            }
            36 => args(self.word(&["EXPIRE", "PERSIST"]), [key, b"100000".to_vec()]),
            37 => {
                let name = self.word(&[
                    "GET", "STRLEN", "INCR", "GETDEL", "GETEX", "BITCOUNT", "DECR", "TTL", "OBJECT", "PERSIST", "HLEN",
                ]);
                if name == "TTL" { args("EXISTS", [key]) } else { args(name, [key]) }
            }
            _ => {
                let (a, b) = (self.field(&key), self.field(&key));
                args("MGET", [key, a, b])
            }
        }
    }

    fn word(&mut self, words: &[&'static str]) -> &'static str {
        words[self.rng.index(words.len())]
    }

    fn key(&mut self) -> Vec<u8> {
        self.rng.pick(&KEYS).to_vec()
    }

    /// How many fields a command names.
    fn many(&mut self, key: &[u8]) -> u64 {
        let most = if key.contains(&b'l') && self.rng.percent(30) { 200 } else { 4 };
        1 + self.rng.below(most)
    }

    fn field(&mut self, key: &[u8]) -> Vec<u8> {
        let of = match key {
            b"large" | b"{l}arge" => 1500,
            b"middle" => 120,
            _ => 10,
        };
        match self.rng.below(60) {
            0 => Vec::new(),
            1 => b"\x00\r\n\xff".to_vec(),
            2 => vec![b'F'; self.rng.index(90)],
            _ => format!("f{}", self.rng.below(of)).into_bytes(),
        }
    }

    fn value(&mut self) -> Vec<u8> {
        match self.rng.below(40) {
            0 => vec![b'v'; self.rng.index(3000)],
            1 => vec![b'w'; self.rng.index(80)],
            2 => Vec::new(),
            3 => b"\x00\xff\r\n".to_vec(),
            4..14 => self.number(),
            _ => format!("value-{}", self.rng.below(1000)).into_bytes(),
        }
    }

    fn number(&mut self) -> Vec<u8> {
        let odd = [
            "0",
            "-1",
            "9223372036854775807",
            "-9223372036854775808",
            "9223372036854775808",
            "+1",
            "01",
            " 1",
            "",
            "x",
            "1.5",
            "-0.25",
            "1e10",
            "inf",
            "-inf",
            "nan",
            "3.0",
            "0.1",
        ];
        if self.rng.percent(60) {
            self.rng.below(2000).to_string().into_bytes()
        } else {
            self.rng.pick(&odd).as_bytes().to_vec()
        }
    }
}
