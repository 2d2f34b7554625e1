//! Why a command has not been executed.

use std::borrow::Cow;

use emberkv_log::{Address, Refusal};

/// Nothing was changed and no reply was written.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Stop {
    /// The log is preparing space: the same command must be tried again later.
    Wait,
    /// A transaction over several partitions has one of its keys: the same command must be tried again when
    /// [`crate::Partition::unlocks`] has moved.
    Locked,
    /// It needs records that are not in memory: the same command must be tried again when the one at this address is not
    /// coming any more ([`crate::Partition::is_coming`]), which is the last of them that was asked for.
    Cold(Address),
    /// The answer is this error, code and all.
    Error(Cow<'static, str>),
}

impl Stop {
    pub(crate) const SYNTAX: Self = Self::error("ERR syntax error");
    pub(crate) const NOT_AN_INTEGER: Self = Self::error("ERR value is not an integer or out of range");

    pub(crate) const OUT_OF_MEMORY: Self = Self::error("OOM command not allowed when used memory > 'maxmemory'.");

    pub(crate) const fn error(text: &'static str) -> Self {
        Self::Error(Cow::Borrowed(text))
    }

    pub(crate) fn invalid_expire(command: &str) -> Self {
        Self::Error(format!("ERR invalid expire time in '{command}' command").into())
    }
}

impl From<Refusal> for Stop {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Wait => Self::Wait,
            Refusal::NoMemory => Self::OUT_OF_MEMORY,
            Refusal::ReadOnly(reason) if reason == crate::follow::READ_ONLY => Self::error(crate::follow::READ_ONLY),
            Refusal::NoSpace(reason) | Refusal::ReadOnly(reason) => {
                Self::Error(format!("MISCONF Errors writing to the AOF file: {reason}").into())
            }
        }
    }
}
