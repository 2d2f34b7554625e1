//! The whole partition on a simulated disk: against a plain model, through crashes, and rule by rule.

mod commands;
mod expiry;
mod foreign;
mod keyspace;
mod lives;
mod model;
mod requests;
mod rig;
mod rules;
