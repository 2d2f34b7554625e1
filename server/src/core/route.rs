//! From a command's keys to the core that executes it.

use emberkv_engine::slots::partition_of;
use emberkv_engine::transact::{Route, route};
use emberkv_log::PartitionId;
use emberkv_resp::Args;
use emberkv_resp::schema::{Begin, Command, Find, KeySpec};

use crate::core::message::CoreId;

/// Which core owns which partition: they are dealt in turn.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Map {
    partitions: u16,
    cores: u16,
    me: CoreId,
}

/// Where a command is executed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Place {
    /// In a partition of this core, by its place among those.
    Own(u16),
    /// In a partition of another core, by its place among that one's.
    Away(CoreId, u16),
    /// In several partitions.
    Several,
}

/// Whether a command has one key, its first argument: nearly all that are on data have.
#[inline]
pub(crate) fn has_one_key(command: &Command) -> bool {
    matches!(command.keys, [KeySpec { begin: Begin::At(1), find: Find::Range { last: 0, .. }, .. }])
}

impl Map {
    pub fn new(partitions: u16, cores: u16, me: CoreId) -> Self {
        assert!(partitions > 0 && me.0 < cores);
        Self { partitions, cores, me }
    }

    /// How many partitions there are.
    pub fn partitions(&self) -> u16 {
        self.partitions
    }

    /// Whether there is one partition, and it is here: then there is nothing to look up.
    pub fn is_single(&self) -> bool {
        self.partitions == 1 && self.me == CoreId::FIRST
    }

    /// The number of a core's partition in the data set.
    #[inline]
    pub fn number(&self, core: CoreId, own: u16) -> u16 {
        own * self.cores + core.0
    }

    /// The core that owns a partition.
    pub fn owner(&self, partition: u16) -> CoreId {
        CoreId(partition % self.cores)
    }

    /// Where the command on data with these arguments is executed.
    /// `first`: where its first key is, if that is known.
    #[inline]
    pub fn place(&self, command: &Command, args: Args<'_>, first: Option<Place>) -> Place {
        if self.partitions == 1 {
            return self.place_of(PartitionId(0));
        }
        if has_one_key(command) {
            return first.unwrap_or_else(|| self.place_of_key(args.at(1)));
        }
        match route(command.id, args, self.partitions) {
            Route::One(partition) => self.place_of(partition),
            Route::Several => Place::Several,
        }
    }

    /// Where a key is.
    #[inline]
    pub fn place_of_key(&self, key: &[u8]) -> Place {
        self.place_of(partition_of(key, self.partitions))
    }

    #[inline]
    fn place_of(&self, partition: PartitionId) -> Place {
        let (owner, own) = (self.owner(partition.0), partition.0 / self.cores);
        if owner == self.me { Place::Own(own) } else { Place::Away(owner, own) }
    }
}
