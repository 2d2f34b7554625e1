//! `emberkv-torture`: the harnesses from the command line.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, Subcommand};
use emberkv_torture::all::{self, AllPlan};
use emberkv_torture::differential::{Contest, Differences, Script};
use emberkv_torture::kill::{self, KillPlan};
use emberkv_torture::linear::{self, LinearPlan};
use emberkv_torture::power::{self, PowerPlan};
use emberkv_torture::queues::{self, QueuesPlan};
use emberkv_torture::{Flavor, Result, ServerSpec, TempDir, peers};

#[derive(Debug, Parser)]
#[command(about = "tortures a server binary and checks what it promised")]
struct Args {
    #[command(subcommand)]
    command: Torture,
}

#[derive(Debug, Subcommand)]
enum Torture {
    /// All that kills or cuts, in turn, in each mode, for as long as is said
    All(AllArgs),
    /// kill -9 under pipelined writes, and an oracle over every acknowledged one
    Kill(KillArgs),
    /// Concurrent histories, checked for linearizability and for the order of pipelines
    Linear(LinearArgs),
    /// Kills and takes the ends of logs away; transactions must be whole
    Power(PowerArgs),
    /// Kills a primary and its replica, disturbs the link between them, and has them change places
    Replicas(QueuesArgs),
    /// kill -9 while clients wait for elements and keep what they read
    Queues(QueuesArgs),
    /// Runs scripts against a server and a referee, and compares the replies
    Diff(DiffArgs),
    /// Runs random commands against a server and a referee, and compares replies and state
    Random(RandomArgs),
}

#[derive(Debug, clap::Args)]
struct Servers {
    /// The server under test
    #[arg(long)]
    server: PathBuf,
    /// The server that is right; redis 8.2 of torture/peers.sh by default
    #[arg(long)]
    referee: Option<PathBuf>,
    /// emberkv's i/o driver: auto, uring or epoll
    #[arg(long, default_value = "auto")]
    io: String,
}

#[derive(Debug, clap::Args)]
struct DiffArgs {
    #[command(flatten)]
    servers: Servers,
    /// The list of deliberate differences
    #[arg(long)]
    differences: Option<PathBuf>,
    /// The scripts
    #[arg(required = true)]
    scripts: Vec<PathBuf>,
}

#[derive(Debug, clap::Args)]
struct RandomArgs {
    #[command(flatten)]
    servers: Servers,
    /// Decides the commands
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How many commands, in each protocol
    #[arg(long, default_value_t = 5000)]
    steps: u64,
}

