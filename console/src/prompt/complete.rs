//! What the tab key offers: commands, subcommands, options and keys, also for letters that only occur in them in order.

use emberkv_resp::schema::{COMMANDS, CommandId};

use super::hint::{Left, command};
use super::keys::{SeenKeys, is_key};
use crate::quote::{quote, split};

/// What is offered at most.
const MOST: usize = 100;

/// The groups of the table, as `help @` takes them.
pub(super) fn groups() -> Vec<String> {
    let mut names: Vec<String> = COMMANDS.iter().map(|command| format!("@{}", command.group.name())).collect();
    names.sort();
    names.dedup();
    names
}

/// Where the word at the end of the line begins, and what it may become.
pub(super) fn complete(line: &str, keys: &SeenKeys) -> (usize, Vec<String>) {
    let start = line.rfind(|letter: char| letter.is_ascii_whitespace()).map_or(0, |at| at + 1);
    let (before, typed) = line.split_at(start);
    // within quotes a space is no end of a word; there is nothing to offer.
    let Ok(words) = split(before.as_bytes()) else { return (start, Vec::new()) };
    let offers = match words.first() {
        None => best(typed, names().chain(["help".into(), "clear".into(), "exit".into()])),
        Some(first) if words.len() == 1 && (first.eq_ignore_ascii_case(b"help") || first == b"?") => {
            best(typed, names().chain(groups()))
        }
        Some(_) => best(typed, arguments(&words, keys).into_iter()),
    };
    (start, offers)
}

fn names() -> impl Iterator<Item = String> {
    COMMANDS.iter().filter(|command| !command.is_subcommand()).map(|command| command.name.to_ascii_uppercase())
}

fn arguments(words: &[Vec<u8>], keys: &SeenKeys) -> Vec<String> {
    let Some((command, used)) = command(words) else {
        // not one of ours: the server may know it, and most take a key.
        return keys.latest().map(show_key).collect();
    };
    if used == 1 && words.len() == 1 && !command.subcommands.is_empty() {
        let subcommand = |id: &CommandId| {
            let name = id.command().name;
            name.split_once('|').map_or(name, |(_, name)| name).to_ascii_uppercase()
        };
        return command.subcommands.iter().map(subcommand).collect();
    }
    let tokens = Left::after(command, &words[used..]).tokens();
    let mut offers: Vec<String> = tokens.into_iter().map(str::to_owned).collect();
    if is_key(command, words.len()) {
        offers.extend(keys.latest().map(show_key));
    }
    offers
}

fn show_key(key: &str) -> String {
    if key.contains(|letter: char| letter.is_ascii_whitespace() || letter == '"' || letter == '\'') {
        quote(key.as_bytes())
    } else {
        key.to_owned()
    }
}

/// Those that match, the best first, in the case that was typed.
fn best(typed: &str, all: impl Iterator<Item = String>) -> Vec<String> {
    let mut found: Vec<(u32, String)> = all.filter_map(|offer| Some((distance(typed, &offer)?, offer))).collect();
    // stable: what was offered first stays first among equals.
    found.sort_by_key(|(distance, _)| *distance);
    found.truncate(MOST);
    let is_lower = typed.contains(|letter: char| letter.is_ascii_lowercase());
    let is_word = |offer: &str| !offer.contains(|letter: char| letter.is_ascii_lowercase());
    let adapt = |offer: String| if is_lower && is_word(&offer) { offer.to_ascii_lowercase() } else { offer };
    found.into_iter().map(|(_, offer)| adapt(offer)).collect()
}

/// 0: it begins so; then: it contains it; then: its letters occur in order, with gaps.
fn distance(typed: &str, offer: &str) -> Option<u32> {
    let (typed, offer) = (typed.to_ascii_lowercase(), offer.to_ascii_lowercase());
    if offer.starts_with(&typed) {
        return Some(0);
    }
    if let Some(at) = offer.find(&typed) {
        return Some(1 + at.min(90) as u32);
    }
    let (mut gaps, mut rest) = (0, offer.as_str());
    for letter in typed.chars() {
        let at = rest.find(letter)?;
        gaps += at as u32;
        rest = &rest[at + letter.len_utf8()..];
    }
    Some(100 + gaps)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::value::Value;

    fn offers(line: &str) -> Vec<String> {
        let mut keys = SeenKeys::default();
        for key in ["user:1", "user:2", "a b"] {
            keys.note(&[b"get".to_vec(), key.into()], &Value::Nil);
        }
        complete(line, &keys).1
    }

    #[test]
    fn what_begins_so_comes_first_then_what_has_the_letters() {
        assert_eq!(offers("getd")[0], "getdel");
        assert_eq!(offers("GETD")[0], "GETDEL");
        assert_eq!(offers("ibf")[0], "incrbyfloat");
        let ge = offers("ge");
        assert!(ge[0].starts_with("ge") && ge.iter().any(|name| name == "mget"), "{ge:?}");
        assert_eq!(offers("zzz"), [""; 0]);
    }

    #[test]
    fn arguments_are_subcommands_options_and_keys() {
        assert_eq!(offers("config se")[0], "set");
        assert_eq!(offers("set k v N")[0], "NX");
        assert_eq!(offers("get u"), ["user:2", "user:1"]);
        assert_eq!(offers("get a"), ["\"a b\""]);
        assert_eq!(offers("del x 1"), ["user:1"]);
        assert_eq!(offers("set k "), [""; 0], "a value is not guessed");
        assert_eq!(offers("hget us")[0], "user:2", "of commands that only the server knows");
        assert_eq!(offers("set \"k v"), [""; 0]);
        assert!(offers("help @").contains(&"@string".to_owned()));
    }

    #[test]
    fn the_place_is_where_the_word_begins() {
        assert_eq!(complete("set ab", &SeenKeys::default()).0, 4);
        assert_eq!(complete("", &SeenKeys::default()).0, 0);
    }
}
