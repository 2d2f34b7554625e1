//! An orderly end.

use std::io;
use std::sync::Arc;

use crate::catalog::ManifestEdit;
use crate::disk::Disk;
use crate::failpoint::{self, Point};
use crate::log::{Health, Log};
use crate::segment::Next;

impl<D: Disk> Log<D> {
    /// Writes and syncs everything, blocking: for an orderly end. The manifest then says so, and damage is told from a torn
    /// tail wherever it is. Jobs that are under way need not be waited for, but for one of the manifest.
    ///
    /// # Errors
    /// Those of the disk, and what made the log read-only.
    pub fn close(mut self) -> io::Result<()> {
        if self.health != Health::Good {
            let reason = self.read_only().unwrap_or("the log was being written anew after an error");
            return Err(io::Error::other(reason.to_owned()));
        }
        if let Some((part, ..)) = self.writing.take() {
            self.unwritten.push_front(part);
        }
        self.flush()?;
        self.synced = self.tail();
        self.after_sync();
        failpoint::pass(Point::CloseWritten);
        // nobody has to look whether there is anything in a segment that is not named
        let had_next = !matches!(std::mem::replace(&mut self.next, Next::Missing), Next::Missing);
        if self.listed_durable < self.synced || self.manifest_dirty || had_next {
            let catalog = Arc::clone(&self.catalog);
            let edit = ManifestEdit { catalog, partition: self.partition, section: self.section() };
            edit.run(self.disk.as_ref())?;
        }
        failpoint::pass(Point::CloseDone);
        Ok(())
    }

    /// Writes and syncs everything, blocking.
    ///
    /// # Errors
    /// Those of the disk.
    pub(crate) fn flush(&mut self) -> io::Result<()> {
        self.close_frame();
        for part in std::mem::take(&mut self.unwritten) {
            if let Some(segment) = self.segments.iter().find(|s| s.sequence() == part.sequence) {
                let bytes = segment.memory.closed_bytes(part.from..part.to);
                self.disk.write_at(&segment.file, part.from, bytes)?;
            }
        }
        for segment in self.segments.iter().filter(|segment| segment.end_position() > self.synced) {
            self.disk.sync(&segment.file)?;
        }
        Ok(())
    }
}
