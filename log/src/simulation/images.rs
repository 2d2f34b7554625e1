//! Crash images: the disk as it may be found after each prefix of a life's writes and syncs, by a kill, by several power
//! losses, and with damage on top. Every one is started, and what it holds is compared with the model.

use std::time::Instant;

use super::{Life, is_noticed_in, open};
use crate::disk::Disk;
use crate::disk::sim::{Choices, SimDisk};
use crate::plant::Plant;
use crate::{LogPosition, StartError};

/// Steps of a life whose every prefix is looked at.
const STEPS: u32 = 250;
/// Power losses after each prefix.
const POWER_LOSSES: usize = 3;

/// Lives the life of `seed` up to the `n`th change of its disk; false if there are not so many.
fn lived_until(seed: u64, n: u64) -> (Life, bool) {
    let mut life = Life::new(seed);
    life.disk.crash_after(n);
    for _ in 0..STEPS {
        life.step();
        if life.disk.crashed() {
            return (life, true);
        }
    }
    (life, false)
}

/// A legal image is served, whole up to what was promised.
fn check(life: &Life, image: &SimDisk, promised: LogPosition, seed: u64) {
    let (log, index) = open(image, seed, life.policy).unwrap_or_else(|error| panic!("the start stopped: {error}"));
    let (end, promised) = (log.without_header(log.tail()), life.log.without_header(promised));
    assert!(end >= promised, "{promised:?} was promised, {end:?} is left");
    assert_eq!(index.contents(log.table()), life.model(end), "at {end:?}");
}

/// A damaged image stops the start, which names the damage, or what is served is what was written up to some position (the
/// damaged frames were the last ones that anything is known of: F2).
fn check_damaged(life: &Life, image: &SimDisk, seed: u64) -> bool {
    match open(image, seed, life.policy) {
        Ok((log, index)) => {
            let end = log.without_header(log.tail());
            assert_eq!(index.contents(log.table()), life.model(end), "at {end:?}");
            false
        }
        Err(StartError::Replay(error)) => panic!("damage came as far as the index: {error}"),
        Err(_) => true,
    }
}

/// Flips a bit, or writes a sector of some file over one of another, as a disk that mistakes an address.
fn damage(image: &SimDisk, choices: &mut Choices) {
    let mut names = image.list().unwrap_or_default();
    names.retain(|name| image.contents(name).len() >= 512);
    if names.is_empty() {
        return;
    }
    let sector = |choices: &mut Choices| {
        let name = names[choices.below(names.len() as u64) as usize].clone();
        let sectors = image.contents(&name).len() as u64 / 512;
        // the first sectors are used most
        let within = if choices.one_in(2) { sectors } else { sectors.min(16) };
        (name, choices.below(within) * 512)
    };
    let (to, at) = sector(choices);
    if choices.one_in(2) {
        image.flip_bit(&to, at * 8 + choices.below(512 * 8));
        return;
    }
    let (from, its) = sector(choices);
    let bytes = image.contents(&from)[its as usize..][..512].to_vec();
    let written = image.open(&to).and_then(|file| image.write_at(&file, at, &bytes).and_then(|()| image.sync(&file)));
    written.unwrap_or_else(|error| panic!("{error}"));
}

/// What was looked at.
#[derive(Default, Debug)]
struct Seen {
    prefixes: u64,
    images: u64,
    damaged: u64,
    refused: u64,
}

/// Every prefix of one life, while there is time for more images.
fn look_at_all(seed: u64, most: u64, seen: &mut Seen) {
    for n in 0.. {
        if seen.images >= most {
            return;
        }
        let (mut life, goes_on) = lived_until(seed, n);
        seen.prefixes += 1;
        check(&life, &life.disk.after_kill(), life.log.written(), seed);
        seen.images += 1;
        for _ in 0..POWER_LOSSES {
            let image = life.disk.after_power_loss(&mut life.choices);
            check(&life, &image, life.log.synced(), seed);
            seen.images += 1;
        }
        let image = life.disk.after_power_loss(&mut life.choices);
        damage(&image, &mut life.choices);
        seen.refused += u64::from(check_damaged(&life, &image, seed));
        (seen.images, seen.damaged) = (seen.images + 1, seen.damaged + 1);
        if !goes_on {
            return;
        }
    }
}

#[test]
fn every_prefix_of_a_trace_is_served_or_its_damage_named() {
    let most = std::env::var("EMBERKV_SIM_IMAGES").ok().and_then(|n| n.parse().ok()).unwrap_or(4_000);
    let (began, mut seen, mut seed) = (Instant::now(), Seen::default(), 0);
    while seen.images < most {
        look_at_all(seed, most, &mut seen);
        seed += 1;
    }
    let rate = seen.images as f64 / began.elapsed().as_secs_f64() * 60.0;
    println!("{seen:?} of {seed} lives, {rate:.0} images a minute");
    assert!(seen.refused > 0, "no damage was noticed: none was done");
}

#[test]
fn the_images_of_a_life_notice_rules_that_are_missing() {
    let look = |seed| look_at_all(seed, 400, &mut Seen::default());
    for plant in [Plant::F1, Plant::S2, Plant::S3, Plant::S4] {
        assert!(is_noticed_in(look, plant, 40), "no image shows that {plant:?} is missing");
    }
}
