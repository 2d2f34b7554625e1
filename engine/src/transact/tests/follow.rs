//! A data set of several partitions and one that follows it: what is there of a transaction is there in all partitions.

use std::sync::Arc;

use bytes::Bytes;
use emberkv_log::disk::sim::{Choices, SimDisk, SimFile};
use emberkv_log::plant::Plant;
use emberkv_log::{Job, LogPosition, Origin, Progress, ShipError, StartReport};

use super::crash::left;
use super::lives::Life;
use super::world::{World, options, start};
use crate::tests::{START_MS, State, bring_all, check_counts, contents, is_noticed, limits, lives, with_seeds};
use crate::{Partition, open_follower};

struct Replica {
    disk: SimDisk,
    partitions: Vec<Partition<SimDisk>>,
    jobs: Vec<Vec<Job<SimFile>>>,
}

fn origin(world: &mut World) -> Origin {
    (0..world.partitions.len()).for_each(|owner| world.end_turn(owner));
    let horizon = world.partitions[0].log().horizon().horizon(); // before the gates
    let logs = world.partitions.iter().map(|partition| partition.log().shipping().log().unwrap()).collect();
    let log = world.partitions[0].log();
    let (dataset, hash_seed, split) = (log.dataset(), log.hash_seed(), log.table().split());
    Origin { dataset, hash_seed, split, horizon, logs }
}

/// Reads all of a partition into memory.
fn load_all(world: &mut World, owner: usize) {
    world.partitions[owner].set_memory_budget(None);
    for _ in 0..1000 {
        let Some((sequence, _)) = world.partitions[owner].log().newest_cold() else { return };
        world.partitions[owner].log_mut().begin_load(sequence);
        while world.run_job(owner, &mut Choices::new(0)) {}
        world.partitions[owner].log_mut().tick();
    }
    panic!("a segment is never loaded");
}

/// What was seen in a life.
#[derive(Default, Debug)]
struct Seen {
    promoted: u64,
    cut: u64,
    anew: u64,
    /// Starts of the replica, and how many partitions began with a checkpoint in them.
    starts: u64,
    checkpoints: u64,
}

impl Replica {
    fn open(disk: SimDisk, world: &mut World, seed: u64) -> Self {
        Self::open_and_see(disk, world, seed).0
    }

    fn open_and_see(mut disk: SimDisk, world: &mut World, seed: u64) -> (Self, StartReport) {
        let (origin, policy) = (origin(world), world.policy);
        let (progress, mut choices) = (Progress::default(), Choices::new(seed));
        let (mut partitions, report) = loop {
            if choices.one_in(3) {
                disk.crash_after(choices.below(24));
            }
            let (disks, options) = (Arc::new(disk.clone()), options(choices.draw(), policy));
            match open_follower(disks, options, limits(usize::MAX), &origin, &progress) {
                Ok(opened) => {
                    disk.crash_after(u64::MAX >> 1); // not any more
                    break opened;
                }
                Err(_) if disk.crashed() => {
                    let power = choices.one_in(2);
                    disk = if power { disk.after_power_loss(&mut choices) } else { disk.after_kill() };
                }
                Err(error) => panic!("a legal crash stopped the start: {error}"),
            }
        };
        partitions.iter_mut().for_each(|partition| partition.begin_turn(START_MS));
        for (its, one) in partitions.iter().zip(&world.partitions) {
            one.log().shipping().retain(1, its.received());
        }
        let jobs = partitions.iter().map(|_| Vec::new()).collect();
        (Self { disk, partitions, jobs }, report)
    }

    fn pull(&mut self, world: &mut World, p: usize, most: usize) -> bool {
        let shipping = Arc::clone(world.partitions[p].log().shipping());
        let at = self.partitions[p].received();
        shipping.retain(1, at.min(self.partitions[p].log().gate()));
        let mut piece = Vec::new();
        match shipping.read(at, most, &mut piece) {
            Ok(true) => {
                let result = self.partitions[p].receive_piece(Bytes::from(piece.clone()));
                assert!(
                    result.is_ok(),
                    "at {at:?} gate {:?}: {result:?} {:?}",
                    shipping.gate(),
                    &piece[..piece.len().min(120)]
                );
            }
            Ok(false) => return false,
            Err(ShipError::NotResident) => load_all(world, p),
            Err(ShipError::Gone) => panic!("what was retained at {at:?} is gone"),
        }
        true
    }

    fn run_job(&mut self, p: usize, choices: &mut Choices) -> bool {
        while let Some(job) = self.partitions[p].log_mut().next_job() {
            self.jobs[p].push(job);
        }
        if self.jobs[p].is_empty() {
            return false;
        }
        let chosen = choices.below(self.jobs[p].len() as u64) as usize;
        let job = self.jobs[p].swap_remove(chosen);
        let result = job.run(&self.disk);
        self.partitions[p].log_mut().complete(job.kind(), result);
        true
    }

