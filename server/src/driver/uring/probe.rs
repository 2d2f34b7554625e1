//! Whether io_uring will do, found out by using it.

use std::os::unix::net::UnixStream;
use std::time::Duration;
use std::{fs, io};

use rustix::io::Errno;

use super::Uring;
use crate::driver::{ConnId, Driver, Event, Settings, Wait};

/// How long the kernel may take for what needs no time.
const PATIENCE_TRIES: u32 = 20;

/// Receives a few bytes through a ring of the calling thread's, with all that [`Uring`] uses.
///
/// # Errors
/// Why not, in words for the log.
pub fn probe() -> Result<(), String> {
    receives().map_err(|error| explain(&error))
}

fn receives() -> io::Result<()> {
    let mut driver = Uring::new(Settings { buffers: 4, buffer_len_bytes: 4096 })?;
    let (mut ours, theirs) = UnixStream::pair()?;
    driver.attach(ConnId(0), theirs.into())?;
    let wait = Wait { timeout: Duration::from_millis(50), gather_time: Duration::ZERO, gather_events: 0 };
    let mut events = Vec::new();
    driver.poll(Wait { timeout: Duration::ZERO, ..wait }, &mut events)?;
    io::Write::write_all(&mut ours, b"probe")?;
    for _ in 0..PATIENCE_TRIES {
        driver.poll(wait, &mut events)?;
        for event in events.drain(..) {
            match event {
                Event::Received(_, received) => {
                    let arrived = driver.bytes(&received) == b"probe";
                    driver.recycle(received);
                    if arrived {
                        return Ok(());
                    }
                    return Err(io::Error::other("other bytes arrived than were sent"));
                }
                Event::Failed(_, error) => return Err(error),
                _ => {}
            }
        }
    }
    Err(io::Error::other("what was sent did not arrive"))
}

fn explain(error: &io::Error) -> String {
    match Errno::from_io_error(error) {
        Some(Errno::NOSYS) => "this kernel has no io_uring".to_owned(),
        Some(Errno::PERM | Errno::ACCESS) => match fs::read_to_string("/proc/sys/kernel/io_uring_disabled") {
            Ok(value) if value.trim() != "0" => {
                format!("sysctl kernel.io_uring_disabled is {}", value.trim())
            }
            _ => "io_uring is forbidden here (a container's seccomp profile, most likely)".to_owned(),
        },
        Some(Errno::NOMEM) => "io_uring can't lock enough memory (see ulimit -l)".to_owned(),
        Some(Errno::INVAL) => "this kernel's io_uring lacks multishot receives (Linux 6.0)".to_owned(),
        _ => format!("io_uring fails: {error}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn explains_what_is_missing() {
        assert!(explain(&Errno::NOSYS.into()).contains("no io_uring"));
        assert!(explain(&Errno::INVAL.into()).contains("6.0"));
        assert!(explain(&io::Error::other("x")).contains('x'));
    }
}
