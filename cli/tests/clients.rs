//! Clients that people use work unchanged. `torture/clients.sh` installs them.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod common;

use std::collections::BTreeMap;
use std::path::Path;

use emberkv_torture::{Server, TempDir, peers};
use redis::Commands as _;

fn servers() -> impl Iterator<Item = (Server, TempDir)> {
    common::drivers().into_iter().map(|io| {
        let args = common::driver_args(io);
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        common::start("clients", &args)
    })
}

/// Runs a script of python against a server: it has to say that it is done.
fn python(script: &str, server: &Server, words: &[&str]) {
    let python = peers::python().unwrap_or_else(|error| panic!("{error}"));
    let script = common::test_file(script);
    let port = server.port().to_string();
    let said = common::run(&python, &[&[script.to_str().unwrap(), &port], words].concat(), &[]);
    assert!(said.ends_with("done\n"), "{said}");
}

/// The same with node.
fn node(script: &str, server: &Server, words: &[&str]) {
    let modules = peers::target_dir().join("clients/node_modules");
    let there = modules.join("connect-redis").is_dir();
    assert!(there, "not all is in {}: run torture/clients.sh", modules.display());
    let script = common::test_file(script);
    let port = server.port().to_string();
    let args = [&[script.to_str().unwrap(), &port], words].concat();
    let said = common::run("node", &args, &[("NODE_PATH", Path::new(&modules))]);
    assert!(said.ends_with("done\n"), "{said}");
}

#[test]
fn redis_py_works_unchanged() {
    for (server, _dir) in servers() {
        python("clients/redis_py.py", &server, &[]);
        python("clients/redis_py_async.py", &server, &[]);
    }
}

#[test]
fn ioredis_and_node_redis_work_unchanged() {
    for (server, _dir) in servers() {
        node("clients/ioredis.js", &server, &[]);
        node("clients/node_redis.js", &server, &[]);
    }
}

#[test]
fn the_redis_crate_works_unchanged() {
    for (server, _dir) in servers() {
        redis_crate(server.port()).unwrap();
    }
}

fn redis_crate(port: u16) -> redis::RedisResult<()> {
    for protocol in ["", "?protocol=resp3"] {
        let client = redis::Client::open(format!("redis://127.0.0.1:{port}/{protocol}"))?;
        let mut con = client.get_connection()?;
        let _: () = redis::cmd("FLUSHALL").query(&mut con)?;
        let _: () = con.set_ex("a", 1, 100)?;
        assert_eq!(con.get::<_, i64>("a")?, 1);
        assert_eq!(con.get::<_, Option<String>>("missing")?, None);
        let (old, new): (i64, i64) = redis::pipe().atomic().get("a").incr("a", 41).query(&mut con)?;
        assert_eq!((old, new), (1, 42));
        let pairs: Vec<_> = (0..500).map(|number| (format!("k{number}"), number)).collect();
        let _: () = con.mset(&pairs)?;
        assert_eq!(con.scan_match::<_, String>("k*")?.collect::<redis::RedisResult<Vec<_>>>()?.len(), 500);
        let _: () = con.hset_multiple("h", &[("f", 1), ("g", 2)])?;
        let fields: BTreeMap<String, i64> = con.hgetall("h")?;
        assert_eq!(fields, BTreeMap::from([("f".into(), 1), ("g".into(), 2)]));
        let _: () = con.zadd("z", "member", 2.5)?;
        assert_eq!(con.zrange_withscores::<_, Vec<(String, f64)>>("z", 0, -1)?, [("member".into(), 2.5)]);
        let _: () = con.rpush("l", &["x", "y"])?;
        assert_eq!(con.blpop::<_, (String, String)>("l", 1.0)?, ("l".into(), "x".into()));
        let id: String = con.xadd("s", "*", &[("job", "1")])?;
        let read: redis::streams::StreamReadReply = con.xread(&["s"], &["0"])?;
        assert_eq!(read.keys[0].ids[0].id, id);
        let error = con.incr::<_, _, i64>("h", 1).unwrap_err();
        assert_eq!(error.code(), Some("WRONGTYPE"));
        let added: (i64,) = redis::transaction(&mut con, &["n"], |con, pipe| {
            let number: Option<i64> = con.get("n")?;
            pipe.set("n", number.unwrap_or(0) + 1).ignore().get("n").query(con)
        })?;
        assert_eq!(added, (1,));
        let mut listener = client.get_connection()?;
        let mut pubsub = listener.as_pubsub();
        pubsub.subscribe("news")?;
        let _: () = con.publish("news", "hello")?;
        assert_eq!(pubsub.get_message()?.get_payload::<String>()?, "hello");
    }
    Ok(())
}

/// Jobs of RQ outlive a kill between their being queued and being done.
#[test]
fn frameworks_of_python_work_unchanged() {
    for (mut server, dir) in servers() {
        python("clients/frameworks.py", &server, &["rq_enqueue"]);
        if common::is_ember() {
            server.kill9().unwrap();
            server = Server::start(&common::spec(dir.path(), &["--cores", "2"])).unwrap();
        }
        python("clients/frameworks.py", &server, &["rq_work"]);
        for what in ["django_cache", "django_redis", "flask_caching"] {
            python("clients/frameworks.py", &server, &[what]);
        }
    }
}

#[test]
fn frameworks_of_node_work_unchanged() {
    for (server, _dir) in servers() {
        for what in ["sessions", "socketio", "socketio_streams"] {
            node("clients/frameworks.js", &server, &[what]);
        }
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
