//! What memory is about to be given back, and whether records that add data are let in: the budget is the caller's.

use crate::disk::Disk;
use crate::log::Log;
use crate::room::Refusal;
use crate::segment::{Life, Segment};

/// What becomes of records that add data ([`Purpose::Grow`](crate::Purpose::Grow)).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Admission {
    /// They are appended.
    Open,
    /// They wait: memory is being given back.
    Waits,
    /// They are refused.
    Refused,
}

impl<D: Disk> Log<D> {
    /// Says what becomes of records that add data from now on. What is under way is finished.
    pub fn admit(&mut self, admission: Admission) {
        if self.admission == admission {
            return;
        }
        self.admission = admission;
        self.progress += 1; // who waits hears of it
        self.update_limits();
    }

    pub(crate) fn check_admission(&self) -> Result<(), Refusal> {
        match self.admission {
            Admission::Open => Ok(()),
            Admission::Waits => Err(Refusal::Wait),
            Admission::Refused => Err(Refusal::NoMemory),
        }
    }

    /// Memory of segments that are gone, or not resident any more, and that is not given back yet.
    pub fn discarded_bytes(&self) -> u64 {
        self.table.leaving_bytes()
    }

    /// Memory of segments on their way out, and of those that are gone: it is given back soon.
    pub fn leaving_bytes(&self) -> u64 {
        let leaves = |(at, segment): &(usize, &Segment<D::File>)| match segment.life {
            Life::FreePendingSafe(..) | Life::FreePendingManifest(_) => true,
            Life::Sealed { .. } if self.dead.contains(&segment.sequence()) => {
                let needed = self.table.needed(segment.slot);
                needed.live_bytes == 0 && (*at == 0 || !needed.hides())
            }
            Life::Head | Life::Sealed { .. } => false,
        };
        let leaving = self.segments.iter().enumerate().filter(leaves);
        leaving.map(|(_, segment)| segment.memory.size()).sum::<u64>() + self.table.leaving_bytes()
    }
}
