//! Passwords in requests, which nobody is to see who looks at what others have asked for.

use std::borrow::Cow;

use emberkv_resp::Args;
use emberkv_resp::schema::CommandId;

/// What stands for a secret.
const HIDDEN: &[u8] = b"(redacted)";

/// Directives whose values are secrets.
const SECRETS: [&[u8]; 5] =
    [b"requirepass", b"masterauth", b"masteruser", b"tls-key-file-pass", b"tls-client-key-file-pass"];

/// Whether argument `i` of a request is a secret. What the client calls the command does not matter.
fn is_secret(id: CommandId, args: Args<'_>, i: usize) -> bool {
    let is = |at: usize, word: &[u8]| args.get(at).is_some_and(|arg| arg.eq_ignore_ascii_case(word));
    match id {
        CommandId::Auth => i >= 1,
        CommandId::Hello => (2..i).any(|at| at + 2 >= i && is(at, b"auth")),
        CommandId::AclSetuser => i >= 2,
        CommandId::ConfigSet => i > 2 && i % 2 == 1 && SECRETS.iter().any(|name| is(i - 1, name)),
        // more than what follows AUTH may be hidden, such as a key of that name
        CommandId::Migrate => i > 6 && (is(i - 1, b"auth") || is(i - 1, b"auth2") || i > 7 && is(i - 2, b"auth2")),
        _ => false,
    }
}

/// A request's arguments, as others may see them.
pub(crate) fn redacted<'a>(id: CommandId, args: Args<'a>) -> impl Iterator<Item = Cow<'a, [u8]>> {
    args.iter().enumerate().map(move |(i, arg)| Cow::Borrowed(if is_secret(id, args, i) { HIDDEN } else { arg }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use emberkv_resp::schema::resolve;
    use emberkv_resp::{Limits, Parsed, Parser};

    fn shown(line: &str) -> String {
        // quoted, so that the request owns its words
        let words: String = line.split(' ').map(|word| format!("\"{word}\" ")).collect();
        let parsed = Parser::new().parse(format!("{words}\n").as_bytes(), 0, &mut Vec::new(), &Limits::default());
        let Ok(Parsed::Inline { args, .. }) = parsed else { panic!("{line}") };
        let id = resolve(args.args()).unwrap().id;
        let words: Vec<String> =
            redacted(id, args.args()).map(|word| String::from_utf8_lossy(&word).replace("(redacted)", "?")).collect();
        words.join(" ")
    }

    #[test]
    fn secrets_are_not_shown() {
        for (line, wanted) in [
            ("AUTH alice pw", "AUTH ? ?"),
            ("hello 3 AUTH alice pw SETNAME x", "hello 3 AUTH ? ? SETNAME x"),
            ("ACL SETUSER alice on >pw", "ACL SETUSER ? ? ?"),
            ("ACL GETUSER alice", "ACL GETUSER alice"),
            ("CONFIG SET port 1 requirepass pw", "CONFIG SET port 1 requirepass ?"),
            ("CONFIG GET requirepass", "CONFIG GET requirepass"),
            ("SET auth x", "SET auth x"),
            ("MIGRATE h 1 auth 0 9 AUTH pw", "MIGRATE h 1 auth 0 9 AUTH ?"),
            ("MIGRATE h 1 k 0 9 COPY auth2 me pw REPLACE", "MIGRATE h 1 k 0 9 COPY auth2 ? ? REPLACE"),
        ] {
            assert_eq!(shown(line), wanted);
        }
    }
}
