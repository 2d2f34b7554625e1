//! Colours.

use std::io::IsTerminal;
use std::ops::Range;

use emberkv_resp::schema::{Argument, Command};

use super::hint::command;

const COMMAND: &str = "\x1b[1;36m";
const UNKNOWN: &str = "\x1b[33m";
const OPTION: &str = "\x1b[36m";
const QUOTED: &str = "\x1b[32m";
/// What is not typed.
pub(super) const DIM: &str = "\x1b[90m";
/// What matters.
pub(super) const BOLD: &str = "\x1b[1m";
/// The end of any of them.
pub(super) const PLAIN: &str = "\x1b[0m";

/// Whether standard output shows colours.
pub(super) fn is_wanted() -> bool {
    let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    std::io::stdout().is_terminal() && !refused
}

/// A line as it is typed.
pub(super) fn line(text: &str) -> String {
    let places = words(text);
    let typed: Vec<&str> = places.iter().map(|place| &text[place.clone()]).collect();
    let found = command(&typed);
    let mut out = String::with_capacity(text.len() + 32);
    let mut at = 0;
    for (number, place) in places.into_iter().enumerate() {
        let word = &text[place.clone()];
        let is_finished = place.end < text.len();
        let colour = match found {
            _ if word.starts_with(['"', '\'']) => QUOTED,
            Some((_, used)) if number < used => COMMAND,
            Some((command, _)) if is_option(command, word) => OPTION,
            // it may still become one; and the server may know more than we do.
            None if number == 0 && is_finished && !is_our_own(word) && word.parse::<u32>().is_err() => UNKNOWN,
            _ => "",
        };
        out.push_str(&text[at..place.start]);
        if colour.is_empty() {
            out.push_str(word);
        } else {
            out.extend([colour, word, PLAIN]);
        }
        at = place.end;
    }
    out.push_str(&text[at..]);
    out
}

fn is_our_own(word: &str) -> bool {
    ["help", "?", "clear", "exit", "quit", "connect", ":set"].contains(&word.to_ascii_lowercase().as_str())
}

fn is_option(command: &Command, word: &str) -> bool {
    fn has(arguments: &[Argument], word: &str) -> bool {
        arguments.iter().any(|argument| {
            argument.token.is_some_and(|token| token.eq_ignore_ascii_case(word)) || has(argument.arguments, word)
        })
    }
    has(command.arguments, word)
}

/// Where words are, quotes included; an open quote goes to the end.
fn words(text: &str) -> Vec<Range<usize>> {
    let mut places = Vec::new();
    let mut start = None;
    let mut quote = None;
    let mut escaped = false;
    for (at, letter) in text.char_indices() {
        match (start, quote) {
            (_, Some(closing)) => {
                if !escaped && letter == closing {
                    quote = None;
                }
                escaped = letter == '\\' && !escaped;
            }
            (None, None) if letter.is_ascii_whitespace() => {}
            (None, None) => {
                start = Some(at);
                quote = Some(letter).filter(|letter| matches!(letter, '"' | '\''));
            }
            (Some(from), None) if letter.is_ascii_whitespace() => {
                places.push(from..at);
                start = None;
            }
            (Some(_), None) => {}
        }
    }
    places.extend(start.map(|from| from..text.len()));
    places
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_coloured_by_what_they_are() {
        let coloured = line("set key \"a b\" ex 10");
        assert_eq!(coloured, format!("{COMMAND}set{PLAIN} key {QUOTED}\"a b\"{PLAIN} {OPTION}ex{PLAIN} 10"));
        assert_eq!(line("config get x"), format!("{COMMAND}config{PLAIN} {COMMAND}get{PLAIN} x"));
        assert_eq!(line("nosuch"), "nosuch");
        assert_eq!(line("nosuch "), format!("{UNKNOWN}nosuch{PLAIN} "));
        assert_eq!(line("help set"), "help set");
    }

    #[test]
    fn colours_change_nothing_else() {
        for text in ["", "  ", " set  a 'it\\'s' ", "set a \"open é", "é è", "'"] {
            let mut plain = line(text);
            for colour in [COMMAND, UNKNOWN, OPTION, QUOTED, PLAIN] {
                plain = plain.replace(colour, "");
            }
            assert_eq!(plain, text);
        }
    }
}
