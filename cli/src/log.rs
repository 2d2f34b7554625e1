//! Where events go, and in what form: to standard error, or to `logfile`; as text, or as JSON, a line for each.

use std::fs::OpenOptions;
use std::sync::Mutex;
use std::sync::OnceLock;

use emberkv_server::config::{Config, LogFormat, LogLevel};
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, Registry, fmt, reload};

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
    if let Some(path) = &config.logfile {
        let file = OpenOptions::new().create(true).append(true).open(path);
        let file = file.map_err(|error| format!("can't write the log file {}: {error}", path.display()))?;
        begin(filter, config.log_format, false, Mutex::new(file));
    } else {
        let colours = std::io::IsTerminal::is_terminal(&std::io::stderr());
        begin(filter, config.log_format, colours, std::io::stderr);
    }
    let _ = LEVEL.set(handle);
    Ok(())
}

fn begin<W>(filter: reload::Layer<LevelFilter, Registry>, format: LogFormat, colours: bool, writer: W)
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let layer = fmt::layer().with_target(false).with_writer(writer);
    let layer = match format {
        LogFormat::Text => layer.with_ansi(colours).boxed(),
        LogFormat::Json => layer.with_ansi(false).json().flatten_event(true).boxed(),
    };
    tracing_subscriber::registry().with(filter).with(layer).init();
}

/// Changes how much is logged.
pub(crate) fn set_level(level: LogLevel) {
    if let Some(handle) = LEVEL.get() {
        let _ = handle.modify(|current| *current = filter(level));
    }
}
