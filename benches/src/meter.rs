//! Cpu time of server and client over a measurement.

use std::time::Duration;

use crate::args::Args;
use crate::error::BenchError;
use crate::metric::{Metric, Sample};
use crate::procfs;

/// Cpu times at the start of a measurement.
pub struct CpuMeter {
    server: Side,
    client: Side,
}

/// A process and the cpus that it is pinned to.
struct Side {
    pid: u32,
    cpus: Vec<usize>,
    used: Duration,
    busy: Duration,
}

impl Side {
    fn new(pid: u32, cpus: Vec<usize>) -> Result<Self, BenchError> {
        Ok(Self { pid, used: procfs::cpu_time(pid)?, busy: procfs::busy_time(&cpus)?, cpus })
    }

    /// The cpu time that the process has used since, and the time that its cpus have spent on
    /// other things.
    fn since(&self) -> Result<(Duration, Duration), BenchError> {
        let used = procfs::cpu_time(self.pid)?.saturating_sub(self.used);
        let busy = procfs::busy_time(&self.cpus)?.saturating_sub(self.busy);
        Ok((used, busy.saturating_sub(used)))
    }
}

impl CpuMeter {
    /// Starts to measure this process (the client) and the server.
    ///
    /// # Errors
    /// When the server is gone.
    pub fn start(server_pid: u32, args: &Args) -> Result<Self, BenchError> {
        Ok(Self {
            server: Side::new(server_pid, args.server_cpus())?,
            client: Side::new(std::process::id(), args.client_cpus())?,
        })
    }

    /// Adds the throughput, and all that cpu times tell about it.
    ///
    /// # Errors
    /// When the server is gone.
    pub fn stop(&self, sample: &mut Sample, requests: u64, elapsed: Duration) -> Result<(), BenchError> {
        let (server, beside_server) = self.server.since()?;
        let (client, beside_client) = self.client.since()?;
        let seconds = elapsed.as_secs_f64();
        let percent = |time: Duration| 100.0 * time.as_secs_f64() / seconds;
        push_efficiency(sample, requests, server);
        sample.push(Metric::OpsPerSecond, requests as f64 / seconds);
        sample.push(Metric::ServerCpuPercent, percent(server));
        sample.push(Metric::ClientCpuPercent, percent(client));
        let other = if self.server.cpus == self.client.cpus {
            // on shared cpus each side is beside the other.
            beside_server.saturating_sub(client)
        } else {
            beside_server.max(beside_client)
        };
        sample.push(Metric::OtherCpuPercent, percent(other));
        Ok(())
    }

    /// Adds only what the server's cpu time tells: the client was another process.
    ///
    /// # Errors
    /// When the server is gone.
    pub fn stop_foreign_client(&self, sample: &mut Sample, requests: u64) -> Result<(), BenchError> {
        let (server, _) = self.server.since()?;
        push_efficiency(sample, requests, server);
        Ok(())
    }
}

fn push_efficiency(sample: &mut Sample, requests: u64, server: Duration) {
    let per_second = requests as f64 / server.as_secs_f64();
    sample.push(Metric::OpsPerCpuSecond, per_second);
}
