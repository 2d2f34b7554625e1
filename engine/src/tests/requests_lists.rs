//! Random commands on lists, small and large ones, over few keys.

use emberkv_log::disk::sim::Choices;

use super::requests::{integer, key, pick};

/// Mostly one of those that are lists.
pub fn list_key(choices: &mut Choices) -> Vec<u8> {
    if choices.one_in(12) { key(choices) } else { format!("l{}", choices.below(4)).into_bytes() }
}

/// Of few, so that some are equal; now and then one that has a leaf to itself.
fn element(choices: &mut Choices) -> Vec<u8> {
    match choices.below(40) {
        0 => vec![b'L'; 257 + choices.below(3000) as usize],
        1..4 => vec![b'm'; choices.below(250) as usize],
        4..14 => integer(choices),
        _ => format!("element-{}", choices.below(60)).into_bytes(),
    }
}

/// How many elements a command names: some, now and then many, so that lists are split and become whole again.
fn many(choices: &mut Choices) -> u64 {
    if choices.one_in(5) { 10 + choices.below(150) } else { 1 + choices.below(5) }
}

fn index(choices: &mut Choices) -> Vec<u8> {
    let most = if choices.one_in(2) { 8 } else { 300 };
    (choices.below(most) as i64 - choices.below(most) as i64).to_string().into_bytes()
}

/// A command that the model knows as well.
pub fn list_request(choices: &mut Choices) -> Vec<Vec<u8>> {
    let names = [
        "lpush",
        "rpush",
        "lpush",
        "rpush",
        "rpush",
        "lpushx",
        "rpushx",
        "lpop",
        "rpop",
        "lpop",
        "rpop",
        "llen",
        "lrange",
        "lindex",
        "lset",
        "linsert",
        "lrem",
        "ltrim",
        "lpos",
        "lmove",
        "rpoplpush",
        "lmpop",
    ];
    let name = pick(choices, &names);
    let mut words: Vec<Vec<u8>> = vec![name.into(), list_key(choices)];
    match name {
        "lpush" | "rpush" | "lpushx" | "rpushx" => {
            for _ in 0..many(choices) {
                words.push(element(choices));
            }
        }
        "lpop" | "rpop" if choices.one_in(2) => words.push(many(choices).to_string().into_bytes()),
        "lrange" => words.extend([index(choices), index(choices)]),
        // seldom more than some at the ends
        "ltrim" if choices.one_in(6) => words.extend([index(choices), index(choices)]),
        "ltrim" => {
            words.extend([choices.below(4), choices.below(4) + 1].map(|n| n.to_string().into_bytes()));
            words[3].insert(0, b'-');
        }
        "lindex" => words.push(index(choices)),
        "lset" => words.extend([index(choices), element(choices)]),
        "linsert" => {
            words.push(pick(choices, &["before", "AFTER", "before", "after", "beside"]).into());
            words.extend([element(choices), element(choices)]);
        }
        "lrem" => {
            words.push((choices.below(7) as i64 - 3).to_string().into_bytes());
            words.push(element(choices));
        }
        "lpos" => {
            words.push(element(choices));
            if choices.one_in(2) {
                words.extend(["RANK".into(), pick(choices, &["1", "2", "-1", "-3", "9"]).into()]);
            }
        }
        "rpoplpush" => words.push(list_key(choices)),
        "lmove" => {
            words.push(list_key(choices));
            for _ in 0..2 {
                words.push(pick(choices, &["LEFT", "right", "left", "RIGHT", "left", "right", "up"]).into());
            }
        }
        "lmpop" => {
            let keys = 1 + choices.below(3);
            words.splice(1.., [keys.to_string().into_bytes()]);
            (0..keys).for_each(|_| words.push(list_key(choices)));
            words.push(pick(choices, &["LEFT", "RIGHT"]).into());
            if choices.one_in(2) {
                words.extend(["COUNT".into(), many(choices).to_string().into_bytes()]);
            }
            return words;
        }
        _ => {}
    }
    match choices.below(100) {
        0 if name != "lpos" => drop(words.pop()),
        1 if name != "lpos" => words.push(b"9".to_vec()),
        _ => {}
    }
    words
}
