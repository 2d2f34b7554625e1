//! The writing part of a start, before the manifest: what is not known durable goes into fresh files.

use std::sync::Arc;

use crate::address::{FileId, LogPosition, Nonce};
use crate::disk::Disk;
use crate::header::{PartitionId, SEGMENT_HEADER_BYTES, SegmentHeader};
use crate::job::{create_segment, segment_file, segment_name};
use crate::manifest::{Extent, Manifest};
use crate::memory::SegmentWriter;
use crate::options::Options;
use crate::recover::decide::Decision;
use crate::recover::scan::Scanned;
use crate::recover::start::{StartError, StartReport, io_error};
use crate::refill::refill;
use crate::segment::{Life, Segment};
use crate::table::SegmentTable;

/// See the module.
pub(crate) struct Opening<'a, D: Disk> {
    disk: &'a D,
    options: &'a mut Options,
    manifest: &'a Manifest,
    pub next_file: u32,
    /// Files of ordinary size that the manifest does not name: written over before new ones are made, as
    /// a sync of blocks that were written before is cheaper.
    spare_files: Vec<FileId>,
}

pub(crate) type Opened<F> = (Vec<Segment<F>>, SegmentWriter);

impl<'a, D: Disk> Opening<'a, D> {
    pub fn new(disk: &'a D, options: &'a mut Options, manifest: &'a Manifest) -> Result<Self, StartError> {
        let mut opening = Self { disk, options, manifest, next_file: 0, spare_files: Vec::new() };
        let ordinary = manifest.split.segment_size();
        for file in disk.list().map_err(io_error("the data directory"))?.iter().filter_map(|name| segment_file(name)) {
            opening.next_file = opening.next_file.max(file.0);
            let size = disk.open(&segment_name(file)).and_then(|file| disk.size(&file));
            if size.is_ok_and(|size| size == ordinary) && manifest.segments.iter().all(|entry| entry.file != file) {
                opening.spare_files.push(file);
            }
        }
        let named = manifest.segments.iter().map(|entry| entry.file.0).max().unwrap_or(0);
        opening.next_file = opening.next_file.max(named);
        Ok(opening)
    }

    fn take_file(&mut self, size: u64) -> FileId {
        if size == self.manifest.split.segment_size()
            && let Some(file) = self.spare_files.pop()
        {
            return file;
        }
        self.next_file += 1;
        FileId(self.next_file)
    }

    /// The running log's segments: those with bytes beyond what is known durable, and always the head, in
    /// fresh files (F4): a page cache that survived may yet be lost, and a failed sync leaves clean pages
    /// that lie.
    pub fn refill_all(
        &mut self,
        scanned: Vec<Scanned<D::File>>,
        decision: &Decision,
        table: &mut SegmentTable,
        report: &mut StartReport,
    ) -> Result<Opened<D::File>, StartError> {
        let mut segments = Vec::new();
        let mut head = None;
        let count = scanned.len();
        for (i, found) in scanned.into_iter().enumerate() {
            let is_head = i + 1 == count && !found.sealed && !matches!(found.entry.extent, Extent::Sealed { .. });
            let Some(header) = found.header else { unreachable!("only segments with a header are left") };
            let mut segment = Segment {
                header,
                slot: found.entry.slot,
                file: found.file,
                file_id: found.entry.file,
                size: found.entry.size,
                fillings: vec![(0, found.entry.nonce)],
                memory: Arc::clone(found.writer.memory()),
                end: found.valid_end,
                records: found.records,
                life: if is_head { Life::Head } else { Life::Sealed { listed: true } },
            };
            #[allow(unused_mut)]
            let mut refills = is_head || segment.end_position() > decision.durable;
            #[cfg(any(test, feature = "sim"))]
            if crate::plant::is(crate::plant::Plant::F4) {
                refills = false;
            }
            if refills {
                let file = self.take_file(segment.size);
                #[allow(unused_mut)]
                let mut nonce = Nonce((self.options.random)());
                #[cfg(any(test, feature = "sim"))]
                if crate::plant::is(crate::plant::Plant::F3) {
                    nonce = segment.nonce();
                }
                let name = segment_name(file);
                segment.file =
                    refill(self.disk, file, segment.size, nonce, &segment.source()).map_err(io_error(&name))?;
                (segment.file_id, segment.header.nonce) = (file, nonce);
                segment.fillings.push((segment.end, nonce));
                report.refilled += 1;
            }
            if is_head {
                head = Some(found.writer);
            }
            segments.push(segment);
        }
        let writer = match head {
            Some(writer) => writer,
            None => self.new_head(&mut segments, decision.end.position, table)?,
        };
        Ok((segments, writer))
    }

    fn new_head(
        &mut self,
        segments: &mut Vec<Segment<D::File>>,
        base: LogPosition,
        table: &mut SegmentTable,
    ) -> Result<SegmentWriter, StartError> {
        let size = self.manifest.split.segment_size();
        let file_id = self.take_file(size);
        let name = segment_name(file_id);
        let file = create_segment(self.disk, file_id, size, false).map_err(io_error(&name))?;
        let nonce = Nonce((self.options.random)());
        let mut writer = SegmentWriter::new(size).map_err(io_error(&name))?;
        let slot = table
            .free_slots(1, |_| false)
            .ok_or_else(|| StartError::Inconsistent { file: name.clone(), reason: "no segment slot is free".into() })?;
        let sequence = self.manifest.next_sequence;
        let prepared_header =
            SegmentHeader { partition: PartitionId(0), sequence, base, nonce, created_ms: (self.options.now_ms)() };
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
        });
        Ok(writer)
    }
}
