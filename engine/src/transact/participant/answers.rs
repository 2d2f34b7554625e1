//! What a partition tells coordinators, when it can't be taken back any more.

use std::borrow::Cow;

use emberkv_log::LogPosition;
use emberkv_log::disk::Disk;

use super::{Step, misconf, unknown};
use crate::partition::Partition;
use crate::transact::coordinator::UNKNOWN;
use crate::transact::share::Action;
use crate::transact::{CoordinatorId, ToCoordinator};

/// An answer that waits until what it depends on can't be taken back.
#[derive(Debug)]
pub(super) struct Answer {
    to: CoordinatorId,
    message: ToCoordinator,
    position: LogPosition,
}

impl<D: Disk> Partition<D> {
    pub(super) fn answer(&mut self, to: CoordinatorId, message: ToCoordinator, position: LogPosition) {
        self.transactions.answers.push(Answer { to, message, position });
    }

    /// Hands out the answers that may leave now. Once a turn, after the log's end of the turn.
    pub fn take_answers(&mut self, mut give: impl FnMut(CoordinatorId, ToCoordinator)) {
        if self.transactions.answers.is_empty() {
            return;
        }
        let (gate, synced) = (self.log.gate(), self.log.synced());
        let mut waiting = Vec::new();
        for answer in std::mem::take(&mut self.transactions.answers) {
            let reached = match answer.message {
                // safe, whatever the policy
                ToCoordinator::Aborted { ticket, partition, .. } => {
                    answer.position <= synced && self.log.horizon().is_safe(ticket, partition)
                }
                _ => answer.position <= gate,
            };
            if reached {
                give(answer.to, answer.message);
            } else if let Some(reason) = self.log.read_only() {
                // it will never be reached
                let error = misconf(reason);
                give(answer.to, self.failed(answer.message, error));
            } else {
                waiting.push(answer);
            }
        }
        self.transactions.answers = waiting;
    }

    /// What is said in place of an answer whose position will never be reached.
    fn failed(&mut self, message: ToCoordinator, error: Cow<'static, str>) -> ToCoordinator {
        match message {
            ToCoordinator::Granted { ticket, partition, .. } => {
                let Some(open) = self.transactions.open.get_mut(&ticket) else { unknown(ticket) };
                open.step = Step::Undone;
                // what was appended without a part may be on the disk
                let is_unknown =
                    matches!(&open.share.action, Action::Run(run) if run.alone) && !open.effects.is_empty();
                let error = if is_unknown { UNKNOWN.into() } else { error };
                ToCoordinator::Refused { ticket, partition, error }
            }
            ToCoordinator::Durable { ticket, partition } => ToCoordinator::Failed { ticket, partition, error },
            ToCoordinator::Aborted { ticket, partition, .. } => {
                ToCoordinator::Aborted { ticket, partition, safe: false }
            }
            message @ (ToCoordinator::Refused { .. } | ToCoordinator::Failed { .. }) => message,
        }
    }
}
