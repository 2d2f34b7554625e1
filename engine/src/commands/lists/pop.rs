//! Elements that are taken from a list's ends.

use emberkv_log::Purpose;
use emberkv_log::disk::Disk;
use emberkv_resp::schema::{CommandId, arity_error};
use emberkv_resp::{Reply, format};

use crate::collections::{Elements, End};
use crate::events::EventClass;
use crate::group::Request;
use crate::lookup::{Found, Key};
use crate::partition::Partition;
use crate::stop::Stop;

/// What was popped, one element behind the other as they were in the list.
pub(crate) struct Popped {
    bytes: Vec<u8>,
    end: End,
}

impl Popped {
    /// The elements, in the order in which they were popped.
    pub fn elements(&self) -> Vec<&[u8]> {
        let mut elements: Vec<_> = Elements::of(&self.bytes).collect();
        if self.end == End::Back {
            elements.reverse();
        }
        elements
    }
}

impl<D: Disk> Partition<D> {
    /// LPOP, RPOP.
    pub(in crate::commands) fn pop_command(&mut self, request: Request<'_>, reply: &mut Reply<'_>) -> Result<(), Stop> {
        let args = request.args;
        if args.len() > 3 {
            return Err(Stop::Error(arity_error(request.id.command().name).into()));
        }
        let end = if request.id == CommandId::Lpop { End::Front } else { End::Back };
        let count = match args.get(2) {
            Some(text) => Some(
                format::parse_integer(text)
                    .and_then(|count| u64::try_from(count).ok())
                    .ok_or(Stop::error("ERR value is out of range, must be positive"))?,
            ),
            None => None,
        };
        let key = self.key(request.db, args.at(1));
        let Some(found) = self.lookup_list(key)?.live() else {
            match count {
                Some(_) => reply.null_array(),
                None => reply.null(),
            }
            return Ok(());
        };
        let popped = self.pop(key, found, end, count.unwrap_or(1))?;
        let elements = popped.elements();
        if count.is_some() {
            reply.array(elements.len());
        }
        elements.iter().for_each(|element| reply.bulk(element));
        Ok(())
    }

    /// Takes up to so many elements from an end of a list.
    pub(crate) fn pop(&mut self, key: Key<'_>, found: Found, end: End, count: u64) -> Result<Popped, Stop> {
        let mut draft = self.list_draft(Some(found));
        let bytes = self.list_take_end(key, &mut draft, end, count)?;
        draft.fit_less(self.limits.list_fill);
        self.name_event(EventClass::List, end.popped());
        // what stays is written anew: also while memory is short
        self.list_commit(key, draft, Purpose::Keep)?;
        Ok(Popped { bytes, end })
    }
}
