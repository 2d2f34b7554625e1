//! The ring itself: set-up, submission, waiting.
//!
//! Operations that hand memory to the kernel are `unsafe` here and proven where they are called; the others are
//! safe.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::time::Duration;

use io_uring::types::{Fd, FsyncFlags, SubmitArgs, Timespec};
use io_uring::{IoUring, Probe, cqueue, opcode, squeue};
use rustix::io::{Errno, ReadWriteFlags};
use rustix::net::{RecvFlags, SendFlags, SocketFlags};
use socket2::MsgHdr;

use super::tag::{Kind, Tag};

/// The one group of provided buffers.
const BUFFER_GROUP: u16 = 0;

/// Operations that one turn queues without an extra system call. 64 bytes each.
const SUBMISSIONS: u32 = 1024;

/// Completions that fit before the kernel has to keep them aside, which works but is slow: sixteen for each of
/// a thousand busy connections. 16 bytes each.
const COMPLETIONS: u32 = 16 * 1024;

/// The most that one operation moves: lengths are 32 bits wide and results are signed.
const MAX_LEN: usize = 1 << 30;

/// Longer than any wait; keeps the kernel's arithmetic far from its limits.
const MAX_WAIT: Duration = Duration::from_secs(1 << 30);

/// What one operation came to. Neither `Copy` nor `Clone`: it may own a descriptor.
#[derive(Debug)]
pub(super) struct Completion {
    pub(super) tag: Tag,
    /// A count or descriptor, or a negated errno.
    pub(super) result: i32,
    flags: u32,
}

impl Completion {
    /// Whether the operation goes on: it is a multishot one and another completion of it follows.
    pub(super) fn goes_on(&self) -> bool {
        cqueue::more(self.flags)
    }

    /// The provided buffer that was taken.
    pub(super) fn buffer(&self) -> Option<u16> {
        cqueue::buffer_select(self.flags)
    }

    /// The result, or the error that it stands for.
    pub(super) fn value(&self) -> Result<u32, Errno> {
        u32::try_from(self.result).map_err(|_| Errno::from_raw_os_error(-self.result))
    }

    /// The descriptor that an accept made.
    pub(super) fn accepted(self) -> Result<OwnedFd, Errno> {
        assert_eq!(self.tag.kind, Kind::Accept);
        self.value()?;
        // SAFETY: a successful accept's result is a new descriptor that nobody else owns; each completion is
        // taken from the queue once, and used up here.
        Ok(unsafe { OwnedFd::from_raw_fd(self.result) })
    }
}

/// When the kernel finishes what has become possible.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Features {
    /// When the one thread that submits waits (6.1).
    Deferred,
    /// When that thread enters the kernel for whatever reason (5.19).
    Cooperative,
    /// At once: the thread is interrupted for it.
    Plain,
}

/// See the module.
pub(super) struct Ring {
    io: IoUring,
    /// Whether the kernel can gather completions for a while (6.12).
    can_gather: bool,
    /// Whether it can post to other rings, and says nothing when it has (5.18).
    can_call: bool,
    /// Operations whose last completion has not been taken.
    in_flight: usize,
    /// What did not fit into the queue: the kernel was short of memory or had too many completions untaken.
    waiting: VecDeque<squeue::Entry>,
}

impl Ring {
    /// Makes a ring with the best set of features that the kernel has.
    ///
    /// # Errors
    /// When the kernel has no io_uring, forbids it, or is too old for what every set needs.
    pub(super) fn new() -> io::Result<Self> {
        let mut ring = Err(io::ErrorKind::Unsupported.into());
        for features in [Features::Deferred, Features::Cooperative, Features::Plain] {
            ring = Self::with(features);
            match &ring {
                Err(e) if Errno::from_io_error(e) == Some(Errno::INVAL) => {}
                _ => break,
            }
        }
        ring
    }

    /// Makes a ring with this set of features.
    pub(super) fn with(features: Features) -> io::Result<Self> {
        let mut builder = IoUring::builder();
        builder.setup_clamp().setup_cqsize(COMPLETIONS);
        if features != Features::Plain {
            builder.setup_submit_all().setup_coop_taskrun().setup_taskrun_flag();
        }
        if features == Features::Deferred {
            builder.setup_single_issuer().setup_defer_taskrun();
        }
        let io = builder.build(SUBMISSIONS)?;
        let params = io.params();
        if !params.is_feature_ext_arg() || !params.is_feature_nodrop() {
            return Err(io::Error::new(
                io::ErrorKind::Unsupported,
                "the kernel's io_uring can't wait with a time-out (needs Linux 5.11)",
            ));
        }
        let can_gather = params.is_feature_min_timeout();
        let can_call = features != Features::Plain && params.is_feature_skip_cqe_on_success() && knows_messages(&io);
        Ok(Self { can_gather, can_call, io, in_flight: 0, waiting: VecDeque::new() })
    }

