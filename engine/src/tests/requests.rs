//! Random commands over few keys, right and wrong ones.

use emberkv_log::disk::sim::Choices;

use super::model::{Float, Model};
use super::requests_hashes::{hash_key, hash_request};
use super::requests_lists::{list_key, list_request};
use super::requests_sets::{set_key, set_request};
use super::requests_sorted_sets::{sorted_key, sorted_request};
use super::requests_streams::{stream_key, stream_request};

const KEYS: u64 = 12;

/// A key of the few that there are.
pub fn key(choices: &mut Choices) -> Vec<u8> {
    match choices.below(KEYS) {
        0 => Vec::new(),
        1 => vec![b'L'; 300],
        n => format!("key:{n}").into_bytes(),
    }
}

pub(super) fn pick<'a>(choices: &mut Choices, words: &[&'a str]) -> &'a str {
    words[choices.below(words.len() as u64) as usize]
}

fn value(choices: &mut Choices) -> Vec<u8> {
    let len = match choices.below(40) {
        0..20 => choices.below(8),
        20..38 => choices.below(3000),
        38 => 14_000 + choices.below(8_000),
        _ if choices.one_in(4) => 70_000 + choices.below(60_000),
        _ => 8_000,
    };
    match choices.below(4) {
        0 => {
            pick(choices, &["0", "7", "-3", "007", "-0", "3.5", "9223372036854775807", "-9223372036854775808", "-0.25"])
                .as_bytes()
                .to_vec()
        }
        _ => vec![b'q' + choices.below(3) as u8; len as usize],
    }
}

pub(super) fn integer(choices: &mut Choices) -> Vec<u8> {
    let text = match choices.below(12) {
        0 => pick(choices, &["q", "", "1.5", "+1", "01", "99999999999999999999"]).to_owned(),
        1 => pick(choices, &["9223372036854775807", "-9223372036854775808", "4611686018427387904"]).to_owned(),
        2..5 => (choices.below(200) as i64 - 100).to_string(),
        _ => choices.below(6).to_string(),
    };
    text.into_bytes()
}

/// A number that a command for an expiry takes, relative or absolute.
fn time(choices: &mut Choices, now_ms: u64, seconds: bool, absolute: bool) -> Vec<u8> {
    if choices.one_in(12) {
        return pick(
            choices,
            &["q", "0", "-1", "-100000", "9223372036854775807", "9223372036854775", "-9223372036854775808"],
        )
        .as_bytes()
        .to_vec();
    }
    let ahead = match choices.below(5) {
        0 => choices.below(40) as i64 - 10,
        1..4 => choices.below(4000) as i64,
        _ => choices.below(400_000_000) as i64,
    };
    let ms = ahead + if absolute { now_ms as i64 } else { 0 };
    (if seconds { ms / 1000 + 1 } else { ms }).to_string().into_bytes()
}

fn timing(choices: &mut Choices, now_ms: u64, words: &mut Vec<Vec<u8>>) {
    let name = pick(choices, &["EX", "PX", "EXAT", "PXAT", "px", "PX"]);
    words.push(name.into());
    let name = name.to_ascii_uppercase();
    words.push(time(choices, now_ms, name.starts_with('E'), name.len() == 4));
}

