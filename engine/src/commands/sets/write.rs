//! SADD.

use emberkv_log::Purpose;
use emberkv_log::disk::Disk;
use emberkv_resp::Reply;

use crate::collections::Type;
use crate::group::Request;
use crate::partition::Partition;
use crate::stop::Stop;

impl<D: Disk> Partition<D> {
    pub(in crate::commands) fn sadd(&mut self, request: Request<'_>, reply: &mut Reply<'_>) -> Result<(), Stop> {
        let members = request.args.from(2);
        let key = self.key(request.db, request.args.at(1));
        let found = self.lookup_of(Type::Set, key)?.live();
        if let Some(root) = found.and_then(|found| self.root(found)) {
            self.bring_elements(key, root, members.iter())?;
        }
        let mut draft = self.draft(Type::Set, found);
        // as redis guesses, before it has looked which of them are new
        let (limits, expected) = (self.limits.compact_set, members.len() as u64);
        draft.convert(match found {
            Some(_) => limits.expecting(draft.head.encoding, expected),
            None => limits.first(members.at(0), expected),
        });
        let mut added = 0;
        for member in members.iter() {
            added += i64::from(self.draft_join(key, &mut draft, member)?);
        }
        self.commit(key, draft, Purpose::Grow)?;
        reply.integer(added);
        Ok(())
    }
}
