//! One partition's share of a command, and what its owner says to it.

use std::borrow::Cow;

use bytes::Bytes;
use emberkv_log::DbId;
use emberkv_resp::schema::CommandId;
use emberkv_resp::{OwnedArgs, Protocol, Reply};

use crate::collections::{End, Type, WRONG_TYPE};
use crate::held::Held;
use crate::stop::Stop;
use crate::tracking::Reader;
use crate::waiting::Waiting;
use crate::watch::Watch;

/// Many strings, in one piece of memory.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Strings {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl Strings {
    /// With room for `count` strings of together `bytes`.
    pub(crate) fn with_capacity(count: usize, bytes: usize) -> Self {
        Self { bytes: Vec::with_capacity(bytes), ends: Vec::with_capacity(count) }
    }

    /// Appends a string.
    pub fn push(&mut self, string: &[u8]) {
        self.bytes.extend_from_slice(string);
        self.ends.push(self.bytes.len());
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// How many bytes they have together.
    pub fn bytes_len(&self) -> usize {
        self.bytes.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// The string at `i`.
    ///
    /// # Panics
    /// If there are not so many.
    pub fn at(&self, i: usize) -> &[u8] {
        let start = if i == 0 { 0 } else { self.ends[i - 1] };
        &self.bytes[start..self.ends[i]]
    }

    /// All of them, in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &[u8]> + Clone {
        (0..self.len()).map(|i| self.at(i))
    }
}

/// What is to be done in one partition.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Action {
    /// Put these (key, value, key, value, ...).
    Put {
        /// Keys and values.
        pairs: Strings,
        /// Only if none of the keys exists, in no partition (MSETNX).
        if_absent: bool,
    },
    /// Delete these keys.
    Delete(Strings),
    /// Count which of these keys exist.
    Count(Strings),
    /// The same, and it counts as a read (TOUCH).
    Touch(Strings),
    /// Read these keys.
    Get {
        /// The keys.
        keys: Strings,
        /// What is said if one of them is no string; nothing: it is as if it were not there.
        else_error: Option<&'static str>,
    },
    /// Count the keys of the database.
    Size,
    /// Find the keys of the database that match a pattern.
    Find {
        /// The pattern.
        pattern: Box<[u8]>,
    },
    /// Draw a key of the database.
    Draw,
    /// Empty the database, or all of them.
    Flush {
        /// All of them.
        all: bool,
    },
    /// Watch these keys from now on.
    Watch {
        /// The keys.
        keys: Strings,
        /// Whose mark is made when one is changed.
        watch: Watch,
    },
    /// Execute the steps of a script.
    Run(Box<Run>),
}

/// One partition's share of a script.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Run {
    /// What is to be done first; more may follow, see [`super::ToOwner::Run`].
    pub steps: Vec<Task>,
    /// How the replies are written.
    pub protocol: Protocol,
    /// The keys that it may touch.
    pub keys: Vec<(DbId, Box<[u8]>)>,
    /// Whether it may touch others too.
    pub all: bool,
    /// If one of these was changed nothing is executed.
    pub watched: Vec<(DbId, Box<[u8]>)>,
    /// What says so.
    pub watch: Option<Watch>,
    /// Whether no other partition has a share.
    pub alone: bool,
    /// Who is going to keep what it reads.
    pub reader: Option<Reader>,
}

/// A step, and whose it is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Task {
    /// The command.
    pub id: CommandId,
    /// What is to be done for it.
    pub step: Step,
}

/// What a script has to do in one partition.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Step {
    /// A command whose keys are all here.
    Command {
        /// Which.
        id: CommandId,
        /// The database that is selected.
        db: DbId,
        /// Its arguments, the name first.
        args: OwnedArgs,
    },
    /// A command that waits if there is nothing: an empty reply then.
    TakeOrWait(Waiting),
    /// Say what is wrong with a command that reads streams, if anything.
    Check {
        /// Which.
        id: CommandId,
        /// The database that is selected.
        db: DbId,
        /// Its arguments, the name first.
        args: OwnedArgs,
    },
    /// Such a command has found nothing anywhere: it waits.
    Wait(Waiting),
    /// A share of one over several partitions.
    Share(Share),
    /// Swap two databases.
    Swap {
        /// One.
        a: DbId,
        /// The other.
        b: DbId,
    },
    /// Say what a key holds.
    Fetch {
        /// Its database.
        db: DbId,
        /// The key.
        key: Box<[u8]>,
    },
    /// Say what a command that stores its result is to store, if anything: its sources are all here.
    Select {
        /// Which.
        id: CommandId,
        /// The database that is selected.
        db: DbId,
        /// Its arguments, the name first.
        args: OwnedArgs,
    },
    /// Say what keys hold that are strings, or what is in a field of each that is a hash.
    Look {
        /// Their database.
        db: DbId,
        /// The keys.
        keys: Strings,
        /// The field.
        field: Option<Box<[u8]>>,
    },
    /// Say what a collection holds.
    Image {
        /// Its database.
        db: DbId,
        /// The key.
        key: Box<[u8]>,
        /// Of which types it may be.
        kinds: &'static [Type],
    },
    /// Say whether a set has a member, and have it join or leave.
    Member {
        /// Its database.
        db: DbId,
        /// The key.
        key: Box<[u8]>,
        /// The member.
        member: Box<[u8]>,
        /// What becomes of it.
        change: Change,
    },
    /// Give a key what another one holds, or what was made of others.
    Place {
        /// Its database.
        db: DbId,
        /// The key.
        key: Box<[u8]>,
        /// What it is to hold.
        held: Held,
        /// Whether that is refused when memory is full.
        grows: bool,
    },
    /// Say what a list has at an end.
    Peek {
        /// Its database.
        db: DbId,
        /// The key.
        key: Box<[u8]>,
        /// Which end.
        end: End,
        /// So many elements at most.
        count: u64,
        /// Whether that is refused when memory is full.
        grows: bool,
    },
    /// Take elements from an end of a list.
    Pop {
        /// Its database.
        db: DbId,
        /// The key.
        key: Box<[u8]>,
        /// Which end.
        end: End,
        /// So many at most.
        count: u64,
    },
    /// Give an element to an end of a list.
    Push {
        /// Its database.
        db: DbId,
        /// The key.
        key: Box<[u8]>,
        /// Which end.
        end: End,
        /// The element.
        element: Box<[u8]>,
    },
}

