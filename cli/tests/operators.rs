//! What an operator, or somebody who means no good, does to a running server.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod common;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Command;
use std::time::Duration;

use common::{PATIENCE, binary, dir, eventually, is_ember, must, spec, start, text};
use emberkv_torture::{Server, Value};

fn closed_without_a_word(server: &Server, sent: &[u8]) {
    let mut socket = TcpStream::connect(("127.0.0.1", server.port())).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket.write_all(sent).unwrap();
    let mut answer = Vec::new();
    let _ = socket.read_to_end(&mut answer); // a reset is an end too
    assert_eq!(String::from_utf8_lossy(&answer), "", "to {}", String::from_utf8_lossy(sent));
}

#[test]
fn a_browser_is_cut_off_before_its_body_is_executed() {
    let (server, _dir) = start("browser", &[]);
    closed_without_a_word(&server, b"POST / HTTP/1.1\r\nHost: x\r\n\r\nSET pwned 1\r\n");
    closed_without_a_word(&server, b"Host: x\r\nSET pwned 1\r\n");
    closed_without_a_word(&server, b"*1\r\n$4\r\npOsT\r\n*3\r\n$3\r\nSET\r\n$5\r\npwned\r\n$1\r\n1\r\n");
    assert_eq!(must(&mut server.connect().unwrap(), "EXISTS pwned"), Value::Integer(0));
}

#[test]
fn a_hangup_is_no_end() {
    let (server, _dir) = start("hangup", &[]);
    let mut client = server.connect().unwrap();
    must(&mut client, "SET a 1");
    let status = Command::new("kill").args(["-HUP", &server.pid().to_string()]).status().unwrap();
    assert!(status.success());
    std::thread::sleep(Duration::from_millis(100));
    assert_eq!(text(&must(&mut client, "GET a")), "1");
}

#[test]
fn without_a_password_everybody_is_let_in_again() {
    let (server, _dir) = start("no-password", &["--requirepass", "p"]);
    let mut waiting = server.connect().unwrap();
    assert!(matches!(waiting.ask("PING").unwrap(), Value::Error(_)));
    let mut admin = server.connect().unwrap();
    must(&mut admin, "AUTH p");
    let reply = admin.command(&["CONFIG", "SET", "requirepass", ""]).unwrap();
    assert!(!matches!(reply, Value::Error(_)), "{}", text(&reply));
    must(&mut waiting, "PING");
}

#[test]
fn what_follows_shutdown_is_not_executed() {
    let (mut server, dir) = start("after-shutdown", &[]);
    closed_without_a_word(&server, b"SHUTDOWN\r\nSET late 1\r\nPING\r\n");
    assert!(server.wait_exit(PATIENCE).unwrap().success());
    let server = Server::start(&spec(dir.path(), &[])).unwrap();
    assert_eq!(must(&mut server.connect().unwrap(), "EXISTS late"), Value::Integer(0));
}

#[test]
fn the_socket_file_goes_with_the_server() {
    let dir = dir("socket-file");
    let path = dir.path().join("s.sock");
    let mut server = Server::start(&spec(dir.path(), &["--unixsocket", path.to_str().unwrap()])).unwrap();
    assert!(path.exists());
    assert!(server.terminate(PATIENCE).unwrap().success());
    assert!(!path.exists());
}

#[test]
fn a_data_set_keeps_its_segment_size_and_config_says_so() {
    if !is_ember() {
        return;
    }
    let (mut server, dir) = start("segment-size", &["--segment-size", "1mb"]);
    assert!(server.terminate(PATIENCE).unwrap().success());
    let server = Server::start(&spec(dir.path(), &["--segment-size", "4mb"])).unwrap();
    let mut client = server.connect().unwrap();
    eventually("CONFIG GET says what is so", || {
        let Value::Array(pair) = must(&mut client, "CONFIG GET segment-size") else { panic!("an array") };
        text(&pair[1]) == "1048576"
    });
    assert!(server.log_text().contains("keeps the segment size"));
}

#[test]
fn a_new_data_set_has_small_segments_if_maxmemory_is_small() {
    if !is_ember() {
        return;
    }
    for (maxmemory, size) in [("0", "67108864"), ("200mb", "2097152")] {
        let (server, _dir) = start("chosen-segment-size", &["--cores", "1", "--maxmemory", maxmemory]);
        let mut client = server.connect().unwrap();
        let Value::Array(pair) = must(&mut client, "CONFIG GET segment-size") else { panic!("an array") };
        assert_eq!(text(&pair[1]), size);
    }
}

#[test]
fn a_database_that_was_emptied_is_no_reason_to_refuse_fewer() {
    let (mut server, dir) = start("fewer-databases", &[]);
    let mut client = server.connect().unwrap();
    for words in ["SELECT 9", "SET a 1", "DEL a", "SET b 1", "FLUSHDB", "SELECT 1", "SET c 1"] {
        must(&mut client, words);
    }
    assert!(server.terminate(PATIENCE).unwrap().success());
    let mut server = Server::start(&spec(dir.path(), &["--databases", "8"])).unwrap();
    server.kill9().unwrap();
    if is_ember() {
        let log = common::refused(&spec(dir.path(), &["--databases", "1"]));
        assert!(log.contains("keys of database 1, and there are only 1"), "{log}");
    }
}

#[test]
fn a_small_database_beside_a_large_one_is_scanned_in_few_steps() {
    let (server, _dir) = start("small-database", &[]);
    let mut client = server.connect().unwrap();
    for i in 0..20 {
        let words: Vec<String> = (0..1000).map(|k| format!("k{} 1", i * 1000 + k)).collect();
        must(&mut client, &format!("MSET {}", words.join(" ")));
    }
    must(&mut client, "SELECT 1");
    must(&mut client, "SET small 1");
    let (mut cursor, mut steps, mut found) = ("0".to_owned(), 0, 0);
    loop {
        let Value::Array(reply) = must(&mut client, &format!("SCAN {cursor}")) else { panic!("an array") };
        let Value::Array(keys) = &reply[1] else { panic!("an array") };
        (cursor, steps, found) = (text(&reply[0]), steps + 1, found + keys.len());
        if cursor == "0" {
            break;
        }
    }
    assert!(found == 1 && steps < 40, "{found} keys in {steps} steps");
}

#[test]
fn the_version_is_printed_as_redis_server_does() {
    if !is_ember() {
        return;
    }
    for option in ["--version", "-v"] {
        let output = Command::new(binary()).args(["server", option]).output().unwrap();
        assert!(output.status.success() && String::from_utf8_lossy(&output.stdout).contains(env!("CARGO_PKG_VERSION")));
    }
}

#[test]
fn compression_is_set_at_run_time_and_told_by_info() {
    if !is_ember() {
        return;
    }
    let (mut server, dir) = start("compression", &["--cores", "2"]);
    let value = "compress me ".repeat(100);
    let mut client = server.connect().unwrap();
    for key in ["plain", "a", "b", "c", "d"] {
        client.send(&["SET", key, &value]);
        client.read().unwrap();
        must(&mut client, "CONFIG SET compress-values-from 1kb");
    }
    let info = must(&mut client, "INFO persistence");
    let info = text(&info);
    assert!(info.contains("compressed_values:4\r\ncompressed_bytes_in:4800\r\n"), "{info}");
    server.kill9().unwrap();
    // what is compressed is read whatever the configuration says
    let server = Server::start(&spec(dir.path(), &["--cores", "2"])).unwrap();
    let mut client = server.connect().unwrap();
    for key in ["plain", "a", "b", "c", "d"] {
        assert_eq!(text(&must(&mut client, &format!("GET {key}"))), value);
    }
}
