//! Places on the earth as scores: 26 bits of latitude and 26 of longitude, interleaved, so what is near in both is mostly near in the order of
//! scores. Distances are those on a sphere, with operations in an order that gives the bits that redis replies.
//!
//! ```text
//!  51                                     0
//! +-------------------------------------+
//! | lon lat lon lat lon lat  ...    lat |      the highest bits first
//! +-------------------------------------+
//! ```

mod cells;

pub(crate) use cells::{Area, cover};

const EARTH_RADIUS_M: f64 = 6_372_797.560_856;
/// How many bits of each coordinate a score has.
const BITS: u32 = 26;
const LONGITUDES: Axis = Axis { min: -180.0, max: 180.0 };
/// What a square map of Mercator's shows.
const LATITUDES: Axis = Axis { min: -85.051_128_78, max: 85.051_128_78 };
/// Those of a geohash as others write it.
const ALL_LATITUDES: Axis = Axis { min: -90.0, max: 90.0 };
const ALPHABET: &[u8; 32] = b"0123456789bcdefghjkmnpqrstuvwxyz";

/// The values that a coordinate can have.
#[derive(Clone, Copy, Debug)]
struct Axis {
    min: f64,
    max: f64,
}

impl Axis {
    fn contains(self, value: f64) -> bool {
        (self.min..=self.max).contains(&value)
    }

    /// In which of 2^`bits` parts a value is. The last one is beyond the others.
    fn part_of(self, value: f64, bits: u32) -> u32 {
        ((value - self.min) / (self.max - self.min) * (1u64 << bits) as f64) as u32
    }

    /// From where to where a part goes.
    fn part(self, number: u32, bits: u32) -> (f64, f64) {
        let edge = |number: f64| self.min + number / (1u64 << bits) as f64 * (self.max - self.min);
        (edge(f64::from(number)), edge(f64::from(number) + 1.0))
    }

    fn middle(self, number: u32) -> f64 {
        let (from, to) = self.part(number, BITS);
        ((from + to) / 2.0).clamp(self.min, self.max)
    }
}

/// A place.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) struct Point {
    pub longitude: f64,
    pub latitude: f64,
}

/// Every other bit, from the lowest one on.
fn spread(bits: u32) -> u64 {
    let mut bits = u64::from(bits);
    for (shift, mask) in [
        (16, 0x0000_ffff_0000_ffff),
        (8, 0x00ff_00ff_00ff_00ff),
        (4, 0x0f0f_0f0f_0f0f_0f0f),
        (2, 0x3333_3333_3333_3333),
        (1, 0x5555_5555_5555_5555),
    ] {
        bits = (bits | bits << shift) & mask;
    }
    bits
}

/// The inverse of [`spread`].
fn gather(bits: u64) -> u32 {
    let mut bits = bits & 0x5555_5555_5555_5555;
    for (shift, mask) in [
        (1, 0x3333_3333_3333_3333),
        (2, 0x0f0f_0f0f_0f0f_0f0f),
        (4, 0x00ff_00ff_00ff_00ff),
        (8, 0x0000_ffff_0000_ffff),
        (16, 0x0000_0000_ffff_ffff),
    ] {
        bits = (bits | bits >> shift) & mask;
    }
    bits as u32
}

fn interleave(latitude: u32, longitude: u32) -> u64 {
    spread(latitude) | spread(longitude) << 1
}

impl Point {
    /// One that a score can stand for.
    pub fn new(longitude: f64, latitude: f64) -> Option<Self> {
        let is_one = LONGITUDES.contains(longitude) && LATITUDES.contains(latitude);
        is_one.then_some(Self { longitude, latitude })
    }

    /// The number that stands for it.
    pub fn score(self) -> u64 {
        interleave(LATITUDES.part_of(self.latitude, BITS), LONGITUDES.part_of(self.longitude, BITS))
    }

    /// What a score stands for. One that is no place is some place all the same, as it is in redis.
    pub fn of_score(score: f64) -> Self {
        let bits = match score {
            ..9_223_372_036_854_775_808.0 => score as i64 as u64,
            ..18_446_744_073_709_551_616.0 => score as u64,
            _ => 0,
        };
        Self { longitude: LONGITUDES.middle(gather(bits >> 1)), latitude: LATITUDES.middle(gather(bits)) }
    }

    /// Eleven letters of the common geohash; the last one is always 0, as there are only 52 bits.
    pub fn geohash(self) -> [u8; 11] {
        let (latitude, longitude) =
            (ALL_LATITUDES.part_of(self.latitude, BITS), LONGITUDES.part_of(self.longitude, BITS));
        let bits = interleave(latitude, longitude);
        let mut text = [ALPHABET[0]; 11];
        for (i, letter) in text[..10].iter_mut().enumerate() {
            *letter = ALPHABET[(bits >> (47 - 5 * i) & 0x1f) as usize];
        }
        text
    }

    /// How far another one is, in meters.
    pub fn distance_m(self, other: Self) -> f64 {
        let (lon1, lon2) = (self.longitude.to_radians(), other.longitude.to_radians());
        let v = ((lon2 - lon1) / 2.0).sin();
        if v == 0.0 {
            return self.distance_of_latitudes_m(other);
        }
        let (lat1, lat2) = (self.latitude.to_radians(), other.latitude.to_radians());
        let u = ((lat2 - lat1) / 2.0).sin();
        let a = u * u + lat1.cos() * lat2.cos() * v * v;
        2.0 * EARTH_RADIUS_M * a.sqrt().asin()
    }

    fn distance_of_latitudes_m(self, other: Self) -> f64 {
        EARTH_RADIUS_M * (other.latitude.to_radians() - self.latitude.to_radians()).abs()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// As redis 8.2 has replied.
    #[test]
    fn scores_hashes_and_distances_are_those_of_redis() {
        let palermo = Point::new(13.361389, 38.115556).unwrap();
        let catania = Point::new(15.087269, 37.502669).unwrap();
        assert_eq!((palermo.score(), catania.score()), (3_479_099_956_230_698, 3_479_447_370_796_909));
        let [palermo, catania] = [palermo, catania].map(|point| Point::of_score(point.score() as f64));
        assert_eq!((palermo.longitude, palermo.latitude), (13.361389338970184, 38.1155563954963));
        assert_eq!(&palermo.geohash(), b"sqc8b49rny0");
        assert_eq!((palermo.distance_m(catania) * 10_000.0).round(), 1_662_741_516.0);
        let corner = Point::new(180.0, 85.051_128_78).unwrap();
        assert_eq!(corner.score(), 13_510_798_882_111_488);
        let corner = Point::of_score(corner.score() as f64);
        assert_eq!((corner.longitude, corner.latitude), (180.0, 85.051_128_78));
        assert_eq!(&corner.geohash(), b"bp05b5048p0");
        assert_eq!(Point::of_score(-5.0).longitude, 180.0);
        assert!(
            Point::new(180.1, 0.0).is_none() && Point::new(0.0, 85.06).is_none() && Point::new(f64::NAN, 0.0).is_none()
        );
    }

    proptest! {
        #[test]
        fn a_score_stands_for_a_point_near_by(longitude in -180.0..180.0, latitude in -85.05..85.05) {
            let point = Point::new(longitude, latitude).unwrap();
            let near = Point::of_score(point.score() as f64);
            prop_assert!(point.distance_m(near) < 1.0);
            prop_assert_eq!(gather(spread(longitude as i32 as u32)), longitude as i32 as u32);
        }
    }
}
