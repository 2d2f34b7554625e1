//! Looking into a sorted set: by member, by place, by (score, member).

use std::ops::ControlFlow;

use emberkv_log::Value;
use emberkv_log::disk::Disk;

use super::score::score_in;
use crate::collections::pairs::{Pair, Pairs};
use crate::collections::root::{Root, Whole};
use crate::collections::tree::{each, position_of};
use crate::collections::{Type, WRONG_TYPE};
use crate::lookup::{Found, Key, Lookup};
use crate::partition::Partition;
use crate::stop::Stop;

/// Places in the order of a sorted set, from the first one on.
pub(crate) type Places = std::ops::Range<u64>;

/// The score, as it is kept, and the member of an element of the tree.
pub(in crate::collections) fn parts(element: &[u8]) -> (&[u8], &[u8]) {
    element.split_at_checked(8).unwrap_or((element, &[]))
}

/// Whether a pair lies before a mark.
pub(super) fn is_before(pair: &Pair<'_>, mark: &[u8]) -> bool {
    let (order, member) = parts(mark);
    (pair.value, pair.field) < (order, member)
}

/// How many of these pairs lie before a mark.
fn count_before(pairs: Pairs<'_>, mark: &[u8]) -> u64 {
    pairs.take_while(|pair| is_before(pair, mark)).count() as u64
}

impl<D: Disk> Partition<D> {
    /// Looks a key up whose value has to be a sorted set, if there is one.
    ///
    /// # Errors
    /// If it is none, and see [`Stop`].
    pub(crate) fn lookup_sorted(&mut self, key: Key<'_>) -> Result<Lookup, Stop> {
        let lookup = self.lookup(key)?;
        let is_another = |found| self.head(found).is_none_or(|head| head.kind != Type::ZSet);
        if lookup.live().is_some_and(is_another) { Err(WRONG_TYPE) } else { Ok(lookup) }
    }

    /// The score of a member.
    ///
    /// # Errors
    /// See [`Stop`].
    pub(crate) fn score(&mut self, key: Key<'_>, found: Found, member: &[u8]) -> Result<Option<f64>, Stop> {
        self.element(key, found, member, |value| value.map(score_in))
    }

    /// How many elements lie before a mark.
    ///
    /// # Errors
    /// See [`Stop`].
    pub(crate) fn place_of(&mut self, key: Key<'_>, found: Found, mark: &[u8]) -> Result<u64, Stop> {
        let root = match self.value(found) {
            Value::Whole(bytes) => return Ok(count_before(Whole::read(bytes).pairs(), mark)),
            Value::Root(bytes) => Root::read(bytes),
            Value::Bytes(_) | Value::Int(_) | Value::Packed(_) | Value::Chunked(_) => return Ok(0),
        };
        Ok(position_of(&mut self.nodes(key, root.id), root.tree, mark)?.0)
    }

    /// Shows the elements at some places, in their order or from the last one on.
    ///
    /// # Errors
    /// See [`Stop`]; nothing was shown then.
    pub(crate) fn each_placed(
        &mut self,
        key: Key<'_>,
        found: Found,
        places: Places,
        backwards: bool,
        mut show: impl FnMut(&[u8], f64),
    ) -> Result<(), Stop> {
        let len = places.end.saturating_sub(places.start);
        if let Some(root) = self.root(found) {
            let from = if backwards { places.end.saturating_sub(1) } else { places.start };
            return each(&mut self.nodes(key, root.id), root.tree, true, (from, len), backwards, |element| {
                let (value, member) = parts(element);
                show(member, score_in(value));
                ControlFlow::Continue(())
            });
        }
        let Value::Whole(bytes) = self.value(found) else { return Ok(()) };
        let pairs = Whole::read(bytes).pairs().skip(places.start as usize).take(len as usize);
        let mut show = |pair: Pair<'_>| show(pair.field, score_in(pair.value));
        if backwards {
            pairs.collect::<Vec<_>>().into_iter().rev().for_each(show);
        } else {
            pairs.for_each(&mut show);
        }
        Ok(())
    }
}
