//! What may still come: the arguments of a command that were not typed yet.

use std::collections::VecDeque;

use emberkv_resp::schema::{Argument, ArgumentFlags, ArgumentKind, Command, lookup};

/// The command that words begin with, and how many of them are its name.
pub(super) fn command<W: AsRef<[u8]>>(words: &[W]) -> Option<(&'static Command, usize)> {
    let command = lookup(words.first()?.as_ref())?;
    let subcommand = words.get(1).and_then(|word| command.subcommand(word.as_ref()));
    Some(subcommand.map_or((command, 1), |subcommand| (subcommand, 2)))
}

/// An argument that may come.
#[derive(Clone, Copy)]
struct Wanted {
    argument: &'static Argument,
    required: bool,
    /// Its token came: the value must follow.
    bare: bool,
    /// It came already, and may come again.
    again: bool,
}

impl Wanted {
    fn new(argument: &'static Argument) -> Self {
        let required = !argument.flags.contains(ArgumentFlags::OPTIONAL);
        Self { argument, required, bare: false, again: false }
    }

    /// It belongs to what came, so it must come.
    fn next(argument: &'static Argument) -> Self {
        Self { required: true, ..Self::new(argument) }
    }

    /// The token, unless it came.
    fn token(self) -> Option<&'static str> {
        if self.bare { None } else { self.argument.token }
    }

    /// Whether any word will do, rather than one of a few.
    fn is_any_word(self) -> bool {
        self.token().is_none() && !matches!(self.argument.kind, ArgumentKind::Oneof | ArgumentKind::Block)
    }

    /// If it can begin with this word: what must follow then. Words that are known go before those that may be anything.
    fn begin(self, word: Option<&[u8]>) -> Option<Vec<Self>> {
        if let Some(token) = self.token() {
            let is_it = word.is_some_and(|word| token.as_bytes().eq_ignore_ascii_case(word));
            return is_it.then(|| match self.argument.kind {
                ArgumentKind::PureToken => Vec::new(),
                ArgumentKind::Block => self.argument.arguments.iter().map(Self::next).collect(),
                _ => vec![Self { required: true, bare: true, again: false, ..self }],
            });
        }
        let mut nested = self.argument.arguments.iter().map(Self::next);
        match self.argument.kind {
            ArgumentKind::Oneof => nested.find_map(|nested| nested.begin(word)),
            ArgumentKind::Block => {
                let mut then = nested.next()?.begin(word)?;
                then.extend(nested);
                Some(then)
            }
            _ => word.is_none().then(Vec::new),
        }
    }

    fn show(self) -> String {
        let usage = if self.bare { self.argument.value_usage() } else { self.argument.usage() };
        match usage.find(" [") {
            // `key [key ...]`: the first has come.
            Some(at) if self.again => usage[at + 1..].to_owned(),
            _ => usage,
        }
    }
}

/// What is left of a command's arguments after `words` (without its name).
pub(super) struct Left(VecDeque<Wanted>);

impl Left {
    /// Takes the words, one after the other.
    pub(super) fn after<W: AsRef<[u8]>>(command: &'static Command, words: &[W]) -> Self {
        let mut left = Self(command.arguments.iter().map(Wanted::new).collect());
        for word in words {
            left.take(word.as_ref());
        }
        left
    }

    fn take(&mut self, word: &[u8]) {
        // a value that must come is never an option's name; nor is an option before all that must come.
        let due = self.0.iter().position(|wanted| wanted.required).map_or(self.0.len(), |at| at + 1);
        if self.0.front().is_some_and(|front| front.required && front.is_any_word()) {
            return self.arrive(0, Vec::new());
        }
        for word in [Some(word), None] {
            for at in 0..due {
                if let Some(then) = self.0[at].begin(word) {
                    return self.arrive(at, then);
                }
            }
        }
    }

