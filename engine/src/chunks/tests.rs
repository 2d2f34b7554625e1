//! Strings in chunks beside a vector of bytes, and what a change of one writes.

use emberkv_log::disk::sim::Choices;
use emberkv_log::plant::{self, Plant};
use emberkv_log::{DbId, SyncPolicy};

use super::{CHUNK_SHIFT, CHUNKED_FROM, ChunkRoot};
use crate::collections::LeafName;
use crate::databases::RESERVED;
use crate::tests::rig::{NIL, Rig, bulk};
use crate::tests::{change_residency, compact_some, lives, with_seeds};

const CHUNK: usize = 1 << CHUNK_SHIFT;

fn root(rig: &Rig, key: &str) -> Option<ChunkRoot> {
    let found = rig.partition.peek(rig.partition.key(DbId(0), key.as_bytes())).live()?;
    rig.partition.chunked(found)
}

fn words(parts: &[&dyn AsRef<[u8]>]) -> Vec<Vec<u8>> {
    parts.iter().map(|part| part.as_ref().to_vec()).collect()
}

/// Bytes that the log has got by a command.
fn written(rig: &mut Rig, line: &str) -> u64 {
    let before = rig.partition.log().tail();
    rig.ask(0, line);
    rig.partition.log().tail().0 - before.0
}

#[test]
fn a_root_is_read_as_it_was_written() {
    let mut root = ChunkRoot::new(u64::MAX - 5, 100 << 20);
    root.chunks = 70;
    assert_eq!(ChunkRoot::read(&root.write()), root);
    for end in 0..root.write().len() {
        assert_eq!(ChunkRoot::read(&root.write()[..end]).len, 0, "a part of one is nothing");
    }
    assert_eq!((root.span(&(0..0)), root.span(&(CHUNK - 1..CHUNK + 1))), (0..0, 0..2));
}

#[test]
fn what_is_changed_in_a_place_is_dealt_out_once_and_then_costs_a_chunk() {
    let mut rig = Rig::new(1, SyncPolicy::EverySec);
    let text = "x".repeat(20 * CHUNKED_FROM);
    rig.run(0, &words(&[&"set", &"k", &text]));
    assert_eq!(root(&rig, "k"), None, "what is only set stays one record");
    rig.ask(0, "setbit k 9000 1");
    let first = root(&rig, "k").expect("it is in chunks");
    assert_eq!((first.len as usize, first.chunks), (text.len(), first.numbers()));
    rig.settle();
    let most = CHUNK as u64 + 200;
    for line in ["setbit k 16 1", "setrange k 5000 hello", "append k !", "bitfield k set u8 #77 255"] {
        assert!((1..most).contains(&written(&mut rig, line)), "{line}");
    }
    assert_eq!(written(&mut rig, "setbit k 16 1"), 0, "nothing has changed");
    assert_eq!(rig.ask(0, "strlen k"), format!(":{}\r\n", text.len() + 1));
    assert_eq!(rig.ask(0, "object encoding k"), bulk("raw"));
    assert_eq!(rig.ask(0, "type k"), "+string\r\n");
    assert_eq!(rig.ask(0, "getrange k 4999 5005"), bulk("xhellox"));
    assert_eq!(rig.ask(0, "incr k"), "-ERR value is not an integer or out of range\r\n");
    assert_eq!(root(&rig, "k").map(|root| root.id), Some(first.id));
    assert_eq!(rig.ask(0, "set k 7"), "+OK\r\n");
    assert_eq!((root(&rig, "k"), rig.ask(0, "get k")), (None, bulk("7")));
    while rig.partition.sweep(100) {}
    rig.check_counts();
    assert_eq!(rig.partition.dbs[usize::from(RESERVED.0)].keys, 0, "its chunks have gone");
}

