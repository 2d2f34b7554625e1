//! What is measured: the cells, their names, and the filter that selects them.

use std::fmt;
use std::str::FromStr;

/// The command under test.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    /// `GET key`, of a key that exists.
    Get,
    /// `SET key value`, over a key that exists.
    Set,
    /// `MSET` of [`MSET_KEYS`] keys that exist.
    MSet,
    /// `SET key value EX 10`.
    SetEx,
    /// `DEL key`.
    Del,
    /// Of every ten connections eight [`Op::Set`], one [`Op::SetEx`] and one [`Op::Del`].
    Churn,
}

/// Keys of one MSET: enough to lie in several partitions.
pub const MSET_KEYS: usize = 10;

impl Op {
    /// Keys of one request.
    pub fn keys(self) -> usize {
        match self {
            Self::MSet => MSET_KEYS,
            _ => 1,
        }
    }

    /// What the connection of this number sends: a mixture is one of connections.
    pub fn of_connection(self, index: usize) -> Self {
        match (self, index % 10) {
            (Self::Churn, 8) => Self::SetEx,
            (Self::Churn, 9) => Self::Del,
            (Self::Churn, _) => Self::Set,
            (op, _) => op,
        }
    }
}

/// The sync policy of the server's log (`appendfsync`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SyncMode {
    /// Written to the file, synced when the kernel likes.
    No,
    /// Synced once a second.
    Everysec,
    /// Synced before the reply.
    Always,
}

impl SyncMode {
    /// The value of `appendfsync`.
    pub fn name(self) -> &'static str {
        match self {
            Self::No => "no",
            Self::Everysec => "everysec",
            Self::Always => "always",
        }
    }
}

/// A value's length in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ValueSize(pub usize);

/// Requests that one connection has on its way at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pipeline(pub usize);

/// The servers' configuration and data set: what cells must share to run on the same processes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Setting {
    /// The sync policy.
    pub sync: SyncMode,
    /// The size of every value.
    pub value: ValueSize,
}

/// One kind of load on one setting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Workload {
    /// The command.
    pub op: Op,
    /// The servers' setting.
    pub setting: Setting,
    /// The depth of the pipeline.
    pub pipeline: Pipeline,
}

/// One row of the results.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cell {
    /// As fast as replies come: throughput, operations per cpu second.
    Closed(Workload),
    /// At half of the closed loop's rate, by the clock: latency.
    Open(Workload),
    /// Resident memory per key, loaded through a pipeline of this depth.
    Memory(Pipeline),
    /// From exec to the first successful GET, after `kill -9`.
    Restart,
}

impl fmt::Display for Workload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let op = match self.op {
            Op::Get => "get",
            Op::Set => "set",
            Op::MSet => "mset",
            Op::SetEx => "setex",
            Op::Del => "del",
            Op::Churn => "churn",
        };
        let Setting { sync, value } = self.setting;
        write!(f, "{op}-{}-p{}-{}", value.0, self.pipeline.0, sync.name())
    }
}

impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Closed(workload) => write!(f, "{workload}"),
            Self::Open(workload) => write!(f, "open-{workload}"),
            Self::Memory(pipeline) => write!(f, "memory-p{}", pipeline.0),
            Self::Restart => write!(f, "restart"),
        }
    }
}

impl Cell {
    /// The words of its name, by which it is selected, and `closed` for the closed loop.
    fn words(&self) -> Vec<String> {
        let mut words: Vec<String> = self.to_string().split('-').map(str::to_owned).collect();
        if matches!(self, Self::Closed(_)) {
            words.push("closed".to_owned());
        }
        words
    }
}

/// Every cell, in the order of running: cells of one setting stand together, reads before writes
/// (so that reads see the data set as it was loaded).
pub fn all() -> Vec<Cell> {
    let mut cells = Vec::new();
    for sync in [SyncMode::Everysec, SyncMode::Always, SyncMode::No] {
        for value in [ValueSize(64), ValueSize(1024)] {
            let setting = Setting { sync, value };
            let workloads = [Op::Get, Op::Set]
                .into_iter()
                .flat_map(|op| [Pipeline(1), Pipeline(16)].map(|pipeline| Workload { op, setting, pipeline }));
            cells.extend(workloads.clone().map(Cell::Closed));
            if sync == SyncMode::Everysec && value == ValueSize(64) {
                let mset = |pipeline| Cell::Closed(Workload { op: Op::MSet, setting, pipeline });
                cells.extend([Pipeline(1), Pipeline(16)].map(mset));
                cells.extend(workloads.map(Cell::Open));
            }
        }
    }
    cells.extend([Cell::Memory(Pipeline(16)), Cell::Restart, Cell::Memory(Pipeline(1))]);
    cells
}

/// One item of `--cells`: words that must all occur in a cell's name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filter(Vec<String>);

impl FromStr for Filter {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let words: Vec<String> = text.split('-').map(str::to_owned).collect();
        let known = all();
        for word in &words {
            let occurs = |cell: &Cell| cell.words().contains(word);
            if !known.iter().any(occurs) {
                return Err(format!("no cell's name has the word {word:?}; see --list"));
            }
        }
        Ok(Self(words))
    }
}

impl Filter {
    fn matches(&self, cell: &Cell) -> bool {
        let words = cell.words();
        self.0.iter().all(|word| words.contains(word))
    }
}

/// The cells that any of `filters` selects; all of them if there is none.
pub fn select(filters: &[Filter]) -> Vec<Cell> {
    let mut cells = all();
    cells.retain(|cell| filters.is_empty() || filters.iter().any(|f| f.matches(cell)));
    cells
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(filters: &[&str]) -> Vec<String> {
        let filters: Vec<Filter> = filters.iter().map(|f| f.parse().unwrap()).collect();
        select(&filters).iter().map(Cell::to_string).collect()
    }

    #[test]
    fn names_are_unique() {
        let mut all = names(&[]);
        let count = all.len();
        all.sort();
        all.dedup();
        assert_eq!(all.len(), count);
    }

    #[test]
    fn a_filter_wants_all_of_its_words() {
        assert_eq!(
            names(&["set-p16-everysec"]),
            ["set-64-p16-everysec", "open-set-64-p16-everysec", "set-1024-p16-everysec"]
        );
        assert_eq!(names(&["closed-set-64-p16-everysec"]), ["set-64-p16-everysec"]);
    }

    #[test]
    fn filters_are_alternatives() {
        assert_eq!(names(&["restart", "memory"]), ["memory-p16", "restart", "memory-p1"]);
    }

    #[test]
    fn an_unknown_word_is_refused() {
        assert!("set-p17".parse::<Filter>().is_err());
    }
}
