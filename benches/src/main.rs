//! Side-by-side benchmarks: emberkv, redis and valkey under the same load.
//!
//! `make bench` runs all of it; `cargo run --release -p emberkv-benches -- --help` has the options,
//! `benches/peers.sh` fetches the peers. Try `--short --cells 64-everysec` first.
//!
//! # How to read the results
//!
//! * **ops/cpu-s** is the number to compare: requests divided by the cpu time (user and system, all
//!   threads) that the server's process used for them. It does not depend on how fast the client
//!   is. Its resolution is the kernel's tick (10 ms): runs of less than a second are for a quick
//!   look only. What the kernel does elsewhere (writeback, the disk) is not in it.
//! * **req/s** is limited by the client wherever *client cpu %* is near 100, and says nothing about
//!   the server then. With a pipeline of 1 the loopback interface is most of the work on both sides.
//! * **p50, p99, p99.9** of the closed loop count from the send of a batch to each of its replies,
//!   with every connection busy all the time: they are throughput seen from the other side
//!   (clients / rate), and good for comparing only. A stall delays one request of each connection
//!   and so counts little.
//! * The **open loop** is the one for latency: requests leave by the clock, at half of the rate that
//!   the same server reached in the closed loop, and a latency counts from the intended send, so
//!   that a stall counts in full. The rate differs from server to server: see *offered/s*. *send
//!   lag* is the part that the client itself is to blame for.
//! * **other cpu %** is what neither the server nor the client did on the server's or on the client's
//!   cpus (whichever is more): above some percent, the machine was busy, latencies are worthless,
//!   and ops/cpu-s suffers from cold caches. On a shared machine `chrt -f 1` before the command
//!   helps the closed loop (and adds 50 ms now and then, which spoils the open loop).
//! * **spread** is (max - min) / median over the rounds. Servers that differ by less are not told
//!   apart. Rounds are interleaved (A B C, A B C, ...), so that a slow minute of a shared machine
//!   meets everybody.
//! * **vs better** is the first server's median over that of the better one of the others:
//!   good above 1 for rates, and below 1 for latency, memory and restart.
//! * **vs one core**, with `--cores N --servers emberkv,emberkv-one,...`: what N cores reach of the same build's one.
//!   The client competes with the server for the cpus then: only **ops/cpu-s** means something.
//! * **overhead B/key** is (resident memory loaded - resident memory empty) / keys - 80.
//! * **restart** is from exec to the first `GET` that returns a value, after `kill -9`, with the
//!   files in the page cache. DBSIZE must be right afterwards.
//!
//! # What is the same for all, and what is not
//!
//! * Values are random printable bytes, different on each connection; keys are `key:` and twelve
//!   digits. All keys are loaded first, and the disk is synced before each measurement; memory is touched
//!   and freed then (`--touch-mib`), so that no server meets pages that a virtual machine's host has taken away.
//! * Peers run with `appendonly yes`, `save ""` and `auto-aof-rewrite-percentage 0`: they log every
//!   write as emberkv does and never rewrite their log, because a rewrite that falls into some of
//!   the short measurements and not into others would only add noise (in their favour: in long runs
//!   they would have to).
//! * Servers whose resident memory has grown beyond `--recycle-rss-mib` are replaced by fresh ones,
//!   loaded anew, between measurements.
//! * The packaged valkey uses libc's allocator, so jemalloc, with which it is usually built, is
//!   preloaded where the system has it; the command lines in the report say so.

mod args;
mod cell;
mod collections;
mod disturb;
mod error;
mod fixed;
mod hit_ratio;
mod machine;
mod memory;
mod meter;
mod metric;
mod near;
mod pattern;
mod pin;
mod plot;
mod probe;
mod procfs;
mod redis_benchmark;
mod reply;
mod report;
mod request;
mod results;
mod run;
mod server;
mod soak;
mod stats;
mod wanted;

use std::path::Path;
use std::process::ExitCode;

use clap::Parser;
use emberkv_load::interrupt;

use crate::args::Args;
use crate::error::{BenchError, Context};
use crate::machine::Machine;
use crate::report::{Report, json, table};
use crate::run::Bench;

fn main() -> ExitCode {
    match bench(&Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("emberkv-benches: {error}");
            ExitCode::FAILURE
        }
    }
}

fn bench(args: &Args) -> Result<(), BenchError> {
    if args.list {
        for cell in cell::select(&args.cells) {
            println!("{cell}");
        }
        return Ok(());
    }
    interrupt::install();
    let machine = Machine::here();
    let mut bench = Bench::prepare(args)?;
    if let Some(minutes) = args.soak {
        return finish(args, soak::run(&mut bench, minutes)?);
    }
    if args.hit_ratio {
        return finish(args, (hit_ratio::run(&bench)?, String::new()));
    }
    if args.collections {
        return finish(args, (collections::run(&bench)?, String::new()));
    }
    if !args.disturb.is_empty() {
        return finish(args, disturb::run(&mut bench)?);
    }
    // what was measured before an interruption is worth reading too.
    let ended = bench.run();
    let report = Report { machine: &machine, binaries: &bench.binaries, args, results: &bench.results };
    let tables = table::render(&report);
    println!("{tables}");
    if let Some(path) = &args.markdown {
        write(path, &tables)?;
    }
    if let Some(path) = &args.json {
        write(path, &json::render(&report))?;
    }
    ended
}

/// Prints what stands beside the cells, and writes it where that was asked for.
fn finish(args: &Args, (text, plot): (String, String)) -> Result<(), BenchError> {
    println!("{text}");
    if let Some(path) = &args.markdown {
        write(path, &text)?;
    }
    args.plot.as_ref().map_or(Ok(()), |path| write(path, &plot))
}

fn write(path: &Path, text: &str) -> Result<(), BenchError> {
    if let Some(parent) = path.parent().filter(|p| !p.as_os_str().is_empty()) {
        std::fs::create_dir_all(parent).context(|| format!("creating {}", parent.display()))?;
    }
    std::fs::write(path, text).context(|| format!("writing {}", path.display()))
}
