//! The one door to the file system. Files lie in one flat directory under short names.
//!
//! These are the blocking primitives: a start uses them directly, and [`crate::Job`] composes them into
//! what a running log asks for, which a server carries out without blocking (on its ring, or on the
//! housekeeping thread) and a test on a simulated disk in whatever order it likes.

use std::io;

pub mod overlay;
pub mod real;
#[cfg(any(test, feature = "sim"))]
pub mod sim;

/// See the module. `File` is a handle that is cheap to clone and keeps the file open.
pub trait Disk: Send + Sync + 'static {
    /// An open file.
    type File: Clone + Send + Sync + std::fmt::Debug + 'static;

    /// The names of all files.
    ///
    /// # Errors
    /// Those of the file system; so it is with every function here.
    fn list(&self) -> io::Result<Vec<String>>;

    /// Opens an existing file.
    ///
    /// # Errors
    /// `NotFound` among others.
    fn open(&self, name: &str) -> io::Result<Self::File>;

    /// Creates a file of `size` bytes with its blocks allocated, or allocates an existing one up to that.
    /// Neither the file nor its name is durable yet.
    ///
    /// # Errors
    /// `StorageFull` when the disk has no room for all of it.
    fn create(&self, name: &str, size: u64) -> io::Result<Self::File>;

    /// Bytes of the file.
    ///
    /// # Errors
    /// Those of the file system.
    fn size(&self, file: &Self::File) -> io::Result<u64>;

    /// Where the file ends, or earlier: behind that there are zeros only, which were never written. What costs more to find out
    /// than to read need not be found.
    ///
    /// # Errors
    /// Those of the file system.
    fn data_end(&self, file: &Self::File) -> io::Result<u64> {
        self.size(file)
    }

    /// Reads up to `buf.len()` bytes at `offset`; fewer only at the file's end.
    ///
    /// # Errors
    /// Those of the file system.
    fn read_at(&self, file: &Self::File, offset: u64, buf: &mut [u8]) -> io::Result<usize>;

    /// Writes all of `bytes` at `offset`: it then survives the process, not a power loss.
    ///
    /// # Errors
    /// Those of the file system.
    fn write_at(&self, file: &Self::File, offset: u64, bytes: &[u8]) -> io::Result<()>;

    /// Makes what was written to the file durable (fdatasync). After an error nothing is known of the
    /// unsynced bytes, and a second call that succeeds proves nothing (law 8).
    ///
    /// # Errors
    /// Those of the file system.
    fn sync(&self, file: &Self::File) -> io::Result<()>;

    /// Writes all of `bytes` at `offset` and makes them durable, and nothing else of the file (RWF_DSYNC) that is to be relied on.
    ///
    /// # Errors
    /// Those of the file system.
    fn write_synced(&self, file: &Self::File, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.write_at(file, offset, bytes)?;
        self.sync(file)
    }

    /// Makes names durable: what was created, renamed or removed.
    ///
    /// # Errors
    /// Those of the file system.
    fn sync_names(&self) -> io::Result<()>;

    /// Renames a file, in place of one that had the name.
    ///
    /// # Errors
    /// Those of the file system.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;

    /// Removes a file.
    ///
    /// # Errors
    /// Those of the file system.
    fn remove(&self, name: &str) -> io::Result<()>;

    /// Lets go of what the system caches of the file's first `bytes` bytes, which are synced.
    fn forget_cached(&self, _file: &Self::File, _bytes: u64) {}
}
