//! What can go wrong on the way from one server to another.

use std::io;
use std::path::Path;

/// Why something could not be done.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A server can't be reached, has gone, or refuses what is needed.
    #[error("{who}: {source}")]
    Server {
        /// Which of the two.
        who: &'static str,
        /// What happened.
        source: emberkv_console::Error,
    },
    /// The bytes are no RDB file, or a damaged one.
    #[error("at byte {position} of the rdb: {what}")]
    Rdb {
        /// How many bytes were read before it was noticed.
        position: u64,
        /// What is wrong.
        what: String,
    },
    /// A value has more bytes than are kept in memory.
    #[error("at byte {position} of the rdb: a value is too large to be kept whole")]
    TooLarge {
        /// How many bytes were read.
        position: u64,
    },
    /// A file can't be read or written.
    #[error("{path}: {source}")]
    File {
        /// Which.
        path: String,
        /// What the system says.
        source: io::Error,
    },
    /// The target does not take a command of the source's.
    #[error("the target refused {what}: {reply}")]
    Refused {
        /// The command and its key.
        what: String,
        /// What it was answered.
        reply: String,
    },
    /// Ctrl-c, before there was a point at which all is whole.
    #[error("interrupted")]
    Interrupted,
    /// Something has to be decided by whoever called.
    #[error("{0}")]
    Usage(String),
}

/// The result of what may fail so.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// Whether trying again may help: the other side has gone, or does not answer now.
    pub(crate) fn is_passing(&self) -> bool {
        use emberkv_console::Error as Console;
        // a server that has just started
        let is_moment = |reply: &str| ["LOADING", "MASTERDOWN", "TRYAGAIN"].iter().any(|code| reply.starts_with(code));
        match self {
            Self::Server { source: Console::Connect { .. } | Console::Closed | Console::Io { .. }, .. } => true,
            Self::Server { source: Console::Refused { reply, .. }, .. } | Self::Refused { reply, .. } => {
                is_moment(reply)
            }
            _ => false,
        }
    }
}

/// Turns a failure of a connection into an [`Error`].
pub(crate) fn of(who: &'static str) -> impl Fn(emberkv_console::Error) -> Error {
    move |source| match source {
        emberkv_console::Error::Interrupted => Error::Interrupted,
        source => Error::Server { who, source },
    }
}

/// Turns a failure of a file into an [`Error`].
pub(crate) fn file(path: &Path) -> impl Fn(io::Error) -> Error {
    move |source| Error::File { path: path.display().to_string(), source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_starts_is_waited_for() {
        let refused = |reply: &str| {
            let source = emberkv_console::Error::Refused { what: "PING".into(), reply: reply.into() };
            of("target")(source).is_passing()
        };
        assert!(refused("LOADING data set is being loaded") && !refused("NOAUTH Authentication required."));
        assert!(of("target")(emberkv_console::Error::Closed).is_passing());
        assert!(!Error::Refused { what: "INCR k".into(), reply: "ERR value is not an integer".into() }.is_passing());
    }
}
