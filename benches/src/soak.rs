//! Hours in minutes: overwrites, deletes and expiries, at a steady rate, and what becomes of memory, disk and latency.

use std::time::{Duration, Instant};

use crate::cell::{Op, Pipeline, SyncMode, ValueSize};
use crate::error::BenchError;
use crate::plot::{Line, Panel, svg};
use crate::run::Bench;

const VALUE: ValueSize = ValueSize(64);
const PIPELINE: Pipeline = Pipeline(16);

/// Of the maximum rate.
const LOAD: f64 = 0.7;

/// One point of the plots.
const WINDOW: Duration = Duration::from_secs(5);

/// What one window has shown.
#[derive(Clone, Copy, Debug)]
struct Point {
    at_s: f64,
    p99_us: f64,
    p999_us: f64,
    max_us: f64,
    resident_mib: f64,
    disk_mib: f64,
    keys: u64,
}

/// Soaks the servers one after the other. A table with the means of the first and the last quarter, and a plot.
///
/// # Errors
/// When a server or the client fails.
pub fn run(bench: &mut Bench<'_>, minutes: f64) -> Result<(String, String), BenchError> {
    let mut soaked = Vec::new();
    for index in 0..bench.binaries.len() {
        let (rate, points) = soak(bench, index, Duration::from_secs_f64(minutes * 60.0))?;
        soaked.push((bench.binaries[index].kind.name(), rate, points));
    }
    let mut table = format!(
        "{minutes} minutes of 80% SET, 10% SET EX 10, 10% DEL (values of {} bytes, {} keys in all, P={}) at {:.0}% of \
         the maximum rate; means of the windows of {} s in the first and the last quarter\n\n\
         | server | offered/s | quarter | p99 µs | p99.9 µs | longest µs | RSS MiB | disk MiB | keys | RSS B/key |\n\
         |---|---:|---|---:|---:|---:|---:|---:|---:|---:|\n",
        VALUE.0,
        bench.args.keyspace,
        PIPELINE.0,
        LOAD * 100.0,
        WINDOW.as_secs()
    );
    for (name, rate, points) in &soaked {
        let quarter = (points.len() / 4).max(1);
        let parts = [("first", &points[..quarter]), ("last", &points[points.len() - quarter..])];
        for (which, part) in parts {
            let mean = |of: fn(&Point) -> f64| part.iter().map(of).sum::<f64>() / part.len() as f64;
            let (resident, keys) = (mean(|p| p.resident_mib), mean(|p| p.keys as f64));
            table.push_str(&format!(
                "| {name} | {rate:.0} | {which} | {:.0} | {:.0} | {:.0} | {resident:.0} | {:.0} | {keys:.0} | {:.0} |\n",
                mean(|p| p.p99_us),
                mean(|p| p.p999_us),
                part.iter().map(|p| p.max_us).fold(0.0, f64::max),
                mean(|p| p.disk_mib),
                resident * f64::from(1 << 20) / keys.max(1.0),
            ));
        }
    }
    let panel = |title: &str, of: fn(&Point) -> f64| Panel {
        title: title.into(),
        lines: (soaked.iter())
            .map(|(name, _, points)| Line {
                name: (*name).into(),
                points: points.iter().map(|point| (point.at_s / 60.0, of(point))).collect(),
            })
            .collect(),
    };
    let panels = [
        panel("p99.9, ms", |p| p.p999_us / 1000.0),
        panel("resident memory, MiB", |p| p.resident_mib),
        panel("disk, MiB", |p| p.disk_mib),
    ];
    Ok((table, svg(&panels, "min")))
}

fn soak(bench: &mut Bench<'_>, index: usize, duration: Duration) -> Result<(f64, Vec<Point>), BenchError> {
    let server = bench.start(index, SyncMode::Everysec)?;
    bench.load(&server, VALUE, PIPELINE, bench.args.keyspace)?;
    bench.settle()?;
    let shape = bench.shape(&server, Op::Churn, VALUE, PIPELINE);
    let most = bench.closed_loop(&shape)?.run(Duration::from_secs(3))?;
    let rate = most.requests as f64 / most.elapsed.as_secs_f64() * LOAD;
    let mut client = bench.open_loop(&shape)?;
    let (start, mut points) = (Instant::now(), Vec::new());
    while start.elapsed() < duration {
        let run = client.run(rate, WINDOW)?;
        let point = Point {
            at_s: start.elapsed().as_secs_f64(),
            p99_us: run.latencies.quantile_us(0.99),
            p999_us: run.latencies.quantile_us(0.999),
            max_us: run.latencies.max_us(),
            resident_mib: server.resident_bytes()? as f64 / f64::from(1 << 20),
            disk_mib: server.disk_bytes()? as f64 / f64::from(1 << 20),
            keys: server.key_count()?,
        };
        eprintln!("{} {point:?}", bench.binaries[index].kind.name());
        points.push(point);
    }
    Ok((rate, points))
}
