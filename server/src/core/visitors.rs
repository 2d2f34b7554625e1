//! Requests of other cores' connections: executed here, in groups, and answered when what they depend on is reached.

use std::collections::{HashSet, VecDeque};

use emberkv_engine::transact::ToOwner;
use emberkv_engine::{Partition, Request, Stop, names};
use emberkv_index::Fingerprint;
use emberkv_log::PartitionId;
use emberkv_log::disk::real::RealDisk;
use emberkv_resp::Reply;

use crate::core::message::Message;
use crate::core::owned::Owned;
use crate::core::parcel::{Parcel, Run};
use crate::core::shard::{Data, Shard};
use crate::meter::{Meter, Slow};
use crate::stats::ServerStats;

/// Requests whose index rows and records are asked for together.
const GROUP: usize = 64;

/// See the module. What is here is bounded by what the other cores may have away.
#[derive(Debug, Default)]
pub(crate) struct Visitors {
    /// This turn's, not executed yet.
    #[allow(clippy::vec_box, reason = "they come and go as boxes")]
    pub arrived: Vec<Box<Parcel>>,
    /// With a request that waits for the log, or for a transaction's end.
    stalled: VecDeque<Box<Parcel>>,
    /// Executed; their answers wait for the log.
    executed: VecDeque<Box<Parcel>>,
    /// What those that are stalled keep waiting.
    blocked: Blocked,
}

impl Visitors {
    /// Whether none of them waits.
    pub fn is_idle(&self) -> bool {
        self.stalled.is_empty()
    }

    /// Whether a command has to wait, by its keys, for one that waits already.
    pub fn keeps_waiting(&self, partition: &Partition<RealDisk>, request: Request<'_>) -> bool {
        self.blocked.has_key_of(partition, request)
    }

    /// Puts a parcel where it belongs by what became of it. Who waits does not hold back the others' answers.
    fn put(&mut self, mut parcel: Box<Parcel>) {
        if !parcel.is_executed() {
            let executed = parcel.split_off(|run| run.left.is_empty());
            self.stalled.push_back(parcel);
            self.executed.extend(executed);
        } else {
            self.executed.push_back(parcel);
        }
    }
}

/// Who has to wait because a request before theirs does.
#[derive(Debug, Default)]
struct Blocked {
    /// Connections: their requests stay in order.
    clients: HashSet<u64>,
    /// Keys: their next command comes after the one that waits, whoever sends it. Its sender's later
    /// commands may have been executed elsewhere, and who has seen those must see this.
    keys: HashSet<Fingerprint>,
}

impl Shard {
    /// Executes the requests that have arrived.
    pub fn execute_arrived(&mut self) {
        if self.visitors.arrived.is_empty() {
            return;
        }
        self.has_written = true;
        let Data::Ready(owned) = &mut self.data else { return };
        let mut arrived = std::mem::take(&mut self.visitors.arrived);
        let mut from = 0;
        while from < arrived.len() {
            let (mut end, mut requests) = (from, 0);
            while end < arrived.len() && (end == from || requests + arrived[end].requests.len() <= GROUP) {
                requests += arrived[end].requests.len();
                end += 1;
            }
            prefetch(owned, &mut arrived[from..end]);
            for parcel in &mut arrived[from..end] {
                execute(owned, parcel, &mut self.visitors.blocked, &mut self.stats, &mut self.meter, self.now_ms);
            }
            from = end;
        }
        for parcel in arrived.drain(..) {
            self.visitors.put(parcel);
        }
        self.visitors.arrived = arrived;
    }

    /// Tries the requests again that waited for the log, or for records that are not in memory.
    pub fn retry_visitors(&mut self) {
        let Data::Ready(owned) = &mut self.data else { return };
        self.visitors.blocked.clear();
        for mut parcel in std::mem::take(&mut self.visitors.stalled) {
            execute(owned, &mut parcel, &mut self.visitors.blocked, &mut self.stats, &mut self.meter, self.now_ms);
            self.visitors.put(parcel);
        }
    }

    /// A coordinator's message to one of this core's partitions.
    pub fn tell_owner(&mut self, partition: PartitionId, message: ToOwner) {
        // what came before it comes before it
        self.execute_arrived();
        self.has_written = true;
        let cores = self.peers.len();
        if let Some(own) = self.owned().and_then(|owned| owned.list.get_mut(usize::from(partition.0 / cores))) {
            own.partition.receive(message);
        }
    }