/// A command that the model knows as well; `None` where it does not calculate.
pub fn request(choices: &mut Choices, model: &Model, db: u8) -> Option<Vec<Vec<u8>>> {
    if choices.one_in(8) {
        return Some(stream_request(choices));
    }
    if choices.one_in(4) {
        return Some(if choices.one_in(2) { list_request(choices) } else { sorted_request(choices) });
    }
    if choices.one_in(4) {
        return if choices.one_in(2) { hash_request(choices, model, db) } else { Some(set_request(choices)) };
    }
    let now_ms = model.now_ms;
    let names = [
        "append",
        "bitop",
        "copy",
        "decr",
        "decrby",
        "del",
        "delifeq",
        "exists",
        "expire",
        "expireat",
        "expiretime",
        "get",
        "getbit",
        "getdel",
        "getex",
        "getrange",
        "getset",
        "incr",
        "incrby",
        "incrbyfloat",
        "lcs",
        "mget",
        "move",
        "mset",
        "msetnx",
        "persist",
        "pexpire",
        "pexpireat",
        "pexpiretime",
        "psetex",
        "pttl",
        "rename",
        "renamenx",
        "set",
        "setbit",
        "setex",
        "setnx",
        "setrange",
        "strlen",
        "substr",
        "touch",
        "ttl",
        "type",
        "unlink",
        "set",
        "set",
        "SET",
        "get",
        "mset",
        "pexpire",
        "psetex",
        "del",
        "Get",
    ];
    let name = pick(choices, &names);
    // what concerns keys of any kind is asked of collections too, and what does not now and then
    let others = ["get", "set", "mset", "msetnx", "setnx", "psetex", "mget"];
    let of_hash = choices.one_in(if others.contains(&name) { 40 } else { 6 });
    let other_keys: [fn(&mut Choices) -> Vec<u8>; 5] = [hash_key, list_key, set_key, sorted_key, stream_key];
    let other_key = other_keys[choices.below(5) as usize];
    let first = if of_hash { other_key(choices) } else { key(choices) };
    let mut words = vec![name.into(), first];
    match name.to_ascii_lowercase().as_str() {
        "append" | "getset" | "setnx" => words.push(value(choices)),
        "decrby" | "incrby" => words.push(integer(choices)),
        "incrbyfloat" => {
            words.push(pick(choices, &["0.5", "-1.25", "3", "q", "", "-3", "0"]).into());
            let held = model.state.get(&(db, words[1].as_slice().into()));
            if held.is_some_and(|held| matches!(Float::of(&held.value), Float::Unsure)) {
                return None;
            }
        }
        "rename" | "renamenx" => words.push(if of_hash { other_key(choices) } else { key(choices) }),
        "lcs" => {
            words.push(key(choices));
            for _ in 0..choices.below(5).saturating_sub(3) {
                words.push(pick(choices, &["LEN", "len", "FOO"]).into());
            }
        }
        "copy" => {
            words.push(if of_hash { other_key(choices) } else { key(choices) });
            for _ in 0..choices.below(4).saturating_sub(1) {
                match choices.below(8) {
                    0..3 => words.push("replace".into()),
                    3..7 => words.extend(["DB".into(), pick(choices, &["0", "1", "0", "1", "9999", "q"]).into()]),
                    _ => words.push(pick(choices, &["DB", "FOO"]).into()),
                }
            }
        }
        "move" => words.push(pick(choices, &["0", "1", "0", "1", "-1", "9999", "99999999999", "q"]).into()),
        "bitop" => {
            let names = ["AND", "or", "XOR", "NOT", "DIFF", "DIFF1", "ANDOR", "one", "FOO"];
            words.insert(1, pick(choices, &names).into());
            for _ in 0..1 + choices.below(3) {
                words.push(key(choices));
            }
        }
        "del" | "exists" | "mget" | "touch" | "unlink" => {
            for _ in 0..choices.below(3) {
                words.push(key(choices));
            }
        }
        "mset" | "msetnx" => {
            words.push(value(choices));
            for _ in 0..choices.below(4) {
                words.extend([key(choices), value(choices)]);
            }
        }
        "expire" | "expireat" | "pexpire" | "pexpireat" => {
            words.push(time(choices, now_ms, !name.starts_with('p'), name.ends_with("at")));
            for _ in 0..choices.below(6).saturating_sub(3) {
                words.push(pick(choices, &["NX", "XX", "GT", "LT", "gt", "lt", "FOO"]).into());
            }
        }
        "getex" => {
            for _ in 0..choices.below(5).saturating_sub(2) {
                match choices.below(4) {
                    0 => words.push("persist".into()),
                    _ => timing(choices, now_ms, &mut words),
                }
            }
        }
        "getrange" | "substr" => words.extend([integer(choices), integer(choices)]),
        "psetex" | "setex" => words.extend([time(choices, now_ms, name == "setex", false), value(choices)]),
        "set" => {
            words.push(value(choices));
            for _ in 0..choices.below(5).saturating_sub(2) {
                match choices.below(8) {
                    0..4 => timing(choices, now_ms, &mut words),
                    4 => words.push("KEEPTTL".into()),
                    5 => words.push("GET".into()),
                    _ => words.push(pick(choices, &["NX", "xx", "NX", "FOO", "EX"]).into()),
                }
            }
        }
        "delifeq" => {
            let held = model.state.get(&(db, words[1].as_slice().into())).map(|held| held.value.to_vec());
            let value = if choices.one_in(3) { None } else { held };
            words.push(value.unwrap_or_else(|| integer(choices)));
        }
        "getbit" | "setbit" => {
            let offset = match choices.below(8) {
                0 => integer(choices),
                1 => b"1199999".to_vec(),
                2 => b"1200000".to_vec(),
                _ => choices.below(20_000).to_string().into_bytes(),
            };
            words.push(offset);
            if name == "setbit" {
                words.push(pick(choices, &["0", "1", "1", "0", "1", "2", "q"]).into());
            }
        }
        "setrange" => {
            let offset = match choices.below(8) {
                0 => integer(choices),
                1 => b"149999".to_vec(),
                _ => choices.below(2000).to_string().into_bytes(),
            };
            words.extend([offset, value(choices)]);
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
