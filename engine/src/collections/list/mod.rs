//! Lists: elements in an order of their own.
//!
//! ```text
//!  whole    key -> [ list | count | a | b | c ]
//!
//!  split    key -> [ list | count | ... | a b c | x y z ]        the root, with the elements at both ends
//!                            |
//!                        the tree: those in between, in nodes of the reserved database
//! ```
//!
//! What is pushed or popped at an end is written with the root alone, until an end has too many and they become a leaf of the tree, or has none and gets
//! those of a leaf.

mod change;
mod draft;
mod fill;
mod read;

pub use fill::ListFill;
pub(super) use read::each as each_between;

use super::elements::Elements;
use super::pairs::{push_varint, take_varint};
use super::root::Root;

/// One of a list's ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum End {
    /// Where LPUSH pushes: LEFT.
    Front,
    /// RIGHT.
    Back,
}

impl End {
    /// What a push to it is told as.
    pub(crate) fn pushed(self) -> &'static str {
        if self == Self::Front { "lpush" } else { "rpush" }
    }

    /// What a pop from it is told as.
    pub(crate) fn popped(self) -> &'static str {
        if self == Self::Front { "lpop" } else { "rpop" }
    }
}

/// The elements at an end of a split list, or stream, one behind the other.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub(crate) struct Run {
    pub bytes: Vec<u8>,
    pub count: u64,
}

impl Run {
    pub fn of(bytes: &[u8]) -> Self {
        Self { bytes: bytes.to_vec(), count: Elements::of(bytes).count() as u64 }
    }

    pub fn elements(&self) -> Elements<'_> {
        Elements::of(&self.bytes)
    }

    /// Takes those away that are at so many positions; they are appended to `taken`.
    pub fn take(&mut self, from: u64, to: u64, taken: &mut Vec<u8>) {
        if from < to {
            let range = Elements::range_of(&self.bytes, from, to - from);
            taken.extend(self.bytes.drain(range));
            self.count -= to - from;
        }
    }
}

/// What a root of a list says behind what every root says.
///
/// ```text
/// | listpack | front len | front ... | back ... |       numbers are varints
/// ```
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub(crate) struct Ends {
    /// Bytes of the listpack that redis would have of all.
    pub listpack: u64,
    pub front: Run,
    pub back: Run,
}

impl Ends {
    /// Those of a root's record.
    pub fn read(record: &[u8]) -> Self {
        Root::behind(record).and_then(Self::take).unwrap_or_default()
    }

    fn take(mut bytes: &[u8]) -> Option<Self> {
        let listpack = take_varint(&mut bytes)?;
        let len = usize::try_from(take_varint(&mut bytes)?).ok()?;
        let (front, back) = bytes.split_at_checked(len)?;
        Some(Self { listpack, front: Run::of(front), back: Run::of(back) })
    }

    /// The record of a root with these ends.
    pub fn write(&self, root: Root) -> Vec<u8> {
        let mut out = root.write();
        push_varint(&mut out, self.listpack);
        push_varint(&mut out, self.front.bytes.len() as u64);
        out.extend_from_slice(&self.front.bytes);
        out.extend_from_slice(&self.back.bytes);
        out
    }
}
