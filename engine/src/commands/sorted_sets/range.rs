//! The commands that reply a range: ZRANGE and those that it has replaced.

use emberkv_log::Purpose;
use emberkv_log::disk::Disk;
use emberkv_resp::schema::CommandId;
use emberkv_resp::{Args, Reply, format};

use super::span::{By, Span, turned};
use super::{Image, Shape};
use crate::collections::Places;
use crate::group::Request;
use crate::held::Held;
use crate::lookup::{Found, Key};
use crate::partition::Partition;
use crate::stop::Stop;

/// What a range command asks for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Wanted<'a> {
    span: Span<'a>,
    backwards: bool,
    /// How many of these are left out, and how many follow; fewer than none: all.
    limit: (i64, i64),
    with_scores: bool,
}

impl<'a> Wanted<'a> {
    /// Reads what follows the key.
    pub fn parse(id: CommandId, args: Args<'a>) -> Result<Self, Stop> {
        let is_free = matches!(id, CommandId::Zrange | CommandId::Zrangestore);
        let mut by = match id {
            CommandId::Zrangebyscore | CommandId::Zrevrangebyscore => By::Score,
            CommandId::Zrangebylex | CommandId::Zrevrangebylex => By::Bytes,
            _ => By::Place,
        };
        let mut backwards =
            matches!(id, CommandId::Zrevrange | CommandId::Zrevrangebyscore | CommandId::Zrevrangebylex);
        let (mut limit, mut with_scores) = ((0, -1), false);
        let mut rest = args.from(2).iter();
        while let Some(word) = rest.next() {
            let is = |name: &[u8]| word.eq_ignore_ascii_case(name);
            if id != CommandId::Zrangestore && is(b"withscores") {
                with_scores = true;
            } else if is(b"limit")
                && rest.len() >= 2
                && let (Some(offset), Some(count)) = (rest.next(), rest.next())
            {
                let number = |text| format::parse_integer(text).ok_or(Stop::NOT_AN_INTEGER);
                limit = (number(offset)?, number(count)?);
            } else if is_free && !backwards && is(b"rev") {
                backwards = true;
            } else if is_free && by == By::Place && is(b"bylex") {
                by = By::Bytes;
            } else if is_free && by == By::Place && is(b"byscore") {
                by = By::Score;
            } else {
                return Err(Stop::SYNTAX);
            }
        }
        if limit.1 != -1 && by == By::Place {
            return Err(Stop::error(
                "ERR syntax error, LIMIT is only supported in combination with either BYSCORE or BYLEX",
            ));
        }
        if with_scores && by == By::Bytes {
            return Err(Stop::error("ERR syntax error, WITHSCORES not supported in combination with BYLEX"));
        }
        // of scores and bytes the higher end is named first
        let turned = backwards && by != By::Place;
        let (min, max) = if turned { (args.at(1), args.at(0)) } else { (args.at(0), args.at(1)) };
        Ok(Self { span: Span::parse(by, min, max)?, backwards, limit, with_scores })
    }

    /// What is left of a range of so many.
    fn limited(self, places: Places) -> Places {
        let (skipped, most) = self.limit;
        let len = places.end - places.start;
        let Ok(skipped) = u64::try_from(skipped) else { return places.start..places.start };
        let skipped = skipped.min(len);
        let len = u64::try_from(most).map_or(len - skipped, |most| most.min(len - skipped));
        if self.backwards {
            let end = places.end - skipped;
            end - len..end
        } else {
            let start = places.start + skipped;
            start..start + len
        }
    }
}

/// Whether the arguments of a ZRANGESTORE are right.
///
/// # Errors
/// If they are not.
pub(crate) fn check_range(id: CommandId, args: Args<'_>) -> Result<(), Stop> {
    Wanted::parse(id, args.from(3)).map(drop)
}

impl<D: Disk> Partition<D> {
    /// The places that are asked for.
    fn wanted_places(&mut self, key: Key<'_>, found: Found, wanted: Wanted<'_>) -> Result<Places, Stop> {
        let places = self.places(key, found, wanted.span)?;
        if let Span::Places { .. } = wanted.span {
            let count = self.member_count(Some(found));
            return Ok(if wanted.backwards { turned(places, count) } else { places });
        }
        Ok(wanted.limited(places))
    }

    /// ZRANGE, ZREVRANGE, ZRANGEBYSCORE, ZREVRANGEBYSCORE, ZRANGEBYLEX, ZREVRANGEBYLEX.
    pub(in crate::commands) fn zrange(&mut self, request: Request<'_>, reply: &mut Reply<'_>) -> Result<(), Stop> {
        let wanted = Wanted::parse(request.id, request.args.from(2))?;
        let (key, found) = self.read_sorted(request, 1)?;
        let shape = Shape::of(wanted.with_scores, reply);
        let Some(found) = found else {
            reply.array(0);
            return Ok(());
        };
        let places = self.wanted_places(key, found, wanted)?;
        let len = (places.end - places.start) as usize;
        let mut begin = Some(|reply: &mut Reply<'_>| shape.begin(len, reply));
        self.each_placed(key, found, places, wanted.backwards, |member, score| {
            if let Some(begin) = begin.take() {
                begin(reply);
            }
            shape.show(member, score, reply);
        })?;
        if let Some(begin) = begin {
            begin(reply); // there is none
        }
        Ok(())
    }

    /// What a command that stores what it selects out of one key is to put under its destination; `None` if that is to be deleted.
    ///
    /// # Errors
    /// See [`Stop`].
    pub(crate) fn selection(&mut self, request: Request<'_>) -> Result<Option<Held>, Stop> {
        match request.id {
            CommandId::Zrangestore => self.selected(request),
            CommandId::Sort => self.sorted_list(request),
            _ => self.found_near(request),
        }
    }

    pub(in crate::commands) fn zrangestore(&mut self, request: Request<'_>, reply: &mut Reply<'_>) -> Result<(), Stop> {
        let to = self.key(request.db, request.args.at(1));
        // a lookup that removes an expired key moves others in the index: removals first
        self.lookup(to)?;
        let held = self.selected(request)?;
        self.store(to, held, reply)
    }

    /// The range that a ZRANGESTORE is to put under its first key; `None` if that is to be deleted.
    fn selected(&mut self, request: Request<'_>) -> Result<Option<Held>, Stop> {
        let wanted = Wanted::parse(request.id, request.args.from(3))?;
        let (key, found) = self.read_sorted(request, 2)?;
        let Some(found) = found else { return Ok(None) };
        let places = self.wanted_places(key, found, wanted)?;
        let mut image = Image::new(self.limits.compact_zset);
        self.each_placed(key, found, places, false, |member, score| image.push(member, score))?;
        Ok(image.held())
    }

    /// Puts what a command has made under a key, or deletes that if there is nothing. Replies how much it is.
    ///
    /// # Errors
    /// See [`Stop`].
    pub(in crate::commands) fn store(
        &mut self,
        to: Key<'_>,
        held: Option<Held>,
        reply: &mut Reply<'_>,
    ) -> Result<(), Stop> {
        let count = held.as_ref().map_or(0, Held::count);
        if let Some(held) = held {
            let writes = self.writes(to, held);
            self.reserve_writes(to, &writes, 0, Purpose::Grow)?;
            self.write_all(to, &writes);
        } else if let Some(found) = self.peek(to).live() {
            self.reserve_delete(std::iter::once(to.bytes))?;
            self.delete(to, found);
        }
        reply.integer(count as i64);
        Ok(())
    }
}
