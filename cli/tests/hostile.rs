//! What means no good, or is broken: streams that are hardly RESP, commands with arguments that nobody would send, configurations
//! of nonsense. The server stays up, honest clients are served, memory stays within bounds. Damaged files: `doctor.rs`, and
//! `hostile.rs` among the log's simulations. `EMBERKV_HOSTILE_CASES` and `EMBERKV_HOSTILE_SEED` for more.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod common;

use std::fs;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use common::{PATIENCE, binary, dir, drivers, is_ember, must, number, start};
use emberkv_torture::client::encode;
use emberkv_torture::rng::Rng;
use emberkv_torture::{Client, Error, Server, Value};

/// Larger than what a fuzzed client may make a server of small limits keep: two heads, buffers and what is swept later.
const MEMORY_KIB: u64 = 600 << 10;

/// Resident memory of a process.
fn resident_kib(server: &Server) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", server.pid())).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}

fn is_well(server: &mut Server, what: &str) {
    let exited = server.exited().unwrap();
    assert!(exited.is_none(), "{what}: the server is gone ({exited:?}):\n{}", server.log_text());
    let mut honest = server.connect().unwrap();
    assert!(honest.ask("SET honest 1").unwrap().is_ok(), "{what}");
    assert_eq!(must(&mut honest, "GET honest"), Value::Bulk(b"1".to_vec()), "{what}");
    let resident = resident_kib(server);
    assert!(resident < MEMORY_KIB, "{what}: {resident} KiB are resident");
}

/// A pipeline of honest requests, then spoilt.
fn spoilt_stream(rng: &mut Rng) -> Vec<u8> {
    let mut bytes = Vec::new();
    for _ in 0..rng.between(1, 12) {
        let value = vec![b'v'; rng.below(300) as usize];
        match rng.below(4) {
            0 => encode(&[&b"SET"[..], b"key", &value], &mut bytes),
            1 => encode(&["GET", "key"], &mut bytes),
            2 => bytes.extend_from_slice(b"PING hello\r\n"),
            _ => encode(&["MSET", "a", "1", "b", "2"], &mut bytes),
        }
    }
    for _ in 0..rng.between(1, 4) {
        let at = rng.index(bytes.len());
        match rng.below(6) {
            0 => bytes[at] = *rng.pick(b"*$:+-_\r\n\0\"' 019\xff"),
            1 => bytes[at] ^= 1 << rng.below(8),
            2 => bytes.truncate(at.max(1)),
            3 => drop(bytes.drain(at..(at + 5).min(bytes.len() - 1).max(at))),
            4 => {
                let heads: [&[u8]; 10] = [
                    b"*2147483647\r\n",
                    b"*1048577\r\n",
                    b"$536870912\r\n",
                    b"$99999999999999999999\r\n",
                    b"*-1\r\n",
                    b"$-5\r\n",
                    b"*1\r\n*1\r\n*1\r\n",
                    b"*0\r\n",
                    b"\r\n\r\n",
                    b"*3\r\n$3\r\nSET\r\n$-1\r\n",
                ];
                bytes.splice(at..at, rng.pick(&heads).iter().copied());
            }
            _ => bytes.splice(at..at, (0..70_000).map(|_| b'x')).for_each(drop),
        }
    }
    bytes
}

#[test]
fn streams_that_are_hardly_resp_disturb_nobody() {
    if !is_ember() {
        return;
    }
    let (cases, seed) = (number("EMBERKV_HOSTILE_CASES", 300), number("EMBERKV_HOSTILE_SEED", 1));
    for io in drivers() {
        let (mut server, _dir) = start("hostile-streams", &["--io", io, "--proto-max-bulk-len", "1mb"]);
        for case in 0..cases {
            let mut rng = Rng::new(seed).fork(case);
            let mut client = server.connect().unwrap();
            client.send_raw(&spoilt_stream(&mut rng));
            // it may be closed while it still sends
            let sent = client.flush().and_then(|()| client.close_sending());
            if sent.is_ok() {
                match client.read_to_close() {
                    Ok(_) | Err(Error::Closed) => {}
                    Err(error) => panic!("io {io}, seed {seed}, case {case}: {error}"),
                }
            }
            if case % 50 == 0 {
                is_well(&mut server, &format!("io {io}, seed {seed}, case {case}"));
            }
        }
        is_well(&mut server, &format!("io {io}, seed {seed}"));
    }
}

