//! The log's jobs: writes of the tail go to the driver, all else to the housekeeping thread.

use emberkv_log::{Done, Job, JobKind};

use crate::core::shard::{Data, Shard};
use crate::driver::{DiskToken, DiskWrite, Driver};
use crate::housekeeping::{Answer, Errand, Housekeeping};

/// There is one write of the tail at a time.
const TAIL_WRITE: DiskToken = DiskToken(1);

impl Shard {
    /// Ends the log's turn and hands its jobs on.
    pub fn end_log_turn<D: Driver>(&mut self, driver: &mut D, housekeeping: &Housekeeping) {
        let Data::Ready(partition) = &mut self.data else { return };
        partition.log_mut().end_turn();
        while let Some(job) = partition.log_mut().next_job() {
            match job {
                Job::Write { file, offset, data, sync } => {
                    let write = DiskWrite { file, offset, data, sync };
                    driver.write(TAIL_WRITE, self.direct.redirect(write));
                }
                other => housekeeping.ask(Errand::Log(other)),
            }
        }
        for index in partition.take_dropped() {
            housekeeping.ask(Errand::DropIndex(Box::new(index)));
        }
        if partition.index().wants_reserve() && !self.reserve_asked {
            self.reserve_asked = true;
            housekeeping.ask(Errand::ReserveIndex);
        }
    }

    /// Takes what the housekeeping thread has answered.
    pub fn take_answers(&mut self, housekeeping: &Housekeeping) {
        while let Some(answer) = housekeeping.answer() {
            let Data::Ready(partition) = &mut self.data else { return };
            match answer {
                Answer::Log(kind, result) => partition.log_mut().complete(kind, result),
                Answer::Reserved(Ok(reserve)) => {
                    self.reserve_asked = false;
                    partition.index_mut().put_reserve(reserve);
                }
                // the index maps memory itself when it must, and says so when there is none
                Answer::Reserved(Err(error)) => {
                    self.reserve_asked = false;
                    tracing::warn!(%error, "no memory ahead for the index");
                }
            }
        }
    }

    /// Takes the end of a write of the tail.
    pub fn tail_written(&mut self, result: std::io::Result<()>) {
        if let Data::Ready(partition) = &mut self.data {
            partition.log_mut().complete(JobKind::Write, result.map(|()| Done::Nothing));
        }
    }
}