    /// Sends the answers home that may go. `hopeless`: the partitions whose log will not go on; what waits for those is lost.
    pub fn answer_visitors(&mut self, hopeless: &[bool]) {
        if self.visitors.executed.is_empty() {
            return;
        }
        for mut parcel in std::mem::take(&mut self.visitors.executed) {
            let waits = |run: &mut Run| {
                let reached = run.depends.is_reached(&self.gates);
                run.is_lost = !reached && run.depends.is_hopeless(&self.gates, hopeless);
                !reached && !run.is_lost
            };
            // who only reads does not wait for another's sync
            let later = parcel.split_off(waits);
            if !parcel.runs.is_empty() {
                let home = parcel.home;
                self.stats.wakes += u64::from(self.calls.send(&self.peers, home, Message::Parcel(parcel)));
            }
            self.visitors.executed.extend(later);
        }
    }

    /// Whether a command has to wait, by its keys, for another core's that waits already.
    pub fn is_blocked(&self, partition: &Partition<RealDisk>, request: Request<'_>) -> bool {
        self.visitors.keeps_waiting(partition, request)
    }

    /// Whether other cores' requests wait for the log.
    pub fn has_stalled_visitors(&self) -> bool {
        !self.visitors.is_idle()
    }
}

impl Blocked {
    /// What is left of a run waits.
    fn note(&mut self, owned: &Owned, parcel: &mut Parcel, run: usize) {
        self.clients.insert(parcel.runs[run].client);
        for at in parcel.runs[run].left.clone() {
            let (_, own, request) = parcel.request(run, at);
            self.keys.extend(keys_of(&owned.list[usize::from(own)].partition, request));
        }
    }

    fn has_key_of(&self, partition: &Partition<RealDisk>, request: Request<'_>) -> bool {
        keys_of(partition, request).any(|key| self.keys.contains(&key))
    }

    fn clear(&mut self) {
        self.clients.clear();
        self.keys.clear();
    }
}

/// All keys of a request. One whose arguments contradict themselves has none: it is answered with an error.
fn keys_of(partition: &Partition<RealDisk>, request: Request<'_>) -> impl Iterator<Item = Fingerprint> {
    names(request).into_iter().flatten().map(move |(db, key)| partition.name(db, key))
}

/// Hash, rows, records, as in a pipeline.
fn prefetch(owned: &Owned, parcels: &mut [Box<Parcel>]) {
    for parcel in parcels.iter_mut() {
        parcel.each_key(|own, db, key| owned.list[usize::from(own)].partition.prefetch_row(db, key));
    }
    for asked in parcels.iter().flat_map(|parcel| &parcel.requests) {
        owned.list[usize::from(asked.own)].partition.prefetch_record(asked.fingerprint);
    }
}

/// A run's next request waits for a record: those of the ones behind it are read at the same time.
#[cold]
fn bring_ahead(owned: &mut Owned, parcel: &mut Parcel, run: usize) {
    for at in parcel.runs[run].left.clone().skip(1) {
        let (_, own, request) = parcel.request(run, at);
        if !request.id.command().keys.is_empty()
            && let Some(key) = request.args.get(1)
        {
            owned.list[usize::from(own)].partition.bring_ahead(request.db, key);
        }
    }
}

/// Executes what is left of a parcel, as far as it goes.
fn execute(
    owned: &mut Owned,
    parcel: &mut Parcel,
    blocked: &mut Blocked,
    stats: &mut ServerStats,
    meter: &mut Meter,
    now_ms: u64,
) {
    for i in 0..parcel.runs.len() {
        for at in parcel.runs[i].left.clone() {
            let (run, own, request) = parcel.request(i, at);
            let partition = &mut owned.list[usize::from(own)].partition;
            let is_blocked = !blocked.clients.is_empty()
                && (blocked.clients.contains(&run.client) || blocked.has_key_of(partition, request));
            let mut reply = Reply::new(&mut run.output, run.protocol);
            let (id, args) = (request.id, request.args);
            let is_alone = meter.begin(id, args, 0);
            partition.set_untouched(run.no_touch);
            let result = if is_blocked { Err(Stop::Wait) } else { partition.execute(request, &mut reply) };
            match result {
                Ok(()) => {}
                Err(Stop::Error(text)) => {
                    reply.error(&text);
                    meter.fail(id, text.as_bytes());
                }
                Err(stop @ (Stop::Wait | Stop::Locked | Stop::Cold(_))) => {
                    // what it has looked at is nobody else's concern
                    let _ = partition.take_dependency();
                    run.left.start = at;
                    if let Stop::Cold(_) = stop {
                        bring_ahead(owned, parcel, i);
                    }
                    blocked.note(owned, parcel, i);
                    break;
                }
            }
            run.depends.add(own, partition.take_dependency());
            if !is_alone {
                meter.count(id);
            } else if let Some(micros) = meter.end_alone(id, now_ms) {
                run.slow.push(Slow::new(id, args, micros, now_ms));
            }
            let number = owned.list[usize::from(own)].number;
            run.left.start = at + 1;
            if let Some(written) = parcel.requests[at as usize].written {
                owned.end_write(number, written);
            }
            stats.visits += 1;
        }
    }
}
