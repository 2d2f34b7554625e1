//! A partition and one that follows it, through the deaths of both.

use bytes::Bytes;
use emberkv_log::disk::Disk;
use emberkv_log::disk::sim::{Choices, SimDisk};
use emberkv_log::plant::Plant;
use emberkv_log::{LogPosition, Origin, ShipError, ShippedPiece, SyncPolicy, read_cut_off};

use super::lives::{Life, is_noticed, lives, with_seeds};
use super::rig::{Rig, words};

/// What was seen in a life.
#[derive(Default, Debug)]
struct Seen {
    compared: u64,
    resumed: u64,
    cut: u64,
    anew: u64,
    promoted: u64,
    segments: u64,
    /// Checkpoints that the replica has taken, and its starts that have begun with one, as a replica and when it was promoted.
    taken: u64,
    used: u64,
    used_promoted: u64,
}

struct Pair {
    life: Life,
    replica: Rig,
    choices: Choices,
    /// The power was lost in the middle of the replica's last start.
    lost_power: bool,
    seen: Seen,
}

impl Pair {
    fn new(seed: u64) -> Self {
        let mut life = Life::new(seed);
        life.is_resident = true;
        let mut choices = Choices::new(seed ^ 0xf0110);
        let origin = life.rig.origin();
        let replica = Rig::start_follower(SimDisk::new(), choices.draw(), life.policy, &origin).unwrap();
        Self { life, replica, choices, lost_power: false, seen: Seen::default() }
    }

    /// The replica asks for a piece and gets what there is. False if that is nothing.
    fn pull(&mut self, most: usize) -> bool {
        let shipping = self.life.rig.partition.log().shipping();
        let at = self.replica.partition.received();
        shipping.retain(1, at.min(self.replica.partition.log().gate()));
        let mut piece = Vec::new();
        match shipping.read(at, most, &mut piece) {
            Ok(true) => {
                let end = ShippedPiece::decode(&piece).unwrap().end();
                self.replica.partition.receive_piece(Bytes::from(piece)).unwrap();
                assert_eq!(self.replica.partition.received(), end);
                true
            }
            Ok(false) => false,
            Err(ShipError::NotResident) => {
                self.life.rig.load_all();
                true
            }
            Err(ShipError::Gone) => panic!("what was retained at {at:?} is gone"),
        }
    }

    fn replica_step(&mut self) {
        let bytes = 1 + self.choices.below(20_000) as usize;
        match self.choices.below(10) {
            0..3 => drop(self.pull(bytes)),
            3..6 => drop(self.follow(bytes)),
            6 => self.replica.partition.log_mut().end_turn(),
            7..9 => drop(self.replica.run_job(&mut self.choices)),
            _ if self.choices.one_in(3) => self.replica.partition.log_mut().tick(),
            _ => drop(self.replica.partition.sweep(self.choices.below(50) as usize)),
        }
        if self.choices.one_in(6) {
            let partition = &mut self.replica.partition;
            let taken = partition.checkpoint_stats().taken;
            partition.begin_checkpoint();
            partition.save_some(1 + self.choices.below(3) as usize);
            self.seen.taken += partition.checkpoint_stats().taken - taken;
        }
    }

    fn follow(&mut self, bytes: usize) -> bool {
        self.replica.pass(0);
        self.replica.partition.follow(bytes).unwrap()
    }

    /// The replica gets all that there is to be had, and is what its primary was there.
    fn catch_up(&mut self) {
        self.life.rig.settle();
        for round in 0.. {
            assert!(
                round < 10_000,
                "the replica never comes to its primary: {} pieces are left, {:?}",
                self.replica.partition.pieces_left(),
                self.replica.partition.log().no_space()
            );
            let more = self.pull(1 << 16);
            let follows = self.follow(usize::MAX);
            self.replica.partition.sweep(1000); // what is flushed may have the place of a segment that comes
            self.replica.run_all();
            if self.replica.partition.has_synced() {
                self.replica.settle();
                self.rejoin(self.replica.disk.after_kill());
                continue;
            }
            if !more && !follows && self.replica.partition.pieces_left() == 0 {
                break;
            }
            self.replica.partition.log_mut().tick();
        }
        self.replica.settle();
        let (log, its) = (self.replica.partition.log(), self.life.rig.partition.log());
        assert_eq!(its.without_header(log.tail()), its.without_header(its.gate()), "the same position");
        self.compare();
    }

    fn compare(&mut self) {
        let log = self.replica.partition.log();
        let tail = log.without_header(log.tail());
        let (found, expected) = (self.replica.contents(), self.life.state_at(tail));
        let differs = |key: &&super::Name| found.get(*key) != expected.get(*key);
        let wrong: Vec<_> = found.keys().chain(expected.keys()).filter(differs).collect();
        assert!(wrong.is_empty(), "at {tail:?} the replica has other {wrong:?}");
        for _ in 0..100_000 {
            if !self.replica.partition.sweep(1000) {
                break;
            }
        }
        self.replica.check_counts();
        self.replica.settle();
        self.seen.compared += 1;
    }

