//! Tables in markdown, which are readable on a terminal too.

use std::fmt::Write as _;

use super::Report;
use crate::args::ClientKind;
use crate::cell::Cell;
use crate::metric::Metric;
use crate::server::ServerKind;
use crate::stats::ratio_to_better;
use crate::wanted::{share_of_one_core, wanted};

/// Cells with the same columns.
struct Section {
    title: &'static str,
    /// The number that is compared; its spread and ratio stand beside it.
    first: Metric,
    more: &'static [Metric],
    holds: fn(&Cell) -> bool,
}

const SECTIONS: [Section; 4] = [
    Section {
        title: "Throughput (closed loop)",
        first: Metric::OpsPerCpuSecond,
        more: &[
            Metric::OpsPerSecond,
            Metric::P50Us,
            Metric::P99Us,
            Metric::P999Us,
            Metric::ServerCpuPercent,
            Metric::ClientCpuPercent,
            Metric::OtherCpuPercent,
        ],
        holds: |cell| matches!(cell, Cell::Closed(_)),
    },
    Section {
        title: "Latency at half of the server's own maximum rate (open loop)",
        first: Metric::P99Us,
        more: &[
            Metric::P50Us,
            Metric::P999Us,
            Metric::MaxUs,
            Metric::OfferedPerSecond,
            Metric::OpsPerSecond,
            Metric::SendLagP99Us,
            Metric::OtherCpuPercent,
            Metric::OpsPerCpuSecond,
        ],
        holds: |cell| matches!(cell, Cell::Open(_)),
    },
    Section {
        title: "Memory (16-byte keys, 64-byte values)",
        first: Metric::OverheadBytesPerKey,
        more: &[Metric::EmptyMib, Metric::LoadedMib],
        holds: |cell| matches!(cell, Cell::Memory(_)),
    },
    Section {
        title: "Restart after kill -9",
        first: Metric::RestartSeconds,
        more: &[],
        holds: |cell| matches!(cell, Cell::Restart),
    },
];

/// The report as markdown.
pub fn render(report: &Report<'_>) -> String {
    let mut out = String::new();
    head(report, &mut out);
    for section in &SECTIONS {
        let mut cells = report.results.cells();
        cells.retain(section.holds);
        if !cells.is_empty() {
            let rows = rows(report, section, &cells);
            out.push_str(&format!("\n### {}\n\n", section.title));
            out.push_str(&align(&rows));
        }
    }
    if !report.results.notes.is_empty() {
        out.push_str("\n### Not measured\n\n");
        for note in &report.results.notes {
            out.push_str(&format!("* {}\n", note.replace('\n', "; ")));
        }
    }
    out
}

fn head(report: &Report<'_>, out: &mut String) {
    let (machine, args) = (report.machine, report.args);
    let client = match args.client {
        ClientKind::Own => "own load generator",
        ClientKind::RedisBenchmark => "redis-benchmark",
    };
    // writing to a string cannot fail.
    let _ = writeln!(
        out,
        "{}: {}, {} cores, {} MiB, linux {}\n\n\
         server on cpu {:?}, client ({client}, {} connections, one thread) on cpu {:?}; {} keys; \
         {} round(s) of {} s, servers in turn; medians, spread = (max - min) / median; \
         {} keys for memory and restart\n",
        machine.date,
        machine.cpu,
        machine.cores,
        machine.memory_mib,
        machine.kernel,
        args.server_cpus(),
        args.clients,
        args.client_cpus(),
        args.keyspace,
        args.rounds(),
        args.seconds(),
        args.memory_keys(),
    );
    for binary in report.binaries {
        let (name, version) = (binary.kind.name(), &binary.version);
        let _ = writeln!(out, "* {name}: {version}: `{}`", binary.describe());
    }
}

