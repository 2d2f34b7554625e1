//! `emberkv doctor`: what it says of a directory is what a start makes of it, and what it mends is served.
//! `EMBERKV_DOCTOR_CASES` and `EMBERKV_DOCTOR_SEED` change how much is damaged at random.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod common;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::process::Command;

use common::{PATIENCE, is_ember, must, number, refused, spec, test_file};
use emberkv_torture::rng::Rng;
use emberkv_torture::{Server, TempDir, Value};

/// What the doctor says: its exit code and its words.
fn doctor(dir: &Path, words: &[&str]) -> (i32, String) {
    let output = Command::new(common::binary()).args(["doctor", "--dir"]).arg(dir).args(words).output().unwrap();
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8(text).unwrap();
    (output.status.code().unwrap_or_else(|| panic!("{}: {text}", output.status)), text)
}

/// All files, but the lock.
fn files(dir: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = fs::read_dir(dir).unwrap().map(Result::unwrap);
    let named = entries
        .filter(|entry| entry.path().is_file())
        .map(|entry| (entry.file_name().into_string().unwrap(), fs::read(entry.path()).unwrap()));
    named.filter(|(name, _)| name != "LOCK").collect()
}

fn copy(from: &Path, to: &Path) {
    for (name, bytes) in files(from) {
        fs::write(to.join(name), bytes).unwrap();
    }
}

fn fixture(names: &[&str]) -> TempDir {
    let dir = common::dir("doctor");
    names.iter().for_each(|name| copy(&test_file("fixtures").join(name), dir.path()));
    dir
}

/// The number behind `"name":` in the doctor's json.
fn field(json: &str, name: &str) -> i64 {
    let (_, rest) = json.split_once(&format!("\"{name}\":")).unwrap_or_else(|| panic!("no {name} in {json}"));
    let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
    rest[..end].parse().unwrap_or_else(|_| panic!("{name} is no number in {json}"))
}

/// Keys in all databases.
fn keys(server: &Server) -> i64 {
    let mut client = server.connect().unwrap();
    let mut count = 0;
    for db in 0..16 {
        client.select(db).unwrap();
        let Value::Integer(here) = must(&mut client, "DBSIZE") else { panic!("DBSIZE is a number") };
        count += here;
    }
    count
}

#[test]
fn what_is_sound_is_called_so_and_left_alone() {
    if !is_ember() {
        return;
    }
    for name in ["format-1", "format-2"] {
        let dir = fixture(&[name]);
        let before = files(dir.path());
        let (code, text) = doctor(dir.path(), &[]);
        assert_eq!(code, 0, "{text}");
        assert!(text.contains("verdict: sound") && text.contains("MANIFEST.B: generation"), "{text}");
        let (code, json) = doctor(dir.path(), &["--json", "--repair"]);
        assert_eq!(code, 0, "{json}");
        assert!(files(dir.path()) == before, "{name}: something was written");
        let server = Server::start(&spec(dir.path(), &[])).unwrap();
        assert_eq!(field(&json, "keys"), keys(&server), "{name}: {json}");
    }
}

#[test]
fn damage_is_named_and_mended_and_what_was_there_is_kept() {
    if !is_ember() {
        return;
    }
    let dir = fixture(&["format-1", "format-1-damaged"]);
    let said = refused(&spec(dir.path(), &[]));
    let before = files(dir.path());
    let (code, text) = doctor(dir.path(), &[]);
    assert_eq!(code, 1, "{text}");
    assert!(files(dir.path()) == before, "something was written");
    let reason = text.lines().find_map(|line| line.strip_prefix("a start stops: ")).unwrap();
    assert!(said.contains(reason), "{reason}, and the start says {said}");
    assert!(text.contains("would be lost: "), "{text}");
    let (_, json) = doctor(dir.path(), &["--json"]);
    let (code, text) = doctor(dir.path(), &["--repair"]);
    assert_eq!(code, 0, "{text}");
    let folder = fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().path()).find(|path| path.is_dir());
    for (name, bytes) in files(&folder.unwrap()) {
        assert!(before[&name] == bytes, "{name} is not kept as it was");
    }
    assert_eq!(doctor(dir.path(), &[]).0, 0);
    let server = Server::start(&spec(dir.path(), &[])).unwrap();
    assert_eq!(field(&json, "keys"), keys(&server));
}

