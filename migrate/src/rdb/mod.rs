//! RDB files: what redis and valkey write to disk, and send to their replicas.
//!
//! ```text
//! REDIS0010 | VALKEY080
//! fa name value                  something about the server
//! fe database                    what follows is in it
//! fb keys expiring               how many
//! f4 slot keys expiring          the same for a slot
//! fc ms, 8 le | fd s, 4 le       when the next key expires
//! f8 seconds | f9 byte           how long, or how often, it was asked for
//! type key value                 as in a payload, see `engine/src/dump`
//! f5 code                        a library of functions
//! f7 module what...              what a module has beside its keys
//! ff crc64, 8 le
//! ```
//!
//! Types that were written before redis 7.0, beside those of `engine/src/dump`; ziplists are older listpacks:
//!
//! ```text
//!  3: a sorted set: how many members, then each and its score as text
//!  9: a hash: a string which is a zipmap
//! 10: a list: a string which is a ziplist            12: a sorted set         13: a hash
//! 14: a list: how many nodes, then each: a string which is a ziplist
//! ```
//!
//! And those of hashes of which fields expire: 22 of valkey 9 has a time, 8 le, behind each value, -1 for never; 22 and 23 of
//! redis's candidates for 7.4 have the field's time itself where 24 and 25 have how much later it is.

mod decode;
mod delimit;
mod reader;
mod source;
mod stream;
mod writer;
mod ziplist;

pub(crate) use decode::{Element, decode};
pub(crate) use reader::{Body, Entry, Item, Reader};
pub(crate) use source::Source;
pub(crate) use stream::Group;
pub(crate) use writer::{Payload, Writer};

pub(crate) const STRING: u8 = 0;
pub(crate) const LIST: u8 = 1;
pub(crate) const SET: u8 = 2;
pub(crate) const ZSET_TEXT: u8 = 3;
pub(crate) const HASH: u8 = 4;
pub(crate) const ZSET: u8 = 5;
pub(crate) const MODULE: u8 = 7;
pub(crate) const HASH_ZIPMAP: u8 = 9;
pub(crate) const LIST_ZIPLIST: u8 = 10;
pub(crate) const SET_INTSET: u8 = 11;
pub(crate) const ZSET_ZIPLIST: u8 = 12;
pub(crate) const HASH_ZIPLIST: u8 = 13;
pub(crate) const LIST_ZIPLISTS: u8 = 14;
pub(crate) const STREAM_1: u8 = 15;
pub(crate) const HASH_LISTPACK: u8 = 16;
pub(crate) const ZSET_LISTPACK: u8 = 17;
pub(crate) const LIST_NODES: u8 = 18;
pub(crate) const STREAM_2: u8 = 19;
pub(crate) const SET_LISTPACK: u8 = 20;
pub(crate) const STREAM_3: u8 = 21;
/// Redis's of a candidate for 7.4; valkey's 22 is [`HASH_TIMED`].
pub(crate) const HASH_EXPIRING_EARLY: u8 = 22;
pub(crate) const HASH_LISTPACK_EXPIRING_EARLY: u8 = 23;
pub(crate) const HASH_EXPIRING: u8 = 24;
pub(crate) const HASH_LISTPACK_EXPIRING: u8 = 25;
/// Valkey's 22, under a number that no file has.
pub(crate) const HASH_TIMED: u8 = 200;

/// Whether what RESTORE takes is this type and these bytes, here and in redis 8.2.
pub(crate) fn is_restored(kind: u8) -> bool {
    matches!(
        kind,
        STRING | LIST | SET | HASH | ZSET | SET_INTSET | HASH_LISTPACK | ZSET_LISTPACK | LIST_NODES | SET_LISTPACK
    ) || matches!(kind, STREAM_1 | STREAM_2 | STREAM_3 | HASH_EXPIRING | HASH_LISTPACK_EXPIRING)
}
