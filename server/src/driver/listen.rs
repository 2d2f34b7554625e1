//! Listening sockets, and the options of accepted ones.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};
use std::{fs, thread};

use rustix::io::Errno;
use socket2::{Domain, SockAddr, SockRef, Socket, TcpKeepalive, Type};

/// How long an address may stay taken before that counts: the sockets of a server that has just stopped live
/// until its ring is torn down, which the kernel does after the process has gone.
const TAKEN_FOR: Duration = Duration::from_secs(1);

/// Between two looks at a taken address.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// How long nothing is accepted after an error that would only come again: for want of descriptors or memory.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Between two warnings about the same trouble with accepting.
const ACCEPT_WARNING: Duration = Duration::from_secs(10);

/// Finds out whether `addr` is free, before several cores [`bind_tcp`] it with `reuse_port`: that option would
/// let them share it with another server unnoticed, and each would get some of the other's clients. Looks for
/// up to a second.
///
/// # Errors
/// `AddrInUse` when somebody listens there; else what the operating system says about the address.
pub fn ensure_free(addr: SocketAddr) -> io::Result<()> {
    let deadline = Instant::now() + TAKEN_FOR;
    loop {
        match bound_tcp(addr, false) {
            Err(e) if e.kind() == io::ErrorKind::AddrInUse && Instant::now() < deadline => {
                thread::sleep(LOOK_AGAIN);
            }
            other => return other.map(drop),
        }
    }
}

/// Listens on `addr`; with `reuse_port`, so that the other cores can too: call [`ensure_free`] once before the
/// first. The socket is non-blocking and close-on-exec. An IPv6 address stands for itself only, never for IPv4
/// too.
///
/// # Errors
/// What the operating system says.
pub fn bind_tcp(addr: SocketAddr, backlog: i32, reuse_port: bool) -> io::Result<OwnedFd> {
    let socket = bound_tcp(addr, reuse_port)?;
    socket.listen(backlog)?;
    Ok(socket.into())
}

fn bound_tcp(addr: SocketAddr, reuse_port: bool) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(addr), Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    socket.set_reuse_address(true)?;
    if reuse_port {
        socket.set_reuse_port(true)?;
    }
    if addr.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.bind(&SockAddr::from(addr))?;
    Ok(socket)
}

/// Listens on the unix socket `path`, whose file gets the permissions `mode` (`None`: as the umask has it). A
/// socket file that nobody answers on is left over and replaced.
///
/// # Errors
/// `AddrInUse` when somebody answers; `AlreadyExists` when the path is something else than a socket; else what
/// the operating system says.
pub fn bind_unix(path: &Path, mode: Option<u32>, backlog: i32) -> io::Result<OwnedFd> {
    match fs::symlink_metadata(path) {
        Ok(found) if found.file_type().is_socket() => match UnixStream::connect(path) {
            Ok(_) => {
                return Err(io::Error::new(
                    io::ErrorKind::AddrInUse,
                    format!("another server answers on {}", path.display()),
                ));
            }
            Err(e) if e.kind() == io::ErrorKind::ConnectionRefused => fs::remove_file(path)?,
            Err(e) => return Err(e),
        },
        Ok(_) => {
            return Err(io::Error::new(
                io::ErrorKind::AlreadyExists,
                format!("{} exists and is no socket", path.display()),
            ));
        }
        Err(e) if e.kind() == io::ErrorKind::NotFound => {}
        Err(e) => return Err(e),
    }
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    socket.bind(&SockAddr::unix(path)?)?;
    if let Some(mode) = mode {
        // before `listen`, so that nobody gets in meanwhile whom the permissions keep out.
        fs::set_permissions(path, fs::Permissions::from_mode(mode))?;
    }
    socket.listen(backlog)?;
    Ok(socket.into())
}

/// Sets an accepted TCP socket's options: no delay of small packets; with `keepalive_secs` over 0, a connection
/// whose peer is silent for so long is probed three times within as long again, then fails. Does nothing to a
/// unix socket.
///
/// # Errors
/// What the operating system says, above all when the peer has gone already.
pub fn tune(socket: &OwnedFd, keepalive_secs: u32) -> io::Result<()> {
    let socket = SockRef::from(socket);
    match socket.set_tcp_nodelay(true) {
        Err(e) if Errno::from_io_error(&e) == Some(Errno::OPNOTSUPP) => return Ok(()),
        other => other?,
    }
    if keepalive_secs > 0 {
        let probe_secs = (keepalive_secs / 3).max(1);
        let keepalive = TcpKeepalive::new()
            .with_time(Duration::from_secs(keepalive_secs.into()))
            .with_interval(Duration::from_secs(probe_secs.into()))
            .with_retries(3);
        socket.set_tcp_keepalive(&keepalive)?;
    }
    Ok(())
}

/// Accepts a connection; its socket is non-blocking and close-on-exec.
pub(super) fn accept(listener: BorrowedFd<'_>) -> Result<OwnedFd, Errno> {
    #[cfg(target_os = "linux")]
    {
        use rustix::net::SocketFlags;
        rustix::net::accept_with(listener, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK)
    }
    #[cfg(not(target_os = "linux"))]
    {
        let socket = rustix::net::accept(listener)?;
        rustix::io::fcntl_setfd(&socket, rustix::io::FdFlags::CLOEXEC)?;
        rustix::io::ioctl_fionbio(&socket, true)?;
        Ok(socket)
    }
}

