//! What a collection's record begins with.
//!
//! ```text
//! whole   | type 4, encoding 4 | count | [due] | pairs ..., or elements ...
//! root    | type 4, encoding 4 | count | [due] | bytes | leaves | next number | id, 8 bytes | [tree] | of lists, streams: ends
//! ```
//!
//! What is in brackets: when the first field expires, of a hash some of whose fields may; the tree of a list, a stream, a sorted set, and of such a hash.

use super::elements::Elements;
use super::pairs::{Layout, Pairs, push_varint, take_varint};
use super::tree::TreeRoot;
use super::{Encoding, Type};

/// What any collection says of itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Head {
    pub kind: Type,
    pub encoding: Encoding,
    /// How many elements it has.
    pub count: u64,
    /// When the first of its fields expires; 0 if none does.
    pub due_ms: u64,
}

impl Head {
    /// Of one whose elements do not expire.
    pub fn new(kind: Type, encoding: Encoding, count: u64) -> Self {
        Self { kind, encoding, count, due_ms: 0 }
    }

    /// How its elements lie in a whole image.
    pub fn plain(self) -> Layout {
        Layout { has_expiries: self.encoding.has_expiries(), ..self.kind.plain() }
    }

    /// Whether it has a tree when it is split: of elements, or of the fields that expire, in the order in which they do.
    pub fn has_tree(self) -> bool {
        self.kind.has_tree() || self.encoding.has_expiries()
    }

    /// Whether that is sorted.
    pub fn has_sorted_tree(self) -> bool {
        self.kind.is_sorted() || self.encoding.has_expiries()
    }

    /// Reads it off the front of a whole image or a root.
    pub fn take(bytes: &mut &[u8]) -> Option<Self> {
        let (&tag, rest) = bytes.split_first()?;
        *bytes = rest;
        let kind = Type::from_bits(tag & 0x0f)?;
        let encoding = match tag >> 4 {
            0 => Encoding::Listpack,
            1 => Encoding::Hashtable,
            2 => Encoding::Quicklist,
            3 => Encoding::Intset,
            4 if kind == Type::Hash => Encoding::ListpackEx,
            5 if kind == Type::Hash => Encoding::HashtableEx,
            _ => return None,
        };
        let count = take_varint(bytes)?;
        let due_ms = if encoding.has_expiries() { take_varint(bytes)? } else { 0 };
        Some(Self { kind, encoding, count, due_ms })
    }

    /// Whether a field of it has expired.
    pub fn is_due(self, now_ms: u64) -> bool {
        #[cfg(any(test, feature = "sim"))]
        if emberkv_log::plant::is(emberkv_log::plant::Plant::O8) {
            return false;
        }
        self.due_ms > 0 && self.due_ms <= now_ms
    }

    /// What OBJECT ENCODING says.
    pub fn encoding_name(self) -> &'static str {
        match (self.kind, self.encoding) {
            (Type::ZSet, Encoding::Hashtable) => "skiplist",
            (Type::Stream, _) => "stream",
            (_, encoding) => encoding.name(),
        }
    }

    pub fn push(self, out: &mut Vec<u8>) {
        out.push(self.kind as u8 | (self.encoding as u8) << 4);
        push_varint(out, self.count);
        if self.encoding.has_expiries() {
            push_varint(out, self.due_ms);
        }
    }
}

/// A collection in one record.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Whole<'a> {
    pub head: Head,
    /// Of a list its elements.
    pub pairs: &'a [u8],
}

impl<'a> Whole<'a> {
    /// Reads it. What no process of this kind has written is an empty hash.
    pub fn read(mut bytes: &'a [u8]) -> Self {
        let nothing = Head::new(Type::Hash, Encoding::Listpack, 0);
        let head = Head::take(&mut bytes).unwrap_or(nothing);
        Self { head, pairs: bytes }
    }

    pub fn pairs(self) -> Pairs<'a> {
        Pairs::new(self.head.plain(), self.pairs)
    }

    /// Those of a list.
    pub fn elements(self) -> Elements<'a> {
        Elements::of(self.pairs)
    }

    /// The image of these.
    pub fn write(head: Head, pairs: &[u8]) -> Vec<u8> {
        let mut out = Vec::with_capacity(pairs.len() + 4);
        head.push(&mut out);
        out.extend_from_slice(pairs);
        out
    }
}

/// Of a collection whose elements are in leaves: which, and how many.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Root {
    pub head: Head,
    /// Bytes of all elements.
    pub bytes: u64,
    pub leaves: u32,
    /// What the next new element is numbered.
    pub next: u64,
    /// Its own, which no other collection ever had (O3).
    pub id: u64,
    /// Of a kind that has one.
    pub tree: TreeRoot,
}

