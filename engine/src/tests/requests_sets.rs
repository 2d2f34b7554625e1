//! Random commands on sets, small and large ones, of integers and of others, over few keys.

use emberkv_log::disk::sim::Choices;

use super::requests::{integer, key, pick};

/// Mostly one of those that are sets.
pub fn set_key(choices: &mut Choices) -> Vec<u8> {
    if choices.one_in(12) { key(choices) } else { format!("s{}", choices.below(4)).into_bytes() }
}

/// Of few, or of many; the first two sets are of integers, nearly always.
fn member(choices: &mut Choices, key: &[u8]) -> Vec<u8> {
    let last = key.last().copied().unwrap_or(0);
    let many = if last % 2 == 1 { 200 } else { 12 };
    match choices.below(60) {
        0 => Vec::new(),
        1 => vec![b'M'; 200],
        2 => integer(choices),
        _ if last <= b'1' => (choices.below(many) as i64 - 5).to_string().into_bytes(),
        _ => format!("member{}", choices.below(many)).into_bytes(),
    }
}

/// A command that the model knows as well.
pub fn set_request(choices: &mut Choices) -> Vec<Vec<u8>> {
    let names = [
        "sadd",
        "sadd",
        "sadd",
        "sadd",
        "sadd",
        "srem",
        "srem",
        "sismember",
        "smismember",
        "scard",
        "smembers",
        "smembers",
        "spop",
        "spop",
        "smove",
        "sinter",
        "sunion",
        "sdiff",
        "sinterstore",
        "sunionstore",
        "sdiffstore",
        "sintercard",
    ];
    let name = pick(choices, &names);
    let key = set_key(choices);
    let mut words: Vec<Vec<u8>> = vec![name.into(), key.clone()];
    match name {
        "sadd" | "srem" | "smismember" => {
            let many = if choices.one_in(5) { 10 + choices.below(150) } else { 1 + choices.below(4) };
            words.extend((0..many).map(|_| member(choices, &key)));
        }
        "sismember" => words.push(member(choices, &key)),
        "smove" => words.extend([set_key(choices), member(choices, &key)]),
        "spop" if choices.one_in(2) => {
            words.push(pick(choices, &["0", "1", "3", "20", "20", "100", "1000", "-1", "q"]).into());
        }
        "sinter" | "sunion" | "sdiff" => words.extend((0..choices.below(3)).map(|_| set_key(choices))),
        "sinterstore" | "sunionstore" | "sdiffstore" => {
            words.extend((0..1 + choices.below(3)).map(|_| set_key(choices)));
        }
        "sintercard" => {
            let count = 1 + choices.below(3);
            words[1] = (count - u64::from(choices.one_in(20))).to_string().into();
            words.extend((0..count).map(|_| set_key(choices)));
        }
        _ => {}
    }
    match choices.below(100) {
        0 => drop(words.pop()),
        1 => words.push(integer(choices)),
        _ => {}
    }
    words
}
