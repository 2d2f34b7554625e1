//! The writing part of a start, before the manifest: what is not known durable goes into fresh files.

use std::collections::BTreeSet;
use std::io;
use std::sync::Arc;

use crate::address::{AddressSplit, FileId, LogPosition, Nonce, PartitionId, SegmentSequence};
use crate::disk::Disk;
use crate::header::{SEGMENT_HEADER_BYTES, SegmentHeader};
use crate::horizon::TxId;
use crate::job::{WRITE_BLOCK, create_segment, segment_file, segment_name};
use crate::manifest::{Extent, LEAST_SEGMENT, Manifest};
use crate::memory::SegmentWriter;
use crate::options::{Options, SyncPolicy};
use crate::recover::decide::Decision;
use crate::recover::scan::Scanned;
use crate::recover::start::{StartError, io_error};
use crate::refill::{renonced, write_anew};
use crate::roll::is_worth_a_file;
use crate::segment::{Life, Residence, Segment};
use crate::sizes::Sizes;
use crate::table::SegmentTable;

/// So many slots are left for what comes later when a head is ended though there is room in it.
const SLOTS_LEFT: u64 = 64;

/// See the module.
pub(crate) struct Opening<'a, D: Disk> {
    disk: &'a D,
    options: &'a mut Options,
    split: AddressSplit,
    sizes: Sizes,
    pub last_file: u32,
    /// Files that hold nothing of the log, and their sizes: written over before new ones are made, as a sync of
    /// blocks that were written before is cheaper, and a full disk has no room for new ones.
    spare_files: Vec<(FileId, u64)>,
}

/// Segments that are durable in their files, the writer of the last one, and how many were written anew.
pub(crate) type Opened<F> = (Vec<Segment<F>>, SegmentWriter, usize);

/// A file that a log can't do without; what else is refilled can stay in its own when the disk is full. So it is taken
/// first, for all logs.
pub(crate) enum Claim<F> {
    /// For a new head, as the last segment is sealed, or ends here, and its size.
    NewHead(FileId, F, u64),
    /// For a head that is cut: until the manifest says so, its own has to show that more was durable than is left.
    CutHead(FileId),
    /// None.
    Nothing,
}

/// Whether the tail goes on in this segment, the last one.
fn goes_on<F>(last: &Scanned<F>) -> bool {
    !last.sealed && !matches!(last.entry.extent, Extent::Sealed { .. })
}

impl<'a, D: Disk> Opening<'a, D> {
    /// `kept` are the files that must stay as they are. What the manifest names beyond them is of no use to anybody:
    /// its file may be filled anew, under another nonce, and a start that is interrupted then decides the same again.
    pub fn new(
        disk: &'a D,
        options: &'a mut Options,
        manifest: &Manifest,
        kept: &BTreeSet<FileId>,
    ) -> Result<Self, StartError> {
        let sizes = Sizes::new(options.least_segment_size, manifest.split, manifest.sections.len());
        let mut opening = Self { disk, options, split: manifest.split, sizes, last_file: 0, spare_files: Vec::new() };
        for file in disk.list().map_err(io_error("the data directory"))?.iter().filter_map(|name| segment_file(name)) {
            opening.last_file = opening.last_file.max(file.0);
            let size = disk.open(&segment_name(file)).and_then(|file| disk.size(&file));
            if let Ok(size) = size
                && size >= LEAST_SEGMENT
                && !kept.contains(&file)
            {
                opening.spare_files.push((file, size));
            }
        }
        let named = manifest.sections.iter().flat_map(|section| &section.segments).map(|entry| entry.file.0);
        opening.last_file = opening.last_file.max(named.max().unwrap_or(0));
        Ok(opening)
    }

    /// Takes the file that the log of these segments, of which `table` says what is needed, can't do without.
    pub fn claim(&mut self, scanned: &[Scanned<D::File>], table: &SegmentTable) -> Result<Claim<D::File>, StartError> {
        let follows = self.options.follows.is_some();
        let size = self.sizes.fitting(table.live_bytes());
        let Some(last) = scanned.last().filter(|last| goes_on(last) || follows) else { return self.head_file(size) };
        if !last.is_cut && follows {
            return Ok(Claim::Nothing); // what comes next is not for this node to say
        }
        if !last.is_cut {
            // what there is of a long one would take long to write anew: it ends where it is
            let ends = is_worth_a_file(last.valid_end, last.entry.size) && self.has_slots(scanned);
            return Ok(if ends { self.head_file(size).unwrap_or(Claim::Nothing) } else { Claim::Nothing });
        }
        let file = self.take_file(last.entry.size)?;
        let name = segment_name(file);
        self.disk.create(&name, last.entry.size).map_err(io_error(&name))?;
        Ok(Claim::CutHead(file))
    }

