//! The housekeeping thread: what would make a core wait. There is one for all cores. It never touches a partition's
//! memory but what is immutable, and answers by message to the core that has asked.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};
use std::thread::JoinHandle;

use emberkv_index::{Index, IndexError, Reserve};
use emberkv_log::disk::real::RealDisk;
use emberkv_log::{Done, Job, JobKind};

use crate::core::{CoreId, Message, Peers};

type LogFile = Arc<std::fs::File>;

/// What the thread is asked to do.
#[derive(Debug)]
pub(crate) enum Errand {
    /// A job of the log.
    Log(Job<LogFile>),
    /// Memory for the index's next growth.
    ReserveIndex,
    /// An index that a flush has replaced; unmapping it takes time.
    DropIndex(Box<Index>),
}

/// What it answers.
#[derive(Debug)]
pub(crate) struct Answer {
    /// For which of the core's partitions.
    pub own: u16,
    pub done: Chore,
}

/// What it has done.
#[derive(Debug)]
pub(crate) enum Chore {
    Log(JobKind, io::Result<Done<LogFile>>),
    Reserved(Result<Reserve, IndexError>),
}

/// The partition that an errand is for.
#[derive(Clone, Copy, Debug)]
struct For {
    core: CoreId,
    own: u16,
}

type Task = (For, Errand);

/// The thread. It ends with the last handle of it.
#[derive(Debug)]
struct Thread {
    errands: Option<Queue>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
enum Queue {
    Blocking(Sender<Task>),
    #[cfg(target_os = "linux")]
    Uring(tokio::sync::mpsc::UnboundedSender<Task>),
}

/// A core's handle.
#[derive(Debug)]
pub(crate) struct Housekeeping {
    core: CoreId,
    thread: Arc<Thread>,
}

impl Housekeeping {
    /// Starts the thread; with `uring` its files go through a ring of its own (tokio-uring).
    ///
    /// # Errors
    /// If the system has no thread to give.
    pub fn start(disk: Arc<RealDisk>, peers: Arc<Peers>, uring: bool) -> io::Result<Self> {
        let back = Back { peers };
        let core = CoreId::FIRST;
        let builder = std::thread::Builder::new().name("housekeeping".into());
        #[cfg(target_os = "linux")]
        if uring {
            let (sender, receiver) = tokio::sync::mpsc::unbounded_channel();
            let thread = builder.spawn(move || {
                give_way();
                ring::run(disk, receiver, back);
            })?;
            let thread = Thread { errands: Some(Queue::Uring(sender)), thread: Some(thread) };
            return Ok(Self { core, thread: Arc::new(thread) });
        }
        let _ = uring;
        let (sender, receiver) = channel();
        let thread = builder.spawn(move || {
            give_way();
            for (whose, errand) in receiver {
                if let Some(done) = run_blocking(&disk, errand) {
                    back.send(whose, done);
                }
            }
        })?;
        let thread = Thread { errands: Some(Queue::Blocking(sender)), thread: Some(thread) };
        Ok(Self { core, thread: Arc::new(thread) })
    }

    /// Another core's handle of the same thread.
    pub fn of_core(&self, core: CoreId) -> Self {
        Self { core, thread: Arc::clone(&self.thread) }
    }

