//! Random commands on streams, small and large ones, and on their groups, with restarts of both servers in between, orderly ones and `kill -9`: replies and
//! then all entries, groups, consumers and pending entries must be equal. Times are each server's own.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::contest::{Contest, Mismatch, Pair};
use super::rounds::{Args, Game, Note};
use super::script::Compare;
use crate::rng::Rng;
use crate::value::escape;
use crate::{Error, Result, Value};

/// The last one is a string at first.
const KEYS: [&str; 7] = ["small", "{s}mall", "middle", "large", "{l}arge", "groups", "string"];

const GROUPS: [&str; 4] = ["g", "h", "a-group-with-a-longer-name", "nosuch"];

const CONSUMERS: [&str; 5] = ["a", "b", "alice", "bob", "a-consumer-with-quite-a-long-name"];

/// How long redis may take to write its log anew.
const REWRITE_TIMEOUT: Duration = Duration::from_secs(20);

impl Contest {
    /// Runs `steps` random commands on streams in one protocol. The same seed draws the same commands.
    ///
    /// # Errors
    /// When a server does not start, or dies.
    pub fn run_streams(&self, seed: u64, steps: u64, protocol: u8) -> Result<Vec<Mismatch>> {
        let mut draw = Draw { rng: Rng::new(seed), last: BTreeMap::new() };
        self.run_rounds(&mut draw, &[], seed, steps, protocol)
    }
}

struct Draw {
    rng: Rng,
    /// Up to which ms each stream has come, more or less.
    last: BTreeMap<&'static str, u64>,
}

impl Game for Draw {
    fn command(&mut self) -> Args {
        self.draw()
    }

    fn play(&mut self, pair: &mut Pair, command: &Args) -> Result<Option<[String; 2]>> {
        ask_without_times(pair, command)
    }

    fn compare(&mut self, pair: &mut Pair, note: Note<'_>) -> Result<()> {
        for key in KEYS {
            let questions = [
                vec!["TYPE", key],
                vec!["XLEN", key],
                vec!["XRANGE", key, "-", "+"],
                vec!["XINFO", "GROUPS", key],
                vec!["XINFO", "STREAM", key, "FULL", "COUNT", "0"],
            ];
            for question in questions {
                if let Some(said) = ask_without_times(pair, &words(&question))? {
                    note(format!("{} of {key}", question[0]), said);
                }
            }
            compare_restored(pair, key, note)?;
        }
        Ok(())
    }

