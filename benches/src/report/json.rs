//! Every sample, for other programs.

use serde_json::{Map, Value, json};

use super::Report;
use crate::metric::Sample;

/// The report as one JSON document.
pub fn render(report: &Report<'_>) -> String {
    let machine = report.machine;
    let binary = |b: &crate::server::Binary| {
        json!({
            "server": b.kind.name(),
            "version": b.version,
            "command": b.describe(),
        })
    };
    let series = report.results.series.iter().map(|series| {
        json!({
            "cell": series.cell.to_string(),
            "server": series.server.name(),
            "samples": series.samples.iter().map(sample).collect::<Vec<_>>(),
        })
    });
    let document = json!({
        "machine": {
            "cpu": machine.cpu,
            "cores": machine.cores,
            "memory_mib": machine.memory_mib,
            "kernel": machine.kernel,
            "date": machine.date,
        },
        "command": std::env::args().collect::<Vec<_>>(),
        "servers": report.binaries.iter().map(binary).collect::<Vec<_>>(),
        "series": series.collect::<Vec<_>>(),
        "notes": report.results.notes,
    });
    format!("{document:#}\n")
}

fn sample(sample: &Sample) -> Value {
    let numbers = sample.iter();
    let fields = numbers.map(|(metric, value)| (metric.id().to_owned(), json!(value)));
    Value::Object(fields.collect::<Map<_, _>>())
}
