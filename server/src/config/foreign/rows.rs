//! One row for each directive, in blocks that share a note. To add one, add a row.

use super::{Block, Foreign, Kind};
use crate::config::table::When::{self, FileOnly, Protected, Runtime, Start};
use Kind::{AlwaysYes, AnyOf, Int, List, OneOf, Size, SizeOrPercent, Text, Unsigned, Words, YesNo};

const I32: i64 = i32::MAX as i64;
const I64: i64 = i64::MAX;
const SIZE_MAX: u64 = i64::MAX as u64;
const ANY_SIZE: Kind = Size(0, SIZE_MAX);
const SHUTDOWN: Kind = AnyOf(&["default", "save", "nosave", "now", "force"]);
const GUARD: Kind = OneOf(&["no", "yes", "local"]);

const fn row(name: &'static str, when: When, kind: Kind, default: &'static str) -> Foreign {
    Foreign { name, aliases: &[], when, kind, default }
}

impl Foreign {
    const fn also(self, aliases: &'static [&'static str]) -> Self {
        Self { aliases, ..self }
    }
}

const fn ignored(note: &'static str, rows: &'static [Foreign]) -> Block {
    Block { note, is_refused: false, rows }
}

const fn refused(note: &'static str, rows: &'static [Foreign]) -> Block {
    Block { note, is_refused: true, rows }
}

