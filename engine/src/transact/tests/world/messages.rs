//! Messages between coordinators and owners, turns, and what is on the disks.

use std::collections::VecDeque;

use emberkv_log::disk::sim::{Choices, SimDisk};
use emberkv_log::{Kind, LogPosition, MARK_BYTES, TxId};
use emberkv_resp::{Output, Protocol, Reply};

use super::{Transaction, World};
use crate::Partition;
use crate::slots::partition_of;
use crate::tests::State;
use crate::transact::{Answer, Effect, Outcome, Strings, ToCoordinator, ToOwner, Vote};

impl World {
    /// Delivers the next message to an owner. False if there is none.
    pub fn deliver_to_owner(&mut self, owner: usize) -> bool {
        let Some((_, message)) = self.to_owners[owner].pop_front() else { return false };
        self.partitions[owner].receive(message);
        self.note(owner);
        true
    }

    /// What was appended for transactions.
    fn note(&mut self, owner: usize) {
        for (ticket, kind, end) in std::mem::take(&mut self.partitions[owner].transactions.trace) {
            let id = self.change_of(ticket);
            if kind == Kind::Part && self.transactions.get(&ticket).is_some_and(|transaction| transaction.alone) {
                self.changes[id].writers = 1;
                self.happens(ticket);
            }
            let change = &mut self.changes[id];
            match kind {
                Kind::Part => change.parts.push((owner, end)),
                Kind::Mark => change.marks.push((owner, end)),
                _ => change.aborts.push((owner, end)),
            }
        }
    }

    /// The model executes a transaction.
    fn happens(&mut self, ticket: TxId) {
        let Transaction { db, words, .. } = &self.transactions[&ticket];
        let (db, words) = (*db, words.clone());
        let (expected, seen, change) = self.execute(db, &words, Some(ticket));
        let transaction = self.transactions.get_mut(&ticket).unwrap();
        (transaction.expected, transaction.seen, transaction.change) = (Some(expected), seen, change);
    }

    /// Delivers the next message to a coordinator. False if there is none.
    pub fn deliver_to_coordinator(&mut self, core: usize, choices: &mut Choices) -> bool {
        let Some((_, message)) = self.to_coordinators[core].pop_front() else { return false };
        let ticket = message.ticket();
        let is_refusal = matches!(message, ToCoordinator::Refused { .. } | ToCoordinator::Failed { .. });
        let is_broken = is_broken(&message);
        let mut effects = Vec::new();
        self.coordinators[core].receive(message, &mut effects);
        if let Some(transaction) = self.transactions.get_mut(&ticket)
            && transaction.votes_left > 0
        {
            transaction.votes_left -= 1;
            assert!(!is_broken || transaction.alone, "one step has failed, and others have not");
            transaction.refused |= is_refusal || is_broken;
            let is_run = |effect: &&Effect<usize>| matches!(effect, Effect::Send { message: ToOwner::Run { .. }, .. });
            let rounds = effects.iter().filter(is_run).count();
            if rounds > 0 {
                transaction.votes_left = rounds; // of the next round
            } else if transaction.votes_left == 0 && !transaction.refused && transaction.expected.is_none() {
                self.happens(ticket); // all locks are held
            }
        }
        for effect in effects {
            match effect {
                Effect::Send { to, message } => {
                    if let ToOwner::Write { ticket, participants } = &message {
                        let id = self.by_ticket[ticket];
                        self.changes[id].writers = participants.len();
                    }
                    self.push_to_owner(core, usize::from(to.0), message, choices);
                }
                Effect::Finish { client, outcome } => self.finish_transaction(ticket, client, &outcome),
                Effect::Decided(ticket) => self.partitions[0].log().horizon().decided(ticket),
            }
        }
        true
    }

    /// A message may overtake those of others, but no LOCK does, and none of its sender.
    fn push_to_owner(&mut self, core: usize, owner: usize, message: ToOwner, choices: &mut Choices) {
        let inbox = &mut self.to_owners[owner];
        let least = inbox.iter().rposition(|(from, _)| *from == core).map_or(0, |at| at + 1);
        let at = least + choices.below((inbox.len() - least) as u64 + 1) as usize;
        inbox.insert(at, (core, message));
    }

    fn finish_transaction(&mut self, ticket: TxId, client: usize, outcome: &Outcome) {
        let transaction = self.transactions.remove(&ticket).unwrap();
        self.finish(client);
        if let Outcome::Error(text) = outcome {
            let failed = |p: &Partition<SimDisk>| p.log().read_only().is_some() || p.log().no_space().is_some();
            // what failed may be well again by now
            let failed = text.contains("simulated") || self.partitions.iter().any(failed);
            let is_full = text.starts_with("OOM") && self.partitions.iter().any(|p| p.spill.is_full);
            assert!(is_full || text.starts_with("MISCONF") && failed, "{text}");
            if let Some(id) = self.by_ticket.get(&ticket) {
                self.changes[*id].must_not = !text.contains("unknown");
            }
            // what is alone in its partition is there, on the disk or not
            let Some(id) = transaction.change.filter(|_| !transaction.alone) else { return };
            for ((key, old, _), replaced) in self.changes[id].keys.iter().zip(&self.changes[id].replaced) {
                match old {
                    Some(held) => self.model.state.insert(key.clone(), held.clone()),
                    None => self.model.state.remove(key),
                };
                match replaced {
                    Some(replaced) => self.newest.insert(key.clone(), *replaced),
                    None => self.newest.remove(key),
                };
            }
            return;
        }
        if transaction.refused {
            return; // a line of it says so
        }
        let mut output = Output::new();
        outcome.write(&mut Reply::new(&mut output, Protocol::Resp2));
        let reply = output.to_vec();
        let name = transaction.words[0].to_ascii_lowercase();
        match name.as_slice() {
            b"keys" => {
                let Outcome::Keys(found) = outcome else { panic!("{outcome:?}") };
                let mut found: Vec<&[u8]> = found.iter().flat_map(Strings::iter).collect();
                found.sort_unstable();
                let found: Vec<u8> = found.iter().flat_map(|key| [*key, b"\n"].concat()).collect();
                assert_eq!(Some(found), transaction.expected);
            }
            b"randomkey" => {
                let keys = transaction.expected.unwrap_or_default();
                let mut keys = keys.split(|byte| *byte == b'\n').filter(|key| !key.is_empty());
                match outcome {
                    Outcome::Key(Some(drawn)) => assert!(keys.any(|key| *key == **drawn)),
                    other => assert!(*other == Outcome::Key(None) && keys.next().is_none()),
                }
            }
            _ => assert!(
                transaction.expected.as_ref() == Some(&reply),
                "{:?} replied {} and not {}",
                transaction.words.iter().map(|word| word.escape_ascii().to_string()).collect::<Vec<_>>(),
                reply.escape_ascii(),
                transaction.expected.unwrap_or_default().escape_ascii()
            ),
        }
        self.saw(&transaction.seen);
        if let Some(id) = transaction.change
            && self.changes[id].writers > 0
        {
            self.changes[id].must = true;
        }
    }

