//! Connections to servers that a uri names.

use std::time::{Duration, Instant};

use emberkv_console::{Connection, Interrupt, Target, TlsArgs, Value};

use crate::error::{Error, Result, of};

/// A server, as it was named on the command line. The password may be in the environment instead.
///
/// # Errors
/// When it is no uri, or names a database: all are meant.
pub(crate) fn server(uri: &str, tls: &TlsArgs, password: &str) -> Result<Target> {
    let mut target = Target { tls: tls.clone(), ..Target::default() };
    target.apply_uri(uri).map_err(|error| Error::Usage(error.to_string()))?;
    if target.database != 0 {
        return Err(Error::Usage(format!("{uri}: all databases are meant, so none can be named")));
    }
    if target.password.is_none() {
        target.password = std::env::var(password).ok();
    }
    Ok(target)
}

/// Connects, and says who we are.
///
/// # Errors
/// When nobody answers there, or we are not let in.
pub(crate) fn connect(target: &Target, who: &'static str) -> Result<Connection> {
    let mut connection = Connection::open(target, None).map_err(of(who))?;
    match (&target.user, &target.password) {
        (_, None) => {}
        (None, Some(password)) => drop(connection.must(&["AUTH", password]).map_err(of(who))?),
        (Some(user), Some(password)) => drop(connection.must(&["AUTH", user, password]).map_err(of(who))?),
    }
    connection.must(&["PING"]).map_err(of(who))?;
    Ok(connection)
}

/// A line of INFO's.
pub(crate) fn info(
    connection: &mut Connection,
    section: &str,
    name: &str,
    who: &'static str,
) -> Result<Option<String>> {
    let reply = connection.must(&["INFO", section]).map_err(of(who))?;
    let text = String::from_utf8_lossy(reply.text().unwrap_or_default()).into_owned();
    let mut lines = text.lines();
    Ok(lines.find_map(|line| Some(line.strip_prefix(name)?.strip_prefix(':')?.trim().to_owned())))
}

/// How long a word of a command may be.
pub(crate) fn longest_word(connection: &mut Connection, who: &'static str) -> Result<usize> {
    /// Redis's default.
    const USUAL: usize = 512 << 20;
    let reply = connection.call(&["CONFIG", "GET", "proto-max-bulk-len"], |_| {}).map_err(of(who))?;
    let Value::Array(pair) = reply else { return Ok(USUAL) };
    let text = pair.get(1).and_then(|value| std::str::from_utf8(value.text()?).ok());
    Ok(text.and_then(|text| text.parse().ok()).unwrap_or(USUAL))
}

/// The databases that have keys.
pub(crate) fn databases(connection: &mut Connection, who: &'static str) -> Result<Vec<u64>> {
    let reply = connection.must(&["INFO", "keyspace"]).map_err(of(who))?;
    let text = String::from_utf8_lossy(reply.text().unwrap_or_default()).into_owned();
    let mut databases: Vec<u64> =
        text.lines().filter_map(|line| line.strip_prefix("db")?.split_once(':')?.0.parse().ok()).collect();
    databases.sort_unstable();
    Ok(databases)
}

/// Sends commands at once, and takes the reply of each.
///
/// # Errors
/// When the connection fails.
pub(crate) fn pipeline(
    connection: &mut Connection,
    commands: &[Vec<Vec<u8>>],
    who: &'static str,
) -> Result<Vec<Value>> {
    send_all(connection, commands, who)?;
    read_all(connection, commands.len(), who)
}

/// Sends commands.
pub(crate) fn send_all(connection: &mut Connection, commands: &[Vec<Vec<u8>>], who: &'static str) -> Result<()> {
    let mut out = Vec::new();
    commands.iter().for_each(|words| emberkv_console::encode(words, &mut out));
    connection.send_bytes(&out).map_err(of(who))
}

/// Takes so many replies.
pub(crate) fn read_all(connection: &mut Connection, count: usize, who: &'static str) -> Result<Vec<Value>> {
    (0..count).map(|_| connection.read().map_err(of(who))).collect()
}

/// A command's words.
pub(crate) fn words(name: &str, rest: &[&[u8]]) -> Vec<Vec<u8>> {
    let name = name.split(' ').map(|word| word.as_bytes().to_vec());
    name.chain(rest.iter().map(|word| word.to_vec())).collect()
}

/// Ctrl-c and a polite kill are looked for, and do not end the process. A second one does.
pub(crate) fn interrupts() -> Result<Interrupt> {
    use signal_hook::consts::{SIGINT, SIGTERM};
    let flag = Interrupt::default();
    for signal in [SIGINT, SIGTERM] {
        signal_hook::flag::register_conditional_shutdown(signal, 130, flag.clone())
            .and_then(|_| signal_hook::flag::register(signal, flag.clone()))
            .map_err(|error| Error::Usage(format!("signals can't be looked for: {error}")))?;
    }
    Ok(flag)
}

/// Says how far it is, now and then, on standard error.
pub(crate) struct Progress {
    every: Duration,
    last: Instant,
}

impl Progress {
    pub fn new() -> Self {
        let is_terminal = std::io::IsTerminal::is_terminal(&std::io::stderr());
        Self { every: Duration::from_secs(if is_terminal { 1 } else { 10 }), last: Instant::now() }
    }

    /// Says it if it is time to.
    pub fn say(&mut self, text: impl FnOnce() -> String) {
        if self.last.elapsed() >= self.every {
            self.last = Instant::now();
            eprintln!("{}", text());
        }
    }
}
