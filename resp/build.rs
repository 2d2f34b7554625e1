//! Turns the command table (`commands/*.commands`) into rust. `src/schema/mod.rs` describes its form.

use std::fmt::Write;
use std::path::Path;
use std::{env, fs, process};

/// The files, in the order in which their commands are numbered.
const FILES: [&str; 15] = [
    "strings",
    "bitmaps",
    "hyperloglog",
    "lists",
    "blocking",
    "hashes",
    "sets",
    "sorted_sets",
    "geo",
    "streams",
    "keys",
    "transactions",
    "connection",
    "server",
    "pubsub",
];

/// One row of the table.
#[derive(Default)]
struct Row {
    /// In lower case; a subcommand's is `container|subcommand`.
    name: String,
    group: String,
    summary: String,
    since: String,
    complexity: String,
    deprecated: Option<(String, String)>,
    history: Vec<(String, String)>,
    runs: String,
    arity: i16,
    flags: Vec<String>,
    acl: Vec<String>,
    tips: Vec<String>,
    keys: Vec<Keys>,
    arguments: Vec<Argument>,
}

struct Keys {
    begin: String,
    find: String,
    flags: Vec<String>,
    note: Option<String>,
}

struct Argument {
    indent: usize,
    name: String,
    kind: String,
    token: Option<String>,
    key: Option<u8>,
    since: Option<String>,
    deprecated: Option<String>,
    flags: Vec<String>,
    nested: Vec<Argument>,
}

type Result<T> = std::result::Result<T, String>;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=commands");
    if let Err(error) = generate() {
        eprintln!("{error}");
        process::exit(1);
    }
}

fn generate() -> Result<()> {
    let mut rows = Vec::new();
    for file in FILES {
        let path = format!("commands/{file}.commands");
        let text = fs::read_to_string(&path).map_err(|e| format!("{path}: {e}"))?;
        read(&text, &mut rows).map_err(|(line, e)| format!("{path}:{line}: {e}"))?;
    }
    let out = env::var_os("OUT_DIR").ok_or("OUT_DIR is not set")?;
    fs::write(Path::new(&out).join("commands.rs"), write_table(&rows)).map_err(|e| e.to_string())
}

/// Reads one file; an error comes with its line.
fn read(text: &str, rows: &mut Vec<Row>) -> std::result::Result<(), (usize, String)> {
    let mut group = String::new();
    let begin = rows.len();
    for (number, line) in text.lines().enumerate() {
        let words: Vec<&str> = line.split_whitespace().collect();
        let indent = line.len() - line.trim_start().len();
        let result = match (indent, words.as_slice()) {
            (_, []) => Ok(()),
            (0, [comment, ..]) if comment.starts_with('#') => Ok(()),
            (0, ["group", name]) => {
                group = (*name).to_owned();
                Ok(())
            }
            (0, ["command", name @ ..]) => {
                rows.push(Row { name: name.join("|").to_ascii_lowercase(), group: group.clone(), ..Row::default() });
                Ok(())
            }
            (2, [field, rest @ ..]) if rows.len() > begin => match rows.last_mut() {
                Some(row) => row.set(field, rest),
                None => Ok(()),
            },
            (indent, words) if indent >= 4 && rows.len() > begin => match rows.last_mut() {
                Some(row) => Argument::read(indent, words).and_then(|a| a.hang(&mut row.arguments, 4)),
                None => Ok(()),
            },
            _ => Err("expected `group`, `command` or, indented by 2, a field of one".to_owned()),
        };
        result.map_err(|e| (number + 1, e))?;
    }
    Ok(())
}

fn owned(words: &[&str]) -> Vec<String> {
    words.iter().map(|w| (*w).to_owned()).collect()
}

fn number<T: std::str::FromStr>(word: &str) -> Result<T> {
    word.parse().map_err(|_| format!("`{word}` is not a number that fits here"))
}

