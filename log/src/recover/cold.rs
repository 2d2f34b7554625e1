//! Replay over segments that were not read (K8): what a record's key may have there is brought before it is applied, as a
//! command's records are (M3).

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use crate::address::{Address, SegmentSequence, SegmentSlot};
use crate::cold::{Brought, GUESS_BYTES};
use crate::disk::Disk;
use crate::job::segment_name;
use crate::memory::SegmentMemory;
use crate::record::Record;
use crate::recover::replay::Replay;
use crate::recover::scan::Scanned;
use crate::recover::start::{StartError, io_error};
use crate::residency::Load;
use crate::table::SegmentTable;

/// After so many single reads of a segment all of it is read: that costs about as much as they did.
const SINGLE_READS: u32 = 256;

/// Segments that were read after all.
pub(crate) type Loaded = BTreeMap<SegmentSequence, Arc<SegmentMemory>>;

/// See the module.
pub(crate) struct ColdReplay<'a, D: Disk> {
    disk: &'a D,
    /// Those that are not in memory, by their first slot, and how often they were read from.
    cold: BTreeMap<SegmentSlot, (&'a Scanned<D::File>, u32)>,
    loaded: Loaded,
    addresses: Vec<Address>,
}

impl<'a, D: Disk> ColdReplay<'a, D> {
    pub fn new(disk: &'a D, scanned: &'a [Scanned<D::File>]) -> Self {
        let cold = scanned.iter().filter(|found| found.writer.is_none());
        let cold = cold.map(|found| (found.entry.slot, (found, 0))).collect();
        Self { disk, cold, loaded: Loaded::new(), addresses: Vec::new() }
    }

    /// Has everything in memory that `replay` looks at for a record.
    ///
    /// # Errors
    /// If it can't be read, or is not what it should be.
    pub fn bring_for(
        &mut self,
        record: &Record<'_>,
        table: &mut SegmentTable,
        replay: &impl Replay,
    ) -> Result<(), StartError> {
        table.kept_mut().clear();
        let mut addresses = std::mem::take(&mut self.addresses);
        replay.looks_at(record, &mut addresses);
        for address in addresses.drain(..).filter(|address| !table.is_here(*address)).collect::<Vec<_>>() {
            self.bring(address, table, replay)?;
        }
        self.addresses = addresses;
        Ok(())
    }

    /// Has the whole segment in memory whose first slot this is.
    ///
    /// # Errors
    /// If it can't be read, or is damaged.
    pub fn load(&mut self, first: SegmentSlot, table: &mut SegmentTable) -> Result<(), StartError> {
        let Some((found, _)) = self.cold.get(&first) else { return Ok(()) };
        if self.loaded.contains_key(&found.entry.sequence) {
            return Ok(());
        }
        let memory = Load::of(found).run(self.disk).map_err(io_error(&segment_name(found.entry.file)))?;
        table.make_resident(first, &memory);
        self.loaded.insert(found.entry.sequence, memory);
        Ok(())
    }

    /// Hands over the records that `replay` begins with.
    ///
    /// # Errors
    /// As above.
    pub fn begin(&mut self, table: &mut SegmentTable, replay: &mut impl Replay) -> Result<(), StartError> {
        let mut addresses = Vec::new();
        replay.begins_with(&mut addresses);
        for address in addresses {
            self.bring(address, table, replay)?;
            replay.begin_with(&table.record(address)).map_err(StartError::Replay)?;
        }
        table.kept_mut().clear();
        Ok(())
    }

    fn bring(&mut self, address: Address, table: &mut SegmentTable, replay: &impl Replay) -> Result<(), StartError> {
        if table.is_here(address) {
            return Ok(()); // its segment has just been read
        }
        let place = table.place(address).and_then(|(slot, offset)| Some((self.cold.get_mut(&slot)?, offset)));
        let Some(((found, reads), offset)) = place else { unreachable!("an entry leads to a segment") };
        let name = segment_name(found.entry.file);
        *reads += 1;
        if *reads > SINGLE_READS {
            let first = found.entry.slot;
            return self.load(first, table);
        }
        let mut len = GUESS_BYTES;
        loop {
            let mut bytes = vec![0; len.min(found.valid_end.saturating_sub(offset)) as usize];
            let read = self.disk.read_at(&found.file, offset, &mut bytes).map_err(io_error(&name))?;
            bytes.truncate(read);
            match Brought::of(bytes) {
                Brought::Record(bytes) if Record::decode(&bytes).is_some_and(|it| replay.is_its_own(address, &it)) => {
                    table.kept_mut().keep(address, bytes);
                    return Ok(());
                }
                Brought::Longer(longer) if len == GUESS_BYTES && longer > len => len = longer,
                _ => return Err(io_error(&name)(damaged(offset))),
            }
        }
    }

    /// What was read as a whole.
    pub fn ended(self, table: &mut SegmentTable) -> Loaded {
        table.kept_mut().clear();
        self.loaded
    }
}

fn damaged(at: u64) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("the record at offset {at} is damaged"))
}
