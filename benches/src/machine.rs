//! What the numbers were measured on.

use std::fs;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::procfs;

/// The machine and the day.
#[derive(Clone, Debug)]
pub struct Machine {
    /// The cpu's name.
    pub cpu: String,
    /// The number of cpus this process may use.
    pub cores: usize,
    /// Memory in MiB.
    pub memory_mib: u64,
    /// The kernel's release.
    pub kernel: String,
    /// Today, UTC, as YYYY-MM-DD.
    pub date: String,
}

impl Machine {
    /// Describes this one; unknown parts are said to be so. Call it before pinning.
    pub fn here() -> Self {
        let read = |path| fs::read_to_string(path).unwrap_or_default();
        let unknown = || "unknown".to_owned();
        let cpuinfo = read("/proc/cpuinfo");
        let memory = read("/proc/meminfo");
        let total = procfs::field(&memory, "MemTotal");
        let kib = total.and_then(|t| t.strip_suffix("kB")?.trim().parse::<u64>().ok());
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let days = now.map_or(0, |now| now.as_secs() / 86_400);
        Self {
            cpu: procfs::field(&cpuinfo, "model name").map_or_else(unknown, str::to_owned),
            cores: std::thread::available_parallelism().map_or(0, usize::from),
            memory_mib: kib.unwrap_or(0) / 1024,
            kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
            date: date_of(days),
        }
    }
}

/// The date of a day since 1970-01-01.
fn date_of(mut days: u64) -> String {
    let mut year = 1970;
    let leap = |year: u64| year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    while days >= 365 + u64::from(leap(year)) {
        days -= 365 + u64::from(leap(year));
        year += 1;
    }
    let february = 28 + u64::from(leap(year));
    let lengths = [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let mut month = 1;
    for length in lengths {
        if days < length {
            break;
        }
        days -= length;
        month += 1;
    }
    format!("{year:04}-{month:02}-{:02}", days + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_become_dates() {
        assert_eq!(date_of(0), "1970-01-01");
        assert_eq!(date_of(364), "1970-12-31");
        assert_eq!(date_of(11_016), "2000-02-29");
        assert_eq!(date_of(19_782), "2024-02-29");
        assert_eq!(date_of(19_783), "2024-03-01");
    }
}
