//! Load on one server.

use std::io::{IsTerminal, Write};
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use emberkv_load::keys::{Keys, Spread};
use emberkv_load::mix::{Counts, Mix};
use emberkv_load::{ClosedLoop, Endpoint, Latencies, LoadError, OpenLoop};

use super::BenchError;
use super::recipe::Plan;
use super::report;
use crate::connection::encode;
use crate::error::Error;
use crate::target::{Place, Target};

/// Keys are set through pipelines that hold about so many bytes.
const LOAD_BYTES: usize = 256 << 10;

/// Longer than any run.
const FOR_EVER: Duration = Duration::from_secs(30 * 24 * 3600);

/// What came out.
#[derive(Debug)]
pub(super) struct Outcome {
    pub(super) requests: u64,
    pub(super) elapsed: Duration,
    pub(super) latencies: Latencies,
    pub(super) counts: Counts,
    /// Of the open loop: how late requests left.
    pub(super) send_lags: Option<Latencies>,
}

impl Outcome {
    /// Requests a second.
    pub(super) fn rate(&self) -> f64 {
        self.requests as f64 / self.elapsed.as_secs_f64().max(1e-9)
    }

    /// Fails when most of it was refused: it would be the measurement of an error's path.
    pub(super) fn check(&self) -> Result<(), BenchError> {
        match &self.counts.first_error {
            Some(first) if self.counts.errors * 2 > self.requests => {
                Err(BenchError::Refused { errors: self.counts.errors, requests: self.requests, first: first.clone() })
            }
            _ => Ok(()),
        }
    }
}

/// Sets all keys, if the plan says so.
pub(super) fn load(plan: &Plan, target: &Target) -> Result<(), BenchError> {
    if !plan.loads || !plan.reads_keys() {
        return Ok(());
    }
    let keys = Keys::new(Spread::Sequential, plan.keys, plan.seed, 0);
    let mix = Mix::new(plan.load_recipe(), keys, plan.seed, plan.keys);
    let clients = plan.clients.min(16);
    let pipeline = (LOAD_BYTES / (plan.sizes.most + 64)).clamp(1, 64);
    let mut client = ClosedLoop::connect(&endpoint(target)?, clients, pipeline, mix)?;
    let stretch = client.run(FOR_EVER)?;
    let counts = client.workload().take_counts();
    match counts.first_error {
        Some(first) => Err(BenchError::Refused { errors: counts.errors, requests: stretch.requests, first }),
        None => Ok(()),
    }
}

/// Makes load for the plan's duration.
pub(super) fn run(plan: &Plan, target: &Target, progress: bool) -> Result<Outcome, BenchError> {
    let endpoint = endpoint(target)?;
    let seen: Vec<Mutex<Latencies>> = (0..plan.threads).map(|_| Mutex::new(Latencies::new())).collect();
    let over = AtomicBool::new(false);
    let outcomes = std::thread::scope(|scope| {
        let workers: Vec<_> = seen
            .iter()
            .enumerate()
            .map(|(thread, seen)| {
                let endpoint = &endpoint;
                scope.spawn(move || work(plan, endpoint, thread, seen))
            })
            .collect();
        if progress && std::io::stderr().is_terminal() {
            scope.spawn(|| show_progress(plan, &seen, &over));
        }
        let outcomes: Vec<_> = workers.into_iter().map(std::thread::ScopedJoinHandle::join).collect();
        over.store(true, Ordering::Relaxed);
        outcomes
    });
    let mut sum: Option<Outcome> = None;
    for outcome in outcomes {
        let outcome = outcome.unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
        sum = Some(match sum {
            None => outcome,
            Some(sum) => add(sum, outcome),
        });
    }
    sum.ok_or_else(|| LoadError::Connection("there was no thread".into()).into())
}

fn add(mut sum: Outcome, other: Outcome) -> Outcome {
    sum.requests += other.requests;
    sum.elapsed = sum.elapsed.max(other.elapsed);
    sum.latencies.add(&other.latencies);
    sum.counts.reads += other.counts.reads;
    sum.counts.misses += other.counts.misses;
    sum.counts.errors += other.counts.errors;
    sum.counts.first_error = sum.counts.first_error.or(other.counts.first_error);
    if let (Some(sum), Some(other)) = (&mut sum.send_lags, &other.send_lags) {
        sum.add(other);
    }
    sum
}

