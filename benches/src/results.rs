//! All samples of a run.

use crate::cell::Cell;
use crate::metric::{Metric, Sample};
use crate::server::ServerKind;
use crate::stats::Summary;

/// The samples of one server in one cell, one per round.
#[derive(Clone, Debug)]
pub struct Series {
    /// The cell.
    pub cell: Cell,
    /// The server.
    pub server: ServerKind,
    /// In the order of rounds.
    pub samples: Vec<Sample>,
}

/// Samples and remarks, in the order in which they came.
#[derive(Clone, Debug, Default)]
pub struct Results {
    /// One for each cell and server that was measured.
    pub series: Vec<Series>,
    /// What could not be measured, and why.
    pub notes: Vec<String>,
}

impl Results {
    /// Adds a sample.
    pub fn add(&mut self, cell: Cell, server: ServerKind, sample: Sample) {
        let same = |s: &&mut Series| s.cell == cell && s.server == server;
        match self.series.iter_mut().find(same) {
            Some(series) => series.samples.push(sample),
            None => self.series.push(Series { cell, server, samples: vec![sample] }),
        }
    }

    /// The cells that were measured, each once.
    pub fn cells(&self) -> Vec<Cell> {
        let mut cells: Vec<Cell> = Vec::new();
        for series in &self.series {
            if !cells.contains(&series.cell) {
                cells.push(series.cell);
            }
        }
        cells
    }

    /// What the rounds of one server in one cell say about one number.
    pub fn summary(&self, cell: Cell, server: ServerKind, metric: Metric) -> Option<Summary> {
        let same = |s: &&Series| s.cell == cell && s.server == server;
        let series = self.series.iter().find(same)?;
        Summary::of_samples(&series.samples, metric)
    }

    /// Its median.
    pub fn median(&self, cell: Cell, server: ServerKind, metric: Metric) -> Option<f64> {
        Some(self.summary(cell, server, metric)?.median)
    }
}
