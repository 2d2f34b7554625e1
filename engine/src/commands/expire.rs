//! The EXPIRE and TTL families.

use emberkv_log::disk::Disk;
use emberkv_resp::schema::CommandId;
use emberkv_resp::{Args, Reply, format};

use super::set::Timing;
use crate::group::Request;
use crate::partition::Partition;
use crate::stop::Stop;

/// When EXPIRE changes anything.
#[derive(Clone, Copy, Default, Debug)]
struct Conditions {
    /// Only if the key has no expiry.
    if_none: bool,
    /// Only if it has one.
    if_some: bool,
    /// Only to a later time; no expiry is the latest.
    if_later: bool,
    /// Only to an earlier one.
    if_earlier: bool,
}

impl Conditions {
    fn parse(args: Args<'_>) -> Result<Self, Stop> {
        let mut conditions = Self::default();
        for name in args.iter() {
            match name.to_ascii_uppercase().as_slice() {
                b"NX" => conditions.if_none = true,
                b"XX" => conditions.if_some = true,
                b"GT" => conditions.if_later = true,
                b"LT" => conditions.if_earlier = true,
                _ => {
                    let name = String::from_utf8_lossy(name);
                    return Err(Stop::Error(format!("ERR Unsupported option {name}").into()));
                }
            }
        }
        if conditions.if_none && (conditions.if_some || conditions.if_later || conditions.if_earlier) {
            return Err(Stop::error("ERR NX and XX, GT or LT options at the same time are not compatible"));
        }
        if conditions.if_later && conditions.if_earlier {
            return Err(Stop::error("ERR GT and LT options at the same time are not compatible"));
        }
        Ok(conditions)
    }

    fn allow(self, old: Option<u64>, new: i64) -> bool {
        let later = old.is_some_and(|old| new > old as i64);
        let earlier = old.is_none_or(|old| new < old as i64);
        !(self.if_none && old.is_some()
            || self.if_some && old.is_none()
            || self.if_later && !later
            || self.if_earlier && !earlier)
    }
}

impl<D: Disk> Partition<D> {
    pub(super) fn expire_command(&mut self, request: Request<'_>, reply: &mut Reply<'_>) -> Result<(), Stop> {
        let conditions = Conditions::parse(request.args.from(3))?;
        let number = format::parse_integer(request.args.at(2)).ok_or(Stop::NOT_AN_INTEGER)?;
        let timing = Timing {
            seconds: matches!(request.id, CommandId::Expire | CommandId::Expireat),
            absolute: matches!(request.id, CommandId::Expireat | CommandId::Pexpireat),
        };
        let at = timing.at(number, self.now_ms);
        let at = at.ok_or_else(|| Stop::invalid_expire(request.id.command().name))?;
        let key = self.key(request.db, request.args.at(1));
        let Some(found) = self.lookup(key)?.live() else {
            reply.integer(0);
            return Ok(());
        };
        if !conditions.allow(found.expires_at_ms, at) {
            reply.integer(0);
            return Ok(());
        }
        let mut ahead = None;
        let expires_at_ms = Some(at.max(0) as u64);
        if at <= self.now_ms as i64 {
            self.reserve_delete(std::iter::once(key.bytes))?;
        } else {
            ahead = self.reserve_again(key, found, expires_at_ms)?;
        }
        self.put_again(key, found, expires_at_ms, ahead);
        reply.integer(1);
        Ok(())
    }

    pub(super) fn persist(&mut self, request: Request<'_>, reply: &mut Reply<'_>) -> Result<(), Stop> {
        let key = self.key(request.db, request.args.at(1));
        match self.lookup(key)?.live() {
            Some(found) if found.expires_at_ms.is_some() => {
                let ahead = self.reserve_again(key, found, None)?;
                self.put_again(key, found, None, ahead);
                reply.integer(1);
            }
            _ => reply.integer(0),
        }
        Ok(())
    }

    pub(super) fn ttl(&mut self, request: Request<'_>, reply: &mut Reply<'_>) -> Result<(), Stop> {
        let key = self.key(request.db, request.args.at(1));
        let lookup = self.lookup(key)?;
        if lookup.live().is_none() {
            self.note_miss(key);
        }
        let expiry = lookup.live().map(|found| found.expires_at_ms);
        reply.integer(time_answer(request.id, expiry, self.now_ms));
        Ok(())
    }
}

/// What a command of the TTL family answers: -2 for no key, -1 for no expiry.
pub(super) fn time_answer(id: CommandId, expiry: Option<Option<u64>>, now_ms: u64) -> i64 {
    match expiry {
        None => -2,
        Some(None) => -1,
        Some(Some(at)) => {
            let left = (at - now_ms) as i64;
            match id {
                CommandId::Ttl => (left + 500) / 1000,
                CommandId::Pttl => left,
                CommandId::Expiretime => ((at + 500) / 1000) as i64,
                _ => at as i64,
            }
        }
    }
}
