//! Elements that go from one list to another, and those of the first list that has any: LMOVE, RPOPLPUSH, LMPOP.

use emberkv_log::Purpose;
use emberkv_log::disk::Disk;
use emberkv_resp::schema::CommandId;
use emberkv_resp::{Args, Reply, format};

use crate::collections::{Elements, End};
use crate::events::EventClass;
use crate::group::Request;
use crate::lookup::{Found, Key};
use crate::partition::Partition;
use crate::stop::Stop;

/// From which end LMOVE takes, and to which it gives.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Moving {
    pub from: End,
    pub to: End,
}

/// LEFT or RIGHT.
fn parse_end(word: &[u8]) -> Result<End, Stop> {
    if word.eq_ignore_ascii_case(b"LEFT") {
        Ok(End::Front)
    } else if word.eq_ignore_ascii_case(b"RIGHT") {
        Ok(End::Back)
    } else {
        Err(Stop::SYNTAX)
    }
}

impl Moving {
    /// Reads an LMOVE or RPOPLPUSH.
    pub fn parse(id: CommandId, args: Args<'_>) -> Result<Self, Stop> {
        if matches!(id, CommandId::Rpoplpush | CommandId::Brpoplpush) {
            return Ok(Self { from: End::Back, to: End::Front });
        }
        Ok(Self { from: parse_end(args.at(3))?, to: parse_end(args.at(4))? })
    }
}

/// What LMPOP is to take, and from where.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PopOfMany<'a> {
    pub keys: Args<'a>,
    pub end: End,
    pub count: u64,
}

impl<'a> PopOfMany<'a> {
    /// Reads an LMPOP.
    pub fn parse(args: Args<'a>) -> Result<Self, Stop> {
        let positive = |text, else_error| {
            let number = format::parse_integer(text).and_then(|number| u64::try_from(number).ok());
            number.filter(|number| *number > 0).ok_or(else_error)
        };
        let keys = positive(args.at(1), Stop::error("ERR numkeys should be greater than 0"))?;
        let end_at = usize::try_from(keys).ok().and_then(|keys| keys.checked_add(2)).ok_or(Stop::SYNTAX)?;
        let end = parse_end(args.get(end_at).ok_or(Stop::SYNTAX)?)?;
        let mut count = None;
        let mut rest = args.from(end_at + 1).iter();
        while let Some(option) = rest.next() {
            let value = rest.next().filter(|_| count.is_none() && option.eq_ignore_ascii_case(b"COUNT"));
            let value = value.ok_or(Stop::SYNTAX)?;
            count = Some(positive(value, Stop::error("ERR count should be greater than 0"))?);
        }
        Ok(Self { keys: args.to(end_at).from(2), end, count: count.unwrap_or(1) })
    }
}

/// The reply to LMPOP.
pub(crate) fn answer_popped(key: &[u8], elements: &[&[u8]], reply: &mut Reply<'_>) {
    reply.array(2);
    reply.bulk(key);
    reply.array(elements.len());
    elements.iter().for_each(|element| reply.bulk(element));
}

impl<D: Disk> Partition<D> {
    /// LMOVE, RPOPLPUSH.
    pub(in crate::commands) fn lmove(&mut self, request: Request<'_>, reply: &mut Reply<'_>) -> Result<(), Stop> {
        let moving = Moving::parse(request.id, request.args)?;
        let (from, to) = (self.key(request.db, request.args.at(1)), self.key(request.db, request.args.at(2)));
        if self.lookup_list(from)?.live().is_none() {
            reply.null();
            return Ok(());
        }
        self.lookup_list(to)?;
        // looked up once more, as a lookup that removes an expired key moves others in the index
        let (source, target) = (self.peek(from).live(), self.peek(to).live());
        let element = if from.bytes == to.bytes {
            self.rotate(from, source, moving)?
        } else {
            self.move_one(from, source, to, target, moving)?
        };
        Elements::of(&element).for_each(|element| reply.bulk(element));
        Ok(())
    }

    /// Takes an element from one end of a list and gives it to an end of the same.
    fn rotate(&mut self, key: Key<'_>, found: Option<Found>, moving: Moving) -> Result<Vec<u8>, Stop> {
        let fill = self.limits.list_fill;
        let mut draft = self.list_draft(found);
        let taken = self.list_take_end(key, &mut draft, moving.from, 1)?;
        for element in Elements::of(&taken) {
            draft.fit(element.len() as u64, 1, fill);
            self.list_push(key, &mut draft, moving.to, element)?;
        }
        draft.fit_less(fill);
        self.name_event(EventClass::List, moving.to.pushed());
        self.list_commit(key, draft, Purpose::Grow)?;
        // it changes once, and that is told as two things
        self.name_event(EventClass::List, moving.from.popped());
        self.note_same(key);
        Ok(taken)
    }

    /// The same with two lists: all records are in one frame, so that a crash keeps all or none.
    fn move_one(
        &mut self,
        from: Key<'_>,
        source: Option<Found>,
        to: Key<'_>,
        target: Option<Found>,
        moving: Moving,
    ) -> Result<Vec<u8>, Stop> {
        let fill = self.limits.list_fill;
        let (mut left, mut right) = (self.list_draft(source), self.list_draft(target));
        let taken = self.list_take_end(from, &mut left, moving.from, 1)?;
        left.fit_less(fill);
        for element in Elements::of(&taken) {
            right.fit(element.len() as u64, 1, fill);
            self.list_push(to, &mut right, moving.to, element)?;
        }
        let left = self.list_writes(from, left)?;
        let right = self.list_writes(to, right)?;
        // each with the other's size, so that there is room for both
        self.reserve_list(from, &left, right.size(to), Purpose::Grow)?;
        self.reserve_list(to, &right, left.size(from), Purpose::Grow)?;
        self.name_event(EventClass::List, moving.to.pushed());
        self.write_list(to, &right);
        self.name_event(EventClass::List, moving.from.popped());
        self.write_list(from, &left);
        Ok(taken)
    }

    pub(in crate::commands) fn lmpop(&mut self, request: Request<'_>, reply: &mut Reply<'_>) -> Result<(), Stop> {
        let PopOfMany { keys, end, count } = PopOfMany::parse(request.args)?;
        for key in keys.iter() {
            let key = self.key(request.db, key);
            if let Some(found) = self.lookup_list(key)?.live() {
                let popped = self.pop(key, found, end, count)?;
                answer_popped(key.bytes, &popped.elements(), reply);
                return Ok(());
            }
        }
        reply.null_array();
        Ok(())
    }
}
