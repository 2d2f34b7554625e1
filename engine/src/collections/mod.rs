//! Values that have elements: how they are kept (protocol, O).
//!
//! ```text
//!  whole    key -> [what it is | count | a 1 | b 2 | c 3]            one record, searched in place
//!
//!  split    key -> [what it is | count | leaves | id ]               the root
//!                     |-- (id, 0, key) -> [ b 2 | f 6 ]              the leaves: records of the reserved database
//!                     |-- (id, 1, key) -> [ a 1 ]
//!                     '-- (id, 2, key) -> [ c 3 | d 4 | e 5 ]
//! ```
//!
//! A change of a whole one appends it anew; a change of a split one appends the leaf that the element is in, and the root if
//! there are more elements or fewer. All records of a change are in one frame, and each is like any other: compaction, eviction, checkpoints,
//! spilling and transactions know nothing of collections but what is said here (decision 0050).

mod draft;
mod elements;
mod fields;
mod gather;
mod leaf;
mod list;
mod pairs;
mod place;
mod random;
mod read;
mod root;
mod sets;
mod sorted;
mod stream;
mod sweep;
mod tree;

pub(crate) use draft::Draft;
pub(crate) use elements::{Elements, push_element};
pub(crate) use fields::{Expiry, due_ms_of};
pub(crate) use leaf::LeafName;
pub(crate) use list::Ends;
pub use list::{End, ListFill};
pub(crate) use pairs::{Layout, push_field, push_pair, push_varint, take_varint};
#[cfg(test)]
pub(crate) use pairs::{Pair, Pairs};
pub(crate) use place::Writes;
pub(crate) use random::Wanted;
pub(crate) use root::{Head, Root, Whole, bits_of};
pub use sets::CompactSet;
pub(crate) use sets::{Members, int_of};
pub(crate) use sorted::{Places, mark, order_of, score_in, score_of};
pub(crate) use stream::{Consumer, Group, Pending, StreamDraft, StreamId, Trim};
pub(crate) use stream::{ImageConsumer, ImageGroup, StreamImage};
pub(crate) use sweep::Sweeper;
pub(crate) use tree::Source;
#[cfg(test)]
pub(crate) use tree::{NODE, TreeRoot, children};

use emberkv_log::Value;

use crate::stop::Stop;

/// An image of more bytes than that is split, if it has more than one element.
pub(crate) const WHOLE_BYTES: usize = 1024;
/// A split collection that has shrunk to so many becomes whole.
pub(crate) const WHOLE_AGAIN_BYTES: u64 = 256;
/// Bytes of elements that there are in a leaf on the average, at most. Less: more records, each with some 30 bytes beside its
/// elements. More: more is appended for each change. Chosen, not measured.
pub(crate) const LEAF_BYTES: u64 = 256;

/// What kind of value a key has; the numbers are redis's.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Type {
    /// Elements in an order of their own.
    List = 1,
    /// Elements, each of them once.
    Set = 2,
    /// Members with scores, in their order.
    ZSet = 3,
    /// Fields with values.
    Hash = 4,
    /// Entries with ids, and groups of consumers.
    Stream = 6,
}

impl Type {
    /// What TYPE replies.
    pub fn name(self) -> &'static str {
        match self {
            Self::List => "list",
            Self::Set => "set",
            Self::ZSet => "zset",
            Self::Hash => "hash",
            Self::Stream => "stream",
        }
    }

    /// Whether its elements are in hash leaves when it is split.
    pub(crate) fn has_leaves(self) -> bool {
        !matches!(self, Self::List | Self::Stream)
    }

    /// Whether it has a tree then.
    pub(crate) fn has_tree(self) -> bool {
        matches!(self, Self::List | Self::ZSet | Self::Stream)
    }

    /// Whether the tree is sorted.
    pub(crate) fn is_sorted(self) -> bool {
        matches!(self, Self::ZSet | Self::Stream)
    }

    pub(crate) fn from_bits(bits: u8) -> Option<Self> {
        match bits {
            1 => Some(Self::List),
            2 => Some(Self::Set),
            3 => Some(Self::ZSet),
            4 => Some(Self::Hash),
            6 => Some(Self::Stream),
            _ => None,
        }
    }

    /// How its elements lie in a whole image, if none may expire: else see [`Head::plain`].
    pub(crate) fn plain(self) -> Layout {
        Layout { is_numbered: false, has_values: self != Self::Set, has_expiries: false }
    }

    /// How they lie in a leaf.
    pub(crate) fn numbered(self) -> Layout {
        Layout { is_numbered: true, ..self.plain() }
    }
}

/// How redis would keep it: what OBJECT ENCODING says, and whether elements are replied in the order in which they came.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Encoding {
    /// One after the other.
    Listpack = 0,
    /// By their hashes. There is no way back.
    Hashtable = 1,
    /// A list of listpacks.
    Quicklist = 2,
    /// Integers, in their order.
    Intset = 3,
    /// Fields one after the other, of which some may expire; in the order in which they do.
    ListpackEx = 4,
    /// Fields by their hashes, of which some may expire.
    HashtableEx = 5,
}

impl Encoding {
    /// Whether fields may expire.
    pub fn has_expiries(self) -> bool {
        matches!(self, Self::ListpackEx | Self::HashtableEx)
    }

    /// Whether elements have no order.
    pub fn is_by_hash(self) -> bool {
        matches!(self, Self::Hashtable | Self::HashtableEx)
    }

    /// The same, for fields that may expire.
    pub fn expiring(self) -> Self {
        if self.is_by_hash() { Self::HashtableEx } else { Self::ListpackEx }
    }

    /// The same, when there is too much of it for the simpler way.
    pub fn by_hash(self) -> Self {
        if self.has_expiries() { Self::HashtableEx } else { Self::Hashtable }
    }

    pub fn name(self) -> &'static str {
        match self {
            Self::Listpack => "listpack",
            Self::Hashtable => "hashtable",
            Self::Quicklist => "quicklist",
            Self::Intset => "intset",
            Self::ListpackEx => "listpackex",
            Self::HashtableEx => "hashtable",
        }
    }
}

/// Up to which size redis keeps a collection in the simpler way.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Compact {
    /// Elements.
    pub entries: u64,
    /// Bytes of one.
    pub value: u64,
}

/// Bytes of the elements that are in a root's own record: those at the ends of a list, or of a stream's rows.
pub(crate) fn ends_of(record: &[u8]) -> u64 {
    let ends = match Root::read(record).head.kind {
        Type::List => {
            let ends = Ends::read(record);
            ends.front.bytes.len() + ends.back.bytes.len()
        }
        Type::Stream => StreamDraft::of_root(record, None).ends().map(|rows| rows.len()).iter().sum(),
        Type::Set | Type::ZSet | Type::Hash => 0,
    };
    ends as u64
}

/// What TYPE replies of a value.
pub(crate) fn type_name(value: Value<'_>) -> &'static str {
    match value {
        Value::Bytes(_) | Value::Int(_) | Value::Packed(_) | Value::Chunked(_) => "string",
        Value::Whole(bytes) => Whole::read(bytes).head.kind.name(),
        Value::Root(bytes) => Root::read(bytes).head.kind.name(),
    }
}

pub(crate) const WRONG_TYPE_TEXT: &str = "WRONGTYPE Operation against a key holding the wrong kind of value";
pub(crate) const WRONG_TYPE: Stop = Stop::error(WRONG_TYPE_TEXT);
