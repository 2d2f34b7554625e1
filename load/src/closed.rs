//! The closed loop: every connection sends its next batch when the last one is answered.

use std::time::{Duration, Instant};

use crate::connection::{Connections, Endpoint};
use crate::error::LoadError;
use crate::interrupt;
use crate::latency::Latencies;
use crate::workload::Workload;

/// No reply for this long: the server hangs.
const SILENCE: Duration = Duration::from_secs(60);

/// How often a watcher is told.
pub(crate) const WATCH: Duration = Duration::from_secs(1);

/// What one stretch of load did. All of its requests were sent and answered within it.
#[derive(Debug)]
pub struct Stretch {
    /// Requests answered.
    pub requests: u64,
    /// Time from the first send to the last reply.
    pub elapsed: Duration,
    /// From the send of a batch to each of its replies.
    pub latencies: Latencies,
}

/// A closed-loop client on one thread.
pub struct ClosedLoop<W: Workload> {
    connections: Connections<W>,
    pipeline: usize,
    /// Per connection: requests on their way, and when they were sent.
    flights: Vec<Flight>,
}

#[derive(Clone, Copy)]
struct Flight {
    outstanding: u64,
    sent_at: Instant,
}

impl<W: Workload> ClosedLoop<W> {
    /// Connects `clients` times; each connection has `pipeline` requests on its way.
    ///
    /// # Errors
    /// When a connection cannot be made.
    pub fn connect(endpoint: &Endpoint, clients: usize, pipeline: usize, workload: W) -> Result<Self, LoadError> {
        let connections = Connections::open(endpoint, clients, workload)?;
        let idle = Flight { outstanding: 0, sent_at: Instant::now() };
        Ok(Self { flights: vec![idle; connections.len()], connections, pipeline })
    }

    /// What is sent, with what it has counted.
    pub fn workload(&mut self) -> &mut W {
        &mut self.connections.workload
    }

    /// Makes load until `duration` is over or there are no more requests, then waits for the last
    /// replies.
    ///
    /// # Errors
    /// As [`Self::run_watched`].
    pub fn run(&mut self, duration: Duration) -> Result<Stretch, LoadError> {
        self.run_watched(duration, &mut |_| {})
    }

    /// The same; `watch` sees about every second what there is so far.
    ///
    /// # Errors
    /// When a connection fails, a reply is not the wanted one, the server is silent for a minute,
    /// or ctrl-c was pressed.
    pub fn run_watched(&mut self, duration: Duration, watch: &mut dyn FnMut(&Latencies)) -> Result<Stretch, LoadError> {
        let start = Instant::now();
        let deadline = start + duration;
        let mut latencies = Latencies::new();
        let mut requests = 0;
        let mut active = 0;
        for (index, flight) in self.flights.iter_mut().enumerate() {
            flight.sent_at = Instant::now();
            flight.outstanding = self.connections.send(index, self.pipeline)?;
            active += usize::from(flight.outstanding > 0);
        }
        let mut last_reply = start;
        let mut watched = start;
        let Self { connections, pipeline, flights } = self;
        while active > 0 {
            let before = requests;
            connections.poll(Duration::from_millis(100), |connection, workload, index, replies| {
                let now = Instant::now();
                let flight = &mut flights[index];
                latencies.record(now - flight.sent_at, replies);
                requests += replies;
                flight.outstanding = flight
                    .outstanding
                    .checked_sub(replies)
                    .ok_or_else(|| LoadError::Connection("the server sent more replies than requests".into()))?;
                if flight.outstanding == 0 {
                    if now < deadline {
                        flight.sent_at = now;
                        flight.outstanding = connection.send(workload, *pipeline)?;
                    }
                    active -= usize::from(flight.outstanding == 0);
                }
                last_reply = now;
                Ok(())
            })?;
            if last_reply - watched > WATCH {
                watch(&latencies);
                watched = last_reply;
            }
            if requests == before {
                interrupt::check()?;
                if last_reply.elapsed() > SILENCE {
                    return Err(LoadError::Connection(format!(
                        "no reply for {} s; {active} connections wait",
                        SILENCE.as_secs()
                    )));
                }
            }
        }
        interrupt::check()?;
        Ok(Stretch { requests, elapsed: last_reply - start, latencies })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake_server::{FakeServer, Sets};

    const LONG: Duration = Duration::from_secs(3600);

    fn client(server: &FakeServer, keys: std::ops::Range<u64>) -> ClosedLoop<Sets> {
        ClosedLoop::connect(&server.endpoint(), 3, 16, Sets::new(keys)).unwrap()
    }

    #[test]
    fn sends_every_key_once_and_ends() {
        let server = FakeServer::start("+OK\r\n");
        let stretch = client(&server, 5..1006).run(LONG).unwrap();
        assert_eq!(stretch.requests, 1001);
        assert_eq!(server.keys(), (5..1006).collect::<Vec<_>>());
    }

    #[test]
    fn leaves_nothing_on_its_way_between_stretches() {
        let server = FakeServer::start("+OK\r\n");
        let mut client = client(&server, 0..u64::MAX);
        let first = client.run(Duration::from_millis(20)).unwrap().requests;
        assert_eq!(server.keys().len() as u64, first);
        let second = client.run(Duration::from_millis(20)).unwrap().requests;
        assert_eq!(server.keys().len() as u64, first + second);
    }

    #[test]
    fn an_error_reply_ends_the_run() {
        let server = FakeServer::start("-OOM no memory\r\n");
        let error = client(&server, 0..10).run(LONG).unwrap_err();
        assert!(matches!(error, LoadError::Reply { .. }), "{error}");
    }

    #[test]
    fn a_closed_connection_ends_the_run() {
        let server = FakeServer::start("");
        let error = client(&server, 0..10).run(LONG).unwrap_err();
        let closed = matches!(error, LoadError::Connection(_) | LoadError::Io { .. });
        assert!(closed, "{error}");
    }
}
