//! The command line: redis-cli's words, with their meanings.

use std::ffi::OsString;
use std::io::IsTerminal;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgAction, Args};

use crate::error::{Error, Result};
use crate::format::{Format, Style};
use crate::quote::unquote;
use crate::target::{Place, Target};
use crate::tls::TlsArgs;

/// Talk to a server: one command, or without one a prompt, or what is piped in, a line each
#[derive(Clone, Debug, Args)]
#[command(disable_help_flag = true)]
#[expect(clippy::struct_excessive_bools, reason = "a command line's switches")]
pub struct Options {
    /// The server's host
    #[arg(short = 'h', long = "host", default_value = "127.0.0.1")]
    host: String,
    /// The server's port
    #[arg(short, long, default_value_t = 6379)]
    port: u16,
    /// The server's socket, instead of host and port
    #[arg(short = 's', long = "socket", value_name = "PATH")]
    socket: Option<PathBuf>,
    /// The server as a uri: `redis[s]://[user:password@]host[:port][/database]` or `unix://path`
    #[arg(short, long)]
    uri: Option<String>,
    /// The password; in REDISCLI_AUTH others don't see it
    #[arg(short = 'a', long = "pass", visible_alias = "password", value_name = "PASSWORD")]
    password: Option<String>,
    /// The user, with -a
    #[arg(long)]
    user: Option<String>,
    /// No warning when the password is on the command line
    #[arg(long)]
    no_auth_warning: bool,
    /// The database
    #[arg(short = 'n', value_name = "DATABASE")]
    database: Option<u32>,
    /// Speak RESP2
    #[arg(short = '2', conflicts_with = "resp3")]
    resp2: bool,
    /// Speak RESP3
    #[arg(short = '3')]
    resp3: bool,
    /// Follow MOVED and ASK to other nodes
    #[arg(short = 'c')]
    cluster: bool,

    /// Do it so often; -1: for ever
    #[arg(short, long, default_value_t = 1, allow_negative_numbers = true, value_name = "N")]
    pub repeat: i64,
    /// Seconds between repetitions, and between the lines of --stat and --latency
    #[arg(short, long, value_name = "SECONDS")]
    pub interval: Option<f64>,
    /// The last argument is what standard input has
    #[arg(short = 'x')]
    stdin_last: bool,
    /// The argument TAG is replaced by what standard input has
    #[arg(short = 'X', value_name = "TAG", conflicts_with = "stdin_last")]
    stdin_tag: Option<OsString>,
    /// Exit with a failure when the server answers with an error
    #[arg(short = 'e')]
    pub errors_fail: bool,
    /// Arguments are in quotes, as at the prompt: "a\x00b"
    #[arg(long)]
    pub quoted_input: bool,
    /// No questions before commands that delete everything or stop the server (at the prompt)
    #[arg(long)]
    pub yes: bool,
    /// Run COMMAND every so often on a cleared screen: --watch 1s INFO stats
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    pub watch: Option<Duration>,

    /// Replies as bytes [default unless standard output is a terminal]
    #[arg(long, overrides_with_all = ["no_raw", "csv", "json", "quoted_json"])]
    raw: bool,
    /// Replies for people
    #[arg(long, overrides_with_all = ["csv", "json", "quoted_json"])]
    no_raw: bool,
    /// Replies as comma-separated values
    #[arg(long, overrides_with_all = ["json", "quoted_json"])]
    csv: bool,
    /// Replies as json, over RESP3 unless -2 is given
    #[arg(long, overrides_with = "quoted_json")]
    json: bool,
    /// The same in ascii: strings are escaped twice
    #[arg(long)]
    quoted_json: bool,
    /// What stands between the members of a raw reply
    #[arg(short = 'd', value_name = "TEXT", default_value = "\n", hide_default_value = true)]
    between: OsString,
    /// What stands behind each raw reply
    #[arg(short = 'D', value_name = "TEXT", default_value = "\n", hide_default_value = true)]
    behind: OsString,

    #[command(flatten)]
    tls: TlsArgs,

    #[command(flatten)]
    pub modes: Modes,

    /// Print help
    #[arg(long, action = ArgAction::Help)]
    help: Option<bool>,

    /// The command and its arguments
    #[arg(value_name = "COMMAND", trailing_var_arg = true, num_args = 0..)]
    command: Vec<OsString>,
}