/// An argument as COMMAND DOCS describes it.
#[derive(Debug, Default)]
struct Argument {
    kind: String,
    token: Option<String>,
    is_optional: bool,
    is_multiple: bool,
    nested: Vec<Self>,
}

/// The pairs of a map in RESP2.
fn pairs(value: &Value) -> impl Iterator<Item = (String, &Value)> {
    let items = value.items().unwrap_or_default();
    items.chunks_exact(2).map(|pair| (common::text(&pair[0]), &pair[1]))
}

fn arguments(value: &Value) -> Vec<Argument> {
    let one = |value: &Value| {
        let mut argument = Argument::default();
        for (field, value) in pairs(value) {
            match field.as_str() {
                "type" => argument.kind = common::text(value),
                "token" => argument.token = Some(common::text(value)),
                "flags" => {
                    let flags: Vec<_> = value.items().unwrap_or_default().iter().map(common::text).collect();
                    argument.is_optional = flags.iter().any(|flag| flag == "optional");
                    argument.is_multiple = flags.iter().any(|flag| flag == "multiple");
                }
                "arguments" => argument.nested = arguments(value),
                _ => {}
            }
        }
        argument
    };
    value.items().unwrap_or_default().iter().map(one).collect()
}

/// All commands and subcommands with their arguments, but those that end the server, change it for others, answer nothing, or
/// wait for what a primary writes.
fn grammar(client: &mut Client) -> Vec<(Vec<String>, Vec<Argument>)> {
    const LEFT_OUT: [&str; 11] = [
        "shutdown",
        "monitor",
        "debug",
        "failover",
        "replicaof",
        "slaveof",
        "config|set",
        "config|rewrite",
        "client|pause",
        "client|reply",
        "ember|pull",
    ];
    fn collect(name: &str, doc: &Value, into: &mut Vec<(Vec<String>, Vec<Argument>)>) {
        if LEFT_OUT.contains(&name) || name.contains("subscribe") {
            return;
        }
        let mut own = Vec::new();
        let mut is_container = false;
        for (field, value) in pairs(doc) {
            match field.as_str() {
                "arguments" => own = arguments(value),
                "subcommands" => {
                    is_container = true;
                    pairs(value).for_each(|(name, doc)| collect(&name, doc, into));
                }
                _ => {}
            }
        }
        if !is_container {
            into.push((name.split('|').map(str::to_owned).collect(), own));
        }
    }
    let docs = must(client, "COMMAND DOCS");
    let mut all = Vec::new();
    pairs(&docs).for_each(|(name, doc)| collect(&name, doc, &mut all));
    all
}

fn hostile_number(rng: &mut Rng) -> Vec<u8> {
    let numbers = [
        "0",
        "1",
        "-1",
        "2",
        "16",
        "-16",
        "100",
        "9223372036854775807",
        "-9223372036854775808",
        "9223372036854775808",
        "18446744073709551616",
        "4294967296",
        "2147483648",
        "1e400",
        "-inf",
        "nan",
        "0.1",
        "",
        " 1",
        "+1",
        "0x10",
        "1048577",
    ];
    rng.pick(&numbers).as_bytes().to_vec()
}

