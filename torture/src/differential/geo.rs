//! Random commands on places, with restarts of both servers in between, orderly ones and `kill -9`: replies and then all sorted sets must be
//! equal, also in the order of what is not sorted. Places are drawn near each other, and all over the earth.

use super::contest::{Contest, Mismatch, Pair};
use super::random::args;
use super::rounds::{Args, Game, Note};
use super::script::Compare;
use crate::rng::Rng;
use crate::value::escape;
use crate::{Result, Value};

/// The last one is a string now and then.
const KEYS: [&[u8]; 6] = [b"few", b"many", b"{m}any", b"earth", b"stored", b""];

const LIMITS: [&str; 2] = ["--zset-max-listpack-entries", "16"];

impl Contest {
    /// Runs `steps` random commands on places in one protocol. The same seed draws the same commands.
    ///
    /// # Errors
    /// When a server does not start, or dies.
    pub fn run_geo(&self, seed: u64, steps: u64, protocol: u8) -> Result<Vec<Mismatch>> {
        self.run_rounds(&mut Draw { rng: Rng::new(seed) }, &LIMITS, seed, steps, protocol)
    }
}

struct Draw {
    rng: Rng,
}

impl Game for Draw {
    fn command(&mut self) -> Args {
        let key = self.key();
        match self.rng.below(40) {
            0..12 => {
                let mut command = args("GEOADD", [key.clone()]);
                for option in ["NX", "XX", "CH"] {
                    if self.rng.percent(10) {
                        command.push(option.into());
                    }
                }
                let most = if key.ends_with(b"any") || key == b"earth" { 30 } else { 3 };
                for _ in 0..1 + self.rng.below(most) {
                    let point = self.point(&key);
                    command.extend(point);
                    command.push(self.member(&key));
                }
                command
            }
            12..14 => args("GEOPOS", [key.clone(), self.member(&key), self.member(&key)]),
            14 => args("GEOHASH", [key.clone(), self.member(&key), self.member(&key)]),
            15..18 => args("GEODIST", [key.clone(), self.member(&key), self.member(&key), self.unit()]),
            18..30 => {
                let mut command = if self.rng.percent(25) {
                    args("GEOSEARCHSTORE", [self.key(), key.clone()])
                } else {
                    args("GEOSEARCH", [key.clone()])
                };
                if self.rng.percent(50) {
                    command.extend([b"FROMMEMBER".to_vec(), self.member(&key)]);
                } else {
                    command.push(b"FROMLONLAT".to_vec());
                    let point = self.point(&key);
                    command.extend(point);
                }
                let sides = if self.rng.percent(50) { 1 } else { 2 };
                command.push(if sides == 1 { b"BYRADIUS".to_vec() } else { b"bybox".to_vec() });
                (0..sides).for_each(|_| command.push(self.length()));
                command.push(self.unit());
                self.options(&mut command);
                command
            }
            30..33 => {
                let mut command = args(self.word(&["GEORADIUS", "GEORADIUS_RO", "GEORADIUS"]), [key.clone()]);
                let point = self.point(&key);
                command.extend(point);
                command.extend([self.length(), self.unit()]);
                self.options(&mut command);
                self.store(&mut command);
                command
            }
            33..36 => {
                let name = self.word(&["GEORADIUSBYMEMBER", "GEORADIUSBYMEMBER_RO", "GEORADIUSBYMEMBER"]);
                let mut command = args(name, [key.clone(), self.member(&key), self.length(), self.unit()]);
                self.options(&mut command);
                self.store(&mut command);
                command
            }
            36 => args("ZREM", [key.clone(), self.member(&key)]),
            37 if self.rng.percent(30) => args("SET", [Vec::new(), b"x".to_vec()]),
            38 => {
                let score = self.rng.next_u64() >> self.rng.below(64);
                args("ZADD", [b"few".to_vec(), score.to_string().into_bytes(), self.member(b"few")])
            }
            _ => args("DEL", [if self.rng.percent(5) { key } else { Vec::new() }]),
        }
    }

    fn play(&mut self, pair: &mut Pair, command: &Args) -> Result<Option<[String; 2]>> {
        let replies = pair.ask("main", command)?;
        // redis does not always find the shortest text of a number: it may have a digit more
        let is_same = matches!(&replies, [Ok(a), Ok(b)] if has_same_numbers(&a.value, &b.value));
        Ok(if is_same { None } else { pair.judge("main", &Compare::Exact, &replies) })
    }

