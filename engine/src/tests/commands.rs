//! Commands against the model, without crashes.

use emberkv_log::SyncPolicy;

use super::lives::{Life, lives, with_seeds};
use super::rig::{Rig, limits};

#[test]
fn every_command_replies_what_the_model_replies() {
    with_seeds(lives(60), |seed| {
        let mut life = Life::new(seed);
        for _ in 0..1500 {
            match life.choices.below(20) {
                0 => life.random_time(),
                1 => life.rig.run_all(),
                2 => drop(life.rig.partition.expire(3)),
                3 => drop(life.rig.partition.sweep(3)),
                _ => life.random_command(),
            }
        }
        life.check();
    });
}

#[test]
fn a_compressed_value_is_the_same_to_every_command() {
    let mut rig = Rig::new(1, SyncPolicy::EverySec);
    rig.partition.set_limits(limits(100));
    let long = "ember".repeat(40);
    assert_eq!(rig.ask(0, &format!("SET long {long}")), "+OK\r\n");
    assert_eq!(rig.ask(0, &format!("SET short {}", &long[..99])), "+OK\r\n");
    let stats = rig.partition.stats();
    assert_eq!((stats.packing_values, stats.packing_bytes_in), (1, 200));
    assert!(stats.packing_bytes_out < 100);
    let bulk = |text: &str| format!("${}\r\n{text}\r\n", text.len());
    for now in 0..2 {
        assert_eq!(rig.ask(0, "GET long"), bulk(&long));
        assert_eq!(rig.ask(0, "STRLEN long"), ":200\r\n");
        assert_eq!(rig.ask(0, "GETRANGE long 195 -1"), bulk("ember"));
        assert_eq!(rig.ask(0, "INCR long"), "-ERR value is not an integer or out of range\r\n");
        assert_eq!(rig.ask(0, "EXPIRE long 100"), ":1\r\n");
        assert_eq!(rig.ask(0, "PERSIST long"), ":1\r\n");
        assert_eq!(rig.ask(0, "GETEX long PERSIST"), bulk(&long));
        if now == 0 {
            rig.run_all();
            rig = rig.killed();
        }
    }
    assert_eq!(rig.ask(0, "APPEND long !"), ":201\r\n");
    assert_eq!(rig.ask(0, "SETRANGE long 0 E"), ":201\r\n");
    assert_eq!(rig.ask(0, "GETDEL long"), bulk(&format!("E{}!", &long[1..])));
}

#[test]
fn a_value_that_is_not_compressed_any_more_has_room_where_it_gets_another_expiry() {
    let mut rig = Rig::new(1, SyncPolicy::EverySec);
    rig.partition.set_limits(limits(100));
    let long = "ember".repeat(800);
    for i in 0..8 {
        assert_eq!(rig.ask(0, &format!("SET k{i} {long}")), "+OK\r\n");
    }
    assert_eq!(rig.partition.stats().packing_values, 8);
    for round in 0..200 {
        // as CONFIG SET compress-values-from does it
        rig.partition.set_limits(limits(if round % 2 == 0 { usize::MAX } else { 100 }));
        for i in 0..8 {
            assert_eq!(rig.ask(0, &format!("EXPIRE k{i} 1000")), ":1\r\n");
            rig.run_all();
        }
    }
    assert_eq!(rig.ask(0, "GET k7"), format!("${}\r\n{long}\r\n", long.len()));
}
