//! `docs/commands.md` and `docs/configuration.md` are made from what the code knows; a stale one fails. To make them anew:
//!
//! ```sh
//! UPDATE_DOCS=1 cargo test -p emberkv --test generated
//! ```
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::path::{Path, PathBuf};

use emberkv_resp::schema::{Argument, COMMANDS, Command, lookup_full};
use emberkv_torture::{Server, ServerSpec, TempDir, Value, peers};

fn file(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// Compares with the page that is there, or writes it.
fn check(name: &str, wanted: &str) {
    let path = file("../docs").join(name);
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(&path, wanted).unwrap();
    }
    let found = std::fs::read_to_string(&path).unwrap_or_default();
    let again = "make it anew: UPDATE_DOCS=1 cargo test -p emberkv --test generated";
    let differs = found.lines().zip(wanted.lines()).find(|(found, wanted)| found != wanted);
    assert!(found == wanted, "docs/{name} is stale, first where it says and should say {differs:?}; {again}");
}

/// A command of redis's, as `generated/redis.list` has it.
struct Known {
    name: String,
    group: String,
    since: String,
    options: Vec<String>,
}

fn redis() -> Vec<Known> {
    let text = std::fs::read_to_string(file("tests/generated/redis.list")).unwrap();
    let line = |line: &str| {
        let mut words = line.split(' ').map(str::to_owned);
        let mut word = || words.next().unwrap();
        Known { name: word(), group: word(), since: word(), options: words.collect() }
    };
    text.lines().filter(|text| !text.starts_with('#')).map(line).collect()
}

/// Deliberate differences, by command: those that the differential tests excuse.
fn differences() -> BTreeMap<String, BTreeSet<String>> {
    let text = std::fs::read_to_string(file("tests/differential/differences.list")).unwrap();
    let mut differences: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for line in text.lines().filter(|line| !line.starts_with('#') && !line.trim().is_empty()) {
        let mut parts = line.split(" :: ").skip(2);
        let (Some(step), Some(why)) = (parts.next(), parts.next()) else { panic!("{line}") };
        let mut words = step.split(' ').map(str::to_ascii_lowercase);
        let (first, second) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let subcommand = format!("{first}|{second}");
        let name = if lookup_full(subcommand.as_bytes()).is_some() { subcommand } else { first };
        differences.entry(name).or_default().insert(why.trim().to_owned());
    }
    differences
}

fn has_option(arguments: &[Argument], word: &str) -> bool {
    arguments.iter().any(|argument| argument.token == Some(word) || has_option(argument.arguments, word))
}

/// What there is of a command here.
fn status(known: &Known, differences: &BTreeMap<String, BTreeSet<String>>) -> String {
    let Some(command) = lookup_full(known.name.as_bytes()) else { return "no".into() };
    let lacks = |option: &&String| !has_option(command.arguments, option);
    let missing: Vec<String> = known.options.iter().filter(lacks).map(|option| format!("`{option}`")).collect();
    let mut parts = Vec::new();
    if !missing.is_empty() {
        parts.push(format!("without {}", missing.join(", ")));
    }
    parts.extend(differences.get(&known.name).into_iter().flatten().cloned());
    if parts.is_empty() { "yes".into() } else { format!("differs: {}", parts.join("; ")) }
}

fn shown(name: &str) -> String {
    format!("`{}`", name.to_ascii_uppercase().replace('|', " "))
}

/// So the page leaves none out.
#[test]
fn the_list_has_all_commands_of_the_real_server() {
    let program = peers::redis82().unwrap_or_else(|error| panic!("no referee: {error}"));
    let dir = TempDir::new("generated-redis").unwrap();
    let server = Server::start(&ServerSpec::new(program, dir.path())).unwrap();
    let reply = server.connect().unwrap().ask("COMMAND LIST").unwrap();
    let text = |name: &Value| String::from_utf8_lossy(name.text().unwrap()).to_ascii_lowercase();
    let theirs: BTreeSet<String> = reply.items().unwrap().iter().map(text).collect();
    let listed: BTreeSet<String> = redis().into_iter().map(|known| known.name).collect();
    assert_eq!(listed, theirs);
}

#[test]
fn the_page_of_commands_says_what_the_schema_says() {
    let (redis, differences) = (redis(), differences());
    let there = redis.iter().filter(|known| lookup_full(known.name.as_bytes()).is_some()).count();
    let mut page = format!(
        "# commands\n\n{}\n\nOf the {} commands and subcommands of redis 8.2 (without those of modules that it may load), {there} are here.\n",
        "What emberkv knows of redis's commands: *yes* means with redis's options, replies and errors, which are compared \
         byte by byte\nwith redis 8.2 where a differential test has the command; *differs* says how. This page is made from the \
         command schema\n(`resp/commands/`), redis 8.2's `COMMAND DOCS` and the list of differences that the differential tests \
         excuse\n(`cli/tests/differential/differences.list`); a test fails when it is stale.",
        redis.len()
    );
    let groups: BTreeSet<&str> = redis.iter().map(|known| known.group.as_str()).collect();
    for group in groups {
        let rows: Vec<&Known> = redis.iter().filter(|known| known.group == group).collect();
        let _ = write!(page, "\n## {group}\n\n");
        if rows.iter().all(|known| lookup_full(known.name.as_bytes()).is_none()) {
            let names: Vec<String> = rows.iter().map(|known| shown(&known.name)).collect();
            let _ = writeln!(page, "None yet: {}.", names.join(", "));
            continue;
        }
        page.push_str("| command | emberkv | redis since |\n|---|---|---|\n");
        for known in rows {
            let _ = writeln!(page, "| {} | {} | {} |", shown(&known.name), status(known, &differences), known.since);
        }
    }
    let names: BTreeSet<&str> = redis.iter().map(|known| known.name.as_str()).collect();
    let own: Vec<&Command> = COMMANDS.iter().filter(|command| !names.contains(command.name)).collect();
    if !own.is_empty() {
        page.push_str("\n## not of redis\n\n| command | what it does |\n|---|---|\n");
        for command in own {
            let _ = writeln!(page, "| `{}` | {} |", command.usage().replace('|', "\\|"), command.summary);
        }
    }
    check("commands.md", &page);
}

#[test]
fn the_page_of_directives_says_what_the_server_says() {
    let page = format!(
        "# configuration\n\n{}\n\n```\n{}```\n",
        "The directives, in a `redis.conf`, on the command line (`emberkv server --port 7000`) or, where nothing says *at start \
         only*, by `CONFIG SET`.\nThis page is what `emberkv server --help` prints, made from the table in \
         `server/src/config/`; a test fails when it is stale.",
        emberkv_server::config::help()
    );
    check("configuration.md", &page);
}