#[test]
fn where_there_is_nothing_to_see_nothing_is_made() {
    if !is_ember() {
        return;
    }
    let dir = common::dir("doctor-nothing");
    let nowhere = dir.path().join("nowhere");
    assert_eq!(doctor(&nowhere, &[]).0, 3);
    assert!(!nowhere.exists());
    let (code, text) = doctor(dir.path(), &["--repair"]);
    assert!(code == 3 && text.contains("no data set"), "{code} {text}");
    let server = Server::start(&spec(dir.path(), &[])).unwrap();
    let (code, text) = doctor(dir.path(), &[]);
    assert!(code == 3 && text.contains("in use"), "{code} {text}");
    must(&mut server.connect().unwrap(), "SET a 1");
    drop(server);
    let manifests = ["MANIFEST.A", "MANIFEST.B"].map(|name| dir.path().join(name));
    fs::write(&manifests[0], "garbled").unwrap();
    let (code, text) = doctor(dir.path(), &[]);
    assert!(code == 0 && text.contains("MANIFEST.A: it is damaged"), "{code} {text}");
    fs::remove_file(&manifests[1]).unwrap();
    let (code, text) = doctor(dir.path(), &["--repair"]);
    assert!(code == 2 && text.contains("restore a backup"), "{code} {text}");
}

/// Two partitions with two checkpoints each, as a kill leaves them; the names, oldest first.
fn with_checkpoints() -> (TempDir, Vec<String>) {
    let dir = common::dir("doctor-checkpoints");
    let mut server = Server::start(&spec(dir.path(), &["--cores", "2", "--save", ""])).unwrap();
    let mut client = server.connect().unwrap();
    for round in 0..3 {
        for key in 0..200 {
            must(&mut client, &format!("SET key:{key}:{round} {round}"));
        }
        must(&mut client, "SAVE");
    }
    must(&mut client, "SET late 1");
    server.kill9().unwrap();
    let names: Vec<_> = files(dir.path()).into_keys().filter(|name| name.starts_with("checkpoint-")).collect();
    assert_eq!(names.len(), 4, "{names:?}");
    (dir, names)
}

fn flip(path: &Path, at: usize) {
    let mut bytes = fs::read(path).unwrap();
    bytes[at] ^= 1;
    fs::write(path, bytes).unwrap();
}

#[test]
fn each_checkpoint_is_judged_and_what_no_start_can_use_is_set_aside() {
    if !is_ember() {
        return;
    }
    let (dir, names) = with_checkpoints();
    let (code, text) = doctor(dir.path(), &[]);
    assert_eq!(code, 0, "{text}");
    for (name, what) in names.iter().zip(["should a newer one be damaged", "the next start begins with it"].repeat(2)) {
        assert!(text.contains(&format!("{name}: usable, {what}")), "{text}");
    }
    // one is damaged in its pages, one comes from elsewhere, one was never finished
    flip(&dir.path().join(&names[1]), 5000);
    let (other, _) = with_checkpoints();
    fs::copy(other.path().join(&names[2]), dir.path().join(&names[2])).unwrap();
    fs::write(dir.path().join("checkpoint-1.new"), "begun").unwrap();
    let before = files(dir.path());
    let (code, text) = doctor(dir.path(), &[]);
    assert_eq!(code, 4, "{text}");
    assert!(files(dir.path()) == before, "something was written");
    for line in [
        format!("{}: usable, the next start begins with it", names[0]),
        format!("{}: not usable: its index is damaged", names[1]),
        format!("{}: not usable: it belongs elsewhere", names[2]),
        format!("{}: usable, the next start begins with it", names[3]),
    ] {
        assert!(text.contains(&line), "{line} is not in {text}");
    }
    assert!(text.contains("left over: ") && text.contains("checkpoint-1.new"), "{text}");
    let (code, json) = doctor(dir.path(), &["--repair", "--json"]);
    assert_eq!(code, 0, "{json}");
    let folder = fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().path()).find(|path| path.is_dir());
    let kept = files(&folder.unwrap());
    assert_eq!(kept.keys().collect::<Vec<_>>(), [&names[1], &names[2]]);
    let mut expected = before;
    for (name, bytes) in kept {
        assert!(expected.remove(&name) == Some(bytes), "{name} is not kept as it was");
    }
    assert!(files(dir.path()) == expected, "something else was changed");
    assert_eq!(doctor(dir.path(), &[]).0, 0);
    let server = Server::start(&spec(dir.path(), &[])).unwrap();
    assert_eq!((field(&json, "keys"), keys(&server)), (601, 601));
}

#[test]
fn checkpoints_alone_are_no_data_set_and_no_reason_to_make_one() {
    if !is_ember() {
        return;
    }
    let (dir, names) = with_checkpoints();
    for name in files(dir.path()).into_keys().filter(|name| !names.contains(name)) {
        fs::remove_file(dir.path().join(name)).unwrap();
    }
    let said = refused(&spec(dir.path(), &[]));
    assert!(said.contains("the manifest is lost"), "{said}");
    let (code, text) = doctor(dir.path(), &["--repair"]);
    assert!(code == 2 && text.contains("restore a backup"), "{code} {text}");
    assert_eq!(files(dir.path()).len(), names.len(), "all of them are still there");
}

