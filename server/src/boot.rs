//! How a server comes up: driver, listeners, directory, loader, then the loop.

use std::collections::VecDeque;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, ToSocketAddrs};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use emberkv_engine::OpenError;
use emberkv_engine::transact::{Coordinator, CoordinatorId};
use emberkv_log::Progress;
use emberkv_log::disk::real::{OpenError as DiskError, RealDisk};
use emberkv_resp::Limits;
use emberkv_resp::schema::Names;
use rustls::ServerConfig;

use crate::acl::Users;
use crate::clock::{Clock, Time, wall_clock_ms};
use crate::commands::{allowed_clients, users_at_start};
use crate::config::{BindAddress, BindHost, Config, IoDriver, Loaded, LogLevel};
use crate::core::budget;
use crate::core::cron::Cron;
use crate::core::events::Untold;
use crate::core::shard::{Data, Facts, Shard};
use crate::core::table::Connections;
use crate::core::{
    Away, Batch, Blocks, Calls, Core, CoreId, Door, Ended, Ending, Gathers, Message, Mode, Peers, Pulls, Reopening,
    Saves, Spares, Subscriptions, Visitors,
};
use crate::driver::epoll::Epoll;
use crate::driver::{Driver, ListenerId, Settings, Waker, listen};
use crate::housekeeping::Housekeeping;
use crate::loader::load;
use crate::meter::Meter;
use crate::metrics;
use crate::replicate::follow;
use crate::stats::ServerStats;
use crate::tls::server_config;
use crate::{pin, process};

/// Clients of `metrics-port` that may wait: there is one usually.
const METRICS_BACKLOG: i32 = 16;

/// How long a unix socket may stay taken before that counts, and how often to look meanwhile.
const TAKEN_FOR: Duration = Duration::from_secs(1);
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// Why a server has not come up, or has ended otherwise than in order.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The directory.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// The data set.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// An address or a socket.
    #[error("can't listen on {address}: {error}{hint}")]
    Listen {
        /// Which.
        address: String,
        /// What the system said.
        error: io::Error,
        /// What may help.
        hint: &'static str,
    },
    /// There is nothing to listen on.
    #[error("there is nothing to listen on: set a port, a tls-port, or a unixsocket")]
    Nowhere,
    /// The users.
    #[error("{0}")]
    Users(String),
    /// TLS.
    #[error("tls: {0}")]
    Tls(String),
    /// io_uring was asked for.
    #[error("--io uring: {0}")]
    NoUring(String),
    /// Anything else of the system.
    #[error("{0}")]
    Io(#[from] io::Error),
}

/// Serves until a signal or SHUTDOWN ends it. `set_log_level` is called when CONFIG SET changes it.
///
/// # Errors
/// See [`ServeError`].
pub fn serve(loaded: Loaded, set_log_level: fn(LogLevel)) -> Result<(), ServeError> {
    crate::signals::abort_on_panic();
    let terminate = crate::signals::on_terminate()?;
    for warning in loaded.warnings.iter().filter(|warning| !warning.is_default) {
        tracing::warn!("{warning}");
    }
    let idle = loaded.warnings.iter().filter(|warning| warning.is_default).count();
    if idle > 0 {
        tracing::info!("{idle} more directives are set to redis's defaults and have no meaning here");
    }
    let mut config = loaded.config.clone();
    let allowed = allowed_clients(config.maxclients);
    if allowed < config.maxclients {
        tracing::warn!(
            "maxclients is {allowed} instead of {}: the limit of open files is too low (ulimit -n)",
            config.maxclients
        );
        config.maxclients = allowed;
    }
    let users = Arc::new(users_at_start(&config).map_err(ServeError::Users)?);
    let tls = match config.tls_port {
        0 => None,
        _ => Some(server_config(&config).map_err(|error| ServeError::Tls(error.to_string()))?),
    };
    let disk = Arc::new(RealDisk::open(&config.dir)?);
    let (sockets, doors) = listeners(&config)?;
    let server = Server { loaded, config, users, tls, disk, sockets, doors, terminate, set_log_level };
    match server.config.io {
        IoDriver::Epoll => server.run_epoll(),
        #[cfg(target_os = "linux")]
        IoDriver::Uring => {
            crate::driver::uring::probe().map_err(ServeError::NoUring)?;
            server.run_uring()
        }
        #[cfg(target_os = "linux")]
        IoDriver::Auto => match crate::driver::uring::probe() {
            Ok(()) => {
                tracing::info!("io_uring works here: using it");
                server.run_uring()
            }
            Err(reason) => {
                tracing::info!(%reason, "io_uring does not work here: using epoll");
                server.run_epoll()
            }
        },
        #[cfg(not(target_os = "linux"))]
        IoDriver::Auto => server.run_epoll(),
        #[cfg(not(target_os = "linux"))]
        IoDriver::Uring => Err(ServeError::NoUring("this system has none".into())),
    }
}

