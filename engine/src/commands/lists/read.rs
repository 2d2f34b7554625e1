//! What a list holds.

use emberkv_log::Value;
use emberkv_log::disk::Disk;
use emberkv_resp::{Reply, format};

use crate::collections::{Root, Type, Whole};
use crate::group::Request;
use crate::lookup::{Found, Key};
use crate::partition::Partition;
use crate::stop::Stop;

/// The positions from `start` up to `stop`, both of them counted from the end if below zero: the first, and how many.
pub(super) fn span(start: i64, stop: i64, count: u64) -> (u64, u64) {
    let count = i64::try_from(count).unwrap_or(i64::MAX);
    let place = |at: i64| if at < 0 { at.saturating_add(count) } else { at };
    let (start, stop) = (place(start).max(0), place(stop).min(count - 1));
    let len = if start > stop { 0 } else { stop - start + 1 };
    (start.unsigned_abs(), len.unsigned_abs())
}

/// The position that an index means, if there is one; counted from the end if below zero.
pub(super) fn place_of(index: i64, count: u64) -> Option<u64> {
    let position = if index < 0 { count.checked_sub(index.unsigned_abs())? } else { index.unsigned_abs() };
    (position < count).then_some(position)
}

/// LLEN out of another core's memory: a root is written with every change. Returns whether it has replied.
pub(in crate::commands) fn direct(value: Option<Value<'_>>, reply: &mut Reply<'_>) -> bool {
    let head = match value {
        None => None,
        Some(Value::Whole(bytes)) => Some(Whole::read(bytes).head),
        Some(Value::Root(bytes)) => Some(Root::read(bytes).head),
        // the owner finds the words for what is no list
        Some(_) => return false,
    };
    if head.is_some_and(|head| head.kind != Type::List) {
        return false;
    }
    reply.integer(head.map_or(0, |head| head.count) as i64);
    true
}

impl<D: Disk> Partition<D> {
    /// A list that a command reads; counted as a hit or a miss.
    pub(super) fn read_list<'a>(&mut self, request: Request<'a>) -> Result<(Key<'a>, Option<Found>), Stop> {
        let key = self.key(request.db, request.args.at(1));
        let lookup = self.lookup_list(key)?;
        self.count_read(key, lookup);
        Ok((key, lookup.live()))
    }

    /// How many elements a list has that was found.
    pub(super) fn list_len(&self, found: Option<Found>) -> u64 {
        found.and_then(|found| self.head(found)).map_or(0, |head| head.count)
    }

    pub(in crate::commands) fn llen(&mut self, request: Request<'_>, reply: &mut Reply<'_>) -> Result<(), Stop> {
        let (_, found) = self.read_list(request)?;
        reply.integer(self.list_len(found) as i64);
        Ok(())
    }

    pub(in crate::commands) fn lrange(&mut self, request: Request<'_>, reply: &mut Reply<'_>) -> Result<(), Stop> {
        let number = |at| format::parse_integer(request.args.at(at)).ok_or(Stop::NOT_AN_INTEGER);
        let (start, stop) = (number(2)?, number(3)?);
        let (key, found) = self.read_list(request)?;
        let (start, count) = span(start, stop, self.list_len(found));
        let Some(found) = found.filter(|_| count > 0) else {
            reply.array(0);
            return Ok(());
        };
        let mut is_begun = false;
        self.list_range(key, found, start, count, |element| {
            if !std::mem::replace(&mut is_begun, true) {
                reply.array(count as usize);
            }
            reply.bulk(element);
        })
    }

    pub(in crate::commands) fn lindex(&mut self, request: Request<'_>, reply: &mut Reply<'_>) -> Result<(), Stop> {
        let (key, found) = self.read_list(request)?;
        let Some(found) = found else {
            reply.null();
            return Ok(());
        };
        let index = format::parse_integer(request.args.at(2)).ok_or(Stop::NOT_AN_INTEGER)?;
        match place_of(index, self.list_len(Some(found))) {
            Some(position) => self.list_range(key, found, position, 1, |element| reply.bulk(element)),
            None => {
                reply.null();
                Ok(())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_counted_from_both_ends() {
        assert_eq!(span(0, -1, 3), (0, 3));
        assert_eq!(span(-2, -1, 3), (1, 2));
        assert_eq!(span(-9, 1, 3), (0, 2));
        assert_eq!(span(1, 99, 3), (1, 2));
        assert_eq!(span(2, 1, 3).1, 0);
        assert_eq!(span(3, 5, 3).1, 0);
        assert_eq!(span(i64::MIN, i64::MAX, 3), (0, 3));
        assert_eq!(span(0, -1, 0).1, 0);
        assert_eq!([place_of(2, 3), place_of(3, 3), place_of(-3, 3), place_of(-4, 3)], [Some(2), None, Some(0), None]);
        assert_eq!([place_of(i64::MIN, 3), place_of(0, 0)], [None, None]);
    }
}
