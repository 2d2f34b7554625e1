//! Records that are not in memory: they are read by the driver, and who needs them waits. All others go on.

use emberkv_log::{Address, Brought, Done, Job, JobKind};
use emberkv_resp::Span;

use crate::core::connection::Stall;
use crate::core::owned::Own;
use crate::core::pipeline::Parsed;
use crate::core::route::Place;
use crate::core::shard::{Data, Shard};
use crate::driver::{ConnId, DiskRead, DiskToken, Driver};
use crate::housekeeping::{Errand, Housekeeping};

/// Longer reads are left to the housekeeping thread: to check a record of 256 KiB takes a core 20 us.
const MAX_READ_BYTES: u64 = 256 << 10;

/// Marks a read's token: those of writes are small numbers.
const READ: u64 = 1 << 63;

/// A connection whose next command waits for a record of this core's partition `own`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Awaits {
    pub conn: ConnId,
    pub own: usize,
    pub address: Address,
}

impl Own {
    /// Begins to read a record, or a part of it.
    pub fn read<D: Driver>(
        &self,
        i: usize,
        job: Job<std::sync::Arc<std::fs::File>>,
        driver: &mut D,
        housekeeping: &Housekeeping,
    ) {
        match job {
            Job::Read { address, file, offset, len } if len <= MAX_READ_BYTES => {
                let token = DiskToken(READ | (i as u64) << emberkv_log::ADDRESS_BITS | address.raw());
                driver.read(token, DiskRead { file, offset, len: len as usize });
            }
            other => housekeeping.ask(i, Errand::Log(other)),
        }
    }
}

impl Shard {
    /// Takes the end of a read.
    pub fn record_read(&mut self, token: DiskToken, result: std::io::Result<Vec<u8>>) {
        let packed = token.0 & !READ;
        let (own, raw) = (packed >> emberkv_log::ADDRESS_BITS, packed & ((1 << emberkv_log::ADDRESS_BITS) - 1));
        if let Some(own) = self.owned().and_then(|owned| owned.list.get_mut(own as usize)) {
            let brought = result.map(|bytes| Done::Brought(Brought::of(bytes)));
            own.partition.log_mut().complete(JobKind::Read(Address::from_raw(raw)), brought);
        }
    }

    /// Moves when a record has come that somebody may wait for.
    pub fn cold_arrivals(&self) -> u64 {
        match &self.data {
            Data::Ready(owned) => owned.list.iter().map(|own| own.partition.log().cold_arrivals()).sum(),
            Data::Loading { .. } => 0,
        }
    }

    /// The connections that wait no more.
    pub fn take_arrived(&mut self) -> Vec<ConnId> {
        let Data::Ready(owned) = &self.data else { return Vec::new() };
        let has_come =
            |awaits: &Awaits| owned.list.get(awaits.own).is_none_or(|own| !own.partition.is_coming(awaits.address));
        let mut arrived = Vec::new();
        self.awaiting.retain(|awaits| {
            let has_come = has_come(awaits);
            if has_come {
                arrived.push(awaits.conn);
            }
            !has_come
        });
        arrived
    }

    /// A connection's request waits for a record: those of the requests behind it are read at the same time.
    #[cold]
    pub fn bring_ahead(&mut self, conn: ConnId, buf: &[u8], spans: &[Span], behind: &[Parsed]) {
        let (Data::Ready(owned), Some(connection)) = (&mut self.data, self.connections.get_mut(conn)) else { return };
        if connection.stall != Some(Stall::Cold) {
            return;
        }
        for parsed in behind.iter().filter(|parsed| parsed.has_key()) {
            let key = parsed.first_key(buf, spans);
            if let Place::Own(own) = owned.map.place_of_key(key)
                && let Some(own) = owned.list.get_mut(usize::from(own))
            {
                own.partition.bring_ahead(connection.db, key);
            }
        }
    }
}
