//! The command line.

use std::path::PathBuf;

use clap::{Parser, ValueEnum};

use crate::cell::Filter;
use crate::near::Where;
use crate::server::ServerKind;

/// Which program makes the load.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ClientKind {
    /// The load generator of this crate.
    Own,
    /// `redis-benchmark`, to check the numbers of our own one (closed-loop cells only, no p99.9).
    RedisBenchmark,
}

/// Runs emberkv, redis and valkey under the same load and compares them.
///
/// The first of `--servers` is the subject; ratios are taken against the better one of the others.
#[derive(Clone, Debug, Parser)]
#[command(name = "emberkv-benches", version)]
pub struct Args {
    /// The emberkv binary.
    #[arg(long, env = "EMBERKV", default_value = "target/release/emberkv")]
    pub emberkv: PathBuf,

    /// One more argument for `emberkv server`; may be given several times.
    #[arg(long, allow_hyphen_values = true)]
    pub emberkv_arg: Vec<String>,

    /// The redis binary.
    #[arg(long, env = "REDIS_SERVER", default_value = "/usr/bin/redis-server")]
    pub redis: PathBuf,

    /// The valkey binary; `benches/peers.sh` fetches one.
    #[arg(long, env = "VALKEY_SERVER")]
    pub valkey: Option<PathBuf>,

    /// A newer redis, as server `redis8`; `benches/peers.sh` fetches one.
    #[arg(long, env = "REDIS8_SERVER")]
    pub redis8: Option<PathBuf>,

    /// Allocator to preload into valkey, whose packaged build has none of its own; empty for libc's.
    /// Default: jemalloc, where the system has it.
    #[arg(long, env = "VALKEY_PRELOAD")]
    pub valkey_preload: Option<PathBuf>,

    /// Servers to run, the subject first.
    #[arg(long, value_delimiter = ',', default_value = "emberkv,redis,valkey", value_enum)]
    pub servers: Vec<ServerKind>,

    /// Cells to run, e.g. `set-p16-everysec,memory`: a cell runs when all the words of one of the
    /// items occur in its name; `closed` is for those that are not `open`. `--list` prints the names.
    #[arg(long, value_delimiter = ',')]
    pub cells: Vec<Filter>,

    /// Print the names of the selected cells and exit.
    #[arg(long)]
    pub list: bool,

    /// Rounds: every server is measured once in each. [default: 3, with --short 1]
    #[arg(long)]
    pub rounds: Option<u32>,

    /// Seconds of one measurement. [default: 3, with --short 1]
    #[arg(long)]
    pub seconds: Option<f64>,

    /// Instead of cells: overwrite, delete and expire at 70% of each server's maximum rate for so many minutes, and
    /// watch memory, disk and p99.9.
    #[arg(long, value_name = "MINUTES", conflicts_with = "disturb")]
    pub soak: Option<f64>,

    /// Instead of cells: SET at P=1 and half of the maximum rate, in rounds, with and without these running.
    #[arg(long, value_name = "COMMANDS", value_delimiter = ',', value_enum)]
    pub disturb: Vec<crate::disturb::Command>,

    /// Instead of cells: how often caches of the same `maxmemory` and policy have what they are asked for.
    #[arg(long, conflicts_with_all = ["disturb", "soak"])]
    pub hit_ratio: bool,

    /// The memory of each cache (MiB), with --hit-ratio.
    #[arg(long, default_value_t = 64)]
    pub maxmemory_mib: u64,

    /// The sizes of values, with --hit-ratio.
    #[arg(long, value_delimiter = ',', default_value = "64,1000")]
    pub hit_values: Vec<usize>,

    /// Instead of cells: commands on lists, sets, hashes and sorted sets, and what these take of memory. `--seconds` says how many
    /// commands: 100,000 for each second without a pipeline, 400,000 with one.
    #[arg(long)]
    pub collections: bool,

    /// Where plots go (svg), with --soak and --disturb.
    #[arg(long)]
    pub plot: Option<PathBuf>,

    /// A quick look: short rounds, and 500,000 keys in the memory and restart cells.
    #[arg(long)]
    pub short: bool,

    /// Keys of the memory and restart cells. [default: 5000000, with --short 500000]
    #[arg(long)]
    pub memory_keys: Option<u64>,

