//! Collections under keys of any partitions, brought to where something is made of them: to the coordinator, as images.
//!
//! ```text
//!  SUNIONSTORE d a b, a in A, b in B, d in C
//!
//!             A                B                C
//!  first      image of a       image of b                       with the locks
//!  second                                       place it as d
//! ```

use emberkv_log::DbId;
use emberkv_log::disk::Disk;

use super::share::{Answer, Step};
use super::staged::Steps;
use crate::collections::{Type, WRONG_TYPE};
use crate::lookup::Key;
use crate::partition::Partition;
use crate::slots::partition_of;
use crate::stop::Stop;

/// Asks for what there is under each key, which has to be of one of these types.
pub(super) fn gather<'a>(
    db: DbId,
    keys: impl Iterator<Item = &'a [u8]>,
    kinds: &'static [Type],
    partitions: u16,
) -> Steps {
    keys.map(|key| (partition_of(key, partitions), Step::Image { db, key: key.into(), kinds })).collect()
}

/// What there is, in the order of the keys.
pub(super) fn images(answers: Vec<Answer>) -> Vec<Option<Vec<u8>>> {
    let image = |answer| if let Answer::Image(image) = answer { image } else { None };
    answers.into_iter().map(image).collect()
}

impl<D: Disk> Partition<D> {
    /// The images of these collections, if they are of one of these types; none of one that is not there.
    ///
    /// # Errors
    /// If one is of another type, and see [`Stop`].
    pub(crate) fn images(&mut self, keys: &[Key<'_>], kinds: &[Type]) -> Result<Vec<Option<Vec<u8>>>, Stop> {
        // a lookup that removes an expired key moves others in the index: removals first, then the reads
        for key in keys {
            let lookup = self.lookup(*key)?;
            self.count_read(*key, lookup);
            let is_another = |found| self.head(found).is_none_or(|head| !kinds.contains(&head.kind));
            if lookup.live().is_some_and(is_another) {
                return Err(WRONG_TYPE);
            }
        }
        // all that is needed is here before any is taken
        let roots = keys.iter().filter_map(|key| Some((*key, self.root(self.peek(*key).live()?)?)));
        let roots: Vec<_> = roots.collect();
        self.bring_roots(&roots)?;
        let mut images = Vec::with_capacity(keys.len());
        for key in keys {
            let found = self.peek(*key).live().and_then(|found| Some((found, self.head(found)?)));
            images.push(found.map(|(found, head)| self.image(*key, found, head)).transpose()?);
        }
        Ok(images)
    }
}
