//! A disk that reads another one and keeps in memory what is written, so that a start can be tried without a trace.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::Disk;

/// What is kept in one piece.
const PAGE: u64 = 4096;

/// See the module.
#[derive(Debug)]
pub struct OverlayDisk<D: Disk> {
    below: Arc<D>,
    /// Every name that was touched; `None` for one that is gone.
    names: Mutex<BTreeMap<String, Option<OverlayFile<D::File>>>>,
}

/// An open file.
#[derive(Debug)]
pub struct OverlayFile<F>(Arc<Mutex<State<F>>>);

impl<F> Clone for OverlayFile<F> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

#[derive(Debug)]
struct State<F> {
    /// The file below, and how many bytes it has.
    below: Option<(F, u64)>,
    size: u64,
    /// What was written, by number of page.
    pages: BTreeMap<u64, Box<[u8]>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // a panic ends the process
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn not_found(name: &str) -> io::Error {
    io::Error::new(io::ErrorKind::NotFound, format!("{name} is not there"))
}

impl<D: Disk> OverlayDisk<D> {
    /// Nothing is written yet.
    pub fn new(below: Arc<D>) -> Self {
        Self { below, names: Mutex::new(BTreeMap::new()) }
    }

    /// The files below that would be something else now, or be gone.
    ///
    /// # Errors
    /// Those of the disk below.
    pub fn changed(&self) -> io::Result<Vec<String>> {
        let there = self.below.list()?;
        let names = lock(&self.names);
        let is_changed = |name: &String| match names.get(name) {
            None => false,
            Some(None) => true,
            Some(Some(file)) => {
                let state = lock(&file.0);
                !state.pages.is_empty() || state.below.as_ref().is_none_or(|(_, size)| *size != state.size)
            }
        };
        Ok(there.into_iter().filter(is_changed).collect())
    }
}

impl<F> State<F> {
    /// Fills `buf`, which lies within the file, from what is below.
    fn read_below<D: Disk<File = F>>(&self, disk: &D, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        buf.fill(0);
        let Some((file, size)) = &self.below else { return Ok(()) };
        let len = size.saturating_sub(offset).min(buf.len() as u64) as usize;
        disk.read_at(file, offset, &mut buf[..len]).map(|_| ())
    }
}

/// The pieces of a range that lie in one page each: page, offset in it, and where in the range.
fn pieces(offset: u64, len: usize) -> impl Iterator<Item = (u64, usize, std::ops::Range<usize>)> {
    let mut done = 0;
    std::iter::from_fn(move || {
        let at = offset + done as u64;
        let within = (at % PAGE) as usize;
        let piece = (PAGE as usize - within).min(len - done);
        let range = done..done + piece;
        done += piece;
        (piece > 0).then_some((at / PAGE, within, range))
    })
}

impl<D: Disk> Disk for OverlayDisk<D> {
    type File = OverlayFile<D::File>;

    fn list(&self) -> io::Result<Vec<String>> {
        let names = lock(&self.names);
        let mut list = self.below.list()?;
        list.retain(|name| !names.contains_key(name));
        list.extend(names.iter().filter(|(_, file)| file.is_some()).map(|(name, _)| name.clone()));
        Ok(list)
    }

    fn open(&self, name: &str) -> io::Result<Self::File> {
        let mut names = lock(&self.names);
        match names.get(name) {
            Some(Some(file)) => return Ok(file.clone()),
            Some(None) => return Err(not_found(name)),
            None => {}
        }
        let below = self.below.open(name)?;
        let size = self.below.size(&below)?;
        let state = State { below: Some((below, size)), size, pages: BTreeMap::new() };
        let file = OverlayFile(Arc::new(Mutex::new(state)));
        names.insert(name.to_owned(), Some(file.clone()));
        Ok(file)
    }

