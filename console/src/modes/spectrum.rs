//! `--latency-dist`: where the round trips of each interval lie, as shades.

use std::thread::sleep;
use std::time::{Duration, Instant};

use super::latency::ping;
use crate::connection::Connection;
use crate::console::print;
use crate::error::Result;

/// The upper ends of the columns, in microseconds; the last has none.
const UPPER_US: [u64; 15] =
    [20, 50, 100, 200, 300, 500, 750, 1_000, 2_000, 5_000, 10_000, 50_000, 100_000, 500_000, 1_000_000];

/// Shades from none to all, and colours of the 256 from cold to hot.
const SHADES: [(&str, u8); 6] = [(" ", 0), (".", 27), ("-", 33), ("+", 40), ("*", 220), ("#", 196)];

/// A column is so wide.
const WIDTH: usize = 3;

fn column(sample: Duration) -> usize {
    let us = u64::try_from(sample.as_micros()).unwrap_or(u64::MAX);
    UPPER_US.partition_point(|upper| *upper < us)
}

fn shade(count: u32, all: u32) -> (&'static str, u8) {
    if count == 0 {
        return SHADES[0];
    }
    // ceil: one of many is still something.
    let step = (f64::from(count) / f64::from(all.max(1)) * (SHADES.len() - 1) as f64).ceil() as usize;
    SHADES[step.clamp(1, SHADES.len() - 1)]
}

fn line(counts: &[u32]) -> String {
    let all = counts.iter().sum();
    let mut text = String::new();
    for count in counts {
        let (shade, colour) = shade(*count, all);
        text += &format!("\x1b[38;5;{colour}m{}", shade.repeat(WIDTH));
    }
    text + "\x1b[0m"
}

fn legend() -> String {
    let show = |us: &u64| match us {
        0..1_000 => format!(".{:02}", us / 10),
        1_000..1_000_000 => format!("{}", us / 1000),
        _ => format!("{}s", us / 1_000_000),
    };
    let columns = UPPER_US.iter().map(show).chain(["more".to_owned()]);
    let columns: String = columns.map(|text| format!("{text:<WIDTH$}")).collect();
    format!("{columns}   up to so many ms; {}\n", SHADES[1..].iter().map(|(shade, _)| *shade).collect::<String>())
}

/// For ever.
pub(super) fn run(connection: &mut Connection, interval: Option<Duration>) -> Result<()> {
    let interval = interval.unwrap_or(Duration::from_secs(1));
    for lines in 0_u64.. {
        if lines.is_multiple_of(20) {
            print(legend().as_bytes())?;
        }
        let mut counts = [0; UPPER_US.len() + 1];
        let start = Instant::now();
        while start.elapsed() < interval {
            counts[column(ping(connection)?)] += 1;
            sleep(Duration::from_millis(1));
        }
        print(format!("{}   {} samples\n", line(&counts), counts.iter().sum::<u32>()).as_bytes())?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_time_has_its_column() {
        assert_eq!(column(Duration::ZERO), 0);
        assert_eq!(column(Duration::from_micros(20)), 0);
        assert_eq!(column(Duration::from_micros(21)), 1);
        assert_eq!(column(Duration::from_secs(3600)), UPPER_US.len());
    }

    #[test]
    fn one_of_many_is_seen() {
        assert_eq!((shade(0, 9).0, shade(1, 1000).0, shade(9, 9).0), (" ", ".", "#"));
        assert_eq!(shade(0, 0).0, " ");
    }
}
