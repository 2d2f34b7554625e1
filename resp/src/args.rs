//! The arguments of one request, as views into the buffer that it was received in.

use std::ops::Index;

/// Where an argument is in a receive buffer, in bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Span {
    /// Offset of the first byte.
    pub start: u32,
    /// Number of bytes.
    pub len: u32,
}

impl Span {
    /// The bytes of this span.
    ///
    /// # Panics
    /// If `buf` is shorter than the buffer that was parsed.
    #[inline]
    #[must_use]
    pub fn of(self, buf: &[u8]) -> &[u8] {
        &buf[self.start as usize..][..self.len as usize]
    }
}

/// The arguments of one request, the command's name first.
#[derive(Clone, Copy, Debug)]
pub struct Args<'a> {
    buf: &'a [u8],
    spans: &'a [Span],
}

impl<'a> Args<'a> {
    /// The arguments that `spans` mark in `buf`: what [`crate::Parser::parse`] was given and what it found.
    #[inline]
    #[must_use]
    pub const fn new(buf: &'a [u8], spans: &'a [Span]) -> Self {
        Self { buf, spans }
    }

    /// How many arguments there are.
    #[inline]
    #[must_use]
    pub const fn len(self) -> usize {
        self.spans.len()
    }

    /// Whether there is no argument at all.
    #[inline]
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.spans.is_empty()
    }

    /// Argument `i`, if there are so many.
    #[inline]
    #[must_use]
    pub fn get(self, i: usize) -> Option<&'a [u8]> {
        self.spans.get(i).map(|span| span.of(self.buf))
    }

    /// Argument `i`, for as long as the buffer lives (indexing lends it only for as long as this view).
    ///
    /// # Panics
    /// If there are not so many.
    #[inline]
    #[must_use]
    pub fn at(self, i: usize) -> &'a [u8] {
        self.spans[i].of(self.buf)
    }

    /// The arguments from `n` on; none when there are not so many.
    #[inline]
    #[must_use]
    pub fn from(self, n: usize) -> Self {
        let spans = self.spans.get(n..).unwrap_or_default();
        Self { spans, ..self }
    }

    /// The arguments before `n`; all when there are not more.
    #[inline]
    #[must_use]
    pub fn to(self, n: usize) -> Self {
        Self { spans: &self.spans[..n.min(self.spans.len())], ..self }
    }

    /// Copies the arguments to the end of `bytes`, with whatever lies between them, and their places there to the end of
    /// `spans`.
    #[inline]
    pub fn append_to(self, bytes: &mut Vec<u8>, spans: &mut Vec<Span>) {
        let (Some(first), Some(last)) = (self.spans.first(), self.spans.last()) else { return };
        let (start, end) = (first.start as usize, last.start as usize + last.len as usize);
        let to = bytes.len() as u32;
        bytes.extend_from_slice(&self.buf[start..end]);
        spans.extend(self.spans.iter().map(|span| Span { start: span.start - first.start + to, len: span.len }));
    }

    /// All arguments in order.
    #[inline]
    pub fn iter(self) -> impl ExactSizeIterator<Item = &'a [u8]> + DoubleEndedIterator + Clone {
        let buf = self.buf;
        self.spans.iter().map(move |span| span.of(buf))
    }
}

impl Index<usize> for Args<'_> {
    type Output = [u8];

    #[inline]
    fn index(&self, i: usize) -> &[u8] {
        self.at(i)
    }
}

/// Arguments with bytes of their own: of a request that is not executed out of its receive buffer, because it was
/// quoted there or has to wait.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct OwnedArgs {
    bytes: Vec<u8>,
    spans: Vec<Span>,
}

impl OwnedArgs {
    /// The arguments.
    #[inline]
    #[must_use]
    pub fn args(&self) -> Args<'_> {
        Args::new(&self.bytes, &self.spans)
    }

    /// Appends an argument that `write` appends to the bytes.
    pub(crate) fn push_with<E>(&mut self, write: impl FnOnce(&mut Vec<u8>) -> Result<(), E>) -> Result<(), E> {
        let start = self.bytes.len();
        write(&mut self.bytes)?;
        self.spans.push(Span { start: start as u32, len: (self.bytes.len() - start) as u32 });
        Ok(())
    }
}

impl OwnedArgs {
    /// Copies these words.
    #[must_use]
    pub fn from_words(words: &[&[u8]]) -> Self {
        let mut owned = Self::default();
        for word in words {
            owned.spans.push(Span { start: owned.bytes.len() as u32, len: word.len() as u32 });
            owned.bytes.extend_from_slice(word);
        }
        owned
    }
}

impl From<Args<'_>> for OwnedArgs {
    /// Copies the arguments.
    fn from(args: Args<'_>) -> Self {
        let mut owned = Self::default();
        owned.bytes.reserve_exact(args.iter().map(<[u8]>::len).sum());
        owned.spans.reserve_exact(args.len());
        for arg in args.iter() {
            owned.spans.push(Span { start: owned.bytes.len() as u32, len: arg.len() as u32 });
            owned.bytes.extend_from_slice(arg);
        }
        owned
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn looks_into_the_buffer() {
        let spans = [Span { start: 1, len: 3 }, Span { start: 4, len: 0 }, Span { start: 5, len: 2 }];
        let args = Args::new(b"xGET-ab", &spans);
        assert_eq!(args.len(), 3);
        assert_eq!(&args[0], b"GET");
        assert_eq!(args.get(2), Some(&b"ab"[..]));
        assert_eq!(args.get(3), None);
        assert_eq!(args.from(1).at(1), b"ab");
        assert!(args.to(1).iter().eq([&b"GET"[..]]) && args.to(4).len() == 3);
        assert!(args.from(3).is_empty() && args.from(4).is_empty());
        assert_eq!(args.iter().map(<[u8]>::len).collect::<Vec<_>>(), [3, 0, 2]);
        let owned = OwnedArgs::from(args);
        assert!(owned.args().iter().eq(args.iter()));
        let words: Vec<&[u8]> = args.iter().collect();
        assert!(OwnedArgs::from_words(&words).args().iter().eq(args.iter()));
        let (mut bytes, mut copied) = (b"before".to_vec(), vec![Span { start: 0, len: 6 }]);
        args.append_to(&mut bytes, &mut copied);
        assert!(Args::new(&bytes, &copied[1..]).iter().eq(args.iter()));
    }
}
