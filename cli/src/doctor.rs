//! `emberkv doctor`.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Arg, ArgAction, ArgMatches, Command};
use emberkv_server::doctor::{CheckpointFacts, Doctor, DoctorError, Examination, Use, Verdict};
use serde_json::json;

/// A start serves all of it, or a repair has seen to that.
const SOUND: u8 = 0;
/// A start stops; a repair can go on without what is lost.
const DAMAGED: u8 = 1;
/// A start stops, and only a backup helps.
const BEYOND_REPAIR: u8 = 2;
/// Nothing could be looked at.
const UNSEEN: u8 = 3;
/// A start serves all of it, but does without a checkpoint that is there.
const SLOWER: u8 = 4;

/// The subcommand.
pub(crate) fn command() -> Command {
    Command::new("doctor")
        .about("look at a data directory that no server runs on, and mend it")
        .after_help(
            "exit codes: 0 a start serves all that is there, or the repair is done; 1 damaged, --repair can go on \
             without what is lost; 2 damaged, only a backup helps; 3 it could not be looked at; 4 a start serves all \
             that is there, but can't use a checkpoint, which --repair sets aside",
        )
        .arg(
            Arg::new("dir")
                .long("dir")
                .value_parser(clap::value_parser!(PathBuf))
                .default_value(".")
                .help("the data directory"),
        )
        .arg(
            Arg::new("repair")
                .long("repair")
                .action(ArgAction::SetTrue)
                .help("go on without what is lost; what is changed is kept in a folder lost+found-..."),
        )
        .arg(Arg::new("json").long("json").action(ArgAction::SetTrue).help("one object of json instead of text"))
}

/// What is said at the end.
struct Outcome {
    code: u8,
    /// The folder that a repair keeps files in, and their names.
    kept: Option<(PathBuf, Vec<String>)>,
}

/// Looks, mends if asked to, and says what it saw.
pub(crate) fn run(matches: &ArgMatches) -> ExitCode {
    let Some(dir) = matches.get_one::<PathBuf>("dir") else { return ExitCode::from(UNSEEN) };
    match look(dir, matches.get_flag("repair")) {
        Ok((seen, outcome)) => {
            let said = if matches.get_flag("json") { as_json(&seen, &outcome) } else { as_text(&seen, &outcome) };
            // the reader may have gone, as `head` does
            let _ = writeln!(std::io::stdout(), "{said}");
            ExitCode::from(outcome.code)
        }
        Err(error) => {
            eprintln!("emberkv doctor: {error}");
            ExitCode::from(UNSEEN)
        }
    }
}

fn look(dir: &std::path::Path, repair: bool) -> Result<(Examination, Outcome), DoctorError> {
    let doctor = Doctor::open(dir)?;
    let seen = doctor.examine()?;
    let outcome = match &seen.verdict {
        Verdict::Sound if seen.useless_checkpoints().next().is_none() => Outcome { code: SOUND, kept: None },
        Verdict::Sound if repair => Outcome { code: SOUND, kept: doctor.set_aside_checkpoints(&seen)? },
        Verdict::Sound => Outcome { code: SLOWER, kept: None },
        Verdict::Damaged(_) if repair => Outcome { code: SOUND, kept: Some(doctor.repair(&seen)?) },
        Verdict::Damaged(_) => Outcome { code: DAMAGED, kept: None },
        Verdict::BeyondRepair(_) => Outcome { code: BEYOND_REPAIR, kept: None },
    };
    Ok((seen, outcome))
}

/// A segment as it is printed: what is listed, and what is in it.
struct Line<'a> {
    listed: &'a emberkv_server::doctor::ListedSegment,
    facts: Option<&'a emberkv_server::doctor::SegmentFacts>,
}

fn lines(seen: &Examination) -> impl Iterator<Item = Line<'_>> {
    seen.listing.segments.iter().map(|listed| {
        let same = |(partition, facts): &&(_, emberkv_server::doctor::SegmentFacts)| {
            *partition == listed.partition && facts.sequence == listed.sequence
        };
        Line { listed, facts: seen.facts.iter().find(same).map(|(_, facts)| facts) }
    })
}

/// What is said of a checkpoint.
fn describe(checkpoint: &CheckpointFacts) -> (&'static str, Option<&str>) {
    match &checkpoint.use_of_it {
        Ok(Use::Next) => ("usable, the next start begins with it", None),
        Ok(Use::Spare) => ("usable, should a newer one be damaged", None),
        Err(reason) => ("not usable", Some(reason)),
    }
}

fn verdict(seen: &Examination) -> (&'static str, &str) {
    match &seen.verdict {
        Verdict::Sound => ("sound", ""),
        Verdict::Damaged(reason) => ("damaged", reason),
        Verdict::BeyondRepair(reason) => ("beyond repair", reason),
    }
}

fn as_text(seen: &Examination, outcome: &Outcome) -> String {
    let mut out = String::new();
    // writing to a string does not fail
    let _ = write_text(&mut out, seen, outcome);
    out.truncate(out.trim_end().len());
    out
}

