//! GEOSEARCH, GEOSEARCHSTORE, GEORADIUS, GEORADIUSBYMEMBER.

use emberkv_log::disk::Disk;
use emberkv_resp::schema::CommandId;
use emberkv_resp::{Args, Reply, format};

use super::{four_decimals, parse_point, parse_unit};
use crate::collections::order_of;
use crate::commands::sorted_sets::{Image, Span, parse_score};
use crate::geo::{Area, Point, cover};
use crate::group::Request;
use crate::held::Held;
use crate::lookup::{Found, Key};
use crate::partition::Partition;
use crate::stop::Stop;

/// So many members are looked at before it is asked whether there are enough.
const MEMBERS_AT_ONCE: u64 = 64;

/// What the sorted set says of a member that is to be the center.
enum Center {
    /// There is no sorted set, so it is nowhere, and nobody complains.
    NoKey,
    NoMember,
    At(Point),
}

impl Center {
    fn point(self) -> Result<Point, Stop> {
        match self {
            Self::NoKey => Ok(Point { longitude: 0.0, latitude: 0.0 }),
            Self::NoMember => Err(Stop::error("ERR could not decode requested zset member")),
            Self::At(point) => Ok(point),
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Order {
    NearestFirst,
    FarthestFirst,
}

/// What is replied of each member.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
struct Shown {
    distance: bool,
    score: bool,
    point: bool,
}

/// Where the result is put.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Destination<'a> {
    key: &'a [u8],
    /// Its scores are distances.
    of_distances: bool,
}

/// A search.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) struct Search<'a> {
    center: Point,
    area: Area,
    shown: Shown,
    order: Option<Order>,
    /// So many at most; 0: all.
    count: u64,
    /// Any so many.
    any: bool,
    destination: Option<Destination<'a>>,
}

/// A member that was found.
#[derive(Clone, PartialEq, Debug)]
struct Hit {
    member: Box<[u8]>,
    score: f64,
    point: Point,
    distance: f64,
}

fn parse_length(text: &[u8], what: &'static str) -> Result<f64, Stop> {
    parse_score(text).ok_or(Stop::error(what))
}

fn parse_circle(args: Args<'_>) -> Result<Area, Stop> {
    let radius = parse_length(args.at(0), "ERR need numeric radius")?;
    if radius < 0.0 {
        return Err(Stop::error("ERR radius cannot be negative"));
    }
    Ok(Area::Circle { radius, unit_m: parse_unit(args.at(1))? })
}

fn parse_rectangle(args: Args<'_>) -> Result<Area, Stop> {
    let width = parse_length(args.at(0), "ERR need numeric width")?;
    let height = parse_length(args.at(1), "ERR need numeric height")?;
    if height < 0.0 || width < 0.0 {
        return Err(Stop::error("ERR height or width cannot be negative"));
    }
    Ok(Area::Rectangle { width, height, unit_m: parse_unit(args.at(2))? })
}

impl<'a> Search<'a> {
    /// Where the sorted set is named that is searched.
    pub fn source_at(id: CommandId) -> usize {
        if id == CommandId::Geosearchstore { 2 } else { 1 }
    }

    /// The keys of a search whose arguments are right: the sorted set, and where the result is put.
    ///
    /// # Errors
    /// If they are not.
    pub fn keys(id: CommandId, args: Args<'a>) -> Result<(&'a [u8], Option<&'a [u8]>), Stop> {
        let search = Self::parse(id, args, |_| Ok(Center::NoKey))?;
        Ok((args.at(Self::source_at(id)), search.destination.map(|destination| destination.key)))
    }

