//! What COMMAND replies, next to a real redis 8.2. Set `EMBERKV_REDIS_8` to its port to run it; without, it is
//! skipped.
#![allow(clippy::unwrap_used)]

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;

use emberkv_resp::schema::{self, COMMANDS};
use emberkv_resp::{Args, Limits, Output, Parsed, Parser, Protocol, Reply};

/// A reply, with its kinds kept apart.
#[derive(Clone, PartialEq, Debug)]
enum Value {
    Line(String),
    Bulk(String),
    Aggregate(char, Vec<Value>),
}

fn read(from: &mut impl BufRead) -> Value {
    let mut line = String::new();
    from.read_line(&mut line).unwrap();
    let line = line.trim_end();
    let (kind, rest) = (line.chars().next().unwrap(), &line[1..]);
    match kind {
        '$' if !rest.starts_with('-') => {
            let mut bytes = vec![0; rest.parse::<usize>().unwrap() + 2];
            from.read_exact(&mut bytes).unwrap();
            bytes.truncate(bytes.len() - 2);
            Value::Bulk(String::from_utf8(bytes).unwrap())
        }
        '*' | '~' | '%' if !rest.starts_with('-') => {
            let len = rest.parse::<usize>().unwrap() * if kind == '%' { 2 } else { 1 };
            Value::Aggregate(kind, (0..len).map(|_| read(from)).collect())
        }
        _ => Value::Line(line.to_owned()),
    }
}

fn bulk(text: &str) -> Value {
    Value::Bulk(text.to_owned())
}

/// Takes out what differs on purpose: summaries, changes' texts and notes are our own words, and there are fewer
/// subcommands, in another order.
fn normalised(value: Value) -> Value {
    let Value::Aggregate(kind, items) = value else {
        return value;
    };
    let is_subcommand = |v: &Value| match v {
        Value::Bulk(name) => name.contains('|'),
        Value::Aggregate('*', items) => matches!(&items[..], [Value::Bulk(n), _, ..] if n.contains('|')),
        _ => false,
    };
    let known = |v: &Value| match v {
        Value::Bulk(name) => schema::lookup_full(name.as_bytes()).is_some(),
        Value::Aggregate(_, items) => {
            matches!(&items[..], [Value::Bulk(n), ..] if schema::lookup_full(n.as_bytes()).is_some())
        }
        Value::Line(_) => false,
    };
    let mut out: Vec<Value> = Vec::new();
    if items.first().is_some_and(is_subcommand) && items.iter().step_by(2).all(is_subcommand) {
        // COMMAND DOCS: name and map by turns; COMMAND INFO: one array each.
        let width = if matches!(items[0], Value::Bulk(_)) && items.len() % 2 == 0 { 2 } else { 1 };
        let mut entries: Vec<&[Value]> = items.chunks(width).filter(|entry| known(&entry[0])).collect();
        entries.sort_by_key(|entry| format!("{:?}", entry[0]));
        out = entries.into_iter().flatten().cloned().map(normalised).collect();
    } else {
        let mut items = items.into_iter();
        while let Some(item) = items.next() {
            let is_ours = item == bulk("summary") || item == bulk("notes");
            let is_history = item == bulk("history");
            out.push(normalised(item));
            if is_ours {
                items.next();
                out.push(bulk("..."));
            } else if is_history && let Some(Value::Aggregate(kind, changes)) = items.next() {
                let changes = changes.into_iter().map(|change| match change {
                    Value::Aggregate(kind, mut pair) => {
                        pair[1] = bulk("...");
                        Value::Aggregate(kind, pair)
                    }
                    other => other,
                });
                out.push(Value::Aggregate(kind, changes.collect()));
            }
        }
    }
    Value::Aggregate(kind, out)
}

fn ours(request: &[u8], protocol: Protocol) -> Value {
    let mut spans = Vec::new();
    let parsed = Parser::new().parse(request, 0, &mut spans, &Limits::default());
    assert!(matches!(parsed, Ok(Parsed::Command { .. })));
    let args = Args::new(request, &spans);
    let mut out = Output::new();
    let mut reply = Reply::new(&mut out, protocol);
    match schema::resolve(args) {
        Ok(command) => schema::command(schema::Names::stock(), command.id, args, &mut reply),
        Err(error) => reply.error_bytes(&error.reply(args)),
    }
    read(&mut &out.to_vec()[..])
}

fn encode(line: &str) -> Vec<u8> {
    let words: Vec<&str> = line.split(' ').collect();
    let mut bytes = format!("*{}\r\n", words.len()).into_bytes();
    for word in words {
        bytes.extend_from_slice(format!("${}\r\n{word}\r\n", word.len()).as_bytes());
    }
    bytes
}

#[test]
fn command_replies_as_redis_8_does() {
    let Ok(port) = std::env::var("EMBERKV_REDIS_8") else {
        eprintln!("skipped: EMBERKV_REDIS_8 is not set");
        return;
    };
    let mut requests: Vec<String> = Vec::new();
    // valkey's own
    for command in COMMANDS.iter().filter(|command| !matches!(command.name, "delifeq")) {
        requests.push(format!("COMMAND INFO {}", command.name));
        requests.push(format!("COMMAND DOCS {}", command.name));
    }
    requests.extend(
        [
            "COMMAND INFO nothing get nothing|more get|more client|id|x",
            "COMMAND DOCS nothing GET nothing",
            "COMMAND GETKEYS mset a 1 b 2",
            "COMMAND GETKEYS set a 1",
            "COMMAND GETKEYS nothing",
            "COMMAND GETKEYS get",
            "COMMAND GETKEYS ping",
            "COMMAND LIST FILTERBY PATTERN strle?",
            "COMMAND LIST FILTERBY MODULE none",
            "COMMAND LIST FILTERBY ACLCAT none",
            "COMMAND LIST FILTERBY ACLCAT",
            "COMMAND COUNT now",
            "COMMAND NOTHING",
            "COMMAND GETKEYS",
        ]
        .map(str::to_owned),
    );
    for protocol in [Protocol::Resp2, Protocol::Resp3] {
        let stream = TcpStream::connect(format!("127.0.0.1:{port}")).unwrap();
        let mut from = BufReader::new(stream.try_clone().unwrap());
        let mut to = stream;
        let mut ask = |line: &str| {
            to.write_all(&encode(line)).unwrap();
            read(&mut from)
        };
        ask(&format!("HELLO {}", protocol.version()));
        for request in &requests {
            let (theirs, ours) = (ask(request), ours(&encode(request), protocol));
            // SET has valkey's IFEQ, and what BGREWRITEAOF takes is another matter here
            // of DEBUG redis says that it is for the system, and MIGRATE's key may be a word that is empty
            // of XADD and XTRIM we have no KEEPREF, DELREF and ACKED
            let names = ["set", "bgrewriteaof", "debug", "migrate", "xadd", "xtrim"];
            if request.strip_prefix("COMMAND DOCS ").is_some_and(|name| names.contains(&name)) {
                continue;
            }
            assert_eq!(normalised(ours), normalised(theirs), "{request} in {protocol:?}");
        }
    }
}
