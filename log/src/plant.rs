//! Planted bugs: each takes one rule of `docs/protocol.md` out of the real code, so that a test can show
//! that it would notice. Compiled for tests and `torture` only.

use std::cell::Cell;
use std::sync::LazyLock;

macro_rules! plants {
    ($($(#[$doc:meta])* $plant:ident,)*) => {
        /// The rule that is missing.
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        pub enum Plant {
            $($(#[$doc])* $plant,)*
        }

        impl Plant {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$plant,)*];
        }
    };
}

plants! {
    /// The crc of a frame is not looked at.
    F1,
    /// Damage is taken for a torn tail.
    F2,
    /// A refill keeps the old nonce.
    F3,
    /// A start does not refill what is not known durable.
    F4,
    /// The other manifest copy is not rewritten by a start.
    S1,
    /// A segment is used before the manifest that names it is durable.
    S2,
    /// A sync covers the head's file only.
    S3,
    /// A dead segment's removal does not wait until the log is safe.
    S4,
    /// A missing segment is skipped.
    S5,
    /// A transaction is marked, and its keys unlocked, before all its parts are durable.
    X3,
    /// The manifest that a segment is left out of does not say which transactions are settled.
    X4,
    /// A part counts as settled when it is synced, though it may go with a mark before it.
    X4Safe,
    /// A start does not cut a log before the mark of a transaction that lacks a part, and believes the mark.
    X5Cut,
    /// A start skips a transaction that nobody marked, though all its parts are there.
    X5Set,
    /// Writes go on behind a mark, however long its transaction has lacked a synced part.
    X7,
    /// A free waits until the log is synced, not until the transactions before it are settled.
    F5,
    /// A start goes on in the incarnation that it finds.
    F6,
    /// Compaction moves a record without a look at whether it is the key's newest.
    C1,
    /// Compaction moves records that are not safe.
    C2,
    /// Compaction touches what a transaction has locked.
    C5,
    /// RENAME's value and its tombstone may be in two frames.
    C6,
    /// Tombstones do not keep their segment.
    T1,
    /// A tombstone is moved behind a newer value of its key.
    T2,
    /// A tombstone is not moved though an older segment exists.
    T2Drop,
    /// An expiry leaves no tombstone.
    T3,
    /// The floor of one database is not looked at.
    T4,
    /// An eviction out of the oldest segment is not said in the log.
    T5,
    /// What says that keys were evicted does not keep its segment.
    T5Keep,
    /// A checkpoint does not say which segments are on their way out.
    T5Freed,
    /// A direct read returns a key that has expired.
    D3,
    /// A direct read does not look at the gate.
    D4,
    /// A direct read of an absent key does not look at the newest tombstone.
    D5,
    /// A core reads directly what a request of the same connection, on its way, is about to write.
    D1,
    /// What a connection asks of other cores leaves some time after what it has done here can be seen.
    D7,
    /// Commands that came by socket go ahead of what other cores have said before.
    D8,
    /// Each core has a clock of its own.
    D10,
    /// What readers may be in is given back at once.
    D11,
    /// A core keeps what it reads of others in memory while it waits.
    D12,
    /// A message overtakes what its speaker has asked of other cores.
    P1,
    /// A failed sync is tried again and believed.
    E1,
    /// A log goes on behind a mark of a transaction of which a read-only one may lose a part.
    E2,
    /// In a log that is read-only, what never became durable is read all the same.
    E1Read,
    /// No segment is kept for compaction on a full disk.
    E3,
    /// What is kept for compaction has the next segment's size, whatever lives in others.
    E3Size,
    /// A checkpoint is published before the log is safe up to where it was taken.
    K1,
    /// A start takes nothing from before a checkpoint, though there were transactions that were not decided.
    K1Parts,
    /// Entries of a checkpoint whose segment is gone are loaded all the same, and nobody counts.
    K3,
    /// What changes in pages that a walk over the index has copied is left out.
    K4,
    /// Pages merge across the place that a walk over the index has come to.
    K4Merge,
    /// A checkpoint is written over the one before it.
    K6,
    /// Pages are copied with the bits that say how lately a record was read.
    K7,
    /// What is left unread of one log says nothing of transactions that another one's checkpoint settles.
    K8Horizon,
    /// A record is replayed over segments that were not read without a look at what its key has there.
    K8Replay,
    /// A segment that was not read by the start and is damaged is left as it is.
    K8Damage,
    /// The crc of a record that is read from a segment that is not in memory is not looked at.
    L7Cold,
    /// The frames of a segment that is loaded again are not checked.
    L7Load,
    /// A segment is let go of before it is synced.
    M1,
    /// A record that was read is taken for the one that was asked for without a look.
    M2,
    /// A command goes on though a record that it needs has not come.
    M3,
    /// The reply to a write does not wait for it (law 2).
    L2Write,
    /// The reply to a read does not wait for the record that it saw (law 2).
    L2Read,
    /// A record that is written ahead is part of the log before all of it is in its file (law 2).
    L2Ahead,
    /// "No such key" does not wait for the newest tombstone (law 2).
    L2Nil,
    /// Tickets may come to a partition in any order.
    X1,
    /// COPY and MOVE lock what they touch in another database as if it were in this one.
    X1Names,
    /// Nobody looks whether a watched key was changed.
    X1Watch,
    /// The room that is held for a part, or for its end, is given to others.
    X2,
    /// In a log that has failed, steps of a script are executed as far as they go.
    X2Stage,
    /// An owner says that its part of a transaction is durable before it is.
    X3Durable,
    /// A part is published as soon as it is appended.
    X3Publish,
    /// What a transaction is about to write is not counted for readers on other threads.
    D6,
    /// An owner's vote does not wait for what it has seen (law 2).
    L2Vote,
    /// A transaction that has failed is answered, and its keys unlocked, before its aborts are safe.
    X6,
    /// SWAPDB does not touch watched keys.
    X8Watch,
    /// Keys are locked by the numbers that records have of their databases.
    X8Names,
    /// FLUSHALL leaves databases swapped.
    X8Flush,
    /// Whoever will keep what it reads is noted when its command comes, before the keys are its.
    N1Reader,
    /// Records of one change of a collection may be in two frames.
    O1,
    /// A root is not written when the number of elements has changed.
    O2,
    /// Ids of collections begin anew with each life of the log.
    O3,
    /// A leaf is looked at though its record may not be in memory.
    O4,
    /// Leaves whose root is gone stay in the index.
    O5,
    /// A leaf is not locked with its collection.
    O6,
    /// A leaf lies above its database's floor whatever its position.
    O7,
    /// A hash is looked into though a field of it has expired.
    O8,
    /// Chunks whose root is still to come are swept as if it never would.
    O9,
    /// A follower goes on with whatever it has.
    R1,
    /// A follower publishes a transaction though a part of it has not come.
    R3,
    /// A follower serves what it has though what was freed meanwhile is lacking.
    R5,
    /// A follower takes all tickets for settled that it knows of nothing more to come of.
    R6,
    /// A follower waits for the end of a transaction that a start has left without one.
    R7,
    /// A follower goes on in the next segment though nothing says that the one before has ended.
    R8,
    /// A log is cut though segments were let go of because of what is cut off.
    R9Freed,
    /// A log that is cut takes transactions for settled that were so only by what is cut off.
    R9Horizon,
    /// A follower's checkpoint does not name the transactions that have no end yet.
    R10,
    /// A client that does not wait any more is served all the same.
    B1,
    /// Those who wait for a key are served at the end of the turn, after whoever came to it meanwhile.
    B2,
    /// What waits at keys of several partitions looks at them without their locks.
    B3,
    /// What goes to another partition does not keep its source from others meanwhile.
    B4,
}

thread_local! {
    static PLANTED: Cell<Option<Plant>> = const { Cell::new(None) };
}

/// Plants a bug in this thread, or takes it out again.
pub fn set(plant: Option<Plant>) {
    PLANTED.set(plant);
}

/// Whether this bug is planted, in this thread or (in a build that has it, as those of tests and torture do; any other refuses to start) by `EMBERKV_PLANT=X5Cut` in the whole process.
pub fn is(plant: Plant) -> bool {
    static WHOLE_PROCESS: LazyLock<Option<String>> = LazyLock::new(|| std::env::var("EMBERKV_PLANT").ok());
    PLANTED.get() == Some(plant) || WHOLE_PROCESS.as_ref().is_some_and(|name| *name == format!("{plant:?}"))
}
