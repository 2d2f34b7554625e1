//! How much of a source's history a target has, written down in the target itself.
//!
//! It is written in the transaction that applies the commands, so it is never ahead of them and never behind: what was
//! applied is not applied again. The key is removed at the cut-over.

use emberkv_console::{Connection, Value};

use crate::error::{Error, Result, of};
use crate::link::Point;
use crate::servers::words;

/// The key, in database 0.
pub(crate) const KEY: &[u8] = b"emberkv:import";

/// What is written there.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum State {
    /// The copy is not whole.
    Copying,
    /// All of the history up to here.
    Following(Point),
    /// The same, but for a command that the target did not take.
    Refused(Point),
}

impl State {
    fn parse(text: &str) -> Option<Self> {
        let mut words = text.split(' ');
        let kind = words.next()?;
        if kind == "copying" {
            return Some(Self::Copying);
        }
        let id = words.next()?.to_owned();
        let point = Point { id, offset: words.next()?.parse().ok()?, db: words.next()?.parse().ok()? };
        match kind {
            "following" => Some(Self::Following(point)),
            "refused" => Some(Self::Refused(point)),
            _ => None,
        }
    }

    /// The command that writes it.
    pub fn command(&self) -> Vec<Vec<u8>> {
        let text = |kind: &str, point: &Point| format!("{kind} {} {} {}", point.id, point.offset, point.db);
        let text = match self {
            Self::Copying => "copying".to_owned(),
            Self::Following(point) => text("following", point),
            Self::Refused(point) => text("refused", point),
        };
        words("SET", &[KEY, text.as_bytes()])
    }

    /// What a target says; database 0 is selected.
    ///
    /// # Errors
    /// When it has gone, or something else is under the key.
    pub fn read(target: &mut Connection) -> Result<Option<Self>> {
        match target.call(&words("GET", &[KEY]), |_| {}).map_err(of("target"))? {
            Value::Nil => Ok(None),
            Value::Text(text) if let Some(state) = Self::parse(&String::from_utf8_lossy(&text)) => Ok(Some(state)),
            Value::Error(reply) => {
                let reply = String::from_utf8_lossy(&reply).into_owned();
                Err(Error::Refused { what: "GET".into(), reply })
            }
            _ => Err(Error::Usage(format!("the target has a key {} that is none of ours", KEY.escape_ascii()))),
        }
    }

    /// Writes it; database 0 is selected.
    pub fn write(&self, target: &mut Connection) -> Result<()> {
        must(target, &self.command())
    }
}

/// A command of our own to the target, that must not fail.
pub(crate) fn must(target: &mut Connection, words: &[Vec<u8>]) -> Result<()> {
    let reply = target.call(words, |_| {}).map_err(of("target"))?;
    match reply.error() {
        None => Ok(()),
        Some(reply) => Err(Error::Refused { what: String::from_utf8_lossy(&words.join(&b' ')).into_owned(), reply }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let point = Point { id: "a1".into(), offset: 77, db: 3 };
        for state in [State::Copying, State::Following(point.clone()), State::Refused(point)] {
            let text = state.command().pop().unwrap();
            assert_eq!(State::parse(std::str::from_utf8(&text).unwrap()), Some(state));
        }
        assert_eq!(State::parse("following a1"), None);
    }
}
