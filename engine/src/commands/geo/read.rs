//! GEOPOS, GEOHASH, GEODIST.

use emberkv_log::disk::Disk;
use emberkv_resp::Reply;

use super::{four_decimals, parse_unit};
use crate::geo::Point;
use crate::group::Request;
use crate::partition::Partition;
use crate::stop::Stop;

impl<D: Disk> Partition<D> {
    pub(in crate::commands) fn geopos(&mut self, request: Request<'_>, reply: &mut Reply<'_>) -> Result<(), Stop> {
        let points = self.points(request, request.args.len())?;
        reply.array(points.len());
        for point in points {
            match point {
                Some(Point { longitude, latitude }) => {
                    reply.array(2);
                    reply.double(longitude);
                    reply.double(latitude);
                }
                None => reply.null_array(),
            }
        }
        Ok(())
    }

    pub(in crate::commands) fn geohash(&mut self, request: Request<'_>, reply: &mut Reply<'_>) -> Result<(), Stop> {
        let points = self.points(request, request.args.len())?;
        reply.array(points.len());
        for point in points {
            match point {
                Some(point) => reply.bulk(&point.geohash()),
                None => reply.null(),
            }
        }
        Ok(())
    }

    pub(in crate::commands) fn geodist(&mut self, request: Request<'_>, reply: &mut Reply<'_>) -> Result<(), Stop> {
        let unit_m = match request.args.len() {
            4 => 1.0,
            5 => parse_unit(request.args.at(4))?,
            _ => return Err(Stop::SYNTAX),
        };
        match self.points(request, 4)?[..] {
            [Some(a), Some(b)] => reply.bulk(four_decimals(a.distance_m(b) / unit_m).as_bytes()),
            _ => reply.null(),
        }
        Ok(())
    }

    /// Where the members are that the arguments from the second one up to `end` name.
    fn points(&mut self, request: Request<'_>, end: usize) -> Result<Vec<Option<Point>>, Stop> {
        let (key, found) = self.read_sorted(request, 1)?;
        let members = request.args.to(end).from(2);
        let Some(found) = found else { return Ok(vec![None; members.len()]) };
        if let Some(root) = self.root(found) {
            // all of them are here before any is replied
            self.bring_elements(key, root, members.iter())?;
        }
        let mut points = Vec::with_capacity(members.len());
        for member in members.iter() {
            points.push(self.score(key, found, member)?.map(Point::of_score));
        }
        Ok(points)
    }
}