#[derive(Debug, clap::Args)]
struct AllArgs {
    /// The server under test: emberkv
    #[arg(long)]
    server: PathBuf,
    /// The same with the feature `failpoints`; without one no step is aimed at
    #[arg(long)]
    failpoints_server: Option<PathBuf>,
    /// For how long; each kind runs once all the same
    #[arg(long, default_value_t = 10)]
    minutes: u64,
    /// Decides commands and moments
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

#[derive(Debug, clap::Args)]
struct KillArgs {
    /// How many times to kill the server
    #[arg(long, default_value_t = 50)]
    rounds: u64,
    /// Decides commands and moments
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How many connections write at once
    #[arg(long, default_value_t = 6)]
    connections: usize,
    #[command(flatten)]
    server: ServerArgs,
    /// The data directory; a temporary one by default
    #[arg(long)]
    dir: Option<PathBuf>,
    /// The server kills itself, at each named step in turn: for a build with the feature `failpoints`
    #[arg(long)]
    failpoints: bool,
    /// With `--failpoints`: one of the steps to die at, if not at all of them
    #[arg(long, requires = "failpoints")]
    step: Vec<String>,
    /// The same at the steps of eviction, with caches that are full: what has gone stays gone
    #[arg(long, conflicts_with = "failpoints")]
    cache: bool,
}

#[derive(Debug, clap::Args)]
struct LinearArgs {
    /// For how long
    #[arg(long, default_value_t = 10.0)]
    seconds: f64,
    /// Decides the commands
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How many connections use the registers; as many again produce and consume jobs
    #[arg(long, default_value_t = 8)]
    connections: usize,
    /// Ends every round with kill -9: what was answered before must fit what is found after
    #[arg(long)]
    kills: bool,
    #[command(flatten)]
    server: ServerArgs,
}

#[derive(Debug, clap::Args)]
struct PowerArgs {
    /// How many times the power is lost
    #[arg(long, default_value_t = 30)]
    rounds: u64,
    /// Decides commands, moments and cuts
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How many connections write at once
    #[arg(long, default_value_t = 6)]
    connections: usize,
    #[command(flatten)]
    server: ServerArgs,
}

#[derive(Debug, clap::Args)]
struct QueuesArgs {
    /// How many times to kill the server
    #[arg(long, default_value_t = 30)]
    rounds: u64,
    /// Decides commands
    #[arg(long, default_value_t = 1)]
    seed: u64,
    #[command(flatten)]
    server: ServerArgs,
}

/// The one server under test.
#[derive(Debug, clap::Args)]
struct ServerArgs {
    /// The server binary: emberkv, or a redis-server or valkey-server
    #[arg(long)]
    server: PathBuf,
    /// The sync policy: always, everysec or no
    #[arg(long, default_value = "everysec")]
    appendfsync: String,
    /// emberkv's i/o driver: auto, uring or epoll
    #[arg(long, default_value = "auto")]
    io: String,
    /// emberkv's number of cores; its own default when it is not given
    #[arg(long)]
    cores: Option<u16>,
    /// Numbers of cores to start emberkv with in turn, as in 2,1,3; the first makes the data set
    #[arg(long, value_delimiter = ',', conflicts_with = "cores")]
    vary_cores: Vec<u16>,
    /// More words for the server's command line
    #[arg(last = true)]
    extra: Vec<String>,
}

impl ServerArgs {
    fn spec(&self, dir: &Path) -> ServerSpec {
        let spec = ServerSpec::new(&self.server, dir);
        let spec = match spec.flavor() {
            Flavor::Ember => spec.args(["--appendfsync", &self.appendfsync, "--io", &self.io]),
            Flavor::Redis => spec.args(["--appendonly", "yes", "--appendfsync", &self.appendfsync]),
        };
        let cores = self.cores.map(|cores| ["--cores".to_owned(), cores.to_string()]);
        spec.args(cores.into_iter().flatten()).args(&self.extra)
    }

    fn describe(&self) -> String {
        let cores = match (self.cores, &self.vary_cores[..]) {
            (Some(cores), _) => format!(" on {cores} cores"),
            (None, []) => String::new(),
            (None, cores) => format!(" on {cores:?} cores in turn"),
        };
        format!("{}{cores}, appendfsync {}", self.server.display(), self.appendfsync)
    }
}

fn main() -> ExitCode {
    let outcome = match Args::parse().command {
        Torture::All(args) => everything(&args),
        Torture::Kill(args) => kill(&args),
        Torture::Linear(args) => linear(&args),
        Torture::Power(args) => power(&args),
        Torture::Queues(args) => waiting(&args),
        Torture::Replicas(args) => replicas(&args),
        Torture::Diff(args) => diff(&args),
        Torture::Random(args) => random(&args),
    };
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(error) => {
            eprintln!("emberkv-torture: {error}");
            ExitCode::from(2)
        }
    }
}

fn everything(args: &AllArgs) -> Result<bool> {
    let plan = AllPlan {
        server: args.server.clone(),
        with_failpoints: args.failpoints_server.clone(),
        length: Duration::from_secs(args.minutes.saturating_mul(60)),
        seed: args.seed,
    };
    println!("everything: {} minutes, seed {}, {}", args.minutes, args.seed, args.server.display());
    let report = all::run(&plan, |said| println!("{said}"))?;
    println!("{report}");
    Ok(report.is_clean())
}

fn kill(args: &KillArgs) -> Result<bool> {
    let temporary = TempDir::new("kill")?;
    let dir = args.dir.clone().unwrap_or_else(|| temporary.path().to_path_buf());
    let mut plan = KillPlan::new(args.server.spec(&dir), args.rounds, args.seed).cores(&args.server.vary_cores);
    plan.connections = args.connections.max(1);
    println!(
        "kill -9: {} rounds of {} connections, seed {}, {}",
        plan.rounds,
        plan.connections,
        plan.seed,
        args.server.describe()
    );
    if args.cache {
        let report = kill::run_cache(&plan)?;
        println!("{report}");
        return Ok(report.is_clean());
    }
    let report = if args.failpoints {
        // small segments, so that each round comes by all steps
        plan.spec = plan.spec.args(["--segment-size", "1mb", "--checkpoint-interval", "1mb"]);
        plan.steps.clone_from(&args.step);
        kill::run_at_failpoints(&plan)?
    } else {
        kill::run(&plan)?
    };
    println!("{report}");
    Ok(report.is_clean())
}

