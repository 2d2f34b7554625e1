//! Changes of a hash. What a field becomes is written, not by how much it changes (law 5).

use emberkv_log::disk::Disk;
use emberkv_log::{Purpose, canonical_int};
use emberkv_resp::schema::{CommandId, arity_error};
use emberkv_resp::{Reply, format};

use crate::collections::{Expiry, Type};
use crate::group::Request;
use crate::long_double::Operand;
use crate::lookup::Key;
use crate::partition::Partition;
use crate::stop::Stop;

impl<D: Disk> Partition<D> {
    /// HSET, HMSET.
    pub(in crate::commands) fn hset(&mut self, request: Request<'_>, reply: &mut Reply<'_>) -> Result<(), Stop> {
        let pairs = request.args.from(2);
        if !pairs.len().is_multiple_of(2) {
            return Err(Stop::Error(arity_error(request.id.command().name).into()));
        }
        let key = self.key(request.db, request.args.at(1));
        let found = self.lookup_of(Type::Hash, key)?.live();
        let limits = self.limits.compact_hash;
        if let Some(root) = found.and_then(|found| self.root(found)) {
            self.bring_elements(key, root, pairs.iter().step_by(2))?;
        }
        let mut draft = self.draft(Type::Hash, found);
        // as redis guesses, before it has looked which of them are new
        draft.fit_so_many(pairs.len() as u64 / 2, limits);
        pairs.iter().for_each(|arg| draft.fit(arg.len(), limits));
        let mut added = 0;
        for i in (0..pairs.len()).step_by(2) {
            added += i64::from(self.draft_set_field(key, &mut draft, pairs.at(i), pairs.at(i + 1), Expiry::Never)?);
            draft.fit_count(limits);
        }
        self.commit(key, draft, Purpose::Grow)?;
        if request.id == CommandId::Hmset {
            reply.ok()
        } else {
            reply.integer(added)
        }
        Ok(())
    }

    pub(in crate::commands) fn hsetnx(&mut self, request: Request<'_>, reply: &mut Reply<'_>) -> Result<(), Stop> {
        let (field, value) = (request.args.at(2), request.args.at(3));
        let key = self.key(request.db, request.args.at(1));
        let found = self.lookup_of(Type::Hash, key)?.live();
        let is_there = match found {
            Some(found) => self.element(key, found, field, |value| value.is_some())?,
            None => false,
        };
        if !is_there {
            self.set_field(key, field, value)?;
        }
        reply.integer(i64::from(!is_there));
        Ok(())
    }

    /// Sets one field of a hash, which may be a new one; when it expires stays.
    fn set_field(&mut self, key: Key<'_>, field: &[u8], value: &[u8]) -> Result<(), Stop> {
        let found = self.peek(key).live();
        let limits = self.limits.compact_hash;
        let mut draft = self.draft(Type::Hash, found);
        draft.fit(field.len().max(value.len()), limits);
        self.draft_set_field(key, &mut draft, field, value, Expiry::Stays)?;
        draft.fit_count(limits);
        self.commit(key, draft, Purpose::Grow)
    }

    pub(in crate::commands) fn hincrby(&mut self, request: Request<'_>, reply: &mut Reply<'_>) -> Result<(), Stop> {
        let by = format::parse_integer(request.args.at(3)).ok_or(Stop::NOT_AN_INTEGER)?;
        let (key, field) = (self.key(request.db, request.args.at(1)), request.args.at(2));
        let old = match self.lookup_of(Type::Hash, key)?.live() {
            Some(found) => self.element(key, found, field, |value| value.map(canonical_int))?,
            None => None,
        };
        let old = old.map_or(Some(0), |old| old).ok_or(Stop::error("ERR hash value is not an integer"))?;
        let sum = old.checked_add(by).ok_or(Stop::error("ERR increment or decrement would overflow"))?;
        self.set_field(key, field, format::integer(sum, &mut [0; 20]))?;
        reply.integer(sum);
        Ok(())
    }

    pub(in crate::commands) fn hincrbyfloat(
        &mut self,
        request: Request<'_>,
        reply: &mut Reply<'_>,
    ) -> Result<(), Stop> {
        let by = Operand::parse(request.args.at(3)).ok_or(Stop::error("ERR value is not a valid float"))?;
        if matches!(by, Operand::Infinite) {
            return Err(Stop::error("ERR value is NaN or Infinity"));
        }
        let (key, field) = (self.key(request.db, request.args.at(1)), request.args.at(2));
        let old = match self.lookup_of(Type::Hash, key)?.live() {
            Some(found) => self.element(key, found, field, |value| value.map(Operand::parse))?,
            None => None,
        };
        let old = old.unwrap_or(Some(Operand::ZERO)).ok_or(Stop::error("ERR hash value is not a float"))?;
        let sum = old.plus(by).ok_or(Stop::error("ERR increment would produce NaN or Infinity"))?;
        let text = sum.to_text();
        self.set_field(key, field, text.as_bytes())?;
        reply.bulk(text.as_bytes());
        Ok(())
    }
}
