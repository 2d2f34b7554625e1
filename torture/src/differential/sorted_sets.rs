//! Random commands on sorted sets, small and large ones, with restarts of both servers in between, orderly ones and `kill -9`: replies and then
//! all members must be equal, in order. Lexical ranges are asked of keys whose members all have one score: redis says nothing of others.

use std::collections::BTreeMap;
use std::time::Duration;

use super::contest::{Contest, Mismatch, Pair};
use super::random::args;
use super::script::Compare;
use crate::rng::Rng;
use crate::value::escape;
use crate::{Error, Result, Value};

/// Steps between two comparisons of all sorted sets.
const STEPS_PER_COMPARISON: u64 = 150;
/// Steps between two restarts.
const STEPS_PER_RESTART: u64 = 1_000;
/// Enough to see what is wrong.
const MAX_MISMATCHES: usize = 20;
/// How long an orderly end may take.
const END_TIMEOUT: Duration = Duration::from_secs(20);

/// Of the members of the two with `same` all have the score 0; the last two are strings at first.
const KEYS: [&[u8]; 9] =
    [b"small", b"{s}mall", b"middle", b"large", b"{l}arge", b"same", b"large-same", b"string", b""];

type Args = Vec<Vec<u8>>;

impl Contest {
    /// Runs `steps` random commands on sorted sets in one protocol. The same seed draws the same commands.
    ///
    /// # Errors
    /// When a server does not start, or dies.
    pub fn run_sorted_sets(&self, seed: u64, steps: u64, protocol: u8) -> Result<Vec<Mismatch>> {
        // the limits by which redis chooses an encoding: its own, or lower ones
        let limits = ["--zset-max-listpack-entries", "40", "--zset-max-listpack-value", "32"].map(str::to_owned);
        // with `everysec` redis puts its writes off while a sync is slow, and a kill takes what it has answered
        let mut args = ["--appendfsync", "no"].map(str::to_owned).to_vec();
        if protocol == 3 {
            args.extend(limits);
        }
        let mut pair = self.start(&args, protocol)?;
        let mut draw = Draw { rng: Rng::new(seed) };
        let mut mismatches = Vec::new();
        for step in 0..steps {
            let mut command = draw.command();
            if draw.rng.percent(5) {
                draw.spoil(&mut command);
            }
            let compare = compare_of(&mut pair, &command)?;
            let shown = command.iter().map(|arg| format!("\"{}\"", escape(&arg[..arg.len().min(60)])));
            let shown = shown.collect::<Vec<_>>().join(" ");
            let mut note = |place: String, said: [String; 2]| {
                let [subject, referee] = said;
                mismatches.push(Mismatch { place, protocol, step: shown.clone(), subject, referee });
            };
            let replies = pair.ask("main", &command)?;
            if let Some(said) = pair.judge("main", &compare, &replies) {
                note(format!("seed {seed}, step {step}"), said);
            }
            if (step + 1) % STEPS_PER_COMPARISON == 0 || step + 1 == steps {
                compare_all(&mut pair, |what, said| note(format!("seed {seed}, step {step}: {what}"), said))?;
            }
            pair.both_alive(&shown)?;
            if (step + 1) % STEPS_PER_RESTART == 0 {
                pair.restart(draw.rng.percent(70), END_TIMEOUT)?;
                compare_all(&mut pair, |what, said| {
                    note(format!("seed {seed}, after a restart at step {step}: {what}"), said);
                })?;
            }
            if mismatches.len() >= MAX_MISMATCHES {
                break;
            }
        }
        Ok(mismatches)
    }
}

/// What is drawn must only be as much; cursors are each server's own.
fn compare_of(pair: &mut Pair, command: &Args) -> Result<Compare> {
    let name = command[0].to_ascii_lowercase();
    Ok(match name.as_slice() {
        b"zrandmember" => Compare::Shape,
        b"zscan" if command.len() > 1 && is_skiplist(pair, &command[1])? => Compare::Ignore,
        b"dump" | b"memory" => Compare::Ignore,
        // how strings are kept is compared elsewhere
        b"object" if command.len() == 3 && !is_sorted_set(pair, &command[2])? => Compare::Ignore,
        _ => Compare::Exact,
    })
}

