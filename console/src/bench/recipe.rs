//! The workloads that have a name.

use std::str::FromStr;
use std::time::Duration;

use emberkv_load::keys::Spread;
use emberkv_load::mix::{self, Sizes, Step};

/// A workload, with what is usual for it.
#[derive(Clone, Debug)]
pub(super) struct Recipe {
    /// As it was typed.
    pub(super) name: String,
    /// Kinds of requests, and how many parts of each.
    pub(super) steps: Vec<(u32, Step)>,
    /// How requests are spread over keys.
    pub(super) spread: Spread,
    /// The length of values.
    pub(super) sizes: Sizes,
    /// Different keys.
    pub(super) keys: u64,
}

impl FromStr for Recipe {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let lower = name.to_ascii_lowercase();
        let steps = match lower.as_str() {
            "get" | "ycsb-c" => vec![(1, Step::Get)],
            "set" => vec![(1, Step::Set)],
            "ycsb-a" | "large" | "high-cardinality" => vec![(1, Step::Get), (1, Step::Set)],
            "ycsb-b" => vec![(95, Step::Get), (5, Step::Set)],
            "ycsb-f" => vec![(1, Step::Get), (1, Step::Modify)],
            "counter" => vec![(1, Step::Incr)],
            "leaderboard" => vec![(1, Step::ZAdd), (1, Step::ZTop)],
            other => shares(other).ok_or_else(|| {
                format!(
                    "{name:?} is none of get, set, READS/WRITES (95/5), ycsb-a, ycsb-b, ycsb-c, ycsb-f, large, \
                     high-cardinality, counter, leaderboard"
                )
            })?,
        };
        let is_ycsb = lower.starts_with("ycsb");
        let size = |least, most| Sizes { least, most };
        let (sizes, keys) = match lower.as_str() {
            "large" => (size(1 << 10, 1 << 20), 1_000),
            "high-cardinality" => (size(64, 64), 10_000_000),
            "leaderboard" => (size(64, 64), 100_000),
            // ten fields of a hundred bytes
            _ if is_ycsb => (size(1000, 1000), 1_000_000),
            _ => (size(64, 64), 1_000_000),
        };
        let spread = if is_ycsb { Spread::Zipfian } else { Spread::Uniform };
        Ok(Self { name: name.to_owned(), steps, spread, sizes, keys })
    }
}

/// `95/5`
fn shares(text: &str) -> Option<Vec<(u32, Step)>> {
    let (reads, writes) = text.split_once('/')?;
    let (reads, writes): (u32, u32) = (reads.parse().ok()?, writes.parse().ok()?);
    (reads.checked_add(writes)? > 0).then(|| vec![(reads, Step::Get), (writes, Step::Set)])
}

/// Everything that is to be done.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    pub(super) recipe: Recipe,
    pub(super) clients: usize,
    pub(super) pipeline: usize,
    pub(super) threads: usize,
    pub(super) keys: u64,
    pub(super) spread: Spread,
    pub(super) sizes: Sizes,
    pub(super) ttl: Option<u64>,
    /// By the clock, so many requests a second; else as fast as they are answered.
    pub(super) rate: Option<f64>,
    pub(super) duration: Duration,
    pub(super) warm_up: Duration,
    /// Whether keys are set first.
    pub(super) loads: bool,
    pub(super) seed: u64,
}

impl Plan {
    /// For the load generator.
    pub(super) fn mix_recipe(&self) -> mix::Recipe {
        mix::Recipe { steps: self.recipe.steps.clone(), sizes: self.sizes, ttl: self.ttl }
    }

    /// The same for setting all keys.
    pub(super) fn load_recipe(&self) -> mix::Recipe {
        mix::Recipe { steps: vec![(1, Step::Set)], ..self.mix_recipe() }
    }

    /// Whether it reads what must be there first.
    pub(super) fn reads_keys(&self) -> bool {
        self.recipe.steps.iter().any(|(parts, step)| *parts > 0 && matches!(step, Step::Get | Step::Set | Step::Modify))
    }

    /// In words.
    pub(super) fn describe(&self) -> String {
        let Self { clients, pipeline, threads, keys, spread, sizes, .. } = self;
        let spread = format!("{spread:?}").to_ascii_lowercase();
        let values = if sizes.least == sizes.most {
            format!("values of {} bytes", sizes.most)
        } else {
            format!("values of {} to {} bytes", sizes.least, sizes.most)
        };
        let ttl = self.ttl.map(|seconds| format!(" that live {seconds} s")).unwrap_or_default();
        let pace = self.rate.map_or("closed loop".to_owned(), |rate| format!("open loop at {rate:.0} requests/s"));
        format!(
            "{}: {clients} clients, pipeline {pipeline}, {threads} thread{}, {keys} keys{ttl} ({spread}), {values}, {pace}",
            self.recipe.name,
            if *threads == 1 { "" } else { "s" }
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn workloads_have_names_or_shares() {
        let steps = |name: &str| name.parse::<Recipe>().map(|recipe| recipe.steps);
        assert_eq!(steps("95/5"), Ok(vec![(95, Step::Get), (5, Step::Set)]));
        assert_eq!(steps("YCSB-F"), Ok(vec![(1, Step::Get), (1, Step::Modify)]));
        for wrong in ["0/0", "95", "a/b", "ycsb-e", "4294967295/1", ""] {
            assert!(steps(wrong).is_err(), "{wrong}");
        }
    }
}