    /// The replica goes on with what is on this disk, though it dies again on the way now and then. Returns whether it begins anew.
    fn rejoin(&mut self, mut disk: SimDisk) -> bool {
        let origin = self.life.rig.origin();
        let policy = self.life.policy;
        self.lost_power = false;
        self.replica = loop {
            if self.choices.one_in(3) {
                disk.crash_after(self.choices.below(16));
            }
            match Rig::start_follower(disk.clone(), self.choices.draw(), policy, &origin) {
                Ok(replica) => {
                    disk.crash_after(u64::MAX >> 1); // not any more
                    break replica;
                }
                Err(_) if disk.crashed() => {
                    let power = self.choices.one_in(2);
                    self.lost_power |= power;
                    disk = if power { disk.after_power_loss(&mut self.choices) } else { disk.after_kill() };
                }
                Err(error) => panic!("a legal crash stopped the start: {error}"),
            }
        };
        for cut in &self.replica.cut_off {
            let pieces = read_cut_off(&disk, &cut.name()).unwrap();
            let ends = |piece: &Vec<u8>| ShippedPiece::decode(piece).unwrap().end();
            assert_eq!(pieces.last().map(ends), Some(cut.to), "it has all that was cut off");
        }
        // or one that had begun anew has died before it had anything
        let log = self.replica.partition.log();
        self.seen.used += u64::from(self.replica.from_checkpoint);
        let is_new = self.replica.began_anew || log.without_header(log.tail()) == origin.logs[0].segments[0].0.base;
        self.seen.cut += u64::from(!is_new && !self.replica.cut_off.is_empty());
        *(if is_new { &mut self.seen.anew } else { &mut self.seen.resumed }) += 1;
        is_new
    }

    fn replica_dies(&mut self) {
        let power = self.choices.one_in(2);
        let log = self.replica.partition.log();
        let (synced, written) = (log.without_header(log.synced()), log.without_header(log.written()));
        let disk = &self.replica.disk;
        let disk = if power { disk.after_power_loss(&mut self.choices) } else { disk.after_kill() };
        let is_new = self.rejoin(disk);
        let power = power || self.lost_power;
        let promised = if power { synced } else { written };
        let log = self.replica.partition.log();
        // what it has lost may be gone by now, as it was acknowledged
        let is_new = is_new && power && self.life.policy != SyncPolicy::Always;
        assert!(
            is_new || log.without_header(log.tail()) >= promised,
            "{promised:?} was acknowledged, {:?} is left, power {power}, {:?}, cut off {:?}",
            log.tail(),
            self.life.policy,
            self.replica.cut_off
        );
    }

    /// The replica takes the place of its primary, which has gone on alone for a while, and follows from now on.
    fn swap(&mut self, seed: u64, steps: u64) {
        for _ in 0..steps {
            self.life.step();
        }
        let (had, power) = (self.life.rig.partition.log().written(), self.choices.one_in(3));
        let disk = &self.life.rig.disk;
        let old = if power { disk.after_power_loss(&mut self.choices) } else { disk.after_kill() };
        self.life.moves_to(self.replica.disk.after_kill(), seed);
        self.seen.promoted += 1;
        self.seen.used_promoted += u64::from(self.life.rig.from_checkpoint);
        for _ in 0..self.choices.below(30) {
            self.life.step();
        }
        old.set_capacity(None);
        self.rejoin(old);
        let cut = self.replica.cut_off.first().filter(|_| !power && !self.lost_power);
        assert!(cut.is_none_or(|cut| cut.to.0 + 128 > had.0), "{cut:?} is kept of what ended at {had:?}");
    }
}

fn live(seed: u64) -> Seen {
    let mut pair = Pair::new(seed);
    for _ in 0..4 {
        for _ in 0..pair.choices.below(800) {
            pair.life.step();
            for _ in 0..pair.choices.below(5) {
                pair.replica_step();
            }
            if pair.choices.one_in(300) || pair.replica.partition.has_synced() {
                pair.replica_dies();
            }
        }
        pair.life.rig.disk.set_capacity(None);
        if pair.life.rig.partition.log().read_only().is_none() {
            pair.catch_up();
        }
        match pair.choices.below(3) {
            0 if pair.life.rig.partition.log().read_only().is_none() => {
                let steps = pair.choices.below(60) * pair.choices.below(4);
                pair.swap(seed, steps);
            }
            1 => pair.replica_dies(),
            _ => {
                pair.life.crash(seed);
                pair.rejoin(pair.replica.disk.after_kill());
            }
        }
        pair.seen.segments = pair.seen.segments.max(pair.replica.partition.log().segments().0 as u64);
    }
    pair.seen
}

