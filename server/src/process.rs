//! What the system says of this process.

use std::fs;

/// A field of `/proc/self/status` in bytes; zero where there is no such file.
fn status_bytes(field: &str) -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with(field));
    let kib = line.and_then(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok());
    kib.unwrap_or(0) * 1024
}

/// Resident memory.
pub(crate) fn resident_bytes() -> u64 {
    status_bytes("VmRSS:")
}

/// Resident memory, by kind.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub(crate) struct Resident {
    pub all: u64,
    /// The process's own.
    pub anonymous: u64,
    /// Of files, which can be dropped at any time.
    pub mapped: u64,
}

/// See [`Resident`].
pub(crate) fn resident() -> Resident {
    Resident { all: resident_bytes(), anonymous: status_bytes("RssAnon:"), mapped: status_bytes("RssFile:") }
}

/// Memory of the machine.
pub(crate) fn system_memory_bytes() -> u64 {
    let info = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let kib = info.split_whitespace().nth(1).and_then(|kib| kib.parse::<u64>().ok());
    kib.unwrap_or(0) * 1024
}

/// Milliseconds of cpu time that the calling thread has used.
pub(crate) fn thread_cpu_ms() -> u64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    u64::try_from(time.tv_sec).unwrap_or(0) * 1000 + u64::try_from(time.tv_nsec).unwrap_or(0) / 1_000_000
}

/// Seconds of cpu time that all threads have used: (user, system).
pub(crate) fn cpu_seconds() -> (f64, f64) {
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // the name in brackets may hold blanks; utime and stime are the 12th and 13th field after it
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks = rustix::param::clock_ticks_per_second().max(1) as f64;
    let seconds = |i: usize| fields.get(i).and_then(|field| field.parse::<f64>().ok()).unwrap_or(0.0) / ticks;
    (seconds(11), seconds(12))
}
