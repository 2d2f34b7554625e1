//! A sorted set while a command changes it.

use emberkv_log::disk::Disk;

use super::read::is_before;
use super::score::{mark, order_of, score_in};
use crate::collections::Type;
use crate::collections::draft::{Draft, Form};
use crate::collections::elements::Elements;
use crate::collections::pairs::{Pairs, push_pair};
use crate::collections::sorted::{Places, parts};
use crate::collections::tree::TreeDraft;
use crate::lookup::Key;
use crate::partition::Partition;
use crate::stop::Stop;

/// Puts a member where it belongs among pairs that it is not in.
fn insert(pairs: &mut Vec<u8>, member: &[u8], element: &[u8]) {
    let next = Pairs::new(Type::ZSet.plain(), pairs).find(|pair| !is_before(pair, element));
    let at = next.map_or(pairs.len(), |pair| pair.at);
    let mut new = Vec::with_capacity(member.len() + 20);
    push_pair(&mut new, Type::ZSet.plain(), 0, member, parts(element).0);
    pairs.splice(at..at, new);
}

/// The tree of these pairs, which are in its order.
pub(in crate::collections) fn sorted_tree(pairs: Pairs<'_>) -> TreeDraft {
    let elements: Vec<_> = pairs.map(|pair| [pair.value, pair.field].concat()).collect();
    TreeDraft::build(elements.iter().map(Vec::as_slice), true)
}

impl<D: Disk> Partition<D> {
    /// Puts an element into the tree, or takes it out.
    pub(in crate::collections) fn draft_element(
        &mut self,
        key: Key<'_>,
        draft: &mut Draft,
        element: &[u8],
        comes: bool,
    ) -> Result<(), Stop> {
        let Form::Split { root, tree, .. } = &mut draft.form else { return Ok(()) };
        let source = &mut self.nodes(key, root.id);
        let (position, is_there) = tree.position_of(source, element)?;
        match (comes, is_there) {
            (true, false) => tree.insert(source, position, element),
            (false, true) => tree.remove(source, position, 1, None),
            _ => Ok(()),
        }
    }

    /// The score of a member, as the draft has it.
    ///
    /// # Errors
    /// See [`Stop`].
    pub(crate) fn draft_score(&mut self, key: Key<'_>, draft: &mut Draft, member: &[u8]) -> Result<Option<f64>, Stop> {
        let score = |pairs: Pairs<'_>| pairs.of(member).map(|pair| score_in(pair.value));
        Ok(match &mut draft.form {
            Form::Whole(pairs) => score(Pairs::new(Type::ZSet.plain(), pairs)),
            Form::Split { root, leaves, .. } => {
                let number = root.leaf_of(self.element_hash(member));
                score(Pairs::new(Type::ZSet.numbered(), &self.draft_leaf(key, root.id, leaves, number)?.0))
            }
        })
    }

    /// Gives a member a score; `old` is the one that it has.
    ///
    /// # Errors
    /// See [`Stop`].
    pub(crate) fn draft_place(
        &mut self,
        key: Key<'_>,
        draft: &mut Draft,
        member: &[u8],
        score: f64,
        old: Option<f64>,
    ) -> Result<(), Stop> {
        let element = mark(order_of(score), member);
        if let Form::Split { .. } = draft.form {
            if let Some(old) = old {
                self.draft_element(key, draft, &mark(order_of(old), member), false)?;
            }
            self.draft_element(key, draft, &element, true)?;
            self.draft_set(key, draft, member, &element[..8])?;
            return Ok(());
        }
        if old.is_some() {
            self.draft_displace(key, draft, member)?;
        }
        if let Form::Whole(pairs) = &mut draft.form {
            insert(pairs, member, &element);
        }
        draft.head.count += 1;
        draft.changes += 1;
        self.grow(key, draft)
    }

    /// Takes a member out. Returns whether it was there.
    ///
    /// # Errors
    /// See [`Stop`].
    pub(crate) fn draft_displace(&mut self, key: Key<'_>, draft: &mut Draft, member: &[u8]) -> Result<bool, Stop> {
        if let Form::Split { .. } = draft.form {
            let Some(score) = self.draft_score(key, draft, member)? else { return Ok(false) };
            self.draft_element(key, draft, &mark(order_of(score), member), false)?;
            return self.draft_remove(key, draft, member);
        }
        let was_there = match &mut draft.form {
            Form::Whole(pairs) => {
                let range = Pairs::new(Type::ZSet.plain(), pairs).of(member).map(|pair| pair.at..pair.at + pair.len);
                range.map(|range| drop(pairs.drain(range))).is_some()
            }
            Form::Split { .. } => false,
        };
        draft.changes += u64::from(was_there);
        draft.head.count -= u64::from(was_there);
        Ok(was_there)
    }

    /// Takes out all that is at some places, of which there are so many.
    ///
    /// # Errors
    /// See [`Stop`].
    pub(crate) fn draft_cut(&mut self, key: Key<'_>, draft: &mut Draft, places: Places) -> Result<(), Stop> {
        let len = places.end.saturating_sub(places.start);
        if len < draft.head.count
            && let Form::Split { root, old, tree, .. } = &mut draft.form
        {
            let (root, is_old, mut taken) = (*root, old.is_some(), Vec::new());
            tree.remove(&mut self.nodes(key, root.id), places.start, len, Some(&mut taken))?;
            let members = || Elements::of(&taken).map(|element| parts(element).1);
            if is_old {
                self.bring_elements(key, root, members())?;
            }
            return members().try_for_each(|member| self.draft_remove(key, draft, member).map(drop));
        }
        match &mut draft.form {
            Form::Whole(pairs) => {
                let gone = Pairs::new(Type::ZSet.plain(), pairs).skip(places.start as usize).take(len as usize);
                let range = gone.fold(None::<std::ops::Range<usize>>, |range, pair| {
                    let end = pair.at + pair.len;
                    Some(range.map_or(pair.at..end, |range| range.start..end))
                });
                if let Some(range) = range {
                    pairs.drain(range);
                }
            }
            // all of it goes: the sweep has the rest
            Form::Split { .. } => {}
        }
        draft.changes += len;
        draft.head.count -= len;
        Ok(())
    }
}
