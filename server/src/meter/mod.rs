//! What is measured of each command: how often, how long, how often in vain.
//!
//! A read of the clock for each command would cost a pipelined GET some percent. So commands that can't take long
//! alone are only counted, and a read of the clock after some of them gives each the mean of the time since the last
//! read. A command that may take long (it has no bound on its work, or many or long arguments) is timed by itself.

mod errors;
mod latency;
mod redact;
mod slow;

use std::time::{Duration, Instant};

use emberkv_resp::Args;
use emberkv_resp::schema::{Command, CommandId, Flags, Runs, all};
use hdrhistogram::Histogram;

use crate::config::Config;

pub(crate) use errors::Errors;
pub(crate) use latency::{Event, Latency, Sample, Series};
pub(crate) use redact::redacted;
pub(crate) use slow::{Slow, SlowLog};

/// Commands that share a read of the clock at most: it is half a percent of what they take.
const SHARED: u32 = 16;
/// Arguments from which on a command over any number of keys is timed by itself.
const MANY_ARGUMENTS: u32 = 16;
/// And bytes from which on any command is.
const LONG_REQUEST: usize = 64 << 10;
/// Below this, in µs, what is asked for is so exact that every command is timed by itself.
const EXACT_BELOW_US: i64 = 1000;

/// The longest time that a histogram tells from longer ones, in ns, and its significant digits: as redis has it.
const LONGEST_NS: u64 = 1_000_000_000;
const DIGITS: u8 = 2;

/// What is known of one command.
#[derive(Clone, Debug, Default)]
pub(crate) struct Row {
    /// Executed since the clock was read.
    pending: u32,
    /// It is timed by itself from so many arguments on.
    alone_from: u32,
    pub calls: u64,
    pub nanos: u64,
    /// Not executed: no such number of arguments, not allowed, not now.
    pub rejected: u64,
    /// Executed, and the answer was an error.
    pub failed: u64,
    /// Of its times in ns.
    pub times: Option<Box<Histogram<u64>>>,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Meter {
    rows: Vec<Row>,
    /// Commands with something pending.
    touched: Vec<CommandId>,
    pending: u32,
    /// When the clock was read last.
    mark: Instant,
    has_histograms: bool,
    slower_than_us: i64,
    monitor_ms: u64,
    pub errors: Errors,
    pub slow: SlowLog,
    pub latency: Latency,
}

impl Meter {
    pub fn new(config: &Config) -> Self {
        let mut meter = Self {
            rows: vec![Row::default(); all().len()],
            touched: Vec::new(),
            pending: 0,
            mark: Instant::now(),
            has_histograms: true,
            slower_than_us: 0,
            monitor_ms: 0,
            errors: Errors::default(),
            slow: SlowLog::default(),
            latency: Latency::default(),
        };
        meter.configure(config);
        meter
    }

    /// Takes over what the configuration says of measuring.
    pub fn configure(&mut self, config: &Config) {
        self.has_histograms = config.latency_tracking;
        self.slower_than_us = config.slowlog_log_slower_than;
        self.monitor_ms = config.latency_monitor_threshold.unsigned_abs();
        self.slow.set_max_len(config.slowlog_max_len.unsigned_abs());
        let is_exact = self.monitor_ms > 0 || (0..EXACT_BELOW_US).contains(&self.slower_than_us);
        for (command, row) in all().iter().zip(&mut self.rows) {
            row.alone_from = if is_exact { 0 } else { alone_from(command) };
        }
    }

    /// The command that is executed next is not to share its time with those before; returns whether it is to be timed
    /// by itself: then [`Meter::end_alone`] comes after it, else [`Meter::count`].
    #[inline]
    pub fn begin(&mut self, id: CommandId, args: Args<'_>, bytes: usize) -> bool {
        let is_alone = args.len() as u32 >= self.rows[id as usize].alone_from || bytes >= LONG_REQUEST;
        if is_alone {
            self.settle();
        }
        is_alone
    }

