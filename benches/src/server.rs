//! The servers under test: how each is started, awaited, crashed and removed.

use std::fs::{self, File};
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use clap::ValueEnum;

use crate::args::Args;
use crate::cell::SyncMode;
use crate::error::{BenchError, Context};
use crate::pin::Cpus;
use crate::probe::{Probe, bulk_length};
use crate::procfs;
use emberkv_load::interrupt;

/// Where distributions put jemalloc.
const JEMALLOC_PATHS: [&str; 4] = [
    "/usr/lib/x86_64-linux-gnu/libjemalloc.so.2",
    "/usr/lib/aarch64-linux-gnu/libjemalloc.so.2",
    "/usr/lib64/libjemalloc.so.2",
    "/usr/lib/libjemalloc.so.2",
];

/// Starting, also over a large data set, takes no longer.
const START_TIMEOUT: Duration = Duration::from_secs(300);

/// The programs that can be compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ServerKind {
    /// This project's.
    Emberkv,
    /// The distribution's redis.
    Redis,
    /// Valkey.
    Valkey,
    /// A newer redis.
    Redis8,
    /// This project's on one core, whatever `--cores` says.
    EmberkvOne,
}

impl ServerKind {
    /// The name in tables and of directories.
    pub fn name(self) -> &'static str {
        match self {
            Self::Emberkv => "emberkv",
            Self::Redis => "redis",
            Self::Valkey => "valkey",
            Self::Redis8 => "redis8",
            Self::EmberkvOne => "emberkv-one",
        }
    }

    /// Whether it is this project's.
    pub fn is_ours(self) -> bool {
        matches!(self, Self::Emberkv | Self::EmberkvOne)
    }
}

/// A server's program and what it is started with.
#[derive(Clone, Debug)]
pub struct Binary {
    /// Which server it is.
    pub kind: ServerKind,
    /// The first line that it prints for `--version`.
    pub version: String,
    path: PathBuf,
    preload: Option<PathBuf>,
    more_args: Vec<String>,
    cpus: Cpus,
}

impl Binary {
    /// Finds a server's program by the command line.
    ///
    /// # Errors
    /// [`BenchError::NoBinary`] when it is not there or does not run.
    pub fn find(kind: ServerKind, args: &Args, cpus: &Cpus) -> Result<Self, BenchError> {
        let (path, hint) = match kind {
            ServerKind::Emberkv | ServerKind::EmberkvOne => {
                (Some(&args.emberkv), "build it with `cargo build --release -p emberkv`, or use --emberkv")
            }
            ServerKind::Redis => (Some(&args.redis), "install the package redis-server, or use --redis"),
            ServerKind::Valkey => (args.valkey.as_ref(), "run benches/peers.sh, then use --valkey or VALKEY_SERVER"),
            ServerKind::Redis8 => (args.redis8.as_ref(), "run benches/peers.sh, then use --redis8 or REDIS8_SERVER"),
        };
        let missing = |path: PathBuf| BenchError::NoBinary { server: kind.name(), path, hint };
        let path = path.ok_or_else(|| missing(PathBuf::new()))?;
        // absolute, as children run elsewhere; but links stay, as some programs go by their name.
        let path = std::path::absolute(path).map_err(|_| missing(path.clone()))?;
        let output = Command::new(&path).arg("--version").output();
        let output = output.map_err(|_| missing(path.clone()))?;
        let text = String::from_utf8_lossy(&output.stdout);
        let version = text.lines().next().unwrap_or("unknown version").trim();
        Ok(Self {
            kind,
            version: version.to_owned(),
            preload: (kind == ServerKind::Valkey).then(|| preload(args.valkey_preload.as_deref())).flatten(),
            more_args: more_args(kind, args),
            path,
            cpus: cpus.clone(),
        })
    }

    /// The same program, told more.
    pub fn with_args(&self, more: &[String]) -> Self {
        let mut told = self.clone();
        told.more_args.extend_from_slice(more);
        told
    }

    /// The command line, for the report.
    pub fn describe(&self) -> String {
        let mut text = String::new();
        if let Some(preload) = &self.preload {
            text.push_str(&format!("LD_PRELOAD={} ", preload.display()));
        }
        text.push_str(&self.path.display().to_string());
        for arg in self.arguments("PORT", "DIR", "MODE") {
            text.push(' ');
            text.push_str(if arg.is_empty() { "\"\"" } else { &arg });
        }
        text
    }

