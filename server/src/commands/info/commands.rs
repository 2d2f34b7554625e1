//! INFO commandstats and latencystats.

use std::collections::BTreeMap;
use std::fmt::Write;

use emberkv_resp::schema::all;

use super::Snapshot;
use crate::core::shard::Shard;
use crate::meter::Row;

/// What all cores have measured, by the commands' names.
fn rows(cores: &[Snapshot]) -> BTreeMap<&'static str, Row> {
    let mut rows: BTreeMap<&'static str, Row> = BTreeMap::new();
    for (id, row) in cores.iter().flat_map(|core| &core.commands) {
        rows.entry(all()[*id as usize].name).or_default().add(row);
    }
    rows
}

pub(super) fn write_counts(text: &mut String, _: &Shard, cores: &[Snapshot]) {
    for (name, row) in rows(cores) {
        let micros = row.nanos / 1000;
        let _ = write!(
            text,
            "cmdstat_{name}:calls={},usec={micros},usec_per_call={:.2},rejected_calls={},failed_calls={}\r\n",
            row.calls,
            row.nanos as f64 / 1000.0 / row.calls.max(1) as f64,
            row.rejected,
            row.failed,
        );
    }
}

pub(super) fn write_percentiles(text: &mut String, _: &Shard, cores: &[Snapshot]) {
    for (name, row) in rows(cores) {
        let Some(times) = row.times else { continue };
        let micros = |quantile| times.value_at_quantile(quantile) as f64 / 1000.0;
        let _ = write!(
            text,
            "latency_percentiles_usec_{name}:p50={:.3},p99={:.3},p99.9={:.3}\r\n",
            micros(0.5),
            micros(0.99),
            micros(0.999),
        );
    }
}
