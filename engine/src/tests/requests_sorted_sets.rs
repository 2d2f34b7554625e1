//! Random commands on sorted sets, small and large ones, over few keys.

use emberkv_log::disk::sim::Choices;

use super::requests::{integer, key, pick};

/// Mostly one of those that are sorted sets.
pub fn sorted_key(choices: &mut Choices) -> Vec<u8> {
    if choices.one_in(12) { key(choices) } else { format!("z{}", choices.below(4)).into_bytes() }
}

/// Of few, or of many; the first sorted sets have few.
fn member(choices: &mut Choices, key: &[u8]) -> Vec<u8> {
    match choices.below(40) {
        0 => Vec::new(),
        1 => vec![b'M'; 200],
        2 => vec![b'N'; 300 + choices.below(300) as usize],
        _ => {
            let many = if key.last().is_some_and(|byte| byte % 2 == 1) { 150 } else { 12 };
            format!("member{}", choices.below(many)).into_bytes()
        }
    }
}

fn score(choices: &mut Choices) -> Vec<u8> {
    match choices.below(20) {
        0 => pick(choices, &["inf", "-inf", "1e300", "-1e-5", "0.1"]).into(),
        1 => pick(choices, &["q", "", "nan", "1x"]).into(),
        2..6 => (choices.below(40) as f64 / 4.0 - 5.0).to_string().into_bytes(),
        _ => choices.below(30).to_string().into_bytes(),
    }
}

/// An end of a range of scores.
fn end(choices: &mut Choices) -> Vec<u8> {
    let score = if choices.one_in(4) { pick(choices, &["-inf", "inf"]).into() } else { score(choices) };
    if choices.one_in(4) { [b"(".to_vec(), score].concat() } else { score }
}

fn place(choices: &mut Choices) -> Vec<u8> {
    match choices.below(12) {
        0 => integer(choices),
        1..4 => format!("-{}", 1 + choices.below(20)).into_bytes(),
        4 => choices.below(200).to_string().into_bytes(),
        _ => choices.below(20).to_string().into_bytes(),
    }
}

/// How many members a command names: some, now and then many, so that sorted sets are split and become whole again.
fn many(choices: &mut Choices) -> u64 {
    if choices.one_in(5) { 10 + choices.below(120) } else { 1 + choices.below(4) }
}

/// What follows the key in a ZRANGE.
fn range(choices: &mut Choices, words: &mut Vec<Vec<u8>>) {
    match choices.below(4) {
        0 => words.extend([b"0".to_vec(), b"-1".to_vec()]),
        1 => words.extend([place(choices), place(choices)]),
        _ => words.extend([end(choices), end(choices), b"byscore".to_vec()]),
    }
    for _ in 0..choices.below(4).saturating_sub(1) {
        words.push(pick(choices, &["rev", "rev", "withscores", "withscores", "foo"]).into());
    }
}

/// A command that the model knows as well.
pub fn sorted_request(choices: &mut Choices) -> Vec<Vec<u8>> {
    let names = [
        "zadd",
        "zadd",
        "zadd",
        "zadd",
        "zadd",
        "zincrby",
        "zincrby",
        "zrem",
        "zrem",
        "zcard",
        "zscore",
        "zscore",
        "zmscore",
        "zcount",
        "zrank",
        "zrevrank",
        "zrange",
        "zrange",
        "zrange",
        "zpopmin",
        "zpopmax",
        "zremrangebyrank",
        "zremrangebyscore",
        "zrangestore",
    ];
    let name = pick(choices, &names);
    let key = sorted_key(choices);
    let mut words: Vec<Vec<u8>> = vec![name.into(), key.clone()];
    match name {
        "zadd" => {
            for _ in 0..choices.below(5).saturating_sub(3) {
                words.push(pick(choices, &["NX", "xx", "GT", "lt", "CH", "incr"]).into());
            }
            for _ in 0..many(choices) {
                words.extend([score(choices), member(choices, &key)]);
            }
        }
        "zincrby" => words.extend([score(choices), member(choices, &key)]),
        "zscore" => words.push(member(choices, &key)),
        "zrank" | "zrevrank" => {
            words.push(member(choices, &key));
            if choices.one_in(2) {
                words.push(pick(choices, &["withscore", "WITHSCORE", "foo"]).into());
            }
        }
        "zmscore" | "zrem" => {
            for _ in 0..many(choices) {
                words.push(member(choices, &key));
            }
        }
        "zcount" => words.extend([end(choices), end(choices)]),
        // most of it stays
        "zremrangebyscore" => {
            let from = choices.below(30);
            words.extend([from.to_string().into_bytes(), format!("({}", from + choices.below(4)).into_bytes()]);
        }
        "zremrangebyrank" => {
            let from = choices.below(100);
            words.extend([from.to_string().into_bytes(), (from + choices.below(20)).to_string().into_bytes()]);
        }
        "zrange" => range(choices, &mut words),
        "zrangestore" => {
            words.push(sorted_key(choices));
            range(choices, &mut words);
        }
        "zpopmin" | "zpopmax" if choices.one_in(2) => words.push(place(choices)),
        _ => {}
    }
    match choices.below(100) {
        0 => drop(words.pop()),
        1 => words.push(integer(choices)),
        _ => {}
    }
    words
}
