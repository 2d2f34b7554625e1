//! What a server refuses to start with, and what it starts with all the same.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod common;

use std::fs;
use std::path::Path;
use std::process::Command;

use common::{PATIENCE, dir, must, refused, spec, start};
use emberkv_torture::{Client, Server, process::free_port};

#[test]
fn a_second_server_on_the_same_directory_is_refused() {
    let (server, dir) = start("same-dir", &[]);
    let mut client = server.connect().unwrap();
    must(&mut client, "SET a 1");
    let log = refused(&spec(dir.path(), &[]));
    let name = dir.path().to_str().unwrap();
    assert!(log.contains(name), "it does not name the directory {name}:\n{log}");
    // the first one is not disturbed.
    assert_eq!(common::text(&must(&mut client, "GET a")), "1");
}

#[test]
fn a_directory_is_free_again_after_kill9() {
    let (mut server, dir) = start("free-dir", &["--appendfsync", "always"]);
    must(&mut server.connect().unwrap(), "SET a 1");
    server.kill9().unwrap();
    let server = Server::start(&spec(dir.path(), &[])).unwrap();
    assert_eq!(common::text(&must(&mut server.connect().unwrap(), "GET a")), "1");
}

#[test]
fn a_second_server_on_the_same_port_is_refused() {
    for io in common::drivers() {
        let io = common::driver_args(io);
        let io: Vec<&str> = io.iter().map(String::as_str).collect();
        let (server, _dir) = start("same-port", &io);
        let other = dir("same-port");
        let port = server.port();
        let log = refused(&spec(other.path(), &io).port(port));
        assert!(log.contains(&port.to_string()), "it does not name the port {port}:\n{log}");
        // all connections still reach the first one.
        must(&mut server.connect().unwrap(), "SET a 1");
        for _ in 0..20 {
            let value = must(&mut server.connect().unwrap(), "GET a");
            assert_eq!(common::text(&value), "1");
        }
    }
}

#[test]
fn the_same_port_can_be_used_again_at_once() {
    for io in common::drivers() {
        let io = common::driver_args(io);
        let dir = dir("port-again");
        let spec = spec(dir.path(), &[]).args(io).port(free_port().unwrap());
        for _ in 0..3 {
            let mut server = Server::start(&spec).unwrap();
            must(&mut server.connect().unwrap(), "INCR n");
            assert!(server.terminate(PATIENCE).unwrap().success());
        }
    }
}

#[test]
fn a_file_in_the_place_of_the_directory_is_refused() {
    let dir = dir("not-a-dir");
    let path = dir.path().join("file");
    fs::write(&path, "x").unwrap();
    let log = refused(&spec(&path, &[]));
    assert!(log.contains(path.to_str().unwrap()), "it does not name {}:\n{log}", path.display());
}

/// Root may write anywhere, so the directory is mounted read-only; needs root and mount(2).
#[test]
fn a_read_only_directory_is_refused() {
    let dir = dir("read-only");
    let mounted = ReadOnly::mount(dir.path());
    let Some(mounted) = mounted else {
        eprintln!("skipped: a read-only mount needs root");
        return;
    };
    let log = refused(&spec(dir.path(), &[]));
    drop(mounted);
    let name = dir.path().to_str().unwrap();
    assert!(log.contains(name), "it does not name the directory {name}:\n{log}");
}

/// A bind mount of a directory on itself, read-only until dropped.
struct ReadOnly<'a>(&'a Path);

impl<'a> ReadOnly<'a> {
    fn mount(path: &'a Path) -> Option<Self> {
        let mount = |args: &[&str]| Command::new("mount").args(args).arg(path).status().is_ok_and(|s| s.success());
        if !mount(&["--bind", path.to_str()?]) {
            return None;
        }
        let mounted = Self(path);
        mount(&["-o", "remount,ro,bind"]).then_some(mounted)
    }
}

impl Drop for ReadOnly<'_> {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(self.0).status();
    }
}

#[test]
fn an_unknown_directive_names_file_and_line() {
    let dir = dir("directive");
    let file = dir.path().join("my.conf");
    fs::write(&file, "# a comment\ntimeout 0\nnosuch-directive yes\n").unwrap();
    let data = dir.path().join("data");
    fs::create_dir(&data).unwrap();
    let log = refused(&spec(&data, &[file.to_str().unwrap()]));
    assert!(log.contains("nosuch-directive"), "it does not name the directive:\n{log}");
    assert!(log.contains("my.conf"), "it does not name the file:\n{log}");
    assert!(log.contains('3'), "it does not name the line:\n{log}");
}