impl Row {
    fn set(&mut self, field: &str, words: &[&str]) -> Result<()> {
        let text = words.join(" ");
        let dated = || match words.split_first() {
            Some((version, rest)) => Ok(((*version).to_owned(), rest.join(" "))),
            None => Err("a version is missing".to_owned()),
        };
        match field {
            "summary" => self.summary = text,
            "since" => self.since = text,
            "complexity" => self.complexity = text,
            "deprecated" => self.deprecated = Some(dated()?),
            "history" => self.history.push(dated()?),
            "runs" => self.runs = text,
            "arity" => self.arity = number(&text)?,
            "flags" => self.flags = owned(words),
            "acl" => self.acl = owned(words),
            "tips" => self.tips = owned(words),
            "keys" => self.keys.push(Keys::read(&text)?),
            "note" => match self.keys.last_mut() {
                Some(keys) => keys.note = Some(text),
                None => return Err("a note belongs to the `keys` before it".to_owned()),
            },
            "arguments" => {}
            _ => return Err(format!("`{field}` is not a field of a command")),
        }
        Ok(())
    }

    /// The categories that follow from the flags, and those of the row.
    fn categories(&self) -> Vec<String> {
        let has = |flag: &str| self.flags.iter().any(|f| f == flag);
        let mut all = self.acl.clone();
        for (flag, categories) in [
            ("write", &["write"][..]),
            ("readonly", &["read"]),
            ("admin", &["admin", "dangerous"]),
            ("pubsub", &["pubsub"]),
            ("blocking", &["blocking"]),
            ("fast", &["fast"]),
        ] {
            if has(flag) {
                all.extend(owned(categories));
            }
        }
        if !has("fast") {
            all.push("slow".to_owned());
        }
        all
    }

    /// The variant of `CommandId`: `ConfigGet`.
    fn variant(&self) -> String {
        camel(&self.name)
    }
}

impl Keys {
    /// Reads `at 1 last 0 step 1: RO access`.
    fn read(text: &str) -> Result<Self> {
        let (place, flags) = text.split_once(':').ok_or("expected `<where>: <flags>`")?;
        let words: Vec<&str> = place.split_whitespace().collect();
        let (begin, rest) = match words.as_slice() {
            ["at", index, rest @ ..] => (format!("Begin::At({})", number::<u16>(index)?), rest),
            ["after", keyword, "from", from, rest @ ..] => {
                let from = number::<i16>(from)?;
                (format!("Begin::After {{ keyword: {keyword:?}, from: {from} }}"), rest)
            }
            ["unknown", rest @ ..] => ("Begin::Unknown".to_owned(), rest),
            _ => return Err("expected `at <n>`, `after <WORD> from <n>` or `unknown`".to_owned()),
        };
        let range = |last, step, limit| -> Result<String> {
            let (last, step, limit) = (number::<i16>(last)?, number::<u16>(step)?, number::<u16>(limit)?);
            Ok(format!("Find::Range {{ last: {last}, step: {step}, limit: {limit} }}"))
        };
        let find = match rest {
            ["last", last, "step", step] => range(last, step, "0")?,
            ["last", last, "step", step, "limit", limit] => range(last, step, limit)?,
            ["count", count_at, "first", first, "step", step] => {
                let (count_at, first, step) = (number::<u16>(count_at)?, number::<u16>(first)?, number::<u16>(step)?);
                format!("Find::Counted {{ count_at: {count_at}, first: {first}, step: {step} }}")
            }
            ["unknown"] | [] => "Find::Unknown".to_owned(),
            _ => return Err("expected `last <n> step <n>` or `count <n> first <n> step <n>`".to_owned()),
        };
        let flags = flags.split_whitespace().map(str::to_owned).collect();
        Ok(Self { begin, find, flags, note: None })
    }
}

impl Argument {
    /// Reads `name type [TOKEN] [key=<n>] [since=<version>] [deprecated=<version>] [optional] [multiple]`.
    fn read(indent: usize, words: &[&str]) -> Result<Self> {
        let [name, kind, rest @ ..] = words else {
            return Err("an argument has at least a name and a type".to_owned());
        };
        let mut argument = Self {
            indent,
            name: (*name).to_owned(),
            kind: camel(kind),
            token: None,
            key: None,
            since: None,
            deprecated: None,
            flags: Vec::new(),
            nested: Vec::new(),
        };
        for word in rest {
            match word.split_once('=').filter(|(name, _)| !name.is_empty()) {
                Some(("key", spec)) => argument.key = Some(number(spec)?),
                Some(("since", version)) => argument.since = Some(version.to_owned()),
                Some(("deprecated", version)) => argument.deprecated = Some(version.to_owned()),
                Some((other, _)) => return Err(format!("`{other}=` is not an attribute of an argument")),
                None if matches!(*word, "optional" | "multiple" | "multiple_token") => {
                    argument.flags.push((*word).to_owned());
                }
                None if argument.token.is_none() && *word == word.to_uppercase() => {
                    argument.token = Some((*word).to_owned());
                }
                None => return Err(format!("`{word}` is neither a flag nor the token, in capitals")),
            }
        }
        Ok(argument)
    }

