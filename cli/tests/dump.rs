//! DUMP and RESTORE both ways between emberkv and redis 8.2.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod common;

use common::{dir, number, start};
use emberkv_torture::rng::Rng;
use emberkv_torture::{Client, Server, ServerSpec, Value, peers};

/// A value of a kind that payloads have a form of their own for.
fn value(rng: &mut Rng) -> Vec<u8> {
    let len = match rng.below(10) {
        0..4 => rng.below(70),
        4..8 => rng.below(20_000),
        _ => rng.below(300_000),
    };
    let len = usize::try_from(len).unwrap();
    match rng.below(5) {
        0 => {
            let number = rng.next_u64() as i64 >> rng.below(64);
            number.to_string().into_bytes()
        }
        // compressible: redis sends these as LZF
        1 => (0..len).map(|i| b"the same words again and again, "[i % 32]).collect(),
        2 => (0..len).map(|_| b'a' + rng.below(3) as u8).collect(),
        3 => vec![b'x'; len],
        _ => (0..len).map(|_| rng.below(256) as u8).collect(),
    }
}

fn dump(client: &mut Client, key: &str) -> Vec<u8> {
    match client.command(&["DUMP", key]).unwrap() {
        Value::Bulk(payload) => payload,
        other => panic!("{other:?}"),
    }
}

fn take(client: &mut Client, key: &str, payload: &[u8]) {
    let reply = client.command(&[b"RESTORE".as_slice(), key.as_bytes(), b"0", payload, b"REPLACE"]).unwrap();
    assert!(reply.is_ok(), "{reply:?}");
}

#[test]
fn each_takes_what_the_other_has_dumped() {
    let seed = number("EMBERKV_RANDOM_SEED", 1);
    let values = number("EMBERKV_RANDOM_STEPS", 400);
    let referee_dir = dir("dump-redis");
    let referee = Server::start(&ServerSpec::new(peers::redis82().unwrap(), referee_dir.path())).unwrap();
    let (subject, _dir) = start("dump", &[]);
    let (mut redis, mut ember) = (referee.connect().unwrap(), subject.connect().unwrap());
    let mut rng = Rng::new(seed);
    for _ in 0..values {
        let value = value(&mut rng);
        for out in [true, false] {
            let (from, to) = if out { (&mut redis, &mut ember) } else { (&mut ember, &mut redis) };
            assert!(from.command(&[b"SET", b"from".as_slice(), &value]).unwrap().is_ok());
            let payload = dump(from, "from");
            take(to, "to", &payload);
            assert_eq!(to.command(&["GET", "to"]).unwrap().text(), Some(value.as_slice()));
            // a damaged one is refused
            let mut damaged = payload.clone();
            let at = rng.index(damaged.len());
            damaged[at] ^= 1 << rng.below(8);
            let reply = to.command(&[b"RESTORE", b"damaged".as_slice(), b"0", &damaged]).unwrap();
            assert!(reply.is_error("ERR DUMP payload version or checksum are wrong"), "{reply:?}");
        }
    }
}
