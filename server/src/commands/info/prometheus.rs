//! The same for prometheus: bounded sets of labels (command, core, kind), a histogram for each command.

use std::collections::BTreeMap;
use std::fmt::{Display, Write};

use emberkv_resp::schema::all;

use super::Snapshot;
use super::snapshot::{partitions, total};
use crate::meter::{Errors, Row};
use crate::process;

/// Bounds of the histograms' buckets, in ns: 16 µs to 1 s in steps of four.
const BUCKETS_NS: [u64; 9] =
    [16_000, 64_000, 256_000, 1_000_000, 4_000_000, 16_000_000, 64_000_000, 256_000_000, 1_000_000_000];

struct Page(String);

impl Page {
    /// Begins a metric.
    fn metric(&mut self, name: &str, kind: &str, help: &str) {
        let _ = write!(self.0, "# HELP emberkv_{name} {help}\n# TYPE emberkv_{name} {kind}\n");
    }

    fn sample(&mut self, name: &str, labels: &str, value: impl Display) {
        let _ = if labels.is_empty() {
            writeln!(self.0, "emberkv_{name} {value}")
        } else {
            writeln!(self.0, "emberkv_{name}{{{labels}}} {value}")
        };
    }

    fn single(&mut self, name: &str, kind: &str, help: &str, value: impl Display) {
        self.metric(name, kind, help);
        self.sample(name, "", value);
    }

    /// A sample of a histogram.
    fn histogram(&mut self, name: &str, label: &str, row: &Row) {
        let Some(times) = &row.times else { return };
        for bound in BUCKETS_NS {
            let labels = format!("{label},le=\"{}\"", bound as f64 / 1e9);
            self.sample(&format!("{name}_bucket"), &labels, times.count_between(0, bound));
        }
        self.sample(&format!("{name}_bucket"), &format!("{label},le=\"+Inf\""), times.len());
        self.sample(&format!("{name}_sum"), label, row.nanos as f64 / 1e9);
        self.sample(&format!("{name}_count"), label, times.len());
    }

    /// A value of each core.
    fn by_core<V: Display>(
        &mut self,
        name: &str,
        kind: &str,
        help: &str,
        cores: &[Snapshot],
        of: impl Fn(&Snapshot) -> V,
    ) {
        self.metric(name, kind, help);
        for core in cores {
            self.sample(name, &format!("core=\"{}\"", core.core), of(core));
        }
    }
}

/// The page, out of what all cores have told.
pub(crate) fn metrics_text(cores: &[Snapshot]) -> String {
    let mut page = Page(String::new());
    let is_loading = cores.iter().any(Snapshot::is_loading);
    page.single("loading", "gauge", "Whether the data set is being loaded.", u8::from(is_loading));
    let refuses = cores.iter().any(Snapshot::refuses_writes);
    page.single("writes_refused", "gauge", "Whether a log takes no writes.", u8::from(refuses));
    page.by_core("connections", "gauge", "Clients that are connected.", cores, |core| core.clients);
    page.by_core("connections_total", "counter", "Clients that were accepted.", cores, |core| core.stats.connections);
    page.by_core("commands_total", "counter", "Commands of a core's clients.", cores, |core| core.stats.commands);
    page.by_core("received_bytes_total", "counter", "Bytes from clients.", cores, |core| core.stats.bytes_in);
    page.by_core("sent_bytes_total", "counter", "Bytes to clients.", cores, |core| core.stats.bytes_out);
    page.by_core("turns_total", "counter", "Turns of a core's loop.", cores, |core| core.stats.turns);
    page.by_core("cpu_seconds_total", "counter", "Cpu time of a core's thread.", cores, |core| {
        core.busy_ms as f64 / 1000.0
    });
    memory(&mut page, cores);
    log(&mut page, cores);
    keys(&mut page, cores);
    commands(&mut page, cores);
    page.0
}

fn memory(page: &mut Page, cores: &[Snapshot]) {
    page.single("resident_bytes", "gauge", "Memory of the process.", process::resident_bytes());
    page.metric("memory_bytes", "gauge", "Memory by what it is for.");
    page.sample("memory_bytes", "kind=\"segments\"", total(cores, |partition| partition.memory.segments));
    page.sample("memory_bytes", "kind=\"index\"", total(cores, |partition| partition.memory.index));
    page.sample("memory_bytes", "kind=\"expiry\"", total(cores, |partition| partition.memory.expiry));
    page.sample("memory_bytes", "kind=\"clients\"", cores.iter().map(|core| core.client_bytes).sum::<u64>());
}

