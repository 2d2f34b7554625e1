//! Random SORTs, by keys and fields that elements name, with restarts of both servers in between, orderly ones and `kill -9`: replies and then all
//! that was stored must be equal.

use super::contest::{Contest, Mismatch, Pair};
use super::random::args;
use super::rounds::{Args, Game, Note};
use super::script::Compare;
use crate::Result;
use crate::rng::Rng;
use crate::value::escape;

const LISTS: [&[u8]; 4] = [b"list", b"other", b"stored", b""];
const SETS: [&[u8]; 2] = [b"set", b"numbers"];
const SORTED: [&[u8]; 2] = [b"sorted", b"{s}orted"];
/// An element is one of so many.
const ELEMENTS: u64 = 24;

const LIMITS: [&str; 2] = ["--list-max-listpack-size", "8"];

impl Contest {
    /// Runs `steps` random commands around SORT in one protocol. The same seed draws the same commands.
    ///
    /// # Errors
    /// When a server does not start, or dies.
    pub fn run_sorting(&self, seed: u64, steps: u64, protocol: u8) -> Result<Vec<Mismatch>> {
        self.run_rounds(&mut Draw { rng: Rng::new(seed) }, &LIMITS, seed, steps, protocol)
    }
}

struct Draw {
    rng: Rng,
}

impl Game for Draw {
    fn command(&mut self) -> Args {
        match self.rng.below(40) {
            0..4 => {
                let list = self.rng.pick(&LISTS).to_vec();
                args("RPUSH", [list, self.element(), self.element()])
            }
            4..6 => args("SADD", [b"set".to_vec(), self.element(), self.element()]),
            6..8 => args("SADD", [b"numbers".to_vec(), self.number()]),
            8..10 => {
                let sorted = self.rng.pick(&SORTED).to_vec();
                args("ZADD", [sorted, self.number(), self.element()])
            }
            10..14 => args("SET", [self.named("w_"), self.weight()]),
            14..16 => args("HSET", [self.named("h_"), b"f".to_vec(), self.weight(), b"g".to_vec(), self.element()]),
            16 => args("DEL", [self.named("w_"), self.named("h_")]),
            17 => args("LPUSH", [self.named("w_"), b"x".to_vec()]),
            18 => args("DEL", [self.source()]),
            19 => args("LPOP", [b"list".to_vec()]),
            _ => {
                let mut command = args(self.word(&["SORT", "SORT", "SORT", "SORT_RO"]), [self.source()]);
                for _ in 0..self.rng.below(4) {
                    let option = self.rng.pick(&[
                        "ASC",
                        "DESC",
                        "ALPHA",
                        "ALPHA",
                        "LIMIT 0 3",
                        "LIMIT 2 5",
                        "LIMIT -1 -1",
                        "LIMIT 20 4",
                        "BY nosort",
                        "BY w_*",
                        "BY h_*->f",
                        "GET #",
                        "GET w_*",
                        "GET h_*->g",
                        "GET h_*->f",
                        "STORE stored",
                        "STORE list",
                        "LIMIT x 1",
                        "GET",
                    ]);
                    command.extend(option.split(' ').map(|word| word.as_bytes().to_vec()));
                }
                command
            }
        }
    }

    fn play(&mut self, pair: &mut Pair, command: &Args) -> Result<Option<[String; 2]>> {
        let has = |name: &[u8]| command.iter().any(|word| word.eq_ignore_ascii_case(name));
        // a set in no order is in any; and so are texts that weigh the same
        let is_in_any_order = has(b"nosort") && SETS.contains(&&*command[1]) || has(b"alpha") && has(b"by");
        let compare = match () {
            () if !is_in_any_order => Compare::Exact,
            () if has(b"limit") => Compare::Ignore,
            () => Compare::Set,
        };
        if is_in_any_order && has(b"store") {
            return Ok(None); // what is stored would differ from then on
        }
        let replies = pair.ask("main", command)?;
        Ok(pair.judge("main", &compare, &replies))
    }

    fn compare(&mut self, pair: &mut Pair, note: Note<'_>) -> Result<()> {
        for key in LISTS {
            let words = [&b"LRANGE"[..], key, b"0", b"-1"].map(<[u8]>::to_vec);
            let replies = pair.ask("main", words.as_ref())?;
            if let Some(said) = pair.judge("main", &Compare::Exact, &replies) {
                note(format!("state of {}", escape(key)), said);
            }
        }
        Ok(())
    }

    fn rng(&mut self) -> &mut Rng {
        &mut self.rng
    }
}

impl Draw {
    fn word(&mut self, words: &[&'static str]) -> &'static str {
        words[self.rng.index(words.len())]
    }

    fn source(&mut self) -> Vec<u8> {
        match self.rng.below(8) {
            0..4 => self.rng.pick(&LISTS).to_vec(),
            4..6 => self.rng.pick(&SETS).to_vec(),
            6 => self.rng.pick(&SORTED).to_vec(),
            _ => self.named("w_"),
        }
    }

    fn element(&mut self) -> Vec<u8> {
        match self.rng.below(40) {
            0 => b"a\x00b".to_vec(),
            1 => Vec::new(),
            2 => vec![b'x'; self.rng.index(400)],
            3..5 => b"word".to_vec(),
            _ => self.rng.below(ELEMENTS).to_string().into_bytes(),
        }
    }

    fn named(&mut self, prefix: &str) -> Vec<u8> {
        let element = self.element();
        [prefix.as_bytes(), &element].concat()
    }

    fn number(&mut self) -> Vec<u8> {
        match self.rng.below(10) {
            0 => self.rng.pick(&["inf", "-inf", "1e300", "-0.5", "1e-320"]).as_bytes().to_vec(),
            _ => self.rng.below(1000).to_string().into_bytes(),
        }
    }

    fn weight(&mut self) -> Vec<u8> {
        if self.rng.percent(3) { self.element() } else { self.number() }
    }
}
