//! Users in files: a line for each, `user name rules...`.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;

use super::has_space;
use super::rule::RuleError;
use super::user::{User, merge_selectors};
use super::users::Users;

/// What is wrong with a file, in redis's words; all of it.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct FileError(String);

/// Reads the users of a file's text; `path` stands for it in errors. The default user may do everything unless a line says
/// otherwise.
///
/// # Errors
/// All that is wrong in it.
pub(crate) fn load_file(path: &str, text: &[u8], all_channels: bool) -> Result<Users, FileError> {
    let mut users = Users::new();
    let mut seen = std::collections::BTreeSet::new();
    let mut errors = String::new();
    for (i, line) in text.split(|byte| *byte == b'\n').enumerate() {
        let number = i + 1;
        let line = line.trim_ascii();
        if line.is_empty() {
            continue;
        }
        let words: Vec<&[u8]> = line.split(|byte| *byte == b' ').collect();
        let [b"user", name, rules @ ..] = words.as_slice() else {
            errors += &format!("{path}:{number}: line should start with user keyword followed by the username. ");
            continue;
        };
        let shown = String::from_utf8_lossy(name);
        if has_space(name) {
            errors += &format!("'{path}:{number}: username '{shown}' contains invalid characters. ");
            continue;
        }
        if !seen.insert(name.to_vec()) {
            errors += &format!("WARNING: Duplicate user '{shown}' found on line {number}. ");
            continue;
        }
        let Ok(rules) = merge_selectors(rules.iter().copied()) else {
            errors += &format!("{path}:{number}: Unmatched parenthesis in selector definition.");
            continue;
        };
        let mut user = User::new(name, all_channels);
        let mut has_failed = false;
        for rule in rules {
            match user.apply(rule.trim_ascii(), all_channels) {
                Ok(()) => {}
                // only these are shown: others may have a password in them
                Err(error @ RuleError::Unknown) => {
                    let rule = String::from_utf8_lossy(&rule);
                    errors += &format!("{path}:{number}: Error in applying operation '{rule}': {error}. ");
                }
                Err(error) if !has_failed => {
                    errors += &format!("{path}:{number}: {error}. ");
                    has_failed = true;
                }
                Err(_) => {}
            }
        }
        users.put(user);
    }
    if errors.is_empty() {
        Ok(users)
    } else {
        errors += "WARNING: ACL errors detected, no change to the previously active ACL rules was performed";
        Err(FileError(errors))
    }
}

/// The lines of a file with these users.
pub(crate) fn lines_of(users: &Users) -> Vec<u8> {
    users.iter().flat_map(|user| [user.describe(), b"\n".to_vec()].concat()).collect()
}

/// Puts a file in the place of the one at `path`, all of it or nothing, also if the power goes.
///
/// # Errors
/// Of the system.
pub(crate) fn save_file(path: &Path, text: &[u8]) -> io::Result<()> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".tmp-{}", std::process::id()));
    let temporary = path.with_file_name(name);
    let write = || {
        let mut file = File::create(&temporary)?;
        // who may read it stays as it was
        if let Ok(old) = std::fs::metadata(path) {
            file.set_permissions(old.permissions())?;
        }
        file.write_all(text)?;
        file.sync_all()?;
        std::fs::rename(&temporary, path)?;
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        File::open(folder)?.sync_all()
    };
    let written = write();
    if written.is_err() {
        // it may not be there
        let _ = std::fs::remove_file(&temporary);
    }
    written
}
