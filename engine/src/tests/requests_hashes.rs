//! Random commands on hashes, small and large ones, over few keys.

use emberkv_log::disk::sim::Choices;

use super::model::{Float, Model};
use super::model_hashes::hash_of;
use super::requests::{integer, key, pick};

/// Mostly one of those that are hashes.
pub fn hash_key(choices: &mut Choices) -> Vec<u8> {
    if choices.one_in(12) { key(choices) } else { format!("h{}", choices.below(4)).into_bytes() }
}

/// Of few, or of many; the first hashes have few.
fn field(choices: &mut Choices, key: &[u8]) -> Vec<u8> {
    match choices.below(30) {
        0 => Vec::new(),
        1 => vec![b'F'; 200],
        _ => {
            let many = if key.last().is_some_and(|byte| byte % 2 == 1) { 150 } else { 12 };
            format!("field{}", choices.below(many)).into_bytes()
        }
    }
}

fn value(choices: &mut Choices) -> Vec<u8> {
    let len = match choices.below(40) {
        0 => 2000 + choices.below(3000),
        1..4 => choices.below(400),
        4..20 => choices.below(40),
        _ => return integer(choices),
    };
    vec![b'q' + choices.below(3) as u8; len as usize]
}

/// How many fields a command names: some, now and then many, so that hashes are split and become whole again.
fn many(choices: &mut Choices) -> u64 {
    if choices.one_in(5) { 10 + choices.below(120) } else { 1 + choices.below(4) }
}

/// A command that the model knows as well; `None` where it does not calculate.
pub fn hash_request(choices: &mut Choices, model: &Model, db: u8) -> Option<Vec<Vec<u8>>> {
    let names = [
        "hset",
        "hset",
        "hset",
        "hset",
        "hmset",
        "hsetnx",
        "hget",
        "hget",
        "hmget",
        "hgetall",
        "hkeys",
        "hvals",
        "hlen",
        "hstrlen",
        "hexists",
        "hdel",
        "hdel",
        "hincrby",
        "hincrbyfloat",
        "times",
        "times",
        "times",
        "times",
    ];
    let name = pick(choices, &names);
    let key = hash_key(choices);
    if name == "times" {
        return Some(times_request(choices, key, model.now_ms));
    }
    let mut words: Vec<Vec<u8>> = vec![name.into(), key.clone()];
    match name {
        "hset" | "hmset" => {
            for _ in 0..many(choices) {
                words.extend([field(choices, &key), value(choices)]);
            }
        }
        "hsetnx" => words.extend([field(choices, &key), value(choices)]),
        "hget" | "hstrlen" | "hexists" => words.push(field(choices, &key)),
        "hmget" | "hdel" => {
            for _ in 0..many(choices) {
                words.push(field(choices, &key));
            }
        }
        "hincrby" => words.extend([field(choices, &key), integer(choices)]),
        "hincrbyfloat" => {
            words.extend([field(choices, &key), pick(choices, &["0.5", "-1.25", "3", "q", "", "-3", "0"]).into()]);
            let hash = model.state.get(&(db, key.as_slice().into())).and_then(|held| hash_of(&held.value));
            let old = hash.and_then(|hash| hash.get(&words[2]).cloned());
            if old.is_some_and(|(old, _)| matches!(Float::of(&old), Float::Unsure)) {
                return None;
            }
        }
        _ => {}
    }
    match choices.below(100) {
        0 => drop(words.pop()),
        1 => words.push(value(choices)),
        _ => {}
    }
    Some(words)
}

/// When fields expire, in ms from now: soon, so that many do, or later; now and then it is over.
fn ahead(choices: &mut Choices) -> i64 {
    match choices.below(8) {
        0 => -1 - choices.below(20) as i64,
        1..4 => choices.below(400) as i64,
        4..7 => choices.below(20_000) as i64,
        _ => choices.below(400_000_000) as i64,
    }
}

/// A command on times of fields.
fn times_request(choices: &mut Choices, key: Vec<u8>, now_ms: u64) -> Vec<Vec<u8>> {
    let names = [
        "hpexpireat",
        "hpexpireat",
        "hpexpireat",
        "hpexpire",
        "hexpireat",
        "hsetex",
        "hsetex",
        "hsetex",
        "hgetex",
        "hgetex",
        "hgetdel",
        "hpersist",
        "hpexpiretime",
        "hpexpiretime",
        "hpttl",
    ];
    let name = pick(choices, &names);
    let mut words: Vec<Vec<u8>> = vec![name.into(), key.clone()];
    let at_ms = |choices: &mut Choices| now_ms as i64 + ahead(choices);
    let pxat = |choices: &mut Choices| [b"PXAT".to_vec(), at_ms(choices).to_string().into_bytes()];
    match name {
        "hpexpireat" | "hpexpire" | "hexpireat" => {
            let time = match name {
                "hpexpireat" => at_ms(choices),
                "hpexpire" => ahead(choices).max(0),
                _ => at_ms(choices) / 1000,
            };
            words.push(time.to_string().into_bytes());
            if choices.one_in(3) {
                words.push(pick(choices, &["NX", "xx", "GT", "LT"]).into());
            }
        }
        "hsetex" => {
            if choices.one_in(5) {
                words.push(pick(choices, &["FNX", "fxx"]).into());
            }
            match choices.below(8) {
                0 => words.push("KEEPTTL".into()),
                1 => {}
                _ => words.extend(pxat(choices)),
            }
        }
        "hgetex" => match choices.below(4) {
            0 => words.push("PERSIST".into()),
            1 => {}
            _ => words.extend(pxat(choices)),
        },
        _ => {}
    }
    let count = many(choices);
    words.extend(["FIELDS".into(), count.to_string().into_bytes()]);
    for _ in 0..count {
        words.push(field(choices, &key));
        if name == "hsetex" {
            words.push(value(choices));
        }
    }
    words
}
