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
    /// The files that a repair would write to or remove.
    changes: Vec<String>,
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
        let is_empty = listing.partitions == 0 && listing.unlisted.is_empty();
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
            changes: Vec::new(),
        };
        let reason = match start(Arc::new(OverlayDisk::new(Arc::clone(&self.disk))), false) {
            Ok((partitions, report)) => {
                seen.take(&partitions, report);
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

    /// Makes of a damaged data set one without what is lost; the files that it changes or removes are copied to a folder first.
    /// Returns the folder and the names.
    ///
    /// # Errors
    /// Those of the disk. If not all could be copied nothing was changed.
    pub fn repair(&self, seen: &Examination) -> Result<(PathBuf, Vec<String>), DoctorError> {
        let folder = self.path.join(format!("lost+found-{}", wall_clock_ms()));
        let keep_aside = || {
            std::fs::create_dir(&folder)?;
            for name in &seen.changes {
                let to = folder.join(name);
                std::fs::copy(self.path.join(name), &to)?;
                std::fs::File::open(&to)?.sync_all()?;
            }
            std::fs::File::open(&folder)?.sync_all()?;
            std::fs::File::open(&self.path)?.sync_all()
        };
        keep_aside().map_err(|error| DoctorError::Io(folder.clone(), error))?;
        let (partitions, _) =
            start(Arc::clone(&self.disk), true).map_err(|error| DoctorError::Repair(error.to_string()))?;
        for partition in partitions {
            partition.close().map_err(|error| DoctorError::Repair(error.to_string()))?;
        }
        Ok((folder, seen.changes.clone()))
    }
}

impl Examination {
    fn take<D: Disk>(&mut self, partitions: &[Partition<D>], report: StartReport) {
        for partition in partitions {
            let facts = partition.log().segment_facts();
            self.facts.extend(facts.into_iter().map(|facts| (partition.id(), facts)));
            self.keys += (0..RESERVED.0).map(|db| partition.db_stats(DbId(db)).keys).sum::<u64>();
        }
        self.report = report;
    }
}

type Opened<D> = (Vec<Partition<D>>, StartReport);

fn start<D: Disk>(disk: Arc<D>, salvage: bool) -> Result<Opened<D>, emberkv_engine::OpenError> {
    let options = Options {
        policy: SyncPolicy::EverySec,
        segment_size: 64 << 20, // nothing is created
        salvage,
        slow_write: None,
        load_threads: std::thread::available_parallelism().map_or(1, usize::from).min(8),
        opens_cold: false,
        now_ms: wall_clock_ms,
        random: Box::new(random),
    };
    // what it holds is not to depend on a configuration
    let limits = Limits { databases: 255, max_value_bytes: usize::MAX, ..Limits::default() };
    emberkv_engine::open(disk, options, limits, 1, &Progress::default())
}
