//! A server as a child process: started on a free port in a directory, stopped, killed.

use std::ffi::OsString;
use std::fs::{self, File};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal};

use crate::{Client, Error, Result};

/// How long a server may take to start, loading included.
const START_TIMEOUT: Duration = Duration::from_secs(120);
/// Between two looks at a process that starts or stops.
const POLL: Duration = Duration::from_millis(10);

/// The variable that says what is to happen at which step.
const FAILPOINTS: &str = "EMBERKV_FAILPOINTS";

/// Which command line a server understands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flavor {
    /// `emberkv server --directive value ...`
    Ember,
    /// `redis-server --directive value ...`, also valkey.
    Redis,
}

/// What to start.
#[derive(Debug, Clone)]
pub struct ServerSpec {
    program: PathBuf,
    flavor: Flavor,
    dir: PathBuf,
    port: Option<u16>,
    args: Vec<OsString>,
    env: Vec<(OsString, OsString)>,
}

impl ServerSpec {
    /// A server with its data in `dir`. It is taken for emberkv when its file name says so.
    pub fn new(program: impl Into<PathBuf>, dir: impl Into<PathBuf>) -> Self {
        let program = program.into();
        let is_ember = program.file_name().is_some_and(|name| name.to_string_lossy().starts_with("emberkv"));
        let flavor = if is_ember { Flavor::Ember } else { Flavor::Redis };
        Self { program, flavor, dir: dir.into(), port: None, args: Vec::new(), env: Vec::new() }
    }

    /// The same server with its data elsewhere.
    #[must_use]
    pub fn dir_of(mut self, dir: impl Into<PathBuf>) -> Self {
        self.dir = dir.into();
        self
    }

    /// Adds words to the command line, after those that the harness sets. A first word that is
    /// no option is a configuration file, and goes to the front.
    #[must_use]
    pub fn args<A: Into<OsString>>(mut self, args: impl IntoIterator<Item = A>) -> Self {
        self.args.extend(args.into_iter().map(Into::into));
        self
    }

    /// For the `start`th start of a server that gets another number of cores each time; as it is without any.
    #[must_use]
    pub fn cores_in_turn(&self, cores: &[u16], start: u64) -> Self {
        let spec = self.clone();
        match usize::try_from(start).unwrap_or(0).checked_rem(cores.len()) {
            Some(at) => spec.args(["--cores".to_owned(), cores[at].to_string()]),
            None => spec,
        }
    }

    /// What is to happen at which step (`EMBERKV_FAILPOINTS`), in a build that has failpoints.
    #[must_use]
    pub fn failpoints(self, what: impl Into<String>) -> Self {
        self.env(FAILPOINTS, what.into())
    }

    /// Adds a variable to its environment.
    #[must_use]
    pub fn env(mut self, name: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        self.env.push((name.into(), value.into()));
        self
    }

    /// The steps at which a build with failpoints can be made to die.
    ///
    /// # Errors
    /// When the server is another build.
    pub fn failpoint_names(&self) -> Result<Vec<String>> {
        let io = |source| Error::Io { what: format!("running {}", self.program.display()), source };
        let output = Command::new(&self.program).arg("server").env(FAILPOINTS, "list").output().map_err(io)?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            return Err(Error::Missing(format!("{} has no failpoints: {said}", self.program.display())));
        }
        Ok(String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect())
    }

    /// Fixes the port; otherwise a free one is chosen at each start.
    #[must_use]
    pub fn port(mut self, port: u16) -> Self {
        self.port = Some(port);
        self
    }

    /// The kind of server.
    #[must_use]
    pub fn flavor(&self) -> Flavor {
        self.flavor
    }

    /// The data directory.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The whole command on `port`, with no output redirected.
    #[must_use]
    pub fn command(&self, port: u16) -> Command {
        let mut command = Command::new(&self.program);
        if self.flavor == Flavor::Ember {
            command.arg("server");
        }
        // a configuration file comes first; the options override it.
        if let Some(file) = self.config_file() {
            command.arg(file);
        }
        command.arg("--port").arg(port.to_string()).arg("--dir").arg(&self.dir);
        if self.flavor == Flavor::Redis {
            command.args(["--save", ""]);
        }
        let skipped = usize::from(self.config_file().is_some());
        command.args(&self.args[skipped..]);
        command.envs(self.env.iter().map(|(name, value)| (name, value)));
        command
    }

    /// The password that the command line sets.
    fn password(&self) -> Option<String> {
        let at = self.args.iter().position(|word| word == "--requirepass")?;
        self.args.get(at + 1).map(|word| word.to_string_lossy().into_owned())
    }

    fn config_file(&self) -> Option<&OsString> {
        self.args.first().filter(|first| !first.to_string_lossy().starts_with("--"))
    }
}

