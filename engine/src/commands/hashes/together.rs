//! Values and times together: HGETEX, HSETEX; and HGETDEL.

use emberkv_log::Purpose;
use emberkv_log::disk::Disk;
use emberkv_resp::schema::{CommandId, arity_error};
use emberkv_resp::{Args, Reply, format};

use super::expiry::{NOT_POSITIVE, Unit, fields};
use crate::collections::{Draft, Expiry, Type};
use crate::events::EventClass;
use crate::group::Request;
use crate::lookup::Key;
use crate::partition::Partition;
use crate::stop::Stop;

/// Which fields have to be there already, so that any is set.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Condition {
    Any,
    None,
    All,
}

/// HSETEX's arguments.
#[derive(Clone, Copy, Debug)]
struct Setting<'a> {
    condition: Condition,
    expiry: Expiry,
    pairs: Args<'a>,
}

impl<'a> Setting<'a> {
    fn parse(args: Args<'a>, now_ms: u64) -> Result<Self, Stop> {
        let wrong_number = || Stop::Error(arity_error(CommandId::Hsetex.command().name).into());
        let (mut condition, mut expiry) = (None, None);
        let mut at = 2;
        while let Some(word) = args.get(at) {
            let is = |name: &[u8]| word.eq_ignore_ascii_case(name);
            let unit = Unit::named(word);
            at += 1;
            if is(b"fields") {
                if args.len() - at < 3 {
                    return Err(wrong_number());
                }
                let count = format::parse_integer(args.at(at)).filter(|count| *count > 0);
                let count = count.ok_or(Stop::error("ERR invalid number of fields"))?;
                let pairs = args.from(at + 1);
                if Some(pairs.len() as i64) != count.checked_mul(2) {
                    return Err(wrong_number());
                }
                let (condition, expiry) = (condition.unwrap_or(Condition::Any), expiry.unwrap_or(Expiry::Never));
                return Ok(Self { condition, expiry, pairs });
            } else if is(b"fnx") || is(b"fxx") {
                let wanted = if is(b"fnx") { Condition::None } else { Condition::All };
                if condition.replace(wanted).is_some() {
                    return Err(Stop::error("ERR Only one of FXX or FNX arguments can be specified"));
                }
            } else if is(b"keepttl") || unit.is_some() {
                if expiry.is_some() {
                    let text = "ERR Only one of EX, PX, EXAT, PXAT or KEEPTTL arguments can be specified";
                    return Err(Stop::error(text));
                }
                expiry = Some(match unit {
                    Some(unit) => {
                        let time = args.get(at).ok_or_else(wrong_number)?;
                        at += 1;
                        Expiry::At(unit.parse(time, CommandId::Hsetex, now_ms)?)
                    }
                    None => Expiry::Stays,
                });
            } else {
                let word = String::from_utf8_lossy(word);
                return Err(Stop::Error(format!("ERR unknown argument: {word}").into()));
            }
        }
        Err(wrong_number())
    }
}

fn reply_values(values: &[Option<Vec<u8>>], reply: &mut Reply<'_>) {
    reply.array(values.len());
    for value in values {
        match value {
            Some(value) => reply.bulk(value),
            None => reply.null(),
        }
    }
}

impl<D: Disk> Partition<D> {
    pub(in crate::commands) fn hgetex(&mut self, request: Request<'_>, reply: &mut Reply<'_>) -> Result<(), Stop> {
        let args = request.args;
        let key = self.key(request.db, args.at(1));
        let found = self.lookup_of(Type::Hash, key)?.live();
        let (expiry, at) = match Unit::named(args.at(2)) {
            Some(unit) => (Expiry::At(unit.parse(args.at(3), request.id, self.now_ms)?), 4),
            None if args.at(2).eq_ignore_ascii_case(b"persist") => (Expiry::Never, 3),
            None => (Expiry::Stays, 2),
        };
        let fields = fields(args, at, NOT_POSITIVE)?;
        let Some(found) = found else {
            reply_values(&vec![None; fields.len()], reply);
            return Ok(());
        };
        if let Some(root) = self.root(found) {
            self.bring_elements(key, root, fields.iter())?;
        }
        let mut draft = self.draft(Type::Hash, Some(found));
        let is_past = matches!(expiry, Expiry::At(ms) if ms <= self.now_ms);
        let mut values = Vec::with_capacity(fields.len());
        for field in fields.iter() {
            let seen = self.draft_pair(key, &mut draft, field, |pair| {
                pair.map(|pair| (pair.value.to_vec(), pair.expires_at_ms))
            })?;
            if let Some((_, old_ms)) = &seen {
                match expiry {
                    Expiry::At(_) if is_past => drop(self.draft_remove(key, &mut draft, field)?),
                    Expiry::At(ms) => self.draft_expire_field(key, &mut draft, field, ms)?,
                    Expiry::Never if *old_ms > 0 => self.draft_expire_field(key, &mut draft, field, 0)?,
                    Expiry::Never | Expiry::Stays => {}
                }
            }
            values.push(seen.map(|(value, _)| value));
        }
        let name = match expiry {
            _ if is_past => "hdel",
            Expiry::At(_) => "hexpire",
            Expiry::Never | Expiry::Stays => "hpersist",
        };
        self.name_event(EventClass::Hash, name);
        self.commit(key, draft, Purpose::Keep)?;
        reply_values(&values, reply);
        Ok(())
    }

