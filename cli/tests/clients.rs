//! Clients that people use work unchanged. `torture/clients.sh` installs them.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod common;

use std::path::Path;

use emberkv_torture::{Server, TempDir, peers};

fn servers() -> impl Iterator<Item = (Server, TempDir)> {
    common::drivers().into_iter().map(|io| {
        let args = common::driver_args(io);
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        common::start("clients", &args)
    })
}

#[test]
fn redis_py_works_unchanged() {
    let python = peers::python().unwrap_or_else(|error| panic!("{error}"));
    let script = common::test_file("clients/redis_py.py");
    for (server, _dir) in servers() {
        let args = [script.to_str().unwrap(), &server.port().to_string()];
        let said = common::run(&python, &args, &[]);
        assert!(said.ends_with("done\n"), "{said}");
    }
}

#[test]
fn ioredis_works_unchanged() {
    let modules = peers::target_dir().join("clients/node_modules");
    let there = modules.join("ioredis").is_dir();
    assert!(there, "ioredis is not in {}: run torture/clients.sh", modules.display());
    let script = common::test_file("clients/ioredis.js");
    for (server, _dir) in servers() {
        let args = [script.to_str().unwrap(), &server.port().to_string()];
        let said = common::run("node", &args, &[("NODE_PATH", Path::new(&modules))]);
        assert!(said.ends_with("done\n"), "{said}");
    }
}

#[test]
fn redis_cli_works_unchanged() {
    for (server, _dir) in servers() {
        let port = server.port().to_string();
        let cli = |args: &[&str]| common::run("redis-cli", &[&["-p", &port], args].concat(), &[]);
        assert_eq!(cli(&["PING"]), "PONG\n");
        assert_eq!(cli(&["SET", "a", "1", "EX", "100"]), "OK\n");
        assert_eq!(cli(&["-3", "GET", "a"]), "1\n");
        assert_eq!(cli(&["-n", "3", "DBSIZE"]), "0\n");
        assert_eq!(cli(&["--scan", "--pattern", "a*"]), "a\n");
        assert!(cli(&["INFO", "server"]).contains("redis_version"));
        assert!(cli(&["--no-raw", "GET", "missing"]).contains("(nil)"));
    }
}

#[test]
fn redis_benchmark_works_unchanged() {
    for (server, _dir) in servers() {
        let port = server.port().to_string();
        let tests = ["-q", "-n", "10000", "-t", "set,get,incr,mset", "-P", "16", "-p", &port];
        let said = common::run("redis-benchmark", &tests, &[]);
        for test in ["SET:", "GET:", "INCR:", "MSET"] {
            assert!(said.contains(test), "no result of {test} in\n{said}");
        }
    }
}
