use super::*;
use proptest::prelude::*;

fn get(config: &Config, patterns: &[&str]) -> Vec<(String, String)> {
    let patterns: Vec<&[u8]> = patterns.iter().map(|pattern| pattern.as_bytes()).collect();
    let pairs = config.get(&patterns);
    pairs.into_iter().map(|(name, value)| (name.into_owned(), String::from_utf8(value).unwrap())).collect()
}

fn value(config: &Config, name: &str) -> String {
    let mut pairs = get(config, &[name]);
    assert_eq!(pairs.len(), 1, "{name}");
    pairs.remove(0).1
}

fn set(config: &mut Config, pairs: &[(&str, &str)]) -> Result<Changes, String> {
    let pairs: Vec<(&[u8], &[u8])> = pairs.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes())).collect();
    config.set(&pairs).map_err(|error| error.to_string())
}

/// What redis 8.2 said, letter by letter.
#[test]
fn errors_are_redis_errors() {
    let mut config = Config::default();
    let failed = |name, reason| format!("ERR CONFIG SET failed (possibly related to argument '{name}') - {reason}");
    let unknown = |name| format!("ERR Unknown option or number of arguments for CONFIG SET - '{name}'");
    let cases: &[(&[(&str, &str)], String)] = &[
        (&[("foo", "1")], unknown("foo")),
        (&[("foo", "1"), ("databases", "2")], unknown("foo")),
        (&[("maxmemory", "5"), ("foo", "x")], unknown("foo")),
        (&[("", "x")], unknown("")),
        (&[("include", "/x")], unknown("include")),
        (&[("user", "x")], unknown("user")),
        (&[("databases", "1"), ("foo", "2")], failed("databases", "can't set immutable config")),
        (&[("tcp-backlog", "5")], failed("tcp-backlog", "can't set immutable config")),
        (&[("daemonize", "yes")], failed("daemonize", "can't set immutable config")),
        (&[("dir", "/nonexistent")], failed("dir", "can't set protected config")),
        (&[("maxmemory", "1g"), ("MAXMEMORY", "2g")], failed("MAXMEMORY", "duplicate parameter")),
        (&[("slave-priority", "5"), ("replica-priority", "6")], failed("replica-priority", "duplicate parameter")),
        (&[("maxclients", "0")], failed("maxclients", "argument must be between 1 and 4294967295 inclusive")),
        (&[("maxclients", "-1")], failed("maxclients", "argument must be greater or equal to 0")),
        (&[("timeout", "99999999999")], failed("timeout", "argument must be between 0 and 2147483647 inclusive")),
        (&[("timeout", "x")], failed("timeout", "argument couldn't be parsed into an integer")),
        (
            &[("appendfsync", "sometimes")],
            failed("appendfsync", "argument(s) must be one of the following: everysec, always, no"),
        ),
        (&[("lazyfree-lazy-eviction", "maybe")], failed("lazyfree-lazy-eviction", "argument must be 'yes' or 'no'")),
        (&[("maxmemory", "x"), ("hz", "y")], failed("maxmemory", "argument must be a memory value")),
        (
            &[("proto-max-bulk-len", "1")],
            failed("proto-max-bulk-len", "argument must be between 1048576 and 9223372036854775807 inclusive"),
        ),
        (
            &[("loglevel", "foo")],
            failed("loglevel", "argument(s) must be one of the following: debug, verbose, notice, warning, nothing"),
        ),
        (&[("save", "3600")], failed("save", "Invalid save parameters")),
        (&[("oom-score-adj-values", "1 2")], failed("oom-score-adj-values", "wrong number of arguments")),
        (&[("a\r\nb", "x")], unknown("a  b")),
    ];
    for (pairs, error) in cases {
        assert_eq!(set(&mut config, pairs).unwrap_err(), *error);
        assert_eq!(config, Config::default(), "nothing has changed after {error}");
    }
}

