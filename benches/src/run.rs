//! The order of things: settings, cells, rounds, servers.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::Duration;

use emberkv_load::{LoadError, Random};

use crate::args::{Args, ClientKind};
use crate::cell::{self, Cell, Op, Pipeline, Setting, SyncMode, ValueSize, Workload};
use crate::error::{BenchError, Context};
use crate::fixed::{ClosedLoop, OpenLoop, Shape};
use crate::meter::CpuMeter;
use crate::metric::{Metric, Sample};
use crate::near::Homes;
use crate::pin::Cpus;
use crate::procfs;
use crate::redis_benchmark;
use crate::request::Keys;
use crate::results::Results;
use crate::server::{Binary, Server};

/// Loading goes through a pipeline of this depth where a cell does not say otherwise.
const LOAD_PIPELINE: Pipeline = Pipeline(16);

/// Nothing is started with less memory available: until the log is compacted, a run of writes
/// takes memory as fast as it writes.
const LEAST_MEMORY_BYTES: u64 = 4 << 30;

/// Nor with less disk: a measurement may write gigabytes.
const LEAST_DISK_BYTES: u64 = 8 << 30;

/// Loading ends with the keys, not by the clock.
const UNTIL_DONE: Duration = Duration::from_secs(3600);

/// Everything that a cell needs to run.
pub struct Bench<'a> {
    /// The command line.
    pub args: &'a Args,
    /// The servers, the subject first.
    pub binaries: Vec<Binary>,
    /// What was measured so far.
    pub results: Results,
    client_cpus: Cpus,
    data_root: PathBuf,
    random: Random,
}

/// The servers of one setting, started when first needed.
struct Fleet {
    setting: Setting,
    servers: Vec<Option<Server>>,
}

impl<'a> Bench<'a> {
    /// Finds the servers, makes the data directory, and pins the calling thread, which is the
    /// client.
    ///
    /// # Errors
    /// When a binary is missing, the directory cannot be made, or a cpu does not exist.
    pub fn prepare(args: &'a Args) -> Result<Self, BenchError> {
        let client_cpus = Cpus::new(&args.client_cpus())?;
        let server_cpus = Cpus::new(&args.server_cpus())?;
        let find = |kind: &_| Binary::find(*kind, args, &server_cpus);
        let binaries = args.servers.iter().map(find);
        let binaries = binaries.collect::<Result<Vec<_>, _>>()?;
        let root = &args.data_dir;
        fs::create_dir_all(root).context(|| format!("creating {}", root.display()))?;
        remove_orphans(root);
        client_cpus.pin_this_thread()?;
        Ok(Self {
            args,
            binaries,
            results: Results::default(),
            client_cpus,
            data_root: root.clone(),
            random: Random::new(0x5eed),
        })
    }

    /// Runs all selected cells. A cell that fails on one server is noted in the results, and the
    /// run goes on.
    ///
    /// # Errors
    /// [`LoadError::Interrupted`]; what was measured until then stays in [`Self::results`].
    pub fn run(&mut self) -> Result<(), BenchError> {
        let cells = cell::select(&self.args.cells);
        let mut fleet: Option<Fleet> = None;
        for &cell in &cells {
            match cell {
                Cell::Closed(workload) | Cell::Open(workload) => {
                    if fleet.as_ref().map(|f| f.setting) != Some(workload.setting) {
                        // the old servers go before new ones come.
                        drop(fleet.take());
                    }
                    let fleet = fleet.get_or_insert_with(|| Fleet {
                        setting: workload.setting,
                        servers: self.binaries.iter().map(|_| None).collect(),
                    });
                    self.rounds(cell, workload, fleet)?;
                }
                Cell::Memory(pipeline) => {
                    drop(fleet.take());
                    let restarts = pipeline == LOAD_PIPELINE && cells.contains(&Cell::Restart);
                    self.memory(Some(cell), pipeline, restarts)?;
                }
                // comes along with the memory cell of the same data set, where that one runs.
                Cell::Restart => {
                    drop(fleet.take());
                    if !cells.contains(&Cell::Memory(LOAD_PIPELINE)) {
                        self.memory(None, LOAD_PIPELINE, true)?;
                    }
                }
            }
        }
        Ok(())
    }

