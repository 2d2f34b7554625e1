//! `redis-benchmark` as the client, to check our own one's numbers.

use std::process::{Command, Stdio};

use crate::cell::Op;
use crate::error::{BenchError, Context};
use crate::fixed::Shape;
use crate::metric::{Metric, Sample};
use crate::pin::Cpus;
use emberkv_load::interrupt;

/// Runs `requests` requests.
///
/// # Errors
/// When the program is missing, fails, or prints something unknown.
pub fn run(shape: &Shape, keyspace: u64, requests: u64, cpus: &Cpus) -> Result<Sample, BenchError> {
    let mut command = Command::new("redis-benchmark");
    command.args(["-h", "127.0.0.1", "--csv", "-t"]);
    command.arg(match shape.op {
        Op::Get => "get",
        // cells have none of the others
        Op::Set | Op::SetEx | Op::Del | Op::Churn => "set",
        Op::MSet => "mset",
    });
    for (option, value) in [
        ("-p", u64::from(shape.port)),
        ("-c", shape.clients as u64),
        ("-P", shape.pipeline as u64),
        ("-d", shape.value.0 as u64),
        ("-r", keyspace),
        ("-n", requests),
    ] {
        command.arg(option).arg(value.to_string());
    }
    command.stdin(Stdio::null()).stderr(Stdio::null());
    cpus.confine(&mut command);
    let output = command.output().context(|| "running redis-benchmark (package redis-tools)".into())?;
    interrupt::check()?;
    let text = String::from_utf8_lossy(&output.stdout);
    parse_csv(&text).ok_or_else(|| BenchError::Parse {
        what: "the output of redis-benchmark",
        text: text.chars().take(400).collect(),
    })
}

/// The columns by their headings; times in ms there, in µs here.
fn parse_csv(text: &str) -> Option<Sample> {
    let mut lines = text.lines().map(|line| {
        let fields = line.split(',').map(|f| f.trim().trim_matches('"'));
        fields.collect::<Vec<_>>()
    });
    let headings = lines.find(|fields| fields.first() == Some(&"test"))?;
    let values = lines.next()?;
    let column = |name: &str| -> Option<f64> {
        let at = headings.iter().position(|h| *h == name)?;
        values.get(at)?.parse().ok()
    };
    let mut sample = Sample::default();
    sample.push(Metric::OpsPerSecond, column("rps")?);
    for (metric, name) in
        [(Metric::P50Us, "p50_latency_ms"), (Metric::P99Us, "p99_latency_ms"), (Metric::MaxUs, "max_latency_ms")]
    {
        sample.push(metric, column(name)? * 1000.0);
    }
    Some(sample)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_csv_is_read_by_its_headings() {
        let text = "\"test\",\"rps\",\"avg_latency_ms\",\"min_latency_ms\",\"p50_latency_ms\",\
                    \"p95_latency_ms\",\"p99_latency_ms\",\"max_latency_ms\"\n\
                    \"SET\",\"83333.34\",\"0.310\",\"0.096\",\"0.303\",\"0.415\",\"0.519\",\"1.231\"\n";
        let sample = parse_csv(text).unwrap();
        assert_eq!(sample.get(Metric::OpsPerSecond), Some(83333.34));
        assert_eq!(sample.get(Metric::P50Us), Some(303.0));
        assert_eq!(sample.get(Metric::P99Us), Some(519.0));
        assert_eq!(sample.get(Metric::P999Us), None);
    }

    #[test]
    fn anything_else_is_none() {
        assert_eq!(parse_csv(""), None);
        assert_eq!(parse_csv("Could not connect\n"), None);
        assert_eq!(parse_csv("\"test\",\"rps\"\n\"SET\",\"abc\"\n"), None);
    }
}
