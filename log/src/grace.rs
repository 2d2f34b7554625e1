//! Waiting until no other thread can still be in what was taken away (D11).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crossbeam_epoch::{self as epoch, Guard};

/// The time until every reader has let go of what it may have found before this began.
///
/// A reader works under a guard ([`crossbeam_epoch::pin`]). What is unlinked before a grace period begins can be
/// reached by guards that are older than it, and by no others.
#[derive(Clone, Debug)]
pub struct Grace(Arc<AtomicBool>);

impl Grace {
    /// Begins now: what nobody may find any more has been unlinked.
    pub fn begin() -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let guard = epoch::pin();
        let set = Arc::clone(&over);
        guard.defer(move || set.store(true, Ordering::Release));
        // into the queue that every thread looks into
        guard.flush();
        Self(over)
    }

    /// Whether it is over. While it is not, this pushes it on: not for every command.
    pub fn is_over(&self) -> bool {
        #[cfg(any(test, feature = "sim"))]
        if crate::plant::is(crate::plant::Plant::D11) {
            return true;
        }
        if !self.0.load(Ordering::Acquire) {
            epoch::pin().flush();
        }
        self.0.load(Ordering::Acquire)
    }
}

/// Whether `guard` protects what is retired here: everybody uses the one default collector.
#[inline]
pub fn protects(guard: &Guard) -> bool {
    guard.collector().is_some_and(|collector| collector == epoch::default_collector())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plant::{self, Plant};

    /// Whether a grace period ends while somebody is in who was there before it.
    fn ends_too_early() -> bool {
        let guard = epoch::pin();
        let grace = Grace::begin();
        let ends = (0..100).any(|_| grace.is_over());
        drop(guard);
        // other tests' threads may be in for a moment
        let over = (0..1_000).any(|_| {
            std::thread::sleep(std::time::Duration::from_millis(1));
            grace.is_over()
        });
        assert!(over);
        ends
    }

    #[test]
    fn a_grace_period_waits_for_those_who_were_there_before_it() {
        assert!(!ends_too_early());
        plant::set(Some(Plant::D11));
        let noticed = ends_too_early();
        plant::set(None);
        assert!(noticed, "nothing noticed that D11 is missing");
    }
}