/// Every row.
pub(super) static BLOCKS: &[Block] = &[
    ignored("the log is the database: it is always on", &[row("appendonly", Runtime, AlwaysYes, "yes")]),
    ignored(
        "emberkv stays in the foreground; run it under systemd or another supervisor",
        &[
            row("daemonize", Start, YesNo, "no"),
            row("supervised", Start, OneOf(&["upstart", "systemd", "auto", "no"]), "no"),
            row("pidfile", Start, Text, ""),
            row("always-show-logo", Start, YesNo, "no"),
            row("set-proc-title", Start, YesNo, "yes"),
            row("proc-title-template", Runtime, Text, "{title} {listen-addr} {server-mode}"),
        ],
    ),
    ignored(
        "emberkv logs to its standard output or to logfile",
        &[
            row("syslog-enabled", Start, YesNo, "no"),
            row("syslog-ident", Start, Text, "redis"),
            row(
                "syslog-facility",
                Start,
                OneOf(&["user", "local0", "local1", "local2", "local3", "local4", "local5", "local6", "local7"]),
                "local0",
            ),
            row("hide-user-data-from-log", Runtime, YesNo, "no"),
            row("crash-log-enabled", Runtime, YesNo, "yes"),
            row("crash-memcheck-enabled", Runtime, YesNo, "yes"),
            row("ignore-warnings", Runtime, Text, ""),
        ],
    ),
    ignored(
        "there is no dump file: the log in dir is the data, checksummed, and written before each reply",
        &[
            row("dbfilename", Protected, Text, "dump.rdb"),
            row("rdbcompression", Runtime, YesNo, "yes"),
            row("rdbchecksum", Start, YesNo, "yes"),
            row("rdb-del-sync-files", Runtime, YesNo, "no"),
            row("rdb-save-incremental-fsync", Runtime, YesNo, "yes"),
            row("sanitize-dump-payload", Runtime, OneOf(&["no", "yes", "clients"]), "no"),
            row("stop-writes-on-bgsave-error", Runtime, YesNo, "yes"),
        ],
    ),
    ignored(
        "there is no append-only file beside the data: the log in dir is the data",
        &[
            row("appendfilename", Start, Text, "appendonly.aof"),
            row("appenddirname", Start, Text, "appendonlydir"),
            row("no-appendfsync-on-rewrite", Runtime, YesNo, "no"),
            row("auto-aof-rewrite-percentage", Runtime, Int(0, I32), "100"),
            row("auto-aof-rewrite-min-size", Runtime, ANY_SIZE, "67108864"),
            row("aof-use-rdb-preamble", Runtime, YesNo, "yes"),
            row("aof-timestamp-enabled", Runtime, YesNo, "no"),
            row("aof-rewrite-incremental-fsync", Runtime, YesNo, "yes"),
            row("aof-disable-auto-gc", Runtime, YesNo, "no"),
        ],
    ),
    ignored(
        "a torn tail of the log is always cut and reported, damage elsewhere stops the start \
             unless salvage is yes",
        &[row("aof-load-truncated", Runtime, YesNo, "yes")],
    ),
    ignored(
        "a delete only marks its record: what it frees comes back outside of the command",
        &[
            row("lazyfree-lazy-eviction", Runtime, YesNo, "no"),
            row("lazyfree-lazy-expire", Runtime, YesNo, "no"),
            row("lazyfree-lazy-server-del", Runtime, YesNo, "no"),
            row("lazyfree-lazy-user-del", Runtime, YesNo, "no"),
            row("lazyfree-lazy-user-flush", Runtime, YesNo, "no"),
            row("replica-lazy-flush", Runtime, YesNo, "no").also(&["slave-lazy-flush"]),
        ],
    ),
    ignored(
        "keys are not sampled: expiry runs off a timing wheel, eviction goes by segments of the log",
        &[
            row("maxmemory-samples", Runtime, Int(1, 64), "5"),
            row("maxmemory-eviction-tenacity", Runtime, Int(0, 100), "10"),
            row("lfu-log-factor", Runtime, Int(0, I32), "10"),
            row("lfu-decay-time", Runtime, Int(0, I32), "1"),
            row("active-expire-effort", Runtime, Int(1, 10), "1"),
        ],
    ),
    ignored(
        "the index grows in small steps and data lies in segments: there is nothing to rehash or to defragment",
        &[
            row("activerehashing", Runtime, YesNo, "yes"),
            row("activedefrag", Runtime, YesNo, "no"),
            row("active-defrag-ignore-bytes", Runtime, Size(1, SIZE_MAX), "104857600"),
            row("active-defrag-threshold-lower", Runtime, Int(0, 1000), "10"),
            row("active-defrag-threshold-upper", Runtime, Int(0, 1000), "100"),
            row("active-defrag-cycle-min", Runtime, Int(1, 99), "1"),
            row("active-defrag-cycle-max", Runtime, Int(1, 99), "25"),
            row("active-defrag-max-scan-fields", Runtime, Int(1, I64), "1000"),
            row("jemalloc-bg-thread", Runtime, YesNo, "yes"),
        ],
    ),
    ignored("emberkv never forks, so huge pages do it no harm", &[row("disable-thp", Start, YesNo, "yes")]),
    ignored(
        "emberkv does not change the process's priorities: set them in the service manager",
        &[
            row("oom-score-adj", Runtime, OneOf(&["no", "yes", "relative", "absolute"]), "no"),
            row("oom-score-adj-values", Runtime, Words(3), "0 200 800"),
            row("bio-cpulist", Start, Text, "").also(&["bio_cpulist"]),
            row("aof-rewrite-cpulist", Start, Text, "").also(&["aof_rewrite_cpulist"]),
            row("bgsave-cpulist", Start, Text, "").also(&["bgsave_cpulist"]),
        ],
    ),
    ignored(
        "each core has a loop of its own that does its i/o; timers run when they are due",
        &[
            row("io-threads", Start, Int(1, 128), "1"),
            row("io-threads-do-reads", Start, YesNo, "no"),
            row("dynamic-hz", Runtime, YesNo, "yes"),
            row("max-new-connections-per-cycle", Runtime, Unsigned, "10"),
            row("max-new-tls-connections-per-cycle", Runtime, Unsigned, "1"),
            row("vset-force-single-threaded-execution", Runtime, YesNo, "no"),
        ],
    ),
    ignored(
        "emberkv chooses the encoding of collections itself",
        &[
            row("list-compress-depth", Runtime, Int(0, I32), "0"),
            row("stream-node-max-bytes", Runtime, ANY_SIZE, "4096"),
            row("stream-node-max-entries", Runtime, Int(0, I64), "100"),
        ],
    ),
    ignored(
        "INFO latencystats shows percentiles 50, 99 and 99.9",
        &[row("latency-tracking-info-percentiles", Runtime, List, "50 99 99.9")],
    ),
    ignored(
        "client-query-buffer-limit and client-output-buffer-limit bound each client",
        &[row("maxmemory-clients", Runtime, SizeOrPercent, "0")],
    ),
    ignored(
        "SIGTERM and SIGINT drain, sync and exit: with the log there is nothing to save",
        &[
            row("shutdown-timeout", Runtime, Int(0, I32), "10"),
            row("shutdown-on-sigint", Runtime, SHUTDOWN, "default"),
            row("shutdown-on-sigterm", Runtime, SHUTDOWN, "default"),
        ],
    ),
    ignored(
        "there are no lua scripts",
        &[row("busy-reply-threshold", Runtime, Int(0, I64), "5000").also(&["lua-time-limit"])],
    ),
    ignored(
        "there are no modules, and what is protected can't be set at run time",
        &[row("enable-protected-configs", Start, GUARD, "no"), row("enable-module-command", Start, GUARD, "no")],
    ),
    ignored(
        "emberkv sorts by bytes and marks no sockets",
        &[
            row("locale-collate", Runtime, Text, ""),
            row("socket-mark-id", Start, Unsigned, "0"),
            row("bind-source-addr", Runtime, Text, ""),
        ],
    ),
    ignored(
        "a replica reads its primary's log, as it lies there, whenever it likes: there is no backlog and no dump on the way",
        &[
            row("propagation-error-behavior", Runtime, OneOf(&["ignore", "panic", "panic-on-replicas"]), "ignore"),
            row("repl-backlog-size", Runtime, Size(1, SIZE_MAX), "1048576"),
            row("repl-backlog-ttl", Runtime, Int(0, I64), "3600"),
            row("repl-disable-tcp-nodelay", Runtime, YesNo, "no"),
            row("repl-diskless-load", Runtime, OneOf(&["disabled", "on-empty-db", "swapdb"]), "disabled"),
            row("repl-diskless-sync", Runtime, YesNo, "yes"),
            row("repl-diskless-sync-delay", Runtime, Int(0, I32), "5"),
            row("repl-diskless-sync-max-replicas", Runtime, Int(0, I32), "0"),
            row("repl-ping-replica-period", Runtime, Int(1, I32), "10").also(&["repl-ping-slave-period"]),
            row("replica-announced", Runtime, YesNo, "yes"),
            row("replica-full-sync-buffer-limit", Runtime, ANY_SIZE, "0"),
            row("replica-ignore-disk-write-errors", Runtime, YesNo, "no"),
            row("replica-ignore-maxmemory", Runtime, YesNo, "yes").also(&["slave-ignore-maxmemory"]),
        ],
    ),
    ignored(
        "this version has no cluster",
        &[
            row("cluster-allow-pubsubshard-when-down", Runtime, YesNo, "yes"),
            row("cluster-allow-reads-when-down", Runtime, YesNo, "no"),
            row("cluster-allow-replica-migration", Runtime, YesNo, "yes"),
            row("cluster-announce-bus-port", Runtime, Int(0, 65_535), "0"),
            row("cluster-announce-hostname", Runtime, Text, ""),
            row("cluster-announce-human-nodename", Runtime, Text, ""),
            row("cluster-announce-ip", Runtime, Text, ""),
            row("cluster-announce-port", Runtime, Int(0, 65_535), "0"),
            row("cluster-announce-tls-port", Runtime, Int(0, 65_535), "0"),
            row("cluster-compatibility-sample-ratio", Runtime, Int(0, 100), "0"),
            row("cluster-config-file", Start, Text, "nodes.conf"),
            row("cluster-link-sendbuf-limit", Runtime, ANY_SIZE, "0"),
            row("cluster-migration-barrier", Runtime, Int(0, I32), "1"),
            row("cluster-node-timeout", Runtime, Int(0, I64), "15000"),
            row("cluster-port", Start, Int(0, 65_535), "0"),
            row("cluster-preferred-endpoint-type", Runtime, OneOf(&["ip", "hostname", "unknown-endpoint"]), "ip"),
            row("cluster-replica-no-failover", Runtime, YesNo, "no").also(&["cluster-slave-no-failover"]),
            row("cluster-replica-validity-factor", Runtime, Int(0, I32), "10").also(&["cluster-slave-validity-factor"]),
            row("cluster-require-full-coverage", Runtime, YesNo, "yes"),
            row("cluster-slot-stats-enabled", Runtime, YesNo, "no"),
        ],
    ),
    ignored(
        "rustls chooses among cipher suites that are all safe, and remembers sessions by their number",
        &[
            row("tls-ciphers", Runtime, Text, ""),
            row("tls-ciphersuites", Runtime, Text, ""),
            row("tls-dh-params-file", Runtime, Text, ""),
            row("tls-prefer-server-ciphers", Runtime, YesNo, "no"),
            row("tls-session-cache-timeout", Runtime, Int(0, I32), "300"),
        ],
    ),
    ignored("this version has no cluster", &[row("tls-cluster", Runtime, YesNo, "no")]),
    refused(
        "this version can't be a node of a cluster: take the line out to serve all slots by \
             itself",
        &[row("cluster-enabled", Start, YesNo, "no")],
    ),
    refused(
        "there are no modules: take the line out to start without its commands",
        &[row("loadmodule", FileOnly, List, "")],
    ),
];