    /// Reads one; `locate` says where a member is.
    fn parse(
        id: CommandId,
        args: Args<'a>,
        mut locate: impl FnMut(&[u8]) -> Result<Center, Stop>,
    ) -> Result<Self, Stop> {
        let is_free = matches!(id, CommandId::Geosearch | CommandId::Geosearchstore);
        let may_store = matches!(id, CommandId::Georadius | CommandId::Georadiusbymember);
        let nowhere = Area::Circle { radius: 0.0, unit_m: 1.0 };
        let (mut center, mut area, mut at) = match id {
            CommandId::Georadius | CommandId::GeoradiusRo => {
                (Some(parse_point(args.from(2))?), Some(parse_circle(args.from(4))?), 6)
            }
            CommandId::Georadiusbymember | CommandId::GeoradiusbymemberRo => match locate(args.at(2))? {
                center @ Center::NoKey => (Some(center.point()?), Some(nowhere), 5),
                center => (Some(center.point()?), Some(parse_circle(args.from(3))?), 5),
            },
            CommandId::Geosearchstore => (None, None, 3),
            _ => (None, None, 2),
        };
        let (mut shown, mut order, mut count, mut any) = (Shown::default(), None, 0, false);
        let (mut by_member, mut by_radius) = (false, false);
        let mut destination =
            (id == CommandId::Geosearchstore).then(|| Destination { key: args.at(1), of_distances: false });
        while let Some(word) = args.get(at) {
            let is = |name: &[u8]| word.eq_ignore_ascii_case(name);
            at += 1;
            let (left, rest) = (args.len() - at, args.from(at));
            if is(b"withdist") {
                shown.distance = true;
            } else if is(b"withhash") {
                shown.score = true;
            } else if is(b"withcoord") {
                shown.point = true;
            } else if is(b"any") {
                any = true;
            } else if is(b"asc") {
                order = Some(Order::NearestFirst);
            } else if is(b"desc") {
                order = Some(Order::FarthestFirst);
            } else if is(b"count") && left >= 1 {
                let number = format::parse_integer(rest.at(0)).ok_or(Stop::NOT_AN_INTEGER)?;
                count = u64::try_from(number).unwrap_or(0);
                if count == 0 {
                    return Err(Stop::error("ERR COUNT must be > 0"));
                }
                at += 1;
            } else if may_store && (is(b"store") || is(b"storedist")) && left >= 1 {
                destination = Some(Destination { key: rest.at(0), of_distances: is(b"storedist") });
                at += 1;
            } else if let Some(destination) = destination.as_mut().filter(|_| is_free && is(b"storedist")) {
                destination.of_distances = true;
            } else if is_free && is(b"frommember") && left >= 1 && (center.is_none() || by_member) {
                (center, by_member) = (Some(locate(rest.at(0))?.point()?), true);
                at += 1;
            } else if is_free && is(b"fromlonlat") && left >= 2 && !by_member {
                center = Some(parse_point(rest)?);
                at += 2;
            } else if is_free && is(b"byradius") && left >= 2 && (area.is_none() || by_radius) {
                (area, by_radius) = (Some(parse_circle(rest)?), true);
                at += 2;
            } else if is_free && is(b"bybox") && left >= 3 && !by_radius {
                area = Some(parse_rectangle(rest)?);
                at += 3;
            } else {
                return Err(Stop::SYNTAX);
            }
        }
        if destination.is_some() && shown != Shown::default() {
            let name = if is_free { "GEOSEARCHSTORE" } else { "STORE option in GEORADIUS" };
            let text = format!("ERR {name} is not compatible with WITHDIST, WITHHASH and WITHCOORD options");
            return Err(Stop::Error(text.into()));
        }
        let exactly_one = |of: &str| {
            let name = String::from_utf8_lossy(args.at(0));
            Stop::Error(format!("ERR exactly one of {of} can be specified for {name}").into())
        };
        let center = center.ok_or_else(|| exactly_one("FROMMEMBER or FROMLONLAT"))?;
        let area = area.ok_or_else(|| exactly_one("BYRADIUS and BYBOX"))?;
        if any && count == 0 {
            return Err(Stop::error("ERR the ANY argument requires COUNT argument"));
        }
        // the nearest ones, unless any will do
        let order = order.or((count > 0 && !any).then_some(Order::NearestFirst));
        Ok(Self { center, area, shown, order, count, any, destination })
    }

    fn hit(&self, member: &[u8], score: f64) -> Option<Hit> {
        let point = Point::of_score(score);
        let distance_m = self.area.distance_within_m(self.center, point)?;
        Some(Hit { member: member.into(), score, point, distance: distance_m / self.area.unit_m() })
    }

    fn is_enough(&self, hits: &[Hit]) -> bool {
        self.any && hits.len() as u64 >= self.count
    }