/// What is done instead of a command.
#[derive(Clone, Debug, Args)]
#[group(multiple = true)]
#[command(next_help_heading = "Instead of a command")]
#[expect(clippy::struct_excessive_bools, reason = "a command line's switches")]
pub struct Modes {
    /// Send standard input as it is: requests in the protocol's form
    #[arg(long)]
    pub pipe: bool,
    /// How many seconds --pipe waits for the last reply; 0: for ever
    #[arg(long, default_value_t = 30, value_name = "SECONDS")]
    pub pipe_timeout: u64,
    /// List all keys, by SCAN
    #[arg(long)]
    pub scan: bool,
    /// The largest string, list, set, ... by members or bytes
    #[arg(long)]
    pub bigkeys: bool,
    /// The keys with the most memory, by MEMORY USAGE
    #[arg(long)]
    pub memkeys: bool,
    /// Which keys --scan, --bigkeys and --memkeys are about
    #[arg(long, value_name = "PATTERN")]
    pub pattern: Option<OsString>,
    /// The same in quotes
    #[arg(long, value_name = "PATTERN", conflicts_with = "pattern")]
    pub quoted_pattern: Option<OsString>,
    /// How many keys one SCAN looks at
    #[arg(long, value_name = "N")]
    pub count: Option<u32>,
    /// Only keys of this type
    #[arg(long = "type", value_name = "TYPE")]
    pub kind: Option<String>,
    /// Every second a line of what the server does
    #[arg(long)]
    pub stat: bool,
    /// How long PING takes
    #[arg(long)]
    pub latency: bool,
    /// The same, with a new line every 15 s (or --interval)
    #[arg(long)]
    pub latency_history: bool,
    /// The same as a spectrum, a line a second (or --interval)
    #[arg(long)]
    pub latency_dist: bool,
    /// How long this machine keeps a busy process waiting, for so many seconds; no server is asked
    #[arg(long, value_name = "SECONDS")]
    pub intrinsic_latency: Option<u64>,
}

impl Options {
    /// The server, out of the options and REDISCLI_AUTH.
    pub(crate) fn target(&self) -> Result<Target> {
        let mut target = Target {
            place: match &self.socket {
                Some(path) => Place::Unix(path.clone()),
                None => Place::Tcp(self.host.clone(), self.port),
            },
            user: self.user.clone(),
            tls: self.tls.clone(),
            ..Target::default()
        };
        if let Some(uri) = &self.uri {
            target.apply_uri(uri)?;
        }
        let on_command_line = self.password.is_some() || target.password.is_some();
        if let Some(password) = &self.password {
            target.password = Some(password.clone());
        } else if target.password.is_none() {
            target.password = std::env::var("REDISCLI_AUTH").ok();
        }
        if on_command_line && !self.no_auth_warning {
            eprintln!("Warning: a password on the command line can be seen by other users; REDISCLI_AUTH can not.");
        }
        if let Some(database) = self.database {
            target.database = database;
        }
        target.resp3 = self.resp3 || (self.json || self.quoted_json) && !self.resp2;
        Ok(target)
    }

    /// Whether redirections are followed.
    pub(crate) fn follows_redirections(&self) -> bool {
        self.cluster
    }

    /// How replies are shown.
    pub(crate) fn style(&self) -> Style {
        // FAKETTY is redis-cli's word for tests.
        let people = std::io::stdout().is_terminal() || std::env::var_os("FAKETTY").is_some();
        let format = match self {
            Self { raw: true, .. } => Format::Raw,
            Self { no_raw: true, .. } => Format::People,
            Self { csv: true, .. } => Format::Csv,
            Self { json: true, .. } => Format::Json,
            Self { quoted_json: true, .. } => Format::QuotedJson,
            _ if people => Format::People,
            _ => Format::Raw,
        };
        let bytes = |text: &OsString| text.clone().into_vec();
        Style { format, between: bytes(&self.between), behind: bytes(&self.behind) }
    }

    /// Between repetitions.
    pub(crate) fn pause(&self) -> Option<Duration> {
        self.interval.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
    }

    /// Whether an argument comes from standard input.
    pub(crate) fn reads_an_argument(&self) -> bool {
        self.stdin_last || self.stdin_tag.is_some()
    }

