//! `emberkv cli` beside redis-cli: the same arguments and the same input to two servers in the same state must print the
//! same bytes, and end alike. The referee is the distribution's redis-cli 7.0.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod common;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use common::{binary, dir, eventually};
use emberkv_torture::{Server, ServerSpec, TempDir, peers};

/// A kind of server.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Kind {
    Ember,
    Redis,
}

fn start(kind: Kind, args: &[&str]) -> (Server, TempDir) {
    let dir = dir("console");
    let spec = match kind {
        Kind::Ember => common::spec(dir.path(), args),
        Kind::Redis => ServerSpec::new(peers::redis82().unwrap_or_else(|error| panic!("{error}")), dir.path())
            .args(args.iter().copied())
            .args(["--enable-debug-command", "yes"]),
    };
    (Server::start(&spec).unwrap(), dir)
}

fn ours() -> Command {
    let mut command = Command::new(binary());
    command.arg("cli");
    command
}

fn run(mut command: Command, args: &[&str], stdin: &str) -> Output {
    command.args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    // one that reads nothing may have ended already
    let _ = child.stdin.take().unwrap().write_all(stdin.as_bytes());
    child.wait_with_output().unwrap()
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn complained(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Two servers of a kind in the same state, one for each client.
struct Pair {
    kind: Kind,
    theirs: (Server, TempDir),
    ours: (Server, TempDir),
}

impl Pair {
    fn new(kind: Kind) -> Self {
        Self { kind, theirs: start(kind, &[]), ours: start(kind, &[]) }
    }

    fn same(&self, args: &[&str], stdin: &str) {
        let ports = [self.theirs.0.port().to_string(), self.ours.0.port().to_string()];
        let theirs = run(Command::new("redis-cli"), &[&["-p", &ports[0]], args].concat(), stdin);
        let ours = run(ours(), &[&["-p", &ports[1]], args].concat(), stdin);
        let what = format!("{:?} {args:?} with {stdin:?} said beside redis-cli: {}", self.kind, complained(&ours));
        assert_eq!(said(&ours), said(&theirs), "{what}");
        assert_eq!(ours.status.success(), theirs.status.success(), "{what}");
    }
}

fn words(line: &str) -> Vec<&str> {
    line.split(' ').collect()
}

const FORMATS: [&str; 6] = ["--no-raw", "--raw", "--csv", "--json", "--quoted-json", "-3"];

#[test]
fn replies_look_the_same_in_every_format() {
    for kind in [Kind::Ember, Kind::Redis] {
        let pair = Pair::new(kind);
        let lines = [
            "set key value",
            "get key",
            "get missing",
            "set key x nx",
            "incr counter",
            "append key more",
            "mset a 1 b 2 c 3",
            "mget a missing b",
            "get a extra",
            "nosuch command",
            "keys x*",
            "exists a b c missing",
            "pttl missing",
            "type a",
            "scan 0 match zzz",
            "config get maxmemory",
            "command count x",
            "hello 2 auth",
            "echo some",
            "object help",
        ];
        for format in FORMATS {
            pair.same(&[format, "flushall"], "");
            for line in lines {
                if kind == Kind::Ember && line.starts_with("object") {
                    continue;
                }
                pair.same(&[&[format], &words(line)[..]].concat(), "");
            }
            for value in ["", "a b", "\"quoted\" \\ back", "line\nline\r\n\ttab", "é €", "\u{1}\u{7}\u{8}\u{7f}"] {
                pair.same(&[format, "set", "odd", value], "");
                pair.same(&[format, "get", "odd"], "");
                pair.same(&[format, "mget", "odd", "none", "odd"], "");
            }
        }
    }
}

#[test]
fn nested_and_typed_replies_look_the_same() {
    let pair = Pair::new(Kind::Redis);
    let lines =
        ["rpush list a b c d e f g h i j k", "hset hash f 1 g 2", "zadd z 1.5 a 2 b", "sadd set one", "xadd x 1-1 f v"];
    for line in lines {
        pair.same(&words(line), "");
    }
    let asked = [
        "lrange list 0 -1",
        "hgetall hash",
        "zrange z 0 -1 withscores",
        "zscore z a",
        "smembers set",
        "smembers none",
        "hgetall none",
        "lrange none 0 -1",
        "command docs get",
        "command info get nosuch",
        "xinfo help",
        "xinfo stream x full",
        "client list id 999999",
        "cluster info",
        "memory doctor",
        "latency doctor",
    ];
    for protocol in ["-2", "-3"] {
        for format in ["--no-raw", "--raw", "--csv", "--json", "--quoted-json"] {
            for line in asked {
                pair.same(&[&[protocol, format], &words(line)[..]].concat(), "");
            }
        }
    }
    let types = ["string", "integer", "double", "null", "array", "set", "map", "verbatim", "true", "false"];
    for format in ["--no-raw", "--raw", "--csv", "--json", "--quoted-json"] {
        for kind in types {
            pair.same(&["-3", format, "debug", "protocol", kind], "");
        }
    }
}

#[test]
fn options_mean_the_same() {
    for kind in [Kind::Ember, Kind::Redis] {
        let pair = Pair::new(kind);
        let file = "first\nsecond \u{e9}\n";
        for (args, stdin) in [
            ("-x set key", file),
            ("get key", ""),
            ("-X tag set tag value", file),
            ("--no-raw get value", ""),
            ("-r 3 incr n", ""),
            ("-r 3 -i 0.01 incr n", ""),
            ("-r 0 incr n", ""),
            ("-d | mget n n", ""),
            ("-D # -r 2 echo x", ""),
            ("--no-raw -d | mget n n", ""),
            ("-n 3 set in-three 1", ""),
            ("-n 3 dbsize", ""),
            ("-e nosuch", ""),
            ("--csv -e get n", ""),
            ("--bogus", ""),
            ("-r", ""),
            ("--quoted-input set \"a\\x00b\" 'c'", ""),
            ("--no-raw --quoted-input get \"a\\x00b\"", ""),
            ("", "set a 1\n\n  get   a  \n3 incr a\n\"bad\nget a\nquit\nset a lost\n"),
            ("--no-raw", "select 5\nset here 1\nget here\nmulti\nset q 1\nexec\n"),
            ("--json", "get a\nmget a none\n"),
            ("-n 5 --csv get here", ""),
            ("--no-auth-warning -a wrong ping", ""),
            ("subscribe", ""),
        ] {
            if kind == Kind::Ember && (stdin.contains("multi") || args == "subscribe") {
                continue;
            }
            let args: Vec<&str> = args.split(' ').filter(|word| !word.is_empty()).collect();
            pair.same(&args, stdin);
        }
    }
}

#[test]
fn every_key_is_listed() {
    for kind in [Kind::Ember, Kind::Redis] {
        let pair = Pair::new(kind);
        let fill: String = (0..1000).map(|i| format!("set key:{i} {i}\n")).collect();
        pair.same(&[], &fill);
        let list = |program: Command, server: &Server, args: &[&str]| {
            let port = server.port().to_string();
            let output = run(program, &[&["-p", &port, "--scan"], args].concat(), "");
            let mut lines: Vec<String> = said(&output).lines().map(str::to_owned).collect();
            lines.sort();
            lines
        };
        for args in [&[][..], &["--no-raw"], &["--pattern", "key:1?"], &["--quoted-pattern", "\"key:\\x31*\""]] {
            let theirs = list(Command::new("redis-cli"), &pair.theirs.0, args);
            assert_eq!(list(ours(), &pair.ours.0, args), theirs, "{args:?}");
            assert!(!theirs.is_empty());
        }
        let counted = list(ours(), &pair.ours.0, &["--count", "7", "--type", "string"]);
        assert_eq!(counted.len(), 1000);
    }
}

#[test]
fn what_is_piped_is_executed_and_counted() {
    for kind in [Kind::Ember, Kind::Redis] {
        let pair = Pair::new(kind);
        let sets: String = (0..20_000).map(|i| format!("*3\r\n$3\r\nSET\r\n$5\r\n{i:05}\r\n$1\r\n1\r\n")).collect();
        for input in [&sets[..], "ping\r\nnosuch\r\n", "", "set a 1\r\nget a"] {
            // the referee's last two lines may come in either order with its errors; ours are on standard error.
            if input.contains("nosuch") || input.ends_with('a') {
                continue;
            }
            pair.same(&["--pipe"], input);
        }
        pair.same(&["dbsize"], "");
        let port = pair.ours.0.port().to_string();
        let output = run(ours(), &["-p", &port, "--pipe"], "ping\r\nnosuch\r\nget a");
        assert!(!output.status.success());
        assert!(said(&output).ends_with("errors: 1, replies: 3\n"), "{}", said(&output));
        assert!(complained(&output).contains("unknown command"));
    }
}

#[test]
fn a_password_is_taken_from_where_redis_cli_takes_it() {
    for kind in [Kind::Ember, Kind::Redis] {
        let (server, _dir) = start(kind, &["--requirepass", "sesame"]);
        let port = server.port().to_string();
        let ping = |args: &[&str], variable: &str| {
            let mut command = ours();
            command.env("REDISCLI_AUTH", variable);
            run(command, &[&["-p", &port], args, &["ping"]].concat(), "")
        };
        assert_eq!(said(&ping(&[], "sesame")), "PONG\n");
        assert_eq!(said(&ping(&["-a", "sesame"], "wrong")), "PONG\n");
        assert!(complained(&ping(&["-a", "sesame"], "")).contains("can be seen by other users"));
        assert_eq!(complained(&ping(&["-a", "sesame", "--no-auth-warning"], "")), "");
        assert_eq!(said(&ping(&["--user", "default", "--pass", "sesame"], "")), "PONG\n");
        let refused = ping(&[], "wrong");
        assert!(said(&refused).starts_with("NOAUTH"), "{}", said(&refused));
        assert!(complained(&refused).contains("AUTH failed: WRONGPASS"));
        for uri in ["redis://:sesame@127.0.0.1", "redis://default:sesame@localhost"] {
            let output = run(ours(), &["-u", &format!("{uri}:{port}/0"), "ping"], "");
            assert_eq!(said(&output), "PONG\n", "{uri}");
        }
    }
}

#[test]
fn a_socket_is_as_good_as_a_port() {
    let there = dir("console-socket");
    let path = there.path().join("s");
    let path = path.to_str().unwrap();
    let (_server, _dir) = start(Kind::Ember, &["--unixsocket", path]);
    assert_eq!(said(&run(ours(), &["-s", path, "ping"], "")), "PONG\n");
    assert_eq!(said(&run(ours(), &["-u", &format!("unix://{path}"), "ping"], "")), "PONG\n");
}

#[test]
fn what_cannot_be_is_a_failure_that_says_why() {
    let refused = run(ours(), &["-p", "1", "ping"], "");
    assert_eq!(refused.status.code(), Some(1));
    assert!(complained(&refused).contains("could not connect to 127.0.0.1:1"), "{}", complained(&refused));
    // the commands that follow may count on what came before.
    let script = run(ours(), &["-p", "1"], "set a 1\nflushall\n");
    assert_eq!(script.status.code(), Some(1));
    for uri in ["http://x", "rediss://x", "redis://x:y"] {
        assert!(!run(ours(), &["-u", uri, "ping"], "").status.success(), "{uri}");
    }
    let (server, _dir) = start(Kind::Ember, &[]);
    let port = server.port().to_string();
    // redis-cli goes on in database 0, whatever the command is.
    let wrong = run(ours(), &["-p", &port, "-n", "99", "flushdb"], "");
    assert!(!wrong.status.success() && complained(&wrong).contains("SELECT failed"), "{}", complained(&wrong));
    // the referee says so on standard output.
    let quoted = run(ours(), &["-p", &port, "--quoted-input", "set", "\"open", "b"], "");
    assert!(!quoted.status.success() && complained(&quoted).contains("Invalid quoted string"));
    // with -e a script ends with a failure, too.
    assert!(!run(ours(), &["-p", &port, "-e"], "nosuch\nping\n").status.success());
}

#[test]
fn a_lost_connection_is_not_hidden_and_the_next_command_finds_a_new_one() {
    if !common::is_ember() {
        return;
    }
    let (mut server, dir) = start(Kind::Ember, &[]);
    let port = server.port();
    let mut command = ours();
    command.args(["-p", &port.to_string(), "-n", "4"]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut input = child.stdin.take().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
    input.write_all(b"set a 1\n").unwrap();
    assert_eq!(lines.next().as_deref(), Some("OK"));
    server.kill9().unwrap();
    let _again = Server::start(&common::spec(dir.path(), &[]).port(port)).unwrap();
    input.write_all(b"get a\n").unwrap();
    assert_eq!(lines.next().as_deref(), Some("1"), "in the same database");
    drop(input);
    assert!(child.wait().unwrap().success());
}

#[test]
fn modes_say_what_they_measure() {
    for kind in [Kind::Ember, Kind::Redis] {
        let (server, _dir) = start(kind, &[]);
        let port = server.port().to_string();
        let mode = |args: &str| {
            let output = run(ours(), &[&["-p", &port], &words(args)[..]].concat(), "");
            assert!(output.status.success(), "{args}: {}", complained(&output));
            said(&output)
        };
        mode("mset short x long 12345678 other 1234");
        let biggest = mode("--bigkeys");
        assert!(biggest.contains("Sampled 3 keys"), "{biggest}");
        assert!(biggest.contains("Biggest string found \"long\" has 8 bytes"), "{biggest}");
        assert!(biggest.contains("3 strings with 13 bytes (100.00% of keys, avg size 4.33)"), "{biggest}");
        let stat = mode("--stat -r 3 -i 0.05");
        assert!(stat.starts_with("------- data ------"), "{stat}");
        assert_eq!(stat.lines().count(), 5);
        assert!(stat.lines().skip(2).all(|line| line.starts_with("3 ")), "{stat}");
        let latency = mode("--latency -i 0.2");
        assert_eq!(latency.split(' ').count(), 4, "{latency}");
        assert_eq!(mode("--latency --csv -i 0.2").split(',').count(), 4);
        assert!(mode("--no-raw --latency -i 0.2").starts_with("min: "));
    }
    let (redis, _dir) = start(Kind::Redis, &[]);
    let port = redis.port().to_string();
    run(ours(), &["-p", &port], "rpush list a b\nhset hash f 1\nset s x\nsadd set 1 2 3\nzadd z 1 a\nxadd x * a b\n");
    let biggest = said(&run(ours(), &["-p", &port, "--bigkeys"], ""));
    for line in ["\"list\" has 2 items", "\"hash\" has 1 fields", "\"set\" has 3 members", "\"x\" has 1 entries"] {
        assert!(biggest.contains(line), "{line} in {biggest}");
    }
    let memory = said(&run(ours(), &["-p", &port, "--memkeys"], ""));
    assert!(memory.contains("Biggest   list found \"list\" has ") && memory.contains(" bytes ("), "{memory}");
    assert!(said(&run(ours(), &["--intrinsic-latency", "1"], "")).contains("total runs"));
}

/// A client that runs until it is killed.
struct Endless(Child);

impl Drop for Endless {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Starts one with its output in a file, which is what it would be in a script.
fn endless(args: &[&str], out: &Path) -> Endless {
    let mut command = ours();
    command.args(args).stdin(Stdio::null()).stdout(std::fs::File::create(out).unwrap());
    Endless(command.spawn().unwrap())
}

#[test]
fn modes_without_an_end_go_on() {
    let (server, _dir) = start(Kind::Redis, &[]);
    let there = dir("console-endless");
    let port = server.port().to_string();
    let mut clients = Vec::new();
    for (name, args, wanted) in [
        ("history", "--latency-history -i 0.1", "\n"),
        ("spectrum", "--latency-dist -i 0.1", "samples\n"),
        ("watch", "--watch 50ms incr watched", "3\n"),
        ("subscribe", "--csv subscribe channel", "\"subscribe\",\"channel\",1\n"),
        ("resp3", "-3 --csv psubscribe *", "\"psubscribe\",\"*\",1\n"),
        ("monitor", "monitor", "OK\n"),
        ("repeat", "-r -1 -i 0.01 incr repeated", "3\n"),
    ] {
        let out = there.path().join(name);
        clients.push(endless(&[&["-p", &port], &words(args)[..]].concat(), &out));
        let text = || std::fs::read_to_string(&out).unwrap();
        eventually(name, || text().contains(wanted));
        if name.ends_with("3") || name == "subscribe" {
            run(ours(), &["-p", &port, "publish", "channel", "a b"], "");
            eventually(name, || text().contains("\"channel\",\"a b\"\n"));
        }
    }
    let monitored = || std::fs::read_to_string(there.path().join("monitor")).unwrap();
    eventually("the monitor sees the others", || monitored().contains("\"incr\" \"watched\""));
}

#[test]
fn a_link_makes_a_command_of_its_own() {
    let there = dir("console-link");
    let link = there.path().join("emberkv-cli");
    std::os::unix::fs::symlink(binary(), &link).unwrap();
    let (server, _dir) = start(Kind::Ember, &[]);
    let output = run(Command::new(link), &["-p", &server.port().to_string(), "ping"], "");
    assert_eq!(said(&output), "PONG\n");
}

/// A node that answers every request with one reply, and hands on what it was sent.
fn node(reply: String) -> (String, std::sync::mpsc::Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port().to_string();
    let (asked, requests) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        for socket in listener.incoming() {
            let (mut socket, mut buffer) = (socket.unwrap(), [0; 4096]);
            while let Ok(read) = socket.read(&mut buffer)
                && read > 0
            {
                let _ = asked.send(String::from_utf8_lossy(&buffer[..read]).into_owned());
                let _ = socket.write_all(reply.as_bytes());
            }
        }
    });
    (port, requests)
}

#[test]
fn a_command_follows_its_slot_only_when_asked_to() {
    let (there, asked) = node("+here\r\n".into());
    for (error, requests) in [("MOVED", &["GET"][..]), ("ASK", &["ASKING", "GET"])] {
        let (port, _) = node(format!("-{error} 7 127.0.0.1:{there}\r\n"));
        let left = run(ours(), &["-p", &port, "GET", "a"], "");
        assert_eq!(said(&left), format!("{error} 7 127.0.0.1:{there}\n\n"));
        let followed = run(ours(), &["-c", "-p", &port, "GET", "a"], "");
        assert_eq!(said(&followed), "here\n", "{}", complained(&followed));
        for request in requests {
            let asked = asked.recv_timeout(common::PATIENCE).unwrap();
            assert!(asked.contains(request), "{asked:?} instead of {request}");
        }
    }
    let (port, _) = node("-MOVED 7 :1\r\n".into());
    let lost = run(ours(), &["-c", "-p", &port, "GET", "a"], "");
    assert!(complained(&lost).contains("could not connect to 127.0.0.1:1"), "an empty host is the same one");
}
