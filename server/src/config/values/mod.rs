//! How each type of value is read from words and printed again.

mod bind;
mod choice;
mod cpus;
mod events;
mod memory;
mod number;
mod output_limits;
mod path;
mod primary;
mod protocols;
mod renames;
mod save_points;
mod secret;
mod text;
mod users;

use std::borrow::Cow;
use std::fmt;

pub use bind::{BindAddress, BindHost};
pub use choice::{
    AclChannels, AppendFsync, AuthClients, CertificateUser, EvictionPolicy, Guard, IoDriver, LogFormat, LogLevel,
};
pub use events::KeyspaceEvents;
pub use output_limits::{OutputLimit, OutputLimits};
pub use primary::Primary;
pub use protocols::Protocols;
pub use renames::Renames;
pub use save_points::SavePoint;
pub use secret::Secret;
pub use users::UserLine;

pub(super) use bind::{Addresses, every_address};
pub(super) use choice::{
    ACL_CHANNELS, APPEND_FSYNC, AUTH_CLIENTS, CERTIFICATE_USER, EVICTION_POLICY, GUARD, IO_DRIVER, LOG_FORMAT,
    LOG_LEVEL, OnlyYes, YesNo, one_of,
};
pub(super) use cpus::CpuList;
pub(super) use events::EventClasses;
pub(super) use memory::{GIB, MIB, Memory, parse_memory, show_memory};
pub(super) use number::{Number, Octal, parse_integer};
pub(super) use output_limits::BufferLimits;
pub(super) use path::{Folder, OptionalPath};
pub(super) use primary::PrimaryAddress;
pub(crate) use primary::is_no_one;
pub(super) use protocols::ProtocolNames;
pub(super) use renames::RenameLines;
pub(super) use save_points::{SaveLine, stock_save_points};
pub(super) use secret::Password;
pub(super) use text::Text;
pub(super) use users::UserLines;

/// Why a value was refused, in redis's words where redis has some.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reason(Cow<'static, str>);

impl Reason {
    /// A reason out of its text.
    pub fn new(text: impl Into<Cow<'static, str>>) -> Self {
        Self(text.into())
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What a new value does to the one before it, for the directives that may be repeated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Put {
    /// It takes its place: CONFIG SET, and a directive's first line in the configuration.
    Replace,
    /// It comes on top: the lines after the first.
    Add,
}

/// A type of value: how it is read, printed, and explained to people.
pub(super) trait Codec<T> {
    /// The new value out of the words given, or why not. One word unless `takes_list`.
    fn parse(&self, words: &[&[u8]], current: &T, put: Put) -> Result<T, Reason>;

    /// As CONFIG GET prints it.
    fn print(&self, value: &T) -> Vec<u8>;

    /// As people write it, for the help.
    fn show(&self, value: &T) -> String {
        String::from_utf8_lossy(&self.print(value)).into_owned()
    }

    /// What may be written, for the help: `yes|no`, `0..65535`.
    fn kind(&self) -> String;

    /// Whether it takes any number of words.
    fn takes_list(&self) -> bool {
        false
    }
}

/// The words of a list that came as one text, cut at every single space as redis does it.
pub(super) fn split_list(text: &[u8]) -> Vec<&[u8]> {
    if text.is_empty() { Vec::new() } else { text.split(|&byte| byte == b' ').collect() }
}

/// The only word of a single value (the caller has counted them).
fn only<'a>(words: &[&'a [u8]]) -> &'a [u8] {
    debug_assert_eq!(words.len(), 1, "single values are counted before they are parsed");
    words.first().copied().unwrap_or_default()
}

/// A word that has to be text.
fn utf8(word: &[u8]) -> Result<&str, Reason> {
    std::str::from_utf8(word).map_err(|_| Reason::new("argument must be UTF-8 text"))
}

#[cfg(test)]
pub(super) mod testing {
    use super::{Codec, Put, split_list};
    use std::fmt::Debug;

    /// Parses `text` as CONFIG SET would.
    pub fn parse<T>(codec: &impl Codec<T>, current: &T, text: &str) -> Result<T, String> {
        let words = if codec.takes_list() { split_list(text.as_bytes()) } else { vec![text.as_bytes()] };
        codec.parse(&words, current, Put::Replace).map_err(|reason| reason.to_string())
    }

    /// What is printed is read back as the same value.
    pub fn round_trips<T: PartialEq + Debug>(codec: &impl Codec<T>, current: &T, value: &T) {
        let printed = codec.print(value);
        let words = if codec.takes_list() { split_list(&printed) } else { vec![printed.as_slice()] };
        let again = codec.parse(&words, current, Put::Replace).unwrap();
        assert_eq!(&again, value, "printed as {:?}", String::from_utf8_lossy(&printed));
    }
}