/// What is ready before the driver is.
struct Server {
    loaded: Loaded,
    config: Config,
    users: Arc<Users>,
    tls: Option<Arc<ServerConfig>>,
    disk: Arc<RealDisk>,
    sockets: Vec<OwnedFd>,
    doors: Vec<Door>,
    terminate: Arc<AtomicBool>,
    set_log_level: fn(LogLevel),
}

impl Server {
    fn run_epoll(self) -> Result<(), ServeError> {
        self.run(|| Epoll::new(Settings::default()), false)
    }

    #[cfg(target_os = "linux")]
    fn run_uring(self) -> Result<(), ServeError> {
        self.run(|| crate::driver::uring::Uring::new(Settings::default()), true)
    }

    /// Starts the threads; the calling one is the first core.
    fn run<D: Driver + 'static>(self, make: fn() -> io::Result<D>, uring: bool) -> Result<(), ServeError> {
        let cores = self.config.cores();
        let list = self.config.server_cpulist.clone();
        let pin_of = |core: u16| list.get(usize::from(core) % list.len().max(1)).copied();
        let now_ms = wall_clock_ms();
        let facts = Arc::new(Facts {
            run_id: (0..5).map(|_| format!("{:08x}", random() as u32)).collect(),
            executable: std::env::current_exe().map(|path| path.display().to_string()).unwrap_or_default(),
            config_file: self.loaded.file.map(|path: PathBuf| path.display().to_string()).unwrap_or_default(),
            driver: D::NAME,
            started_ms: now_ms,
            pool_bytes: Settings::default().bytes() * u64::from(cores),
            startup_bytes: process::resident().anonymous,
            port: if self.config.port == 0 { self.config.tls_port } else { self.config.port },
        });
        let mut driver = make()?;
        // a driver belongs to the thread that makes it, and the others' wakers are needed before a core can begin
        let mut wakers = vec![driver.waker()];
        let mut starts = Vec::new();
        let mut threads = Vec::new();
        for core in 1..cores {
            let (waker, its_waker) = channel();
            let (start, its_start) = channel::<Seed>();
            let pin = pin_of(core);
            let thread = std::thread::Builder::new().name(format!("core-{core}"));
            threads.push(thread.spawn(move || run_core(make, &waker, &its_start, pin))?);
            wakers.push(its_waker.recv().unwrap_or_else(|_| Err(io::ErrorKind::BrokenPipe.into()))?);
            starts.push(start);
        }
        for (i, socket) in self.sockets.into_iter().enumerate() {
            driver.listen(ListenerId(i as u8), socket)?;
        }
        let peers = Arc::new(Peers::new(wakers, self.config.clone(), Arc::clone(&self.users)));
        // nobody has it yet, so the lock is never poisoned
        *peers.tls.lock().unwrap_or_else(PoisonError::into_inner) = self.tls;
        let housekeeping = Housekeeping::start(Arc::clone(&self.disk), Arc::clone(&peers), uring)?;
        metrics::start(metrics_listeners(&self.config)?, &peers)?;
        let progress = Arc::new(Progress::default());
        match &self.config.replicaof {
            None => load(Arc::clone(&self.disk), Mode::Primary, Arc::clone(&progress), Arc::clone(&peers))?,
            // the data are opened when it is known what they follow
            Some(primary) => follow(&peers, primary.clone(), facts.replica())?,
        }
        let clock = Clock::new();
        let names = self.config.rename_command.names();
        let seed = |core: CoreId| Seed {
            me: core,
            peers: Arc::clone(&peers),
            config: self.config.clone(),
            users: Arc::clone(&self.users),
            facts: Arc::clone(&facts),
            names,
            clock: clock.clone(),
            progress: Arc::clone(&progress),
            disk: Arc::clone(&self.disk),
            housekeeping: housekeeping.of_core(core),
            doors: Vec::new(),
            terminate: Arc::clone(&self.terminate),
            set_log_level: self.set_log_level,
        };
        for (i, start) in starts.into_iter().enumerate() {
            // a core that is gone has failed, which its thread's result says
            let _ = start.send(seed(CoreId(i as u16 + 1)));
        }
        let first = Seed { doors: self.doors, ..seed(CoreId::FIRST) };
        // last: what the other threads do is nothing for this processor
        if let Some(processor) = pin_of(0) {
            pin::pin_to(processor);
        }
        drop(housekeeping);
        let unsynced = match first.core(driver).run()? {
            Ended::NotLoaded(error) => return Err(error.into()),
            Ended::Unsynced(error) => Some(error),
            Ended::Orderly => None,
        };
        // the others' logs are synced, whatever has become of this one's; a panic has ended the process already
        let others: Vec<io::Result<()>> = threads.into_iter().map(|thread| thread.join().unwrap_or(Ok(()))).collect();
        match unsynced {
            Some(error) => Err(error.into()),
            None => Ok(others.into_iter().collect::<io::Result<()>>()?),
        }
    }
}

