//! What a register does: the sequential specification that a concurrent history is checked against.

use std::fmt;

use crate::value::escape;

/// A register's content; `None` while it is absent.
pub type State = Option<Vec<u8>>;

/// One operation on a register.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Op {
    /// Reads it.
    Get,
    /// Says whether it is there.
    Exists,
    /// Writes it.
    Set(Vec<u8>),
    /// Writes it if it is absent, and says whether.
    SetNx(Vec<u8>),
    /// Removes it and says whether it was there.
    Del,
    /// Removes it and says nothing.
    Clear,
    /// Removes it and returns what it was.
    GetDel,
    /// Adds one to an integer.
    Incr,
    /// Adds to its end and returns the length.
    Append(Vec<u8>),
    /// Returns what it is, and writes it.
    Swap(Vec<u8>),
    /// Writes the second if it is what the first says.
    Compare(State, Vec<u8>),
}

/// What an operation was answered with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// Done.
    Ok,
    /// A number: a new value, a length, or 1 for yes.
    Integer(i64),
    /// The content.
    Content(State),
    /// It can't be done with what is there.
    Refused,
    /// Something that no state explains, as it came.
    Nonsense(String),
}

impl Op {
    /// Executes it: the state afterwards, and the answer that is due.
    #[must_use]
    pub fn apply(&self, state: &State) -> (State, Answer) {
        let yes = |yes: bool| Answer::Integer(i64::from(yes));
        match self {
            Self::Get => (state.clone(), Answer::Content(state.clone())),
            Self::Exists => (state.clone(), yes(state.is_some())),
            Self::Set(value) => (Some(value.clone()), Answer::Ok),
            Self::SetNx(value) if state.is_none() => (Some(value.clone()), yes(true)),
            Self::SetNx(_) => (state.clone(), yes(false)),
            Self::Del => (None, yes(state.is_some())),
            Self::Clear => (None, Answer::Ok),
            Self::GetDel => (None, Answer::Content(state.clone())),
            Self::Incr => match integer(state).and_then(|number| number.checked_add(1)) {
                Some(number) => (Some(number.to_string().into_bytes()), Answer::Integer(number)),
                None => (state.clone(), Answer::Refused),
            },
            Self::Swap(value) => (Some(value.clone()), Answer::Content(state.clone())),
            Self::Compare(expected, value) if expected == state => (Some(value.clone()), Answer::Ok),
            Self::Compare(..) => (state.clone(), Answer::Refused),
            Self::Append(value) => {
                let mut content = state.clone().unwrap_or_default();
                content.extend_from_slice(value);
                let length = i64::try_from(content.len()).unwrap_or(i64::MAX);
                (Some(content), Answer::Integer(length))
            }
        }
    }

    /// True if an operation with this answer has changed nothing, whatever the state was.
    #[must_use]
    pub fn changes_nothing(&self, answer: &Answer) -> bool {
        match self {
            Self::Get | Self::Exists => true,
            Self::Set(_) | Self::Clear | Self::Append(_) | Self::Swap(_) => false,
            Self::SetNx(_) | Self::Del => *answer == Answer::Integer(0),
            Self::GetDel => *answer == Answer::Content(None),
            Self::Incr | Self::Compare(..) => *answer == Answer::Refused,
        }
    }
}

/// The number that INCR starts from: absent is 0, and only its own way of writing a number is one.
fn integer(state: &State) -> Option<i64> {
    let Some(text) = state else { return Some(0) };
    let number: i64 = std::str::from_utf8(text).ok()?.parse().ok()?;
    (number.to_string().as_bytes() == text.as_slice()).then_some(number)
}

impl fmt::Display for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Set(value) => write!(f, "Set {}", escape(value)),
            Self::SetNx(value) => write!(f, "SetNx {}", escape(value)),
            Self::Append(value) => write!(f, "Append {}", escape(value)),
            Self::Swap(value) => write!(f, "Swap {}", escape(value)),
            Self::Compare(expected, value) => write!(f, "Compare {} Set {}", shown(expected), escape(value)),
            other => write!(f, "{other:?}"),
        }
    }
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ok => write!(f, "OK"),
            Self::Integer(number) => write!(f, "{number}"),
            Self::Content(state) => write!(f, "{}", shown(state)),
            Self::Refused => write!(f, "an error"),
            Self::Nonsense(text) => write!(f, "{text} (impossible)"),
        }
    }
}

/// A state for a report.
#[must_use]
pub fn shown(state: &State) -> String {
    state.as_ref().map_or_else(|| "nil".into(), |content| format!("\"{}\"", escape(content)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(ops: &[Op]) -> (State, Answer) {
        ops.iter().fold((None, Answer::Ok), |(state, _), op| op.apply(&state))
    }

    #[test]
    fn an_integer_is_only_what_incr_would_write() {
        assert_eq!(run(&[Op::Incr, Op::Incr]).1, Answer::Integer(2));
        for text in ["01", "+1", " 1", "1x", "", "9223372036854775807"] {
            let (state, answer) = run(&[Op::Set(text.into()), Op::Incr]);
            assert_eq!((state, answer), (Some(text.into()), Answer::Refused));
        }
    }

    #[test]
    fn what_is_removed_is_absent() {
        assert_eq!(run(&[Op::Append(b"ab".to_vec()), Op::GetDel]).1, Answer::Content(Some(b"ab".to_vec())));
        assert_eq!(run(&[Op::Incr, Op::Del, Op::Del]).1, Answer::Integer(0));
        assert_eq!(run(&[Op::Incr, Op::Clear, Op::SetNx(b"1".to_vec())]).1, Answer::Integer(1));
    }
}
