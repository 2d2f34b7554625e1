//! What can go wrong under load.

use std::io;

/// An error that ends a run.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// A server sent something else than the workload's reply.
    #[error("unexpected reply {reply:?}; wanted {wanted:?}")]
    Reply {
        /// The first bytes of what came.
        reply: String,
        /// What each reply must start with.
        wanted: String,
    },
    /// A server closed a connection, or did not answer for a long time.
    #[error("{0}")]
    Connection(String),
    /// An open-loop run fell so far behind that its latencies mean nothing.
    #[error("the server fell {outstanding} requests behind an offered {rate:.0} requests/s")]
    Overrun {
        /// Requests sent and not answered.
        outstanding: u64,
        /// The offered rate.
        rate: f64,
    },
    /// A system call failed.
    #[error("{what}: {source}")]
    Io {
        /// What was being done, to what.
        what: String,
        /// The error.
        source: io::Error,
    },
    /// The operator pressed ctrl-c.
    #[error("interrupted")]
    Interrupted,
}

/// Adds to an i/o error what was being done.
pub(crate) trait Context<T> {
    /// Names the action.
    fn context(self, what: impl FnOnce() -> String) -> Result<T, LoadError>;
}

impl<T, E: Into<io::Error>> Context<T> for Result<T, E> {
    fn context(self, what: impl FnOnce() -> String) -> Result<T, LoadError> {
        self.map_err(|source| LoadError::Io { what: what(), source: source.into() })
    }
}
