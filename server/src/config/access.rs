//! CONFIG GET and CONFIG SET.

use std::borrow::Cow;

use emberkv_resp::glob;

use super::foreign::{self, Foreign};
use super::table::{Config, DIRECTIVES, Directive, Field, When};
use super::values::{Put, Reason, split_list};

/// A directive that is known: one that means something here, or one of redis's others.
#[derive(Clone, Copy)]
pub(super) enum Known {
    Own(&'static Directive),
    Foreign(&'static Foreign),
}

impl Known {
    /// Every directive, in the order in which CONFIG GET lists them.
    pub(super) fn all() -> impl Iterator<Item = Self> {
        DIRECTIVES.iter().map(Self::Own).chain(foreign::rows().map(Self::Foreign))
    }

    /// The directive of this name or alias, in any case.
    pub fn find(name: &[u8]) -> Option<Self> {
        let is_it = |known: &Self| known.names().any(|own| own.as_bytes().eq_ignore_ascii_case(name));
        Self::all().find(is_it)
    }

    pub fn name(self) -> &'static str {
        match self {
            Self::Own(row) => row.name,
            Self::Foreign(row) => row.name,
        }
    }

    fn names(self) -> impl Iterator<Item = &'static str> {
        let aliases = match self {
            Self::Own(row) => row.aliases,
            Self::Foreign(row) => row.aliases,
        };
        std::iter::once(self.name()).chain(aliases.iter().copied())
    }

    fn when(self) -> When {
        match self {
            Self::Own(row) => row.when,
            Self::Foreign(row) => row.when,
        }
    }

    pub fn takes_list(self) -> bool {
        match self {
            Self::Own(row) => (row.takes_list)(),
            Self::Foreign(row) => row.kind.takes_list(),
        }
    }

    /// Whether that is one of its names, in any case.
    pub fn has_name(self, name: &[u8]) -> bool {
        self.names().any(|own| own.as_bytes().eq_ignore_ascii_case(name))
    }

    /// The field that it sets, if it means something here.
    pub fn field(self) -> Option<Field> {
        match self {
            Self::Own(row) => Some(row.field),
            Self::Foreign(_) => None,
        }
    }

    pub fn get(self, config: &Config) -> Vec<u8> {
        match self {
            Self::Own(row) => (row.get)(config),
            Self::Foreign(row) => config.given.get(row),
        }
    }
}

/// The fields that a CONFIG SET changed, for the server to act on.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Changes(Vec<Field>);

impl Changes {
    /// Whether `field` has another value now.
    #[must_use]
    pub fn contains(&self, field: Field) -> bool {
        self.0.contains(&field)
    }

    /// Whether nothing has changed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The fields, in the order in which they were set.
    pub fn iter(&self) -> impl Iterator<Item = Field> {
        self.0.iter().copied()
    }
}

/// Why a CONFIG SET changed nothing. Displays as redis's whole error reply, from `ERR` on,
/// without the line end; line ends in what the client sent become spaces, as in redis.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SetError {
    /// No such directive.
    #[error("ERR Unknown option or number of arguments for CONFIG SET - '{0}'")]
    Unknown(String),
    /// The value was refused, or the directive can't be set at all.
    #[error("ERR CONFIG SET failed (possibly related to argument '{name}') - {reason}")]
    Failed {
        /// The directive, as the client wrote it.
        name: String,
        /// Why.
        reason: Reason,
    },
}

impl SetError {
    /// The error for a value that is right but could not be put into effect.
    pub fn failed(name: &[u8], reason: impl Into<Cow<'static, str>>) -> Self {
        Self::Failed { name: one_line(name), reason: Reason::new(reason) }
    }
}

impl Config {
    /// How many cores serve.
    #[must_use]
    pub fn cores(&self) -> u16 {
        if self.cores > 0 {
            return self.cores;
        }
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        u16::try_from(processors).unwrap_or(u16::MAX).min(1024)
    }

    /// What CONFIG GET answers: name and value of each directive that a pattern matches, none
    /// twice. A pattern without `*?[` is a name, which comes back in the letters of the client,
    /// as in redis; a directive with an alias is there under both names.
    #[must_use]
    pub fn get(&self, patterns: &[&[u8]]) -> Vec<(Cow<'static, str>, Vec<u8>)> {
        let mut found: Vec<(Cow<'static, str>, Vec<u8>)> = Vec::new();
        for pattern in patterns {
            let is_name = !pattern.iter().any(|byte| b"*?[".contains(byte));
            for known in Known::all().filter(|known| known.when() != When::FileOnly) {
                for name in known.names() {
                    let is_match = if is_name {
                        name.as_bytes().eq_ignore_ascii_case(pattern)
                    } else {
                        glob::matches_ignore_case(pattern, name.as_bytes())
                    };
                    if !is_match || found.iter().any(|(seen, _)| seen.eq_ignore_ascii_case(name)) {
                        continue;
                    }
                    let name = if is_name {
                        Cow::Owned(String::from_utf8_lossy(pattern).into_owned())
                    } else {
                        Cow::Borrowed(name)
                    };
                    found.push((name, known.get(self)));
                }
            }
        }
        found
    }

    /// What CONFIG SET does with these names and values: all of them or none. Returns the
    /// fields that have other values now. A caller that can't put one of them into effect keeps
    /// a clone of the configuration from before and restores it.
    ///
    /// # Errors
    /// [`SetError`], and nothing is changed.
    pub fn set(&mut self, pairs: &[(&[u8], &[u8])]) -> Result<Changes, SetError> {
        let mut targets: Vec<Known> = Vec::with_capacity(pairs.len());
        for (name, _) in pairs {
            let known = Known::find(name).filter(|known| known.when() != When::FileOnly);
            let Some(known) = known else {
                return Err(SetError::Unknown(one_line(name)));
            };
            match known.when() {
                When::Runtime | When::FileOnly => {}
                When::Start => return Err(SetError::failed(name, "can't set immutable config")),
                When::Protected => {
                    return Err(SetError::failed(name, "can't set protected config"));
                }
            }
            if targets.iter().any(|target| target.name() == known.name()) {
                return Err(SetError::failed(name, "duplicate parameter"));
            }
            targets.push(known);
        }
        let mut next = self.clone();
        let mut changes = Changes::default();
        for (known, (name, value)) in targets.into_iter().zip(pairs) {
            let words = if known.takes_list() { split_list(value) } else { vec![*value] };
            let failed = |reason| SetError::Failed { name: one_line(name), reason };
            match known {
                Known::Own(row) => {
                    if (row.set)(&mut next, &words, Put::Replace).map_err(failed)? {
                        changes.0.push(row.field);
                    }
                }
                Known::Foreign(row) => next.given.set(row, &words).map(|_| ()).map_err(failed)?,
            }
        }
        *self = next;
        Ok(changes)
    }
}

/// What a client sent, fit to stand in a reply of one line.
fn one_line(text: &[u8]) -> String {
    let text = String::from_utf8_lossy(text);
    text.replace(['\r', '\n'], " ")
}

#[cfg(test)]
mod tests;
