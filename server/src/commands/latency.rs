//! LATENCY: what took long, of all cores.

use std::collections::BTreeMap;
use std::fmt::Write;

use emberkv_resp::schema::CommandId;
use emberkv_resp::{Args, Reply};

use super::Outcome;
use crate::core::shard::Shard;
use crate::core::{Question, Told};
use crate::driver::ConnId;
use crate::meter::{Event, Latency, Row, Sample, Series};

/// What is asked.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum AboutLatency {
    Latest,
    /// The samples of an event, by its name.
    History(Vec<u8>),
    /// Drawn as a graph.
    Graph(Event),
    /// In words.
    Doctor,
    /// Forget these events.
    Reset(Vec<Event>),
    /// The histograms of these commands; `None`: of all.
    Histogram(Option<Vec<CommandId>>),
}

impl Shard {
    pub(super) fn latency(&mut self, conn: ConnId, id: CommandId, args: Args<'_>) -> Outcome {
        let about = match id {
            CommandId::LatencyLatest => AboutLatency::Latest,
            CommandId::LatencyHistory => AboutLatency::History(args.at(2).to_vec()),
            CommandId::LatencyGraph => {
                let name = String::from_utf8_lossy(args.at(2));
                let has_samples = format!("ERR No samples available for event '{name}'");
                AboutLatency::Graph(Event::named(args.at(2)).ok_or(has_samples)?)
            }
            CommandId::LatencyDoctor => AboutLatency::Doctor,
            CommandId::LatencyReset if args.len() == 2 => AboutLatency::Reset(Event::ALL.to_vec()),
            CommandId::LatencyReset => AboutLatency::Reset(args.from(2).iter().filter_map(Event::named).collect()),
            _ if args.len() == 2 => AboutLatency::Histogram(None),
            _ => {
                let named = args.from(2).iter().filter_map(|name| self.names.lookup_full(name));
                // a container stands for its subcommands
                let ids = named.flat_map(|command| command.subcommands.iter().copied().chain([command.id]));
                AboutLatency::Histogram(Some(ids.collect()))
            }
        };
        self.ask_all(conn, Question::Latency(about));
        Ok(())
    }

    /// What this core knows.
    pub(crate) fn tell_latency(&mut self, about: &AboutLatency) -> Told {
        match about {
            AboutLatency::Reset(events) => {
                Told::Forgot(events.iter().copied().filter(|event| self.meter.latency.reset(*event)).collect())
            }
            AboutLatency::Histogram(ids) => {
                let is_asked = |(id, _): &(CommandId, Row)| ids.as_ref().is_none_or(|ids| ids.contains(id));
                Told::Times(self.meter.rows(true).into_iter().filter(is_asked).collect())
            }
            _ => Told::Latency(Box::new(self.meter.latency.clone())),
        }
    }

    /// The reply, out of what all cores have told.
    pub(crate) fn reply_latency(&self, about: &AboutLatency, told: &[Told], reply: &mut Reply<'_>) {
        let known: Vec<&Latency> = told
            .iter()
            .filter_map(|told| if let Told::Latency(latency) = told { Some(&**latency) } else { None })
            .collect();
        let series = |event: Event| Series::merged(known.iter().map(|latency| latency.series(event)));
        match about {
            AboutLatency::Latest => {
                let all: Vec<_> = Event::ALL.into_iter().map(|event| (event, series(event))).collect();
                let known: Vec<_> = all
                    .iter()
                    .filter_map(|(event, series)| Some((event, series.max_ms, series.samples.back()?)))
                    .collect();
                reply.array(known.len());
                for (event, max_ms, last) in known {
                    reply.array(4);
                    reply.bulk(event.name().as_bytes());
                    reply.integer(last.at_s as i64);
                    reply.integer(last.ms as i64);
                    reply.integer(max_ms as i64);
                }
            }
            AboutLatency::History(name) => {
                let series = Event::named(name).map(series).unwrap_or_default();
                reply.array(series.samples.len());
                for sample in &series.samples {
                    reply.array(2);
                    reply.integer(sample.at_s as i64);
                    reply.integer(sample.ms as i64);
                }
            }
            AboutLatency::Graph(event) => {
                let series = series(*event);
                if series.samples.is_empty() {
                    reply.error(&format!("ERR No samples available for event '{}'", event.name()));
                } else {
                    reply.verbatim(*b"txt", graph(*event, &series, self.now_ms / 1000).as_bytes());
                }
            }
            AboutLatency::Doctor => {
                let all = Event::ALL.map(|event| (event, series(event)));
                reply.verbatim(*b"txt", doctor(&all, self.config.latency_monitor_threshold).as_bytes());
            }
            AboutLatency::Reset(events) => {
                let forgot = |event: &&Event| {
                    told.iter().any(|told| matches!(told, Told::Forgot(events) if events.contains(event)))
                };
                reply.integer(events.iter().filter(forgot).count() as i64);
            }
            AboutLatency::Histogram(_) => reply_histograms(told, reply),
        }
    }
}

