//! Keys that were seen, to complete others from.

use emberkv_resp::schema::{Begin, Command, Find, lookup};

use crate::value::Value;

/// More would not be looked at.
const MOST_KEYS: usize = 2000;

/// Those seen last, the latest at the end.
#[derive(Default)]
pub(super) struct SeenKeys(Vec<String>);

impl SeenKeys {
    /// The latest first.
    pub(super) fn latest(&self) -> impl Iterator<Item = &str> {
        self.0.iter().rev().map(String::as_str)
    }

    /// Remembers the keys of a command, and those that it was answered with.
    pub(super) fn note(&mut self, words: &[Vec<u8>], reply: &Value) {
        let Some(command) = words.first().and_then(|name| lookup(name)) else { return };
        match (command.name, reply) {
            ("keys", Value::Array(keys)) => self.add_all(keys),
            ("randomkey", Value::Text(key)) => self.add(key),
            ("scan", Value::Array(parts)) => {
                if let Some(Value::Array(keys)) = parts.get(1) {
                    self.add_all(keys);
                }
            }
            // what was refused may be a mistyped name.
            (_, Value::Error(_)) => {}
            _ => {
                let keys = words.iter().enumerate().filter(|(at, _)| is_key(command, *at));
                keys.for_each(|(_, key)| self.add(key));
            }
        }
    }

    fn add_all(&mut self, keys: &[Value]) {
        keys.iter().filter_map(Value::text).take(MOST_KEYS).for_each(|key| self.add(key));
    }

    fn add(&mut self, key: &[u8]) {
        // one that can't be shown as it is can't be completed either.
        let Ok(key) = std::str::from_utf8(key) else { return };
        if key.is_empty() || key.chars().any(char::is_control) {
            return;
        }
        if let Some(at) = self.0.iter().position(|known| known == key) {
            self.0.remove(at);
        } else if self.0.len() == MOST_KEYS {
            self.0.remove(0);
        }
        self.0.push(key.to_owned());
    }
}

/// Whether the word at this place (the command's name is at 0) is a key, as far as is known before the line is finished.
pub(super) fn is_key(command: &Command, at: usize) -> bool {
    command.keys.iter().any(|spec| {
        let Begin::At(begin) = spec.begin else { return false };
        let begin = usize::from(begin);
        match spec.find {
            Find::Unknown => false,
            _ if at < begin => false,
            Find::Range { last, step, .. } => {
                let within = usize::try_from(last).map_or(true, |last| at <= begin + last);
                within && (at - begin).is_multiple_of(usize::from(step.max(1)))
            }
            Find::Counted { first, step, .. } => {
                let first = begin + usize::from(first);
                at >= first && (at - first).is_multiple_of(usize::from(step.max(1)))
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(lines: &[(&str, &str)]) -> Vec<String> {
        let mut keys = SeenKeys::default();
        for (line, reply) in lines {
            let reply = Value::read(&mut reply.as_bytes()).unwrap();
            keys.note(&crate::quote::split(line.as_bytes()).unwrap(), &reply);
        }
        keys.latest().map(str::to_owned).collect()
    }

    #[test]
    fn keys_are_where_the_schema_says() {
        let places = |name: &str| {
            let command = lookup(name.as_bytes()).unwrap();
            (0..6).filter(|at| is_key(command, *at)).collect::<Vec<_>>()
        };
        assert_eq!(places("get"), [1]);
        assert_eq!(places("mset"), [1, 3, 5]);
        assert_eq!(places("del"), [1, 2, 3, 4, 5]);
        assert!(places("ping").is_empty());
    }

    #[test]
    fn keys_are_seen_in_commands_and_replies_the_latest_first() {
        let ok = "+OK\r\n";
        assert_eq!(seen(&[("set a 1", ok), ("mset b 1 c 2", ok), ("get a", "$1\r\n1\r\n")]), ["a", "c", "b"]);
        assert_eq!(seen(&[("keys *", "*2\r\n$1\r\nx\r\n$1\r\ny\r\n")]), ["y", "x"]);
        assert_eq!(seen(&[("scan 0", "*2\r\n$1\r\n0\r\n*1\r\n$1\r\nz\r\n")]), ["z"]);
        assert_eq!(seen(&[("get a", "-ERR no\r\n"), ("nosuch a", ok), ("set \"\\x01\" 1", ok)]), [""; 0]);
    }
}
