//! The whole partition on a simulated disk: against a plain model, through crashes, and rule by rule.

mod checkpoints;
mod cold;
mod commands;
mod compaction;
mod eviction;
mod expiry;
mod fields;
mod follow;
mod foreign;
mod forged;
mod hashes;
mod keyspace;
mod lists;
mod lives;
mod model;
mod model_hashes;
mod model_keys;
mod model_lists;
mod model_sets;
mod model_sorted_sets;
mod model_streams;
mod requests;
mod requests_hashes;
mod requests_lists;
mod requests_sets;
mod requests_sorted_sets;
mod requests_streams;
pub(crate) mod rig;
mod rules;
mod sets;
mod sorted_sets;
mod waiting;

pub use lives::{compact_some, is_noticed, lives, with_seeds};
pub use model::{Held, Model, Name, State};
pub use model_hashes::{changed_within, tells_of};
pub use rig::{START_MS, bring_all, change_residency, check_counts, contents, limits, whole_text};
