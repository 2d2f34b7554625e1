//! Two servers under the same load, in turn: A B A B ..., so that a slow minute of the machine meets both.

use serde_json::json;

use super::BenchError;
use super::options::Options;
use super::recipe::Plan;
use super::report::{grouped, outcome_json, plan_json};
use super::run::{self, Outcome};
use crate::target::Target;

/// What is compared: its name, how it is read off, and whether more is better.
type Figure = (&'static str, fn(&Outcome) -> f64, bool);

const FIGURES: [Figure; 4] = [
    ("req/s", |outcome| outcome.rate(), true),
    ("p50 ms", |outcome| outcome.latencies.quantile_us(0.5) / 1000.0, false),
    ("p99 ms", |outcome| outcome.latencies.quantile_us(0.99) / 1000.0, false),
    ("p99.9 ms", |outcome| outcome.latencies.quantile_us(0.999) / 1000.0, false),
];

/// The report, for people and as json.
pub(super) fn run(options: &Options, plan: &Plan, places: &[String]) -> Result<(String, String), BenchError> {
    let targets: Vec<Target> = places.iter().map(|place| options.other(place)).collect::<Result<_, _>>()?;
    for target in &targets {
        run::load(plan, target)?;
    }
    let mut rounds: Vec<Vec<Outcome>> = targets.iter().map(|_| Vec::new()).collect();
    for round in 1..=options.rounds {
        for (target, outcomes) in targets.iter().zip(&mut rounds) {
            let outcome = run::run(plan, target, !options.quiet)?;
            outcome.check()?;
            if !options.quiet {
                eprintln!("round {round}: {} {} req/s", target.place, grouped(outcome.rate() as u64));
            }
            outcomes.push(outcome);
        }
    }
    let (Some([a, b]), [place_a, place_b]) = (rounds.first_chunk(), places) else {
        return Err(crate::error::Error::Usage("--compare wants two servers".into()).into());
    };
    Ok((table(plan, [place_a, place_b], [a, b]), as_json(plan, places, &rounds)))
}

fn table(plan: &Plan, names: [&String; 2], rounds: [&[Outcome]; 2]) -> String {
    let count = rounds[0].len();
    let mut text = format!(
        "{}\nmedians of {count} rounds (least to most); A is {}, B is {}\n\n  {:<9}{:>30}{:>30}   A / B\n",
        plan.describe(),
        names[0],
        names[1],
        "",
        "A",
        "B"
    );
    for (name, figure, more_is_better) in FIGURES {
        let [a, b] = rounds.map(|rounds| rounds.iter().map(figure).collect::<Vec<f64>>());
        let ratios: Vec<f64> = a.iter().zip(&b).map(|(a, b)| a / b.max(1e-12)).collect();
        let show = |values: &[f64]| {
            let (least, median, most) = spread(values);
            let number = |value: f64| if more_is_better { grouped(value as u64) } else { format!("{value:.3}") };
            format!("{} ({} to {})", number(median), number(least), number(most))
        };
        let (least, median, most) = spread(&ratios);
        text += &format!("  {name:<9}{:>30}{:>30}   {median:.2} ({least:.2} to {most:.2})\n", show(&a), show(&b));
    }
    text + "\nratios are of the two runs of one round. where their spread holds 1.00, the servers are not told apart.\n"
}

fn as_json(plan: &Plan, places: &[String], rounds: &[Vec<Outcome>]) -> String {
    let mut all = plan_json(plan);
    let results = places.iter().zip(rounds).map(
        |(place, rounds)| json!({ "server": place, "rounds": rounds.iter().map(outcome_json).collect::<Vec<_>>() }),
    );
    all["servers"] = results.collect();
    format!("{all:#}")
}

/// The least, the median and the most.
fn spread(values: &[f64]) -> (f64, f64, f64) {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    let median = match sorted.len() {
        0 => return (0.0, 0.0, 0.0),
        odd if odd % 2 == 1 => sorted[middle],
        _ => f64::midpoint(sorted[middle - 1], sorted[middle]),
    };
    (sorted[0], median, sorted[sorted.len() - 1])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_lies_between() {
        assert_eq!(spread(&[3.0, 1.0, 2.0]), (1.0, 2.0, 3.0));
        assert_eq!(spread(&[4.0, 1.0]), (1.0, 2.5, 4.0));
        assert_eq!(spread(&[]), (0.0, 0.0, 0.0));
    }
}