    /// Waiting transactions of a partition go on.
    pub fn progress(&mut self, owner: usize) {
        self.partitions[owner].progress_transactions();
        self.note(owner);
    }

    /// A partition's turn ends: what was appended is written, and what waited for that leaves.
    pub fn end_turn(&mut self, owner: usize) {
        let partition = &mut self.partitions[owner];
        partition.log_mut().end_turn();
        partition.publish();
        let inboxes = &mut self.to_coordinators;
        partition.take_answers(|to, message| inboxes[usize::from(to.0)].push_back((owner, message)));
        self.note(owner);
        self.release(owner);
    }

    /// Carries out one of a partition's jobs. False if there are none.
    pub fn run_job(&mut self, owner: usize, choices: &mut Choices) -> bool {
        let jobs = &mut self.jobs[owner];
        while let Some(job) = self.partitions[owner].log_mut().next_job() {
            jobs.push(job);
        }
        if jobs.is_empty() {
            return false;
        }
        let job = jobs.swap_remove(choices.below(jobs.len() as u64) as usize);
        let result = job.run(&self.disk);
        self.partitions[owner].log_mut().complete(job.kind(), result);
        true
    }

    /// Lets everything go its way in good order until nobody waits any more, or the disk has crashed. False if somebody
    /// waits for ever.
    pub fn settle(&mut self, choices: &mut Choices) -> bool {
        for round in 0..200 {
            for owner in 0..self.partitions.len() {
                while self.deliver_to_owner(owner) {}
                (0..self.clients.len()).for_each(|client| self.try_again(client));
                self.partitions[owner].compact(true); // there may be room that it is to make
                self.progress(owner);
                self.end_turn(owner);
                while self.run_job(owner, choices) {}
                if round % 5 == 4 {
                    self.partitions[owner].log_mut().tick();
                }
            }
            for core in 0..self.coordinators.len() {
                while self.deliver_to_coordinator(core, choices) {}
            }
            let stuck = |partition: &Partition<SimDisk>| partition.log().read_only().is_some();
            let idle = self.clients.iter().all(|client| client.doing.is_none())
                && self.to_owners.iter().all(VecDeque::is_empty)
                && (self.partitions.iter().any(stuck)
                    || self.partitions.iter().all(|partition| partition.locks.is_empty()));
            if self.disk.crashed() || idle && round > 10 {
                return true;
            }
        }
        false
    }

    /// Brings all records that are not in memory.
    pub fn bring_all(&mut self) {
        for (partition, jobs) in self.partitions.iter_mut().zip(&mut self.jobs) {
            crate::tests::bring_all(partition, jobs, &self.disk);
        }
    }

    /// All keys, as lookups find them.
    pub fn contents(&self) -> State {
        let mut state = State::new();
        for partition in &self.partitions {
            for (key, held) in crate::tests::contents(partition) {
                let owner = partition_of(&key.1, self.count());
                assert_eq!(owner, partition.id(), "a key in the wrong partition");
                state.insert(key, held);
            }
        }
        state
    }

    /// Where each log would end if a power loss took all that is not synced (X5).
    pub fn safe(&self) -> Vec<LogPosition> {
        let mut ends: Vec<_> = self.partitions.iter().map(|partition| partition.log().synced()).collect();
        loop {
            let before = ends.clone();
            for change in &self.changes {
                let lost = change.parts.iter().any(|(p, end)| *end > ends[*p]);
                for (p, end) in change.marks.iter().filter(|_| lost) {
                    let begin = LogPosition(end.0 - MARK_BYTES as u64);
                    ends[*p] = ends[*p].min(begin);
                }
            }
            if ends == before {
                return ends;
            }
        }
    }
}

/// Whether a line of a script has met a log that has failed: it can't be read what never became durable (E1).
fn is_broken(message: &ToCoordinator) -> bool {
    let ToCoordinator::Granted { vote: Vote::Ran(ran), .. } = message else { return false };
    ran.answers.iter().any(|answer| match answer {
        Answer::Reply(bytes) => bytes.starts_with(b"-MISCONF"),
        Answer::Error(text) => text.starts_with("MISCONF"),
        Answer::Vote(_) | Answer::Held(_) | Answer::Image(_) | Answer::Member(_) | Answer::List(_) => false,
    })
}
