//! What the tests of the binary share.
#![allow(dead_code, reason = "each test program uses its own part of this")]

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use emberkv_torture::{Client, Flavor, Server, ServerSpec, TempDir, Value};

/// How long anything may take that should take moments: the machine may be busy.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// The binary under test: the one just built, or `$EMBERKV_SERVER` (with a redis-server there
/// the tests can be checked themselves).
pub fn binary() -> PathBuf {
    std::env::var_os("EMBERKV_SERVER").map_or_else(|| env!("CARGO_BIN_EXE_emberkv").into(), PathBuf::from)
}

/// True when the server under test is emberkv; says that the test is skipped when it is not.
pub fn is_ember() -> bool {
    let ember = ServerSpec::new(binary(), "").flavor() == Flavor::Ember;
    if !ember {
        eprintln!("skipped: this is about emberkv's own log");
    }
    ember
}

/// The i/o drivers to run a test with; another server than emberkv knows none.
pub fn drivers() -> Vec<&'static str> {
    match ServerSpec::new(binary(), "").flavor() {
        Flavor::Ember => vec!["uring", "epoll"],
        Flavor::Redis => vec![""],
    }
}

/// The words that choose a driver.
pub fn driver_args(io: &str) -> Vec<String> {
    if io.is_empty() { Vec::new() } else { vec!["--io".into(), io.into()] }
}

/// A server in `dir` with these words on its command line; emberkv with `$EMBERKV_CORES` cores, if that is set.
pub fn spec(dir: &Path, args: &[&str]) -> ServerSpec {
    let spec = ServerSpec::new(binary(), dir).args(args.iter().copied());
    match (spec.flavor(), std::env::var("EMBERKV_CORES")) {
        (Flavor::Ember, Ok(cores)) if !args.contains(&"--cores") => spec.args(["--cores", &cores]),
        (Flavor::Ember, _) => spec,
        (Flavor::Redis, _) => spec.args(["--appendonly", "yes"]),
    }
}

/// A new directory.
pub fn dir(name: &str) -> TempDir {
    TempDir::new(name).unwrap()
}

/// A server in a new directory, ready to serve.
pub fn start(name: &str, args: &[&str]) -> (Server, TempDir) {
    let dir = dir(name);
    let server = Server::start(&spec(dir.path(), args)).unwrap();
    (server, dir)
}

/// Starts a server that must refuse to start: what it wrote before it exited with a failure.
pub fn refused(spec: &ServerSpec) -> String {
    let mut server = Server::spawn_in_place(spec).unwrap();
    let status = server.wait_exit(PATIENCE).unwrap();
    let log = server.log_text();
    assert!(!status.success(), "it exited with success; it wrote:\n{log}");
    assert_eq!(status.code().map(|_| ()), Some(()), "it was killed by a signal ({status}):\n{log}");
    log
}

/// Asks until `wanted` holds; panics with `what` after [`PATIENCE`].
pub fn eventually(what: &str, mut wanted: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !wanted() {
        assert!(Instant::now() < deadline, "not within {PATIENCE:?}: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// The reply's text, for messages and comparisons.
pub fn text(value: &Value) -> String {
    value.text().map(|text| String::from_utf8_lossy(text).into_owned()).unwrap_or_default()
}

/// Runs a command that must succeed, and returns its reply.
pub fn must(client: &mut Client, words: &str) -> Value {
    let reply = client.ask(words).unwrap();
    assert!(!matches!(reply, Value::Error(_)), "{words} was answered {}", text(&reply));
    reply
}

/// A number from the environment.
pub fn number(variable: &str, default: u64) -> u64 {
    match std::env::var(variable) {
        Ok(text) => text.parse().unwrap_or_else(|_| panic!("{variable}={text} is no number")),
        Err(_) => default,
    }
}

/// A file of the tests.
pub fn test_file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests").join(name)
}

/// Runs a program to its end; panics with its output when it fails.
pub fn run(program: impl Into<OsString>, args: &[&str], env: &[(&str, &Path)]) -> String {
    let program = program.into();
    let mut command = std::process::Command::new(&program);
    command.args(args).envs(env.iter().copied());
    let output = command.output().unwrap_or_else(|error| {
        panic!("{} can't be run: {error}", program.display());
    });
    let out = String::from_utf8_lossy(&output.stdout).into_owned();
    let err = String::from_utf8_lossy(&output.stderr);
    let status = output.status;
    assert!(status.success(), "{} {args:?}: {status}\n{out}\n{err}", program.display());
    out
}
