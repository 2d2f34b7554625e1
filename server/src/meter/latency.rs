//! What LATENCY tells of events that took long: a sample for each second that had one.

use std::collections::VecDeque;

/// Samples that are kept of an event.
const KEPT: usize = 160;

/// What took long.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Event {
    Command,
    /// A command that redis calls fast.
    FastCommand,
}

impl Event {
    pub const ALL: [Self; 2] = [Self::Command, Self::FastCommand];

    pub fn name(self) -> &'static str {
        match self {
            Self::Command => "command",
            Self::FastCommand => "fast-command",
        }
    }

    pub fn named(name: &[u8]) -> Option<Self> {
        Self::ALL.into_iter().find(|event| event.name().as_bytes() == name)
    }
}

/// The longest of a second.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Sample {
    pub at_s: u64,
    pub ms: u64,
}

/// Of one event, the oldest first.
#[derive(Clone, Debug, Default)]
pub(crate) struct Series {
    pub samples: VecDeque<Sample>,
    pub max_ms: u64,
}

impl Series {
    fn add(&mut self, sample: Sample) {
        self.max_ms = self.max_ms.max(sample.ms);
        if let Some(last) = self.samples.back_mut()
            && last.at_s == sample.at_s
        {
            last.ms = last.ms.max(sample.ms);
            return;
        }
        if self.samples.len() == KEPT {
            self.samples.pop_front();
        }
        self.samples.push_back(sample);
    }

    /// Of several cores: a second has the longest of all.
    pub fn merged<'a>(all: impl Iterator<Item = &'a Self>) -> Self {
        let (mut samples, mut max_ms) = (Vec::new(), 0);
        for series in all {
            samples.extend(series.samples.iter().copied());
            max_ms = max_ms.max(series.max_ms);
        }
        samples.sort_by_key(|sample| sample.at_s);
        let mut merged = Self::default();
        samples.into_iter().for_each(|sample| merged.add(sample));
        merged.max_ms = max_ms;
        merged
    }
}

/// See the module.
#[derive(Clone, Debug, Default)]
pub(crate) struct Latency {
    series: [Series; Event::ALL.len()],
}

impl Latency {
    pub fn add(&mut self, event: Event, at_s: u64, ms: u64) {
        self.series[event as usize].add(Sample { at_s, ms });
    }

    pub fn series(&self, event: Event) -> &Series {
        &self.series[event as usize]
    }

    /// Forgets an event; returns whether there was something to be forgotten.
    pub fn reset(&mut self, event: Event) -> bool {
        !std::mem::take(&mut self.series[event as usize]).samples.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_has_its_longest_over_all_cores() {
        let (mut one, mut other) = (Latency::default(), Latency::default());
        one.add(Event::Command, 5, 10);
        one.add(Event::Command, 5, 7);
        one.add(Event::Command, 7, 3);
        other.add(Event::Command, 5, 12);
        other.add(Event::Command, 6, 1);
        let merged = Series::merged([&one, &other].map(|latency| latency.series(Event::Command)).into_iter());
        let samples: Vec<(u64, u64)> = merged.samples.iter().map(|sample| (sample.at_s, sample.ms)).collect();
        assert_eq!((samples, merged.max_ms), (vec![(5, 12), (6, 1), (7, 3)], 12));
        assert!(one.reset(Event::Command) && !one.reset(Event::Command) && !one.reset(Event::FastCommand));
    }
}