    /// Peers log every write too, take no snapshots, and never rewrite their log: a rewrite that
    /// happens to fall into a measurement of a few seconds says nothing about either side.
    fn arguments(&self, port: &str, dir: &str, sync: &str) -> Vec<String> {
        let mut args: Vec<&str> = Vec::new();
        if self.kind.is_ours() {
            args.push("server");
        }
        args.extend(["--port", port, "--dir", dir, "--appendfsync", sync]);
        if !self.kind.is_ours() {
            args.extend(["--bind", "127.0.0.1", "--appendonly", "yes", "--save", ""]);
            args.extend(["--auto-aof-rewrite-percentage", "0", "--daemonize", "no"]);
        }
        let more = self.more_args.iter().map(String::as_str);
        args.into_iter().chain(more).map(str::to_owned).collect()
    }

    /// Starts it on an empty data directory and waits until it serves.
    ///
    /// # Errors
    /// When the directory cannot be made, or the server does not become ready.
    pub fn start(&self, sync: SyncMode, data_root: &Path) -> Result<Server, BenchError> {
        let name = format!("{}-{}", self.kind.name(), std::process::id());
        let dir = data_root.join(name);
        if dir.exists() {
            fs::remove_dir_all(&dir).context(|| format!("removing {}", dir.display()))?;
        }
        fs::create_dir_all(&dir).context(|| format!("creating {}", dir.display()))?;
        let dir = fs::canonicalize(&dir).context(|| format!("finding {}", dir.display()))?;
        let home = DataDir(dir);
        let process = self.spawn(sync, &home.0)?;
        let mut server = Server { process, home, sync, binary: self.clone() };
        server.wait_until(&["PING"], |line| line == "+PONG")?;
        Ok(server)
    }

    fn spawn(&self, sync: SyncMode, dir: &Path) -> Result<Process, BenchError> {
        let port = free_port()?;
        let log = dir.join("output.log");
        let out = File::create(&log).context(|| format!("creating {}", log.display()))?;
        let err = out.try_clone().context(|| "sharing a log file".into())?;
        let dir_name = dir.display().to_string();
        let mut command = Command::new(&self.path);
        command
            .args(self.arguments(&port.to_string(), &dir_name, sync.name()))
            .current_dir(dir)
            .stdin(Stdio::null())
            .stdout(out)
            .stderr(err);
        if let Some(preload) = &self.preload {
            command.env("LD_PRELOAD", preload);
        }
        self.cpus.confine(&mut command);
        let child = command.spawn().context(|| format!("starting {}", self.path.display()))?;
        Ok(Process { child, port })
    }
}

/// What a server is told beside what all are. Nothing is said of one core, which is all that some builds know.
fn more_args(kind: ServerKind, args: &Args) -> Vec<String> {
    let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
    let cores = args.cores.to_string();
    let mut more = match kind {
        _ if args.cores <= 1 => Vec::new(),
        ServerKind::Emberkv => words(&["--cores", &cores]),
        ServerKind::EmberkvOne => words(&["--cores", "1"]),
        // redis 8 and valkey read by their threads too, and no longer know this.
        ServerKind::Redis => words(&["--io-threads", &cores, "--io-threads-do-reads", "yes"]),
        ServerKind::Redis8 | ServerKind::Valkey => words(&["--io-threads", &cores]),
    };
    if kind.is_ours() {
        more.extend(args.emberkv_arg.iter().cloned());
    }
    more
}

/// The allocator to preload: the one that was asked for, else jemalloc where there is one.
fn preload(asked: Option<&Path>) -> Option<PathBuf> {
    match asked {
        Some(path) if path.as_os_str().is_empty() => None,
        Some(path) => Some(path.to_owned()),
        None => JEMALLOC_PATHS.iter().map(PathBuf::from).find(|p| p.exists()),
    }
}

fn free_port() -> Result<u16, BenchError> {
    let what = || "looking for a free port".to_owned();
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context(what)?;
    Ok(listener.local_addr().context(what)?.port())
}

/// A child that is killed when it is dropped.
struct Process {
    child: Child,
    port: u16,
}

impl Drop for Process {
    fn drop(&mut self) {
        // both fail only when it is already gone.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A directory that is removed when it is dropped.
struct DataDir(PathBuf);

impl Drop for DataDir {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.0) {
            eprintln!("cannot remove {}: {error}", self.0.display());
        }
    }
}

/// A running server. Dropping it kills the process, then removes its data (fields drop in order).
pub struct Server {
    process: Process,
    home: DataDir,
    sync: SyncMode,
    binary: Binary,
}

impl Server {
    /// Where it listens.
    pub fn port(&self) -> u16 {
        self.process.port
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.process.child.id()
    }

    /// Its resident memory in bytes.
    ///
    /// # Errors
    /// When it is gone.
    pub fn resident_bytes(&self) -> Result<u64, BenchError> {
        procfs::resident_bytes(self.pid())
    }