/// Another core's thread.
fn run_core<D: Driver>(
    make: fn() -> io::Result<D>,
    waker: &Sender<io::Result<Waker>>,
    start: &Receiver<Seed>,
    pin: Option<usize>,
) -> io::Result<()> {
    if let Some(pin) = pin {
        pin::pin_to(pin);
    }
    let driver = match make() {
        Ok(driver) => driver,
        Err(error) => {
            let _ = waker.send(Err(error));
            return Ok(());
        }
    };
    let _ = waker.send(Ok(driver.waker()));
    // none comes when the server does not start after all
    let Ok(seed) = start.recv() else { return Ok(()) };
    let peers = Arc::clone(&seed.peers);
    match seed.core(driver).run() {
        Ok(Ended::Unsynced(error)) => Err(error),
        Ok(_) => Ok(()),
        Err(error) => {
            let copy = io::Error::new(error.kind(), error.to_string());
            peers.send(CoreId::FIRST, Message::Broken(copy));
            Err(error)
        }
    }
}

/// What a core's thread makes its core of.
struct Seed {
    me: CoreId,
    peers: Arc<Peers>,
    config: Config,
    users: Arc<Users>,
    facts: Arc<Facts>,
    names: &'static Names,
    clock: Clock,
    progress: Arc<Progress>,
    disk: Arc<RealDisk>,
    housekeeping: Housekeeping,
    doors: Vec<Door>,
    terminate: Arc<AtomicBool>,
    set_log_level: fn(LogLevel),
}

impl Seed {
    fn core<D: Driver>(self, driver: D) -> Core<D> {
        let Time { wall_ms: now_ms, up_ms } = self.clock.read();
        let cores = self.peers.len();
        let mut shard = Shard {
            me: self.me,
            peers: self.peers,
            meter: Meter::new(&self.config),
            config: self.config,
            config_version: 0,
            users: self.users,
            pause: None,
            is_quiet: false,
            unpaused: Vec::new(),
            monitors: Vec::new(),
            looks: false,
            facts: self.facts,
            names: self.names,
            clock: self.clock,
            now_ms,
            up_ms,
            data: Data::Loading { progress: self.progress, since_ms: now_ms },
            to_serve: None,
            is_single: false,
            connections: Connections::default(),
            stats: ServerStats::default(),
            limits: Limits::default(),
            touched: Vec::new(),
            holding: Vec::new(),
            withheld: Vec::new(),
            gates: Vec::new(),
            waiting: VecDeque::new(),
            condemned: Vec::new(),
            shutdown: None,
            set_log_level: self.set_log_level,
            subscriptions: Subscriptions::default(),
            calls: Calls::new(driver.wakes_at_poll()),
            away: Away::new(self.me, cores),
            guard: None,
            has_written: false,
            coordinator: Coordinator::new(CoordinatorId(self.me.0), random()),
            effects: Vec::new(),
            for_coordinator: VecDeque::new(),
            resumable: Vec::new(),
            awaiting: Vec::new(),
            locked_out: VecDeque::new(),
            blocks: Blocks::default(),
            visitors: Visitors::default(),
            budget: budget::Budget::default(),
            gathers: Gathers::default(),
            saves: Saves::default(),
            migrations: 0,
            expires_actively: true,
            untold: Untold::default(),
            tells_misses: false,
            trackers: Vec::new(),
            link: None,
            has_role: false,
            horizon_asked: Vec::new(),
            pulls: Pulls::default(),
            is_draining: false,
            spares: Spares::default(),
            messages: Vec::new(),
            works: Vec::new(),
        };
        shard.apply_limits();
        shard.settle_role();
        let is_loading = shard.config.replicaof.is_none();
        Core {
            driver,
            shard,
            housekeeping: self.housekeeping,
            doors: self.doors,
            terminate: self.terminate,
            cron: Cron::default(),
            ending: Ending::Serving,
            reopening: if is_loading { Reopening::loading() } else { Reopening::default() },
            disk: self.disk,
            batch: Batch::default(),
            seen_progress: 0,
            seen_unlocks: 0,
            seen_arrivals: 0,
            guessed: Vec::new(),
            suspended: Vec::new(),
            handshakes: VecDeque::new(),
        }
    }
}