#[test]
fn a_follower_is_what_it_follows_whichever_dies() {
    let mut all = Seen::default();
    with_seeds(lives(60), |seed| {
        let seen = live(seed);
        all.compared += seen.compared;
        all.resumed += seen.resumed;
        all.cut += seen.cut;
        all.anew += seen.anew;
        all.promoted += seen.promoted;
        (all.taken, all.used) = (all.taken + seen.taken, all.used + seen.used);
        all.used_promoted += seen.used_promoted;
        all.segments = all.segments.max(seen.segments);
    });
    eprintln!("{all:?}");
    assert!(all.used > all.taken / 20 && all.used_promoted > 10, "checkpoints are hardly ever used: {all:?}");
    assert!(all.cut > 10, "hardly ever does an old primary go on: {all:?}");
    assert!(all.resumed > all.anew / 4 && all.promoted > 10 && all.segments > 3, "{all:?}");
}

#[test]
fn a_follower_takes_no_writes() {
    let mut primary = Rig::new(1, SyncPolicy::EverySec);
    primary.run(0, &words("set a 1"));
    primary.run_all();
    let origin = primary.origin();
    let mut replica = Rig::start_follower(SimDisk::new(), 2, SyncPolicy::EverySec, &origin).unwrap();
    assert_eq!(replica.ask(0, "get a"), super::rig::NIL);
    let mut piece = Vec::new();
    let shipping = primary.partition.log().shipping();
    assert!(shipping.read(replica.partition.received(), 1 << 20, &mut piece).unwrap());
    replica.partition.receive_piece(Bytes::from(piece.clone())).unwrap();
    assert!(replica.partition.receive_piece(Bytes::from(piece)).is_err(), "once is enough");
    replica.partition.follow(usize::MAX).unwrap();
    replica.run_all();
    assert_eq!(replica.ask(0, "get a"), super::rig::bulk("1"));
    assert_eq!(replica.partition.log().tail(), primary.partition.log().tail());
    for line in ["set a 2", "del a", "lpush l 1", "hset h f v", "flushall", "incr a"] {
        assert_eq!(replica.ask(0, line), format!("-{}\r\n", crate::READ_ONLY), "{line}");
    }
    assert_eq!(replica.ask(0, "get a"), super::rig::bulk("1"));
    assert!(replica.partition.received() > LogPosition(0));
}

#[test]
fn a_follower_notices_each_rule_that_is_missing() {
    for plant in [Plant::R1, Plant::R5, Plant::R8] {
        assert!(is_noticed(plant, 400, |seed| _ = live(seed)), "nothing noticed that {plant:?} is missing");
    }
}

/// They change places again and again, and the old primary has gone on for long.
fn parting(seed: u64) {
    let mut pair = Pair::new(seed);
    for _ in 0..5 {
        pair.pull(1 << 16); // from here on it is kept
        for _ in 0..pair.choices.below(300) {
            pair.life.step();
        }
        pair.life.rig.disk.set_capacity(None);
        if pair.life.rig.partition.log().read_only().is_some() {
            return;
        }
        pair.catch_up();
        pair.swap(seed, 400);
        pair.pull(1 << 16);
        pair.life.rig.disk.set_capacity(None);
        if pair.life.rig.partition.log().read_only().is_none() {
            pair.catch_up();
        }
    }
}

#[test]
fn a_segment_that_was_freed_by_what_is_cut_off_is_noticed() {
    with_seeds(lives(10), parting);
    assert!(is_noticed(Plant::R9Freed, 200, parting), "nothing noticed that it is missing");
}

#[test]
fn what_was_never_synced_to_its_end_is_served_to_nobody() {
    let mut primary = Rig::new(1, SyncPolicy::EverySec);
    primary.run(0, &words("set a 1"));
    primary.settle();
    let origin = primary.origin();
    let with = |origin: &Origin| {
        let (disk, bytes) = (primary.disk.after_kill(), origin.encode());
        let file = disk.create("SYNCING", bytes.len() as u64).unwrap();
        disk.write_at(&file, 0, &bytes).unwrap();
        disk
    };
    let started = Rig::start(with(&origin), 2, SyncPolicy::EverySec);
    assert!(started.is_err_and(|error| error.contains("never finished")));
    // what another data set was to take the place of, and did not
    let other = Origin { dataset: origin.dataset ^ 1, ..origin };
    let mut rig = Rig::start(with(&other), 3, SyncPolicy::EverySec).unwrap();
    assert_eq!(rig.ask(0, "get a"), super::rig::bulk("1"));
    assert!(!rig.disk.list().unwrap().iter().any(|name| name == "SYNCING"));
}
