//! The replies of COMMAND and its subcommands, in the shapes of redis 8.2.

use crate::args::Args;
use crate::glob;
use crate::reply::Reply;

use super::lookup::by_id;
use super::{
    Argument, ArgumentKind, Begin, COMMANDS, Categories, Command, CommandId, Find, Flags, KeyFlags, KeySpec, Names,
};

const SYNTAX_ERROR: &str = "ERR syntax error";

/// Executes COMMAND or one of its subcommands: `args` is the whole request, `id` what it resolved to. `names`: by which
/// commands can be called; what is said of them has their own, as in redis.
///
/// # Panics
/// In debug builds, if `id` is not one of them.
pub fn command(names: &Names, id: CommandId, args: Args<'_>, reply: &mut Reply<'_>) {
    match id {
        CommandId::Command => all_info(names, reply),
        CommandId::CommandCount => reply.integer(top_level(names).count() as i64),
        CommandId::CommandInfo => info(names, args.from(2), reply),
        CommandId::CommandDocs => docs(names, args.from(2), reply),
        CommandId::CommandList => list(names, args.from(2), reply),
        CommandId::CommandGetkeys => get_keys(names, args.from(2), |key, _, reply| reply.bulk(key), reply),
        CommandId::CommandGetkeysandflags => get_keys(names, args.from(2), write_key_and_flags, reply),
        CommandId::CommandHelp => super::help(CommandId::Command.command(), args.at(0), reply),
        other => debug_assert!(false, "{other:?} is not COMMAND"),
    }
}

fn top_level(names: &Names) -> impl Iterator<Item = &'static Command> + Clone {
    COMMANDS.iter().filter(|command| !command.is_subcommand() && names.have(command.id))
}

fn all_info(names: &Names, reply: &mut Reply<'_>) {
    reply.array(top_level(names).count());
    for command in top_level(names) {
        write_info(command, reply);
    }
}

fn info(names: &Names, asked: Args<'_>, reply: &mut Reply<'_>) {
    if asked.is_empty() {
        return all_info(names, reply);
    }
    reply.array(asked.len());
    for name in asked.iter() {
        match names.lookup_full(name) {
            Some(command) => write_info(command, reply),
            None => reply.null(),
        }
    }
}

fn write_info(command: &Command, reply: &mut Reply<'_>) {
    reply.array(10);
    reply.bulk(command.name.as_bytes());
    reply.integer(i64::from(command.arity.0));
    write_names(command.flags.names(), reply);
    let (first, last, step) = command.key_range();
    reply.integer(first);
    reply.integer(last);
    reply.integer(step);
    reply.set(command.categories.names().count());
    for category in command.categories.names() {
        reply.simple(&format!("@{category}"));
    }
    reply.set(command.tips.len());
    for tip in command.tips {
        reply.bulk(tip.as_bytes());
    }
    reply.set(command.keys.len());
    for spec in command.keys {
        write_key_spec(spec, reply);
    }
    if command.subcommands.is_empty() {
        reply.set(0);
    } else {
        reply.array(command.subcommands.len());
        for id in command.subcommands {
            write_info(by_id(*id), reply);
        }
    }
}

fn write_names(names: impl Iterator<Item = &'static str> + Clone, reply: &mut Reply<'_>) {
    reply.set(names.clone().count());
    for name in names {
        reply.simple(name);
    }
}

fn write_key_spec(spec: &KeySpec, reply: &mut Reply<'_>) {
    reply.map(3 + usize::from(spec.note.is_some()));
    if let Some(note) = spec.note {
        text("notes", note, reply);
    }
    reply.bulk(b"flags");
    write_names(spec.flags.names(), reply);
    reply.bulk(b"begin_search");
    match spec.begin {
        Begin::At(index) => {
            typed("index", 1, reply);
            number("index", i64::from(index), reply);
        }
        Begin::After { keyword, from } => {
            typed("keyword", 2, reply);
            text("keyword", keyword, reply);
            number("startfrom", i64::from(from), reply);
        }
        Begin::Unknown => typed("unknown", 0, reply),
    }
    reply.bulk(b"find_keys");
    match spec.find {
        Find::Range { last, step, limit } => {
            typed("range", 3, reply);
            number("lastkey", i64::from(last), reply);
            number("keystep", i64::from(step), reply);
            number("limit", i64::from(limit), reply);
        }
        Find::Counted { count_at, first, step } => {
            typed("keynum", 3, reply);
            number("keynumidx", i64::from(count_at), reply);
            number("firstkey", i64::from(first), reply);
            number("keystep", i64::from(step), reply);
        }
        Find::Unknown => typed("unknown", 0, reply),
    }
}

/// Begins one half of a key specification: its type, and a map of so many pairs to follow.
fn typed(kind: &str, pairs: usize, reply: &mut Reply<'_>) {
    reply.map(2);
    text("type", kind, reply);
    reply.bulk(b"spec");
    reply.map(pairs);
}

fn text(name: &str, value: &str, reply: &mut Reply<'_>) {
    reply.bulk(name.as_bytes());
    reply.bulk(value.as_bytes());
}

fn number(name: &str, value: i64, reply: &mut Reply<'_>) {
    reply.bulk(name.as_bytes());
    reply.integer(value);
}

fn docs(names: &Names, asked: Args<'_>, reply: &mut Reply<'_>) {
    let named: Vec<&Command> = match asked.is_empty() {
        true => top_level(names).collect(),
        false => asked.iter().filter_map(|name| names.lookup_full(name)).collect(),
    };
    reply.map(named.len());
    for command in named {
        write_docs(command, reply);
    }
}

