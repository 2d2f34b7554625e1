//! A user.

use super::password::Hash;
use super::rule::RuleError;
use super::selector::{Denied, Selector};
use emberkv_resp::Args;
use emberkv_resp::schema::Command;

/// See the module.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct User {
    pub name: Vec<u8>,
    is_enabled: bool,
    /// Any password will do.
    needs_none: bool,
    /// Of RESTORE's payloads, which are always checked here: kept, and shown.
    skips_sanitizing: bool,
    passwords: Vec<Hash>,
    /// The first one is the user's own; the others are in brackets.
    selectors: Vec<Selector>,
    /// Whether one of them forbids nothing.
    is_unrestricted: bool,
}

impl User {
    /// One who may do nothing, and can't come in.
    pub fn new(name: &[u8], all_channels: bool) -> Self {
        Self {
            name: name.to_vec(),
            is_enabled: false,
            needs_none: false,
            skips_sanitizing: false,
            passwords: Vec::new(),
            selectors: vec![Selector::new(all_channels)],
            is_unrestricted: false,
        }
    }

    /// One who may do everything, and needs no password.
    pub fn everything(name: &[u8]) -> Self {
        Self {
            is_enabled: true,
            needs_none: true,
            selectors: vec![Selector::everything()],
            is_unrestricted: true,
            ..Self::new(name, true)
        }
    }

    /// Does what rules say, all of them or none. `all_channels`: what new selectors begin with.
    ///
    /// # Errors
    /// The first rule that is wrong, by its number, and why.
    pub fn apply_all(&mut self, rules: &[Vec<u8>], all_channels: bool) -> Result<(), (usize, RuleError)> {
        let mut next = self.clone();
        for (i, rule) in rules.iter().enumerate() {
            next.apply(rule, all_channels).map_err(|error| (i, error))?;
        }
        *self = next;
        Ok(())
    }

    /// Does what a rule says.
    pub fn apply(&mut self, rule: &[u8], all_channels: bool) -> Result<(), RuleError> {
        match rule.to_ascii_lowercase().as_slice() {
            b"" => {}
            b"on" => self.is_enabled = true,
            b"off" => self.is_enabled = false,
            b"nopass" => (self.needs_none, self.passwords) = (true, Vec::new()),
            b"resetpass" => (self.needs_none, self.passwords) = (false, Vec::new()),
            b"skip-sanitize-payload" => self.skips_sanitizing = true,
            b"sanitize-payload" => self.skips_sanitizing = false,
            b"clearselectors" => self.selectors.truncate(1),
            b"reset" => *self = Self::new(&self.name, all_channels),
            _ => match rule {
                [b'>', password @ ..] => self.add_password(Hash::of(password)),
                [b'#', hash @ ..] => self.add_password(Hash::parse(hash).ok_or(RuleError::Hash)?),
                [b'<', password @ ..] => self.remove_password(&Hash::of(password))?,
                [b'!', hash @ ..] => self.remove_password(&Hash::parse(hash).ok_or(RuleError::Hash)?)?,
                [b'(', rules @ .., b')'] => self.selectors.push(Selector::parse(rules, all_channels)?),
                rule => self.selectors[0].apply(rule)?,
            },
        }
        self.is_unrestricted = self.selectors.iter().any(Selector::is_unrestricted);
        Ok(())
    }

    fn add_password(&mut self, hash: Hash) {
        if !self.passwords.contains(&hash) {
            self.passwords.push(hash);
        }
        self.needs_none = false;
    }

    fn remove_password(&mut self, hash: &Hash) -> Result<(), RuleError> {
        let i = self.passwords.iter().position(|other| other == hash).ok_or(RuleError::NoSuchPassword)?;
        self.passwords.remove(i);
        Ok(())
    }

    /// The password is this one from now on; none if that is empty.
    pub fn set_password(&mut self, password: &[u8]) {
        self.passwords.clear();
        self.needs_none = password.is_empty();
        if !password.is_empty() {
            self.passwords.push(Hash::of(password));
        }
    }

