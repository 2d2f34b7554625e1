//! Commands against the model, without crashes.

use super::lives::{Life, lives, with_seeds};

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
