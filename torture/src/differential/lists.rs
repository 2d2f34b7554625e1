//! Random commands on lists, small and large ones, with restarts of both servers in between, orderly ones and `kill -9`: replies and then all
//! elements must be equal, in their order.

use std::time::Duration;

use super::contest::{Contest, Mismatch, Pair};
use super::random::args;
use super::script::Compare;
use crate::rng::Rng;
use crate::value::escape;
use crate::{Result, Value};

/// Steps between two comparisons of all lists.
const STEPS_PER_COMPARISON: u64 = 150;
/// Steps between two restarts.
const STEPS_PER_RESTART: u64 = 1_000;
/// Enough to see what is wrong.
const MAX_MISMATCHES: usize = 20;
/// How long an orderly end may take.
const END_TIMEOUT: Duration = Duration::from_secs(20);

/// The last two are strings at first.
const KEYS: [&[u8]; 8] = [b"small", b"{s}mall", b"middle", b"{m}iddle", b"large", b"{l}arge", b"string", b""];

type Args = Vec<Vec<u8>>;

impl Contest {
    /// Runs `steps` random commands on lists in one protocol. The same seed draws the same commands.
    ///
    /// # Errors
    /// When a server does not start, or dies.
    pub fn run_lists(&self, seed: u64, steps: u64, protocol: u8) -> Result<Vec<Mismatch>> {
        // with `everysec` redis puts its writes off while a sync is slow, and a kill takes what it has answered
        let mut args = ["--appendfsync", "no"].map(str::to_owned).to_vec();
        if protocol == 3 {
            // where redis goes from one encoding to the other: as ever, or earlier
            args.extend(["--list-max-listpack-size", "60"].map(str::to_owned));
        }
        let mut pair = self.start(&args, protocol)?;
        let mut draw = Draw { rng: Rng::new(seed) };
        let mut mismatches = Vec::new();
        for step in 0..steps {
            let mut command = draw.command();
            if draw.rng.percent(6) {
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
                compare_lists(&mut pair, |what, said| note(format!("seed {seed}, step {step}: {what}"), said))?;
            }
            pair.both_alive(&shown)?;
            if (step + 1) % STEPS_PER_RESTART == 0 {
                pair.restart(draw.rng.percent(70), END_TIMEOUT)?;
                compare_lists(&mut pair, |what, said| {
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

fn compare_of(pair: &mut Pair, command: &Args) -> Result<Compare> {
    Ok(match command[0].to_ascii_lowercase().as_slice() {
        b"dump" | b"memory" => Compare::Ignore,
        // when redis goes back to one listpack is a matter of its nodes; how strings are kept is compared elsewhere
        b"object" if command.len() == 3 && !is_large(pair, &command[2])? => Compare::Ignore,
        _ => Compare::Exact,
    })
}

/// Whether a list is of a size at which it has one encoding, whatever it was before.
fn is_large(pair: &mut Pair, key: &[u8]) -> Result<bool> {
    let [_, referee] = pair.connection("main")?;
    if referee.command(&[&b"TYPE"[..], key])?.text() != Some(b"list") {
        return Ok(false);
    }
    Ok(referee.command(&[&b"LLEN"[..], key])?.integer().is_some_and(|len| len > 1200))
}

/// Compares all that there is of each list, and in both directions by DUMP and RESTORE.
fn compare_lists(pair: &mut Pair, mut note: impl FnMut(String, [String; 2])) -> Result<()> {
    for key in KEYS {
        let shown = escape(key);
        for command in [
            args("TYPE", [key.to_vec()]),
            args("LLEN", [key.to_vec()]),
            args("LRANGE", [key.to_vec(), b"0".to_vec(), b"-1".to_vec()]),
        ] {
            let replies = pair.ask("main", &command)?;
            if let Some(said) = pair.judge("main", &Compare::Exact, &replies) {
                note(format!("{} of {shown}", escape(&command[0])), said);
            }
        }
        let [subject, referee] = pair.connection("main")?;
        if subject.command(&[&b"TYPE"[..], key])?.text() != Some(b"list") {
            continue;
        }
        let all = elements(subject, key)?;
        let payloads = [subject.command(&[&b"DUMP"[..], key])?, referee.command(&[&b"DUMP"[..], key])?];
        let mut encodings = Vec::new();
        for (payload, to) in payloads.iter().zip([referee, subject]) {
            let Some(payload) = payload.text() else { continue };
            let said = to.command(&[&b"RESTORE"[..], b"restored", b"0", payload, b"REPLACE"])?;
            let restored = elements(to, b"restored")?;
            encodings.push(format!("{:?}", to.command(&[&b"OBJECT"[..], b"ENCODING", b"restored"])?));
            to.command(&[&b"DEL"[..], b"restored"])?;
            if restored != all {
                note(format!("{shown} dumped and restored"), [format!("{said:?} {restored:?}"), format!("{all:?}")]);
            }
        }
        if let [one, other] = &encodings[..]
            && one != other
        {
            note(format!("encoding of {shown} restored"), [other.clone(), one.clone()]);
        }
    }
    Ok(())
}

fn elements(client: &mut crate::Client, key: &[u8]) -> Result<Vec<Vec<u8>>> {
    let reply = client.command(&[&b"LRANGE"[..], key, b"0", b"-1"])?;
    let text = |value: &Value| value.text().unwrap_or_default().to_vec();
    Ok(reply.items().unwrap_or_default().iter().map(text).collect())
}

struct Draw {
    rng: Rng,
}

impl Draw {
    fn command(&mut self) -> Args {
        let key = self.key();
        match self.rng.below(50) {
            0..12 => {
                let name = self.word(&["RPUSH", "LPUSH", "RPUSH", "LPUSH", "RPUSHX", "LPUSHX"]);
                let mut command = args(name, [key.clone()]);
                for _ in 0..self.many(&key) {
                    command.push(self.element());
                }
                command
            }
            12..16 => args(self.word(&["LPOP", "RPOP"]), [key]),
            16..19 => {
                let count = self.many(&key).to_string().into_bytes();
                args(self.word(&["LPOP", "RPOP"]), [key, count])
            }
            19 => args("LLEN", [key]),
            20..23 => args("LRANGE", [key, self.index(), self.index()]),
            23..25 => args("LINDEX", [key, self.index()]),
            25..27 => args("LSET", [key, self.index(), self.element()]),
            27..30 => {
                let place = self.word(&["BEFORE", "after", "before", "AFTER", "x"]);
                args("LINSERT", [key, place.into(), self.element(), self.element()])
            }
            30..32 => args("LREM", [key, self.word(&["0", "1", "-1", "3", "-5", "x"]).into(), self.element()]),
            32 if self.rng.percent(20) => args("LTRIM", [key, self.index(), self.index()]),
            32..34 => args("LTRIM", [key, self.word(&["0", "1", "3"]).into(), self.word(&["-1", "-2", "-4"]).into()]),
            34..36 => {
                let mut command = args("LPOS", [key, self.element()]);
                for _ in 0..self.rng.below(3) {
                    let options =
                        ["RANK 1", "RANK -1", "RANK 3", "RANK -2", "RANK 0", "COUNT 0", "COUNT 2", "count -1"];
                    let others = ["MAXLEN 0", "maxlen 7", "MAXLEN -1", "RANK x", "COUNT", "RANK -9223372036854775808"];
                    let option = if self.rng.percent(60) { self.word(&options) } else { self.word(&others) };
                    command.extend(option.split(' ').map(|word| word.as_bytes().to_vec()));
                }
                command
            }
            36..39 => {
                let mut command = args("LMOVE", [key, self.key()]);
                (0..2).for_each(|_| {
                    command.push(self.word(&["LEFT", "right", "left", "RIGHT", "LEFT", "RIGHT", "up"]).into())
                });
                command
            }
            39 => args("RPOPLPUSH", [key, self.key()]),
            40..42 => {
                let keys = self.rng.below(4);
                let mut command = args("LMPOP", [keys.to_string().into_bytes()]);
                (0..keys).for_each(|_| command.push(self.key()));
                command.push(self.word(&["LEFT", "RIGHT", "left", "middle"]).into());
                if self.rng.percent(50) {
                    let count = self.word(&["1", "3", "100", "0", "x", "-1"]);
                    command.extend([b"COUNT".to_vec(), count.into()]);
                }
                command
            }
            42 => args("TYPE", [key]),
            43 => args("OBJECT", [b"ENCODING".to_vec(), key]),
            44 => {
                let to = self.key();
                args(self.word(&["RENAME", "RENAMENX", "COPY"]), [key, to])
            }
            45 => args("COPY", [key, self.key(), b"REPLACE".to_vec()]),
            46 if self.rng.percent(20) => args(self.word(&["DEL", "UNLINK"]), [key]),
            46 => args(self.word(&["EXISTS", "DUMP", "TYPE"]), [key]),
            47 if self.rng.percent(20) => {
                let value = self.element();
                args(self.word(&["SET", "APPEND", "GETSET"]), [key, value])
            }
            47 => args(self.word(&["EXPIRE", "PERSIST"]), [key, b"100000".to_vec()]),
            48 => args(self.word(&["GET", "STRLEN", "INCR", "GETEX", "HLEN", "HGETALL"]), [key]),
            _ => args("MEMORY", [b"USAGE".to_vec(), key]),
        }
    }

    fn spoil(&mut self, command: &mut Args) {
        if self.rng.percent(50) && command.len() > 1 {
            command.pop();
        } else {
            command.push(self.index());
        }
    }

    fn word(&mut self, words: &[&'static str]) -> &'static str {
        words[self.rng.index(words.len())]
    }

    fn key(&mut self) -> Vec<u8> {
        self.rng.pick(&KEYS).to_vec()
    }

    /// How many elements a command names.
    fn many(&mut self, key: &[u8]) -> u64 {
        let most = match key {
            b"large" | b"{l}arge" if self.rng.percent(30) => 400,
            b"middle" | b"{m}iddle" if self.rng.percent(30) => 60,
            _ => 4,
        };
        1 + self.rng.below(most)
    }

    fn element(&mut self) -> Vec<u8> {
        match self.rng.below(60) {
            0 => vec![b'v'; self.rng.index(3000)],
            1 => vec![b'w'; self.rng.index(300)],
            2 => Vec::new(),
            3 => b"\x00\xff\r\n".to_vec(),
            4..20 => self.rng.below(100).to_string().into_bytes(),
            20..24 => {
                self.rng.pick(&["-1", "127", "128", "-4097", "65536", "9223372036854775807", "01"]).as_bytes().to_vec()
            }
            _ => format!("element-{}", self.rng.below(200)).into_bytes(),
        }
    }

    fn index(&mut self) -> Vec<u8> {
        let odd = ["0", "-1", "x", "", "1.5", "9223372036854775807", "-9223372036854775808", "9223372036854775808"];
        if self.rng.percent(8) {
            return self.rng.pick(&odd).as_bytes().to_vec();
        }
        let most = if self.rng.percent(50) { 6 } else { 500 };
        (self.rng.below(most) as i64 - self.rng.below(most) as i64).to_string().into_bytes()
    }
}
