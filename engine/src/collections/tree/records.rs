//! Nodes out of their records.

use emberkv_log::disk::Disk;

use super::super::leaf::LeafName;
use super::{NODE, Source};
use crate::lookup::{Key, TextBuf};
use crate::partition::Partition;
use crate::stop::Stop;

/// The nodes of one collection.
#[derive(Debug)]
pub(crate) struct Records<'a, D: Disk> {
    partition: &'a mut Partition<D>,
    key: Key<'a>,
    id: u64,
}

impl<D: Disk> Partition<D> {
    /// The nodes of the collection that a key has under an id.
    pub(crate) fn nodes<'a>(&'a mut self, key: Key<'a>, id: u64) -> Records<'a, D> {
        Records { partition: self, key, id }
    }
}

impl<D: Disk> Source for Records<'_, D> {
    fn look<T>(&mut self, number: u32, show: impl FnOnce(&[u8]) -> T) -> Result<T, Stop> {
        let found = self.partition.leaf(self.key.db, self.key.bytes, self.id, NODE | number)?;
        let mut buf = TextBuf::default();
        Ok(show(found.map_or(&[], |found| self.partition.text(found, &mut buf))))
    }

    fn bring(&mut self, numbers: impl Iterator<Item = u32>) -> Result<(), Stop> {
        if !self.partition.log.table().has_cold() {
            return Ok(());
        }
        let (db, key, id) = (self.key.db, self.key.bytes, self.id);
        let names = numbers.map(|number| LeafName { db, id, number: NODE | number, key }.write());
        self.partition.bring_named(names)
    }
}
