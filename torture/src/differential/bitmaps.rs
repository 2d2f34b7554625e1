//! Random commands on long strings and bitmaps that are changed in places, with restarts of both servers in between, orderly ones and `kill -9`: replies and
//! then all strings must be equal, byte by byte.

use super::contest::{Contest, Mismatch, Pair};
use super::random::args;
use super::rounds::{Args, Game, Note};
use super::script::Compare;
use crate::Result;
use crate::client::Reply;
use crate::rng::Rng;
use crate::value::escape;

/// Those of a tag are in one partition; the last one is of another kind now and then.
const KEYS: [&[u8]; 8] = [b"short", b"{t}long", b"{t}other", b"long", b"far", b"copy", b"", b"odd"];
/// Where strings are dealt out to chunks, and a chunk ends.
const EDGES: [u64; 4] = [16_384, 16_896, 131_072, 512];

impl Contest {
    /// Runs `steps` random commands on long strings in one protocol. The same seed draws the same commands.
    ///
    /// # Errors
    /// When a server does not start, or dies.
    pub fn run_bitmaps(&self, seed: u64, steps: u64, protocol: u8) -> Result<Vec<Mismatch>> {
        let mut draw = Draw { rng: Rng::new(seed), begun: 0, in_multi: 0 };
        self.run_rounds(&mut draw, &[], seed, steps, protocol)
    }
}

struct Draw {
    rng: Rng,
    /// Commands that were drawn.
    begun: u64,
    /// How many are still to come before EXEC, and that.
    in_multi: u64,
}

fn text(number: impl ToString) -> Vec<u8> {
    number.to_string().into_bytes()
}

impl Draw {
    fn key(&mut self) -> Vec<u8> {
        self.rng.pick(&KEYS).to_vec()
    }

