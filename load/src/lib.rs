//! Load generators: a closed and an open loop over many connections of one thread, by epoll. What is sent is a
//! [`Workload`]; [`mix`] has one of reads and writes, the benchmark harness (`benches/`) another of prepared requests.
#![cfg(target_os = "linux")]

mod closed;
mod connection;
mod error;
#[cfg(test)]
mod fake_server;
pub mod interrupt;
pub mod keys;
mod latency;
pub mod mix;
mod open;
mod random;
mod scanner;
mod stream;
mod workload;

pub use closed::{ClosedLoop, Stretch};
pub use connection::Endpoint;
pub use error::LoadError;
pub use latency::Latencies;
pub use open::{OpenLoop, OpenRun};
pub use random::Random;
pub use scanner::Scanner;
pub use stream::Stream;
pub use workload::Workload;
