//! A SORT whose keys are all in one partition; and what one looks up, in whichever.

use emberkv_log::disk::Disk;
use emberkv_resp::Reply;

use super::{Known, Next, Sort, Sorting, answer, list_of};
use crate::collections::{Head, Type};
use crate::group::Request;
use crate::held::Held;
use crate::lookup::{Key, TextBuf};
use crate::partition::Partition;
use crate::stop::Stop;

impl<D: Disk> Partition<D> {
    pub(in crate::commands) fn sort(&mut self, request: Request<'_>, reply: &mut Reply<'_>) -> Result<(), Stop> {
        let to = Sort::parse(request.id, request.args, true)?.to.map(|to| self.key(request.db, to));
        let values = self.sorted(request)?;
        let Some(to) = to else {
            answer(&values, reply);
            return Ok(());
        };
        // a lookup that removes an expired key moves others in the index: removals first
        self.lookup(to)?;
        self.store(to, list_of(&values, self.limits.list_fill), reply)
    }

    /// What a SORT is to put under its destination, if all that it reads is here.
    ///
    /// # Errors
    /// See [`Stop`].
    pub(in crate::commands) fn sorted_list(&mut self, request: Request<'_>) -> Result<Option<Held>, Stop> {
        let values = self.sorted(request)?;
        Ok(list_of(&values, self.limits.list_fill))
    }

    fn sorted(&mut self, request: Request<'_>) -> Result<Vec<Option<Vec<u8>>>, Stop> {
        let key = self.key(request.db, request.args.at(1));
        let lookup = self.lookup(key)?;
        self.count_read(key, lookup);
        let held = lookup.live().map(|found| self.held(key, found)).transpose()?;
        let mut next = Sorting::begin(request.id, request.args.into(), held.as_ref())?;
        loop {
            match next {
                Next::Done(values) => return Ok(values),
                Next::Wants(sorting, wanted) => {
                    let keys: Vec<_> = wanted.keys.iter().map(|key| self.key(request.db, key)).collect();
                    next = sorting.go_on(self.known(&keys, wanted.field.as_deref())?)?;
                }
            }
        }
    }

    /// What there is of what a SORT wants, of these of its keys.
    ///
    /// # Errors
    /// See [`Stop`].
    pub(crate) fn known(&mut self, keys: &[Key<'_>], field: Option<&[u8]>) -> Result<Known, Stop> {
        if self.log.table().has_cold() {
            self.bring_names(keys.iter().map(|key| (key.db, key.bytes)))?;
        }
        if field.is_none() {
            self.bring_texts(keys)?;
        }
        let mut known = Vec::with_capacity(keys.len());
        for key in keys {
            let lookup = self.lookup(*key)?;
            let lookup = self.without_due(*key, lookup)?;
            self.count_read(*key, lookup);
            let Some(found) = lookup.live() else {
                known.push(None);
                continue;
            };
            known.push(match (field, self.head(found)) {
                (None, None) => Some(self.text(found, &mut TextBuf::default()).to_vec()),
                (Some(field), Some(Head { kind: Type::Hash, .. })) => {
                    self.element(*key, found, field, |value| value.map(<[u8]>::to_vec))?
                }
                _ => None,
            });
        }
        Ok(known)
    }
}
