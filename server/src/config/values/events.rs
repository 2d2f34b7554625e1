//! `notify-keyspace-events`: letters, each for a class of events.

use super::{Codec, Put, Reason, only};

/// In the order in which they are printed. `A` stands for all up to `d`.
const CLASSES: &[u8] = b"g$lshzxetdnoc";
const ALL: &[u8] = b"g$lshzxetd";
/// Printed behind them.
const OTHERS: &[u8] = b"KEm";

/// Which keyspace events are published.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct KeyspaceEvents(u16);

fn bit(letter: u8) -> Option<u16> {
    let place = CLASSES.iter().chain(OTHERS).position(|other| *other == letter)?;
    Some(1 << place)
}

impl KeyspaceEvents {
    /// Whether a class is among them, by its letter; or whether they are published by key (`K`), or by event (`E`).
    #[must_use]
    pub fn contains(self, letter: u8) -> bool {
        bit(letter).is_some_and(|bit| self.0 & bit != 0)
    }

    /// Whether any event may be published.
    #[must_use]
    pub fn is_on(self) -> bool {
        (self.contains(b'K') || self.contains(b'E')) && CLASSES.iter().chain(b"m").any(|class| self.contains(*class))
    }
}

/// Reads and prints them.
#[derive(Debug)]
pub(in crate::config) struct EventClasses;

impl Codec<KeyspaceEvents> for EventClasses {
    fn parse(&self, words: &[&[u8]], _: &KeyspaceEvents, _: Put) -> Result<KeyspaceEvents, Reason> {
        let wrong = || Reason::new("Invalid event class character. Use 'Ag$lshzxeKEtmdn'.");
        let mut events = KeyspaceEvents::default();
        for letter in only(words) {
            let letters = if *letter == b'A' { ALL } else { std::slice::from_ref(letter) };
            for letter in letters {
                events.0 |= bit(*letter).ok_or_else(wrong)?;
            }
        }
        Ok(events)
    }

    fn print(&self, value: &KeyspaceEvents) -> Vec<u8> {
        let has = |letter: &u8| value.contains(*letter);
        let mut text: Vec<u8> =
            if ALL.iter().all(has) { vec![b'A'] } else { CLASSES.iter().copied().filter(has).collect() };
        text.extend(OTHERS.iter().copied().filter(has));
        text
    }

    fn kind(&self) -> String {
        "classes".to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::parse;
    use super::*;

    #[test]
    fn classes_are_printed_in_redis_order() {
        for (given, printed) in [
            ("", ""),
            ("KEA", "AKE"),
            ("KEmn", "nKEm"),
            ("KEg$x", "g$xKE"),
            ("KElshztd", "lshztdKE"),
            ("KEAmnoc", "AKEm"),
            ("KEo", "oKE"),
        ] {
            let events = parse(&EventClasses, &KeyspaceEvents::default(), given).unwrap();
            assert_eq!(String::from_utf8(EventClasses.print(&events)).unwrap(), printed);
        }
        let reason = parse(&EventClasses, &KeyspaceEvents::default(), "KEQ").unwrap_err();
        assert_eq!(reason, "Invalid event class character. Use 'Ag$lshzxeKEtmdn'.");
    }

    #[test]
    fn nothing_is_published_without_a_class_or_without_a_kind_of_channel() {
        let is_on = |text| parse(&EventClasses, &KeyspaceEvents::default(), text).unwrap().is_on();
        assert!(is_on("Kg") && is_on("EA") && !is_on("A") && !is_on("KE") && is_on("Em"));
    }
}
