//! Members that go: by name, or by where they are.

use emberkv_log::Purpose;
use emberkv_log::disk::Disk;
use emberkv_resp::Reply;
use emberkv_resp::schema::CommandId;

use super::span::{By, Span};
use crate::collections::{Places, Type};
use crate::group::Request;
use crate::lookup::{Found, Key};
use crate::partition::Partition;
use crate::stop::Stop;

impl<D: Disk> Partition<D> {
    pub(in crate::commands) fn zrem(&mut self, request: Request<'_>, reply: &mut Reply<'_>) -> Result<(), Stop> {
        let key = self.key(request.db, request.args.at(1));
        let Some(found) = self.lookup_sorted(key)?.live() else {
            reply.integer(0);
            return Ok(());
        };
        let members = request.args.from(2);
        if let Some(root) = self.root(found) {
            self.bring_elements(key, root, members.iter())?;
        }
        let mut draft = self.draft(Type::ZSet, Some(found));
        let mut removed = 0;
        for member in members.iter() {
            removed += i64::from(self.draft_displace(key, &mut draft, member)?);
        }
        // what stays is written anew: also while memory is short
        self.commit(key, draft, Purpose::Keep)?;
        reply.integer(removed);
        Ok(())
    }

    /// ZREMRANGEBYRANK, ZREMRANGEBYSCORE, ZREMRANGEBYLEX.
    pub(in crate::commands) fn zremrange(&mut self, request: Request<'_>, reply: &mut Reply<'_>) -> Result<(), Stop> {
        let by = match request.id {
            CommandId::Zremrangebyrank => By::Place,
            CommandId::Zremrangebyscore => By::Score,
            _ => By::Bytes,
        };
        let span = Span::parse(by, request.args.at(2), request.args.at(3))?;
        let key = self.key(request.db, request.args.at(1));
        let Some(found) = self.lookup_sorted(key)?.live() else {
            reply.integer(0);
            return Ok(());
        };
        let places = self.places(key, found, span)?;
        let removed = places.end - places.start;
        self.cut(key, found, places)?;
        reply.integer(removed as i64);
        Ok(())
    }

    /// Removes what is at some places.
    ///
    /// # Errors
    /// See [`Stop`].
    pub(super) fn cut(&mut self, key: Key<'_>, found: Found, places: Places) -> Result<(), Stop> {
        if places.is_empty() {
            return Ok(());
        }
        let mut draft = self.draft(Type::ZSet, Some(found));
        self.draft_cut(key, &mut draft, places)?;
        self.commit(key, draft, Purpose::Keep)
    }
}