fn rows(report: &Report<'_>, section: &Section, cells: &[Cell]) -> Vec<Vec<String>> {
    let has_subject_peers = report.binaries.len() > 1;
    let mut headings = vec!["cell", "server", section.first.heading(), "spread"];
    if has_subject_peers {
        headings.push("vs better");
    }
    let has_one_core = report.binaries.iter().skip(1).any(|binary| binary.kind == ServerKind::EmberkvOne);
    if has_one_core {
        headings.push("vs one core");
    }
    headings.push("wanted");
    headings.extend(section.more.iter().map(|metric| metric.heading()));
    let mut rows = vec![headings.into_iter().map(str::to_owned).collect()];
    for &cell in cells {
        for (index, binary) in report.binaries.iter().enumerate() {
            let kind = binary.kind;
            let Some(first) = report.results.summary(cell, kind, section.first) else {
                continue;
            };
            let mut row = vec![
                cell.to_string(),
                kind.name().to_owned(),
                section.first.show(first.median),
                format!("{:.0}%", first.spread_percent()),
            ];
            let ratio = (index == 0).then(|| ratio(report, cell, section.first, first.median)).flatten();
            if has_subject_peers {
                row.push(ratio.map_or_else(String::new, |ratio| format!("{ratio:.2}x")));
            }
            if has_one_core {
                row.push(if index == 0 { share(report, cell, section.first, first.median) } else { String::new() });
            }
            row.push(verdict(report, kind, cell, section.first, first.median, ratio));
            row.extend(section.more.iter().map(|&metric| {
                let median = report.results.median(cell, kind, metric);
                median.map_or_else(|| "-".to_owned(), |value| metric.show(value))
            }));
            rows.push(row);
        }
    }
    rows
}

fn ratio(report: &Report<'_>, cell: Cell, metric: Metric, subject: f64) -> Option<f64> {
    let peers = report.binaries.iter().skip(1).filter(|binary| !binary.kind.is_ours());
    let medians = peers.filter_map(|b| report.results.median(cell, b.kind, metric));
    ratio_to_better(metric, subject, &medians.collect::<Vec<_>>())
}

/// What several cores reach of one core's number, and whether that is as wanted.
fn share(report: &Report<'_>, cell: Cell, metric: Metric, subject: f64) -> String {
    let Some(one) = report.results.median(cell, ServerKind::EmberkvOne, metric).filter(|one| *one > 0.0) else {
        return String::new();
    };
    let share = subject / one;
    match share_of_one_core(cell).filter(|_| metric == Metric::OpsPerCpuSecond) {
        Some(least) => format!("{share:.2}x, >= {least:.2}x {}", if share >= least { "yes" } else { "no" }),
        None => format!("{share:.2}x"),
    }
}

/// What is wanted, and whether it was reached: promises are emberkv's alone.
fn verdict(
    report: &Report<'_>,
    kind: ServerKind,
    cell: Cell,
    metric: Metric,
    value: f64,
    ratio: Option<f64>,
) -> String {
    let Some(wanted) = wanted(cell, metric, report.args.cores).filter(|_| kind == ServerKind::Emberkv) else {
        return String::new();
    };
    let reached = match wanted.is_met(value, ratio) {
        Some(true) => "yes",
        Some(false) => "no",
        None => "?",
    };
    format!("{} {reached}", wanted.show())
}

/// A markdown table; the first two columns are text, the others numbers.
fn align(rows: &[Vec<String>]) -> String {
    let columns = rows.first().map_or(0, Vec::len);
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0).max(3)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut out = String::new();
    for (index, row) in rows.iter().enumerate() {
        for (column, (cell, &width)) in row.iter().zip(&widths).enumerate() {
            let padded = if column < 2 { format!("| {cell:<width$} ") } else { format!("| {cell:>width$} ") };
            out.push_str(&padded);
        }
        out.push_str("|\n");
        if index == 0 {
            for (column, &width) in widths.iter().enumerate() {
                let dashes = "-".repeat(width);
                out.push_str(&if column < 2 { format!("| {dashes} ") } else { format!("| {}: ", &dashes[1..]) });
            }
            out.push_str("|\n");
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_are_aligned() {
        let rows = [["cell", "server", "n"], ["a", "b", "12345"]];
        let rows = rows.map(|row| row.map(str::to_owned).to_vec());
        assert_eq!(align(&rows), "| cell | server |     n |\n| ---- | ------ | ----: |\n| a    | b      | 12345 |\n");
    }

    #[test]
    fn each_cell_is_in_one_section() {
        for cell in crate::cell::all() {
            let held = SECTIONS.iter().filter(|s| (s.holds)(&cell)).count();
            assert_eq!(held, 1, "{cell}");
        }
    }
}
