//! The receive buffers that the ring's kernel side fills: a provided-buffer ring.
//!
//! The kernel takes a buffer when it has bytes for it, so a connection that sends nothing holds none.

use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::ffi::c_void;
use std::io;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU16, Ordering};

use io_uring::types::BufRingEntry;

use super::ring::Ring;
use crate::driver::{Received, Settings};

const PAGE: usize = 4096;

const HUGE_PAGE: usize = 2 << 20;

/// What a buffer's start is moved by against the one before, beyond its length. Buffers that all begin at the
/// same place of a page would share a handful of cache sets, as only the first bytes of most are ever used.
const COLOUR_BYTES: usize = 128;

/// Zeroed memory at a fixed place. Shared with the kernel, so only ever touched through raw pointers.
struct Memory {
    start: NonNull<u8>,
    layout: Layout,
}

impl Memory {
    fn new(len: usize, align: usize) -> Self {
        assert!(len > 0);
        let Ok(layout) = Layout::from_size_align(len.next_multiple_of(align), align) else {
            panic!("receive buffers of {len} bytes exceed the address space");
        };
        // SAFETY: the layout's size is not zero.
        let start = unsafe { alloc_zeroed(layout) };
        let Some(start) = NonNull::new(start) else { handle_alloc_error(layout) };
        Self { start, layout }
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        // SAFETY: allocated in `new` with this layout. That the kernel does not write here any more is
        // `BufferRing`'s promise.
        unsafe { dealloc(self.start.as_ptr(), self.layout) };
    }
}

/// The buffers. Must not be dropped before the ring has no receive under way: see [`BufferRing::leak`].
pub(super) struct BufferRing {
    entries: Memory,
    mask: u16,
    tail: u16,
    data: Memory,
    count: u32,
    buffer_len: u32,
    stride: usize,
    /// Buffers that the core has not given back.
    held: u32,
}

impl BufferRing {
    /// Allocates the buffers and gives them all to the ring.
    pub(super) fn new(ring: &Ring, settings: Settings) -> io::Result<Self> {
        assert!(settings.buffers > 0 && settings.buffer_len_bytes > 0);
        let slots = settings.buffers.next_power_of_two();
        let stride = (settings.buffer_len_bytes as usize + COLOUR_BYTES).next_multiple_of(64);
        let data = Memory::new(
            stride * settings.buffers as usize,
            if stride * settings.buffers as usize >= HUGE_PAGE { HUGE_PAGE } else { PAGE },
        );
        // SAFETY: the range is the allocation's. The advice changes no content; it may be refused.
        let _ = unsafe {
            rustix::mm::madvise(
                data.start.as_ptr().cast::<c_void>(),
                data.layout.size(),
                rustix::mm::Advice::LinuxHugepage,
            )
        };
        let mut buffers = Self {
            entries: Memory::new(slots as usize * size_of::<BufRingEntry>(), PAGE),
            mask: slots - 1,
            tail: 0,
            data,
            count: u32::from(settings.buffers),
            buffer_len: settings.buffer_len_bytes,
            stride,
            held: 0,
        };
        // SAFETY: the entries are page-aligned, `slots` long, and live until the ring is done with them, by
        // this type's contract.
        unsafe { ring.register_buffers(buffers.entries.start.as_ptr() as u64, slots)? };
        for index in 0..settings.buffers {
            buffers.provide(index);
        }
        Ok(buffers)
    }

    /// Puts a buffer at the tail of the kernel's queue.
    fn provide(&mut self, index: u16) {
        let base = self.entries.start.as_ptr().cast::<BufRingEntry>();
        // SAFETY: the masked index is within the `mask + 1` entries. The kernel reads only entries between its
        // head and the published tail, and this one is not: at most `count` <= `mask + 1` are out at a time.
        unsafe {
            let entry = &mut *base.add((self.tail & self.mask) as usize);
            entry.set_addr(self.address(u32::from(index)) as u64);
            entry.set_len(self.buffer_len);
            entry.set_bid(index);
        }
        self.tail = self.tail.wrapping_add(1);
        // SAFETY: `base` is the first entry of the ring, initialised (zeroed); the tail is an aligned u16 in it
        // that the kernel only reads.
        let tail = unsafe { &*BufRingEntry::tail(base).cast::<AtomicU16>() };
        tail.store(self.tail, Ordering::Release);
    }

    fn address(&self, index: u32) -> *mut u8 {
        assert!(index < self.count);
        // SAFETY: the index was checked; the data are `count * stride` bytes.
        unsafe { self.data.start.as_ptr().add(index as usize * self.stride) }
    }

    /// Names the buffer that a completion said was filled.
    pub(super) fn filled(&mut self, index: u16, len: u32) -> Received {
        assert!(len <= self.buffer_len);
        self.held += 1;
        Received { buffer: u32::from(index), len }
    }

    /// The bytes of a filled buffer.
    pub(super) fn bytes(&self, received: &Received) -> &[u8] {
        assert!(received.len <= self.buffer_len);
        // SAFETY: `address` checks the index, and the length is within the buffer. The kernel does not write to
        // a buffer between its completion and `recycle`, which takes the one `Received` of it.
        unsafe { std::slice::from_raw_parts(self.address(received.buffer), received.len as usize) }
    }

    /// Gives a filled buffer back to the kernel.
    pub(super) fn recycle(&mut self, received: Received) {
        assert!(self.held > 0 && received.buffer < self.count);
        self.held -= 1;
        self.provide(received.buffer as u16);
    }

    /// Whether the kernel has any buffer.
    pub(super) fn has_free(&self) -> bool {
        self.held < self.count
    }

    /// Forgets the memory: for when the kernel may still write to it.
    pub(super) fn leak(&mut self) {
        for memory in [&mut self.entries, &mut self.data] {
            let stand_in = Memory::new(1, 1);
            std::mem::forget(std::mem::replace(memory, stand_in));
        }
    }
}
