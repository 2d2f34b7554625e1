//! Results, for people and as json.

use emberkv_load::Latencies;
use serde_json::{Value, json};

use super::recipe::Plan;
use super::run::Outcome;
use crate::target::Target;

/// The quantiles that are shown, and their names.
const QUANTILES: [(f64, &str); 4] = [(0.5, "p50"), (0.9, "p90"), (0.99, "p99"), (0.999, "p99.9")];

/// `1,234,567`
pub(super) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// In milliseconds.
pub(super) fn latencies(latencies: &Latencies) -> String {
    let mut parts: Vec<String> = QUANTILES
        .iter()
        .map(|(quantile, name)| format!("{name} {:.3}", latencies.quantile_us(*quantile) / 1000.0))
        .collect();
    parts.push(format!("max {:.3} ms", latencies.max_us() / 1000.0));
    parts.join("  ")
}

/// For people.
pub(super) fn one(plan: &Plan, target: &Target, outcome: &Outcome) -> String {
    let mut text = format!(
        "{} on {}\n  requests  {} in {:.2} s\n  rate      {} req/s\n  latency   {}\n",
        plan.describe(),
        target.place,
        grouped(outcome.requests),
        outcome.elapsed.as_secs_f64(),
        grouped(outcome.rate() as u64),
        latencies(&outcome.latencies)
    );
    let counts = &outcome.counts;
    if counts.reads > 0 {
        let hits = 100.0 * (1.0 - counts.misses as f64 / counts.reads as f64);
        text += &format!("  reads     {} of them, {hits:.2}% found\n", grouped(counts.reads));
    }
    if let Some(lags) = &outcome.send_lags {
        text += &format!(
            "  send lag  p99 {:.3} ms: as much of the latency is the client's own\n",
            lags.quantile_us(0.99) / 1000.0
        );
    }
    if let Some(first) = &counts.first_error {
        text += &format!("  errors    {}, the first: {first}\n", grouped(counts.errors));
    }
    text
}

/// As json.
pub(super) fn one_json(plan: &Plan, target: &Target, outcome: &Outcome) -> String {
    let mut all = plan_json(plan);
    all["server"] = json!(target.place.to_string());
    all["result"] = outcome_json(outcome);
    format!("{all:#}")
}

/// What was done.
pub(super) fn plan_json(plan: &Plan) -> Value {
    json!({
        "workload": plan.recipe.name,
        "clients": plan.clients,
        "pipeline": plan.pipeline,
        "threads": plan.threads,
        "keys": plan.keys,
        "spread": format!("{:?}", plan.spread).to_ascii_lowercase(),
        "value_bytes": [plan.sizes.least, plan.sizes.most],
        "ttl_s": plan.ttl,
        "offered_per_s": plan.rate,
        "seed": plan.seed,
    })
}

/// What came out.
pub(super) fn outcome_json(outcome: &Outcome) -> Value {
    let mut latency = json!({ "max": outcome.latencies.max_us() });
    for (quantile, name) in QUANTILES {
        latency[name] = json!(outcome.latencies.quantile_us(quantile));
    }
    json!({
        "requests": outcome.requests,
        "elapsed_s": outcome.elapsed.as_secs_f64(),
        "requests_per_s": outcome.rate(),
        "latency_us": latency,
        "send_lag_p99_us": outcome.send_lags.as_ref().map(|lags| lags.quantile_us(0.99)),
        "reads": outcome.counts.reads,
        "misses": outcome.counts.misses,
        "errors": outcome.counts.errors,
        "first_error": outcome.counts.first_error,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped() {
        assert_eq!([0, 999, 1000, 1_234_567].map(grouped), ["0", "999", "1,000", "1,234,567"]);
    }
}
