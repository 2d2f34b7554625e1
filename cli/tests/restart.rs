//! What a start says while it loads, and what it makes of the directory that it finds.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod common;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use common::{PATIENCE, driver_args, drivers, is_ember, must, refused, spec, text};
use emberkv_torture::rng::Rng;
use emberkv_torture::{Client, Server, ServerSpec, Value};

const LOADING: &str = "LOADING Redis is loading the dataset in memory";

/// Sends commands in pipelines and checks that none is answered with an error.
fn pipeline(client: &mut Client, commands: impl Iterator<Item = Vec<Vec<u8>>>) {
    const DEPTH: usize = 1_000;
    let mut commands = commands.peekable();
    while commands.peek().is_some() {
        let sent = commands.by_ref().take(DEPTH).map(|command| client.send(&command)).count();
        for _ in 0..sent {
            let reply = client.read().unwrap();
            assert!(!matches!(reply, Value::Error(_)), "{}", text(&reply));
        }
    }
}

/// The fields of a section of INFO.
fn fields(info: &Value) -> BTreeMap<String, String> {
    let info = text(info);
    info.lines().filter_map(|line| line.split_once(':')).map(|(name, value)| (name.into(), value.into())).collect()
}

/// What a server that is loading has said.
struct Heard {
    get: String,
    ping: String,
    info: BTreeMap<String, String>,
}

/// Asks a server that has just been spawned until it serves; what it has said before, if it was seen loading.
fn hear_loading(server: &mut Server) -> Option<Heard> {
    let mut heard = None;
    loop {
        let status = server.exited().unwrap();
        assert!(status.is_none(), "it has exited: {}", server.log_text());
        let Ok(mut client) = server.connect() else { continue };
        // in one piece, so that one turn answers all of it.
        client.send(&["INFO", "persistence"]);
        client.send(&["GET", "k0"]);
        client.send(&["PING"]);
        let [info, get, ping] = [(); 3].map(|()| client.read().unwrap());
        let info = fields(&info);
        match info["loading"].as_str() {
            "1" => heard = Some(Heard { get: text(&get), ping: text(&ping), info }),
            _ => return heard,
        }
    }
}

#[test]
fn a_start_on_a_grown_data_set_says_that_it_loads_and_how_long_it_takes() {
    if !is_ember() {
        return;
    }
    for io in drivers() {
        let dir = common::dir("loading");
        let spec = spec(dir.path(), &[]).args(driver_args(io));
        let mut server = Server::start(&spec).unwrap();
        let mut keys = 0;
        // a start may be too quick to be seen loading: then there is more to load the next time.
        let heard = loop {
            let more = keys..keys + 300_000_usize;
            keys = more.end;
            let sets = more.map(|number| vec![b"SET".to_vec(), format!("k{number}").into(), vec![b'v'; 64]]);
            pipeline(&mut server.connect().unwrap(), sets);
            server.kill9().unwrap();
            server = Server::spawn(&spec).unwrap();
            if let Some(heard) = hear_loading(&mut server) {
                break heard;
            }
            assert!(keys < 3_000_000, "io {io}: it was never seen loading");
        };
        assert_eq!((heard.get.as_str(), heard.ping.as_str()), (LOADING, LOADING), "io {io}");
        let number = |name: &str| heard.info[name].parse::<u64>().unwrap();
        assert!(number("loading_loaded_bytes") <= number("loading_total_bytes"), "io {io}: {:?}", heard.info);
        assert!(number("loading_start_time") > 1_700_000_000, "io {io}: {:?}", heard.info);
        number("loading_eta_seconds");
        assert!((0.0..=100.0).contains(&heard.info["loading_loaded_perc"].parse::<f64>().unwrap()));
        // and then it serves what it has loaded.
        let mut client = server.connect().unwrap();
        assert_eq!(must(&mut client, "DBSIZE"), Value::Integer(keys as i64), "io {io}");
        assert_eq!(fields(&must(&mut client, "INFO persistence"))["loading"], "0");
    }
}

/// Random writes of every kind, in two databases: most keys many times.
fn grow(client: &mut Client, rng: &mut Rng, commands: usize) {
    let words = |words: &[&str]| words.iter().map(|word| word.as_bytes().to_vec()).collect::<Vec<_>>();
    let random = (0..commands).map(|_| {
        let key = format!("k{}", rng.below(4_000));
        match rng.below(1_000) {
            0 => words(&["SELECT", &rng.below(2).to_string()]),
            1 if rng.below(20) == 0 => words(&["FLUSHDB"]),
            2..200 => words(&["DEL", &key]),
            200..300 => words(&["PEXPIREAT", &key, &(4_102_444_800_000 + rng.below(1 << 40)).to_string()]),
            300..350 => words(&["PERSIST", &key]),
            350..400 => words(&["SET", &key, &rng.below(1 << 60).to_string()]),
            400..450 => words(&["APPEND", &key, "7"]),
            450..460 => vec![b"SET".to_vec(), key.into(), vec![b'v'; rng.index(60_000)]],
            _ => vec![b"SET".to_vec(), key.into(), vec![b'v'; rng.index(400)]],
        }
    });
    pipeline(client, random);
    must(client, "SELECT 0");
}

