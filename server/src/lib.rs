//! The cores of emberkv: the event loop, connections, configuration and administration.

mod acl;
mod boot;
mod clock;
mod commands;
pub mod config;
mod core;
pub mod doctor;
pub mod driver;
mod housekeeping;
mod loader;
mod meter;
mod metrics;
mod migrate;
mod pin;
mod process;
mod replicate;
mod signals;
mod stats;
mod tls;

pub use boot::{ServeError, serve};
pub use emberkv_log::failpoint;
