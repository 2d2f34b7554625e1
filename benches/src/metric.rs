//! What a measurement yields: numbers under names, with a unit and a better direction.

use emberkv_load::Latencies;

/// One kind of number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Metric {
    /// Requests per second of server cpu time: the number to compare.
    OpsPerCpuSecond,
    /// Requests per second.
    OpsPerSecond,
    /// Median latency, µs.
    P50Us,
    /// 99th percentile, µs.
    P99Us,
    /// 99.9th percentile, µs.
    P999Us,
    /// Longest latency, µs.
    MaxUs,
    /// Server cpu time per second, %.
    ServerCpuPercent,
    /// Client cpu time per second, %.
    ClientCpuPercent,
    /// Cpu time per second that other things took on the server's or the client's cpus, whichever is
    /// more, %.
    OtherCpuPercent,
    /// Offered rate of an open loop, requests per second.
    OfferedPerSecond,
    /// 99th percentile of the delay between intended and real send of an open loop, µs.
    SendLagP99Us,
    /// Resident bytes per key beyond the key's and the value's own.
    OverheadBytesPerKey,
    /// Resident memory before loading, MiB.
    EmptyMib,
    /// Resident memory after loading, MiB.
    LoadedMib,
    /// Exec to first successful GET, s.
    RestartSeconds,
}

/// Which of two values is the better one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Better {
    /// The higher one.
    Higher,
    /// The lower one.
    Lower,
    /// Neither: the number explains others.
    Neither,
}

impl Metric {
    /// Name in JSON, unit last.
    pub fn id(self) -> &'static str {
        match self {
            Self::OpsPerCpuSecond => "ops_per_cpu_second",
            Self::OpsPerSecond => "ops_per_second",
            Self::P50Us => "p50_us",
            Self::P99Us => "p99_us",
            Self::P999Us => "p999_us",
            Self::MaxUs => "max_us",
            Self::ServerCpuPercent => "server_cpu_percent",
            Self::ClientCpuPercent => "client_cpu_percent",
            Self::OtherCpuPercent => "other_cpu_percent",
            Self::OfferedPerSecond => "offered_per_second",
            Self::SendLagP99Us => "send_lag_p99_us",
            Self::OverheadBytesPerKey => "overhead_bytes_per_key",
            Self::EmptyMib => "rss_empty_mib",
            Self::LoadedMib => "rss_loaded_mib",
            Self::RestartSeconds => "restart_s",
        }
    }

    /// Heading in tables.
    pub fn heading(self) -> &'static str {
        match self {
            Self::OpsPerCpuSecond => "ops/cpu-s",
            Self::OpsPerSecond => "req/s",
            Self::P50Us => "p50 µs",
            Self::P99Us => "p99 µs",
            Self::P999Us => "p99.9 µs",
            Self::MaxUs => "max µs",
            Self::ServerCpuPercent => "server cpu %",
            Self::ClientCpuPercent => "client cpu %",
            Self::OtherCpuPercent => "other cpu %",
            Self::OfferedPerSecond => "offered/s",
            Self::SendLagP99Us => "send lag p99 µs",
            Self::OverheadBytesPerKey => "overhead B/key",
            Self::EmptyMib => "empty MiB",
            Self::LoadedMib => "loaded MiB",
            Self::RestartSeconds => "first GET s",
        }
    }

    /// Its better direction.
    pub fn better(self) -> Better {
        match self {
            Self::OpsPerCpuSecond | Self::OpsPerSecond => Better::Higher,
            Self::P50Us
            | Self::P99Us
            | Self::P999Us
            | Self::MaxUs
            | Self::OverheadBytesPerKey
            | Self::LoadedMib
            | Self::RestartSeconds => Better::Lower,
            Self::ServerCpuPercent
            | Self::ClientCpuPercent
            | Self::OtherCpuPercent
            | Self::OfferedPerSecond
            | Self::SendLagP99Us
            | Self::EmptyMib => Better::Neither,
        }
    }

    /// The number as tables show it.
    pub fn show(self, value: f64) -> String {
        match self {
            Self::OpsPerCpuSecond | Self::OpsPerSecond | Self::OfferedPerSecond => {
                format!("{:.1}k", value / 1000.0)
            }
            Self::RestartSeconds => format!("{value:.3}"),
            Self::OverheadBytesPerKey => format!("{value:.1}"),
            _ => format!("{value:.0}"),
        }
    }
}

/// The numbers of one measurement.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Sample(Vec<(Metric, f64)>);

impl Sample {
    /// Adds a number; one that is not finite says nothing and is left out.
    pub fn push(&mut self, metric: Metric, value: f64) {
        if value.is_finite() {
            self.0.push((metric, value));
        }
    }

    /// Adds the percentiles.
    pub fn push_latencies(&mut self, latencies: &Latencies) {
        self.push(Metric::P50Us, latencies.quantile_us(0.5));
        self.push(Metric::P99Us, latencies.quantile_us(0.99));
        self.push(Metric::P999Us, latencies.quantile_us(0.999));
        self.push(Metric::MaxUs, latencies.max_us());
    }

    /// One of the numbers.
    pub fn get(&self, metric: Metric) -> Option<f64> {
        let found = self.0.iter().find(|(m, _)| *m == metric);
        found.map(|(_, value)| *value)
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = (Metric, f64)> + '_ {
        self.0.iter().copied()
    }
}
