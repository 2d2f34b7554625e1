//! The atomics of [`super::inbox`]: its model compiles the same file over loom's.

pub(super) use std::sync::atomic::{AtomicPtr, Ordering};
