//! Disk writes on a thread of their own, and reads on another one, for where there is no ring.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use crate::driver::wake::{self, Reading, Waker};
use crate::driver::{DiskRead, DiskToken, DiskWrite, Event};

type Done = Vec<Event>;

/// What is to be done.
pub(super) enum Task {
    Write(DiskWrite),
    Read(DiskRead),
}

/// The thread, and what it has to do and has done. Dropping it waits for the writes that were begun.
pub(super) struct DiskThread {
    /// `None` only while it is dropped.
    jobs: Option<Sender<(DiskToken, Task)>>,
    done: Arc<Mutex<Done>>,
    called: Arc<OwnedFd>,
    thread: Option<JoinHandle<()>>,
}

impl DiskThread {
    pub(super) fn start() -> io::Result<Self> {
        let (caller, called) = wake::pair(Reading::Returns)?;
        let (jobs, queue) = channel();
        let done = Arc::new(Mutex::new(Done::new()));
        let results = Arc::clone(&done);
        let thread = thread::Builder::new().name("disk".to_owned()).spawn(move || work(&queue, &results, &caller))?;
        Ok(Self { jobs: Some(jobs), done, called, thread: Some(thread) })
    }

    pub(super) fn begin(&self, token: DiskToken, task: Task) {
        let Some(jobs) = &self.jobs else { return };
        assert!(jobs.send((token, task)).is_ok(), "the disk thread has gone");
    }

    /// Becomes readable when something is done.
    pub(super) fn called(&self) -> BorrowedFd<'_> {
        self.called.as_fd()
    }

    /// Reports what is done.
    pub(super) fn take_done(&self, events: &mut Vec<Event>) {
        wake::drain(&*self.called);
        let mut done = self.done.lock().unwrap_or_else(PoisonError::into_inner);
        events.append(&mut done);
    }
}

impl Drop for DiskThread {
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn work(queue: &Receiver<(DiskToken, Task)>, results: &Mutex<Done>, caller: &Waker) {
    while let Ok((token, task)) = queue.recv() {
        let event = match task {
            Task::Write(write) => Event::DiskDone(token, perform(&write)),
            Task::Read(read) => Event::DiskRead(token, fetch(&read)),
        };
        let mut done = results.lock().unwrap_or_else(PoisonError::into_inner);
        done.push(event);
        drop(done);
        caller.wake();
    }
}

fn fetch(read: &DiskRead) -> io::Result<Vec<u8>> {
    let (mut bytes, mut done) = (vec![0; read.len], 0);
    while done < bytes.len() {
        match read.file.read_at(&mut bytes[done..], read.offset + done as u64) {
            Ok(0) => break,
            Ok(count) => done += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    bytes.truncate(done);
    Ok(bytes)
}

fn perform(write: &DiskWrite) -> io::Result<()> {
    write.file.write_all_at(&write.data, write.offset)?;
    if write.sync {
        write.file.sync_data()?;
    }
    Ok(())
}
