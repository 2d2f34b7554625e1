//! The command schema: one table, from which dispatch, arity errors, key extraction and COMMAND's replies come.
//!
//! The table is in `resp/commands/`, one file per group; the build script turns it into [`COMMANDS`] and
//! [`CommandId`]. To add a command is to add a row:
//!
//! ```text
//! command GETEX                            a subcommand: command CONFIG GET, below its container
//!   summary     what it does, in one line
//!   since       6.2.0                      the version of redis that had it first
//!   complexity  O(1)
//!   deprecated  7.2.0 what to use instead
//!   history     7.0.0 what that version added (repeated)
//!   runs        data                       where it runs: data, blocking, connection or server
//!   arity       -2                         arguments with the name; negative: at least so many
//!   flags       write fast
//!   acl         string                     but for those that follow from flags (write, read, admin, dangerous,
//!                                          pubsub, blocking, fast, slow)
//!   tips        request_policy:all_shards  what a cluster's client or proxy should know
//!   keys        at 1 last 0 step 1: RW access update     (repeated)
//!   note        what is special about these keys
//!   arguments
//!     key key key=0                        name and type; key=n: the nth `keys` above
//!     expiration oneof optional            `oneof` and `block` hold the more indented ones that follow
//!       seconds integer EX                 in capitals: the word that stands before it
//!       persist pure-token PERSIST since=7.0.0
//! ```
//!
//! Where keys are: they begin `at <index>`, `after <WORD> from <index>` (negative: searched backwards from the
//! end), or at an `unknown` place. They are every `step`th argument up to `last` (counted from the first; negative:
//! from the end; `limit n`: only an nth part of what is left), or as many as the argument `count <n>` (counted
//! from the beginning) says, starting `first <n>` after it, or `unknown`.

mod command;
mod introspect;
mod keys;
mod lookup;
mod resolve;
mod sets;
mod usage;

pub use command::{Argument, ArgumentKind, Arity, Begin, Command, Deprecation, Find, Group, KeySpec, Runs};
pub use introspect::command;
pub use keys::{InvalidKeys, Keys, migrated_from};
pub use lookup::{Names, all, lookup, lookup_full, resolve};
pub use resolve::{Unresolved, arity_error};
pub use sets::{ArgumentFlags, Categories, Flags, KeyFlags};
pub use usage::help;

include!(concat!(env!("OUT_DIR"), "/commands.rs"));

#[cfg(test)]
mod tests;
