//! Commands over several partitions: the coordinator by itself, and whole data sets on a simulated disk.

mod coordinator;
mod crash;
mod follow;
mod lives;
mod partitions;
mod swap;
mod tracking;
mod waiting;
mod watch;
mod world;
