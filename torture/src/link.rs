//! The network between two servers, which is cut, slow, or loses connections in the middle of something.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use crate::process::free_port;
use crate::{Error, Result};

/// How often a connection looks at the weather.
const LOOK: Duration = Duration::from_millis(5);
const CHUNK: usize = 1 << 16;

/// What becomes of bytes on their way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Weather {
    /// They arrive.
    Fair,
    /// There are no connections.
    Cut,
    /// Nothing arrives, and nobody is told.
    Silent,
    /// So many bytes arrive every five milliseconds.
    Slow(usize),
    /// A connection ends after so many bytes, wherever that is.
    Breaks(u64),
}

/// A way to a server, on a port of its own.
#[derive(Debug)]
pub struct Link {
    port: u16,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    weather: Mutex<Weather>,
    is_over: AtomicBool,
    broken: AtomicU64,
}

impl Shared {
    fn weather(&self) -> Weather {
        *self.weather.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Link {
    /// A way to the server on a port, which need not be there yet.
    ///
    /// # Errors
    /// When there is no port for it.
    pub fn to(server: u16) -> Result<Self> {
        let port = free_port()?;
        let listener = TcpListener::bind(("127.0.0.1", port)).map_err(|error| Error::io("a link", error))?;
        listener.set_nonblocking(true).map_err(|error| Error::io("a link", error))?;
        let (is_over, broken) = (AtomicBool::new(false), AtomicU64::new(0));
        let shared = Arc::new(Shared { weather: Mutex::new(Weather::Fair), is_over, broken });
        let link = Self { port, shared: Arc::clone(&shared) };
        thread::spawn(move || {
            while !shared.is_over.load(Ordering::Relaxed) {
                match listener.accept() {
                    Ok((client, _)) if shared.weather() != Weather::Cut => connect(client, server, &shared),
                    Ok(_) => {}
                    Err(_) => thread::sleep(LOOK),
                }
            }
        });
        Ok(link)
    }

    /// Where to connect.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// It is like that from now on, for all connections that there are too.
    pub fn set(&self, weather: Weather) {
        *self.shared.weather.lock().unwrap_or_else(PoisonError::into_inner) = weather;
    }

    /// Connections that it has ended.
    #[must_use]
    pub fn broken(&self) -> u64 {
        self.shared.broken.load(Ordering::Relaxed)
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.shared.is_over.store(true, Ordering::Relaxed);
    }
}

/// Carries both ways; a connection that can't be made is closed, as if nobody listened.
fn connect(client: TcpStream, server: u16, shared: &Arc<Shared>) {
    let Ok(server) = TcpStream::connect(("127.0.0.1", server)) else { return };
    let carried = Arc::new(AtomicU64::new(0));
    let copies = || -> std::io::Result<()> {
        for (from, to) in [(&client, &server), (&server, &client)] {
            let (from, to) = (from.try_clone()?, to.try_clone()?);
            from.set_nonblocking(false)?;
            from.set_nodelay(true)?;
            from.set_read_timeout(Some(LOOK))?;
            let (shared, carried) = (Arc::clone(shared), Arc::clone(&carried));
            thread::spawn(move || carry(from, to, &shared, &carried));
        }
        Ok(())
    };
    // without its descriptors it is a connection that ends at once
    let _ = copies();
}

/// One way, until either end is closed or the weather ends it.
fn carry(mut from: TcpStream, mut to: TcpStream, shared: &Shared, carried: &AtomicU64) {
    let mut buffer = vec![0; CHUNK];
    while !shared.is_over.load(Ordering::Relaxed) {
        let weather = shared.weather();
        let ends = match weather {
            Weather::Cut => true,
            Weather::Breaks(after) => carried.load(Ordering::Relaxed) >= after,
            _ => false,
        };
        if ends {
            shared.broken.fetch_add(1, Ordering::Relaxed);
            break;
        }
        let most = match weather {
            Weather::Silent => {
                thread::sleep(LOOK);
                continue;
            }
            Weather::Slow(bytes) => {
                thread::sleep(LOOK);
                bytes.clamp(1, CHUNK)
            }
            Weather::Breaks(_) | Weather::Fair | Weather::Cut => CHUNK,
        };
        match from.read(&mut buffer[..most]) {
            Ok(0) => break,
            Ok(length) => {
                carried.fetch_add(length as u64, Ordering::Relaxed);
                if to.write_all(&buffer[..length]).is_err() {
                    break;
                }
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
            Err(_) => break,
        }
    }
    let _ = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
}
