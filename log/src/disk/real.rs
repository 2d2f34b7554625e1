//! The file system.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::Disk;
use crate::failpoint::{self, Point};

const LOCK_NAME: &str = "LOCK";
/// Created and removed at once, to see whether the directory takes files.
const PROBE_NAME: &str = "LOCK.probe";

/// A directory on a real disk, locked against a second process for as long as this lives.
#[derive(Debug)]
pub struct RealDisk {
    path: PathBuf,
    directory: File,
    _lock: File,
}

/// Why a directory can't be used.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// It can't be created, read or written.
    #[error("the data directory {path} can't be used: {error}")]
    Unusable {
        /// The directory.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// Another process has it.
    #[error(
        "the data directory {0} is in use by another emberkv: stop that one, or give this one a directory \
         of its own with --dir"
    )]
    Locked(PathBuf),
}

impl RealDisk {
    /// Opens the directory, which is created if it is not there, and locks it.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub fn open(path: &Path) -> Result<Self, OpenError> {
        let unusable = |error| OpenError::Unusable { path: path.to_owned(), error };
        std::fs::create_dir_all(path).map_err(unusable)?;
        let directory = File::open(path).map_err(unusable)?;
        let lock = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path.join(LOCK_NAME))
            .map_err(unusable)?;
        match rustix::fs::flock(&lock, rustix::fs::FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {
                let probe = path.join(PROBE_NAME);
                File::create(&probe).and_then(|_| std::fs::remove_file(&probe)).map_err(unusable)?;
                Ok(Self { path: path.to_owned(), directory, _lock: lock })
            }
            Err(rustix::io::Errno::WOULDBLOCK) => Err(OpenError::Locked(path.to_owned())),
            Err(error) => Err(unusable(error.into())),
        }
    }

    /// The directory.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Disk for RealDisk {
    type File = Arc<File>;

    fn list(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in std::fs::read_dir(&self.path)? {
            if let Ok(name) = entry?.file_name().into_string() {
                names.push(name);
            }
        }
        Ok(names)
    }

    fn open(&self, name: &str) -> io::Result<Self::File> {
        Ok(Arc::new(OpenOptions::new().read(true).write(true).open(self.path.join(name))?))
    }

    fn create(&self, name: &str, size: u64) -> io::Result<Self::File> {
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(self.path.join(name))?;
        #[cfg(target_os = "linux")]
        rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, size)?;
        #[cfg(not(target_os = "linux"))]
        file.set_len(size)?;
        Ok(Arc::new(file))
    }

    fn size(&self, file: &Self::File) -> io::Result<u64> {
        Ok(file.metadata()?.len())
    }

    #[cfg(target_os = "linux")]
    fn data_end(&self, file: &Self::File) -> io::Result<u64> {
        use rustix::fs::{SeekFrom, seek};
        let mut end = 0;
        // every read and write says where: nobody else needs the place in the file
        loop {
            let hole = match seek(file, SeekFrom::Data(end)) {
                Ok(data) => seek(file, SeekFrom::Hole(data)),
                Err(rustix::io::Errno::NXIO) => return Ok(end), // nothing but a hole from here on
                Err(error) => Err(error),
            };
            match hole {
                Ok(hole) if hole > end => end = hole,
                _ => return self.size(file), // a file system that knows nothing of it
            }
        }
    }

    fn read_at(&self, file: &Self::File, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        let mut filled = 0;
        while filled < buf.len() {
            match file.read_at(&mut buf[filled..], offset + filled as u64) {
                Ok(0) => break,
                Ok(read) => filled += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(filled)
    }

    fn write_at(&self, file: &Self::File, offset: u64, bytes: &[u8]) -> io::Result<()> {
        file.write_all_at(bytes, offset)
    }

    fn sync(&self, file: &Self::File) -> io::Result<()> {
        failpoint::check(Point::DiskSync)?;
        file.sync_data()
    }

    fn sync_names(&self) -> io::Result<()> {
        failpoint::check(Point::DiskSync)?;
        self.directory.sync_all()
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        std::fs::rename(self.path.join(from), self.path.join(to))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        std::fs::remove_file(self.path.join(name))
    }

    fn forget_cached(&self, file: &Self::File, bytes: u64) {
        #[cfg(target_os = "linux")]
        {
            let len = std::num::NonZeroU64::new(bytes);
            let _ = rustix::fs::fadvise(file.as_ref(), 0, len, rustix::fs::Advice::DontNeed);
        }
        #[cfg(not(target_os = "linux"))]
        let _ = (file, bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_allocated_and_never_written_need_not_be_read() {
        let path = std::env::temp_dir().join(format!("emberkv-holes-{}", std::process::id()));
        let disk = RealDisk::open(&path).unwrap();
        let file = disk.create("file", 1 << 20).unwrap();
        let end = |file| disk.data_end(file).unwrap();
        assert!(end(&file) <= 1 << 20);
        disk.write_at(&file, 300_000, b"here").unwrap();
        assert!((300_004..=1 << 20).contains(&end(&file)), "{}", end(&file));
        disk.write_at(&file, (1 << 20) - 1, b"!").unwrap();
        assert_eq!(end(&file), 1 << 20);
        std::fs::remove_dir_all(&path).unwrap();
    }

    #[test]
    fn a_directory_has_one_user_at_a_time() {
        let path = std::env::temp_dir().join(format!("emberkv-lock-{}", std::process::id()));
        let first = RealDisk::open(&path).unwrap();
        assert!(matches!(RealDisk::open(&path), Err(OpenError::Locked(_))));
        drop(first);
        RealDisk::open(&path).unwrap();
        std::fs::remove_dir_all(&path).unwrap();
    }
}
