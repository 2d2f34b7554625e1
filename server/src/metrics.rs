//! `metrics-port`: what the server measures, for prometheus, and whether it is alive and ready, for whoever supervises it.
//!
//! A thread of its own answers, one request at a time: it asks the cores as INFO does, and they answer at their next
//! turn. A core that does not answer in time makes `/health` say so.

use std::fmt::Write as _;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::mpsc::sync_channel;
use std::time::Duration;

use crate::commands::{Snapshot, metrics_text};
use crate::core::{CoreId, Message, Peers};

/// How long a client may take to send its request, or to take its answer.
const PATIENCE: Duration = Duration::from_secs(2);
/// How long a core may take to answer.
const TURN: Duration = Duration::from_secs(1);
/// How long to wait after a client could not be accepted.
const ACCEPT_AGAIN: Duration = Duration::from_millis(100);
/// The longest request line.
const LINE: u64 = 4096;

/// Starts the thread, which ends with the process.
///
/// # Errors
/// If the system has no thread to give.
pub(crate) fn start(listeners: Vec<TcpListener>, peers: &Arc<Peers>) -> io::Result<()> {
    for listener in listeners {
        let peers = Arc::clone(peers);
        std::thread::Builder::new().name("metrics".into()).spawn(move || {
            for socket in listener.incoming() {
                match socket.map(|socket| answer(socket, &peers)) {
                    Ok(Ok(())) => {}
                    Ok(Err(error)) => tracing::debug!(%error, "a client of metrics-port has gone"),
                    Err(error) => {
                        // without a descriptor to give, the same client would be refused again at once
                        tracing::debug!(%error, "a client of metrics-port is not accepted");
                        std::thread::sleep(ACCEPT_AGAIN);
                    }
                }
            }
        })?;
    }
    Ok(())
}

fn answer(socket: TcpStream, peers: &Peers) -> io::Result<()> {
    socket.set_read_timeout(Some(PATIENCE))?;
    socket.set_write_timeout(Some(PATIENCE))?;
    let mut line = String::new();
    BufReader::new((&socket).take(LINE)).read_line(&mut line)?;
    let (status, body) = respond(&line, || ask(peers));
    let kind = "text/plain; version=0.0.4; charset=utf-8";
    let mut text = String::new();
    let _ = write!(
        text,
        "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    if !line.starts_with("HEAD ") {
        text.push_str(&body);
    }
    (&socket).write_all(text.as_bytes())
}

/// The answer to a request line: status and body.
fn respond(line: &str, ask: impl FnOnce() -> Option<Vec<Snapshot>>) -> (&'static str, String) {
    let mut words = line.split_ascii_whitespace();
    if !matches!(words.next(), Some("GET" | "HEAD")) {
        return ("405 Method Not Allowed", "only GET and HEAD\n".into());
    }
    let path = words.next().unwrap_or_default();
    match path.split('?').next().unwrap_or_default() {
        "/metrics" => match ask() {
            Some(cores) => ("200 OK", metrics_text(&cores)),
            None => ("503 Service Unavailable", "a core does not answer\n".into()),
        },
        "/health" => match ask() {
            Some(_) => ("200 OK", "ok\n".into()),
            None => ("503 Service Unavailable", "a core does not answer\n".into()),
        },
        "/ready" => match ask() {
            Some(cores) if cores.iter().any(Snapshot::is_loading) => ("503 Service Unavailable", "loading\n".into()),
            Some(cores) if cores.iter().any(Snapshot::refuses_writes) => {
                ("503 Service Unavailable", "writes are refused\n".into())
            }
            Some(_) => ("200 OK", "ready\n".into()),
            None => ("503 Service Unavailable", "a core does not answer\n".into()),
        },
        _ => ("404 Not Found", "there are /metrics, /health and /ready\n".into()),
    }
}

/// What all cores say of themselves; `None`: one does not answer.
fn ask(peers: &Peers) -> Option<Vec<Snapshot>> {
    // bounded by the number of cores: no core waits in its send
    let (to_us, answers) = sync_channel(usize::from(peers.len()));
    for core in 0..peers.len() {
        peers.send(CoreId(core), Message::Measure(to_us.clone()));
    }
    let mut cores = Vec::new();
    for _ in 0..peers.len() {
        let snapshot: Box<Snapshot> = answers.recv_timeout(TURN).ok()?;
        cores.push(*snapshot);
    }
    cores.sort_by_key(|snapshot| snapshot.core);
    Some(cores)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_there_is_said_so() {
        assert_eq!(respond("GET / HTTP/1.1\r\n", || None).0, "404 Not Found");
        assert_eq!(respond("POST /metrics HTTP/1.1\r\n", || None).0, "405 Method Not Allowed");
        assert_eq!(respond("", || None).0, "405 Method Not Allowed");
        for path in ["/health", "/ready", "/metrics?x=1"] {
            assert_eq!(respond(&format!("GET {path} HTTP/1.1\r\n"), || None).0, "503 Service Unavailable");
        }
        assert_eq!(respond("GET /ready HTTP/1.0\r\n", || Some(Vec::new())), ("200 OK", "ready\n".into()));
    }
}
