//! A disk in memory that can lose what was not synced: for tests and `torture`. Deterministic by seed.
//!
//! What it does to its users: at a power loss every unsynced sector is kept or lost on its own, so writes
//! are torn and reordered; names that were not synced go back to any earlier moment; a failed sync
//! leaves pages that look written and are never synced again (law 8); the disk fills up; at the nth
//! operation everything stops, as if the process had been killed there.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::Disk;

const SECTOR: usize = 512;

/// A small deterministic source of choices (splitmix64).
#[derive(Clone, Debug)]
pub struct Choices(u64);

impl Choices {
    /// Choices that follow from `seed` alone.
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next 64 bits.
    pub fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `bound`, which is not zero.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.draw() % bound
    }

    /// True once in `n` times.
    pub fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }
}

#[derive(Clone, Debug, Default)]
struct Inode {
    /// What a reader sees.
    live: Vec<u8>,
    /// What a power loss leaves for certain.
    durable: Vec<u8>,
    /// Ranges written since the last sync.
    dirty: Vec<(usize, usize)>,
    /// Ranges that a failed sync has left clean without their being durable.
    limbo: Vec<(usize, usize)>,
}

#[derive(Clone, Debug, Default)]
struct State {
    inodes: BTreeMap<u64, Inode>,
    next_inode: u64,
    names: BTreeMap<String, u64>,
    /// What the directory looked like after each change since it was synced; the first is durable.
    name_history: Vec<BTreeMap<String, u64>>,
    capacity: Option<u64>,
    operations: u64,
    crash_at: Option<u64>,
    crashed: bool,
    failing_syncs: u64,
    failing_writes: u64,
    failing_reads: u64,
}

/// See the module. Clones share the disk.
#[derive(Clone, Debug, Default)]
pub struct SimDisk {
    state: Arc<Mutex<State>>,
}

/// A file of a [`SimDisk`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SimFile(u64);

impl SimDisk {
    /// An empty disk.
    pub fn new() -> Self {
        let disk = Self::default();
        disk.lock().name_history.push(BTreeMap::new());
        disk
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many changing operations there have been.
    pub fn operations(&self) -> u64 {
        self.lock().operations
    }

    /// Makes every operation from the `n`th from now on fail, as if the process were no more.
    pub fn crash_after(&self, n: u64) {
        let mut state = self.lock();
        state.crash_at = Some(state.operations + n);
    }

    /// Whether the crash has happened.
    pub fn crashed(&self) -> bool {
        self.lock().crashed
    }

    /// Makes the next `n` syncs of files fail.
    pub fn fail_syncs(&self, n: u64) {
        self.lock().failing_syncs = n;
    }

    /// Makes the next `n` writes fail.
    pub fn fail_writes(&self, n: u64) {
        self.lock().failing_writes = n;
    }

    /// Makes the next `n` reads fail.
    pub fn fail_reads(&self, n: u64) {
        self.lock().failing_reads = n;
    }

    /// Limits the disk to so many bytes of files; `None` for no limit.
    pub fn set_capacity(&self, bytes: Option<u64>) {
        self.lock().capacity = bytes;
    }

    /// Bytes of all files.
    pub fn used(&self) -> u64 {
        self.lock().used()
    }

    /// Flips the bit at `bit` of the file, also of what is durable.
    ///
    /// # Panics
    /// If there is no such bit.
    pub fn flip_bit(&self, name: &str, bit: u64) {
        let mut state = self.lock();
        let inode = state.names[name];
        if let Some(inode) = state.inodes.get_mut(&inode) {
            inode.live[bit as usize / 8] ^= 1 << (bit % 8);
            if let Some(byte) = inode.durable.get_mut(bit as usize / 8) {
                *byte ^= 1 << (bit % 8);
            }
        }
    }

    /// The contents of a file.
    ///
    /// # Panics
    /// If there is none of the name.
    pub fn contents(&self, name: &str) -> Vec<u8> {
        let state = self.lock();
        state.inodes[&state.names[name]].live.clone()
    }

    /// The disk as the next process finds it after `kill -9`: everything written is there, the unsynced
    /// still at the mercy of a power loss.
    pub fn after_kill(&self) -> Self {
        let mut state = self.lock().clone();
        state.crash_at = None;
        state.crashed = false;
        state.failing_syncs = 0;
        state.failing_writes = 0;
        Self { state: Arc::new(Mutex::new(state)) }
    }

    /// The disk after a power loss that takes everything that it can from files; names stay.
    pub fn without_unsynced(&self) -> Self {
        let disk = self.after_kill();
        for inode in disk.lock().inodes.values_mut() {
            *inode = Inode { live: inode.durable.clone(), durable: inode.durable.clone(), ..Inode::default() };
        }
        disk
    }

    /// The disk as it may be after a power loss.
    pub fn after_power_loss(&self, choices: &mut Choices) -> Self {
        let disk = self.after_kill();
        {
            let mut state = disk.lock();
            let kept = choices.below(state.name_history.len() as u64) as usize;
            state.names = state.name_history[kept].clone();
            state.name_history = vec![state.names.clone()];
            // now and then all or nothing, since both are likely and a subset seldom hits them
            let mood = choices.below(4);
            for inode in state.inodes.values_mut() {
                let mut left = inode.durable.clone();
                left.resize(inode.durable.len().max(if mood == 0 { 0 } else { inode.live.len() }), 0);
                let mut sectors: Vec<usize> = (inode.dirty.iter().chain(&inode.limbo))
                    .flat_map(|&(from, to)| from / SECTOR..to.div_ceil(SECTOR))
                    .collect();
                sectors.sort_unstable();
                sectors.dedup();
                for sector in sectors {
                    let keep = match mood {
                        0 => false,
                        1 => true,
                        _ => choices.one_in(2),
                    };
                    let (from, to) = (sector * SECTOR, ((sector + 1) * SECTOR).min(inode.live.len()));
                    if keep && to <= left.len() {
                        left[from..to].copy_from_slice(&inode.live[from..to]);
                    }
                }
                *inode = Inode { live: left.clone(), durable: left, ..Inode::default() };
            }
        }
        disk
    }
}

impl State {
    /// Counts an operation; an error if the process is dead by now.
    fn step(&mut self) -> io::Result<()> {
        self.operations += 1;
        if self.crash_at.is_some_and(|at| self.operations > at) {
            self.crashed = true;
            return Err(io::Error::other("the simulated process was killed"));
        }
        Ok(())
    }