    fn create(&self, name: &str, size: u64) -> io::Result<Self::File> {
        let file = match self.open(name) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let file = OverlayFile(Arc::new(Mutex::new(State { below: None, size: 0, pages: BTreeMap::new() })));
                lock(&self.names).insert(name.to_owned(), Some(file.clone()));
                file
            }
            Err(error) => return Err(error),
        };
        let mut state = lock(&file.0);
        state.size = state.size.max(size);
        drop(state);
        Ok(file)
    }

    fn size(&self, file: &Self::File) -> io::Result<u64> {
        Ok(lock(&file.0).size)
    }

    fn read_at(&self, file: &Self::File, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        let state = lock(&file.0);
        let len = state.size.saturating_sub(offset).min(buf.len() as u64) as usize;
        state.read_below(self.below.as_ref(), offset, &mut buf[..len])?;
        for (page, within, range) in pieces(offset, len) {
            if let Some(bytes) = state.pages.get(&page) {
                buf[range.clone()].copy_from_slice(&bytes[within..within + range.len()]);
            }
        }
        Ok(len)
    }

    fn write_at(&self, file: &Self::File, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let mut state = lock(&file.0);
        for (page, within, range) in pieces(offset, bytes.len()) {
            if !state.pages.contains_key(&page) {
                let mut fresh = vec![0; PAGE as usize].into_boxed_slice();
                if range.len() < PAGE as usize {
                    state.read_below(self.below.as_ref(), page * PAGE, &mut fresh)?;
                }
                state.pages.insert(page, fresh);
            }
            if let Some(kept) = state.pages.get_mut(&page) {
                kept[within..within + range.len()].copy_from_slice(&bytes[range]);
            }
        }
        state.size = state.size.max(offset + bytes.len() as u64);
        Ok(())
    }

    fn sync(&self, _: &Self::File) -> io::Result<()> {
        Ok(())
    }

    fn sync_names(&self) -> io::Result<()> {
        Ok(())
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let file = self.open(from)?;
        let mut names = lock(&self.names);
        names.insert(from.to_owned(), None);
        // under the new name it is no longer the file that was below
        let state = lock(&file.0);
        let mut copy = State { below: None, size: state.size, pages: state.pages.clone() };
        if state.below.is_some() {
            for page in 0..state.size.div_ceil(PAGE) {
                let mut bytes = vec![0; PAGE as usize].into_boxed_slice();
                state.read_below(self.below.as_ref(), page * PAGE, &mut bytes)?;
                copy.pages.entry(page).or_insert(bytes);
            }
        }
        drop(state);
        *lock(&file.0) = copy;
        names.insert(to.to_owned(), Some(file));
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.open(name)?;
        lock(&self.names).insert(name.to_owned(), None);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::sim::SimDisk;

    #[test]
    fn what_is_written_is_read_and_nothing_arrives_below() {
        let below = Arc::new(SimDisk::new());
        for name in ["a", "b", "c"] {
            let file = below.create(name, 10_000).unwrap();
            below.write_at(&file, 0, &[1; 10_000]).unwrap();
        }
        let disk = OverlayDisk::new(Arc::clone(&below));
        let a = disk.open("a").unwrap();
        disk.write_at(&a, 4_000, &[2; 200]).unwrap();
        let mut read = vec![9; 10_100];
        assert_eq!(disk.read_at(&a, 0, &mut read).unwrap(), 10_000);
        let mut wanted = vec![1; 10_000];
        wanted[4_000..4_200].fill(2);
        assert_eq!(read[..10_000], wanted);
        disk.remove("b").unwrap();
        assert!(disk.open("b").is_err());
        disk.rename("a", "d").unwrap();
        assert_eq!(disk.read_at(&disk.open("d").unwrap(), 0, &mut read).unwrap(), 10_000);
        assert_eq!(read[..10_000], wanted);
        let new = disk.create("e", 5_000).unwrap();
        assert_eq!((disk.size(&new).unwrap(), disk.read_at(&new, 4_990, &mut read).unwrap()), (5_000, 10));
        let mut names = disk.list().unwrap();
        names.sort();
        assert_eq!(names, ["c", "d", "e"]);
        let mut changed = disk.changed().unwrap();
        changed.sort();
        assert_eq!(changed, ["a", "b"]);
        for name in ["a", "b", "c"] {
            assert_eq!(below.contents(name), [1; 10_000]);
        }
        assert_eq!(below.list().unwrap().len(), 3);
    }
}