    /// Puts it under the last argument that is indented less.
    fn hang(self, level: &mut Vec<Self>, indent: usize) -> Result<()> {
        if self.indent == indent {
            level.push(self);
            return Ok(());
        }
        match level.last_mut() {
            Some(parent) if matches!(parent.kind.as_str(), "Oneof" | "Block") => {
                self.hang(&mut parent.nested, indent + 2)
            }
            _ => Err("is indented more than fits: only `oneof` and `block` hold arguments".to_owned()),
        }
    }

    fn write(&self, out: &mut String) {
        let Self { name, kind, token, key, since, deprecated, .. } = self;
        let flags = bits("ArgumentFlags", &self.flags);
        let _ = write!(
            out,
            "Argument {{ name: {name:?}, kind: ArgumentKind::{kind}, token: {token:?}, key_spec: {key:?}, \
             since: {since:?}, deprecated_since: {deprecated:?}, flags: {flags}, arguments: &["
        );
        for nested in &self.nested {
            nested.write(out);
        }
        out.push_str("] },");
    }
}

/// `unix-time` as `UnixTime`.
fn camel(name: &str) -> String {
    name.split(['-', '|', '_', '.'])
        .map(|word| match word.split_at_checked(1) {
            Some((first, rest)) => first.to_ascii_uppercase() + rest,
            None => String::new(),
        })
        .collect()
}

/// A set of named bits as a constant expression; a name that does not exist fails to compile.
fn bits(kind: &str, names: &[String]) -> String {
    names.iter().fold(format!("{kind}::NONE"), |set, name| format!("{set}.and({kind}::{})", name.to_ascii_uppercase()))
}

fn write_table(rows: &[Row]) -> String {
    let mut out = String::from(
        "/// Every command and subcommand of the table, by its place in it.\n\
         #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]\n#[repr(u16)]\npub enum CommandId {\n",
    );
    for row in rows {
        let _ =
            writeln!(out, "/// `{}`: {}.\n{},", row.name.to_uppercase().replace('|', " "), row.summary, row.variant());
    }
    let _ = writeln!(
        out,
        "}}\n\n/// The table: every command, each followed by its subcommands.\npub static COMMANDS: [Command; {}] = [",
        rows.len()
    );
    for row in rows {
        write_row(row, rows, &mut out);
    }
    out.push_str("];\n");
    out
}

fn write_row(row: &Row, rows: &[Row], out: &mut String) {
    let Row { name, summary, since, complexity, history, arity, tips, .. } = row;
    let prefix = format!("{name}|");
    let subcommands: Vec<String> = rows
        .iter()
        .filter(|sub| sub.name.starts_with(&prefix))
        .map(|sub| format!("CommandId::{}", sub.variant()))
        .collect();
    let deprecated = match &row.deprecated {
        Some((since, instead)) => format!("Some(Deprecation {{ since: {since:?}, instead: {instead:?} }})"),
        None => "None".to_owned(),
    };
    let _ = write!(
        out,
        "Command {{ id: CommandId::{}, name: {name:?}, group: Group::{}, runs: Runs::{}, arity: Arity({arity}), \
         flags: {}, categories: {}, tips: &{tips:?}, summary: {summary:?}, since: {since:?}, \
         complexity: {complexity:?}, deprecated: {deprecated}, history: &{history:?}, subcommands: &[{}], keys: &[",
        row.variant(),
        camel(&row.group),
        camel(&row.runs),
        bits("Flags", &row.flags),
        bits("Categories", &row.categories()),
        subcommands.join(", "),
    );
    for keys in &row.keys {
        let Keys { begin, find, note, .. } = keys;
        let flags = bits("KeyFlags", &keys.flags);
        let _ = write!(out, "KeySpec {{ begin: {begin}, find: {find}, flags: {flags}, note: {note:?} }},");
    }
    out.push_str("], arguments: &[");
    for argument in &row.arguments {
        argument.write(out);
    }
    out.push_str("] },\n");
}