/// Rests the listeners after an error that would come again at once, so that a server without free descriptors
/// goes on to serve the clients that it has.
#[derive(Debug, Default)]
pub(super) struct AcceptPause {
    until: Option<Instant>,
    warned: Option<Instant>,
}

impl AcceptPause {
    /// Takes notice of a failed accept.
    pub(super) fn note(&mut self, error: Errno) {
        let harmless = matches!(
            error,
            // the first are no failures; the others mean that this one client has gone again.
            Errno::INTR
                | Errno::AGAIN
                | Errno::CANCELED
                | Errno::CONNABORTED
                | Errno::CONNRESET
                | Errno::PROTO
                | Errno::NETDOWN
                | Errno::NETUNREACH
                | Errno::HOSTDOWN
                | Errno::HOSTUNREACH
        );
        if harmless {
            return;
        }
        let now = Instant::now();
        self.until = Some(now + ACCEPT_PAUSE);
        if self.warned.is_none_or(|at| now - at >= ACCEPT_WARNING) {
            self.warned = Some(now);
            tracing::warn!(
                error = %io::Error::from(error),
                "can't accept connections; check the limit on open files and `maxclients`"
            );
        }
    }

    pub(super) fn is_on(&self) -> bool {
        self.until.is_some()
    }

    /// Whether a pause is over; says so once.
    pub(super) fn ends(&mut self) -> bool {
        self.until.take_if(|until| Instant::now() >= *until).is_some()
    }

    /// `timeout`, or less if the pause is over before.
    pub(super) fn limit(&self, timeout: Duration) -> Duration {
        match self.until {
            None => timeout,
            Some(until) => timeout.min(until.saturating_duration_since(Instant::now())),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv6Addr, TcpStream};
    use std::os::fd::AsFd;

    use super::*;

    fn local() -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], 0))
    }

    fn address(socket: &OwnedFd) -> SocketAddr {
        SockRef::from(socket).local_addr().unwrap().as_socket().unwrap()
    }

    fn scratch(name: &str) -> std::path::PathBuf {
        let path = std::env::temp_dir().join(format!("emberkv-{name}-{}", std::process::id()));
        let _ = fs::remove_file(&path);
        path
    }

    #[test]
    fn several_cores_share_a_port_but_another_server_is_refused() {
        let first = bind_tcp(local(), 16, true).unwrap();
        let addr = address(&first);
        bind_tcp(addr, 16, true).unwrap();
        let refused = ensure_free(addr).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::AddrInUse);
        drop(first);
        ensure_free(addr).unwrap();
    }

    #[test]
    fn waits_for_a_server_that_is_just_stopping() {
        let old = bind_tcp(local(), 16, true).unwrap();
        let addr = address(&old);
        let stopping = thread::spawn(move || {
            thread::sleep(Duration::from_millis(100));
            drop(old);
        });
        ensure_free(addr).unwrap();
        stopping.join().unwrap();
    }

    #[test]
    fn ipv6_leaves_ipv4_alone() {
        let any = SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0));
        let Ok(six) = bind_tcp(any, 16, false) else {
            return; // no IPv6 here
        };
        let port = address(&six).port();
        bind_tcp(SocketAddr::from(([0, 0, 0, 0], port)), 16, false).unwrap();
    }

    #[test]
    fn replaces_a_socket_file_only_if_nobody_answers() {
        let path = scratch("unix");
        let live = bind_unix(&path, Some(0o700), 16).unwrap();
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o700);
        let refused = bind_unix(&path, None, 16).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::AddrInUse);
        drop(live);
        bind_unix(&path, None, 16).unwrap();
        fs::remove_file(&path).unwrap();

        fs::write(&path, "precious").unwrap();
        let refused = bind_unix(&path, None, 16).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(fs::read(&path).unwrap(), b"precious");
        fs::remove_file(&path).unwrap();
    }

    #[test]
    fn tunes_tcp_and_leaves_unix_sockets_alone() {
        let listener = bind_tcp(local(), 16, false).unwrap();
        let client = TcpStream::connect(address(&listener)).unwrap();
        let accepted = accept(listener.as_fd()).unwrap();
        tune(&accepted, 300).unwrap();
        let socket = SockRef::from(&accepted);
        assert!(socket.tcp_nodelay().unwrap());
        assert_eq!(socket.tcp_keepalive_time().unwrap(), Duration::from_secs(300));
        assert_eq!(socket.tcp_keepalive_interval().unwrap(), Duration::from_secs(100));
        drop(client);

        let (unix, _peer) = UnixStream::pair().unwrap();
        tune(&unix.into(), 300).unwrap();
    }

    #[test]
    fn pauses_only_for_what_would_come_again() {
        let mut pause = AcceptPause::default();
        pause.note(Errno::CONNABORTED);
        assert!(!pause.is_on() && !pause.ends());
        assert_eq!(pause.limit(Duration::MAX), Duration::MAX);
        pause.note(Errno::MFILE);
        assert!(pause.is_on());
        assert!(pause.limit(Duration::MAX) <= ACCEPT_PAUSE);
        thread::sleep(ACCEPT_PAUSE);
        assert!(pause.ends() && !pause.ends() && !pause.is_on());
    }
}