/// Without randomness no nonce is safe to use: better to stop.
#[cfg(target_os = "linux")]
pub(crate) fn random() -> u64 {
    // the system call itself: a static binary in an empty chroot has neither libc's function nor /dev
    let mut bytes = [0; 8];
    match rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty()) {
        Ok(8) => u64::from_ne_bytes(bytes),
        other => panic!("the system gives no random numbers: {other:?}"),
    }
}

/// Without randomness no nonce is safe to use: better to stop.
#[cfg(not(target_os = "linux"))]
pub(crate) fn random() -> u64 {
    getrandom::u64().unwrap_or_else(|error| panic!("the system gives no random numbers: {error}"))
}

/// Binds everything that the configuration asks for.
fn listeners(config: &Config) -> Result<(Vec<OwnedFd>, Vec<Door>), ServeError> {
    let (mut sockets, mut doors) = (Vec::new(), Vec::new());
    let backlog = i32::try_from(config.tcp_backlog).unwrap_or(i32::MAX);
    for (port, door) in [(config.port, Door::Tcp), (config.tls_port, Door::Tls)] {
        for bind in config.bind.iter().filter(|_| port != 0) {
            for address in addresses(bind, port)? {
                let bound = listen::ensure_free(address).and_then(|()| listen::bind_tcp(address, backlog, false));
                match bound {
                    Ok(socket) => {
                        sockets.push(socket);
                        doors.push(door.clone());
                    }
                    // redis's rule: a missing address with a - before it is no error, a taken port is
                    Err(error) if bind.is_optional() && error.kind() != io::ErrorKind::AddrInUse => {
                        tracing::info!(%address, %error, "not listening");
                    }
                    Err(error) => {
                        let hint = if error.kind() == io::ErrorKind::AddrInUse {
                            " (another server has the port: stop it, or choose another)"
                        } else {
                            ""
                        };
                        return Err(ServeError::Listen { address: address.to_string(), error, hint });
                    }
                }
            }
        }
    }
    if let Some(path) = &config.unixsocket {
        let mode = (config.unixsocketperm != 0).then_some(config.unixsocketperm);
        let socket = bind_unix(path, mode, backlog).map_err(|error| ServeError::Listen {
            address: path.display().to_string(),
            error,
            hint: "",
        })?;
        sockets.push(socket);
        doors.push(Door::Unix(path.display().to_string()));
    }
    if sockets.is_empty() { Err(ServeError::Nowhere) } else { Ok((sockets, doors)) }
}

/// What the metrics thread listens on.
fn metrics_listeners(config: &Config) -> Result<Vec<TcpListener>, ServeError> {
    let mut listeners = Vec::new();
    if config.metrics_port == 0 {
        return Ok(listeners);
    }
    for bind in &config.bind {
        for address in addresses(bind, config.metrics_port)? {
            match listen::bind_tcp(address, METRICS_BACKLOG, false) {
                Ok(socket) => {
                    let listener = TcpListener::from(socket);
                    listener.set_nonblocking(false)?;
                    listeners.push(listener);
                }
                Err(error) if bind.is_optional() && error.kind() != io::ErrorKind::AddrInUse => {
                    tracing::info!(%address, %error, "no metrics there");
                }
                Err(error) => return Err(ServeError::Listen { address: address.to_string(), error, hint: "" }),
            }
        }
    }
    Ok(listeners)
}

/// Like [`listen::bind_unix`], but patient: a killed server's socket answers until the kernel has torn its ring
/// down, some time after the process has gone.
fn bind_unix(path: &Path, mode: Option<u32>, backlog: i32) -> io::Result<OwnedFd> {
    let deadline = Instant::now() + TAKEN_FOR;
    loop {
        match listen::bind_unix(path, mode, backlog) {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && Instant::now() < deadline => {
                std::thread::sleep(LOOK_AGAIN);
            }
            other => return other,
        }
    }
}

fn addresses(bind: &BindAddress, port: u16) -> Result<Vec<SocketAddr>, ServeError> {
    Ok(match bind.host() {
        BindHost::EveryV4 => vec![SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), port)],
        BindHost::EveryV6 => vec![SocketAddr::new(IpAddr::V6(Ipv6Addr::UNSPECIFIED), port)],
        BindHost::Ip(ip) => vec![SocketAddr::new(ip, port)],
        BindHost::Name(name) => match (name.as_str(), port).to_socket_addrs() {
            Ok(found) => found.collect(),
            Err(error) if bind.is_optional() => {
                tracing::info!(%name, %error, "not listening");
                Vec::new()
            }
            Err(error) => return Err(ServeError::Listen { address: name, error, hint: "" }),
        },
    })
}