fn is_skiplist(pair: &mut Pair, key: &[u8]) -> Result<bool> {
    let [_, referee] = pair.connection("main")?;
    Ok(referee.command(&[&b"OBJECT"[..], b"ENCODING", key])?.text() == Some(b"skiplist"))
}

fn is_sorted_set(pair: &mut Pair, key: &[u8]) -> Result<bool> {
    let [_, referee] = pair.connection("main")?;
    Ok(referee.command(&[&b"TYPE"[..], key])?.text() == Some(b"zset"))
}

/// Compares all that there is of each sorted set: in order, by a whole ZSCAN, in both directions by DUMP and RESTORE.
fn compare_all(pair: &mut Pair, mut note: impl FnMut(String, [String; 2])) -> Result<()> {
    for key in KEYS {
        let shown = escape(key);
        let words: [&[&[u8]]; 5] = [
            &[b"TYPE", key],
            &[b"ZCARD", key],
            &[b"ZRANGE", key, b"0", b"-1", b"WITHSCORES"],
            &[b"ZCOUNT", key, b"(1", b"30"],
            &[b"OBJECT", b"ENCODING", key],
        ];
        for words in &words[..if is_sorted_set(pair, key)? { 5 } else { 4 }] {
            let command: Args = words.iter().map(|word| word.to_vec()).collect();
            let replies = pair.ask("main", &command)?;
            if let Some(said) = pair.judge("main", &Compare::Exact, &replies) {
                note(format!("{} of {shown}", escape(words[0])), said);
            }
        }
        let [subject, referee] = pair.connection("main")?;
        if subject.command(&[&b"TYPE"[..], key])?.text() != Some(b"zset") {
            continue;
        }
        let all = members(&subject.command(&[&b"ZRANGE"[..], key, b"0", b"-1", b"WITHSCORES"])?);
        let scanned = scan(subject, key)?;
        if scanned != all.keys().cloned().collect::<Vec<_>>() {
            note(format!("ZSCAN of {shown}"), [format!("{scanned:?}"), format!("{all:?}")]);
        }
        let payloads = [subject.command(&[&b"DUMP"[..], key])?, referee.command(&[&b"DUMP"[..], key])?];
        for (payload, to) in payloads.iter().zip([referee, subject]) {
            let Some(payload) = payload.text() else { continue };
            let said = to.command(&[&b"RESTORE"[..], b"restored", b"0", payload, b"REPLACE"])?;
            let restored = members(&to.command(&[&b"ZRANGE"[..], b"restored", b"0", b"-1", b"WITHSCORES"])?);
            to.command(&[&b"DEL"[..], b"restored"])?;
            if restored != all {
                note(format!("{shown} dumped and restored"), [format!("{said:?} {restored:?}"), format!("{all:?}")]);
            }
        }
    }
    Ok(())
}

type Members = BTreeMap<Vec<u8>, String>;

/// Members with what is said of their scores, in either protocol.
fn members(reply: &Value) -> Members {
    let text = |value: &Value| value.text().unwrap_or_default().to_vec();
    let items = reply.items().unwrap_or_default();
    if items.first().is_some_and(|item| item.items().is_some()) {
        let pairs = items.iter().filter_map(Value::items);
        return pairs.map(|pair| (text(&pair[0]), format!("{:?}", pair[1]))).collect();
    }
    items.chunks(2).map(|pair| (text(&pair[0]), format!("{:?}", pair[1]))).collect()
}

