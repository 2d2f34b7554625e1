//! Places: members of sorted sets whose scores stand for them, see [`crate::geo`].

mod add;
mod read;
mod search;

use emberkv_resp::Args;
pub(crate) use search::Search;

use super::sorted_sets::parse_score;
use crate::geo::Point;
use crate::stop::Stop;

const NOT_A_FLOAT: Stop = Stop::error("ERR value is not a valid float");

/// Reads a longitude and a latitude.
fn parse_point(args: Args<'_>) -> Result<Point, Stop> {
    let number = |i| parse_score(args.at(i)).ok_or(NOT_A_FLOAT);
    let (longitude, latitude) = (number(0)?, number(1)?);
    Point::new(longitude, latitude)
        .ok_or_else(|| Stop::Error(format!("ERR invalid longitude,latitude pair {longitude:.6},{latitude:.6}").into()))
}

/// Reads a unit of length: how many meters it has.
fn parse_unit(word: &[u8]) -> Result<f64, Stop> {
    match word.to_ascii_lowercase().as_slice() {
        b"m" => Ok(1.0),
        b"km" => Ok(1000.0),
        b"ft" => Ok(0.3048),
        b"mi" => Ok(1609.34),
        _ => Err(Stop::error("ERR unsupported unit provided. please use M, KM, FT, MI")),
    }
}

/// A distance with four decimals.
fn four_decimals(distance: f64) -> String {
    let parts = (distance * 10_000.0).round_ties_even() as i64;
    format!("{}.{:04}", parts / 10_000, parts % 10_000)
}
