//! Random commands on fields that expire, in small and large hashes, with restarts of both servers in between, orderly ones and `kill -9`: replies,
//! and then all fields with their times, must be equal; in order, while redis keeps one. Times are drawn so that nothing depends on the clock: far
//! ahead, of a few so that some are the same, or past.

use super::contest::{Contest, Mismatch, Pair};
use super::random::args;
use super::rounds::{Args, Game, Note, encoding, is_of_type};
use super::script::Compare;
use crate::rng::Rng;
use crate::value::escape;
use crate::{Client, Result, Value};

/// The last one is a string at times.
const KEYS: [&[u8]; 7] = [b"small", b"{s}mall", b"middle", b"{m}iddle", b"large", b"{l}arge", b""];

const LIMITS: [&str; 4] = ["--hash-max-listpack-entries", "40", "--hash-max-listpack-value", "32"];

/// In ms since 1970.
const FAR_MS: u64 = 9_000_000_000_000;

impl Contest {
    /// Runs `steps` random commands on fields that expire in one protocol. The same seed draws the same commands.
    ///
    /// # Errors
    /// When a server does not start, or dies.
    pub fn run_fields(&self, seed: u64, steps: u64, protocol: u8) -> Result<Vec<Mismatch>> {
        self.run_rounds(&mut Draw { rng: Rng::new(seed) }, &LIMITS, seed, steps, protocol)
    }
}

struct Draw {
    rng: Rng,
}

impl Game for Draw {
    fn command(&mut self) -> Args {
        let key = self.rng.pick(&KEYS).to_vec();
        match self.rng.below(50) {
            0..10 => {
                let mut command = args("HSET", [key.clone()]);
                self.pairs(&key, &mut command);
                command
            }
            10..17 => {
                let mut command = args("HSETEX", [key.clone()]);
                if self.rng.percent(20) {
                    command.push(self.word(&["FNX", "FXX", "fxx"]).into());
                }
                match self.rng.below(10) {
                    0..2 => command.push(b"KEEPTTL".to_vec()),
                    2..8 => command.extend([b"PXAT".to_vec(), self.time()]),
                    _ => {}
                }
                let mut pairs = Args::new();
                self.pairs(&key, &mut pairs);
                command.extend([b"FIELDS".to_vec(), (pairs.len() / 2).to_string().into_bytes()]);
                command.extend(pairs);
                command
            }
            17..26 => {
                let mut command = args("HPEXPIREAT", [key.clone(), self.time()]);
                if self.rng.percent(40) {
                    command.push(self.word(&["NX", "XX", "GT", "LT", "gt"]).into());
                }
                self.named(&key, &mut command);
                command
            }
            26..29 => self.with_fields("HPEXPIRETIME", &key),
            29 => self.with_fields("HEXPIRETIME", &key),
            30..33 => self.with_fields("HPERSIST", &key),
            33..37 => {
                let mut command = args("HGETEX", [key.clone()]);
                match self.rng.below(4) {
                    0 => command.push(b"PERSIST".to_vec()),
                    1..3 => command.extend([b"PXAT".to_vec(), self.time()]),
                    _ => {}
                }
                self.named(&key, &mut command);
                command
            }
            37..39 => self.with_fields("HGETDEL", &key),
            39..41 => args("HDEL", [key.clone(), self.field(&key), self.field(&key)]),
            41 => args("HINCRBY", [key.clone(), self.field(&key), b"3".to_vec()]),
            42 => args("HSETNX", [key.clone(), self.field(&key), b"new".to_vec()]),
            43 => args(self.word(&["HLEN", "TYPE", "HGETALL", "HKEYS"]), [key]),
            44 => args(self.word(&["HGET", "HEXISTS", "HSTRLEN"]), [key.clone(), self.field(&key)]),
            45 => args("COPY", [key, self.rng.pick(&KEYS).to_vec(), b"REPLACE".to_vec()]),
            46 => args("RENAME", [key, self.rng.pick(&KEYS).to_vec()]),
            47 if self.rng.percent(30) => args("SET", [Vec::new(), b"x".to_vec()]),
            48 => args("DEL", [if self.rng.percent(15) { key } else { Vec::new() }]),
            _ => args("HMGET", [key.clone(), self.field(&key), self.field(&key)]),
        }
    }

    fn play(&mut self, pair: &mut Pair, command: &Args) -> Result<Option<[String; 2]>> {
        let is_all = [b"HGETALL".as_slice(), b"HKEYS"].contains(&&*command[0]);
        let any_order = is_all && command.len() > 1 && encoding(pair, &command[1])? == b"hashtable";
        let replies = pair.ask("main", command)?;
        Ok(pair.judge("main", if any_order { &Compare::Set } else { &Compare::Exact }, &replies))
    }

