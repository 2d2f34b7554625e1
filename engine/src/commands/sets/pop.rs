//! SPOP. Which members went is what is written (law 5).

use emberkv_log::Purpose;
use emberkv_log::disk::Disk;
use emberkv_resp::{Reply, format};

use crate::collections::{Encoding, Type, Wanted};
use crate::group::Request;
use crate::lookup::{Found, Key};
use crate::partition::Partition;
use crate::stop::Stop;
use crate::transact::Strings;

/// Where so many times more members go than stay, redis makes a new set of those that stay.
const FEW_STAY: u64 = 5;

impl<D: Disk> Partition<D> {
    pub(in crate::commands) fn spop(&mut self, request: Request<'_>, reply: &mut Reply<'_>) -> Result<(), Stop> {
        let args = request.args;
        if args.len() > 3 {
            return Err(Stop::SYNTAX);
        }
        let count = args.get(2).map(|count| {
            let count = format::parse_integer(count).and_then(|count| u64::try_from(count).ok());
            count.ok_or(Stop::error("ERR value is out of range, must be positive"))
        });
        let count = count.transpose()?;
        let key = self.key(request.db, args.at(1));
        let found = self.lookup_of(Type::Set, key)?.live();
        let popped = match found {
            Some(found) if count != Some(0) => {
                let before = self.random;
                let popped = self.pop_random(key, found, count.unwrap_or(1));
                if popped.is_err() {
                    self.random = before; // the same ones go when it is tried again
                }
                popped?
            }
            _ => Strings::default(),
        };
        if count.is_some() {
            reply.set(popped.len());
            popped.iter().for_each(|member| reply.bulk(member));
        } else if popped.is_empty() {
            reply.null();
        } else {
            reply.bulk(popped.at(0));
        }
        Ok(())
    }

    /// Takes so many members out of a set, or all of them.
    fn pop_random(&mut self, key: Key<'_>, found: Found, count: u64) -> Result<Strings, Stop> {
        let popped = self.random_elements(key, found, Wanted { count, repeats: false, values: false })?;
        if let Some(root) = self.root(found) {
            self.bring_elements(key, root, popped.iter())?;
        }
        let mut draft = self.draft(Type::Set, Some(found));
        for member in popped.iter() {
            self.draft_remove(key, &mut draft, member)?;
        }
        let stay = draft.head.count;
        if draft.head.encoding == Encoding::Hashtable && stay > 0 && stay * FEW_STAY <= count {
            draft.convert(self.encoding_without(key, found, &popped, stay)?);
        }
        // what stays is written anew: also while memory is short
        self.commit(key, draft, Purpose::Keep)?;
        Ok(popped)
    }

    /// How redis keeps those few that stay.
    fn encoding_without(&mut self, key: Key<'_>, found: Found, popped: &Strings, stay: u64) -> Result<Encoding, Stop> {
        let limits = self.limits.compact_set.listpack;
        if stay > limits.entries {
            return Ok(Encoding::Hashtable);
        }
        let gone: std::collections::HashSet<_> = popped.iter().collect();
        let mut is_long = false;
        self.each_pair(key, found, |pair| {
            is_long |= pair.field.len() as u64 > limits.value && !gone.contains(pair.field);
        })?;
        Ok(if is_long { Encoding::Hashtable } else { Encoding::Listpack })
    }
}
