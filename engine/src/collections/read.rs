//! Looking into a collection: what is asked for is searched where it lies.

use emberkv_log::disk::Disk;
use emberkv_log::{DbId, Value};

use super::leaf::LeafName;
use super::pairs::{Pair, Pairs};
use super::root::{Head, Root, Whole};
use super::{Type, WRONG_TYPE};
use crate::databases::RESERVED;
use crate::lookup::{Found, Key, Lookup, TextBuf};
use crate::partition::Partition;
use crate::stop::Stop;

impl<D: Disk> Partition<D> {
    /// Looks a key up whose value has to be a string, if there is one; all of it is here then.
    ///
    /// # Errors
    /// If it is none, and see [`Stop`].
    #[inline]
    pub(crate) fn lookup_string(&mut self, key: Key<'_>) -> Result<Lookup, Stop> {
        let lookup = self.lookup_part(key)?;
        if lookup.live().is_some_and(Found::is_root) {
            self.bring_texts(&[key])?;
        }
        Ok(lookup)
    }

    /// The same for a command that concerns a part of a string, and brings that itself if it is in chunks.
    ///
    /// # Errors
    /// As above.
    #[inline]
    pub(crate) fn lookup_part(&mut self, key: Key<'_>) -> Result<Lookup, Stop> {
        let lookup = self.lookup(key)?;
        if lookup.live().is_some_and(Found::is_collection) { Err(WRONG_TYPE) } else { Ok(lookup) }
    }

    /// Looks a key up whose value has to be a list, if there is one.
    ///
    /// # Errors
    /// If it is none, and see [`Stop`].
    pub(crate) fn lookup_list(&mut self, key: Key<'_>) -> Result<Lookup, Stop> {
        self.lookup_of(Type::List, key)
    }

    /// Looks a key up whose value has to be of this type, if there is one.
    ///
    /// # Errors
    /// If it is of another, and see [`Stop`].
    pub(crate) fn lookup_of(&mut self, kind: Type, key: Key<'_>) -> Result<Lookup, Stop> {
        let lookup = self.lookup(key)?;
        let Some(found) = lookup.live() else { return Ok(lookup) };
        match self.head(found) {
            Some(head) if head.kind == kind && head.is_due(self.now_ms) => {
                self.remove_due(key, found)?;
                Ok(self.peek(key))
            }
            Some(head) if head.kind == kind => Ok(lookup),
            _ => Err(WRONG_TYPE),
        }
    }

    /// What a collection says of itself; `None` for a string.
    pub(crate) fn head(&self, found: Found) -> Option<Head> {
        match self.value(found) {
            Value::Whole(bytes) => Some(Whole::read(bytes).head),
            Value::Root(bytes) => Some(Root::read(bytes).head),
            Value::Bytes(_) | Value::Int(_) | Value::Packed(_) | Value::Chunked(_) => None,
        }
    }

    /// The root of a split collection.
    pub(crate) fn root(&self, found: Found) -> Option<Root> {
        if let Value::Root(bytes) = self.value(found) { Some(Root::read(bytes)) } else { None }
    }

    /// The hash by which an element has its leaf.
    pub(crate) fn element_hash(&self, element: &[u8]) -> u32 {
        self.hasher.hash(RESERVED, element) as u32
    }

    /// Has these records of leaves brought, if they are not in memory.
    ///
    /// # Errors
    /// [`Stop::Cold`] if not all of them are here yet, and see [`Stop`].
    pub(crate) fn bring_named<K: AsRef<[u8]>>(&mut self, names: impl Iterator<Item = K>) -> Result<(), Stop> {
        #[cfg(any(test, feature = "sim"))]
        if emberkv_log::plant::is(emberkv_log::plant::Plant::O4) {
            return Ok(());
        }
        if self.log.table().has_cold() { self.bring_names(names.map(|name| (RESERVED, name))) } else { Ok(()) }
    }