fn power(args: &PowerArgs) -> Result<bool> {
    let dir = TempDir::new("power")?;
    // small segments, for the whole directory is copied each time.
    let spec = args.server.spec(dir.path()).args(["--segment-size", "1mb"]);
    let plan = PowerPlan { spec, rounds: args.rounds, connections: args.connections.max(1), seed: args.seed };
    println!("power loss: {} rounds, seed {}, {}", plan.rounds, plan.seed, args.server.describe());
    let report = power::run(&plan)?;
    println!("{report}");
    Ok(report.is_clean())
}

fn waiting(args: &QueuesArgs) -> Result<bool> {
    let dir = TempDir::new("queues")?;
    let mut plan = QueuesPlan::new(args.server.spec(dir.path()), args.rounds, args.seed);
    plan.cores.clone_from(&args.server.vary_cores);
    println!("clients that wait: {} rounds, seed {}, {}", plan.rounds, plan.seed, args.server.describe());
    let report = queues::run(&plan)?;
    println!("{report}");
    Ok(report.is_clean())
}

fn replicas(args: &QueuesArgs) -> Result<bool> {
    let dir = TempDir::new("replicas")?;
    let plan = KillPlan::new(args.server.spec(dir.path()), args.rounds, args.seed).cores(&args.server.vary_cores);
    println!("with a replica: {} rounds, seed {}, {}", plan.rounds, plan.seed, args.server.describe());
    let report = kill::run_with_replica(&plan)?;
    println!("{report}");
    Ok(report.is_clean())
}

fn linear(args: &LinearArgs) -> Result<bool> {
    let dir = TempDir::new("linear")?;
    let length = Duration::try_from_secs_f64(args.seconds).unwrap_or_default();
    let mut plan = LinearPlan::new(args.server.spec(dir.path()), length, args.seed);
    plan.connections = args.connections.max(1);
    plan.kills = args.kills;
    plan.cores = args.server.vary_cores.clone();
    println!(
        "histories: {:?}, {} connections, seed {}, {}",
        plan.length,
        plan.connections,
        plan.seed,
        args.server.describe()
    );
    let report = linear::run(&plan)?;
    println!("{report}");
    Ok(report.is_clean())
}

impl Servers {
    fn contest(&self) -> Result<Contest> {
        let is_ember = ServerSpec::new(&self.server, "").flavor() == Flavor::Ember;
        Ok(Contest {
            subject: self.server.clone(),
            subject_args: if is_ember { vec!["--io".into(), self.io.clone()] } else { Vec::new() },
            referee: match &self.referee {
                Some(referee) => referee.clone(),
                None => peers::redis82()?,
            },
        })
    }
}

fn diff(args: &DiffArgs) -> Result<bool> {
    let contest = args.servers.contest()?;
    let mut differences = match &args.differences {
        Some(path) => Differences::load(path)?,
        None => Differences::default(),
    };
    let (mut steps, mut bad) = (0, 0);
    for path in &args.scripts {
        let script = Script::load(path)?;
        for &protocol in &script.protocols {
            for mismatch in contest.run_script(&script, protocol)? {
                if !differences.excuse(&script.name, protocol, &mismatch.step) {
                    bad += 1;
                    println!("{mismatch}");
                }
            }
            steps += script.steps.len();
        }
    }
    let unseen = differences.unseen();
    unseen.iter().for_each(|line| println!("{line}"));
    println!("{steps} steps, {bad} differences");
    Ok(bad == 0 && unseen.is_empty())
}

fn random(args: &RandomArgs) -> Result<bool> {
    let contest = args.servers.contest()?;
    let mut bad = 0;
    for protocol in [2, 3] {
        let mismatches = contest.run_random(args.seed, args.steps, protocol)?;
        mismatches.iter().for_each(|mismatch| println!("{mismatch}"));
        bad += mismatches.len();
    }
    println!("{} commands in each protocol, seed {}, {bad} differences", args.steps, args.seed);
    Ok(bad == 0)
}