    /// Connections.
    #[arg(long, default_value_t = 50)]
    pub clients: usize,

    /// Distinct keys of the throughput cells; all of them are loaded first.
    #[arg(long, default_value_t = 1_000_000)]
    pub keyspace: u64,

    /// With several cores: whether a connection asks for keys of its own core only, or of the next one only. Just for
    /// emberkv, a partition for each core, and as many connections as are dealt evenly.
    #[arg(long, value_enum, default_value = "anywhere")]
    pub keys: Where,

    /// Which program makes the load.
    #[arg(long, value_enum, default_value = "own")]
    pub client: ClientKind,

    /// Cores of every server: emberkv's `--cores`, the others' `io-threads`. With several they share the cpus with
    /// the client, so only what an operation costs (ops/cpu-s) can be compared.
    #[arg(long, default_value_t = 1)]
    pub cores: u16,

    /// Cpus of the server, e.g. `0` or `0,2`. [default: 0; with --cores N all from 0 to N-1]
    #[arg(long, value_delimiter = ',')]
    server_cpus: Vec<usize>,

    /// Cpus of the client. [default: 1; with --cores N all from 0 to N-1]
    #[arg(long, value_delimiter = ',')]
    client_cpus: Vec<usize>,

    /// A server that holds more resident memory than this is replaced by a fresh one before it is
    /// measured again (MiB).
    #[arg(long, default_value_t = 2048)]
    pub recycle_rss_mib: u64,

    /// So much memory is touched and freed before each measurement, so that no server meets pages that
    /// the host of a virtual machine has taken away (MiB).
    #[arg(long, default_value_t = 1024)]
    pub touch_mib: usize,

    /// Where the servers keep their data; removed afterwards.
    #[arg(long, default_value = "target/bench-data")]
    pub data_dir: PathBuf,

    /// Write every sample to this file.
    #[arg(long)]
    pub json: Option<PathBuf>,

    /// Write the tables to this file.
    #[arg(long)]
    pub markdown: Option<PathBuf>,
}

impl Args {
    /// How often every server is measured.
    pub fn rounds(&self) -> u32 {
        self.rounds.unwrap_or(if self.short { 1 } else { 3 }).max(1)
    }

    /// The cpus that servers run on.
    pub fn server_cpus(&self) -> Vec<usize> {
        cpus(&self.server_cpus, self.cores, 0)
    }

    /// The cpus that the client runs on.
    pub fn client_cpus(&self) -> Vec<usize> {
        cpus(&self.client_cpus, self.cores, 1)
    }

    /// Seconds of one measurement, at least 0.1.
    pub fn seconds(&self) -> f64 {
        let default = if self.short { 1.0 } else { 3.0 };
        self.seconds.unwrap_or(default).clamp(0.1, 3600.0)
    }

    /// Keys loaded by the memory and restart cells.
    pub fn memory_keys(&self) -> u64 {
        let default = if self.short { 500_000 } else { 5_000_000 };
        self.memory_keys.unwrap_or(default).max(1)
    }
}

fn cpus(given: &[usize], cores: u16, alone: usize) -> Vec<usize> {
    match (given, cores) {
        ([], 0 | 1) => vec![alone],
        ([], cores) => (0..usize::from(cores)).collect(),
        (given, _) => given.to_vec(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_core_has_its_cpu_alone_and_several_share_with_the_client() {
        let cpus = |words: &[&str]| {
            let args = Args::parse_from([&["bench"], words].concat());
            (args.server_cpus(), args.client_cpus())
        };
        assert_eq!(cpus(&[]), (vec![0], vec![1]));
        assert_eq!(cpus(&["--cores", "2"]), (vec![0, 1], vec![0, 1]));
        assert_eq!(cpus(&["--cores", "2", "--client-cpus", "3"]), (vec![0, 1], vec![3]));
    }

    #[test]
    fn the_command_line_is_consistent() {
        use clap::CommandFactory;
        Args::command().debug_assert();
    }

    #[test]
    fn short_only_changes_what_was_not_given() {
        let args = Args::parse_from(["bench", "--short", "--rounds", "7"]);
        assert_eq!(args.rounds(), 7);
        assert_eq!(args.seconds(), 1.0);
        assert_eq!(args.memory_keys(), 500_000);
    }
}
