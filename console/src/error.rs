//! What can go wrong between a terminal and a server.

use std::io;

/// Why something could not be done.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Nobody answers there.
    #[error("could not connect to {target}: {source}")]
    Connect {
        /// Host and port, or the socket's path.
        target: String,
        /// What the system says.
        source: io::Error,
    },
    /// The server went away; what was sent may have been executed.
    #[error("the server closed the connection")]
    Closed,
    /// Ctrl-c, before the reply came; the command may have been executed.
    #[error("interrupted; the connection is closed, and what was sent may have been executed")]
    Interrupted,
    /// Reading or writing failed.
    #[error("{what}: {source}")]
    Io {
        /// What was done.
        what: &'static str,
        /// What the system says.
        source: io::Error,
    },
    /// What came is not RESP.
    #[error("protocol error: {0}")]
    Protocol(String),
    /// The server refused what the connection needs (a database, a protocol), or a mode's command.
    #[error("{what} failed: {reply}")]
    Refused {
        /// The command.
        what: String,
        /// The error that it was answered with.
        reply: String,
    },
    /// Standard output is closed or full.
    #[error("writing: {0}")]
    Output(io::Error),
    /// The command line asks for something that can't be.
    #[error("{0}")]
    Usage(String),
}

impl Error {
    /// Whether the connection is no use any more.
    pub(crate) fn is_fatal(&self) -> bool {
        !matches!(self, Self::Refused { .. } | Self::Usage(_))
    }
}

/// The result of what talks to a server.
pub type Result<T> = std::result::Result<T, Error>;

/// Turns a failed read or write into an [`Error`].
pub(crate) fn io(what: &'static str) -> impl FnOnce(io::Error) -> Error {
    move |source| match source.kind() {
        io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => Error::Closed,
        _ => Error::Io { what, source },
    }
}