    fn compare(&mut self, pair: &mut Pair, note: Note<'_>) -> Result<()> {
        for key in KEYS {
            let shown = escape(key);
            let replies = pair.ask("main", &args("TYPE", [key.to_vec()]))?;
            if let Some(said) = pair.judge("main", &Compare::Exact, &replies) {
                note(format!("type of {shown}"), said);
            }
            if !is_of_type(pair, key, "hash")? {
                continue;
            }
            let is_in_any_order = encoding(pair, key)? == b"hashtable";
            let [subject, referee] = pair.connection("main")?;
            let is_by_hash = subject.command(&[&b"OBJECT"[..], b"ENCODING", key])?.text() == Some(b"hashtable");
            let (mut own, mut theirs) = (fields(subject, key)?, fields(referee, key)?);
            if is_in_any_order {
                own.sort();
                theirs.sort();
            }
            if own != theirs || is_by_hash != is_in_any_order {
                note(format!("fields of {shown}"), [format!("{own:?}"), format!("{theirs:?}")]);
            }
            own.sort();
            let payloads = [subject.command(&[&b"DUMP"[..], key])?, referee.command(&[&b"DUMP"[..], key])?];
            for (payload, to) in payloads.iter().zip([referee, subject]) {
                let Some(payload) = payload.text() else { continue };
                let said = to.command(&[&b"RESTORE"[..], b"restored", b"0", payload, b"REPLACE"])?;
                let mut restored = fields(to, b"restored")?;
                to.command(&[&b"DEL"[..], b"restored"])?;
                restored.sort();
                if restored != own {
                    note(format!("payload of {shown}"), [format!("{said:?} {restored:?}"), format!("{own:?}")]);
                }
            }
        }
        Ok(())
    }

    fn rng(&mut self) -> &mut Rng {
        &mut self.rng
    }
}

/// All fields, in order, with their values and times.
fn fields(client: &mut Client, key: &[u8]) -> Result<Vec<[String; 3]>> {
    let text = |value: &Value| escape(value.text().unwrap_or_default());
    let names = client.command(&[&b"HKEYS"[..], key])?;
    let names: Vec<_> =
        names.items().unwrap_or_default().iter().filter_map(|name| Some(name.text()?.to_vec())).collect();
    let mut all = Vec::new();
    for name in names {
        let value = client.command(&[&b"HGET"[..], key, &name])?;
        let time = client.command(&[&b"HPEXPIRETIME"[..], key, b"FIELDS", b"1", &name])?;
        all.push([escape(&name), text(&value), format!("{time:?}")]);
    }
    Ok(all)
}

impl Draw {
    fn word(&mut self, words: &[&'static str]) -> &'static str {
        words[self.rng.index(words.len())]
    }

    fn with_fields(&mut self, name: &str, key: &[u8]) -> Args {
        let mut command = args(name, [key.to_vec()]);
        self.named(key, &mut command);
        command
    }

    /// `FIELDS count field ...`
    fn named(&mut self, key: &[u8], command: &mut Args) {
        let count = 1 + self.rng.below(if key.len() > 6 || key == b"large" { 12 } else { 4 });
        command.extend([b"FIELDS".to_vec(), count.to_string().into_bytes()]);
        (0..count).for_each(|_| command.push(self.field(key)));
    }

    fn pairs(&mut self, key: &[u8], command: &mut Args) {
        let most = if key.ends_with(b"arge") { 60 } else { 4 };
        for _ in 0..1 + self.rng.below(most) {
            command.push(self.field(key));
            command.push(match self.rng.below(30) {
                0 => vec![b'v'; self.rng.index(300)],
                1..8 => self.rng.below(500).to_string().into_bytes(),
                _ => format!("value-{}", self.rng.below(1000)).into_bytes(),
            });
        }
    }

    fn field(&mut self, key: &[u8]) -> Vec<u8> {
        let of = match key {
            b"large" | b"{l}arge" => 800,
            b"middle" | b"{m}iddle" => 60,
            _ => 8,
        };
        format!("field-{}", self.rng.below(of)).into_bytes()
    }

    fn time(&mut self) -> Vec<u8> {
        let ms = match self.rng.below(20) {
            0 => 1,
            1..8 => FAR_MS + self.rng.below(4),
            _ => FAR_MS + self.rng.below(1_000_000),
        };
        ms.to_string().into_bytes()
    }
}
