//! Configuration as redis users expect it: redis.conf syntax in a file, `--directive value` on
//! the command line, CONFIG GET and SET at run time.
//!
//! * `table` has one row for each directive that means something here; the fields of
//!   [`Config`] come out of it.
//! * `foreign` has one row for each other directive of redis's, with what emberkv does
//!   instead: such a line is accepted, kept for CONFIG GET, and reported once as a [`Warning`].
//! * `load` reads files and the command line, `access` answers CONFIG GET and SET.

mod access;
mod foreign;
mod help;
mod include;
mod load;
mod rewrite;
mod suggest;
mod table;
mod values;
mod words;

pub use access::{Changes, SetError};
pub use help::help;
pub use load::{LoadError, Loaded, Loader, Place, Warning, load};
pub use table::{Config, Field};
pub use values::{
    AclChannels, AppendFsync, AuthClients, BindAddress, BindHost, CertificateUser, EvictionPolicy, Guard, IoDriver,
    KeyspaceEvents, LogFormat, LogLevel, OutputLimit, OutputLimits, Primary, Protocols, Reason, Renames, SavePoint,
    Secret, UserLine,
};

pub(crate) use rewrite::rewrite;
pub(crate) use values::is_no_one;
pub(crate) use words::split_words;
