//! Random commands on collections of one type, with restarts of both servers in between, orderly ones and `kill -9`: replies and then all that
//! there is must be equal.

use std::time::Duration;

use super::contest::{Contest, Mismatch, Pair};
use crate::rng::Rng;
use crate::value::escape;
use crate::{Client, Error, Result, Value};

/// Steps between two comparisons of all collections.
const STEPS_PER_COMPARISON: u64 = 150;
/// Steps between two restarts.
const STEPS_PER_RESTART: u64 = 1_000;
/// Enough to see what is wrong.
const MAX_MISMATCHES: usize = 20;
/// How long an orderly end may take.
const END_TIMEOUT: Duration = Duration::from_secs(20);

pub(super) type Args = Vec<Vec<u8>>;

/// What both have said where they disagree, and of what.
pub(super) type Note<'a> = &'a mut dyn FnMut(String, [String; 2]);

/// What is asked, and how it is compared.
pub(super) trait Game {
    /// The next command.
    fn command(&mut self) -> Args;

    /// Has both servers execute it; what they have said, if they disagree.
    fn play(&mut self, pair: &mut Pair, command: &Args) -> Result<Option<[String; 2]>>;

    /// Compares all that there is.
    fn compare(&mut self, pair: &mut Pair, note: Note<'_>) -> Result<()>;

    /// Has the referee keep what it would lose by a restart.
    fn before_restart(&mut self, _: &mut Pair) -> Result<()> {
        Ok(())
    }

    fn rng(&mut self) -> &mut Rng;

    /// Makes a command a wrong one.
    fn spoil(&mut self, command: &mut Args) {
        if self.rng().percent(50) && command.len() > 1 {
            command.pop();
        } else {
            let number = self.rng().below(2000);
            command.push(number.to_string().into_bytes());
        }
    }
}

impl Contest {
    /// Runs `steps` commands of a game in one protocol; `limits`, with RESP3 only: by which redis chooses an encoding.
    pub(super) fn run_rounds(
        &self,
        game: &mut impl Game,
        limits: &[&str],
        seed: u64,
        steps: u64,
        protocol: u8,
    ) -> Result<Vec<Mismatch>> {
        // with `everysec` redis puts its writes off while a sync is slow, and a kill takes what it has answered
        let mut args = ["--appendfsync", "no"].map(str::to_owned).to_vec();
        if protocol == 3 {
            args.extend(limits.iter().map(|word| (*word).to_owned()));
        }
        let mut pair = self.start(&args, protocol)?;
        let mut mismatches = Vec::new();
        for step in 0..steps {
            let mut command = game.command();
            if game.rng().percent(6) {
                game.spoil(&mut command);
            }
            let shown = command.iter().map(|arg| format!("\"{}\"", escape(&arg[..arg.len().min(60)])));
            let shown = shown.collect::<Vec<_>>().join(" ");
            let mut note = |place: String, said: [String; 2]| {
                let [subject, referee] = said;
                mismatches.push(Mismatch { place, protocol, step: shown.clone(), subject, referee });
            };
            if let Some(said) = game.play(&mut pair, &command)? {
                note(format!("seed {seed}, step {step}"), said);
            }
            if (step + 1) % STEPS_PER_COMPARISON == 0 || step + 1 == steps {
                game.compare(&mut pair, &mut |what, said| note(format!("seed {seed}, step {step}: {what}"), said))?;
            }
            pair.both_alive(&shown)?;
            if (step + 1) % STEPS_PER_RESTART == 0 {
                game.before_restart(&mut pair)?;
                pair.restart(game.rng().percent(70), END_TIMEOUT)?;
                game.compare(&mut pair, &mut |what, said| {
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

/// How the referee keeps a collection.
pub(super) fn encoding(pair: &mut Pair, key: &[u8]) -> Result<Vec<u8>> {
    let [_, referee] = pair.connection("main")?;
    let encoding = referee.command(&[&b"OBJECT"[..], b"ENCODING", key])?;
    Ok(encoding.text().unwrap_or_default().to_vec())
}

/// Whether the referee has a value of this type under a key.
pub(super) fn is_of_type(pair: &mut Pair, key: &[u8], kind: &str) -> Result<bool> {
    let [_, referee] = pair.connection("main")?;
    Ok(referee.command(&[&b"TYPE"[..], key])?.text() == Some(kind.as_bytes()))
}

/// What a whole scan of a collection yields, batch by batch.
pub(super) fn scan(client: &mut Client, command: &[u8], key: &[u8], mut take: impl FnMut(&Value)) -> Result<()> {
    let mut cursor = b"0".to_vec();
    loop {
        let reply = client.command(&[command, key, &cursor, b"COUNT", b"7"])?;
        let Some([next, batch]) = reply.items() else {
            return Err(Error::Protocol(format!("a scan was answered {reply:?}")));
        };
        take(batch);
        cursor = next.text().unwrap_or(b"0").to_vec();
        if cursor == b"0" {
            return Ok(());
        }
    }
}
