//! `--latency`: how long PING takes; `--intrinsic-latency`: how long the machine takes to do nothing.

use std::io::IsTerminal;
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::connection::Connection;
use crate::console::print;
use crate::error::Result;
use crate::format::Format;
use crate::options::Options;

/// Between two samples.
const PAUSE: Duration = Duration::from_millis(10);

/// How often the line on a terminal is written anew.
const REFRESH: Duration = Duration::from_millis(100);

#[derive(Default)]
struct Samples {
    least: Duration,
    most: Duration,
    sum: Duration,
    count: u32,
}

impl Samples {
    fn add(&mut self, sample: Duration) {
        self.least = if self.count == 0 { sample } else { self.least.min(sample) };
        self.most = self.most.max(sample);
        self.sum += sample;
        self.count += 1;
    }

    fn line(&self, format: Format) -> String {
        let ms = |time: Duration| time.as_secs_f64() * 1000.0;
        let (least, most) = (ms(self.least), ms(self.most));
        let (average, count) = (ms(self.sum) / f64::from(self.count.max(1)), self.count);
        match format {
            Format::People => format!("min: {least:.2}, max: {most:.2}, avg: {average:.2} ms ({count} samples)"),
            Format::Csv => format!("{least:.2},{most:.2},{average:.2},{count}"),
            Format::Json | Format::QuotedJson => {
                format!(r#"{{"min":{least:.2},"max":{most:.2},"avg":{average:.2},"count":{count}}}"#)
            }
            Format::Raw => format!("{least:.2} {most:.2} {average:.2} {count}"),
        }
    }
}

/// One round trip.
pub(super) fn ping(connection: &mut Connection) -> Result<Duration> {
    let start = Instant::now();
    connection.must(&["PING"])?;
    Ok(start.elapsed())
}

/// On a terminal for ever, in one line or (`--latency-history`) a line for each interval; else one interval, one line.
pub(super) fn run(connection: &mut Connection, options: &Options, format: Format) -> Result<()> {
    let history = options.modes.latency_history;
    let live = format == Format::People && std::io::stdout().is_terminal();
    let default = Duration::from_secs(if history { 15 } else { 1 });
    let interval = options.pause().unwrap_or(default);
    loop {
        let (mut samples, start, mut shown) = (Samples::default(), Instant::now(), Instant::now());
        while samples.count == 0 || start.elapsed() < interval || live && !history {
            samples.add(ping(connection)?);
            if live && shown.elapsed() > REFRESH {
                print(format!("\r\x1b[K{}", samples.line(format)).as_bytes())?;
                shown = Instant::now();
            }
            sleep(PAUSE);
        }
        let line = samples.line(format);
        if !history {
            return print(format!("{line}\n").as_bytes());
        }
        let seconds = start.elapsed().as_secs_f64();
        let line = match format {
            Format::People => format!("{line} -- {seconds:.2} seconds range"),
            _ => line,
        };
        print(format!("{}{line}\n", if live { "\r\x1b[K" } else { "" }).as_bytes())?;
    }
}

/// Runs in a circle and looks when it was not let.
pub(crate) fn intrinsic_latency(seconds: u64) -> Result<()> {
    let start = Instant::now();
    let end = start + Duration::from_secs(seconds);
    let (mut worst, mut runs, mut before) = (Duration::ZERO, 0_u64, start);
    while before < end {
        // some work between two looks at the clock, so that not only the clock is measured.
        for value in 0..1000_u32 {
            std::hint::black_box(value);
        }
        let now = Instant::now();
        runs += 1;
        if now - before > worst {
            worst = now - before;
            print(format!("Max latency so far: {} microseconds.\n", worst.as_micros()).as_bytes())?;
        }
        before = now;
    }
    let average_us = start.elapsed().as_secs_f64() * 1e6 / runs.max(1) as f64;
    let times = worst.as_secs_f64() * 1e6 / average_us;
    let text = format!(
        "\n{runs} total runs (avg latency: {average_us:.4} microseconds / {:.2} nanoseconds per run).\n\
         Worst run took {times:.0}x longer than the average latency.\n",
        average_us * 1000.0
    );
    print(text.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_are_summed_up() {
        let mut samples = Samples::default();
        for ms in [4, 2, 9] {
            samples.add(Duration::from_millis(ms));
        }
        assert_eq!(samples.line(Format::Raw), "2.00 9.00 5.00 3");
        assert_eq!(samples.line(Format::Csv), "2.00,9.00,5.00,3");
        assert_eq!(samples.line(Format::People), "min: 2.00, max: 9.00, avg: 5.00 ms (3 samples)");
        assert_eq!(Samples::default().line(Format::Raw), "0.00 0.00 0.00 0");
    }
}
