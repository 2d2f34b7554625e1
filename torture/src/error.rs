//! What can go wrong in the harness itself, as opposed to what it finds.

use std::io;

/// The result of a harness operation.
pub type Result<T> = std::result::Result<T, Error>;

/// A failure of the harness or of the server's process.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A system call failed.
    #[error("{what}: {source}")]
    Io {
        /// What was being done, and to what.
        what: String,
        /// The system's reason.
        source: io::Error,
    },
    /// The peer sent bytes that are not RESP.
    #[error("not RESP: {0}")]
    Protocol(String),
    /// The peer closed the connection where a reply was due.
    #[error("connection closed by the server")]
    Closed,
    /// No reply within the client's time-out.
    #[error("no reply within the time-out")]
    TimedOut,
    /// The server did not start, did not stop, or exited on its own.
    #[error("{message}\n--- the end of its log:\n{log}")]
    Server {
        /// What it failed to do.
        message: String,
        /// The last lines that it wrote.
        log: String,
    },
    /// A line of a script that the harness can't understand.
    #[error("{file}:{line}: {message}")]
    Script {
        /// The script.
        file: String,
        /// Its line, counted from 1.
        line: usize,
        /// What is wrong with the line.
        message: String,
    },
    /// A program that the harness needs is not there.
    #[error("{0}")]
    Missing(String),
}

impl Error {
    /// Wraps an i/o error with what was being done; time-outs and closed connections become
    /// variants of their own, as callers treat them differently.
    pub fn io(what: impl Into<String>, source: io::Error) -> Self {
        match source.kind() {
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => Self::TimedOut,
            io::ErrorKind::ConnectionReset
            | io::ErrorKind::BrokenPipe
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::UnexpectedEof => Self::Closed,
            _ => Self::Io { what: what.into(), source },
        }
    }
}
