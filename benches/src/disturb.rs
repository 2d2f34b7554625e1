//! What a compaction or a checkpoint does to those who are being served meanwhile.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use clap::ValueEnum;
use emberkv_load::{LoadError, OpenRun};

use crate::cell::{Op, Pipeline, SyncMode, ValueSize};
use crate::error::BenchError;
use crate::fixed::OpenLoop;
use crate::plot::{Line, Panel, svg};
use crate::procfs::field;
use crate::run::Bench;
use crate::server::Server;
use crate::stats::Summary;

const VALUE: ValueSize = ValueSize(64);

/// What runs beside the load, again as soon as it has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Command {
    /// A full compaction; elsewhere the log is written anew.
    Bgrewriteaof,
    /// A checkpoint; elsewhere a snapshot.
    Bgsave,
}

impl Command {
    fn name(self) -> &'static str {
        match self {
            Self::Bgrewriteaof => "BGREWRITEAOF",
            Self::Bgsave => "BGSAVE",
        }
    }

    /// The field of INFO that says whether it runs.
    fn field(self) -> &'static str {
        match self {
            Self::Bgrewriteaof => "aof_rewrite_in_progress",
            Self::Bgsave => "rdb_bgsave_in_progress",
        }
    }
}

/// One server's windows under one load.
struct Windows {
    server: &'static str,
    /// `None`: nothing ran beside.
    command: Option<Command>,
    p999_us: Vec<f64>,
    max_us: Vec<f64>,
    /// Resident memory at most, of what it was before the window.
    memory: Vec<f64>,
    /// How often the command was begun.
    begun: u64,
}

/// Measures all servers in turn. A table of medians, and a plot.
///
/// # Errors
/// When a server or the client fails.
pub fn run(bench: &mut Bench<'_>) -> Result<(String, String), BenchError> {
    let commands: Vec<Option<Command>> =
        std::iter::once(None).chain(bench.args.disturb.iter().copied().map(Some)).collect();
    let mut servers = Vec::new();
    for index in 0..bench.binaries.len() {
        let server = bench.start(index, SyncMode::Everysec)?;
        bench.load(&server, VALUE, Pipeline(16), bench.args.keyspace)?;
        let shape = bench.shape(&server, Op::Set, VALUE, Pipeline(1));
        let most = bench.closed_loop(&shape)?.run(Duration::from_secs(2))?;
        let rate = most.requests as f64 / most.elapsed.as_secs_f64() / 2.0;
        servers.push((server, rate, bench.open_loop(&shape)?));
    }
    let mut all: Vec<Windows> = Vec::new();
    for binary in &bench.binaries {
        all.extend(commands.iter().map(|command| Windows {
            server: binary.kind.name(),
            command: *command,
            p999_us: Vec::new(),
            max_us: Vec::new(),
            memory: Vec::new(),
            begun: 0,
        }));
    }
    let window = Duration::from_secs_f64(bench.args.seconds());
    for _ in 0..bench.args.rounds() {
        for (nth, windows) in all.iter_mut().enumerate() {
            let (server, rate, client) = &mut servers[nth / commands.len()];
            bench.settle()?;
            let before = server.resident_bytes()?;
            let (run, most, begun) = disturbed(server, client, *rate, window, windows.command)?;
            windows.p999_us.push(run.latencies.quantile_us(0.999));
            windows.max_us.push(run.latencies.max_us());
            windows.memory.push(most.max(before) as f64 / before as f64);
            windows.begun += begun;
            eprintln!(
                "{} {:?}: p99.9 {:.0} µs, longest {:.0} µs, begun {begun} times",
                windows.server,
                windows.command,
                run.latencies.quantile_us(0.999),
                run.latencies.max_us()
            );
        }
    }
    Ok((table(bench, &all), plot(&all)))
}

/// One window; with the resident memory at most, and how often the command was begun.
fn disturbed(
    server: &Server,
    client: &mut OpenLoop,
    rate: f64,
    window: Duration,
    command: Option<Command>,
) -> Result<(OpenRun, u64, u64), BenchError> {
    let (over, most, begun) = (AtomicBool::new(false), AtomicU64::new(0), AtomicU64::new(0));
    let watch = || -> Result<(), BenchError> {
        while !over.load(Ordering::Relaxed) {
            if let Some(command) = command {
                let (_, info) = server.ask(&["INFO", "persistence"])?;
                if field(&info, command.field()) == Some("0") {
                    let (reply, _) = server.ask(&[command.name()])?;
                    if reply.starts_with('-') {
                        let wanted = command.name().to_owned() + " begun";
                        return Err(LoadError::Reply { reply, wanted }.into());
                    }
                    begun.fetch_add(1, Ordering::Relaxed);
                }
            }
            most.fetch_max(server.resident_bytes()?, Ordering::Relaxed);
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    };
    std::thread::scope(|scope| {
        let watcher = scope.spawn(watch);
        let run = client.run(rate, window);
        over.store(true, Ordering::Relaxed);
        match watcher.join() {
            Ok(watched) => watched?,
            Err(panic) => std::panic::resume_unwind(panic),
        }
        Ok((run?, most.load(Ordering::Relaxed), begun.load(Ordering::Relaxed)))
    })
}

fn table(bench: &Bench<'_>, all: &[Windows]) -> String {
    let mut table = format!(
        "SET of {} bytes at P=1 and half of the maximum rate over {} keys; medians of {} windows of {} s, in turn\n\n\
         | server | beside it | begun | p99.9 µs | of idle | longest µs | memory at most, of before |\n\
         |---|---|---:|---:|---:|---:|---:|\n",
        VALUE.0,
        bench.args.keyspace,
        bench.args.rounds(),
        bench.args.seconds()
    );
    for windows in all {
        let idle = all.iter().find(|other| other.server == windows.server && other.command.is_none());
        let of = |values: &[f64]| Summary::of(values.to_vec()).map_or(f64::NAN, |summary| summary.median);
        let p999 = of(&windows.p999_us);
        table.push_str(&format!(
            "| {} | {} | {} | {p999:.0} | {:.2}x | {:.0} | {:.2}x |\n",
            windows.server,
            windows.command.map_or("nothing", Command::name),
            windows.begun,
            p999 / idle.map_or(f64::NAN, |idle| of(&idle.p999_us)),
            windows.max_us.iter().copied().fold(0.0, f64::max),
            of(&windows.memory),
        ));
    }
    table
}

fn plot(all: &[Windows]) -> String {
    let panel = |title: &str, of: fn(&Windows) -> &[f64]| Panel {
        title: title.into(),
        lines: (all.iter())
            .map(|windows| Line {
                name: format!("{} {}", windows.server, windows.command.map_or("idle", Command::name)),
                points: of(windows).iter().enumerate().map(|(nth, us)| (nth as f64 + 1.0, us / 1000.0)).collect(),
            })
            .collect(),
    };
    svg(&[panel("p99.9, ms", |w| &w.p999_us), panel("longest, ms", |w| &w.max_us)], "round")
}
