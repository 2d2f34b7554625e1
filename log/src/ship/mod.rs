//! What readers of a running log are told: the bytes of its segments, as far as they have reached the level that the sync policy
//! promises (R1). A replica is such a reader: its log is the one that it reads, record for record, at the same positions.
//!
//! The owner says what there is; any thread may read, and waits for nobody.

mod origin;
mod piece;
mod shipping;

pub(crate) use origin::Meeting;
pub use origin::{Origin, OriginLog};
pub use piece::{Piece as ShippedPiece, SegmentFacts, ShippedFrame};
pub(crate) use shipping::Shipped;
pub use shipping::{ShipError, Shipping};
