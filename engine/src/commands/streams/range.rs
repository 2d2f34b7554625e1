//! XLEN, XRANGE, XREVRANGE.

use emberkv_log::disk::Disk;
use emberkv_resp::schema::CommandId;
use emberkv_resp::{Reply, format};

use super::ids::{parse_end, parse_start};
use super::reply_entry;
use crate::group::Request;
use crate::partition::Partition;
use crate::stop::Stop;

impl<D: Disk> Partition<D> {
    pub(in crate::commands) fn xlen(&mut self, request: Request<'_>, reply: &mut Reply<'_>) -> Result<(), Stop> {
        let key = self.key(request.db, request.args.at(1));
        let found = self.read_stream(key)?;
        reply.integer(found.and_then(|found| self.head(found)).map_or(0, |head| head.count) as i64);
        Ok(())
    }

    pub(in crate::commands) fn xrange(&mut self, request: Request<'_>, reply: &mut Reply<'_>) -> Result<(), Stop> {
        let args = request.args;
        let is_backwards = request.id == CommandId::Xrevrange;
        let (from, to) = if is_backwards { (args.at(3), args.at(2)) } else { (args.at(2), args.at(3)) };
        let range = (parse_start(from)?, parse_end(to)?);
        let (mut limit, mut i) = (None, 4);
        while i < args.len() {
            if !args.at(i).eq_ignore_ascii_case(b"COUNT") || i + 1 == args.len() {
                return Err(Stop::SYNTAX);
            }
            let number = format::parse_integer(args.at(i + 1)).ok_or(Stop::NOT_AN_INTEGER)?;
            limit = Some(u64::try_from(number).unwrap_or(0));
            i += 2;
        }
        let key = self.key(request.db, args.at(1));
        let Some(found) = self.read_stream(key)? else {
            reply.array(0);
            return Ok(());
        };
        if limit == Some(0) {
            reply.null_array();
            return Ok(());
        }
        let mut draft = self.stream_draft(Some(found));
        let (nodes, mut is_begun) = (&mut self.nodes(key, draft.id), false);
        let count = draft.range(nodes, range, limit.unwrap_or(u64::MAX), is_backwards, |count, id, fields| {
            if !std::mem::replace(&mut is_begun, true) {
                reply.array(count as usize);
            }
            reply_entry(id, fields, reply);
        })?;
        if count == 0 {
            reply.array(0);
        }
        Ok(())
    }
}
