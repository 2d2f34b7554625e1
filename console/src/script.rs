//! Commands line by line.

use std::io::BufRead;

use crate::console::{Console, print};
use crate::error::{Error, Result};
use crate::quote::split;
use crate::target::Place;

/// What a line asks for.
#[derive(PartialEq, Eq, Debug)]
pub(crate) enum Line {
    /// Nothing.
    Empty,
    /// A command, so often.
    Run(i64, Vec<Vec<u8>>),
    /// `connect host port`.
    Connect(Place),
    /// `quit` or `exit`.
    Quit,
    /// It can't be understood, and why.
    Wrong(&'static str),
}

/// Takes a line apart. A number before a command says how often.
pub(crate) fn parse(line: &[u8]) -> Line {
    let Ok(mut words) = split(line) else { return Line::Wrong("Invalid argument(s)") };
    let Some(first) = words.first() else { return Line::Empty };
    let is = |name: &[u8]| first.eq_ignore_ascii_case(name);
    if is(b"quit") || is(b"exit") {
        return Line::Quit;
    }
    let text = |index: usize| words.get(index).and_then(|word: &Vec<u8>| std::str::from_utf8(word).ok());
    if is(b"connect") && words.len() == 3 {
        return match (text(1), text(2).and_then(|port| port.parse().ok())) {
            (Some(host), Some(port)) => Line::Connect(Place::Tcp(host.to_owned(), port)),
            _ => Line::Wrong("connect wants a host and a port"),
        };
    }
    match text(0).and_then(|number| number.parse::<i64>().ok()) {
        Some(times) if words.len() > 1 => {
            if times <= 0 {
                return Line::Wrong("the number of repetitions before a command must be at least 1");
            }
            words.remove(0);
            Line::Run(times, words)
        }
        _ => Line::Run(1, words),
    }
}

/// Runs every line. It ends where the server can't be reached: what follows may count on what came before. False when
/// an error was answered and errors are failures.
pub(crate) fn run(console: &mut Console, mut lines: impl BufRead) -> Result<bool> {
    let mut fine = true;
    let mut line = Vec::new();
    loop {
        line.clear();
        let read = lines.read_until(b'\n', &mut line);
        if read.map_err(|source| Error::Io { what: "reading standard input", source })? == 0 {
            return Ok(fine);
        }
        match parse(&line) {
            Line::Empty => {}
            Line::Quit => return Ok(fine),
            Line::Connect(place) => console.session.move_to(place),
            Line::Run(times, words) => fine &= console.repeat(&words, times, None)?,
            Line::Wrong(why) => print(format!("{why}\n").as_bytes())?,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &[&str]) -> Vec<Vec<u8>> {
        text.iter().map(|word| word.as_bytes().to_vec()).collect()
    }

    #[test]
    fn lines_are_commands_or_our_own() {
        assert_eq!(parse(b"  \n"), Line::Empty);
        assert_eq!(parse(b"set a 'b c'\n"), Line::Run(1, words(&["set", "a", "b c"])));
        assert_eq!(parse(b"3 incr a"), Line::Run(3, words(&["incr", "a"])));
        assert_eq!(parse(b"3"), Line::Run(1, words(&["3"])));
        assert_eq!(parse(b"QUIT"), Line::Quit);
        assert_eq!(parse(b"connect there 7"), Line::Connect(Place::Tcp("there".into(), 7)));
        assert!(matches!(parse(b"connect there x"), Line::Wrong(_)));
        assert!(matches!(parse(b"0 ping"), Line::Wrong(_)));
        assert!(matches!(parse(b"set a \"b"), Line::Wrong(_)));
    }
}
