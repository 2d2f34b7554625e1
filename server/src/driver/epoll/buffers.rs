//! The receive buffers of the epoll driver.

use crate::driver::{Received, Settings};

/// A pool that hands out the buffer that came back last, as that is the likeliest to be in the cpu's cache.
/// Buffers are allocated when they are first needed.
pub(super) struct BufferPool {
    buffers: Vec<Box<[u8]>>,
    free: Vec<u32>,
    settings: Settings,
}

impl BufferPool {
    pub(super) fn new(settings: Settings) -> Self {
        assert!(settings.buffers > 0 && settings.buffer_len_bytes > 0);
        Self { buffers: Vec::new(), free: Vec::new(), settings }
    }

    /// The next free buffer, still free until [`BufferPool::filled`].
    pub(super) fn next(&mut self) -> Option<&mut [u8]> {
        if self.free.is_empty() {
            if self.buffers.len() == usize::from(self.settings.buffers) {
                return None;
            }
            self.free.push(self.buffers.len() as u32);
            let len = self.settings.buffer_len_bytes as usize;
            self.buffers.push(vec![0; len].into_boxed_slice());
        }
        let index = *self.free.last()?;
        Some(&mut self.buffers[index as usize])
    }

    /// Hands out the buffer that [`BufferPool::next`] gave.
    pub(super) fn filled(&mut self, len: usize) -> Received {
        let Some(buffer) = self.free.pop() else { panic!("no buffer was filled") };
        assert!(len <= self.buffers[buffer as usize].len());
        Received { buffer, len: len as u32 }
    }

    pub(super) fn bytes(&self, received: &Received) -> &[u8] {
        &self.buffers[received.buffer as usize][..received.len as usize]
    }

    pub(super) fn recycle(&mut self, received: Received) {
        assert!(self.free.len() < self.buffers.len());
        self.free.push(received.buffer);
    }
}