#[test]
fn set_is_all_or_nothing_and_names_what_changed() {
    let mut config = Config::default();
    set(&mut config, &[("maxclients", "7"), ("maxmemory-clients", "5%"), ("timeout", "x")]).unwrap_err();
    assert_eq!(config, Config::default());

    let pairs = [("MaxClients", "7"), ("timeout", "0"), ("appendfsync", "always"), ("maxmemory-clients", "5%")];
    let changes = set(&mut config, &pairs).unwrap();
    assert_eq!(changes.iter().collect::<Vec<_>>(), [Field::MaxClients, Field::AppendFsync]);
    assert!(changes.contains(Field::AppendFsync) && !changes.contains(Field::Timeout));
    assert_eq!(config.maxclients, 7);
    assert_eq!(value(&config, "maxmemory-clients"), "5%");
    assert!(set(&mut config, &pairs).unwrap().is_empty());
}

#[test]
fn values_are_printed_as_redis_prints_them() {
    let mut config = Config::default();
    for (name, printed) in [
        ("bind", "* -::*"),
        ("unixsocket", ""),
        ("unixsocketperm", "0"),
        ("client-output-buffer-limit", "normal 0 0 0 slave 268435456 67108864 60 pubsub 33554432 8388608 60"),
        ("client-query-buffer-limit", "1073741824"),
        ("save", "3600 1 300 100 60 10000"),
        ("requirepass", ""),
        ("appendonly", "yes"),
        ("segment-size", "0"),
        ("maxmemory-policy", "spill"),
        ("repl-backlog-size", "1048576"),
    ] {
        assert_eq!(value(&config, name), printed, "{name}");
    }
    let pairs = [
        ("save", "900 1 300 10"),
        ("client-output-buffer-limit", "replica 1mb 1k 8"),
        ("maxmemory", "10G"),
        ("hz", "501"),
        ("requirepass", "s3 cret"),
        ("appendonly", "no"),
        ("hash-max-ziplist-entries", "5"),
        ("auto-aof-rewrite-min-size", "1mb"),
    ];
    set(&mut config, &pairs).unwrap();
    for (name, printed) in [
        ("save", "900 1 300 10"),
        ("client-output-buffer-limit", "normal 0 0 0 slave 1048576 1000 8 pubsub 33554432 8388608 60"),
        ("maxmemory", "10000000000"),
        ("hz", "500"),
        ("requirepass", "s3 cret"),
        ("appendonly", "yes"),
        ("hash-max-listpack-entries", "5"),
        ("auto-aof-rewrite-min-size", "1048576"),
    ] {
        assert_eq!(value(&config, name), printed, "{name}");
    }
    set(&mut config, &[("save", "")]).unwrap();
    assert_eq!(value(&config, "save"), "");
}

#[test]
fn get_takes_globs_in_any_case_and_answers_nothing_twice() {
    let config = Config::default();
    let names = |patterns: &[&str]| get(&config, patterns).into_iter().map(|(name, _)| name).collect::<Vec<_>>();
    assert_eq!(names(&["MAXMEM*P*Y", "maxmemory", "port", "PORT", "p?rt"]), ["maxmemory-policy", "maxmemory", "port"]);
    assert_eq!(names(&["MaxMemory"]), ["MaxMemory"]);
    assert_eq!(names(&["slave-pri*", "replica-pri*"]), ["slave-priority", "replica-priority"]);
    assert_eq!(names(&["nosuch", "rename-command", "user", "include"]), Vec::<String>::new());
    let all = names(&["*"]);
    assert!(all.iter().any(|name| name == "io") && all.iter().any(|name| name == "slaveof"));
}

#[test]
fn every_name_is_known_in_any_case() {
    for known in Known::all() {
        for name in known.names() {
            assert!(Known::find(name.to_ascii_uppercase().as_bytes()).is_some());
        }
    }
}

#[test]
fn no_debug_output_shows_a_password() {
    let mut config = Config::default();
    set(&mut config, &[("requirepass", "hunter2"), ("masterauth", "hunter2")]).unwrap();
    assert!(!format!("{config:?}").contains("hunter2"));
}

proptest! {
    #[test]
    fn any_names_and_values_are_fine(pairs: Vec<(Vec<u8>, Vec<u8>)>, at in any::<prop::sample::Index>(), text: Vec<u8>) {
        let mut config = Config::default();
        let pairs: Vec<(&[u8], &[u8])> = pairs.iter().map(|(name, value)| (name.as_slice(), value.as_slice())).collect();
        let _ = config.set(&pairs);
        let names: Vec<_> = Known::all().map(Known::name).collect();
        let _ = config.set(&[(at.get(&names).as_bytes(), &text)]);
        let _ = config.get(&[&text]);
    }
}