type Contents = BTreeMap<(u8, Vec<u8>), (Value, Value)>;

/// All keys of both databases with their values and expiries.
fn contents(server: &Server) -> Contents {
    let mut client = server.connect().unwrap();
    let mut contents = Contents::new();
    for database in [0, 1] {
        client.select(database).unwrap();
        let keys = must(&mut client, "KEYS *");
        let keys = keys.items().unwrap().iter().map(|key| key.text().unwrap().to_vec());
        for key in keys {
            client.send(&[&b"GET"[..], &key]);
            client.send(&[&b"PEXPIRETIME"[..], &key]);
            let (value, expiry) = (client.read().unwrap(), client.read().unwrap());
            contents.insert((database, key), (value, expiry));
        }
    }
    contents
}

/// Removes all but the log and its manifest, by the names that docs/format.md gives them.
fn remove_all_but_the_log(dir: &Path) -> usize {
    let mut removed = 0;
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        if name.ends_with(".seg") || name == "MANIFEST.A" || name == "MANIFEST.B" {
            continue;
        }
        removed += 1;
        if path.is_dir() { fs::remove_dir_all(&path).unwrap() } else { fs::remove_file(&path).unwrap() }
    }
    removed
}

fn segments(server: &Server) -> u64 {
    fields(&must(&mut server.connect().unwrap(), "INFO persistence"))["log_segments"].parse().unwrap()
}

/// Law 1.
#[test]
fn the_log_and_its_manifest_alone_hold_the_data_set() {
    if !is_ember() {
        return;
    }
    for (number, io) in drivers().into_iter().enumerate() {
        let dir = common::dir("law-1");
        let spec = spec(dir.path(), &["--segment-size", "1mb"]).args(driver_args(io));
        let mut rng = Rng::new(number as u64 + 1);
        let mut server = Server::start(&spec).unwrap();
        for killed in [false, true, true, false] {
            grow(&mut server.connect().unwrap(), &mut rng, 50_000);
            assert!(segments(&server) > 3, "io {io}: it has not grown");
            let before = contents(&server);
            assert!(before.len() > 100, "io {io}: only {} keys", before.len());
            if killed {
                server.kill9().unwrap();
            } else {
                assert!(server.terminate(PATIENCE).unwrap().success());
            }
            assert!(remove_all_but_the_log(dir.path()) > 0, "there was at least a lock");
            server = Server::start(&spec).unwrap();
            assert!(contents(&server) == before, "io {io}, killed {killed}: the contents differ");
        }
    }
}

/// Where the manifest and segment headers have their format version.
const VERSION_OFFSET: usize = 8;

/// Makes a file one of the next version, and returns that.
fn raise_version(path: &Path) -> u32 {
    let mut bytes = fs::read(path).unwrap();
    let field = &mut bytes[VERSION_OFFSET..VERSION_OFFSET + 4];
    let newer = u32::from_le_bytes(field.try_into().unwrap()) + 1;
    field.copy_from_slice(&newer.to_le_bytes());
    fs::write(path, bytes).unwrap();
    newer
}

fn written_directory(name: &str) -> (emberkv_torture::TempDir, ServerSpec) {
    let dir = common::dir(name);
    let spec = spec(dir.path(), &[]);
    let mut server = Server::start(&spec).unwrap();
    must(&mut server.connect().unwrap(), "SET a 1");
    assert!(server.terminate(PATIENCE).unwrap().success());
    (dir, spec)
}

#[test]
fn a_newer_manifest_is_refused_and_left_as_it_is() {
    if !is_ember() {
        return;
    }
    // one copy is enough: a newer emberkv may have written just one when it was stopped.
    for copies in [&["MANIFEST.A", "MANIFEST.B"][..], &["MANIFEST.A"], &["MANIFEST.B"]] {
        let (dir, spec) = written_directory("newer");
        let newer = copies.iter().map(|name| raise_version(&dir.path().join(name))).max().unwrap();
        let before: Vec<_> = copies.iter().map(|name| fs::read(dir.path().join(name)).unwrap()).collect();
        let log = refused(&spec);
        assert!(log.contains(copies[0]), "it does not name the file {}:\n{log}", copies[0]);
        assert!(log.contains(&format!("version is {newer}")), "it does not name the version:\n{log}");
        assert!(log.contains("use a newer emberkv"), "it does not say what to do:\n{log}");
        let after: Vec<_> = copies.iter().map(|name| fs::read(dir.path().join(name)).unwrap()).collect();
        assert!(before == after, "a refusal has changed the manifest");
    }
}
