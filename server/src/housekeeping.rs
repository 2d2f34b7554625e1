//! The housekeeping thread: what would make a core wait. It never touches a partition's memory but what is
//! immutable, and answers by message.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;

use emberkv_index::{Index, IndexError, Reserve};
use emberkv_log::disk::real::RealDisk;
use emberkv_log::{Done, Job, JobKind};

use crate::driver::Waker;

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
pub(crate) enum Answer {
    Log(JobKind, io::Result<Done<LogFile>>),
    Reserved(Result<Reserve, IndexError>),
}

/// The core's end.
#[derive(Debug)]
pub(crate) struct Housekeeping {
    errands: Option<Queue>,
    answers: Receiver<Answer>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
enum Queue {
    Blocking(Sender<Errand>),
    #[cfg(target_os = "linux")]
    Uring(tokio::sync::mpsc::UnboundedSender<Errand>),
}

impl Housekeeping {
    /// Starts the thread; with `uring` its files go through a ring of its own (tokio-uring).
    ///
    /// # Errors
    /// If the system has no thread to give.
    pub fn start(disk: Arc<RealDisk>, waker: Waker, uring: bool) -> io::Result<Self> {
        let (answer, answers) = channel();
        let back = Back { answer, waker };
        let builder = std::thread::Builder::new().name("housekeeping".into());
        #[cfg(target_os = "linux")]
        if uring {
            let (sender, receiver) = tokio::sync::mpsc::unbounded_channel();
            let thread = builder.spawn(move || {
                give_way();
                ring::run(disk, receiver, back);
            })?;
            return Ok(Self { errands: Some(Queue::Uring(sender)), answers, thread: Some(thread) });
        }
        let _ = uring;
        let (sender, receiver) = channel();
        let thread = builder.spawn(move || {
            give_way();
            for errand in receiver {
                if let Some(answer) = run_blocking(&disk, errand) {
                    back.send(answer);
                }
            }
        })?;
        Ok(Self { errands: Some(Queue::Blocking(sender)), answers, thread: Some(thread) })
    }

    /// Hands an errand over.
    pub fn ask(&self, errand: Errand) {
        // a send fails only when the thread is gone, and a panic anywhere ends the process
        let _ = match &self.errands {
            Some(Queue::Blocking(sender)) => sender.send(errand).is_ok(),
            #[cfg(target_os = "linux")]
            Some(Queue::Uring(sender)) => sender.send(errand).is_ok(),
            None => false,
        };
    }

    /// An answer, if one has come.
    pub fn answer(&self) -> Option<Answer> {
        self.answers.try_recv().ok()
    }
}

impl Drop for Housekeeping {
    fn drop(&mut self) {
        self.errands = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

#[derive(Clone)]
struct Back {
    answer: Sender<Answer>,
    waker: Waker,
}

impl Back {
    fn send(&self, answer: Answer) {
        if self.answer.send(answer).is_ok() {
            self.waker.wake();
        }
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

fn run_blocking(disk: &RealDisk, errand: Errand) -> Option<Answer> {
    match errand {
        Errand::Log(job) => Some(Answer::Log(job.kind(), job.run(disk))),
        Errand::ReserveIndex => Some(Answer::Reserved(Reserve::new())),
        Errand::DropIndex(index) => {
            drop(index);
            None
        }
    }
}

#[cfg(target_os = "linux")]
mod ring {
    //! The same over tokio-uring: a sync or the zeroing of a new segment does not hold up what comes after it.

    use tokio::sync::mpsc::UnboundedReceiver;
    use tokio_uring::fs::File;

    use super::{Answer, Arc, Back, Done, Errand, Job, LogFile, RealDisk, io, run_blocking};

    /// Bytes of zeros that are written at a time.
    const ZEROS: usize = 1 << 20;

    pub(super) fn run(disk: Arc<RealDisk>, mut errands: UnboundedReceiver<Errand>, back: Back) {
        let mut ring = tokio_uring::uring_builder();
        // measured: 110k against 75k operations a cpu second (BASELINE)
        ring.setup_coop_taskrun().setup_single_issuer();
        tokio_uring::builder().entries(64).uring_builder(&ring).start(async move {
            while let Some(errand) = errands.recv().await {
                match errand {
                    Errand::Log(Job::Sync { files }) => {
                        let back = back.clone();
                        tokio_uring::spawn(async move {
                            let result = sync_all(files).await.map(|()| Done::Nothing);
                            back.send(Answer::Log(emberkv_log::JobKind::Sync, result));
                        });
                    }
                    Errand::Log(Job::Prepare { file, size, zero: true }) => {
                        let (disk, back) = (Arc::clone(&disk), back.clone());
                        tokio_uring::spawn(async move {
                            let result = prepare(&disk, file, size).await;
                            back.send(Answer::Log(emberkv_log::JobKind::Prepare, result));
                        });
                    }
                    other => {
                        if let Some(answer) = run_blocking(&disk, other) {
                            back.send(answer);
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
        for file in files {
            let file = ring_file(&file)?;
            file.sync_data().await?;
            file.close().await?;
        }
        Ok(())
    }

    async fn prepare(disk: &RealDisk, file: emberkv_log::FileId, size: u64) -> io::Result<Done<LogFile>> {
        use emberkv_log::disk::Disk;
        let handle = disk.create(&emberkv_log::segment_name(file), size)?;
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
        ring.sync_data().await?;
        ring.close().await?;
        disk.sync_names()?;
        Ok(Done::Files(vec![handle]))
    }
}
