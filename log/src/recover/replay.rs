//! From records to whoever builds something of them: each at its own place in the log.

use std::collections::BTreeSet;
use std::sync::atomic::Ordering;

use crate::address::{Address, SegmentSequence};
use crate::evict::{self, Evictions};
use crate::frame::{FRAME_HEADER_BYTES, FrameHeader, frame_boundary};
use crate::header::SEGMENT_HEADER_BYTES;
use crate::job::segment_name;
use crate::record::{Entry, Kind, Record};
use crate::recover::scan::Scanned;
use crate::recover::start::{Progress, StartError};
use crate::recover::transactions::Outcomes;
use crate::table::SegmentTable;

/// What a start hands the records of one partition to, in order.
pub trait Replay: Send {
    /// Takes a record over, and notes in the table what it refers to.
    ///
    /// # Errors
    /// In words: what keeps the data set from being served.
    fn apply(&mut self, table: &mut SegmentTable, address: Address, record: &Record<'_>) -> Result<(), String>;

    /// A record that was applied is evicted, if the key's newest is still this one.
    fn evict(&mut self, table: &mut SegmentTable, address: Address, record: &Record<'_>);

    /// Looks at the whole, once all is applied and before anything is written.
    ///
    /// # Errors
    /// As above.
    fn check(&self) -> Result<(), String> {
        Ok(())
    }
}

/// What the log itself has to know of what was replayed.
#[derive(Debug, Default)]
pub(crate) struct Replayed {
    pub records: u64,
    /// The segments that the log says are freed.
    pub freed: BTreeSet<SegmentSequence>,
    /// What was evicted out of segments that still exist.
    pub evictions: Vec<Evictions>,
}

/// Replays every record of one log, but those of transactions that did not happen.
pub(crate) fn replay_all<F>(
    scanned: &[Scanned<F>],
    table: &mut SegmentTable,
    outcomes: &Outcomes,
    progress: &Progress,
    replay: &mut impl Replay,
) -> Result<Replayed, StartError> {
    let mut replayed = Replayed::default();
    let mut followed = None;
    for (nth, found) in scanned.iter().enumerate() {
        let Some(header) = found.header else { unreachable!("a segment with valid bytes has a header") };
        table.install(found.entry.slot, found.writer.memory(), header.base);
        let bytes = found.writer.memory().closed_bytes(0..found.valid_end);
        let mut at = SEGMENT_HEADER_BYTES;
        while at < found.valid_end {
            let Some(frame) = FrameHeader::peek(bytes, at) else { break };
            let mut offset = at + FRAME_HEADER_BYTES as u64;
            let mut skipped = 0;
            for _ in 0..frame.records {
                let Some(record) = Record::decode(&bytes[offset as usize..]) else {
                    let file = segment_name(found.entry.file);
                    return Err(StartError::Inconsistent { file, reason: format!("no record at {offset}") });
                };
                let address = table.split().address(found.entry.slot, offset);
                match record.kind() {
                    Kind::Part => {
                        if let Some(part) = record.part()
                            && !outcomes.is_committed(part.txid)
                        {
                            skipped = part.records + 1; // the part itself too, below
                        }
                    }
                    Kind::Abort => table.add_floor(address), // it hides a part (T1)
                    Kind::Seal | Kind::Mark => {}
                    _ if skipped > 0 => {}
                    Kind::Freed => {
                        if let Some(Entry::Freed { sequence, .. }) = record.entry() {
                            replayed.freed.insert(sequence);
                        }
                    }
                    Kind::Evicted => {
                        if let Some(Entry::Evicted { upto }) = record.entry()
                            && let Some(of) =
                                evict::follow(&mut followed, &scanned[..=nth], table, upto, |table, at, record| {
                                    replay.evict(table, at, record);
                                })
                        {
                            table.add_floor(address); // while that segment exists (T5)
                            evict::note(&mut replayed.evictions, of, found.entry.sequence);
                        }
                    }
                    Kind::Delete => {
                        table.add_tombstone(address, record.encoded_len());
                        replay.apply(table, address, &record).map_err(StartError::Replay)?;
                    }
                    Kind::Floor => {
                        table.add_floor(address);
                        replay.apply(table, address, &record).map_err(StartError::Replay)?;
                    }
                    Kind::Put | Kind::PutInt | Kind::PutPacked => {
                        replay.apply(table, address, &record).map_err(StartError::Replay)?;
                    }
                }
                skipped = skipped.saturating_sub(1);
                offset += record.encoded_len() as u64;
            }
            replayed.records += u64::from(frame.records);
            progress.replayed.fetch_add(u64::from(frame.records), Ordering::Relaxed);
            let next = frame_boundary(frame.end(at));
            progress.replayed_bytes.fetch_add(next - at, Ordering::Relaxed);
            at = next;
        }
        progress.replayed_bytes.fetch_add(found.entry.size.saturating_sub(at), Ordering::Relaxed);
    }
    replay.check().map_err(StartError::Replay)?;
    Ok(replayed)
}
