//! From one head to the next: the old one is sealed, the prepared segment takes its place.

use std::sync::Arc;

use crate::address::LogPosition;
use crate::disk::Disk;
use crate::failpoint::{self, Point};
use crate::frame::frame_boundary;
use crate::header::{SEGMENT_HEADER_BYTES, SegmentHeader};
use crate::horizon::TxId;
use crate::log::{Health, Log, Unwritten};
use crate::memory::SegmentWriter;
use crate::record::Entry;
use crate::segment::{Life, Next, Prepared, Residence, Segment};

/// The part of a segment that has to be in use so that the log ends it before it is full. What is smaller is written anew instead:
/// that takes less time than it takes room to leave the rest of a file unused.
const WORTH_A_FILE: u64 = 8;

/// Whether a head with so many bytes is worth a file of its own.
pub(crate) fn is_worth_a_file(bytes: u64, segment_size: u64) -> bool {
    bytes >= segment_size / WORTH_A_FILE
}

impl<D: Disk> Log<D> {
    /// Seals the head and goes on in the prepared segment.
    ///
    /// # Panics
    /// If none is ready.
    pub(crate) fn roll(&mut self) {
        let Next::Ready(next) = std::mem::replace(&mut self.next, Next::Missing) else {
            unreachable!("the caller has looked")
        };
        let base = self.seal_head();
        self.install_head(next, base);
        self.rolled();
    }

    /// Goes on in a fresh segment if one is ready and the head is worth a file of its own: at an orderly end, so that the next
    /// start has little to read behind the checkpoint that is taken then. Whether it did.
    pub fn begin_fresh_head(&mut self) -> bool {
        let does = is_worth_a_file(self.writer.at(), self.head().size) && self.is_free_to_roll();
        if does {
            self.roll();
            failpoint::pass(Point::CloseFresh);
        }
        does
    }

    /// Whether the head may be ended though there is room in it.
    pub(crate) fn is_free_to_roll(&self) -> bool {
        let is_ready = matches!(self.next, Next::Ready(_)) && self.keeps_one();
        is_ready && self.health == Health::Good && self.held == 0 && !self.is_follower()
    }

    /// Ends the head; the position where the next one begins.
    pub(crate) fn seal_head(&mut self) -> LogPosition {
        let records = self.head().records + self.open_frame.as_ref().map_or(0, |f| u64::from(f.records));
        let live_bytes = self.table.needed(self.head().slot).live_bytes;
        self.append(&Entry::Seal { records, live_bytes });
        self.close_frame();
        let end = frame_boundary(self.writer.at());
        self.writer.skip((end - self.writer.at()) as usize);
        self.writer.close_loaded();
        if let Some(last) = self.unwritten.back_mut() {
            (last.to, last.reaches) = (end, end);
        }
        let head = self.head_mut();
        (head.life, head.end) = (Life::Sealed { listed: false }, end);
        self.is_shipping_stale = true;
        failpoint::pass(Point::SealAppended);
        self.head().end_position()
    }

    /// What follows when there is a new head.
    pub(crate) fn rolled(&mut self) {
        failpoint::pass(Point::HeadInstalled);
        self.wanted_size = 0;
        self.most_sealed = self.sizes.holding_any(&self.table);
        self.sync_soon = true;
        self.prepare_next();
        self.update_limits();
        let head = self.head();
        tracing::debug!(sequence = head.sequence().0, base = head.base().0, "rolled into the next segment");
    }

    pub(crate) fn install_head(&mut self, next: Prepared<D::File>, base: LogPosition) {
        let header = next.header(self.partition, base, (self.options.now_ms)());
        // the header goes out together with the first frame
        self.install(next, header, SEGMENT_HEADER_BYTES, 0, |mut writer| {
            writer.append(SEGMENT_HEADER_BYTES as usize, |space| space.copy_from_slice(&header.encode()));
            writer.close_loaded();
            writer
        });
    }

    /// The prepared segment is the head, with `records` in what `begin` makes of it, of which the file lacks what is
    /// before `unwritten`.
    pub(crate) fn install<W>(
        &mut self,
        next: Prepared<D::File, W>,
        header: SegmentHeader,
        unwritten: u64,
        records: u64,
        begin: impl FnOnce(W) -> SegmentWriter,
    ) {
        let writer = begin(next.writer);
        self.table.install(next.slot, writer.memory(), header.base);
        self.is_shipping_stale = true;
        let end = writer.at();
        self.unwritten.push_back(Unwritten { sequence: next.sequence, from: 0, to: unwritten, reaches: end });
        self.segments.push(Segment {
            header,
            slot: next.slot,
            file: next.file,
            file_id: next.file_id,
            size: next.size,
            fillings: vec![(0, next.nonce)],
            memory: Arc::clone(writer.memory()),
            end,
            records,
            life: Life::Head,
            safe_below: TxId(0),
            residence: Residence::Resident,
        });
        self.writer = writer;
        self.prefaulted = next.prefaulted;
        self.ticks_in_head = 0;
    }
}
