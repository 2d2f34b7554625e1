//! Elements that come to a list's ends.

use emberkv_log::Purpose;
use emberkv_log::disk::Disk;
use emberkv_resp::Reply;
use emberkv_resp::schema::CommandId;

use crate::collections::End;
use crate::events::EventClass;
use crate::group::Request;
use crate::lookup::{Found, Key};
use crate::partition::Partition;
use crate::stop::Stop;

impl<D: Disk> Partition<D> {
    /// LPUSH, RPUSH, LPUSHX, RPUSHX.
    pub(in crate::commands) fn push_command(
        &mut self,
        request: Request<'_>,
        reply: &mut Reply<'_>,
    ) -> Result<(), Stop> {
        let end = match request.id {
            CommandId::Lpush | CommandId::Lpushx => End::Front,
            _ => End::Back,
        };
        let key = self.key(request.db, request.args.at(1));
        let found = self.lookup_list(key)?.live();
        if found.is_none() && matches!(request.id, CommandId::Lpushx | CommandId::Rpushx) {
            reply.integer(0);
            return Ok(());
        }
        let count = self.push_all(key, found, end, request.args.from(2).iter())?;
        reply.integer(count as i64);
        Ok(())
    }

    /// Pushes elements to an end, one after the other. Returns how many there are then.
    pub(crate) fn push_all<'a>(
        &mut self,
        key: Key<'_>,
        found: Option<Found>,
        end: End,
        elements: impl Iterator<Item = &'a [u8]> + Clone,
    ) -> Result<u64, Stop> {
        let mut draft = self.list_draft(found);
        let (count, bytes) =
            elements.clone().fold((0, 0), |(count, bytes), element| (count + 1, bytes + element.len()));
        draft.fit(bytes as u64, count, self.limits.list_fill);
        for element in elements {
            self.list_push(key, &mut draft, end, element)?;
        }
        let count = draft.head.count;
        self.name_event(EventClass::List, end.pushed());
        self.list_commit(key, draft, Purpose::Grow)?;
        Ok(count)
    }
}