/// A running server. Dropping it kills it.
#[derive(Debug)]
pub struct Server {
    child: Child,
    port: u16,
    password: Option<String>,
    log: PathBuf,
}

impl Server {
    /// Starts a server and waits until it serves, through loading.
    ///
    /// # Errors
    /// When it exits, or does not serve within two minutes.
    pub fn start(spec: &ServerSpec) -> Result<Self> {
        let mut server = Self::spawn(spec)?;
        server.wait_ready()?;
        Ok(server)
    }

    /// Starts a server and does not wait for it.
    ///
    /// # Errors
    /// When the program can't be run.
    pub fn spawn(spec: &ServerSpec) -> Result<Self> {
        let io = |what: String| move |source| Error::Io { what, source };
        fs::create_dir_all(&spec.dir).map_err(io(format!("creating {}", spec.dir.display())))?;
        Self::spawn_in_place(spec)
    }

    /// Like [`Server::spawn`], for a directory that may be missing or be something else.
    ///
    /// # Errors
    /// When the program can't be run.
    pub fn spawn_in_place(spec: &ServerSpec) -> Result<Self> {
        let port = match spec.port {
            Some(port) => port,
            None => free_port()?,
        };
        let io = |what: String| move |source| Error::Io { what, source };
        let log = log_path(port);
        let out = File::create(&log).map_err(io(format!("creating {}", log.display())))?;
        let err = out.try_clone().map_err(io("duplicating the log".into()))?;
        let child = spec
            .command(port)
            .stdin(Stdio::null())
            .stdout(out)
            .stderr(err)
            .spawn()
            .map_err(io(format!("starting {}", spec.program.display())))?;
        Ok(Self { child, port, password: spec.password(), log })
    }

    /// Waits until the server answers with something else than `-LOADING`, on a connection that has given the
    /// password: without it the answer is `-NOAUTH`, loading or not.
    ///
    /// # Errors
    /// When it exits, or does not serve within two minutes.
    pub fn wait_ready(&mut self) -> Result<()> {
        let deadline = Instant::now() + START_TIMEOUT;
        while Instant::now() < deadline {
            if let Some(status) = self.exited()? {
                return Err(self.failure(format!("the server exited while starting: {status}")));
            }
            if let Ok(mut client) = self.connect() {
                if let Some(password) = &self.password {
                    let _ = client.command(&["AUTH", password]);
                }
                if client.ask("PING").is_ok_and(|reply| !reply.is_error("LOADING")) {
                    return Ok(());
                }
            }
            std::thread::sleep(POLL);
        }
        Err(self.failure(format!("the server does not serve after {START_TIMEOUT:?}")))
    }

    /// A new connection.
    ///
    /// # Errors
    /// When the server does not listen.
    pub fn connect(&self) -> Result<Client> {
        Client::connect(self.port)
    }

    /// The port that it was told to listen on.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// All that it has written to stdout and stderr so far.
    #[must_use]
    pub fn log_text(&self) -> String {
        fs::read(&self.log).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
    }

