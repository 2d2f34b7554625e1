//! XREAD and XREADGROUP over several partitions.
//!
//! ```text
//!  XREADGROUP .. STREAMS a b > >, a in A, b in B          A                 B
//!  first, of XREADGROUP                                   is there a group?               so that all is done, or nothing
//!  then                                                   read a            read b
//!  if neither has any                                     wait              wait
//! ```

use emberkv_log::DbId;
use emberkv_resp::schema::CommandId;
use emberkv_resp::{Output, OwnedArgs, Protocol, Reply};

use super::share::{Answer, Step};
use super::staged::{Placed, Steps};
use crate::commands::Reading;
use crate::group::Request;
use crate::stop::Stop;
use crate::waiting::Waiting;

/// One of the streams, and the command that reads it alone.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Stream {
    placed: Placed,
    args: OwnedArgs,
}

/// See the module.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Streams {
    id: CommandId,
    db: DbId,
    streams: Vec<Stream>,
    /// It has asked for entries.
    is_reading: bool,
    /// Who waits if there are none.
    pub waits: Option<Waiting>,
}

/// What comes next.
#[derive(Debug)]
pub(crate) enum Next {
    /// Nothing: the reply.
    Done(Vec<u8>),
    /// More is asked.
    Ask(Steps, Streams),
    /// The client waits.
    Wait(Steps),
}

impl Streams {
    /// Begins a command, with its first steps.
    ///
    /// # Errors
    /// The answer, if its arguments are wrong.
    pub fn new(request: Request<'_>, partitions: u16) -> Result<(Self, Steps), Stop> {
        let Request { id, db, args, .. } = request;
        let reading = Reading::parse(id, args, 0)?;
        let stream = |(key, since)| Stream {
            placed: Placed::new(db, key, partitions),
            args: reading.of_some(std::iter::once((key, since))),
        };
        let streams = reading.keys.iter().zip(reading.ids.iter()).map(stream).collect();
        let is_reading = id == CommandId::Xread;
        let new = Self { id, db, streams, is_reading, waits: None };
        let steps = new.steps();
        Ok((new, steps))
    }

    fn steps(&self) -> Steps {
        let (id, db) = (self.id, self.db);
        let step = |Stream { placed, args }: &Stream| {
            let args = args.clone();
            (
                placed.partition,
                if self.is_reading { Step::Command { id, db, args } } else { Step::Check { id, db, args } },
            )
        };
        self.streams.iter().map(step).collect()
    }

    /// Goes on with what the owners have answered, none of it an error that is no reply.
    pub fn go_on(mut self, answers: Vec<Answer>, protocol: Protocol) -> Next {
        if !self.is_reading {
            self.is_reading = true;
            return Next::Ask(self.steps(), self);
        }
        let mut replies = Vec::new();
        for answer in answers {
            let Answer::Reply(reply) = answer else { unreachable!("it has asked for replies") };
            match reply.first() {
                Some(b'-') => return Next::Done(reply),
                Some(b'_') => {}
                // a nil array, or an array or map of one
                _ => replies.extend(reply.get(4..).filter(|_| reply.get(1) == Some(&b'1')).map(<[u8]>::to_vec)),
            }
        }
        if replies.is_empty()
            && let Some(waiting) = self.waits
        {
            let mut partitions: Vec<_> = self.streams.iter().map(|stream| stream.placed.partition).collect();
            partitions.sort_unstable();
            partitions.dedup();
            return Next::Wait(partitions.into_iter().map(|one| (one, Step::Wait(waiting.clone()))).collect());
        }
        let mut output = Output::new();
        let mut reply = Reply::new(&mut output, protocol);
        match protocol {
            _ if replies.is_empty() => reply.null_array(),
            Protocol::Resp2 => reply.array(replies.len()),
            Protocol::Resp3 => reply.map(replies.len()),
        }
        Next::Done(replies.into_iter().fold(output.to_vec(), |all, reply| [all, reply].concat()))
    }
}
