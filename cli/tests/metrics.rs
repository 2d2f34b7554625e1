//! `metrics-port`: what prometheus and a supervisor get.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod common;

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};

use common::{PATIENCE, dir, eventually, is_ember, must, spec};
use emberkv_torture::Server;

fn get(port: u16, path: &str) -> (String, String) {
    let mut socket = TcpStream::connect(("127.0.0.1", port)).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket.write_all(format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes()).unwrap();
    let mut answer = String::new();
    socket.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.lines().next().unwrap().to_owned(), body.to_owned())
}

/// The value of a sample.
fn sample(page: &str, name: &str) -> f64 {
    let line = page.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("{name} is not in\n{page}")).parse().unwrap()
}

#[test]
fn the_page_has_the_sums_over_all_cores() {
    if !is_ember() {
        return;
    }
    let port = TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port();
    let dir = dir("metrics");
    let words = ["--cores", "2", "--metrics-port", &port.to_string(), "--bind", "127.0.0.1"];
    let server = Server::start(&spec(dir.path(), &words)).unwrap();
    let mut clients: Vec<_> = (0..2).map(|_| server.connect().unwrap()).collect();
    for i in 0..100 {
        must(&mut clients[i % 2], &format!("SET key:{i} {i}"));
        must(&mut clients[i % 2], &format!("GET key:{i}"));
    }
    must(&mut clients[0], "GET missing");
    assert_eq!(get(port, "/health"), ("HTTP/1.1 200 OK".into(), "ok\n".into()));
    assert_eq!(get(port, "/ready"), ("HTTP/1.1 200 OK".into(), "ready\n".into()));
    assert_eq!(get(port, "/nosuch").0, "HTTP/1.1 404 Not Found");
    must(&mut clients[0], "SAVE");
    let (status, page) = get(port, "/metrics");
    assert_eq!(status, "HTTP/1.1 200 OK");
    assert_eq!(sample(&page, "emberkv_command_seconds_count{command=\"set\"}"), 100.0);
    assert_eq!(sample(&page, "emberkv_command_seconds_bucket{command=\"get\",le=\"+Inf\"}"), 101.0);
    assert_eq!(sample(&page, "emberkv_keys{db=\"0\"}"), 100.0);
    assert_eq!(sample(&page, "emberkv_lookups_total{result=\"hit\"}"), 100.0);
    assert_eq!(sample(&page, "emberkv_loading"), 0.0);
    let of_core = |core: u8| sample(&page, &format!("emberkv_core_command_seconds_count{{core=\"{core}\"}}"));
    assert!(of_core(0) + of_core(1) >= 201.0);
    assert!(sample(&page, "emberkv_memory_bytes{kind=\"clients\"}") > 0.0);
    assert!(sample(&page, "emberkv_checkpoint_age_seconds{partition=\"1\"}") >= 0.0);
    assert_eq!(sample(&page, "emberkv_checkpoint_missing_changes"), 0.0);
    let connections = |core: u8| sample(&page, &format!("emberkv_connections{{core=\"{core}\"}}"));
    assert!(connections(0) + connections(1) >= 2.0);
    // every line is a comment or a sample of a metric that was announced
    let announced = |name: &str| page.contains(&format!("# TYPE {name} "));
    for line in page.lines().filter(|line| !line.starts_with('#')) {
        let name = line.split(['{', ' ']).next().unwrap();
        let base = ["_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end)).unwrap_or(name);
        assert!(announced(name) || announced(base), "{line}");
    }
}

#[test]
fn what_is_not_synced_grows_old() {
    if !is_ember() {
        return;
    }
    let port = TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port();
    let dir = dir("metrics-lag");
    let words = ["--cores", "2", "--appendfsync", "no", "--metrics-port", &port.to_string(), "--bind", "127.0.0.1"];
    let server = Server::start(&spec(dir.path(), &words)).unwrap();
    let mut client = server.connect().unwrap();
    let lag = || sample(&get(port, "/metrics").1, "emberkv_log_sync_lag_seconds");
    must(&mut client, "SET k v");
    eventually("a record has waited for half a second", || lag() > 0.5);
    must(&mut client, "CONFIG SET appendfsync always");
    must(&mut client, "SET k w");
    eventually("none waits", || lag() == 0.0);
}
