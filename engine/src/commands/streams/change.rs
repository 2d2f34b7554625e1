//! XDEL, XSETID.

use emberkv_log::Purpose;
use emberkv_log::disk::Disk;
use emberkv_resp::{Reply, format};

use super::ids::parse;
use crate::collections::StreamId;
use crate::commands::NO_SUCH_KEY;
use crate::group::Request;
use crate::partition::Partition;
use crate::stop::Stop;

impl<D: Disk> Partition<D> {
    pub(in crate::commands) fn xdel(&mut self, request: Request<'_>, reply: &mut Reply<'_>) -> Result<(), Stop> {
        let key = self.key(request.db, request.args.at(1));
        let Some(found) = self.lookup_stream(key)? else {
            reply.integer(0);
            return Ok(());
        };
        let ids = request.args.from(2).iter().map(|id| parse(id, 0)).collect::<Result<Vec<_>, _>>()?;
        let mut draft = self.stream_draft(Some(found));
        let nodes = &mut self.nodes(key, draft.id);
        let mut gone = 0;
        for id in ids {
            gone += i64::from(draft.delete(nodes, id)?);
        }
        if gone > 0 {
            self.name_stream_event("xdel");
            self.stream_commit(key, draft, Purpose::Shrink)?;
        }
        reply.integer(gone);
        Ok(())
    }

    pub(in crate::commands) fn xsetid(&mut self, request: Request<'_>, reply: &mut Reply<'_>) -> Result<(), Stop> {
        let args = request.args;
        let id = parse(args.at(2), 0)?;
        let (mut added, mut deleted) = (None, StreamId::MIN);
        let mut i = 3;
        while i < args.len() {
            let is = |name: &str| i + 1 < args.len() && args.at(i).eq_ignore_ascii_case(name.as_bytes());
            if is("ENTRIESADDED") {
                let number = format::parse_integer(args.at(i + 1)).ok_or(Stop::NOT_AN_INTEGER)?;
                added = Some(u64::try_from(number).map_err(|_| Stop::error("ERR entries_added must be positive"))?);
            } else if is("MAXDELETEDID") {
                deleted = parse(args.at(i + 1), 0)?;
                if id < deleted {
                    return Err(Stop::error(
                        "ERR The ID specified in XSETID is smaller than the provided max_deleted_entry_id",
                    ));
                }
            } else {
                return Err(Stop::SYNTAX);
            }
            i += 2;
        }
        let key = self.key(request.db, args.at(1));
        let found = self.lookup_stream(key)?.ok_or(NO_SUCH_KEY)?;
        let mut draft = self.stream_draft(Some(found));
        if id < draft.meta.deleted {
            return Err(Stop::error("ERR The ID specified in XSETID is smaller than current max_deleted_entry_id"));
        }
        if let Some(last) = draft.edge(&mut self.nodes(key, draft.id), true)? {
            if id < last {
                return Err(Stop::error("ERR The ID specified in XSETID is smaller than the target stream top item"));
            }
            if added.is_some_and(|added| added < draft.count) {
                return Err(Stop::error(
                    "ERR The entries_added specified in XSETID is smaller than the target stream length",
                ));
            }
        }
        draft.meta.last = id;
        draft.meta.added = added.unwrap_or(draft.meta.added);
        if deleted > StreamId::MIN {
            draft.meta.deleted = deleted;
        }
        self.name_aside(Some("xsetid"));
        self.stream_commit(key, draft, Purpose::Grow)?;
        reply.ok();
        Ok(())
    }
}
