//! `server-cpulist`: a core's thread stays on its processor. Not done unless it is asked for: when a core has to share its
//! processor with somebody, a client or another server, it is better off where the scheduler puts it (measured with two
//! cores on two processors and redis-benchmark beside them, one request at a time: 52k operations a second pinned, 95k not).

/// Pins the calling thread; threads that it starts are pinned too.
#[cfg(target_os = "linux")]
pub(crate) fn pin_to(processor: usize) {
    let mut set = rustix::thread::CpuSet::new();
    let exists = processor < rustix::thread::CpuSet::MAX_CPU;
    if exists {
        set.set(processor);
    }
    if !exists || rustix::thread::sched_setaffinity(None, &set).is_err() {
        tracing::warn!(processor, "server-cpulist: there is no such processor");
    }
}

/// There is no such thing here.
#[cfg(not(target_os = "linux"))]
pub(crate) fn pin_to(_processor: usize) {}