fn write_argument(argument: &Argument, rng: &mut Rng, out: &mut Vec<Vec<u8>>) {
    if argument.is_optional && rng.percent(60) {
        return;
    }
    for _ in 0..if argument.is_multiple { rng.between(1, 3) } else { 1 } {
        if rng.percent(3) {
            continue; // one that should be there is not
        }
        if let Some(token) = &argument.token {
            out.push(token.clone().into_bytes());
        }
        match argument.kind.as_str() {
            "pure-token" => {}
            "oneof" if !argument.nested.is_empty() => write_argument(rng.pick(&argument.nested), rng, out),
            "block" => argument.nested.iter().for_each(|nested| write_argument(nested, rng, out)),
            "key" => out.push(match rng.below(12) {
                0 => Vec::new(),
                1 => vec![b'k'; 70_000],
                2 => vec![0, 0xff, b'\r', b'\n'],
                number => format!("key:{number}").into_bytes(),
            }),
            "integer" | "double" | "unix-time" => out.push(hostile_number(rng)),
            _ => out.push(match rng.below(8) {
                0 => Vec::new(),
                1 => (0..rng.below(300)).map(|_| rng.next_u64() as u8).collect(),
                2 => vec![b'*'; 500],
                3 => vec![b'x'; rng.below(200_000) as usize],
                4 => b"[a-\\".to_vec(),
                _ => hostile_number(rng),
            }),
        }
    }
}

/// Commands that may wait for ever.
const WAIT: [&str; 9] = ["blmove", "blmpop", "blpop", "brpop", "brpoplpush", "bzmpop", "bzpopmax", "bzpopmin", "wait"];