#[test]
fn zeros_take_nothing() {
    let mut rig = Rig::new(2, SyncPolicy::EverySec);
    assert!(written(&mut rig, "setbit k 1199999 1") < 400);
    assert_eq!(rig.ask(0, "strlen k"), ":150000\r\n");
    assert_eq!(rig.ask(0, "bitcount k"), ":1\r\n");
    assert_eq!(rig.ask(0, "bitpos k 1"), ":1199999\r\n");
    assert_eq!(rig.ask(0, "bitpos k 0 1000"), ":8000\r\n");
    assert!(written(&mut rig, "copy k c") < 400);
    assert!(written(&mut rig, "rename c d") < 400);
    assert!(written(&mut rig, "expire d 100") < 200);
    assert_eq!(rig.ask(0, "bitcount d -1 -1"), ":1\r\n");
    // a chunk that is nothing but zeros again is gone
    rig.ask(0, "setbit k 1199999 0");
    assert_eq!(root(&rig, "k").map(|root| (root.len, root.chunks)), Some((150_000, 0)));
    assert_eq!(rig.ask(0, "bitpos k 1"), ":-1\r\n");
    assert_eq!(rig.ask(0, "setrange k 149999 xy"), "-ERR string exceeds maximum allowed size (proto-max-bulk-len)\r\n");
    rig.check_counts();
    rig.settle();
    let contents = rig.contents();
    assert!(rig.killed().contents() == contents);
}

#[test]
fn what_asks_for_all_of_it_gets_what_it_gets_of_one_record() {
    let mut rig = Rig::new(7, SyncPolicy::EverySec);
    let text: Vec<u8> = (0..5000u32).map(|i| ((i * i) >> 3) as u8).collect();
    for key in ["a", "b", "plain"] {
        rig.run(0, &words(&[&"set", &key, &text]));
    }
    for key in ["a", "b"] {
        rig.run(0, &words(&[&"setrange", &key, &"300", &&text[300..310]]));
        assert!(root(&rig, key).is_some());
    }
    let mut of = |line: &str| {
        let words: Vec<Vec<u8>> = line.split(' ').map(|word| word.as_bytes().to_vec()).collect();
        rig.run(0, &words).reply
    };
    for line in [
        "dump K",
        "get K",
        "mget K other K",
        "strlen K",
        "pfcount K",
        "pfcount K K",
        "incrbyfloat K 1",
        "lcs K K len",
        "getrange K -9 -1",
    ] {
        assert!(of(&line.replace('K', "a")) == of(&line.replace('K', "plain")), "{line}");
    }
    assert_eq!(of("bitop xor c a b"), b":5000\r\n");
    assert_eq!(of("bitcount c"), b":0\r\n");
    assert_eq!(of("rpush l 1"), b":1\r\n");
    assert!(of("sort l by nosort get a").ends_with(b"$-1\r\n"), "no pattern");
    assert_eq!(of("rename b b1"), b"+OK\r\n");
    assert!(of("sort l by nosort get b*").len() > 5000);
    let usage = String::from_utf8(of("memory usage a")).unwrap();
    let bytes: u64 = usage.trim_start_matches(':').trim_end().parse().unwrap();
    assert!((5000..9000).contains(&bytes), "{bytes}");
}

/// A string that is dealt out in slices, as far as it has come before somebody else has his turn.
fn begin_deal(rig: &mut Rig) -> String {
    let text: String = (0..4000).map(|i| format!("{i:08},")).collect();
    rig.run(0, &words(&[&"set", &"k", &text]));
    assert!(rig.try_once(0, &words(&[&"append", &"k", &"!"])).is_none(), "it takes more than one turn");
    assert_eq!(root(rig, "k"), None);
    text
}

