//! Which scores a search looks at: the cell that its center is in, of a size that goes with the area, and the eight around it.

use std::ops::Range;

use super::{BITS, EARTH_RADIUS_M, LATITUDES, LONGITUDES, Point, interleave};

/// Half of the way around the equator on Mercator's map, in meters.
const MERCATOR_MAX_M: f64 = 20_037_726.37;

/// By a division, as redis does it: `to_degrees` multiplies.
fn degrees(radians: f64) -> f64 {
    radians / 1f64.to_radians()
}

/// What is searched, around a center. Lengths are in the unit that they were given in, of so many meters.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) enum Area {
    Circle { radius: f64, unit_m: f64 },
    Rectangle { width: f64, height: f64, unit_m: f64 },
}

impl Area {
    /// How many meters the unit has.
    pub fn unit_m(self) -> f64 {
        match self {
            Self::Circle { unit_m, .. } | Self::Rectangle { unit_m, .. } => unit_m,
        }
    }

    /// How far a point in it is from its center, in meters.
    pub fn distance_within_m(self, center: Point, point: Point) -> Option<f64> {
        match self {
            Self::Circle { radius, unit_m } => {
                let distance_m = center.distance_m(point);
                let is_out = distance_m > radius * unit_m;
                (!is_out).then_some(distance_m)
            }
            Self::Rectangle { width, height, unit_m } => {
                let beside = Point { longitude: center.longitude, latitude: point.latitude };
                let is_out = point.distance_of_latitudes_m(center) > height * unit_m / 2.0
                    || point.distance_m(beside) > width * unit_m / 2.0;
                (!is_out).then(|| center.distance_m(point))
            }
        }
    }

    /// To the sides, and up or down.
    fn reach_m(self) -> (f64, f64) {
        match self {
            Self::Circle { radius, unit_m } => (unit_m * radius, unit_m * radius),
            Self::Rectangle { width, height, unit_m } => (unit_m * (width / 2.0), unit_m * (height / 2.0)),
        }
    }

    fn radius_m(self) -> f64 {
        match self {
            Self::Circle { radius, unit_m } => radius * unit_m,
            Self::Rectangle { width, height, unit_m } => {
                ((width / 2.0) * (width / 2.0) + (height / 2.0) * (height / 2.0)).sqrt() * unit_m
            }
        }
    }

    fn bounds(self, center: Point) -> Bounds {
        let (width_m, height_m) = self.reach_m();
        let up = degrees(height_m / EARTH_RADIUS_M);
        // it reaches over most degrees where it is nearest to a pole
        let edge = if center.latitude < 0.0 { center.latitude - up } else { center.latitude + up };
        let aside = degrees(width_m / EARTH_RADIUS_M / edge.to_radians().cos());
        let (longitude, latitude) = (center.longitude, center.latitude);
        Bounds { longitude: (longitude - aside, longitude + aside), latitude: (latitude - up, latitude + up) }
    }
}

/// From where to where something reaches.
#[derive(Clone, Copy, Debug)]
struct Bounds {
    longitude: (f64, f64),
    latitude: (f64, f64),
}

/// One of the parts that the earth is in when each coordinate is cut into 2^`bits`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Cell {
    latitude: u32,
    longitude: u32,
    bits: u32,
}

impl Cell {
    fn of(point: Point, bits: u32) -> Self {
        let (latitude, longitude) =
            (LATITUDES.part_of(point.latitude, bits), LONGITUDES.part_of(point.longitude, bits));
        Self { latitude, longitude, bits }
    }

    /// So many cells to the north and to the east, around the earth.
    fn beside(self, north: i32, east: i32) -> Self {
        let mask = (1 << self.bits) - 1;
        let moved = |part: u32, by: i32| if by == 0 { part } else { part.wrapping_add_signed(by) & mask };
        Self { latitude: moved(self.latitude, north), longitude: moved(self.longitude, east), ..self }
    }

    fn bounds(self) -> Bounds {
        Bounds {
            longitude: LONGITUDES.part(self.longitude, self.bits),
            latitude: LATITUDES.part(self.latitude, self.bits),
        }
    }

    /// The scores of what is in it.
    fn scores(self) -> Range<u64> {
        let (number, shift) = (interleave(self.latitude, self.longitude), 2 * (BITS - self.bits));
        number << shift..(number + 1) << shift
    }
}

/// Into how many parts, as a power of two, coordinates are cut so that nine cells hold what is so near.
fn bits_for(radius_m: f64, latitude: f64) -> u32 {
    if radius_m == 0.0 {
        return BITS;
    }
    let (mut radius_m, mut bits) = (radius_m, 1);
    while radius_m < MERCATOR_MAX_M {
        radius_m *= 2.0;
        bits += 1;
    }
    bits -= 2;
    // degrees of longitude are shorter there
    let latitude = latitude.abs();
    bits -= i32::from(latitude > 66.0) + i32::from(latitude > 80.0);
    bits.clamp(1, BITS as i32) as u32
}

/// The scores that an area may have, in the order in which redis looks at them.
pub(crate) fn cover(area: Area, center: Point) -> Vec<Range<u64>> {
    let wanted = area.bounds(center);
    let mut cell = Cell::of(center, bits_for(area.radius_m(), center.latitude));
    let [north, south] = [1, -1].map(|by| cell.beside(by, 0).bounds().latitude);
    let [east, west] = [1, -1].map(|by| cell.beside(0, by).bounds().longitude);
    let is_short = north.1 < wanted.latitude.1
        || south.0 > wanted.latitude.0
        || east.1 < wanted.longitude.1
        || west.0 > wanted.longitude.0;
    if cell.bits > 1 && is_short {
        cell = Cell::of(center, cell.bits - 1);
    }
    let own = cell.bounds();
    let is_needed = |north: i32, east: i32| {
        cell.bits < 2
            || !(north < 0 && own.latitude.0 < wanted.latitude.0
                || north > 0 && own.latitude.1 > wanted.latitude.1
                || east < 0 && own.longitude.0 < wanted.longitude.0
                || east > 0 && own.longitude.1 > wanted.longitude.1)
    };
    let around = [(1, 0), (-1, 0), (0, 1), (0, -1), (1, 1), (1, -1), (-1, 1), (-1, -1)];
    let mut cells = vec![cell];
    for (north, east) in around {
        let next = cell.beside(north, east);
        // where there are few cells both ways around the earth lead to the same one
        if is_needed(north, east) && cells.last() != Some(&next) {
            cells.push(next);
        }
    }
    cells.into_iter().map(Cell::scores).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Not for all areas: near the poles, and over the date line, redis does not find all either.
        #[test]
        fn what_is_within_an_area_is_covered(
            longitude in -100.0..100.0, latitude in -50.0..50.0, radius in 1.0..500_000.0f64, is_box: bool,
            aside in -1.0..1.0, up in -1.0..1.0,
        ) {
            let center = Point::new(longitude, latitude).unwrap();
            let area = if is_box {
                Area::Rectangle { width: radius, height: radius / 2.0, unit_m: 1.0 }
            } else {
                Area::Circle { radius, unit_m: 1.0 }
            };
            let degrees = (radius / EARTH_RADIUS_M).to_degrees();
            let point = Point::new(longitude + aside * 2.0 * degrees, latitude + up * degrees).unwrap();
            let point = Point::of_score(point.score() as f64);
            let is_covered = cover(area, center).iter().any(|scores| scores.contains(&point.score()));
            prop_assert!(is_covered || area.distance_within_m(center, point).is_none());
        }
    }
}