fn reply_histograms(told: &[Told], reply: &mut Reply<'_>) {
    let mut rows: BTreeMap<u16, Row> = BTreeMap::new();
    for (id, row) in
        told.iter().filter_map(|told| if let Told::Times(rows) = told { Some(rows) } else { None }).flatten()
    {
        if row.times.is_some() {
            rows.entry(*id as u16).or_default().add(row);
        }
    }
    reply.map(rows.len());
    for (id, row) in &rows {
        reply.bulk(emberkv_resp::schema::all()[usize::from(*id)].name.as_bytes());
        reply.map(2);
        reply.bulk(b"calls");
        reply.integer(row.times.as_ref().map_or(0, |times| times.len()) as i64);
        reply.bulk(b"histogram_usec");
        // buckets of powers of two from 1.024 µs on, with how many took at most so long; an empty one is left out
        let (mut buckets, mut count) = (Vec::new(), 0);
        let steps = row.times.iter().flat_map(|times| times.iter_log(1024, 2.0).map(move |step| (times, step)));
        for (times, step) in steps {
            if step.count_since_last_iteration() > 0 {
                count += step.count_since_last_iteration();
                buckets.push((times.highest_equivalent(step.value_iterated_to() + 1) / 1000, count));
            }
        }
        reply.map(buckets.len());
        for (micros, count) in buckets {
            reply.integer(micros as i64);
            reply.integer(count as i64);
        }
    }
}

/// Columns of the graph, and its rows.
const COLUMNS: usize = 80;
const ROWS: u64 = 4;

/// The samples as columns, with their age below.
fn graph(event: Event, series: &Series, now_s: u64) -> String {
    let skip = series.samples.len().saturating_sub(COLUMNS);
    let samples: Vec<&Sample> = series.samples.iter().skip(skip).collect();
    let high = samples.iter().map(|sample| sample.ms).max().unwrap_or(0);
    let low = samples.iter().map(|sample| sample.ms).min().unwrap_or(0);
    let mut text = format!(
        "{} - high {high} ms, low {low} ms (all time high {} ms)\n{}\n",
        event.name(),
        series.max_ms,
        "-".repeat(COLUMNS)
    );
    let height = |ms: u64| (ms - low) * (ROWS * 2 - 1) / (high - low).max(1);
    for row in (0..ROWS).rev() {
        let mark = |sample: &&Sample| match height(sample.ms) {
            h if h > row * 2 => {
                if h == row * 2 + 1 {
                    'o'
                } else {
                    '#'
                }
            }
            h if h == row * 2 => '_',
            _ => ' ',
        };
        text.extend(samples.iter().map(mark));
        text.push('\n');
    }
    text.push('\n');
    let ages: Vec<String> = samples.iter().map(|sample| age(now_s.saturating_sub(sample.at_s))).collect();
    for row in 0..ages.iter().map(String::len).max().unwrap_or(0) {
        text.extend(ages.iter().map(|age| age.as_bytes().get(row).map_or(' ', |byte| char::from(*byte))));
        text.push('\n');
    }
    text
}

fn age(seconds: u64) -> String {
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{}m", seconds / 60),
        3600..86_400 => format!("{}h", seconds / 3600),
        _ => format!("{}d", seconds / 86_400),
    }
}

/// What there is to say about the samples.
fn doctor(all: &[(Event, Series)], threshold_ms: i64) -> String {
    if threshold_ms == 0 {
        return "latency is not monitored: set latency-monitor-threshold to the milliseconds from which on a command is \
            to be noted, and ask again later.\n"
            .into();
    }
    let mut text = String::new();
    for (event, series) in all.iter().filter(|(_, series)| !series.samples.is_empty()) {
        let n = series.samples.len() as u64;
        let mean = series.samples.iter().map(|sample| sample.ms).sum::<u64>() / n;
        let span = series.samples.back().map_or(0, |sample| sample.at_s) - series.samples[0].at_s;
        let _ = writeln!(
            text,
            "{}: {n} seconds with more than {threshold_ms} ms (mean {mean} ms, worst ever {} ms), one in {} seconds.",
            event.name(),
            series.max_ms,
            span / n + 1,
        );
    }
    if text.is_empty() {
        return format!("no command took {threshold_ms} ms since the last LATENCY RESET.\n");
    }
    text.push_str("SLOWLOG GET shows which commands were slow, INFO cores whether one core has most of the work.\n");
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_graph_has_a_column_for_each_sample() {
        let mut latency = Latency::default();
        for (at_s, ms) in [(10, 20), (11, 90), (12, 55)] {
            latency.add(Event::Command, at_s, ms);
        }
        let text = graph(Event::Command, latency.series(Event::Command), 75);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "command - high 90 ms, low 20 ms (all time high 90 ms)");
        assert!(lines[2..6].iter().all(|line| line.len() == 3), "{text}");
        assert_eq!((lines[2], lines[5]), (" o ", "_##"));
        assert_eq!(lines[7..], ["111", "mmm"]);
    }

    #[test]
    fn the_doctor_says_what_to_do() {
        assert!(doctor(&[], 0).contains("latency-monitor-threshold"));
        let mut latency = Latency::default();
        let ask = |latency: &Latency| doctor(&Event::ALL.map(|event| (event, latency.series(event).clone())), 5);
        assert!(ask(&latency).starts_with("no command took 5 ms"));
        latency.add(Event::FastCommand, 1, 7);
        assert!(ask(&latency).starts_with("fast-command: 1 seconds"), "{}", ask(&latency));
    }
}