    /// Bytes of the files in its directory, as the file system counts them.
    ///
    /// # Errors
    /// When the directory can't be read.
    pub fn disk_bytes(&self) -> Result<u64, BenchError> {
        fn count(dir: &Path) -> std::io::Result<u64> {
            let mut bytes = 0;
            for entry in fs::read_dir(dir)? {
                // one that has just been removed counts nothing
                let Ok(about) = entry.as_ref().map_err(|_| ()).and_then(|e| e.metadata().map_err(|_| ())) else {
                    continue;
                };
                bytes += if about.is_dir() { count(&entry?.path())? } else { about.blocks() * 512 };
            }
            Ok(bytes)
        }
        count(&self.home.0).context(|| format!("measuring {}", self.home.0.display()))
    }

    /// Sends a command on a connection of its own; the reply's first line, and its content if it is a bulk string.
    ///
    /// # Errors
    /// When there is no reply.
    pub fn ask(&self, command: &[&str]) -> Result<(String, String), BenchError> {
        let what = || format!("asking for {}", command.join(" "));
        Probe::connect(self.port()).and_then(|mut probe| probe.ask_all(command)).context(what)
    }

    /// Kills it (SIGKILL), starts it again on the same data, and returns the time from just before
    /// its exec to the first reply to `GET key` that is a value.
    ///
    /// # Errors
    /// When it does not come back with that key.
    pub fn crash_and_restart(&mut self, key: &str) -> Result<Duration, BenchError> {
        // the old process is dropped, thus gone, before the new one opens its files.
        let _ = self.process.child.kill();
        let waited = self.process.child.wait();
        waited.context(|| "waiting for a killed server".into())?;
        let start = Instant::now();
        self.process = self.binary.spawn(self.sync, &self.home.0)?;
        self.wait_until(&["GET", key], |line| bulk_length(line).is_some())?;
        Ok(start.elapsed())
    }

    /// The number of keys that it says it has.
    ///
    /// # Errors
    /// When it does not answer DBSIZE.
    pub fn key_count(&self) -> Result<u64, BenchError> {
        let ask = |mut probe: Probe| probe.ask(&["DBSIZE"]);
        let reply = Probe::connect(self.port()).and_then(ask).context(|| "asking for DBSIZE".into())?;
        let count = reply.strip_prefix(':').and_then(|n| n.parse().ok());
        count.ok_or(BenchError::Parse { what: "the reply to DBSIZE", text: reply })
    }

    /// Asks, on one connection as soon as there is one, until the reply's first line is wanted.
    fn wait_until(&mut self, command: &[&str], wanted: impl Fn(&str) -> bool) -> Result<(), BenchError> {
        let start = Instant::now();
        let mut probe = None;
        let mut last = String::from("no connection");
        loop {
            interrupt::check()?;
            let what = match self.process.child.try_wait() {
                Ok(Some(status)) => Some(format!("ended ({status})")),
                _ if start.elapsed() > START_TIMEOUT => Some(format!("is not ready: {last}")),
                _ => None,
            };
            if let Some(what) = what {
                return Err(BenchError::Server { server: self.binary.kind.name(), what, log: self.log_tail() });
            }
            if probe.is_none() {
                probe = Probe::connect(self.port()).ok();
            }
            match probe.as_mut().map(|probe| probe.ask(command)) {
                Some(Ok(line)) if wanted(&line) => return Ok(()),
                Some(Ok(line)) => last = line,
                Some(Err(_)) => probe = None,
                None => {}
            }
            std::thread::sleep(Duration::from_micros(500));
        }
    }

    fn log_tail(&self) -> String {
        let text = fs::read_to_string(self.home.0.join("output.log")).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(15)..].join("\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_preload_means_none() {
        assert_eq!(preload(Some(Path::new(""))), None);
        let path = Path::new("/x/malloc.so");
        assert_eq!(preload(Some(path)).as_deref(), Some(path));
    }

    #[test]
    fn nothing_is_said_of_one_core_and_peers_get_as_many_threads() {
        use clap::Parser as _;
        let more = |cores, kind| more_args(kind, &Args::parse_from(["bench", "--cores", cores])).join(" ");
        assert_eq!(more("1", ServerKind::Emberkv), "");
        assert_eq!(more("2", ServerKind::Emberkv), "--cores 2");
        assert_eq!(more("2", ServerKind::EmberkvOne), "--cores 1");
        assert_eq!(more("2", ServerKind::Valkey), "--io-threads 2");
    }

    #[test]
    fn a_dropped_process_is_gone() {
        let child = Command::new("sleep").arg("1000").spawn().unwrap();
        let pid = child.id();
        drop(Process { child, port: 0 });
        assert!(!Path::new(&format!("/proc/{pid}")).exists());
    }
}
