//! Random commands on streams, small and large ones, and on what is pending for their groups, over few keys.

use emberkv_log::disk::sim::Choices;

use super::requests::{key, pick};

/// Mostly one of those that are streams.
pub fn stream_key(choices: &mut Choices) -> Vec<u8> {
    if choices.one_in(15) { key(choices) } else { format!("x{}", choices.below(3)).into_bytes() }
}

fn ids(choices: &mut Choices) -> impl Iterator<Item = Vec<u8>> {
    let (from, count) = (choices.below(300), 1 + choices.below(8));
    (from..from + count).map(|id| format!("1-{id}").into_bytes())
}

/// A command that the model knows as well.
pub fn stream_request(choices: &mut Choices) -> Vec<Vec<u8>> {
    let key = stream_key(choices);
    let (group, consumer) = (pick(choices, &["g", "group"]), pick(choices, &["a", "b", "a-longer-name"]));
    let words = |text: &[&str]| text.iter().map(|word| word.as_bytes().to_vec()).collect::<Vec<_>>();
    match choices.below(24) {
        0..10 => {
            let len = if choices.one_in(12) { choices.below(2000) } else { choices.below(40) };
            vec![b"xadd".to_vec(), key, b"1-*".to_vec(), b"v".to_vec(), vec![b'v'; len as usize]]
        }
        10..12 => [vec![b"xdel".to_vec(), key], ids(choices).collect()].concat(),
        12 => vec![b"xtrim".to_vec(), key, b"maxlen".to_vec(), choices.below(200).to_string().into_bytes()],
        13 => vec![b"xlen".to_vec(), key],
        14 => vec![b"xrange".to_vec(), key, b"-".to_vec(), b"+".to_vec()],
        15 if choices.one_in(4) => [words(&["xgroup", "DESTROY"]), vec![key], words(&[group])].concat(),
        15..17 => [words(&["xgroup", "CREATE"]), vec![key], words(&[group, "0", "mkstream"])].concat(),
        17..21 => {
            let count = (1 + choices.below(20)).to_string();
            [words(&["xreadgroup", "group", group, consumer, "count", &count, "streams"]), vec![key], words(&[">"])]
                .concat()
        }
        _ => [vec![b"xack".to_vec(), key], words(&[group]), ids(choices).collect()].concat(),
    }
}
