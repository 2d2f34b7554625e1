//! When fields expire: HEXPIRE and the like, HTTL and the like, HPERSIST.

use emberkv_log::Purpose;
use emberkv_log::disk::Disk;
use emberkv_resp::schema::CommandId;
use emberkv_resp::{Args, Reply, format};

use crate::collections::Type;
use crate::events::EventClass;
use crate::group::Request;
use crate::partition::Partition;
use crate::stop::Stop;

/// A field that is not there, as replies have it.
const NO_FIELD: i64 = -2;
/// One that never expires.
const NEVER: i64 = -1;

/// The last time that redis lets a field expire at, in ms since 1970.
const MAX_MS: u64 = (1 << 46) - 1;

pub(super) const NOT_POSITIVE: &str = "ERR Number of fields must be a positive integer";

/// Which fields get another time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Condition {
    Any,
    /// Those that do not expire.
    Never,
    /// Those that do.
    Sometime,
    /// Those that would expire before.
    Earlier,
    /// Those that would expire later, or never.
    Later,
}

impl Condition {
    fn parse(word: &[u8]) -> Option<Self> {
        match word.to_ascii_lowercase().as_slice() {
            b"nx" => Some(Self::Never),
            b"xx" => Some(Self::Sometime),
            b"gt" => Some(Self::Earlier),
            b"lt" => Some(Self::Later),
            _ => None,
        }
    }

    /// Of a field that expires at `old_ms`; 0: never.
    fn is_met(self, old_ms: u64, new_ms: u64) -> bool {
        match self {
            Self::Any => true,
            Self::Never => old_ms == 0,
            Self::Sometime => old_ms > 0,
            Self::Earlier => old_ms > 0 && old_ms < new_ms,
            Self::Later => old_ms == 0 || old_ms > new_ms,
        }
    }
}

/// How a time is given.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Unit {
    pub in_seconds: bool,
    pub from_now: bool,
}

impl Unit {
    /// The unit behind a word; none if it is none.
    pub fn named(word: &[u8]) -> Option<Self> {
        let (in_seconds, from_now) = match word.to_ascii_lowercase().as_slice() {
            b"ex" => (true, true),
            b"px" => (false, true),
            b"exat" => (true, false),
            b"pxat" => (false, false),
            _ => return None,
        };
        Some(Self { in_seconds, from_now })
    }

    /// Reads a time, in ms since 1970.
    ///
    /// # Errors
    /// If it is none.
    pub fn parse(self, text: &[u8], id: CommandId, now_ms: u64) -> Result<u64, Stop> {
        let number = format::parse_integer(text).ok_or(Stop::NOT_AN_INTEGER)?;
        let number = u64::try_from(number).map_err(|_| Stop::error("ERR invalid expire time, must be >= 0"))?;
        let ms = number.checked_mul(if self.in_seconds { 1000 } else { 1 });
        let ms = ms.and_then(|ms| ms.checked_add(if self.from_now { now_ms } else { 0 }));
        ms.filter(|ms| *ms <= MAX_MS).ok_or_else(|| Stop::invalid_expire(id.command().name))
    }
}

/// The fields behind `FIELDS count`, which stands at a place.
///
/// # Errors
/// If it does not, or the count is another one; `not_positive` is said if it is no count.
pub(super) fn fields<'a>(args: Args<'a>, at: usize, not_positive: &'static str) -> Result<Args<'a>, Stop> {
    if !args.get(at).is_some_and(|word| word.eq_ignore_ascii_case(b"fields")) {
        return Err(Stop::error("ERR Mandatory argument FIELDS is missing or not at the right position"));
    }
    let count = args.get(at + 1).and_then(format::parse_integer).filter(|count| *count > 0);
    let count = count.ok_or(Stop::error(not_positive))?;
    let fields = args.from(at + 2);
    if fields.len() as i64 != count {
        return Err(Stop::error("ERR The `numfields` parameter must match the number of arguments"));
    }
    Ok(fields)
}

fn reply_all(answers: &[i64], reply: &mut Reply<'_>) {
    reply.array(answers.len());
    answers.iter().for_each(|answer| reply.integer(*answer));
}

