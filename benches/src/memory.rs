//! Memory per key, and the time to come back with all of them.

use std::time::Duration;

use crate::cell::{Pipeline, SyncMode, ValueSize};
use crate::error::BenchError;
use crate::metric::{Metric, Sample};
use crate::request::KEY_BYTES;
use crate::run::Bench;
use crate::server::Server;

/// The size of the values, in both cells.
const VALUE: ValueSize = ValueSize(64);

/// Time after a start until an empty server is at rest.
const REST_EMPTY: Duration = Duration::from_secs(1);

/// Time after the last reply until a server has synced its log, finished growing its tables, and
/// its allocator has handed back what it does not need: jemalloc takes ten seconds for that.
const REST_LOADED: Duration = Duration::from_secs(12);

/// Starts a server, loads it, and compares its resident memory before and after.
///
/// # Errors
/// When the server or the client fails, or the server does not have all the keys.
pub fn load_and_weigh(bench: &mut Bench<'_>, index: usize, pipeline: Pipeline) -> Result<(Server, Sample), BenchError> {
    let count = bench.args.memory_keys();
    let server = bench.start(index, SyncMode::Everysec)?;
    std::thread::sleep(REST_EMPTY);
    let empty = server.resident_bytes()?;
    bench.load(&server, VALUE, pipeline, count)?;
    bench.settle()?;
    std::thread::sleep(REST_LOADED);
    let loaded = server.resident_bytes()?;
    check_count(&server, count)?;
    let mut sample = Sample::default();
    sample.push(Metric::OverheadBytesPerKey, overhead_per_key(empty, loaded, count));
    sample.push(Metric::EmptyMib, empty as f64 / f64::from(1 << 20));
    sample.push(Metric::LoadedMib, loaded as f64 / f64::from(1 << 20));
    Ok((server, sample))
}

/// Kills a loaded server and measures how long it takes to come back.
///
/// # Errors
/// When it does not, or has lost keys.
pub fn restart(bench: &Bench<'_>, server: &mut Server) -> Result<Sample, BenchError> {
    let count = bench.args.memory_keys();
    // half-way through the data: neither the first nor the last record that is read back.
    let key = format!("key:{:012}", count / 2);
    let took = server.crash_and_restart(&key)?;
    check_count(server, count)?;
    let mut sample = Sample::default();
    sample.push(Metric::RestartSeconds, took.as_secs_f64());
    Ok(sample)
}

fn overhead_per_key(empty_bytes: u64, loaded_bytes: u64, count: u64) -> f64 {
    let payload = (KEY_BYTES + VALUE.0) as f64;
    (loaded_bytes as f64 - empty_bytes as f64) / count as f64 - payload
}

fn check_count(server: &Server, count: u64) -> Result<(), BenchError> {
    let has = server.key_count()?;
    if has != count {
        let what = format!("{count} keys were set and the server has {has}");
        return Err(BenchError::Lost(what));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn overhead_is_what_payload_does_not_explain() {
        assert_eq!(overhead_per_key(1_000, 1_000 + 100 * 100, 100), 20.0);
        assert_eq!(overhead_per_key(1_000, 1_000, 10), -80.0);
    }
}
