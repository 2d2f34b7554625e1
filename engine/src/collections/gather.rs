//! All of a collection at once, for what concerns all of it.

use std::ops::ControlFlow;

use emberkv_log::Value;
use emberkv_log::disk::Disk;

use super::elements::push_element;
use super::pairs::{Pair, Pairs, push_copy};
use super::root::{Head, Root, Whole};
use super::sets::{int_of, rank};
use super::sorted::parts;
use super::tree::each;
use super::{Encoding, Type};
use crate::held::Held;
use crate::lookup::{Found, Key, TextBuf};
use crate::partition::Partition;
use crate::stop::Stop;

impl<D: Disk> Partition<D> {
    /// Shows all pairs of a collection, in redis's order where redis has one.
    ///
    /// # Errors
    /// See [`Stop`]; nothing was shown then.
    pub(crate) fn each_pair(&mut self, key: Key<'_>, found: Found, mut show: impl FnMut(Pair<'_>)) -> Result<(), Stop> {
        let root = match self.value(found) {
            Value::Whole(bytes) => {
                let whole = Whole::read(bytes);
                if whole.head.encoding == Encoding::Intset {
                    let mut pairs: Vec<_> = whole.pairs().collect();
                    pairs.sort_by_key(|pair| int_of(pair.field));
                    pairs.into_iter().for_each(show);
                } else {
                    whole.pairs().for_each(show);
                }
                return Ok(());
            }
            Value::Root(bytes) => Root::read(bytes),
            Value::Bytes(_) | Value::Int(_) | Value::Packed(_) | Value::Chunked(_) => return Ok(()),
        };
        if root.head.kind.is_sorted() {
            let nodes = &mut self.nodes(key, root.id);
            return each(nodes, root.tree, true, (0, root.tree.count), false, |element| {
                let (value, field) = parts(element);
                show(Pair { number: 0, field, value, expires_at_ms: 0, at: 0, len: 0 });
                ControlFlow::Continue(())
            });
        }
        self.bring_leaves(key, root)?;
        let (encoding, layout) = (root.head.encoding, root.head.kind.numbered());
        let mut all = Vec::new();
        let mut places = Vec::new();
        for number in 0..root.leaves {
            let Some(leaf) = self.leaf(key.db, key.bytes, root.id, number)? else { continue };
            let mut buf = TextBuf::default();
            let text = self.text(leaf, &mut buf);
            let begins = all.len();
            all.extend_from_slice(text);
            places.extend(Pairs::new(layout, text).map(|pair| {
                let rank = if encoding == Encoding::Intset { (0, rank(pair.field)) } else { pair.place() };
                (rank, begins + pair.at, pair.len)
            }));
        }
        if !encoding.is_by_hash() {
            places.sort_unstable();
        }
        for (_, at, len) in places {
            Pairs::new(layout, &all[at..at + len]).for_each(&mut show);
        }
        Ok(())
    }

    /// A collection as an image, however large.
    ///
    /// # Errors
    /// See [`Stop`].
    pub(crate) fn image(&mut self, key: Key<'_>, found: Found, head: Head) -> Result<Vec<u8>, Stop> {
        if head.kind == Type::Stream {
            let mut draft = self.stream_draft(Some(found));
            return draft.whole_image(&mut self.nodes(key, draft.id));
        }
        let mut out = Vec::new();
        head.push(&mut out);
        match head.kind {
            Type::Hash | Type::Set | Type::ZSet | Type::Stream => {
                let layout = head.plain();
                self.each_pair(key, found, |pair| push_copy(&mut out, layout, 0, &pair))?;
            }
            Type::List => self.each_element(key, found, |element| push_element(&mut out, element))?,
        }
        Ok(out)
    }

    /// What a key holds, copied: of a collection all of it, and of a string in chunks.
    ///
    /// # Errors
    /// See [`Stop`].
    pub(crate) fn held(&mut self, key: Key<'_>, found: Found) -> Result<Held, Stop> {
        match self.head(found) {
            Some(head) => Ok(Held::whole(self.image(key, found, head)?, found.expires_at_ms)),
            None => match self.chunked(found) {
                Some(_) => {
                    self.bring_texts(&[key])?;
                    Ok(Held::long(self.text(found, &mut TextBuf::default()).to_vec(), found.expires_at_ms))
                }
                None => Ok(Held::new(self.value(found), found.expires_at_ms)),
            },
        }
    }
}