    /// Registers the ring of provided buffers.
    ///
    /// # Safety
    /// `address` is page-aligned and has room for `slots` entries until no receive is under way any more.
    pub(super) unsafe fn register_buffers(&self, address: u64, slots: u16) -> io::Result<()> {
        // SAFETY: the caller's promise.
        unsafe { self.io.submitter().register_buf_ring_with_flags(address, slots, BUFFER_GROUP, 0) }
    }

    /// Operations whose last completion has not been taken.
    pub(super) fn in_flight(&self) -> usize {
        self.in_flight
    }

    pub(super) fn accept(&mut self, socket: BorrowedFd<'_>, tag: Tag) {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let entry = opcode::AcceptMulti::new(fd(socket)).flags(flags.bits() as i32).build();
        // SAFETY: the entry refers to no memory.
        unsafe { self.push(entry, tag) };
    }

    pub(super) fn receive(&mut self, socket: BorrowedFd<'_>, tag: Tag) {
        let entry = opcode::RecvMulti::new(fd(socket), BUFFER_GROUP).build();
        // SAFETY: the entry refers to no memory but the provided buffers, which `register_buffers` has vouched
        // for.
        unsafe { self.push(entry, tag) };
    }

    /// Cancels the operation with the tag `target`.
    pub(super) fn cancel(&mut self, target: Tag, tag: Tag) {
        let entry = opcode::AsyncCancel::new(target.pack()).build();
        // SAFETY: the entry refers to no memory.
        unsafe { self.push(entry, tag) };
    }

    /// # Safety
    /// `bytes` stay in place, unchanged, until the completion has been taken.
    pub(super) unsafe fn send(&mut self, socket: BorrowedFd<'_>, bytes: &[u8], tag: Tag) {
        let len = bytes.len().min(MAX_LEN) as u32;
        let entry = opcode::Send::new(fd(socket), bytes.as_ptr(), len).flags(send_flags() as i32).build();
        // SAFETY: the caller's promise.
        unsafe { self.push(entry, tag) };
    }

    /// # Safety
    /// `message`, its list of buffers and the buffers stay in place, unchanged, until the completion has been
    /// taken.
    pub(super) unsafe fn send_message(&mut self, socket: BorrowedFd<'_>, message: &MsgHdr<'_, '_, '_>, tag: Tag) {
        // `MsgHdr` is a transparent wrapper of the system's `msghdr`.
        let header = std::ptr::from_ref(message).cast();
        let entry = opcode::SendMsg::new(fd(socket), header).flags(send_flags()).build();
        // SAFETY: the caller's promise.
        unsafe { self.push(entry, tag) };
    }

    /// Whether [`Ring::call`] works.
    pub(super) fn can_call(&self) -> bool {
        self.can_call
    }

    /// A descriptor by which others can call this ring.
    pub(super) fn descriptor(&self) -> io::Result<OwnedFd> {
        // SAFETY: the ring's descriptor is open as long as the ring.
        let ring = unsafe { BorrowedFd::borrow_raw(self.io.as_raw_fd()) };
        Ok(rustix::io::fcntl_dupfd_cloexec(ring, 0)?)
    }

    /// Posts a completion tagged `theirs` to another ring. One tagged `tag` comes here only if that fails.
    pub(super) fn call(&mut self, ring: BorrowedFd<'_>, tag: Tag, theirs: Tag) {
        let entry = opcode::MsgRingData::new(fd(ring), 0, theirs.pack(), None).build();
        // SAFETY: the entry refers to no memory.
        unsafe { self.push(entry.flags(squeue::Flags::SKIP_SUCCESS), tag) };
        self.in_flight -= 1; // nothing is awaited
    }

    /// # Safety
    /// `counter` stays in place and is not touched until the completion has been taken.
    pub(super) unsafe fn read_counter(&mut self, eventfd: BorrowedFd<'_>, counter: *mut u64, tag: Tag) {
        let entry = opcode::Read::new(fd(eventfd), counter.cast(), 8).build();
        // SAFETY: the caller's promise.
        unsafe { self.push(entry, tag) };
    }

    /// Writes `bytes`, or as much as one operation takes; with `sync` it completes when they are durable.
    ///
    /// # Safety
    /// `bytes` stay in place, unchanged, until the completion has been taken.
    pub(super) unsafe fn write(&mut self, file: BorrowedFd<'_>, bytes: &[u8], offset: u64, sync: bool, tag: Tag) {
        let len = bytes.len().min(MAX_LEN) as u32;
        let flags = if sync { ReadWriteFlags::DSYNC } else { ReadWriteFlags::empty() };
        let entry = opcode::Write::new(fd(file), bytes.as_ptr(), len).offset(offset);
        // SAFETY: the caller's promise.
        unsafe { self.push(entry.rw_flags(flags.bits() as i32).build(), tag) };
    }

