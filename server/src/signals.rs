//! Signals, and what a panic does.

use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

/// A flag that SIGTERM and SIGINT set.
///
/// # Errors
/// If the system does not let them be handled.
pub(crate) fn on_terminate() -> io::Result<Arc<AtomicBool>> {
    let flag = Arc::new(AtomicBool::new(false));
    for signal in [signal_hook::consts::SIGTERM, signal_hook::consts::SIGINT] {
        // a second one ends the process at once
        signal_hook::flag::register_conditional_shutdown(signal, 1, Arc::clone(&flag))?;
        signal_hook::flag::register(signal, Arc::clone(&flag))?;
    }
    // as redis: a terminal that closes, or a reload, does not end a server
    signal_hook::flag::register(signal_hook::consts::SIGHUP, Arc::default())?;
    Ok(flag)
}

/// Makes a panic on any thread end the process: the log is the truth, and a core without one of its threads
/// would only pretend to serve. Release builds abort anyway.
pub(crate) fn abort_on_panic() {
    let report = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        report(panic);
        std::process::abort();
    }));
}