    fn record_names(&mut self) {
        self.name_history.push(self.names.clone());
    }

    fn used(&self) -> u64 {
        let named: std::collections::BTreeSet<u64> = self.names.values().copied().collect();
        named.iter().filter_map(|inode| self.inodes.get(inode)).map(|inode| inode.live.len() as u64).sum()
    }

    fn inode(&mut self, file: SimFile) -> io::Result<&mut Inode> {
        self.inodes.get_mut(&file.0).ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))
    }
}

impl Disk for SimDisk {
    type File = SimFile;

    fn list(&self) -> io::Result<Vec<String>> {
        Ok(self.lock().names.keys().cloned().collect())
    }

    fn open(&self, name: &str) -> io::Result<SimFile> {
        let inode = self.lock().names.get(name).copied();
        inode.map(SimFile).ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))
    }

    fn create(&self, name: &str, size: u64) -> io::Result<SimFile> {
        let mut state = self.lock();
        state.step()?;
        let existing = state.names.get(name).copied();
        let grows = existing.map_or(size, |inode| size.saturating_sub(state.inodes[&inode].live.len() as u64));
        if state.capacity.is_some_and(|capacity| state.used() + grows > capacity) {
            return Err(io::Error::from(io::ErrorKind::StorageFull));
        }
        let inode = existing.unwrap_or(state.next_inode);
        if existing.is_none() {
            state.next_inode += 1;
            state.names.insert(name.to_owned(), inode);
            state.record_names();
        }
        let live = &mut state.inodes.entry(inode).or_default().live;
        if (live.len() as u64) < size {
            live.resize(size as usize, 0);
        }
        Ok(SimFile(inode))
    }

    fn size(&self, file: &SimFile) -> io::Result<u64> {
        Ok(self.lock().inode(*file)?.live.len() as u64)
    }

    fn read_at(&self, file: &SimFile, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        let mut state = self.lock();
        if state.failing_reads > 0 {
            state.failing_reads -= 1;
            return Err(io::Error::other("simulated read error"));
        }
        let live = &state.inode(*file)?.live;
        let from = (offset as usize).min(live.len());
        let len = buf.len().min(live.len() - from);
        buf[..len].copy_from_slice(&live[from..from + len]);
        Ok(len)
    }

    fn write_at(&self, file: &SimFile, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let mut state = self.lock();
        state.step()?;
        if state.failing_writes > 0 {
            state.failing_writes -= 1;
            return Err(io::Error::other("simulated write error"));
        }
        let inode = state.inode(*file)?;
        let (from, to) = (offset as usize, offset as usize + bytes.len());
        if inode.live.len() < to {
            inode.live.resize(to, 0);
        }
        inode.live[from..to].copy_from_slice(bytes);
        inode.dirty.push((from, to));
        Ok(())
    }

    fn sync(&self, file: &SimFile) -> io::Result<()> {
        let mut state = self.lock();
        state.step()?;
        let fails = state.failing_syncs > 0;
        state.failing_syncs = state.failing_syncs.saturating_sub(1);
        let inode = state.inode(*file)?;
        let dirty = std::mem::take(&mut inode.dirty);
        if fails {
            inode.limbo.extend(dirty);
            return Err(io::Error::other("simulated sync error"));
        }
        inode.durable.resize(inode.live.len(), 0);
        for (from, to) in dirty {
            // a sector is written whole, but bytes in limbo beside it stay what they are
            inode.durable[from..to].copy_from_slice(&inode.live[from..to]);
        }
        Ok(())
    }

    fn write_synced(&self, file: &SimFile, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.write_at(file, offset, bytes)?;
        let mut state = self.lock();
        state.step()?;
        let fails = state.failing_syncs > 0;
        state.failing_syncs = state.failing_syncs.saturating_sub(1);
        let inode = state.inode(*file)?;
        let Some((from, to)) = inode.dirty.pop() else { unreachable!("it was written just now") };
        if fails {
            inode.limbo.push((from, to));
            return Err(io::Error::other("simulated sync error"));
        }
        inode.durable.resize(inode.live.len(), 0);
        inode.durable[from..to].copy_from_slice(&inode.live[from..to]);
        Ok(())
    }

    fn sync_names(&self) -> io::Result<()> {
        let mut state = self.lock();
        state.step()?;
        state.name_history = vec![state.names.clone()];
        Ok(())
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut state = self.lock();
        state.step()?;
        let inode = state.names.remove(from).ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))?;
        state.names.insert(to.to_owned(), inode);
        state.record_names();
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let mut state = self.lock();
        state.step()?;
        state.names.remove(name).ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))?;
        state.record_names();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_synced_survives_and_the_rest_may_not() {
        let disk = SimDisk::new();
        let file = disk.create("f", 2048).unwrap();
        disk.write_at(&file, 0, &[1; 1024]).unwrap();
        disk.sync(&file).unwrap();
        disk.sync_names().unwrap();
        disk.write_at(&file, 512, &[2; 1024]).unwrap();
        let mut seen = [false; 2];
        for seed in 0..50 {
            let after = disk.after_power_loss(&mut Choices::new(seed));
            let bytes = after.contents("f");
            assert_eq!(bytes[..512], [1; 512]);
            seen[usize::from(bytes[512] == 2)] = true;
        }
        assert_eq!(seen, [true; 2]);
        assert_eq!(disk.after_kill().contents("f")[512], 2);
    }

    #[test]
    fn a_failed_sync_is_never_made_good_by_the_next() {
        let disk = SimDisk::new();
        let file = disk.create("f", 512).unwrap();
        disk.sync(&file).unwrap();
        disk.sync_names().unwrap();
        disk.write_at(&file, 0, &[1; 512]).unwrap();
        disk.fail_syncs(1);
        assert!(disk.sync(&file).is_err());
        disk.sync(&file).unwrap();
        assert!((0..50).any(|seed| disk.after_power_loss(&mut Choices::new(seed)).contents("f")[0] == 0));
    }

    #[test]
    fn a_name_that_was_not_synced_may_be_gone() {
        let disk = SimDisk::new();
        let file = disk.create("f", 512).unwrap();
        disk.sync(&file).unwrap();
        assert!((0..50).any(|seed| disk.after_power_loss(&mut Choices::new(seed)).open("f").is_err()));
    }
}
