//! Which files an `include` means.

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use emberkv_resp::glob;

/// The files that `pattern` names, in order of their names. A path without `*?[` is itself,
/// whether it exists or not; a pattern that matches nothing is no file at all.
///
/// A relative path counts from the working directory, as in redis, and where nothing is there
/// from `folder`, that of the file with the `include`.
///
/// # Errors
/// When a directory can't be listed.
pub(super) fn included_files(pattern: &Path, folder: Option<&Path>) -> io::Result<Vec<PathBuf>> {
    let found = expand(pattern)?;
    let is_there = found.iter().any(|path| path.exists());
    match folder {
        Some(folder) if !is_there && pattern.is_relative() => {
            let beside = expand(&folder.join(pattern))?;
            let is_beside = beside.iter().any(|path| path.exists());
            Ok(if is_beside { beside } else { found })
        }
        _ => Ok(found),
    }
}

fn is_pattern(name: &OsStr) -> bool {
    name.as_bytes().iter().any(|byte| b"*?[".contains(byte))
}

fn expand(pattern: &Path) -> io::Result<Vec<PathBuf>> {
    let mut paths = vec![PathBuf::new()];
    for component in pattern.components() {
        match component {
            Component::Normal(name) if is_pattern(name) => {
                let mut next = Vec::new();
                for path in paths {
                    next.extend(matching_entries(&path, name)?);
                }
                paths = next;
            }
            fixed => paths.iter_mut().for_each(|path| path.push(fixed)),
        }
    }
    if is_pattern(pattern.as_os_str()) {
        paths.retain(|path| path.exists());
    }
    Ok(paths)
}

/// The entries of `folder` (empty: the working directory) whose name is matched, sorted.
fn matching_entries(folder: &Path, pattern: &OsStr) -> io::Result<Vec<PathBuf>> {
    let listed = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    let entries = match std::fs::read_dir(listed) {
        Ok(entries) => entries,
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            return Ok(Vec::new());
        }
        Err(error) => return Err(error),
    };
    let pattern = pattern.as_bytes();
    let mut paths = Vec::new();
    for entry in entries {
        let name = entry?.file_name();
        // as in a shell, hidden files have to be asked for
        let is_hidden = name.as_bytes().starts_with(b".") && !pattern.starts_with(b".");
        if !is_hidden && glob::matches(pattern, name.as_bytes()) {
            paths.push(folder.join(name));
        }
    }
    paths.sort();
    Ok(paths)
}