    /// A command that shares its time was executed.
    #[inline]
    pub fn count(&mut self, id: CommandId) {
        let row = &mut self.rows[id as usize];
        if row.pending == 0 {
            self.touched.push(id);
        }
        row.pending += 1;
        self.pending += 1;
    }

    /// A command was timed by itself. Returns how long it took, in µs, if the slow log is to have it.
    #[cold]
    pub fn end_alone(&mut self, id: CommandId, now_ms: u64) -> Option<u64> {
        let before = std::mem::replace(&mut self.mark, Instant::now());
        self.add(id, self.mark.saturating_duration_since(before), now_ms)
    }

    /// A command took so long. Returns how long that is, in µs, if the slow log is to have it.
    pub fn add(&mut self, id: CommandId, took: Duration, now_ms: u64) -> Option<u64> {
        self.rows[id as usize].add_times(1, took.as_nanos() as u64, self.has_histograms);
        let micros = took.as_micros() as u64;
        if self.monitor_ms > 0 && took.as_millis() as u64 >= self.monitor_ms {
            let is_fast = id.command().flags.contains(Flags::FAST);
            let event = if is_fast { Event::FastCommand } else { Event::Command };
            self.latency.add(event, now_ms / 1000, took.as_millis() as u64);
        }
        let is_slow = self.slower_than_us >= 0 && micros >= self.slower_than_us.unsigned_abs();
        is_slow.then_some(micros)
    }

    /// Time passes that no command is to have.
    #[inline]
    pub fn skip(&mut self) {
        self.mark = Instant::now();
    }

    /// Gives the commands that are pending their time if they are many.
    #[inline]
    pub fn settle_if_many(&mut self) {
        if self.pending >= SHARED {
            self.settle();
        }
    }

    /// Gives the commands that are pending their time.
    pub fn settle(&mut self) {
        if self.pending == 0 {
            return self.skip();
        }
        let now = Instant::now();
        let nanos = now.saturating_duration_since(self.mark).as_nanos() as u64;
        self.mark = now;
        let each = nanos / u64::from(self.pending);
        for id in self.touched.drain(..) {
            let row = &mut self.rows[id as usize];
            let n = u64::from(std::mem::take(&mut row.pending));
            row.add_times(n, each, self.has_histograms);
        }
        self.pending = 0;
    }

    /// A command was not executed; `text` is the error.
    pub fn reject(&mut self, id: Option<CommandId>, text: &[u8]) {
        self.errors.add(text);
        if let Some(id) = id {
            self.rows[id as usize].rejected += 1;
        }
    }

    /// A command was executed, and this is its error.
    pub fn fail(&mut self, id: CommandId, text: &[u8]) {
        self.errors.add(text);
        self.rows[id as usize].failed += 1;
    }

    /// The commands that were called, or were to be; with their times if `with_times`: that is some kilobytes for each.
    pub fn rows(&self, with_times: bool) -> Vec<(CommandId, Row)> {
        let known = all().iter().zip(&self.rows);
        let known = known.filter(|(_, row)| row.calls + row.rejected + row.failed > 0);
        let copy = |row: &Row| Row { times: if with_times { row.times.clone() } else { None }, ..*row };
        known.map(|(command, row)| (command.id, copy(row))).collect()
    }

    /// CONFIG RESETSTAT.
    pub fn reset(&mut self) {
        for row in &mut self.rows {
            // what is pending is counted anew
            *row = Row { pending: row.pending, alone_from: row.alone_from, ..Row::default() };
        }
        self.errors = Errors::default();
    }
}

impl Row {
    /// `n` calls took `each` nanoseconds.
    fn add_times(&mut self, n: u64, each: u64, has_histogram: bool) {
        self.calls += n;
        self.nanos += each * n;
        if !has_histogram {
            return;
        }
        if self.times.is_none() {
            self.times = Histogram::new_with_bounds(1, LONGEST_NS, DIGITS).ok().map(Box::new);
        }
        if let Some(times) = &mut self.times {
            times.saturating_record_n(each.max(1), n);
        }
    }

