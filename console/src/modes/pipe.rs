//! `--pipe`: requests in the protocol's form, as fast as the server takes them.

use std::io::Read;
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::connection::Connection;
use crate::console::print;
use crate::error::{Error, Result, io};
use crate::value::Value;

const CHUNK_BYTES: usize = 64 * 1024;

/// Sends standard input, and counts the replies. The last one is known by an ECHO of something that nobody else says.
/// False when an error was among them.
pub(super) fn run(connection: &mut Connection, timeout_s: u64) -> Result<bool> {
    let mark = mark()?;
    let all_sent = AtomicBool::new(false);
    let mut sender = connection.as_fd().try_clone_to_owned().map(std::fs::File::from).map_err(io("duplicating"))?;
    std::thread::scope(|scope| {
        // replies must be read while requests are sent, or both sides wait for each other.
        let sent = scope.spawn(|| {
            let sent = send(&mut sender, &mark);
            all_sent.store(true, Ordering::Release);
            sent
        });
        let counted = count(connection, &mark, &all_sent, Duration::from_secs(timeout_s));
        if counted.is_err() {
            // the sender may wait for a server that takes nothing any more; it ends with the connection.
            let _ = rustix::net::shutdown(&*connection, rustix::net::Shutdown::Both);
        }
        let sent = sent.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        let (replies, errors) = counted?;
        sent?;
        print(format!("Last reply received from server.\nerrors: {errors}, replies: {replies}\n").as_bytes())?;
        Ok(errors == 0)
    })
}

fn send(socket: &mut std::fs::File, mark: &str) -> Result<()> {
    let mut stdin = std::io::stdin().lock();
    let mut chunk = vec![0; CHUNK_BYTES];
    loop {
        let read = match stdin.read(&mut chunk) {
            Ok(read) => read,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
            Err(source) => return Err(Error::Io { what: "reading standard input", source }),
        };
        if read == 0 {
            break;
        }
        std::io::Write::write_all(socket, &chunk[..read]).map_err(io("sending"))?;
    }
    // inline requests may lack their line's end: an empty line is nothing.
    let last = format!("\r\n*2\r\n$4\r\nECHO\r\n${}\r\n{mark}\r\n", mark.len());
    std::io::Write::write_all(socket, last.as_bytes()).map_err(io("sending"))?;
    print(b"All data transferred. Waiting for the last reply...\n")
}

fn count(connection: &mut Connection, mark: &str, all_sent: &AtomicBool, timeout: Duration) -> Result<(u64, u64)> {
    let (mut replies, mut errors) = (0, 0);
    let mut last = Instant::now();
    loop {
        match connection.wait(Duration::from_millis(100)) {
            Ok(true) => {}
            Ok(false) => {
                if !all_sent.load(Ordering::Acquire) {
                    last = Instant::now();
                } else if !timeout.is_zero() && last.elapsed() > timeout {
                    return Err(Error::Protocol(format!("no reply for {} seconds", timeout.as_secs())));
                }
                continue;
            }
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
            Err(source) => return Err(Error::Io { what: "waiting for replies", source }),
        }
        last = Instant::now();
        match connection.read()? {
            Value::Push(_) => {}
            Value::Text(text) if text == mark.as_bytes() => return Ok((replies, errors)),
            Value::Error(text) => {
                eprintln!("{}", String::from_utf8_lossy(&text));
                replies += 1;
                errors += 1;
            }
            _ => replies += 1,
        }
    }
}

/// Twenty random bytes in hexadecimal digits.
fn mark() -> Result<String> {
    let mut bytes = [0; 20];
    let mut random = std::fs::File::open("/dev/urandom").map_err(io("/dev/urandom"))?;
    random.read_exact(&mut bytes).map_err(io("/dev/urandom"))?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}
