//! Random commands, valid and not, over a few keys: replies and then all values and expiries
//! must be equal.
//!
//! Expiries are drawn so that nothing depends on the time between the two servers: far ahead
//! and spread over months, or past.

use std::time::{Duration, Instant};

use super::contest::{Contest, Mismatch, Pair};
use super::script::Compare;
use crate::Result;
use crate::rng::Rng;
use crate::value::escape;

/// Steps between two comparisons of all keys.
const STEPS_PER_COMPARISON: u64 = 200;
/// Expiries of two servers may be this far apart: the pace of a busy machine.
const TTL_SLACK_MS: i64 = 5_000;
/// How long expired keys may be counted.
const EXPIRY_PATIENCE: Duration = Duration::from_secs(10);
/// Enough to see what is wrong.
const MAX_MISMATCHES: usize = 20;

const KEYS: [&[u8]; 10] = [b"a", b"b", b"c", b"num", b"float", b"", b"bin\x00\r\n\xff", b"{t}1", b"{t}2", b"long"];

impl Contest {
    /// Runs `steps` random commands in one protocol. The same seed draws the same commands.
    ///
    /// # Errors
    /// When a server does not start, or dies.
    pub fn run_random(&self, seed: u64, steps: u64, protocol: u8) -> Result<Vec<Mismatch>> {
        let mut pair = self.start(&[], protocol)?;
        let mut draw = Draw { rng: Rng::new(seed), now_ms: crate::kill::unix_ms(), in_multi: None };
        let mut mismatches = Vec::new();
        let mut recent: Vec<String> = Vec::new();
        let mut since_comparison = 0;
        for step in 0..steps {
            let (args, compare) = draw.step();
            let shown = args.iter().map(|arg| format!("\"{}\"", escape(arg)));
            let shown = shown.collect::<Vec<_>>().join(" ");
            recent.push(shown.clone());
            if let Some(said) = ask_both(&mut pair, &args, &compare)? {
                let begin = recent.iter().rposition(|line| line == "\"MULTI\"").filter(|_| shown == "\"EXEC\"");
                let shown = begin.map_or(shown.clone(), |begin| recent[begin..].join("; "));
                mismatches.push(mismatch(seed, step, protocol, shown, said));
            }
            since_comparison += 1;
            // a transaction would take the questions for its own
            let is_due = since_comparison >= STEPS_PER_COMPARISON || step + 1 == steps;
            if is_due && draw.in_multi.is_none() {
                since_comparison = 0;
                for (what, said) in compare_states(&mut pair)? {
                    let since = recent.iter().filter(|line| line.contains(&what));
                    let since: Vec<&str> = since.map(String::as_str).collect();
                    let tail = since[since.len().saturating_sub(8)..].join("; ");
                    let place = format!("state of {what} (lately: {tail})");
                    mismatches.push(mismatch(seed, step, protocol, place, said));
                }
                recent.clear();
            }
            pair.both_alive(&shown)?;
            if mismatches.len() >= MAX_MISMATCHES {
                break;
            }
        }
        Ok(mismatches)
    }
}

fn mismatch(seed: u64, step: u64, protocol: u8, shown: String, said: [String; 2]) -> Mismatch {
    let [subject, referee] = said;
    Mismatch { place: format!("seed {seed}, step {step}"), protocol, step: shown, subject, referee }
}