    fn reply(&self, hits: &[Hit], reply: &mut Reply<'_>) {
        let Shown { distance, score, point } = self.shown;
        let more = [distance, score, point].into_iter().filter(|is_shown| *is_shown).count();
        reply.array(hits.len());
        for hit in hits {
            if more > 0 {
                reply.array(1 + more);
            }
            reply.bulk(&hit.member);
            if distance {
                reply.bulk(four_decimals(hit.distance).as_bytes());
            }
            if score {
                reply.integer(hit.score as i64);
            }
            if point {
                reply.array(2);
                reply.double(hit.point.longitude);
                reply.double(hit.point.latitude);
            }
        }
    }
}

impl Destination<'_> {
    /// The sorted set of what was found.
    fn held(self, mut hits: Vec<Hit>, mut image: Image) -> Option<Held> {
        if self.of_distances {
            hits.iter_mut().for_each(|hit| hit.score = hit.distance);
        }
        hits.sort_by(|a, b| order_of(a.score).cmp(&order_of(b.score)).then_with(|| a.member.cmp(&b.member)));
        hits.iter().for_each(|hit| image.push(&hit.member, hit.score));
        image.held()
    }
}

impl<D: Disk> Partition<D> {
    /// GEOSEARCH, GEOSEARCHSTORE, GEORADIUS, GEORADIUSBYMEMBER, and those of them that only read.
    pub(in crate::commands) fn geosearch(&mut self, request: Request<'_>, reply: &mut Reply<'_>) -> Result<(), Stop> {
        if let Ok((_, Some(to))) = Search::keys(request.id, request.args) {
            // a lookup that removes an expired key moves others in the index: removals first
            self.lookup(self.key(request.db, to))?;
        }
        let (search, hits) = self.search(request)?;
        match search.destination {
            Some(destination) => {
                let held = destination.held(hits, Image::new(self.limits.compact_zset));
                self.store(self.key(request.db, destination.key), held, reply)
            }
            None => {
                search.reply(&hits, reply);
                Ok(())
            }
        }
    }

    /// What a search is to put under its destination; `None` if that is to be deleted.
    ///
    /// # Errors
    /// See [`Stop`].
    pub(in crate::commands) fn found_near(&mut self, request: Request<'_>) -> Result<Option<Held>, Stop> {
        let (search, hits) = self.search(request)?;
        let held = |destination: Destination<'_>| destination.held(hits, Image::new(self.limits.compact_zset));
        Ok(search.destination.and_then(held))
    }

    /// What a search finds, as much of it as is asked for, in order.
    fn search<'a>(&mut self, request: Request<'a>) -> Result<(Search<'a>, Vec<Hit>), Stop> {
        let (key, found) = self.read_sorted(request, Search::source_at(request.id))?;
        let search = Search::parse(request.id, request.args, |member| {
            let Some(found) = found else { return Ok(Center::NoKey) };
            let score = self.score(key, found, member)?;
            Ok(score.map_or(Center::NoMember, |score| Center::At(Point::of_score(score))))
        })?;
        let Some(found) = found else { return Ok((search, Vec::new())) };
        let mut hits = Vec::new();
        for scores in cover(search.area, search.center) {
            if search.is_enough(&hits) {
                break;
            }
            let [from, to] = [scores.start, scores.end].map(|score| order_of(score as f64));
            self.search_span(key, found, Span::Scores { from, to }, &search, &mut hits)?;
        }
        match search.order {
            Some(Order::NearestFirst) => hits.sort_by(|a, b| a.distance.total_cmp(&b.distance)),
            Some(Order::FarthestFirst) => hits.sort_by(|a, b| b.distance.total_cmp(&a.distance)),
            None => {}
        }
        if search.count > 0 {
            hits.truncate(usize::try_from(search.count).unwrap_or(usize::MAX));
        }
        Ok((search, hits))
    }

    /// Adds what it finds within a range.
    fn search_span(
        &mut self,
        key: Key<'_>,
        found: Found,
        span: Span<'_>,
        search: &Search<'_>,
        hits: &mut Vec<Hit>,
    ) -> Result<(), Stop> {
        let places = self.places(key, found, span)?;
        let step = if search.any { MEMBERS_AT_ONCE } else { u64::MAX };
        let mut from = places.start;
        while from < places.end && !search.is_enough(hits) {
            let end = from.saturating_add(step).min(places.end);
            self.each_placed(key, found, from..end, false, |member, score| {
                if !search.is_enough(hits) {
                    hits.extend(search.hit(member, score));
                }
            })?;
            from = end;
        }
        Ok(())
    }
}
