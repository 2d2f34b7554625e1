//! From votes to the client's reply: the same bytes as when all keys are in one partition.

use std::borrow::Cow;

use emberkv_resp::Reply;

use super::plan::Merge;
use super::share::{Strings, Values, Vote};

/// A command's result, to be written in the client's protocol.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// `OK`.
    Ok,
    /// A number.
    Integer(i64),
    /// Values; `order` says for each in turn in which of `shares` the next one is.
    Values {
        /// For each value, its share.
        order: Vec<u16>,
        /// The values of each share, in order.
        shares: Vec<Values>,
    },
    /// Keys.
    Keys(Vec<Strings>),
    /// A key, or none.
    Key(Option<Box<[u8]>>),
    /// The replies of a script's lines, as they are sent.
    Replies(Vec<Vec<u8>>),
    /// A reply as it is sent.
    Reply(Vec<u8>),
    /// Nothing was executed: a watched key was changed.
    Changed,
    /// An error, code and all.
    Error(Cow<'static, str>),
}

impl Outcome {
    /// Writes the reply.
    pub fn write(&self, reply: &mut Reply<'_>) {
        match self {
            Self::Ok => reply.ok(),
            Self::Integer(number) => reply.integer(*number),
            Self::Values { order, shares } => {
                let mut writers: Vec<_> = shares.iter().map(Values::writer).collect();
                reply.array(order.len());
                order.iter().for_each(|share| writers[usize::from(*share)](reply));
            }
            Self::Keys(shares) => {
                reply.array(shares.iter().map(Strings::len).sum());
                shares.iter().flat_map(Strings::iter).for_each(|key| reply.bulk(key));
            }
            Self::Key(Some(key)) => reply.bulk(key),
            Self::Key(None) => reply.null(),
            Self::Replies(replies) => {
                reply.array(replies.len());
                replies.iter().for_each(|bytes| reply.output().push(bytes));
            }
            Self::Reply(bytes) => reply.output().push(bytes),
            Self::Changed => reply.null_array(),
            Self::Error(text) => reply.error(text),
        }
    }
}

impl Merge {
    /// The outcome that all votes together make, in the order of the shares. `random` is for a draw.
    pub fn outcome(self, votes: Vec<Vote>, random: u64) -> Outcome {
        match self {
            Self::Ok | Self::Watched => Outcome::Ok,
            Self::Script => Outcome::Replies(Vec::new()),
            Self::AllOrNone => Outcome::Integer(i64::from(!votes.contains(&Vote::Exists))),
            Self::Sum => {
                let count = |vote| if let Vote::Count(count) = vote { count as i64 } else { 0 };
                Outcome::Integer(votes.into_iter().map(count).sum())
            }
            Self::Values { order } => {
                let values = |vote| if let Vote::Values(values) = vote { values } else { Values::default() };
                Outcome::Values { order, shares: votes.into_iter().map(values).collect() }
            }
            Self::Keys => {
                let keys = |vote| if let Vote::Keys(keys) = vote { keys } else { Strings::default() };
                Outcome::Keys(votes.into_iter().map(keys).collect())
            }
            Self::Draw => Outcome::Key(draw(votes, random)),
        }
    }
}

/// One of the drawn keys, each partition's as likely as its share of all keys.
fn draw(votes: Vec<Vote>, random: u64) -> Option<Box<[u8]>> {
    let drawn = votes.into_iter().filter_map(|vote| match vote {
        Vote::Drawn { keys, key: Some(key) } => Some((keys, key)),
        _ => None,
    });
    let drawn: Vec<_> = drawn.collect();
    let total: u64 = drawn.iter().map(|(keys, _)| keys).sum();
    let mut at = random.checked_rem(total)?;
    for (keys, key) in drawn {
        if at < keys {
            return Some(key);
        }
        at -= keys;
    }
    None
}