    /// Has all leaves of a collection brought.
    ///
    /// # Errors
    /// As above.
    pub(super) fn bring_leaves(&mut self, key: Key<'_>, root: Root) -> Result<(), Stop> {
        let name = |number| LeafName { db: key.db, id: root.id, number, key: key.bytes }.write();
        self.bring_named((0..root.leaves).map(name))
    }

    /// Has all leaves of several collections brought.
    ///
    /// # Errors
    /// As above.
    pub(crate) fn bring_roots(&mut self, roots: &[(Key<'_>, Root)]) -> Result<(), Stop> {
        if !self.log.table().has_cold() {
            return Ok(());
        }
        let names = roots.iter().flat_map(|(key, root)| {
            (0..root.leaves).map(|number| LeafName { db: key.db, id: root.id, number, key: key.bytes }.write())
        });
        self.bring_named(names)
    }

    /// Has the leaves brought that these elements are in.
    ///
    /// # Errors
    /// As above.
    pub(crate) fn bring_elements<'a>(
        &mut self,
        key: Key<'_>,
        root: Root,
        elements: impl Iterator<Item = &'a [u8]>,
    ) -> Result<(), Stop> {
        if !self.log.table().has_cold() {
            return Ok(());
        }
        let name = |number| LeafName { db: key.db, id: root.id, number, key: key.bytes }.write();
        let names: Vec<_> = elements.map(|element| name(root.leaf_of(self.element_hash(element)))).collect();
        self.bring_named(names.into_iter())
    }

    /// Shows the pairs of one leaf.
    ///
    /// # Errors
    /// See [`Stop`]; nothing was shown then.
    pub(crate) fn each_of_leaf(
        &mut self,
        key: Key<'_>,
        root: Root,
        number: u32,
        show: impl FnMut(Pair<'_>),
    ) -> Result<(), Stop> {
        if let Some(leaf) = self.leaf(key.db, key.bytes, root.id, number)? {
            Pairs::new(root.head.kind.numbered(), self.text(leaf, &mut TextBuf::default())).for_each(show);
        }
        Ok(())
    }

    /// The entry of a leaf. The reply waits for its record, as for any that was read.
    ///
    /// # Errors
    /// [`Stop::Cold`] if it is not here yet, and see [`Stop`].
    pub(crate) fn leaf(&mut self, db: DbId, key: &[u8], id: u64, number: u32) -> Result<Option<Found>, Stop> {
        LeafName { db, id, number, key }.with(|name| {
            self.bring_named(std::iter::once(name))?;
            let lookup = self.lookup(self.key(RESERVED, name))?;
            Ok(lookup.live())
        })
    }

    /// What a collection has under an element, read where it lies.
    ///
    /// # Errors
    /// See [`Stop`].
    pub(crate) fn element<T>(
        &mut self,
        key: Key<'_>,
        found: Found,
        element: &[u8],
        read: impl FnOnce(Option<&[u8]>) -> T,
    ) -> Result<T, Stop> {
        self.pair(key, found, element, |pair| read(pair.map(|pair| pair.value)))
    }

    /// The same with all that there is of it.
    ///
    /// # Errors
    /// See [`Stop`].
    pub(crate) fn pair<T>(
        &mut self,
        key: Key<'_>,
        found: Found,
        element: &[u8],
        read: impl FnOnce(Option<Pair<'_>>) -> T,
    ) -> Result<T, Stop> {
        let root = match self.value(found) {
            Value::Root(bytes) => Root::read(bytes),
            Value::Whole(bytes) => return Ok(read(Whole::read(bytes).pairs().of(element))),
            Value::Bytes(_) | Value::Int(_) | Value::Packed(_) | Value::Chunked(_) => return Ok(read(None)),
        };
        let number = root.leaf_of(self.element_hash(element));
        let Some(leaf) = self.leaf(key.db, key.bytes, root.id, number)? else { return Ok(read(None)) };
        let mut buf = TextBuf::default();
        let pairs = Pairs::new(root.head.kind.numbered(), self.text(leaf, &mut buf));
        Ok(read(pairs.of(element)))
    }
}