    /// The argument there has come, and `then` must follow it.
    fn arrive(&mut self, at: usize, then: Vec<Wanted>) {
        let Some(came) = self.0.remove(at) else { return };
        if came.argument.flags.contains(ArgumentFlags::MULTIPLE) && !came.bare {
            self.0.insert(at, Wanted { again: true, required: false, ..came });
        }
        for wanted in then.into_iter().rev() {
            self.0.push_front(wanted);
        }
    }

    /// As usage shows it.
    pub(super) fn show(&self) -> String {
        self.0.iter().map(|wanted| wanted.show()).collect::<Vec<_>>().join(" ")
    }

    /// The words that may come next, if they are out of a few.
    pub(super) fn tokens(&self) -> Vec<&'static str> {
        let mut tokens = Vec::new();
        for wanted in &self.0 {
            collect_tokens(*wanted, &mut tokens);
            if wanted.required {
                break;
            }
        }
        tokens
    }
}

fn collect_tokens(wanted: Wanted, tokens: &mut Vec<&'static str>) {
    let nested = wanted.argument.arguments.iter().map(Wanted::next);
    match (wanted.token(), wanted.argument.kind) {
        (Some(token), _) => tokens.push(token),
        (None, ArgumentKind::Oneof) => nested.for_each(|nested| collect_tokens(nested, tokens)),
        (None, ArgumentKind::Block) => nested.take(1).for_each(|nested| collect_tokens(nested, tokens)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn left(line: &str) -> Left {
        let words: Vec<&str> = line.split(' ').collect();
        let (command, used) = command(&words).unwrap();
        Left::after(command, &words[used..])
    }

    #[test]
    fn what_was_typed_goes_from_the_hint() {
        // SET has got options of other servers, and may get more.
        let set = |line: &str, begins: &str| {
            let left = left(line).show();
            assert!(left.starts_with(begins), "{line}: {left}");
        };
        set("set", "key value [NX | XX");
        set("set k", "value [NX | XX");
        set("set k nx", "[NX | XX");
        set("set k v nx", "[GET] [EX seconds");
        set("SET k v GET EX", "seconds [NX | XX");
        set("SET k v GET ex 10", "[NX | XX");
        let getex = left("getex").show();
        assert_eq!(left("getex k").show(), getex["key ".len()..]);
        assert_eq!(left("getex k px").show(), "milliseconds");
        assert_eq!(left("getex k px 1").show(), "");
        assert_eq!(left("get k").show(), "");
        assert_eq!(left("get k too many").show(), "");
    }

    #[test]
    fn what_may_come_again_stays() {
        assert_eq!(left("del").show(), "key [key ...]");
        assert_eq!(left("del a").show(), "[key ...]");
        assert_eq!(left("del a b").show(), "[key ...]");
        assert_eq!(left("mset a").show(), "value [key value ...]");
        assert_eq!(left("mset a 1").show(), "[key value ...]");
    }

    #[test]
    fn subcommands_have_arguments_of_their_own() {
        assert!(left("config get").show().starts_with("parameter"), "{}", left("config get").show());
        assert!(command(&["nosuch"]).is_none() && command::<&str>(&[]).is_none());
    }

    #[test]
    fn options_are_offered_when_they_can_come() {
        assert_eq!(left("set k").tokens(), [""; 0]);
        let tokens = left("set k v nx").tokens();
        assert!(tokens.starts_with(&["GET", "EX", "PX"]) && !tokens.contains(&"XX"), "{tokens:?}");
        assert_eq!(left("set k v ex").tokens(), [""; 0], "seconds must come");
        assert!(left("scan 0").tokens().contains(&"MATCH"));
    }

    #[test]
    fn no_command_is_too_strange_to_be_hinted_at() {
        for command in &emberkv_resp::schema::COMMANDS {
            for words in 0..6 {
                let left = Left::after(command, &vec!["x"; words]);
                let _ = (left.show(), left.tokens());
            }
        }
    }
}
