//! Looking at a data directory that no server runs on, and mending it.
//!
//! The verdict is that of a start, because it is one: on an [`OverlayDisk`], so that it leaves no trace. What a repair would
//! change is known in the same way before anything is done.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use emberkv_engine::{Limits, Partition, RESERVED};
use emberkv_log::disk::Disk;
use emberkv_log::disk::overlay::OverlayDisk;
use emberkv_log::disk::real::{OpenError, RealDisk};
use emberkv_log::inspect;
pub use emberkv_log::inspect::{ListedSegment, Listing, SegmentFacts};
use emberkv_log::{DbId, Options, PartitionId, Progress, StartReport, SyncPolicy};

use crate::boot::random;
use crate::clock::wall_clock_ms;

/// What a start makes of a directory.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// It is served.
    Sound,
    /// A start stops, for this reason; with `--salvage yes`, or after a repair, it is served without what is lost.
    Damaged(String),
    /// A start stops, for this reason, and nothing here helps.
    BeyondRepair(String),
}

/// What was found.
#[derive(Clone, Debug)]
pub struct Examination {
    /// See [`Verdict`].
    pub verdict: Verdict,
    /// What names and manifest say.
    pub listing: Listing,
    /// What the segments hold that a start reads. Empty if it is beyond repair.
    pub facts: Vec<(PartitionId, SegmentFacts)>,
    /// What the start says, or that without what is lost.
    pub report: StartReport,
    /// Keys that are there.
    pub keys: u64,
    /// What a start makes of each checkpoint, by name. Empty if it is beyond repair.
    pub checkpoints: Vec<CheckpointFacts>,
    /// The files that a repair would write to or remove.
    changes: Vec<String>,
}

/// A checkpoint.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CheckpointFacts {
    /// Its file.
    pub name: String,
    /// Whether the next start begins with it, or why no start does.
    pub use_of_it: Result<Use, String>,
}

/// What a sound checkpoint is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Use {
    /// The next start begins with it.
    Next,
    /// Should a newer one be damaged.
    Spare,
}

/// Why nothing could be looked at.
#[derive(Debug, thiserror::Error)]
pub enum DoctorError {
    /// There is no such directory, or no data set in it.
    #[error("there is no data set in {0}")]
    Nothing(PathBuf),
    /// A server has it, or it can't be used.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The disk.
    #[error("{0}: {1}")]
    Io(PathBuf, io::Error),
    /// A repair that did not come to its end.
    #[error("the repair has failed: {0}")]
    Repair(String),
}

/// A directory that no server can use as long as this lives.
#[derive(Debug)]
pub struct Doctor {
    disk: Arc<RealDisk>,
    path: PathBuf,
}

impl Doctor {
    /// Takes the directory.
    ///
    /// # Errors
    /// If there is nothing to look at, or a server has it.
    pub fn open(path: &Path) -> Result<Self, DoctorError> {
        let nothing = || DoctorError::Nothing(path.to_owned());
        if !path.is_dir() {
            return Err(nothing());
        }
        let doctor = Self { disk: Arc::new(RealDisk::open(path)?), path: path.to_owned() };
        let listing = doctor.list()?;
        let is_empty = listing.partitions == 0 && listing.unlisted.is_empty() && listing.checkpoints.is_empty();
        if is_empty && listing.manifests.iter().all(|copy| !path.join(copy.name).exists()) {
            return Err(nothing());
        }
        Ok(doctor)
    }

    fn list(&self) -> Result<Listing, DoctorError> {
        inspect::list(self.disk.as_ref()).map_err(|error| DoctorError::Io(self.path.clone(), error))
    }

    /// Looks, and writes nothing.
    ///
    /// # Errors
    /// Those of the disk.
    pub fn examine(&self) -> Result<Examination, DoctorError> {
        let listing = self.list()?;
        let mut seen = Examination {
            verdict: Verdict::Sound,
            listing,
            facts: Vec::new(),
            report: StartReport::default(),
            keys: 0,
            checkpoints: Vec::new(),
            changes: Vec::new(),
        };
        let reason = match start(Arc::new(OverlayDisk::new(Arc::clone(&self.disk))), false) {
            Ok((partitions, report)) => {
                seen.take(&partitions, report);
                drop(partitions);
                self.judge_spare_checkpoints(&mut seen)?;
                return Ok(seen);
            }
            Err(error) => error.to_string(),
        };
        let overlay = Arc::new(OverlayDisk::new(Arc::clone(&self.disk)));
        seen.verdict = match start(Arc::clone(&overlay), true) {
            Ok((partitions, report)) => {
                seen.take(&partitions, report);
                seen.changes = overlay.changed().map_err(|error| DoctorError::Io(self.path.clone(), error))?;
                Verdict::Damaged(reason)
            }
            Err(_) => Verdict::BeyondRepair(reason),
        };
        Ok(seen)
    }

