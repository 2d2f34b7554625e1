//! Which keys a connection asks for: to tell what cores cost that talk to each other from what they cost that only run
//! side by side.

use std::rc::Rc;

use clap::ValueEnum;

use crate::request::KEY_BYTES;

/// Redis cluster's slots.
const SLOTS: u32 = 16384;

/// Where the keys of a connection are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Where {
    /// Anywhere.
    Anywhere,
    /// In the partition of its own core: nothing has to be asked of another one.
    Near,
    /// In that of the next core: everything has.
    Far,
}

/// For each key the core that emberkv has it on, if it has a partition for each core. Connections are dealt to the cores in
/// turn, so that with as many connections as cores, times something, number and core go together.
#[derive(Clone, Debug)]
pub struct Homes {
    cores: u16,
    shift: u16,
    of_key: Rc<[u8]>,
}

impl Homes {
    /// Of the keys below `keyspace`; `None` if any will do.
    pub fn new(place: Where, cores: u16, keyspace: u64) -> Option<Self> {
        if place == Where::Anywhere || cores < 2 {
            return None;
        }
        let of_key = (0..keyspace).map(|key| core_of(key, cores)).collect();
        Some(Self { cores, shift: u16::from(place == Where::Far), of_key })
    }

    /// Whether it is a key for this connection.
    pub fn are_right(&self, connection: usize, key: u64) -> bool {
        let wanted = (connection + usize::from(self.shift)) % usize::from(self.cores);
        usize::from(self.of_key[key as usize]) == wanted
    }
}

/// By slot, in equal ranges.
fn core_of(key: u64, cores: u16) -> u8 {
    let text = format!("key:{key:0width$}", width = KEY_BYTES - 4);
    let mut crc = 0_u16;
    for byte in text.bytes() {
        crc ^= u16::from(byte) << 8;
        for _ in 0..8 {
            crc = if crc & 0x8000 != 0 { crc << 1 ^ 0x1021 } else { crc << 1 };
        }
    }
    (u32::from(crc) % SLOTS * u32::from(cores) / SLOTS) as u8
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_and_far_share_the_keys() {
        let near = Homes::new(Where::Near, 2, 1000).unwrap();
        let far = Homes::new(Where::Far, 2, 1000).unwrap();
        assert!((0..1000).all(|key| near.are_right(0, key) != near.are_right(1, key)));
        assert!((0..1000).all(|key| near.are_right(4, key) == far.are_right(3, key)));
        let share = (0..1000).filter(|key| near.are_right(0, *key)).count();
        assert!((400..600).contains(&share), "{share}");
        assert!(Homes::new(Where::Anywhere, 2, 1000).is_none() && Homes::new(Where::Near, 1, 1000).is_none());
    }
}