    fn step(&mut self, world: &mut World, choices: &mut Choices) {
        if choices.one_in(20) {
            self.partitions[0].note_origin(&origin(world));
        }
        let p = choices.below(self.partitions.len() as u64) as usize;
        let bytes = 1 + choices.below(20_000) as usize;
        match choices.below(10) {
            0..3 => drop(self.pull(world, p, bytes)),
            3..6 => drop(self.partitions[p].follow(bytes).unwrap()),
            6 => {
                self.partitions[p].log_mut().end_turn();
                self.partitions[p].publish();
            }
            7..9 => drop(self.run_job(p, choices)),
            _ if choices.one_in(3) => self.partitions[p].log_mut().tick(),
            _ => drop(self.partitions[p].sweep(50)),
        }
        if choices.one_in(6) {
            self.partitions[p].begin_checkpoint();
            self.partitions[p].save_some(1 + choices.below(3) as usize);
        }
    }

    /// Gets all that there is to be had.
    fn catch_up(&mut self, world: &mut World) {
        for round in 0.. {
            let stuck = || {
                let of = |partition: &Partition<SimDisk>| (partition.pieces_left(), partition.followed_parts());
                self.partitions.iter().map(of).collect::<Vec<_>>()
            };
            assert!(round < 10_000, "the replica never comes to its primary: {:?}", stuck());
            let mut more = false;
            if self.partitions.iter().any(Partition::wants_origin) {
                self.partitions[0].note_origin(&origin(world));
            }
            for p in 0..self.partitions.len() {
                more |= self.pull(world, p, 1 << 16);
                more |= self.partitions[p].follow(usize::MAX).unwrap();
                more |= self.partitions[p].pieces_left() > 0 && !self.partitions[p].has_synced();
                self.partitions[p].sweep(1000);
                self.partitions[p].log_mut().end_turn();
                while self.run_job(p, &mut Choices::new(0)) {
                    self.partitions[p].log_mut().end_turn();
                }
                self.partitions[p].log_mut().tick();
            }
            if !more && round > 5 {
                return;
            }
        }
    }

    /// Comes to what its primary is; nothing is under way there.
    fn made_equal(mut self, life: &mut Life, choices: &mut Choices) -> Self {
        self.catch_up(&mut life.world);
        if self.partitions.iter().all(Partition::has_synced) {
            self = Self::open(self.disk.after_kill(), &mut life.world, choices.draw());
            self.catch_up(&mut life.world);
        }
        let (found, expected) = (self.contents(), &life.world.model.state);
        let differs = |key: &&crate::tests::Name| found.get(*key) != expected.get(*key);
        let wrong: Vec<_> = found.keys().chain(expected.keys()).filter(differs).collect();
        assert!(wrong.is_empty(), "the replica has other {wrong:?}");
        self.partitions.iter().for_each(check_counts);
        self
    }

    fn contents(&self) -> State {
        self.partitions.iter().flat_map(contents).collect()
    }

    /// What it would be if it took its primary's place now.
    fn promoted(&self, seed: u64, world: &World) -> State {
        let disk = self.disk.after_kill();
        let mut opened = start(&disk, self.partitions.len() as u16, seed, world.policy).unwrap();
        opened.iter_mut().for_each(|partition| bring_all(partition, &mut Vec::new(), &disk));
        opened.iter().for_each(check_counts);
        opened.iter().flat_map(contents).collect()
    }

    fn written(&self) -> Vec<LogPosition> {
        self.partitions.iter().map(|partition| partition.log().written()).collect()
    }
}

/// The replica takes the place of its primary, which follows from now on, and has had what the replica has not.
fn swap(life: &mut Life, replica: &Replica, choices: &mut Choices, seen: &mut Seen) -> Replica {
    let old = &life.world.disk;
    let old = if choices.one_in(2) { old.after_power_loss(choices) } else { old.after_kill() };
    let disk = replica.disk.after_kill();
    let mut opened = start(&disk, replica.partitions.len() as u16, choices.draw(), life.world.policy).unwrap();
    let mut jobs: Vec<_> = opened.iter().map(|_| Vec::new()).collect();
    for (partition, jobs) in opened.iter_mut().zip(&mut jobs) {
        bring_all(partition, jobs, &disk);
    }
    life.base = opened.iter().flat_map(contents).collect();
    life.world.model.state = life.base.clone();
    life.world.disk = disk;
    life.world.restarted(opened);
    life.world.jobs = jobs;
    for owner in 0..life.world.partitions.len() {
        load_all(&mut life.world, owner);
    }
    for _ in 0..choices.below(200) {
        life.step();
    }
    let (replica, report) = Replica::open_and_see(old, &mut life.world, choices.draw());
    seen.cut += u64::from(!report.begins_anew && !report.cut_off.is_empty());
    seen.anew += u64::from(report.begins_anew);
    replica
}