/// One thread's part.
fn work(plan: &Plan, endpoint: &Endpoint, thread: usize, seen: &Mutex<Latencies>) -> Result<Outcome, LoadError> {
    let seed = plan.seed.wrapping_mul(1000).wrapping_add(thread as u64);
    let start = plan.keys / plan.threads as u64 * thread as u64;
    let mix = Mix::new(plan.mix_recipe(), Keys::new(plan.spread, plan.keys, seed, start), seed, u64::MAX);
    let clients = plan.clients / plan.threads + usize::from(thread < plan.clients % plan.threads);
    let mut watch = |latencies: &Latencies| {
        *seen.lock().unwrap_or_else(PoisonError::into_inner) = latencies.clone();
    };
    match plan.rate {
        None => {
            let mut client = ClosedLoop::connect(endpoint, clients, plan.pipeline, mix)?;
            // even the shortest stretch sends something on each connection.
            if !plan.warm_up.is_zero() {
                client.run(plan.warm_up)?;
            }
            client.workload().take_counts();
            let stretch = client.run_watched(plan.duration, &mut watch)?;
            let counts = client.workload().take_counts();
            Ok(Outcome {
                requests: stretch.requests,
                elapsed: stretch.elapsed,
                latencies: stretch.latencies,
                counts,
                send_lags: None,
            })
        }
        Some(rate) => {
            let rate = rate / plan.threads as f64;
            let mut client = OpenLoop::connect(endpoint, clients, plan.pipeline, mix)?;
            client.run(rate, plan.warm_up)?;
            client.workload().take_counts();
            let run = client.run_watched(rate, plan.duration, &mut watch)?;
            let counts = client.workload().take_counts();
            Ok(Outcome {
                requests: run.requests,
                elapsed: run.elapsed,
                latencies: run.latencies,
                counts,
                send_lags: Some(run.send_lags),
            })
        }
    }
}

/// A line that is written anew every second.
fn show_progress(plan: &Plan, seen: &[Mutex<Latencies>], over: &AtomicBool) {
    let start = Instant::now();
    let (mut before, mut at) = (Latencies::new(), start);
    let mut err = std::io::stderr();
    while !over.load(Ordering::Relaxed) {
        std::thread::sleep(Duration::from_millis(50));
        if at.elapsed() < Duration::from_secs(1) {
            continue;
        }
        let mut now = Latencies::new();
        for part in seen {
            now.add(&part.lock().unwrap_or_else(PoisonError::into_inner));
        }
        let new = now.since(&before);
        let rate = new.count() as f64 / at.elapsed().as_secs_f64();
        let whole = (plan.warm_up + plan.duration).as_secs();
        let _ = write!(
            err,
            "\r\x1b[K{:>4}/{whole} s  {:>12} req/s  {}",
            start.elapsed().as_secs(),
            report::grouped(rate as u64),
            report::latencies(&new)
        );
        (before, at) = (now, Instant::now());
    }
    let _ = write!(err, "\r\x1b[K");
}

/// Where connections go, and what is sent first.
fn endpoint(target: &Target) -> Result<Endpoint, BenchError> {
    let Place::Tcp(host, port) = &target.place else {
        return Err(Error::Usage("bench wants a host and a port".into()).into());
    };
    let found = (host.as_str(), *port).to_socket_addrs().and_then(|mut found| {
        let none = || std::io::Error::new(std::io::ErrorKind::NotFound, "the name has no address");
        found.next().ok_or_else(none)
    });
    let connect = |source| Error::Connect { target: target.place.to_string(), source };
    let address: SocketAddr = found.map_err(connect)?;
    let mut endpoint = Endpoint::new(address);
    if target.tls.tls {
        endpoint.tls = Some((target.tls.config()?, target.tls.name(host)?));
    }
    let mut greet = |words: &[&str]| {
        encode(words, &mut endpoint.greeting);
        endpoint.greetings += 1;
    };
    match (&target.user, &target.password) {
        (_, None) => {}
        (None, Some(password)) => greet(&["AUTH", password]),
        (Some(user), Some(password)) => greet(&["AUTH", user, password]),
    }
    if target.database != 0 {
        greet(&["SELECT", &target.database.to_string()]);
    }
    Ok(endpoint)
}
