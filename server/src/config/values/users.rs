//! `user`: what a user may do, a line for each.

use std::fmt;

use super::{Codec, Put, Reason};
use crate::acl::{RuleError, User, has_space, merge_selectors};

/// A `user` line.
#[derive(Clone, PartialEq, Eq)]
pub struct UserLine {
    pub(crate) name: Vec<u8>,
    pub(crate) rules: Vec<Vec<u8>>,
}

impl fmt::Debug for UserLine {
    /// Its name only: there may be passwords among the rules.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "UserLine({})", String::from_utf8_lossy(&self.name))
    }
}

/// Reads `user` lines.
#[derive(Debug)]
pub(in crate::config) struct UserLines;

impl Codec<Vec<UserLine>> for UserLines {
    fn parse(&self, words: &[&[u8]], current: &Vec<UserLine>, put: Put) -> Result<Vec<UserLine>, Reason> {
        let mut lines = if put == Put::Add { current.clone() } else { Vec::new() };
        let [name, rules @ ..] = words else { return Ok(lines) };
        if has_space(name) {
            return Err(Reason::new("Usernames can't contain spaces or null characters"));
        }
        let error = |rule: &[u8], error: RuleError| {
            Reason::new(format!("Error in user declaration '{}': {error}", String::from_utf8_lossy(rule)))
        };
        if lines.iter().any(|line| line.name == *name) {
            return Err(error(name, RuleError::DuplicateUser));
        }
        let rules = merge_selectors(rules.iter().copied())
            .map_err(|open| Reason::new(format!("Unmatched parenthesis in rule {}", open + 1)))?;
        // what new selectors begin with makes no rule right or wrong but a channel pattern, which is wrong behind all channels
        User::new(name, false).apply_all(&rules, false).map_err(|(i, why)| error(&rules[i], why))?;
        lines.push(UserLine { name: name.to_vec(), rules });
        Ok(lines)
    }

    fn print(&self, value: &Vec<UserLine>) -> Vec<u8> {
        let line = |line: &UserLine| [std::slice::from_ref(&line.name), line.rules.as_slice()].concat().join(&b' ');
        value.iter().map(line).collect::<Vec<_>>().join(&b'\n')
    }

    fn kind(&self) -> String {
        "name rules...".to_owned()
    }

    fn takes_list(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(words: &[&str], current: &Vec<UserLine>) -> Result<Vec<UserLine>, String> {
        let words: Vec<&[u8]> = words.iter().map(|word| word.as_bytes()).collect();
        UserLines.parse(&words, current, Put::Add).map_err(|reason| reason.to_string())
    }

    #[test]
    fn each_line_is_a_user_and_none_is_there_twice() {
        let one = parse(&["alice", "on", ">secret", "(+get", "~a)"], &Vec::new()).unwrap();
        assert_eq!(UserLines.print(&one), b"alice on >secret (+get ~a)");
        let two = parse(&["bob"], &one).unwrap();
        assert_eq!(two.len(), 2);
        assert!(parse(&["alice", "off"], &two).unwrap_err().ends_with("only be defined once in config files"));
        assert_eq!(format!("{one:?}"), "[UserLine(alice)]");
    }

    #[test]
    fn what_is_wrong_is_said_in_redis_words() {
        let refused = |words: &[&str]| parse(words, &Vec::new()).unwrap_err();
        assert!(refused(&["a b"]).starts_with("Usernames can't contain spaces"));
        assert!(refused(&["a", "+nosuch"]).ends_with("Unknown command or category name in ACL"));
        assert!(refused(&["a", "(+get"]).starts_with("Unmatched parenthesis"));
    }
}
