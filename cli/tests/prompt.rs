//! The prompt of `emberkv cli`, used as people use it: keys pressed in a terminal (tmux), and what the screen shows.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod common;

use std::path::Path;
use std::process::{Command, Output};

use common::{binary, dir, eventually, must, start};
use emberkv_torture::{Server, ServerSpec, TempDir, peers};

/// A terminal with a tmux server of its own, which ends with it.
struct Terminal {
    socket: String,
    dir: TempDir,
}

impl Terminal {
    /// Starts `emberkv cli`; `None`, with a message, where there is no tmux.
    fn start(args: &str) -> Option<Self> {
        if Command::new("tmux").arg("-V").output().is_err() {
            eprintln!("skipped: there is no tmux (torture/deps.sh installs it)");
            return None;
        }
        let dir = dir("prompt");
        let socket = dir.path().file_name().unwrap().to_str().unwrap().to_owned();
        let terminal = Self { socket, dir };
        terminal.open(args);
        Some(terminal)
    }

    fn open(&self, args: &str) {
        let cli = format!("{} cli {args}; echo it ended with $?; exec sleep 600", binary().display());
        let history = format!("REDISCLI_HISTFILE={}", self.history().display());
        let home = format!("HOME={}", self.dir.path().display());
        // an empty configuration: the user's may bind keys
        let options = ["-f", "/dev/null", "new-session", "-d", "-x", "110", "-y", "40"];
        // a server that was told to end may still be there
        eventually("tmux starts", || {
            self.tmux(&[&options, &["-e", &history, "-e", &home, "sh", "-c", &cli][..]].concat()).status.success()
        });
    }

    fn history(&self) -> std::path::PathBuf {
        self.dir.path().join("history")
    }

    fn tmux(&self, args: &[&str]) -> Output {
        Command::new("tmux").args(["-L", &self.socket]).args(args).output().unwrap()
    }

    /// Types text as it is.
    fn type_text(&self, text: &str) {
        assert!(self.tmux(&["send-keys", "-l", text]).status.success());
    }

    /// Presses a key by its name.
    fn press(&self, key: &str) {
        assert!(self.tmux(&["send-keys", key]).status.success());
    }

    /// Types a line.
    fn enter(&self, line: &str) {
        self.type_text(line);
        self.press("Enter");
    }

    /// Waits until what was typed is done: there is another prompt.
    fn is_idle(&self) {
        eventually("a prompt", || self.screen().trim_end().ends_with('>'));
    }

    fn screen(&self) -> String {
        String::from_utf8_lossy(&self.tmux(&["capture-pane", "-p"]).stdout).into_owned()
    }