    /// Measures one cell: all servers in turn, as often as there are rounds.
    fn rounds(&mut self, cell: Cell, workload: Workload, fleet: &mut Fleet) -> Result<(), BenchError> {
        for _ in 0..self.args.rounds() {
            for index in 0..self.binaries.len() {
                let measured = self.ready(fleet, index).and_then(|server| self.measure(cell, workload, index, server));
                if measured.is_err() {
                    fleet.servers[index] = None;
                }
                self.keep(cell, index, measured)?;
            }
        }
        Ok(())
    }

    /// Files a sample, or notes why there is none.
    fn keep(&mut self, cell: Cell, index: usize, measured: Result<Sample, BenchError>) -> Result<(), BenchError> {
        let kind = self.binaries[index].kind;
        match measured {
            Ok(sample) => {
                eprintln!("{cell} {}: {}", kind.name(), one_line(&sample));
                self.results.add(cell, kind, sample);
                Ok(())
            }
            Err(BenchError::Load(LoadError::Interrupted)) => Err(LoadError::Interrupted.into()),
            Err(error) => {
                let note = format!("{cell} {}: {error}", kind.name());
                eprintln!("{note}");
                if !self.results.notes.contains(&note) {
                    self.results.notes.push(note);
                }
                Ok(())
            }
        }
    }

