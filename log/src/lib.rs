//! The append-only segmented log of emberkv: the database itself. It knows nothing of keys' meaning, of
//! indexes or of sockets, and reaches the file system through [`disk::Disk`] alone.
//!
//! What the bytes are: `docs/format.md`. Which rules hold and why: `docs/protocol.md`, whose ids (F2, S4,
//! ...) the comments cite.

mod address;
mod admission;
mod ahead;
mod catalog;
mod checkpoint;
mod close;
mod cold;
pub mod disk;
mod evict;
pub mod failpoint;
mod follow;
mod frame;
mod free;
mod grace;
mod header;
mod horizon;
pub mod inspect;
mod job;
mod late;
mod log;
mod manifest;
mod memory;
mod options;
mod packed;
#[cfg(any(test, feature = "sim"))]
pub mod plant;
mod prepare;
mod record;
mod recover;
mod refill;
mod residency;
mod roll;
mod room;
mod segment;
mod ship;
#[cfg(test)]
mod simulation;
mod sizes;
mod table;
mod table_reader;
mod tally;
mod turn;
mod victim;

pub use address::{
    ADDRESS_BITS, Address, AddressSplit, FileId, LogPosition, Nonce, PartitionId, SegmentSequence, SegmentSlot,
};
pub use admission::Admission;
pub use ahead::{Large, Piece, Whose};
pub use catalog::{ManifestEdit, ManifestTurn};
pub use checkpoint::{OpenPart, PartHolds, Publication, SavedPages};
pub use cold::{Bring, Brought, ColdStats};
pub use evict::EVICTED_BYTES;
pub use follow::{Followed, OpenPart as FollowedPart};
pub use grace::{Grace, protects};
pub use horizon::{Horizon, TxId};
pub use job::{CheckpointJob, Done, Job, JobKind, RefillPiece, WRITE_BLOCK, segment_name};
pub use log::{Appended, Log};
pub use manifest::{MANIFEST_NAMES, MAX_PARTITIONS};
pub use memory::SegmentMemory;
pub use options::{Options, SyncPolicy};
pub use packed::{MAX_PACKED_VALUE_BYTES, Packed};
pub use record::{DbId, Entry, Kind, MARK_BYTES, Part, Record, Value, canonical_int};
pub use recover::{CutOff, Progress, Replay, StartError, StartReport, Started, read_cut_off, start, start_follower};
pub use refill::Source;
pub use residency::{Load, Unloadable, Unread};
pub use room::{Purpose, Refusal};
pub use ship::{Origin, OriginLog, SegmentFacts, ShipError, ShippedFrame, ShippedPiece, Shipping};
pub use table::SegmentTable;
pub use table_reader::{Located, TableReader};
pub use tally::{Shape, Tally};
pub use victim::{Candidate, Debt, Place, Victim};