/// All members that a whole ZSCAN yields, in the order of their bytes.
fn scan(client: &mut crate::Client, key: &[u8]) -> Result<Vec<Vec<u8>>> {
    let mut found = std::collections::BTreeSet::new();
    let mut cursor = b"0".to_vec();
    loop {
        let reply = client.command(&[&b"ZSCAN"[..], key, &cursor, b"COUNT", b"7"])?;
        let Some([next, batch]) = reply.items() else {
            return Err(Error::Protocol(format!("ZSCAN was answered {reply:?}")));
        };
        let items = batch.items().unwrap_or_default();
        found.extend(items.iter().step_by(2).filter_map(|member| member.text().map(<[u8]>::to_vec)));
        cursor = next.text().unwrap_or(b"0").to_vec();
        if cursor == b"0" {
            return Ok(found.into_iter().collect());
        }
    }
}

struct Draw {
    rng: Rng,
}

impl Draw {
    fn command(&mut self) -> Args {
        let key = self.key();
        match self.rng.below(44) {
            0..12 => {
                let mut command = args("ZADD", [key.clone()]);
                for _ in 0..self.rng.below(6).saturating_sub(3) {
                    command.push(self.word(&["NX", "XX", "GT", "LT", "CH", "INCR"]).into());
                }
                for _ in 0..self.many(&key) {
                    command.extend([self.score(&key), self.member(&key)]);
                }
                command
            }
            12..14 => {
                let (by, member) = (self.score(&key), self.member(&key));
                args("ZINCRBY", [key, by, member])
            }
            14..17 => {
                let mut command = args(self.word(&["ZREM", "ZREM", "ZMSCORE"]), [key.clone()]);
                for _ in 0..self.many(&key) {
                    command.push(self.member(&key));
                }
                command
            }
            17..20 => {
                let member = self.member(&key);
                let mut command = args(self.word(&["ZSCORE", "ZRANK", "ZREVRANK"]), [key, member]);
                if command[0] != b"ZSCORE" && self.rng.percent(50) {
                    command.push(self.word(&["WITHSCORE", "withscore", "x"]).into());
                }
                command
            }
            20 => args("ZCARD", [key]),
            21 => args("ZCOUNT", [key, self.end(), self.end()]),
            22..28 => self.range(key),
            28 => {
                let mut command = args("ZRANGESTORE", [self.any_score_key()]);
                let key = self.any_score_key();
                let mut range = self.range(key);
                range.retain(|word| !word.eq_ignore_ascii_case(b"withscores"));
                if range[0] != b"ZRANGE" {
                    range.truncate(2);
                    range.extend([b"0".to_vec(), b"-10".to_vec()]);
                }
                command.extend(range.drain(1..));
                command
            }
            29..31 => match self.rng.below(3) {
                0 => args("ZREMRANGEBYRANK", [key, self.place(), self.place()]),
                1 => {
                    let from = self.rng.below(60);
                    args("ZREMRANGEBYSCORE", [key, from.to_string().into(), format!("({}", from + 3).into()])
                }
                _ => args("ZREMRANGEBYLEX", [self.same_key(), self.edge(), self.edge()]),
            },
            31..33 => {
                let mut command = args(self.word(&["ZPOPMIN", "ZPOPMAX"]), [key]);
                if self.rng.percent(60) {
                    command.push(self.word(&["0", "1", "2", "30", "x", "-1"]).into());
                }
                command
            }
            33 => {
                let mut command = args("ZMPOP", [b"2".to_vec(), key, self.key()]);
                command.push(self.word(&["MIN", "MAX", "min", "x"]).into());
                if self.rng.percent(50) {
                    command.extend([b"COUNT".to_vec(), self.word(&["1", "3", "40", "0", "x"]).into()]);
                }
                command
            }
            34 => {
                let mut command = args("ZRANDMEMBER", [key]);
                if self.rng.percent(80) {
                    command.push(self.word(&["0", "1", "3", "1000", "-3", "-20", "x", ""]).into());
                    if self.rng.percent(50) {
                        command.push(self.word(&["WITHSCORES", "withscores", "x"]).into());
                    }
                }
                command
            }
            35 if key.starts_with(b"small") => {
                let mut command = args("ZSCAN", [key, self.word(&["0", "0", "0", "x", ""]).into()]);
                for _ in 0..self.rng.below(3) {
                    let option = self.word(&["COUNT 5", "COUNT 0", "COUNT x", "MATCH m1*", "NOVALUES", "MATCH"]);
                    command.extend(option.split(' ').map(|word| word.as_bytes().to_vec()));
                }
                command
            }
            35..38 => self.combination(),
            38 => args(self.word(&["TYPE", "EXISTS", "DUMP"]), [key]),
            39 => args("OBJECT", [b"ENCODING".to_vec(), key]),
            40 => {
                let (from, to) = (self.any_score_key(), self.any_score_key());
                let mut command = args(self.word(&["RENAME", "RENAMENX", "COPY", "COPY"]), [from, to]);
                if command[0] == b"COPY" && self.rng.percent(50) {
                    command.push(b"REPLACE".to_vec());
                }
                command
            }
            41 if self.rng.percent(30) => args(self.word(&["DEL", "UNLINK"]), [key]),
            41 => args("MEMORY", [b"USAGE".to_vec(), key]),
            42 if self.rng.percent(20) => {
                let key = self.any_score_key();
                args(self.word(&["SET", "APPEND", "GETSET"]), [key, b"text".to_vec()])
            }
            42 => args(self.word(&["EXPIRE", "PERSIST"]), [key, b"100000".to_vec()]),
            _ => args(self.word(&["GET", "STRLEN", "INCR", "GETDEL", "HGETALL", "PERSIST", "HLEN"]), [key]),
        }
    }

