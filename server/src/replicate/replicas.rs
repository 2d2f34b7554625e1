//! What a primary knows of those who follow it.

use emberkv_log::LogPosition;

use crate::replicate::Ships;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Replicas {
    list: Vec<Replica>,
}

/// One of them.
#[derive(Clone, Debug)]
pub(crate) struct Replica {
    /// Random: another one after each of its starts.
    pub id: u64,
    /// What it says of itself, or where it comes from.
    pub ip: String,
    pub port: u16,
    /// How many of its connections are open.
    connections: usize,
    /// When it was heard of last, in ms that this server has been up.
    pub seen_ms: u64,
    partitions: Vec<Reached>,
}

/// How far it is in one partition.
#[derive(Clone, Copy, Default, Debug)]
struct Reached {
    /// It has what lies before, as durable as its policy says.
    acked: LogPosition,
    /// When it had asked for what comes at the first position, nothing had been written between that and the second: a segment's header
    /// lies there, or nothing.
    caught_up: (LogPosition, LogPosition),
}

impl Reached {
    /// What lies before is there.
    fn position(self) -> LogPosition {
        let (at, gate) = self.caught_up;
        if self.acked >= at { self.acked.max(gate) } else { self.acked }
    }
}

impl Replica {
    /// Whether one of its connections is open.
    pub fn is_connected(&self) -> bool {
        self.connections > 0
    }

    /// Up to where it has what was written, in each partition.
    pub fn positions(&self) -> impl Iterator<Item = LogPosition> {
        self.partitions.iter().map(|reached| reached.position())
    }

    /// One number for all of them.
    pub fn offset(&self) -> u64 {
        self.positions().map(|position| position.0).sum()
    }

    fn has_reached(&self, wanted: &[LogPosition]) -> bool {
        self.partitions.len() == wanted.len()
            && self.positions().zip(wanted).all(|(position, wanted)| position >= *wanted)
    }
}

impl Replicas {
    /// A connection says that it is a replica's; `before`: which one's it was. All that there is is kept for one that is not known, until it
    /// says what it has.
    pub fn hello(&mut self, id: u64, ip: String, port: u16, before: Option<u64>, ships: &Ships, now_ms: u64) {
        let is_new = before != Some(id);
        if let Some(before) = before.filter(|_| is_new) {
            self.left(before);
        }
        let known = self.list.iter_mut().find(|replica| replica.id == id);
        match known {
            Some(replica) => {
                (replica.ip, replica.port, replica.seen_ms) = (ip, port, now_ms);
                if is_new && replica.connections == 0 {
                    // it may have to begin anew
                    replica.partitions.fill(Reached::default());
                    ships.logs().iter().for_each(|log| log.retain(id, LogPosition(0)));
                }
                replica.connections += usize::from(is_new);
            }
            None => {
                ships.logs().iter().for_each(|log| log.retain(id, LogPosition(0)));
                let partitions = vec![Reached::default(); ships.logs().len()];
                self.list.push(Replica { id, ip, port, connections: 1, seen_ms: now_ms, partitions });
            }
        }
    }

    /// A connection that has said so is closed.
    pub fn left(&mut self, id: u64) {
        if let Some(replica) = self.list.iter_mut().find(|replica| replica.id == id) {
            replica.connections = replica.connections.saturating_sub(1);
        }
    }

    /// Everything is kept that lies at `position` and behind it. `begins`: it may be less than before, as of one that begins anew; else
    /// what another connection has said meanwhile counts. Returns whether the replica is known.
    pub fn acked(
        &mut self,
        id: u64,
        partition: usize,
        position: LogPosition,
        begins: bool,
        ships: &Ships,
        now_ms: u64,
    ) -> bool {
        let Some(replica) = self.list.iter_mut().find(|replica| replica.id == id) else { return false };
        replica.seen_ms = now_ms;
        let (Some(reached), Some(log)) = (replica.partitions.get_mut(partition), ships.log(partition)) else {
            return true;
        };
        if position > reached.acked || begins && position < reached.acked {
            reached.acked = position;
            log.retain(id, position);
        }
        true
    }

    /// It has asked for what comes at `at`, and there was nothing before `gate`.
    pub fn caught_up(&mut self, id: u64, partition: usize, at: LogPosition, gate: LogPosition) {
        let replica = self.list.iter_mut().find(|replica| replica.id == id);
        if let Some(reached) = replica.and_then(|replica| replica.partitions.get_mut(partition)) {
            reached.caught_up = (at, gate);
        }
    }

    /// How many of those that are connected have reached all of these positions.
    pub fn count_reached(&self, wanted: &[LogPosition]) -> usize {
        self.connected().filter(|replica| replica.has_reached(wanted)).count()
    }

    /// Those that are connected.
    pub fn connected(&self) -> impl Iterator<Item = &Replica> {
        self.list.iter().filter(|replica| replica.is_connected())
    }

    /// How many were heard of in the last `lag_ms`.
    pub fn good(&self, now_ms: u64, lag_ms: u64) -> usize {
        self.connected().filter(|replica| now_ms.saturating_sub(replica.seen_ms) <= lag_ms).count()
    }

    /// Nothing is kept any longer for those who have been silent for so long.
    pub fn forget_silent(&mut self, ships: &Ships, now_ms: u64, timeout_ms: u64) {
        self.list.retain(|replica| {
            let stays = now_ms.saturating_sub(replica.seen_ms) <= timeout_ms;
            if !stays {
                tracing::info!(
                    ip = replica.ip,
                    port = replica.port,
                    "a replica is gone: nothing is kept for it any more"
                );
                ships.logs().iter().for_each(|log| log.forget(replica.id));
            }
            stays
        });
    }

    /// The data are others from now on: those who followed these are none of its replicas.
    pub fn clear(&mut self) {
        self.list.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_behind_which_nothing_was_written_is_as_good_as_the_gate() {
        let at = |acked, at, gate| {
            let caught_up = (LogPosition(at), LogPosition(gate));
            Reached { acked: LogPosition(acked), caught_up }.position().0
        };
        assert_eq!(at(5, 0, 0), 5);
        assert_eq!(at(5, 10, 74), 5, "it has not what it was sent");
        assert_eq!(at(10, 10, 74), 74);
        assert_eq!(at(90, 10, 74), 90);
    }
}
