use std::collections::HashSet;

use super::*;
use crate::{Args, Limits, Output, OwnedArgs, Parsed, Parser, Protocol, Reply};

/// The arguments of a line of words.
fn request(line: &str) -> OwnedArgs {
    // quoted, so that the request owns its words.
    let words: String = line.split(' ').map(|w| format!("\"{w}\" ")).collect();
    let parsed = Parser::new().parse(format!("{words}\n").as_bytes(), 0, &mut Vec::new(), &Limits::default());
    match parsed {
        Ok(Parsed::Inline { args, .. }) => args,
        other => panic!("{other:?}"),
    }
}

fn replied(line: &str, protocol: Protocol) -> String {
    let request = request(line);
    let id = resolve(request.args()).unwrap().id;
    let mut out = Output::new();
    command(Names::stock(), id, request.args(), &mut Reply::new(&mut out, protocol));
    String::from_utf8(out.to_vec()).unwrap()
}

#[test]
fn every_row_is_well_formed() {
    let mut names = HashSet::new();
    for (i, command) in COMMANDS.iter().enumerate() {
        let name = command.name;
        assert_eq!(command.id as usize, i, "{name}");
        assert_eq!(command.id.command().name, name);
        assert!(names.insert(name), "{name} is there twice");
        assert_eq!(name, name.to_ascii_lowercase());
        assert_ne!(command.arity.0, 0, "{name}");
        assert!(command.summary.len() > 3 && !command.summary.ends_with('.'), "{name}");
        assert_eq!(command.since.split('.').count(), 3, "{name}");
        let is_container = !command.subcommands.is_empty();
        // of these redis says in words that it depends
        let is_in_words = [
            "debug",
            "exec",
            "migrate",
            "memory|malloc-stats",
            "memory|purge",
            "pfdebug",
            "pfselftest",
            "spop",
            "srandmember",
        ]
        .contains(&name);
        // of XREAD nothing at all; of XREADGROUP it tells how long it takes by a stream
        let is_told = command.complexity.starts_with("O(") || is_in_words || name.starts_with("xread");
        assert!(is_container || is_told, "{name}");
        let write = command.flags.contains(Flags::WRITE);
        assert!(!(write && command.flags.contains(Flags::READONLY)), "{name}");
        if command.is_subcommand() {
            assert!(command.arity.0.abs() >= 2, "{name}");
            assert!(command.container().unwrap().subcommands.contains(&command.id));
        }
        // some of the keys of a command that writes may only be read; XREADGROUP's are, says redis
        let changes = |key: &KeySpec| !key.flags.contains(KeyFlags::RO);
        let is_known = command.id == CommandId::Xreadgroup;
        assert!(!write || command.keys.is_empty() || is_known || command.keys.iter().any(changes), "{name}");
        // a channel that is hashed like a key is none
        for key in command.keys.iter().filter(|key| !key.flags.contains(KeyFlags::NOT_KEY)) {
            assert!(
                matches!(command.runs, Runs::Data | Runs::Blocking) || ["migrate", "watch"].contains(&name),
                "{name}"
            );
            // PFCOUNT keeps what it has counted
            assert!(write || key.flags.contains(KeyFlags::RO) || name == "pfcount", "{name}");
            let (Begin::At(at), Find::Range { last, step, .. }) = (key.begin, key.find) else {
                continue;
            };
            assert!(at >= 1 && step >= 1, "{name}");
            // a key that must be there is within the least number of arguments.
            let last = i16::try_from(at).unwrap() + last.max(0);
            // PFMERGE needs no sources
            assert!(last < command.arity.0.abs() || name == "pfmerge", "{name}");
            if key.find_is_open() {
                assert!(command.arity.0 < 0, "{name} takes many keys but a fixed number of arguments");
            }
        }
        arguments_are_well_formed(command, command.arguments);
    }
}

impl KeySpec {
    fn find_is_open(&self) -> bool {
        matches!(self.find, Find::Range { last: ..0, .. })
    }
}

fn arguments_are_well_formed(command: &Command, arguments: &[Argument]) {
    for argument in arguments {
        let name = (command.name, argument.name);
        let is_group = matches!(argument.kind, ArgumentKind::Oneof | ArgumentKind::Block);
        assert_eq!(is_group, !argument.arguments.is_empty(), "{name:?}");
        // what SORT makes keys of is a pattern
        let names_keys = matches!(argument.kind, ArgumentKind::Key | ArgumentKind::Pattern);
        assert!(argument.kind != ArgumentKind::Key || argument.key_spec.is_some(), "{name:?}");
        assert!(argument.key_spec.is_none() || names_keys, "{name:?}");
        assert!(argument.kind != ArgumentKind::PureToken || argument.token.is_some(), "{name:?}");
        assert!(argument.key_spec.is_none_or(|k| usize::from(k) < command.keys.len()), "{name:?}");
        arguments_are_well_formed(command, argument.arguments);
    }
}

