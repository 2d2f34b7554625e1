//! What a ring operation is tagged with, so that its completion finds its owner.
//!
//! ```text
//!  63    56 55          32 31             0
//! +--------+--------------+----------------+
//! |  kind  |  generation  |     index      |
//! +--------+--------------+----------------+
//! ```

/// What an operation is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub(super) enum Kind {
    /// The read of the waker's eventfd.
    Wake,
    /// A multishot accept; the index is the listener's place in the table.
    Accept,
    /// A multishot receive; the index is the connection.
    Receive,
    /// A send; the index is the connection.
    Send,
    /// The cancellation of whatever a connection has under way.
    CancelConn,
    /// The cancellation of an accept.
    CancelAccept,
    /// A disk write; the index is its place in the table.
    DiskWrite,
    /// A disk read; the same.
    DiskRead,
    /// A message to another ring; the index is its waker's place in the table. Completes only when it fails.
    Call,
    /// The message of another ring, which nothing here has asked for.
    Called,
}

const KINDS: [Kind; 10] = [
    Kind::Wake,
    Kind::Accept,
    Kind::Receive,
    Kind::Send,
    Kind::CancelConn,
    Kind::CancelAccept,
    Kind::DiskWrite,
    Kind::DiskRead,
    Kind::Call,
    Kind::Called,
];

const GENERATION_MASK: u32 = (1 << 24) - 1;

/// How often a place in a table was used, modulo 2^24: a completion that comes after its owner has left is told
/// from one of the next owner's.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Generation(u32);

impl Generation {
    pub(super) fn next(self) -> Self {
        Self((self.0 + 1) & GENERATION_MASK)
    }
}

/// See the module.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Tag {
    pub(super) kind: Kind,
    pub(super) generation: Generation,
    pub(super) index: u32,
}

impl Tag {
    pub(super) fn pack(self) -> u64 {
        u64::from(self.kind as u8) << 56 | u64::from(self.generation.0) << 32 | u64::from(self.index)
    }

    /// # Panics
    /// If `packed` is nothing that [`Tag::pack`] gave.
    pub(super) fn unpack(packed: u64) -> Self {
        Self {
            kind: KINDS[(packed >> 56) as usize],
            generation: Generation((packed >> 32) as u32 & GENERATION_MASK),
            index: packed as u32,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unpacks_what_it_packed() {
        for (i, kind) in KINDS.into_iter().enumerate() {
            assert_eq!(kind as usize, i);
            for generation in [0, 1, GENERATION_MASK] {
                for index in [0, 7, u32::MAX] {
                    let tag = Tag { kind, generation: Generation(generation), index };
                    assert_eq!(Tag::unpack(tag.pack()), tag);
                }
            }
        }
    }

    #[test]
    fn generations_wrap_around() {
        assert_eq!(Generation(GENERATION_MASK).next(), Generation(0));
    }
}