impl<D: Disk> Partition<D> {
    /// HEXPIRE, HPEXPIRE, HEXPIREAT, HPEXPIREAT.
    pub(in crate::commands) fn hexpire(&mut self, request: Request<'_>, reply: &mut Reply<'_>) -> Result<(), Stop> {
        let (id, args) = (request.id, request.args);
        let key = self.key(request.db, args.at(1));
        let found = self.lookup_of(Type::Hash, key)?.live();
        let unit = Unit {
            in_seconds: matches!(id, CommandId::Hexpire | CommandId::Hexpireat),
            from_now: matches!(id, CommandId::Hexpire | CommandId::Hpexpire),
        };
        let ms = unit.parse(args.at(2), id, self.now_ms)?;
        let (condition, at) = Condition::parse(args.at(3)).map_or((Condition::Any, 3), |condition| (condition, 4));
        let fields = fields(args, at, "ERR Parameter `numFields` should be greater than 0")?;
        let Some(found) = found else {
            reply_all(&vec![NO_FIELD; fields.len()], reply);
            return Ok(());
        };
        if let Some(root) = self.root(found) {
            self.bring_elements(key, root, fields.iter())?;
        }
        let is_past = ms <= self.now_ms;
        let mut draft = self.draft(Type::Hash, Some(found));
        let mut answers = Vec::with_capacity(fields.len());
        for field in fields.iter() {
            answers.push(match self.draft_expiry(key, &mut draft, field)? {
                None => NO_FIELD,
                Some(old_ms) if !condition.is_met(old_ms, ms) => 0,
                Some(_) if is_past => {
                    self.draft_remove(key, &mut draft, field)?;
                    2
                }
                Some(_) => {
                    self.draft_expire_field(key, &mut draft, field, ms)?;
                    1
                }
            });
        }
        self.name_event(EventClass::Hash, if is_past { "hdel" } else { "hexpire" });
        self.commit(key, draft, Purpose::Keep)?;
        reply_all(&answers, reply);
        Ok(())
    }

    /// HTTL, HPTTL, HEXPIRETIME, HPEXPIRETIME.
    pub(in crate::commands) fn httl(&mut self, request: Request<'_>, reply: &mut Reply<'_>) -> Result<(), Stop> {
        let (key, found) = self.read_collection(request, Type::Hash)?;
        let fields = fields(request.args, 2, NOT_POSITIVE)?;
        if let Some(root) = found.and_then(|found| self.root(found)) {
            self.bring_elements(key, root, fields.iter())?;
        }
        let now_ms = self.now_ms;
        let shown = |ms: u64| match request.id {
            CommandId::Httl => ms.saturating_sub(now_ms).div_ceil(1000),
            CommandId::Hpttl => ms.saturating_sub(now_ms),
            CommandId::Hexpiretime => ms.div_ceil(1000),
            _ => ms,
        };
        let mut answers = Vec::with_capacity(fields.len());
        for field in fields.iter() {
            let ms = match found {
                Some(found) => self.pair(key, found, field, |pair| pair.map(|pair| pair.expires_at_ms))?,
                None => None,
            };
            answers.push(match ms {
                None => NO_FIELD,
                Some(0) => NEVER,
                Some(ms) => shown(ms) as i64,
            });
        }
        reply_all(&answers, reply);
        Ok(())
    }

    pub(in crate::commands) fn hpersist(&mut self, request: Request<'_>, reply: &mut Reply<'_>) -> Result<(), Stop> {
        let key = self.key(request.db, request.args.at(1));
        let found = self.lookup_of(Type::Hash, key)?.live();
        let fields = fields(request.args, 2, NOT_POSITIVE)?;
        let Some(found) = found else {
            reply_all(&vec![NO_FIELD; fields.len()], reply);
            return Ok(());
        };
        if let Some(root) = self.root(found) {
            self.bring_elements(key, root, fields.iter())?;
        }
        let mut draft = self.draft(Type::Hash, Some(found));
        let mut answers = Vec::with_capacity(fields.len());
        for field in fields.iter() {
            answers.push(match self.draft_expiry(key, &mut draft, field)? {
                None => NO_FIELD,
                Some(0) => NEVER,
                Some(_) => {
                    self.draft_expire_field(key, &mut draft, field, 0)?;
                    1
                }
            });
        }
        self.commit(key, draft, Purpose::Keep)?;
        reply_all(&answers, reply);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conditions_are_met_as_in_redis() {
        for (condition, met) in [
            (Condition::Any, [true, true, true]),
            (Condition::Never, [true, false, false]),
            (Condition::Sometime, [false, true, true]),
            (Condition::Earlier, [false, true, false]),
            (Condition::Later, [true, false, true]),
        ] {
            assert_eq!([0, 10, 30].map(|old_ms| condition.is_met(old_ms, 20)), met, "{condition:?}");
        }
    }

    #[test]
    fn times_have_an_end() {
        let seconds = Unit { in_seconds: true, from_now: true };
        assert_eq!(seconds.parse(b"10", CommandId::Hexpire, 5), Ok(10_005));
        assert!(seconds.parse(b"9223372036854775807", CommandId::Hexpire, 5).is_err());
        let exact = Unit { in_seconds: false, from_now: false };
        assert_eq!(exact.parse(b"70368744177663", CommandId::Hpexpireat, 5), Ok(MAX_MS));
        assert!(exact.parse(b"70368744177664", CommandId::Hpexpireat, 5).is_err());
        assert!(exact.parse(b"-1", CommandId::Hpexpireat, 5).is_err());
    }
}
