//! SET and its relatives, and the options that they share with GETEX.

use emberkv_log::disk::Disk;
use emberkv_resp::{Args, Reply, format};

use crate::events::Cause;
use crate::group::Request;
use crate::lookup::{Lookup, TextBuf};
use crate::partition::Partition;
use crate::stop::Stop;
use crate::write::stored;

/// When a key is to expire.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Expiry<'a> {
    /// Never: what SET does without an option.
    None,
    /// As before (KEEPTTL).
    Keep,
    /// Never any more (GETEX PERSIST).
    Persist,
    /// At the time that this number stands for.
    At(Timing, &'a [u8]),
}

/// On what SET depends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Condition<'a> {
    Always,
    IfAbsent,
    IfExists,
    /// If it has this value.
    IfEqual(&'a [u8]),
}

/// Which of the options a command takes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Allowed {
    Set,
    Getex,
}

#[derive(Clone, Copy, Debug)]
struct Options<'a> {
    condition: Condition<'a>,
    get: bool,
    expiry: Expiry<'a>,
}

/// Unit and origin of an expiry option's number.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Timing {
    pub seconds: bool,
    pub absolute: bool,
}

impl Timing {
    /// What the option of this name says of its number.
    fn option(name: &[u8]) -> Option<Self> {
        let (seconds, absolute) = match name.to_ascii_uppercase().as_slice() {
            b"EX" => (true, false),
            b"PX" => (false, false),
            b"EXAT" => (true, true),
            b"PXAT" => (false, true),
            _ => return None,
        };
        Some(Self { seconds, absolute })
    }

    /// The time that `number` stands for, in ms since 1970, for a command that does not take the past.
    pub(super) fn future(self, number: &[u8], now_ms: u64, command: &str) -> Result<u64, Stop> {
        let number = format::parse_integer(number).ok_or(Stop::NOT_AN_INTEGER)?;
        if number <= 0 {
            return Err(Stop::invalid_expire(command));
        }
        self.at(number, now_ms).map(|ms| ms as u64).ok_or_else(|| Stop::invalid_expire(command))
    }

    /// The time that `number` stands for, which may be in the past; `None` if it is too far from now.
    pub(super) fn at(self, number: i64, now_ms: u64) -> Option<i64> {
        let ms = if self.seconds { number.checked_mul(1000)? } else { number };
        if self.absolute { Some(ms) } else { ms.checked_add(now_ms as i64) }
    }
}