fn live(seed: u64, seen: &mut Seen) {
    let mut life = Life::new(seed);
    life.is_resident = true;
    let mut choices = Choices::new(seed ^ 0xf0110);
    let mut replica = Replica::open(SimDisk::new(), &mut life.world, seed);
    for _ in 0..3 {
        let began: Vec<_> = life.world.partitions.iter().map(|partition| partition.log().tail()).collect();
        for _ in 0..choices.below(900) {
            life.step();
            for _ in 0..choices.below(4) {
                replica.step(&mut life.world, &mut choices);
            }
            if replica.partitions.iter().all(Partition::has_synced) || choices.one_in(200) {
                let power = choices.one_in(2);
                let disk = &replica.disk;
                let disk = if power { disk.after_power_loss(&mut choices) } else { disk.after_kill() };
                let (opened, report) = Replica::open_and_see(disk, &mut life.world, choices.draw());
                replica = opened;
                (seen.starts, seen.checkpoints) = (seen.starts + 1, seen.checkpoints + report.checkpoints.len() as u64);
            }
        }
        life.world.disk.set_capacity(None);
        if choices.one_in(2) {
            let is_there = replica.written().iter().zip(&began).all(|(written, began)| written >= began);
            if is_there && !replica.partitions.iter().any(Partition::is_syncing) {
                // whatever has come of what: all or nothing of each command
                life.world.execute_complete();
                let promoted = replica.promoted(choices.draw(), &life.world);
                let expected = left(&life.world, &life.base, &replica.written());
                let differs: Vec<_> = expected.iter().filter(|(key, held)| promoted.get(*key) != Some(*held)).collect();
                assert!(promoted == expected, "it would have other {differs:?}");
                seen.promoted += 1;
                replica = swap(&mut life, &replica, &mut choices, seen);
                continue;
            }
        } else {
            life.check();
            let is_well = life.world.partitions.iter().all(|partition| partition.log().read_only().is_none());
            if is_well && !life.world.disk.crashed() {
                replica = replica.made_equal(&mut life, &mut choices);
            }
        }
        super::crash::crash(&mut life.world, &mut life.base, seed, &mut life.choices);
        for owner in 0..life.world.partitions.len() {
            load_all(&mut life.world, owner);
        }
        replica = Replica::open(replica.disk.after_kill(), &mut life.world, choices.draw());
    }
}

/// They change places again and again, and are equal after each time.
fn changing_places(seed: u64, seen: &mut Seen) {
    let mut life = Life::new(seed);
    life.is_resident = true;
    let mut choices = Choices::new(seed ^ 0xc4a9e);
    let mut replica = Replica::open(SimDisk::new(), &mut life.world, seed);
    for _ in 0..6 {
        for _ in 0..choices.below(250) {
            life.step();
            for _ in 0..choices.below(4) {
                replica.step(&mut life.world, &mut choices);
            }
        }
        life.world.disk.set_capacity(None);
        if replica.partitions.iter().any(Partition::is_syncing) {
            replica = Replica::open(replica.disk.after_kill(), &mut life.world, choices.draw());
            continue;
        }
        seen.promoted += 1;
        replica = swap(&mut life, &replica, &mut choices, seen);
        life.check();
        let is_well = life.world.partitions.iter().all(|partition| partition.log().read_only().is_none());
        if !is_well || life.world.disk.crashed() {
            return;
        }
        replica = replica.made_equal(&mut life, &mut choices);
    }
}

#[test]
fn an_old_primary_follows_the_new_one_and_is_equal() {
    let mut seen = Seen::default();
    with_seeds(lives(40), |seed| changing_places(seed, &mut seen));
    eprintln!("{seen:?}");
    assert!(seen.cut > 2 * seen.anew, "hardly ever does an old primary go on: {seen:?}");
}

#[test]
fn changing_places_notices_each_rule_that_is_missing() {
    let live = |seed| changing_places(seed, &mut Seen::default());
    for plant in [Plant::R7, Plant::R9Horizon] {
        assert!(is_noticed(plant, 600, live), "nothing noticed that {plant:?} is missing");
    }
}

#[test]
fn a_follower_has_of_each_command_all_or_nothing() {
    let mut seen = Seen::default();
    with_seeds(lives(60), |seed| live(seed, &mut seen));
    eprintln!("{seen:?}");
    assert!(seen.promoted > 5, "hardly ever is one promoted in the middle: {seen:?}");
    assert!(seen.cut > seen.anew, "hardly ever does an old primary go on: {seen:?}");
    assert!(seen.checkpoints > seen.starts / 4, "checkpoints are hardly ever used: {seen:?}");
}

#[test]
fn a_follower_over_partitions_notices_each_rule_that_is_missing() {
    for plant in [Plant::R3, Plant::R6, Plant::R10] {
        let live = |seed| live(seed, &mut Seen::default());
        assert!(is_noticed(plant, 600, live), "nothing noticed that {plant:?} is missing");
    }
}
