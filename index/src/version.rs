//! The version of a page: whether a probe that found nothing may be believed (D5).

use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};

use crate::sync::{AtomicU32, fence};

/// Odd while entries of the page move, so that a reader may miss one on its way; another even number afterwards.
///
/// The writer's stores to slots are releases and come after [`begin`](Self::begin): who has seen one of them sees an
/// odd or a new version too.
#[derive(Debug)]
pub(crate) struct PageVersion(AtomicU32);

/// A version under which nothing moved.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Still(u32);

impl PageVersion {
    /// Odd, and larger than any page lives to see.
    const GONE: u32 = u32::MAX;

    pub(crate) fn new() -> Self {
        Self(AtomicU32::new(0))
    }

    /// Entries will move.
    #[inline]
    pub(crate) fn begin(&self) {
        let version = self.0.load(Relaxed);
        debug_assert!(version.is_multiple_of(2), "a page changes once at a time");
        self.0.store(version.wrapping_add(1), Relaxed);
    }

    /// They have moved.
    #[inline]
    pub(crate) fn end(&self) {
        let version = self.0.load(Relaxed);
        debug_assert!(!version.is_multiple_of(2));
        self.0.store(version.wrapping_add(1), Release);
    }

    /// Entries will move to where this page does not lead: whoever has it still finds nothing that counts.
    pub(crate) fn retire(&self) {
        self.0.store(Self::GONE, Relaxed);
    }

    /// Before a probe: the version, unless entries are moving.
    #[inline]
    pub(crate) fn read(&self) -> Option<Still> {
        let version = self.0.load(Acquire);
        version.is_multiple_of(2).then_some(Still(version))
    }

    /// After a probe: whether nothing has moved meanwhile.
    #[inline]
    pub(crate) fn is_still(&self, before: Still) -> bool {
        // what the probe has read was read before this
        fence(Acquire);
        self.0.load(Relaxed) == before.0
    }
}
