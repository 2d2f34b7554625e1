//! What can go wrong in the index: only memory.

/// Why the index could not be made or grown. The index is as it was before the call.
#[derive(Debug, thiserror::Error)]
pub enum IndexError {
    /// The operating system refused memory.
    #[error(
        "the index could not map {bytes} more bytes of memory: {source}; lower `maxmemory`, free memory on the machine, \
         or raise the limits of this process (ulimit -v, cgroup memory.max, vm.max_map_count)"
    )]
    OutOfMemory {
        /// Bytes that were asked for.
        bytes: usize,
        /// What the system said.
        source: std::io::Error,
    },
    /// The index has as many blocks as it can number (32 TiB).
    #[error(
        "the index is full: it cannot number more than {blocks} blocks of 8 KiB; split the data set over more partitions"
    )]
    Full {
        /// Blocks in use.
        blocks: u32,
    },
}
