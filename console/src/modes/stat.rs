//! `--stat`: a line a second of what the server does.

use std::thread::sleep;
use std::time::Duration;

use crate::console::{print, tell};
use crate::error::{Error, Result};
use crate::options::Options;
use crate::session::Session;
use crate::target::Target;
use crate::value::Value;

const HEAD: &str = "\
------- data ------ --------------------- load -------------------- - child -
keys       mem      clients blocked requests            connections          
";

/// Lines between two heads.
const PAGE: u64 = 20;

/// For ever, over restarts of the server; with -r so many lines.
pub(super) fn run(target: &Target, options: &Options) -> Result<()> {
    let mut session = Session::new(target.clone(), false);
    let style = options.style();
    let pause = options.pause().unwrap_or(Duration::from_secs(1));
    // -r's default means nothing here.
    let lines = if options.repeat > 1 { options.repeat.unsigned_abs() } else { u64::MAX };
    let mut requests_before = None;
    for line in 0..lines {
        let info = match session.ask(&[b"INFO".to_vec()], &mut |notice| tell(notice, &style)) {
            Ok(reply) => reply,
            Err(error) if line == 0 => return Err(error),
            Err(error) => {
                eprintln!("{error}");
                sleep(pause);
                continue;
            }
        };
        if let Some(reply) = info.error() {
            return Err(Error::Refused { what: "INFO".into(), reply });
        }
        if line.is_multiple_of(PAGE) {
            print(HEAD.as_bytes())?;
        }
        let (text, requests) = show(&info, requests_before);
        print(text.as_bytes())?;
        requests_before = Some(requests);
        if line + 1 < lines {
            sleep(pause);
        }
    }
    Ok(())
}

fn show(info: &Value, requests_before: Option<i64>) -> (String, i64) {
    let text = String::from_utf8_lossy(info.text().unwrap_or_default());
    let field = |name: &str| -> i64 {
        let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        value.and_then(|value| value.trim().parse().ok()).unwrap_or(0)
    };
    let keys: i64 = text
        .lines()
        .filter(|line| line.starts_with("db"))
        .filter_map(|line| line.split_once("keys=")?.1.split(',').next()?.parse::<i64>().ok())
        .sum();
    let requests = field("total_commands_processed");
    let delta = requests - requests_before.unwrap_or(requests);
    let child = match (field("rdb_bgsave_in_progress"), field("aof_rewrite_in_progress")) {
        (0, 0) => "",
        (1, 0) => "SAVE",
        (0, _) => "AOF",
        _ => "SAVE+AOF",
    };
    let line = format!(
        "{keys:<11}{:<9}{:<8}{:<8}{:<20}{:<12}{child}\n",
        bytes(field("used_memory")),
        field("connected_clients"),
        field("blocked_clients"),
        format!("{requests} (+{delta})"),
        field("total_connections_received"),
    );
    (line, requests)
}

/// Two digits behind the point.
pub(super) fn bytes(bytes: i64) -> String {
    let units = ["K", "M", "G", "T"];
    let mut value = bytes as f64;
    if value < 1024.0 {
        return format!("{bytes}B");
    }
    let mut unit = "";
    for next in units {
        if value < 1024.0 {
            break;
        }
        value /= 1024.0;
        unit = next;
    }
    format!("{value:.2}{unit}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_made_of_info() {
        let info = "# Clients\r\nconnected_clients:3\r\nused_memory:1572864\r\nused_memory_human:1.50M\r\n\
                    total_commands_processed:100\r\ntotal_connections_received:7\r\n\
                    db0:keys=5,expires=0\r\ndb3:keys=2,expires=1\r\n";
        let (line, requests) = show(&Value::Text(info.into()), Some(40));
        assert_eq!(requests, 100);
        assert_eq!(line, "7          1.50M    3       0       100 (+60)           7           \n");
        assert!(show(&Value::Nil, None).0.contains("0 (+0)"));
    }

    #[test]
    fn sizes_are_short() {
        assert_eq!([bytes(0), bytes(1023), bytes(1024), bytes(5 << 40)], ["0B", "1023B", "1.00K", "5.00T"]);
    }
}