    fn range(&mut self, key: Vec<u8>) -> Args {
        let mut command = match self.rng.below(6) {
            0 => args(self.word(&["ZRANGE", "ZREVRANGE"]), [key, self.place(), self.place()]),
            1 => args(self.word(&["ZRANGEBYSCORE", "ZREVRANGEBYSCORE"]), [key, self.end(), self.end()]),
            2 => {
                let key = self.same_key();
                args(self.word(&["ZRANGEBYLEX", "ZREVRANGEBYLEX", "ZLEXCOUNT"]), [key, self.edge(), self.edge()])
            }
            3 => args("ZRANGE", [self.same_key(), self.edge(), self.edge(), b"BYLEX".to_vec()]),
            4 => args("ZRANGE", [key, self.end(), self.end(), b"BYSCORE".to_vec()]),
            _ => args("ZRANGE", [key, self.place(), self.place()]),
        };
        if command[0] == b"ZLEXCOUNT" {
            return command;
        }
        for _ in 0..self.rng.below(3) {
            let option = self.word(&["WITHSCORES", "REV", "LIMIT 1 5", "LIMIT 0 -1", "limit 3 100", "LIMIT -1 2", "x"]);
            command.extend(option.split(' ').map(|word| word.as_bytes().to_vec()));
        }
        command
    }

    fn combination(&mut self) -> Args {
        let name = self.word(&["ZUNION", "ZINTER", "ZDIFF", "ZINTERCARD", "ZUNIONSTORE", "ZINTERSTORE", "ZDIFFSTORE"]);
        let stores = name.ends_with("STORE");
        let mut command = args(name, stores.then(|| self.any_score_key()));
        let count = 1 + self.rng.below(3);
        command.push(count.to_string().into_bytes());
        for _ in 0..count {
            command.push(self.key());
        }
        if name.contains("DIFF") {
            if !stores && self.rng.percent(50) {
                command.push(b"WITHSCORES".to_vec());
            }
            return command;
        }
        if name == "ZINTERCARD" {
            if self.rng.percent(50) {
                command.extend([b"LIMIT".to_vec(), self.word(&["0", "2", "x", "-1"]).into()]);
            }
            return command;
        }
        if self.rng.percent(40) {
            command.push(b"WEIGHTS".to_vec());
            for _ in 0..count {
                command.push(self.word(&["1", "2", "0.5", "0.1", "3"]).into());
            }
        }
        if self.rng.percent(40) {
            command.extend([b"AGGREGATE".to_vec(), self.word(&["SUM", "MIN", "MAX", "x"]).into()]);
        }
        if !stores && self.rng.percent(60) {
            command.push(b"WITHSCORES".to_vec());
        }
        command
    }

