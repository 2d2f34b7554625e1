//! What can go wrong, and what to do about it.

use std::io;
use std::path::{Path, PathBuf};

use emberkv_load::LoadError;

/// An error that ends the run, or (where [`crate::run`] says so) one cell of it.
#[derive(Debug, thiserror::Error)]
pub enum BenchError {
    /// A server's binary is not there.
    #[error("{server}: no binary at {}; {hint}", path.display())]
    NoBinary {
        /// The server's name.
        server: &'static str,
        /// Where it was looked for.
        path: PathBuf,
        /// How to get one.
        hint: &'static str,
    },
    /// A server stopped or never became ready.
    #[error("{server} {what}; the end of its output:\n{log}")]
    Server {
        /// The server's name.
        server: &'static str,
        /// What it did.
        what: String,
        /// The last lines it printed.
        log: String,
    },
    /// The load generator failed.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// A server does not have what it was given.
    #[error("{0}")]
    Lost(String),
    /// A system call failed.
    #[error("{what}: {source}")]
    Io {
        /// What was being done, to what.
        what: String,
        /// The error.
        source: io::Error,
    },
    /// A file or an output of a program does not have the expected form.
    #[error("cannot make sense of {what}: {text:?}")]
    Parse {
        /// Where the text comes from.
        what: &'static str,
        /// The text, or its beginning.
        text: String,
    },
    /// Too little memory or disk is free to go on safely.
    #[error("{0}")]
    Scarce(String),
}

/// Adds to an i/o error what was being done.
pub trait Context<T> {
    /// Names the action.
    ///
    /// # Errors
    /// The same error, as [`BenchError::Io`].
    fn context(self, what: impl FnOnce() -> String) -> Result<T, BenchError>;
}

impl<T, E: Into<io::Error>> Context<T> for Result<T, E> {
    fn context(self, what: impl FnOnce() -> String) -> Result<T, BenchError> {
        self.map_err(|source| BenchError::Io { what: what(), source: source.into() })
    }
}

/// Reads a text file, naming it in the error.
///
/// # Errors
/// [`BenchError::Io`] when the file cannot be read.
pub fn read_text(path: &Path) -> Result<String, BenchError> {
    std::fs::read_to_string(path).context(|| format!("reading {}", path.display()))
}