/// A data set of two partitions with overwrites, deletes, transactions and expiries, as a kill leaves it.
fn killed() -> TempDir {
    let dir = common::dir("doctor-killed");
    let mut server = Server::start(&spec(dir.path(), &["--segment-size", "1mb", "--cores", "2"])).unwrap();
    let mut client = server.connect().unwrap();
    for round in 0..40 {
        for key in 0..100 {
            let value = format!("{round}:{}", "v".repeat(key * 17));
            client.send(&["SET", &format!("key:{key}"), &value]);
            client.send(&["MSET", &format!("a:{key}"), &value, &format!("b:{round}"), &value]);
            client.send(&["DEL", &format!("key:{}", (key + 50) % 100)]);
        }
        client.flush().unwrap();
        (0..300).for_each(|_| drop(client.read().unwrap()));
    }
    server.kill9().unwrap();
    dir
}

/// Damages a file or two: bits flipped, a stretch overwritten by another one, cut off, or gone.
fn damage(dir: &Path, rng: &mut Rng) -> String {
    let mut done = String::new();
    for _ in 0..rng.between(1, 2) {
        let names: Vec<_> = files(dir).into_keys().collect();
        let path = dir.join(rng.pick(&names));
        let len = fs::metadata(&path).unwrap().len();
        let file = fs::OpenOptions::new().read(true).write(true).open(&path).unwrap();
        let at = rng.below(len);
        match rng.below(8) {
            0..4 => {
                let mut byte = [0];
                file.read_exact_at(&mut byte, at).unwrap();
                byte[0] ^= 1 << rng.below(8);
                file.write_all_at(&byte, at).unwrap();
            }
            4..6 => {
                let mut stretch = vec![0; rng.between(1, 5_000).min(len) as usize];
                let last = len - stretch.len() as u64;
                file.read_exact_at(&mut stretch, rng.below(last + 1)).unwrap();
                file.write_all_at(&stretch, at.min(last)).unwrap();
            }
            6 => file.set_len(at).unwrap(),
            _ => fs::remove_file(&path).unwrap(),
        }
        done += &format!("{} at {at}; ", path.display());
    }
    done
}

/// Damage at random: a start serves what the doctor calls sound, and refuses what it does not, for the same reason; what it
/// mends is served, with as many keys as it said. Nothing panics, and nothing hangs.
#[test]
fn the_doctor_and_a_start_agree() {
    if !is_ember() {
        return;
    }
    let (cases, seed) = (number("EMBERKV_DOCTOR_CASES", 40), number("EMBERKV_DOCTOR_SEED", 1));
    let (original, root) = (killed(), Rng::new(seed));
    let mut seen = BTreeMap::new();
    for case in 0..cases {
        let mut rng = root.fork(case + 1);
        let dir = common::dir("doctor-case");
        copy(original.path(), dir.path());
        let what = format!("seed {seed}, case {case}: {}", damage(dir.path(), &mut rng));
        let before = files(dir.path());
        let (code, json) = doctor(dir.path(), &["--json"]);
        assert!(files(dir.path()) == before, "{what}: something was written");
        *seen.entry(code).or_insert(0) += 1;
        if code == 4 {
            let other = common::dir("doctor-set-aside");
            copy(dir.path(), other.path());
            let (mended, text) = doctor(other.path(), &["--repair"]);
            assert_eq!((mended, doctor(other.path(), &[]).0), (0, 0), "{what}: {text}");
        }
        // what a start does is not what is mended
        let tried = common::dir("doctor-tried");
        copy(dir.path(), tried.path());
        let mut server = Server::spawn(&spec(tried.path(), &[])).unwrap();
        match (code, server.wait_ready()) {
            (0 | 4, Ok(())) => assert_eq!(field(&json, "keys"), keys(&server), "{what}: {json}"),
            // what lies before a checkpoint is read when it serves already, and ends writes then (K8), unless it was dead and has gone
            (1, Ok(())) => {
                let mut client = server.connect().unwrap();
                let mut refuses =
                    |key: u64| matches!(client.ask(&format!("SET probe:{key} 1")).unwrap(), Value::Error(_));
                common::eventually(&what, || {
                    let info = common::text(&must(&mut server.connect().unwrap(), "INFO persistence"));
                    (0..20).any(&mut refuses) || info.contains("unread_segments:0\r")
                });
            }
            (1 | 2, Err(_)) => {
                let status = server.wait_exit(PATIENCE).unwrap();
                assert_eq!(status.code(), Some(1), "{what}: {}", server.log_text());
            }
            (code, started) => panic!("{what}: the doctor says {code} ({json}), the start {started:?}"),
        }
        drop(server);
        if code == 1 {
            let (mended, text) = doctor(dir.path(), &["--repair"]);
            assert_eq!(mended, 0, "{what}: {text}");
            let server = Server::start(&spec(dir.path(), &[])).unwrap_or_else(|error| panic!("{what}: {error}"));
            assert_eq!(field(&json, "keys"), keys(&server), "{what}: {json}");
        }
    }
    println!("exit codes: {seen:?}");
    assert!(cases < 40 || (seen.contains_key(&0) && seen.contains_key(&1)), "{seen:?}");
}
