//! Commands on several sets of one partition: SINTER and its kin, SMOVE.

use emberkv_log::disk::Disk;
use emberkv_log::{DbId, Purpose};
use emberkv_resp::Reply;

use super::combine::Combination;
use crate::collections::Type;
use crate::events::EventClass;
use crate::group::Request;
use crate::held::Held;
use crate::lookup::Key;
use crate::partition::Partition;
use crate::stop::Stop;
use crate::transact::{Change, Member};

/// What sets are combined of.
pub(crate) const SETS: &[Type] = &[Type::Set];

impl<D: Disk> Partition<D> {
    /// SINTER, SINTERCARD, SUNION, SDIFF and those that store.
    pub(in crate::commands) fn combine_sets(
        &mut self,
        request: Request<'_>,
        reply: &mut Reply<'_>,
    ) -> Result<(), Stop> {
        let Request { id, db, args, .. } = request;
        let combination = Combination::parse(id, args)?;
        let to = combination.destination(args).map(|to| self.key(db, to));
        if let Some(to) = to {
            self.lookup(to)?;
        }
        let keys: Vec<_> = combination.sources(args).iter().map(|key| self.key(db, key)).collect();
        let images = self.images(&keys, SETS)?;
        let combined = combination.of(&images, self.limits.compact_set);
        let Some(to) = to else {
            combined.answer(reply);
            return Ok(());
        };
        let stored = combined.image();
        let count = stored.as_ref().map_or(0, |(_, count)| *count);
        self.place_or_delete(to, stored.map(|(image, _)| Held::whole(image, None)))?;
        reply.integer(count as i64);
        Ok(())
    }

    /// Gives a key this value; or none.
    fn place_or_delete(&mut self, to: Key<'_>, held: Option<Held>) -> Result<(), Stop> {
        match held {
            Some(held) => {
                let writes = self.writes(to, held);
                self.reserve_writes(to, &writes, 0, Purpose::Grow)?;
                self.write_all(to, &writes);
            }
            None => {
                if let Some(found) = self.peek(to).live() {
                    self.reserve_delete(std::iter::once(to.bytes))?;
                    self.delete(to, found);
                }
            }
        }
        Ok(())
    }

    pub(in crate::commands) fn smove(&mut self, request: Request<'_>, reply: &mut Reply<'_>) -> Result<(), Stop> {
        let (args, db) = (request.args, request.db);
        let (from, to, member) = (self.key(db, args.at(1)), self.key(db, args.at(2)), args.at(3));
        // a lookup that removes an expired key moves others in the index: removals first
        self.lookup(to)?;
        let there = self.look_for_member(from, member)?;
        let moves = Member::moves(there, self.look_for_member(to, member)?)?;
        if moves && from.bytes != to.bytes {
            let mut rest = self.draft(Type::Set, self.peek(from).live());
            self.draft_remove(from, &mut rest, member)?;
            let found = self.peek(to).live();
            let mut joined = self.draft(Type::Set, found);
            if found.is_none() {
                joined.convert(self.limits.compact_set.first(member, 1));
            }
            self.draft_join(to, &mut joined, member)?;
            self.commit_both((from, rest), (to, joined), Purpose::Keep)?;
        }
        reply.integer(i64::from(moves));
        Ok(())
    }

    /// What a set says of a member.
    fn look_for_member(&mut self, key: Key<'_>, member: &[u8]) -> Result<Member, Stop> {
        let Some(found) = self.lookup(key)?.live() else { return Ok(Member::NoKey) };
        if self.head(found).is_none_or(|head| head.kind != Type::Set) {
            return Ok(Member::WrongType);
        }
        self.element(key, found, member, |value| if value.is_some() { Member::Present } else { Member::Absent })
    }

    /// A part of SMOVE, in a transaction over several partitions.
    pub(crate) fn member_step(&mut self, db: DbId, key: &[u8], member: &[u8], change: Change) -> Result<Member, Stop> {
        let key = self.key(db, key);
        let there = self.look_for_member(key, member)?;
        if change == Change::Look {
            return Ok(there);
        }
        let found = self.peek(key).live();
        let mut draft = self.draft(Type::Set, found);
        self.name_event(EventClass::Set, if change == Change::Leave { "srem" } else { "sadd" });
        if change == Change::Leave {
            self.draft_remove(key, &mut draft, member)?;
        } else {
            if found.is_none() {
                draft.convert(self.limits.compact_set.first(member, 1));
            }
            self.draft_join(key, &mut draft, member)?;
        }
        self.commit(key, draft, Purpose::Keep)?;
        Ok(there)
    }
}
