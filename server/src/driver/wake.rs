//! Waking a core that sleeps in its driver's poll.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use rustix::io::Errno;

/// Wakes a core's [`Driver::poll`](super::Driver::poll) from another thread, which then reports
/// [`Event::Woken`](super::Event::Woken). Several wakes before the core looks are reported as one.
#[derive(Clone, Debug)]
pub struct Waker {
    eventfd: Arc<OwnedFd>,
    /// The ring of the driver that is woken, if it has one that others may post to.
    #[cfg(target_os = "linux")]
    pub(super) ring: Option<Arc<OwnedFd>>,
}

impl Waker {
    /// Wakes the core, or makes its next poll return at once. Costs a system call.
    pub fn wake(&self) {
        // the only failure that can occur is a full counter or pipe: then the core is being woken already.
        let _ = rustix::io::write(&self.eventfd, &1u64.to_ne_bytes());
    }
}

/// Whether reading the receiving end waits when nobody has called.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Reading {
    /// It waits. What the ring needs: it takes a non-blocking descriptor at its word and fails the read.
    #[cfg(target_os = "linux")]
    Waits,
    /// It returns at once.
    Returns,
}

/// A waker and the descriptor that becomes readable when it is called.
#[cfg(target_os = "linux")]
pub(super) fn pair(reading: Reading) -> io::Result<(Waker, Arc<OwnedFd>)> {
    use rustix::event::{EventfdFlags, eventfd};

    let mut flags = EventfdFlags::CLOEXEC;
    if reading == Reading::Returns {
        flags |= EventfdFlags::NONBLOCK;
    }
    let eventfd = Arc::new(eventfd(0, flags)?);
    let waker = Waker { eventfd: Arc::clone(&eventfd), ring: None };
    Ok((waker, eventfd))
}

/// A waker and the descriptor that becomes readable when it is called.
#[cfg(not(target_os = "linux"))]
pub(super) fn pair(_reading: Reading) -> io::Result<(Waker, Arc<OwnedFd>)> {
    let (receive, send) = std::os::unix::net::UnixStream::pair()?;
    receive.set_nonblocking(true)?;
    send.set_nonblocking(true)?;
    let waker = Waker { eventfd: Arc::new(send.into()) };
    Ok((waker, Arc::new(receive.into())))
}

/// Makes a [`Reading::Returns`] end unreadable again.
pub(super) fn drain(receiving: impl AsFd) {
    let mut counter = [0u8; 64];
    loop {
        match rustix::io::read(&receiving, &mut counter) {
            // a pipe may hold more than one call; an eventfd is empty after one read.
            Ok(read) if read == counter.len() => {}
            Err(Errno::INTR) => {}
            Ok(_) | Err(_) => return,
        }
    }
}