#[test]
fn finds_names_in_any_case_and_no_others() {
    for command in &COMMANDS {
        for name in [command.name.to_uppercase(), command.name.to_lowercase()] {
            assert_eq!(lookup_full(name.as_bytes()).unwrap().id, command.id);
            assert_eq!(lookup(name.as_bytes()).is_some(), !command.is_subcommand());
        }
        let mut mixed = command.name.as_bytes().to_vec();
        mixed[0].make_ascii_uppercase();
        assert_eq!(lookup_full(&mixed).unwrap().id, command.id);
        for i in 0..mixed.len() {
            for bit in [0x01, 0x40, 0x80] {
                let mut other = mixed.clone();
                other[i] ^= bit;
                let known = COMMANDS.iter().any(|c| c.name.as_bytes().eq_ignore_ascii_case(&other));
                assert_eq!(lookup_full(&other).is_some(), known);
            }
        }
        assert!(lookup_full(&[&mixed[..], b"\0"].concat()).is_none());
    }
    for name in [&b""[..], b"\0", b"foo", b"GETX", b"a very long name that is none", b"client|", b"|"] {
        assert!(lookup_full(name).is_none());
    }
}

#[test]
fn resolves_containers_by_their_subcommand() {
    let id = |line: &str| resolve(request(line).args()).map(|c| c.id).ok();
    assert_eq!(id("GET a"), Some(CommandId::Get));
    assert_eq!(id("client Id"), Some(CommandId::ClientId));
    assert_eq!(id("COMMAND"), Some(CommandId::Command));
    assert_eq!(id("config get maxmemory dir"), Some(CommandId::ConfigGet));
    assert_eq!(id("client|id"), None);
}

/// The texts are those of redis 8.2.
#[test]
fn says_why_a_request_is_no_command() {
    let a = |n: usize| "a".repeat(n);
    let cases = [
        ("get".to_owned(), "wrong number of arguments for 'get' command".to_owned()),
        ("GeT a b".to_owned(), "wrong number of arguments for 'get' command".to_owned()),
        ("client".to_owned(), "wrong number of arguments for 'client' command".to_owned()),
        ("Config GET".to_owned(), "wrong number of arguments for 'config|get' command".to_owned()),
        ("cLient fOO x".to_owned(), "unknown subcommand 'fOO'. Try CLIENT HELP.".to_owned()),
        ("client ".to_owned() + &a(200), format!("unknown subcommand '{}'. Try CLIENT HELP.", a(128))),
        ("FoO".to_owned(), "unknown command 'FoO', with args beginning with: ".to_owned()),
        ("foo a b".to_owned(), "unknown command 'foo', with args beginning with: 'a' 'b' ".to_owned()),
        ("foo ".to_owned(), "unknown command 'foo', with args beginning with: '' ".to_owned()),
        (a(200) + " b", format!("unknown command '{}', with args beginning with: 'b' ", a(128))),
        (format!("foo {} b", a(200)), format!("unknown command 'foo', with args beginning with: '{}' ", a(128))),
        (format!("foo {} bcd", a(123)), format!("unknown command 'foo', with args beginning with: '{}' 'bc' ", a(123))),
        (format!("foo {} b", a(125)), format!("unknown command 'foo', with args beginning with: '{}' ", a(125))),
    ];
    for (line, text) in cases {
        let request = request(&line);
        let reply = resolve(request.args()).unwrap_err().reply(request.args());
        assert_eq!(String::from_utf8(reply).unwrap(), format!("ERR {text}"), "{line}");
    }
}

#[test]
fn finds_the_keys_of_requests() {
    let keys = |line: &str| -> Vec<usize> {
        let request = request(line);
        let command = resolve(request.args()).unwrap();
        command.keys(request.args()).unwrap().collect()
    };
    assert_eq!(keys("get a"), [1]);
    assert_eq!(keys("set a b ex 1"), [1]);
    assert_eq!(keys("mget a b c"), [1, 2, 3]);
    assert_eq!(keys("mset a 1 b 2"), [1, 3]);
    assert_eq!(keys("del a b"), [1, 2]);
    assert!(keys("scan 0").is_empty() && keys("ping").is_empty());
}

