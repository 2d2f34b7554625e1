//! The command line.

use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgAction, Args, ValueEnum};
use emberkv_load::keys::Spread;
use emberkv_load::mix::Sizes;

use super::recipe::{Plan, Recipe};
use crate::error::Result;
use crate::options::parse_time;
use crate::target::{Place, Target};
use crate::tls::TlsArgs;

/// Put load on a server and measure rate and latency
///
/// All keys are set first. Then either every connection sends its next requests when the last ones are answered (closed
/// loop: how much the server can do), or, with --rate, requests leave by the clock, and a latency counts from the moment at
/// which its request was due (open loop: how long users wait).
#[derive(Clone, Debug, Args)]
#[command(disable_help_flag = true)]
pub(super) struct Options {
    /// The server's host
    #[arg(short = 'h', long, default_value = "127.0.0.1")]
    host: String,
    /// The server's port
    #[arg(short, long, default_value_t = 6379)]
    port: u16,
    /// The server as a uri: `redis[s]://[user:password@]host[:port][/database]`
    #[arg(short, long)]
    uri: Option<String>,
    /// The password; in REDISCLI_AUTH others don't see it
    #[arg(short = 'a', long = "pass", value_name = "PASSWORD")]
    password: Option<String>,
    /// The user, with -a
    #[arg(long)]
    user: Option<String>,
    /// The database
    #[arg(short = 'n', value_name = "DATABASE")]
    database: Option<u32>,

    /// get, set, READS/WRITES in per cent (95/5, 50/50, 20/80, ...), ycsb-a, ycsb-b, ycsb-c, ycsb-f, large (values of 1 KiB
    /// to 1 MiB), high-cardinality (10 million keys), counter (INCR), leaderboard (ZADD, ZREVRANGE)
    #[arg(short, long, default_value = "95/5")]
    workload: Recipe,
    /// Connections
    #[arg(short, long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=50_000))]
    clients: u32,
    /// Requests that each connection has on its way
    #[arg(short = 'P', long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pipeline: u32,
    /// Threads that make the load
    #[arg(short, long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=256))]
    threads: u32,
    /// Different keys [default: what the workload says, else 1000000]
    #[arg(short, long, value_parser = clap::value_parser!(u64).range(1..=1_000_000_000_000))]
    keys: Option<u64>,
    /// How requests are spread over the keys [default: what the workload says, else uniform]
    #[arg(short = 'D', long = "dist", value_enum)]
    spread: Option<SpreadName>,
    /// Bytes of a value: N or N..M (as many from each doubling) [default: what the workload says, else 64]
    #[arg(short = 'd', long = "value-size", value_name = "BYTES", value_parser = parse_sizes)]
    sizes: Option<Sizes>,
    /// Seconds until a key expires
    #[arg(long, value_name = "SECONDS")]
    ttl: Option<u64>,
    /// Requests a second, by the clock
    #[arg(short, long, value_name = "REQUESTS")]
    rate: Option<f64>,
    /// How long it is measured: 500ms, 10s, 2m
    #[arg(long, default_value = "10s", value_parser = parse_time)]
    duration: Duration,
    /// How long it runs before
    #[arg(long, default_value = "1s", value_parser = parse_time)]
    warm_up: Duration,
    /// Don't set the keys first
    #[arg(long)]
    no_load: bool,
    /// Another seed gives other keys and values
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Two servers (HOST:PORT or a uri), in turn, round by round
    #[arg(long, num_args = 2, value_names = ["A", "B"])]
    pub(super) compare: Option<Vec<String>>,
    /// Rounds of --compare
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(super) rounds: u32,
    /// Write the results to a file as json
    #[arg(long, value_name = "FILE")]
    pub(super) json: Option<PathBuf>,
    /// No progress
    #[arg(short, long)]
    pub(super) quiet: bool,
    #[command(flatten)]
    tls: TlsArgs,
    /// Print help
    #[arg(long, action = ArgAction::Help)]
    help: Option<bool>,
}

/// As it is typed.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum SpreadName {
    /// All alike
    Uniform,
    /// Few are asked for often, most seldom
    Zipfian,
    /// One after the other
    Sequential,
    /// Nine requests of ten go to one key of a hundred
    Hot,
}

