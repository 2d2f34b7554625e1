//! A core: one thread, one driver, the partitions dealt to it. The loop is ours, because the batch of a turn is the
//! unit of durability and no runtime has a hook for it.

mod accept;
mod atomics;
mod away;
pub(crate) mod budget;
mod calls;
mod cold;
pub(crate) mod connection;
pub(crate) mod cron;
mod depends;
pub(crate) mod direct;
mod ending;
mod errands;
pub(crate) mod events;
mod expected;
mod foreign;
mod gather;
mod inbox;
#[cfg(test)]
mod inbox_model;
mod jobs;
pub(crate) mod lag;
mod look;
mod message;
mod migrate;
mod multi;
mod owned;
mod parcel;
mod peers;
mod pieces;
pub(crate) mod pipeline;
mod release;
mod route;
mod saves;
mod secure;
mod several;
pub(crate) mod shard;
mod subscriptions;
pub(crate) mod table;
mod turn;
mod visitors;

pub(crate) use accept::Door;
pub(crate) use away::Away;
pub(crate) use calls::Calls;
pub(crate) use ending::Ending;
pub(crate) use gather::{Gathers, Question, Told};
pub(crate) use look::{Pause, Silence};
pub(crate) use message::{CoreId, Message};
pub(crate) use owned::{Own, Owned};
pub(crate) use peers::Peers;
pub(crate) use pieces::Spares;
pub(crate) use route::{Map, Place};
pub(crate) use saves::Saves;
pub(crate) use subscriptions::{Kind, Subscriptions};
pub(crate) use turn::{Batch, Core, Ended};
pub(crate) use visitors::Visitors;