#[test]
fn a_very_long_string_is_dealt_out_in_slices() {
    let mut rig = Rig::new(3, SyncPolicy::EverySec);
    let text = begin_deal(&mut rig);
    // looked at by others meanwhile, and by the walk that looks for leaves without a root
    assert_eq!(rig.ask(0, "getrange k 0 8"), bulk("00000000,"));
    rig.partition.sweeper.orphans = Some(emberkv_index::ScanCursor::START);
    while rig.partition.sweep(100) {}
    assert_eq!(rig.ask_again(0, &words(&[&"append", &"k", &"!"])), format!(":{}\r\n", text.len() + 1));
    assert_eq!(rig.ask(0, "get k"), bulk(&format!("{text}!")));
    assert!(root(&rig, "k").is_some() && rig.partition.deal.is_none());
    rig.check_counts();
}

#[test]
fn chunks_that_are_swept_before_their_root_comes_are_noticed() {
    plant::set(Some(Plant::O9));
    let told = std::panic::catch_unwind(a_very_long_string_is_dealt_out_in_slices);
    plant::set(None);
    assert!(told.is_err());
}

#[test]
fn what_is_dealt_out_for_nobody_is_swept() {
    for change in ["set k other", "del k", "flushdb", "get k"] {
        let mut rig = Rig::new(4, SyncPolicy::EverySec);
        let text = begin_deal(&mut rig);
        rig.ask(0, change);
        if change == "set k other" {
            // what it was dealt out of is not there any more
            assert_eq!(rig.ask_again(0, &words(&[&"append", &"k", &"!"])), ":6\r\n");
        }
        rig.pass(3000);
        while rig.partition.sweep(100) {}
        assert!(rig.partition.deal.is_none());
        assert_eq!(rig.partition.dbs[usize::from(RESERVED.0)].keys, 0, "{change}");
        let left = rig.ask(0, "get k");
        let expected = match change {
            "set k other" => bulk("other!"),
            "get k" => bulk(&text),
            _ => NIL.to_owned(),
        };
        assert_eq!(left, expected);
        rig.check_counts();
    }
    // after a crash in the middle nothing is left of it either
    let mut rig = Rig::new(5, SyncPolicy::EverySec);
    let text = begin_deal(&mut rig);
    rig.settle();
    let mut rig = rig.killed();
    assert!(rig.partition.dbs[usize::from(RESERVED.0)].keys > 0);
    assert!(rig.clean());
    assert_eq!(rig.partition.dbs[usize::from(RESERVED.0)].keys, 0);
    assert_eq!(rig.ask(0, "get k"), bulk(&text));
}

/// The plainest string there is.
#[derive(Clone, Default)]
struct Plain(Option<Vec<u8>>);

fn bit(text: &[u8], at: usize) -> bool {
    text.get(at / 8).is_some_and(|byte| byte >> (7 - at % 8) & 1 == 1)
}

impl Plain {
    fn text(&self) -> &[u8] {
        self.0.as_deref().unwrap_or_default()
    }

    fn put(&mut self, at: usize, part: &[u8]) {
        let text = self.0.get_or_insert_default();
        text.resize(text.len().max(at + part.len()), 0);
        text[at..at + part.len()].copy_from_slice(part);
    }

    /// A number of so many bits, and with `new` another one in its place.
    fn field(&mut self, bits: usize, at: usize, new: Option<u64>) -> u64 {
        let old = (at..at + bits).fold(0, |number, at| number << 1 | u64::from(bit(self.text(), at)));
        if let Some(new) = new {
            let last = (at + bits - 1) / 8;
            self.put(last, &[self.text().get(last).copied().unwrap_or(0)]);
            for i in 0..bits {
                let (at, mask) = ((at + i) / 8, 0x80u8 >> ((at + i) % 8));
                let on = new >> (bits - 1 - i) & 1 == 1;
                let byte = self.text()[at] & !mask | if on { mask } else { 0 };
                self.put(at, &[byte]);
            }
        }
        old
    }

    /// What a range of BITCOUNT's means, in units of so many bits: its first bit, and the one behind its last.
    fn bits(&self, start: i64, end: i64, unit: i64) -> std::ops::Range<usize> {
        let total = self.text().len() as i64 * 8 / unit;
        let place = |i: i64| if i < 0 { (i + total).max(0) } else { i };
        let (start, end) = (place(start), place(end).min(total - 1));
        if start > end { 0..0 } else { (start * unit) as usize..((end + 1) * unit) as usize }
    }
}