    pub fn is_enabled(&self) -> bool {
        self.is_enabled
    }

    /// Whether who has not said who they are may be this user.
    pub fn is_open(&self) -> bool {
        self.is_enabled && self.needs_none
    }

    /// Whether no password is asked for.
    pub fn needs_no_password(&self) -> bool {
        self.needs_none
    }

    /// Whether it may come in with this password.
    pub fn is_let_in_with(&self, password: &[u8]) -> bool {
        let given = Hash::of(password);
        // all are compared, whichever it is
        let is_one = self.passwords.iter().fold(false, |is_one, own| is_one | own.is_equal_to(&given));
        self.is_enabled && (self.needs_none || is_one)
    }

    /// Whether nothing is forbidden.
    pub fn is_unrestricted(&self) -> bool {
        self.is_unrestricted
    }

    /// Whether a request is permitted, and if not, why.
    pub fn check(&self, command: &'static Command, args: Args<'_>) -> Result<(), Denied> {
        let mut denied = Denied::Command;
        for selector in &self.selectors {
            match selector.check(command, args) {
                Ok(()) => return Ok(()),
                Err(why) => denied = denied.max(why),
            }
        }
        Err(denied)
    }

    /// Whether what permits a request permits to read any key too.
    pub fn may_read_all(&self, command: &'static Command, args: Args<'_>) -> bool {
        self.selectors.iter().any(|selector| selector.permits_all_reads() && selector.check(command, args).is_ok())
    }

    /// Whether a channel, or a pattern of channels as it is written, is permitted.
    pub fn permits_channel(&self, name: &[u8], is_pattern: bool) -> bool {
        self.selectors.iter().any(|selector| selector.permits_channel(name, is_pattern))
    }

    /// What is said of it besides passwords and permissions.
    pub fn flags(&self) -> Vec<&'static str> {
        let mut flags = vec![if self.is_enabled { "on" } else { "off" }];
        flags.extend(self.needs_none.then_some("nopass"));
        flags.push(if self.skips_sanitizing { "skip-sanitize-payload" } else { "sanitize-payload" });
        flags
    }

    /// The passwords' hashes.
    pub fn passwords(&self) -> impl ExactSizeIterator<Item = String> {
        self.passwords.iter().map(ToString::to_string)
    }

    /// Its own permissions, then those in brackets.
    pub fn selectors(&self) -> (&Selector, &[Selector]) {
        (&self.selectors[0], &self.selectors[1..])
    }

    /// A line that makes it: `user name rules...`.
    pub fn describe(&self) -> Vec<u8> {
        let mut words = vec![b"user".to_vec(), self.name.clone()];
        words.extend(self.flags().into_iter().map(|flag| flag.as_bytes().to_vec()));
        words.extend(self.passwords.iter().map(|hash| format!("#{hash}").into_bytes()));
        let (own, others) = self.selectors();
        words.push(own.describe());
        words.extend(others.iter().map(|other| [b"(".to_vec(), other.describe(), b")".to_vec()].concat()));
        words.join(&b' ')
    }
}

/// Puts the words of selectors together that a space has parted: `(+get`, `~a)`.
///
/// # Errors
/// The number of the word whose bracket is never closed.
pub(crate) fn merge_selectors<'a>(words: impl Iterator<Item = &'a [u8]>) -> Result<Vec<Vec<u8>>, usize> {
    let mut merged = Vec::new();
    let mut open: Option<(usize, Vec<u8>)> = None;
    for (i, word) in words.enumerate() {
        match open.take() {
            None if word.first() == Some(&b'(') && word.last() != Some(&b')') => open = Some((i, word.to_vec())),
            None => merged.push(word.to_vec()),
            Some((from, text)) => {
                let text = [&text, b" ".as_slice(), word].concat();
                if word.last() == Some(&b')') {
                    merged.push(text);
                } else {
                    open = Some((from, text));
                }
            }
        }
    }
    match open {
        Some((from, _)) => Err(from),
        None => Ok(merged),
    }
}