/// Sends a command that may wait, and has it given up if it does.
fn unblocked(server: &Server, client: &mut Client, request: &[Vec<u8>]) -> emberkv_torture::Result<Value> {
    let id = client.command(&["CLIENT", "ID"])?.integer();
    client.send(request);
    client.flush()?;
    let mut other = server.connect()?;
    // in MULTI it is queued, and does not wait
    if let Some(id) = id.map(|id| id.to_string()) {
        for _ in 0..50 {
            if other.command(&["CLIENT", "UNBLOCK", &id])? == Value::Integer(1) {
                break;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }
    client.read()
}

#[test]
fn arguments_that_nobody_would_send_are_answered() {
    if !is_ember() {
        return;
    }
    let (cases, seed) = (number("EMBERKV_HOSTILE_CASES", 300) * 20, number("EMBERKV_HOSTILE_SEED", 1));
    for (io, cores) in drivers().into_iter().zip(["1", "2"]) {
        let args = ["--io", io, "--cores", cores, "--proto-max-bulk-len", "1mb", "--segment-size", "4mb"];
        let (mut server, _dir) = start("hostile-arguments", &args);
        let mut client = server.connect().unwrap();
        let grammar = grammar(&mut client);
        assert!(grammar.len() > 60, "only {} commands", grammar.len());
        let mut rng = Rng::new(seed).fork(u64::from(cores == "2"));
        let (mut errors, mut closed) = (0, 0);
        for case in 0..cases {
            let (words, arguments) = rng.pick(&grammar);
            let mut request: Vec<Vec<u8>> = words.iter().map(|word| word.clone().into_bytes()).collect();
            arguments.iter().for_each(|argument| write_argument(argument, &mut rng, &mut request));
            let what = || {
                let words: Vec<_> =
                    request.iter().map(|word| emberkv_torture::value::escape(&word[..word.len().min(60)])).collect();
                format!("io {io}, seed {seed}, case {case}: {}", words.join(" "))
            };
            let reply = if WAIT.contains(&words[0].as_str()) {
                unblocked(&server, &mut client, &request)
            } else {
                client.command(&request)
            };
            match reply {
                Ok(reply) => errors += u64::from(matches!(reply, Value::Error(_))),
                Err(Error::Closed) => {
                    closed += 1;
                    assert!(server.exited().unwrap().is_none(), "{}:\n{}", what(), server.log_text());
                    client = server.connect().unwrap();
                }
                Err(error) => panic!("{}: {error}", what()),
            }
            // HELLO 3 would change how the next ones are read, CLIENT TRACKING what comes between
            if words[0] == "hello" || words[0] == "client" {
                client = server.connect().unwrap();
            }
        }
        println!("{cases} commands, {errors} errors, {closed} closed connections");
        is_well(&mut server, &format!("io {io}, seed {seed}"));
        assert!(errors > 0 && errors < cases);
    }
}

/// A configuration file of directives that exist, with values that don't.
fn nonsense(names: &[String], rng: &mut Rng) -> Vec<u8> {
    let mut text = Vec::new();
    for _ in 0..rng.between(1, 6) {
        let name = if rng.percent(90) { rng.pick(names).clone() } else { "include".to_owned() };
        if name == "dir" || name == "logfile" {
            continue; // nothing is to be made anywhere
        }
        text.extend_from_slice(name.as_bytes());
        for _ in 0..rng.below(4) {
            text.extend_from_slice(b" ");
            match rng.below(7) {
                0 => text.extend((0..rng.below(40)).map(|_| rng.next_u64() as u8).filter(|byte| *byte != b'/')),
                1 => text.extend_from_slice(b"\"\\x"),
                2 => text.extend_from_slice(rng.pick(&["yes", "no", "auto", "always", "1kb", "10gb", "*"]).as_bytes()),
                3 => text.extend(vec![b'9'; rng.below(400) as usize]),
                _ => text.extend(hostile_number(rng)),
            }
        }
        text.extend_from_slice(rng.pick(&["\n", "\r\n", "\0\n", "\n\n"]).as_bytes());
    }
    text
}

#[test]
fn a_configuration_of_nonsense_is_refused_in_words() {
    if !is_ember() {
        return;
    }
    let (cases, seed) = (number("EMBERKV_HOSTILE_CASES", 300) / 2, number("EMBERKV_HOSTILE_SEED", 1));
    let help = Command::new(binary()).args(["server", "--help"]).output().unwrap();
    let help = String::from_utf8(help.stdout).unwrap();
    let is_name = |word: &str| word.len() > 2 && word.chars().all(|c| c.is_ascii_lowercase() || c == '-');
    let first = |line: &str| line.split_whitespace().next().map(|word| word.trim_start_matches("--").to_owned());
    let names: Vec<String> = help.lines().filter_map(first).filter(|word| is_name(word)).collect();
    assert!(names.len() > 30, "only {} directives in the help", names.len());
    let folder = dir("hostile-config");
    let file = folder.path().join("nonsense.conf");
    let mut refused = 0;
    for case in 0..cases {
        let mut rng = Rng::new(seed).fork(case);
        let mut text = nonsense(&names, &mut rng);
        if case == 0 {
            text = format!("include {}\n", file.display()).into_bytes();
        }
        fs::write(&file, &text).unwrap();
        // no such directory can be made: what is accepted ends there
        let words = ["--dir", "/proc/nowhere", "--port", "0", "--logfile", ""];
        let mut command = Command::new(binary());
        command.arg("server").arg(&file).args(words).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let began = Instant::now();
        let status = loop {
            if let Some(status) = child.try_wait().unwrap() {
                break status;
            }
            if began.elapsed() > PATIENCE {
                child.kill().unwrap();
                child.wait().unwrap();
                panic!("seed {seed}, case {case}: it hangs with {}", emberkv_torture::value::escape(&text));
            }
            std::thread::sleep(std::time::Duration::from_millis(2));
        };
        let said = child.wait_with_output().unwrap().stderr;
        let said = String::from_utf8_lossy(&said);
        let what = || format!("seed {seed}, case {case}: {}\n{said}", emberkv_torture::value::escape(&text));
        assert_eq!(status.code(), Some(1), "{}", what());
        assert!(!said.contains("panicked"), "{}", what());
        refused += u64::from(!said.contains("/proc/nowhere"));
    }
    println!("{refused} of {cases} were refused for what they say");
    assert!(refused > cases / 4);
}