fn write_text(out: &mut String, seen: &Examination, outcome: &Outcome) -> std::fmt::Result {
    for copy in &seen.listing.manifests {
        match &copy.generation {
            Ok(generation) => writeln!(out, "{}: generation {generation}", copy.name)?,
            Err(reason) => writeln!(out, "{}: {reason}", copy.name)?,
        }
    }
    writeln!(out, "partitions: {}, segments of {} bytes", seen.listing.partitions, seen.listing.segment_size)?;
    for Line { listed, facts } in lines(seen) {
        let (file, state) = (&listed.file, listed.state);
        write!(out, "partition {} segment {}: {file}, {state}", listed.partition.0, listed.sequence.0)?;
        match facts {
            Some(facts) => {
                let dead = facts.bytes.saturating_sub(facts.live_bytes);
                let (bytes, records, live) = (facts.bytes, facts.records, facts.live_bytes);
                writeln!(out, ", {bytes} bytes, {records} records, {live} bytes live, {dead} dead")?;
            }
            None if !listed.is_there => writeln!(out, ", missing")?,
            None => writeln!(out)?,
        }
    }
    for checkpoint in &seen.checkpoints {
        match describe(checkpoint) {
            (words, None) => writeln!(out, "{}: {words}", checkpoint.name)?,
            (words, Some(reason)) => writeln!(out, "{}: {words}: {reason}", checkpoint.name)?,
        }
    }
    if !seen.listing.unlisted.is_empty() {
        writeln!(out, "spare or left over: {}", seen.listing.unlisted.join(" "))?;
    }
    for (file, offset) in &seen.report.cut {
        writeln!(
            out,
            "torn tail: {file} from offset {offset}; a start cuts it, and none of it is known to have been synced"
        )?;
    }
    if seen.report.open_transactions > 0 {
        let count = seen.report.open_transactions;
        writeln!(out, "transactions that a start ends, by what is there of them: {count}")?;
    }
    let (word, reason) = verdict(seen);
    if seen.verdict != Verdict::Sound {
        writeln!(out, "a start stops: {reason}")?;
    }
    let lost = if outcome.kept.is_some() { "lost" } else { "would be lost" };
    for what in &seen.report.lost {
        writeln!(out, "{lost}: {what}")?;
    }
    if let Some((folder, names)) = &outcome.kept {
        let done = if seen.verdict == Verdict::Sound { "set aside" } else { "repaired; as they were, kept" };
        writeln!(out, "{done} in {}: {}", folder.display(), names.join(" "))?;
    }
    if !matches!(seen.verdict, Verdict::BeyondRepair(_)) {
        writeln!(out, "keys: {}, records: {}", seen.keys, seen.report.records)?;
    }
    let advice = match (&seen.verdict, &outcome.kept) {
        (Verdict::Damaged(_), None) => "; restore a backup, or run this again with --repair",
        (Verdict::Damaged(_), Some(_)) => ", repaired",
        (Verdict::BeyondRepair(_), _) => "; restore a backup",
        (Verdict::Sound, None) if seen.useless_checkpoints().next().is_some() => {
            "; a start does without a checkpoint, and may take longer. --repair sets it aside"
        }
        (Verdict::Sound, None) => "",
        (Verdict::Sound, Some(_)) => ", without what no start can use",
    };
    writeln!(out, "verdict: {word}{advice}")
}

fn as_json(seen: &Examination, outcome: &Outcome) -> String {
    let manifests: Vec<_> = (seen.listing.manifests.iter())
        .map(|copy| match &copy.generation {
            Ok(generation) => json!({"file": copy.name, "generation": generation}),
            Err(reason) => json!({"file": copy.name, "unusable": reason}),
        })
        .collect();
    let segments: Vec<_> = lines(seen)
        .map(|Line { listed, facts }| {
            json!({
                "partition": listed.partition.0,
                "sequence": listed.sequence.0,
                "file": listed.file,
                "state": listed.state,
                "missing": !listed.is_there,
                "file_bytes": listed.size,
                "base": listed.base.map(|base| base.0),
                "bytes": facts.map(|facts| facts.bytes),
                "records": facts.map(|facts| facts.records),
                "live_bytes": facts.map(|facts| facts.live_bytes),
            })
        })
        .collect();
    let cut: Vec<_> = seen.report.cut.iter().map(|(file, offset)| json!({"file": file, "offset": offset})).collect();
    let checkpoints: Vec<_> = (seen.checkpoints.iter())
        .map(|checkpoint| {
            json!({
                "file": checkpoint.name,
                "usable": checkpoint.use_of_it.is_ok(),
                "next": checkpoint.use_of_it == Ok(Use::Next),
                "reason": describe(checkpoint).1,
            })
        })
        .collect();
    let (word, reason) = verdict(seen);
    let kept = outcome.kept.as_ref().map(|(folder, names)| json!({"folder": folder, "files": names}));
    json!({
        "verdict": word,
        "reason": (!reason.is_empty()).then_some(reason),
        "repaired": outcome.kept.is_some(),
        "checkpoints": checkpoints,
        "kept": kept,
        "lost": seen.report.lost,
        "torn_tails": cut,
        "open_transactions": seen.report.open_transactions,
        "manifests": manifests,
        "partitions": seen.listing.partitions,
        "segment_size": seen.listing.segment_size,
        "segments": segments,
        "unlisted_files": seen.listing.unlisted,
        "keys": seen.keys,
        "records": seen.report.records,
    })
    .to_string()
}