fn write_docs(command: &Command, reply: &mut Reply<'_>) {
    reply.bulk(command.name.as_bytes());
    let deprecated = command.deprecated.as_ref();
    reply.map(
        3 + usize::from(!command.complexity.is_empty())
            + deprecated.map_or(0, |_| 3)
            + usize::from(!command.history.is_empty())
            + usize::from(!command.arguments.is_empty())
            + usize::from(!command.subcommands.is_empty()),
    );
    text("summary", command.summary, reply);
    text("since", command.since, reply);
    text("group", command.group.name(), reply);
    if !command.complexity.is_empty() {
        text("complexity", command.complexity, reply);
    }
    if let Some(deprecation) = deprecated {
        reply.bulk(b"doc_flags");
        write_names(["deprecated"].into_iter(), reply);
        text("deprecated_since", deprecation.since, reply);
        text("replaced_by", deprecation.instead, reply);
    }
    if !command.history.is_empty() {
        reply.bulk(b"history");
        reply.set(command.history.len());
        for (version, change) in command.history {
            reply.array(2);
            reply.bulk(version.as_bytes());
            reply.bulk(change.as_bytes());
        }
    }
    if !command.arguments.is_empty() {
        reply.bulk(b"arguments");
        write_arguments(command.arguments, reply);
    }
    if !command.subcommands.is_empty() {
        reply.bulk(b"subcommands");
        reply.map(command.subcommands.len());
        for id in command.subcommands {
            write_docs(by_id(*id), reply);
        }
    }
}

fn write_arguments(arguments: &[Argument], reply: &mut Reply<'_>) {
    reply.array(arguments.len());
    for argument in arguments {
        let is_group = matches!(argument.kind, ArgumentKind::Oneof | ArgumentKind::Block);
        reply.map(
            3 + usize::from(argument.key_spec.is_some())
                + usize::from(argument.token.is_some())
                + usize::from(argument.since.is_some())
                + usize::from(argument.deprecated_since.is_some())
                + usize::from(!argument.flags.is_empty()),
        );
        text("name", argument.name, reply);
        text("type", argument.kind.name(), reply);
        if !is_group {
            text("display_text", argument.name, reply);
        }
        if let Some(spec) = argument.key_spec {
            number("key_spec_index", i64::from(spec), reply);
        }
        if let Some(token) = argument.token {
            text("token", token, reply);
        }
        if let Some(since) = argument.since {
            text("since", since, reply);
        }
        if let Some(since) = argument.deprecated_since {
            text("deprecated_since", since, reply);
        }
        if !argument.flags.is_empty() {
            reply.bulk(b"flags");
            write_names(argument.flags.names(), reply);
        }
        if is_group {
            reply.bulk(b"arguments");
            write_arguments(argument.arguments, reply);
        }
    }
}

fn list(names: &Names, filter: Args<'_>, reply: &mut Reply<'_>) {
    let write_list = |wanted: &dyn Fn(&Command) -> bool, reply: &mut Reply<'_>| {
        let listed: Vec<&Command> =
            COMMANDS.iter().filter(|command| names.have(command.id) && wanted(command)).collect();
        reply.array(listed.len());
        listed.iter().for_each(|command| reply.bulk(command.name.as_bytes()));
    };
    if filter.is_empty() {
        return write_list(&|_| true, reply);
    }
    let (Some(filterby), Some(kind), Some(value), 3) = (filter.get(0), filter.get(1), filter.get(2), filter.len())
    else {
        return reply.error(SYNTAX_ERROR);
    };
    if !filterby.eq_ignore_ascii_case(b"FILTERBY") {
        return reply.error(SYNTAX_ERROR);
    }
    if kind.eq_ignore_ascii_case(b"ACLCAT") {
        let category = Categories::named(value);
        write_list(&|c| category.is_some_and(|category| c.categories.contains(category)), reply);
    } else if kind.eq_ignore_ascii_case(b"PATTERN") {
        write_list(&|c| glob::matches_ignore_case(value, c.name.as_bytes()), reply);
    } else if kind.eq_ignore_ascii_case(b"MODULE") {
        // there are no modules.
        write_list(&|_| false, reply);
    } else {
        reply.error(SYNTAX_ERROR);
    }
}

fn write_key_and_flags(key: &[u8], flags: KeyFlags, reply: &mut Reply<'_>) {
    reply.array(2);
    reply.bulk(key);
    write_names(flags.names(), reply);
}

fn get_keys(names: &Names, request: Args<'_>, write: impl Fn(&[u8], KeyFlags, &mut Reply<'_>), reply: &mut Reply<'_>) {
    let Ok(command) = names.resolve_name(request) else {
        return reply.error("ERR Invalid command specified");
    };
    if command.keys.iter().all(|spec| spec.flags.contains(KeyFlags::NOT_KEY)) {
        return reply.error("ERR The command has no key arguments");
    }
    if !command.arity.accepts(request.len()) {
        return reply.error("ERR Invalid number of arguments specified for command");
    }
    match command.keys(request) {
        Ok(found) => {
            reply.array(found.count());
            for (index, flags) in command.routed_with_flags(request) {
                write(request.at(index), flags, reply);
            }
        }
        Err(_) if command.flags.contains(Flags::NO_MANDATORY_KEYS) => reply.array(0),
        Err(error) => reply.error(&error.to_string()),
    }
}