/// Shapes that no command of the table has yet.
#[test]
fn finds_keys_behind_counts_and_words() {
    let keys = |keys: &'static [KeySpec], line: &str| -> Result<Vec<usize>, InvalidKeys> {
        let request = request(line);
        keys::of(keys, request.args()).map(Iterator::collect)
    };
    const fn spec(begin: Begin, find: Find) -> KeySpec {
        KeySpec { begin, find, flags: KeyFlags::RO, note: None }
    }
    // as EVAL's.
    const COUNTED: &[KeySpec] = &[spec(Begin::At(2), Find::Counted { count_at: 0, first: 1, step: 1 })];
    assert_eq!(keys(COUNTED, "eval x 2 a b c"), Ok(vec![3, 4]));
    assert_eq!(keys(COUNTED, "eval x 0 a b c"), Ok(vec![]));
    for bad in [
        "eval x 4 a b c",
        "eval x -1 a",
        "eval x -9223372036854775808 a",
        "eval x z a",
        "eval x 9223372036854775807 a",
        "eval x",
    ] {
        assert_eq!(keys(COUNTED, bad), Err(InvalidKeys), "{bad}");
    }
    // as XREAD's.
    const HALF: &[KeySpec] =
        &[spec(Begin::After { keyword: "STREAMS", from: 1 }, Find::Range { last: -1, step: 1, limit: 2 })];
    assert_eq!(keys(HALF, "xread count 2 streams a b 0 0"), Ok(vec![4, 5]));
    assert_eq!(keys(HALF, "xread count 2"), Ok(vec![]));
    // as MIGRATE's.
    const BACKWARDS: &[KeySpec] = &[
        spec(Begin::At(3), Find::Range { last: 0, step: 1, limit: 0 }),
        spec(Begin::After { keyword: "KEYS", from: -2 }, Find::Range { last: -1, step: 1, limit: 0 }),
    ];
    assert_eq!(keys(BACKWARDS, "migrate h p x 0 1 keys a b"), Ok(vec![3, 7, 8]));
    assert_eq!(keys(BACKWARDS, "migrate h p x 0 1 copy"), Ok(vec![3]));
    assert_eq!(keys(BACKWARDS, "migrate h p"), Err(InvalidKeys));
}

#[test]
fn command_getkeys_replies_as_redis_does() {
    let keys = |line: &str| replied(&format!("COMMAND GETKEYS {line}"), Protocol::Resp2);
    assert_eq!(keys("get a"), "*1\r\n$1\r\na\r\n");
    assert_eq!(keys("mset a 1 b 2"), "*2\r\n$1\r\na\r\n$1\r\nb\r\n");
    assert_eq!(keys("foo"), "-ERR Invalid command specified\r\n");
    assert_eq!(keys("client foo"), "-ERR Invalid command specified\r\n");
    assert_eq!(keys("client"), "-ERR The command has no key arguments\r\n");
    assert_eq!(keys("scan 0"), "-ERR The command has no key arguments\r\n");
    assert_eq!(keys("get"), "-ERR Invalid number of arguments specified for command\r\n");
}

#[test]
fn command_list_filters() {
    let list = |line: &str| replied(&format!("COMMAND LIST {line}"), Protocol::Resp2);
    assert_eq!(list("filterby pattern INCR*FLOAT"), "*1\r\n$11\r\nincrbyfloat\r\n");
    assert!(list("FILTERBY ACLCAT Connection").contains("client|setname"));
    assert_eq!(list("FILTERBY ACLCAT nothing"), "*0\r\n");
    assert_eq!(list("FILTERBY MODULE json"), "*0\r\n");
    assert_eq!(list("FILTERBY COLOUR red"), "-ERR syntax error\r\n");
    assert_eq!(list("FILTERBY ACLCAT"), "-ERR syntax error\r\n");
    assert_eq!(list("BY ACLCAT string"), "-ERR syntax error\r\n");
}

#[test]
fn usage_reads_like_the_documentation() {
    let usage = |id: CommandId| id.command().usage();
    assert_eq!(usage(CommandId::Get), "GET key");
    assert_eq!(usage(CommandId::Mget), "MGET key [key ...]");
    assert_eq!(usage(CommandId::Mset), "MSET key value [key value ...]");
    assert_eq!(
        usage(CommandId::Getex),
        "GETEX key [EX seconds | PX milliseconds | EXAT unix-time-seconds | PXAT unix-time-milliseconds | PERSIST]"
    );
    assert_eq!(usage(CommandId::Scan), "SCAN cursor [MATCH pattern] [COUNT count] [TYPE type]");
    assert_eq!(usage(CommandId::ClientSetinfo), "CLIENT SETINFO <LIB-NAME libname | LIB-VER libver>");
}

#[test]
fn arity_counts_at_least_or_exactly() {
    assert!(Arity(2).accepts(2) && !Arity(2).accepts(1) && !Arity(2).accepts(3));
    assert!(Arity(-2).accepts(2) && Arity(-2).accepts(9) && !Arity(-2).accepts(1));
    assert_eq!(Args::new(b"", &[]).len(), 0);
}