    /// The command; `stdin` is the argument that came from there.
    pub(crate) fn words(&self, stdin: Option<Vec<u8>>) -> Result<Vec<Vec<u8>>> {
        let mut words: Vec<Vec<u8>> = self.command.iter().map(|word| word.clone().into_vec()).collect();
        if self.quoted_input {
            for word in &mut words {
                *word = unquote(word).ok_or_else(|| Error::Usage("Invalid quoted string".into()))?;
            }
        }
        match (stdin, &self.stdin_tag) {
            (None, _) => {}
            (Some(text), None) => words.push(text),
            (Some(text), Some(tag)) => {
                let tag = tag.clone().into_vec();
                let found = words.iter_mut().find(|word| **word == tag);
                *found.ok_or_else(|| Error::Usage("no argument is the tag of -X".into()))? = text;
            }
        }
        Ok(words)
    }
}

impl Modes {
    /// The pattern, out of either option.
    pub(crate) fn pattern(&self) -> Result<Option<Vec<u8>>> {
        match &self.quoted_pattern {
            None => Ok(self.pattern.clone().map(OsString::into_vec)),
            Some(quoted) => match unquote(&quoted.clone().into_vec()) {
                Some(pattern) => Ok(Some(pattern)),
                None => Err(Error::Usage("Invalid quoted string".into())),
            },
        }
    }
}

/// `500ms`, `1s`, `2.5` (seconds), `1m`.
pub(crate) fn parse_time(text: &str) -> std::result::Result<Duration, String> {
    let digits = text.trim_end_matches(|letter: char| letter.is_ascii_alphabetic());
    let seconds = match &text[digits.len()..] {
        "" | "s" => 1.0,
        "ms" => 0.001,
        "m" => 60.0,
        unit => return Err(format!("{unit} is no unit: ms, s or m")),
    };
    let number: f64 = digits.parse().map_err(|_| format!("{digits:?} is no number"))?;
    Duration::try_from_secs_f64(number * seconds).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    #[command(disable_help_flag = true)]
    struct Line {
        #[command(flatten)]
        options: Options,
    }

    fn parse(line: &str) -> Options {
        Line::parse_from(["cli"].into_iter().chain(line.split(' '))).options
    }

    fn fails(line: &str) -> bool {
        Line::try_parse_from(["cli"].into_iter().chain(line.split(' '))).is_err()
    }

    #[test]
    fn the_command_begins_with_the_first_word_that_is_no_option() {
        let options = parse("-h there -p 7 -r -1 set -x --raw -h");
        assert_eq!(options.words(None).unwrap(), [&b"set"[..], b"-x", b"--raw", b"-h"]);
        assert_eq!((options.host.as_str(), options.port, options.repeat), ("there", 7, -1));
        assert!(!options.raw && !options.stdin_last);
    }

    #[test]
    fn other_options_are_refused() {
        assert!(fails("--bogus") && fails("-r") && fails("-2 -3 ping") && fails("-z ping"));
    }

    #[test]
    fn the_last_format_wins() {
        assert_eq!(parse("--raw --csv ping").style().format, Format::Csv);
        assert_eq!(parse("--json --no-raw ping").style().format, Format::People);
        assert!(parse("--json ping").target().unwrap().resp3);
        assert!(!parse("-2 --json ping").target().unwrap().resp3);
    }

    #[test]
    fn standard_input_takes_the_place_that_it_is_given() {
        let text = || Some(b"v\n".to_vec());
        assert_eq!(parse("-x set k").words(text()).unwrap(), [&b"set"[..], b"k", b"v\n"]);
        assert_eq!(parse("-X t set t x").words(text()).unwrap(), [&b"set"[..], b"v\n", b"x"]);
        assert!(parse("-X t set k x").words(text()).is_err());
        assert_eq!(parse(r#"--quoted-input echo "\x41""#).words(None).unwrap(), [&b"echo"[..], b"A"]);
    }

    #[test]
    fn times_have_units() {
        assert_eq!(parse_time("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(parse_time("2.5"), Ok(Duration::from_millis(2500)));
        assert_eq!(parse_time("1m"), Ok(Duration::from_secs(60)));
        assert!(parse_time("1h").is_err() && parse_time("s").is_err() && parse_time("-1s").is_err());
    }
}
