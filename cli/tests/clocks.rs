//! A wall clock that jumps, under a running server: expiries are absolute times and follow it, all else does not notice.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod common;

use std::fs;
use std::path::PathBuf;
use std::thread::sleep;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use common::{driver_args, drivers, eventually, is_ember, must, spec, text};
use emberkv_torture::{Client, Server, ServerSpec, TempDir, Value};

const DAY: i64 = 86_400;

/// A server whose wall clock is off by what is written down.
struct Jumpy {
    spec: ServerSpec,
    file: PathBuf,
    server: Server,
    _dirs: [TempDir; 2],
}

impl Jumpy {
    fn start(io: &str, args: &[&str]) -> Self {
        let (dir, other) = (common::dir("clock"), common::dir("clock-file"));
        let file = other.path().join("off-by-ms");
        fs::write(&file, "0").unwrap();
        let spec = spec(dir.path(), args).args(driver_args(io)).env("EMBERKV_CLOCK", &file);
        let server = Server::start(&spec).unwrap();
        Self { spec, file, server, _dirs: [dir, other] }
    }

    /// Sets the clock, off by so many seconds from now on, and waits until the server shows that.
    fn set(&self, client: &mut Client, seconds: i64) {
        fs::write(&self.file, (seconds * 1000).to_string()).unwrap();
        let true_s = || SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() as i64;
        eventually("the clock is set", || {
            let time = must(client, "TIME");
            let shown: i64 = text(&time.items().unwrap()[0]).parse().unwrap();
            (shown - true_s() - seconds).abs() < 60
        });
    }
}

fn integer(client: &mut Client, words: &str) -> i64 {
    match must(client, words) {
        Value::Integer(number) => number,
        other => panic!("{words} was answered {other:?}"),
    }
}

/// A number of INFO.
fn info(client: &mut Client, name: &str) -> i64 {
    let all = text(&must(client, "INFO everything"));
    let line = all.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    line.and_then(|line| line.parse().ok()).unwrap_or_else(|| panic!("{name} is no number in {all}"))
}

/// The `ttl` of a key that was given `seconds` some moments ago.
fn is_about(ttl: i64, seconds: i64) -> bool {
    (seconds - 60..=seconds).contains(&ttl)
}

#[test]
fn expiries_are_times_of_the_wall_clock_wherever_it_goes() {
    if !is_ember() {
        return;
    }
    for io in drivers() {
        let mut jumpy = Jumpy::start(io, &["--cores", "2"]);
        let mut client = jumpy.server.connect().unwrap();
        for key in 0..50 {
            must(&mut client, &format!("SET day:{key} v EX {DAY}"));
            must(&mut client, &format!("SET year:{key} v EX {}", 365 * DAY));
            must(&mut client, &format!("SET ever:{key} v"));
        }
        // forth by two days: what was for a day goes, without being asked for
        jumpy.set(&mut client, 2 * DAY);
        eventually("the keys for a day are gone", || integer(&mut client, "DBSIZE") == 100);
        assert!(is_about(integer(&mut client, "TTL year:7"), 363 * DAY));
        must(&mut client, "SET then v EX 100");
        // back by three: what is gone stays gone, all else lives as long as it was said
        jumpy.set(&mut client, -DAY);
        assert_eq!(integer(&mut client, "DBSIZE"), 101);
        assert_eq!(integer(&mut client, "EXISTS day:7"), 0);
        assert!(is_about(integer(&mut client, "TTL year:7"), 366 * DAY));
        assert!(is_about(integer(&mut client, "TTL then"), 3 * DAY + 100));
        must(&mut client, "SET now v PX 300");
        eventually("a key of after the step goes in time", || integer(&mut client, "DBSIZE") == 101);
        // a kill, and another clock
        jumpy.server.kill9().unwrap();
        jumpy.server = Server::start(&jumpy.spec).unwrap();
        client = jumpy.server.connect().unwrap();
        assert_eq!(integer(&mut client, "DBSIZE"), 101);
        assert!(is_about(integer(&mut client, "TTL year:7"), 366 * DAY));
        // from 1970, as a machine without a battery begins, to forty years ahead
        jumpy.set(&mut client, -50 * 365 * DAY);
        assert_eq!(integer(&mut client, "DBSIZE"), 101);
        must(&mut client, "SET early v EX 100");
        jumpy.set(&mut client, 40 * 365 * DAY);
        eventually("all that had an end is gone", || integer(&mut client, "DBSIZE") == 50);
        assert_eq!(info(&mut client, "uptime_in_days"), 0);
    }
}

#[test]
fn what_lasts_or_is_due_after_some_time_does_not_notice() {
    if !is_ember() {
        return;
    }
    for io in drivers() {
        let words = ["--cores", "1", "--timeout", "1000", "--save", "900 1", "--slowlog-log-slower-than", "0"];
        let jumpy = Jumpy::start(io, &words);
        let mut client = jumpy.server.connect().unwrap();
        let mut idle = jumpy.server.connect().unwrap();
        must(&mut client, "CONFIG SET latency-monitor-threshold 1");
        must(&mut idle, "CLIENT SETNAME idle");
        let mut last_slow = 0;
        for (nth, off_by) in [30 * DAY, -30 * DAY, 0, -50 * 365 * DAY, DAY].into_iter().enumerate() {
            jumpy.set(&mut client, off_by);
            // `everysec` goes on syncing
            must(&mut client, &format!("SET key {nth}"));
            let written = info(&mut client, "log_written");
            eventually("a sync of what was written", || info(&mut client, "log_synced") >= written);
            // long enough for what is looked at once a second: nobody was idle for a thousand, nothing was changed 900 ago
            sleep(Duration::from_millis(1200));
            let list = text(&must(&mut client, "CLIENT LIST"));
            let line = list.lines().find(|line| line.contains(" name=idle ")).expect("it is still there");
            let field = |name: &str| -> i64 {
                let word = line.split(' ').find_map(|word| word.strip_prefix(name)).unwrap();
                word.parse().unwrap()
            };
            assert!((0..100).contains(&field("idle=")) && (0..100).contains(&field("age=")), "{line}");
            assert_eq!(info(&mut client, "rdb_saves"), nth as i64, "off by {off_by} s");
            assert!((0..100).contains(&info(&mut client, "uptime_in_seconds")));
            // what is shown as a time is the wall clock's; the order is that of the events
            assert_eq!(text(&must(&mut client, "SAVE")), "OK");
            let time = must(&mut client, "TIME");
            let now: i64 = text(&time.items().unwrap()[0]).parse().unwrap();
            assert!((now - integer(&mut client, "LASTSAVE")).abs() < 60);
            let slow = must(&mut client, "SLOWLOG GET 1");
            let entry = slow.items().unwrap()[0].items().unwrap().to_vec();
            let (Value::Integer(id), Value::Integer(at)) = (&entry[0], &entry[1]) else { panic!("{entry:?}") };
            assert!(*id > last_slow && (now - at).abs() < 60, "{entry:?}");
            last_slow = *id;
            for words in ["LATENCY LATEST", "LATENCY HISTORY command", "LATENCY GRAPH command", "LATENCY DOCTOR"] {
                client.ask(words).unwrap();
            }
            must(&mut client, "CONFIG RESETSTAT");
        }
        assert_eq!(text(&must(&mut idle, "PING")), "PONG");
    }
}