    /// Hands an errand over, for the core's partition `own`.
    pub fn ask(&self, own: usize, errand: Errand) {
        let task = (For { core: self.core, own: own as u16 }, errand);
        // a send fails only when the thread is gone, and a panic anywhere ends the process
        let _ = match &self.thread.errands {
            Some(Queue::Blocking(sender)) => sender.send(task).is_ok(),
            #[cfg(target_os = "linux")]
            Some(Queue::Uring(sender)) => sender.send(task).is_ok(),
            None => false,
        };
    }
}

impl Drop for Thread {
    fn drop(&mut self) {
        self.errands = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

#[derive(Clone)]
struct Back {
    peers: Arc<Peers>,
}

impl Back {
    fn send(&self, whose: For, done: Chore) {
        self.peers.send(whose.core, Message::Chore(Answer { own: whose.own, done }));
    }
}

/// Lets the core go first when both have to share a processor: touching memory takes milliseconds at a time.
/// By the scheduler's weights a tenth of it is left; a higher value might starve the sync of every second.
fn give_way() {
    const NICE: i32 = 10;
    // on linux this is the calling thread's alone; elsewhere, or when refused, nothing depends on it
    #[cfg(target_os = "linux")]
    let _ = rustix::process::setpriority_process(None, NICE);
    #[cfg(not(target_os = "linux"))]
    let _ = NICE;
}

fn run_blocking(disk: &RealDisk, errand: Errand) -> Option<Chore> {
    match errand {
        Errand::Log(job) => Some(Chore::Log(job.kind(), job.run(disk))),
        Errand::ReserveIndex => Some(Chore::Reserved(Reserve::new())),
        Errand::DropIndex(index) => {
            drop(index);
            None
        }
    }
}

#[cfg(target_os = "linux")]
mod ring {
    //! The same over tokio-uring: a sync or the zeroing of a new segment does not hold up what comes after it.

    use emberkv_log::failpoint::{self, Point};
    use tokio::sync::mpsc::UnboundedReceiver;
    use tokio_uring::fs::File;

    use super::{Arc, Back, Chore, Done, Errand, Job, LogFile, RealDisk, Task, io, run_blocking};

    /// Bytes of zeros that are written at a time.
    const ZEROS: usize = 1 << 20;

    pub(super) fn run(disk: Arc<RealDisk>, mut errands: UnboundedReceiver<Task>, back: Back) {
        let mut ring = tokio_uring::uring_builder();
        // measured: 110k against 75k operations a cpu second (BASELINE)
        ring.setup_coop_taskrun().setup_single_issuer();
        tokio_uring::builder().entries(64).uring_builder(&ring).start(async move {
            while let Some((whose, errand)) = errands.recv().await {
                match errand {
                    Errand::Log(Job::Sync { files }) => {
                        let back = back.clone();
                        tokio_uring::spawn(async move {
                            let result = sync_all(files).await.map(|()| Done::Nothing);
                            back.send(whose, Chore::Log(emberkv_log::JobKind::Sync, result));
                        });
                    }
                    Errand::Log(Job::Fill { file, offset, data, sync: true }) => {
                        let (disk, back) = (Arc::clone(&disk), back.clone());
                        tokio_uring::spawn(async move {
                            let part = Job::Fill { file: Arc::clone(&file), offset, data, sync: false };
                            let result = match part.run(disk.as_ref()) {
                                Ok(_) => sync_all(vec![file]).await.map(|()| Done::Nothing),
                                Err(error) => Err(error),
                            };
                            back.send(whose, Chore::Log(emberkv_log::JobKind::Fill, result));
                        });
                    }
                    Errand::Log(Job::Prepare { file, size, zero: true }) => {
                        let (disk, back) = (Arc::clone(&disk), back.clone());
                        tokio_uring::spawn(async move {
                            let result = prepare(&disk, file, size).await;
                            back.send(whose, Chore::Log(emberkv_log::JobKind::Prepare, result));
                        });
                    }
                    other => {
                        if let Some(done) = run_blocking(&disk, other) {
                            back.send(whose, done);
                        }
                    }
                }
            }
        });
    }

    /// A handle of the ring's runtime on a file of the log.
    fn ring_file(file: &LogFile) -> io::Result<File> {
        Ok(File::from_std(file.try_clone()?))
    }

    async fn sync_all(files: Vec<LogFile>) -> io::Result<()> {
        failpoint::pass(Point::SyncBegin);
        for file in files {
            disk_sync().await?;
            let file = ring_file(&file)?;
            file.sync_data().await?;
            file.close().await?;
            failpoint::pass(Point::SyncNext);
        }
        Ok(())
    }

    /// Where a build with failpoints makes a sync slow or fail: only this one waits, as with a disk that is slow.
    async fn disk_sync() -> io::Result<()> {
        if !failpoint::is_set(Point::DiskSync) {
            return Ok(());
        }
        let (sender, receiver) = tokio::sync::oneshot::channel();
        std::thread::spawn(move || sender.send(failpoint::check(Point::DiskSync)));
        receiver.await.unwrap_or(Ok(()))
    }

    async fn prepare(disk: &RealDisk, file: emberkv_log::FileId, size: u64) -> io::Result<Done<LogFile>> {
        use emberkv_log::disk::Disk;
        let handle = disk.create(&emberkv_log::segment_name(file), size)?;
        failpoint::pass(Point::PrepareCreated);
        let ring = ring_file(&handle)?;
        let mut zeros = vec![0; ZEROS];
        let mut at = 0;
        while at < size {
            zeros.truncate(usize::try_from(size - at).unwrap_or(ZEROS).min(ZEROS));
            let len = zeros.len() as u64;
            let (result, buffer) = ring.write_all_at(zeros, at).await;
            result?;
            (zeros, at) = (buffer, at + len);
        }
        disk_sync().await?;
        ring.sync_data().await?;
        ring.close().await?;
        disk.sync_names()?;
        failpoint::pass(Point::PrepareDone);
        Ok(Done::Files(vec![handle]))
    }
}