    fn word(&mut self, words: &[&'static str]) -> &'static str {
        words[self.rng.index(words.len())]
    }

    /// A byte of a string; of most strings beyond where it would be rewritten as a whole.
    fn place(&mut self, key: &[u8]) -> u64 {
        match (key, self.rng.below(8)) {
            (b"short", _) => self.rng.below(3000),
            (b"far", 0..4) => self.rng.below(4 << 20),
            (_, 0) => self.rng.pick(&EDGES) - self.rng.below(3),
            (_, 1) => self.rng.below(1200),
            _ => 14_000 + self.rng.below(130_000),
        }
    }

    fn part(&mut self) -> Vec<u8> {
        let len = match self.rng.below(12) {
            0 => self.rng.below(70_000),
            1..4 => self.rng.below(3000),
            _ => self.rng.below(12),
        };
        let with = self.rng.below(5) as u8;
        (0..len).map(|i| if with == 0 { 0 } else { with.wrapping_mul(i as u8) }).collect()
    }

    /// A place of a range, counted from the front or the end.
    fn edge(&mut self, key: &[u8], unit: u64) -> Vec<u8> {
        let at = (self.place(key) * unit + self.rng.below(unit)) as i64;
        text(if self.rng.percent(30) { -at } else { at })
    }

    fn fields(&mut self, key: &[u8], command: &mut Args, may_write: bool) {
        for _ in 0..=self.rng.below(3) {
            if may_write && self.rng.percent(20) {
                // not FAIL: redis makes a string longer for a field that nothing fits into, and its log does not say so
                command.extend([b"OVERFLOW".to_vec(), self.word(&["WRAP", "SAT"]).as_bytes().to_vec()]);
            }
            let verb = if may_write { *self.rng.pick(&["GET", "SET", "INCRBY"]) } else { "GET" };
            let kind = format!("{}{}", self.rng.pick(&["u", "i"]), 1 + self.rng.below(63));
            let offset = self.place(key) * 8 + self.rng.below(8);
            command.extend([verb.as_bytes().to_vec(), kind.into_bytes(), text(offset)]);
            if verb != "GET" {
                command.push(text(self.rng.below(1 << 40) as i64 - (1 << 39)));
            }
        }
    }

    fn draw(&mut self) -> Args {
        let (key, other) = (self.key(), self.key());
        match self.rng.below(70) {
            0..14 => {
                let offset = self.place(&key) * 8 + self.rng.below(8);
                args("SETBIT", [key, text(offset), text(self.rng.below(2))])
            }
            14..18 => {
                let offset = self.place(&key) * 8 + self.rng.below(8);
                args("GETBIT", [key, text(offset)])
            }
            18..24 => {
                let (at, part) = (self.place(&key), self.part());
                args("SETRANGE", [key, text(at), part])
            }
            24..29 => {
                let part = if key == b"short" { b"x".to_vec() } else { self.part() };
                args("APPEND", [key, part])
            }
            29..35 => {
                let mut command = args("BITFIELD", [key.clone()]);
                self.fields(&key, &mut command, true);
                command
            }
            35 => {
                let mut command = args("BITFIELD_RO", [key.clone()]);
                self.fields(&key, &mut command, false);
                command
            }
            36..40 => {
                let unit = *self.rng.pick(&[1, 8]);
                let (start, end) = (self.edge(&key, unit), self.edge(&key, unit));
                args("BITCOUNT", [key, start, end, if unit == 1 { b"BYTE".to_vec() } else { b"BIT".to_vec() }])
            }
            40..45 => {
                let unit = *self.rng.pick(&[1, 8]);
                let mut command = args("BITPOS", [key.clone(), text(self.rng.below(2))]);
                let with = self.rng.below(4);
                (0..with.min(2)).for_each(|_| command.push(self.edge(&key, unit)));
                if with == 3 {
                    command.push(if unit == 1 { b"BYTE".to_vec() } else { b"BIT".to_vec() });
                }
                command
            }
            45..48 => {
                let (start, end) = (self.edge(&key, 1), self.edge(&key, 1));
                args("GETRANGE", [key, start, end])
            }
            48..51 => args(self.word(&["STRLEN", "TYPE", "BITCOUNT", "PERSIST"]), [key]),
            51 => {
                let name = self.rng.pick(&["AND", "OR", "XOR", "DIFF", "ONE"]).as_bytes().to_vec();
                args("BITOP", [name, b"copy".to_vec(), key, other])
            }
            52 => args("BITOP", [b"NOT".to_vec(), b"copy".to_vec(), key]),
            53..55 => args("COPY", [key, other, b"REPLACE".to_vec()]),
            55 => args("RENAME", [key, other]),
            56 => args("MGET", [key, other, self.key()]),
            57 => args("GETSET", [key, b"whole again".to_vec()]),
            58 => args("SET", [key, self.part(), self.rng.pick(&["GET", "XX", "NX", "KEEPTTL"]).as_bytes().to_vec()]),
            59 => args(self.word(&["GETDEL", "DEL", "UNLINK"]), [key]),
            60 => args("EXPIRE", [key, b"100000".to_vec()]),
            61 => args("GETEX", [key, b"EX".to_vec(), b"200000".to_vec()]),
            62 => args(self.word(&["INCR", "DECR"]), [key]),
            63 => args("INCRBYFLOAT", [key, b"0.5".to_vec()]),
            64..66 => args("STRLEN", [key]),
            66 => args("LPUSH", [b"odd".to_vec(), Vec::new()]),
            67 => args("DEL", [b"odd".to_vec()]),
            68 => {
                args("SORT", [b"odd".to_vec(), b"BY".to_vec(), b"nosort".to_vec(), b"GET".to_vec(), b"far*".to_vec()])
            }
            _ => args("GET", [key]),
        }
    }
}

impl Game for Draw {
    fn command(&mut self) -> Args {
        let nth = self.begun % 50;
        self.begun += 1;
        match self.in_multi {
            // none is under way when all is compared, or the servers are restarted
            0 if nth < 40 && self.rng.percent(4) => {
                self.in_multi = 1 + self.rng.below(6);
                args("MULTI", [])
            }
            0 => self.draw(),
            left => {
                self.in_multi = left - 1;
                if left == 1 { args("EXEC", []) } else { self.draw() }
            }
        }
    }

    fn play(&mut self, pair: &mut Pair, command: &Args) -> Result<Option<[String; 2]>> {
        let replies = pair.ask("main", command)?;
        let said = pair.judge("main", &Compare::Exact, &replies);
        // where they differ, as they are too long to be shown
        let at = match &replies {
            [Ok(a), Ok(b)] => a.raw.iter().zip(&b.raw).position(|(a, b)| a != b).unwrap_or(0),
            _ => 0,
        };
        let part =
            |text: &Result<Reply>| text.as_ref().ok().map(|reply| escape(&reply.raw[at..reply.raw.len().min(at + 30)]));
        let shown = [part(&replies[0]), part(&replies[1])].map(Option::unwrap_or_default);
        let short = |text: &String| text.chars().take(100).collect::<String>();
        Ok(said.map(|said| [0, 1].map(|i| format!("{} ... at {at}: {}", short(&said[i]), shown[i]))))
    }

    fn compare(&mut self, pair: &mut Pair, note: Note<'_>) -> Result<()> {
        for key in KEYS {
            for name in ["GET", "TYPE", "STRLEN", "BITCOUNT"] {
                if let Some(said) = self.play(pair, &args(name, [key.to_vec()]))? {
                    note(format!("{name} of {}", escape(key)), said);
                }
            }
        }
        Ok(())
    }

    fn rng(&mut self) -> &mut Rng {
        &mut self.rng
    }

    fn spoil(&mut self, command: &mut Args) {
        // EXEC with a word too many would leave the transaction open
        if !matches!(command[0].as_slice(), b"MULTI" | b"EXEC") {
            if command.len() > 1 && self.rng.percent(50) {
                command.pop();
            } else {
                command.push(b"7".to_vec());
            }
        }
    }
}