impl Options {
    /// What is done.
    pub(super) fn plan(&self) -> Result<Plan> {
        let spread = self.spread.map(|name| match name {
            SpreadName::Uniform => Spread::Uniform,
            SpreadName::Zipfian => Spread::Zipfian,
            SpreadName::Sequential => Spread::Sequential,
            SpreadName::Hot => Spread::Hot,
        });
        let clients = self.clients as usize;
        Ok(Plan {
            recipe: self.workload.clone(),
            clients,
            pipeline: self.pipeline as usize,
            // a thread without a connection has nothing to do.
            threads: (self.threads as usize).min(clients),
            keys: self.keys.unwrap_or(self.workload.keys),
            spread: spread.unwrap_or(self.workload.spread),
            sizes: self.sizes.unwrap_or(self.workload.sizes),
            ttl: self.ttl,
            rate: self.rate,
            duration: self.duration,
            warm_up: self.warm_up,
            loads: !self.no_load,
            seed: self.seed,
        })
    }

    /// The server.
    pub(super) fn target(&self) -> Result<Target> {
        let mut target = self.who(Place::Tcp(self.host.clone(), self.port));
        if let Some(uri) = &self.uri {
            target.apply_uri(uri)?;
        }
        Ok(target)
    }

    /// A server that is given as `host:port` or as a uri.
    pub(super) fn other(&self, place: &str) -> Result<Target> {
        let mut target = self.who(Place::Tcp(String::new(), 0));
        let is_uri = place.contains("://");
        target.apply_uri(&if is_uri { place.to_owned() } else { format!("redis://{place}") })?;
        Ok(target)
    }

    fn who(&self, place: Place) -> Target {
        Target {
            place,
            user: self.user.clone(),
            password: self.password.clone().or_else(|| std::env::var("REDISCLI_AUTH").ok()),
            database: self.database.unwrap_or(0),
            resp3: false,
            tls: self.tls.clone(),
        }
    }
}

/// `64`, `1024..1048576`.
fn parse_sizes(text: &str) -> std::result::Result<Sizes, String> {
    const MOST: usize = 512 << 20;
    let number = |text: &str| text.parse::<usize>().map_err(|_| format!("{text:?} is no number of bytes"));
    let (least, most) = text.split_once("..").unwrap_or((text, text));
    let sizes = Sizes { least: number(least)?, most: number(most)? };
    if sizes.least > sizes.most || sizes.most > MOST {
        return Err(format!("wants N or N..M, with N below M and M at most {MOST}"));
    }
    Ok(sizes)
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
        Line::parse_from(["bench"].into_iter().chain(line.split_whitespace())).options
    }

    #[test]
    fn what_is_not_given_comes_from_the_workload() {
        let plan = parse("--workload ycsb-a").plan().unwrap();
        assert_eq!(
            (plan.spread, plan.sizes, plan.keys),
            (Spread::Zipfian, Sizes { least: 1000, most: 1000 }, 1_000_000)
        );
        let plan = parse("-w ycsb-a --dist hot -d 8..64 -k 5 -t 9 -c 3").plan().unwrap();
        assert_eq!((plan.spread, plan.sizes, plan.keys), (Spread::Hot, Sizes { least: 8, most: 64 }, 5));
        assert_eq!(plan.threads, 3);
    }

    #[test]
    fn servers_to_compare_are_places_or_uris() {
        let options = parse("-n 3 --compare a:1 redis://b:2/4");
        let places = options.compare.clone().unwrap();
        let target = |at: usize| options.other(&places[at]).unwrap();
        assert_eq!((target(0).place, target(0).database), (Place::Tcp("a".into(), 1), 3));
        assert_eq!((target(1).place, target(1).database), (Place::Tcp("b".into(), 2), 4));
        assert!(options.other("a:x").is_err());
    }

    #[test]
    fn sizes_are_one_or_a_range() {
        assert_eq!(parse_sizes("7"), Ok(Sizes { least: 7, most: 7 }));
        assert_eq!(parse_sizes("1..9"), Ok(Sizes { least: 1, most: 9 }));
        assert!(parse_sizes("9..1").is_err() && parse_sizes("x").is_err() && parse_sizes("1..9999999999").is_err());
    }
}