    /// Waits until the screen shows this.
    fn shows(&self, text: &str) {
        let deadline = std::time::Instant::now() + common::PATIENCE;
        while !self.screen().contains(text) {
            assert!(std::time::Instant::now() < deadline, "no {text:?} on\n{}", self.screen());
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
    }

    /// Waits until the last line with something in it is this.
    fn is_at(&self, line: &str) {
        let deadline = std::time::Instant::now() + common::PATIENCE;
        while self.screen().trim_end().lines().last() != Some(line) {
            assert!(std::time::Instant::now() < deadline, "not at {line:?} but\n{}", self.screen());
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
    }

    fn close(&self) {
        let _ = self.tmux(&["kill-server"]);
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        self.close();
    }
}

fn session(name: &str) -> Option<(Terminal, Server, TempDir)> {
    let (server, dir) = start(name, &[]);
    let terminal = Terminal::start(&format!("-p {}", server.port()))?;
    terminal.is_at(&format!("127.0.0.1:{}>", server.port()));
    Some((terminal, server, dir))
}

#[test]
fn commands_are_typed_and_answered() {
    let Some((terminal, server, _dir)) = session("prompt-session") else { return };
    let port = server.port();
    terminal.enter("set greeting \"hello there\"");
    terminal.shows("OK");
    terminal.enter("get greeting");
    terminal.shows("\"hello there\"");
    // what is typed ahead is kept, whole lines and parts of them
    terminal.enter("echo one");
    terminal.enter("echo two");
    terminal.type_text("2 incr");
    terminal.shows("\"two\"");
    terminal.enter(" n");
    terminal.shows("(integer) 2");
    terminal.enter("select 3");
    terminal.is_at(&format!("127.0.0.1:{port}[3]>"));
    terminal.enter("get missing");
    terminal.shows("(nil)");
    terminal.enter("hello 3");
    terminal.shows("1# \"server\" => ");
    terminal.enter("nosuch");
    terminal.shows("(error) ERR unknown command");
    terminal.enter("get \"a\"b");
    terminal.shows("Invalid argument(s)");
    terminal.enter("quit");
    terminal.shows("it ended with 0");
}

#[test]
fn an_open_quote_goes_on_in_the_next_line() {
    let Some((terminal, server, _dir)) = session("prompt-quote") else { return };
    terminal.enter("set text \"first");
    terminal.enter("second\"");
    terminal.shows("OK");
    let mut client = server.connect().unwrap();
    assert_eq!(common::text(&must(&mut client, "GET text")), "first\nsecond");
    // it is one line in the history, and means the same.
    terminal.enter("nosuch");
    terminal.shows("(error)");
    terminal.is_idle();
    terminal.press("Up");
    terminal.press("Up");
    terminal.shows(r#"set text "first\nsecond""#);
    // ctrl-c leaves the line, not the prompt. What is typed while the terminal changes over may be lost.
    terminal.press("C-c");
    terminal.is_idle();
    terminal.enter("ping");
    terminal.shows("PONG");
}

#[test]
fn arguments_are_shown_while_typing_and_completed() {
    let Some((terminal, server, _dir)) = session("prompt-hints") else { return };
    let prompt = format!("127.0.0.1:{}>", server.port());
    terminal.type_text("set");
    terminal.shows("set key value [NX | XX");
    terminal.type_text(" somekey v nx ");
    terminal.shows("set somekey v nx [GET]");
    terminal.press("Enter");
    terminal.shows("OK");
    terminal.is_idle();
    terminal.type_text("getd");
    terminal.press("Tab");
    terminal.is_at(&format!("{prompt} getdel key"));
    terminal.type_text(" so");
    terminal.press("Tab");
    terminal.is_at(&format!("{prompt} getdel somekey"));
    terminal.press("Enter");
    terminal.shows("\"v\"");
    terminal.enter(":set nohints");
    eventually("the next prompt", || terminal.screen().matches(&prompt).count() == 4);
    terminal.type_text("append");
    terminal.is_at(&format!("{prompt} append"));
    terminal.press("C-u");
    terminal.enter("help getrange");
    terminal.shows("GETRANGE key start end");
    terminal.enter("help @connection");
    // the group is longer than the screen by now
    terminal.shows("CLIENT UNPAUSE");
}

#[test]
fn what_deletes_everything_is_asked_about_once() {
    let Some((terminal, server, _dir)) = session("prompt-guard") else { return };
    let mut client = server.connect().unwrap();
    must(&mut client, "SET precious 1");
    terminal.enter("flushall");
    terminal.shows("delete every key of every database?");
    terminal.enter("no");
    terminal.shows("not done");
    terminal.enter("flushdb");
    terminal.shows("delete every key of this database?");
    terminal.press("Enter");
    eventually("two refusals", || terminal.screen().matches("not done").count() == 2);
    assert_eq!(common::text(&must(&mut client, "GET precious")), "1");
    terminal.enter("flushall");
    eventually("asked again", || terminal.screen().matches("every database?").count() == 2);
    terminal.enter("y");
    terminal.shows("OK");
    assert_eq!(must(&mut client, "EXISTS precious").integer(), Some(0));
    terminal.close();
    let Some(terminal) = Terminal::start(&format!("--yes -p {}", server.port())) else { return };
    terminal.is_at(&format!("127.0.0.1:{}>", server.port()));
    terminal.enter("flushall");
    terminal.shows("OK");
}

#[test]
fn a_server_that_went_away_is_found_again() {
    if !common::is_ember() {
        return;
    }
    let Some((terminal, mut server, dir)) = session("prompt-reconnect") else { return };
    let port = server.port();
    terminal.enter("select 2");
    terminal.enter("set a 1");
    terminal.is_at(&format!("127.0.0.1:{port}[2]>"));
    server.kill9().unwrap();
    // whether it was seen to have gone before or after the command was sent
    terminal.enter("get a");
    terminal.is_at("not connected>");
    terminal.enter("get a");
    terminal.shows("could not connect");
    terminal.is_at("not connected>");
    let _again = Server::start(&common::spec(dir.path(), &[]).port(port)).unwrap();
    terminal.enter("get a");
    terminal.shows("\"1\"");
    terminal.is_at(&format!("127.0.0.1:{port}[2]>"));
}

#[test]
fn history_outlives_the_session_but_not_passwords() {
    let Some((terminal, server, _dir)) = session("prompt-history") else { return };
    terminal.enter("auth secret");
    terminal.shows("(error)");
    terminal.enter("echo remembered");
    terminal.shows("\"remembered\"");
    let kept = std::fs::read_to_string(terminal.history()).unwrap();
    assert_eq!(kept, "echo remembered\n");
    terminal.enter("exit");
    terminal.shows("it ended with 0");
    terminal.close();
    terminal.open(&format!("-p {}", server.port()));
    terminal.is_at(&format!("127.0.0.1:{}>", server.port()));
    terminal.press("Up");
    terminal.is_at(&format!("127.0.0.1:{}> echo remembered", server.port()));
    terminal.press("C-u");
    terminal.press("C-d");
    terminal.shows("it ended with 0");
}

fn redis(dir: &Path) -> Server {
    let redis = peers::redis82().unwrap_or_else(|error| panic!("{error}"));
    Server::start(&ServerSpec::new(redis, dir).args(["--enable-debug-command", "yes"])).unwrap()
}

#[test]
fn transactions_subscriptions_and_monitors_are_modes() {
    let there = dir("prompt-modes");
    let server = redis(there.path());
    let Some(terminal) = Terminal::start(&format!("-p {}", server.port())) else { return };
    let prompt = format!("127.0.0.1:{}>", server.port());
    terminal.is_at(&prompt);
    terminal.enter("multi");
    terminal.is_at(&format!("127.0.0.1:{}(TX)>", server.port()));
    terminal.enter("set a 1");
    terminal.shows("QUEUED");
    terminal.enter("exec");
    terminal.shows("1) OK");
    terminal.is_at(&prompt);

    terminal.enter("subscribe news");
    terminal.shows("3) (integer) 1");
    must(&mut server.connect().unwrap(), "PUBLISH news extra");
    terminal.shows("3) \"extra\"");
    terminal.press("C-c");
    terminal.is_at("not connected>");
    terminal.enter("get a");
    terminal.is_at(&prompt);

    terminal.enter("monitor");
    terminal.shows("Reading messages...");
    eventually("the monitor sees others", || {
        must(&mut server.connect().unwrap(), "GET watched");
        terminal.screen().contains("\"GET\" \"watched\"")
    });
    terminal.press("C-c");
    terminal.is_idle();
    terminal.enter("ping");
    terminal.shows("PONG");

    // what takes too long is left, too
    terminal.enter("debug sleep 600");
    std::thread::sleep(std::time::Duration::from_millis(300));
    terminal.press("C-c");
    terminal.shows("interrupted; the connection is closed");
}

#[test]
fn watch_shows_one_screen_again_and_again() {
    let (server, _dir) = start("prompt-watch", &[]);
    let Some(terminal) = Terminal::start(&format!("-p {} --watch 50ms incr ticks", server.port())) else { return };
    terminal.shows("every 50ms: incr ticks");
    let ticks = || {
        let screen = terminal.screen();
        let line = screen.lines().find_map(|line| line.strip_prefix("(integer) "));
        line.and_then(|number| number.trim().parse::<u64>().ok()).unwrap_or(0)
    };
    eventually("several ticks", || ticks() > 3);
    assert_eq!(terminal.screen().matches("(integer)").count(), 1);
    terminal.press("C-c");
}