    /// A start looks at older checkpoints only if the newest is of no use. So another one is tried without those that were looked
    /// at, until none is left: the last of them has the log alone, and says whether they tell the truth.
    fn judge_spare_checkpoints(&self, seen: &mut Examination) -> Result<(), DoctorError> {
        let io = |error| DoctorError::Io(self.path.clone(), error);
        let mut led_to = vec![(seen.report.checkpoints.clone(), seen.keys)];
        while let Some((used, _)) = led_to.last()
            && !used.is_empty()
        {
            let overlay = Arc::new(OverlayDisk::new(Arc::clone(&self.disk)));
            for known in &seen.checkpoints {
                overlay.remove(&known.name).map_err(io)?;
            }
            let (partitions, report) =
                start(overlay, false).map_err(|error| io(io::Error::other(format!("without checkpoints: {error}"))))?;
            seen.note_checkpoints(&report, Use::Spare);
            led_to.push((report.checkpoints, count_keys(&partitions)));
        }
        let truth = led_to.last().map_or(seen.keys, |(_, keys)| *keys);
        for (used, keys) in led_to.iter().filter(|(_, keys)| *keys != truth) {
            for known in seen.checkpoints.iter_mut().filter(|known| used.contains(&known.name)) {
                known.use_of_it = Err(format!("it leads to {keys} keys, and the log has {truth}"));
            }
        }
        seen.keys = truth;
        seen.checkpoints.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(())
    }

    /// Sets checkpoints that no start can use aside, in a folder. Returns it and their names; `None` if all are sound.
    ///
    /// # Errors
    /// Those of the disk. If not all could be copied nothing was changed.
    pub fn set_aside_checkpoints(&self, seen: &Examination) -> Result<Option<(PathBuf, Vec<String>)>, DoctorError> {
        let useless: Vec<String> = seen.useless_checkpoints().map(|known| known.name.clone()).collect();
        if useless.is_empty() {
            return Ok(None);
        }
        let folder = self.keep_aside(&useless)?;
        let removed = useless.iter().try_for_each(|name| self.disk.remove(name)).and_then(|()| self.disk.sync_names());
        removed.map_err(|error| DoctorError::Io(self.path.clone(), error))?;
        Ok(Some((folder, useless)))
    }

    /// Makes of a damaged data set one without what is lost; the files that it changes or removes are copied to a folder first.
    /// Returns the folder and the names.
    ///
    /// # Errors
    /// Those of the disk. If not all could be copied nothing was changed.
    pub fn repair(&self, seen: &Examination) -> Result<(PathBuf, Vec<String>), DoctorError> {
        let folder = self.keep_aside(&seen.changes)?;
        let (partitions, _) =
            start(Arc::clone(&self.disk), true).map_err(|error| DoctorError::Repair(error.to_string()))?;
        for partition in partitions {
            partition.close().map_err(|error| DoctorError::Repair(error.to_string()))?;
        }
        Ok((folder, seen.changes.clone()))
    }

    /// Copies files to a new folder, durably.
    fn keep_aside(&self, names: &[String]) -> Result<PathBuf, DoctorError> {
        let folder = self.path.join(format!("lost+found-{}", wall_clock_ms()));
        let copy_all = || {
            std::fs::create_dir(&folder)?;
            for name in names {
                let to = folder.join(name);
                std::fs::copy(self.path.join(name), &to)?;
                std::fs::File::open(&to)?.sync_all()?;
            }
            std::fs::File::open(&folder)?.sync_all()?;
            std::fs::File::open(&self.path)?.sync_all()
        };
        copy_all().map_err(|error| DoctorError::Io(folder.clone(), error))?;
        Ok(folder)
    }
}

impl Examination {
    fn take<D: Disk>(&mut self, partitions: &[Partition<D>], report: StartReport) {
        for partition in partitions {
            let facts = partition.log().segment_facts();
            self.facts.extend(facts.into_iter().map(|facts| (partition.id(), facts)));
        }
        self.keys = count_keys(partitions);
        self.note_checkpoints(&report, Use::Next);
        self.report = report;
    }

    fn note_checkpoints(&mut self, report: &StartReport, used: Use) {
        let refused = report.refused.iter().map(|(name, reason)| (name, Err(reason.clone())));
        for (name, use_of_it) in refused.chain(report.checkpoints.iter().map(|name| (name, Ok(used)))) {
            if !self.checkpoints.iter().any(|known| known.name == *name) {
                self.checkpoints.push(CheckpointFacts { name: name.clone(), use_of_it });
            }
        }
    }

    /// The checkpoints that no start can use.
    pub fn useless_checkpoints(&self) -> impl Iterator<Item = &CheckpointFacts> {
        self.checkpoints.iter().filter(|known| known.use_of_it.is_err())
    }
}

fn count_keys<D: Disk>(partitions: &[Partition<D>]) -> u64 {
    let of = |partition: &Partition<D>| (0..RESERVED.0).map(|db| partition.db_stats(DbId(db)).keys).sum::<u64>();
    partitions.iter().map(of).sum()
}

type Opened<D> = (Vec<Partition<D>>, StartReport);

fn start<D: Disk>(disk: Arc<D>, salvage: bool) -> Result<Opened<D>, emberkv_engine::OpenError> {
    let options = Options {
        policy: SyncPolicy::EverySec,
        segment_size: 64 << 20, // nothing is created
        least_segment_size: 64 << 20,
        salvage,
        slow_write: None,
        load_threads: std::thread::available_parallelism().map_or(1, usize::from).min(8),
        opens_cold: false,
        follows: None,
        now_ms: wall_clock_ms,
        random: Box::new(random),
    };
    // what it holds is not to depend on a configuration
    let limits = Limits { databases: 255, max_value_bytes: usize::MAX, ..Limits::default() };
    emberkv_engine::open(disk, options, limits, 1, &Progress::default())
}