#[test]
fn a_bad_value_names_file_and_line() {
    let dir = dir("bad-value");
    let file = dir.path().join("my.conf");
    fs::write(&file, "timeout 0\n\nappendfsync sometimes\n").unwrap();
    let data = dir.path().join("data");
    fs::create_dir(&data).unwrap();
    let log = refused(&spec(&data, &[file.to_str().unwrap()]));
    assert!(log.contains("appendfsync"), "it does not name the directive:\n{log}");
    assert!(log.contains("my.conf"), "it does not name the file:\n{log}");
    assert!(log.contains('3'), "it does not name the line:\n{log}");
}

#[test]
fn an_unknown_option_on_the_command_line_is_refused() {
    let dir = dir("option");
    let log = refused(&spec(dir.path(), &["--nosuch-directive", "yes"]));
    assert!(log.contains("nosuch-directive"), "it does not name the option:\n{log}");
    let log = refused(&spec(dir.path(), &["--appendfsync", "sometimes"]));
    assert!(log.contains("appendfsync"), "it does not name the option:\n{log}");
}

#[test]
fn a_missing_configuration_file_is_refused() {
    let dir = dir("no-file");
    let log = refused(&spec(dir.path(), &["/nonexistent/emberkv.conf"]));
    assert!(log.contains("/nonexistent/emberkv.conf"), "it does not name the file:\n{log}");
}

/// Debian's file as the package installs it: it asks to daemonize, to log to a file and so on;
/// only what would collide with the machine's own server is overridden.
#[test]
fn debians_redis_conf_starts_unchanged() {
    let stock = Path::new("/etc/redis/redis.conf");
    let there = stock.exists();
    assert!(there, "{} is not there: install redis-server", stock.display());
    let dir = dir("stock-conf");
    let copy = dir.path().join("redis.conf");
    fs::copy(stock, &copy).unwrap();
    let data = dir.path().join("data");
    fs::create_dir(&data).unwrap();
    let pid = dir.path().join("pid");
    let mut args = vec![copy.to_str().unwrap(), "--bind", "127.0.0.1", "--logfile", ""];
    args.extend(["--pidfile", pid.to_str().unwrap()]);
    let mut server = Server::start(&spec(&data, &args)).unwrap();
    let mut client = server.connect().unwrap();
    must(&mut client, "SET a 1");
    let reply = must(&mut client, "CONFIG GET tcp-keepalive");
    assert!(format!("{reply:?}").contains("Bulk"), "{reply:?}");
    assert!(server.terminate(PATIENCE).unwrap().success(), "{}", server.log_text());
}

#[test]
fn serves_on_a_unix_socket_too() {
    for io in common::drivers() {
        let dir = dir("socket");
        let socket = dir.path().join("s.sock");
        let spec = spec(dir.path(), &["--unixsocket", socket.to_str().unwrap()]);
        let server = Server::start(&spec.args(common::driver_args(io))).unwrap();
        let mut client = Client::connect_unix(&socket).unwrap();
        must(&mut client, "SET a 1");
        assert_eq!(common::text(&must(&mut client, "GET a")), "1");
        assert_eq!(common::text(&must(&mut server.connect().unwrap(), "GET a")), "1");
    }
}

#[test]
fn a_unix_socket_left_by_a_killed_server_is_in_nobodys_way() {
    let dir = dir("stale-socket");
    let socket = dir.path().join("s.sock");
    let spec = spec(dir.path(), &["--unixsocket", socket.to_str().unwrap()]);
    let mut server = Server::start(&spec).unwrap();
    server.kill9().unwrap();
    let _server = Server::start(&spec).unwrap();
    must(&mut Client::connect_unix(&socket).unwrap(), "PING");
}

#[test]
fn io_auto_picks_what_works_here_and_says_so() {
    if !common::is_ember() {
        return;
    }
    let (server, _dir) = start("io-auto", &["--io", "auto"]);
    let info = common::text(&must(&mut server.connect().unwrap(), "INFO server"));
    let driver = info.lines().find_map(|line| line.strip_prefix("io_driver:")).unwrap();
    let log = server.log_text();
    let said = match driver {
        "uring" => "io_uring works here: using it",
        "epoll" => "io_uring does not work here: using epoll",
        other => panic!("an unknown driver {other}"),
    };
    assert!(log.contains(said), "it uses {driver}, and logs:\n{log}");
    // what was asked for is what is used.
    for io in ["epoll", driver] {
        let (server, _dir) = start("io-named", &["--io", io]);
        let info = common::text(&must(&mut server.connect().unwrap(), "INFO server"));
        assert!(info.contains(&format!("io_driver:{io}\r\n")), "{info}");
    }
}

#[test]
fn an_unwritable_unix_socket_is_refused() {
    let dir = dir("bad-socket");
    let socket = "/nonexistent/directory/s.sock";
    let log = refused(&spec(dir.path(), &["--unixsocket", socket]));
    // redis names the error alone.
    let redis = std::env::var_os("EMBERKV_SERVER").is_some();
    assert!(redis || log.contains(socket), "it does not name the socket:\n{log}");
}