    pub(in crate::commands) fn hsetex(&mut self, request: Request<'_>, reply: &mut Reply<'_>) -> Result<(), Stop> {
        let Setting { condition, expiry, pairs } = Setting::parse(request.args, self.now_ms)?;
        let key = self.key(request.db, request.args.at(1));
        let found = self.lookup_of(Type::Hash, key)?.live();
        if let Some(root) = found.and_then(|found| self.root(found)) {
            self.bring_elements(key, root, pairs.iter().step_by(2))?;
        }
        let limits = self.limits.compact_hash;
        let mut draft = self.draft(Type::Hash, found);
        for field in pairs.iter().step_by(2) {
            let is_there = self.draft_expiry(key, &mut draft, field)?.is_some();
            if condition == Condition::None && is_there || condition == Condition::All && !is_there {
                reply.integer(0);
                return Ok(());
            }
        }
        if matches!(expiry, Expiry::At(ms) if ms <= self.now_ms) {
            self.set_and_lose(key, draft, pairs)?;
            reply.integer(1);
            return Ok(());
        }
        draft.fit_so_many(pairs.len() as u64 / 2, limits);
        pairs.iter().for_each(|arg| draft.fit(arg.len(), limits));
        for i in (0..pairs.len()).step_by(2) {
            self.draft_set_field(key, &mut draft, pairs.at(i), pairs.at(i + 1), expiry)?;
            draft.fit_count(limits);
        }
        self.name_event(EventClass::Hash, "hset");
        self.commit(key, draft, Purpose::Grow)?;
        if let Expiry::At(_) = expiry {
            self.tell_also(EventClass::Hash, "hexpire", key);
        }
        reply.integer(1);
        Ok(())
    }

    /// Fields are set whose time is over: they are gone, and redis keeps what is left as if they were there.
    fn set_and_lose(&mut self, key: Key<'_>, mut draft: Draft, pairs: Args<'_>) -> Result<(), Stop> {
        let mut is_changed = false;
        if pairs.iter().any(|arg| arg.len() as u64 > self.limits.compact_hash.value) {
            is_changed = !draft.head.encoding.is_by_hash();
            draft.convert(draft.head.encoding.by_hash());
        }
        for field in pairs.iter().step_by(2) {
            is_changed |= self.draft_remove(key, &mut draft, field)?;
        }
        let is_new = self.peek(key).live().is_none();
        if is_new {
            self.tell_also(EventClass::New, "new", key);
        }
        self.tell_also(EventClass::Hash, "hset", key);
        if is_new || !is_changed {
            self.tell_also(EventClass::Hash, "hdel", key);
        }
        if is_new {
            self.tell_also(EventClass::Generic, "del", key);
            return Ok(());
        }
        self.name_event(EventClass::Hash, "hdel");
        self.commit(key, draft, Purpose::Keep)
    }

    pub(in crate::commands) fn hgetdel(&mut self, request: Request<'_>, reply: &mut Reply<'_>) -> Result<(), Stop> {
        let key = self.key(request.db, request.args.at(1));
        let found = self.lookup_of(Type::Hash, key)?.live();
        let fields = fields(request.args, 2, NOT_POSITIVE)?;
        let Some(found) = found else {
            reply_values(&vec![None; fields.len()], reply);
            return Ok(());
        };
        if let Some(root) = self.root(found) {
            self.bring_elements(key, root, fields.iter())?;
        }
        let mut draft = self.draft(Type::Hash, Some(found));
        let mut values = Vec::with_capacity(fields.len());
        for field in fields.iter() {
            values.push(self.draft_pair(key, &mut draft, field, |pair| pair.map(|pair| pair.value.to_vec()))?);
            self.draft_remove(key, &mut draft, field)?;
        }
        self.commit(key, draft, Purpose::Keep)?;
        reply_values(&values, reply);
        Ok(())
    }
}