    /// A server of the fleet with its data set: the one that runs, unless it has grown too large.
    fn ready<'f>(&mut self, fleet: &'f mut Fleet, index: usize) -> Result<&'f Server, BenchError> {
        let slot = &mut fleet.servers[index];
        if let Some(server) = slot.as_ref() {
            let most = self.args.recycle_rss_mib << 20;
            if server.resident_bytes()? > most {
                *slot = None;
            }
        }
        let server = match slot.take() {
            Some(server) => server,
            None => {
                let Setting { sync, value } = fleet.setting;
                let server = self.start(index, sync)?;
                self.load(&server, value, LOAD_PIPELINE, self.args.keyspace)?;
                server
            }
        };
        self.settle()?;
        Ok(slot.insert(server))
    }

    /// Starts a server, if the machine has room for it.
    ///
    /// # Errors
    /// [`BenchError::Scarce`] if not; the server's own trouble.
    pub fn start(&self, index: usize, sync: SyncMode) -> Result<Server, BenchError> {
        self.check_room()?;
        self.binaries[index].start(sync, &self.data_root)
    }

    /// The same, with more arguments.
    ///
    /// # Errors
    /// As above.
    pub fn start_with(&self, index: usize, sync: SyncMode, more: &[String]) -> Result<Server, BenchError> {
        self.check_room()?;
        self.binaries[index].with_args(more).start(sync, &self.data_root)
    }

    /// Sets the keys 0 to `count`.
    ///
    /// # Errors
    /// When the client fails.
    pub fn load(
        &mut self,
        server: &Server,
        value: ValueSize,
        pipeline: Pipeline,
        count: u64,
    ) -> Result<(), BenchError> {
        let shape = self.shape(server, Op::Set, value, pipeline);
        let keys = Keys::Sequential(0..count);
        let mut client = shape.closed_loop(keys, &mut self.random)?;
        let loaded = client.run(UNTIL_DONE)?.requests;
        if loaded != count {
            let what = format!("only {loaded} of {count} keys could be loaded");
            return Err(BenchError::Lost(what));
        }
        Ok(())
    }

    /// Lets the disk come to rest, so that no server pays for what another one wrote.
    ///
    /// # Errors
    /// When the file system reports an error.
    pub fn settle(&self) -> Result<(), BenchError> {
        let what = || format!("syncing {}", self.data_root.display());
        let dir = File::open(&self.data_root).context(what)?;
        rustix::fs::syncfs(&dir).context(what)?;
        touch_memory(self.args.touch_mib << 20);
        Ok(())
    }

    fn check_room(&self) -> Result<(), BenchError> {
        let memory = procfs::available_bytes()?;
        let what = || format!("looking at the room in {}", self.data_root.display());
        let disk = rustix::fs::statvfs(&self.data_root).context(what)?;
        let disk = disk.f_bavail.saturating_mul(disk.f_frsize);
        for (name, have, least) in [("memory", memory, LEAST_MEMORY_BYTES), ("disk", disk, LEAST_DISK_BYTES)] {
            if have < least {
                return Err(BenchError::Scarce(format!(
                    "skipped: {} MiB of {name} are available, {} are wanted",
                    have >> 20,
                    least >> 20
                )));
            }
        }
        Ok(())
    }

    /// What the clients send to a server.
    pub fn shape(&self, server: &Server, op: Op, value: ValueSize, pipeline: Pipeline) -> Shape {
        Shape { port: server.port(), op, value, pipeline: pipeline.0, clients: self.args.clients.max(1) }
    }

    /// Connects a client of the closed loop, which asks for random keys.
    ///
    /// # Errors
    /// When a connection cannot be made.
    pub fn closed_loop(&mut self, shape: &Shape) -> Result<ClosedLoop, BenchError> {
        let keys = self.random_keys();
        Ok(shape.closed_loop(keys, &mut self.random)?)
    }

    /// Connects a client of the open loop, which asks for random keys.
    ///
    /// # Errors
    /// When a connection cannot be made.
    pub fn open_loop(&mut self, shape: &Shape) -> Result<OpenLoop, BenchError> {
        let keys = self.random_keys();
        Ok(shape.open_loop(keys, &mut self.random)?)
    }

    fn random_keys(&mut self) -> Keys {
        let keyspace = self.args.keyspace.max(1);
        let homes = Homes::new(self.args.keys, self.args.cores, keyspace);
        Keys::Random { random: Random::new(self.random.next_u64()), keyspace, homes }
    }

    fn measure(&mut self, cell: Cell, workload: Workload, index: usize, server: &Server) -> Result<Sample, BenchError> {
        self.check_room()?;
        let shape = self.shape(server, workload.op, workload.setting.value, workload.pipeline);
        match cell {
            Cell::Open(_) => {
                let kind = self.binaries[index].kind;
                let known = self.results.median(Cell::Closed(workload), kind, Metric::OpsPerSecond);
                let most = match known {
                    Some(most) => most,
                    None => {
                        let sample = self.closed(server, &shape)?;
                        sample.get(Metric::OpsPerSecond).unwrap_or_default()
                    }
                };
                self.open(server, &shape, most / 2.0)
            }
            _ => match self.args.client {
                ClientKind::Own => self.closed(server, &shape),
                ClientKind::RedisBenchmark => self.redis_benchmark(server, &shape),
            },
        }
    }

    fn closed(&mut self, server: &Server, shape: &Shape) -> Result<Sample, BenchError> {
        let mut client = self.closed_loop(shape)?;
        client.run(self.warm_up())?;
        let meter = CpuMeter::start(server.pid(), self.args)?;
        let stretch = client.run(Duration::from_secs_f64(self.args.seconds()))?;
        let mut sample = Sample::default();
        meter.stop(&mut sample, stretch.requests, stretch.elapsed)?;
        sample.push_latencies(&stretch.latencies);
        Ok(sample)
    }

    fn open(&mut self, server: &Server, shape: &Shape, rate: f64) -> Result<Sample, BenchError> {
        let mut client = self.open_loop(shape)?;
        client.run(rate, self.warm_up())?;
        let meter = CpuMeter::start(server.pid(), self.args)?;
        let run = client.run(rate, Duration::from_secs_f64(self.args.seconds()))?;
        let mut sample = Sample::default();
        meter.stop(&mut sample, run.requests, run.elapsed)?;
        sample.push_latencies(&run.latencies);
        sample.push(Metric::OfferedPerSecond, rate);
        sample.push(Metric::SendLagP99Us, run.send_lags.quantile_us(0.99));
        Ok(sample)
    }

    /// It takes a number of requests, not a time: a short run tells how many there must be.
    fn redis_benchmark(&self, server: &Server, shape: &Shape) -> Result<Sample, BenchError> {
        let keyspace = self.args.keyspace;
        let trial_requests = 10_000 * shape.pipeline as u64;
        let trial = redis_benchmark::run(shape, keyspace, trial_requests, &self.client_cpus)?;
        let rate = trial.get(Metric::OpsPerSecond).unwrap_or_default();
        let requests = ((rate * self.args.seconds()) as u64).max(trial_requests);
        let meter = CpuMeter::start(server.pid(), self.args)?;
        let ran = redis_benchmark::run(shape, keyspace, requests, &self.client_cpus)?;
        let mut sample = Sample::default();
        meter.stop_foreign_client(&mut sample, requests)?;
        for (metric, value) in ran.iter() {
            sample.push(metric, value);
        }
        Ok(sample)
    }

    fn warm_up(&self) -> Duration {
        Duration::from_secs_f64((self.args.seconds() / 5.0).min(0.5))
    }
}