    /// Whether one segment more leaves some slots for others.
    fn has_slots(&self, scanned: &[Scanned<D::File>]) -> bool {
        let slots = |found: &Scanned<D::File>| found.entry.size.div_ceil(self.split.segment_size());
        scanned.iter().map(slots).sum::<u64>() + SLOTS_LEFT < u64::from(self.split.slots())
    }

    fn take_file(&mut self, size: u64) -> Result<FileId, StartError> {
        if let Some(spare) = self.spare_files.iter().position(|(_, its)| *its == size) {
            return Ok(self.spare_files.swap_remove(spare).0);
        }
        self.last_file += 1;
        let file = FileId(self.last_file);
        if self.options.policy == SyncPolicy::Always {
            // written once now, so that no later sync has to commit that its blocks were
            let name = segment_name(file);
            create_segment(self.disk, file, size, true).map_err(io_error(&name))?;
        }
        Ok(file)
    }

    /// The running log's segments: those with bytes beyond what is known durable, and always the head, in
    /// fresh files (F4): a page cache that survived may yet be lost, and a failed sync leaves clean pages
    /// that lie.
    pub fn refill_all(
        &mut self,
        partition: PartitionId,
        next_sequence: SegmentSequence,
        claim: Claim<D::File>,
        scanned: Vec<Scanned<D::File>>,
        decision: &Decision,
        table: &mut SegmentTable,
    ) -> Result<Opened<D::File>, StartError> {
        let mut segments = Vec::new();
        let mut refilled = 0;
        let mut head = None;
        let count = scanned.len();
        for (i, found) in scanned.into_iter().enumerate() {
            let goes_on = goes_on(&found) || self.options.follows.is_some();
            let is_head = i + 1 == count && goes_on && !matches!(claim, Claim::NewHead(..));
            let Some(header) = found.header else { unreachable!("only segments with a header are left") };
            let (memory, residence) = match (&found.writer, &found.loaded) {
                (Some(writer), _) => (writer.memory(), Residence::Resident),
                (None, Some(memory)) => (memory, Residence::Resident),
                (None, None) => (table.nothing(), Residence::Unread),
            };
            let mut segment = Segment {
                header,
                slot: found.entry.slot,
                file: found.file,
                file_id: found.entry.file,
                size: found.entry.size,
                fillings: vec![(0, found.entry.nonce)],
                memory: Arc::clone(memory),
                end: found.valid_end,
                records: found.records,
                life: if is_head { Life::Head } else { Life::Sealed { listed: true } },
                safe_below: TxId(0),
                residence,
            };
            #[allow(unused_mut)]
            let mut refills = is_head || segment.end_position() > decision.durable;
            #[cfg(any(test, feature = "sim"))]
            if crate::plant::is(crate::plant::Plant::F4) {
                refills = false;
            }
            let settles = refills && !is_head && self.settles(&segment, decision.durable);
            if settles || refills && self.refill(&mut segment, is_head, &claim, table, &mut head)? {
                refilled += 1;
            } else if is_head {
                head = found.writer;
            }
            segments.push(segment);
        }
        let writer = match (head, claim) {
            (Some(writer), _) => writer,
            (None, Claim::NewHead(file_id, file, size)) => {
                let (sequence, base) = (next_sequence, decision.end.position);
                self.new_head(partition, sequence, (file_id, file, size), &mut segments, base, table)?
            }
            (None, _) => unreachable!("the last segment goes on, or there is a new one"),
        };
        Ok((segments, writer, refilled))
    }

    /// Makes what is not known durable of a segment so where it is: nothing will be appended to it, so that it needs no other
    /// nonce (F3), and a crash on the way leaves each sector as it was. False if the disk can't: then not in this file.
    fn settles(&self, segment: &Segment<D::File>, durable: LogPosition) -> bool {
        if self.options.salvage {
            return false; // it is not what is in the file
        }
        let from = durable.0.saturating_sub(segment.base().0).min(segment.end);
        let from = from - from % WRITE_BLOCK;
        let written = self.disk.write_at(&segment.file, from, segment.memory.closed_bytes(from..segment.end));
        written.and_then(|()| self.disk.sync(&segment.file)).is_ok()
    }

