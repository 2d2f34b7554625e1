//! Elements that go from one list to another, or come from the first of several that has any, over several partitions.
//!
//! ```text
//!  LMOVE a b, a in A, b in B          A                               B
//!  first                              say what a has at its end       is b a list?        with the locks
//!  second                             pop                             push                if a has anything
//! ```

use emberkv_resp::Reply;
use emberkv_resp::schema::CommandId;

use super::share::{Answer, Seen, Step};
use super::staged::{Placed, Steps};
use crate::collections::{End, WRONG_TYPE};
use crate::commands::{Moving, PopOfMany, answer_popped};
use crate::group::Request;
use crate::stop::Stop;
use crate::waiting::Waiting;

/// A command on several lists, begun.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Lists {
    /// LMOVE, RPOPLPUSH; BLMOVE and BRPOPLPUSH, where a client may wait.
    Move { moving: Moving, from: Placed, to: Placed, waits: Option<Waiting> },
    /// LMPOP: keys in their order.
    PopFirst { keys: Vec<Placed>, end: End, count: u64 },
}

/// What a list has at an end.
fn peek(key: &Placed, end: End, count: u64, grows: bool) -> Step {
    Step::Peek { db: key.db, key: key.key.clone(), end, count, grows }
}

impl Lists {
    /// Begins a command, with its first steps.
    ///
    /// # Errors
    /// The answer, if its arguments are wrong.
    pub fn new(request: Request<'_>, partitions: u16) -> Result<(Self, Steps), Stop> {
        let Request { id, db, args, .. } = request;
        let placed = |key| Placed::new(db, key, partitions);
        if id == CommandId::Lmpop {
            let PopOfMany { keys, end, count } = PopOfMany::parse(args)?;
            let keys: Vec<_> = keys.iter().map(placed).collect();
            let steps = keys.iter().map(|key| (key.partition, peek(key, end, count, false))).collect();
            return Ok((Self::PopFirst { keys, end, count }, steps));
        }
        let moving = Moving::parse(id, args)?;
        let (from, to) = (placed(args.at(1)), placed(args.at(2)));
        let steps = vec![
            (from.partition, peek(&from, moving.from, 1, true)),
            // only what it is
            (to.partition, peek(&to, moving.to, 0, true)),
        ];
        Ok((Self::Move { moving, from, to, waits: None }, steps))
    }

    /// Goes on with what the owners have answered.
    ///
    /// # Errors
    /// The answer, if it ends with one.
    pub fn go_on(self, answers: Vec<Answer>, reply: &mut Reply<'_>) -> Result<Steps, Stop> {
        let seen = |answer| if let Answer::List(seen) = answer { seen } else { Seen::Nothing };
        let mut seen = answers.into_iter().map(seen);
        match self {
            Self::Move { moving, from, to, waits } => {
                let elements = match seen.next() {
                    Some(Seen::Elements(elements)) if !elements.is_empty() => elements,
                    Some(Seen::Another) => return Err(WRONG_TYPE),
                    _ => match waits {
                        Some(waiting) => return Ok(vec![(from.partition, Step::Wait(waiting))]),
                        None => {
                            reply.null();
                            return Ok(Steps::new());
                        }
                    },
                };
                if matches!(seen.next(), Some(Seen::Another)) {
                    return Err(WRONG_TYPE);
                }
                let element = elements.at(0);
                reply.bulk(element);
                let pop = Step::Pop { db: from.db, key: from.key, end: moving.from, count: 1 };
                let push = Step::Push { db: to.db, key: to.key, end: moving.to, element: element.into() };
                Ok(vec![(to.partition, push), (from.partition, pop)])
            }
            Self::PopFirst { keys, end, count } => {
                for (key, seen) in keys.into_iter().zip(seen) {
                    match seen {
                        Seen::Nothing => {}
                        Seen::Another => return Err(WRONG_TYPE),
                        Seen::Elements(elements) => {
                            answer_popped(&key.key, &elements.iter().collect::<Vec<_>>(), reply);
                            return Ok(vec![(key.partition, Step::Pop { db: key.db, key: key.key, end, count })]);
                        }
                    }
                }
                reply.null_array();
                Ok(Steps::new())
            }
        }
    }
}