    fn compare(&mut self, pair: &mut Pair, note: Note<'_>) -> Result<()> {
        for key in KEYS {
            let words = [&b"ZRANGE"[..], key, b"0", b"-1", b"WITHSCORES"].map(<[u8]>::to_vec);
            let replies = pair.ask("main", words.as_ref())?;
            let is_same = matches!(&replies, [Ok(a), Ok(b)] if has_same_numbers(&a.value, &b.value));
            if !is_same && let Some(said) = pair.judge("main", &Compare::Exact, &replies) {
                note(format!("state of {}", escape(key)), said);
            }
        }
        Ok(())
    }

    fn rng(&mut self) -> &mut Rng {
        &mut self.rng
    }
}

/// Whether values are equal, numbers by what they are.
fn has_same_numbers(a: &Value, b: &Value) -> bool {
    let number = |value: &Value| std::str::from_utf8(value.text()?).ok()?.parse::<f64>().ok();
    match (a.items(), b.items()) {
        (Some(a), Some(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| has_same_numbers(a, b)),
        _ => a == b || number(a).is_some() && number(a) == number(b),
    }
}

impl Draw {
    fn word(&mut self, words: &[&'static str]) -> &'static str {
        words[self.rng.index(words.len())]
    }

    fn key(&mut self) -> Vec<u8> {
        self.rng.pick(&KEYS).to_vec()
    }

    fn member(&mut self, key: &[u8]) -> Vec<u8> {
        let of = if key.ends_with(b"any") || key == b"earth" { 400 } else { 8 };
        format!("m{}", self.rng.below(of)).into_bytes()
    }

    /// A longitude and a latitude.
    fn point(&mut self, key: &[u8]) -> [Vec<u8>; 2] {
        let odd = ["180", "-180", "85.05112878", "-85.05112878", "0", "181", "x", "1e-9"];
        let (around, within) = match key {
            b"earth" => ((0.0, 0.0), (180.0, 85.0)),
            b"few" => ((179.0, 80.0), (1.0, 5.0)),
            _ => ((13.4, 52.5), (0.6, 0.3)),
        };
        let mut coordinate = |around: f64, within: f64| {
            if self.rng.percent(3) {
                return self.rng.pick(&odd).as_bytes().to_vec();
            }
            let part = self.rng.below(2_000_001) as f64 / 1_000_000.0 - 1.0;
            format!("{}", around + part * within).into_bytes()
        };
        [coordinate(around.0, within.0), coordinate(around.1, within.1)]
    }

    fn unit(&mut self) -> Vec<u8> {
        let of = if self.rng.percent(5) { 7 } else { 6 };
        self.word(&["m", "km", "km", "KM", "ft", "mi", "x"][..of]).into()
    }

    fn length(&mut self) -> Vec<u8> {
        match self.rng.below(20) {
            0 => self.rng.pick(&["0", "-1", "x", "1e10", "0.5"]).as_bytes().to_vec(),
            1..12 => self.rng.below(60).to_string().into_bytes(),
            _ => {
                let bits = self.rng.below(25);
                self.rng.below(1 << bits)
            }
            .to_string()
            .into_bytes(),
        }
    }

    fn options(&mut self, command: &mut Args) {
        let options = [
            "ASC",
            "DESC",
            "ASC",
            "COUNT 3",
            "COUNT 1",
            "COUNT 200 ANY",
            "COUNT 2 ANY",
            "WITHDIST",
            "WITHCOORD",
            "WITHHASH",
        ];
        for _ in 0..self.rng.below(4) {
            let option = self.rng.pick(&options);
            command.extend(option.split(' ').map(|word| word.as_bytes().to_vec()));
        }
        if command[0] == b"GEOSEARCHSTORE" && self.rng.percent(40) {
            command.push(b"STOREDIST".to_vec());
        }
    }

    fn store(&mut self, command: &mut Args) {
        if self.rng.percent(30) {
            command.extend([self.rng.pick(&["STORE", "STOREDIST"]).as_bytes().to_vec(), self.key()]);
        }
    }
}
