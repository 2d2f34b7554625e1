//! The options of a SORT, and its patterns.

use emberkv_resp::schema::CommandId;
use emberkv_resp::{Args, format};

use super::Wanted;
use crate::collections::Type;
use crate::stop::Stop;
use crate::transact::Strings;

/// By what elements are sorted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum By<'a> {
    Elements,
    /// They stay as they are.
    Nothing,
    /// By what the keys hold that this makes of them.
    Pattern(Pattern<'a>),
}

/// What is made of an element.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Pattern<'a> {
    /// Itself.
    Element,
    /// What a pattern finds that has no place for the element.
    Nothing,
    /// What a key holds, or a field of it.
    Key { before: &'a [u8], behind: &'a [u8], field: Option<&'a [u8]> },
}

impl<'a> Pattern<'a> {
    fn parse(text: &'a [u8]) -> Self {
        if text == b"#" {
            return Self::Element;
        }
        let Some(star) = text.iter().position(|byte| *byte == b'*') else { return Self::Nothing };
        let (before, rest) = (&text[..star], &text[star + 1..]);
        // an arrow with nothing behind it belongs to the key
        let arrow = rest.windows(2).position(|pair| pair == b"->").filter(|at| at + 2 < rest.len());
        match arrow {
            Some(at) => Self::Key { before, behind: &rest[..at], field: Some(&rest[at + 2..]) },
            None => Self::Key { before, behind: rest, field: None },
        }
    }

    /// What has to be looked up for these elements, if anything.
    pub fn wanted<'e>(self, elements: impl Iterator<Item = &'e [u8]>) -> Option<Wanted> {
        let Self::Key { before, behind, field } = self else { return None };
        let mut keys = Strings::default();
        elements.for_each(|element| keys.push(&[before, element, behind].concat()));
        Some(Wanted { keys, field: field.map(Into::into) })
    }
}

/// A SORT.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Sort<'a> {
    by: By<'a>,
    /// How many are left out, and how many follow; fewer than none: all.
    pub(super) limit: (i64, i64),
    pub(super) gets: Vec<Pattern<'a>>,
    pub(super) descending: bool,
    alpha: bool,
    /// Where the result is put.
    pub to: Option<&'a [u8]>,
}

impl<'a> Sort<'a> {
    /// Reads one. Who may not read all keys may not name some by their patterns.
    ///
    /// # Errors
    /// If it is none.
    pub fn parse(id: CommandId, args: Args<'a>, may_read_all: bool) -> Result<Self, Stop> {
        let denied = |option: &str| {
            Stop::Error(format!("ERR {option} option of SORT denied due to insufficient ACL permissions.").into())
        };
        let mut sort =
            Self { by: By::Elements, limit: (0, -1), gets: Vec::new(), descending: false, alpha: false, to: None };
        let mut stays = false;
        let mut words = args.from(2).iter();
        while let Some(word) = words.next() {
            let is = |name: &[u8]| word.eq_ignore_ascii_case(name);
            if is(b"asc") {
                sort.descending = false;
            } else if is(b"desc") {
                sort.descending = true;
            } else if is(b"alpha") {
                sort.alpha = true;
            } else if is(b"limit")
                && words.len() >= 2
                && let (Some(first), Some(count)) = (words.next(), words.next())
            {
                let number = |text| format::parse_integer(text).ok_or(Stop::NOT_AN_INTEGER);
                sort.limit = (number(first)?, number(count)?);
            } else if id == CommandId::Sort && is(b"store") && words.len() >= 1 {
                sort.to = words.next();
            } else if is(b"by")
                && let Some(pattern) = words.next()
            {
                if !pattern.contains(&b'*') {
                    stays = true;
                } else if may_read_all {
                    sort.by = By::Pattern(Pattern::parse(pattern));
                } else {
                    return Err(denied("BY"));
                }
            } else if is(b"get")
                && let Some(pattern) = words.next()
            {
                if !may_read_all {
                    return Err(denied("GET"));
                }
                sort.gets.push(Pattern::parse(pattern));
            } else {
                return Err(Stop::SYNTAX);
            }
        }
        if stays {
            sort.by = By::Nothing; // wherever else it has another one
        }
        Ok(sort)
    }

    /// Whether it reads keys that its elements name.
    pub fn has_patterns(&self) -> bool {
        let is_key = |pattern: &Pattern<'_>| matches!(pattern, Pattern::Key { .. });
        matches!(self.by, By::Pattern(_)) || self.gets.iter().any(is_key)
    }

    /// By what it sorts what is of this type. A set has no order to leave it in that would be the same anywhere, so one that is stored is sorted.
    pub(super) fn by(&self, kind: Option<Type>) -> By<'a> {
        if self.by == By::Nothing && self.is_set_to_store(kind) { By::Elements } else { self.by }
    }

    /// Whether it compares texts, and no numbers.
    pub(super) fn compares_texts(&self, kind: Option<Type>) -> bool {
        self.alpha || self.by == By::Nothing && self.is_set_to_store(kind)
    }

    fn is_set_to_store(&self, kind: Option<Type>) -> bool {
        kind == Some(Type::Set) && self.to.is_some()
    }
}

/// What a user who may not read all keys is told of a SORT by patterns, or one that gets what they name.
pub fn sort_refusal(id: CommandId, args: Args<'_>) -> Option<Stop> {
    // what else is wrong with it, it says itself
    let refusal = Sort::parse(id, args, false).err()?;
    matches!(&refusal, Stop::Error(text) if text.contains("insufficient ACL")).then_some(refusal)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_name_keys_and_fields() {
        let key = |before, behind, field| Pattern::Key { before, behind, field };
        for (text, pattern) in [
            (&b"#"[..], Pattern::Element),
            (b"##", Pattern::Nothing),
            (b"key", Pattern::Nothing),
            (b"*", key(b"", b"", None)),
            (b"a*b*c", key(b"a", b"b*c", None)),
            (b"a*b->f", key(b"a", b"b", Some(b"f"))),
            (b"a*->", key(b"a", b"->", None)),
            (b"a->b*->f->g", key(b"a->b", b"", Some(b"f->g"))),
        ] {
            assert_eq!(Pattern::parse(text), pattern, "{text:?}");
        }
    }
}
