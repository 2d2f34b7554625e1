//! Black-box torture of a server binary: it is started, spoken to over sockets, killed and
//! compared, and never linked.
//!
//! * [`process`] and [`client`]: a server in a directory of its own, and a blocking client.
//! * [`kill`]: `kill -9` under pipelined writes, and an oracle that says what may be found
//!   after the restart.
//! * [`differential`]: the same commands against two servers, replies compared byte by byte.
//! * [`linear`]: concurrent histories, checked for linearizability and for the order of pipelines.
//! * [`power`]: the ends of logs are taken away, and transactions must be whole.
//! * [`queues`]: clients that wait for elements, and clients that keep what they read.
//! * [`link`]: the network between two servers, which is cut, slow, or breaks.
//! * [`all`]: these, in turn, in each mode, for as long as wanted.
//! * [`partition`]: where a key lies.
//! * [`peers`]: where the servers to compare with are found.

pub mod all;
pub mod client;
pub mod differential;
pub mod error;
pub mod kill;
pub mod linear;
pub mod link;
pub mod partition;
pub mod peers;
pub mod power;
pub mod process;
pub mod queues;
pub mod rng;
pub mod value;

pub use client::Client;
pub use error::{Error, Result};
pub use process::{Flavor, Server, ServerSpec, TempDir};
pub use value::Value;