fn log(page: &mut Page, cores: &[Snapshot]) {
    page.metric("log_bytes_total", "counter", "Bytes of the logs: appended, written, synced.");
    page.sample("log_bytes_total", "state=\"appended\"", total(cores, |partition| partition.tail));
    page.sample("log_bytes_total", "state=\"written\"", total(cores, |partition| partition.written));
    page.sample("log_bytes_total", "state=\"synced\"", total(cores, |partition| partition.synced));
    let behind = total(cores, |partition| partition.tail.saturating_sub(partition.synced));
    page.single("log_unsynced_bytes", "gauge", "Bytes that a power loss would take.", behind);
    let lag_ms = partitions(cores).map(|partition| partition.sync_lag_ms).max().unwrap_or(0);
    page.single("log_sync_lag_seconds", "gauge", "Since the oldest record was appended that is not synced.", {
        lag_ms as f64 / 1000.0
    });
    page.single("log_segments", "gauge", "Segments of the logs.", total(cores, |partition| partition.segments as u64));
    page.single("log_live_bytes", "gauge", "Bytes that live.", total(cores, |partition| partition.debt.live_bytes));
    page.single("log_dead_bytes", "gauge", "Bytes that compaction could free.", {
        total(cores, |partition| partition.debt.dead_bytes())
    });
    page.metric(
        "checkpoint_age_seconds",
        "gauge",
        "Since a partition's last checkpoint, if one was taken since the start.",
    );
    for core in cores {
        for partition in core.partitions.iter().flatten() {
            if let Some(last_ms) = partition.checkpoint.last_ms {
                let age_ms = core.now_ms.saturating_sub(last_ms);
                page.sample(
                    "checkpoint_age_seconds",
                    &format!("partition=\"{}\"", partition.number),
                    age_ms as f64 / 1000.0,
                );
            }
        }
    }
    let changes = total(cores, |partition| partition.checkpoint.changes);
    page.single("checkpoint_missing_changes", "gauge", "Changes of keys that are in no checkpoint.", changes);
    page.single("compaction_copied_bytes_total", "counter", "Bytes that compaction has moved.", {
        total(cores, |partition| partition.compaction.copied_bytes)
    });
}

fn keys(page: &mut Page, cores: &[Snapshot]) {
    page.metric("keys", "gauge", "Keys by database.");
    let databases = partitions(cores).map(|partition| partition.dbs.len()).max().unwrap_or(0);
    for db in 0..databases {
        let keys = total(cores, |partition| partition.dbs[db].keys);
        if keys > 0 {
            page.sample("keys", &format!("db=\"{db}\""), keys);
        }
    }
    page.single("expired_keys_total", "counter", "Keys that have expired.", {
        total(cores, |partition| partition.stats.expired)
    });
    let direct = |of: fn(&Snapshot) -> u64| cores.iter().map(of).sum::<u64>();
    let hits = total(cores, |partition| partition.stats.hits) + direct(|core| core.stats.direct_hits);
    let misses = total(cores, |partition| partition.stats.misses) + direct(|core| core.stats.direct_misses);
    page.metric("lookups_total", "counter", "Reads by whether their key was there.");
    page.sample("lookups_total", "result=\"hit\"", hits);
    page.sample("lookups_total", "result=\"miss\"", misses);
}

fn commands(page: &mut Page, cores: &[Snapshot]) {
    let mut rows: BTreeMap<&str, Row> = BTreeMap::new();
    for (id, row) in cores.iter().flat_map(|core| &core.commands) {
        rows.entry(all()[*id as usize].name).or_default().add(row);
    }
    page.metric("command_rejected_total", "counter", "Commands that were not executed.");
    for (name, row) in &rows {
        page.sample("command_rejected_total", &format!("command=\"{name}\""), row.rejected);
    }
    page.metric("command_failed_total", "counter", "Commands that were answered with an error.");
    for (name, row) in &rows {
        page.sample("command_failed_total", &format!("command=\"{name}\""), row.failed);
    }
    page.metric("command_seconds", "histogram", "How long commands take.");
    for (name, row) in &rows {
        page.histogram("command_seconds", &format!("command=\"{name}\""), row);
    }
    // all of both labels together would be too many
    page.metric("core_command_seconds", "histogram", "How long the commands of a core's clients take.");
    for core in cores {
        let mut all = Row::default();
        core.commands.iter().for_each(|(_, row)| all.add(row));
        page.histogram("core_command_seconds", &format!("core=\"{}\"", core.core), &all);
    }
    let mut errors = Errors::default();
    cores.iter().for_each(|core| errors.merge(&core.errors));
    page.metric("errors_total", "counter", "Error replies by their code.");
    for (code, count) in errors.by_code() {
        // a code is a word of ours; what a script may make up one day is not to break the page
        let code: String = code.chars().filter(char::is_ascii_alphanumeric).collect();
        page.sample("errors_total", &format!("code=\"{code}\""), count);
    }
}