fn parse(args: Args<'_>, allowed: Allowed) -> Result<Options<'_>, Stop> {
    let mut options = Options { condition: Condition::Always, get: false, expiry: Expiry::None };
    let mut i = 0;
    while let Some(name) = args.get(i) {
        let is = |option: &str| name.eq_ignore_ascii_case(option.as_bytes());
        let set = allowed == Allowed::Set;
        // an option may be repeated, but not joined by another that says something else
        let may_be = |condition| options.condition == Condition::Always || options.condition == condition;
        if set && is("NX") && may_be(Condition::IfAbsent) {
            options.condition = Condition::IfAbsent;
        } else if set && is("XX") && may_be(Condition::IfExists) {
            options.condition = Condition::IfExists;
        } else if set
            && is("IFEQ")
            && let Some(value) = args.get(i + 1)
            && options.condition == Condition::Always
        {
            options.condition = Condition::IfEqual(value);
            i += 1;
        } else if set && is("GET") {
            options.get = true;
        } else if set && is("KEEPTTL") && matches!(options.expiry, Expiry::None | Expiry::Keep) {
            options.expiry = Expiry::Keep;
        } else if !set && is("PERSIST") && matches!(options.expiry, Expiry::None | Expiry::Persist) {
            options.expiry = Expiry::Persist;
        } else if let Some(timing) = Timing::option(name)
            && let Some(number) = args.get(i + 1)
            && (options.expiry == Expiry::None || matches!(options.expiry, Expiry::At(other, _) if other == timing))
        {
            options.expiry = Expiry::At(timing, number);
            i += 1;
        } else {
            return Err(Stop::SYNTAX);
        }
        i += 1;
    }
    Ok(options)
}

impl<D: Disk> Partition<D> {
    #[inline]
    pub(super) fn set_command(&mut self, request: Request<'_>, reply: &mut Reply<'_>) -> Result<(), Stop> {
        if request.args.len() > 3 {
            return self.set_with_options(request, reply);
        }
        let key = self.key(request.db, request.args.at(1));
        let value = stored(request.args.at(2));
        let old = self.lookup_to_replace(key);
        self.set(key, value, None, old)?;
        reply.ok();
        Ok(())
    }

    fn set_with_options(&mut self, request: Request<'_>, reply: &mut Reply<'_>) -> Result<(), Stop> {
        if self.is_refused(request.id) {
            return Err(Stop::OUT_OF_MEMORY); // whatever its options would do
        }
        let options = parse(request.args.from(3), Allowed::Set)?;
        self.events.keeps_expiry = options.expiry == Expiry::Keep;
        let at = match options.expiry {
            Expiry::At(timing, number) => Some(timing.future(number, self.now_ms, "set")?),
            Expiry::None | Expiry::Keep | Expiry::Persist => None,
        };
        let key = self.key(request.db, request.args.at(1));
        let value = stored(request.args.at(2));
        let old = if options.get || matches!(options.condition, Condition::IfEqual(_)) {
            self.lookup_string(key)?
        } else {
            self.lookup(key)?
        };
        let wanted = match options.condition {
            Condition::Always => true,
            Condition::IfAbsent => old.live().is_none(),
            Condition::IfExists => old.live().is_some(),
            Condition::IfEqual(value) => self.holds(old, value),
        };
        let expires_at_ms = match options.expiry {
            Expiry::Keep => old.live().and_then(|found| found.expires_at_ms),
            Expiry::At(..) | Expiry::None | Expiry::Persist => at,
        };
        let mut ahead = None;
        if wanted && expires_at_ms.is_some_and(|ms| ms <= self.now_ms) {
            self.reserve_delete(std::iter::once(key.bytes))?;
        } else if wanted {
            let seen = old.live().filter(|_| options.expiry == Expiry::Keep);
            ahead = self.reserve_put(key, value, expires_at_ms, seen)?;
        }
        match old.live() {
            Some(found) if options.get => self.reply_value(found, reply)?,
            None if options.get => reply.null(),
            _ if wanted => reply.ok(),
            _ => reply.null(),
        }
        if options.get {
            self.count_read(key, old);
        }
        if wanted {
            self.put_or_expire(key, value, expires_at_ms, old, ahead);
        }
        Ok(())
    }

    pub(super) fn setex(&mut self, request: Request<'_>, reply: &mut Reply<'_>) -> Result<(), Stop> {
        let seconds = request.id == emberkv_resp::schema::CommandId::Setex;
        let timing = Timing { seconds, absolute: false };
        let ms = timing.future(request.args.at(2), self.now_ms, request.id.command().name)?;
        let key = self.key(request.db, request.args.at(1));
        let old = self.lookup_to_replace(key);
        self.set(key, stored(request.args.at(3)), Some(ms), old)?;
        reply.ok();
        Ok(())
    }

    pub(super) fn setnx(&mut self, request: Request<'_>, reply: &mut Reply<'_>) -> Result<(), Stop> {
        let key = self.key(request.db, request.args.at(1));
        let old = self.lookup(key)?;
        let absent = old.live().is_none();
        if absent {
            self.set(key, stored(request.args.at(2)), None, old)?;
        }
        reply.integer(i64::from(absent));
        Ok(())
    }

    pub(super) fn getset(&mut self, request: Request<'_>, reply: &mut Reply<'_>) -> Result<(), Stop> {
        let key = self.key(request.db, request.args.at(1));
        let value = stored(request.args.at(2));
        let old = self.lookup_string(key)?;
        let ahead = self.reserve_put(key, value, None, None)?;
        self.reply_optional(key, old, reply)?;
        self.put_reserved(key, value, None, old, ahead);
        Ok(())
    }

    pub(super) fn getdel(&mut self, request: Request<'_>, reply: &mut Reply<'_>) -> Result<(), Stop> {
        let key = self.key(request.db, request.args.at(1));
        let old = self.lookup_string(key)?;
        if old.live().is_some() {
            self.reserve_delete(std::iter::once(key.bytes))?;
        }
        self.reply_optional(key, old, reply)?;
        if let Some(found) = old.live() {
            self.delete(key, found);
        }
        Ok(())
    }

    /// Whether a key has this value.
    fn holds(&self, lookup: Lookup, value: &[u8]) -> bool {
        lookup.live().is_some_and(|found| self.text(found, &mut TextBuf::default()) == value)
    }

    pub(super) fn delifeq(&mut self, request: Request<'_>, reply: &mut Reply<'_>) -> Result<(), Stop> {
        let key = self.key(request.db, request.args.at(1));
        let old = self.lookup_string(key)?;
        let found = old.live().filter(|_| self.holds(old, request.args.at(2)));
        if let Some(found) = found {
            self.reserve_delete(std::iter::once(key.bytes))?;
            self.delete(key, found);
        }
        reply.integer(i64::from(found.is_some()));
        Ok(())
    }

    pub(super) fn getex(&mut self, request: Request<'_>, reply: &mut Reply<'_>) -> Result<(), Stop> {
        let options = parse(request.args.from(2), Allowed::Getex)?;
        let key = self.key(request.db, request.args.at(1));
        let old = self.lookup_string(key)?;
        let Some(found) = old.live() else {
            return self.reply_optional(key, old, reply);
        };
        let new_expiry = match options.expiry {
            Expiry::At(timing, number) => Some(Some(timing.future(number, self.now_ms, "getex")?)),
            Expiry::Persist if found.expires_at_ms.is_some() => Some(None),
            Expiry::None | Expiry::Keep | Expiry::Persist => None,
        };
        let Some(expires_at_ms) = new_expiry else {
            return self.reply_optional(key, old, reply);
        };
        let ahead = self.reserve_again(key, found, expires_at_ms)?;
        self.reply_optional(key, old, reply)?;
        self.put_again(key, found, expires_at_ms, ahead);
        Ok(())
    }

    /// Puts, unless the key would be expired at once: then it is gone.
    pub(super) fn put_or_expire(
        &mut self,
        key: crate::lookup::Key<'_>,
        value: emberkv_log::Value<'_>,
        expires_at_ms: Option<u64>,
        old: Lookup,
        ahead: Option<emberkv_log::Appended>,
    ) {
        let is_past = expires_at_ms.is_some_and(|ms| ms <= self.now_ms);
        if is_past && self.events.is_on && self.note_set_expired(key, expires_at_ms, old) {
            self.events.cause = Cause::Known;
        }
        match (expires_at_ms, old.live()) {
            (Some(ms), Some(found)) if ms <= self.now_ms => self.delete(key, found),
            (Some(ms), None) if ms <= self.now_ms => {}
            _ => self.put_reserved(key, value, expires_at_ms, old, ahead),
        }
    }
}
