//! The log's jobs: writes of the tail go to the driver, all else to the housekeeping thread.

use emberkv_log::{Done, Job, JobKind};

use crate::core::owned::Own;
use crate::core::shard::Shard;
use crate::driver::{DiskToken, DiskWrite, Driver};
use crate::housekeeping::{Answer, Chore, Errand, Housekeeping};

impl Shard {
    /// Ends the turn of each partition's log and hands its jobs on.
    pub fn end_log_turn<D: Driver>(&mut self, driver: &mut D, housekeeping: &Housekeeping) {
        let Some(owned) = self.owned() else { return };
        for (i, own) in owned.list.iter_mut().enumerate() {
            own.partition.log_mut().end_turn();
            own.hand_jobs_on(i, driver, housekeeping);
        }
    }

    /// Takes what the housekeeping thread has done.
    pub fn take_chore(&mut self, answer: Answer) {
        let Some(own) = self.owned().and_then(|owned| owned.list.get_mut(usize::from(answer.own))) else { return };
        match answer.done {
            Chore::Log(kind, result) => own.partition.log_mut().complete(kind, result),
            Chore::Reserved(Ok(reserve)) => {
                own.reserve_asked = false;
                own.partition.index_mut().put_reserve(reserve);
            }
            // the index maps memory itself when it must, and says so when there is none
            Chore::Reserved(Err(error)) => {
                own.reserve_asked = false;
                tracing::warn!(%error, "no memory ahead for the index");
            }
        }
    }

    /// Takes the end of a write of a tail.
    pub fn tail_written(&mut self, token: DiskToken, result: std::io::Result<()>) {
        if let Some(own) = self.owned().and_then(|owned| owned.list.get_mut(token.0 as usize)) {
            own.partition.log_mut().complete(JobKind::Write, result.map(|()| Done::Nothing));
        }
    }
}

impl Own {
    /// Writes of the tail are named by the partition's place `i`: there is one at a time.
    pub fn hand_jobs_on<D: Driver>(&mut self, i: usize, driver: &mut D, housekeeping: &Housekeeping) {
        while let Some(job) = self.partition.log_mut().next_job() {
            match job {
                Job::Write { file, offset, data, sync } => {
                    let write = DiskWrite { file, offset, data, sync };
                    driver.write(DiskToken(i as u64), self.direct.redirect(write));
                }
                read @ Job::Read { .. } => self.read(i, read, driver, housekeeping),
                other => housekeeping.ask(i, Errand::Log(other)),
            }
        }
        for index in self.partition.take_dropped() {
            housekeeping.ask(i, Errand::DropIndex(Box::new(index)));
        }
        if self.partition.index().wants_reserve() && !self.reserve_asked {
            self.reserve_asked = true;
            housekeeping.ask(i, Errand::ReserveIndex);
        }
    }
}
