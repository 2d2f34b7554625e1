//! Random commands on HyperLogLogs, with restarts of both servers in between, orderly ones and `kill -9`: replies and then all strings must be
//! equal, byte by byte.

use super::contest::{Contest, Mismatch, Pair};
use super::random::args;
use super::rounds::{Args, Game, Note};
use super::script::Compare;
use crate::Result;
use crate::rng::Rng;
use crate::value::escape;

/// The last two are of other kinds now and then.
const KEYS: [&[u8]; 8] = [b"few", b"some", b"many", b"{m}any", b"merged", b"{f}ew", b"odd", b""];

const LIMITS: [&str; 2] = ["--hll-sparse-max-bytes", "200"];

impl Contest {
    /// Runs `steps` random commands on HyperLogLogs in one protocol. The same seed draws the same commands.
    ///
    /// # Errors
    /// When a server does not start, or dies.
    pub fn run_estimates(&self, seed: u64, steps: u64, protocol: u8) -> Result<Vec<Mismatch>> {
        self.run_rounds(&mut Draw { rng: Rng::new(seed) }, &LIMITS, seed, steps, protocol)
    }
}

struct Draw {
    rng: Rng,
}

impl Game for Draw {
    fn command(&mut self) -> Args {
        let key = self.rng.pick(&KEYS).to_vec();
        let other = self.rng.pick(&KEYS).to_vec();
        match self.rng.below(40) {
            0..16 => {
                let (most, of) = match key.as_slice() {
                    b"many" | b"{m}any" => (300, 1 << 40),
                    b"some" => (20, 3000),
                    _ => (4, 60),
                };
                let elements = (0..self.rng.below(most)).map(|_| self.rng.below(of).to_string().into_bytes());
                args("PFADD", std::iter::once(key).chain(elements.collect::<Vec<_>>()))
            }
            16..22 => args("PFCOUNT", [key]),
            22..25 => args("PFCOUNT", [key, other, self.rng.pick(&KEYS).to_vec()]),
            25..29 => args("PFMERGE", [key, other, self.rng.pick(&KEYS).to_vec()]),
            29 => args("PFMERGE", [key, other]),
            30 => {
                args("PFDEBUG", [self.rng.pick(&["ENCODING", "DECODE", "todense", "GETREG"]).as_bytes().to_vec(), key])
            }
            31..33 => args("GET", [key]),
            33 => {
                // what it says of itself is something else; not its registers: redis keeps what it has changed of them before it finds one wrong
                let (at, with) = (self.rng.below(16), self.rng.below(256) as u8);
                args("SETRANGE", [b"odd".to_vec(), at.to_string().into_bytes(), vec![with]])
            }
            34 => args("DEL", [if self.rng.percent(30) { key } else { b"odd".to_vec() }]),
            35 => args("COPY", [other, b"odd".to_vec(), b"REPLACE".to_vec()]),
            36 => args("EXPIRE", [key, b"100000".to_vec()]),
            37 => args("LPUSH", [Vec::new(), b"x".to_vec()]),
            38 => args("SET", [b"odd".to_vec(), b"HYLL\x01\0\0\0\0\0\0\0\0\0\0\x80\x7f\xff".to_vec()]),
            _ => args("STRLEN", [key]),
        }
    }

    fn play(&mut self, pair: &mut Pair, command: &Args) -> Result<Option<[String; 2]>> {
        let replies = pair.ask("main", command)?;
        Ok(pair.judge("main", &Compare::Exact, &replies))
    }

    fn compare(&mut self, pair: &mut Pair, note: Note<'_>) -> Result<()> {
        for key in KEYS {
            for name in ["GET", "TYPE"] {
                let replies = pair.ask("main", &args(name, [key.to_vec()]))?;
                if let Some(said) = pair.judge("main", &Compare::Exact, &replies) {
                    note(format!("{name} of {}", escape(key)), said);
                }
            }
        }
        Ok(())
    }

    fn rng(&mut self) -> &mut Rng {
        &mut self.rng
    }
}
