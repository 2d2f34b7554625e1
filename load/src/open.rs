//! The open loop: requests leave by the clock, whether or not earlier ones are answered.
//!
//! A latency counts from the moment at which a request was meant to be sent. So a stall is felt by
//! every request that should have been sent during it, which a closed loop hides (coordinated
//! omission). The loop spins: it has a cpu of its own, and a sleep would be late by more than the
//! latencies that it is to measure.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::closed::WATCH;
use crate::connection::{Connections, Endpoint};
use crate::error::LoadError;
use crate::interrupt;
use crate::latency::Latencies;
use crate::workload::Workload;

/// Bursts sent before the sockets are looked at again, when the loop is late.
const BURSTS_PER_TURN: u32 = 16;

/// More seconds' worth of requests than this without a reply: the rate is too high.
const MOST_SECONDS_BEHIND: f64 = 2.0;

/// What an open-loop run measured.
#[derive(Debug)]
pub struct OpenRun {
    /// Requests answered.
    pub requests: u64,
    /// Time from the first intended send to the last reply.
    pub elapsed: Duration,
    /// From the intended send to the reply.
    pub latencies: Latencies,
    /// From the intended to the real send: how much of the latencies is the client's own doing.
    pub send_lags: Latencies,
}

/// Requests that were sent together and are on their way.
struct Burst {
    due: Instant,
    outstanding: u64,
}

/// An open-loop client on one thread.
pub struct OpenLoop<W: Workload> {
    connections: Connections<W>,
    pipeline: usize,
    bursts: Vec<VecDeque<Burst>>,
}

impl<W: Workload> OpenLoop<W> {
    /// Connects `clients` times; `pipeline` requests leave at once.
    ///
    /// # Errors
    /// When a connection cannot be made.
    pub fn connect(endpoint: &Endpoint, clients: usize, pipeline: usize, workload: W) -> Result<Self, LoadError> {
        let connections = Connections::open(endpoint, clients, workload)?;
        Ok(Self { bursts: (0..connections.len()).map(|_| VecDeque::new()).collect(), connections, pipeline })
    }

    /// What is sent, with what it has counted.
    pub fn workload(&mut self) -> &mut W {
        &mut self.connections.workload
    }

    /// Offers `rate` requests a second for `duration`, in bursts of the pipeline's depth at equal
    /// distances, over the connections in turn; then waits for the last replies.
    ///
    /// # Errors
    /// As [`Self::run_watched`].
    pub fn run(&mut self, rate: f64, duration: Duration) -> Result<OpenRun, LoadError> {
        self.run_watched(rate, duration, &mut |_| {})
    }

    /// The same; `watch` sees about every second what there is so far.
    ///
    /// # Errors
    /// [`LoadError::Overrun`] when the server falls seconds behind; when a connection fails or a
    /// reply is not the wanted one; when ctrl-c was pressed.
    pub fn run_watched(
        &mut self,
        rate: f64,
        duration: Duration,
        watch: &mut dyn FnMut(&Latencies),
    ) -> Result<OpenRun, LoadError> {
        let interval = Duration::from_secs_f64(self.pipeline as f64 / rate.max(1.0));
        let most_outstanding = (rate * MOST_SECONDS_BEHIND) as u64 + 1000;
        let start = Instant::now();
        let end = start + duration;
        let mut run =
            OpenRun { requests: 0, elapsed: duration, latencies: Latencies::new(), send_lags: Latencies::new() };
        let mut watched = start;
        let (mut due, mut next, mut sent, mut turns) = (start, 0, 0, 0_u32);
        while due < end || run.requests < sent {
            for _ in 0..BURSTS_PER_TURN {
                let now = Instant::now();
                if due >= end || now < due {
                    break;
                }
                let requests = self.connections.send(next, self.pipeline)?;
                run.send_lags.record(now - due, 1);
                self.bursts[next].push_back(Burst { due, outstanding: requests });
                sent += requests;
                due += interval;
                next = (next + 1) % self.bursts.len();
            }
            let bursts = &mut self.bursts;
            self.connections.poll(Duration::ZERO, |_, _, index, replies| {
                let now = Instant::now();
                settle(&mut bursts[index], replies, now, &mut run.latencies)?;
                run.requests += replies;
                Ok(())
            })?;
            if sent - run.requests > most_outstanding {
                return Err(LoadError::Overrun { outstanding: sent - run.requests, rate });
            }
            turns = turns.wrapping_add(1);
            if turns.is_multiple_of(4096) {
                interrupt::check()?;
                if watched.elapsed() > WATCH {
                    watch(&run.latencies);
                    watched = Instant::now();
                }
                if start.elapsed() > duration + Duration::from_secs(30) {
                    return Err(LoadError::Connection(format!(
                        "{} requests were not answered within 30 s",
                        sent - run.requests
                    )));
                }
            }
        }
        run.elapsed = start.elapsed();
        Ok(run)
    }
}

/// Gives `replies` replies to the oldest requests of a connection.
fn settle(
    bursts: &mut VecDeque<Burst>,
    mut replies: u64,
    now: Instant,
    latencies: &mut Latencies,
) -> Result<(), LoadError> {
    while replies > 0 {
        let Some(burst) = bursts.front_mut() else {
            return Err(LoadError::Connection("the server sent more replies than requests".into()));
        };
        let settled = replies.min(burst.outstanding);
        latencies.record(now.saturating_duration_since(burst.due), settled);
        burst.outstanding -= settled;
        replies -= settled;
        if burst.outstanding == 0 {
            bursts.pop_front();
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake_server::{FakeServer, Sets};

    #[test]
    fn offers_what_was_asked_for() {
        let server = FakeServer::start("+OK\r\n");
        let mut client = OpenLoop::connect(&server.endpoint(), 3, 4, Sets::new(0..u64::MAX)).unwrap();
        let run = client.run(4000.0, Duration::from_millis(100)).unwrap();
        assert_eq!(run.requests, 400);
        assert_eq!(server.keys(), (0..400).collect::<Vec<_>>());
    }

    #[test]
    fn replies_go_to_the_oldest_requests() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let burst = |ms| Burst { due: at(ms), outstanding: 2 };
        let mut bursts = VecDeque::from([burst(0), burst(10)]);
        let mut latencies = Latencies::new();
        settle(&mut bursts, 3, at(20), &mut latencies).unwrap();
        assert_eq!(bursts.len(), 1);
        assert_eq!(bursts[0].outstanding, 1);
        assert!((latencies.quantile_us(0.3) - 10_000.0).abs() < 50.0);
        assert!((latencies.quantile_us(0.9) - 20_000.0).abs() < 50.0);
        assert!(settle(&mut bursts, 2, at(30), &mut latencies).is_err());
    }
}
