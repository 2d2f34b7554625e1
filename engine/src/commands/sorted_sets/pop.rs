//! Members that are taken out at an end: ZPOPMIN, ZPOPMAX, ZMPOP.

use emberkv_log::disk::Disk;
use emberkv_resp::schema::CommandId;
use emberkv_resp::{Args, Reply, format};

use super::{Members, Shape};
use crate::events::EventClass;
use crate::group::Request;
use crate::lookup::Key;
use crate::partition::Partition;
use crate::stop::Stop;

/// Which members ZMPOP takes, out of the first of its keys that has any.
#[derive(Clone, Copy, Debug)]
pub(crate) struct MultiPop<'a> {
    pub keys: Args<'a>,
    pub highest: bool,
    pub count: u64,
}

impl<'a> MultiPop<'a> {
    /// Reads what begins with the number of keys.
    ///
    /// # Errors
    /// If that is wrong.
    pub fn parse(args: Args<'a>) -> Result<Self, Stop> {
        let positive = |text, error| {
            let number = format::parse_integer(text).and_then(|number| u64::try_from(number).ok());
            number.filter(|number| *number > 0).ok_or(Stop::error(error))
        };
        let count = positive(args.at(0), "ERR numkeys should be greater than 0")?;
        let behind = usize::try_from(count).ok().and_then(|count| count.checked_add(1)).ok_or(Stop::SYNTAX)?;
        let end = args.get(behind).ok_or(Stop::SYNTAX)?;
        let highest = match end {
            end if end.eq_ignore_ascii_case(b"min") => false,
            end if end.eq_ignore_ascii_case(b"max") => true,
            _ => return Err(Stop::SYNTAX),
        };
        let count = match (args.get(behind + 1), args.get(behind + 2), args.len() - behind) {
            (None, ..) => 1,
            (Some(word), Some(count), left) if word.eq_ignore_ascii_case(b"count") => {
                let count = positive(count, "ERR count should be greater than 0")?;
                if left > 3 {
                    return Err(Stop::SYNTAX);
                }
                count
            }
            _ => return Err(Stop::SYNTAX),
        };
        Ok(Self { keys: args.to(behind).from(1), highest, count })
    }
}

impl<D: Disk> Partition<D> {
    /// Takes up to so many members out of a sorted set, those with the lowest scores or those with the highest; none if there is none.
    ///
    /// # Errors
    /// If the key holds something else, and see [`Stop`].
    pub(crate) fn pop_members(&mut self, key: Key<'_>, highest: bool, count: u64) -> Result<Members, Stop> {
        let mut popped = Members::default();
        let Some(found) = self.lookup_sorted(key)?.live() else { return Ok(popped) };
        self.name_event(EventClass::SortedSet, if highest { "zpopmax" } else { "zpopmin" });
        let size = self.member_count(Some(found));
        let count = count.min(size);
        let places = if highest { size - count..size } else { 0..count };
        self.each_placed(key, found, places.clone(), highest, |member, score| popped.push(member, score))?;
        self.cut(key, found, places)?;
        Ok(popped)
    }

    /// ZPOPMIN, ZPOPMAX.
    pub(in crate::commands) fn zpop(&mut self, request: Request<'_>, reply: &mut Reply<'_>) -> Result<(), Stop> {
        if request.args.len() > 3 {
            return Err(Stop::SYNTAX);
        }
        let count = match request.args.get(2) {
            Some(text) => format::parse_integer(text)
                .and_then(|count| u64::try_from(count).ok())
                .ok_or(Stop::error("ERR value is out of range, must be positive"))?,
            None => 1,
        };
        let key = self.key(request.db, request.args.at(1));
        let popped = self.pop_members(key, request.id == CommandId::Zpopmax, count)?;
        // without a count it is one, and not a list of one
        let shape = if request.args.get(2).is_some() { Shape::of(true, reply) } else { Shape::Flat };
        shape.begin(popped.len(), reply);
        popped.iter().for_each(|(member, score)| shape.show(member, score, reply));
        Ok(())
    }

    /// BZPOPMIN, BZPOPMAX: takes one, and tells the key too.
    pub(in crate::commands) fn pop_member(
        &mut self,
        key: Key<'_>,
        highest: bool,
        reply: &mut Reply<'_>,
    ) -> Result<(), Stop> {
        let popped = self.pop_members(key, highest, 1)?;
        reply.array(3);
        reply.bulk(key.bytes);
        popped.iter().for_each(|(member, score)| Shape::Flat.show(member, score, reply));
        Ok(())
    }

    pub(in crate::commands) fn zmpop(&mut self, request: Request<'_>, reply: &mut Reply<'_>) -> Result<(), Stop> {
        let MultiPop { keys, highest, count } = MultiPop::parse(request.args.from(1))?;
        for name in keys.iter() {
            let popped = self.pop_members(self.key(request.db, name), highest, count)?;
            if popped.len() > 0 {
                reply.array(2);
                reply.bulk(name);
                Shape::Nested.begin(popped.len(), reply);
                popped.iter().for_each(|(member, score)| Shape::Nested.show(member, score, reply));
                return Ok(());
            }
        }
        reply.null_array();
        Ok(())
    }
}