/// A place: mostly near the others, and near the edges of chunks.
fn place(choices: &mut Choices, len: usize) -> usize {
    match choices.below(6) {
        0 => choices.below(20_000) as usize,
        1 => (1 + choices.below(119)) as usize * CHUNK - choices.below(2) as usize,
        2 => len,
        3 => choices.below(149_900) as usize,
        _ => choices.below(len.max(1) as u64) as usize,
    }
    .min(149_900)
}

fn live(seed: u64) {
    let mut choices = Choices::new(seed);
    let mut rig = Rig::new(seed, SyncPolicy::EverySec);
    rig.pack_in_some(seed);
    let mut plain = Plain::default();
    for step in 0..250 {
        let len = plain.text().len();
        let at = place(&mut choices, len);
        let part: Vec<u8> = match choices.below(4) {
            0 => vec![0; choices.below(700) as usize],
            _ => (0..choices.below(300)).map(|_| choices.below(256) as u8).collect(),
        };
        let part = &part[..part.len().min(150_000 - at)];
        let (start, end) = (choices.below(400) as i64 - 200, choices.below(40_000) as i64 - 20_000);
        let unit = 1 + 7 * choices.below(2) as i64;
        let unit_name = if unit == 1 { "BIT" } else { "BYTE" };
        let range = plain.bits(start, end, unit);
        // BITCOUNT alone asks that first
        let range = if start < 0 && end < 0 && start > end { 0..0 } else { range };
        let text = plain.text().to_vec();
        let number = |number: i64| format!(":{number}\r\n").into_bytes();
        let (line, expected) = match choices.below(20) {
            0..4 => {
                let (at, on) = (at * 8 + choices.below(8) as usize, choices.one_in(2));
                plain.field(1, at, Some(on.into()));
                (words(&[&"setbit", &"k", &at.to_string(), &u8::from(on).to_string()]), number(bit(&text, at).into()))
            }
            4..6 => {
                let line = words(&[&"setrange", &"k", &at.to_string(), &part]);
                if !part.is_empty() {
                    plain.put(at, part);
                }
                (line, number(plain.text().len() as i64))
            }
            6 if len + part.len() <= 150_000 => {
                plain.put(len, part);
                (words(&[&"append", &"k", &part]), number((len + part.len()) as i64))
            }
            7..9 => {
                let far = place(&mut choices, len) * 8;
                let (bits, new) = (1 + choices.below(63) as usize, choices.draw() >> 1);
                let new = new & ((1 << bits) - 1);
                let at = at * 8 + choices.below(8) as usize;
                let (old, before) = (plain.field(bits, at, Some(new)), plain.field(8, far, None));
                plain.field(8, far, Some(255));
                let (kind, at, new) = (format!("u{bits}"), at.to_string(), new.to_string());
                let far = far.to_string();
                let line = words(&[&"bitfield", &"k", &"set", &kind, &at, &new, &"set", &"u8", &far, &"255"]);
                (line, [b"*2\r\n".to_vec(), number(old as i64), number(before as i64)].concat())
            }
            9 => {
                let all = (range.start..range.end).filter(|at| bit(&text, *at)).count();
                (words(&[&"bitcount", &"k", &start.to_string(), &end.to_string(), &unit_name]), number(all as i64))
            }
            10..12 => {
                let wanted = choices.one_in(2);
                let range = plain.bits(start, end, unit);
                let first = range.clone().find(|at| bit(&text, *at) == wanted);
                let none = if plain.0.is_none() && !wanted { 0 } else { -1 };
                let (wanted, start, end) = (u8::from(wanted).to_string(), start.to_string(), end.to_string());
                let line = words(&[&"bitpos", &"k", &wanted, &start, &end, &unit_name]);
                (line, number(first.map_or(none, |at| at as i64)))
            }
            12 => {
                let bits = (0..len * 8).find(|at| !bit(&text, *at)).unwrap_or(len * 8);
                // there is no end to zeros, but behind an empty string there are none
                let bits = if plain.0.is_some() && len == 0 { -1 } else { bits as i64 };
                (words(&[&"bitpos", &"k", &"0"]), number(bits))
            }
            13 => {
                let range = plain.bits(start, end, 8);
                let range = if start < 0 && end < 0 && start > end { 0..0 } else { range.start / 8..range.end / 8 };
                let part = &text[range];
                let reply = [format!("${}\r\n", part.len()).as_bytes(), part, b"\r\n"].concat();
                (words(&[&"getrange", &"k", &start.to_string(), &end.to_string()]), reply)
            }
            14 => (words(&[&"getbit", &"k", &at.to_string()]), number(bit(&text, at).into())),
            15 => {
                let copied = i64::from(plain.0.is_some());
                (words(&[&"copy", &"k", &"c", &"replace"]), number(copied))
            }
            16 if plain.0.is_some() => {
                rig.ask(0, "rename k r");
                (words(&[&"rename", &"r", &"k"]), b"+OK\r\n".to_vec())
            }
            17 if choices.one_in(4) => {
                plain.0 = Some(part.to_vec());
                (words(&[&"set", &"k", &part]), b"+OK\r\n".to_vec())
            }
            18 if choices.one_in(6) && plain.0.is_some() => {
                let old = [format!("${len}\r\n").as_bytes(), &text, b"\r\n"].concat();
                plain.0 = None;
                (words(&[&"getdel", &"k"]), old)
            }
            _ => {
                let reply = [format!("${len}\r\n").as_bytes(), &text, b"\r\n"].concat();
                (words(&[&"get", &"k"]), if plain.0.is_some() { reply } else { NIL.into() })
            }
        };
        let reply = rig.run(0, &line).reply;
        let differs = reply.iter().zip(&expected).position(|(a, b)| a != b);
        assert!(
            reply == expected,
            "step {step}: {:?} differs at {differs:?}: {} bytes, not {}",
            line.iter().map(|word| word[..word.len().min(20)].escape_ascii().to_string()).collect::<Vec<_>>(),
            reply.len(),
            expected.len()
        );
        match choices.below(40) {
            0 => {
                rig.settle();
                // each life has another random number (O3)
                rig = Rig::start(rig.disk.after_kill(), choices.draw(), SyncPolicy::EverySec).unwrap();
            }
            1 => drop(rig.checkpoint()),
            2..6 => change_residency(&mut rig.partition, &mut choices),
            6..9 => compact_some(&mut rig.partition, &mut choices),
            9..12 => drop(rig.partition.sweep(50)),
            12..14 => rig.settle(),
            _ => {}
        }
    }
    rig.disk.fail_reads(0);
    rig.check_counts();
    let held = rig.contents().get(&(0, b"k".as_slice().into())).map(|held| held.value.to_vec());
    assert!(held == plain.0, "what it holds at the end");
    rig.settle();
    rig.check_starts(&mut choices);
}

#[test]
fn a_string_in_chunks_is_what_a_vector_of_bytes_is() {
    with_seeds(lives(60), live);
}

#[test]
fn a_chunk_has_the_name_of_a_leaf() {
    let mut rig = Rig::new(6, SyncPolicy::EverySec);
    rig.ask(0, "setbit k 80000 1");
    let root = root(&rig, "k").expect("it is in chunks");
    let number = root.place(10_000).0;
    let name = LeafName { db: DbId(0), id: root.id, number, key: b"k" }.write();
    let chunk = rig.partition.peek(rig.partition.key(RESERVED, &name)).live();
    assert!(chunk.is_some(), "the only one is there");
    assert_eq!(root.chunks, 1);
}