    /// Adds what another core has measured.
    pub fn add(&mut self, other: &Self) {
        self.calls += other.calls;
        self.nanos += other.nanos;
        self.rejected += other.rejected;
        self.failed += other.failed;
        match (&mut self.times, &other.times) {
            (Some(times), Some(more)) => {
                // both have the same bounds, so it fits
                let _ = times.add(&**more);
            }
            (times @ None, Some(more)) => *times = Some(more.clone()),
            (_, None) => {}
        }
    }
}

/// From how many arguments on a command is timed by itself.
fn alone_from(command: &Command) -> u32 {
    let one_key = command.runs == Runs::Data
        && (command.flags.contains(Flags::FAST)
            || matches!(command.id, CommandId::Set | CommandId::Setex | CommandId::Psetex));
    let several_keys = matches!(
        command.id,
        CommandId::Del | CommandId::Unlink | CommandId::Exists | CommandId::Mget | CommandId::Mset | CommandId::Touch
    );
    match command.id {
        _ if several_keys => MANY_ARGUMENTS,
        _ if one_key => u32::MAX,
        CommandId::Ping | CommandId::Echo | CommandId::Select => u32::MAX,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn meter(change: impl FnOnce(&mut Config)) -> Meter {
        let mut config = Config::default();
        change(&mut config);
        Meter::new(&config)
    }

    fn row(meter: &Meter, id: CommandId) -> Row {
        meter.rows(true).into_iter().find(|(known, _)| *known == id).map(|(_, row)| row).unwrap_or_default()
    }

    #[test]
    fn commands_share_the_time_between_two_looks_at_the_clock() {
        let mut meter = meter(|_| {});
        let args = Args::new(b"", &[]);
        for id in [CommandId::Get, CommandId::Get, CommandId::Set] {
            assert!(!meter.begin(id, args, 0));
            meter.count(id);
        }
        assert_eq!(row(&meter, CommandId::Get).calls, 0);
        meter.settle();
        let (get, set) = (row(&meter, CommandId::Get), row(&meter, CommandId::Set));
        assert_eq!((get.calls, set.calls, get.nanos), (2, 1, 2 * set.nanos));
        assert_eq!(get.times.map(|times| times.len()), Some(2));
    }

    #[test]
    fn what_may_take_long_is_timed_by_itself() {
        let mut usual = meter(|_| {});
        let args = Args::new(b"", &[]);
        assert!(usual.begin(CommandId::Keys, args, 0));
        assert!(usual.begin(CommandId::Get, args, LONG_REQUEST));
        assert!(!usual.begin(CommandId::Get, args, 10));
        let mut exact = meter(|config| config.slowlog_log_slower_than = 0);
        assert!(exact.begin(CommandId::Get, args, 10));
        assert!(exact.end_alone(CommandId::Get, 0).is_some());
        let mut none = meter(|config| config.slowlog_log_slower_than = -1);
        assert!(none.begin(CommandId::Keys, args, 0));
        assert!(none.end_alone(CommandId::Keys, 0).is_none());
    }

    #[test]
    fn what_was_in_vain_is_counted_by_its_reason_until_it_is_reset() {
        let mut meter = meter(|_| {});
        meter.reject(Some(CommandId::Get), b"ERR wrong number of arguments for 'get' command");
        meter.reject(None, b"ERR unknown command");
        meter.fail(CommandId::Incr, b"WRONGTYPE no");
        assert_eq!((row(&meter, CommandId::Get).rejected, row(&meter, CommandId::Incr).failed), (1, 1));
        assert_eq!((meter.errors.total, meter.errors.by_code().len()), (3, 2));
        meter.reset();
        assert!(meter.rows(true).is_empty() && meter.errors.total == 0);
    }
}
