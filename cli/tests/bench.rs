//! `emberkv bench` against real servers: what it says it did is what the server counted.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod common;

use std::process::{Command, Output};

use common::{binary, dir, must, start, text};
use emberkv_torture::{Server, ServerSpec, peers};

fn bench(args: &str) -> Output {
    Command::new(binary()).arg("bench").args(args.split_whitespace()).output().unwrap()
}

fn said(output: &Output) -> String {
    let err = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{err}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// The number behind `"name": ` in a json text.
fn number(json: &str, name: &str) -> f64 {
    let (_, rest) = json.split_once(&format!("\"{name}\": ")).unwrap_or_else(|| panic!("no {name} in\n{json}"));
    let end = rest.find([',', '\n']).unwrap();
    rest[..end].parse().unwrap_or_else(|_| panic!("{name} is no number in\n{json}"))
}

fn calls(server: &Server, command: &str) -> u64 {
    let info = text(&must(&mut server.connect().unwrap(), "INFO commandstats"));
    let line = info.lines().find_map(|line| line.strip_prefix(&format!("cmdstat_{command}:calls=")).map(str::to_owned));
    line.map_or(0, |line| line.split(',').next().unwrap().parse().unwrap())
}

#[test]
fn the_server_counts_what_the_report_says() {
    let there = dir("bench");
    let json = there.path().join("out.json");
    let redis = peers::redis82().unwrap_or_else(|error| panic!("{error}"));
    let redis = Server::start(&ServerSpec::new(redis, there.path())).unwrap();
    let shared = "-k 1000 -c 7 -P 4 -t 2 --duration 300ms --warm-up 0s";
    said(&bench(&format!("-p {} {shared} -w 50/50 --json {}", redis.port(), json.display())));
    let json = std::fs::read_to_string(json).unwrap();
    let (requests, reads) = (number(&json, "requests"), number(&json, "reads"));
    assert_eq!(calls(&redis, "get") as f64, reads);
    assert_eq!(calls(&redis, "set") as f64, requests - reads + 1000.0, "with those that were set first");
    assert!((0.4..0.6).contains(&(reads / requests)), "{json}");
    assert_eq!((number(&json, "misses"), number(&json, "errors")), (0.0, 0.0));
    assert_eq!(must(&mut redis.connect().unwrap(), "DBSIZE").integer(), Some(1000));
}

#[test]
fn every_workload_runs() {
    let (server, _dir) = start("bench-workloads", &[]);
    for workload in
        ["get", "set", "95/5", "20/80", "ycsb-a", "ycsb-b", "ycsb-c", "ycsb-f", "counter", "high-cardinality"]
    {
        let line = format!("-p {} -w {workload} -k 500 -c 5 --duration 100ms --warm-up 10ms", server.port());
        let said = said(&bench(&line));
        assert!(said.starts_with(&format!("{workload}: 5 clients")) && !said.contains("errors"), "{said}");
    }
    let large = said(&bench(&format!("-p {} -w large -k 5 -c 2 --duration 100ms", server.port())));
    assert!(large.contains("values of 1024 to 1048576 bytes") && large.contains("100.00% found"), "{large}");
    for spread in ["uniform", "zipfian", "sequential", "hot"] {
        let line = format!("-p {} --dist {spread} -d 1..100 --ttl 60 -k 500 --duration 100ms", server.port());
        assert!(said(&bench(&line)).contains(&format!("500 keys that live 60 s ({spread})")));
    }
}

#[test]
fn requests_leave_by_the_clock() {
    let (server, _dir) = start("bench-open", &[]);
    let there = dir("bench-open-out");
    let json = there.path().join("out.json");
    let line = format!("-p {} -k 100 --rate 2000 --duration 1s --warm-up 0s --json {}", server.port(), json.display());
    let said = said(&bench(&line));
    assert!(said.contains("open loop at 2000 requests/s") && said.contains("send lag"), "{said}");
    let json = std::fs::read_to_string(json).unwrap();
    assert_eq!(number(&json, "requests"), 2000.0);
}

#[test]
fn two_servers_take_turns() {
    let (a, _a) = start("bench-a", &[]);
    let (b, _b) = start("bench-b", &["--requirepass", "p"]);
    let line = format!(
        "--compare 127.0.0.1:{} redis://:p@127.0.0.1:{}/2 --rounds 3 -k 100 --duration 100ms --warm-up 0s",
        a.port(),
        b.port()
    );
    let output = bench(&line);
    let table = said(&output);
    assert!(table.contains("medians of 3 rounds") && table.contains("A / B"), "{table}");
    let rounds = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(rounds.lines().filter(|line| line.starts_with("round ")).count(), 6, "{rounds}");
    assert!(table.lines().any(|line| line.trim_start().starts_with("p99.9 ms")), "{table}");
}

#[test]
fn what_cannot_be_measured_is_a_failure_that_says_why() {
    let (server, _dir) = start("bench-refused", &["--requirepass", "p"]);
    let port = server.port();
    let fails = |line: &str| {
        let output = bench(line);
        assert!(!output.status.success(), "{line}");
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    assert!(fails(&format!("-p {port} -k 10 --duration 100ms")).contains("NOAUTH"));
    assert!(fails(&format!("-p {port} -a wrong -k 10")).contains("WRONGPASS"));
    assert!(fails(&format!("-p {port} -a p -n 99 -k 10")).contains("out of range"));
    assert!(fails("-p 1 -k 10").contains("connecting to 127.0.0.1:1"));
    assert!(fails("-w ycsb-e").contains("ycsb-f"));
}

#[test]
fn shells_and_man_know_the_command_line() {
    let run = |args: &[&str]| said(&Command::new(binary()).args(args).output().unwrap());
    for shell in ["bash", "zsh", "fish"] {
        let text = run(&["completions", shell]);
        assert!(text.contains("bench") && text.contains("quoted-json"), "{shell}");
    }
    let bash = run(&["completions", "bash"]);
    let there = dir("generated");
    let script = there.path().join("completions.bash");
    std::fs::write(&script, bash).unwrap();
    assert!(Command::new("bash").arg("-n").arg(&script).status().unwrap().success());
    assert!(run(&["man"]).contains(".TH emberkv"));
    run(&["man", there.path().to_str().unwrap()]);
    for page in ["emberkv.1", "emberkv-cli.1", "emberkv-bench.1", "emberkv-server.1"] {
        assert!(there.path().join(page).exists(), "{page}");
    }
}
