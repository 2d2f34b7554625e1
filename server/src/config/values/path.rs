//! Paths of files and folders.

use std::ffi::OsStr;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;

use super::{Codec, Put, Reason, only};

/// A path, or nothing when it is empty.
#[derive(Debug)]
pub(in crate::config) struct OptionalPath;

impl Codec<Option<PathBuf>> for OptionalPath {
    fn parse(&self, words: &[&[u8]], _: &Option<PathBuf>, _: Put) -> Result<Option<PathBuf>, Reason> {
        let word = only(words);
        Ok((!word.is_empty()).then(|| PathBuf::from(OsStr::from_bytes(word))))
    }

    fn print(&self, value: &Option<PathBuf>) -> Vec<u8> {
        value.as_ref().map_or_else(Vec::new, |path| path.as_os_str().as_bytes().to_vec())
    }

    fn kind(&self) -> String {
        "path".to_owned()
    }
}

/// A folder; printed as an absolute path, as redis does.
#[derive(Debug)]
pub(in crate::config) struct Folder;

impl Codec<PathBuf> for Folder {
    fn parse(&self, words: &[&[u8]], _: &PathBuf, _: Put) -> Result<PathBuf, Reason> {
        let word = only(words);
        if word.is_empty() {
            return Err(Reason::new("No such file or directory"));
        }
        Ok(PathBuf::from(OsStr::from_bytes(word)))
    }

    fn print(&self, value: &PathBuf) -> Vec<u8> {
        let path = std::path::absolute(value).unwrap_or_else(|_| value.clone());
        let tidy: PathBuf = path.components().collect();
        tidy.into_os_string().into_vec()
    }

    fn show(&self, value: &PathBuf) -> String {
        value.display().to_string()
    }

    fn kind(&self) -> String {
        "path".to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{parse, round_trips};
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_folder_is_printed_as_an_absolute_path() {
        let printed = Folder.print(&PathBuf::from("data"));
        assert!(printed.starts_with(b"/") && printed.ends_with(b"/data"));
        assert_eq!(Folder.print(&PathBuf::from("/var/lib/x/")), b"/var/lib/x");
        let current = PathBuf::from("/");
        assert_eq!(parse(&Folder, &current, "").unwrap_err(), "No such file or directory");
    }

    proptest! {
        #[test]
        fn paths_round_trip(bytes in prop::collection::vec(1u8.., 0..30)) {
            let path = (!bytes.is_empty()).then(|| PathBuf::from(OsStr::from_bytes(&bytes)));
            round_trips(&OptionalPath, &None, &path);
        }
    }
}