    fn spoil(&mut self, command: &mut Args) {
        if self.rng.percent(50) && command.len() > 1 {
            command.pop();
        } else {
            command.push(self.word(&["0", "x", "", "-1"]).into());
        }
    }

    fn word(&mut self, words: &[&'static str]) -> &'static str {
        words[self.rng.index(words.len())]
    }

    fn key(&mut self) -> Vec<u8> {
        self.rng.pick(&KEYS).to_vec()
    }

    fn same_key(&mut self) -> Vec<u8> {
        self.word(&["same", "large-same"]).into()
    }

    /// None of those whose members have one score.
    fn any_score_key(&mut self) -> Vec<u8> {
        loop {
            let key = self.key();
            if !key.ends_with(b"same") {
                return key;
            }
        }
    }

    /// How many members a command names.
    fn many(&mut self, key: &[u8]) -> u64 {
        let most = if key.contains(&b'l') && self.rng.percent(30) { 200 } else { 4 };
        1 + self.rng.below(most)
    }

    fn member(&mut self, key: &[u8]) -> Vec<u8> {
        let of = match key {
            b"large" | b"{l}arge" | b"large-same" => 1500,
            b"middle" => 120,
            _ => 10,
        };
        match self.rng.below(80) {
            0 => Vec::new(),
            1 => b"\x00\r\n\xff".to_vec(),
            2 => vec![b'M'; self.rng.index(90)],
            3 if key.contains(&b'l') => vec![b'N'; self.rng.index(900)],
            _ => format!("m{}", self.rng.below(of)).into_bytes(),
        }
    }

    fn score(&mut self, key: &[u8]) -> Vec<u8> {
        if key.ends_with(b"same") {
            return b"0".to_vec();
        }
        match self.rng.below(30) {
            0 => self.word(&["inf", "-inf", "+inf", "1e300", "-1e300", "1e-7", "12345678901234567890"]).into(),
            1 => self.word(&["x", "", "nan", "1x", " 1", "0x1F", "1e400"]).into(),
            2..10 => (self.rng.below(1000) as f64 / 10.0 - 20.0).to_string().into_bytes(),
            _ => self.rng.below(60).to_string().into_bytes(),
        }
    }

    /// An end of a range of scores.
    fn end(&mut self) -> Vec<u8> {
        match self.rng.below(10) {
            0..4 => self.word(&["-inf", "+inf", "inf", "(inf", "(-inf"]).into(),
            4 => self.word(&["x", "", "(", "nan", "1e400"]).into(),
            5..7 => format!("({}", self.rng.below(60)).into_bytes(),
            _ => self.rng.below(60).to_string().into_bytes(),
        }
    }

    /// An end of a range of bytes.
    fn edge(&mut self) -> Vec<u8> {
        match self.rng.below(10) {
            0..4 => self.word(&["-", "+"]).into(),
            4 => self.word(&["x", "", "[", "(", "(M"]).into(),
            5..7 => format!("(m{}", self.rng.below(1500)).into_bytes(),
            _ => format!("[m{}", self.rng.below(1500)).into_bytes(),
        }
    }

    fn place(&mut self) -> Vec<u8> {
        match self.rng.below(10) {
            0 => self.word(&["x", "", "9223372036854775807", "-9223372036854775808", "1.5"]).into(),
            1..5 => format!("-{}", 1 + self.rng.below(40)).into_bytes(),
            _ => self.rng.below(60).to_string().into_bytes(),
        }
    }
}