/// Touches memory and gives it back. A virtual machine's host takes free memory away after some seconds, and its
/// next first touch is twenty times as dear: 0.4 against 9 GB/s where this was measured. What that costs says
/// nothing about a server, only about when it ran.
fn touch_memory(bytes: usize) {
    const PAGE: usize = 4096;
    let mut memory = vec![0_u8; bytes];
    for page in memory.iter_mut().step_by(PAGE) {
        *page = 1;
    }
    std::hint::black_box(&memory);
}

fn one_line(sample: &Sample) -> String {
    let show = |(metric, value): (Metric, f64)| format!("{} {}", metric.show(value), metric.heading());
    sample.iter().map(show).collect::<Vec<_>>().join(", ")
}

/// Removes what earlier runs left because they were killed: directories whose name ends in the id
/// of a process that is gone.
fn remove_orphans(root: &Path) {
    for entry in fs::read_dir(root).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let pid = name.to_str().and_then(|name| name.rsplit_once('-'));
        let pid = pid.and_then(|(_, pid)| pid.parse::<u32>().ok());
        let orphaned = pid.is_some_and(|pid| !Path::new(&format!("/proc/{pid}")).exists());
        if orphaned && let Err(error) = fs::remove_dir_all(entry.path()) {
            eprintln!("cannot remove {}: {error}", entry.path().display());
        }
    }
}

impl Bench<'_> {
    /// The memory cell, and the restart cell on the same servers.
    fn memory(&mut self, cell: Option<Cell>, pipeline: Pipeline, restarts: bool) -> Result<(), BenchError> {
        let mut loaded = Vec::new();
        for index in 0..self.binaries.len() {
            match crate::memory::load_and_weigh(self, index, pipeline) {
                Ok((server, sample)) => {
                    if let Some(cell) = cell {
                        self.keep(cell, index, Ok(sample))?;
                    }
                    if restarts {
                        loaded.push((index, server));
                    }
                }
                Err(error) => self.keep(cell.unwrap_or(Cell::Restart), index, Err(error))?,
            }
        }
        for _ in 0..self.args.rounds() {
            for (index, server) in &mut loaded {
                let measured = crate::memory::restart(self, server);
                self.keep(Cell::Restart, *index, measured)?;
            }
        }
        Ok(())
    }
}
