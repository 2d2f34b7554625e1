//! A core's thread stays on its processor: so do its caches' contents, and no two cores share one by chance.

/// The processors for this many cores: the first ones that the process may use. None, if it may not use so many.
#[cfg(target_os = "linux")]
pub(crate) fn places(cores: u16) -> Vec<usize> {
    let Ok(allowed) = rustix::thread::sched_getaffinity(None) else { return Vec::new() };
    let places: Vec<usize> = (0..rustix::thread::CpuSet::MAX_CPU).filter(|cpu| allowed.is_set(*cpu)).collect();
    if places.len() < usize::from(cores) { Vec::new() } else { places[..usize::from(cores)].to_vec() }
}

/// Pins the calling thread; threads that it starts are pinned too.
#[cfg(target_os = "linux")]
pub(crate) fn pin_to(processor: usize) {
    let mut set = rustix::thread::CpuSet::new();
    set.set(processor);
    if let Err(error) = rustix::thread::sched_setaffinity(None, &set) {
        tracing::warn!(processor, %error, "a core can't be pinned");
    }
}

/// There is no such thing here.
#[cfg(not(target_os = "linux"))]
pub(crate) fn places(_cores: u16) -> Vec<usize> {
    Vec::new()
}

/// There is no such thing here.
#[cfg(not(target_os = "linux"))]
pub(crate) fn pin_to(_processor: usize) {}