/// What there is at an end of a list.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Seen {
    /// The key does not exist.
    Nothing,
    /// It holds a value of another kind.
    Another,
    /// These elements, the outermost first.
    Elements(Strings),
}

/// What a member of a set does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Change {
    /// It is only looked for.
    Look,
    /// It joins.
    Join,
    /// It leaves.
    Leave,
}

/// What a key says of a member.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Member {
    /// There is no such key.
    NoKey,
    /// It holds no set.
    WrongType,
    /// The set does not have it.
    Absent,
    /// It does.
    Present,
}

impl Member {
    /// Whether it can be moved, by what the two sets say.
    ///
    /// # Errors
    /// If one is none.
    pub(crate) fn moves(from: Self, to: Self) -> Result<bool, Stop> {
        match (from, to) {
            (Self::NoKey, _) => Ok(false),
            (Self::WrongType, _) | (_, Self::WrongType) => Err(WRONG_TYPE),
            (Self::Absent, _) => Ok(false),
            (Self::Present, _) => Ok(true),
        }
    }
}

/// What a step comes to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Answer {
    /// The reply of a command.
    Reply(Vec<u8>),
    /// What a share says.
    Vote(Vote),
    /// What a key holds, if it exists, or is to hold.
    Held(Option<Held>),
    /// What a list has at an end.
    List(Seen),
    /// What a collection holds, if it exists.
    Image(Option<Vec<u8>>),
    /// What a key has said of a member, before it has joined or left.
    Member(Member),
    /// It was not executed.
    Error(Cow<'static, str>),
}

/// What the steps so far come to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Ran {
    /// One for each step.
    pub answers: Vec<Answer>,
    /// Whether there is something to be appended.
    pub writes: bool,
}

/// See the module.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Share {
    /// The connection's database.
    pub db: DbId,
    /// What is to be done.
    pub action: Action,
}

/// What an owner has seen, under its locks.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Vote {
    /// It is ready to write.
    Ready,
    /// One of the keys exists that must not.
    Exists,
    /// So many keys exist; a deletion is ready to delete them.
    Count(u64),
    /// The keys' values, in order.
    Values(Values),
    /// The steps of a script were executed.
    Ran(Ran),
    /// A watched key was changed.
    Changed,
    /// Keys.
    Keys(Strings),
    /// One key at random, out of so many.
    Drawn {
        /// How many keys there are.
        keys: u64,
        /// One of them; `None` if all have expired.
        key: Option<Box<[u8]>>,
    },
}

/// Values of keys, in one piece of memory but for large ones, which are shared with the log.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Values {
    bytes: Vec<u8>,
    values: Vec<Piece>,
}

#[derive(Clone, PartialEq, Eq, Debug)]
enum Piece {
    Nil,
    /// It ends here in the bytes, and begins where the one before has ended.
    Copied {
        end: usize,
    },
    Shared(Bytes),
}

impl Values {
    /// Appends a key without a value.
    pub(crate) fn push_nil(&mut self) {
        self.values.push(Piece::Nil);
    }

    /// Appends a value, copied.
    pub(crate) fn push(&mut self, value: &[u8]) {
        self.bytes.extend_from_slice(value);
        self.values.push(Piece::Copied { end: self.bytes.len() });
    }

    /// Appends a value that is not copied.
    pub(crate) fn push_shared(&mut self, value: Bytes) {
        self.values.push(Piece::Shared(value));
    }

    /// All of them, in order; `None` for a key without a value.
    pub(crate) fn iter(&self) -> impl Iterator<Item = Option<&[u8]>> {
        let mut start = 0;
        self.values.iter().map(move |piece| match piece {
            Piece::Nil => None,
            Piece::Copied { end } => Some(&self.bytes[std::mem::replace(&mut start, *end)..*end]),
            Piece::Shared(value) => Some(&value[..]),
        })
    }

    /// Writes them one by one: each call the next one.
    pub(crate) fn writer(&self) -> impl FnMut(&mut Reply<'_>) + '_ {
        let (mut pieces, mut start) = (self.values.iter(), 0);
        move |reply| match pieces.next() {
            Some(Piece::Copied { end }) => {
                reply.bulk(&self.bytes[start..*end]);
                start = *end;
            }
            Some(Piece::Shared(value)) => reply.bulk_shared(value.clone()),
            Some(Piece::Nil) | None => reply.null(),
        }
    }
}
