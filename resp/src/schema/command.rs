//! What the table says about a command.

use super::{ArgumentFlags, Categories, CommandId, Flags, KeyFlags, lookup::by_id};

/// One row of the table.
#[derive(Debug)]
pub struct Command {
    /// Its number: what dispatch goes by.
    pub id: CommandId,
    /// In lower case; a subcommand's is `container|subcommand`.
    pub name: &'static str,
    /// The chapter that it belongs to.
    pub group: Group,
    /// Where it runs.
    pub runs: Runs,
    /// How many arguments it takes.
    pub arity: Arity,
    /// What kind of command it is.
    pub flags: Flags,
    /// The access-control categories that it is in.
    pub categories: Categories,
    /// What a cluster's client or proxy should know.
    pub tips: &'static [&'static str],
    /// What it does, in one line.
    pub summary: &'static str,
    /// The version of redis that had it first.
    pub since: &'static str,
    /// The time it takes.
    pub complexity: &'static str,
    /// Set if there is something better.
    pub deprecated: Option<Deprecation>,
    /// What later versions of redis added: version and change.
    pub history: &'static [(&'static str, &'static str)],
    /// Of a container: its subcommands.
    pub subcommands: &'static [CommandId],
    /// Which arguments are keys.
    pub keys: &'static [KeySpec],
    /// The arguments, without the name.
    pub arguments: &'static [Argument],
}

impl Command {
    /// Of a subcommand: its container.
    #[must_use]
    pub fn container(&self) -> Option<&'static Self> {
        let (container, _) = self.name.split_once('|')?;
        super::lookup(container.as_bytes())
    }

    /// Of a container: the subcommand of this name, in any case.
    #[must_use]
    pub fn subcommand(&self, name: &[u8]) -> Option<&'static Self> {
        let skip = self.name.len() + 1;
        let mut subcommands = self.subcommands.iter().map(|id| by_id(*id));
        subcommands.find(|sub| sub.name.as_bytes()[skip..].eq_ignore_ascii_case(name))
    }

    /// Whether it is a subcommand.
    #[must_use]
    pub const fn is_subcommand(&self) -> bool {
        let name = self.name.as_bytes();
        let mut i = 0;
        while i < name.len() && name[i] != b'|' {
            i += 1;
        }
        i < name.len()
    }
}

impl CommandId {
    /// Its row in the table.
    #[inline]
    #[must_use]
    pub fn command(self) -> &'static Command {
        by_id(self)
    }
}

/// The chapter of the documentation that a command is in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Group {
    /// Keys of any kind.
    Generic,
    /// Strings.
    String,
    /// Bits of strings.
    Bitmap,
    /// Cardinality estimates.
    Hyperloglog,
    /// Lists.
    List,
    /// Hashes.
    Hash,
    /// Sets.
    Set,
    /// Sorted sets.
    SortedSet,
    /// Places.
    Geo,
    /// Streams.
    Stream,
    /// Transactions of clients.
    Transactions,
    /// Connections.
    Connection,
    /// The server as a whole.
    Server,
    /// Messages to whoever listens.
    Pubsub,
}

impl Group {
    /// As COMMAND DOCS names it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Generic => "generic",
            Self::String => "string",
            Self::Bitmap => "bitmap",
            Self::Hyperloglog => "hyperloglog",
            Self::List => "list",
            Self::Hash => "hash",
            Self::Set => "set",
            Self::SortedSet => "sorted-set",
            Self::Geo => "geo",
            Self::Stream => "stream",
            Self::Transactions => "transactions",
            Self::Connection => "connection",
            Self::Server => "server",
            Self::Pubsub => "pubsub",
        }
    }
}

/// Where a command runs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Runs {
    /// In the engine of the partitions that have its keys (all of them when it has none).
    Data,
    /// There too, and it may wait there.
    Blocking,
    /// On the connection's core; it is about the connection's own state.
    Connection,
    /// On the connection's core; it is about the server.
    Server,
}

/// How many arguments a command takes, its name (and subcommand) included; negative: at least so many.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Arity(pub i16);

impl Arity {
    /// Whether so many arguments are right.
    #[inline]
    #[must_use]
    pub const fn accepts(self, arguments: usize) -> bool {
        let least = self.0.unsigned_abs() as usize;
        if self.0 < 0 { arguments >= least } else { arguments == least }
    }
}

/// Says that there is something better.
#[derive(Clone, Copy, Debug)]
pub struct Deprecation {
    /// The version of redis that said so.
    pub since: &'static str,
    /// What to use instead.
    pub instead: &'static str,
}

/// Where some of a command's keys are, and what it does with them.
#[derive(Clone, Copy, Debug)]
pub struct KeySpec {
    /// Where the first is looked for.
    pub begin: Begin,
    /// Where the others are, from there.
    pub find: Find,
    /// What the command does with them.
    pub flags: KeyFlags,
    /// What is special about them.
    pub note: Option<&'static str>,
}

/// Where to look for keys.
#[derive(Clone, Copy, Debug)]
pub enum Begin {
    /// At this argument.
    At(u16),
    /// After this word, searched from argument `from` on; negative: from the end, backwards.
    After {
        /// The word, in any case.
        keyword: &'static str,
        /// Where the search begins.
        from: i16,
    },
    /// The specification can't say.
    Unknown,
}

/// Which arguments are keys.
#[derive(Clone, Copy, Debug)]
pub enum Find {
    /// Every `step`th up to the last.
    Range {
        /// The last, counted from the first; negative: from the end.
        last: i16,
        /// From one to the next.
        step: u16,
        /// If not 0 or 1: only this part of the rest, a half, a third ...
        limit: u16,
    },
    /// As many as an argument says.
    Counted {
        /// Where the count is, from the beginning.
        count_at: u16,
        /// Where the first key is, from the beginning.
        first: u16,
        /// From one to the next.
        step: u16,
    },
    /// The specification can't say.
    Unknown,
}

/// An argument, as COMMAND DOCS describes it.
#[derive(Clone, Copy, Debug)]
pub struct Argument {
    /// Its name.
    pub name: &'static str,
    /// What it can be.
    pub kind: ArgumentKind,
    /// The word that stands before it, or is it.
    pub token: Option<&'static str>,
    /// Of a key: its place in [`Command::keys`].
    pub key_spec: Option<u8>,
    /// The version of redis that had it first, if later than the command.
    pub since: Option<&'static str>,
    /// The version of redis that advised against it.
    pub deprecated_since: Option<&'static str>,
    /// How it may occur.
    pub flags: ArgumentFlags,
    /// Those in it, of a oneof or a block.
    pub arguments: &'static [Argument],
}

/// What an argument can be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ArgumentKind {
    /// Any bytes.
    String,
    /// A whole number.
    Integer,
    /// A number.
    Double,
    /// A key's name.
    Key,
    /// A pattern as KEYS takes it.
    Pattern,
    /// A time in seconds or milliseconds since 1970.
    UnixTime,
    /// Just its token.
    PureToken,
    /// One of the arguments in it.
    Oneof,
    /// All of the arguments in it.
    Block,
}

impl ArgumentKind {
    /// As COMMAND DOCS names it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::String => "string",
            Self::Integer => "integer",
            Self::Double => "double",
            Self::Key => "key",
            Self::Pattern => "pattern",
            Self::UnixTime => "unix-time",
            Self::PureToken => "pure-token",
            Self::Oneof => "oneof",
            Self::Block => "block",
        }
    }
}
