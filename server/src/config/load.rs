//! Reads the configuration at start: files, what they include, and the command line.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::io::{self, Read};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::access::Known;
use super::include::included_files;
use super::suggest::nearest_name;
use super::table::Config;
use super::values::{Put, Reason, split_list};
use super::words::split_words;

/// How many files may include one another.
const MAX_INCLUDE_DEPTH: usize = 16;

/// Where a directive stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// A line of a file (or of what was read from the standard input).
    Line {
        /// The file, as it was named.
        file: Arc<str>,
        /// Counted from 1.
        line: usize,
    },
    /// The command line.
    CommandLine,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Line { file, line } => write!(f, "{file}:{line}"),
            Self::CommandLine => f.write_str("<command line>"),
        }
    }
}

/// A directive of redis's that was accepted and does nothing here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Warning {
    /// Its name.
    pub directive: &'static str,
    /// Where it was given last.
    pub place: Place,
    /// What emberkv does instead.
    pub note: &'static str,
    /// Whether the value is redis's default, so that nothing special was asked for: a stock
    /// redis.conf has some seventy of those, which deserve no more than one line together.
    pub is_default: bool,
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: '{}' has no effect: {}", self.place, self.directive, self.note)
    }
}

/// Why the configuration can't be used.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// A file can't be read.
    #[error("can't read the configuration file '{}'{}: {source}", path.display(), asked_by(place))]
    Read {
        /// The file.
        path: PathBuf,
        /// Where it is included, or `None` for the command line's own.
        place: Option<Place>,
        /// What the operating system says.
        source: io::Error,
    },
    /// A directive is unknown, or its value is refused.
    #[error("{place}: '{text}': {reason}")]
    Directive {
        /// Where.
        place: Place,
        /// The line, or the directive of the command line with its values.
        text: String,
        /// Why.
        reason: Reason,
    },
}

fn asked_by(place: &Option<Place>) -> String {
    place.as_ref().map_or_else(String::new, |place| format!(", included at {place}"))
}

/// A configuration that is ready for use.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// The configuration.
    pub config: Config,
    /// The file that was named on the command line, as an absolute path.
    pub file: Option<PathBuf>,
    /// What was given and does nothing, each directive once, in the order in which they came.
    pub warnings: Vec<Warning>,
}

/// Reads `[file | -] [--directive value...]...`, the arguments after `emberkv server`; `-` is the
/// standard input. What comes later takes the place of what came before it; `save` lines add up.
///
/// # Errors
/// [`LoadError`] for the first thing that is wrong.
pub fn load(arguments: impl IntoIterator<Item = OsString>) -> Result<Loaded, LoadError> {
    let mut loader = Loader::default();
    let mut arguments: Vec<OsString> = arguments.into_iter().collect();
    let mut file = None;
    if arguments.first().is_some_and(|first| !first.as_bytes().starts_with(b"--")) {
        let path = PathBuf::from(arguments.remove(0));
        if path == Path::new("-") {
            let mut text = Vec::new();
            let read = io::stdin().lock().read_to_end(&mut text);
            read.map_err(|source| LoadError::Read { path, place: None, source })?;
            loader.text("<standard input>", &text)?;
        } else {
            loader.file(&path)?;
            file = Some(std::path::absolute(&path).unwrap_or(path));
        }
    }
    loader.command_line(arguments)?;
    Ok(Loaded { file, ..loader.finish() })
}

/// Puts a configuration together out of several sources.
#[derive(Debug, Default)]
pub struct Loader {
    config: Config,
    warnings: Vec<Warning>,
    /// The lists that were begun: further lines are added to them.
    begun: Vec<&'static str>,
    /// The folders of the files that are being read, the innermost last.
    folders: Vec<PathBuf>,
}

impl Loader {
    /// Reads a file, and what it includes.
    ///
    /// # Errors
    /// [`LoadError`] for the first line that is wrong.
    pub fn file(&mut self, path: &Path) -> Result<(), LoadError> {
        self.included(path, None)
    }

    /// Reads the text of a file; `name` stands for it in errors.
    ///
    /// # Errors
    /// [`LoadError`] for the first line that is wrong.
    pub fn text(&mut self, name: &str, text: &[u8]) -> Result<(), LoadError> {
        let file: Arc<str> = name.into();
        for (at, line) in text.split(|&byte| byte == b'\n').enumerate() {
            let line = line.trim_ascii();
            if line.is_empty() || line.starts_with(b"#") {
                continue;
            }
            let place = Place::Line { file: Arc::clone(&file), line: at + 1 };
            let shown = || String::from_utf8_lossy(line).into_owned();
            let Ok(words) = split_words(line) else {
                let reason = Reason::new("Unbalanced quotes in configuration line");
                return Err(LoadError::Directive { place, text: shown(), reason });
            };
            let words: Vec<&[u8]> = words.iter().map(Vec::as_slice).collect();
            self.directive(&place, &words, shown)?;
        }
        Ok(())
    }