    /// Reads into `buffer`, or as much as one operation takes.
    ///
    /// # Safety
    /// `buffer` stays in place, and nobody else touches it, until the completion has been taken.
    pub(super) unsafe fn read(&mut self, file: BorrowedFd<'_>, buffer: &mut [u8], offset: u64, tag: Tag) {
        let len = buffer.len().min(MAX_LEN) as u32;
        let entry = opcode::Read::new(fd(file), buffer.as_mut_ptr(), len).offset(offset);
        // SAFETY: the caller's promise.
        unsafe { self.push(entry.build(), tag) };
    }

    /// Syncs the file's data.
    pub(super) fn sync(&mut self, file: BorrowedFd<'_>, tag: Tag) {
        // SAFETY: the entry refers to no memory.
        unsafe { self.push(sync_entry(file), tag) };
    }

    /// # Safety
    /// The memory that the entry refers to stays valid until its last completion has been taken.
    #[inline]
    unsafe fn push(&mut self, entry: squeue::Entry, tag: Tag) {
        let entry = entry.user_data(tag.pack());
        self.in_flight += 1;
        if self.waiting.is_empty() {
            // SAFETY: the caller's promise.
            if unsafe { self.io.submission().push(&entry) }.is_ok() {
                return;
            }
            // full: let the kernel take what is queued, and go on.
            let _ = self.io.submit();
            // SAFETY: the caller's promise.
            if unsafe { self.io.submission().push(&entry) }.is_ok() {
                return;
            }
        }
        self.waiting.push_back(entry);
    }

    /// Queues what had to wait.
    fn push_waiting(&mut self) {
        while let Some(next) = self.waiting.front() {
            // SAFETY: the entry came from `push`, whose caller has promised it.
            let mut pushed = unsafe { self.io.submission().push(next) }.is_ok();
            if !pushed && self.io.submit().is_ok() {
                // SAFETY: as above.
                pushed = unsafe { self.io.submission().push(next) }.is_ok();
            }
            if !pushed {
                return;
            }
            self.waiting.pop_front();
        }
    }

    /// Submits what is queued and waits for a completion, at most `timeout`; with a `gather_time`, waits until
    /// `gather_events` have come or that time is over, where the kernel can.
    pub(super) fn submit_and_wait(
        &mut self,
        timeout: Duration,
        gather_time: Duration,
        gather_events: u32,
    ) -> io::Result<()> {
        self.push_waiting();
        let entered = if timeout.is_zero() || !self.waiting.is_empty() {
            let queue = self.io.submission();
            if queue.is_empty() && !queue.taskrun() && !queue.cq_overflow() {
                return Ok(());
            }
            drop(queue);
            self.io.submit()
        } else {
            let timeout = timeout.min(MAX_WAIT);
            let timespec = Timespec::from(timeout);
            let mut args = SubmitArgs::new().timespec(&timespec);
            let mut want = 1;
            if self.can_gather && !gather_time.is_zero() {
                want = gather_events.max(1) as usize;
                let gather_us = gather_time.min(timeout).as_micros();
                args = args.min_wait_usec(u32::try_from(gather_us).unwrap_or(u32::MAX));
            }
            self.io.submitter().submit_with_args(want.min(COMPLETIONS as usize / 2), &args)
        };
        match entered {
            Ok(_) => Ok(()),
            Err(e) => match Errno::from_io_error(&e) {
                // timed out; interrupted; completions must be taken first; short of memory, try again later.
                Some(Errno::TIME | Errno::INTR | Errno::BUSY | Errno::AGAIN) => Ok(()),
                _ => Err(e),
            },
        }
    }

    /// Takes the completions that have come.
    pub(super) fn take_completions(&mut self, completions: &mut Vec<Completion>) {
        for entry in self.io.completion() {
            let completion =
                Completion { tag: Tag::unpack(entry.user_data()), result: entry.result(), flags: entry.flags() };
            if !completion.goes_on() && !matches!(completion.tag.kind, Kind::Call | Kind::Called) {
                self.in_flight -= 1;
            }
            completions.push(completion);
        }
    }
}

fn knows_messages(io: &IoUring) -> bool {
    let mut probe = Probe::new();
    io.submitter().register_probe(&mut probe).is_ok() && probe.is_supported(opcode::MsgRingData::CODE)
}

fn fd(descriptor: BorrowedFd<'_>) -> Fd {
    let raw: RawFd = descriptor.as_raw_fd();
    Fd(raw)
}

/// No SIGPIPE, and no completion before all is sent (on newer kernels; a short one is continued).
fn send_flags() -> u32 {
    // the flag has one value in both directions; only the type of the other direction names it.
    SendFlags::NOSIGNAL.bits() | RecvFlags::WAITALL.bits()
}

fn sync_entry(file: BorrowedFd<'_>) -> squeue::Entry {
    opcode::Fsync::new(fd(file)).flags(FsyncFlags::DATASYNC).build()
}
