//! MIGRATE: keys go to another server. `order` is what was asked for, `wire` says it to the other server, and
//! `core/migrate.rs` does what is to be done here.
//!
//! ```text
//!   watch the keys                       (not with COPY)
//!   read them, together                  DUMP, PTTL
//!   send them: a thread waits for the other server, the core goes on, the client waits
//!   delete those that were taken, if none of all was changed since they were watched
//!        '-- one was: from the beginning, over what was sent, and what is not here any more is deleted there
//! ```
//!
//! Redis stops the world instead. Here nobody waits but who has asked, and what is deleted is what was sent
//! (docs/decisions/0044).

mod order;
mod wire;

pub(crate) use order::Order;
pub(crate) use wire::{Parcelled, Sent, encode, send};
