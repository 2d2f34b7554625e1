//! Ctrl-c and SIGTERM: a flag that the loops look at, so that servers and data are cleaned up.

use std::sync::atomic::{AtomicBool, Ordering};

use crate::error::LoadError;

static REQUESTED: AtomicBool = AtomicBool::new(false);

extern "C" fn note_signal(_signal: libc::c_int) {
    REQUESTED.store(true, Ordering::Relaxed);
}

/// Installs the handlers. A second signal of the same kind has its default effect: it ends us
/// at once (servers die with us, data directories stay until the next run).
pub fn install() {
    for signal in [libc::SIGINT, libc::SIGTERM] {
        // SAFETY: an all-zero `sigaction` is valid: an empty mask, no flags, default handler.
        let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
        action.sa_sigaction = note_signal as *const () as libc::sighandler_t;
        action.sa_flags = libc::SA_RESETHAND;
        // SAFETY: `action` is initialised and outlives the call; the handler only stores to an
        // atomic, which is async-signal-safe.
        unsafe {
            libc::sigaction(signal, &action, std::ptr::null_mut());
        }
    }
}

/// Fails once a signal has come.
///
/// # Errors
/// [`LoadError::Interrupted`].
pub fn check() -> Result<(), LoadError> {
    if REQUESTED.load(Ordering::Relaxed) {
        return Err(LoadError::Interrupted);
    }
    Ok(())
}
