//! Where events go: to standard error, or to `logfile`.

use std::fs::OpenOptions;
use std::sync::Mutex;
use std::sync::OnceLock;

use emberkv_server::config::{Config, LogLevel};
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Registry, fmt, reload};

static LEVEL: OnceLock<reload::Handle<LevelFilter, Registry>> = OnceLock::new();

fn filter(level: LogLevel) -> LevelFilter {
    match level {
        LogLevel::Debug | LogLevel::Verbose => LevelFilter::DEBUG,
        LogLevel::Notice => LevelFilter::INFO,
        LogLevel::Warning => LevelFilter::WARN,
        LogLevel::Nothing => LevelFilter::OFF,
    }
}

/// Begins to log as the configuration says.
///
/// # Errors
/// If the log file can't be written.
pub(crate) fn start(config: &Config) -> Result<(), String> {
    let (filter, handle) = reload::Layer::new(filter(config.loglevel));
    let registry = tracing_subscriber::registry().with(filter);
    if let Some(path) = &config.logfile {
        let file = OpenOptions::new().create(true).append(true).open(path);
        let file = file.map_err(|error| format!("can't write the log file {}: {error}", path.display()))?;
        registry.with(fmt::layer().with_target(false).with_ansi(false).with_writer(Mutex::new(file))).init();
    } else {
        let colours = std::io::IsTerminal::is_terminal(&std::io::stderr());
        registry.with(fmt::layer().with_target(false).with_ansi(colours).with_writer(std::io::stderr)).init();
    }
    let _ = LEVEL.set(handle);
    Ok(())
}

/// Changes how much is logged.
pub(crate) fn set_level(level: LogLevel) {
    if let Some(handle) = LEVEL.get() {
        let _ = handle.modify(|current| *current = filter(level));
    }
}
