//! Readiness: which sockets can be read from or written to.
//!
//! Registration is the `polling` crate's, on every system. Waiting is too, except on Linux: there its wait costs
//! four more system calls, for a timer and a notifier that the kernel's own time-out and our waker replace.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::time::Duration;

use polling::{PollMode, Poller};

/// What a registration waits for. Never nothing: who wants nothing is not registered, as a failed socket would
/// be reported for ever.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Interest {
    pub(super) readable: bool,
    pub(super) writable: bool,
}

impl Interest {
    pub(super) const READABLE: Self = Self { readable: true, writable: false };

    pub(super) const NONE: Self = Self { readable: false, writable: false };
}

/// A socket that is ready. A failed one is ready for both.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ready {
    pub(super) key: usize,
    pub(super) readable: bool,
    pub(super) writable: bool,
}

/// Sockets that one wait reports; the others come with the next.
const READY_PER_WAIT: usize = 1024;

/// See the module.
pub(super) struct Sockets {
    poller: Poller,
    #[cfg(target_os = "linux")]
    list: Vec<rustix::event::epoll::Event>,
    #[cfg(not(target_os = "linux"))]
    list: polling::Events,
}

impl Sockets {
    pub(super) fn new() -> io::Result<Self> {
        let poller = Poller::new()?;
        assert!(poller.supports_level());
        Ok(Self {
            poller,
            #[cfg(target_os = "linux")]
            list: Vec::with_capacity(READY_PER_WAIT),
            #[cfg(not(target_os = "linux"))]
            list: polling::Events::with_capacity(
                std::num::NonZeroUsize::new(READY_PER_WAIT).unwrap_or(std::num::NonZeroUsize::MIN),
            ),
        })
    }

    /// Changes a registration from `from` to `to`, either of which may be [`Interest::NONE`].
    pub(super) fn change(&self, socket: BorrowedFd<'_>, key: usize, from: Interest, to: Interest) -> io::Result<()> {
        if from == to {
            return Ok(());
        }
        if to == Interest::NONE {
            return self.poller.delete(socket);
        }
        let event = polling::Event::new(key, to.readable, to.writable);
        if from == Interest::NONE {
            // SAFETY: the driver deletes a socket's registration before it closes the socket, and drops the
            // poller before the sockets.
            unsafe { self.poller.add_with_mode(socket.as_raw_fd(), event, PollMode::Level) }
        } else {
            self.poller.modify_with_mode(socket, event, PollMode::Level)
        }
    }

    /// Waits until a socket is ready, at most `timeout`, and puts those that are into `ready`.
    #[cfg(target_os = "linux")]
    pub(super) fn wait(&mut self, timeout: Duration, ready: &mut Vec<Ready>) -> io::Result<()> {
        use rustix::event::epoll::{self, EventFlags};

        // a time too long for the kernel is no limit.
        let timeout = rustix::event::Timespec::try_from(timeout).ok();
        self.list.clear();
        match epoll::wait(self.poller.as_fd(), rustix::buffer::spare_capacity(&mut self.list), timeout.as_ref()) {
            Ok(_) => {}
            Err(rustix::io::Errno::INTR) => return Ok(()),
            Err(e) => return Err(e.into()),
        }
        let readable = EventFlags::IN | EventFlags::RDHUP | EventFlags::HUP | EventFlags::ERR;
        let writable = EventFlags::OUT | EventFlags::HUP | EventFlags::ERR;
        ready.extend(self.list.iter().map(|event| {
            let flags = event.flags;
            Ready {
                key: event.data.u64() as usize,
                readable: flags.intersects(readable),
                writable: flags.intersects(writable),
            }
        }));
        Ok(())
    }

    /// Waits until a socket is ready, at most `timeout`, and puts those that are into `ready`.
    #[cfg(not(target_os = "linux"))]
    pub(super) fn wait(&mut self, timeout: Duration, ready: &mut Vec<Ready>) -> io::Result<()> {
        self.list.clear();
        self.poller.wait(&mut self.list, Some(timeout))?;
        ready.extend(self.list.iter().map(|event| Ready {
            key: event.key,
            readable: event.readable,
            writable: event.writable,
        }));
        Ok(())
    }
}