    /// The exit status, if it has exited.
    ///
    /// # Errors
    /// When the system can't say.
    pub fn exited(&mut self) -> Result<Option<ExitStatus>> {
        self.child.try_wait().map_err(|source| Error::Io { what: "asking for the exit status".into(), source })
    }

    /// Waits until the server has exited on its own.
    ///
    /// # Errors
    /// When it has not within `timeout`.
    pub fn wait_exit(&mut self, timeout: Duration) -> Result<ExitStatus> {
        let deadline = Instant::now() + timeout;
        loop {
            if let Some(status) = self.exited()? {
                return Ok(status);
            }
            if Instant::now() >= deadline {
                return Err(self.failure(format!("the server has not exited after {timeout:?}")));
            }
            std::thread::sleep(POLL);
        }
    }

    /// `kill -9`; returns when the process is gone.
    ///
    /// # Errors
    /// When the process can't be waited for.
    pub fn kill9(&mut self) -> Result<()> {
        let io = |what: &str, source| Error::Io { what: what.into(), source };
        self.child.kill().map_err(|e| io("kill -9", e))?;
        self.child.wait().map_err(|e| io("waiting after kill -9", e))?;
        Ok(())
    }

    /// Sends SIGTERM and does not wait.
    ///
    /// # Errors
    /// When the process is gone.
    pub fn signal_term(&self) -> Result<()> {
        let pid = i32::try_from(self.pid()).ok().and_then(Pid::from_raw);
        let pid = pid.ok_or_else(|| Error::Missing("the server has no process id".into()))?;
        rustix::process::kill_process(pid, Signal::TERM)
            .map_err(|errno| Error::Io { what: "SIGTERM".into(), source: errno.into() })
    }

    /// SIGTERM, then waits for the exit.
    ///
    /// # Errors
    /// When it has not exited within `timeout`.
    pub fn terminate(&mut self, timeout: Duration) -> Result<ExitStatus> {
        self.signal_term()?;
        self.wait_exit(timeout)
    }

    /// An error that carries the end of the server's log.
    #[must_use]
    pub fn failure(&self, message: String) -> Error {
        let text = self.log_text();
        let lines: Vec<&str> = text.lines().collect();
        let log = lines[lines.len().saturating_sub(20)..].join("\n");
        Error::Server { message, log }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // it may be gone already; nothing is left to do about a failure here.
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_file(&self.log);
    }
}

/// A directory that is removed when dropped.
#[derive(Debug)]
pub struct TempDir(PathBuf);

static NEXT: AtomicU32 = AtomicU32::new(0);

impl TempDir {
    /// A new, empty directory under the system's temporary one.
    ///
    /// # Errors
    /// When it can't be created.
    pub fn new(name: &str) -> Result<Self> {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let id = std::process::id();
        let path = std::env::temp_dir().join(format!("emberkv-{name}-{id}-{number}"));
        fs::create_dir_all(&path)
            .map_err(|source| Error::Io { what: format!("creating {}", path.display()), source })?;
        Ok(Self(path))
    }

    /// Its path.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn log_path(port: u16) -> PathBuf {
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let id = std::process::id();
    std::env::temp_dir().join(format!("emberkv-log-{id}-{port}-{number}"))
}

/// A port that nobody listens on. It lies below the range that the system gives to outgoing
/// connections, and one process never gets the same one twice in a row; another process may
/// still take it before the server does.
///
/// # Errors
/// When a hundred candidates are all taken.
pub fn free_port() -> Result<u16> {
    const FIRST: u32 = 20_000;
    const COUNT: u32 = 12_000;
    for _ in 0..100 {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let offset = std::process::id().wrapping_mul(997).wrapping_add(number) % COUNT;
        let Ok(port) = u16::try_from(FIRST + offset) else {
            continue;
        };
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return Ok(port);
        }
    }
    Err(Error::Missing("no free port among a hundred candidates".into()))
}
