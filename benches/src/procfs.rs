//! The few lines of `/proc` that the measurements need.

use std::path::Path;
use std::time::Duration;

use crate::error::{BenchError, read_text};

/// Cpu time (user and system) that a process has used, all threads together, those that ended too.
/// Its resolution is the kernel's tick, usually 10 ms.
///
/// # Errors
/// When the process is gone or `/proc` has an unknown form.
pub fn cpu_time(pid: u32) -> Result<Duration, BenchError> {
    let stat = read_text(Path::new(&format!("/proc/{pid}/stat")))?;
    let ticks = parse_cpu_ticks(&stat).ok_or(BenchError::Parse { what: "/proc/PID/stat", text: stat })?;
    Ok(of_ticks(ticks))
}

/// Time that these cpus were not idle, together, whatever they did. Its resolution is a tick for
/// each of them.
///
/// # Errors
/// When `/proc` has an unknown form, or one of the cpus is not in it.
pub fn busy_time(cpus: &[usize]) -> Result<Duration, BenchError> {
    let stat = read_text(Path::new("/proc/stat"))?;
    let mut ticks = 0;
    for cpu in cpus {
        ticks +=
            parse_busy_ticks(&stat, *cpu).ok_or(BenchError::Parse { what: "/proc/stat", text: format!("cpu{cpu}") })?;
    }
    Ok(of_ticks(ticks))
}

fn of_ticks(ticks: u64) -> Duration {
    let per_second = rustix::param::clock_ticks_per_second();
    Duration::from_secs_f64(ticks as f64 / per_second as f64)
}

/// Resident memory of a process in bytes.
///
/// # Errors
/// When the process is gone or `/proc` has an unknown form.
pub fn resident_bytes(pid: u32) -> Result<u64, BenchError> {
    kib_line(&format!("/proc/{pid}/status"), "VmRSS")
}

/// Memory that programs can still get without swapping, in bytes.
///
/// # Errors
/// When `/proc` has an unknown form.
pub fn available_bytes() -> Result<u64, BenchError> {
    kib_line("/proc/meminfo", "MemAvailable")
}

fn kib_line(path: &str, name: &str) -> Result<u64, BenchError> {
    let text = read_text(Path::new(path))?;
    parse_kib(&text, name)
        .ok_or(BenchError::Parse { what: "a memory figure of /proc", text: format!("{path}: {name}") })
}

/// utime + stime: fields 14 and 15, counted behind the command's name, which may hold anything.
fn parse_cpu_ticks(stat: &str) -> Option<u64> {
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_ascii_whitespace().skip(11);
    let utime: u64 = fields.next()?.parse().ok()?;
    let stime: u64 = fields.next()?.parse().ok()?;
    Some(utime + stime)
}

/// user + nice + system + irq + softirq + steal: all but idle and iowait.
fn parse_busy_ticks(stat: &str, cpu: usize) -> Option<u64> {
    let name = format!("cpu{cpu}");
    let mut fields = stat.lines().find_map(|line| {
        let mut fields = line.split_ascii_whitespace();
        (fields.next() == Some(name.as_str())).then_some(fields)
    })?;
    let mut busy = 0;
    for column in 0..8 {
        let ticks: u64 = fields.next()?.parse().ok()?;
        if !matches!(column, 3 | 4) {
            busy += ticks;
        }
    }
    Some(busy)
}

fn parse_kib(text: &str, name: &str) -> Option<u64> {
    let value = field(text, name)?;
    let kib: u64 = value.strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}

/// The value of the first line `name : value`.
pub fn field<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    text.lines().find_map(|line| {
        let (left, right) = line.split_once(':')?;
        (left.trim() == name).then(|| right.trim())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_ticks_are_found_behind_a_hostile_name() {
        let stat = "42 (a) 1 2 (b) S 1 42 42 0 -1 4194560 900 0 1 0 170 30 5 6 20 0 4 0 100 1 2";
        assert_eq!(parse_cpu_ticks(stat), Some(200));
    }

    #[test]
    fn a_cut_stat_is_none() {
        assert_eq!(parse_cpu_ticks("42 (x) S 1 2 3"), None);
        assert_eq!(parse_cpu_ticks(""), None);
    }

    #[test]
    fn busy_is_all_but_idle_and_iowait() {
        let stat = "cpu  9 9 9 9 9 9 9 9 0 0\ncpu1 1 2 4 800 900 8 16 32 7 7\ncpu10 0 0 0 0 0 0 0 0\n";
        assert_eq!(parse_busy_ticks(stat, 1), Some(63));
        assert_eq!(parse_busy_ticks(stat, 10), Some(0));
        assert_eq!(parse_busy_ticks(stat, 2), None);
    }

    #[test]
    fn memory_lines_are_in_kib() {
        let status = "Name:\tx\nVmHWM:\t  99 kB\nVmRSS:\t    1234 kB\n";
        assert_eq!(parse_kib(status, "VmRSS"), Some(1234 * 1024));
        assert_eq!(parse_kib(status, "VmSwap"), None);
    }

    #[test]
    fn own_process_has_memory_and_a_cpu_time() {
        let pid = std::process::id();
        assert!(resident_bytes(pid).unwrap() > 0);
        cpu_time(pid).unwrap();
        assert!(busy_time(&[0]).unwrap() > Duration::ZERO);
        assert!(available_bytes().unwrap() > 0);
    }
}