/// Asks both; what they said, if they disagree. DBSIZE counts what has expired until that is removed, which each
/// server does at its own pace: the two agree in the end.
fn ask_both(pair: &mut Pair, args: &Args, compare: &Compare) -> Result<Option<[String; 2]>> {
    let deadline = Instant::now() + EXPIRY_PATIENCE;
    loop {
        let replies = pair.ask("main", args)?;
        let said = pair.judge("main", compare, &replies);
        let settles = args[0].eq_ignore_ascii_case(b"DBSIZE") && Instant::now() < deadline;
        if said.is_none() || !settles {
            return Ok(said);
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Compares value and expiry of every key, and the number of keys, in the two databases that commands reach.
fn compare_states(pair: &mut Pair) -> Result<Vec<(String, [String; 2])>> {
    let mut found = Vec::new();
    let mut check = |key: &str, args: Vec<Vec<u8>>, compare: Compare| -> Result<()> {
        if let Some(said) = ask_both(pair, &args, &compare)? {
            found.push((key.to_owned(), said));
        }
        Ok(())
    };
    for database in [1, 0] {
        check("SELECT", args("SELECT", [database.to_string().into_bytes()]), Compare::Exact)?;
        for key in KEYS {
            let shown = format!("\"{}\"", escape(key));
            check(&shown, args("GET", [key.to_vec()]), Compare::Exact)?;
            check(&shown, args("PEXPIRETIME", [key.to_vec()]), Compare::Near(TTL_SLACK_MS))?;
        }
        check("DBSIZE", args("DBSIZE", []), Compare::Exact)?;
        check("KEYS", args("KEYS", [b"*".to_vec()]), Compare::Set)?;
    }
    Ok(found)
}

struct Draw {
    rng: Rng,
    now_ms: i64,
    /// After MULTI: how many commands are to come before EXEC.
    in_multi: Option<u64>,
}

type Args = Vec<Vec<u8>>;

impl Draw {
    /// A command, or one of those that make a transaction of some.
    fn step(&mut self) -> (Args, Compare) {
        match self.in_multi {
            None if self.rng.percent(4) => {
                self.in_multi = Some(self.rng.between(0, 9));
                (args("MULTI", []), Compare::Exact)
            }
            None if self.rng.percent(2) => {
                (args(self.word(&["WATCH", "UNWATCH", "EXEC", "DISCARD"]), [self.key()]), Compare::Exact)
            }
            None if self.rng.percent(2) => (args("WATCH", self.keys()), Compare::Exact),
            None => self.command(),
            Some(0) => {
                self.in_multi = None;
                (args(if self.rng.percent(95) { "EXEC" } else { "DISCARD" }, []), Compare::Exact)
            }
            Some(left) => {
                self.in_multi = Some(left - 1);
                loop {
                    // replies that are compared in another way can't be within EXEC's
                    let (args, compare) = if self.rng.percent(99) { self.valid_command() } else { self.command() };
                    if compare == Compare::Exact && !args[0].eq_ignore_ascii_case(b"DBSIZE") {
                        return (args, compare);
                    }
                }
            }
        }
    }

    fn command(&mut self) -> (Args, Compare) {
        let (mut args, compare) = self.valid_command();
        // one in twelve is spoilt: a word dropped, doubled, or put in that does not belong.
        if self.rng.percent(8) {
            self.spoil(&mut args);
        }
        if self.rng.percent(5) {
            args[0].make_ascii_lowercase();
        }
        // a spoilt time command may have become any other reply; errors are exact in any case.
        (args, compare)
    }

    fn spoil(&mut self, args: &mut Args) {
        match self.rng.below(4) {
            0 if args.len() > 1 => {
                args.pop();
            }
            1 if args.len() > 1 => {
                let at = 1 + self.rng.index(args.len() - 1);
                args.remove(at);
            }
            2 => {
                let extra = self.rng.pick(&["XX", "NX", "GT", "LT", "GET", "KEEPTTL", "EX", "x"]);
                args.push(extra.as_bytes().to_vec());
            }
            _ => args.push(self.number()),
        }
    }

    fn valid_command(&mut self) -> (Args, Compare) {
        let exact = Compare::Exact;
        let key = self.key();
        match self.rng.below(44) {
            0..4 => (self.set(), exact),
            4 => (args("GET", [key]), exact),
            5 => (args("GETDEL", [key]), exact),
            6 => (self.getex(), exact),
            7 => {
                let (ttl, value) = (self.seconds(), self.value());
                (args("SETEX", [key, ttl, value]), exact)
            }
            8 => {
                let (ttl, value) = (self.millis(), self.value());
                (args("PSETEX", [key, ttl, value]), exact)
            }
            9 => (args("SETNX", [key, self.value()]), exact),
            10 => (args("GETSET", [key, self.value()]), exact),
            11 => (args("MGET", self.keys()), exact),
            12 => (args("MSET", self.pairs()), exact),
            13 => (args("MSETNX", self.pairs()), exact),
            14 => (args("APPEND", [key, self.value()]), exact),
            15 => (args("STRLEN", [key]), exact),
            16 => (args(self.word(&["INCR", "DECR"]), [key]), exact),
            17 => (args(self.word(&["INCRBY", "DECRBY"]), [key, self.number()]), exact),
            18 => (args("INCRBYFLOAT", [key, self.float()]), exact),
            19 => (args(self.word(&["DEL", "UNLINK"]), self.keys()), exact),
            20 => (args(self.word(&["EXISTS", "TOUCH"]), self.keys()), exact),
            21 => (args("TYPE", [key]), exact),
            22..25 => (self.expire(), exact),
            25 => (args("TTL", [key]), Compare::Near(TTL_SLACK_MS / 1000)),
            26 => (args("PTTL", [key]), Compare::Near(TTL_SLACK_MS)),
            27 => (args("EXPIRETIME", [key]), Compare::Near(TTL_SLACK_MS / 1000)),
            28 => (args("PEXPIRETIME", [key]), Compare::Near(TTL_SLACK_MS)),
            29 => (args("PERSIST", [key]), exact),
            30 => {
                let (from, to) = (self.offset(), self.offset());
                (args(self.word(&["GETRANGE", "SUBSTR"]), [key, from, to]), exact)
            }
            31 => {
                let (offset, value) = (self.offset(), self.value());
                (args("SETRANGE", [key, offset, value]), exact)
            }
            32 => match self.rng.below(60) {
                0 => (args("FLUSHDB", []), exact),
                1..10 => (args("DBSIZE", []), exact),
                _ => (args("KEYS", [self.pattern()]), Compare::Set),
            },
            33 => (args("ECHO", [self.value()]), exact),
            34..36 => (self.bit(), exact),
            36..42 => (self.of_several(), exact),
            _ => (self.bitfield(), exact),
        }
    }

    /// A command that goes by what it finds under several keys.
    fn of_several(&mut self) -> Args {
        let (a, b) = (self.key(), self.key());
        match self.rng.below(11) {
            8 => args("MOVE", [a, self.word(&["1", "1", "1", "0", "16", "-1", "x"]).as_bytes().to_vec()]),
            9 => {
                let databases = self.word(&["0 1", "0 1", "1 0", "1 1", "0 16", "x 0", "0 x"]);
                args("SWAPDB", databases.split(' ').map(|word| word.as_bytes().to_vec()))
            }
            10 => self.restore(),
            0..2 => args(self.word(&["RENAME", "RENAMENX"]), [a, b]),
            2..5 => {
                let mut command = args("COPY", [a, b]);
                for _ in 0..self.rng.below(3) {
                    let option = self.word(&["REPLACE", "REPLACE", "DB 1", "DB 1", "DB 0", "DB 99", "DB x", "DB", "x"]);
                    command.extend(option.split(' ').map(|word| word.as_bytes().to_vec()));
                }
                command
            }
            5 => {
                let mut command = args("LCS", [a, b]);
                for _ in 0..self.rng.below(3) {
                    let option = self.word(&["LEN", "IDX", "WITHMATCHLEN", "MINMATCHLEN 2", "MINMATCHLEN x", "x"]);
                    command.extend(option.split(' ').map(|word| word.as_bytes().to_vec()));
                }
                command
            }
            n => {
                let name = self.word(&["AND", "OR", "XOR", "NOT", "DIFF", "DIFF1", "ANDOR", "ONE", "one", "x"]);
                let mut command = args("BITOP", [name.as_bytes().to_vec(), a, b]);
                if n == 7 || self.rng.percent(30) {
                    command.extend(self.keys());
                }
                command
            }
        }
    }

    fn restore(&mut self) -> Args {
        // redis 8.2's: of "5", of seventy times "a", and a damaged one
        let payloads: [&[u8]; 3] = [
            b"\x00\xc0\x05\x0c\x00\xa8Yk\xa6y\x05-\x18",
            b"\x00\xc3\t@F\x01aa\xe09\x00\x01aa\x0c\x00O\xa8lI\x11\xbc$\xea",
            b"\x00\xc0\x06\x0c\x00\xa8Yk\xa6y\x05-\x18",
        ];
        let ttl = if self.rng.percent(70) { b"0".to_vec() } else { self.millis() };
        let mut command = args("RESTORE", [self.key(), ttl, self.rng.pick(&payloads).to_vec()]);
        for _ in 0..self.rng.below(3) {
            let option = self.word(&["REPLACE", "REPLACE", "IDLETIME 5", "FREQ 5", "FREQ 256", "ABSTTL", "x"]);
            command.extend(option.split(' ').map(|word| word.as_bytes().to_vec()));
        }
        command
    }

    /// A command on single bits, or on all within a range.
    fn bit(&mut self) -> Args {
        let key = self.key();
        match self.rng.below(6) {
            0..2 => {
                let bit = self.word(&["0", "1", "1", "2", "x"]).as_bytes().to_vec();
                args("SETBIT", [key, self.bit_offset(), bit])
            }
            2 => args("GETBIT", [key, self.bit_offset()]),
            n => {
                let mut command = args(if n < 4 { "BITCOUNT" } else { "BITPOS" }, [key]);
                if n >= 4 {
                    command.push(self.word(&["0", "1", "1", "0", "2", "x"]).as_bytes().to_vec());
                }
                for _ in 0..self.rng.below(3) {
                    command.push(self.offset());
                }
                if self.rng.percent(30) {
                    command.push(self.word(&["BIT", "byte", "BYTE", "bit", "x"]).as_bytes().to_vec());
                }
                command
            }
        }
    }

    fn bit_offset(&mut self) -> Vec<u8> {
        if self.rng.percent(90) {
            self.rng.below(400).to_string().into_bytes()
        } else {
            self.word(&["-1", "x", "", "4294967296", "9223372036854775807", "1.0", "#1"]).as_bytes().to_vec()
        }
    }

    fn bitfield(&mut self) -> Args {
        let name = self.word(&["BITFIELD", "BITFIELD", "BITFIELD", "BITFIELD_RO"]);
        let mut command = args(name, [self.key()]);
        for _ in 0..self.rng.below(5) {
            if self.rng.percent(25) {
                command.extend(args("OVERFLOW", []));
                command.push(self.word(&["WRAP", "SAT", "FAIL", "fail", "x"]).as_bytes().to_vec());
            }
            let writes = name == "BITFIELD" || self.rng.percent(5);
            let verb = if writes { self.word(&["GET", "SET", "INCRBY", "INCRBY"]) } else { "GET" };
            let kind = match self.rng.below(30) {
                0 => self.word(&["u64", "i65", "i0", "u", "x8", "I8", "u08", ""]).to_owned(),
                1..4 => self.word(&["i64", "u63", "i1", "u1"]).to_owned(),
                n => format!("{}{}", if n % 2 == 0 { "i" } else { "u" }, 1 + self.rng.below(63)),
            };
            let offset = match self.rng.below(12) {
                0 => self.bit_offset(),
                1..4 => format!("#{}", self.rng.below(9)).into_bytes(),
                _ => self.rng.below(200).to_string().into_bytes(),
            };
            command.extend(args(verb, [kind.into_bytes(), offset]));
            if verb != "GET" {
                let number = if self.rng.percent(50) { self.offset() } else { self.number() };
                command.push(number);
            }
        }
        command
    }

    fn word(&mut self, words: &[&'static str]) -> &'static str {
        words[self.rng.index(words.len())]
    }

    fn key(&mut self) -> Vec<u8> {
        self.rng.pick(&KEYS).to_vec()
    }

    fn keys(&mut self) -> Args {
        (0..self.rng.between(1, 4)).map(|_| self.key()).collect()
    }

    fn pairs(&mut self) -> Args {
        (0..self.rng.between(1, 4)).flat_map(|_| [self.key(), self.value()]).collect()
    }

    fn pattern(&mut self) -> Vec<u8> {
        let patterns: [&[u8]; 12] =
            [b"*", b"?", b"[ab]", b"[^a]", b"n*m", b"*\\**", b"{t}?", b"", b"[a-c]*", b"[", b"\\", b"**t*"];
        self.rng.pick(&patterns).to_vec()
    }

    fn value(&mut self) -> Vec<u8> {
        match self.rng.below(8) {
            0 => Vec::new(),
            1 => self.number(),
            2 => self.float(),
            3 => b"\x00\xff\r\n".to_vec(),
            4 => vec![b'v'; self.rng.index(3000)],
            _ => format!("value-{}", self.rng.below(1000)).into_bytes(),
        }
    }

    fn number(&mut self) -> Vec<u8> {
        let odd = [
            "0",
            "1",
            "-1",
            "9223372036854775807",
            "-9223372036854775808",
            "9223372036854775808",
            "-9223372036854775809",
            "+1",
            "01",
            " 1",
            "1 ",
            "",
            "x",
            "1.0",
            "1e3",
            "-0",
            "00",
            "4611686018427387904",
            "99999999999999999999",
        ];
        if self.rng.percent(50) {
            self.rng.below(2000).to_string().into_bytes()
        } else {
            self.rng.pick(&odd).as_bytes().to_vec()
        }
    }

    fn float(&mut self) -> Vec<u8> {
        let odd = [
            "0",
            "1.5",
            "-1.5",
            "3.0",
            "1e10",
            "-1e-10",
            "0.1",
            "0.2",
            "1e308",
            "1e400",
            "inf",
            "-inf",
            "nan",
            "",
            "x",
            " 1",
            "1 ",
            "+1.5",
            ".5",
            "5.",
            "0x10",
            "1e",
            "3.14159265358979",
            "1e17",
            "123456789012345678",
            "1e-17",
            "-0",
            "-0.0",
            "1e22",
        ];
        self.rng.pick(&odd).as_bytes().to_vec()
    }

    fn offset(&mut self) -> Vec<u8> {
        if self.rng.percent(80) {
            let number = i64::try_from(self.rng.below(40)).unwrap_or(0) - 15;
            number.to_string().into_bytes()
        } else {
            let odd = ["-9223372036854775808", "9223372036854775807", "x", "", "536870912", "1.0"];
            self.rng.pick(&odd).as_bytes().to_vec()
        }
    }

    /// A time to live in seconds: months, past, or nonsense.
    fn seconds(&mut self) -> Vec<u8> {
        self.duration(1)
    }

    fn millis(&mut self) -> Vec<u8> {
        self.duration(1000)
    }

    fn duration(&mut self, unit: u64) -> Vec<u8> {
        if self.rng.percent(75) {
            // so far spread that no two are ever as close as the servers' clocks differ.
            let number = 1_000_000 * unit + self.rng.below(9_000_000 * unit);
            return number.to_string().into_bytes();
        }
        let odd = [
            "0",
            "-1",
            "-1000",
            "9223372036854775807",
            "-9223372036854775808",
            "9223372036854775",
            "9223372036854774",
            "x",
            "",
            "1.5",
            "99999999999999999999",
        ];
        self.rng.pick(&odd).as_bytes().to_vec()
    }

    fn unix_seconds(&mut self) -> Vec<u8> {
        self.unix_time(1000)
    }

    fn unix_millis(&mut self) -> Vec<u8> {
        self.unix_time(1)
    }

    fn unix_time(&mut self, ms_per_unit: i64) -> Vec<u8> {
        if self.rng.percent(75) {
            let ahead = 1_000_000_000 + i64::try_from(self.rng.below(9_000_000_000)).unwrap_or(0);
            return ((self.now_ms + ahead) / ms_per_unit).to_string().into_bytes();
        }
        let odd = ["0", "-1", "1", "1000", "9223372036854775807", "-9223372036854775808", "x"];
        self.rng.pick(&odd).as_bytes().to_vec()
    }

    /// One of SET's and GETEX's expiry options.
    fn expiry_option(&mut self) -> Args {
        match self.rng.below(4) {
            0 => args("EX", [self.seconds()]),
            1 => args("PX", [self.millis()]),
            2 => args("EXAT", [self.unix_seconds()]),
            _ => args("PXAT", [self.unix_millis()]),
        }
    }

    fn set(&mut self) -> Args {
        let mut command = args("SET", [self.key(), self.value()]);
        let mut options: Vec<Args> = Vec::new();
        if self.rng.percent(35) {
            options.push(self.expiry_option());
        }
        if self.rng.percent(20) {
            options.push(args(self.word(&["NX", "XX"]), []));
        }
        if self.rng.percent(20) {
            options.push(args("GET", []));
        }
        if self.rng.percent(20) {
            options.push(args("KEEPTTL", []));
        }
        if self.rng.percent(4) {
            options.push(args(self.word(&["NX", "XX", "EX", "BAD", "PERSIST"]), []));
        }
        while !options.is_empty() {
            let at = self.rng.index(options.len());
            command.extend(options.swap_remove(at));
        }
        command
    }

    fn getex(&mut self) -> Args {
        let mut command = args("GETEX", [self.key()]);
        match self.rng.below(4) {
            0 => {}
            1 => command.push(b"PERSIST".to_vec()),
            _ => command.extend(self.expiry_option()),
        }
        command
    }

    fn expire(&mut self) -> Args {
        let key = self.key();
        let mut command = match self.rng.below(4) {
            0 => args("EXPIRE", [key, self.seconds()]),
            1 => args("PEXPIRE", [key, self.millis()]),
            2 => args("EXPIREAT", [key, self.unix_seconds()]),
            _ => args("PEXPIREAT", [key, self.unix_millis()]),
        };
        for _ in 0..self.rng.below(3) {
            command.push(self.rng.pick(&["NX", "XX", "GT", "LT", "gt"]).as_bytes().to_vec());
        }
        command
    }
}

pub(super) fn args(name: &str, rest: impl IntoIterator<Item = Vec<u8>>) -> Args {
    std::iter::once(name.as_bytes().to_vec()).chain(rest).collect()
}