    /// Reads `--directive value...` as often as it comes. A value may start with `--` if it is
    /// the first and no directive's name; `--save` may stand without one, for never.
    ///
    /// # Errors
    /// [`LoadError`] for the first directive that is wrong.
    pub fn command_line(&mut self, arguments: impl IntoIterator<Item = OsString>) -> Result<(), LoadError> {
        let arguments: Vec<Vec<u8>> = arguments.into_iter().map(OsString::into_vec).collect();
        let mut rest = arguments.as_slice();
        while let [first, tail @ ..] = rest {
            let Some(name) = first.strip_prefix(b"--").filter(|name| !name.is_empty()) else {
                let text = String::from_utf8_lossy(first).into_owned();
                let reason = Reason::new("a directive was expected here, such as --port 7000");
                return Err(LoadError::Directive { place: Place::CommandLine, text, reason });
            };
            let is_value = |at: usize, word: &[u8]| match word.strip_prefix(b"--") {
                Some(name) => at == 0 && Known::find(name).is_none(),
                None => true,
            };
            let ends = tail.iter().enumerate().position(|(at, word)| !is_value(at, word));
            let (values, next) = tail.split_at(ends.unwrap_or(tail.len()));
            rest = next;
            let mut words = vec![name];
            // quotes that were protected from the shell, as `--save '""'` needed it once
            words.extend(values.iter().map(|value| if value == b"\"\"" { b"" } else { value.as_slice() }));
            if values.is_empty() && name.eq_ignore_ascii_case(b"save") {
                words.push(b"");
            }
            let shown = || String::from_utf8_lossy(&words.join(&b' ')).into_owned();
            self.directive(&Place::CommandLine, &words, shown)?;
        }
        Ok(())
    }

    /// The configuration as far as it was read.
    #[must_use]
    pub fn finish(self) -> Loaded {
        Loaded { config: self.config, file: None, warnings: self.warnings }
    }

    fn included(&mut self, path: &Path, place: Option<&Place>) -> Result<(), LoadError> {
        let text = std::fs::read(path).map_err(|source| LoadError::Read {
            path: path.to_path_buf(),
            place: place.cloned(),
            source,
        })?;
        self.folders.push(path.parent().unwrap_or(Path::new("")).to_path_buf());
        let result = self.text(&path.display().to_string(), &text);
        self.folders.pop();
        result
    }

    fn directive(&mut self, place: &Place, words: &[&[u8]], shown: impl FnOnce() -> String) -> Result<(), LoadError> {
        let [name, values @ ..] = words else {
            return Ok(());
        };
        let result = if name.eq_ignore_ascii_case(b"include") {
            match values {
                [pattern] if self.folders.len() < MAX_INCLUDE_DEPTH => {
                    return self.include(place, Path::new(OsStr::from_bytes(pattern)));
                }
                [_] => Err(Reason::new("files include one another more than 16 deep")),
                _ => Err(Reason::new("wrong number of arguments")),
            }
        } else {
            match Known::find(name) {
                Some(known) => self.known(place, known, values),
                None => Err(unknown(name)),
            }
        };
        result.map_err(|reason| LoadError::Directive { place: place.clone(), text: shown(), reason })
    }

    fn include(&mut self, place: &Place, pattern: &Path) -> Result<(), LoadError> {
        let folder = self.folders.last().map(PathBuf::as_path);
        let files = included_files(pattern, folder).map_err(|source| LoadError::Read {
            path: pattern.to_path_buf(),
            place: Some(place.clone()),
            source,
        })?;
        files.iter().try_for_each(|file| self.included(file, Some(place)))
    }

    fn known(&mut self, place: &Place, known: Known, values: &[&[u8]]) -> Result<(), Reason> {
        let values = match values {
            [list] if known.takes_list() => split_list(list),
            [_] => values.to_vec(),
            [_, _, ..] if known.takes_list() => values.to_vec(),
            _ => return Err(wrong_number(values)),
        };
        match known {
            Known::Own(row) => {
                let is_begun = self.begun.contains(&row.name);
                let put = if is_begun { Put::Add } else { Put::Replace };
                (row.set)(&mut self.config, &values, put)?;
                if !is_begun && known.takes_list() {
                    self.begun.push(row.name);
                }
            }
            Known::Foreign(row) => {
                let differs = self.config.given.set(row, &values)?;
                self.warnings.retain(|warning| warning.directive != row.name);
                if differs || !row.is_served() {
                    self.warnings.push(Warning {
                        directive: row.name,
                        place: place.clone(),
                        note: row.block().note,
                        is_default: !differs,
                    });
                }
            }
        }
        Ok(())
    }
}

fn wrong_number(values: &[&[u8]]) -> Reason {
    if values.iter().any(|value| value.starts_with(b"#")) {
        return Reason::new("wrong number of arguments (a comment needs a line of its own)");
    }
    Reason::new("wrong number of arguments")
}

fn unknown(name: &[u8]) -> Reason {
    let plain = "bad directive or wrong number of arguments";
    match nearest_name(name) {
        Some(near) => Reason::new(format!("{plain}; did you mean '{near}'?")),
        None => Reason::new(plain),
    }
}

#[cfg(test)]
mod tests;
