//! Changes of a list in the middle.

use std::ops::ControlFlow;

use emberkv_log::Purpose;
use emberkv_log::disk::Disk;
use emberkv_resp::{Reply, format};

use super::OUT_OF_RANGE;
use super::read::{place_of, span};
use crate::commands::NO_SUCH_KEY;
use crate::group::Request;
use crate::lookup::{Found, Key};
use crate::partition::Partition;
use crate::stop::Stop;

impl<D: Disk> Partition<D> {
    pub(in crate::commands) fn lset(&mut self, request: Request<'_>, reply: &mut Reply<'_>) -> Result<(), Stop> {
        let key = self.key(request.db, request.args.at(1));
        let found = self.lookup_list(key)?.live().ok_or(NO_SUCH_KEY)?;
        let index = format::parse_integer(request.args.at(2)).ok_or(Stop::NOT_AN_INTEGER)?;
        let element = request.args.at(3);
        // redis has an `int` there, and looks at the lower half
        let position = place_of(i64::from(index as i32), self.list_len(Some(found)));
        let position = position.ok_or(Stop::error("ERR index out of range"))?;
        let fill = self.limits.list_fill;
        let mut draft = self.list_draft(Some(found));
        draft.fit(element.len() as u64, 1, fill);
        self.list_replace(key, &mut draft, position, element)?;
        draft.fit_less(fill);
        self.list_commit(key, draft, Purpose::Grow)?;
        reply.ok();
        Ok(())
    }

    pub(in crate::commands) fn linsert(&mut self, request: Request<'_>, reply: &mut Reply<'_>) -> Result<(), Stop> {
        let args = request.args;
        let is_before = match args.at(2) {
            place if place.eq_ignore_ascii_case(b"BEFORE") => true,
            place if place.eq_ignore_ascii_case(b"AFTER") => false,
            _ => return Err(Stop::SYNTAX),
        };
        let (pivot, element) = (args.at(3), args.at(4));
        let key = self.key(request.db, args.at(1));
        let Some(found) = self.lookup_list(key)?.live() else {
            reply.integer(0);
            return Ok(());
        };
        let Some(&position) = self.matches(key, found, pivot, false, 1)?.first() else {
            reply.integer(-1);
            return Ok(());
        };
        let mut draft = self.list_draft(Some(found));
        draft.fit(element.len() as u64, 1, self.limits.list_fill);
        self.list_insert(key, &mut draft, position + u64::from(!is_before), element)?;
        let count = draft.head.count;
        self.list_commit(key, draft, Purpose::Grow)?;
        reply.integer(count as i64);
        Ok(())
    }

    /// Where the first elements are that are equal to one, up to so many; backwards, the last ones, the last first.
    fn matches(
        &mut self,
        key: Key<'_>,
        found: Found,
        element: &[u8],
        is_backwards: bool,
        most: u64,
    ) -> Result<Vec<u64>, Stop> {
        let len = self.list_len(Some(found));
        let (mut places, mut nth) = (Vec::new(), 0);
        self.list_each(key, found, (0, len), is_backwards, |other| {
            if other == element {
                places.push(if is_backwards { len - 1 - nth } else { nth });
            }
            nth += 1;
            if places.len() as u64 == most { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        })?;
        Ok(places)
    }

    pub(in crate::commands) fn lrem(&mut self, request: Request<'_>, reply: &mut Reply<'_>) -> Result<(), Stop> {
        let count = match format::parse_integer(request.args.at(2)).ok_or(Stop::NOT_AN_INTEGER)? {
            i64::MIN => return Err(OUT_OF_RANGE),
            count => count,
        };
        let key = self.key(request.db, request.args.at(1));
        let Some(found) = self.lookup_list(key)?.live() else {
            reply.integer(0);
            return Ok(());
        };
        let most = if count == 0 { u64::MAX } else { count.unsigned_abs() };
        let mut places = self.matches(key, found, request.args.at(3), count < 0, most)?;
        places.sort_unstable();
        let mut draft = self.list_draft(Some(found));
        // from behind, so that places before stay what they are; those in a row go together
        for row in places.chunk_by(|a, b| a + 1 == *b).rev() {
            self.list_take(key, &mut draft, row[0], row.len() as u64)?;
        }
        if !places.is_empty() {
            draft.fit_less(self.limits.list_fill);
        }
        // what stays is written anew: also while memory is short
        self.list_commit(key, draft, Purpose::Keep)?;
        reply.integer(places.len() as i64);
        Ok(())
    }

    pub(in crate::commands) fn ltrim(&mut self, request: Request<'_>, reply: &mut Reply<'_>) -> Result<(), Stop> {
        let number = |at| format::parse_integer(request.args.at(at)).ok_or(Stop::NOT_AN_INTEGER);
        let (start, stop) = (number(2)?, number(3)?);
        let key = self.key(request.db, request.args.at(1));
        if let Some(found) = self.lookup_list(key)?.live() {
            let len = self.list_len(Some(found));
            let (position, count) = span(start, stop, len);
            if count < len {
                let mut draft = self.list_draft(Some(found));
                self.list_keep(key, &mut draft, position, count)?;
                draft.fit_less(self.limits.list_fill);
                self.list_commit(key, draft, Purpose::Keep)?;
            } else {
                self.note_same(key);
            }
        }
        reply.ok();
        Ok(())
    }
}
