//! The command line.

use std::path::PathBuf;

use clap::{ArgMatches, Args, Command, FromArgMatches};
use emberkv_console::{Target, TlsArgs};

use crate::compare::Job as Comparison;
use crate::error::{Error, Result};
use crate::follow::Job as Following;
use crate::servers::server;

/// Passwords that are not on the command line.
const SOURCE_AUTH: &str = "EMBERKV_SOURCE_AUTH";
const TARGET_AUTH: &str = "EMBERKV_TARGET_AUTH";

const PASSWORDS: &str = "a server is redis[s]://[user:password@]host[:port] or unix://path; passwords that others must not see are \
                         taken from EMBERKV_SOURCE_AUTH (of compare: the first) and EMBERKV_TARGET_AUTH (the second)";

/// The subcommands.
#[must_use]
pub fn commands() -> Vec<Command> {
    let codes = |whole: &str| format!("{PASSWORDS}\n\nexit codes: 0 {whole}; 2 it could not be done");
    vec![
        ImportArgs::augment_args(Command::new("import"))
            .after_help(codes("all was carried; 1 some was not, and is named")),
        DumpArgs::augment_args(Command::new("dump")).after_help(codes("all was written; 1 some was not, and is named")),
        CompareArgs::augment_args(Command::new("compare")).after_help(codes("they are equal; 1 they are not")),
    ]
}

/// Bring data here: an RDB file, or what a redis or valkey has and is told
#[derive(Clone, Debug, Args)]
#[expect(clippy::struct_excessive_bools, reason = "a command line's switches")]
struct ImportArgs {
    /// An RDB file, or the uri of a server, which is attached to as a replica
    #[arg(value_name = "FILE|SERVER")]
    from: String,
    /// The server that gets the data
    #[arg(long, value_name = "SERVER")]
    to: String,
    /// With a server: go on with what it is told, until ctrl-c: then what it has sent is applied, and the target is on its own.
    /// The target has to be empty, or what an earlier run has left: that goes on
    #[arg(long)]
    follow: bool,
    /// With --follow: stop by itself when there is nothing left to follow
    #[arg(long, requires = "follow")]
    until_caught_up: bool,
    /// With --follow: count commands and keys that the target does not take, and go on
    #[arg(long, requires = "follow")]
    skip_errors: bool,
    /// With --follow: remove all that the target has, and begin anew
    #[arg(long, requires = "follow")]
    flush: bool,
    /// With a file: where to write down how far it is; a run that finds it goes on from there
    #[arg(long, value_name = "FILE", conflicts_with = "follow")]
    resume: Option<PathBuf>,
    #[command(flatten)]
    tls: TlsArgs,
}

/// Write all keys of a server into an RDB file, which redis loads
#[derive(Clone, Debug, Args)]
struct DumpArgs {
    /// The file
    file: PathBuf,
    /// The server
    #[arg(long, value_name = "SERVER")]
    from: String,
    /// The version of the file: 10 for redis 7.0, 11 for 7.2 and valkey 8, 12 for 7.4 and 8; newer if something in it asks for that
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(10..=12))]
    rdb_version: u32,
    #[command(flatten)]
    tls: TlsArgs,
}

/// Compare all keys of two servers by content and time to live
#[derive(Clone, Debug, Args)]
struct CompareArgs {
    /// The one
    first: String,
    /// The other
    second: String,
    /// By how many ms times to live may differ
    #[arg(long, default_value_t = 1000, value_name = "MS")]
    ttl_tolerance: u64,
    /// How many keys are named
    #[arg(long, default_value_t = 20, value_name = "N")]
    names: usize,
    /// How often keys that differ are looked at once more, 200 ms later: for servers of which one follows the other
    #[arg(long, default_value_t = 0, value_name = "N")]
    again: u32,
    #[command(flatten)]
    tls: TlsArgs,
}

/// What `import` is to do.
#[derive(Debug)]
pub(crate) enum Import {
    File { path: PathBuf, to: Target, resume: Option<PathBuf> },
    Server(Following),
}

fn parsed<T: FromArgMatches>(matches: &ArgMatches) -> T {
    T::from_arg_matches(matches).unwrap_or_else(|error| error.exit())
}

/// What the command line of `import` says.
///
/// # Errors
/// When it asks for what can't be.
pub(crate) fn import(matches: &ArgMatches) -> Result<Import> {
    let args: ImportArgs = parsed(matches);
    let target = server(&args.to, &args.tls, TARGET_AUTH)?;
    if !args.from.contains("://") {
        return if args.follow {
            Err(Error::Usage("a file can't be followed".into()))
        } else {
            Ok(Import::File { path: args.from.into(), to: target, resume: args.resume })
        };
    }
    if args.resume.is_some() {
        return Err(Error::Usage("--resume is for files: with --follow the target knows how far it is".into()));
    }
    let source = server(&args.from, &args.tls, SOURCE_AUTH)?;
    let ImportArgs { follow, until_caught_up, skip_errors, flush, .. } = args;
    Ok(Import::Server(Following { source, target, follow, until_caught_up, skip_errors, flush }))
}

/// What the command line of `dump` says: from where, to where, and in which version.
///
/// # Errors
/// When it asks for what can't be.
pub(crate) fn dump(matches: &ArgMatches) -> Result<(Target, PathBuf, u32)> {
    let args: DumpArgs = parsed(matches);
    Ok((server(&args.from, &args.tls, SOURCE_AUTH)?, args.file, args.rdb_version))
}

/// What the command line of `compare` says.
///
/// # Errors
/// When it asks for what can't be.
pub(crate) fn compare(matches: &ArgMatches) -> Result<Comparison> {
    let args: CompareArgs = parsed(matches);
    let servers = [server(&args.first, &args.tls, SOURCE_AUTH)?, server(&args.second, &args.tls, TARGET_AUTH)?];
    let (names, again) = (args.names, args.again);
    Ok(Comparison { servers, tolerance_ms: args.ttl_tolerance, names, again })
}