    /// Writes a segment into a fresh file; false if the disk is full and its own had to do.
    fn refill(
        &mut self,
        segment: &mut Segment<D::File>,
        is_head: bool,
        claim: &Claim<D::File>,
        table: &mut SegmentTable,
        head: &mut Option<SegmentWriter>,
    ) -> Result<bool, StartError> {
        #[allow(unused_mut)]
        let mut nonce = Nonce((self.options.random)());
        #[cfg(any(test, feature = "sim"))]
        if crate::plant::is(crate::plant::Plant::F3) {
            nonce = segment.nonce();
        }
        let old_name = segment_name(segment.file_id);
        let bytes = renonced(&segment.source(), nonce).map_err(io_error(&old_name))?;
        let taken = match claim {
            Claim::CutHead(file) if is_head => Ok(*file),
            _ => self.take_file(segment.size),
        };
        let fresh = taken.and_then(|file| {
            let written = write_anew(self.disk, file, segment.size, &bytes);
            Ok((file, written.map_err(io_error(&segment_name(file)))?))
        });
        match fresh {
            Ok((file_id, file)) => (segment.file_id, segment.file) = (file_id, file),
            Err(StartError::Io { error, .. }) if error.kind() == io::ErrorKind::StorageFull => {
                tracing::warn!(file = old_name, "the disk is full: the log's tail is written anew in its own file");
                rewrite_in_place(self.disk, segment).map_err(io_error(&old_name))?;
                return Ok(false);
            }
            Err(error) => return Err(error),
        }
        segment.header.nonce = nonce;
        segment.fillings.push((segment.end, nonce));
        if is_head {
            // from here on the head's memory is what its file holds, byte for byte
            let mut writer = SegmentWriter::new(segment.size).map_err(io_error(&old_name))?;
            writer.append(bytes.len(), |space| space.copy_from_slice(&bytes));
            writer.close_loaded();
            table.replace_memory(segment.slot, writer.memory());
            segment.memory = Arc::clone(writer.memory());
            segment.fillings = vec![(0, nonce)];
            *head = Some(writer);
        }
        Ok(true)
    }

    /// The file of a new head.
    fn head_file(&mut self, size: u64) -> Result<Claim<D::File>, StartError> {
        let created = self.take_file(size).and_then(|file| {
            let name = segment_name(file);
            Ok((file, create_segment(self.disk, file, size, false).map_err(io_error(&name))?))
        });
        let error = match created {
            Ok((file_id, file)) => return Ok(Claim::NewHead(file_id, file, size)),
            Err(error) => error,
        };
        // a full disk: the largest that there is will do
        let Some(at) = (0..self.spare_files.len()).max_by_key(|at| self.spare_files[*at].1) else { return Err(error) };
        let (file_id, size) = self.spare_files.swap_remove(at);
        let name = segment_name(file_id);
        Ok(Claim::NewHead(file_id, self.disk.open(&name).map_err(io_error(&name))?, size))
    }

    fn new_head(
        &mut self,
        partition: PartitionId,
        sequence: SegmentSequence,
        made: (FileId, D::File, u64),
        segments: &mut Vec<Segment<D::File>>,
        base: LogPosition,
        table: &mut SegmentTable,
    ) -> Result<SegmentWriter, StartError> {
        let (file_id, file, size) = made;
        let name = segment_name(file_id);
        let nonce = Nonce((self.options.random)());
        let mut writer = SegmentWriter::new(size).map_err(io_error(&name))?;
        let slot = table
            .free_slots(table.slots_for(size), |_| false)
            .ok_or_else(|| StartError::Inconsistent { file: name.clone(), reason: "no segment slot is free".into() })?;
        let prepared_header = SegmentHeader { partition, sequence, base, nonce, created_ms: (self.options.now_ms)() };
        let bytes = prepared_header.encode();
        self.disk.write_at(&file, 0, &bytes).map_err(io_error(&name))?;
        self.disk.sync(&file).map_err(io_error(&name))?;
        writer.append(bytes.len(), |space| space.copy_from_slice(&bytes));
        writer.close_loaded();
        table.install(slot, writer.memory(), base);
        segments.push(Segment {
            header: prepared_header,
            slot,
            file,
            file_id,
            size,
            fillings: vec![(0, nonce)],
            memory: Arc::clone(writer.memory()),
            end: SEGMENT_HEADER_BYTES,
            records: 0,
            life: Life::Head,
            safe_below: TxId(0),
            residence: Residence::Resident,
        });
        Ok(writer)
    }
}

/// Makes a segment durable where it is: its valid bytes are written once more, which leaves each sector as it
/// was however far a crash lets this come, and all that follows is erased, so that no frame of an earlier life
/// can come back. It takes no space; a fresh file is better only because a failed sync may have had to do with
/// this one.
fn rewrite_in_place<D: Disk>(disk: &D, segment: &Segment<D::File>) -> io::Result<()> {
    const CHUNK: u64 = 1 << 20;
    disk.write_at(&segment.file, 0, segment.memory.closed_bytes(0..segment.end))?;
    let zeros = vec![0; CHUNK as usize];
    let mut at = segment.end;
    while at < segment.size {
        let len = (segment.size - at).min(CHUNK);
        disk.write_at(&segment.file, at, &zeros[..len as usize])?;
        at += len;
    }
    disk.sync(&segment.file)
}