impl Root {
    /// Reads one. What no process of this kind has written has no leaves but one, which there is not.
    pub fn read(bytes: &[u8]) -> Self {
        Self::take(&mut &*bytes).unwrap_or(Self {
            head: Head::new(Type::Hash, Encoding::Listpack, 0),
            bytes: 0,
            leaves: 1,
            next: 0,
            id: 0,
            tree: TreeRoot::default(),
        })
    }

    /// What stands behind one in its record.
    pub fn behind(mut record: &[u8]) -> Option<&[u8]> {
        Self::take(&mut record)?;
        Some(record)
    }

    fn take(bytes: &mut &[u8]) -> Option<Self> {
        let head = Head::take(bytes)?;
        let all = take_varint(bytes)?;
        let leaves = u32::try_from(take_varint(bytes)?).ok()?;
        let next = take_varint(bytes)?;
        let (id, rest) = bytes.split_first_chunk::<8>()?;
        *bytes = rest;
        let tree = if head.has_tree() { TreeRoot::take(bytes)? } else { TreeRoot::default() };
        let is_sound = (leaves > 0) == head.kind.has_leaves();
        is_sound.then_some(Self { head, bytes: all, leaves, next, id: u64::from_le_bytes(*id), tree })
    }

    pub fn write(self) -> Vec<u8> {
        let mut out = Vec::with_capacity(32);
        self.head.push(&mut out);
        push_varint(&mut out, self.bytes);
        push_varint(&mut out, self.leaves.into());
        push_varint(&mut out, self.next);
        out.extend_from_slice(&self.id.to_le_bytes());
        if self.head.has_tree() {
            self.tree.push(&mut out);
        }
        out
    }

    /// The leaf that what has this hash is in.
    pub fn leaf_of(self, hash: u32) -> u32 {
        leaf_of(hash, self.leaves)
    }
}

/// Linear hashing: of n leaves, with 2^k <= n < 2^(k+1), those below n - 2^k and from 2^k on hold what k + 1 bits of the hash
/// say, the others what k bits say. The next leaf takes its elements from one other alone, and gives them back to that.
pub(crate) fn leaf_of(hash: u32, leaves: u32) -> u32 {
    let power = 1 << leaves.ilog2();
    let wide = hash & (power | (power - 1));
    if wide < leaves { wide } else { wide & (power - 1) }
}

/// How many bits of a hash decide that it is in this leaf.
pub(crate) fn bits_of(leaf: u32, leaves: u32) -> u32 {
    let bits = leaves.ilog2();
    let power = 1 << bits;
    if leaf >= power || leaf + power < leaves { bits + 1 } else { bits }
}

/// The leaf that shares its elements with the last of so many.
pub(crate) fn partner_of_last(leaves: u32) -> u32 {
    let last = leaves - 1;
    last - (1 << last.ilog2())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_leaf_more_takes_from_its_partner_alone() {
        for leaves in 1..200u32 {
            for hash in 0..4096 {
                let (before, after) = (leaf_of(hash, leaves), leaf_of(hash, leaves + 1));
                assert!(before < leaves);
                assert!(before == after || (after == leaves && before == partner_of_last(leaves + 1)));
                let mask = (1 << bits_of(before, leaves)) - 1;
                assert_eq!(hash & mask, before & mask, "of {leaves}");
                assert_eq!(before & mask, before);
            }
            let shares: f64 = (0..leaves).map(|leaf| 0.5f64.powi(bits_of(leaf, leaves) as i32)).sum();
            assert!((shares - 1.0).abs() < 1e-9, "{leaves} leaves hold all hashes once");
        }
    }

    #[test]
    fn a_root_is_read_as_it_was_written() {
        let head = Head::new(Type::Hash, Encoding::Hashtable, 1_000_000);
        let root = Root {
            head,
            bytes: 30_000_000,
            leaves: 80_000,
            next: 1 << 40,
            id: u64::MAX - 5,
            tree: TreeRoot::default(),
        };
        assert_eq!(Root::read(&root.write()), root);
        for end in 0..root.write().len() {
            assert_eq!(Root::read(&root.write()[..end]).head.count, 0, "a part of one is nothing");
        }
        let head = Head::new(Type::List, Encoding::Quicklist, 700);
        let tree = TreeRoot { count: 600, top: 70, height: 1, nodes: 60, next: 71 };
        let root = Root { head, bytes: 9000, leaves: 0, next: 0, id: 7, tree };
        let mut record = root.write();
        record.extend_from_slice(b"ends");
        assert_eq!(Root::read(&record), root);
        assert_eq!(Root::behind(&record), Some(&b"ends"[..]));
    }
}
