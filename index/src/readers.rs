//! What the writer does for readers on other threads. Without any it is nothing.

use emberkv_log::Grace;

use crate::{
    error::IndexError, fingerprint::Tag, index::Index, published::Publisher, reader::Reader, version::PageVersion,
};

impl Index {
    /// A handle by which other threads look fingerprints up. It may be cloned, and may outlive the index.
    ///
    /// From the first one on the writer keeps what readers need: 64 bytes more for some 5,000 entries.
    pub fn reader(&mut self) -> Reader {
        let side_len = self.side.len();
        let (directory, pages, arena) = (&self.directory, &self.pages, &mut self.arena);
        arena.has_readers = true;
        let publisher = self.publisher.get_or_insert_with(|| Publisher::new(directory, pages, arena, side_len));
        Reader { published: publisher.published().clone() }
    }

    /// Empties the index and returns what it held, for another thread to drop. Readers see the empty one.
    ///
    /// # Errors
    /// If the system has no memory to give: nothing was changed.
    pub fn take(&mut self) -> Result<Self, IndexError> {
        let mut fresh = Self::new()?;
        if let Some(mut publisher) = self.publisher.take() {
            fresh.arena.has_readers = true;
            publisher.show_all(&fresh.directory, &fresh.pages, &fresh.arena, 0);
            fresh.publisher = Some(publisher);
            self.left = Some(Grace::begin());
        }
        Ok(std::mem::replace(self, fresh))
    }

    /// Whether no reader can be in it: then dropping it unmaps its memory at once, else when they have left.
    pub fn is_unread(&self) -> bool {
        self.publisher.is_none() && self.left.as_ref().is_none_or(Grace::is_over)
    }

    /// Entries of these tags will move from block to block: readers who find nothing there know nothing.
    pub(crate) fn hide(&mut self, range: (u32, u32)) {
        if let Some(publisher) = &mut self.publisher {
            publisher.hide(range);
        }
    }

    /// The pages of these tags are as they will stay for now.
    pub(crate) fn show(&mut self, range: (u32, u32)) {
        if let Some(publisher) = &mut self.publisher {
            publisher.set_side_len(self.side.len());
            publisher.show(range, &self.directory, &self.pages, &self.arena);
        }
    }

    /// The directory has become smaller.
    pub(crate) fn show_directory(&mut self) {
        if let Some(publisher) = &mut self.publisher {
            publisher.resize(self.directory.shift());
        }
    }

    /// The side table has become longer or shorter.
    #[inline]
    pub(crate) fn show_side(&mut self) {
        if let Some(publisher) = &mut self.publisher {
            publisher.set_side_len(self.side.len());
        }
    }

    /// The version to mark while an entry of this tag's page moves.
    #[inline]
    pub(crate) fn version(&self, tag: Tag) -> Option<&PageVersion> {
        self.publisher.as_ref()?.version(tag)
    }
}

impl Drop for Index {
    fn drop(&mut self) {
        if !self.is_unread() {
            // the views go first: then nobody finds the blocks any more
            self.publisher = None;
            self.arena.leave_to_readers();
        }
    }
}
