//! The figures that emberkv is to reach.

use crate::cell::{Cell, Op, Pipeline, Setting, SyncMode, ValueSize, Workload};
use crate::metric::Metric;

/// A bound on one number of a cell.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Wanted {
    /// At least this multiple of the better peer, and at least this number.
    AtLeast {
        /// The multiple.
        ratio: f64,
        /// The number; 0 for none.
        absolute: f64,
    },
    /// At most this number.
    AtMost(f64),
}

/// What is wanted of a number; `None` where nothing was promised. Of several cores only that they stay ahead.
pub fn wanted(cell: Cell, metric: Metric, cores: u16) -> Option<Wanted> {
    use {Op::Get, Op::Set, SyncMode::Always, SyncMode::Everysec};
    if cores > 1 {
        let is_promised = metric == Metric::OpsPerCpuSecond && share_of_one_core(cell).is_some();
        return is_promised.then_some(Wanted::AtLeast { ratio: 1.0, absolute: 0.0 });
    }
    match (cell, metric) {
        (Cell::Closed(workload), Metric::OpsPerCpuSecond) => {
            let Workload { op, setting, pipeline: Pipeline(pipeline) } = workload;
            if setting.value != ValueSize(64) {
                return None;
            }
            let (ratio, absolute) = match (op, setting.sync, pipeline) {
                (Set, Everysec, 1) => (1.45, 0.0),
                (Set, Everysec, 16) => (2.5, 1.4e6),
                (Get, Everysec, 1) => (1.4, 0.0),
                (Get, Everysec, 16) => (1.6, 1.6e6),
                (Set, Always, 1) => (1.25, 0.0),
                (Set, Always, 16) => (2.2, 0.0),
                _ => return None,
            };
            Some(Wanted::AtLeast { ratio, absolute })
        }
        (Cell::Open(_), Metric::P99Us) => Some(Wanted::AtMost(200.0)),
        (Cell::Memory(Pipeline(16)), Metric::OverheadBytesPerKey) => Some(Wanted::AtMost(20.0)),
        _ => None,
    }
}

/// How much of one core's operations a cpu second several cores are to reach in a cell.
pub fn share_of_one_core(cell: Cell) -> Option<f64> {
    const SETTING: Setting = Setting { sync: SyncMode::Everysec, value: ValueSize(64) };
    match cell {
        Cell::Closed(Workload { op, setting: SETTING, pipeline: Pipeline(pipeline) }) => match (op, pipeline) {
            (Op::Get, 16) => Some(0.92),
            (Op::Set, 16) => Some(0.85),
            (Op::Get, 1) => Some(0.95),
            (Op::Set, 1) => Some(0.90),
            (Op::MSet, _) => Some(0.60),
            _ => None,
        },
        _ => None,
    }
}

impl Wanted {
    /// Whether a number, and its ratio to the better peer's, are good enough; `None` when that
    /// cannot be told because there is no peer.
    pub fn is_met(self, value: f64, ratio: Option<f64>) -> Option<bool> {
        match self {
            Self::AtMost(most) => Some(value <= most),
            Self::AtLeast { ratio: least, absolute } => Some(ratio? >= least && value >= absolute),
        }
    }

    /// For the table.
    pub fn show(self) -> String {
        match self {
            Self::AtMost(most) => format!("<= {most}"),
            Self::AtLeast { ratio, absolute } if absolute > 0.0 => {
                format!(">= {ratio}x, {}k", absolute / 1000.0)
            }
            Self::AtLeast { ratio, .. } => format!(">= {ratio}x"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cell;

    #[test]
    fn both_halves_of_a_bound_count() {
        let bound = Wanted::AtLeast { ratio: 2.0, absolute: 100.0 };
        assert_eq!(bound.is_met(150.0, Some(2.5)), Some(true));
        assert_eq!(bound.is_met(99.0, Some(2.5)), Some(false));
        assert_eq!(bound.is_met(150.0, Some(1.9)), Some(false));
        assert_eq!(bound.is_met(150.0, None), None);
        assert_eq!(Wanted::AtMost(20.0).is_met(20.0, None), Some(true));
    }

    #[test]
    fn eleven_cells_have_a_promise() {
        let metrics = [Metric::OpsPerCpuSecond, Metric::P99Us, Metric::OverheadBytesPerKey];
        let cells = cell::all();
        let promises = cells.iter().flat_map(|c| metrics.map(|m| wanted(*c, m, 1)));
        assert_eq!(promises.flatten().count(), 11);
    }
}