    /// Redis's log has not all that a group is: how often somebody has read what is pending for him, and who has found nothing yet.
    fn before_restart(&mut self, pair: &mut Pair) -> Result<()> {
        let [_, referee] = pair.connection("main")?;
        referee.command(&["BGREWRITEAOF"])?;
        let deadline = Instant::now() + REWRITE_TIMEOUT;
        loop {
            let info = referee.command(&["INFO", "persistence"])?;
            let info = String::from_utf8_lossy(info.text().unwrap_or_default()).into_owned();
            if info.contains("aof_rewrite_in_progress:0") && info.contains("aof_rewrite_scheduled:0") {
                return Ok(());
            }
            if Instant::now() > deadline {
                return Err(Error::Missing("redis does not come to an end with its log".into()));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn rng(&mut self) -> &mut Rng {
        &mut self.rng
    }
}

fn words(words: &[&str]) -> Args {
    words.iter().map(|word| word.as_bytes().to_vec()).collect()
}

/// Has both servers execute a command; what they have said, if they disagree in more than times.
fn ask_without_times(pair: &mut Pair, command: &Args) -> Result<Option<[String; 2]>> {
    let replies = pair.ask("main", command)?;
    if let [Ok(a), Ok(b)] = &replies {
        let shown = [&a.value, &b.value].map(|value| format!("{:?}", without_times(value)));
        return Ok((shown[0] != shown[1]).then_some(shown));
    }
    Ok(pair.judge("main", &Compare::Exact, &replies))
}

/// What redis restores of our payload, and we of redis's, is what there is.
fn compare_restored(pair: &mut Pair, key: &str, note: Note<'_>) -> Result<()> {
    let [subject, referee] = pair.connection("main")?;
    if subject.command(&["TYPE", key])?.text() != Some(b"stream") {
        return Ok(());
    }
    let payloads = [subject.command(&["DUMP", key])?, referee.command(&["DUMP", key])?];
    let full = |name| words(&["XINFO", "STREAM", name, "FULL", "COUNT", "0"]);
    for (payload, to) in payloads.iter().zip([referee, subject]) {
        let Some(payload) = payload.text() else { continue };
        let said = to.command(&[&b"RESTORE"[..], b"restored", b"0", payload, b"REPLACE"])?;
        let restored = to.command(&full("restored"))?;
        let all = to.command(&full(key))?;
        to.command(&["DEL", "restored"])?;
        let shown = [restored, all].map(|value| format!("{:?}", without_times(&value)));
        if shown[0] != shown[1] {
            note(format!("{key} dumped and restored ({})", escape(format!("{said:?}").as_bytes())), shown);
        }
    }
    Ok(())
}

/// A reply without times, and without how redis keeps streams: of a time only whether there is one.
fn without_times(value: &Value) -> Value {
    let pair = |name: &Value, value: &Value| match name.text() {
        Some(b"idle" | b"inactive" | b"seen-time" | b"active-time") => {
            Value::Integer(value.integer().unwrap_or_default().signum().min(0))
        }
        Some(b"radix-tree-keys" | b"radix-tree-nodes") => Value::Integer(0),
        _ => without_times(value),
    };
    match value {
        Value::Map(pairs) => Value::Map(pairs.iter().map(|(name, value)| (name.clone(), pair(name, value))).collect()),
        Value::Array(items) => Value::Array(match &items[..] {
            // of pending entries: id, [consumer,] time, deliveries
            [id @ Value::Bulk(_), Value::Integer(_), count @ Value::Integer(_)] => vec![id.clone(), count.clone()],
            [id @ Value::Bulk(_), name @ Value::Bulk(_), Value::Integer(_), count @ Value::Integer(_)] => {
                vec![id.clone(), name.clone(), count.clone()]
            }
            [first, ..] if matches!(first.text(), Some(b"length" | b"name")) && items.len() % 2 == 0 => {
                items.chunks(2).flat_map(|two| [two[0].clone(), pair(&two[0], &two[1])]).collect()
            }
            items => items.iter().map(without_times).collect(),
        }),
        other => other.clone(),
    }
}

impl Draw {
    fn draw(&mut self) -> Args {
        let key = self.key();
        let is_large = key.contains("arge");
        match self.rng.below(100) {
            0..30 => self.add(key, is_large),
            30..34 => {
                let mut command = words(&["XDEL", key]);
                (0..self.rng.between(1, 4)).for_each(|_| command.push(self.id(key)));
                command
            }
            34..36 => {
                let mut command = words(&["XTRIM", key]);
                self.trim(key, is_large, &mut command);
                command
            }
            36..41 => {
                let mut command = words(&[self.word(&["XRANGE", "XREVRANGE"]), key]);
                command.extend([self.end(key), self.end(key)]);
                self.count(60, &mut command);
                command
            }
            41..45 => {
                let mut command = words(&["XREAD"]);
                self.count(60, &mut command);
                self.streams(
                    key,
                    |draw, key| if draw.rng.percent(70) { draw.id(key) } else { draw.word(&["$", "+", "0"]).into() },
                    command,
                )
            }
            45..48 => {
                let mut command = words(&["XSETID", key]);
                command.push(self.id(key));
                if self.rng.percent(30) {
                    command.extend(words(&["ENTRIESADDED", self.word(&["5", "5000", "-1", "x"])]));
                }
                if self.rng.percent(30) {
                    command.extend([b"MAXDELETEDID".to_vec(), self.id(key)]);
                }
                command
            }
            48..54 => self.group(key),
            54..70 => {
                let mut command = words(&["XREADGROUP", "GROUP", self.word(&GROUPS), self.word(&CONSUMERS)]);
                self.count(70, &mut command);
                if self.rng.percent(8) {
                    command.push(b"NOACK".to_vec());
                }
                self.streams(key, |draw, key| if draw.rng.percent(75) { b">".to_vec() } else { draw.id(key) }, command)
            }
            70..77 => {
                let mut command = words(&["XACK", key, self.word(&GROUPS)]);
                (0..self.rng.between(1, 9)).for_each(|_| command.push(self.id(key)));
                command
            }
            77..82 => self.pending(key),
            82..87 => self.claim(key),
            87..91 => {
                let group = self.word(&GROUPS);
                let mut command =
                    words(&["XAUTOCLAIM", key, group, self.word(&CONSUMERS), self.word(&["0", "9999999"])]);
                command.push(self.end(key));
                self.count(50, &mut command);
                if self.rng.percent(25) {
                    command.push(b"JUSTID".to_vec());
                }
                command
            }
            91 => words(&["XINFO", "CONSUMERS", key, self.word(&GROUPS)]),
            92 => words(&["XINFO", self.word(&["STREAM", "GROUPS"]), key]),
            93 => words(&["XINFO", "STREAM", key, "FULL", "COUNT", self.word(&["1", "0", "-1", "20"])]),
            94 => words(&[self.word(&["XLEN", "TYPE", "EXISTS", "PERSIST"]), key]),
            95 => words(&["OBJECT", "ENCODING", self.word(&["small", "middle", "large"])]),
            96 => {
                let (from, to) =
                    (self.word(&["small", "middle", "{l}arge"]), self.word(&["{s}mall", "small", "{l}arge"]));
                words(&["COPY", from, to, "REPLACE"])
            }
            97 => words(&[
                self.word(&["RENAME", "RENAMENX"]),
                self.word(&["small", "{s}mall"]),
                self.word(&["small", "{s}mall"]),
            ]),
            98 if self.rng.percent(20) => words(&["DEL", self.word(&["small", "{s}mall", "{l}arge"])]),
            98 => words(&["EXPIRE", key, "100000"]),
            _ => words(&[self.word(&["SET", "APPEND", "GETSET"]), "string", "x"]),
        }
    }

    fn add(&mut self, key: &'static str, is_large: bool) -> Args {
        let mut command = words(&["XADD", key]);
        if self.rng.percent(5) {
            command.push(b"NOMKSTREAM".to_vec());
        }
        if self.rng.percent(if is_large { 2 } else { 8 }) {
            self.trim(key, is_large, &mut command);
        }
        let last = self.last.entry(key).or_default();
        *last += self.rng.below(3);
        let id = match self.rng.below(10) {
            0 => format!("{last}"),
            1..3 => format!("{last}-{}", self.rng.below(6)),
            _ => format!("{last}-*"),
        };
        command.push(if self.rng.percent(95) { id.into() } else { self.id(key) });
        for _ in 0..self.rng.between(1, 4) {
            let value = match self.rng.below(6) {
                0 => b"\x00\xff\r\n".to_vec(),
                1 => vec![b'v'; self.rng.index(if is_large { 60 } else { 400 })],
                2 => (self.rng.below(5_000_000).wrapping_sub(2_000_000) as i64).to_string().into(),
                _ => format!("value-{}", self.rng.below(1000)).into(),
            };
            command.extend([self.word(&["field", "field", "field", "other", "n", ""]).into(), value]);
        }
        command
    }

    fn trim(&mut self, key: &'static str, is_large: bool, command: &mut Args) {
        if self.rng.percent(50) {
            let len = if is_large { &["300", "200", "1000"] } else { &["0", "10", "30"] };
            command.extend(words(&["MAXLEN", self.word(len)]));
        } else {
            let last = self.last.get(key).copied().unwrap_or_default();
            let ms = last.saturating_sub(if is_large { 200 } else { self.rng.below(30) });
            command.extend(words(&["MINID", "=", &ms.to_string()]));
        }
    }

    fn group(&mut self, key: &'static str) -> Args {
        let (name, consumer) = (self.word(&GROUPS), self.word(&CONSUMERS));
        let mut command = match self.rng.below(12) {
            0 if self.rng.percent(30) => return words(&["XGROUP", "DESTROY", key, name]),
            0 | 1 => return words(&["XGROUP", "DELCONSUMER", key, name, consumer]),
            2 => return words(&["XGROUP", "CREATECONSUMER", key, name, consumer]),
            3..5 => words(&["XGROUP", "SETID", key, name]),
            _ => words(&["XGROUP", "CREATE", key, name]),
        };
        command.push(if self.rng.percent(50) { self.word(&["0", "$", "0", "-", "+"]).into() } else { self.id(key) });
        if command[1] == b"CREATE" && self.rng.percent(40) {
            command.push(b"MKSTREAM".to_vec());
        }
        if self.rng.percent(20) {
            command.extend(words(&["ENTRIESREAD", self.word(&["0", "3", "2000", "-1", "-2", "x"])]));
        }
        command
    }

    fn pending(&mut self, key: &'static str) -> Args {
        let mut command = words(&["XPENDING", key, self.word(&GROUPS)]);
        if self.rng.percent(70) {
            if self.rng.percent(20) {
                command.extend(words(&["IDLE", self.word(&["0", "9999999", "x"])]));
            }
            command.extend([self.end(key), self.end(key), self.word(&["0", "1", "10", "1000", "-1", "x"]).into()]);
            if self.rng.percent(40) {
                command.push(self.word(&CONSUMERS).into());
            }
        }
        command
    }

    fn claim(&mut self, key: &'static str) -> Args {
        let group = self.word(&GROUPS);
        let mut command = words(&["XCLAIM", key, group, self.word(&CONSUMERS), self.word(&["0", "0", "9999999", "x"])]);
        (0..self.rng.between(1, 7)).for_each(|_| command.push(self.id(key)));
        for _ in 0..self.rng.below(3) {
            let option = self.word(&["FORCE", "JUSTID", "IDLE 5000", "TIME 1000", "RETRYCOUNT 7", "RETRYCOUNT x", "x"]);
            command.extend(option.split(' ').map(|word| word.as_bytes().to_vec()));
        }
        if self.rng.percent(10) {
            command.extend([b"LASTID".to_vec(), self.id(key)]);
        }
        command
    }

    /// STREAMS, with one key or some, and from where on each is read.
    fn streams(
        &mut self,
        key: &'static str,
        since: impl Fn(&mut Self, &'static str) -> Vec<u8>,
        mut command: Args,
    ) -> Args {
        let mut keys = vec![key];
        while self.rng.percent(25) {
            keys.push(self.key());
        }
        command.push(b"STREAMS".to_vec());
        command.extend(keys.iter().map(|key| key.as_bytes().to_vec()));
        for key in keys {
            let since = since(self, key);
            command.push(since);
        }
        command
    }

    fn count(&mut self, percent: u64, command: &mut Args) {
        if self.rng.percent(percent) {
            command.extend(words(&["COUNT", self.word(&["1", "2", "10", "10", "50", "0", "-1", "x"])]));
        }
    }

    fn key(&mut self) -> &'static str {
        KEYS[self.rng.index(KEYS.len())]
    }

    /// An id that may be there.
    fn id(&mut self, key: &'static str) -> Vec<u8> {
        let last = self.last.get(key).copied().unwrap_or_default();
        if self.rng.percent(92) {
            return format!("{}-{}", self.rng.below(last + 3), self.rng.below(4)).into();
        }
        let odd = ["0", "5", "0-0", "x", "5-", "18446744073709551615-18446744073709551615", "99999-1", "", "-1"];
        self.word(&odd).into()
    }

    /// Where a range begins or ends.
    fn end(&mut self, key: &'static str) -> Vec<u8> {
        match self.rng.below(6) {
            0 | 1 => self.word(&["-", "+"]).into(),
            2 => [b"(".to_vec(), self.id(key)].concat(),
            _ => self.id(key),
        }
    }

    fn word(&mut self, words: &[&'static str]) -> &'static str {
        words[self.rng.index(words.len())]
    }
}
