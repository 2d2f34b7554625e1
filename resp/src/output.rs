//! Bytes on their way to a client.

use std::io::IoSlice;

use bytes::Bytes;

/// The most slices that [`Output::io_slices`] yields at a time: the kernel's `IOV_MAX`.
pub const MAX_IO_SLICES: usize = 1024;

/// A gathering buffer that grew beyond this many bytes is given back when the output is cleared, so that one
/// large reply does not hold memory for as long as its connection lives.
const KEEP_CAPACITY_BYTES: usize = 256 * 1024;

/// The same for the list of shared pieces, in entries.
const KEEP_CAPACITY_SHARED: usize = 4096;

/// An ordered run of bytes to send: small ones gathered in one vector, large ones shared, not copied.
#[derive(Debug, Default)]
pub struct Output {
    /// The gathered bytes.
    bytes: Vec<u8>,
    /// Shared pieces, each with the offset in `bytes` that it goes before. Offsets never decrease, no
    /// piece is empty.
    shared: Vec<(usize, Bytes)>,
    /// The sum of the shared pieces' lengths.
    shared_len: usize,
}

impl Output {
    /// An empty output; allocates nothing.
    #[must_use]
    pub const fn new() -> Self {
        Self { bytes: Vec::new(), shared: Vec::new(), shared_len: 0 }
    }

    /// All bytes, gathered and shared.
    #[inline]
    #[must_use]
    pub fn len(&self) -> usize {
        self.bytes.len() + self.shared_len
    }

    /// Whether there is nothing to send.
    #[inline]
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Appends a copy of `bytes`.
    #[inline]
    pub fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// Appends `piece` without copying it. It costs an entry in the list and a slice when it is sent, which is
    /// less than a copy from about a kilobyte on.
    #[inline]
    pub fn push_shared(&mut self, piece: Bytes) {
        if !piece.is_empty() {
            self.shared_len += piece.len();
            self.shared.push((self.bytes.len(), piece));
        }
    }

    /// The vector that gathers the small pieces, to append to it directly. What it holds already must stay as it
    /// is: the shared pieces have their places in it.
    #[inline]
    pub fn bytes_mut(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }

    /// Bytes of memory that the gathered pieces have room in.
    #[must_use]
    pub fn bytes_capacity(&self) -> usize {
        self.bytes.capacity()
    }

    /// Moves all of `other` to the end of this; `other` is empty afterwards. Gathered bytes are copied unless this
    /// output is empty, shared ones never.
    pub fn append(&mut self, other: &mut Self) {
        if self.is_empty() {
            std::mem::swap(self, other);
            return;
        }
        let base = self.bytes.len();
        self.bytes.append(&mut other.bytes);
        self.shared.extend(other.shared.drain(..).map(|(offset, piece)| (base + offset, piece)));
        self.shared_len += std::mem::take(&mut other.shared_len);
    }

    /// Takes everything out and leaves an empty output with no memory of its own.
    #[must_use]
    pub fn take(&mut self) -> Self {
        std::mem::take(self)
    }

    /// Empties it and keeps its memory for the next use, up to a bound.
    pub fn clear(&mut self) {
        if self.bytes.capacity() > KEEP_CAPACITY_BYTES {
            self.bytes = Vec::new();
        } else {
            self.bytes.clear();
        }
        if self.shared.capacity() > KEEP_CAPACITY_SHARED {
            self.shared = Vec::new();
        } else {
            self.shared.clear();
        }
        self.shared_len = 0;
    }

    /// The bytes, when nothing is shared: they can be sent with one plain send.
    #[inline]
    #[must_use]
    pub fn contiguous(&self) -> Option<&[u8]> {
        self.shared.is_empty().then_some(&self.bytes[..])
    }

    /// Appends to `out` what is left to send after the first `skip` bytes, in order, at most
    /// [`MAX_IO_SLICES`] slices; none of them is empty. Takes time linear in the number of shared pieces.
    pub fn io_slices<'a>(&'a self, skip: usize, out: &mut Vec<IoSlice<'a>>) {
        let mut skip = skip;
        let mut room = MAX_IO_SLICES;
        let mut add = |piece: &'a [u8]| {
            if skip >= piece.len() {
                skip -= piece.len();
            } else {
                out.push(IoSlice::new(&piece[skip..]));
                skip = 0;
                room -= 1;
            }
            room > 0
        };
        let mut at = 0;
        for (offset, piece) in &self.shared {
            if !add(&self.bytes[at..*offset]) || !add(piece) {
                return;
            }
            at = *offset;
        }
        add(&self.bytes[at..]);
    }

    /// Everything in one vector, copied: for tests and for the rare user that can't gather.
    #[must_use]
    pub fn to_vec(&self) -> Vec<u8> {
        let mut all = Vec::with_capacity(self.len());
        let mut at = 0;
        for (offset, piece) in &self.shared {
            all.extend_from_slice(&self.bytes[at..*offset]);
            all.extend_from_slice(piece);
            at = *offset;
        }
        all.extend_from_slice(&self.bytes[at..]);
        all
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What `io_slices` would send from `skip` on, in as many calls as it takes.
    fn sent_from(output: &Output, skip: usize) -> Vec<u8> {
        let mut sent = Vec::new();
        while skip + sent.len() < output.len() {
            let mut slices = Vec::new();
            output.io_slices(skip + sent.len(), &mut slices);
            assert!(!slices.is_empty() && slices.len() <= MAX_IO_SLICES);
            assert!(slices.iter().all(|s| !s.is_empty()));
            for slice in slices {
                sent.extend_from_slice(&slice);
            }
        }
        sent
    }

    proptest! {
        #[test]
        fn keeps_the_order_of_gathered_and_shared_pieces(
            pieces in prop::collection::vec((any::<bool>(), prop::collection::vec(any::<u8>(), 0..8)), 0..40),
            cut in 0usize..40,
            skip in 0usize..400,
        ) {
            let mut model = Vec::new();
            let (mut first, mut second) = (Output::new(), Output::new());
            for (i, (shared, piece)) in pieces.iter().enumerate() {
                let output = if i < cut { &mut first } else { &mut second };
                model.extend_from_slice(piece);
                if *shared {
                    output.push_shared(Bytes::copy_from_slice(piece));
                } else {
                    output.push(piece);
                }
            }
            first.append(&mut second);
            prop_assert!(second.is_empty());
            prop_assert_eq!(first.len(), model.len());
            prop_assert_eq!(&first.to_vec(), &model);
            let skip = skip.min(model.len());
            prop_assert_eq!(sent_from(&first, skip), &model[skip..]);
            if let Some(all) = first.contiguous() {
                prop_assert_eq!(all, &model[..]);
            }
            first.clear();
            prop_assert!(first.is_empty() && first.to_vec().is_empty());
        }
    }

    #[test]
    fn yields_no_more_slices_than_the_kernel_takes() {
        let mut output = Output::new();
        for i in 0..3000u32 {
            output.push(b"x");
            output.push_shared(Bytes::copy_from_slice(&i.to_be_bytes()));
        }
        assert!(output.contiguous().is_none());
        assert_eq!(sent_from(&output, 7), &output.to_vec()[7..]);
    }

    #[test]
    fn clear_keeps_small_buffers_and_gives_large_ones_back() {
        let mut output = Output::new();
        output.push(&[0; 1000]);
        output.clear();
        assert!(output.bytes_mut().capacity() >= 1000);
        output.push(&vec![0; KEEP_CAPACITY_BYTES + 1]);
        output.clear();
        assert_eq!(output.bytes_mut().capacity(), 0);
    }
}
